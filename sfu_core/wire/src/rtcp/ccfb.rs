//! Congestion control feedback (RFC 8888 section 3.1).

use super::{WriteError, begin, finish, packet_type};
use crate::cursor::Reader;

pub(super) const FORMAT: u8 = 11;
/// RFC 8888 section 3.1: more metric blocks are not allowed in one report.
const MAX_METRICS: u16 = 16_384;
const RECEIVED: u16 = 0x8000;
const OFFSET: u16 = 0x1fff;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback<'a> {
    pub sender_ssrc: u32,
    /// When it was made: middle 32 bits of an NTP time.
    pub timestamp: u32,
    reports: &'a [u8],
}

/// What arrived of one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report<'a> {
    pub ssrc: u32,
    /// Sequence number of the first metric.
    pub first: u16,
    metrics: &'a [u8],
}

/// A packet that arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Explicit congestion notification, 2 bits as in the IP header (RFC 3168 section 5).
    pub ecn: u8,
    /// How long before the feedback's timestamp it came, in units of 1/1024 s; 0x1ffe is that or more, 0x1fff unknown.
    pub offset: u16,
}

impl<'a> Feedback<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let sender_ssrc = reader.u32()?;
        let (reports, timestamp) = reader.0.split_last_chunk()?;
        let mut rest = Reader(reports);
        while !rest.0.is_empty() {
            Report::take(&mut rest)?;
        }
        Some(Self {
            sender_ssrc,
            timestamp: u32::from_be_bytes(*timestamp),
            reports,
        })
    }

    pub fn reports(&self) -> impl Iterator<Item = Report<'a>> + use<'a> {
        let mut rest = Reader(self.reports);
        std::iter::from_fn(move || Report::take(&mut rest))
    }
}

impl<'a> Report<'a> {
    fn take(rest: &mut Reader<'a>) -> Option<Self> {
        let ssrc = rest.u32()?;
        let first = rest.u16()?;
        let count = rest.u16().filter(|&count| count <= MAX_METRICS)?;
        let metrics = rest.bytes(usize::from(count) * 2)?;
        if count % 2 != 0 {
            rest.u16()?;
        }
        Some(Self { ssrc, first, metrics })
    }

    /// Sequence numbers in order, with `None` for packets that did not arrive.
    pub fn metrics(&self) -> impl Iterator<Item = (u16, Option<Metric>)> + use<'a> {
        let mut reader = Reader(self.metrics);
        let mut sequence = self.first;
        std::iter::from_fn(move || {
            let block = reader.u16()?;
            let item = (sequence, Metric::from_block(block));
            sequence = sequence.wrapping_add(1);
            Some(item)
        })
    }
}

impl Metric {
    fn from_block(block: u16) -> Option<Self> {
        (block & RECEIVED != 0).then_some(Self {
            ecn: (block >> 13 & 0x03) as u8,
            offset: block & OFFSET,
        })
    }

    fn block(self) -> u16 {
        RECEIVED | u16::from(self.ecn & 0x03) << 13 | self.offset.min(OFFSET)
    }
}

/// Writes feedback: of each stream its SSRC, its first sequence number, and what arrived from there on.
pub fn write<M>(
    out: &mut [u8],
    sender_ssrc: u32,
    timestamp: u32,
    reports: impl IntoIterator<Item = (u32, u16, M)>,
) -> Result<usize, WriteError>
where
    M: IntoIterator<Item = Option<Metric>>,
{
    let mut writer = begin(out, FORMAT, packet_type::TRANSPORT_FEEDBACK)?;
    writer.u32(sender_ssrc)?;
    for (ssrc, first, metrics) in reports {
        writer.u32(ssrc)?;
        writer.u16(first)?;
        let count_at = writer.len();
        writer.u16(0)?;
        let mut count = 0;
        for metric in metrics {
            if count == MAX_METRICS {
                return Err(WriteError::TooMany);
            }
            writer.u16(metric.map_or(0, Metric::block))?;
            count += 1;
        }
        writer.patch(count_at, &count.to_be_bytes());
        writer.align()?;
    }
    writer.u32(timestamp)?;
    finish(writer)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{only, packet};
    use super::super::{Error, Packet};
    use super::*;

    type Streams = Vec<(u32, Vec<(u16, Option<Metric>)>)>;

    fn parse(compound: &[u8]) -> Result<(u32, u32, Streams), Error> {
        match only(compound)? {
            Packet::CongestionControl(feedback) => Ok((
                feedback.sender_ssrc,
                feedback.timestamp,
                feedback
                    .reports()
                    .map(|report| (report.ssrc, report.metrics().collect()))
                    .collect(),
            )),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn octets() {
        let metric = Metric { ecn: 3, offset: 0x123 };
        let mut out = [0; 64];
        let reports = [(7, 0xffff, vec![Some(metric), None, Some(metric)]), (8, 5, vec![])];
        let len = write(&mut out, 1, 0xaabb_ccdd, reports).unwrap();
        assert_eq!(
            out[..len],
            [
                0x8b, 205, 0, 8, 0, 0, 0, 1, 0, 0, 0, 7, 0xff, 0xff, 0, 3, 0xe1, 0x23, 0, 0, 0xe1, 0x23, 0, 0, 0, 0, 0,
                8, 0, 5, 0, 0, 0xaa, 0xbb, 0xcc, 0xdd
            ]
        );
        let streams = vec![
            (7, vec![(0xffff, Some(metric)), (0, None), (1, Some(metric))]),
            (8, vec![]),
        ];
        assert_eq!(parse(&out[..len]), Ok((1, 0xaabb_ccdd, streams)));
    }

    #[test]
    fn malformed() {
        for body in [
            &[0; 4][..],
            // The timestamp would be within the report.
            &[0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 0],
            &[0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0, 0],
            &[0, 0, 0, 1, 0, 0, 0, 7, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
        ] {
            assert_eq!(parse(&packet(11, 205, body)), Err(Error::CongestionControl), "{body:?}");
        }
    }

    #[test]
    fn limits() {
        let mut out = vec![0; 70_000];
        let most = vec![None; usize::from(MAX_METRICS)];
        assert!(write(&mut out, 1, 0, [(7, 0, most.clone())]).is_ok());
        let more = [most, vec![None]].concat();
        assert_eq!(write(&mut out, 1, 0, [(7, 0, more)]), Err(WriteError::TooMany));
        assert_eq!(
            write(&mut out[..22], 1, 0, [(7, 0, [None])]),
            Err(WriteError::BufferFull)
        );
    }
}
