//! Forwarding of one track to one peer: which layer, with which numbers, what again.
//!
//! The engine calls [`Subscription::forward`] for every packet of the track, in order of arrival, and hands over
//! what the subscriber reports. `adapt` holds it within what the path to the subscriber carries.

mod adapt;
mod budget;
mod catch_up;
mod dependency;
mod descriptor;
mod egress;
mod filter;
mod freezes;
mod header;
mod layers;
mod numbering;
mod pictures;
mod repair;
mod reports;
mod sent;
mod shield;
mod sound;
mod statistics;
mod svc;
mod temporal;
pub(crate) mod thinning;
mod timestamp;

pub(crate) use budget::Budget;
pub use catch_up::MAX_CATCH_UP;
pub use egress::Egress;

use crate::command::{MediaKind, PayloadMap, Redirect, Subscribe, Wanted};
use crate::ids::{Mid, PayloadType, PeerId, SubscriptionId, TrackId};
use crate::meter::Meter;
use crate::packet::Packet;
use crate::publish::track::Track;

use adapt::Allocation;
use descriptor::MAX_DESCRIPTOR;
use egress::{Body, Head, WriteError};
use filter::{Filter, Limit};
use freezes::Freezes;
use header::HeaderTemplate;
use numbering::{Numbering, Skipped};
use pictures::{PicturePatch, Pictures};
use repair::kept_packet;
use reports::Reports;
use sent::{Sent, SentRing, Told};
use shield::{Fec, Shield};
use sound::Sound;
use timestamp::{Beginning, Timestamps};

