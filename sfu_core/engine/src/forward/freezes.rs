//! How long a subscriber's picture stood still, as far as a sender can know.
//!
//! A picture is delivered when its last packet arrived by the subscriber's own word (transport-wide feedback or RFC 8888) and the
//! subscriber asks for nothing up to there. A freeze is a gap between two delivered pictures of more than max(3 × frame,
//! frame + 150 ms), as `freezeCount` of webrtc-stats counts them. What the publisher did not send is no freeze: the gap counts
//! from when the picture after the last delivered one was due here.
//!
//! What it cannot see: pauses of the decoder or the screen, pictures that the jitter buffer of the receiver skipped or smoothed over,
//! subscribers that tell nothing of single packets. A lost packet that nobody asks for within [`UNASKED`] is taken to have been recovered
//! (forward error correction) or to be of no need. Feedback that is lost is not taken for pictures that are.

use std::collections::VecDeque;

/// Pictures waited for at most: two seconds of the fastest camera.
const MOST_PICTURES: usize = 128;
const MOST_HOLES: usize = 256;
/// A gap is a freeze when it exceeds the usual one so many times, and by so many microseconds (webrtc-stats, `freezeCount`).
const FACTOR: u64 = 3;
const MARGIN: u64 = 150_000;
/// A packet that is missing and not asked for is not missed, microseconds. Longer takes lost requests into account, shorter tells sooner.
const UNASKED: u64 = 500_000;
/// A packet that was asked for, and for so long not again, came or is given up, microseconds: receivers ask again every round trip.
const ASKED: u64 = 1_000_000;
/// The usual time between pictures is a mean over about so many. More is steadier, fewer follows a change of layer sooner.
const MEAN: i64 = 8;
/// And never more than this, microseconds: a still screen has none.
const SLOWEST: u64 = 1_000_000;
/// Numbers that a request may lie back.
const REACH: u16 = 2_048;

/// A picture sent.
#[derive(Clone, Copy, Debug)]
struct Picture {
    /// Numbers of its first and last packet.
    start: u16,
    end: u16,
    temporal: u8,
    keyframe: bool,
    /// When it came from the publisher, microseconds.
    due: u64,
    /// When its last packet arrived, and what was missing before it, on the subscriber's clock.
    arrived: Option<i64>,
    repaired: i64,
}

/// A packet that the subscriber asked for.
#[derive(Clone, Copy, Debug)]
struct Hole {
    sequence: u16,
    temporal: u8,
    /// Last, microseconds.
    asked: u64,
}

/// The newest picture delivered.
#[derive(Clone, Copy, Debug)]
struct Delivered {
    at: i64,
    due: u64,
    end: u16,
}

/// What of one video subscription is known to have been seen.
#[derive(Debug, Default)]
pub(super) struct Freezes {
    pictures: VecDeque<Picture>,
    holes: Vec<Hole>,
    last: Option<Delivered>,
    /// When the first picture after it was due.
    waiting: Option<u64>,
    /// The picture sent last: its end, and when it was due.
    newest: Option<(u16, u64)>,
    /// Where the newest keyframe that was delivered began.
    keyframe: Option<u16>,
    /// The picture that is being sent is a keyframe.
    opens: bool,
    /// Nothing is decodable before a keyframe.
    broken: bool,
    /// Pictures are withheld until one.
    cut: bool,
    /// Microseconds between pictures, smoothed.
    frame: u64,
    /// Least of arrival less due, their clock less ours: a path without a queue.
    offset: Option<i64>,
    /// Microseconds from due to being told of, smoothed.
    lag: u64,
    count: u64,
    /// Microseconds.
    total: u64,
    delivered: u64,
    /// Microseconds.
    polled: u64,
}

/// What is told of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Frozen {
    pub(super) count: u64,
    /// Milliseconds altogether, and of the one that goes on.
    pub(super) total_ms: f64,
    pub(super) now_ms: f64,
    pub(super) delivered: u64,
}

impl Freezes {
    /// The picture that begins now is a keyframe.
    pub(super) fn on_keyframe(&mut self) {
        self.opens = true;
    }

