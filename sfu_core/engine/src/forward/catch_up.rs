//! Packets that a subscription takes from what is kept, because they came before it could begin.

use std::sync::Arc;

use super::Subscription;
use crate::command::MediaKind;
use crate::packet::Packet;
use crate::publish::track::Track;

/// A newcomer is sent at most so many packets at once to catch up with the others.
pub const MAX_CATCH_UP: usize = 256;

impl Subscription {
    /// Begins with what the layer keeps, if that leads from a keyframe to now: the first picture neither waits for a new
    /// keyframe nor makes the publisher send one. True when packets wait in [`kept`](Self::kept).
    pub fn begin_with_kept(&mut self, track: &Track) -> bool {
        if self.catch_up.is_some() {
            return true;
        }
        let Some(target) = self
            .target
            .filter(|_| self.source.is_none() && self.kind == MediaKind::Video)
        else {
            return false;
        };
        // The wanted layer, or one below it until that has a keyframe.
        let kept = (0..=target).rev().find_map(|index| {
            let packet = track
                .layers
                .get(usize::from(index))?
                .ring
                .since_keyframe(MAX_CATCH_UP)?;
            // What was seen before a pause is not shown again; another track takes over as soon as it flows.
            let unseen = self.redirected || packet.arrival > self.timestamps.last_arrival();
            unseen.then_some((index, packet.seq))
        });
        self.catch_up = kept;
        kept.is_some()
    }

    /// The kept packet to be forwarded next; `None` when everything kept was. Call [`advance`](Self::advance) after each.
    pub fn kept<'t>(&mut self, track: &'t Track) -> Option<&'t Arc<Packet>> {
        let (layer, next) = self.catch_up?;
        let ring = track.layers.get(usize::from(layer)).map(|layer| &layer.ring);
        let packet = ring.and_then(|ring| (next..ring.end()).find_map(|seq| ring.get(seq)));
        self.catch_up = packet.map(|packet| (layer, packet.seq));
        packet
    }

    /// What is kept is not sent.
    pub(crate) fn forget_kept(&mut self) {
        self.catch_up = None;
    }

    /// Packets wait in [`kept`](Self::kept), and what is pending is among them.
    pub fn is_behind(&self) -> bool {
        self.catch_up.is_some()
    }

    pub fn advance(&mut self) {
        self.catch_up = self.catch_up.map(|(layer, seq)| (layer, seq + 1));
    }
}
