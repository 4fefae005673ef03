//! What was sent lately, so that it can be sent again: 16 bytes per packet, the payload stays in the layer's ring.

use super::pictures::PicturePatch;

/// One forwarded packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) output: u64,
    /// Extended sequence number in the ring of `layer`.
    pub(super) source: u64,
    pub(super) timestamp: u32,
    /// A retransmission with other ids than the first time would stop a decoder.
    pub(super) pictures: PicturePatch,
    pub(super) layer: u8,
    pub(super) payload_type: u8,
    pub(super) marker: bool,
    /// It fills a hole: nothing of what is in the ring was sent.
    pub(super) filler: bool,
    /// Of its dependency descriptor, if it had one.
    pub(super) told: Option<Told>,
}

/// What a dependency descriptor says otherwise than the publisher's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Active decode targets; 0: as they are.
    pub(super) targets: u32,
    pub(super) frame_number: u16,
}

/// The same as it is kept. Every subscriber has hundreds, and each packet touches one of each subscriber: four share
/// a line of the processor's cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Flags and layer, then the low 24 bits of the source's number.
    origin: u32,
    pub(super) timestamp: u32,
    sequence: u16,
    /// When it was last sent again, milliseconds; 0: never.
    resent: u16,
    picture_id: u16,
    tl0_pic_idx: u8,
    /// With the top bit set; 0: there is none.
    payload_type: u8,
}

const _: () = assert!(size_of::<Kept>() == 16);
const SOURCE_BITS: u32 = 24;
const LAYER: u32 = 0x1f;
/// Bits of the flags.
const MARKER: u32 = 31;
const FILLER: u32 = 30;
const TOLD: u32 = 29;
const PRESENT: u8 = 0x80;

impl Kept {
    fn new(sent: &Sent) -> Self {
        let flag = |set, at| u32::from(set) << at;
        let flags = flag(sent.marker, MARKER) | flag(sent.filler, FILLER) | flag(sent.told.is_some(), TOLD);
        let layer = (u32::from(sent.layer) & LAYER) << SOURCE_BITS;
        Self {
            origin: flags | layer | sent.source as u32 & ((1 << SOURCE_BITS) - 1),
            timestamp: sent.timestamp,
            sequence: sent.output as u16,
            resent: 0,
            picture_id: sent.pictures.picture_id,
            tl0_pic_idx: sent.pictures.tl0_pic_idx,
            payload_type: sent.payload_type | PRESENT,
        }
    }

    pub(super) fn pictures(&self) -> PicturePatch {
        PicturePatch {
            picture_id: self.picture_id,
            tl0_pic_idx: self.tl0_pic_idx,
        }
    }

    pub(super) fn layer(&self) -> usize {
        (self.origin >> SOURCE_BITS & LAYER) as usize
    }

    pub(super) fn marker(&self) -> bool {
        self.origin >> MARKER & 1 != 0
    }

    pub(super) fn is_filler(&self) -> bool {
        self.origin >> FILLER & 1 != 0
    }

    pub(super) fn payload_type(&self) -> u8 {
        self.payload_type & !PRESENT
    }

    /// Extended sequence number in the layer's ring, which ends before `end`.
    pub(super) fn source(&self, end: u64) -> u64 {
        let behind = (end as u32).wrapping_sub(self.origin) & ((1 << SOURCE_BITS) - 1);
        end.saturating_sub(u64::from(behind))
    }
}

#[derive(Debug)]
pub(super) struct SentRing {
    entries: Box<[Kept]>,
    /// Of the same packets, once one of them had a dependency descriptor.
    told: Box<[Told]>,
}

