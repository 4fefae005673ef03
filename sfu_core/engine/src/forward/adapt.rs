//! What a subscription gets of what it wants, as the path to its subscriber allows.

use std::ops::Range;

use super::egress::Egress;
use super::{Subscription, kept_packet};
use crate::allocate::{Candidate, Decision, Hysteresis, Layer, LayerId, Reason, Source, Target};
use crate::command::{MediaKind, Wanted};
use crate::packet::Packet;
use crate::publish::track::Track;

/// The last decision of the allocator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allocation {
    /// As the client asked.
    pub(super) asked: Wanted,
    /// What the path allows; nothing is held back until something is decided.
    limit: Wanted,
    current: Option<LayerId>,
    hysteresis: Hysteresis,
}

/// Packets that one order of padding takes at most.
const MOST_PADDING: u64 = 16;

const UNLIMITED: Wanted = Wanted {
    paused: false,
    max_spatial: u8::MAX,
    max_temporal: u8::MAX,
};

impl Allocation {
    pub(super) fn new(asked: Wanted) -> Self {
        Self {
            asked,
            limit: UNLIMITED,
            current: None,
            hysteresis: Hysteresis::default(),
        }
    }

    /// What is asked for, as far as it is allowed.
    pub(super) fn wanted(&self) -> Wanted {
        let (asked, limit) = (self.asked, self.limit);
        Wanted {
            paused: asked.paused || limit.paused,
            max_spatial: asked.max_spatial.min(limit.max_spatial),
            max_temporal: asked.max_temporal.min(limit.max_temporal),
        }
    }
}

impl Subscription {
    /// For the allocator. `layers`: where those of its track are.
    pub(crate) fn candidate(&self, layers: Range<u32>) -> Candidate {
        let Allocation {
            asked,
            current,
            hysteresis,
            ..
        } = self.allocation;
        Candidate {
            source: Source::Camera,
            priority: 0,
            speaker_rank: None,
            wanted: None,
            max_spatial: asked.max_spatial,
            max_temporal: asked.max_temporal,
            paused: asked.paused,
            may_pause: true,
            current,
            hysteresis,
            layers,
        }
    }

    /// Takes a decision over `layers`, those of its track. True when what is forwarded should change.
    pub(crate) fn set_allocation(&mut self, decision: &Decision, layers: &[Layer], track: &Track) -> bool {
        let before = self.allocation.limit;
        self.allocation.current = decision.layer();
        self.allocation.hysteresis = decision.hysteresis;
        self.allocation.limit = match decision.target {
            Target::Layer(id) => limit(id, layers),
            Target::Paused(Reason::Bandwidth) => Wanted {
                paused: true,
                ..UNLIMITED
            },
            Target::Paused(Reason::Asked | Reason::NothingFlows) => UNLIMITED,
        };
        let changed = self.allocation.limit != before;
        if changed {
            self.follow_wishes(track);
        }
        changed
    }

    /// Whether a packet may be one of those that [`forward`](Self::forward) takes, now or when those before it were.
    pub(crate) fn takes(&self, packet: &Packet) -> bool {
        let is_current = self.source.is_none_or(|source| source.layer == packet.layer);
        !self.wanted.paused && (is_current || self.target == Some(packet.layer))
    }

    /// Packets of it were dropped: nothing is decodable before a keyframe.
    pub(crate) fn interrupt(&mut self) {
        if self.kind == MediaKind::Video {
            self.source = None;
            self.catch_up = None;
            self.wants_keyframe = true;
        }
    }

    /// Sends what was sent lately again, about so many bytes, for nothing but to see what the path carries (RTX is what
    /// receivers without a use for it drop). False when there is nothing.
    pub(crate) fn pad(&mut self, bytes: u32, track: &Track, egress: &mut Egress<'_>) -> bool {
        let Some(rtx_ssrc) = self.rtx_ssrc else { return false };
        let newest = self.sequence.newest();
        let mut padded = 0;
        for back in 0..MOST_PADDING {
            let sequence = newest.wrapping_sub(back) as u16;
            let Some(sent) = self.sent.get(sequence) else { break };
            let Some(packet) = kept_packet(&sent, track) else { break };
            if !egress.has_room() {
                break;
            }
            let len = self.send_again(sequence, &sent, packet, rtx_ssrc, egress);
            padded += len.unwrap_or(0) as u32;
            if len.is_none() || padded >= bytes {
                break;
            }
        }
        padded > 0
    }

    pub(crate) fn bits_per_second(&self, now: u64) -> f64 {
        self.meter.bits_per_second(now)
    }
}

/// Layers that are not known yet belong to the best that is.
fn limit(id: LayerId, layers: &[Layer]) -> Wanted {
    let best = |value: u8, values: &mut dyn Iterator<Item = u8>| match values.max() {
        Some(max) if value < max => value,
        _ => u8::MAX,
    };
    Wanted {
        paused: false,
        max_spatial: best(id.spatial, &mut layers.iter().map(|layer| layer.id.spatial)),
        max_temporal: best(
            id.temporal,
            &mut layers
                .iter()
                .filter(|layer| layer.id.spatial == id.spatial)
                .map(|layer| layer.id.temporal),
        ),
    }
}
