//! Redundant audio (RFC 2198): earlier frames travel in front of the newest one. In video a packet has one block: it tells
//! media from ULPFEC (RFC 5109 section 14.1) by the block's payload type.

use crate::cursor::{BufferFull, Reader, Writer};

const FOLLOWED: u8 = 0x80;
/// Largest offset (14 bits) and length (10 bits) of a redundant block.
pub const MAX_OFFSET: u32 = 0x3fff;
pub const MAX_LEN: usize = 0x3ff;
/// Octets before the data of a redundant block and of the primary one.
pub const BLOCK_HEADER: usize = 4;
pub const PRIMARY_HEADER: usize = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("redundant audio payload is cut short")]
pub struct Truncated;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redundant<'a> {
    /// Headers of the redundant blocks, then their data.
    headers: &'a [u8],
    data: &'a [u8],
    pub primary: Primary<'a>,
}

/// The newest frame: that of the packet's timestamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Primary<'a> {
    pub payload_type: u8,
    pub data: &'a [u8],
}

/// An earlier frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block<'a> {
    pub payload_type: u8,
    /// How much older than the packet's timestamp it is: 14 bits.
    pub timestamp_offset: u16,
    /// Shorter than 1024 octets.
    pub data: &'a [u8],
}

impl<'a> Redundant<'a> {
    pub fn parse(payload: &'a [u8]) -> Result<Self, Truncated> {
        let mut reader = Reader(payload);
        let mut data_len = 0;
        let payload_type = loop {
            let first = reader.u8().ok_or(Truncated)?;
            if first & FOLLOWED == 0 {
                break first;
            }
            let [_, l0, l1] = reader.array().ok_or(Truncated)?;
            data_len += block_len(l0, l1);
        };
        // The last header has one octet alone.
        let headers_len = payload.len() - reader.0.len() - 1;
        let data = reader.bytes(data_len).ok_or(Truncated)?;
        Ok(Self {
            headers: payload.get(..headers_len).ok_or(Truncated)?,
            data,
            primary: Primary {
                payload_type,
                data: reader.0,
            },
        })
    }

    /// The block of a payload that has one alone, as in video.
    #[inline]
    pub fn single(payload: &'a [u8]) -> Option<Primary<'a>> {
        let (&payload_type, data) = payload.split_first()?;
        (payload_type & FOLLOWED == 0).then_some(Primary { payload_type, data })
    }

    /// Earlier frames, the oldest first as a rule.
    pub fn blocks(&self) -> impl Iterator<Item = Block<'a>> + use<'a> {
        let mut headers = Reader(self.headers);
        let mut data = Reader(self.data);
        std::iter::from_fn(move || {
            let [first, o0, l0, l1] = headers.array()?;
            Some(Block {
                payload_type: first & !FOLLOWED,
                timestamp_offset: u16::from(o0) << 6 | u16::from(l0 >> 2),
                data: data.bytes(block_len(l0, l1))?,
            })
        })
    }
}

/// What stands before the data of a block that is alone. For media that is not copied, only preceded.
#[inline]
pub fn single_header(payload_type: u8) -> [u8; PRIMARY_HEADER] {
    [payload_type & !FOLLOWED]
}

/// Writes the blocks that fit the format, then the primary one, and returns the length of the payload.
///
/// Blocks that are too old or too long for their header are left out.
pub fn write(out: &mut [u8], primary: Primary<'_>, blocks: &[Block<'_>]) -> Result<usize, BufferFull> {
    let fitting = || {
        blocks
            .iter()
            .filter(|block| u32::from(block.timestamp_offset) <= MAX_OFFSET && block.data.len() <= MAX_LEN)
    };
    let mut writer = Writer::new(out);
    for block in fitting() {
        let len = block.data.len() as u32;
        let first = u32::from(block.payload_type | FOLLOWED) << 24;
        writer.u32(first | u32::from(block.timestamp_offset) << 10 | len)?;
    }
    writer.u8(primary.payload_type & !FOLLOWED)?;
    for block in fitting() {
        writer.bytes(block.data)?;
    }
    writer.bytes(primary.data)?;
    Ok(writer.len())
}

fn block_len(high: u8, low: u8) -> usize {
    usize::from(high & 0x03) << 8 | usize::from(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(timestamp_offset: u16, data: &[u8]) -> Block<'_> {
        Block {
            payload_type: 111,
            timestamp_offset,
            data,
        }
    }

    #[test]
    fn payload_of_chromium() {
        // One redundant Opus frame 960 samples older, of three octets, then the primary.
        let payload = [0x80 | 111, 0x0f, 0x00, 0x03, 111, 1, 2, 3, 4, 5];
        let red = Redundant::parse(&payload).unwrap();
        assert_eq!(red.blocks().collect::<Vec<_>>(), [block(960, &[1, 2, 3])]);
        assert_eq!((red.primary.payload_type, red.primary.data), (111, &[4, 5][..]));
        let mut out = [0; 10];
        assert_eq!(write(&mut out, red.primary, &[block(960, &[1, 2, 3])]), Ok(10));
        assert_eq!(out, payload);
    }

    #[test]
    fn primary_alone() {
        let red = Redundant::parse(&[111, 9]).unwrap();
        assert_eq!((red.blocks().count(), red.primary.data), (0, &[9][..]));
        let red = Redundant::parse(&[111]).unwrap();
        assert_eq!(red.primary.data, []);
    }

    #[test]
    fn one_block_of_video() {
        let header = single_header(0x80 | 96);
        let payload = [header[0], 1, 2];
        let block = Primary {
            payload_type: 96,
            data: &[1, 2],
        };
        assert_eq!(Redundant::single(&payload), Some(block));
        assert_eq!(Redundant::parse(&payload).unwrap().primary, block);
        assert_eq!(Redundant::single(&[0x80 | 96, 0, 0, 0, 96]), None);
        assert_eq!(Redundant::single(&[]), None);
    }

    #[test]
    fn round_trip_at_the_limits() {
        let long = [7; MAX_LEN];
        let blocks = [block(MAX_OFFSET as u16, &long), block(0, &[]), block(480, &[1])];
        let primary = Primary {
            payload_type: 63,
            data: &[5; 100],
        };
        let mut out = [0; 1_500];
        let len = write(&mut out, primary, &blocks).unwrap();
        let red = Redundant::parse(&out[..len]).unwrap();
        assert_eq!(red.blocks().collect::<Vec<_>>(), blocks);
        assert_eq!(red.primary, primary);
        for short in 0..len {
            assert_eq!(write(&mut out[..short], primary, &blocks), Err(BufferFull));
        }
    }

    #[test]
    fn leaves_out_what_does_not_fit_the_format() {
        let blocks = [
            block(MAX_OFFSET as u16 + 1, &[1]),
            block(1, &[0; MAX_LEN + 1]),
            block(2, &[3]),
        ];
        let primary = Primary {
            payload_type: 63,
            data: &[5],
        };
        let mut out = [0; 64];
        let len = write(&mut out, primary, &blocks).unwrap();
        let red = Redundant::parse(&out[..len]).unwrap();
        assert_eq!(red.blocks().collect::<Vec<_>>(), [block(2, &[3])]);
    }

    #[test]
    fn cut_short() {
        let payload = [0x80 | 111, 0x0f, 0x00, 0x03, 111, 1, 2, 3];
        for len in 0..payload.len() {
            assert_eq!(Redundant::parse(&payload[..len]), Err(Truncated), "{len}");
        }
        assert!(Redundant::parse(&payload).is_ok());
        assert_eq!(Redundant::parse(&[0xff; 1_500]), Err(Truncated));
    }
}
