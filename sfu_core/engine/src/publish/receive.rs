//! Reception statistics of one layer's stream (RFC 3550 appendices A.1, A.3 and A.8).

/// A jump ahead of up to this many packets is loss (RFC 3550 A.1).
pub(crate) const MAX_DROPOUT: u16 = 3_000;
/// A packet late by up to this many is reordered.
const MAX_MISORDER: u16 = 1_000;

/// Extends sequence numbers and notices a restarted source.
///
/// The low 16 bits of an extended number are always the number on the wire.
#[derive(Default)]
pub(crate) struct Extender {
    highest: Option<u64>,
    /// Where a source that jumped would continue.
    probation: Option<u16>,
}

impl Extender {
    /// `None` for the first packet after a jump: a second in sequence must confirm it.
    pub(crate) fn extend(&mut self, seq: u16) -> Option<u64> {
        let Some(highest) = self.highest else {
            // One cycle in hand, so that packets reordered around the first are not negative.
            let first = (1 << 16) + u64::from(seq);
            self.highest = Some(first);
            return Some(first);
        };
        let ahead = seq.wrapping_sub(highest as u16);
        let behind = ahead.wrapping_neg();
        if ahead > 0 && ahead < MAX_DROPOUT {
            self.highest = Some(highest + u64::from(ahead));
        } else if behind > MAX_MISORDER {
            if self.probation != Some(seq) {
                self.probation = Some(seq.wrapping_add(1));
                return None;
            }
            self.highest = Some(highest + u64::from(ahead));
        } else {
            return Some(highest - u64::from(behind));
        }
        self.probation = None;
        self.highest
    }

    /// The extended number that a late packet or a retransmission has; changes nothing.
    pub(crate) fn locate(&self, seq: u16) -> Option<u64> {
        let highest = self.highest?;
        let ahead = seq.wrapping_sub(highest as u16) as i16;
        highest.checked_add_signed(i64::from(ahead))
    }

    pub(crate) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Another source takes over at `seq`: continues far above all numbers so far.
    pub(crate) fn take_over(&mut self, seq: u16) -> u64 {
        let cycle = self.highest.map_or(1, |highest| (highest >> 16) + 2);
        let first = (cycle << 16) + u64::from(seq);
        *self = Self {
            highest: Some(first),
            probation: None,
        };
        first
    }
}

/// Unwraps RTP timestamps.
#[derive(Default)]
pub(crate) struct Timeline {
    last: Option<u64>,
}

impl Timeline {
    pub(crate) fn unwrap(&mut self, timestamp: u32) -> u64 {
        let Some(last) = self.last else {
            let first = (1 << 32) + u64::from(timestamp);
            self.last = Some(first);
            return first;
        };
        let delta = timestamp.wrapping_sub(last as u32) as i32;
        // Far behind can only be a restart: the next cycle keeps time from going below zero.
        let time = last
            .checked_add_signed(i64::from(delta))
            .unwrap_or(last + u64::from(timestamp.wrapping_sub(last as u32)));
        self.last = Some(last.max(time));
        time
    }
}

/// What a report block says (RFC 3550 section 6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reception {
    /// Of 256.
    pub(crate) fraction_lost: u8,
    /// Clamped to 24 bits.
    pub(crate) cumulative_lost: i32,
    pub(crate) extended_highest: u32,
    pub(crate) jitter: u32,
}

#[derive(Default)]
pub(crate) struct ReceiveStats {
    base: Option<u64>,
    highest: u64,
    received: u64,
    expected_prior: u64,
    received_prior: u64,
    transit: Option<i64>,
    /// Sixteenths of a timestamp unit (RFC 3550 A.8).
    jitter: u64,
}

impl ReceiveStats {
    /// `now` in microseconds. Retransmissions are not counted: the report tells of the path.
    pub(crate) fn on_packet(&mut self, seq: u64, timestamp: u32, clock_rate: u32, now: u64) {
        let base = *self.base.get_or_insert(seq);
        self.base = Some(base.min(seq));
        self.received += 1;
        if seq < self.highest {
            return;
        }
        self.highest = seq;
        let arrival = (u128::from(now) * u128::from(clock_rate) / 1_000_000) as u32;
        let transit = i64::from(arrival.wrapping_sub(timestamp) as i32);
        if let Some(before) = self.transit.replace(transit) {
            let difference = u64::from((transit as i32).wrapping_sub(before as i32).unsigned_abs());
            self.jitter = (self.jitter + difference).saturating_sub((self.jitter + 8) >> 4);
        }
    }

    /// Packets of this many numbers did not exist: the source restarted.
    pub(crate) fn restart(&mut self) {
        *self = Self {
            jitter: self.jitter,
            ..Self::default()
        };
    }

