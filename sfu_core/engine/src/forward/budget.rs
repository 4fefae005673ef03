//! How much a subscriber may make us send again (a NACK is cheap, its answer is not).

/// Share of the sent rate.
const SHARE: f64 = 0.15;
/// Bytes per second that are always allowed. More heals slow streams sooner and costs more under attack.
const FLOOR: f64 = 20_000.0;
/// Seconds of allowance that may gather.
const DEPTH: f64 = 1.0;

/// A token bucket of bytes that fills with what is sent.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: f64,
    /// Microseconds.
    filled: u64,
}

impl Budget {
    pub(super) fn new(now: u64) -> Self {
        Self {
            tokens: FLOOR,
            filled: now,
        }
    }

    /// Takes `bytes` when they are within the budget. `rate` is the bitrate sent, in bits per second.
    pub(super) fn take(&mut self, now: u64, rate: f64, bytes: usize) -> bool {
        let per_second = FLOOR + SHARE * rate / 8.0;
        let elapsed = now.saturating_sub(self.filled) as f64 / 1e6;
        self.filled = now;
        self.tokens = (self.tokens + elapsed * per_second).min(DEPTH * per_second);
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
