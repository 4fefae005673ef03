//! What a connection received of one stream: numbers, holes, what to ask again, what to report.

use wire::rtcp::report::ReportBlock;

use crate::plan::Kind;

/// Numbers that may still come late. What leaves the window unseen is lost.
const WINDOW: u64 = 256;
/// Numbers asked again at the same time.
const MAX_MISSING: usize = 128;
/// Microseconds between two requests for one number, and how often it is asked.
const ASK_AGAIN: u64 = 50_000;
const MAX_ASKS: u8 = 6;
const FIRST_ASK: u64 = 5_000;

#[derive(Clone, Copy, Debug)]
struct Missing {
    seq: u64,
    next: u64,
    asks: u8,
}

pub(super) struct Stream {
    pub(super) ssrc: u32,
    pub(super) kind: Kind,
    pub(super) mid: [u8; 8],
    pub(super) payload_type: u8,
    /// Packets since the last sampled one.
    pub(super) unsampled: u32,
    /// The last sample had no stamp: the next packet that ends a frame is to be sampled, too.
    pub(super) awaits_stamp: bool,
    /// Where the transport-wide number was in the last packet.
    pub(super) number_at: usize,
    highest: u64,
    first: u64,
    /// Bit `seq % WINDOW`: it came.
    seen: [u64; (WINDOW / 64) as usize],
    pub(super) packets: u64,
    pub(super) lost: u64,
    pub(super) duplicates: u64,
    missing: Vec<Missing>,
    /// When the last packet came, microseconds.
    pub(super) at: u64,
    /// The longest time between two packets, and when it ended.
    pub(super) longest: (u64, u64),
    /// For reports.
    reported: (u64, u64),
    transit: u32,
    jitter: u32,
    last_report: (u32, u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    New,
    /// It fills a hole.
    Late,
    Duplicate,
}

impl Stream {
    pub(super) fn new(ssrc: u32, kind: Kind, payload_type: u8, mid: &[u8], seq: u16) -> Self {
        let mut name = [0; 8];
        for (to, from) in name.iter_mut().zip(mid) {
            *to = *from;
        }
        let highest = (1 << 16) + u64::from(seq).wrapping_sub(1);
        Self {
            ssrc,
            kind,
            mid: name,
            payload_type,
            unsampled: u32::MAX,
            awaits_stamp: false,
            number_at: 0,
            highest,
            first: highest + 1,
            seen: [u64::MAX; (WINDOW / 64) as usize],
            packets: 0,
            lost: 0,
            duplicates: 0,
            missing: Vec::new(),
            at: 0,
            longest: (0, 0),
            reported: (highest, 0),
            transit: 0,
            jitter: 0,
            last_report: (0, 0),
        }
    }

    /// `now` in microseconds; `ticks` is `now` in timestamp units.
    #[inline]
    pub(super) fn on_packet(&mut self, seq: u16, timestamp: u32, now: u64, ticks: u32) -> Arrival {
        let ahead = i64::from(seq.wrapping_sub(self.highest as u16) as i16);
        let seq = self.highest.wrapping_add_signed(ahead);
        if ahead == 1 {
            self.take(seq);
        } else if ahead > 0 {
            for missing in self.highest + 1..seq {
                self.leave(missing);
                self.seen[slot(missing)] &= !bit(missing);
                if self.kind == Kind::Video && self.missing.len() < MAX_MISSING {
                    self.missing.push(Missing {
                        seq: missing,
                        next: now + FIRST_ASK,
                        asks: 0,
                    });
                }
            }
            self.take(seq);
        } else {
            if seq + WINDOW <= self.highest || self.seen[slot(seq)] & bit(seq) != 0 {
                self.duplicates += 1;
                return Arrival::Duplicate;
            }
            self.seen[slot(seq)] |= bit(seq);
            self.packets += 1;
            self.missing.retain(|missing| missing.seq != seq);
            return Arrival::Late;
        }
        // RFC 3550 section 6.4.1, scaled by 16.
        let transit = ticks.wrapping_sub(timestamp);
        let difference = (transit.wrapping_sub(self.transit) as i32).unsigned_abs().min(1 << 20);
        self.transit = transit;
        self.jitter = self
            .jitter
            .wrapping_add(difference)
            .wrapping_sub((self.jitter + 8) >> 4);
        Arrival::New
    }

