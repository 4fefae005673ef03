//! RTP timestamps that run on over a change of layer.

use crate::crossing::SourceClock;

/// Sender reports and arrival times may disagree by this much, microseconds; beyond it the reports are not believed.
const MAX_DISAGREEMENT: i64 = 1_000_000;

/// The last packet forwarded in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    input: u32,
    output: u32,
    arrival: u64,
}

/// What is known of the packet that begins an epoch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Beginning {
    pub(super) timestamp: u32,
    /// Microseconds.
    pub(super) arrival: u64,
    /// Hz.
    pub(super) clock_rate: u32,
    /// Of the former and of the new layer.
    pub(super) clocks: (Option<SourceClock>, Option<SourceClock>),
}

#[derive(Debug)]
pub(super) struct Timestamps {
    offset: u32,
    first: u32,
    last: Option<Last>,
}

impl Timestamps {
    /// The first output timestamp will be `first`.
    pub(super) fn new(first: u32) -> Self {
        Self {
            offset: 0,
            first,
            last: None,
        }
    }

    /// Begins an epoch: its first packet comes after all former ones, by as much as it was captured later.
    pub(super) fn begin(&mut self, new: Beginning) {
        let output = match self.last {
            None => self.first,
            Some(last) => {
                let ticks = elapsed(&last, &new) * i64::from(new.clock_rate) / 1_000_000;
                last.output.wrapping_add(ticks.max(1) as u32)
            }
        };
        self.offset = output.wrapping_sub(new.timestamp);
    }

    /// Output timestamp of a packet of the current epoch.
    pub(super) fn place(&mut self, timestamp: u32, arrival: u64) -> u32 {
        let output = self.map(timestamp);
        let newer = self
            .last
            .is_none_or(|last| output.wrapping_sub(last.output) as i32 >= 0);
        if newer {
            self.last = Some(Last {
                input: timestamp,
                output,
                arrival,
            });
        }
        output
    }

    /// Of the last packet forwarded in order, microseconds; 0 before the first.
    pub(super) fn last_arrival(&self) -> u64 {
        self.last.map_or(0, |last| last.arrival)
    }

    /// Of the last packet in order, as sent.
    pub(super) fn last_output(&self) -> u32 {
        self.last.map_or(self.first, |last| last.output)
    }

    /// Maps any timestamp of the current epoch.
    pub(super) fn map(&self, timestamp: u32) -> u32 {
        timestamp.wrapping_add(self.offset)
    }
}

/// Microseconds between the captures of two packets of different layers.
fn elapsed(last: &Last, new: &Beginning) -> i64 {
    let by_arrival = new.arrival.saturating_sub(last.arrival) as i64;
    let (Some(from), Some(to)) = new.clocks else {
        return by_arrival;
    };
    let by_reports = capture_time(to, new.timestamp, new.clock_rate) - capture_time(from, last.input, new.clock_rate);
    let by_reports = by_reports as i64;
    match (by_reports - by_arrival).abs() <= MAX_DISAGREEMENT {
        true => by_reports,
        false => by_arrival,
    }
}

/// Publisher's NTP time at which this timestamp was captured, microseconds.
fn capture_time(clock: SourceClock, timestamp: u32, clock_rate: u32) -> i128 {
    let ticks = i128::from(timestamp.wrapping_sub(clock.rtp) as i32);
    ntp_micros(clock.ntp) + ticks * 1_000_000 / i128::from(clock_rate.max(1))
}

fn ntp_micros(ntp: u64) -> i128 {
    (i128::from(ntp) * 1_000_000) >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn clock(ms: u64, rtp: u32) -> Option<SourceClock> {
        let ntp = (u128::from(ms) << 32) / 1_000;
        Some(SourceClock {
            ntp: ntp as u64,
            rtp,
            arrival: 0,
        })
    }

    /// Output of the first packet of a second layer, relative to the last one of the first layer.
    fn step(new: Beginning) -> u32 {
        let mut timestamps = Timestamps::new(5);
        timestamps.begin(Beginning {
            timestamp: 1_000,
            arrival: 0,
            clock_rate: 90_000,
            clocks: (None, None),
        });
        assert_eq!(timestamps.place(1_000, 0), 5);
        timestamps.begin(new);
        timestamps.place(new.timestamp, new.arrival) - 5
    }

    #[test]
    fn a_switch_advances_by_time() {
        let new = |timestamp, arrival_ms, old_clock, clock| Beginning {
            timestamp,
            arrival: arrival_ms * MS,
            clock_rate: 90_000,
            clocks: (old_clock, clock),
        };
        for (case, new, expected) in [
            ("arrival", new(77, 40, None, None), 3_600),
            ("same instant", new(77, 0, None, None), 1),
            ("one report only", new(77, 40, clock(5_000, 1_000), None), 3_600),
            // Captured 33 ms apart, arrived 40 ms apart.
            ("reports", new(77, 40, clock(5_000, 1_000), clock(5_033, 77)), 2_970),
            // The report of the new layer is of an earlier instant of the same clock.
            (
                "older report",
                new(90_077, 40, clock(5_000, 1_000), clock(4_033, 77)),
                2_970,
            ),
            (
                "captured earlier",
                new(77, 40, clock(5_000, 1_000), clock(4_990, 77)),
                1,
            ),
            (
                "absurd report",
                new(77, 40, clock(5_000, 1_000), clock(90_000, 77)),
                3_600,
            ),
        ] {
            assert!(step(new).abs_diff(expected) <= 1, "{case}: {}", step(new));
        }
    }

    #[test]
    fn wraps_and_late_packets_keep_their_distance() {
        let mut timestamps = Timestamps::new(u32::MAX - 10);
        timestamps.begin(Beginning {
            timestamp: 100,
            arrival: 0,
            clock_rate: 48_000,
            clocks: (None, None),
        });
        assert_eq!(timestamps.place(100, 0), u32::MAX - 10);
        assert_eq!(timestamps.place(1_060, 20 * MS), 949);
        assert_eq!(timestamps.place(580, 21 * MS), 469);
    }
}
