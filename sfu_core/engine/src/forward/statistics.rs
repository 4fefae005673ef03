//! What is told of a subscription, and what that needs to see.

use super::egress::Egress;
use super::{Subscription, kept_packet};
use crate::command::MediaKind;
use crate::packet::Packet;
use crate::publish::track::Track;
use crate::stats::{PauseReason, SubscriptionRow};

impl Subscription {
    /// The last packet of a picture was sent. Audio has none.
    pub(super) fn on_picture(&mut self, sequence: u16, packet: &Packet, egress: &mut Egress<'_>) {
        self.pictures_sent += 1;
        if egress.mark((self.ssrc, sequence)) {
            self.freezes.on_picture(sequence, packet.facts.temporal, packet.arrival);
        }
    }

    /// The subscriber asks for a packet; when it is answered is another matter.
    pub(crate) fn on_asked(&mut self, now: u64, sequence: u16, track: &Track) {
        let sent = self.sent.get(sequence);
        let packet = sent.as_ref().and_then(|sent| kept_packet(sent, track));
        self.freezes
            .on_asked(now, sequence, packet.map_or(0, |packet| packet.facts.temporal));
    }

    /// A packet that was marked arrived, at a time of the subscriber's clock. `now` in microseconds.
    pub(crate) fn on_arrived(&mut self, now: u64, sequence: u16, at: i64) {
        self.freezes.on_arrived(now, sequence, at);
    }

    /// To be called from time to time.
    pub(crate) fn watch_freezes(&mut self, now: u64) {
        if self.kind == MediaKind::Video {
            self.freezes.poll(now);
        }
    }

    pub fn row(&self, now: u64) -> SubscriptionRow {
        let reception = self.reports.reception;
        let layers = self.layers();
        let media = self.meter.bits_per_second(now);
        let share = |rate: f64| if media > 0.0 { rate / media } else { 0.0 };
        let allocated = self.allocation.current;
        let target = allocated.map(|layer| layer.spatial).or(self.target);
        let reason = match (self.allocation.asked.paused, self.allocation.limit.paused) {
            (true, _) => PauseReason::Asked,
            (false, true) => PauseReason::Bandwidth,
            (false, false) => PauseReason::None,
        };
        let frozen = self.freezes.told(now);
        let index = |layer: Option<u8>| layer.map_or(-1, i64::from);
        SubscriptionRow {
            subscription: self.id.0,
            track: self.track.0,
            peer: self.peer.0,
            is_video: u64::from(self.kind == MediaKind::Video),
            layer: index(self.source.map(|source| source.layer)),
            spatial: index(layers.map(|(spatial, _)| spatial)),
            temporal: index(layers.map(|(_, temporal)| temporal)),
            target_spatial: index(target.filter(|_| !self.wanted.paused)),
            target_temporal: index(allocated.map(|layer| layer.temporal).filter(|_| !self.wanted.paused)),
            wanted_layer: u64::from(self.allocation.asked.max_spatial),
            paused: u64::from(self.wanted.paused),
            pause_reason: reason as u64,
            packets: self.packets,
            bytes: self.bytes,
            pictures: self.pictures_sent,
            pictures_delivered: frozen.delivered,
            freezes: frozen.count,
            freeze_ms: frozen.total_ms,
            frozen_ms: frozen.now_ms,
            packets_retransmitted: self.retransmitted,
            rtx_bytes: self.repair_bytes,
            padding_bytes: self.padding_bytes,
            nacks_received: self.nacks,
            plis_received: self.plis,
            fraction_lost: reception.fraction_lost,
            rtt_ms: reception.rtt_ms,
            jitter_ms: reception.jitter_ms,
            bitrate_bps: media,
            red_packets: self.sound.packets,
            red_bytes: self.sound.bytes,
            fec_packets: self.fec.as_ref().map_or(0, |fec| fec.packets),
            fec_bytes: self.fec.as_ref().map_or(0, |fec| fec.bytes),
            fec_share: share(self.parity_bits_per_second(now)),
            rtx_share: share(self.rtx_meter.bits_per_second(now)),
        }
    }
}
