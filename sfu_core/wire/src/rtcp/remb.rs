//! Receiver estimated maximum bitrate (draft-alvestrand-rmcat-remb-03 section 2.2).

use super::{WriteError, begin_feedback, finish, packet_type};
use crate::cursor::Reader;

/// Application layer feedback (RFC 4585 section 6.4), told apart by its identifier.
pub(super) const FORMAT: u8 = 15;
const IDENTIFIER: [u8; 4] = *b"REMB";
const MANTISSA_BITS: u32 = 18;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaximumBitrate<'a> {
    pub sender_ssrc: u32,
    /// Bits per second.
    pub bitrate: u64,
    sources: &'a [u8],
}

pub(super) fn is_remb(body: &[u8]) -> bool {
    body.get(8..12) == Some(&IDENTIFIER)
}

impl<'a> MaximumBitrate<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let sender_ssrc = reader.u32()?;
        // Media source, always 0, then the identifier.
        reader.u64()?;
        let [count, b0, b1, b2] = reader.array()?;
        let exponent = u32::from(b0 >> 2);
        let mantissa = u64::from(b0 & 0x03) << 16 | u64::from(b1) << 8 | u64::from(b2);
        Some(Self {
            sender_ssrc,
            bitrate: mantissa
                .checked_shl(exponent)
                .filter(|bitrate| bitrate >> exponent == mantissa)?,
            sources: reader.bytes(usize::from(count) * 4)?,
        })
    }

    /// SSRCs that the limit holds for, together.
    pub fn sources(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut reader = Reader(self.sources);
        std::iter::from_fn(move || reader.u32())
    }
}

/// Writes the limit, in bits per second and rounded down to 18 significant bits, for at most 255 sources together.
pub fn write(
    out: &mut [u8],
    sender_ssrc: u32,
    bitrate: u64,
    sources: impl IntoIterator<Item = u32>,
) -> Result<usize, WriteError> {
    let mut writer = begin_feedback(out, FORMAT, packet_type::PAYLOAD_FEEDBACK, sender_ssrc, 0)?;
    writer.bytes(&IDENTIFIER)?;
    let exponent = (u64::BITS - bitrate.leading_zeros()).saturating_sub(MANTISSA_BITS);
    let count_at = writer.len();
    writer.u32(exponent << MANTISSA_BITS | (bitrate >> exponent) as u32)?;
    let mut count = 0_usize;
    for source in sources {
        writer.u32(source)?;
        count += 1;
    }
    let count = u8::try_from(count).map_err(|_| WriteError::TooMany)?;
    writer.patch(count_at, &[count]);
    finish(writer)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{only, packet};
    use super::super::{Error, Packet};
    use super::*;

    fn parse(compound: &[u8]) -> Result<(u64, Vec<u32>), Error> {
        match only(compound)? {
            Packet::MaximumBitrate(remb) => Ok((remb.bitrate, remb.sources().collect())),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn octets() {
        let mut out = [0; 24];
        assert_eq!(write(&mut out, 1, 8_927_168, [0x4895_8f77]), Ok(24));
        assert_eq!(
            out,
            [
                0x8f, 206, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, b'R', b'E', b'M', b'B', 1, 0x1a, 0x20, 0xdf, 0x48, 0x95, 0x8f,
                0x77
            ]
        );
        assert_eq!(parse(&out), Ok((8_927_168, vec![0x4895_8f77])));
    }

    #[test]
    fn bitrates_lose_little() {
        let mut out = [0; 64];
        for shift in 0..64 {
            for bitrate in [1_u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
                let len = write(&mut out, 1, bitrate, [1, 2]).unwrap();
                let (read, sources) = parse(&out[..len]).unwrap();
                assert!(read <= bitrate && bitrate - read <= bitrate >> 17, "{bitrate} {read}");
                assert_eq!(sources, [1, 2]);
            }
        }
        assert_eq!(write(&mut [0; 2_048], 1, 1, 0..256), Err(WriteError::TooMany));
    }

    /// A count beyond the packet once made servers read past its end.
    #[test]
    fn more_sources_announced_than_present() {
        for count in [2, 3, 255] {
            let mut body = b"\0\0\0\x01\0\0\0\0REMB\0\0\0\x09\0\0\0\x07".to_vec();
            body[12] = count;
            assert_eq!(parse(&packet(15, 206, &body)), Err(Error::MaximumBitrate), "{count}");
        }
        assert_eq!(
            parse(&packet(15, 206, b"\0\0\0\x01\0\0\0\0REMB")),
            Err(Error::MaximumBitrate)
        );
    }

    #[test]
    fn bitrates_beyond_64_bits_are_refused() {
        let mut body = b"\0\0\0\x01\0\0\0\0REMB\0\xff\xff\xff".to_vec();
        assert_eq!(parse(&packet(15, 206, &body)), Err(Error::MaximumBitrate));
        body[13..].copy_from_slice(&[46 << 2 | 3, 0xff, 0xff]);
        assert_eq!(parse(&packet(15, 206, &body)), Ok((0x3ffff << 46, vec![])));
    }
}
