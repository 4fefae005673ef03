//! AV1 RTP payload: aggregation header and OBU elements (AV1 RTP specification section 4.4), and the size in a sequence
//! header (AV1 bitstream specification section 5.5).

use crate::bits::Bits;
use crate::cursor::Reader;

const CONTINUES: u8 = 0x80;
const CONTINUED: u8 = 0x40;
const NEW_SEQUENCE: u8 = 0x08;
/// Octets of a leb128 number at most (AV1 specification section 4.10.5).
const MAX_LEB128: u32 = 8;
const LEVELS_WITH_TIER: u32 = 7;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("AV1 payload is empty")]
    Empty,
    #[error("AV1 OBU element is longer than the payload or its length is no number")]
    Element,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ObuType {
    SequenceHeader,
    TemporalDelimiter,
    FrameHeader,
    TileGroup,
    Metadata,
    Frame,
    RedundantFrameHeader,
    TileList,
    Padding,
    Other(u8),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// Z: the first element continues the last of the packet before.
    pub continues: bool,
    /// Y: the last element goes on in the next packet.
    pub continued: bool,
    /// N: first packet of a coded video sequence, which begins with a keyframe.
    pub new_sequence: bool,
    /// W: number of elements, the last of them without a length; 0 when all have one.
    elements: u8,
    content: &'a [u8],
}

/// Open bitstream unit or, at the edges of a packet, a part of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Obu<'a> {
    pub obu_type: ObuType,
    /// 0 without the extension.
    pub temporal: u8,
    pub spatial: u8,
    /// Without header and size field.
    pub data: &'a [u8],
}

impl<'a> Payload<'a> {
    /// Checks that all elements are within the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let (&header, content) = payload.split_first().ok_or(Error::Empty)?;
        let found = Self {
            continues: header & CONTINUES != 0,
            continued: header & CONTINUED != 0,
            new_sequence: header & NEW_SEQUENCE != 0,
            elements: header >> 4 & 0x03,
            content,
        };
        let mut elements = found.raw();
        while elements.next().is_some() {}
        if !elements.rest.0.is_empty() || elements.failed {
            return Err(Error::Element);
        }
        Ok(found)
    }

    /// Elements whose header is in this packet: a first one that continues another is left out.
    pub fn obus(&self) -> impl Iterator<Item = Obu<'a>> + use<'a> {
        self.raw().skip(usize::from(self.continues)).filter_map(Obu::parse)
    }

    /// First packet of a keyframe: it begins a coded video sequence or holds a sequence header.
    pub fn keyframe(&self) -> bool {
        self.new_sequence || self.obus().any(|obu| obu.obu_type == ObuType::SequenceHeader)
    }

    /// Largest width and height of the sequence, when its header is in this packet.
    pub fn resolution(&self) -> Option<(u16, u16)> {
        self.obus()
            .find(|obu| obu.obu_type == ObuType::SequenceHeader)
            .and_then(|obu| sequence_size(obu.data))
    }

    fn raw(&self) -> Elements<'a> {
        Elements {
            rest: Reader(self.content),
            left: self.elements,
            counted: self.elements > 0,
            failed: false,
        }
    }
}

struct Elements<'a> {
    rest: Reader<'a>,
    left: u8,
    counted: bool,
    failed: bool,
}

impl<'a> Iterator for Elements<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || (self.counted && self.left == 0) || (!self.counted && self.rest.0.is_empty()) {
            return None;
        }
        let len = if self.counted && self.left == 1 {
            Some(self.rest.0.len())
        } else {
            leb128(&mut self.rest)
        };
        self.left = self.left.saturating_sub(1);
        let element = len.and_then(|len| self.rest.bytes(len));
        self.failed = element.is_none();
        element
    }
}

impl<'a> Obu<'a> {
    /// `None` for an empty element or one that ends within its header.
    fn parse(element: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(element);
        let header = reader.u8()?;
        let extension = if header & 0x04 != 0 { reader.u8()? } else { 0 };
        let data = if header & 0x02 != 0 {
            // Senders should leave the size out. In a part of an OBU it may reach beyond the packet.
            let len = leb128(&mut reader)?;
            reader.0.get(..len).unwrap_or(reader.0)
        } else {
            reader.0
        };
        Some(Self {
            obu_type: ObuType::from(header >> 3 & 0x0f),
            temporal: extension >> 5,
            spatial: extension >> 3 & 0x03,
            data,
        })
    }
}

impl From<u8> for ObuType {
    /// AV1 specification section 6.2.2.
    fn from(number: u8) -> Self {
        match number {
            1 => Self::SequenceHeader,
            2 => Self::TemporalDelimiter,
            3 => Self::FrameHeader,
            4 => Self::TileGroup,
            5 => Self::Metadata,
            6 => Self::Frame,
            7 => Self::RedundantFrameHeader,
            8 => Self::TileList,
            15 => Self::Padding,
            other => Self::Other(other),
        }
    }
}

/// Refused above 32 bits, so that adding to it cannot overflow (AV1 specification section 4.10.5).
fn leb128(reader: &mut Reader<'_>) -> Option<usize> {
    let mut value = 0_u64;
    for index in 0..MAX_LEB128 {
        let octet = reader.u8()?;
        value |= u64::from(octet & 0x7f) << (index * 7);
        if octet & 0x80 == 0 {
            return u32::try_from(value).ok().map(|value| value as usize);
        }
    }
    None
}

