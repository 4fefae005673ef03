//! FlexFEC as browsers speak it, `flexfec-03` (draft-ietf-payload-flexible-fec-scheme-03 section 4.2.2): parity with a
//! flexible mask over one stream. Retransmissions, fixed masks and several streams in one packet are refused: no browser
//! makes them. RFC 8627 is another format.

use crate::cursor::{Reader, Writer};
use crate::fec::{Recovery, WriteError, span};

/// Numbers that a mask spans at most; the shorter masks span 15 and 46.
pub const MAX_SPAN: u32 = 109;
const SHORT_SPAN: u32 = 15;
const MEDIUM_SPAN: u32 = 46;
/// Octets before the parity at most, with the longest mask.
pub const MAX_HEADER: usize = 32;

const RETRANSMISSION: u8 = 0x80;
const FIXED_MASK: u8 = 0x40;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("FlexFEC packet is cut short")]
    Truncated,
    #[error("FlexFEC packet is a retransmission or has a fixed mask")]
    Kind,
    #[error("FlexFEC packet covers none or several streams")]
    Streams,
    #[error("FlexFEC packet covers no packet, or its mask has no end")]
    Mask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub recovery: Recovery,
    /// The stream that is covered.
    pub ssrc: u32,
    pub base: u16,
    pub mask: u128,
    pub parity: &'a [u8],
}

impl<'a> Packet<'a> {
    pub fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader(payload);
        let [first, kind] = reader.array().ok_or(Error::Truncated)?;
        let length = reader.u16().ok_or(Error::Truncated)?;
        let timestamp = reader.u32().ok_or(Error::Truncated)?;
        if first & (RETRANSMISSION | FIXED_MASK) != 0 {
            return Err(Error::Kind);
        }
        let [streams, _, _, _] = reader.array().ok_or(Error::Truncated)?;
        if streams != 1 {
            return Err(Error::Streams);
        }
        let ssrc = reader.u32().ok_or(Error::Truncated)?;
        let base = reader.u16().ok_or(Error::Truncated)?;
        let mask = read_mask(&mut reader)?;
        Ok(Self {
            recovery: Recovery {
                flags: first & 0x3f,
                kind,
                timestamp,
                length,
            },
            ssrc,
            base,
            mask,
            parity: reader.0,
        })
    }
}

/// Each part begins with a bit that is set on the last part.
fn read_mask(reader: &mut Reader<'_>) -> Result<u128, Error> {
    let part = reader.u16().ok_or(Error::Truncated)?;
    let mut mask = u128::from((part << 1).reverse_bits());
    let mut last = part >> 15 != 0;
    if !last {
        let part = reader.u32().ok_or(Error::Truncated)?;
        mask |= u128::from((part << 1).reverse_bits()) << SHORT_SPAN;
        last = part >> 31 != 0;
    }
    if !last {
        let part = reader.u64().ok_or(Error::Truncated)?;
        mask |= u128::from((part << 1).reverse_bits()) << MEDIUM_SPAN;
        last = part >> 63 != 0;
    }
    match mask {
        0 => Err(Error::Mask),
        _ if !last => Err(Error::Mask),
        mask => Ok(mask),
    }
}

/// Writes what stands before the parity, with the shortest mask that does, and returns its length.
pub fn write_header(
    out: &mut [u8],
    recovery: &Recovery,
    ssrc: u32,
    base: u16,
    mask: u128,
) -> Result<usize, WriteError> {
    let span = span(mask);
    if !(1..=MAX_SPAN).contains(&span) {
        return Err(WriteError::Mask);
    }
    let mut writer = Writer::new(out);
    writer.u8(recovery.flags & 0x3f)?;
    writer.u8(recovery.kind)?;
    writer.u16(recovery.length)?;
    writer.u32(recovery.timestamp)?;
    writer.u32(1 << 24)?;
    writer.u32(ssrc)?;
    writer.u16(base)?;
    let last = |is_last: bool, bit: u32| u64::from(is_last) << bit;
    let short = u64::from((mask as u16).reverse_bits() >> 1) | last(span <= SHORT_SPAN, 15);
    writer.u16(short as u16)?;
    if span > SHORT_SPAN {
        let medium = u64::from(((mask >> SHORT_SPAN) as u32).reverse_bits() >> 1) | last(span <= MEDIUM_SPAN, 31);
        writer.u32(medium as u32)?;
    }
    if span > MEDIUM_SPAN {
        let long = ((mask >> MEDIUM_SPAN) as u64).reverse_bits() >> 1 | last(true, 63);
        writer.bytes(&long.to_be_bytes())?;
    }
    Ok(writer.len())
}

#[cfg(test)]
mod tests;
