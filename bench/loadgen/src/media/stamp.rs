//! The end of a payload, which tells the receiver when it was sent and as what.
//!
//! No byte of it is zero, so that it never looks like a start code to who makes a byte stream of H.264 payloads (H.264
//! annex B).

/// Bytes.
pub(super) const LEN: usize = MAGIC.len() + GROUPS;

const MAGIC: [u8; 4] = *b"psfu";
/// 96 bits, seven in each byte.
const GROUPS: usize = 14;
const LAYER_BITS: u32 = 2;
const NUMBER_BITS: u32 = 30;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    /// Index among the layers of its publication, lowest first; 0 to 3.
    pub(super) layer: u8,
    /// Of the packet in its layer, modulo 2^30.
    pub(super) number: u32,
    /// ns since 1970.
    pub(super) sent: u64,
}

impl Stamp {
    pub(super) fn bytes(&self) -> [u8; LEN] {
        let number = self.number & ((1 << NUMBER_BITS) - 1);
        let layer = u32::from(self.layer) & ((1 << LAYER_BITS) - 1);
        let mut bits = u128::from(layer << NUMBER_BITS | number) << 64 | u128::from(self.sent);
        let mut bytes = [0; LEN];
        bytes[..MAGIC.len()].copy_from_slice(&MAGIC);
        for byte in &mut bytes[MAGIC.len()..] {
            *byte = 0x80 | bits as u8;
            bits >>= 7;
        }
        bytes
    }

    /// Of a payload that ends with one.
    pub(super) fn of(payload: &[u8]) -> Option<Self> {
        let (magic, groups) = payload.last_chunk::<LEN>()?.split_first_chunk()?;
        if *magic != MAGIC {
            return None;
        }
        let bits = groups
            .iter()
            .rfold(0_u128, |bits, byte| bits << 7 | u128::from(byte & 0x7f));
        let head = (bits >> 64) as u32;
        Some(Self {
            layer: (head >> NUMBER_BITS) as u8,
            number: head & ((1 << NUMBER_BITS) - 1),
            sent: bits as u64,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stamp_is_read_as_it_was_written_and_has_no_zero() {
        for (layer, number, sent) in [
            (0, 0, 0),
            (2, 1, 1 << 63),
            (3, (1 << NUMBER_BITS) - 1, u64::MAX),
            (1, 77, 256),
        ] {
            let stamp = Stamp { layer, number, sent };
            let bytes = stamp.bytes();
            assert!(bytes.iter().all(|&byte| byte != 0), "{bytes:?}");
            assert_eq!(Stamp::of(&[&[1, 2, 3], &bytes[..]].concat()), Some(stamp));
        }
    }

    #[test]
    fn payloads_of_others_have_none() {
        assert_eq!(Stamp::of(&[]), None);
        assert_eq!(Stamp::of(&[b's'; 100]), None);
    }
}
