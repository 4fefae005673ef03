//! The microphones of each room: who has a place among the loudest, and what is forwarded when that changes.

use std::sync::Arc;

use arrayvec::ArrayVec;

use super::Engine;
use crate::loudest::{self, Group, Holder, Voice};
use crate::packet::Packet;
use crate::publish::track::Member;

/// Packets from just before somebody got a place that are sent with it: the beginning of the first syllable. More arrive too
/// late to be played without delay.
const LEAD: usize = 3;
/// and are no older than this, microseconds.
const LEAD_AGE: u64 = 100_000;
/// Packets that are sent as silence when a place is lost. One is enough unless it is lost itself.
const FADE: u8 = 3;

impl Engine {
    /// To be called when it is known to which group the track belongs.
    pub(super) fn join_group(&mut self, key: usize) {
        let track = &mut self.tracks[key];
        let Some(id) = track.sound.group.filter(|_| self.config.loudest > 0) else {
            return;
        };
        if track.member.is_some() {
            return;
        }
        let most = self.config.loudest;
        let groups = &mut self.groups;
        let group = *self
            .group_keys
            .entry(id)
            .or_insert_with(|| groups.insert(Group::new(id, most)));
        self.groups[group].members += 1;
        track.member = Some(Member {
            group,
            voice: Voice::default(),
            placed: false,
            fading: 0,
            last: 0,
        });
    }

    /// The last member takes the group with it.
    pub(super) fn leave_group(&mut self, key: usize) {
        let Some(member) = self.tracks[key].member.take() else {
            return;
        };
        let group = &mut self.groups[member.group];
        group.release(key);
        group.members -= 1;
        if group.members == 0 {
            let id = group.id;
            self.groups.remove(member.group);
            self.group_keys.remove(&id);
        }
    }

    /// Another may have the place of the track.
    pub(super) fn lose_place(&mut self, key: usize) {
        if let Some(member) = self.tracks[key].member.filter(|member| member.placed) {
            self.groups[member.group].release(key);
            self.fade(key);
        }
    }

    /// Forwards a packet of a microphone if that is among the loudest. `fades`: at home it no longer is.
    pub(super) fn rank(&mut self, key: usize, packet: Arc<Packet>, fades: bool) {
        let track = &mut self.tracks[key];
        let Some(member) = &mut track.member else {
            return;
        };
        let level = packet.extensions.audio_level;
        member.voice.on_packet(loudest::level(level), packet.arrival);
        if !member.placed && !fades && self.take_place(key, level.is_some(), packet.arrival) {
            self.resume(key, &packet);
        }
        let track = &mut self.tracks[key];
        let Some(member) = &mut track.member else {
            return;
        };
        let fading = !member.placed;
        if fading {
            if member.fading == 0 || packet.seq < track.stretch.fades {
                self.counters.audio_withheld += 1;
                return;
            }
            member.fading -= 1;
        }
        member.last = member.last.max(packet.seq);
        self.share(key, packet, fading);
    }

    fn take_place(&mut self, key: usize, ranked: bool, at: u64) -> bool {
        let Some(Member { group, voice, .. }) = self.tracks[key].member else {
            return false;
        };
        let places = self.groups[group].places(ranked);
        if places.take_free(key, at) {
            return true;
        }
        let tracks = &self.tracks;
        let holders = places.held.iter().map(|&(key, since)| Holder {
            voice: tracks[key].member.map(|member| member.voice).unwrap_or_default(),
            since,
        });
        let Some(index) = loudest::displaced(at, &voice, holders) else {
            return false;
        };
        if let Some(former) = places.replace(index, key, at) {
            self.fade(former);
        }
        true
    }

    /// The next packets are the last ones.
    fn fade(&mut self, key: usize) {
        let track = &mut self.tracks[key];
        let Some(member) = &mut track.member else {
            return;
        };
        member.placed = false;
        // Silence that the receivers' decryption does not know would be noise.
        member.fading = if track.sound.encrypted { 0 } else { FADE };
        track.stretch.fades = member.last + 1;
    }

    /// From this packet on the track is forwarded, with what is kept from just before.
    fn resume(&mut self, key: usize, packet: &Arc<Packet>) {
        let track = &mut self.tracks[key];
        let (Some(member), Some(layer)) = (&mut track.member, track.layers.get(usize::from(packet.layer))) else {
            return;
        };
        let from = packet.seq.saturating_sub(LEAD as u64).max(member.last + 1);
        let oldest = packet.arrival.saturating_sub(LEAD_AGE);
        let kept = (from..packet.seq).filter_map(|seq| layer.ring.get(seq));
        let lead: ArrayVec<Arc<Packet>, LEAD> = kept
            .filter(|kept| kept.stream == packet.stream && kept.arrival >= oldest)
            .cloned()
            .collect();
        let first = lead.first().map_or(packet.seq, |kept| kept.seq);
        (member.placed, member.fading) = (true, 0);
        track.stretch.fades = u64::MAX;
        if first > member.last + 1 {
            track.stretch.serial = track.stretch.serial.wrapping_add(1);
            track.stretch.first = first;
        }
        for kept in lead {
            self.share(key, kept, false);
        }
    }
}