impl SentRing {
    /// `capacity` is a power of two.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: vec![Kept::default(); capacity.next_power_of_two()].into_boxed_slice(),
            told: Box::default(),
        }
    }

    /// Nothing of it can be sent again.
    pub(super) fn clear(&mut self) {
        self.entries.fill(Kept::default());
    }

    #[inline]
    pub(super) fn insert(&mut self, sent: &Sent) {
        let slot = sent.output as usize & (self.entries.len() - 1);
        self.entries[slot] = Kept::new(sent);
        if let Some(told) = sent.told {
            self.insert_told(slot, told);
        }
    }

    #[cold]
    fn insert_told(&mut self, slot: usize, told: Told) {
        if self.told.is_empty() {
            self.told = vec![Told::default(); self.entries.len()].into_boxed_slice();
        }
        self.told[slot] = told;
    }

    /// What the dependency descriptor of a packet said that [`again`](Self::again) found.
    pub(super) fn told(&self, kept: &Kept) -> Option<Told> {
        let slot = usize::from(kept.sequence) & (self.entries.len() - 1);
        self.told.get(slot).filter(|_| kept.origin >> TOLD & 1 != 0).copied()
    }

    /// The packet sent with this number.
    pub(super) fn get(&self, sequence: u16) -> Option<Kept> {
        let entry = self.entries[usize::from(sequence) & (self.entries.len() - 1)];
        (entry.sequence == sequence && entry.payload_type & PRESENT != 0).then_some(entry)
    }

    /// The packet sent with this number, unless it was sent again less than `spacing` ago (milliseconds).
    pub(super) fn again(&mut self, sequence: u16, now_ms: u64, spacing: u16) -> Option<Kept> {
        let slot = usize::from(sequence) & (self.entries.len() - 1);
        let entry = &mut self.entries[slot];
        let now = now_ms as u16;
        let known = entry.sequence == sequence && entry.payload_type & PRESENT != 0;
        if !known || entry.resent != 0 && now.wrapping_sub(entry.resent) < spacing {
            return None;
        }
        entry.resent = now.max(1);
        Some(*entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_recent_packets_and_spaces_repeats() {
        let mut ring = SentRing::new(4);
        for output in 65_534..65_540 {
            ring.insert(&Sent {
                output,
                source: output + 7,
                layer: 2,
                payload_type: 96,
                ..Sent::default()
            });
        }
        assert_eq!(ring.again(65_534, 10, 20), None);
        let kept = ring.again(0, 10, 20).unwrap();
        assert_eq!(
            (kept.source(65_600), kept.layer(), kept.payload_type()),
            (65_543, 2, 96)
        );
        for (now, expected) in [(11, false), (29, false), (30, true), (31, false)] {
            assert_eq!(ring.again(0, now, 20).is_some(), expected, "{now}");
        }
        assert_eq!(ring.again(1_000, 10, 20), None);
    }

    #[test]
    fn sources_are_the_latest_with_these_bits() {
        for source in [0, 1, 0xff_ffff, 0x100_0000, 0x123_4567_89ab] {
            let kept = Kept::new(&Sent {
                source,
                layer: 7,
                marker: source & 1 != 0,
                filler: source & 1 == 0,
                ..Sent::default()
            });
            for ahead in [1, 100, 0xff_ffff] {
                assert_eq!((kept.source(source + ahead), kept.layer()), (source, 7));
                assert_eq!((kept.marker(), kept.is_filler()), (source & 1 != 0, source & 1 == 0));
            }
        }
    }

    #[test]
    fn descriptors_are_kept_where_there_are_any() {
        let mut ring = SentRing::new(4);
        for (output, told) in [(5, None), (6, Some(7)), (7, None), (9, None)] {
            ring.insert(&Sent {
                output,
                told: told.map(|frame_number| Told {
                    targets: 3,
                    frame_number,
                }),
                ..Sent::default()
            });
        }
        let mut told = |sequence| {
            let kept = ring.again(sequence, 1, 1)?;
            ring.told(&kept).map(|told| told.frame_number)
        };
        assert_eq!([5, 6, 7, 9].map(&mut told), [None, Some(7), None, None]);
    }

    #[test]
    fn nothing_was_sent_before_the_first_packet() {
        assert_eq!(SentRing::new(8).again(0, 1, 1), None);
    }
}
