//! Does padding fill what the media leave of the target? Layers come in steps: what is between them is never sent, and an estimate
//! that rises through it is a guess that fails when the next layer is taken. Filled, every bit of the target is tried before
//! a layer depends on it, and overuse says what the path carries, not what the media happened to be.

/// Calm before the first try, and the longest, after tries that failed, microseconds. Shorter finds small changes of the capacity
/// sooner, longer sends less padding and leaves the queue empty.
const FIRST_WAIT: u64 = 1_000_000;
const LONGEST_WAIT: u64 = 8_000_000;
/// Where the capacity keeps changing.
const VOLATILE_WAIT: u64 = 500_000;
/// Congestion so soon after the padding ended is due to it, microseconds.
const BLAMED: u64 = 500_000;
/// A target this much above or below where it failed last is of another path: waiting begins anew.
const CHANGED: f64 = 0.2;
/// What a short cluster promised is tried by padding that rises to it within this time and stays there for that, beside the way
/// there and back, microseconds. Longer is surer, shorter takes the next layer sooner.
const RAMP: u64 = 120_000;
const STAY: u64 = 80_000;
/// No try into a queue of so many milliseconds beside the noise.
const QUEUE: f64 = 12.0;

#[derive(Debug)]
pub(super) struct Fill {
    is_filling: bool,
    /// When that last changed, microseconds.
    since: u64,
    wait: u64,
    /// Bits per second.
    failed: Option<f64>,
    trial: Option<Trial>,
}

/// A rate that a cluster promised.
#[derive(Clone, Copy, Debug)]
struct Trial {
    rate: f64,
    from: f64,
    since: u64,
}

/// What it is decided by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub(super) target: f64,
    /// More is of no use.
    pub(super) most: f64,
    /// Milliseconds, without noise.
    pub(super) queue: f64,
    /// Microseconds without congestion.
    pub(super) calm_for: u64,
    /// The capacity keeps changing.
    pub(super) is_volatile: bool,
    /// A queue empties, or others keep it full, or nothing was ever found out.
    pub(super) is_unsuited: bool,
}

impl Fill {
    pub(super) fn new(now: u64) -> Self {
        Self {
            is_filling: false,
            since: now,
            wait: FIRST_WAIT,
            failed: None,
            trial: None,
        }
    }

    /// Tries `rate` before anything depends on it; `target` is known to be carried.
    pub(super) fn attempt(&mut self, now: u64, target: f64, rate: f64) {
        self.trial = Some(Trial {
            rate,
            from: target,
            since: now,
        });
    }

    pub(super) fn is_trying(&self) -> bool {
        self.trial.is_some()
    }

    /// The rate tried, once it has lasted.
    pub(super) fn passed(&mut self, now: u64, round_trip: u64) -> Option<f64> {
        let lasts = RAMP + STAY + round_trip;
        self.trial
            .take_if(|trial| now.saturating_sub(trial.since) >= lasts)
            .map(|trial| trial.rate)
    }

    /// Bits per second up to which padding is to be sent.
    pub(super) fn rate(&self, now: u64, target: f64) -> Option<f64> {
        let Some(trial) = self.trial else {
            return self.is_filling.then_some(target);
        };
        let share = now.saturating_sub(trial.since) as f64 / RAMP as f64;
        Some(trial.from + (trial.rate - trial.from) * share.min(1.0)).map(|rate| rate.max(target))
    }

    /// Bits per second arrived when congestion was met.
    pub(super) fn on_congestion(&mut self, now: u64, rate: f64) {
        if self.failed.is_some_and(|failed| (rate / failed - 1.0).abs() > CHANGED) {
            (self.failed, self.wait) = (None, FIRST_WAIT);
        }
        let is_blamed = self.is_filling || now.saturating_sub(self.since) < BLAMED;
        if std::mem::take(&mut self.is_filling) {
            self.since = now;
        }
        let is_blamed = self.trial.take().is_some() || is_blamed;
        if is_blamed {
            if self.failed.is_some() {
                self.wait = (self.wait * 2).min(LONGEST_WAIT);
            }
            self.failed = Some(rate);
        }
    }

