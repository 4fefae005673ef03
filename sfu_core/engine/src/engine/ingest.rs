//! From a protected RTP datagram to a shared packet that waits for its subscribers.

use std::sync::Arc;
use std::time::Instant;

use wire::red::Redundant;
use wire::rtp::{self, Header};

use super::Engine;
use super::links::Offer;
use crate::command::{Codec, MediaKind, PublishedCodec};
use crate::counters::Dropped;
use crate::crossing::{Crossing, Neighbour};
use crate::demux_rtp::{Hint, Route};
use crate::event::Event;
use crate::extensions::Extensions;
use crate::ids::PayloadType;
use crate::packet::Packet;
use crate::publish::facts;
use crate::publish::layer::{Misplaced, Place};
use crate::publish::track::Track;
use crate::twcc::ArrivalLog;

/// Crossings of media waiting at most; `io` takes them after every batch.
const MAX_CROSSINGS: usize = 65_536;

/// An authentic packet without its retransmission wrapper.
#[derive(Clone, Copy)]
pub(super) struct Media<'a> {
    pub(super) layer: u8,
    pub(super) format: PublishedCodec,
    pub(super) place: Place,
    pub(super) recovered: bool,
    pub(super) payload: &'a [u8],
    /// What came instead of media: a repair of ULPFEC (RFC 5109). The payload is empty then, as of padding.
    pub(super) parity: Option<&'a [u8]>,
}

/// Format, payload, parity.
type Content<'a> = (PublishedCodec, &'a [u8], Option<&'a [u8]>);

impl Engine {
    pub(super) fn handle_rtp(&mut self, now: Instant, key: usize, datagram: &mut [u8]) -> Result<(), Dropped> {
        let at = self.micros(now);
        let header = Header::parse(datagram)?;
        let peer = &mut self.peers[key];
        let receiver = peer.transport.receiver().ok_or(Dropped::SrtpEarly)?;
        let len = receiver.unprotect_rtp(datagram, header.len)?.len;
        let packet = datagram.get(..len).ok_or(Dropped::Malformed)?;
        self.counters.rtp_packets_in += 1;
        peer.received.add(len, at);
        let extensions = peer.extensions.read(&header, packet);
        if peer.transport_cc
            && let Some(number) = extensions.transport_cc
        {
            match &mut peer.arrivals {
                Some(log) => log.on_packet(number, header.ssrc, at),
                None => peer.arrivals = Some(ArrivalLog::new(number, header.ssrc, at)),
            }
        }
        self.watch(key);
        let payload = rtp::payload(packet, &header)?;
        let hint = Hint {
            ssrc: header.ssrc,
            payload_type: header.payload_type,
            mid: extensions.mid,
            rid: extensions.rid,
            repaired_rid: extensions.repaired_rid,
        };
        let peer = &mut self.peers[key];
        let route = peer.demux.route(&hint).ok_or(Dropped::NoRoute)?;
        let track = self.tracks.get_mut(route.track).ok_or(Dropped::NoRoute)?;
        if track.fec.flexfec == Some(PayloadType(header.payload_type)) {
            return self.handle_flexfec(now, key, route.track, payload);
        }
        let Some(media) = place(track, route, &header, payload, at)? else {
            return Ok(());
        };
        if let Some(sample) = media.place.round_trip {
            peer.on_repair(sample);
        }
        if media.place.broken && track.kind == MediaKind::Video && track.is_watched() {
            track.layers[usize::from(media.layer)].keyframes.want();
        }
        if track.muted {
            return Err(Dropped::Muted);
        }
        if media.format.codec == Codec::Red {
            return self.accept_redundant(now, route.track, &header, &extensions, &media);
        }
        let mends = media.parity.is_some() || track.layers[usize::from(media.layer)].upstream.decoder.is_some();
        self.accept(now, route.track, &header, &extensions, &media)?;
        if mends {
            // In front of the payload is RED at most, behind it padding.
            let (head, content) = packet.split_at(header.len);
            let red = payload.len() - media.payload.len();
            self.mend(now, (key, route.track), head, &content[red..], &media);
        }
        Ok(())
    }

