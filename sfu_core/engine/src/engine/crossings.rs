//! Tracks that cross between workers: as their home, and as a mirror.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::Engine;
use crate::command::MediaKind;
use crate::crossing::{Crossing, Neighbour};
use crate::forward::MAX_CATCH_UP;
use crate::ids::{LinkId, TrackId, WorkerId};
use crate::packet::Packet;
use crate::publish::mirror::Mirror;
use crate::publish::track::{Origin, Track};

/// An attach may overtake the command that publishes its track: it waits this long, microseconds.
const EARLY: u64 = 5_000_000;
/// Attaches waiting at most.
const MAX_EARLY: usize = 4_096;

/// What waits to be taken to neighbours.
#[derive(Default)]
pub(super) struct Outgoing {
    pub(super) workers: VecDeque<(WorkerId, Crossing)>,
    pub(super) links: VecDeque<(LinkId, Crossing)>,
}

impl Outgoing {
    pub(super) fn push(&mut self, to: Neighbour, crossing: Crossing) {
        match to {
            Neighbour::Worker(worker) => self.workers.push_back((worker, crossing)),
            Neighbour::Link(link) => self.links.push_back((link, crossing)),
        }
    }
}

impl Extend<(Neighbour, Crossing)> for Outgoing {
    fn extend<T: IntoIterator<Item = (Neighbour, Crossing)>>(&mut self, crossings: T) {
        crossings.into_iter().for_each(|(to, crossing)| self.push(to, crossing));
    }
}

impl Engine {
    pub fn handle_crossing(&mut self, now: Instant, from: WorkerId, crossing: Crossing) {
        self.counters.crossings_in += 1;
        self.cross(now, Neighbour::Worker(from), crossing);
    }