    #[inline]
    pub(super) fn on_sound(&mut self, now: u64) {
        let silence = if self.at == 0 { 0 } else { now.saturating_sub(self.at) };
        if silence > self.longest.0 {
            self.longest = (silence, now);
        }
        self.at = now;
    }

    /// The longest between two packets of those since `begun`, as far as it lay behind that; microseconds.
    pub(super) fn silence(&self, begun: u64) -> u64 {
        self.longest.0.min(self.longest.1.saturating_sub(begun))
    }

    #[inline]
    fn take(&mut self, seq: u64) {
        self.leave(seq);
        self.seen[slot(seq)] |= bit(seq);
        self.highest = seq;
        self.packets += 1;
    }

    /// The number that had this place leaves the window.
    #[inline]
    fn leave(&mut self, seq: u64) {
        if self.seen[slot(seq)] & bit(seq) == 0 {
            self.lost += 1;
            let gone = seq - WINDOW;
            self.missing.retain(|missing| missing.seq != gone);
        }
    }

    /// Numbers to be asked for now. True when one was given up: a keyframe must help.
    pub(super) fn ask(&mut self, now: u64, ask: &mut Vec<u16>) -> bool {
        let before = self.missing.len();
        self.missing
            .retain(|missing| missing.asks < MAX_ASKS || missing.next > now);
        for missing in &mut self.missing {
            if missing.next <= now {
                ask.push(missing.seq as u16);
                missing.next = now + ASK_AGAIN;
                missing.asks += 1;
            }
        }
        self.missing.len() < before
    }

    pub(super) fn has_holes(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Numbers below the highest that have not come and may still come.
    pub(super) fn holes(&self) -> u64 {
        self.seen.iter().map(|word| u64::from(word.count_zeros())).sum()
    }

    pub(super) fn on_sender_report(&mut self, ntp: u64, now: u64) {
        self.last_report = ((ntp >> 16) as u32, now);
    }

    pub(super) fn report(&mut self, now: u64) -> ReportBlock {
        let expected = self.highest - self.reported.0;
        let received = self.packets - self.reported.1;
        self.reported = (self.highest, self.packets);
        let lost = expected.saturating_sub(received);
        let all = (self.highest + 1 - self.first).saturating_sub(self.packets);
        let (last_sender_report, at) = self.last_report;
        ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (lost * 256).checked_div(expected).unwrap_or(0).min(255) as u8,
            cumulative_lost: i32::try_from(all).unwrap_or(i32::MAX),
            highest_sequence: (self.highest - (1 << 16)) as u32,
            jitter: self.jitter >> 4,
            last_sender_report,
            delay: if last_sender_report == 0 {
                0
            } else {
                (now.saturating_sub(at) * 65_536 / 1_000_000) as u32
            },
        }
    }
}

fn slot(seq: u64) -> usize {
    (seq % WINDOW / 64) as usize
}

fn bit(seq: u64) -> u64 {
    1 << (seq % 64)
}

/// Arrivals by transport-wide number (draft-holmer-rmcat-transport-wide-cc-extensions-01), until they are told.
pub(super) struct Arrivals {
    times: Box<[u64; SPAN]>,
    highest: u64,
    /// First number not told.
    next: u64,
    pub(super) serial: u8,
}

const SPAN: usize = 4_096;
/// Numbers in one message at most.
const MAX_TOLD: u64 = 512;
const NONE: u64 = u64::MAX;

impl Arrivals {
    pub(super) fn new() -> Self {
        Self {
            times: Box::new([NONE; SPAN]),
            highest: 0,
            next: 0,
            serial: 0,
        }
    }

    #[inline]
    pub(super) fn on_packet(&mut self, number: u16, now: u64) {
        if self.highest == 0 {
            self.highest = (1 << 16) + u64::from(number);
            self.next = self.highest;
        }
        let ahead = i64::from(number.wrapping_sub(self.highest as u16) as i16);
        let seq = self.highest.wrapping_add_signed(ahead);
        if seq + SPAN as u64 <= self.highest {
            // Its place belongs to a newer number.
            return;
        }
        if ahead > 1 {
            for missing in self.highest + 1..seq {
                self.times[missing as usize % SPAN] = NONE;
            }
        }
        if ahead > 0 {
            self.highest = seq;
            self.next = self.next.max((seq + 1).saturating_sub(SPAN as u64));
        }
        self.times[seq as usize % SPAN] = now;
    }