    /// Whether it ended because a queue began to grow.
    pub(super) fn update(&mut self, now: u64, situation: Situation) -> bool {
        let Situation { target, most, .. } = situation;
        if self.failed.is_some_and(|failed| target > failed * (1.0 + CHANGED)) {
            (self.failed, self.wait) = (None, FIRST_WAIT);
        }
        if situation.queue >= QUEUE && (self.is_filling || self.trial.is_some()) {
            return true;
        }
        let wait = if situation.is_volatile {
            VOLATILE_WAIT
        } else {
            self.wait
        };
        let fills = !situation.is_unsuited
            && target < most
            && (self.is_filling || (situation.calm_for >= wait && situation.queue < QUEUE));
        if fills != self.is_filling {
            (self.is_filling, self.since) = (fills, now);
        }
        false
    }

    pub(super) fn is_filling(&self) -> bool {
        self.is_filling
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;
    const CALM: Situation = Situation {
        target: 1e6,
        most: 3e6,
        queue: 0.0,
        calm_for: 10 * S,
        is_volatile: false,
        is_unsuited: false,
    };

    #[test]
    fn when_it_fills() {
        for (fills, situation) in [
            (true, CALM),
            // More is of no use.
            (false, Situation { most: 1e6, ..CALM }),
            // Congestion was met just now, or a queue waits.
            (
                false,
                Situation {
                    calm_for: S / 2,
                    ..CALM
                },
            ),
            (false, Situation { queue: 20.0, ..CALM }),
            (
                false,
                Situation {
                    is_unsuited: true,
                    ..CALM
                },
            ),
            // Where the capacity keeps changing, sooner.
            (
                true,
                Situation {
                    calm_for: S / 2,
                    is_volatile: true,
                    ..CALM
                },
            ),
        ] {
            let mut fill = Fill::new(0);
            assert!(!fill.update(S, situation));
            assert_eq!(fill.rate(S, 1e6).is_some(), fills, "{situation:?}");
        }
    }

    #[test]
    fn each_failure_waits_longer_until_the_path_has_changed() {
        let mut fill = Fill::new(0);
        let mut waits = Vec::new();
        for second in 1..6 {
            fill.update(second * 100 * S, CALM);
            fill.on_congestion(second * 100 * S, 1e6);
            waits.push(fill.wait / S);
        }
        assert_eq!(waits, [1, 2, 4, 8, 8]);
        // Congestion long after the padding is not blamed on it.
        fill.on_congestion(900 * S, 1e6);
        assert_eq!(fill.wait, 8 * S);
        fill.on_congestion(950 * S, 0.5e6);
        assert_eq!(fill.wait, FIRST_WAIT);
    }

    #[test]
    fn a_trial_rises_lasts_and_ends_with_a_queue() {
        let mut fill = Fill::new(0);
        fill.attempt(S, 1e6, 2e6);
        assert_eq!(fill.rate(S, 1e6), Some(1e6));
        assert_eq!(fill.rate(S + RAMP / 2, 1e6), Some(1.5e6));
        assert_eq!(fill.rate(S + 3 * RAMP, 1e6), Some(2e6));
        assert_eq!(fill.passed(S + RAMP, 100_000), None);
        let mut failed = fill;
        assert!(failed.update(S + RAMP, Situation { queue: 20.0, ..CALM }));
        failed.on_congestion(S + RAMP, 1.2e6);
        assert!(!failed.is_trying() && failed.passed(9 * S, 100_000).is_none());
        let mut passed = Fill::new(0);
        passed.attempt(S, 1e6, 2e6);
        assert_eq!(passed.passed(2 * S, 100_000), Some(2e6));
        assert!(!passed.is_trying());
    }
}
