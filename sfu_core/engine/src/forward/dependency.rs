//! Layers by the dependency descriptor, of any codec (AV1 RTP specification appendix A): the payload is never needed.
//!
//! One decode target is forwarded: the highest that is wanted, sent, and reachable. It is reached at frames that say so
//! ("switch", appendix A.4) if everything that they refer to was forwarded, or at once if it is part of the former one.
//! A frame that refers to a dropped one is dropped; one that was not received counts as forwarded, for a repair may
//! fill the gap, until the chain of the target has waited too long for it.

mod frames;
mod targets;

use std::sync::Arc;

use wire::dependency::{Frame, Indication, Structure};

use frames::{Frames, Known};
use targets::Targets;

use super::filter::{Limit, Pass};
use super::sent::Told;
use crate::packet::{Dependency, Packet};

/// A frame of the chain that is missing is worth a keyframe after this, microseconds. Longer waits for later repairs.
const MAX_MISSING: u64 = 300_000;
/// Frames that repeat other active targets than the publisher's, after a change: each of them may be lost.
const RESTATED: u8 = 8;

/// Changes of the target that late frames are judged by.
const FORMER: usize = 4;

#[derive(Debug)]
pub(super) struct Selector {
    targets: Targets,
    frames: Frames,
    /// Decode target that is forwarded; `None` until the keyframe says.
    current: Option<u8>,
    /// Those before it, the newest first, with the RTP time of the picture in which each was left.
    former: [(u8, u64); FORMER],
    /// Decode targets that are forwarded whole.
    complete: u32,
    restate: u8,
    limit: Limit,
    /// The target to get at, and what was wanted when the newest picture began.
    aim: Option<u8>,
    held: Limit,
    /// Spatial layers above this were told and did not come.
    top: u8,
    picture: Picture,
    /// Frame of the chain that is missing, and since when, microseconds.
    missing: Option<(u16, u64)>,
    broken: bool,
    /// From frame numbers of the stream to those sent, and the newest sent.
    offset: u16,
    sent: u16,
}

/// The newest one: frames with one RTP time.
#[derive(Clone, Copy, Debug, Default)]
struct Picture {
    time: u64,
    /// It is a keyframe.
    key: bool,
    /// It was ended with a frame that was not the publisher's last.
    closed: bool,
    /// Highest spatial layer of a frame that was forwarded, and indications of those that were dropped.
    highest: Option<u8>,
    dropped: u64,
}

impl Selector {
    pub(super) fn new(limit: Limit) -> Self {
        Self {
            targets: Targets::default(),
            frames: Frames::default(),
            current: None,
            former: [(0, 0); FORMER],
            complete: 0,
            restate: 0,
            limit,
            aim: None,
            held: limit,
            top: u8::MAX,
            picture: Picture::default(),
            missing: None,
            broken: false,
            offset: 0,
            sent: 0,
        }
    }

    /// Another stream takes over, with this keyframe. Frame numbers run on.
    pub(super) fn begin(&mut self, packet: &Packet) {
        let first = self.targets.is_empty();
        let sent = self.sent;
        *self = Self::new(self.limit);
        if let Some(dependency) = &packet.facts.dependency {
            self.sent = if first { dependency.number.wrapping_sub(1) } else { sent };
            self.offset = self.sent.wrapping_add(1).wrapping_sub(dependency.number);
        }
    }

    pub(super) fn set_limit(&mut self, limit: Limit) {
        self.limit = limit;
        self.aim = self.targets.best(limit, self.top);
    }

    pub(super) fn pass(&mut self, packet: &Packet) -> Option<Pass> {
        let Some(dependency) = &packet.facts.dependency else {
            return Some(Pass::default());
        };
        if let Some(structure) = &packet.structure {
            self.take_structure(structure);
        }
        let number = dependency.number;
        let frame_number = number.wrapping_add(self.offset);
        match (self.frames.known(number), &dependency.frame) {
            (Known::Dropped, _) => return None,
            (Known::Forwarded, _) => {}
            // It came before its structure: the rest of the frame follows it.
            (Known::No, None) => {
                self.frames.record(number, true, false);
                let told = Told {
                    targets: 0,
                    frame_number,
                };
                return Some(Pass {
                    ends: false,
                    told: Some(told),
                });
            }
            (Known::No, Some(frame)) => {
                self.begin_picture(packet, dependency);
                let forwards = self.decide(packet, number, frame);
                let ends = forwards && self.ends(packet, frame);
                self.picture.closed |= ends;
                self.frames.record(number, forwards, ends);
                if !forwards {
                    if packet.time == self.picture.time {
                        self.picture.dropped |= frame.indications();
                    }
                    return None;
                }
                self.on_forwarded(packet, number, frame);
            }
        }
        if let Some(frame) = &dependency.frame {
            self.on_last(packet, number, frame);
        }
        Some(Pass {
            ends: dependency.end && self.frames.ends(number),
            told: Some(Told {
                targets: self.active_targets(packet, dependency.active),
                frame_number,
            }),
        })
    }

