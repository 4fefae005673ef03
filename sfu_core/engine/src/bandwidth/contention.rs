//! Do others fill the queue? Then keeping it short means leaving it to them: flows that stop at losses, as most TCPs,
//! take what delay-based ones give up. As in Copa's competitive mode (Arun and Balakrishnan, NSDI'18, section 2.2),
//! they are known by a queue that is never nearly empty although we gave way.

/// A queue above this (plus noise) is not nearly empty, milliseconds.
const NEARLY_EMPTY: f64 = 8.0;
/// Neither is one above this share of its peak.
const EMPTY_SHARE: f64 = 0.12;
/// So long must the queue not have been empty, microseconds; shorter once others have been seen.
const PERSISTENCE: u64 = 2_500_000;
const PERSISTENCE_AGAIN: u64 = 700_000;
const MEMORY: u64 = 30_000_000;
/// And to so much of the rate must we have come down without effect. Lower is surer that it is not our own queue.
const GAVE_WAY: f64 = 0.75;
/// Milliseconds that the peak of the queue must reach: less is no queue that a TCP keeps.
const DEEP: f64 = 35.0;

#[derive(Debug, Default)]
pub(super) struct Contention {
    busy_since: Option<u64>,
    /// Bits per second at that time.
    rate: f64,
    peak: f64,
    is_contended: bool,
    seen_at: Option<u64>,
}

impl Contention {
    /// `queue` and `noise` in milliseconds, `target` in bits per second.
    pub(super) fn update(&mut self, now: u64, queue: f64, noise: f64, target: f64) {
        self.peak = queue.max(self.peak * 0.998);
        let is_empty = queue < (NEARLY_EMPTY + noise.min(10.0)).max(EMPTY_SHARE * self.peak);
        if is_empty {
            if self.is_contended {
                self.seen_at = Some(now);
            }
            *self = Self {
                seen_at: self.seen_at,
                peak: self.peak,
                ..Self::default()
            };
            return;
        }
        let Some(since) = self.busy_since else {
            self.busy_since = Some(now);
            self.rate = target;
            return;
        };
        self.rate = self.rate.max(target);
        let was_seen = self.seen_at.is_some_and(|at| now.saturating_sub(at) < MEMORY);
        let (persistence, gave_way) = if was_seen {
            (PERSISTENCE_AGAIN, 0.95)
        } else {
            (PERSISTENCE, GAVE_WAY)
        };
        let lasted = now.saturating_sub(since);
        self.is_contended |= lasted > persistence && self.peak > DEEP && target < gave_way * self.rate;
    }

    pub(super) fn is_contended(&self) -> bool {
        self.is_contended
    }
}