    /// The last packet of a picture was sent.
    pub(super) fn on_picture(&mut self, end: u16, temporal: u8, due: u64) {
        let was_cut = std::mem::take(&mut self.cut);
        if let Some((_, before)) = self.newest.filter(|_| !was_cut)
            && let Some(gap) = due.checked_sub(before)
        {
            let gap = gap.min(SLOWEST) as i64;
            let mean = self.frame as i64;
            self.frame = if mean == 0 { gap } else { mean + (gap - mean) / MEAN } as u64;
        }
        if self.pictures.len() >= MOST_PICTURES {
            self.pictures.pop_front();
        }
        self.pictures.push_back(Picture {
            start: self.newest.map_or(end, |(end, _)| end.wrapping_add(1)),
            end,
            temporal,
            keyframe: std::mem::take(&mut self.opens),
            due,
            arrived: None,
            repaired: i64::MIN,
        });
        self.newest = Some((end, due));
        self.waiting.get_or_insert(due);
    }

    /// What comes before the next keyframe is withheld because the path is too slow.
    pub(super) fn on_cut(&mut self) {
        self.broken = true;
        self.cut = true;
        if let Some((_, due)) = self.newest {
            self.waiting.get_or_insert(due + self.frame);
        }
    }

    /// The subscriber asks for a packet of this temporal layer.
    pub(super) fn on_asked(&mut self, now: u64, sequence: u16, temporal: u8) {
        if let Some(hole) = self.holes.iter_mut().find(|hole| hole.sequence == sequence) {
            hole.asked = now;
            return;
        }
        let Some((newest, _)) = self.newest else { return };
        let back = newest.wrapping_sub(sequence);
        // Numbers of the picture that is being sent are ahead.
        if back > REACH && back < u16::MAX - REACH {
            return;
        }
        // Pictures have gone on without it.
        let is_past = |number: u16| is_after(number, sequence);
        if temporal > 0 && self.last.is_some_and(|last| is_past(last.end)) || self.keyframe.is_some_and(is_past) {
            return;
        }
        if self.holes.len() >= MOST_HOLES {
            self.holes.swap_remove(0);
        }
        self.holes.push(Hole {
            sequence,
            temporal,
            asked: now,
        });
    }

    /// The subscriber asks for a keyframe. That it does so while nothing is missing tells nothing: recorders do it by the clock.
    pub(super) fn on_keyframe_request(&mut self) {
        self.broken |= !self.holes.is_empty() || self.skipped().is_some();
    }

    /// A packet that ends a picture, or was sent again, arrived.
    pub(super) fn on_arrived(&mut self, now: u64, sequence: u16, at: i64) {
        for picture in self.pictures.iter_mut().filter(|picture| picture.end == sequence) {
            picture.arrived.get_or_insert(at);
            let offset = at.saturating_sub(picture.due as i64);
            self.offset = Some(self.offset.map_or(offset, |least| least.min(offset)));
        }
        self.fill(sequence, at);
        self.settle(now);
    }

    /// From time to time: what nobody asks for any more is not waited for.
    pub(super) fn poll(&mut self, now: u64) {
        self.polled = now;
        let offset = self.offset.unwrap_or(0);
        while let Some(hole) = self
            .holes
            .iter()
            .find(|hole| now.saturating_sub(hole.asked) > ASKED)
            .copied()
        {
            self.fill(hole.sequence, (hole.asked as i64).saturating_add(offset));
        }
        while let Some(index) = self.skipped()
            && let Some(picture) = self.pictures.get_mut(index)
            && now.saturating_sub(picture.due) > UNASKED + self.lag
        {
            picture.arrived = Some((picture.due as i64).saturating_add(offset));
        }
        self.settle(now);
    }

    /// The subscription is paused: what was is no measure of what comes. A freeze that went on ends, as the subscriber is told.
    pub(super) fn reset(&mut self) {
        let open = self.open(self.polled);
        self.count += u64::from(open > 0);
        self.total += open;
        *self = Self {
            pictures: std::mem::take(&mut self.pictures),
            holes: std::mem::take(&mut self.holes),
            count: self.count,
            total: self.total,
            delivered: self.delivered,
            ..Self::default()
        };
        self.pictures.clear();
        self.holes.clear();
    }

    pub(super) fn told(&self, now: u64) -> Frozen {
        let open = self.open(now);
        Frozen {
            count: self.count + u64::from(open > 0),
            total_ms: (self.total + open) as f64 / 1e3,
            now_ms: open as f64 / 1e3,
            delivered: self.delivered,
        }
    }