    /// Expected minus received; negative when duplicates arrived.
    pub(crate) fn lost(&self) -> i64 {
        self.expected() as i64 - self.received as i64
    }

    pub(crate) fn jitter(&self) -> u32 {
        (self.jitter >> 4) as u32
    }

    /// The block for the next report; the fraction counts from the previous call. `None` before the first packet.
    pub(crate) fn report(&mut self) -> Option<Reception> {
        self.base?;
        let expected = self.expected();
        let expected_interval = expected.saturating_sub(self.expected_prior);
        let received_interval = self.received - self.received_prior;
        self.expected_prior = expected;
        self.received_prior = self.received;
        let lost_interval = expected_interval.saturating_sub(received_interval);
        let fraction_lost = (lost_interval * 256)
            .checked_div(expected_interval)
            .unwrap_or(0)
            .min(255) as u8;
        Some(Reception {
            fraction_lost,
            cumulative_lost: self.lost().clamp(-0x80_0000, 0x7f_ffff) as i32,
            extended_highest: self.highest as u32,
            jitter: self.jitter(),
        })
    }

    fn expected(&self) -> u64 {
        self.base.map_or(0, |base| self.highest - base + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case<'a> = (&'a str, &'a [u16], &'a [Option<u64>]);

    #[test]
    fn extends_over_wraps_reordering_and_restarts() {
        let cases: &[Case<'_>] = &[
            (
                "wrap",
                &[65_534, 65_535, 0, 1],
                &[Some(131_070), Some(131_071), Some(131_072), Some(131_073)],
            ),
            (
                "before the first",
                &[0, 65_535, 1],
                &[Some(65_536), Some(65_535), Some(65_537)],
            ),
            ("loss", &[10, 2_000], &[Some(65_546), Some(67_536)]),
            ("stray", &[10, 30_000, 11], &[Some(65_546), None, Some(65_547)]),
            ("restart", &[10, 30_000, 30_001], &[Some(65_546), None, Some(95_537)]),
            (
                "restart behind",
                &[30_000, 10, 11],
                &[Some(95_536), None, Some(131_083)],
            ),
            ("duplicate", &[10, 10], &[Some(65_546), Some(65_546)]),
        ];
        for (name, input, expected) in cases {
            let mut extender = Extender::default();
            let got: Vec<_> = input.iter().map(|&seq| extender.extend(seq)).collect();
            assert_eq!(&got, expected, "{name}");
        }
    }

    #[test]
    fn another_source_continues_above() {
        let mut extender = Extender::default();
        extender.extend(65_000);
        let first = extender.take_over(7);
        assert_eq!((first as u16, first > 131_072), (7, true));
        assert_eq!(extender.extend(8), Some(first + 1));
    }

    #[test]
    fn locates_around_the_highest() {
        let mut extender = Extender::default();
        assert_eq!(extender.locate(5), None);
        extender.extend(2);
        let got: Vec<_> = [65_535u16, 2, 4].iter().map(|&seq| extender.locate(seq)).collect();
        assert_eq!(got, [Some(65_535), Some(65_538), Some(65_540)]);
    }

    #[test]
    fn timestamps_unwrap_forward_and_back() {
        let mut timeline = Timeline::default();
        let base = 1 << 32;
        let got: Vec<_> = [u32::MAX, 5, u32::MAX - 1, 6]
            .iter()
            .map(|&t| timeline.unwrap(t) - base)
            .collect();
        assert_eq!(got, [(1 << 32) - 1, (1 << 32) + 5, (1 << 32) - 2, (1 << 32) + 6]);
    }

    #[test]
    fn reports_loss_since_the_last_report() {
        let mut stats = ReceiveStats::default();
        assert_eq!(stats.report(), None);
        for seq in (0..100).filter(|seq| seq % 4 != 3) {
            stats.on_packet(70_000 + seq, 0, 90_000, 0);
        }
        let report = stats.report().unwrap();
        // The last number, 99, was lost but nothing tells yet.
        assert_eq!(
            (report.fraction_lost, report.cumulative_lost),
            ((24 * 256 / 99) as u8, 24)
        );
        for seq in 100..200 {
            stats.on_packet(70_000 + seq, 0, 90_000, 0);
        }
        let report = stats.report().unwrap();
        assert_eq!((report.fraction_lost, report.cumulative_lost), ((256 / 101) as u8, 25));
        assert_eq!(report.extended_highest, 70_199);
    }

    #[test]
    fn jitter_converges_to_the_mean_deviation() {
        let mut stats = ReceiveStats::default();
        for i in 0..1_000u64 {
            // 20 ms of a 48 kHz clock, every other packet 5 ms late.
            stats.on_packet(i, (i * 960) as u32, 48_000, i * 20_000 + (i % 2) * 5_000);
        }
        assert!((230..=250).contains(&stats.jitter()), "{}", stats.jitter());
    }
}
