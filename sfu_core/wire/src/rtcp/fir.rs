//! Full intra request (RFC 5104 section 4.3.1).

use super::{WriteError, begin_feedback, finish, packet_type};
use crate::cursor::Reader;

pub(super) const FORMAT: u8 = 4;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FullIntra<'a> {
    pub sender_ssrc: u32,
    entries: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The stream that needs a keyframe.
    pub ssrc: u32,
    /// Changes with every new request, stays the same when one is repeated.
    pub serial: u8,
}

impl<'a> FullIntra<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let sender_ssrc = reader.u32()?;
        // RFC 5104 section 4.3.1.2: the media source field is not used.
        reader.u32()?;
        let whole = !reader.0.is_empty() && reader.0.len().is_multiple_of(8);
        whole.then_some(Self {
            sender_ssrc,
            entries: reader.0,
        })
    }

    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        let mut reader = Reader(self.entries);
        std::iter::from_fn(move || {
            let ssrc = reader.u32()?;
            let [serial, ..] = reader.array::<4>()?;
            Some(Entry { ssrc, serial })
        })
    }
}

/// Writes one request of at least one entry.
pub fn write(out: &mut [u8], sender_ssrc: u32, entries: impl IntoIterator<Item = Entry>) -> Result<usize, WriteError> {
    let mut writer = begin_feedback(out, FORMAT, packet_type::PAYLOAD_FEEDBACK, sender_ssrc, 0)?;
    let empty = writer.len();
    for entry in entries {
        writer.u32(entry.ssrc)?;
        writer.bytes(&[entry.serial, 0, 0, 0])?;
    }
    if writer.len() == empty {
        return Err(WriteError::Nothing);
    }
    finish(writer)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{only, packet};
    use super::super::{Error, Packet};
    use super::*;

    #[test]
    fn octets() {
        let entries = [Entry { ssrc: 7, serial: 255 }, Entry { ssrc: 8, serial: 0 }];
        let mut out = [0; 28];
        assert_eq!(write(&mut out, 1, entries), Ok(28));
        assert_eq!(
            out,
            [
                0x84, 206, 0, 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 7, 255, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0
            ]
        );
        let Ok(Packet::FullIntra(fir)) = only(&out) else {
            panic!("not a full intra request");
        };
        assert_eq!(fir.sender_ssrc, 1);
        assert_eq!(fir.entries().collect::<Vec<_>>(), entries);
    }

    #[test]
    fn needs_whole_entries() {
        for len in [0, 4, 8, 12, 20] {
            assert_eq!(only(&packet(4, 206, &vec![0; len])), Err(Error::FullIntra), "{len}");
        }
        assert_eq!(write(&mut [0; 64], 1, []), Err(WriteError::Nothing));
    }
}
