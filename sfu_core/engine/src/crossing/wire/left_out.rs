//! What is left out, in front of the packet that tells it.

use super::{Reader, Writer};
use crate::crossing::left_out::{Frame, LeftOut, MAX_LEFT_OUT};

/// Octets that one frame takes at most.
pub(super) const MAX_ENTRY: usize = 11;

const BEGINS: u8 = 1;
const NEEDED: u8 = 2;
const VP9: u8 = 4;
const PICTURE: u8 = 8;
const LONG: u8 = 16;
const NUMBERED: u8 = 32;
/// Sizes of what is left out are told in units of so many bytes.
const BYTES: u32 = 8;

/// What is too far away to be told stays a gap.
pub(super) fn write(seq: u64, left_out: &[LeftOut], writer: &mut Writer<'_>) -> Option<()> {
    let at = writer.0.len();
    writer.put(&[0])?;
    for left in left_out.iter().take(MAX_LEFT_OUT) {
        let Ok(back) = i16::try_from(seq.wrapping_sub(left.first) as i64) else {
            continue;
        };
        let frame = &left.frame;
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        writer.put(&back.to_be_bytes())?;
        let bytes = u16::try_from(left.bytes.div_ceil(BYTES)).unwrap_or(u16::MAX);
        writer.put(&[left.count])?;
        writer.put(&bytes.to_be_bytes())?;
        writer.put(&[
            frame.spatial.min(15) << 4 | frame.temporal.min(15),
            flag(left.begins, BEGINS)
                | flag(frame.needed_above, NEEDED)
                | flag(frame.vp9, VP9)
                | flag(frame.picture.is_some(), PICTURE)
                | flag(frame.picture.is_some_and(|(_, long)| long), LONG)
                | flag(frame.number.is_some(), NUMBERED),
        ])?;
        if let Some((picture, _)) = frame.picture {
            writer.put(&picture.to_be_bytes())?;
        }
        if let Some(number) = frame.number {
            writer.put(&number.to_be_bytes())?;
        }
    }
    let len = u8::try_from(writer.0.len() - at - 1).ok()?;
    *writer.0.get_mut(at)? = len;
    Some(())
}

pub(super) fn read(seq: u64, reader: &mut Reader<'_>) -> Option<LeftOut> {
    let back = i16::from_be_bytes(reader.array()?);
    let count = reader.u8()?;
    let bytes = u32::from(u16::from_be_bytes(reader.array()?)) * BYTES;
    let [layers, flags] = reader.array()?;
    let mut number = |flag: u8| match flags & flag {
        0 => Some(None),
        _ => Some(Some(u16::from_be_bytes(reader.array()?))),
    };
    let (picture, number) = (number(PICTURE)?, number(NUMBERED)?);
    Some(LeftOut {
        first: seq.checked_add_signed(-i64::from(back))?,
        count,
        begins: flags & BEGINS != 0,
        bytes,
        frame: Frame {
            spatial: layers >> 4,
            temporal: layers & 15,
            needed_above: flags & NEEDED != 0,
            vp9: flags & VP9 != 0,
            picture: picture.map(|value| (value, flags & LONG != 0)),
            number,
        },
    })
}

#[cfg(test)]
mod tests {
    use arrayvec::ArrayVec;

    use super::super::{Age, Arrived, Manner};
    use super::*;
    use crate::ids::TrackId;
    use crate::packet::Packet;

    const TRACK: TrackId = TrackId(7);

    #[test]
    fn what_is_left_out_is_told_in_front() {
        let frame = Frame {
            spatial: 2,
            temporal: 1,
            needed_above: true,
            vp9: true,
            picture: Some((0x7fff, true)),
            number: Some(u16::MAX),
        };
        let left = |first: u64, frame: Frame| LeftOut {
            first,
            count: 7,
            begins: first.is_multiple_of(2),
            bytes: 8_000,
            frame,
        };
        let plain = Frame::default();
        let short = Frame {
            picture: Some((9, false)),
            ..plain
        };
        let mut packet = Packet::default();
        (packet.seq, packet.marker) = (1 << 40, false);
        assert!(packet.set_content(b"payload", &[1, 2, 3]));
        let near = [
            left(packet.seq - 9, plain),
            left(packet.seq - 2_000, frame),
            left(packet.seq + 3, short),
        ];
        for (told, count) in [(near.to_vec(), 3), (vec![near[1]; MAX_LEFT_OUT], MAX_LEFT_OUT)] {
            for alone in [false, true] {
                let manner = Manner {
                    ends: !alone,
                    alone,
                    ..Manner::default()
                };
                let mut head = ArrayVec::new();
                Arrived::write_head(TRACK, &packet, manner, Age::default(), &told, &mut head).unwrap();
                let mut datagram = head.to_vec();
                if !alone {
                    datagram.extend(b"\x01\x02\x03payload");
                }
                let arrived = Arrived::read(&datagram).unwrap();
                assert_eq!(
                    (arrived.alone, arrived.marker, arrived.seq),
                    (alone, !alone, packet.seq)
                );
                let content: (&[u8], &[u8]) = if alone { (&[], &[]) } else { (&[1, 2, 3], b"payload") };
                assert_eq!((arrived.dependency, arrived.payload), content);
                let read: Vec<_> = arrived.left_out().collect();
                assert_eq!((read.len(), &read[..]), (count, &told[..]));
            }
        }
        // What is far away is not told.
        let told = [left(packet.seq - 40_000, plain), near[0]];
        let mut head = ArrayVec::new();
        Arrived::write_head(TRACK, &packet, Manner::default(), Age::default(), &told, &mut head).unwrap();
        let datagram = [&head, &b"\x01\x02\x03payload"[..]].concat();
        assert!(Arrived::read(&datagram).unwrap().left_out().eq([near[0]]));
    }
}
