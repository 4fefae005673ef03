//! What goes over links: in the order in which it crossed, for what a track is goes before its packets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use relay::{Link, MAX_DATAGRAM, Text};

use super::{Links, Relay};
use crate::command::MediaKind;
use crate::crossing::wire::{self, Arrived, MAX_HEAD, MAX_MESSAGE};
use crate::crossing::{Crossing, Neighbour};
use crate::engine::Engine;
use crate::engine::flush::Full;
use crate::ids::{LinkId, SocketId, TrackId};
use crate::packet::Packet;
use crate::publish::track::{Origin, Track};
use crate::transmit::TransmitArena;

/// Packets that wait for the arena or behind messages, per link. More ride out larger bursts and hold more memory.
const MAX_PACKETS: usize = 8_192;
/// Messages that wait until others are acknowledged. With more the other end is thought to have lost them all: it is told
/// everything anew.
const MAX_MESSAGES: usize = 65_536;

#[derive(Default)]
pub(super) struct Outgoing {
    waiting: VecDeque<Waiting>,
    packets: usize,
    /// Nothing is taken: the link does not carry.
    shut: bool,
    /// More messages were said than have room.
    overflowed: bool,
    /// Packets.
    pub(super) dropped: u64,
}

enum Waiting {
    Packet {
        track: TrackId,
        packet: Arc<Packet>,
        fades: bool,
    },
    Message(Box<ArrayVec<u8, MAX_MESSAGE>>),
}

/// A packet on its way. The link keeps it for a while: nobody can write into what is shared, and what stands in front of it is
/// written once.
pub(super) struct Leaving {
    head: ArrayVec<u8, MAX_HEAD>,
    packet: Arc<Packet>,
}

impl Text for Leaving {
    fn parts(&self) -> [&[u8]; 3] {
        [&self.head, self.packet.dependency(), self.packet.payload()]
    }
}

impl Outgoing {
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Whether the link carries. What is said while it does not is said anew when it does again.
    pub(super) fn set_open(&mut self, open: bool) {
        self.shut = !open;
        self.clear();
    }

    /// True once when messages were lost.
    pub(super) fn take_overflow(&mut self) -> bool {
        std::mem::take(&mut self.overflowed)
    }

    pub(super) fn put(&mut self, track: TrackId, packet: Arc<Packet>, fades: bool) {
        if self.shut || self.packets >= MAX_PACKETS {
            self.dropped += 1;
            return;
        }
        self.packets += 1;
        self.waiting.push_back(Waiting::Packet { track, packet, fades });
    }

    pub(super) fn say(&mut self, crossing: &Crossing) {
        if let Some(message) = wire::write_message(crossing) {
            self.push(message);
        }
    }

    pub(super) fn say_octets(&mut self, message: &[u8]) {
        self.push(message.iter().copied().take(MAX_MESSAGE).collect());
    }

    fn push(&mut self, message: ArrayVec<u8, MAX_MESSAGE>) {
        if self.shut {
            return;
        }
        if self.waiting.len() - self.packets >= MAX_MESSAGES {
            self.clear();
            self.overflowed = true;
        }
        self.waiting.push_back(Waiting::Message(Box::new(message)));
    }

    fn clear(&mut self) {
        self.dropped += self.packets as u64;
        self.packets = 0;
        self.waiting.clear();
    }

    fn pop(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop_front();
        self.packets -= usize::from(matches!(next, Some(Waiting::Packet { .. })));
        next
    }
}

impl Links {
    /// A packet of a track that is mirrored at the other end.
    pub(in crate::engine) fn put(&mut self, link: LinkId, track: &Track, packet: &Arc<Packet>, fades: bool) {
        if let Some(relay) = self.get_mut(link)
            && is_wanted(track, link, packet)
        {
            relay.outgoing.put(track.id, Arc::clone(packet), fades);
        }
    }
}