    pub(super) fn cross(&mut self, now: Instant, from: Neighbour, crossing: Crossing) {
        match crossing {
            Crossing::Attach { track, kind, thinned } => {
                if let (Neighbour::Link(link), true) = (from, thinned) {
                    self.links.set_knows_left_out(link);
                }
                self.attach(now, (track, kind), from);
            }
            Crossing::Detach { track } => {
                self.early
                    .retain(|&(waiting, asked, _)| (waiting, asked) != (track, from));
                if let Some(&key) = self.track_keys.get(&track) {
                    self.tracks[key].forget_mirror(from);
                    self.on_watched(now, key);
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
                    let track = &mut self.tracks[key];
                    track.set_formats(&formats);
                    let crossing = |mirror| {
                        (
                            mirror,
                            Crossing::Formats {
                                track: track.id,
                                formats: Arc::clone(&formats),
                            },
                        )
                    };
                    self.crossings.extend(track.neighbours().map(crossing));
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
            Crossing::LayerActive {
                track,
                layer,
                active,
                kept,
            } => {
                let at = self.micros(now);
                if let Some(key) = self.mirror_key(track, from)
                    && let Some(slot) = self.tracks[key].layers.get_mut(usize::from(layer))
                {
                    slot.active = active;
                    if kept && matches!(from, Neighbour::Link(_)) {
                        slot.keyframes.expect(at);
                    }
                    self.tell_layer(now, key, layer, active);
                }
            }
            Crossing::SenderReport { track, layer, report } => {
                if let Some(key) = self.mirror_key(track, from)
                    && let Some(slot) = self.tracks[key].layers.get_mut(usize::from(layer))
                {
                    slot.clock = Some(report);
                    let crossing = Crossing::SenderReport { track, layer, report };
                    let mirrors = self.tracks[key].neighbours();
                    self.crossings.extend(mirrors.map(|mirror| (mirror, crossing.clone())));
                }
            }
            Crossing::Removed { track } => {
                if let Some(key) = self.mirror_key(track, from) {
                    match from {
                        Neighbour::Link(_) => self.end_mirror(now, key),
                        Neighbour::Worker(_) => self.remove_track(now, key),
                    }
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
        let attach = Crossing::Attach {
            track,
            kind,
            thinned: false,
        };
        self.crossings.push(Neighbour::Worker(home), attach);
        key
    }

    /// Asks the home of a mirror for the keyframes that its subscribers wait for, limited like any other request.
    pub(super) fn relay_keyframe_wishes(&mut self, key: usize, at: u64) {
        let interval = self.config.keyframe_interval.as_micros() as u64;
        let track = &mut self.tracks[key];
        let Some(home) = track.origin.neighbour() else {
            return;
        };
        for (index, layer) in track.layers.iter_mut().enumerate() {
            if layer.keyframes.due(at, interval) {
                let crossing = Crossing::RequestKeyframe {
                    track: track.id,
                    layer: index as u8,
                };
                self.crossings.push(home, crossing);
            }
        }
    }

    /// A track was published: workers that asked before are attached.
    pub(super) fn attach_early(&mut self, track: TrackId, key: usize) {
        let mut index = 0;
        while let Some(&(waiting, from, _)) = self.early.get(index) {
            if waiting == track {
                self.early.swap_remove(index);
                self.add_mirror(key, from);
            } else {
                index += 1;
            }
        }
    }

    pub(super) fn expire_early(&mut self, at: u64) {
        let crossings = &mut self.crossings;
        self.early.retain(|&(track, from, until)| {
            if at >= until {
                crossings.push(from, Crossing::Removed { track });
            }
            at < until
        });
    }

    fn attach(&mut self, now: Instant, (track, kind): (TrackId, MediaKind), from: Neighbour) {
        let home = track.home();
        let elsewhere = home != self.config.worker && home.0 < self.config.workers;
        if let Some(&key) = self.track_keys.get(&track) {
            self.add_mirror(key, from);
        } else if matches!(from, Neighbour::Link(_)) && elsewhere {
            // The link ends on another worker than the track.
            let key = self.mirror(track, kind, home);
            self.add_mirror(key, from);
        } else if self.early.len() < MAX_EARLY {
            let until = self.micros(now) + EARLY;
            self.early.push((track, from, until));
        } else {
            self.crossings.push(from, Crossing::Removed { track });
        }
    }

    fn add_mirror(&mut self, key: usize, mirror: Neighbour) {
        let track = &mut self.tracks[key];
        // Workers are told of its home by the control plane.
        if matches!((track.origin, mirror), (Origin::Worker(_), Neighbour::Worker(_))) {
            return;
        }
        let is_new = track.mirror_mut(mirror).is_none();
        if is_new {
            track.mirrors.push(Mirror::new(mirror));
        }
        self.begin_thinning(key, mirror);
        self.attend(key);
        let track = &self.tracks[key];
        let id = track.id;
        // Of a mirror they are not known at first.
        if !track.codecs.is_empty() {
            let formats = Arc::new(track.formats());
            self.crossings.push(mirror, Crossing::Formats { track: id, formats });
        }
        let about = Arc::clone(&track.about);
        self.crossings.push(mirror, Crossing::About { track: id, about });
        let packets = track.since_keyframes(MAX_CATCH_UP);
        let kept = (is_new && !packets.is_empty()).then(|| Crossing::Kept {
            track: id,
            packets: packets.into(),
        });
        // Within a node what is kept is there at once, and nobody asks for keyframes before. Over a link it comes packet by
        // packet: that it comes is told before.
        if let (Neighbour::Worker(_), Some(kept)) = (mirror, kept.clone()) {
            self.crossings.push(mirror, kept);
        }
        for (layer, state) in (0..).zip(&track.layers) {
            if state.active {
                let crossing = Crossing::LayerActive {
                    track: id,
                    layer,
                    active: true,
                    kept: kept.is_some() && state.ring.since_keyframe(MAX_CATCH_UP).is_some(),
                };
                self.crossings.push(mirror, crossing);
            }
            if let Some(report) = state.clock {
                let crossing = Crossing::SenderReport {
                    track: id,
                    layer,
                    report,
                };
                self.crossings.push(mirror, crossing);
            }
        }
        if let (Neighbour::Link(_), Some(kept)) = (mirror, kept) {
            self.crossings.push(mirror, kept);
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

    /// Of a track whose home is the neighbour that speaks of it.
    fn mirror_key(&self, track: TrackId, from: Neighbour) -> Option<usize> {
        let key = *self.track_keys.get(&track)?;
        (self.tracks[key].origin.neighbour() == Some(from)).then_some(key)
    }
}
