//! What goes over links: in the order in which it crossed, for what a track is goes before its packets.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use relay::{Head, Link, MAX_DATAGRAM, OVERHEAD, Text};

use super::{Links, Relay};
use crate::allocate::LayerId;
use crate::command::MediaKind;
use crate::crossing::left_out::{LeftOut, MAX_LEFT_OUT};
use crate::crossing::wire::{self, Age, Arrived, MAX_HEAD, MAX_MESSAGE, Manner};
use crate::crossing::{Crossing, Neighbour};
use crate::engine::Engine;
use crate::engine::flush::Full;
use crate::forward::thinning::{Fate, Thinning};
use crate::ids::{LinkId, SocketId, TrackId};
use crate::packet::Packet;
use crate::publish::layer::Layer;
use crate::publish::mirror::Mirror;
use crate::publish::ring::Ring;
use crate::publish::track::Origin;
use crate::transmit::TransmitArena;

/// Packets that wait for the arena or behind messages, per link. More ride out larger bursts and hold more memory.
const MAX_PACKETS: usize = 8_192;
/// Messages that wait until others are acknowledged. With more the other end is thought to have lost them all: it is told
/// everything anew.
const MAX_MESSAGES: usize = 65_536;

/// Packets before the first that crosses, of which is told what stays behind. More bridge a longer time on another way, fewer cost
/// less when tracks begin to cross.
const BEFORE: u64 = 128;
/// Descriptor and payload that fit beside everything that may be told.
const MAX_BESIDE: usize = MAX_DATAGRAM - OVERHEAD - MAX_HEAD;

/// A packet of a track, for those that mirror it.
pub(in crate::engine) struct Offer<'a> {
    pub(in crate::engine) track: TrackId,
    pub(in crate::engine) kind: MediaKind,
    pub(in crate::engine) layers: &'a [Layer],
    pub(in crate::engine) packet: &'a Arc<Packet>,
    pub(in crate::engine) fades: bool,
}

impl Offer<'_> {
    /// Simulcast layers above what anybody there can use stay here.
    fn is_wanted(&self, wants: Option<Option<LayerId>>) -> bool {
        match wants {
            _ if self.kind == MediaKind::Audio => true,
            None => true,
            Some(None) => false,
            Some(Some(highest)) => self.layers.len() == 1 || self.packet.layer <= highest.spatial,
        }
    }
}

#[derive(Default)]
pub(super) struct Outgoing {
    waiting: VecDeque<Waiting>,
    packets: usize,
    /// What those that wait tell as left out, in their order.
    left_out: VecDeque<LeftOut>,
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
        manner: Manner,
        /// So many of what is left out are told with it.
        tells: u8,
    },
    Message(Box<ArrayVec<u8, MAX_MESSAGE>>),
}

/// A packet on its way. The link keeps it for a while: nobody can write into what is shared. It is small, for a link keeps many.
pub(super) struct Leaving {
    track: TrackId,
    packet: Arc<Packet>,
    /// Seldom anything.
    left_out: Option<Box<ArrayVec<LeftOut, MAX_LEFT_OUT>>>,
    age: Age,
    manner: Manner,
}

const _: () = assert!(size_of::<Leaving>() == 32);

impl Text for Leaving {
    fn write_head(&self, out: &mut Head) -> Option<()> {
        let left_out = self.left_out.as_deref().map_or(&[][..], |told| told);
        Arrived::write_head(self.track, &self.packet, self.manner, self.age, left_out, out)
    }

