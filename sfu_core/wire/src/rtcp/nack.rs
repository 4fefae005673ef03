//! Generic negative acknowledgement (RFC 4585 section 6.2.1).

use super::{WriteError, begin_feedback, finish, packet_type};
use crate::cursor::Reader;

pub(super) const FORMAT: u8 = 1;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nack<'a> {
    pub sender_ssrc: u32,
    /// The stream whose packets are missing.
    pub media_ssrc: u32,
    pairs: &'a [u8],
}

impl<'a> Nack<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let nack = Self {
            sender_ssrc: reader.u32()?,
            media_ssrc: reader.u32()?,
            pairs: reader.0,
        };
        let whole = !nack.pairs.is_empty() && nack.pairs.len().is_multiple_of(4);
        whole.then_some(nack)
    }

    /// Missing sequence numbers as listed; a hostile sender may repeat them.
    pub fn sequences(&self) -> impl Iterator<Item = u16> + use<'a> {
        let mut reader = Reader(self.pairs);
        let pairs = std::iter::from_fn(move || Some((reader.u16()?, reader.u16()?)));
        pairs.flat_map(|(pid, blp)| {
            // Bit 0 of the bitmask stands for the number after the packet id.
            let following = (0..16).filter(move |bit| blp >> bit & 1 != 0);
            std::iter::once(pid).chain(following.map(move |bit| pid.wrapping_add(bit + 1)))
        })
    }
}

/// Writes one message for `sequences`, which pack best in ascending order.
pub fn write(
    out: &mut [u8],
    sender_ssrc: u32,
    media_ssrc: u32,
    sequences: impl IntoIterator<Item = u16>,
) -> Result<usize, WriteError> {
    let mut writer = begin_feedback(out, FORMAT, packet_type::TRANSPORT_FEEDBACK, sender_ssrc, media_ssrc)?;
    let mut sequences = sequences.into_iter();
    let mut pid = sequences.next().ok_or(WriteError::Nothing)?;
    let mut blp = 0_u16;
    for sequence in sequences {
        match sequence.wrapping_sub(pid) {
            0 => {}
            ahead @ 1..=16 => blp |= 1 << (ahead - 1),
            _ => {
                writer.u16(pid)?;
                writer.u16(blp)?;
                (pid, blp) = (sequence, 0);
            }
        }
    }
    writer.u16(pid)?;
    writer.u16(blp)?;
    finish(writer)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{only, packet};
    use super::super::{Error, Packet};
    use super::*;

    fn sequences(compound: &[u8]) -> Result<Vec<u16>, Error> {
        match only(compound)? {
            Packet::Nack(nack) => Ok(nack.sequences().collect()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn octets() {
        let mut out = [0; 32];
        let len = write(&mut out, 1, 2, [65_534, 65_535, 0, 14, 15, 100]).unwrap();
        assert_eq!(
            out[..len],
            [
                0x81, 205, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xfe, 0x80, 0x03, 0, 15, 0, 0, 0, 100, 0, 0
            ]
        );
        assert_eq!(sequences(&out[..len]), Ok(vec![65_534, 65_535, 0, 14, 15, 100]));
    }

    #[test]
    fn any_ascending_list_comes_back() {
        let mut state = 9_u32;
        let mut out = [0; 1_024];
        for _ in 0..2_000 {
            let mut list = Vec::new();
            let mut next = (state >> 8) as u16;
            for _ in 0..40 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                next = next.wrapping_add(1 + (state >> 24) as u16 % 20);
                list.push(next);
            }
            let len = write(&mut out, 1, 2, list.iter().copied()).unwrap();
            assert_eq!(sequences(&out[..len]), Ok(list));
        }
    }

    #[test]
    fn unsorted_and_repeated_numbers_are_told() {
        let mut out = [0; 32];
        let len = write(&mut out, 1, 2, [10, 10, 9, 12]).unwrap();
        assert_eq!(sequences(&out[..len]), Ok(vec![10, 9, 12]));
    }

    #[test]
    fn limits() {
        assert_eq!(write(&mut [0; 32], 1, 2, []), Err(WriteError::Nothing));
        assert_eq!(write(&mut [0; 15], 1, 2, [1]), Err(WriteError::BufferFull));
        for len in [0, 4, 8] {
            assert_eq!(sequences(&packet(1, 205, &vec![0; len])), Err(Error::Nack));
        }
    }
}