impl Engine {
    /// What is to be said goes to the links that it is for.
    pub(in crate::engine) fn sort_crossings(&mut self) {
        while let Some((link, crossing)) = self.crossings.links.pop_front() {
            let key = self.links.keys.get(&link);
            let Some(relay) = key.and_then(|&key| self.links.relays.get_mut(key)) else {
                continue;
            };
            let track = |id: &TrackId| self.track_keys.get(id).and_then(|&key| self.tracks.get(key));
            match crossing {
                Crossing::Kept { track: id, packets } => {
                    let Some(track) = track(&id) else { continue };
                    for packet in packets.iter().filter(|packet| is_wanted(track, link, packet)) {
                        relay.outgoing.put(id, Arc::clone(packet), false);
                    }
                }
                // What is said of a track to where it comes from is said by the name it has there.
                Crossing::Attach { track: ref id, .. }
                | Crossing::Detach { track: ref id }
                | Crossing::LayersWanted { track: ref id, .. }
                | Crossing::RequestKeyframe { track: ref id, .. } => {
                    if let Some(Origin::Link { link: over, theirs }) = track(id).map(|track| track.origin)
                        && over == link
                        && let Some(crossing) = crossing.named(theirs)
                    {
                        relay.outgoing.say(&crossing);
                    }
                }
                other => relay.outgoing.say(&other),
            }
        }
    }
}

/// Simulcast layers above what anybody there can use stay here.
fn is_wanted(track: &Track, link: LinkId, packet: &Packet) -> bool {
    if track.kind == MediaKind::Audio {
        return true;
    }
    match track.wishes.of(Neighbour::Link(link)) {
        None => true,
        Some(None) => false,
        Some(Some(highest)) => track.is_single() || packet.layer <= highest.spatial,
    }
}

impl Relay {
    pub(super) fn flush(&mut self, at: u64, arena: &mut TransmitArena) -> Result<(), Full> {
        let (Some(state), Some(remote)) = (&mut self.state, self.remote) else {
            // Until the first authentic datagram tells where the other end is.
            self.due = u64::MAX;
            return Ok(());
        };
        let to = (self.socket, remote);
        let mut told = false;
        while let Some(next) = self.outgoing.waiting.front() {
            if let Waiting::Message(message) = next {
                if !state.tell(message) {
                    // Until some of them are acknowledged.
                    break;
                }
                told = true;
                self.outgoing.pop();
                continue;
            }
            if std::mem::take(&mut told) {
                drain(state, at, to, arena)?;
            }
            let room = arena.reserve(MAX_DATAGRAM).ok_or(Full)?;
            if let Some(Waiting::Packet { track, packet, fades }) = self.outgoing.pop() {
                // What is too long for a link was too long for its path to the subscribers, too.
                match leaving(at, track, packet, fades).and_then(|leaving| state.send(at, leaving, room)) {
                    Some(len) => arena.commit(to.0, to.1, len),
                    None => self.outgoing.dropped += 1,
                }
            }
        }
        drain(state, at, to, arena)?;
        self.due = state.next_timeout();
        Ok(())
    }
}

fn leaving(at: u64, track: TrackId, packet: Arc<Packet>, fades: bool) -> Option<Leaving> {
    let mut head = ArrayVec::new();
    let age = at.saturating_sub(packet.arrival);
    Arrived::write_head(track, &packet, fades, age, &mut head)?;
    Some(Leaving { head, packet })
}

/// What the link itself has to send.
fn drain(
    state: &mut Link<Leaving>,
    at: u64,
    (socket, remote): (SocketId, SocketAddr),
    arena: &mut TransmitArena,
) -> Result<(), Full> {
    loop {
        let room = arena.reserve(MAX_DATAGRAM).ok_or(Full)?;
        let Some(len) = state.poll_transmit(at, room) else {
            return Ok(());
        };
        arena.commit(socket, remote, len);
    }
}
