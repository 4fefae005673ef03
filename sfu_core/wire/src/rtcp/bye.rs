//! Goodbye (RFC 3550 section 6.6).

use super::{WriteError, begin, finish, packet_type, set_count};
use crate::cursor::Reader;

/// A reason may follow the sources; it is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Goodbye<'a> {
    sources: &'a [u8],
}

impl<'a> Goodbye<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Self {
            sources: body.get(..usize::from(count) * 4)?,
        })
    }

    /// SSRCs that leave.
    pub fn sources(&self) -> impl Iterator<Item = u32> + use<'a> {
        let mut reader = Reader(self.sources);
        std::iter::from_fn(move || reader.u32())
    }
}

/// Writes a goodbye of at most 31 sources.
pub fn write(out: &mut [u8], sources: impl IntoIterator<Item = u32>) -> Result<usize, WriteError> {
    let mut writer = begin(out, 0, packet_type::GOODBYE)?;
    let mut count = 0;
    for source in sources {
        writer.u32(source)?;
        count += 1;
    }
    set_count(&mut writer, count)?;
    finish(writer)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{only, packet};
    use super::super::{Error, Packet};
    use super::*;

    fn sources(compound: &[u8]) -> Result<Vec<u32>, Error> {
        match only(compound)? {
            Packet::Goodbye(bye) => Ok(bye.sources().collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn round_trip() {
        let mut out = [0; 200];
        for count in 0..=31 {
            let len = write(&mut out, 0..count).unwrap();
            assert_eq!(sources(&out[..len]), Ok((0..count).collect()));
        }
        assert_eq!(write(&mut out, 0..32), Err(WriteError::TooMany));
        assert_eq!(write(&mut out[..7], 0..1), Err(WriteError::BufferFull));
    }

    #[test]
    fn reason_is_skipped() {
        assert_eq!(sources(&packet(1, 203, b"\0\0\0\x09\x03bye")), Ok(vec![9]));
    }

    #[test]
    fn more_sources_announced_than_present() {
        assert_eq!(sources(&packet(2, 203, &[0, 0, 0, 9])), Err(Error::Goodbye));
    }
}
