//! Tracks that cross between workers: as their home, and as a mirror.

use std::sync::Arc;
use std::time::Instant;

use super::Engine;
use crate::command::MediaKind;
use crate::crossing::Crossing;
use crate::forward::MAX_CATCH_UP;
use crate::ids::{TrackId, WorkerId};
use crate::packet::Packet;
use crate::publish::track::{Origin, Track};

/// An attach may overtake the command that publishes its track: it waits this long, microseconds.
const EARLY: u64 = 5_000_000;
/// Attaches waiting at most.
const MAX_EARLY: usize = 4_096;

impl Engine {
    pub fn handle_crossing(&mut self, now: Instant, from: WorkerId, crossing: Crossing) {
        self.counters.crossings_in += 1;
        match crossing {
            Crossing::Attach { track } => self.attach(now, track, from),
            Crossing::Detach { track } => {
                self.early
                    .retain(|&(waiting, worker, _)| (waiting, worker) != (track, from));
                if let Some(&key) = self.track_keys.get(&track) {
                    self.tracks[key].mirrors.retain(|&worker| worker != from);
                    self.tracks[key].wishes.forget_elsewhere(from);
                }
            }
            Crossing::RequestKeyframe { track, layer } => {
                if let Some(&key) = self.track_keys.get(&track) {
                    self.want_keyframe(now, key, layer);
                }
            }
            Crossing::LayersWanted { track, highest } => {
                if let Some(&key) = self.track_keys.get(&track) {
                    self.on_wishes_elsewhere(now, key, from, highest);
                }
            }
            Crossing::About { track, about } => {
                if let Some(key) = self.mirror_key(track, from) {
                    // It comes first after an attach: what was said before that has not been heard.
                    self.tracks[key].wishes.say_again();
                    self.set_about(now, key, about);
                }
            }
            Crossing::Formats { track, formats } => {
                if let Some(key) = self.mirror_key(track, from) {
                    self.tracks[key].set_formats(&formats);
                    self.join_group(key);
                    self.on_layer_activity(now, key);
                }
            }
            Crossing::Packet { track, packet, fades } => {
                if let Some(key) = self.mirror_key(track, from) {
                    if fades {
                        self.lose_place(key);
                    }
                    self.distribute(now, key, packet, fades);
                }
            }
            Crossing::Kept { track, packets } => {
                if let Some(key) = self.mirror_key(track, from) {
                    self.keep_former(now, key, &packets);
                }
            }
            Crossing::LayerActive { track, layer, active } => {
                if let Some(key) = self.mirror_key(track, from)
                    && let Some(slot) = self.tracks[key].layers.get_mut(usize::from(layer))
                {
                    slot.active = active;
                    self.on_layer_activity(now, key);
                }
            }
            Crossing::SenderReport { track, layer, report } => {
                if let Some(key) = self.mirror_key(track, from)
                    && let Some(slot) = self.tracks[key].layers.get_mut(usize::from(layer))
                {
                    slot.clock = Some(report);
                }
            }
            Crossing::Removed { track } => {
                if let Some(key) = self.mirror_key(track, from) {
                    self.remove_track(now, key);
                }
            }
        }
    }

    /// The mirror of a track, made when this is its first subscription here.
    pub(super) fn mirror(&mut self, track: TrackId, kind: MediaKind, home: WorkerId) -> usize {
        if let Some(&key) = self.track_keys.get(&track) {
            return key;
        }
        let key = self.tracks.insert(Track::mirror(track, kind, home));
        self.track_keys.insert(track, key);
        self.crossings.push_back((home, Crossing::Attach { track }));
        key
    }

    /// Asks the home of a mirror for the keyframes that its subscribers wait for, limited like any other request.
    pub(super) fn relay_keyframe_wishes(&mut self, key: usize, at: u64) {
        let interval = self.config.keyframe_interval.as_micros() as u64;
        let track = &mut self.tracks[key];
        let Origin::Worker(home) = track.origin else {
            return;
        };
        for (index, layer) in track.layers.iter_mut().enumerate() {
            if layer.keyframes.due(at, interval) {
                let crossing = Crossing::RequestKeyframe {
                    track: track.id,
                    layer: index as u8,
                };
                self.crossings.push_back((home, crossing));
            }
        }
    }

    /// A track was published: workers that asked before are attached.
    pub(super) fn attach_early(&mut self, track: TrackId, key: usize) {
        let mut index = 0;
        while let Some(&(waiting, worker, _)) = self.early.get(index) {
            if waiting == track {
                self.early.swap_remove(index);
                self.add_mirror(key, worker);
            } else {
                index += 1;
            }
        }
    }

    pub(super) fn expire_early(&mut self, at: u64) {
        let crossings = &mut self.crossings;
        self.early.retain(|&(track, worker, until)| {
            if at >= until {
                crossings.push_back((worker, Crossing::Removed { track }));
            }
            at < until
        });
    }

    fn attach(&mut self, now: Instant, track: TrackId, from: WorkerId) {
        if let Some(&key) = self.track_keys.get(&track) {
            self.add_mirror(key, from);
        } else if self.early.len() < MAX_EARLY {
            let until = self.micros(now) + EARLY;
            self.early.push((track, from, until));
        } else {
            self.crossings.push_back((from, Crossing::Removed { track }));
        }
    }

    fn add_mirror(&mut self, key: usize, worker: WorkerId) {
        let track = &mut self.tracks[key];
        if !track.is_home() {
            return;
        }
        let is_new = !track.mirrors.contains(&worker);
        if is_new {
            track.mirrors.push(worker);
        }
        let id = track.id;
        self.crossings.push_back((
            worker,
            Crossing::Formats {
                track: id,
                formats: Arc::new(track.formats()),
            },
        ));
        let about = Arc::clone(&track.about);
        self.crossings.push_back((worker, Crossing::About { track: id, about }));
        let packets = track.since_keyframes(MAX_CATCH_UP);
        if is_new && !packets.is_empty() {
            let packets = packets.into();
            self.crossings
                .push_back((worker, Crossing::Kept { track: id, packets }));
        }
        for (index, layer) in track.layers.iter().enumerate() {
            let index = index as u8;
            if layer.active {
                self.crossings.push_back((
                    worker,
                    Crossing::LayerActive {
                        track: id,
                        layer: index,
                        active: true,
                    },
                ));
            }
            if let Some(report) = layer.clock {
                self.crossings.push_back((
                    worker,
                    Crossing::SenderReport {
                        track: id,
                        layer: index,
                        report,
                    },
                ));
            }
        }
    }

    /// What came to the home before this mirror was made: subscribers begin with it.
    fn keep_former(&mut self, now: Instant, key: usize, packets: &[Arc<Packet>]) {
        let least = self.config.layer_timeout.as_micros() as u64;
        let track = &mut self.tracks[key];
        for packet in packets {
            if let Some(layer) = track.layers.get_mut(usize::from(packet.layer)) {
                layer.keep(packet, least);
            }
        }
        // Of all layers at once: whoever began with a lower one would have to ask for a keyframe of the wanted one.
        self.on_layer_activity(now, key);
    }

    /// Of a track whose home is the worker that speaks of it.
    fn mirror_key(&self, track: TrackId, from: WorkerId) -> Option<usize> {
        let key = *self.track_keys.get(&track)?;
        (self.tracks[key].origin == Origin::Worker(from)).then_some(key)
    }
}
