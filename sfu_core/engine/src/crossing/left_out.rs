//! What stayed behind on the way, because nobody beyond can use it: told with what crosses, frame by frame, so that nobody there
//! takes it for lost and every subscription knows which frames it does not have.

use wire::picture::PictureId;

use crate::packet::{Dependency, Facts, Packet, PictureIds, Vp9Meta};

/// Frames told with one packet at most, each twice. More make long heads, fewer need datagrams of their own where a picture has
/// many layers.
pub(crate) const MAX_LEFT_OUT: usize = 8;

/// Packets of one frame whose numbers follow each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LeftOut {
    /// Number of the first, and how many.
    pub(crate) first: u64,
    pub(crate) count: u8,
    /// The frame begins with them.
    pub(crate) begins: bool,
    /// Of their payloads.
    pub(crate) bytes: u32,
    pub(crate) frame: Frame,
}

/// What subscriptions must know of a frame that they do not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    pub(crate) needed_above: bool,
    /// Its layers are told by VP9's payload descriptor.
    pub(crate) vp9: bool,
    /// Of VP8 and VP9: the picture id, and whether it has 15 bits.
    pub(crate) picture: Option<(u16, bool)>,
    /// By the dependency descriptor.
    pub(crate) number: Option<u16>,
}

impl LeftOut {
    /// One that is here, or one that is known to have stayed behind already.
    pub(crate) fn of(packet: &Packet) -> Self {
        let facts = &packet.facts;
        let picture = facts.ids.and_then(|ids| ids.picture_id);
        Self {
            first: packet.seq,
            count: 1,
            begins: facts.frame_start,
            bytes: packet.left_out.unwrap_or(packet.payload().len() as u32),
            frame: Frame {
                spatial: facts.spatial,
                temporal: facts.temporal,
                needed_above: facts.needed_above,
                vp9: facts.vp9.is_some(),
                picture: picture.map(|id| (id.value, id.long)),
                number: facts.dependency.map(|dependency| dependency.number),
            },
        }
    }

    /// Takes the next one in, if it goes on where this one ends.
    pub(crate) fn extend(&mut self, next: &Self) -> bool {
        let follows = next.first == self.first + u64::from(self.count) && next.frame == self.frame && !next.begins;
        let Some(count) = self.count.checked_add(next.count).filter(|_| follows) else {
            return false;
        };
        (self.count, self.bytes) = (count, self.bytes.saturating_add(next.bytes));
        true
    }

    /// Of the packet that stands for the one of this index.
    pub(crate) fn facts(&self, index: u8) -> Facts {
        let frame = &self.frame;
        let picture_id = frame.picture.map(|(value, long)| PictureId { offset: 0, value, long });
        let ids = PictureIds {
            picture_id,
            tl0_pic_idx: None,
        };
        Facts {
            frame_start: self.begins && index == 0,
            spatial: frame.spatial,
            temporal: frame.temporal,
            needed_above: frame.needed_above,
            ids: (frame.vp9 || picture_id.is_some() || frame.number.is_none()).then_some(ids),
            vp9: frame.vp9.then(|| Vp9Meta {
                layered: true,
                ..Vp9Meta::default()
            }),
            dependency: frame.number.map(|number| Dependency {
                number,
                end: false,
                frame: None,
                active: 0,
            }),
            ..Facts::default()
        }
    }

    /// Bytes that are told of the packet of this index.
    pub(crate) fn bytes_of(&self, index: u8) -> u32 {
        if index == 0 { self.bytes } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u64, number: u16, begins: bool) -> Packet {
        let mut packet = Packet::default();
        packet.seq = seq;
        (packet.facts.frame_start, packet.facts.spatial, packet.facts.temporal) = (begins, 1, 2);
        packet.facts.dependency = Some(Dependency {
            number,
            end: true,
            frame: None,
            active: 7,
        });
        assert!(packet.set_content(&[0; 100], &[]));
        packet
    }

    #[test]
    fn packets_of_a_frame_are_told_together() {
        let mut left = LeftOut::of(&packet(10, 5, true));
        for (seq, number, begins, together) in [
            (12, 5, false, false),
            (11, 6, false, false),
            (11, 5, true, false),
            (11, 5, false, true),
            (11, 5, false, false),
            (12, 5, false, true),
        ] {
            let next = LeftOut::of(&packet(seq, number, begins));
            assert_eq!(left.extend(&next), together, "{seq} {number} {begins}");
        }
        assert_eq!((left.first, left.count, left.bytes), (10, 3, 300));
        let facts = [0, 1].map(|index| left.facts(index));
        assert_eq!(facts.map(|facts| facts.frame_start), [true, false]);
        assert_eq!((facts[1].spatial, facts[1].temporal, facts[1].ids), (1, 2, None));
        assert_eq!(facts[1].dependency.map(|dependency| dependency.number), Some(5));
        assert_eq!([0, 1].map(|index| left.bytes_of(index)), [300, 0]);
        left.count = u8::MAX;
        left.first = 20;
        assert!(
            !left.extend(&LeftOut::of(&packet(275, 5, false))),
            "counted in an octet"
        );
    }

    #[test]
    fn what_is_known_to_have_stayed_behind_is_told_on() {
        let mut first = packet(9, 3, true);
        first.facts.dependency = None;
        first.facts.ids = Some(PictureIds {
            picture_id: Some(PictureId {
                offset: 1,
                value: 300,
                long: true,
            }),
            tl0_pic_idx: None,
        });
        let left = LeftOut::of(&first);
        let mut stands = Packet::default();
        (stands.seq, stands.facts, stands.left_out) = (9, left.facts(0), Some(left.bytes_of(0)));
        assert_eq!(LeftOut::of(&stands), left);
    }
}
