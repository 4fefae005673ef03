//! RTCP: compound packets (RFC 3550 section 6.1) and the messages in them, one format per module.

pub mod bye;
pub mod ccfb;
pub mod fir;
pub mod nack;
pub mod pli;
pub mod remb;
pub mod report;
pub mod sdes;
pub mod twcc;

use crate::cursor::{BufferFull, Writer};

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1).
mod packet_type {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const SOURCE_DESCRIPTION: u8 = 202;
    pub(super) const GOODBYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
}

/// Octets of the header that all packets share.
const HEADER: usize = 4;
const VERSION: u8 = 2 << 6;
const PADDING: u8 = 0x20;
const COUNT: u8 = 0x1f;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("RTCP version is not 2")]
    Version,
    #[error("RTCP packet is longer than the datagram")]
    Truncated,
    #[error("RTCP padding is empty or longer than the packet")]
    Padding,
    #[error("sender or receiver report is malformed")]
    Report,
    #[error("source description is malformed")]
    SourceDescription,
    #[error("goodbye is malformed")]
    Goodbye,
    #[error("negative acknowledgement is malformed")]
    Nack,
    #[error("picture loss indication is malformed")]
    PictureLoss,
    #[error("full intra request is malformed")]
    FullIntra,
    #[error("transport-wide feedback is malformed")]
    TransportWide,
    #[error("congestion control feedback is malformed")]
    CongestionControl,
    #[error("receiver estimated maximum bitrate is malformed")]
    MaximumBitrate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("the output buffer is too short")]
    BufferFull,
    #[error("more items than the RTCP packet can count")]
    TooMany,
    #[error("the RTCP packet would say nothing")]
    Nothing,
}

