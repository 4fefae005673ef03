//! Forwarding of one track to one peer: which layer, with which numbers, what again.
//!
//! The engine calls [`Subscription::forward`] for every packet of the track, in order of arrival, and hands over
//! what the subscriber reports. Not implemented yet: a bandwidth estimate; dropping spatial layers of a scalable stream.

mod budget;
mod egress;
mod header;
mod layers;
mod numbering;
mod pictures;
mod reports;
mod sent;
mod timestamp;

pub use egress::Egress;

use wire::red::Redundant;
use wire::rtcp::report::{ReportBlock, SenderInfo};

use crate::command::{MediaKind, PayloadMap, Subscribe, Wanted};
use crate::ids::{Mid, PayloadType, PeerId, SubscriptionId, TrackId};
use crate::meter::Meter;
use crate::packet::Packet;
use crate::publish::track::Track;
use crate::stats::SubscriptionRow;

use budget::Budget;
use egress::{Body, Head};
use header::HeaderTemplate;
use numbering::{Numbering, Skipped};
use pictures::Pictures;
use reports::Reports;
use sent::{Sent, SentRing};
use timestamp::{Beginning, Timestamps};

/// Packets that can be sent again: about two seconds of a 2 Mb/s video, and of audio.
const SENT_VIDEO: usize = 512;
const SENT_AUDIO: usize = 64;
/// A newcomer is sent at most so many packets at once to catch up with the others.
const MAX_CATCH_UP: usize = 256;
/// A packet is sent again at most once per round trip, and never more often than this, milliseconds.
const MIN_RESEND: u16 = 10;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forwarded {
    Sent,
    /// Not for this subscriber: another layer, paused, no format in common, too late.
    Dropped,
    /// The arena is full: flush it and forward the same packet again.
    Full,
}

/// The stream that is forwarded: a layer between two restarts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Source {
    layer: u8,
    stream: u32,
}

pub struct Subscription {
    pub id: SubscriptionId,
    pub track: TrackId,
    pub peer: PeerId,
    pub kind: MediaKind,
    pub mid: Mid,
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    payloads: Box<[PayloadMap]>,
    /// Of the last packet.
    payload: Option<PayloadMap>,
    wanted: Wanted,
    /// The layer to be on; `None` when paused or when nothing flows.
    target: Option<u8>,
    source: Option<Source>,
    /// Layer and number of the next kept packet to be sent, until it has caught up.
    catch_up: Option<(u8, u64)>,
    /// Last layer told to the control plane.
    announced: Option<u8>,
    sequence: Numbering,
    timestamps: Timestamps,
    pictures: Pictures,
    header: HeaderTemplate,
    rtx_header: HeaderTemplate,
    sent: SentRing,
    rtx_sequence: u64,
    budget: Budget,
    reports: Reports,
    meter: Meter,
    /// The subscriber cannot decode what it has.
    wants_keyframe: bool,
    packets: u64,
    bytes: u64,
    retransmitted: u64,
    nacks: u64,
    plis: u64,
}

impl Subscription {
    /// `seed` makes the first sequence number, timestamp and picture id unpredictable (RFC 3550 section 5.1).
    pub fn new(now: u64, subscribe: &Subscribe, seed: u64) -> Self {
        // Below 2^15, so that the receiver's first guess of the rollover counter is right (RFC 3711 section 3.3.1).
        let first = 1 + seed % 0x7fff;
        Self {
            id: subscribe.subscription,
            track: subscribe.track,
            peer: subscribe.peer,
            kind: subscribe.kind,
            mid: subscribe.mid,
            ssrc: subscribe.ssrc.0,
            rtx_ssrc: subscribe.rtx_ssrc.map(|ssrc| ssrc.0),
            payloads: subscribe.payloads.as_slice().into(),
            payload: None,
            wanted: subscribe.wanted,
            target: None,
            source: None,
            catch_up: None,
            announced: None,
            sequence: Numbering::new(first),
            timestamps: Timestamps::new((seed >> 16) as u32),
            pictures: Pictures::new((seed >> 48) as u16),
            header: HeaderTemplate::default(),
            rtx_header: HeaderTemplate::default(),
            sent: SentRing::new(match subscribe.kind {
                MediaKind::Audio => SENT_AUDIO,
                MediaKind::Video => SENT_VIDEO,
            }),
            rtx_sequence: 1 + (seed >> 8) % 0x7fff,
            budget: Budget::new(now),
            reports: Reports::default(),
            meter: Meter::default(),
            wants_keyframe: false,
            packets: 0,
            bytes: 0,
            retransmitted: 0,
            nacks: 0,
            plis: 0,
        }
    }

