//! The loop: read a batch, copy and encrypt for everyone else, destination by destination, send.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use crate::cipher::{TAG, header_len};
use crate::control::{self, Change, Newcomer};
use crate::socket::{Arena, Batch, Socket};
use crate::{Crypto, Options, Switch};

/// Milliseconds between two looks at who has come or gone, when no packet comes.
const IDLE: i32 = 20;

struct Participant {
    id: u64,
    is: Newcomer,
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

pub(crate) fn run(options: &Options) -> io::Result<()> {
    let listener = TcpListener::bind(options.listen)?;
    let socket = Socket::bind(SocketAddr::new(IpAddr::V4(*options.listen.ip()), 0), options.rcvbuf)?;
    let media = socket.address()?;
    let address = listener.local_addr()?;
    let (sender, changes) = channel();
    let crypto = options.crypto == Crypto::Gcm;
    std::thread::spawn(move || control::serve(listener, media, crypto, sender));
    println!("listening on {address}");
    forward(options, &socket, &changes)
}

fn forward(options: &Options, socket: &Socket, changes: &Receiver<Change>) -> ! {
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
                    Change::Joined(id, is) => participants.push(Participant { id, is, newest: None }),
                    Change::Left(id) => participants.retain(|participant| participant.id != id),
                }
            }
            if changed {
                by_address = participants
                    .iter()
                    .enumerate()
                    .map(|(index, participant)| (participant.is.address, index))
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
        for (index, to) in participants.iter().enumerate().filter(|(_, to)| to.is.receives) {
            for packet in packets.iter().filter(|packet| packet.from != index) {
                let content = batch.bytes(packet.slot, packet.len);
                let out = arena.reserve(socket, packet.len + TAG);
                let len = match &to.is.ciphers {
                    Some((_, cipher)) => cipher.seal(content, packet.header, packet.index, out),
                    None => {
                        out[..content.len()].copy_from_slice(content);
                        Some(content.len())
                    }
                };
                if let Some(len) = len {
                    arena.commit(to.is.address, len);
                }
            }
        }
        arena.flush(socket);
    }
}

/// RTP only: what else comes (feedback) is not looked at.
fn open(participants: &mut [Participant], from: usize, slot: usize, datagram: &mut [u8]) -> Option<Packet> {
    let [first, second, s0, s1, ..] = *datagram else {
        return None;
    };
    if first >> 6 != 2 || (192..224).contains(&second) {
        return None;
    }
    let participant = participants
        .get_mut(from)
        .filter(|participant| participant.is.publishes)?;
    let header = header_len(datagram)?;
    let index = index(participant.newest, u16::from_be_bytes([s0, s1]));
    let len = match &participant.is.ciphers {
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
