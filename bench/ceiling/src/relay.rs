//! The loop: read a batch, copy and encrypt for everyone else, destination by destination, send.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use crate::cipher::{Cipher, KeyError, TAG, header_len};
use crate::control::{self, Announcement, Change};
use crate::socket::{Arena, Batch, Socket};
use crate::{Crypto, Options, Switch};

/// Milliseconds between two looks at who has come or gone, when no packet comes.
const IDLE: i32 = 20;

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("{0}")]
    Key(#[from] KeyError),
}

struct Participant {
    id: u64,
    address: SocketAddr,
    receives: bool,
    publishes: bool,
    /// From it, to it.
    ciphers: Option<(Cipher, Cipher)>,
    /// Index of the newest packet from it.
    newest: Option<u64>,
}

/// A packet of the batch, decrypted.
struct Packet {
    from: usize,
    slot: usize,
    header: usize,
    len: usize,
    index: u64,
}

pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let listener = TcpListener::bind(options.listen)?;
    let socket = Socket::bind(SocketAddr::new(options.listen.ip(), 0), options.rcvbuf)?;
    let media = socket.address()?;
    let (sender, changes) = channel();
    let crypto = options.crypto == Crypto::Gcm;
    std::thread::spawn(move || control::serve(listener, media, crypto, sender));
    println!("listening on {}", options.listen);
    forward(options, &socket, &changes)
}

fn forward(options: &Options, socket: &Socket, changes: &Receiver<Change>) -> Result<(), Error> {
    let mut participants: Vec<Participant> = Vec::new();
    let mut by_address: HashMap<SocketAddr, usize> = HashMap::new();
    let mut batch = Batch::new();
    let mut arena = Arena::new(options.arena, options.gso == Switch::On);
    let mut packets: Vec<Packet> = Vec::new();
    let mut turns = 0_u32;
    loop {
        if turns.is_multiple_of(64) {
            let mut changed = false;
            for change in changes.try_iter() {
                changed = true;
                match change {
                    Change::Joined(id, announcement) => participants.push(participant(options, id, &announcement)?),
                    Change::Left(id) => participants.retain(|participant| participant.id != id),
                }
            }
            if changed {
                by_address = participants
                    .iter()
                    .enumerate()
                    .map(|(index, p)| (p.address, index))
                    .collect();
            }
        }
        turns = turns.wrapping_add(1);
        if batch.receive(socket) == 0 {
            turns = 0;
            socket.wait(IDLE);
            continue;
        }
        packets.clear();
        for slot in 0..batch.len() {
            let Some((from, datagram)) = batch.datagram(slot) else {
                continue;
            };
            packets.extend(
                by_address
                    .get(&from)
                    .and_then(|&from| open(&mut participants, from, slot, datagram)),
            );
        }
        for (index, to) in participants.iter().enumerate().filter(|(_, to)| to.receives) {
            for packet in packets.iter().filter(|packet| packet.from != index) {
                let content = batch.bytes(packet.slot, packet.len);
                let out = arena.reserve(socket, packet.len + TAG);
                let len = match &to.ciphers {
                    Some((_, cipher)) => cipher.seal(content, packet.header, packet.index, out),
                    None => {
                        out[..content.len()].copy_from_slice(content);
                        Some(content.len())
                    }
                };
                if let Some(len) = len {
                    arena.commit(to.address, len);
                }
            }
        }
        arena.flush(socket);
    }
}

fn participant(options: &Options, id: u64, announcement: &Announcement) -> Result<Participant, KeyError> {
    let cipher = |key: &str, salt: &str| {
        let (key, salt) = control::bytes(key).zip(control::bytes(salt)).ok_or(KeyError)?;
        Cipher::new(&key, &salt)
    };
    let ciphers = match options.crypto {
        Crypto::None => None,
        Crypto::Gcm => Some((
            cipher(&announcement.send_key, &announcement.send_salt)?,
            cipher(&announcement.receive_key, &announcement.receive_salt)?,
        )),
    };
    Ok(Participant {
        id,
        address: announcement.address,
        receives: announcement.receives,
        publishes: announcement.publishes,
        ciphers,
        newest: None,
    })
}

/// RTP only: what else comes (feedback) is not looked at.
fn open(participants: &mut [Participant], from: usize, slot: usize, datagram: &mut [u8]) -> Option<Packet> {
    let [first, second, s0, s1, ..] = *datagram else {
        return None;
    };
    if first >> 6 != 2 || (192..224).contains(&second) {
        return None;
    }
    let participant = participants.get_mut(from).filter(|participant| participant.publishes)?;
    let header = header_len(datagram)?;
    let index = index(participant.newest, u16::from_be_bytes([s0, s1]));
    let len = match &participant.ciphers {
        None => datagram.len(),
        Some((cipher, _)) => cipher.open(datagram, header, index)?,
    };
    participant.newest = participant.newest.max(Some(index));
    Some(Packet {
        from,
        slot,
        header,
        len,
        index,
    })
}

/// The packet index that is nearest to the newest one (RFC 3711 section 3.3.1); a participant has one stream.
fn index(newest: Option<u64>, seq: u16) -> u64 {
    let newest = newest.unwrap_or(u64::from(seq));
    let distance = seq.wrapping_sub(newest as u16) as i16;
    newest.saturating_add_signed(distance.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_turn_over_without_a_gap() {
        assert_eq!(index(None, 65_535), 65_535);
        assert_eq!(index(Some(65_535), 0), 65_536);
        assert_eq!(index(Some(65_537), 65_535), 65_535);
        assert_eq!(index(Some(3 << 16), 2), (3 << 16) + 2);
    }
}