    /// Shares the packet with everyone who wants it.
    pub(super) fn accept(
        &mut self,
        now: Instant,
        key: usize,
        header: &Header,
        extensions: &Extensions<'_>,
        media: &Media<'_>,
    ) -> Result<(), Dropped> {
        let at = self.micros(now);
        let track = &mut self.tracks[key];
        if track.kind == MediaKind::Audio
            && !media.recovered
            && let Some(level) = extensions.carried.audio_level
        {
            track.speaker.on_packet(level & 0x7f, at);
        }
        let mut facts = facts::read(media.format.codec, media.payload);
        let structure = match extensions.dependency {
            [] => None,
            value => {
                let layer = track.layers.get_mut(usize::from(media.layer)).ok_or(Dropped::NoRoute)?;
                layer.upstream.dependencies.read(value, &mut facts)
            }
        };
        let packet = self.pool.take(|packet| {
            packet.layer = media.layer;
            packet.seq = media.place.seq;
            packet.timestamp = header.timestamp;
            packet.time = media.place.time;
            packet.stream = media.place.stream;
            packet.marker = header.marker;
            packet.payload_type = media.format.payload_type;
            packet.arrival = at;
            packet.recovered = media.recovered;
            packet.extensions = extensions.carried;
            packet.facts = facts;
            packet.structure = structure;
            packet.left_out = None;
            packet.set_content(media.payload, extensions.dependency)
        });
        let packet = packet.ok_or(Dropped::PoolExhausted)?;
        if !track.started && !media.payload.is_empty() {
            track.started = true;
            self.events.push_back(Event::TrackStarted {
                track: track.id,
                codec: media.format.codec,
            });
        }
        if track.takes_ulpfec() && !media.payload.is_empty() {
            self.close_voids(now, key, &packet);
        }
        self.distribute(now, key, packet, false);
        Ok(())
    }

    /// Into the layer's ring, to the subscribers here and to the mirrors elsewhere. `fades`: its home takes it for one of the last.
    pub(super) fn distribute(&mut self, now: Instant, key: usize, packet: Arc<Packet>, fades: bool) {
        let track = &mut self.tracks[key];
        let Some(layer) = track.layers.get_mut(usize::from(packet.layer)) else {
            return;
        };
        let least = self.config.layer_timeout.as_micros() as u64;
        let kept = layer.keep(&packet, least);
        let media = !packet.payload().is_empty() && !packet.recovered;
        let due = media
            && track.is_home()
            && track
                .liveness
                .on_packet(packet.layer.into(), packet.time, packet.arrival, least);
        if kept.begins {
            self.tell_layer(now, key, packet.layer, true);
        }
        if kept.spatial {
            self.on_layer_activity(now, key);
        }
        if due {
            self.check_layers(now, key, packet.arrival);
        }
        if self.tracks[key].member.is_some() {
            self.rank(key, packet, fades);
        } else {
            self.share(key, packet, false);
        }
    }

    /// To the subscribers here and to the mirrors elsewhere.
    pub(super) fn share(&mut self, key: usize, packet: Arc<Packet>, fades: bool) {
        if !self.crossings.links.is_empty() {
            // What was said before goes before.
            self.sort_crossings();
        }
        let track = &mut self.tracks[key];
        let id = track.id;
        let offer = Offer {
            track: id,
            kind: track.kind,
            layers: &track.layers,
            packet: &packet,
            fades,
        };
        for mirror in &mut track.mirrors {
            let to = match mirror.to {
                Neighbour::Worker(worker) => worker,
                Neighbour::Link(link) => {
                    self.links.put(link, &offer, mirror);
                    continue;
                }
            };
            if self.crossings.workers.len() >= MAX_CROSSINGS {
                self.counters.dropped_crossing += 1;
                continue;
            }
            let crossing = Crossing::Packet {
                track: id,
                packet: Arc::clone(&packet),
                fades,
            };
            self.crossings.workers.push_back((to, crossing));
        }
        if track.subscribers.is_empty() {
            return;
        }
        track.push(packet);
        if std::mem::replace(&mut track.announced, true) {
            return;
        }
        self.pending.push(key);
        for at in 0..self.tracks[key].subscribers.len() {
            let subscriber = self.tracks[key].subscribers[at];
            self.ready(subscriber);
        }
    }

