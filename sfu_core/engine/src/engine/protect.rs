//! How much parity each subscription of a peer gets, from what its path loses.

use super::Engine;
use crate::command::MediaKind;
use crate::downlink::Downlink;
use crate::fec::Protection;
use crate::fec::burst::Loss;
use crate::fec::protection::{Frames, Path, protection};
use crate::publish::track::LayerRate;

/// Octets of a packet of video, as browsers and encoders make them.
const PACKET: f32 = 1_150.0;
/// Frames per second of a stream that was not measured yet.
const USUAL_FRAMES: f32 = 30.0;
/// Where nothing tells what the path carries, so much more than it is sent now.
const UNKNOWN_SPARE: f64 = 1.25;
/// Nothing of the path but parity is known to take room: what is to be kept free for it does not depend on what is left.
const WHATEVER_IS_USED: u64 = 1;

impl Engine {
    /// Decides what is protected from now on. Returns the share of parity in all video that is to be kept free for it.
    pub(super) fn plan_protection(&mut self, at: u64, key: usize) -> f32 {
        let peer = &mut self.peers[key];
        if !peer.may_protect {
            return 0.0;
        }
        let (mut used, mut video, mut parity) = (0.0, 0.0, 0.0);
        for &key in &peer.subscriptions {
            used += self.subscribers[key].state.bits_per_second(at);
        }
        let mut path = known_path(at, peer.downlink.as_deref_mut(), used);
        for &key in &peer.subscriptions {
            let subscriber = &mut self.subscribers[key];
            let (state, track) = (&mut subscriber.state, &self.tracks[subscriber.track]);
            if state.kind == MediaKind::Audio {
                continue;
            }
            let rate = state.bits_per_second(at) as f32;
            video += rate;
            let path = path.get_or_insert_with(|| reported_path(state.reported_loss(), state.rtt_ms(), used));
            let lossless = path.loss.share <= 0.0 && !state.is_shielded();
            if lossless || !state.may_protect(track) {
                continue;
            }
            let rates = track.layer_rates(at);
            let frames = |keyframe| frames(&rates, state.layers(), keyframe);
            let (delta, keyframe) = match (frames(false), frames(true)) {
                (Some(delta), Some(keyframe)) => (protection(path, &delta), protection(path, &keyframe)),
                _ => (Protection::NONE, Protection::NONE),
            };
            let free = Path {
                used: WHATEVER_IS_USED,
                ..*path
            };
            parity += rate * frames(false).map_or(0.0, |frames| protection(&free, &frames).share);
            state.set_thin(delta.thin.then(|| top_temporal(&rates).saturating_sub(1)), track);
            let is_listed = peer.shielded.contains(&key);
            match state.protect_by(keyframe, delta) {
                true if !is_listed => peer.shielded.push(key),
                false if is_listed => peer.shielded.retain(|&shielded| shielded != key),
                _ => {}
            }
        }
        if video > 0.0 { parity / video } else { 0.0 }
    }

    /// For peers that no layers are decided for.
    pub(super) fn tend_protection(&mut self, at: u64, key: usize) {
        let answers = self.peers[key]
            .downlink
            .as_deref()
            .is_some_and(|downlink| downlink.answers);
        if !answers {
            self.plan_protection(at, key);
        }
    }
}

/// What transport-wide feedback tells; `None` without it.
fn known_path(at: u64, downlink: Option<&mut Downlink>, used: f64) -> Option<Path> {
    let downlink = downlink.filter(|downlink| downlink.answers && !downlink.by_stream)?;
    let estimate = downlink.bandwidth.estimate();
    Some(Path {
        loss: downlink.fates.as_mut().map_or(Loss::NONE, |fates| fates.loss(at)),
        rtt: estimate.round_trip.unwrap_or(0) as f32 / 1_000.0,
        estimate: estimate.target as u64,
        used: (used + estimate.rtx) as u64,
    })
}

/// What a receiver report tells: of bursts nothing, and of the publisher's losses as much as of the path's.
fn reported_path(loss: f64, rtt_ms: f64, used: f64) -> Path {
    Path {
        loss: Loss {
            share: loss as f32,
            ..Loss::NONE
        },
        rtt: rtt_ms as f32,
        estimate: (used * UNKNOWN_SPARE) as u64,
        used: used as u64,
    }
}

/// Of the layers that are forwarded; `None` while there are none.
fn frames(rates: &[LayerRate], forwarded: Option<(u8, u8)>, keyframe: bool) -> Option<Frames> {
    let (spatial, temporal) = forwarded?;
    let fits = |rate: &&LayerRate| rate.spatial == spatial && rate.temporal <= temporal;
    let rate = rates.iter().rfind(fits)?;
    let frames = if rate.frames_per_second > 0.0 {
        rate.frames_per_second
    } else {
        USUAL_FRAMES
    };
    Some(Frames {
        rate: frames,
        packets: (rate.bits_per_second as f32 / 8.0 / frames / PACKET).ceil().max(1.0),
        layered: top_temporal(rates) > 0,
        keyframe,
    })
}

fn top_temporal(rates: &[LayerRate]) -> u8 {
    rates.iter().map(|rate| rate.temporal).max().unwrap_or(0)
}
