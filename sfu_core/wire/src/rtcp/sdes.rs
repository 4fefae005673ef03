//! Source descriptions (RFC 3550 section 6.5); of the items only the canonical name means something here.

use super::{WriteError, begin, finish, packet_type};
use crate::cursor::Reader;

const END: u8 = 0;
const CNAME: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SourceDescription<'a> {
    count: u8,
    body: &'a [u8],
}

/// What is told of one source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    pub ssrc: u32,
    /// Not checked to be UTF-8.
    pub cname: Option<&'a [u8]>,
}

impl<'a> SourceDescription<'a> {
    pub(super) fn parse(count: u8, body: &'a [u8]) -> Option<Self> {
        let mut rest = Reader(body);
        for _ in 0..count {
            Chunk::take(&mut rest)?;
        }
        Some(Self { count, body })
    }

    pub fn chunks(&self) -> impl Iterator<Item = Chunk<'a>> + use<'a> {
        let mut rest = Reader(self.body);
        (0..self.count).map_while(move |_| Chunk::take(&mut rest))
    }
}

impl<'a> Chunk<'a> {
    fn take(rest: &mut Reader<'a>) -> Option<Self> {
        let start = rest.0.len();
        let ssrc = rest.u32()?;
        let mut cname = None;
        loop {
            let item = rest.u8()?;
            if item == END {
                break;
            }
            let len = rest.u8()?;
            let text = rest.bytes(usize::from(len))?;
            if item == CNAME {
                cname = Some(text);
            }
        }
        // The list of items ends with one or more null octets, up to a multiple of 32 bits.
        let used = start - rest.0.len();
        rest.bytes(used.next_multiple_of(4) - used)?;
        Some(Self { ssrc, cname })
    }
}

/// Writes the canonical name of one source; names longer than 255 octets don't fit.
pub fn write_cname(out: &mut [u8], ssrc: u32, cname: &str) -> Result<usize, WriteError> {
    let mut writer = begin(out, 1, packet_type::SOURCE_DESCRIPTION)?;
    writer.u32(ssrc)?;
    writer.u8(CNAME)?;
    writer.u8(u8::try_from(cname.len()).map_err(|_| WriteError::TooMany)?)?;
    writer.bytes(cname.as_bytes())?;
    writer.u8(END)?;
    writer.align()?;
    finish(writer)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{only, packet};
    use super::super::{Error, Packet};
    use super::*;

    fn chunks(compound: &[u8]) -> Result<Vec<Chunk<'_>>, Error> {
        match only(compound)? {
            Packet::SourceDescription(description) => Ok(description.chunks().collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn names_of_every_length() {
        let mut out = [0xff; 300];
        for len in 0..=255 {
            let name = "n".repeat(len);
            let written = write_cname(&mut out, 7, &name).unwrap();
            assert_eq!(
                chunks(&out[..written]),
                Ok(vec![Chunk {
                    ssrc: 7,
                    cname: Some(name.as_bytes())
                }])
            );
        }
        assert_eq!(write_cname(&mut out, 7, &"n".repeat(256)), Err(WriteError::TooMany));
        assert_eq!(write_cname(&mut out[..12], 7, "abc"), Err(WriteError::BufferFull));
    }

    #[test]
    fn several_sources_with_other_items() {
        let compound = packet(2, 202, b"\0\0\0\x01\x06\x02hi\x01\x01a\0\0\0\0\x02\0\0\0\0");
        assert_eq!(
            chunks(&compound),
            Ok(vec![
                Chunk {
                    ssrc: 1,
                    cname: Some(b"a")
                },
                Chunk { ssrc: 2, cname: None }
            ])
        );
        assert_eq!(chunks(&packet(0, 202, &[])), Ok(vec![]));
    }

    #[test]
    fn malformed() {
        for body in [
            &b""[..],
            b"\0\0\0\x01",
            b"\0\0\0\x01\x01\x08ab",
            b"\0\0\0\x01\x01\x02ab",
            b"\0\0\0\x01\x01\x01a\x01",
        ] {
            assert_eq!(chunks(&packet(1, 202, body)), Err(Error::SourceDescription), "{body:?}");
        }
    }
}
