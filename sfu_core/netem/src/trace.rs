//! Capacity that steps at given times and begins again after a period.

use std::time::Duration;

use crate::units::{NANOS_PER_SECOND, Nanos, Work, nanos};

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TraceError {
    #[error("a trace needs at least one step")]
    Empty,
    #[error("a trace begins at time 0")]
    LateStart,
    #[error("the steps of a trace follow each other in time, and end before its period")]
    Order,
    #[error("a trace needs capacity at some time")]
    NoCapacity,
}

/// (time, bit/s) steps; each holds until the next, the last until the period ends.
#[derive(Debug, PartialEq, Eq)]
pub struct Trace {
    starts: Vec<Nanos>,
    rates: Vec<u64>,
    /// Work done before each step begins.
    before: Vec<Work>,
    period: Nanos,
    total: Work,
}

impl Trace {
    pub fn new(steps: &[(Duration, u64)], period: Duration) -> Result<Self, TraceError> {
        let starts: Vec<Nanos> = steps.iter().map(|&(start, _)| nanos(start)).collect();
        let rates: Vec<u64> = steps.iter().map(|&(_, rate)| rate).collect();
        let period = nanos(period);
        let (Some(&first), Some(&last)) = (starts.first(), starts.last()) else {
            return Err(TraceError::Empty);
        };
        if first != 0 {
            return Err(TraceError::LateStart);
        }
        if last >= period || !starts.is_sorted_by(|a, b| a < b) {
            return Err(TraceError::Order);
        }
        let mut before = Vec::with_capacity(starts.len());
        let mut total = 0;
        for (index, &rate) in rates.iter().enumerate() {
            before.push(total);
            let end = starts.get(index + 1).copied().unwrap_or(period);
            total += Work::from(rate) * Work::from(end - starts[index]);
        }
        if total == 0 {
            return Err(TraceError::NoCapacity);
        }
        Ok(Self {
            starts,
            rates,
            before,
            period,
            total,
        })
    }

    pub fn steps(&self) -> impl Iterator<Item = (Duration, u64)> {
        self.starts
            .iter()
            .zip(&self.rates)
            .map(|(&start, &rate)| (Duration::from_nanos(start), rate))
    }

    pub fn period(&self) -> Duration {
        Duration::from_nanos(self.period)
    }

    /// bit/s over a whole period.
    pub fn mean(&self) -> u64 {
        (self.total / Work::from(self.period)) as u64
    }

    /// bit/s at a time since the trace began.
    pub fn rate_at(&self, time: Duration) -> u64 {
        self.rates[self.step(nanos(time) % self.period)]
    }

    /// Work that can be done from the beginning of the trace until `time`.
    pub(crate) fn work_until(&self, time: Nanos) -> Work {
        let (rounds, within) = (time / self.period, time % self.period);
        let step = self.step(within);
        let begun = Work::from(self.rates[step]) * Work::from(within - self.starts[step]);
        Work::from(rounds) * self.total + self.before[step] + begun
    }

    /// The first time at which `work` can be done since the trace began.
    pub(crate) fn time_of(&self, work: Work) -> Nanos {
        if work == 0 {
            return 0;
        }
        // Work that a whole number of rounds does is done within the last of them, not at the start of the next.
        let rounds = (work - 1) / self.total;
        let left = work - rounds * self.total;
        // The last step that begins with work left: it has capacity, or the next would begin the same.
        let step = self.before.partition_point(|&before| before < left) - 1;
        let needed = (left - self.before[step]).div_ceil(Work::from(self.rates[step]));
        u64::try_from(rounds * Work::from(self.period) + Work::from(self.starts[step]) + needed).unwrap_or(u64::MAX)
    }

    fn step(&self, within: Nanos) -> usize {
        self.starts.partition_point(|&start| start <= within) - 1
    }
}

/// Mean of `work` over `time`, in bit/s.
pub(crate) fn rate(work: Work, time: Nanos) -> u64 {
    (work / Work::from(time.max(1))) as u64
}

pub(crate) const SECOND: Nanos = NANOS_PER_SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn bad_traces_are_refused() {
        let new = |steps: &[(u64, u64)], period| {
            let steps: Vec<_> = steps.iter().map(|&(s, rate)| (Duration::from_secs(s), rate)).collect();
            Trace::new(&steps, Duration::from_secs(period)).map(|_| ())
        };
        assert_eq!(new(&[], 1), Err(TraceError::Empty));
        assert_eq!(new(&[(1, 1)], 2), Err(TraceError::LateStart));
        assert_eq!(new(&[(0, 1), (2, 1), (1, 1)], 3), Err(TraceError::Order));
        assert_eq!(new(&[(0, 1), (2, 1)], 2), Err(TraceError::Order));
        assert_eq!(new(&[(0, 0), (1, 0)], 2), Err(TraceError::NoCapacity));
        assert_eq!(new(&[(0, 0), (1, 1)], 2), Ok(()));
    }

    #[test]
    fn work_and_time_are_inverse_over_steps_gaps_and_rounds() {
        let trace = Trace::new(&[(Duration::ZERO, 8_000), (S, 0), (S * 3, 16_000)], S * 4).unwrap();
        assert_eq!(trace.mean(), 6_000);
        assert_eq!(trace.rate_at(S * 5 + S / 2), 0);
        let second = |count: u64| count * SECOND;
        let kilobytes = |count: u128| count * 8_000 * u128::from(SECOND);
        for (seconds, done) in [(1, 1), (3, 1), (4, 3), (5, 4), (7, 4), (8, 6), (4_004, 3_003)] {
            assert_eq!(trace.work_until(second(seconds)), kilobytes(done), "until {seconds} s");
        }
        for (done, seconds) in [(0, 0), (1, 1), (3, 4), (4, 5), (6, 8), (3_003, 4_004)] {
            assert_eq!(trace.time_of(kilobytes(done)), second(seconds), "{done} kB");
        }
        // Half of the burst after the gap, and the smallest work after it.
        assert_eq!(trace.time_of(kilobytes(2)), second(7) / 2);
        assert_eq!(trace.time_of(kilobytes(1) + 1), second(3) + 1);
    }
}