fn sequence_size(data: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::new(data.iter().copied());
    // Profile, then still picture.
    bits.skip(4)?;
    let reduced = bits.bit()?;
    if reduced {
        bits.skip(5)?;
    } else {
        skip_operating_points(&mut bits)?;
    }
    let width_bits = bits.number(4)? + 1;
    let height_bits = bits.number(4)? + 1;
    let width = bits.number(width_bits)? + 1;
    let height = bits.number(height_bits)? + 1;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

fn skip_operating_points<I: Iterator<Item = u8>>(bits: &mut Bits<I>) -> Option<()> {
    let mut delay_bits = None;
    if bits.bit()? {
        // Timing: units per tick and time scale, then ticks per picture if equal.
        bits.skip(64)?;
        if bits.bit()? {
            bits.exp_golomb()?;
        }
        if bits.bit()? {
            delay_bits = Some(bits.number(5)? + 1);
            bits.skip(32 + 5 + 5)?;
        }
    }
    let initial_delay = bits.bit()?;
    for _ in 0..bits.number(5)? + 1 {
        bits.skip(12)?;
        if bits.number(5)? > LEVELS_WITH_TIER {
            bits.skip(1)?;
        }
        if let Some(delay_bits) = delay_bits
            && bits.bit()?
        {
            bits.skip(2 * delay_bits + 1)?;
        }
        if initial_delay && bits.bit()? {
            bits.skip(4)?;
        }
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sequence header of SVT-AV1, 640 by 360, without its size field.
    const SEQUENCE: [u8; 12] = [0x08, 0x00, 0x00, 0x00, 0x0c, 0xc4, 0xff, 0x67, 0x1a, 0xbe, 0x60, 0x10];

    fn types(payload: &[u8]) -> Result<Vec<ObuType>, Error> {
        Ok(Payload::parse(payload)?.obus().map(|obu| obu.obu_type).collect())
    }

    #[test]
    fn aggregation_headers() {
        for (header, continues, continued, new_sequence) in [
            (0x10, false, false, false),
            (0x98, true, false, true),
            (0x50, false, true, false),
        ] {
            let payload = [header, 0x30, 1, 2];
            let found = Payload::parse(&payload).unwrap();
            assert_eq!(
                (found.continues, found.continued, found.new_sequence),
                (continues, continued, new_sequence)
            );
        }
    }

    #[test]
    fn elements_with_and_without_a_count() {
        let two = vec![ObuType::TemporalDelimiter, ObuType::Frame];
        assert_eq!(types(&[0x20, 1, 0x10, 0x30, 7, 7]), Ok(two.clone()));
        assert_eq!(types(&[0x00, 1, 0x10, 3, 0x30, 7, 7]), Ok(two));
        assert_eq!(types(&[0x30, 1, 0x10, 1, 0x30, 0x78]).map(|types| types.len()), Ok(3));
        // The first continues another packet's: its octets are no header.
        assert_eq!(types(&[0xa0, 2, 0x08, 0x08, 0x30]), Ok(vec![ObuType::Frame]));
        assert_eq!(types(&[0x00]), Ok(vec![]));
        assert_eq!(types(&[0x00, 0, 1, 0x10]), Ok(vec![ObuType::TemporalDelimiter]));
    }

    #[test]
    fn layers_and_size_fields() {
        let payload = [0x10, 0x36, 0x68, 2, 8, 9, 10];
        let obu = Payload::parse(&payload).unwrap().obus().next().unwrap();
        assert_eq!(
            obu,
            Obu {
                obu_type: ObuType::Frame,
                temporal: 3,
                spatial: 1,
                data: &[8, 9]
            }
        );
    }

    /// Lengths that once overflowed an addition.
    #[test]
    fn lengths_never_overflow() {
        for length in [
            &[0x7f][..],
            &[0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
            &[0x80],
        ] {
            for header in [0x00, 0x20] {
                let payload = [&[header][..], length].concat();
                assert_eq!(types(&payload), Err(Error::Element), "{payload:?}");
            }
            // The same as size field of the OBU in an element that is whole.
            let payload = [&[0x10, 0x0a][..], length].concat();
            let found = Payload::parse(&payload).unwrap();
            assert!(found.obus().all(|obu| obu.data.is_empty()));
            assert_eq!(found.resolution(), None);
        }
        assert_eq!(types(&[]), Err(Error::Empty));
        // Fewer elements than counted.
        assert_eq!(types(&[0x30, 1, 0x10]), Err(Error::Element));
    }

    #[test]
    fn keyframes_and_their_size() {
        let mut payload = vec![0x28, SEQUENCE.len() as u8];
        payload.extend(SEQUENCE);
        payload.extend([0x30, 1, 2, 3]);
        let found = Payload::parse(&payload).unwrap();
        assert!(found.keyframe());
        assert_eq!(found.resolution(), Some((640, 360)));
        assert!(!Payload::parse(&[0x10, 0x30, 1]).unwrap().keyframe());
        assert!(Payload::parse(&[0x10, 0x08, 1]).unwrap().keyframe());
        assert!(Payload::parse(&[0x18, 0x30, 1]).unwrap().keyframe());
    }
}
