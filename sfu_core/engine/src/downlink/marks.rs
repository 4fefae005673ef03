//! Which transport-wide numbers end pictures or repair them: what feedback says of these tells which pictures arrived whole.

use std::collections::VecDeque;

use wire::rtcp::{ccfb, twcc};

use crate::bandwidth::Clock;

/// Marks kept at most. More waits longer for feedback where many videos are watched, at 16 bytes each.
const MOST: usize = 512;
/// Feedback on older ones is not waited for, milliseconds.
const OLDEST: u32 = 3_000;

/// The last packet of a picture, or a packet sent again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    transport: u16,
    /// Of the stream of media, also when it was sent again.
    sequence: u16,
    ssrc: u32,
    /// Milliseconds.
    sent: u32,
    is_told: bool,
}

/// A marked packet that came, at a time of the receiver's clock, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived {
    pub(crate) ssrc: u32,
    pub(crate) sequence: u16,
    pub(crate) at: i64,
}

/// In the order of their numbers.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    marks: VecDeque<Mark>,
    clock: Clock,
    arrived: Vec<Arrived>,
}

impl Marks {
    /// `now` in microseconds.
    pub(crate) fn push(&mut self, now: u64, transport: u16, ssrc: u32, sequence: u16) {
        let sent = (now / 1_000) as u32;
        while let Some(first) = self.marks.front()
            && (first.is_told || self.marks.len() >= MOST || sent.wrapping_sub(first.sent) > OLDEST)
        {
            self.marks.pop_front();
        }
        self.marks.push_back(Mark {
            transport,
            sequence,
            ssrc,
            sent,
            is_told: false,
        });
    }

    /// What came of what was marked; to be given back with [`recycle`](Self::recycle).
    pub(crate) fn on_transport_feedback(&mut self, feedback: &twcc::Feedback<'_>) -> Vec<Arrived> {
        let mut arrived = std::mem::take(&mut self.arrived);
        let reference = self.clock.reference(feedback.reference);
        let mut statuses = feedback.statuses().peekable();
        let Some(first) = statuses.peek().map(|status| status.sequence) else {
            return arrived;
        };
        let from = self.marks.partition_point(|mark| is_before(mark.transport, first));
        let mut marks = self.marks.range_mut(from..).peekable();
        for status in statuses {
            while marks
                .next_if(|mark| is_before(mark.transport, status.sequence))
                .is_some()
            {}
            let Some(mark) = marks.next_if(|mark| mark.transport == status.sequence) else {
                continue;
            };
            if let Some(at) = status.arrival.filter(|_| !mark.is_told) {
                mark.is_told = true;
                arrived.push(mark.arrived(reference.saturating_add(at)));
            }
        }
        arrived
    }

    /// The same of feedback by stream, where packets sent again have numbers of their own: `find` tells the transport-wide
    /// number of a packet.
    pub(crate) fn on_ccfb(
        &mut self,
        feedback: &ccfb::Feedback<'_>,
        find: impl Fn(u32, u16) -> Option<u16>,
    ) -> Vec<Arrived> {
        let mut arrived = std::mem::take(&mut self.arrived);
        let told = self.clock.timestamp(feedback.timestamp);
        for report in feedback.reports() {
            for (sequence, metric) in report.metrics() {
                let Some(at) = metric.and_then(|metric| Clock::arrival(told, metric)) else {
                    continue;
                };
                let Some(transport) = find(report.ssrc, sequence) else {
                    continue;
                };
                let index = self.marks.partition_point(|mark| is_before(mark.transport, transport));
                let mark = self.marks.get_mut(index);
                if let Some(mark) = mark.filter(|mark| mark.transport == transport && !mark.is_told) {
                    mark.is_told = true;
                    arrived.push(mark.arrived(at));
                }
            }
        }
        arrived
    }

    /// Keeps the memory.
    pub(crate) fn recycle(&mut self, mut arrived: Vec<Arrived>) {
        arrived.clear();
        self.arrived = arrived;
    }
}

impl Mark {
    fn arrived(&self, at: i64) -> Arrived {
        Arrived {
            ssrc: self.ssrc,
            sequence: self.sequence,
            at,
        }
    }
}

/// Of numbers that wrap.
fn is_before(number: u16, other: u16) -> bool {
    (number.wrapping_sub(other) as i16) < 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(marks: &mut Marks, first: u16, times: &[Option<u64>]) -> Vec<(u32, u16, i64)> {
        let mut bytes = [0; 1_200];
        let written = twcc::write(&mut bytes, 1, 2, 0, first, times.iter().copied()).unwrap();
        let packet = wire::rtcp::packets(&bytes[..written.len]).next().unwrap().unwrap();
        let wire::rtcp::Packet::TransportWide(feedback) = packet else {
            panic!("{packet:?}");
        };
        let arrived = marks.on_transport_feedback(&feedback);
        let values = arrived
            .iter()
            .map(|arrived| (arrived.ssrc, arrived.sequence, arrived.at));
        let values = values.collect();
        marks.recycle(arrived);
        values
    }

    #[test]
    fn marked_packets_are_told_once_also_where_numbers_wrap() {
        let mut marks = Marks::default();
        for (transport, sequence) in [(65_533, 10), (65_535, 11), (2, 12)] {
            marks.push(1_000_000, transport, 7, sequence);
        }
        let first = told(&mut marks, 65_532, &[Some(64_000), Some(64_250), None, None]);
        assert_eq!(first, [(7, 10, 64_250)]);
        // What was missing came late, and is told together with what follows.
        let later = [Some(64_250), None, Some(70_000), Some(71_000), None, Some(72_000)];
        assert_eq!(told(&mut marks, 65_533, &later), [(7, 11, 70_000), (7, 12, 72_000)]);
        assert_eq!(told(&mut marks, 65_533, &later), []);
    }

    #[test]
    fn feedback_on_what_was_never_sent_tells_nothing() {
        let mut marks = Marks::default();
        assert_eq!(told(&mut marks, 5, &[Some(64_000); 20]), []);
        marks.push(0, 100, 7, 1);
        for first in [0, 85, 101, 40_000] {
            assert_eq!(told(&mut marks, first, &[Some(64_000); 15]), [], "{first}");
        }
    }

    #[test]
    fn what_is_kept_is_bounded_in_number_and_age() {
        let mut marks = Marks::default();
        for count in 0..10_000_u64 {
            marks.push(count, count as u16, 7, count as u16);
        }
        assert_eq!(marks.marks.len(), MOST);
        marks.push(5_000_000, 10_000, 7, 1);
        assert_eq!(marks.marks.len(), 1);
    }
}
