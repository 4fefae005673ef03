//! Whether the application sends less than it may: then arrivals say nothing of what the path could carry.

/// Time constant of the sent rate, seconds. Longer tolerates the pauses between frames, shorter sees changes sooner.
const SMOOTHING: f64 = 0.4;
/// Limited below this share of the target, and until this share is reached again: less than what the allocator's margin leaves.
const ENTER: f64 = 0.65;
const LEAVE: f64 = 0.80;
/// Of a target that is used up to this share it is known whether the path carries it.
const USED: f64 = 0.88;
/// Who sends less than this share, as while everything is paused, is seldom why a queue grows. More keeps what was known of the path
/// for whoever comes back, less gives it to others.
const IDLE: f64 = 0.2;

/// Limited for less than this may be a pause, or the ramp of a start, microseconds.
const LASTING: u64 = 1_500_000;

#[derive(Debug)]
pub(super) struct Limited {
    updated: u64,
    /// Bits per second sent.
    rate: f64,
    /// Bits per second of retransmissions alone.
    rtx: f64,
    is_limited: bool,
    is_used: bool,
    is_idle: bool,
    /// When that last changed.
    since: u64,
}

impl Limited {
    pub(super) fn new(now: u64) -> Self {
        Self {
            updated: now,
            rate: 0.0,
            rtx: 0.0,
            is_limited: true,
            is_used: false,
            is_idle: true,
            since: now,
        }
    }

    /// `bytes` and `rtx` were sent since the last call.
    pub(super) fn update(&mut self, now: u64, bytes: u64, rtx: u64, target: f64) {
        let passed = now.saturating_sub(self.updated) as f64 / 1e6;
        self.updated = now;
        // An impulse of bits decays exponentially: no division by the time passed, which may be nothing.
        let decay = (-passed / SMOOTHING).exp();
        self.rate = self.rate * decay + bytes as f64 * 8.0 / SMOOTHING;
        self.rtx = self.rtx * decay + rtx as f64 * 8.0 / SMOOTHING;
        let share = if self.is_limited { LEAVE } else { ENTER };
        let is_limited = self.rate < share * target;
        self.is_idle = self.rate < IDLE * target;
        self.is_used = self.rate >= USED * target;
        if is_limited != self.is_limited {
            self.is_limited = is_limited;
            self.since = now;
        }
    }

    pub(super) fn is_limited(&self) -> bool {
        self.is_limited
    }

    pub(super) fn is_used(&self) -> bool {
        self.is_used
    }

    pub(super) fn is_idle(&self) -> bool {
        self.is_idle
    }

    /// Whether that is so for long enough to be no chance.
    pub(super) fn is_lasting(&self, now: u64) -> bool {
        self.is_limited && now.saturating_sub(self.since) > LASTING
    }

    pub(super) fn rtx_rate(&self) -> f64 {
        self.rtx
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_sent_decides_with_hysteresis() {
        let mut limited = Limited::new(0);
        let mut now = 0;
        let mut send = |rate: u64, seconds: u64| {
            for _ in 0..seconds * 50 {
                now += 20_000;
                limited.update(now, rate / 8 / 50, rate / 80 / 50, 1e6);
            }
            assert!((limited.rtx * 10.0 / limited.rate - 1.0).abs() < 0.01);
            limited.is_limited()
        };
        assert!(!send(1_000_000, 3));
        assert!(!send(700_000, 3));
        assert!(send(600_000, 3));
        assert!(send(700_000, 3));
        assert!(!send(900_000, 3));
    }
}