    /// The frame stayed behind on its way here.
    pub(super) fn leave_out(&mut self, packet: &Packet) {
        let Some(dependency) = &packet.facts.dependency else {
            return;
        };
        if self.frames.known(dependency.number) == Known::No {
            self.frames.record(dependency.number, false, false);
        }
        // The publisher has it, whatever a keyframe showed here.
        if packet.facts.spatial > self.top {
            self.top = u8::MAX;
            self.aim = self.targets.best(self.limit, self.top);
        }
        // Of higher temporal layers, those of other spatial layers may come.
        if packet.facts.temporal == 0 {
            self.step_below(packet.facts.spatial);
        }
    }

    /// Nothing of this spatial layer and above comes: what is told as active goes no further.
    fn step_below(&mut self, spatial: u8) {
        let (Some(current), Some(below)) = (self.current, spatial.checked_sub(1)) else {
            return;
        };
        let (now, temporal) = self.targets.layers(current);
        if now < spatial {
            return;
        }
        let rest = Limit {
            spatial: below,
            temporal,
        };
        let part = |&target: &u8| self.targets.is_part(target, current);
        let part = self.targets.by_preference(rest, self.top).find(part);
        if let Some(part) = part {
            self.set_current(part);
        }
    }

    pub(super) fn needs_keyframe(&self) -> bool {
        let (Some(aim), Some(current)) = (self.aim, self.current) else {
            return self.broken;
        };
        // What is part of the current target is reached at once, another temporal layer at the next switch.
        let spatially = self.targets.layers(aim).0 != self.targets.layers(current).0;
        self.broken || aim != current && spatially && !self.targets.is_part(aim, current)
    }

    pub(super) fn layers(&self) -> (u8, u8) {
        self.current.map_or((0, 0), |current| self.targets.layers(current))
    }

    fn take_structure(&mut self, structure: &Arc<Structure>) {
        if self.targets.set_structure(structure) {
            // Targets of another structure mean something else.
            self.current = None;
            self.aim = self.targets.best(self.limit, self.top);
        }
    }

    fn begin_picture(&mut self, packet: &Packet, dependency: &Dependency) {
        if packet.time > self.picture.time {
            let key = packet.facts.keyframe;
            self.picture = Picture {
                time: packet.time,
                key,
                ..Picture::default()
            };
            self.held = self.limit;
            if key {
                self.top = u8::MAX;
            }
            self.targets.set_active(dependency.active);
            self.aim = self.targets.best(self.limit, self.top);
            self.step_down();
        }
    }

    fn decide(&mut self, packet: &Packet, number: u16, frame: &Frame) -> bool {
        if packet.time == self.picture.time {
            self.switch(number, frame);
        }
        let Some(current) = self.at(packet.time) else {
            return false;
        };
        let present = frame.indication(current) != Indication::NotPresent;
        let mut references = frame.differences.as_slice().iter();
        let decodable =
            references.all(|difference| self.frames.known(number.wrapping_sub(*difference)) != Known::Dropped);
        if present && !decodable && frame.indication(current) != Indication::Discardable {
            self.broken = true;
        }
        present && decodable
    }

    /// At the beginning of a picture: to what is part of what is forwarded.
    fn step_down(&mut self) {
        let (Some(aim), Some(current)) = (self.aim, self.current) else {
            return;
        };
        if aim == current {
            return;
        }
        // Another spatial layer may have to wait for a keyframe; fewer frames need not.
        let fewer = Limit {
            spatial: self.targets.layers(current).0,
            temporal: self.held.temporal,
        };
        // What is forwarded is part of itself: while it is wanted, it stays.
        let part = |limit| {
            let mut candidates = self.targets.by_preference(limit, self.top);
            candidates.find(|&target| self.targets.is_part(target, current))
        };
        let part = part(self.held).or_else(|| part(fewer));
        if let Some(part) = part.filter(|&part| part != current) {
            self.set_current(part);
        }
    }

