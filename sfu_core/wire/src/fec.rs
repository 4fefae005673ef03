//! What ULPFEC (RFC 5109) and FlexFEC (draft-ietf-payload-flexible-fec-scheme-03) share: the parity of RTP packets.
//!
//! A packet is taken as two parts: fields of its fixed header, and its bit string, which is everything behind the fixed header:
//! contributing sources, extension, payload, padding. Version, sequence number and SSRC are known without parity.
//!
//! A mask tells which packets a parity covers: bit `i` (of value `1 << i`) stands for the packet numbered `base + i`. On
//! the wire the first packet is the highest bit.

use crate::cursor::BufferFull;
use crate::rtp::FIXED_HEADER;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("the output buffer is too short")]
    BufferFull,
    #[error("a mask is empty or covers more numbers than the format can tell")]
    Mask,
}

impl From<BufferFull> for WriteError {
    fn from(_: BufferFull) -> Self {
        Self::BufferFull
    }
}

/// Parity of header fields, or the fields of one packet: the parity of one. Default: of none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Padding and extension bits and the count of contributing sources: the low six bits.
    pub flags: u8,
    /// Marker and payload type.
    pub kind: u8,
    pub timestamp: u32,
    /// Octets of the bit string.
    pub length: u16,
}

impl Recovery {
    /// Of a packet whose header begins with `fixed`. The payload type is told apart: in RED it is that of the block.
    #[inline]
    pub fn of(fixed: &[u8; FIXED_HEADER], payload_type: u8, length: u16) -> Self {
        let [first, second, _, _, t0, t1, t2, t3, ..] = *fixed;
        Self {
            flags: first & 0x3f,
            kind: second & 0x80 | payload_type & 0x7f,
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            length,
        }
    }

    /// Adds another packet to the parity, or takes it away: the same operation.
    #[inline]
    pub fn toggle(&mut self, other: &Self) {
        self.flags ^= other.flags;
        self.kind ^= other.kind;
        self.timestamp ^= other.timestamp;
        self.length ^= other.length;
    }

    /// The fixed header of the packet that the parity is of, when it is of one.
    pub fn fixed_header(&self, sequence: u16, ssrc: u32) -> [u8; FIXED_HEADER] {
        let [s0, s1] = sequence.to_be_bytes();
        let [t0, t1, t2, t3] = self.timestamp.to_be_bytes();
        let [r0, r1, r2, r3] = ssrc.to_be_bytes();
        let first = 0x80 | self.flags & 0x3f;
        [first, self.kind, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]
    }
}

/// Adds `bits` to the front of the parity. What does not fit is ignored.
#[inline]
pub fn toggle(parity: &mut [u8], bits: &[u8]) {
    for (sum, bit) in parity.iter_mut().zip(bits) {
        *sum ^= bit;
    }
}

/// Numbers that the mask spans, from its base to the last covered.
pub(crate) fn span(mask: u128) -> u32 {
    128 - mask.leading_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_taken_away_leaves_the_other() {
        let fixed = |first, second, time: u32| {
            let [t0, t1, t2, t3] = time.to_be_bytes();
            [first, second, 0, 9, t0, t1, t2, t3, 1, 2, 3, 4]
        };
        let a = Recovery::of(&fixed(0x90, 0x80 | 33, 0xffff_fff0), 96, 700);
        let b = Recovery::of(&fixed(0xa2, 33, 16), 97, 12);
        assert_eq!((a.flags, a.kind, a.length), (0x10, 0xe0, 700));
        let mut sum = a;
        sum.toggle(&b);
        assert_eq!((sum.flags, sum.kind, sum.timestamp), (0x32, 0x81, 0xffff_ffe0));
        sum.toggle(&a);
        assert_eq!(sum, b);
        assert_eq!(
            sum.fixed_header(0x0102, 0x0304_0506),
            [0xa2, 97, 1, 2, 0, 0, 0, 16, 3, 4, 5, 6]
        );
    }

    #[test]
    fn bits_beyond_the_shorter_are_kept() {
        let mut parity = [1, 2, 3];
        toggle(&mut parity, &[1, 1]);
        toggle(&mut parity, &[0, 0, 0, 9]);
        assert_eq!(parity, [0, 3, 3]);
    }
}
