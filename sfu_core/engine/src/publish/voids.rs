//! Missing numbers of a stream that never held media: parity that was lost. ULPFEC takes numbers of the stream (RFC 5109
//! section 14.1), and senders do not repeat it, so whoever waits for such a number waits in vain.
//!
//! Pictures of VP8 and VP9 are numbered, by their payload or by the dependency descriptor, with which Chromium leaves the
//! payload's numbers out. Where the last packet of one is here and the first of the next, nothing that lies between them was
//! of a picture.

use super::ring::Ring;
use crate::packet::Packet;

/// Numbers between two pictures that are looked at. More costs time in long runs of parity; fewer leaves some unfound.
const MAX_BETWEEN: u64 = 64;

/// Frames of a track of which something came, by the dependency descriptor: layers of simulcast share one count.
#[derive(Default)]
pub(crate) struct Frames {
    highest: u16,
    /// Bit n: `highest` - n.
    seen: u128,
}

impl Frames {
    pub(crate) fn on_packet(&mut self, packet: &Packet) {
        let Some(dependency) = &packet.facts.dependency else {
            return;
        };
        let ahead = dependency.number.wrapping_sub(self.highest);
        // What is far behind is of a source that began anew.
        if ahead < 1 << 15 || self.bit(dependency.number) == 0 {
            self.seen = self.seen.checked_shl(ahead.into()).unwrap_or(0);
            self.highest = dependency.number;
        }
        self.seen |= self.bit(dependency.number);
    }

    /// Every frame between these two came.
    fn has_between(&self, before: u16, after: u16) -> bool {
        let distance = after.wrapping_sub(before);
        let between = (1..distance).map(|step| before.wrapping_add(step));
        (1..=128).contains(&distance) && between.into_iter().all(|number| self.seen & self.bit(number) != 0)
    }

    /// 0: too old.
    fn bit(&self, number: u16) -> u128 {
        1_u128
            .checked_shl(self.highest.wrapping_sub(number).into())
            .unwrap_or(0)
    }
}

/// The end of a picture and the beginning of the next one, of which one is `packet`: what lies between is all parity.
pub(crate) fn bounds(ring: &Ring, frames: &Frames, packet: &Packet) -> Option<(u64, u64)> {
    before(ring, frames, packet).or_else(|| behind(ring, frames, packet))
}

fn before(ring: &Ring, frames: &Frames, packet: &Packet) -> Option<(u64, u64)> {
    let first = packet.seq.saturating_sub(MAX_BETWEEN);
    let mut earlier = (first..packet.seq).rev().filter_map(|seq| media(ring, seq));
    let last = packet.facts.frame_start.then(|| earlier.next()).flatten()?;
    continues(frames, last, packet).then_some((last.seq, packet.seq))
}

fn behind(ring: &Ring, frames: &Frames, packet: &Packet) -> Option<(u64, u64)> {
    let end = ring.end().min(packet.seq + MAX_BETWEEN);
    let mut later = (packet.seq + 1..end).filter_map(|seq| media(ring, seq));
    let next = packet.marker.then(|| later.next()).flatten()?;
    continues(frames, packet, next).then_some((packet.seq, next.seq))
}

/// What came, unless it was empty: padding, or parity that arrived.
fn media(ring: &Ring, seq: u64) -> Option<&Packet> {
    let packet = ring.get(seq)?;
    (!packet.payload().is_empty()).then_some(packet)
}

