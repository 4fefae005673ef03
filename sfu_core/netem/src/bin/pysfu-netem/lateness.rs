//! How much later than its time a packet was handed to the kernel.

use std::time::Duration;

use serde::Serialize;

const BUCKET: Duration = Duration::from_micros(5);
/// The last one holds all that is later than 20 ms.
const BUCKETS: usize = 4_001;

#[derive(Debug)]
pub(crate) struct Lateness {
    buckets: Vec<u32>,
    count: u64,
    total: Duration,
    max: Duration,
}

/// In microseconds; percentiles are upper bounds of buckets of 5.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Summary {
    count: u64,
    mean: f64,
    p50: f64,
    p99: f64,
    max: f64,
}

impl Lateness {
    pub(crate) fn new() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            total: Duration::ZERO,
            max: Duration::ZERO,
        }
    }

    pub(crate) fn record(&mut self, late: Duration) {
        let bucket = (late.as_nanos() / BUCKET.as_nanos()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.total += late;
        self.max = self.max.max(late);
    }

    pub(crate) fn clear(&mut self) {
        *self = Self {
            buckets: std::mem::take(&mut self.buckets),
            ..Self::new()
        };
        self.buckets.fill(0);
    }

    pub(crate) fn summary(&self) -> Summary {
        let micros = |time: Duration| (time.as_secs_f64() * 1e7).round() / 10.0;
        Summary {
            count: self.count,
            mean: micros(self.total) / self.count.max(1) as f64,
            p50: micros(self.percentile(0.5)),
            p99: micros(self.percentile(0.99)),
            max: micros(self.max),
        }
    }

    fn percentile(&self, share: f64) -> Duration {
        let wanted = (self.count as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, &count) in self.buckets.iter().enumerate() {
            seen += u64::from(count);
            if seen >= wanted && seen > 0 {
                return (BUCKET * (index as u32 + 1)).min(self.max);
            }
        }
        self.max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_those_of_the_recorded() {
        let mut lateness = Lateness::new();
        (1..=100).for_each(|count| lateness.record(Duration::from_micros(count * 10)));
        lateness.record(Duration::from_secs(1));
        let summary = lateness.summary();
        assert_eq!(summary.count, 101);
        assert!((505.0..=520.0).contains(&summary.p50), "{summary:?}");
        assert!((990.0..=1_010.0).contains(&summary.p99), "{summary:?}");
        assert_eq!(summary.max, 1e6);
        lateness.clear();
        assert_eq!(lateness.summary().count, 0);
        assert_eq!(lateness.summary().max, 0.0);
    }
}
