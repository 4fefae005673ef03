//! How participants announce themselves: a line of JSON each, over a TCP connection that lives as long as they take part.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::Sender;

use serde::{Deserialize, Serialize};

/// Keys in hexadecimal, from the participant's point of view: it sends with `send_key`.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Announcement {
    pub(crate) publishes: bool,
    pub(crate) receives: bool,
    pub(crate) address: SocketAddr,
    #[serde(default)]
    pub(crate) send_key: String,
    #[serde(default)]
    pub(crate) send_salt: String,
    #[serde(default)]
    pub(crate) receive_key: String,
    #[serde(default)]
    pub(crate) receive_salt: String,
}

#[derive(Serialize)]
struct Answer {
    address: SocketAddr,
    crypto: bool,
}

pub(crate) enum Change {
    Joined(u64, Announcement),
    Left(u64),
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
    reader.read_line(&mut line)?;
    let announcement = serde_json::from_str(&line)?;
    let _ = changes.send(Change::Joined(id, announcement));
    let mut answer = serde_json::to_string(&Answer { address, crypto })?;
    answer.push('\n');
    (&stream).write_all(answer.as_bytes())?;
    // Until the other side closes.
    line.clear();
    let _ = reader.read_line(&mut line);
    let _ = changes.send(Change::Left(id));
    Ok(())
}

pub(crate) fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digits = hex.as_bytes().chunks_exact(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
