//! From what waits to the transmit arena: peer by peer, so that datagrams of one destination are neighbours.

use std::time::Instant;

use super::Engine;
use crate::srtp::MAX_RTCP_OVERHEAD;
use crate::transmit::TransmitArena;

/// The arena must be sent first.
pub(super) struct Full;

impl Engine {
    /// Fills the arena; true when it is full and more waits (send, clear, call again).
    pub fn poll_transmit(&mut self, now: Instant, arena: &mut TransmitArena) -> bool {
        let before = arena.volume();
        let full = self.flush(now, arena).is_err();
        let after = arena.volume();
        self.counters.datagrams_out += after.0 - before.0;
        self.counters.bytes_out += after.1 - before.1;
        // Nothing would ever fit: sending and clearing an empty arena would go on for ever.
        full && !arena.is_empty()
    }

    fn flush(&mut self, now: Instant, arena: &mut TransmitArena) -> Result<(), Full> {
        while let Some((socket, to, datagram)) = self.datagrams.front() {
            put(arena, datagram).ok_or(Full)?;
            arena.commit(*socket, *to, datagram.len());
            self.datagrams.pop_front();
        }
        self.flush_rtcp(arena)?;
        let at = self.micros(now);
        self.flush_links(at, arena)?;
        while let Some(&key) = self.queued.front() {
            let before = arena.volume();
            let flushed = self.flush_peer(now, at, key, arena);
            let after = arena.volume();
            let peer = &mut self.peers[key];
            peer.datagrams_out += after.0 - before.0;
            peer.bytes_out += after.1 - before.1;
            flushed?;
            peer.queued = false;
            self.queued.pop_front();
        }
        // Everyone has seen what was pending.
        for key in self.pending.drain(..) {
            self.tracks[key].clear_pending();
        }
        // What the flush itself asked for.
        self.flush_rtcp(arena)
    }

    fn flush_rtcp(&mut self, arena: &mut TransmitArena) -> Result<(), Full> {
        while let Some((key, compound)) = self.outbox.front() {
            let peer = self.peers.get_mut(key);
            let route = peer.and_then(|peer| Some((peer.transport.selected()?, peer.transport.sender()?)));
            // Without a route the peer is about to go, or is moving: the next report is not far.
            if let Some(((socket, to), sender)) = route {
                let room = arena.reserve(compound.len() + MAX_RTCP_OVERHEAD).ok_or(Full)?;
                room[..compound.len()].copy_from_slice(compound);
                if let Ok(len) = sender.protect_rtcp(room, compound.len()) {
                    arena.commit(socket, to, len);
                    self.counters.rtcp_packets_out += 1;
                }
            }
            self.outbox.pop();
        }
        Ok(())
    }

    fn flush_peer(&mut self, now: Instant, at: u64, key: usize, arena: &mut TransmitArena) -> Result<(), Full> {
        loop {
            let peer = &mut self.peers[key];
            let Some((socket, to, datagram)) = peer.held.take().or_else(|| peer.transport.poll_datagram()) else {
                break;
            };
            if put(arena, &datagram).is_none() {
                peer.held = Some((socket, to, datagram));
                return Err(Full);
            }
            arena.commit(socket, to, datagram.len());
        }
        self.flush_media(now, at, key, arena)
    }
}

fn put(arena: &mut TransmitArena, datagram: &[u8]) -> Option<()> {
    arena.reserve(datagram.len())?.copy_from_slice(datagram);
    Some(())
}