    fn parts(&self) -> [&[u8]; 2] {
        match self.manner.alone {
            true => [&[], &[]],
            false => [self.packet.dependency(), self.packet.payload()],
        }
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

    /// To the mirror at the other end, if it is of use there.
    fn take(&mut self, offer: &Offer<'_>, mirror: &mut Mirror) {
        let &Offer { track, packet, .. } = offer;
        let wanted = offer.is_wanted(mirror.wants);
        let manner = Manner {
            fades: offer.fades,
            ..Manner::default()
        };
        match &mut mirror.thinning {
            None if wanted => self.put(track, packet, manner, None),
            None => (),
            Some(thinning) if wanted => {
                let layer = offer.layers.get(usize::from(packet.layer));
                if let Some(layer) = layer.filter(|_| thinning.begins_with(packet)) {
                    self.tell_before(track, packet.seq, &layer.ring, thinning);
                }
                self.put_thinned(track, packet, manner, thinning);
            }
            Some(thinning) => thinning.forget(packet.layer),
        }
    }

    /// Of the last packets before a number, what stays behind.
    fn tell_before(&mut self, track: TrackId, seq: u64, ring: &Ring, thinning: &mut Thinning) {
        let alone = Manner {
            alone: true,
            ..Manner::default()
        };
        for packet in (seq.saturating_sub(BEFORE)..seq).filter_map(|seq| ring.get(seq)) {
            if thinning.decide(packet) == Fate::Stays && thinning.must_tell(packet.layer) {
                self.put(track, packet, alone, Some(thinning));
            }
        }
    }

    fn put_thinned(&mut self, track: TrackId, packet: &Arc<Packet>, manner: Manner, thinning: &mut Thinning) {
        let alone = Manner {
            alone: true,
            ..Manner::default()
        };
        match thinning.decide(packet) {
            Fate::Stays if thinning.must_tell(packet.layer) => self.put(track, packet, alone, Some(thinning)),
            Fate::Stays => (),
            Fate::Goes { ends } => {
                let manner = Manner { ends, ..manner };
                if packet.payload().len() + packet.dependency().len() > MAX_BESIDE {
                    self.put(track, packet, alone, Some(thinning));
                    self.put(track, packet, manner, None);
                } else {
                    self.put(track, packet, manner, Some(thinning));
                }
            }
        }
    }

    fn put(&mut self, track: TrackId, packet: &Arc<Packet>, manner: Manner, thinning: Option<&mut Thinning>) {
        if self.shut || self.packets >= MAX_PACKETS {
            self.dropped += 1;
            return;
        }
        let tells = thinning.map_or(0, |thinning| thinning.tell(packet.layer, &mut self.left_out));
        if manner.alone && tells == 0 {
            return;
        }
        self.packets += 1;
        self.waiting.push_back(Waiting::Packet {
            track,
            packet: Arc::clone(packet),
            manner,
            tells,
        });
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
        self.left_out.clear();
    }

    /// What the packet that was popped last tells.
    #[cold]
    fn take_told(&mut self, count: u8) -> Box<ArrayVec<LeftOut, MAX_LEFT_OUT>> {
        let count = usize::from(count).min(self.left_out.len());
        Box::new(self.left_out.drain(..count).take(MAX_LEFT_OUT).collect())
    }

    fn pop(&mut self) -> Option<Waiting> {
        let next = self.waiting.pop_front();
        self.packets -= usize::from(matches!(next, Some(Waiting::Packet { .. })));
        if self.waiting.is_empty() {
            // The next ones go where these were, which is in the cache; else they go round what the longest burst took.
            self.waiting.clear();
        }
        next
    }
}

impl Links {
    /// A packet of a track that is mirrored at the other end.
    pub(in crate::engine) fn put(&mut self, link: LinkId, offer: &Offer<'_>, mirror: &mut Mirror) {
        if let Some(relay) = self.get_mut(link) {
            relay.outgoing.take(offer, mirror);
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
            match crossing {
                Crossing::Kept { track, packets } => {
                    let key = self.track_keys.get(&track);
                    let Some(track) = key.and_then(|&key| self.tracks.get_mut(key)) else {
                        continue;
                    };
                    let to = Neighbour::Link(link);
                    let Some(mirror) = track.mirrors.iter_mut().find(|mirror| mirror.to == to) else {
                        continue;
                    };
                    for packet in packets.iter() {
                        let offer = Offer {
                            track: track.id,
                            kind: track.kind,
                            layers: &track.layers,
                            packet,
                            fades: false,
                        };
                        relay.outgoing.take(&offer, mirror);
                    }
                }
                // What is said of a track to where it comes from is said by the name it has there.
                Crossing::Attach { track: ref id, .. }
                | Crossing::Detach { track: ref id }
                | Crossing::LayersWanted { track: ref id, .. }
                | Crossing::RequestKeyframe { track: ref id, .. } => {
                    let key = self.track_keys.get(id);
                    let track = key.and_then(|&key| self.tracks.get(key));
                    if let Some(Origin::Link { link: over, theirs }) = track.map(|track| track.origin)
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
            if let Some(Waiting::Packet {
                track,
                packet,
                manner,
                tells,
            }) = self.outgoing.pop()
            {
                let leaving = Leaving {
                    track,
                    age: Age::new(at.saturating_sub(packet.arrival)),
                    packet,
                    left_out: (tells > 0).then(|| self.outgoing.take_told(tells)),
                    manner,
                };
                // What is too long for a link was too long for its path to the subscribers, too.
                match state.send(at, leaving, room) {
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
