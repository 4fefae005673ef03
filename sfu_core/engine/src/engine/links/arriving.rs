//! What comes over links.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use relay::{Arrival, Refused};

use crate::command::MediaKind;
use crate::counters::Dropped;
use crate::crossing::wire::{self, ANEW, Arrived, FORGET};
use crate::crossing::{Crossing, Neighbour};
use crate::engine::Engine;
use crate::ids::{LinkId, SocketId};
use crate::packet::Carried;
use crate::publish::facts;
use crate::publish::track::Origin;

/// Packets that one datagram tells as left out at most. More serve a longer time between two packets that cross, fewer bound what a
/// neighbour that lies can make of one datagram.
const MAX_STAND_INS: usize = 1_024;

impl Engine {
    pub(in crate::engine) fn handle_link(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<(), Dropped> {
        let id = LinkId(relay::link_id(datagram).ok_or(Dropped::UnknownProtocol)?);
        let key = *self.links.keys.get(&id).ok_or(Dropped::UnknownSource)?;
        let state = self.links.relays.get_mut(key).and_then(|relay| relay.state.take());
        let mut state = state.ok_or(Dropped::UnknownSource)?;
        let at = self.micros(now);
        let opened = state.receive(at, datagram, |arrival| match arrival {
            Arrival::Media(packet) => self.take_relayed(now, at, (key, id), packet),
            Arrival::Message(message) => self.take_message(now, at, (key, id), message),
        });
        if let Some(relay) = self.links.relays.get_mut(key) {
            relay.due = state.next_timeout();
            self.schedule.wait_until(relay.due);
            relay.state = Some(state);
            if opened.is_ok() {
                (relay.socket, relay.remote) = (socket, Some(from));
            }
        }
        opened.map_err(|refused| match refused {
            Refused::Malformed => Dropped::Malformed,
            Refused::Replayed => Dropped::SrtpReplay,
            Refused::Phase | Refused::Forged => Dropped::SrtpAuth,
        })
    }

    fn take_relayed(&mut self, now: Instant, at: u64, (over, link): (usize, LinkId), datagram: &[u8]) {
        let Some(arrived) = Arrived::read(datagram) else {
            self.counters.dropped_malformed += 1;
            return;
        };
        // What was detached is still under way for a while.
        let Some(&key) = self.links.relays[over].ours.get(&arrived.track) else {
            return;
        };
        let track = &mut self.tracks[key];
        let theirs = arrived.track;
        let current = track.origin == Origin::Link { link, theirs };
        let (Some(codec), Some(layer)) = (
            track.codec(arrived.payload_type),
            track.layers.get_mut(usize::from(arrived.layer)),
        ) else {
            return;
        };
        let (seq, stream) = layer.renumber(arrived.seq, arrived.stream);
        self.take_left_out(now, at, (key, seq, stream), &arrived);
        if arrived.alone {
            return;
        }
        let track = &mut self.tracks[key];
        let layer = &mut track.layers[usize::from(arrived.layer)];
        if layer.ring.is_known(seq) {
            self.counters.dropped_duplicate += 1;
            return;
        }
        let mut facts = facts::read(codec, arrived.payload);
        let structure = match arrived.dependency {
            [] => None,
            value => layer.upstream.dependencies.read(value, &mut facts),
        };
        let packet = self.pool.take(|packet| {
            packet.layer = arrived.layer;
            packet.seq = seq;
            packet.timestamp = arrived.time as u32;
            packet.time = arrived.time;
            packet.stream = stream;
            packet.marker = arrived.marker;
            packet.payload_type = arrived.payload_type;
            packet.arrival = at.saturating_sub(arrived.age);
            packet.recovered = arrived.recovered;
            packet.extensions = arrived.extensions;
            packet.facts = facts;
            packet.structure = structure;
            packet.left_out = None;
            packet.set_content(arrived.payload, arrived.dependency)
        });
        let Some(packet) = packet else {
            self.counters.dropped_pool_exhausted += 1;
            return;
        };
        // The first packet of each layer after a move shows whether something is missing before it.
        let bit = 1 << arrived.layer.min(7);
        let mut torn = false;
        if current && track.moved & bit != 0 {
            track.moved &= !bit;
            let end = track.layers[usize::from(arrived.layer)].ring.end();
            torn = track.kind == MediaKind::Video && end != 0 && seq > end && !facts.keyframe;
            self.leave_former(key);
        }
        if arrived.fades {
            self.lose_place(key);
        }
        self.distribute(now, key, packet, arrived.fades);
        if torn {
            self.want_keyframe(now, key, arrived.layer);
        }
    }

    /// Packets that stand for those that were left out, which are neither missed nor asked for. `place` of the packet that tells
    /// them: track, number and count of restarts.
    fn take_left_out(&mut self, now: Instant, at: u64, (key, seq, stream): (usize, u64, u32), arrived: &Arrived<'_>) {
        let mut most = MAX_STAND_INS;
        for left in arrived.left_out() {
            let shift = left.first.wrapping_sub(arrived.seq);
            for index in 0..left.count {
                let number = seq.wrapping_add(shift).wrapping_add(index.into());
                let Some(layer) = self.tracks[key].layers.get(usize::from(arrived.layer)) else {
                    return;
                };
                if layer.ring.is_known(number) {
                    continue;
                }
                if most == 0 {
                    return;
                }
                most -= 1;
                let stands_in = self.pool.take(|packet| {
                    packet.layer = arrived.layer;
                    packet.seq = number;
                    // Before the picture that tells it.
                    packet.timestamp = (arrived.time as u32).wrapping_sub(1);
                    packet.time = arrived.time.saturating_sub(1);
                    packet.stream = stream;
                    packet.marker = false;
                    packet.payload_type = arrived.payload_type;
                    packet.arrival = at.saturating_sub(arrived.age);
                    packet.recovered = false;
                    packet.extensions = Carried::default();
                    packet.facts = left.facts(index);
                    packet.structure = None;
                    packet.left_out = Some(left.bytes_of(index));
                    packet.set_content(&[], &[])
                });
                match stands_in {
                    Some(packet) => self.distribute(now, key, packet, false),
                    None => self.counters.dropped_pool_exhausted += 1,
                }
            }
        }
    }

    fn take_message(&mut self, now: Instant, at: u64, (over, link): (usize, LinkId), message: &[u8]) {
        match message {
            FORGET => return self.detach_all(now, link),
            ANEW => return self.ask_anew(link),
            _ => (),
        }
        let Some(mut crossing) = wire::read_message(message, at) else {
            self.counters.dropped_malformed += 1;
            return;
        };
        // Of a track that comes from there they say what it is, by their name.
        match &mut crossing {
            Crossing::Formats { track, .. }
            | Crossing::About { track, .. }
            | Crossing::LayerActive { track, .. }
            | Crossing::SenderReport { track, .. }
            | Crossing::Removed { track } => {
                let key = self.links.relays[over].ours.get(track);
                let Some(ours) = key.and_then(|&key| self.tracks.get(key)) else {
                    return;
                };
                // Where it came from before it was moved has no say.
                if ours.origin != (Origin::Link { link, theirs: *track }) {
                    return;
                }
                *track = ours.id;
                if let Crossing::Formats { formats, .. } = &mut crossing {
                    Arc::make_mut(formats).sound.group = ours.sound.group;
                }
            }
            _ => (),
        }
        self.cross(now, Neighbour::Link(link), crossing);
    }
}
