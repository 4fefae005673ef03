//! How often audio is repeated towards each subscriber, once a second: as its losses ask and its path allows.

use super::Engine;
use crate::downlink::CONGESTED;
use crate::fec::burst::Loss;
use crate::fec::opus_red::{self, Chance};

impl Engine {
    /// To be called once a second.
    pub(super) fn decide_redundancy(&mut self, key: usize, at: u64) {
        let peer = &mut self.peers[key];
        let sent = peer.transport_sequence.wrapping_sub(peer.decided_sequence);
        peer.decided_sequence = peer.transport_sequence;
        if !peer.may_protect {
            return;
        }
        let (mut told, mut target, mut queues) = (None, f64::MAX, false);
        if let Some(downlink) = peer.downlink.as_deref_mut().filter(|downlink| downlink.answers) {
            let estimate = downlink.bandwidth.estimate();
            (target, queues) = (estimate.target, estimate.queue > CONGESTED);
            told = Some(downlink.fates.as_deref_mut().map_or(Loss::NONE, |fates| fates.loss(at)));
        }
        let (mut plain, mut frames) = (0.0, 0.0);
        for &key in &peer.subscriptions {
            let rates = self.subscribers[key].state.sound_rates();
            (plain, frames) = (plain + rates.plain, frames + rates.frames);
        }
        for &key in &peer.subscriptions {
            let state = &mut self.subscribers[key].state;
            if !state.takes_redundancy() {
                continue;
            }
            let packets = state.count_sound();
            // Of a path that nobody tells of, receiver reports do.
            let loss = told.unwrap_or(Loss {
                share: state.smoothed_loss(),
                burst: 1.0,
            });
            let chance = Chance {
                loss: opus_red::of_every(loss, f32::from(sent) / (packets.max(1) as f32)),
                on: state.is_redundant(),
                room: opus_red::room(target, queues, plain, frames),
                most: self.config.audio_redundancy,
            };
            state.set_redundancy(&opus_red::choose(&chance));
        }
    }
}
