//! Feedback is a claim of the receiver's: its clock is brought onto one line, and what cannot be true is refused.

use wire::rtcp::ccfb::Metric;

/// Reference times of transport-wide feedback are 24 bits of this unit
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).
const REFERENCE_UNIT: i64 = 64_000;
const REFERENCES: i64 = 1 << 24;
/// Clocks drift apart by at most so much (500 ppm). More accepts worse clocks and later lies.
const DRIFT: f64 = 500e-6;
/// Arrival times are rounded and clocks read late, microseconds. More accepts more lies, less refuses honest hosts.
const SLACK: i64 = 10_000;
/// After so long with nothing but impossible times the receiver's clock was set anew, microseconds.
const RESET_AFTER: u64 = 1_000_000;
/// The offset of a metric that tells "that or more", or nothing (RFC 8888 section 3.1).
const OFFSET_UNKNOWN: u16 = 0x1ffe;

/// What is to be done with an arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Plausible,
    /// It would have arrived before it was sent, or after it was told of.
    Impossible,
    /// The receiver's clock was set anew: what was learned of delays is void.
    Reset,
}

/// Relates the receiver's clock to ours. With the offset o = theirs − ours, a packet sent at s that arrived at a and was
/// told of at t obeys a − t ≤ o ≤ a − s; every packet narrows where o can be.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    /// Last time read from the receiver, on one line, in the unit of its format.
    reference: Option<i64>,
    /// Where the offset can be, at `bounded_at`.
    bounds: Option<(f64, f64)>,
    bounded_at: u64,
    impossible_since: Option<u64>,
}

impl Clock {
    /// Microseconds of a transport-wide reference time that wraps every 12 days.
    pub(crate) fn reference(&mut self, reference: u32) -> i64 {
        self.unwrap(i64::from(reference), REFERENCES)
            .saturating_mul(REFERENCE_UNIT)
    }

    /// Microseconds of the middle 32 bits of an NTP time, which wrap every 18 hours.
    pub(crate) fn timestamp(&mut self, timestamp: u32) -> i64 {
        ((i128::from(self.unwrap(i64::from(timestamp), 1 << 32)) * 1_000_000) >> 16) as i64
    }

    /// When the packet of a metric arrived, if that is told.
    pub(crate) fn arrival(timestamp: i64, metric: Metric) -> Option<i64> {
        (metric.offset < OFFSET_UNKNOWN).then(|| timestamp - i64::from(metric.offset) * 1_000_000 / 1_024)
    }

    pub(super) fn judge(&mut self, now: u64, sent: u64, arrival: i64) -> Verdict {
        let drifted = now.saturating_sub(self.bounded_at) as f64 * DRIFT;
        let low = arrival.saturating_sub(now as i64) as f64;
        let high = arrival.saturating_sub(sent as i64) as f64;
        let Some((lowest, highest)) = self.bounds else {
            self.bounds = Some((low, high));
            self.bounded_at = now;
            return Verdict::Plausible;
        };
        let (lowest, highest) = (lowest - drifted, highest + drifted);
        if high < lowest - SLACK as f64 || low > highest + SLACK as f64 {
            let since = *self.impossible_since.get_or_insert(now);
            if now.saturating_sub(since) < RESET_AFTER {
                return Verdict::Impossible;
            }
            self.bounds = Some((low, high));
            self.bounded_at = now;
            self.impossible_since = None;
            return Verdict::Reset;
        }
        self.bounds = Some((lowest.max(low), highest.min(high)));
        self.bounded_at = now;
        self.impossible_since = None;
        Verdict::Plausible
    }

    fn unwrap(&mut self, value: i64, span: i64) -> i64 {
        let unwrapped = match self.reference {
            // The value nearest to the last one.
            Some(last) => last + (value - last + span / 2).rem_euclid(span) - span / 2,
            None => value,
        };
        self.reference = Some(unwrapped);
        unwrapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_wrap_both_ways() {
        let mut clock = Clock::default();
        let last = (1 << 24) - 1;
        assert_eq!(clock.reference(last), i64::from(last) * 64_000);
        assert_eq!(clock.reference(1), (1 << 24) * 64_000 + 64_000);
        assert_eq!(clock.reference(last), i64::from(last) * 64_000);
        let mut clock = Clock::default();
        assert_eq!(clock.timestamp(u32::MAX), (i64::from(u32::MAX) * 1_000_000) >> 16);
        assert_eq!(clock.timestamp(1 << 16), (1 << 16) * 1_000_000 + 1_000_000);
    }

    #[test]
    fn offsets_of_metrics() {
        let metric = |offset| Metric { ecn: 0, offset };
        assert_eq!(Clock::arrival(5_000_000, metric(1_024)), Some(4_000_000));
        assert_eq!(Clock::arrival(5_000_000, metric(0x1ffe)), None);
        assert_eq!(Clock::arrival(5_000_000, metric(0x1fff)), None);
    }

    /// Clocks 1,000 s apart, 50 ms each way.
    #[test]
    fn impossible_times_are_refused() {
        let arrival = |sent: u64| sent as i64 + 1_000_000_000 + 50_000;
        let honest = || {
            let mut clock = Clock::default();
            for sent in (0..1_000_000).step_by(20_000) {
                assert_eq!(clock.judge(sent + 100_000, sent, arrival(sent)), Verdict::Plausible);
            }
            clock
        };
        for (wrong, verdict) in [
            (0, Verdict::Plausible),
            (90_000, Verdict::Plausible),
            (-90_000, Verdict::Plausible),
            (-120_000, Verdict::Impossible),
            (200_000, Verdict::Impossible),
            (-900_000_000, Verdict::Impossible),
            (1_i64 << 40, Verdict::Impossible),
        ] {
            let told = arrival(1_000_000) + wrong;
            assert_eq!(honest().judge(1_100_000, 1_000_000, told), verdict, "{wrong}");
        }
    }

    #[test]
    fn a_clock_set_anew_is_believed_after_a_while() {
        let mut clock = Clock::default();
        clock.judge(100_000, 0, 50_000);
        let verdicts: Vec<_> = (0..30)
            .map(|index| {
                let sent = 1_000_000 + index * 50_000;
                clock.judge(sent + 100_000, sent, sent as i64 + 77_000_000)
            })
            .collect();
        assert_eq!(verdicts.iter().position(|&verdict| verdict == Verdict::Reset), Some(20));
        assert!(verdicts[21..].iter().all(|&verdict| verdict == Verdict::Plausible));
    }
}
