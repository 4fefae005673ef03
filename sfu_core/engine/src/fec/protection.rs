//! How much parity a stream gets, over how many frames, and how it is spread: a pure function of what is known of the path.
//!
//! A viewer sees a freeze when a frame comes later than about 150 ms after its time (`totalFreezesDuration` of W3C
//! webrtc-stats). That is the time in which a repair must be there to be of use, so groups are short, and parity is all that
//! helps when the round trip is longer. What it can mend is bounded by the packets sent in this time: long bursts
//! are left to retransmission. Where a stream has temporal layers, the frames that others depend on get the whole budget: one
//! that none depends on is missed for its own duration at most.

use super::burst::Loss;

/// Round trips up to which retransmission alone is used, and from which parity has its full share, milliseconds. Lower
/// spends bandwidth where a retransmission would have come in time.
const SHORT_RTT: f32 = 100.0;
const LONG_RTT: f32 = 150.0;
/// Loss from which a stream is protected. Lower protects against accidents, which are rarer than what protection costs.
const MIN_LOSS: f32 = 0.003;
/// Parity per loss: the budget must outlive the losses that fall together.
const PER_LOSS: f32 = 16.0;
/// Share of parity up to [`HEAVY_LOSS`]; beyond it grows to [`MAX_SHARE`]. Higher mends more and leaves less for the picture.
const TYPICAL_SHARE: f32 = 0.1;
const HEAVY_LOSS: f32 = 0.1;
const MAX_SHARE: f32 = 0.5;
/// Loss from which a stream with temporal layers gives the highest for parity. Half the frames that come are more than all of
/// them frozen; lower gives them away where few would freeze.
const THIN_LOSS: f32 = 0.03;
/// Only where freezes are long, and bursts short enough that so much parity ends them.
const THIN_RTT: f32 = 200.0;
const THIN_BURST: f32 = 6.0;
/// A keyframe mends everything, and asking for another takes a round trip and many packets.
const KEYFRAME_GAIN: f32 = 1.5;
/// Below this estimate a repair packet is a large part of what can be sent, bits per second.
const MIN_ESTIMATE: u64 = 100_000;
/// From a lost packet to the repair that mends it, microseconds: what a freeze allows, less some jitter. Longer groups
/// mend longer bursts, too late.
const IN_TIME: u64 = 130_000;
/// Share of bursts that parity must be able to mend to be worth its cost. Higher leaves more paths to retransmission.
const MIN_MENDED: f32 = 0.25;
/// Distance of two copies of a retransmission, microseconds: a burst should not take both, and the first should be the
/// only one that matters as a rule.
const COPY_DISTANCE: std::ops::RangeInclusive<u64> = 20_000..=60_000;
/// Longest distance of a group's end to its first repair and between two, microseconds: a burst should not take both.
const MAX_DISTANCE: u64 = 40_000;

/// What is known of a path and of a stream on it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    pub loss: Loss,
    /// Milliseconds.
    pub rtt: f32,
    /// What the path carries, and what media and retransmissions take of it now: bits per second.
    pub estimate: u64,
    pub used: u64,
}

/// The frames to be protected.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Frames {
    /// Per second, of all layers that are sent.
    pub rate: f32,
    /// Packets per frame.
    pub packets: f32,
    /// Frames of higher temporal layers are told from the others.
    pub layered: bool,
    pub keyframe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Protection {
    /// Octets of parity per octet of media.
    pub share: f32,
    /// Frames per group.
    pub frames: u8,
    /// Frames that no other depends on are left out.
    pub essential_only: bool,
    /// From the end of a group to its first repair, and from one to the next, microseconds.
    pub delay: u64,
    pub spacing: u64,
    /// The highest temporal layer should be left out: its octets pay for the parity.
    pub thin: bool,
    /// Retransmissions are sent again after so long, microseconds: one that is lost costs another round trip.
    pub second_copy: Option<u64>,
    /// From the beginning of a group until it is ended, whatever came, microseconds.
    pub patience: u64,
}

impl Protection {
    /// Retransmission alone.
    pub const NONE: Self = Self {
        share: 0.0,
        frames: 1,
        essential_only: false,
        delay: 0,
        spacing: 0,
        thin: false,
        second_copy: None,
        patience: IN_TIME,
    };

    pub fn is_none(&self) -> bool {
        self.share <= 0.0
    }
}

/// What suits these frames on this path. Reserve `share` of the estimate before allocating layers: what does not fit
/// it is not spent.
pub fn protection(path: &Path, frames: &Frames) -> Protection {
    let share = share(path, frames);
    if share <= 0.0 {
        return Protection::NONE;
    }
    let rate = frames.rate.clamp(1.0, 120.0);
    let per_second = rate * frames.packets.max(1.0);
    // The time that a burst takes.
    let burst = (1e6 * path.loss.burst / per_second) as u64;
    let repairs = (share * per_second * IN_TIME as f32 / 1e6).max(1.0);
    if mended(path.loss.burst, repairs) < MIN_MENDED {
        let (&least, &most) = (COPY_DISTANCE.start(), COPY_DISTANCE.end());
        return Protection {
            second_copy: Some(burst.clamp(least, most)),
            ..Protection::NONE
        };
    }
    let distance = burst.min(MAX_DISTANCE);
    // One frame where only every second or fourth is protected, for the others lie between.
    let essential_only = frames.layered && !is_thin(path, frames);
    let count = match essential_only || frames.keyframe {
        true => 1,
        false => ((IN_TIME - distance) as f32 * rate / 1e6).clamp(1.0, 8.0) as u8,
    };
    Protection {
        share,
        frames: count,
        essential_only,
        delay: distance,
        spacing: (distance / 2).min((IN_TIME - distance) / repairs.ceil() as u64),
        thin: is_thin(path, frames),
        second_copy: None,
        patience: IN_TIME,
    }
}

/// Share of bursts no longer than the repairs that can be there in time: their length is geometric in Gilbert's model.
fn mended(burst: f32, repairs: f32) -> f32 {
    1.0 - (1.0 - 1.0 / burst.max(1.0)).powf(repairs)
}

fn is_thin(path: &Path, frames: &Frames) -> bool {
    frames.layered && path.loss.share >= THIN_LOSS && path.loss.burst <= THIN_BURST && path.rtt >= THIN_RTT
}

fn share(path: &Path, frames: &Frames) -> f32 {
    let loss = path.loss.share.max(0.0);
    if loss < MIN_LOSS || path.estimate < MIN_ESTIMATE {
        return 0.0;
    }
    let wanted = match loss <= HEAVY_LOSS {
        _ if is_thin(path, frames) => MAX_SHARE,
        true => (PER_LOSS * loss).min(TYPICAL_SHARE),
        false => TYPICAL_SHARE + 2.0 * (loss - HEAVY_LOSS),
    };
    let needed = ((path.rtt - SHORT_RTT) / (LONG_RTT - SHORT_RTT)).clamp(0.0, 1.0);
    let gain = if frames.keyframe { KEYFRAME_GAIN } else { 1.0 };
    let spare = path.estimate as f32 / (path.used as f32).max(1.0) - 1.0;
    (wanted * needed * gain).min(spare).clamp(0.0, MAX_SHARE)
}

#[cfg(test)]
mod tests;
