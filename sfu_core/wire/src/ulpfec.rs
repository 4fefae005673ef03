//! Parity packets with uneven levels (RFC 5109 sections 7.3 and 7.4): all levels are read, level 0 is written, for every octet
//! of the covered packets.

use crate::cursor::{Reader, Writer};
use crate::fec::{Recovery, WriteError, span};

/// Numbers that a mask spans at most, and with the short mask.
pub const MAX_SPAN: u32 = 48;
const SHORT_SPAN: u32 = 16;
/// Octets before the parity at most: FEC header, then the header of level 0 with a long mask.
pub const MAX_HEADER: usize = 18;

const EXTENDED: u8 = 0x80;
const LONG_MASK: u8 = 0x40;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("ULPFEC packet is cut short")]
    Truncated,
    #[error("ULPFEC packet has the reserved header extension")]
    Extended,
    #[error("ULPFEC packet covers no packet")]
    Mask,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    pub recovery: Recovery,
    pub base: u16,
    pub first: Level<'a>,
    long: bool,
    /// Levels above the first.
    rest: &'a [u8],
}

/// A part of the bit strings, and for which packets it is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level<'a> {
    pub mask: u128,
    /// Where in the bit strings the parity begins: where that of the level below ends.
    pub offset: usize,
    pub parity: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Of the payload of a packet, or of the block of RED.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader(payload);
        let [first, kind] = reader.array().ok_or(Error::Truncated)?;
        let base = reader.u16().ok_or(Error::Truncated)?;
        let timestamp = reader.u32().ok_or(Error::Truncated)?;
        let length = reader.u16().ok_or(Error::Truncated)?;
        if first & EXTENDED != 0 {
            return Err(Error::Extended);
        }
        let long = first & LONG_MASK != 0;
        let level = Level::read(&mut reader, long, 0).ok_or(Error::Truncated)?;
        if level.mask == 0 {
            return Err(Error::Mask);
        }
        Ok(Self {
            recovery: Recovery {
                flags: first & 0x3f,
                kind,
                timestamp,
                length,
            },
            base,
            first: level,
            long,
            rest: reader.0,
        })
    }

    /// Levels above level 0, up to one that is cut short.
    pub fn higher(&self) -> impl Iterator<Item = Level<'a>> + use<'a> {
        let (long, mut rest) = (self.long, Reader(self.rest));
        let mut offset = self.first.parity.len();
        std::iter::from_fn(move || {
            let level = Level::read(&mut rest, long, offset)?;
            offset += level.parity.len();
            Some(level)
        })
    }
}

impl<'a> Level<'a> {
    fn read(reader: &mut Reader<'a>, long: bool, offset: usize) -> Option<Self> {
        let len = reader.u16()?;
        let head = reader.u16()?;
        let tail = if long { reader.u32()? } else { 0 };
        Some(Self {
            mask: u128::from(head.reverse_bits()) | u128::from(tail.reverse_bits()) << SHORT_SPAN,
            offset,
            parity: reader.bytes(usize::from(len))?,
        })
    }
}

/// Writes what stands before `parity_len` octets of parity, and returns its length.
pub fn write_header(
    out: &mut [u8],
    recovery: &Recovery,
    base: u16,
    mask: u128,
    parity_len: u16,
) -> Result<usize, WriteError> {
    let span = span(mask);
    if !(1..=MAX_SPAN).contains(&span) {
        return Err(WriteError::Mask);
    }
    let long = span > SHORT_SPAN;
    let mut writer = Writer::new(out);
    writer.u8(recovery.flags & 0x3f | (u8::from(long) * LONG_MASK))?;
    writer.u8(recovery.kind)?;
    writer.u16(base)?;
    writer.u32(recovery.timestamp)?;
    writer.u16(recovery.length)?;
    writer.u16(parity_len)?;
    writer.u16((mask as u16).reverse_bits())?;
    if long {
        writer.u32(((mask >> SHORT_SPAN) as u32).reverse_bits())?;
    }
    Ok(writer.len())
}

#[cfg(test)]
mod tests;
