//! How participants announce themselves: a line of JSON each, over a TCP connection that lives as long as they take part.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::mpsc::Sender;

use serde::{Deserialize, Serialize};

use crate::cipher::{Cipher, KeyError};

/// Bytes of an announcement, at most.
const MAX_LINE: u64 = 4_096;

/// Keys in hexadecimal, from the participant's point of view: it sends with `send_key`.
#[derive(Deserialize)]
struct Announcement {
    publishes: bool,
    receives: bool,
    /// IPv4, where it sends from and receives.
    address: SocketAddrV4,
    #[serde(default)]
    send_key: String,
    #[serde(default)]
    send_salt: String,
    #[serde(default)]
    receive_key: String,
    #[serde(default)]
    receive_salt: String,
}

#[derive(Serialize)]
struct Answer {
    address: SocketAddr,
    crypto: bool,
}

/// Sent in place of the answer; the connection ends.
#[derive(Serialize)]
struct Refusal {
    error: String,
}

/// Someone who takes part from now on.
pub(crate) struct Newcomer {
    pub(crate) publishes: bool,
    pub(crate) receives: bool,
    pub(crate) address: SocketAddr,
    /// From it, to it; `None`: plain RTP.
    pub(crate) ciphers: Option<(Cipher, Cipher)>,
}

pub(crate) enum Change {
    Joined(u64, Newcomer),
    Left(u64),
}

#[derive(Debug, thiserror::Error)]
enum AnnouncementError {
    #[error("not an announcement: {0}")]
    Json(#[from] serde_json::Error),
    #[error("send key and salt: {0}")]
    SendKey(KeyError),
    #[error("receive key and salt: {0}")]
    ReceiveKey(KeyError),
}

/// Serves until the process ends, a thread per participant.
pub(crate) fn serve(listener: TcpListener, media: SocketAddr, crypto: bool, changes: Sender<Change>) {
    for (id, stream) in (0..).zip(listener.incoming()) {
        let Ok(stream) = stream else { continue };
        let changes = changes.clone();
        let spawned = std::thread::Builder::new().stack_size(64 * 1024).spawn(move || {
            if let Err(error) = attend(id, stream, media, crypto, &changes) {
                eprintln!("pysfu-ceiling: a participant's connection: {error}");
            }
        });
        if let Err(error) = spawned {
            eprintln!("pysfu-ceiling: {error}");
        }
    }
}

fn attend(
    id: u64,
    stream: TcpStream,
    address: SocketAddr,
    crypto: bool,
    changes: &Sender<Change>,
) -> std::io::Result<()> {
    let mut line = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    reader.by_ref().take(MAX_LINE).read_line(&mut line)?;
    match newcomer(&line, crypto) {
        Err(error) => {
            let error = error.to_string();
            tell(&stream, &Refusal { error: error.clone() })?;
            return Err(std::io::Error::other(error));
        }
        Ok(newcomer) => {
            let _ = changes.send(Change::Joined(id, newcomer));
        }
    }
    let told = tell(&stream, &Answer { address, crypto });
    if told.is_ok() {
        // Until the other side closes or writes more than it should.
        line.clear();
        let _ = reader.take(MAX_LINE).read_line(&mut line);
    }
    let _ = changes.send(Change::Left(id));
    told
}

fn tell(mut stream: &TcpStream, message: &impl Serialize) -> std::io::Result<()> {
    let mut text = serde_json::to_string(message)?;
    text.push('\n');
    stream.write_all(text.as_bytes())
}

fn newcomer(line: &str, crypto: bool) -> Result<Newcomer, AnnouncementError> {
    let announcement: Announcement = serde_json::from_str(line)?;
    let cipher = |key: &str, salt: &str| {
        let (key, salt) = bytes(key).zip(bytes(salt)).ok_or(KeyError)?;
        Cipher::new(&key, &salt)
    };
    let ciphers = match crypto {
        false => None,
        true => Some((
            cipher(&announcement.send_key, &announcement.send_salt).map_err(AnnouncementError::SendKey)?,
            cipher(&announcement.receive_key, &announcement.receive_salt).map_err(AnnouncementError::ReceiveKey)?,
        )),
    };
    Ok(Newcomer {
        publishes: announcement.publishes,
        receives: announcement.receives,
        address: announcement.address.into(),
        ciphers,
    })
}

fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes();
    if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let pairs = digits.chunks_exact(2);
    pairs
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "000102030405060708090a0b0c0d0e0f";
    const SALT: &str = "000102030405060708090a0b";

    fn line(address: &str, key: &str) -> String {
        format!(
            r#"{{"index":1,"publishes":true,"receives":false,"address":"{address}","send_key":"{key}","send_salt":"{SALT}","receive_key":"{KEY}","receive_salt":"{SALT}"}}"#
        )
    }

    #[test]
    fn announcements() {
        let newcomer = newcomer(&line("127.0.0.1:7", KEY), true).unwrap();
        assert_eq!((newcomer.publishes, newcomer.receives), (true, false));
        assert_eq!(newcomer.address, "127.0.0.1:7".parse().unwrap());
        assert!(newcomer.ciphers.is_some());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |line: &str| {
            newcomer(line, true)
                .err()
                .map(|error| error.to_string())
                .unwrap_or_default()
        };
        for key in ["", "00", "+102030405060708090a0b0c0d0e0f00", &KEY[1..]] {
            assert!(
                error(&line("127.0.0.1:7", key)).starts_with("send key and salt"),
                "{key}"
            );
        }
        assert!(error(&line("[::1]:7", KEY)).starts_with("not an announcement"));
        assert!(error("{").starts_with("not an announcement"));
        assert!(
            newcomer(&line("127.0.0.1:7", ""), false).is_ok(),
            "plain RTP needs no keys"
        );
    }
}
