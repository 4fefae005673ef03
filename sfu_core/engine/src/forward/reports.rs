//! Sender reports to a subscriber and what its receiver reports say (RFC 3550 section 6.4).

use wire::rtcp::report::{ReportBlock, SenderInfo};

use super::Subscription;
use crate::command::MediaKind;
use crate::crossing::SourceClock;
use crate::publish::track::Track;

/// Between two sender reports, microseconds. Shorter finds lip sync sooner and costs more.
const INTERVAL: u64 = 1_000_000;
/// The first one comes sooner, so that audio and video are in step from the start.
const FIRST: u64 = 100_000;
/// Reports remembered for round-trip times.
const REMEMBERED: usize = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Reception {
    /// 0 to 1.
    pub(super) fraction_lost: f64,
    pub(super) jitter_ms: f64,
    pub(super) rtt_ms: f64,
}

#[derive(Debug, Default)]
pub(super) struct Reports {
    pub(super) reception: Reception,
    packets: u32,
    octets: u32,
    /// When the next one is due, microseconds.
    due: u64,
    /// Middle 32 bits of the NTP time, and when it was sent.
    sent: [(u32, u64); REMEMBERED],
    next: usize,
}

impl Reports {
    pub(super) fn on_sent(&mut self, now: u64, payload: usize) {
        if self.packets == 0 {
            self.due = now + FIRST;
        }
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
    }

    pub(super) fn is_due(&self, now: u64) -> bool {
        self.packets > 0 && now >= self.due
    }

    /// The report for this moment: the publisher's clock carried on, and its timestamp moved by `map` to the
    /// subscriber's. All tracks of a publisher share its clock, which is what keeps lips in sync.
    pub(super) fn make(
        &mut self,
        now: u64,
        clock: SourceClock,
        clock_rate: u32,
        map: impl Fn(u32) -> u32,
    ) -> SenderInfo {
        self.due = now + INTERVAL;
        let since = now.saturating_sub(clock.arrival);
        let ntp = clock.ntp.wrapping_add(((u128::from(since) << 32) / 1_000_000) as u64);
        let ticks = (u128::from(since) * u128::from(clock_rate) / 1_000_000) as u32;
        self.sent[self.next] = ((ntp >> 16) as u32, now);
        self.next = (self.next + 1) % REMEMBERED;
        SenderInfo {
            ntp,
            rtp_timestamp: map(clock.rtp.wrapping_add(ticks)),
            packets: self.packets,
            octets: self.octets,
        }
    }

    pub(super) fn on_block(&mut self, now: u64, block: &ReportBlock, clock_rate: u32) {
        self.reception.fraction_lost = f64::from(block.fraction_lost) / 256.0;
        self.reception.jitter_ms = f64::from(block.jitter) * 1_000.0 / f64::from(clock_rate.max(1));
        let known = self
            .sent
            .iter()
            .find(|(ntp, _)| *ntp != 0 && *ntp == block.last_sender_report);
        if let Some(&(_, at)) = known {
            let held = u64::from(block.delay) * 1_000_000 / 65_536;
            if let Some(round_trip) = now.saturating_sub(at).checked_sub(held) {
                self.reception.rtt_ms = round_trip as f64 / 1_000.0;
            }
        }
    }
}

impl Subscription {
    pub fn handle_report(&mut self, now: u64, block: &ReportBlock, track: &Track) {
        let clock_rate = self.clock_rate(track);
        self.reports.on_block(now, block, clock_rate);
    }

    /// A sender report, when one is due and the publisher's clock is known.
    pub fn sender_report(&mut self, now: u64, track: &Track) -> Option<SenderInfo> {
        if !self.reports.is_due(now) {
            return None;
        }
        let layer = self.source?.layer;
        let clock = track.layers.get(usize::from(layer))?.clock?;
        let clock_rate = self.clock_rate(track);
        let timestamps = &self.timestamps;
        Some(self.reports.make(now, clock, clock_rate, |rtp| timestamps.map(rtp)))
    }

    /// Milliseconds; 0 until a receiver report told it.
    pub fn rtt_ms(&self) -> f64 {
        self.reports.reception.rtt_ms
    }

    /// Hz, of the format that is likely in use.
    fn clock_rate(&self, track: &Track) -> u32 {
        let format = self.payloads.first().and_then(|map| track.clock_rate(map.from));
        format.unwrap_or(match self.kind {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    #[test]
    fn the_publishers_clock_is_carried_on() {
        let mut reports = Reports::default();
        assert!(!reports.is_due(10 * S));
        reports.on_sent(10 * S, 100);
        reports.on_sent(10 * S, 50);
        assert!(!reports.is_due(10 * S) && reports.is_due(10 * S + FIRST));
        let clock = SourceClock {
            ntp: 5 << 32,
            rtp: 1_000,
            arrival: 9 * S,
        };
        let info = reports.make(11 * S, clock, 90_000, |rtp| rtp + 7);
        assert_eq!(
            (info.ntp, info.rtp_timestamp, info.packets, info.octets),
            (7 << 32, 181_007, 2, 150)
        );
        assert!(!reports.is_due(11 * S));
    }

    #[test]
    fn round_trip_needs_a_report_of_ours() {
        let mut reports = Reports::default();
        let clock = SourceClock {
            ntp: 5 << 32,
            rtp: 0,
            arrival: 0,
        };
        let info = reports.make(0, clock, 48_000, |rtp| rtp);
        let block = |last_sender_report| ReportBlock {
            fraction_lost: 64,
            jitter: 480,
            last_sender_report,
            delay: 65_536,
            ..ReportBlock::default()
        };
        reports.on_block(2 * S, &block(99), 48_000);
        assert_eq!(reports.reception.rtt_ms, 0.0);
        reports.on_block(S + 30_000, &block((info.ntp >> 16) as u32), 48_000);
        let expected = Reception {
            fraction_lost: 0.25,
            jitter_ms: 10.0,
            rtt_ms: 30.0,
        };
        assert_eq!(reports.reception, expected);
    }
}
