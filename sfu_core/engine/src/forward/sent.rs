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
    pub(super) vp8: PicturePatch,
    pub(super) layer: u8,
    pub(super) payload_type: u8,
}

/// The same as it is kept. Every subscriber has hundreds, and each packet touches one of each subscriber: four share
/// a line of the processor's cache.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Kept {
    /// Layer, then the low 24 bits of the source's number.
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
const PRESENT: u8 = 0x80;

impl Kept {
    fn new(sent: &Sent) -> Self {
        Self {
            origin: u32::from(sent.layer) << SOURCE_BITS | sent.source as u32 & ((1 << SOURCE_BITS) - 1),
            timestamp: sent.timestamp,
            sequence: sent.output as u16,
            resent: 0,
            picture_id: sent.vp8.picture_id,
            tl0_pic_idx: sent.vp8.tl0_pic_idx,
            payload_type: sent.payload_type | PRESENT,
        }
    }

    pub(super) fn vp8(&self) -> PicturePatch {
        PicturePatch {
            picture_id: self.picture_id,
            tl0_pic_idx: self.tl0_pic_idx,
        }
    }

    pub(super) fn layer(&self) -> usize {
        (self.origin >> SOURCE_BITS) as usize
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
}

impl SentRing {
    /// `capacity` is a power of two.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: vec![Kept::default(); capacity.next_power_of_two()].into_boxed_slice(),
        }
    }

    #[inline]
    pub(super) fn insert(&mut self, sent: &Sent) {
        let slot = sent.output as usize & (self.entries.len() - 1);
        self.entries[slot] = Kept::new(sent);
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
                layer: 255,
                ..Sent::default()
            });
            for ahead in [1, 100, 0xff_ffff] {
                assert_eq!((kept.source(source + ahead), kept.layer()), (source, 255));
            }
        }
    }

    #[test]
    fn nothing_was_sent_before_the_first_packet() {
        assert_eq!(SentRing::new(8).again(0, 1, 1), None);
    }
}