    /// Microseconds that the picture has stood still for by now; 0 when it does not.
    fn open(&self, now: u64) -> u64 {
        let (Some(due), Some(_)) = (self.waiting, self.last) else {
            return 0;
        };
        let gap = now.saturating_sub(due + self.lag) + self.frame;
        if gap > self.threshold() { gap } else { 0 }
    }

    fn threshold(&self) -> u64 {
        (FACTOR * self.frame).max(self.frame + MARGIN)
    }

    /// A picture that did not arrive though a later one did.
    fn skipped(&self) -> Option<usize> {
        let last = self.pictures.iter().rposition(|picture| picture.arrived.is_some())?;
        let first = self.pictures.iter().position(|picture| picture.arrived.is_none())?;
        let sequence = self.pictures.get(first)?.end;
        (first < last && !self.holes.iter().any(|hole| hole.sequence == sequence)).then_some(first)
    }

    /// A packet that was missing is there since `at`.
    fn fill(&mut self, sequence: u16, at: i64) {
        let Some(index) = self.holes.iter().position(|hole| hole.sequence == sequence) else {
            return;
        };
        let hole = self.holes.swap_remove(index);
        for picture in &mut self.pictures {
            if !is_after(hole.sequence, picture.end) && hole.temporal <= picture.temporal {
                picture.repaired = picture.repaired.max(at);
                if picture.end == hole.sequence {
                    picture.arrived.get_or_insert(at);
                }
            }
        }
    }

    /// Delivers what is decodable.
    fn settle(&mut self, now: u64) {
        while let Some(index) = (0..self.pictures.len()).find(|&index| self.is_decodable(index)) {
            let first = self.pictures.front().map(|picture| picture.due);
            let Some(picture) = self.pictures.drain(..=index).next_back() else {
                return;
            };
            self.deliver(now, &picture, first.unwrap_or(picture.due));
        }
    }

    fn is_decodable(&self, index: usize) -> bool {
        let Some(picture) = self.pictures.get(index) else {
            return false;
        };
        if picture.arrived.is_none() || self.broken && !picture.keyframe {
            return false;
        }
        if picture.keyframe {
            let within = |hole: &Hole| !is_after(picture.start, hole.sequence) && !is_after(hole.sequence, picture.end);
            return !self.holes.iter().any(within);
        }
        // It may refer to every earlier picture of its own temporal layer and those below.
        let before = |other: &Picture| other.temporal <= picture.temporal;
        let missing = |hole: &Hole| hole.temporal <= picture.temporal && !is_after(hole.sequence, picture.end);
        !self.pictures.range(..index).any(before) && !self.holes.iter().any(missing)
    }

    /// `due`: when the first picture since the last delivered one was.
    fn deliver(&mut self, now: u64, picture: &Picture, due: u64) {
        let due = self.waiting.unwrap_or(due);
        let came = picture.arrived.unwrap_or_default().max(picture.repaired);
        let at = self.last.map_or(came, |last| came.max(last.at));
        if let Some(last) = self.last {
            let expected = last.at.saturating_add(due.saturating_sub(last.due) as i64);
            // Their clock is their claim: it cannot have been longer than it was here.
            let late = at.saturating_sub(expected).clamp(0, now.saturating_sub(due) as i64);
            let gap = late as u64 + self.frame;
            if gap > self.threshold() {
                self.count += 1;
                self.total += gap;
            }
        }
        let lag = now.saturating_sub(picture.due);
        self.lag = if self.lag == 0 { lag } else { (7 * self.lag + lag) / 8 };
        self.delivered += 1;
        self.last = Some(Delivered {
            at,
            due: picture.due,
            end: picture.end,
        });
        self.waiting = self.pictures.front().map(|picture| picture.due);
        if picture.keyframe {
            self.broken = false;
            self.keyframe = Some(picture.start);
        }
        // Nobody decodes these any more.
        let keyframe = picture.keyframe;
        self.holes
            .retain(|hole| is_after(hole.sequence, picture.end) || !keyframe && hole.temporal <= picture.temporal);
    }
}

/// Of numbers that wrap.
fn is_after(number: u16, other: u16) -> bool {
    (number.wrapping_sub(other) as i16) > 0
}

#[cfg(test)]
mod tests;
