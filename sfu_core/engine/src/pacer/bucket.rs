//! A leaky bucket of one path, as the time at which it is empty (the virtual scheduling algorithm of ITU-T I.371).

/// Microseconds of the rate that may leave at once. More makes larger GSO groups, less spares the queue at the bottleneck.
const BURST: u64 = 5_000;
/// Bits per second. A lower rate would hold a packet for longer than anybody waits.
const MIN_RATE: u64 = 10_000;
const MAX_RATE: u64 = 100_000_000_000;
/// Larger numbers are no packets.
const MAX_BYTES: u32 = 65_535;
/// Microseconds that a debt lasts at most, whatever happens to the rate.
const MAX_DEBT: u64 = 2_000_000;

#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Nanoseconds.
    empty_at: u64,
    per_byte: f64,
}

impl Bucket {
    pub(super) fn new(now: u64, bits_per_second: u64) -> Self {
        Self {
            empty_at: nanos(now),
            per_byte: per_byte(bits_per_second),
        }
    }

    /// What is in it flows off at the new rate from now on.
    pub(super) fn set_rate(&mut self, now: u64, bits_per_second: u64) {
        let per_byte = per_byte(bits_per_second);
        let debt = self.empty_at.saturating_sub(nanos(now));
        if debt > 0 {
            let debt = (debt as f64 * per_byte / self.per_byte) as u64;
            self.empty_at = nanos(now) + debt.min(nanos(MAX_DEBT));
        }
        self.per_byte = per_byte;
    }

    pub(super) fn allows(&self, now: u64) -> bool {
        self.empty_at <= nanos(now)
    }

    pub(super) fn charge(&mut self, now: u64, bytes: u32) {
        let full_burst = nanos(now.saturating_sub(BURST));
        let more = (f64::from(bytes.min(MAX_BYTES)) * self.per_byte) as u64;
        self.empty_at = self.empty_at.max(full_burst).saturating_add(more);
    }

    pub(super) fn refund(&mut self, bytes: u32) {
        let less = (f64::from(bytes.min(MAX_BYTES)) * self.per_byte) as u64;
        self.empty_at = self.empty_at.saturating_sub(less);
    }

    /// Forgets the saved burst: a cluster must not begin with one.
    pub(super) fn forget_burst(&mut self, now: u64) {
        self.empty_at = self.empty_at.max(nanos(now));
    }

    /// Microseconds at which it allows again.
    pub(super) fn allows_at(&self) -> u64 {
        self.empty_at.div_ceil(1_000)
    }

    /// Microseconds until it is empty.
    pub(super) fn debt(&self, now: u64) -> u64 {
        self.empty_at.saturating_sub(nanos(now)) / 1_000
    }

    /// Bytes that flow off within so many microseconds.
    pub(super) fn carries(&self, micros: u64) -> u32 {
        (nanos(micros) as f64 / self.per_byte) as u32
    }

    /// Microseconds that so many bytes take.
    pub(super) fn takes(&self, bytes: u64) -> u64 {
        (bytes as f64 * self.per_byte / 1_000.0) as u64
    }
}

fn nanos(micros: u64) -> u64 {
    micros.saturating_mul(1_000)
}

fn per_byte(bits_per_second: u64) -> f64 {
    8e9 / bits_per_second.clamp(MIN_RATE, MAX_RATE) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const MBIT: u64 = 1_000_000;

    #[test]
    fn the_burst_after_a_pause_and_the_rate_after_it() {
        let mut bucket = Bucket::new(0, 8 * MBIT);
        let now = 10 * MBIT;
        let mut burst = 0;
        while bucket.allows(now) {
            bucket.charge(now, 1_000);
            burst += 1;
        }
        // Five milliseconds, and the packet that ends them.
        assert_eq!((burst, bucket.allows_at()), (6, now + 1_000));
        assert!(!bucket.allows(now + 999) && bucket.allows(now + 1_000));
    }

    #[test]
    fn a_debt_keeps_its_bytes_when_the_rate_changes() {
        let mut bucket = Bucket::new(0, 8 * MBIT);
        bucket.charge(0, 20_000);
        assert_eq!(bucket.debt(0), 20_000);
        bucket.set_rate(10_000, 4 * MBIT);
        assert_eq!(bucket.debt(10_000), 20_000);
        bucket.set_rate(10_000, 0);
        assert_eq!(bucket.debt(10_000), MAX_DEBT);
        bucket.set_rate(10_000, u64::MAX);
        assert!(bucket.debt(10_000) < 10);
    }

    #[test]
    fn hostile_numbers() {
        let mut bucket = Bucket::new(u64::MAX, u64::MAX);
        for _ in 0..100 {
            bucket.charge(u64::MAX, u32::MAX);
            bucket.set_rate(u64::MAX, 0);
            bucket.charge(0, 0);
        }
        assert!(bucket.takes(u64::MAX) > 0 && bucket.allows_at() > 0);
    }
}
