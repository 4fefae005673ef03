//! Temporal layers of VP8 (RFC 7741 section 4.2): all of a frame or nothing, and up only where a layer synchronises.

use crate::packet::Packet;

/// Bit n: everything that temporal layer n refers to was forwarded.
const ALL: u8 = u8::MAX;

#[derive(Debug)]
pub(super) struct Temporal {
    synchronised: u8,
    /// RTP time of the newest frame, and the highest layer that was wanted then.
    time: u64,
    limit: u8,
    /// RTP time of the newest frame that was dropped.
    dropped: u64,
    pub(super) seen: Seen,
}

impl Default for Temporal {
    fn default() -> Self {
        Self {
            synchronised: ALL,
            time: 0,
            limit: u8::MAX,
            dropped: 0,
            seen: Seen::default(),
        }
    }
}

impl Temporal {
    pub(super) fn begin(&mut self) {
        *self = Self::default();
    }

    /// `limit`: the highest layer wanted. What is wanted holds from the next frame on.
    #[inline]
    pub(super) fn pass(&mut self, packet: &Packet, limit: u8) -> bool {
        let facts = &packet.facts;
        // Only VP8 tells in its payload descriptor alone where to go up.
        if facts.ids.is_none() || facts.vp9.is_some() {
            return true;
        }
        let layer = facts.temporal.min(7);
        if packet.time > self.time {
            (self.time, self.limit) = (packet.time, limit);
            self.seen.on_frame(layer);
        }
        if facts.keyframe {
            self.synchronised = ALL;
        }
        if layer == 0 {
            return true;
        }
        self.pass_upper(packet, layer)
    }

    fn pass_upper(&mut self, packet: &Packet, layer: u8) -> bool {
        let below = (1 << layer) - 1;
        let facts = &packet.facts;
        let wanted = layer <= self.limit;
        // A frame of which something was dropped already would be incomplete.
        let joins = facts.switching_point && facts.frame_start && packet.time > self.dropped;
        if wanted && joins {
            // The frame refers to the lowest layer alone: others between must join on their own.
            self.synchronised |= 1 << layer;
        }
        let needed = if facts.switching_point {
            1 << layer
        } else {
            below | 1 << layer
        };
        if wanted && self.synchronised & needed == needed {
            return true;
        }
        self.synchronised &= below;
        self.dropped = self.dropped.max(packet.time);
        self.seen.on_drop(layer);
        false
    }

    /// The frame stayed behind on its way here.
    pub(super) fn leave_out(&mut self, packet: &Packet) {
        let facts = &packet.facts;
        let layer = facts.temporal.min(7);
        if facts.ids.is_none() || facts.vp9.is_some() || layer == 0 {
            return;
        }
        self.synchronised &= (1 << layer) - 1;
        self.dropped = self.dropped.max(packet.time);
        self.seen.on_drop(layer);
    }

    pub(super) fn highest(&self) -> u8 {
        self.seen.highest()
    }
}

/// The highest temporal layer that passes, over the last two frames of the lowest one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Seen {
    now: u8,
    before: u8,
}

impl Seen {
    #[inline]
    pub(super) fn on_frame(&mut self, layer: u8) {
        match layer {
            0 => (self.before, self.now) = (self.now, 0),
            _ => self.now = self.now.max(layer),
        }
    }

    /// It, and what is above it, does not pass.
    pub(super) fn on_drop(&mut self, layer: u8) {
        (self.now, self.before) = (self.now.min(layer - 1), self.before.min(layer - 1));
    }

    pub(super) fn highest(&self) -> u8 {
        self.now.max(self.before)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::PictureIds;

    fn packet(time: u64, temporal: u8, sync: bool, start: bool) -> Packet {
        let mut packet = Packet::default();
        packet.time = time;
        packet.facts.ids = Some(PictureIds::default());
        (
            packet.facts.temporal,
            packet.facts.switching_point,
            packet.facts.frame_start,
        ) = (temporal, sync, start);
        packet
    }

    #[test]
    fn up_at_a_synchronisation_and_down_at_the_next_frame() {
        let mut filter = Temporal::default();
        let mut time = 0;
        for (temporal, sync, limit, passes) in [
            (0, false, 2, true),
            (2, false, 2, true),
            (1, false, 2, true),
            (2, false, 0, false),
            (0, false, 0, true),
            (1, true, 0, false),
            // Wanted again: the upper layers wait for one that refers to the lowest alone.
            (2, false, 2, false),
            (0, false, 2, true),
            (2, false, 2, false),
            (1, false, 2, false),
            (1, true, 2, true),
            (2, false, 2, false),
            (2, true, 2, true),
            (0, false, 2, true),
            (2, false, 2, true),
            (1, false, 2, true),
            // What is dropped takes those above along.
            (1, false, 0, false),
            (2, true, 2, true),
            (2, false, 2, false),
        ] {
            time += 3_000;
            assert_eq!(
                filter.pass(&packet(time, temporal, sync, true), limit),
                passes,
                "{time} {temporal}"
            );
        }
    }

    #[test]
    fn a_frame_is_forwarded_whole_or_not_at_all() {
        let mut filter = Temporal::default();
        assert!(filter.pass(&packet(1, 0, true, true), 2));
        assert!(filter.pass(&packet(2, 1, true, true), 2));
        assert!(filter.pass(&packet(2, 1, true, false), 0), "begun");
        assert!(!filter.pass(&packet(3, 1, true, true), 0));
        assert!(!filter.pass(&packet(3, 1, true, false), 2), "not begun");
        // Its first packet comes late.
        assert!(filter.pass(&packet(4, 0, true, true), 2));
        assert!(!filter.pass(&packet(5, 1, true, false), 2));
        assert!(!filter.pass(&packet(5, 1, true, true), 2));
        assert!(filter.pass(&packet(6, 1, true, true), 2));
        assert_eq!(filter.highest(), 1);
    }

    #[test]
    fn a_keyframe_joins_all_layers() {
        let mut filter = Temporal::default();
        assert!(!filter.pass(&packet(1, 1, false, true), 0));
        let mut keyframe = packet(2, 0, true, true);
        keyframe.facts.keyframe = true;
        assert!(filter.pass(&keyframe, 2));
        assert!(filter.pass(&packet(3, 2, false, true), 2));
        assert!(filter.pass(&packet(4, 1, false, true), 2));
    }
}
