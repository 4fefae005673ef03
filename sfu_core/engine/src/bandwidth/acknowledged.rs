//! The rate at which packets arrive.

/// Arrivals within this time are one bucket, microseconds.
const BUCKET: i64 = 20_000;
const BUCKETS: usize = 64;
/// The rate is that of the last arrivals, for so long, microseconds. Longer is smoother, and later after a drop.
pub(super) const BRIEF: i64 = 300_000;
pub(super) const STEADY: i64 = 700_000;
/// At few packets it looks back up to this far, to see [`ENOUGH`] of them.
const LONGEST_SPAN: i64 = 1_200_000;
const ENOUGH: u32 = 15;

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    bytes: u32,
    packets: u32,
    first_arrival: i64,
    last_arrival: i64,
    last_sent: u64,
}

#[derive(Debug)]
pub(super) struct Acknowledged {
    buckets: [Bucket; BUCKETS],
    newest: usize,
    /// Bytes to count with the next arrival.
    unreported: u32,
}

impl Acknowledged {
    pub(super) fn new() -> Self {
        Self {
            buckets: [Bucket::default(); BUCKETS],
            newest: 0,
            unreported: 0,
        }
    }

    pub(super) fn push(&mut self, sent: u64, arrival: i64, bytes: u32) {
        let open = &mut self.buckets[self.newest];
        if self.unreported == 0 && open.packets > 0 && arrival < open.first_arrival.saturating_add(BUCKET) {
            open.bytes = open.bytes.saturating_add(bytes);
            open.packets += 1;
            open.last_arrival = open.last_arrival.max(arrival);
            open.last_sent = open.last_sent.max(sent);
        } else {
            self.newest = (self.newest + 1) % BUCKETS;
            self.buckets[self.newest] = Bucket {
                bytes: bytes.saturating_add(std::mem::take(&mut self.unreported)),
                packets: 1,
                first_arrival: arrival,
                last_arrival: arrival,
                last_sent: sent,
            };
        }
    }

    /// Bytes that probably arrived between the last and the next ones, although the feedback on them was lost.
    pub(super) fn push_unreported(&mut self, bytes: u64) {
        self.unreported = self.unreported.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// Bits per second; `None` before there is enough to tell. It never exceeds the rate at which the same packets were
    /// sent, whatever the receiver says of their arrival. `by_sending`: arrivals were shifted by a change of path.
    pub(super) fn rate(&self, over: i64, by_sending: bool) -> Option<f64> {
        let newest = self.buckets[self.newest];
        let (mut bytes, mut packets) = (0_u64, 0);
        let mut rate = None;
        let mut later = newest;
        for back in 0..BUCKETS {
            let bucket = self.buckets[(self.newest + BUCKETS - back) % BUCKETS];
            if bucket.packets == 0 || bucket.first_arrival > later.first_arrival {
                break;
            }
            // The time from the end of one bucket to the end of another is that of what came between them.
            let arriving = newest.last_arrival.saturating_sub(bucket.last_arrival);
            let sending = newest.last_sent.saturating_sub(bucket.last_sent) as i64;
            let span = if by_sending { sending } else { sending.max(arriving) };
            if span > LONGEST_SPAN {
                break;
            }
            if span >= over / 2 {
                rate = Some(bytes as f64 * 8e6 / span as f64);
            }
            if span >= over && packets >= ENOUGH {
                break;
            }
            bytes += u64::from(bucket.bytes);
            packets += bucket.packets;
            later = bucket;
        }
        rate
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(packets: impl Iterator<Item = (u64, i64, u32)>) -> Option<f64> {
        let mut acknowledged = Acknowledged::new();
        for (sent, arrival, bytes) in packets {
            acknowledged.push(sent, arrival, bytes);
        }
        acknowledged.rate(BRIEF, false)
    }

    fn is_near(rate: Option<f64>, expected: f64, tolerance: f64) -> bool {
        rate.is_some_and(|rate| (rate / expected - 1.0).abs() <= tolerance)
    }

    #[test]
    fn paced_packets_and_whole_frames() {
        for (spacing, expected) in [(1_000, 9.6e6), (10_000, 960e3), (60_000, 160e3)] {
            let paced = (0..200).map(|index| (index * spacing, (index * spacing + 50_000) as i64, 1_200));
            assert!(is_near(rate(paced), expected, 0.01), "{spacing}");
        }
        let frames = (0..300).map(|index| {
            let at = index / 10 * 33_333;
            (at, at as i64 + 7, 1_200)
        });
        assert!(is_near(rate(frames), 10.0 * 1_200.0 * 8.0 * 30.0, 0.01));
    }

    #[test]
    fn a_drop_shows_within_the_span() {
        let fast = (0..500).map(|index| (index * 1_000, index as i64 * 1_000, 1_200));
        let slow = (0..32).map(|index| (500_000 + index * 10_000, 500_000 + index as i64 * 10_000, 1_200));
        assert!(is_near(rate(fast.chain(slow)), 960e3, 0.05));
    }

    #[test]
    fn squeezed_arrivals_earn_nothing() {
        let squeezed = (0..400).map(|index| (index * 10_000, index as i64 * 1_000, 1_200));
        assert!(rate(squeezed).is_some_and(|rate| rate <= 970e3));
        assert_eq!(rate((0..1_000).map(|_| (5, 5, 1_200))), None);
        assert_eq!(rate([(0, 0, 1_200), (9_000_000, 9_000_000, 1_200)].into_iter()), None);
        assert_eq!(rate(std::iter::empty()), None);
    }
}
