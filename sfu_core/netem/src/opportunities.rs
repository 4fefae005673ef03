//! Capacity as instants at which a packet may leave: the format of Mahimahi's traces (Netravali et al., USENIX ATC'15).

use std::time::Duration;

use crate::units::{Nanos, Work, nanos, work};

/// Each opportunity carries so much; what is not used at its instant is lost.
const OPPORTUNITY_BYTES: usize = 1_500;
const OPPORTUNITY: Work = work(OPPORTUNITY_BYTES);

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpportunitiesError {
    #[error("line {line}: not a number of milliseconds")]
    NotANumber { line: usize },
    #[error("opportunities are in order of time")]
    Order,
    #[error("opportunities need one after time 0: the last is the period")]
    Empty,
}

/// Instants at which up to 1,500 bytes leave. The last one is also the period after which they begin again.
#[derive(Debug, PartialEq, Eq)]
pub struct Opportunities {
    times: Vec<Nanos>,
}

impl Opportunities {
    pub fn new(times: &[Duration]) -> Result<Self, OpportunitiesError> {
        let times: Vec<Nanos> = times.iter().map(|&time| nanos(time)).collect();
        if times.last().is_none_or(|&last| last == 0) {
            return Err(OpportunitiesError::Empty);
        }
        if !times.is_sorted() {
            return Err(OpportunitiesError::Order);
        }
        Ok(Self { times })
    }

    /// One number of milliseconds a line; several equal lines are several opportunities.
    pub fn parse_mahimahi(text: &str) -> Result<Self, OpportunitiesError> {
        let mut times = Vec::new();
        for (index, line) in text.lines().map(str::trim).enumerate() {
            if !line.is_empty() {
                let millis: u32 = line
                    .parse()
                    .map_err(|_| OpportunitiesError::NotANumber { line: index + 1 })?;
                times.push(Duration::from_millis(millis.into()));
            }
        }
        Self::new(&times)
    }

    /// As Mahimahi reads it: times are cut to whole milliseconds.
    pub fn to_mahimahi(&self) -> String {
        self.times
            .iter()
            .map(|time| format!("{}\n", time / 1_000_000))
            .collect()
    }

    pub fn times(&self) -> impl Iterator<Item = Duration> {
        self.times.iter().copied().map(Duration::from_nanos)
    }

    pub fn period(&self) -> Duration {
        Duration::from_nanos(self.end())
    }

    /// bit/s over a whole period.
    pub fn mean(&self) -> u64 {
        (OPPORTUNITY * self.times.len() as u128 / Work::from(self.end())) as u64
    }

    /// Work that can be done from the beginning until `time`, the opportunities at `time` included.
    pub(crate) fn work_until(&self, time: Nanos) -> Work {
        let (rounds, within) = (time / self.end(), time % self.end());
        let passed = self.times.partition_point(|&opportunity| opportunity <= within);
        OPPORTUNITY * (Work::from(rounds) * self.times.len() as u128 + passed as u128)
    }

    /// The opportunity at which `work` is done since the beginning.
    pub(crate) fn time_of(&self, work: Work) -> Nanos {
        if work == 0 {
            return 0;
        }
        let index = work.div_ceil(OPPORTUNITY) - 1;
        let count = self.times.len() as u128;
        let within = self.times[(index % count) as usize];
        u64::try_from(index / count * Work::from(self.end()) + Work::from(within)).unwrap_or(u64::MAX)
    }

    fn end(&self) -> Nanos {
        self.times.last().copied().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mahimahi_lines_are_read_and_written() {
        let text = "0\n5\n5\n20\n";
        let read = Opportunities::parse_mahimahi(text).unwrap();
        assert_eq!(read.to_mahimahi(), text);
        assert_eq!(read.period(), Duration::from_millis(20));
        assert_eq!(read.mean(), 4 * 1_500 * 8 * 50);
        for (text, error) in [
            ("", OpportunitiesError::Empty),
            ("0\n0\n", OpportunitiesError::Empty),
            ("3\n2\n", OpportunitiesError::Order),
            ("1\n\nx\n", OpportunitiesError::NotANumber { line: 3 }),
            ("-1\n", OpportunitiesError::NotANumber { line: 1 }),
        ] {
            assert_eq!(Opportunities::parse_mahimahi(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn work_and_time_are_inverse_over_rounds() {
        let opportunities = Opportunities::parse_mahimahi("5\n5\n20\n").unwrap();
        let ms = |count: u64| count * 1_000_000;
        for (time, passed) in [(0, 0), (4, 0), (5, 2), (19, 2), (20, 3), (25, 5), (40, 6), (2_005, 302)] {
            assert_eq!(
                opportunities.work_until(ms(time)),
                OPPORTUNITY * passed,
                "until {time} ms"
            );
        }
        for (count, time) in [(1, 5), (2, 5), (3, 20), (4, 25), (6, 40), (302, 2_005)] {
            assert_eq!(
                opportunities.time_of(OPPORTUNITY * count),
                ms(time),
                "opportunity {count}"
            );
        }
        assert_eq!(opportunities.time_of(OPPORTUNITY * 2 + 1), ms(20));
    }
}
