//! Running numbers that the payload descriptors of VP8 and VP9 carry (RFC 7741 and RFC 9628, section 4.2), and their rewriting in place.

/// In front of an id of 15 bits.
const LONG: u8 = 0x80;

/// `offset` counts from the first octet of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    pub offset: u8,
    pub value: u16,
    /// 15 bits in two octets, else 7 bits in one.
    pub long: bool,
}

/// Running number of pictures of temporal layer 0. `offset` counts from the first octet of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tl0PicIdx {
    pub offset: u8,
    pub value: u8,
}

impl PictureId {
    /// The id at `offset`; `None` when the payload ends before it does.
    pub(crate) fn read(payload: &[u8], offset: u8) -> Option<Self> {
        let at = usize::from(offset);
        let high = *payload.get(at)?;
        let long = high & LONG != 0;
        let value = if long {
            u16::from_be_bytes([high & !LONG, *payload.get(at + 1)?])
        } else {
            u16::from(high)
        };
        Some(Self { offset, value, long })
    }

    /// Octets that it takes.
    pub(crate) fn len(self) -> usize {
        1 + usize::from(self.long)
    }

    /// Puts a value of the same width in its place; a payload too short stays as it is.
    #[inline]
    pub fn rewrite(self, payload: &mut [u8], value: u16) {
        let at = usize::from(self.offset);
        if self.long {
            if let Some(place) = payload.get_mut(at..).and_then(|rest| rest.first_chunk_mut()) {
                *place = (value | u16::from(LONG) << 8).to_be_bytes();
            }
        } else if let Some(place) = payload.get_mut(at) {
            *place = value as u8 & !LONG;
        }
    }
}

impl Tl0PicIdx {
    /// Puts a value in its place; a payload too short stays as it is.
    #[inline]
    pub fn rewrite(self, payload: &mut [u8], value: u8) {
        if let Some(place) = payload.get_mut(usize::from(self.offset)) {
            *place = value;
        }
    }
}
