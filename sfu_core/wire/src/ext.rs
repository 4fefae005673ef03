//! RTP header extensions in their one-byte and two-byte forms (RFC 8285).

mod value;

pub use value::{AbsCaptureTime, AbsSendTime, AudioLevel, PlayoutDelay, VideoOrientation, text, transport_sequence};

use crate::cursor::Writer as Cursor;

const ONE_BYTE_PROFILE: u16 = 0xbede;
const TWO_BYTE_PROFILE: u16 = 0x1000;
/// Its low four bits are for the application (RFC 8285 section 4.3).
const TWO_BYTE_MASK: u16 = 0xfff0;
/// Octets of profile and length.
const HEADER: usize = 4;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// Ids 1 to 14, values of 1 to 16 octets.
    #[default]
    OneByte,
    /// Ids 1 to 255, values of up to 255 octets.
    TwoByte,
}

impl Form {
    /// Whether an element can be written in this form.
    #[inline]
    pub fn fits(self, id: u8, len: usize) -> bool {
        match self {
            Self::OneByte => matches!(id, 1..=14) && matches!(len, 1..=16),
            Self::TwoByte => id != 0 && len <= 255,
        }
    }
}

/// Elements as `(id, value)` in the order of the packet; padding is left out, and it ends before the first malformed one.
#[derive(Clone, Debug, Default)]
pub struct Iter<'a> {
    rest: &'a [u8],
    form: Form,
}

impl<'a> Iter<'a> {
    /// Of `content`, the extension without its header; there is nothing in a profile other than the two of RFC 8285.
    #[inline]
    pub fn new(profile: u16, content: &'a [u8]) -> Self {
        match profile {
            ONE_BYTE_PROFILE => Self {
                rest: content,
                form: Form::OneByte,
            },
            profile if profile & TWO_BYTE_MASK == TWO_BYTE_PROFILE => Self {
                rest: content,
                form: Form::TwoByte,
            },
            _ => Self::default(),
        }
    }

    /// Octets behind the element that came last: tells where it was.
    #[inline]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = (u8, &'a [u8]);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let (&head, tail) = self.rest.split_first()?;
            if head == 0 {
                self.rest = tail;
                continue;
            }
            let (id, len, tail) = match self.form {
                // RFC 8285 section 4.2: id 15, and id 0 with a length, end the processing.
                Form::OneByte if !(0x10..0xf0).contains(&head) => break,
                Form::OneByte => (head >> 4, usize::from(head & 0x0f) + 1, tail),
                Form::TwoByte => {
                    let Some((&len, tail)) = tail.split_first() else { break };
                    (head, usize::from(len), tail)
                }
            };
            let Some((value, tail)) = tail.split_at_checked(len) else {
                break;
            };
            self.rest = tail;
            return Some((id, value));
        }
        self.rest = &[];
        None
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("the output buffer is too short")]
    BufferFull,
    #[error("the id or the length of a header extension does not fit its form")]
    Form,
}

/// Writes an extension with its header, for the place right behind the fixed header and the contributing sources.
pub struct Writer<'a> {
    cursor: Cursor<'a>,
    form: Form,
    start: Result<(), WriteError>,
}

impl<'a> Writer<'a> {
    #[inline]
    pub fn new(out: &'a mut [u8], form: Form) -> Self {
        let mut cursor = Cursor::new(out);
        let profile = match form {
            Form::OneByte => ONE_BYTE_PROFILE,
            Form::TwoByte => TWO_BYTE_PROFILE,
        };
        let start = cursor.u32(u32::from(profile) << 16).map_err(|_| WriteError::BufferFull);
        Self { cursor, form, start }
    }

    /// Appends an element and returns where in `out` its value is, so that it can be patched later.
    /// After an error nothing of the element is written.
    #[inline]
    pub fn put(&mut self, id: u8, value: &[u8]) -> Result<usize, WriteError> {
        self.start?;
        if !self.form.fits(id, value.len()) {
            return Err(WriteError::Form);
        }
        let len = value.len() as u8;
        let head = match self.form {
            Form::OneByte => &[id << 4 | (len - 1)][..],
            Form::TwoByte => &[id, len],
        };
        if !self.cursor.has_room(head.len() + value.len()) {
            return Err(WriteError::BufferFull);
        }
        self.cursor
            .bytes(head)
            .and_then(|()| self.cursor.bytes(value))
            .map_err(|_| WriteError::BufferFull)?;
        Ok(self.cursor.len() - value.len())
    }

