//! What was sent lately, so that it can be sent again: a few bytes per packet, the payload stays in the layer's ring.

use super::pictures::PicturePatch;

/// One forwarded packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) output: u64,
    /// Extended sequence number in the ring of `layer`.
    pub(super) source: u64,
    pub(super) timestamp: u32,
    /// When it was last sent again, milliseconds; 0: never.
    pub(super) resent: u32,
    /// A retransmission with other ids than the first time would stop a decoder.
    pub(super) vp8: PicturePatch,
    pub(super) layer: u8,
    pub(super) payload_type: u8,
}

#[derive(Debug)]
pub(super) struct SentRing {
    entries: Box<[Sent]>,
}

impl SentRing {
    /// `capacity` is a power of two.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            entries: vec![Sent::default(); capacity.next_power_of_two()].into_boxed_slice(),
        }
    }

    pub(super) fn insert(&mut self, sent: Sent) {
        let slot = sent.output as usize & (self.entries.len() - 1);
        self.entries[slot] = sent;
    }

    /// The packet sent with this number, unless it was sent again less than `spacing` ago (milliseconds).
    pub(super) fn again(&mut self, sequence: u16, now_ms: u32, spacing: u32) -> Option<Sent> {
        let slot = usize::from(sequence) & (self.entries.len() - 1);
        let entry = &mut self.entries[slot];
        if entry.output as u16 != sequence || entry.output == 0 {
            return None;
        }
        if entry.resent != 0 && now_ms.wrapping_sub(entry.resent) < spacing {
            return None;
        }
        entry.resent = now_ms.max(1);
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
            ring.insert(Sent {
                output,
                source: output + 7,
                ..Sent::default()
            });
        }
        assert_eq!(ring.again(65_534, 10, 20), None);
        assert_eq!(ring.again(0, 10, 20).map(|s| s.source), Some(65_543));
        for (now, expected) in [(11, false), (29, false), (30, true), (31, false)] {
            assert_eq!(ring.again(0, now, 20).is_some(), expected, "{now}");
        }
        assert_eq!(ring.again(1_000, 10, 20), None);
    }

    #[test]
    fn nothing_was_sent_before_the_first_packet() {
        assert_eq!(SentRing::new(8).again(0, 1, 1), None);
    }
}
