//! What clients tell by RTCP, as publishers and as subscribers.

use std::time::Instant;

use wire::rtcp::report::{ReportBlock, SenderInfo};
use wire::rtcp::{Packet, packets};

use super::Engine;
use crate::counters::Dropped;
use crate::crossing::{Crossing, SourceClock};
use crate::publish::track::Origin;

impl Engine {
    pub(super) fn handle_rtcp(&mut self, now: Instant, key: usize, datagram: &mut [u8]) -> Result<(), Dropped> {
        let peer = &mut self.peers[key];
        let receiver = peer.transport.receiver().ok_or(Dropped::SrtpEarly)?;
        let len = receiver.unprotect_rtcp(datagram)?;
        let compound = datagram.get(..len).ok_or(Dropped::Malformed)?;
        self.counters.rtcp_packets_in += 1;
        let mut well_formed = Ok(());
        for packet in packets(compound) {
            match packet {
                Ok(packet) => self.handle_message(now, key, &packet),
                Err(_) => well_formed = Err(Dropped::Malformed),
            }
        }
        well_formed
    }

    fn handle_message(&mut self, now: Instant, key: usize, packet: &Packet<'_>) {
        match packet {
            Packet::SenderReport(report) => {
                self.handle_sender_report(now, key, report.ssrc, &report.info);
                report.blocks().for_each(|block| self.handle_block(now, key, &block));
            }
            Packet::ReceiverReport(report) => report.blocks().for_each(|block| self.handle_block(now, key, &block)),
            Packet::Goodbye(goodbye) => goodbye.sources().for_each(|ssrc| self.handle_goodbye(now, key, ssrc)),
            Packet::Nack(nack) => {
                self.counters.nacks_in += 1;
                self.handle_nack(now, key, nack);
            }
            Packet::PictureLoss(loss) => self.handle_keyframe_wish(now, key, loss.media_ssrc),
            Packet::FullIntra(request) => {
                request
                    .entries()
                    .for_each(|entry| self.handle_keyframe_wish(now, key, entry.ssrc));
            }
            Packet::TransportWide(feedback) => self.handle_transport_feedback(now, key, feedback),
            Packet::CongestionControl(feedback) => self.handle_stream_feedback(now, key, feedback),
            Packet::MaximumBitrate(estimate) => self.handle_receiver_estimate(now, key, estimate),
            Packet::SourceDescription(_) => {}
        }
    }

    fn handle_sender_report(&mut self, now: Instant, key: usize, ssrc: u32, info: &SenderInfo) {
        let clock = SourceClock {
            ntp: info.ntp,
            rtp: info.rtp_timestamp,
            arrival: self.micros(now),
        };
        let Some(route) = self.peers[key].demux.by_ssrc(ssrc).filter(|route| !route.repair) else {
            return;
        };
        let Some(track) = self.tracks.get_mut(route.track) else {
            return;
        };
        let Some(layer) = track.layers.get_mut(usize::from(route.layer)) else {
            return;
        };
        layer.clock = Some(clock);
        let crossing = Crossing::SenderReport {
            track: track.id,
            layer: route.layer,
            report: clock,
        };
        self.crossings
            .extend(track.neighbours().map(|mirror| (mirror, crossing.clone())));
    }

    /// A report block of a subscriber about what we send.
    fn handle_block(&mut self, now: Instant, key: usize, block: &ReportBlock) {
        let Some(&subscriber) = self.peers[key].by_ssrc.get(&block.ssrc) else {
            return;
        };
        if let Some(sample) = self.handle_report(now, subscriber, block) {
            self.peers[key].on_round_trip(sample);
        }
    }

    /// The source has left (RFC 3550 section 6.6): its layer ceases at once.
    fn handle_goodbye(&mut self, now: Instant, key: usize, ssrc: u32) {
        let Some(route) = self.peers[key].demux.by_ssrc(ssrc).filter(|route| !route.repair) else {
            return;
        };
        let layer = self
            .tracks
            .get_mut(route.track)
            .and_then(|t| t.layers.get_mut(usize::from(route.layer)));
        if layer.is_some_and(|layer| std::mem::replace(&mut layer.active, false)) {
            self.tell_layer(now, route.track, route.layer, false);
        }
    }

    fn handle_keyframe_wish(&mut self, now: Instant, key: usize, ssrc: u32) {
        self.counters.plis_in += 1;
        if let Some(&subscriber) = self.peers[key].by_ssrc.get(&ssrc) {
            self.handle_picture_loss(now, subscriber);
        }
    }

    /// A subscription here needs a keyframe of this layer, from the publisher or by way of the track's home.
    pub(super) fn want_keyframe(&mut self, now: Instant, track: usize, layer: u8) {
        let at = self.micros(now);
        let Some(source) = self.tracks.get_mut(track) else {
            return;
        };
        let Some(slot) = source.layers.get_mut(usize::from(layer)) else {
            return;
        };
        if slot.keyframes.want() {
            self.counters.keyframe_requests_suppressed += 1;
            return;
        }
        match source.origin {
            Origin::Peer { key, .. } => {
                self.send_keyframe_requests(key, at);
                self.watch(key);
            }
            Origin::Worker(_) | Origin::Link { .. } => self.relay_keyframe_wishes(track, at),
        }
    }
}