    /// Whether nothing was put. The packet is smaller without an extension then; an empty one is valid too.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.cursor.len() <= HEADER
    }

    /// Pads to 32 bits, sets the length field and returns how many octets the extension takes.
    #[inline]
    pub fn finish(mut self) -> Result<usize, WriteError> {
        self.start?;
        self.cursor.align().map_err(|_| WriteError::BufferFull)?;
        let words = (self.cursor.len() - HEADER) / 4;
        let words = u16::try_from(words).map_err(|_| WriteError::Form)?;
        self.cursor.patch(2, &words.to_be_bytes());
        Ok(self.cursor.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elements(profile: u16, content: &[u8]) -> Vec<(u8, Vec<u8>)> {
        Iter::new(profile, content)
            .map(|(id, value)| (id, value.to_vec()))
            .collect()
    }

    #[test]
    fn one_byte_form() {
        // RFC 8285 section 4.2, with padding in between.
        let content = [0x10, 0xaa, 0x21, 0xbb, 0xbb, 0x00, 0x00, 0x33, 1, 2, 3, 4];
        assert_eq!(
            elements(0xbede, &content),
            [(1, vec![0xaa]), (2, vec![0xbb; 2]), (3, vec![1, 2, 3, 4])]
        );
    }

    #[test]
    fn two_byte_form() {
        // RFC 8285 section 4.3, with an empty value and application bits.
        let content = [0x01, 0x00, 0x02, 0x01, 0xbb, 0x00, 0xff, 0x04, 1, 2, 3, 4];
        for profile in [0x1000, 0x100f] {
            assert_eq!(
                elements(profile, &content),
                [(1, vec![]), (2, vec![0xbb]), (255, vec![1, 2, 3, 4])]
            );
        }
    }

    #[test]
    fn ends_at_what_is_malformed() {
        let good = [(1, vec![7])];
        assert_eq!(elements(0xbede, &[0x10, 7, 0xf0, 9, 0x10, 8, 0, 0]), good);
        assert_eq!(elements(0xbede, &[0x10, 7, 0x01, 9, 0x10, 8, 0, 0]), good);
        assert_eq!(elements(0xbede, &[0x10, 7, 0x2f, 9]), good);
        assert_eq!(elements(0x1000, &[1, 1, 7, 2]), good);
        assert_eq!(elements(0x1000, &[1, 1, 7, 2, 255, 1, 1, 1]), good);
        assert_eq!(elements(0xbeef, &[0x10, 7]), []);
        assert_eq!(elements(0x1010, &[1, 1, 7]), []);
    }

    #[test]
    fn writes_and_tells_where_values_are() {
        let mut out = [0xff; 64];
        let mut writer = Writer::new(&mut out, Form::OneByte);
        assert!(writer.is_empty());
        assert_eq!(writer.put(1, &[0xaa]), Ok(5));
        assert_eq!(writer.put(14, &[1, 2]), Ok(7));
        assert!(!writer.is_empty());
        assert_eq!(writer.finish(), Ok(12));
        assert_eq!(out[..12], [0xbe, 0xde, 0, 2, 0x10, 0xaa, 0xe1, 1, 2, 0, 0, 0]);

        let mut writer = Writer::new(&mut out, Form::TwoByte);
        assert_eq!(writer.put(15, &[]), Ok(6));
        assert_eq!(writer.put(200, &[9; 20]), Ok(8));
        assert_eq!(writer.finish(), Ok(28));
        assert_eq!(out[..9], [0x10, 0, 0, 6, 15, 0, 200, 20, 9]);
        assert_eq!(elements(0x1000, &out[4..28]), [(15, vec![]), (200, vec![9; 20])]);
    }

    #[test]
    fn refuses_what_does_not_fit() {
        let mut out = [0; 12];
        let mut writer = Writer::new(&mut out, Form::OneByte);
        for (id, len) in [(0, 1), (15, 1), (1, 0), (1, 17)] {
            assert_eq!(writer.put(id, &vec![0; len]), Err(WriteError::Form));
        }
        assert_eq!(writer.put(1, &[0; 8]), Err(WriteError::BufferFull));
        assert_eq!(writer.put(1, &[5; 4]), Ok(5));
        assert_eq!(writer.finish(), Ok(12));
        assert_eq!(elements(0xbede, &out[4..]), [(1, vec![5; 4])]);
        // Room for the element but not for its padding.
        let mut out = [0; 10];
        let mut writer = Writer::new(&mut out, Form::OneByte);
        assert_eq!(writer.put(1, &[5; 5]), Ok(5));
        assert_eq!(writer.finish(), Err(WriteError::BufferFull));
        let mut writer = Writer::new(&mut out[..3], Form::OneByte);
        assert_eq!(writer.put(1, &[1]), Err(WriteError::BufferFull));
        assert_eq!(writer.finish(), Err(WriteError::BufferFull));
    }

    #[test]
    fn empty_extension() {
        let mut out = [0xff; 4];
        assert_eq!(Writer::new(&mut out, Form::TwoByte).finish(), Ok(4));
        assert_eq!(out, [0x10, 0, 0, 0]);
    }
}
