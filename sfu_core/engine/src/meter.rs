//! Bit rate of a flow over the last second or so.

/// Microseconds per bucket; the rate is over all full buckets.
const BUCKET: u64 = 250_000;
const BUCKETS: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    bytes: [u32; BUCKETS],
    /// Number of the bucket that fills now.
    current: u64,
    filling: u32,
}

impl Meter {
    /// `now` in microseconds.
    pub(crate) fn add(&mut self, bytes: usize, now: u64) {
        self.advance(now);
        self.filling = self.filling.saturating_add(bytes as u32);
    }

    pub(crate) fn bits_per_second(&self, now: u64) -> f64 {
        let mut copy = *self;
        copy.advance(now);
        let bytes: u64 = copy.bytes.iter().map(|&b| u64::from(b)).sum();
        bytes as f64 * 8.0 / (BUCKET as f64 * BUCKETS as f64 / 1e6)
    }

    fn advance(&mut self, now: u64) {
        let bucket = now / BUCKET;
        if bucket <= self.current {
            return;
        }
        if bucket - self.current > BUCKETS as u64 {
            self.bytes = [0; BUCKETS];
        } else {
            self.bytes[self.current as usize % BUCKETS] = self.filling;
            for empty in self.current + 1..bucket {
                self.bytes[empty as usize % BUCKETS] = 0;
            }
        }
        self.filling = 0;
        self.current = bucket;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn measures_a_steady_flow_and_falls_to_zero() {
        let mut meter = Meter::default();
        for ms in 0..3_000 {
            meter.add(125, ms * 1_000);
        }
        assert_eq!(meter.bits_per_second(3_000_000), 1e6);
        assert_eq!(meter.bits_per_second(3_500_000), 5e5);
        assert_eq!(meter.bits_per_second(60_000_000), 0.0);
    }
}