    /// To the best target that this frame leads to.
    fn switch(&mut self, number: u16, frame: &Frame) {
        if self.aim == self.current {
            return;
        }
        let mut references = frame.differences.as_slice().iter();
        if !references.all(|difference| self.frames.known(number.wrapping_sub(*difference)) == Known::Forwarded) {
            return;
        }
        let now = self.current.map(|current| self.targets.layers(current));
        let within = now.filter(|&(spatial, temporal)| spatial <= self.held.spatial && temporal <= self.held.temporal);
        let leads = |target: &u8| frame.indication(*target) == Indication::Switch;
        let candidates = self.targets.by_preference(self.held, self.top).chain(self.aim);
        let better = candidates.filter(leads).find(|&target| {
            let layers = self.targets.layers(target);
            let same = now.is_some_and(|now| now.0 == layers.0);
            // Another spatial layer ends the picture elsewhere: not if that was passed.
            let open = !self.picture.closed && self.picture.highest.is_none_or(|highest| layers.0 > highest);
            // Of a picture that arrives out of order a part may be gone.
            let whole = self.picture.dropped >> (target * 2) & Indication::ALL_BITS == 0;
            within.is_none_or(|within| layers > within) && (same || open) && whole
        });
        if let Some(target) = better {
            self.set_current(target);
        }
    }

    fn set_current(&mut self, target: u8) {
        if let Some(former) = self.current.replace(target) {
            self.former.rotate_right(1);
            self.former[0] = (former, self.picture.time);
            self.restate = RESTATED;
        }
        self.complete = self.targets.complete(target);
        self.missing = None;
    }

    /// The target of the picture of this time: a part of it may be forwarded already.
    fn at(&self, time: u64) -> Option<u8> {
        let former = self.former.iter().take_while(|(_, left)| time < *left).last();
        former.map(|(target, _)| *target).or(self.current)
    }

    /// Nothing above the frame is forwarded in its picture.
    fn ends(&self, packet: &Packet, frame: &Frame) -> bool {
        let Some(current) = self.at(packet.time) else {
            return false;
        };
        let (spatial, _) = self.targets.layers(current);
        // A keyframe may lead to a higher layer still.
        let key = self.picture.key && packet.time == self.picture.time;
        let rises = key && self.aim.is_some_and(|aim| self.targets.layers(aim).0 > spatial);
        frame.spatial == spatial && spatial < self.targets.top() && !rises
    }

    fn on_forwarded(&mut self, packet: &Packet, number: u16, frame: &Frame) {
        if packet.time == self.picture.time {
            self.picture.highest = self.picture.highest.max(Some(frame.spatial));
        }
        let sent = number.wrapping_add(self.offset);
        if (sent.wrapping_sub(self.sent) as i16) > 0 {
            self.sent = sent;
        }
        let chain = self.current.and_then(|current| self.targets.chain(current));
        let before = chain.and_then(|chain| frame.chains.get(usize::from(chain)));
        if self.missing.is_some_and(|(missing, _)| missing == number) || before == Some(&0) {
            self.missing = None;
        }
        if packet.facts.keyframe {
            self.broken = false;
        }
        match before {
            None | Some(0) => {}
            Some(&difference) => match (self.frames.known(number.wrapping_sub(difference.into())), self.missing) {
                (Known::No, None) => self.missing = Some((number.wrapping_sub(difference.into()), packet.arrival)),
                (Known::Dropped, _) => self.broken = true,
                _ => {}
            },
        }
        self.broken |= self
            .missing
            .is_some_and(|(_, since)| packet.arrival > since + MAX_MISSING);
    }

    /// A keyframe may end with fewer spatial layers than its structure has.
    fn on_last(&mut self, packet: &Packet, number: u16, frame: &Frame) {
        let newest = packet.marker && self.picture.key && packet.time == self.picture.time;
        if newest && frame.spatial < self.layers().0 {
            self.top = frame.spatial;
            self.aim = self.targets.best(self.limit, self.top);
            let former = self.current.take();
            self.switch(number, frame);
            self.current = self.current.or(former);
        }
    }

    /// Active targets to be written into the packet; 0 leaves them as they are.
    fn active_targets(&mut self, packet: &Packet, active: u32) -> u32 {
        if !packet.facts.frame_start {
            return 0;
        }
        let late = packet.time < self.picture.time;
        let complete = match self.at(packet.time) {
            Some(target) if late => self.targets.complete(target),
            _ => self.complete,
        };
        let forwarded = complete & active;
        if forwarded != active {
            return forwarded;
        }
        if self.restate == 0 || late {
            return 0;
        }
        self.restate -= 1;
        forwarded
    }
}

#[cfg(test)]
mod tests;