/// `next` begins the picture after the one that `last` ends.
fn continues(frames: &Frames, last: &Packet, next: &Packet) -> bool {
    if last.stream != next.stream || !last.marker || !next.facts.frame_start {
        return false;
    }
    if let (Some(before), Some(after)) = (&last.facts.dependency, &next.facts.dependency) {
        return frames.has_between(before.number, after.number);
    }
    let id = |packet: &Packet| packet.facts.ids.and_then(|ids| ids.picture_id);
    let (Some(before), Some(after)) = (id(last), id(next)) else {
        return false;
    };
    let range = if after.long { 0x7fff } else { 0x7f };
    // Of a scalable picture the lowest frame begins it.
    next.facts.spatial == 0 && before.value.wrapping_add(1) & range == after.value
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use wire::picture::PictureId;

    use super::*;
    use crate::packet::{Dependency, PictureIds};

    /// Number, picture, begins it, ends it; picture 0: nothing of any picture.
    type Told = (u64, u16, bool, bool);
    /// What is kept, what comes, between which numbers nothing is missing.
    type Case<'a> = (&'a [Told], Told, Option<(u64, u64)>);

    fn packet((seq, picture, begins, ends): Told) -> Packet {
        let mut packet = Packet::default();
        packet.seq = seq;
        if picture == 0 {
            return packet;
        }
        packet.marker = ends;
        packet.facts.frame_start = begins;
        packet.facts.ids = Some(PictureIds {
            picture_id: Some(PictureId {
                offset: 2,
                value: picture & 0x7fff,
                long: true,
            }),
            tl0_pic_idx: None,
        });
        assert!(packet.set_content(b"x", &[]));
        packet
    }

    fn found(kept: &[Told], now: Packet) -> Option<(u64, u64)> {
        let mut ring = Ring::default();
        kept.iter().for_each(|&told| ring.insert(Arc::new(packet(told))));
        bounds(&ring, &Frames::default(), &now)
    }

    #[test]
    fn between_pictures_there_is_parity_alone() {
        let cases: [Case<'_>; 10] = [
            // The next picture begins, and its predecessor is whole at its end.
            (&[(10, 5, false, true)], (13, 6, true, false), Some((10, 13))),
            // Parity that came lies between them.
            (
                &[(10, 5, false, true), (12, 0, false, false)],
                (14, 6, true, true),
                Some((10, 14)),
            ),
            // The end comes late.
            (
                &[(9, 5, true, false), (13, 6, true, true)],
                (10, 5, false, true),
                Some((10, 13)),
            ),
            // Picture numbers wrap.
            (&[(10, 0x7fff, true, true)], (12, 0x8000, true, true), Some((10, 12))),
            // The end is missing, the beginning is, a whole picture is, all of them may be media.
            (&[(10, 5, true, false)], (13, 6, true, false), None),
            (&[(10, 5, true, true)], (13, 6, false, false), None),
            (&[(10, 5, true, true)], (13, 7, true, false), None),
            (
                &[(10, 5, true, true), (12, 6, false, false)],
                (13, 6, false, true),
                None,
            ),
            // Too far apart, and nothing known.
            (&[(10, 5, true, true)], (10 + MAX_BETWEEN + 1, 6, true, true), None),
            (&[], (13, 6, true, false), None),
        ];
        for (kept, now, expected) in cases {
            assert_eq!(found(kept, packet(now)), expected, "{kept:?} {now:?}");
        }
    }

    #[test]
    fn upper_layers_begin_no_picture() {
        let mut upper = packet((13, 6, true, false));
        upper.facts.spatial = 1;
        assert_eq!(found(&[(10, 5, true, true)], upper), None);
    }

    #[test]
    fn another_stream_does_not_continue() {
        let mut restarted = packet((13, 6, true, false));
        restarted.stream = 1;
        assert_eq!(found(&[(10, 5, true, true)], restarted), None);
    }

    #[test]
    fn frames_of_other_layers_account_for_their_numbers() {
        let described = |told, number| {
            let mut packet = packet(told);
            packet.facts.ids = None;
            packet.facts.dependency = Some(Dependency {
                number,
                end: packet.marker,
                frame: None,
                active: 0,
            });
            packet
        };
        // Numbers of what came in other layers before the last picture's end, 65,534, and the next one's beginning, 1.
        type Counted<'a> = (&'a [u16], Option<(u64, u64)>);
        let cases: [Counted<'_>; 4] = [
            (&[65_535, 0], Some((10, 13))),
            (&[0, 65_535], Some((10, 13))),
            (&[65_535], None),
            (&[], None),
        ];
        for (others, expected) in cases {
            let (mut ring, mut frames) = (Ring::default(), Frames::default());
            let (last, next) = (
                described((10, 1, true, true), 65_534),
                described((13, 1, true, true), 1),
            );
            frames.on_packet(&last);
            ring.insert(Arc::new(last));
            for &number in others {
                frames.on_packet(&described((1, 1, true, true), number));
            }
            frames.on_packet(&next);
            assert_eq!(bounds(&ring, &frames, &next), expected, "{others:?}");
        }
    }

    #[test]
    fn frames_are_forgotten() {
        let mut frames = Frames::default();
        for number in [60_000, 5, 6, 7, 200] {
            let mut packet = Packet::default();
            packet.facts.dependency = Some(Dependency {
                number,
                end: true,
                frame: None,
                active: 0,
            });
            frames.on_packet(&packet);
        }
        assert!(frames.has_between(199, 200) && !frames.has_between(198, 200));
        assert!(!frames.has_between(5, 7) && !frames.has_between(7, 7) && !frames.has_between(7, 5));
    }
}
