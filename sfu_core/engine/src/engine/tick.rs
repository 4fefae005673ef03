//! Timers: one short pass over busy publishers, and a slow one that visits every peer in turn.

use std::time::Instant;

use super::Engine;
use crate::event::{AudioLevel, Event};
use crate::forward::MAX_CATCH_UP;

/// Microseconds between ticks. Shorter asks for lost packets sooner, longer costs less when idle.
const TICK: u64 = 10_000;
/// Every peer is visited once in this many ticks.
const ROUND: usize = 10;
const REPORTS: u64 = 1_000_000;
const AUDIO_LEVELS: u64 = 250_000;
/// What a newcomer begins with is kept for so long, if it is not too much. Longer than publishers are asked for keyframes, so
/// that who may not ask finds what was asked for before.
const RUN: u64 = 3_000_000;
/// A packet unused for this long is freed.
const UNUSED: u64 = 5_000_000;

pub(super) struct Schedule {
    /// Microseconds since the epoch.
    tick: u64,
    /// When packets that wait should be looked at; `u64::MAX` while none do.
    paced: u64,
    audio_levels: u64,
    trim: u64,
    /// Which part of the peers and tracks the next tick visits.
    part: usize,
}

impl Default for Schedule {
    fn default() -> Self {
        Self {
            tick: 0,
            paced: u64::MAX,
            audio_levels: 0,
            trim: 0,
            part: 0,
        }
    }
}

impl Schedule {
    pub(super) fn next(&self) -> u64 {
        self.tick.min(self.paced)
    }

    /// Packets wait until then, microseconds.
    pub(super) fn wait_until(&mut self, at: u64) {
        self.paced = self.paced.min(at);
    }
}

impl Engine {
    pub fn handle_timeout(&mut self, now: Instant) {
        let at = self.micros(now);
        if at >= self.schedule.paced {
            self.schedule.paced = u64::MAX;
            while let Some(key) = self.paced.pop() {
                if let Some(peer) = self.peers.get_mut(key) {
                    peer.paced = false;
                }
                self.queue(key);
            }
        }
        if at < self.schedule.tick {
            return;
        }
        self.schedule.tick = at + TICK;
        self.visit_busy(at);
        self.schedule.part = (self.schedule.part + 1) % ROUND;
        self.visit_peers(now, at);
        self.visit_tracks(now, at);
        if at >= self.schedule.audio_levels {
            self.schedule.audio_levels = at + AUDIO_LEVELS;
            self.tell_audio_levels(at);
        }
        self.expire_early(at);
        self.tend_links(at);
        self.pool.trim(at.saturating_sub(UNUSED));
        if at >= self.schedule.trim {
            self.schedule.trim = at + UNUSED;
            self.parities.trim();
        }
    }

    fn visit_busy(&mut self, at: u64) {
        let mut index = 0;
        while let Some(&key) = self.busy.get(index) {
            let keep = self.peers.contains(key) && self.urgent_feedback(key, at);
            if keep {
                index += 1;
                continue;
            }
            self.busy.swap_remove(index);
            if let Some(peer) = self.peers.get_mut(key) {
                peer.busy = false;
            }
        }
    }

    fn visit_peers(&mut self, now: Instant, at: u64) {
        for key in (self.schedule.part..self.peers.capacity()).step_by(ROUND) {
            let Some(peer) = self.peers.get_mut(key) else {
                continue;
            };
            peer.transport.handle_timeout(now);
            let counters = peer.transport.counters();
            let before = std::mem::replace(&mut peer.counted, counters);
            // A transport that has ended forgets what its data channels dropped.
            let more = |now: u64, before: u64| now.saturating_sub(before);
            self.counters.dropped_stun += more(counters.dropped_stun, before.dropped_stun);
            self.counters.dropped_unknown_source += more(counters.dropped_dtls_source, before.dropped_dtls_source);
            self.counters.dropped_data += more(counters.dropped_data, before.dropped_data);
            self.drain_transport(now, key);
            let Some(peer) = self.peers.get_mut(key) else {
                continue;
            };
            if at.saturating_sub(peer.reported) >= REPORTS {
                peer.reported = at;
                self.send_reports(key, at);
                self.decide_redundancy(key, at);
            }
            self.tend_downlink(now, key);
            self.tend_protection(at, key);
            self.visit_subscriptions(now, key);
        }
    }

    fn visit_tracks(&mut self, now: Instant, at: u64) {
        let timeout = self.config.layer_timeout.as_micros() as u64;
        let window = self.config.retransmission_window.as_micros() as u64;
        for key in (self.schedule.part..self.tracks.capacity()).step_by(ROUND) {
            let Some(track) = self.tracks.get_mut(key) else {
                continue;
            };
            let home = track.is_home();
            // A mirror keeps packets for a shorter time than the home, whose pool wants them back.
            let keep = if home { window } else { window * 3 / 4 };
            let mut changed = false;
            for layer in &mut track.layers {
                layer
                    .ring
                    .expire(at.saturating_sub(keep), at.saturating_sub(RUN), MAX_CATCH_UP);
                changed |= layer.spatial.check(at, timeout) | std::mem::take(&mut layer.resized);
            }
            if changed {
                self.on_layer_activity(now, key);
            }
            self.tend_wishes(now, key);
            if home {
                self.check_layers(now, key, at);
            } else {
                self.relay_keyframe_wishes(key, at);
            }
        }
    }

    fn tell_audio_levels(&mut self, at: u64) {
        let levels: Vec<_> = self
            .tracks
            .iter_mut()
            .filter(|(_, track)| track.is_home() && track.kind == crate::command::MediaKind::Audio)
            .filter_map(|(_, track)| {
                let activity = track.speaker.poll(at)?;
                Some(AudioLevel {
                    track: track.id,
                    level: activity.level,
                    active: activity.active,
                })
            })
            .collect();
        if !levels.is_empty() {
            self.events.push_back(Event::AudioLevels(levels));
        }
    }
}
