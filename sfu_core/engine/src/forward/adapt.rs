//! What a subscription gets of what it wants, as the path to its subscriber allows.

use std::ops::Range;

use super::egress::{Body, Egress, Head};
use super::{Subscription, kept_packet, layers};
use crate::allocate::{Candidate, Decision, Hysteresis, Layer, LayerId, Reason, Target};
use crate::command::{MediaKind, View, Wanted};
use crate::downlink::UDP_IP;
use crate::packet::Packet;
use crate::publish::track::Track;

/// The last decision of the allocator.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allocation {
    /// As the client asked.
    pub(super) asked: Wanted,
    pub(super) view: View,
    /// The lowest layer that covers the view.
    covering: u8,
    /// What the path allows; nothing is held back until something is decided.
    pub(super) limit: Wanted,
    pub(super) current: Option<LayerId>,
    hysteresis: Hysteresis,
    /// Temporal layers above it are left out: parity is worth more.
    most_temporal: u8,
}

/// Packets that one order of padding takes at most.
const MOST_PADDING: u64 = 16;

/// As much padding as one packet holds; the last octet counts it.
const PADDING: [u8; 255] = {
    let mut octets = [0; 255];
    octets[254] = 255;
    octets
};

const UNLIMITED: Wanted = Wanted {
    paused: false,
    max_spatial: u8::MAX,
    max_temporal: u8::MAX,
};

impl Allocation {
    pub(super) fn new(asked: Wanted) -> Self {
        Self {
            asked,
            view: View::default(),
            covering: u8::MAX,
            limit: UNLIMITED,
            current: None,
            hysteresis: Hysteresis::default(),
            most_temporal: u8::MAX,
        }
    }

    /// What is asked for, as far as it is allowed.
    pub(super) fn wanted(&self) -> Wanted {
        let (asked, limit) = (self.within_view(), self.limit);
        Wanted {
            paused: asked.paused || limit.paused,
            max_spatial: asked.max_spatial.min(limit.max_spatial),
            max_temporal: asked.max_temporal.min(limit.max_temporal).min(self.most_temporal),
        }
    }

    /// What is asked for, without what the view does not show.
    fn within_view(&self) -> Wanted {
        let asked = self.asked;
        Wanted {
            max_spatial: asked.max_spatial.min(self.covering),
            ..asked
        }
    }

    /// To be called when the view or the track's sizes are others.
    pub(super) fn measure(&mut self, track: &Track) {
        self.covering = layers::covering(track.sizes(), self.view);
    }
}

impl Subscription {
    pub(crate) fn set_view(&mut self, view: View, track: &Track) {
        self.allocation.view = view;
        self.follow_wishes(track);
    }

    /// The highest layer that is of use to the subscriber, whatever its path carries. `None` when it wants nothing.
    pub(crate) fn wants(&self) -> Option<LayerId> {
        let wanted = self.allocation.within_view();
        (!wanted.paused).then_some(LayerId {
            spatial: wanted.max_spatial,
            temporal: wanted.max_temporal,
        })
    }

    /// Paused although the subscriber wants it.
    fn is_held_back(&self) -> bool {
        self.allocation.limit.paused && !self.allocation.asked.paused
    }

    /// Whether the path does not carry it, when that is told for the first time.
    pub(crate) fn poll_paused(&mut self) -> Option<bool> {
        let held_back = self.is_held_back();
        (std::mem::replace(&mut self.told_paused, held_back) != held_back).then_some(held_back)
    }

    /// For the allocator. `layers`: where those of its track are.
    pub(crate) fn candidate(&self, layers: Range<u32>, track: &Track) -> Candidate {
        let Allocation {
            view,
            current,
            hysteresis,
            most_temporal,
            ..
        } = self.allocation;
        let asked = self.allocation.within_view();
        Candidate {
            source: track.about.description.source,
            priority: view.priority,
            speaker_rank: track.about.rank,
            wanted: (view.width > 0 && view.height > 0).then_some((view.width, view.height)),
            max_spatial: asked.max_spatial,
            max_temporal: asked.max_temporal.min(most_temporal),
            paused: asked.paused,
            // Without padding nobody would learn that the path has recovered.
            may_pause: self.rtx_ssrc.is_some(),
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

    /// The highest temporal layer that is sent beside much parity; `None` without a limit.
    pub(crate) fn set_thin(&mut self, most_temporal: Option<u8>, track: &Track) {
        let most = most_temporal.unwrap_or(u8::MAX);
        if std::mem::replace(&mut self.allocation.most_temporal, most) != most {
            self.follow_wishes(track);
        }
    }

    /// Share of packets lost by the last receiver report, 0 to 1.
    pub(crate) fn reported_loss(&self) -> f64 {
        self.reports.reception.fraction_lost
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
            self.freezes.on_cut();
        }
    }

    /// Sends about so many bytes for nothing but to see what the path carries: what was sent lately, again, or where that is
    /// forgotten (the subscription has been paused), padding. Bytes on the wire; none when neither can be.
    pub(crate) fn pad(&mut self, bytes: u32, track: &Track, egress: &mut Egress<'_>) -> u32 {
        let Some(rtx_ssrc) = self.rtx_ssrc else { return 0 };
        let newest = self.sequence.newest();
        let mut padded = 0;
        for back in 0..MOST_PADDING {
            let sequence = newest.wrapping_sub(back) as u16;
            let Some(sent) = self.sent.get(sequence) else { break };
            let Some(packet) = kept_packet(&sent, track) else { break };
            if !egress.has_room() {
                break;
            }
            egress.set_filling(true);
            let len = self.send_again(sequence, &sent, packet, rtx_ssrc, egress);
            egress.set_filling(false);
            self.padding_bytes += len.unwrap_or(0) as u64;
            padded += len.map_or(0, |len| len as u32 + UDP_IP);
            if len.is_none() || padded >= bytes {
                return padded;
            }
        }
        while padded < bytes && egress.has_room() {
            let Some(len) = self.send_padding(rtx_ssrc, egress) else {
                break;
            };
            padded += len as u32 + UDP_IP;
        }
        padded
    }

    /// A packet of nothing, in the stream of retransmissions. Bytes sent.
    fn send_padding(&mut self, rtx_ssrc: u32, egress: &mut Egress<'_>) -> Option<usize> {
        let head = Head {
            marker: false,
            payload_type: self.payloads.iter().find_map(|map| map.rtx)?.0,
            sequence: self.rtx_sequence,
            timestamp: self.timestamps.last_output(),
            ssrc: rtx_ssrc,
            mid: &self.mid,
            dependency: &[],
        };
        let body = Body {
            original: None,
            red: None,
            payload: &PADDING,
            pictures: None,
            padding: true,
        };
        let len = egress
            .write(head, &mut self.rtx_header, &Packet::default(), body)
            .ok()?;
        self.rtx_sequence += 1;
        self.bytes += len as u64;
        self.padding_bytes += len as u64;
        Some(len)
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
