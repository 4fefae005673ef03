//! What is remembered between decisions: what had to be given up soon after it was taken waits longer each time.

use super::LayerId;

/// Microseconds within which a fall means that the rise was a mistake. Longer blames real drops of the path on the rise.
const SOON: u64 = 10_000_000;
/// Microseconds that what failed waits at first, doubled with each failure up to the most. Longer is steadier; shorter
/// returns sooner after a path has recovered.
const BACKOFF: u64 = 2_000_000;
const MAX_BACKOFF: u64 = 60_000_000;
/// The most that a picture waits where none is left. Longer spares a path that carries none, shorter shows one sooner.
const MAX_PAUSE: u64 = 4_000_000;

/// Of one subscription: the layer that failed. Make it by `default`.
pub type Hysteresis = Backoff<LayerId>;

/// Of a subscriber as a whole. Otherwise one subscription would try after another what the path does not carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Since when a step up would fit with little to spare, microseconds.
    pub(super) waiting_since: Option<u64>,
    /// Bits per second for video at the last decision.
    pub(super) budget: u64,
    /// Since when what is held has risen above the budget a little, microseconds.
    pub(super) over_since: Option<u64>,
    /// Bits per second of all video that failed.
    pub(super) total: Backoff<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff<T> {
    /// Times in microseconds.
    rose: Option<u64>,
    /// It has only what it began with, when nothing was known of the path.
    is_first: bool,
    failed: Option<T>,
    until: u64,
    strikes: u8,
}

impl<T> Default for Backoff<T> {
    fn default() -> Self {
        Self {
            rose: None,
            is_first: true,
            failed: None,
            until: 0,
            strikes: 0,
        }
    }
}

impl<T: Copy + PartialEq> Backoff<T> {
    /// Nothing was ever taken.
    pub(super) fn is_new(self) -> bool {
        self.rose.is_none()
    }

    /// What may not be taken now, nor anything better.
    pub(super) fn failed(self, now: u64) -> Option<T> {
        self.failed.filter(|_| now < self.until)
    }

    /// What failed last, however long ago.
    pub(super) fn last_failed(self) -> Option<T> {
        self.failed
    }

    pub(super) fn rose(self, now: u64) -> Self {
        Self {
            rose: Some(now),
            is_first: self.is_new(),
            ..self
        }
    }

    /// It had to be given up for lack of bandwidth. `leaves_none`: no picture is left.
    pub(super) fn fell(self, now: u64, what: Option<T>, leaves_none: bool) -> Self {
        let stood = self.rose.is_none_or(|rose| now.saturating_sub(rose) > SOON);
        if stood || self.is_first {
            // It stood long enough: the path has changed. Or it was a first guess.
            return Self {
                strikes: self.strikes.saturating_sub(1),
                ..self
            };
        }
        let most = if leaves_none { MAX_PAUSE } else { MAX_BACKOFF };
        let backoff = BACKOFF.saturating_mul(1 << self.strikes.min(16)).min(most);
        Self {
            failed: what,
            until: now.saturating_add(backoff),
            strikes: self.strikes.saturating_add(1),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;
    const HIGH: Option<LayerId> = Some(LayerId {
        spatial: 2,
        temporal: 2,
    });

    #[test]
    fn each_failure_waits_longer_up_to_a_minute() {
        let mut state = Hysteresis::default().rose(0);
        let mut now = 0;
        let mut waited = Vec::new();
        for _ in 0..7 {
            state = state.rose(now).fell(now + S, HIGH, false);
            now += S;
            assert_eq!(state.failed(now), HIGH);
            let begun = now;
            while state.failed(now).is_some() {
                now += S;
            }
            waited.push((now - begun) / S);
        }
        assert_eq!(waited, [2, 4, 8, 16, 32, 60, 60]);
        let paused = state.rose(now).fell(now + S, HIGH, true);
        assert_eq!((paused.failed(now + 4 * S), paused.failed(now + 5 * S)), (HIGH, None));
    }

    #[test]
    fn the_first_guess_has_not_failed() {
        let first = Hysteresis::default().rose(0).fell(S, HIGH, false);
        assert_eq!(first.failed(S), None);
        assert_eq!(first.rose(2 * S).fell(3 * S, HIGH, false).failed(3 * S), HIGH);
    }

    #[test]
    fn what_stood_long_has_not_failed_and_is_forgiven() {
        let once = Hysteresis::default().rose(0).rose(0).fell(S, HIGH, false);
        let stood = once.rose(10 * S).fell(60 * S, HIGH, false);
        assert_eq!(stood.failed(60 * S), None);
        let again = stood.rose(70 * S).fell(71 * S, HIGH, false);
        assert_eq!((again.failed(72 * S), again.failed(73 * S)), (HIGH, None));
    }

    #[test]
    fn time_that_goes_backwards_is_harmless() {
        let state = Hysteresis::default().rose(0).rose(u64::MAX).fell(0, HIGH, false);
        assert_eq!(state.failed(1), HIGH);
        let late = Hysteresis::default().rose(0).rose(u64::MAX).fell(u64::MAX, HIGH, false);
        assert_eq!(late.failed(u64::MAX), None);
    }
}