/// Packets that can be sent again: about two seconds of a 2 Mb/s video, and of audio.
const SENT_VIDEO: usize = 512;
const SENT_AUDIO: usize = 64;

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
    allocation: Allocation,
    /// What is asked for, as far as the path allows.
    wanted: Wanted,
    /// The layer to be on; `None` when paused or when nothing flows.
    target: Option<u8>,
    /// Within the stream of that layer.
    limit: Limit,
    filter: Filter,
    /// The track is one stream.
    single: bool,
    source: Option<Source>,
    /// Layer and number of the next kept packet to be sent, until it has caught up.
    catch_up: Option<(u8, u64)>,
    /// The last packet that was dropped because its stream had not begun.
    passed_by: Option<(Source, u64)>,
    /// It has another track than before, of which nothing was sent yet.
    redirected: bool,
    /// Last layer told to the control plane.
    announced: Option<u8>,
    /// The control plane was told that the path does not carry it.
    told_paused: bool,
    sequence: Numbering,
    timestamps: Timestamps,
    pictures: Pictures,
    sound: Sound,
    header: HeaderTemplate,
    rtx_header: HeaderTemplate,
    sent: SentRing,
    rtx_sequence: u64,
    budget: Budget,
    /// Parity, if it was negotiated, and what makes it while the path loses.
    fec: Option<Box<Fec>>,
    shield: Option<Box<Shield>>,
    rtx_meter: Meter,
    reports: Reports,
    freezes: Freezes,
    meter: Meter,
    /// The subscriber cannot decode what it has.
    wants_keyframe: bool,
    /// Number of the first packet of the newest keyframe sent.
    keyframe: Option<u16>,
    packets: u64,
    bytes: u64,
    retransmitted: u64,
    repair_bytes: u64,
    padding_bytes: u64,
    pictures_sent: u64,
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
            allocation: Allocation::new(subscribe.wanted),
            wanted: subscribe.wanted,
            target: None,
            limit: Limit {
                spatial: subscribe.wanted.max_spatial,
                temporal: subscribe.wanted.max_temporal,
            },
            filter: Filter::new(),
            single: false,
            source: None,
            catch_up: None,
            passed_by: None,
            redirected: false,
            announced: None,
            told_paused: false,
            sequence: Numbering::new(first),
            timestamps: Timestamps::new((seed >> 16) as u32),
            pictures: Pictures::new((seed >> 48) as u16),
            sound: Sound::new(subscribe.red),
            header: HeaderTemplate::default(),
            rtx_header: HeaderTemplate::default(),
            sent: SentRing::new(match subscribe.kind {
                MediaKind::Audio => SENT_AUDIO,
                MediaKind::Video => SENT_VIDEO,
            }),
            rtx_sequence: 1 + (seed >> 8) % 0x7fff,
            budget: Budget::new(now),
            fec: Fec::new(subscribe, seed),
            shield: None,
            rtx_meter: Meter::default(),
            reports: Reports::default(),
            freezes: Freezes::default(),
            meter: Meter::default(),
            wants_keyframe: false,
            keyframe: None,
            packets: 0,
            bytes: 0,
            retransmitted: 0,
            repair_bytes: 0,
            padding_bytes: 0,
            pictures_sent: 0,
            nacks: 0,
            plis: 0,
        }
    }

    /// To be called when the peer's header-extension ids are others.
    pub fn forget_headers(&mut self) {
        self.header = HeaderTemplate::default();
        self.rtx_header = HeaderTemplate::default();
        if let Some(shield) = &mut self.shield {
            shield.forget_header();
        }
    }

    /// Goes on with another track from its next keyframe on, or from the last one that it keeps. The numbers go on: a second
    /// stream under one SSRC would repeat nonces (RFC 7714 section 8.1).
    pub fn redirect(&mut self, redirect: &Redirect, track: &Track) {
        self.track = redirect.track;
        self.payloads = redirect.payloads.as_slice().into();
        self.payload = None;
        self.source = None;
        self.catch_up = None;
        self.passed_by = None;
        self.redirected = true;
        self.filter = Filter::new();
        self.sent.clear();
        self.update_target(track);
    }

    pub fn set_wanted(&mut self, wanted: Wanted, track: &Track) {
        self.allocation.asked = wanted;
        self.follow_wishes(track);
    }

    /// To be called when what is asked for or allowed has changed.
    fn follow_wishes(&mut self, track: &Track) {
        self.update_target(track);
        if self.wanted.paused {
            self.source = None;
            self.catch_up = None;
            self.freezes.reset();
            self.shield = None;
        }
    }

    /// To be called when a layer of the track begins or ceases to flow, or is of another size.
    pub fn update_target(&mut self, track: &Track) {
        self.allocation.measure(track);
        self.wanted = self.allocation.wanted();
        self.target = layers::target(track.layers.iter().map(|layer| layer.active), self.wanted);
        self.limit = layers::limit(track, self.wanted);
        self.filter.set_limit(self.limit);
        self.single = track.is_single();
    }

    /// Forwards one packet of the track if it is this subscriber's and not too late. Needs room in `egress`. `now` in microseconds.
    pub fn forward(&mut self, now: u64, packet: &Packet, track: &Track, egress: &mut Egress<'_>) -> bool {
        let Some(map) = self.payload_map(packet.payload_type) else {
            return false;
        };
        if self.wanted.paused {
            return false;
        }
        let begins = self.source != Some(source_of(packet));
        if begins {
            if !self.may_begin(packet, track) {
                // The layer itself started anew: nothing of it is decodable until its next keyframe.
                let restarted = |source: Source| packet.layer == source.layer && is_newer(packet, source);
                self.wants_keyframe |= self.source.is_some_and(restarted);
                self.passed_by = Some((source_of(packet), packet.seq));
                return false;
            }
            self.drop_parity(egress);
            self.begin(packet, track);
        }
        let Some(resumes) = self.follow_stretch(packet, track) else {
            return false;
        };
        let Some(mut outgoing) = self.renumber(packet, map) else {
            return false;
        };
        outgoing.marker |= resumes;
        let written = match self.is_plain(packet, track) || outgoing.filler {
            true => self.send(outgoing, map.to.0, packet.payload(), packet, egress),
            false => self.send_sound(outgoing, packet, track, egress),
        };
        match written {
            Some(bytes) => {
                self.packets += 1;
                self.bytes += bytes as u64;
                self.meter.add(bytes, now);
                self.reports.on_sent(now, packet.payload().len());
                self.sent.insert(&outgoing);
                if outgoing.marker && self.kind == MediaKind::Video {
                    self.on_picture(outgoing.output as u16, packet, egress);
                }
                true
            }
            None => false,
        }
    }

    /// PLI or FIR of the subscriber.
    pub fn handle_keyframe_request(&mut self) {
        self.plis += 1;
        self.wants_keyframe = true;
        self.freezes.on_keyframe_request();
    }

    /// The layer of which a keyframe is needed. Asking often is fine: the track coalesces.
    pub fn keyframe_wanted(&self) -> Option<u8> {
        if self.kind == MediaKind::Audio || self.wanted.paused || self.catch_up.is_some() {
            return None;
        }
        let target = self.target?;
        match self.source {
            Some(source) if source.layer == target && !self.wants_keyframe && !self.filter.needs_keyframe() => None,
            _ => Some(target),
        }
    }

    /// What is forwarded cannot be decoded.
    pub(crate) fn is_stuck(&self) -> bool {
        self.wants_keyframe && self.source.is_some()
    }

    /// Simulcast layer, or spatial layer of a track that is one stream, and temporal layer that are forwarded.
    pub fn layers(&self) -> Option<(u8, u8)> {
        let source = self.source?;
        let (spatial, temporal) = self.filter.layers();
        Some((if self.single { spatial } else { source.layer }, temporal))
    }

    /// The layer that is forwarded, when it is another than at the last call.
    pub fn poll_layer(&mut self) -> Option<Option<u8>> {
        let layer = self.layers().map(|(layer, _)| layer);
        (std::mem::replace(&mut self.announced, layer) != layer).then_some(layer)
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
        let source = source_of(packet);
        let former = self.source.replace(source);
        // Packets behind it came before it: they are kept.
        if self
            .passed_by
            .is_some_and(|(passed, seq)| passed == source && seq > packet.seq)
        {
            self.catch_up = Some((packet.layer, packet.seq));
        }
        self.wants_keyframe = false;
        self.redirected = false;
        self.sound.begin(track);
        self.sequence.begin(packet.seq);
        self.timestamps.begin(Beginning {
            timestamp: packet.timestamp,
            arrival: packet.arrival,
            clock_rate: track.clock_rate(packet.payload_type).unwrap_or(90_000),
            clocks: (former.and_then(|source| clock(source.layer)), clock(packet.layer)),
        });
        if let Some(ids) = &packet.facts.ids {
            self.pictures.begin(ids);
        }
        self.filter.begin(packet, self.limit);
    }

    /// Outgoing numbers of a packet of the current source; `None` when it is not to be sent.
    fn renumber(&mut self, packet: &Packet, map: PayloadMap) -> Option<Sent> {
        let pass = match packet.payload().is_empty() {
            true => {
                self.leave_out(packet);
                None
            }
            false => self.filter.pass(packet, self.limit),
        };
        let Some(pass) = pass else {
            return self.fill(packet, map);
        };
        let output = self.sequence.place(packet.seq)?;
        let pictures = match &packet.facts.ids {
            Some(ids) => self.pictures.place(ids)?,
            None => PicturePatch::default(),
        };
        if packet.facts.keyframe {
            self.wants_keyframe = false;
            self.keyframe = Some(output as u16);
            self.freezes.on_keyframe();
        }
        Some(Sent {
            output,
            timestamp: self.timestamps.place(packet.timestamp, packet.arrival),
            source: packet.seq,
            layer: packet.layer,
            payload_type: map.to.0,
            pictures,
            marker: packet.marker | pass.ends,
            filler: false,
            told: pass.told,
        })
    }

    /// Of a packet that did not come here, for nobody wanted it, the filter knows as if it had dropped it itself.
    fn leave_out(&mut self, packet: &Packet) {
        if packet.left_out.is_some() {
            self.filter.leave_out(packet);
        }
    }

    /// Takes the number of a packet that is not to be sent out of the sequence. What came too late for that is filled with an
    /// empty packet: the subscriber would ask for it for ever.
    fn fill(&mut self, packet: &Packet, map: PayloadMap) -> Option<Sent> {
        // A frame of VP9 may be dropped from a picture that is forwarded.
        if let Some(ids) = packet.facts.ids.as_ref().filter(|_| packet.facts.vp9.is_none()) {
            self.pictures.skip(ids);
        }
        let Skipped::Hole(output) = self.sequence.skip(packet.seq) else {
            return None;
        };
        Some(Sent {
            output,
            source: packet.seq,
            timestamp: self.timestamps.place(packet.timestamp, packet.arrival),
            layer: packet.layer,
            payload_type: map.to.0,
            filler: true,
            ..Sent::default()
        })
    }

    /// Bytes sent.
    fn send(
        &mut self,
        outgoing: Sent,
        payload_type: u8,
        payload: &[u8],
        packet: &Packet,
        egress: &mut Egress<'_>,
    ) -> Option<usize> {
        let head = Head {
            marker: outgoing.marker,
            payload_type,
            sequence: outgoing.output,
            timestamp: outgoing.timestamp,
            ssrc: self.ssrc,
            mid: &self.mid,
            dependency: &[],
        };
        let body = Body {
            original: None,
            red: None,
            payload: if outgoing.filler { &[] } else { payload },
            pictures: packet.facts.ids.as_ref().map(|ids| (ids, outgoing.pictures)),
            padding: false,
        };
        let told = outgoing.told.filter(|_| egress.takes_dependencies());
        if let Some(shield) = self.shield.as_deref_mut().filter(|_| !outgoing.filler) {
            let red = self.fec.as_ref().and_then(|fec| fec.red());
            let mut room = [0; MAX_DESCRIPTOR];
            let dependency = told.map_or(&[][..], |told| descriptor::write(packet, told, &mut room));
            let content = (Head { dependency, ..head }, body);
            let written = shield.send(red, packet, content, &mut self.header, egress);
            return written.ok();
        }
        let written = match told {
            Some(told) => write_described(head, &mut self.header, packet, told, body, egress),
            None => egress.write(head, &mut self.header, packet, body),
        };
        written.ok()
    }

    fn payload_map(&mut self, from: PayloadType) -> Option<PayloadMap> {
        match self.payload {
            Some(map) if map.from == from => {}
            _ => self.payload = self.payloads.iter().find(|map| map.from == from).copied(),
        }
        self.payload
    }
}

fn source_of(packet: &Packet) -> Source {
    Source {
        layer: packet.layer,
        stream: packet.stream,
    }
}

/// With the dependency descriptor that goes with these numbers.
#[inline(never)]
fn write_described(
    head: Head<'_>,
    template: &mut HeaderTemplate,
    packet: &Packet,
    told: Told,
    body: Body<'_>,
    egress: &mut Egress<'_>,
) -> Result<usize, WriteError> {
    let mut room = [0; MAX_DESCRIPTOR];
    let dependency = descriptor::write(packet, told, &mut room);
    egress.write(Head { dependency, ..head }, template, packet, body)
}

/// Streams of one layer are counted; a straggler of a former one must not take over again.
fn is_newer(packet: &Packet, source: Source) -> bool {
    (packet.stream.wrapping_sub(source.stream) as i32) > 0
}

#[cfg(test)]
mod tests;