    /// The next message: first number and arrivals, `None` where nothing came. [`told`](Self::told) ends it.
    pub(super) fn next(&mut self) -> Option<(u64, u64)> {
        if self.highest == 0 {
            return None;
        }
        while self.next <= self.highest && self.times[self.next as usize % SPAN] == NONE {
            self.next += 1;
        }
        let count = (self.highest + 1 - self.next).min(MAX_TOLD);
        (count > 0).then_some((self.next, count))
    }

    pub(super) fn arrival(&self, seq: u64) -> Option<u64> {
        Some(self.times[seq as usize % SPAN]).filter(|&time| time != NONE)
    }

    pub(super) fn told(&mut self, count: u64) {
        self.next += count.max(1);
        self.serial = self.serial.wrapping_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream() -> Stream {
        Stream::new(1, Kind::Video, 96, b"0", 65_530)
    }

    #[test]
    fn counts_what_is_lost_and_forgives_what_comes_late() {
        let mut stream = stream();
        let mut seq = 65_530_u16;
        for index in 0..1_000_u64 {
            // Every tenth is lost, every seventh comes after the next.
            if index % 10 != 3 {
                assert_eq!(stream.on_packet(seq, 0, index, 0), Arrival::New);
                if index % 7 == 0 && index % 10 == 4 {
                    assert_eq!(stream.on_packet(seq.wrapping_sub(1), 0, index, 0), Arrival::Late);
                    assert_eq!(stream.on_packet(seq.wrapping_sub(1), 0, index, 0), Arrival::Duplicate);
                }
            }
            seq = seq.wrapping_add(1);
        }
        let late = (0..1_000).filter(|i| i % 7 == 0 && i % 10 == 4).count() as u64;
        assert_eq!(stream.packets, 900 + late);
        // The last window is still open.
        let open = (744..1_000).filter(|i| i % 10 == 3 && (i + 1) % 7 != 0).count() as u64;
        assert_eq!((stream.lost, stream.holes()), (100 - late - open, open));
        assert_eq!(stream.duplicates, late);
    }

    #[test]
    fn asks_until_it_comes_or_is_given_up() {
        let mut stream = stream();
        stream.on_packet(65_530, 0, 0, 0);
        stream.on_packet(65_533, 0, 0, 0);
        let mut asked = Vec::new();
        assert!(!stream.ask(1_000, &mut asked));
        assert!(asked.is_empty());
        assert!(!stream.ask(FIRST_ASK, &mut asked));
        assert_eq!(asked, [65_531, 65_532]);
        assert_eq!(stream.on_packet(65_531, 0, 0, 0), Arrival::Late);
        let mut given_up = false;
        for step in 1..20 {
            given_up |= stream.ask(FIRST_ASK + step * ASK_AGAIN, &mut asked);
        }
        assert!(given_up);
        assert_eq!(asked.len(), 1 + usize::from(MAX_ASKS));
    }

    #[test]
    fn arrivals_are_told_once_and_in_order() {
        let mut log = Arrivals::new();
        for number in [65_534_u16, 65_535, 1, 0, 3] {
            log.on_packet(number, u64::from(number) + 1);
        }
        let (first, count) = log.next().unwrap();
        let told: Vec<_> = (first..first + count).map(|seq| log.arrival(seq).is_some()).collect();
        assert_eq!(
            (first as u16, told),
            (65_534, vec![true, true, true, true, false, true])
        );
        log.told(count);
        assert!(log.next().is_none());
    }

    #[test]
    fn an_arrival_from_long_ago_takes_no_newer_ones_place() {
        let mut log = Arrivals::new();
        let newest = 30_000_u16;
        log.on_packet(newest - 1, 1);
        log.on_packet(newest, 2);
        log.on_packet(newest - SPAN as u16, 3);
        let (first, count) = log.next().unwrap();
        let times: Vec<_> = (first..first + count).map(|seq| log.arrival(seq)).collect();
        assert_eq!(times, [Some(1), Some(2)]);
    }
}