    /// To be called when the peer's header-extension ids are others.
    pub fn forget_headers(&mut self) {
        self.header = HeaderTemplate::default();
        self.rtx_header = HeaderTemplate::default();
    }

    pub fn set_wanted(&mut self, wanted: Wanted, track: &Track) {
        self.wanted = wanted;
        self.update_target(track);
        if wanted.paused {
            self.source = None;
            self.catch_up = None;
        }
    }

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
            // What was seen before a pause is not shown again.
            (packet.arrival > self.timestamps.last_arrival()).then_some((index, packet.seq))
        });
        self.catch_up = kept;
        kept.is_some()
    }

    /// The kept packet to be forwarded next; `None` when everything kept was. Call [`advance`](Self::advance) after each.
    pub fn kept<'t>(&mut self, track: &'t Track) -> Option<&'t Packet> {
        let (layer, next) = self.catch_up?;
        let ring = track.layers.get(usize::from(layer)).map(|layer| &layer.ring);
        let packet = ring.and_then(|ring| (next..ring.end()).find_map(|seq| ring.get(seq)));
        self.catch_up = packet.map(|packet| (layer, packet.seq));
        packet.map(|packet| &**packet)
    }

    pub fn advance(&mut self) {
        self.catch_up = self.catch_up.map(|(layer, seq)| (layer, seq + 1));
    }

    /// To be called when a layer of the track begins or ceases to flow.
    pub fn update_target(&mut self, track: &Track) {
        self.target = layers::target(track.layers.iter().map(|layer| layer.active), self.wanted);
    }

    /// Forwards one packet of the track if it is this subscriber's. `now` in microseconds.
    pub fn forward(&mut self, now: u64, packet: &Packet, track: &Track, egress: &mut Egress<'_>) -> Forwarded {
        let Some(map) = self.payload_map(packet.payload_type) else {
            return Forwarded::Dropped;
        };
        if self.wanted.paused {
            return Forwarded::Dropped;
        }
        if !egress.has_room() {
            return Forwarded::Full;
        }
        let begins = self.source != Some(source_of(packet));
        if begins {
            if !self.may_begin(packet, track) {
                // The layer itself started anew: nothing of it is decodable until its next keyframe.
                let restarted = |source: Source| packet.layer == source.layer && is_newer(packet, source);
                self.wants_keyframe |= self.source.is_some_and(restarted);
                return Forwarded::Dropped;
            }
            self.begin(packet, track);
        }
        let Some(outgoing) = self.renumber(packet, map) else {
            return Forwarded::Dropped;
        };
        match self.send(outgoing, map, packet, egress) {
            Some(bytes) => {
                self.packets += 1;
                self.bytes += bytes as u64;
                self.meter.add(bytes, now);
                self.reports.on_sent(now, packet.payload().len());
                self.sent.insert(&outgoing);
                Forwarded::Sent
            }
            None => Forwarded::Dropped,
        }
    }

    /// Answers a NACK as far as the budget allows. Without RTX nothing is sent: the same SRTP index with fresh header
    /// extensions would repeat a nonce (RFC 7714 section 8.1).
    pub fn handle_nack(
        &mut self,
        now: u64,
        sequences: impl Iterator<Item = u16>,
        track: &Track,
        egress: &mut Egress<'_>,
    ) {
        let spacing = MIN_RESEND.max(self.reports.reception.rtt_ms as u16);
        let rate = self.meter.bits_per_second(now);
        for sequence in sequences {
            self.nacks += 1;
            let Some(rtx_ssrc) = self.rtx_ssrc else { continue };
            if !egress.has_room() {
                return;
            }
            let Some(sent) = self.sent.again(sequence, now / 1_000, spacing) else {
                continue;
            };
            let ring = track.layers.get(sent.layer()).map(|layer| &layer.ring);
            let Some(packet) = ring.and_then(|ring| ring.get(sent.source(ring.end()))) else {
                continue;
            };
            let rtx = self
                .payloads
                .iter()
                .find(|m| m.to.0 == sent.payload_type())
                .and_then(|m| m.rtx);
            let Some(payload_type) = rtx else { continue };
            if !self.budget.take(now, rate, packet.payload().len()) {
                return;
            }
            let head = Head {
                marker: packet.marker,
                payload_type: payload_type.0,
                sequence: self.rtx_sequence,
                timestamp: sent.timestamp,
                ssrc: rtx_ssrc,
                mid: &self.mid,
            };
            let body = Body {
                original: Some(sequence),
                payload: packet.payload(),
                vp8: packet.facts.ids.as_ref().map(|meta| (meta, sent.vp8())),
            };
            if let Ok(len) = egress.write(head, &mut self.rtx_header, packet, body) {
                self.rtx_sequence += 1;
                self.retransmitted += 1;
                self.bytes += len as u64;
            }
        }
    }

    /// PLI or FIR of the subscriber.
    pub fn handle_keyframe_request(&mut self) {
        self.plis += 1;
        self.wants_keyframe = true;
    }

    pub fn handle_report(&mut self, now: u64, block: &ReportBlock, track: &Track) {
        let clock_rate = self.clock_rate(track);
        self.reports.on_block(now, block, clock_rate);
    }

    /// The layer of which a keyframe is needed. Asking often is fine: the track coalesces.
    pub fn keyframe_wanted(&self) -> Option<u8> {
        if self.kind == MediaKind::Audio || self.wanted.paused || self.catch_up.is_some() {
            return None;
        }
        let target = self.target?;
        match self.source {
            Some(source) if source.layer == target && !self.wants_keyframe => None,
            _ => Some(target),
        }
    }

    /// A sender report, when one is due and the publisher's clock is known.
    pub fn sender_report(&mut self, now: u64, track: &Track) -> Option<SenderInfo> {
        if !self.reports.is_due(now) {
            return None;
        }
        let layer = self.source?.layer;
        let clock = track.layers.get(usize::from(layer))?.clock?;
        let clock_rate = self.clock_rate(track);
        let timestamps = &self.timestamps;
        Some(self.reports.make(now, clock, clock_rate, |rtp| timestamps.map(rtp)))
    }

    /// The layer that is forwarded, when it is another than at the last call.
    pub fn poll_layer(&mut self) -> Option<Option<u8>> {
        let layer = self.source.map(|source| source.layer);
        (std::mem::replace(&mut self.announced, layer) != layer).then_some(layer)
    }

    /// Milliseconds; 0 until a receiver report told it.
    pub fn rtt_ms(&self) -> f64 {
        self.reports.reception.rtt_ms
    }

    pub fn row(&self, now: u64) -> SubscriptionRow {
        let reception = self.reports.reception;
        SubscriptionRow {
            subscription: self.id.0,
            track: self.track.0,
            peer: self.peer.0,
            layer: self.source.map_or(-1, |source| i64::from(source.layer)),
            wanted_layer: u64::from(self.wanted.max_spatial),
            paused: u64::from(self.wanted.paused),
            packets: self.packets,
            bytes: self.bytes,
            packets_retransmitted: self.retransmitted,
            nacks_received: self.nacks,
            plis_received: self.plis,
            fraction_lost: reception.fraction_lost,
            rtt_ms: reception.rtt_ms,
            jitter_ms: reception.jitter_ms,
            bitrate_bps: self.meter.bits_per_second(now),
        }
    }

    /// Whether a packet of another stream than the current one may take over.
    fn may_begin(&self, packet: &Packet, track: &Track) -> bool {
        if self.kind == MediaKind::Audio {
            return !packet.payload().is_empty();
        }
        if !packet.facts.keyframe {
            return false;
        }
        match self.source {
            // The layer itself started anew, or the wanted one arrives.
            Some(source) => {
                packet.layer == source.layer && is_newer(packet, source) || self.target == Some(packet.layer)
            }
            None => {
                // The first packet of a layer may come before the layer is known to flow.
                let active = track.layers.iter().map(|layer| layer.active);
                let target = self.target.or_else(|| layers::target(active, self.wanted));
                layers::may_begin_with(packet.layer, self.wanted, target)
            }
        }
    }

    fn begin(&mut self, packet: &Packet, track: &Track) {
        let clock = |layer: u8| track.layers.get(usize::from(layer)).and_then(|layer| layer.clock);
        let former = self.source.replace(source_of(packet));
        self.wants_keyframe = false;
        self.sequence.begin(packet.seq);
        self.timestamps.begin(Beginning {
            timestamp: packet.timestamp,
            arrival: packet.arrival,
            clock_rate: track.clock_rate(packet.payload_type).unwrap_or(90_000),
            clocks: (former.and_then(|source| clock(source.layer)), clock(packet.layer)),
        });
        if let Some(meta) = &packet.facts.ids {
            self.pictures.begin(meta);
        }
    }

    /// Outgoing numbers of a packet of the current source; `None` when it is not to be sent.
    fn renumber(&mut self, packet: &Packet, map: PayloadMap) -> Option<Sent> {
        let too_fine = packet.facts.temporal > self.wanted.max_temporal && is_vp8(packet);
        let output = if packet.payload().is_empty() || too_fine {
            if let (true, Some(meta)) = (too_fine, &packet.facts.ids) {
                self.pictures.skip(meta);
            }
            match self.sequence.skip(packet.seq) {
                // The subscriber would ask for it for ever: an empty packet fills the hole.
                Skipped::Hole(output) => output,
                Skipped::Closed | Skipped::Stale => return None,
            }
        } else {
            self.sequence.place(packet.seq)?
        };
        if packet.facts.keyframe {
            self.wants_keyframe = false;
        }
        let vp8 = match &packet.facts.ids {
            Some(meta) if !too_fine => self.pictures.place(meta)?,
            _ => Default::default(),
        };
        Some(Sent {
            output,
            source: packet.seq,
            timestamp: self.timestamps.place(packet.timestamp, packet.arrival),
            vp8,
            layer: packet.layer,
            payload_type: map.to.0,
        })
    }

    /// Bytes sent.
    fn send(&mut self, outgoing: Sent, map: PayloadMap, packet: &Packet, egress: &mut Egress<'_>) -> Option<usize> {
        let too_fine = packet.facts.temporal > self.wanted.max_temporal && is_vp8(packet);
        let payload = match (too_fine, map.unwrap_red) {
            (true, _) => &[],
            (false, true) => Redundant::parse(packet.payload()).ok()?.primary.data,
            (false, false) => packet.payload(),
        };
        let head = Head {
            marker: packet.marker,
            payload_type: map.to.0,
            sequence: outgoing.output,
            timestamp: outgoing.timestamp,
            ssrc: self.ssrc,
            mid: &self.mid,
        };
        let body = Body {
            original: None,
            payload,
            vp8: packet.facts.ids.as_ref().map(|meta| (meta, outgoing.vp8)),
        };
        egress.write(head, &mut self.header, packet, body).ok()
    }

    fn payload_map(&mut self, from: PayloadType) -> Option<PayloadMap> {
        match self.payload {
            Some(map) if map.from == from => {}
            _ => self.payload = self.payloads.iter().find(|map| map.from == from).copied(),
        }
        self.payload
    }

    /// Hz, of the format that is likely in use.
    fn clock_rate(&self, track: &Track) -> u32 {
        let format = self.payloads.first().and_then(|map| track.clock_rate(map.from));
        format.unwrap_or(match self.kind {
            MediaKind::Audio => 48_000,
            MediaKind::Video => 90_000,
        })
    }
}

fn source_of(packet: &Packet) -> Source {
    Source {
        layer: packet.layer,
        stream: packet.stream,
    }
}

/// Temporal layers of others are not told apart by the payload descriptor alone.
fn is_vp8(packet: &Packet) -> bool {
    packet.facts.ids.is_some() && packet.facts.vp9.is_none()
}

/// Streams of one layer are counted; a straggler of a former one must not take over again.
fn is_newer(packet: &Packet, source: Source) -> bool {
    (packet.stream.wrapping_sub(source.stream) as i32) > 0
}

#[cfg(test)]
mod tests;