impl From<BufferFull> for WriteError {
    fn from(BufferFull: BufferFull) -> Self {
        Self::BufferFull
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Packet<'a> {
    SenderReport(report::SenderReport<'a>),
    ReceiverReport(report::ReceiverReport<'a>),
    SourceDescription(sdes::SourceDescription<'a>),
    Goodbye(bye::Goodbye<'a>),
    Nack(nack::Nack<'a>),
    PictureLoss(pli::PictureLoss),
    FullIntra(fir::FullIntra<'a>),
    TransportWide(twcc::Feedback<'a>),
    CongestionControl(ccfb::Feedback<'a>),
    MaximumBitrate(remb::MaximumBitrate<'a>),
}

/// The messages of a compound packet. Types that are not in [`Packet`], extended reports among them, are skipped.
///
/// A malformed body is told as an error and the next packet follows; after a malformed header there is no next one.
#[inline]
pub fn packets(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound }
}

#[derive(Clone, Debug)]
pub struct Packets<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.rest.is_empty() {
            let raw = match Raw::split(&mut self.rest) {
                Ok(raw) => raw,
                Err(error) => {
                    self.rest = &[];
                    return Some(Err(error));
                }
            };
            if let Some(packet) = raw.and_then(Raw::packet).transpose() {
                return Some(packet);
            }
        }
        None
    }
}

/// One packet of known length whose body is not looked at yet.
#[derive(Clone, Copy)]
struct Raw<'a> {
    /// Report count, source count or feedback message type.
    count: u8,
    packet_type: u8,
    /// Without header and padding.
    body: &'a [u8],
}

impl<'a> Raw<'a> {
    /// The outer error means that the end of the packet is unknown; the inner one is of this packet alone.
    fn split(rest: &mut &'a [u8]) -> Result<Result<Self, Error>, Error> {
        let (&[first, packet_type, l0, l1], _) = rest.split_first_chunk().ok_or(Error::Truncated)?;
        if first & 0xc0 != VERSION {
            return Err(Error::Version);
        }
        // RFC 3550 section 6.4.1: length in 32-bit words minus one.
        let len = (usize::from(u16::from_be_bytes([l0, l1])) + 1) * 4;
        let (packet, tail) = rest.split_at_checked(len).ok_or(Error::Truncated)?;
        *rest = tail;
        let body = &packet[HEADER..];
        Ok(unpad(body, first & PADDING != 0).map(|body| Self {
            count: first & COUNT,
            packet_type,
            body,
        }))
    }

    fn packet(self) -> Result<Option<Packet<'a>>, Error> {
        use packet_type::*;
        let Self { count, body, .. } = self;
        Ok(Some(match (self.packet_type, count) {
            (SENDER_REPORT, _) => Packet::SenderReport(report::SenderReport::parse(count, body).ok_or(Error::Report)?),
            (RECEIVER_REPORT, _) => {
                Packet::ReceiverReport(report::ReceiverReport::parse(count, body).ok_or(Error::Report)?)
            }
            (SOURCE_DESCRIPTION, _) => {
                Packet::SourceDescription(sdes::SourceDescription::parse(count, body).ok_or(Error::SourceDescription)?)
            }
            (GOODBYE, _) => Packet::Goodbye(bye::Goodbye::parse(count, body).ok_or(Error::Goodbye)?),
            (TRANSPORT_FEEDBACK, nack::FORMAT) => Packet::Nack(nack::Nack::parse(body).ok_or(Error::Nack)?),
            (TRANSPORT_FEEDBACK, twcc::FORMAT) => {
                Packet::TransportWide(twcc::Feedback::parse(body).ok_or(Error::TransportWide)?)
            }
            (TRANSPORT_FEEDBACK, ccfb::FORMAT) => {
                Packet::CongestionControl(ccfb::Feedback::parse(body).ok_or(Error::CongestionControl)?)
            }
            (PAYLOAD_FEEDBACK, pli::FORMAT) => {
                Packet::PictureLoss(pli::PictureLoss::parse(body).ok_or(Error::PictureLoss)?)
            }
            (PAYLOAD_FEEDBACK, fir::FORMAT) => Packet::FullIntra(fir::FullIntra::parse(body).ok_or(Error::FullIntra)?),
            // Application layer feedback of other kinds is none of ours.
            (PAYLOAD_FEEDBACK, remb::FORMAT) if remb::is_remb(body) => {
                Packet::MaximumBitrate(remb::MaximumBitrate::parse(body).ok_or(Error::MaximumBitrate)?)
            }
            _ => return Ok(None),
        }))
    }
}

fn unpad(body: &[u8], padded: bool) -> Result<&[u8], Error> {
    if !padded {
        return Ok(body);
    }
    // RFC 3550 section 6.4.1: the last octet counts the padding, itself included. That is to be a multiple of four, but libwebrtc
    // fills the last word of its transport-wide feedback with one to three octets.
    let padding = body.last().copied().map_or(0, usize::from);
    let len = body.len().checked_sub(padding).ok_or(Error::Padding)?;
    if padding == 0 {
        return Err(Error::Padding);
    }
    Ok(&body[..len])
}

/// Writes the shared header; [`finish`] fills in the length.
fn begin(out: &mut [u8], count: u8, packet_type: u8) -> Result<Writer<'_>, BufferFull> {
    let mut writer = Writer::new(out);
    writer.bytes(&[VERSION | (count & COUNT), packet_type, 0, 0])?;
    Ok(writer)
}

/// Header of a feedback message (RFC 4585 section 6.1).
fn begin_feedback(
    out: &mut [u8],
    format: u8,
    packet_type: u8,
    sender_ssrc: u32,
    media_ssrc: u32,
) -> Result<Writer<'_>, BufferFull> {
    let mut writer = begin(out, format, packet_type)?;
    writer.u32(sender_ssrc)?;
    writer.u32(media_ssrc)?;
    Ok(writer)
}

/// Sets the count of a packet whose items were counted while writing.
fn set_count(writer: &mut Writer<'_>, count: usize) -> Result<(), WriteError> {
    let count = u8::try_from(count).ok().filter(|&count| count <= COUNT);
    writer.patch(0, &[VERSION | count.ok_or(WriteError::TooMany)?]);
    Ok(())
}

/// Sets the length field of a packet that is a multiple of four octets, and returns that length.
fn finish(mut writer: Writer<'_>) -> Result<usize, WriteError> {
    let words = u16::try_from(writer.len() / 4 - 1).map_err(|_| WriteError::TooMany)?;
    writer.patch(2, &words.to_be_bytes());
    Ok(writer.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The only packet of a compound.
    pub(super) fn only(compound: &[u8]) -> Result<Packet<'_>, Error> {
        let mut packets = packets(compound);
        let first = packets.next().expect("a packet");
        assert_eq!(packets.next(), None);
        first
    }

    /// A packet of the given type whose length field is right.
    pub(super) fn packet(count: u8, packet_type: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x80 | count, packet_type, 0, (body.len() / 4) as u8];
        packet.extend_from_slice(body);
        packet
    }

    #[test]
    fn walks_a_compound_and_skips_what_it_does_not_know() {
        let mut compound = packet(0, 201, &[0, 0, 0, 1]);
        compound.extend(packet(0, 207, &[0, 0, 0, 1, 4, 0, 0, 0]));
        compound.extend(packet(9, 205, &[0; 8]));
        compound.extend(packet(15, 206, b"\0\0\0\x01\0\0\0\0ABCD"));
        compound.extend(packet(0, 204, &[]));
        compound.extend(packet(1, 206, &[0, 0, 0, 1, 0, 0, 0, 2]));
        let found: Vec<_> = packets(&compound).collect();
        assert!(matches!(
            found[..],
            [
                Ok(Packet::ReceiverReport(_)),
                Ok(Packet::PictureLoss(pli::PictureLoss {
                    sender_ssrc: 1,
                    media_ssrc: 2
                }))
            ]
        ));
        assert_eq!(packets(&[]).count(), 0);
    }

    #[test]
    fn one_malformed_body_does_not_hide_the_next_packet() {
        let mut compound = packet(3, 201, &[0, 0, 0, 1]);
        compound.extend(packet(1, 206, &[0, 0, 0, 1, 0, 0, 0, 2]));
        let found: Vec<_> = packets(&compound).map(|packet| packet.map(|_| ())).collect();
        assert_eq!(found, [Err(Error::Report), Ok(())]);
    }

    /// Short SRTCP: what is left after decryption may be any length, none of which may panic.
    #[test]
    fn ends_at_a_malformed_header() {
        for (compound, error) in [
            (&[0x80][..], Error::Truncated),
            (&[0x80, 201, 0], Error::Truncated),
            (&[0x80, 201, 0, 1], Error::Truncated),
            (&[0x80, 201, 0xff, 0xff, 0, 0, 0, 1], Error::Truncated),
            (&[0x40, 201, 0, 1, 0, 0, 0, 1], Error::Version),
        ] {
            assert_eq!(only(compound), Err(error), "{compound:?}");
        }
        let body_less = packet(0, 201, &[]);
        assert_eq!(only(&body_less), Err(Error::Report));
    }

    #[test]
    fn padding_is_left_out_and_never_underflows() {
        for (body, expected) in [
            (&[0, 0, 0, 1, 0, 0, 0, 4][..], Ok(())),
            (&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8], Ok(())),
            (&[0, 0, 0, 1, 0, 0, 0, 0], Err(Error::Padding)),
            (&[0, 0, 0, 1, 0, 0, 0, 3], Ok(())),
            (&[0, 0, 0, 1, 0, 0, 0, 5], Err(Error::Report)),
            (&[0, 0, 0, 1, 0, 0, 0, 12], Err(Error::Padding)),
            (&[0, 0, 0, 1, 0, 0, 0, 255], Err(Error::Padding)),
            (&[0, 0, 0, 1, 0, 0, 0, 8], Err(Error::Report)),
            (&[], Err(Error::Padding)),
        ] {
            let mut compound = packet(0, 201, body);
            compound[0] |= PADDING;
            assert_eq!(only(&compound).map(|_| ()), expected, "{body:?}");
        }
    }

    /// As libwebrtc writes it: one small delta, and an octet that fills the word and counts itself.
    #[test]
    fn feedback_padded_to_a_word_is_read() {
        let mut compound = packet(
            15,
            205,
            &[0, 0, 0, 1, 0, 0, 0, 2, 0, 7, 0, 1, 0, 0, 9, 1, 0x20, 1, 4, 1],
        );
        compound[0] |= PADDING;
        let Ok(Packet::TransportWide(feedback)) = only(&compound) else {
            panic!("{:?}", only(&compound));
        };
        let arrivals: Vec<_> = feedback
            .statuses()
            .map(|status| (status.sequence, status.arrival))
            .collect();
        assert_eq!(arrivals, [(7, Some(1_000))]);
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        let mut state = 1_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as u8
        };
        for round in 0..20_000 {
            let mut bytes = [0; 64];
            bytes.fill_with(&mut random);
            bytes[0] = 0x80 | bytes[0] & 0x3f;
            bytes[1] = 200 + round as u8 % 8;
            bytes[2] = 0;
            bytes[3] &= 0x0f;
            for packet in packets(&bytes).flatten() {
                let _ = format!("{packet:?}");
            }
        }
    }
}