    /// Finds the layers of a track at home that have ceased to flow.
    pub(super) fn check_layers(&mut self, now: Instant, key: usize, at: u64) {
        let least = self.config.layer_timeout.as_micros() as u64;
        let vanished = self.tracks[key].liveness.vanished(at, least);
        for index in 0..self.tracks[key].layers.len() {
            if vanished >> index & 1 != 0 {
                self.tracks[key].layers[index].active = false;
                self.tell_layer(now, key, index as u8, false);
            }
        }
    }

    /// A layer began or ceased to flow.
    pub(super) fn tell_layer(&mut self, now: Instant, key: usize, layer: u8, active: bool) {
        let track = &self.tracks[key];
        let crossing = Crossing::LayerActive {
            track: track.id,
            layer,
            active,
            kept: false,
        };
        self.crossings
            .extend(track.neighbours().map(|mirror| (mirror, crossing.clone())));
        // A mirror's home tells the control plane.
        if track.is_home() {
            self.events.push_back(Event::LayerActive {
                track: track.id,
                layer,
                active,
            });
        }
        self.on_layer_activity(now, key);
    }
}

/// `None` for padding sent as a retransmission, which has no number in the media stream.
fn place<'a>(
    track: &mut Track,
    route: Route,
    header: &Header,
    payload: &'a [u8],
    at: u64,
) -> Result<Option<Media<'a>>, Dropped> {
    let layer = route.layer;
    let payload_type = PayloadType(header.payload_type);
    let misplaced = |misplaced| match misplaced {
        Misplaced::Duplicate => Dropped::Duplicate,
        Misplaced::Stray => Dropped::Stray,
    };
    // An SSRC known to carry retransmissions must not pass for another source of the layer.
    let format = match track.fec.red == Some(payload_type) {
        _ if route.repair => None,
        true => Some(without_red(track, payload)?),
        false => track.format(payload_type).map(|&format| (format, payload, None)),
    };
    if let Some((format, payload, parity)) = format {
        let slot = track.layers.get_mut(usize::from(layer)).ok_or(Dropped::NoRoute)?;
        slot.upstream.set_format(&format);
        let place = slot
            .place(header.ssrc, header.sequence, header.timestamp, at)
            .map_err(misplaced)?;
        return Ok(Some(Media {
            layer,
            format,
            place,
            recovered: false,
            payload,
            parity,
        }));
    }
    let in_red = track.fec.red_rtx == Some(payload_type);
    let repaired = track.repaired_format(payload_type).copied();
    if repaired.is_none() && !in_red {
        return Err(Dropped::NoRoute);
    }
    // RFC 4588 section 4: the original sequence number precedes the payload.
    let Some((original, payload)) = payload.split_first_chunk() else {
        return Ok(None);
    };
    let (format, payload) = match repaired {
        Some(format) => (format, payload),
        None => without_red(track, payload).map(|(format, payload, _)| (format, payload))?,
    };
    let slot = track.layers.get_mut(usize::from(layer)).ok_or(Dropped::NoRoute)?;
    let place = slot
        .place_repair(u16::from_be_bytes(*original), header.timestamp, at)
        .map_err(misplaced)?;
    Ok(Some(Media {
        layer,
        format,
        place,
        recovered: true,
        payload,
        parity: None,
    }))
}

/// What a packet of video in RED (RFC 2198) is of: the format and payload of its primary block, or a repair of ULPFEC with no
/// payload beside it. Padding alone is no RED.
fn without_red<'a>(track: &Track, payload: &'a [u8]) -> Result<Content<'a>, Dropped> {
    let filler = || track.codecs.first().copied().ok_or(Dropped::NoRoute);
    if payload.is_empty() {
        return Ok((filler()?, &[], None));
    }
    let primary = Redundant::parse(payload).map_err(|_| Dropped::Malformed)?.primary;
    let payload_type = PayloadType(primary.payload_type);
    if track.fec.ulpfec == Some(payload_type) {
        return Ok((filler()?, &[], Some(primary.data)));
    }
    let format = track.format(payload_type).ok_or(Dropped::NoRoute)?;
    Ok((*format, primary.data, None))
}
