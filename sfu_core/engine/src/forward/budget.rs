//! How much a subscriber may make us send again (a NACK is cheap, its answer is not).

/// Share of what a stream sends, and of what the path to a subscriber carries.
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

    /// The same of a path that carries `estimate`, for all its streams together.
    pub(crate) fn take_of_path(&mut self, now: u64, estimate: f64, bytes: usize) -> bool {
        self.take_of(now, SHARE * estimate / 8.0, bytes)
    }

    fn take_of(&mut self, now: u64, per_second: f64, bytes: usize) -> bool {
        let elapsed = now.saturating_sub(self.filled) as f64 / 1e6;
        self.filled = now;
        self.tokens = (self.tokens + elapsed * per_second).min((DEPTH * per_second).max(LEAST_DEPTH));
        let fits = self.tokens >= bytes as f64;
        if fits {
            self.tokens -= bytes as f64;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_streams_together_get_a_share_of_the_path() {
        let mut budget = Budget::new(0);
        let sent = (0..20_000)
            .filter(|ms| budget.take_of_path(ms * 1_000, 400_000.0, 1_000))
            .count();
        assert!((140..=180).contains(&sent), "{sent}");
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
