//! How much a subscriber may make us send again (a NACK is cheap, its answer is not).

/// Share of what a stream sends.
const SHARE: f64 = 0.15;
/// Bytes per second that each stream is always allowed, as far as the path allows. More heals slow streams sooner and costs more under attack.
const FLOOR: f64 = 20_000.0;
/// Seconds of allowance that may gather.
const DEPTH: f64 = 1.0;
/// And bytes in any case: two packets.
const LEAST_DEPTH: f64 = 3_000.0;

/// A token bucket of bytes that fills with what is sent.
#[derive(Debug)]
pub(crate) struct Budget {
    tokens: f64,
    /// Microseconds.
    filled: u64,
}

impl Budget {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            tokens: FLOOR,
            filled: now,
        }
    }

    /// Takes `bytes` when they are within the budget of a stream. `rate` is the bitrate sent, in bits per second.
    pub(super) fn take(&mut self, now: u64, rate: f64, bytes: usize) -> bool {
        self.take_of(now, FLOOR + SHARE * rate / 8.0, bytes)
    }

    /// The same of a path on which retransmissions may take so many bits per second, for all its streams together.
    pub(crate) fn take_of_path(&mut self, now: u64, rate: f64, bytes: usize) -> bool {
        self.take_of(now, rate / 8.0, bytes)
    }

    /// Bytes that a path has left, on which retransmissions may take so many bits per second.
    pub(crate) fn left_of_path(&mut self, now: u64, rate: f64) -> f64 {
        self.fill(now, rate / 8.0);
        self.tokens
    }

    fn take_of(&mut self, now: u64, per_second: f64, bytes: usize) -> bool {
        self.fill(now, per_second);
        let fits = self.tokens >= bytes as f64;
        if fits {
            self.tokens -= bytes as f64;
        }
        fits
    }

    fn fill(&mut self, now: u64, per_second: f64) {
        let elapsed = now.saturating_sub(self.filled) as f64 / 1e6;
        self.filled = now;
        self.tokens = (self.tokens + elapsed * per_second).min((DEPTH * per_second).max(LEAST_DEPTH));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_together_get_a_share_of_the_path() {
        let mut budget = Budget::new(0);
        let sent = (0..20_000)
            .filter(|ms| budget.take_of_path(ms * 1_000, 60_000.0, 1_000))
            .count();
        assert!((140..=180).contains(&sent), "{sent}");
    }

    #[test]
    fn what_is_left_is_what_may_be_taken() {
        let mut budget = Budget::new(0);
        for (ms, taken, left) in [
            (0, 0, 7_500.0),
            (0, 5_000, 2_500.0),
            (100, 0, 3_250.0),
            (100, 4_000, 3_250.0),
            (9_000, 0, 7_500.0),
        ] {
            budget.take_of_path(ms * 1_000, 60_000.0, taken);
            assert_eq!(budget.left_of_path(ms * 1_000, 60_000.0), left, "{ms} ms");
        }
    }

    #[test]
    fn asking_for_everything_yields_the_share() {
        let mut budget = Budget::new(0);
        let rate = 2e6;
        let mut sent = 0;
        for ms in 0..10_000 {
            for _ in 0..10 {
                if budget.take(ms * 1_000, rate, 1_000) {
                    sent += 1_000;
                }
            }
        }
        let allowed = 10.0 * (FLOOR + SHARE * rate / 8.0);
        assert!(f64::from(sent) <= 1.15 * allowed, "{sent}");
        assert!(f64::from(sent) >= 0.95 * allowed, "{sent}");
    }
}
