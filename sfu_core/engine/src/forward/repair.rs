//! What a subscriber lost is sent again, within what its path and its stream may spend on it; or a keyframe is asked for, where
//! that is sooner there.

use super::egress::{Body, Egress, Head};
use super::sent::Kept;
use super::{Subscription, write_described};
use crate::command::MediaKind;
use crate::packet::Packet;
use crate::publish::track::Track;

/// A packet that cannot be repeated by then is waited for longer than a keyframe, microseconds. Lower asks for keyframes where a
/// retransmission would have come, higher freezes longer.
const HOPELESS: u64 = 400_000;
/// Of a packet that is asked for.
const USUAL_BYTES: usize = 1_100;
/// A packet is sent again at most once per round trip, and never more often than this, milliseconds.
const MIN_RESEND: u16 = 10;

impl Subscription {
    /// Sends a packet again that a NACK asks for, if the budget allows: whether it was. Without RTX nothing is sent: the same
    /// SRTP index with fresh header extensions would repeat a nonce (RFC 7714 section 8.1).
    pub fn repair(&mut self, now: u64, sequence: u16, track: &Track, egress: &mut Egress<'_>) -> bool {
        self.nacks += 1;
        let Some(rtx_ssrc) = self.rtx_ssrc.filter(|_| egress.has_room()) else {
            return false;
        };
        let spacing = MIN_RESEND.max(self.reports.reception.rtt_ms as u16);
        let Some(sent) = self.sent.again(sequence, now / 1_000, spacing) else {
            return false;
        };
        // Who still asks for what is forgotten has nothing to show since.
        let Some(packet) = kept_packet(&sent, track) else {
            self.wants_keyframe |= self.is_needed(sequence);
            return false;
        };
        let is_late = now.saturating_sub(packet.arrival) > HOPELESS;
        if is_late && self.wants_keyframe {
            return false;
        }
        let again = self.send_within_budget(now, sequence, &sent, packet, rtx_ssrc, egress);
        if again && let Some(shield) = &mut self.shield {
            shield.on_sent_again(now, sequence);
        }
        // Beyond the budget, and late: a keyframe is sooner there.
        if !again && is_late && packet.facts.temporal == 0 {
            self.wants_keyframe |= self.is_needed(sequence);
        }
        again
    }

    /// So many packets are asked for, this one first. When it is late, and they are more than may be repeated, a keyframe is sooner
    /// there, and what is late is left out.
    pub(crate) fn weigh_repairs(&mut self, now: u64, first: u16, count: usize, track: &Track, egress: &mut Egress<'_>) {
        if self.rtx_ssrc.is_none() || !self.is_needed(first) || self.wants_keyframe {
            return;
        }
        let sent = self.sent.get(first);
        let packet = sent.as_ref().and_then(|sent| kept_packet(sent, track));
        let is_late = packet.is_none_or(|packet| now.saturating_sub(packet.arrival) > HOPELESS);
        self.wants_keyframe = is_late && (count * USUAL_BYTES) as f64 > egress.rtx_left();
    }

    /// No keyframe was sent since this packet: everything later depends on it.
    fn is_needed(&self, sequence: u16) -> bool {
        let since = self
            .keyframe
            .is_none_or(|keyframe| (sequence.wrapping_sub(keyframe) as i16) >= 0);
        since && self.kind == MediaKind::Video
    }

    /// Sends a retransmission for the second time, if the budget allows: whether it was. Needs room in `egress`.
    pub(crate) fn send_copy(&mut self, now: u64, sequence: u16, track: &Track, egress: &mut Egress<'_>) -> bool {
        let (Some(rtx_ssrc), Some(sent)) = (self.rtx_ssrc, self.sent.get(sequence)) else {
            return false;
        };
        let packet = kept_packet(&sent, track);
        packet.is_some_and(|packet| self.send_within_budget(now, sequence, &sent, packet, rtx_ssrc, egress))
    }

    fn send_within_budget(
        &mut self,
        now: u64,
        sequence: u16,
        sent: &Kept,
        packet: &Packet,
        rtx_ssrc: u32,
        egress: &mut Egress<'_>,
    ) -> bool {
        let len = if sent.is_filler() { 0 } else { packet.payload().len() };
        let rate = self.meter.bits_per_second(now);
        if !self.budget.take(now, rate, len) || !egress.takes_rtx(len) {
            return false;
        }
        let Some(bytes) = self.send_again(sequence, sent, packet, rtx_ssrc, egress) else {
            return false;
        };
        self.repair_bytes += bytes as u64;
        self.rtx_meter.add(bytes, now);
        egress.mark((self.ssrc, sequence));
        true
    }

    /// In RTX format; bytes sent.
    pub(super) fn send_again(
        &mut self,
        sequence: u16,
        sent: &Kept,
        packet: &Packet,
        rtx_ssrc: u32,
        egress: &mut Egress<'_>,
    ) -> Option<usize> {
        let mut maps = self.payloads.iter();
        let payload_type = maps.find(|map| map.to.0 == sent.payload_type())?.rtx?;
        let head = Head {
            marker: sent.marker(),
            payload_type: payload_type.0,
            sequence: self.rtx_sequence,
            timestamp: sent.timestamp,
            ssrc: rtx_ssrc,
            mid: &self.mid,
            dependency: &[],
        };
        let body = Body {
            original: Some(sequence),
            red: None,
            payload: if sent.is_filler() { &[] } else { packet.payload() },
            pictures: packet.facts.ids.as_ref().map(|ids| (ids, sent.pictures())),
            padding: false,
        };
        let written = match self.sent.told(sent).filter(|_| egress.takes_dependencies()) {
            Some(told) => write_described(head, &mut self.rtx_header, packet, told, body, egress),
            None => egress.write(head, &mut self.rtx_header, packet, body),
        };
        let len = written.ok()?;
        self.rtx_sequence += 1;
        self.retransmitted += 1;
        self.bytes += len as u64;
        Some(len)
    }
}

/// The packet that was sent, while its layer holds it.
pub(super) fn kept_packet<'t>(sent: &Kept, track: &'t Track) -> Option<&'t Packet> {
    let ring = &track.layers.get(sent.layer())?.ring;
    ring.get(sent.source(ring.end())).map(|packet| &**packet)
}
