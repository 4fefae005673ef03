//! Arrival times of a publisher's packets by transport-wide number, for its bandwidth estimator
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

/// Numbers remembered: a power of two, 2 s at 1,000 packets per second.
const SPAN: usize = 2_048;
/// Numbers in one feedback message at most.
const MAX_REPORTED: u64 = 512;
/// A packet this late is told again, so that the sender does not count it as lost for good.
const MAX_LATE: u64 = 256;
/// Spacing of feedback, microseconds. Often enough for the sender to react, rarely enough to cost little.
const FAST_INTERVAL: u64 = 50_000;
const SLOW_INTERVAL: u64 = 100_000;
/// Packets per slow interval from which feedback is fast.
const FAST_PACKETS: u64 = 20;
const NONE: u64 = u64::MAX;

/// What one message tells: whether and when each of `count` numbers from `first` arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) first: u64,
    pub(crate) count: u64,
    /// Feedback packet count.
    pub(crate) serial: u8,
}

pub(crate) struct ArrivalLog {
    /// Arrival by number modulo `SPAN`, microseconds.
    arrivals: Box<[u64; SPAN]>,
    highest: u64,
    /// First number not told yet.
    next: u64,
    told: u64,
    serial: u8,
    /// A packet of the publisher, for the message's media source field.
    pub(crate) media_ssrc: u32,
}

impl ArrivalLog {
    /// Begins with the first packet that carries the extension.
    pub(crate) fn new(number: u16, ssrc: u32, now: u64) -> Self {
        let first = (1 << 16) + u64::from(number);
        let mut log = Self {
            arrivals: Box::new([NONE; SPAN]),
            highest: first,
            next: first,
            told: now,
            serial: 0,
            media_ssrc: ssrc,
        };
        log.arrivals[slot(first)] = now;
        log
    }

    pub(crate) fn on_packet(&mut self, number: u16, ssrc: u32, now: u64) {
        self.media_ssrc = ssrc;
        let ahead = number.wrapping_sub(self.highest as u16) as i16;
        let Some(seq) = self.highest.checked_add_signed(i64::from(ahead)) else {
            return;
        };
        if seq > self.highest {
            let skipped = (seq - self.highest - 1).min(SPAN as u64);
            for missing in seq - skipped..seq {
                self.arrivals[slot(missing)] = NONE;
            }
            self.highest = seq;
            // What fell out of the span can no longer be told.
            self.next = self.next.max((seq + 1).saturating_sub(SPAN as u64));
        } else if seq + MAX_LATE < self.highest || self.arrivals[slot(seq)] != NONE {
            return;
        }
        self.arrivals[slot(seq)] = now;
        self.next = self.next.min(seq);
    }

    /// A report is due: call [`next`](Self::next) until `None`.
    pub(crate) fn is_due(&self, now: u64) -> bool {
        let waiting = (self.highest + 1).saturating_sub(self.next);
        let interval = if waiting >= FAST_PACKETS / 2 {
            FAST_INTERVAL
        } else {
            SLOW_INTERVAL
        };
        waiting > 0 && now.saturating_sub(self.told) >= interval
    }

    /// What to tell next; [`told`](Self::told) says how much of it was.
    pub(crate) fn next(&mut self) -> Option<Span> {
        // A message begins with a packet that arrived: its times build on that.
        while self.next <= self.highest && self.arrivals[slot(self.next)] == NONE {
            self.next += 1;
        }
        let count = (self.highest + 1).saturating_sub(self.next).min(MAX_REPORTED);
        (count > 0).then_some(Span {
            first: self.next,
            count,
            serial: self.serial,
        })
    }

    /// The first `count` numbers of the last span went out.
    pub(crate) fn told(&mut self, count: u64, now: u64) {
        self.next += count;
        self.serial = self.serial.wrapping_add(1);
        self.told = now;
    }

    /// Some numbers are not told yet.
    pub(crate) fn waits(&self) -> bool {
        self.next <= self.highest
    }

    /// Microseconds; `None` when it did not arrive.
    pub(crate) fn arrival(&self, seq: u64) -> Option<u64> {
        Some(self.arrivals[slot(seq)]).filter(|&at| at != NONE)
    }
}

fn slot(seq: u64) -> usize {
    seq as usize % SPAN
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn told(log: &mut ArrivalLog, now: u64) -> Option<(u16, Vec<bool>)> {
        let span = log.is_due(now).then(|| log.next())??;
        let arrived = (span.first..span.first + span.count)
            .map(|seq| log.arrival(seq).is_some())
            .collect();
        log.told(span.count, now);
        Some((span.first as u16, arrived))
    }

    #[test]
    fn tells_arrivals_and_losses_once() {
        let mut log = ArrivalLog::new(65_534, 1, 0);
        for (number, at) in [(65_535, 1), (1, 2)] {
            log.on_packet(number, 1, at * MS);
        }
        assert_eq!(told(&mut log, 50 * MS), None);
        assert_eq!(told(&mut log, 100 * MS), Some((65_534, vec![true, true, false, true])));
        assert_eq!(told(&mut log, 300 * MS), None);
        log.on_packet(2, 1, 301 * MS);
        assert_eq!(told(&mut log, 302 * MS), Some((2, vec![true])));
    }

    #[test]
    fn late_packets_are_told_again_but_not_very_late_ones() {
        let mut log = ArrivalLog::new(0, 1, 0);
        log.on_packet(2, 1, MS);
        told(&mut log, 100 * MS);
        log.on_packet(1, 1, 120 * MS);
        assert_eq!(told(&mut log, 200 * MS), Some((1, vec![true, true])));
        log.on_packet(1_000, 1, 210 * MS);
        log.on_packet(10, 1, 211 * MS);
        assert_eq!(told(&mut log, 400 * MS), Some((1_000, vec![true])));
    }

    #[test]
    fn busy_publishers_are_told_faster() {
        let mut log = ArrivalLog::new(0, 1, 0);
        for number in 1..60 {
            log.on_packet(number, 1, u64::from(number) * MS / 2);
        }
        assert_eq!(
            told(&mut log, 50 * MS).map(|(first, arrived)| (first, arrived.len())),
            Some((0, 60))
        );
    }

    #[test]
    fn jumps_keep_within_the_span() {
        let mut log = ArrivalLog::new(0, 1, 0);
        log.on_packet(30_000, 1, MS);
        let (first, arrived) = told(&mut log, 100 * MS).unwrap();
        assert_eq!((first, arrived), (30_000, vec![true]));
        for number in 0..2_000 {
            log.on_packet(30_001 + number, 1, 110 * MS);
        }
        let lens: Vec<_> = (3..8)
            .map_while(|i| told(&mut log, i * 100 * MS))
            .map(|(_, arrived)| arrived.len())
            .collect();
        assert_eq!(lens, [512, 512, 512, 464]);
    }
}
