//! One transport: its path, its keys, what it sends and what it receives.

use std::net::{SocketAddr, UdpSocket};

use engine::srtp::{SrtpReceiver, SrtpSender};
use rustc_hash::FxHashMap;
use tokio::sync::oneshot;
use wire::demux::{self, Kind as Protocol};
use wire::rtcp::{self, WriteError, nack, pli, report, sdes, twcc};
use wire::rtp::Header;

use super::dtls::{Dtls, DtlsError, Identity};
use super::hearing::Hearing;
use super::ice::{Ice, Outcome};
use super::receive::{Arrival, Arrivals, Stream};
use super::recording::Recording;
use super::send::{LayerSender, Outline};
use super::socket::Outgoing;
use super::stamp::Stamp;
use super::totals::Totals;
use super::{MediaOptions, Progress, Source};
use crate::plan::{ConnectionPlan, Extensions, Kind, Remote, Security, SendFormat};

/// Streams of one connection at most.
const MAX_STREAMS: usize = 8_192;
/// Microseconds.
const REPORTS: u64 = 1_000_000;
const HANDSHAKE_STEP: u64 = 20_000;
/// A hole is looked at again after this.
const REPAIR_STEP: u64 = 10_000;
const PICTURE_LOSS_SPACING: u64 = 500_000;
const CONNECT_TIMEOUT: u64 = 30_000_000;
/// Report blocks per report (RFC 3550 section 6.4.1).
const MAX_BLOCKS: usize = 31;
/// Of the second byte of RTP (RFC 3550 section 5.1): the last packet of a frame.
const MARKER: u8 = 0x80;
/// Seconds from 1900 to 1970.
const NTP_OFFSET: u64 = 2_208_988_800;

/// What everything done in one turn of the thread shares.
pub(super) struct Turn<'a> {
    /// Microseconds of the thread's clock.
    pub(super) now: u64,
    /// ns since 1970.
    pub(super) wall: u64,
    pub(super) options: &'a MediaOptions,
    pub(super) identity: &'a mut Identity,
    pub(super) totals: &'a mut Totals,
    pub(super) hearing: &'a mut Hearing,
    pub(super) outgoing: &'a mut Outgoing,
    pub(super) random: &'a mut u64,
}

impl Turn<'_> {
    /// Whether the next packet that is sent gets lost.
    fn loses(&mut self) -> bool {
        self.options.send_loss > 0.0 && self.chance() < self.options.send_loss
    }

    /// 0 to 1.
    fn chance(&mut self) -> f64 {
        *self.random ^= *self.random << 13;
        *self.random ^= *self.random >> 7;
        *self.random ^= *self.random << 17;
        (*self.random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Milestone {
    Connected,
    FirstMedia,
}

#[derive(Clone, Copy, Debug)]
struct Format {
    kind: Kind,
    rtx_of: Option<u8>,
}

pub(super) struct Connection {
    pub(super) socket: UdpSocket,
    pub(super) plan: ConnectionPlan,
    pub(super) local: (String, String),
    ssrc: u32,
    opened: u64,
    pub(super) progress: Progress,
    waiters: Vec<(Milestone, oneshot::Sender<Progress>)>,
    ice: Option<Ice>,
    dtls: Option<Dtls>,
    fingerprint: Option<[u8; 32]>,
    /// The server begins DTLS.
    begun_there: bool,
    sender: Option<SrtpSender>,
    receiver: Option<SrtpReceiver>,
    /// Media may flow.
    ready: bool,
    formats: [Option<Format>; 128],
    extensions: Extensions,
    send_formats: Vec<SendFormat>,
    pub(super) layers: Vec<LayerSender>,
    /// Of the connection that this one replaces: its streams go on when media may flow.
    inherited: Vec<LayerSender>,
    streams: Vec<Stream>,
    by_ssrc: FxHashMap<u32, usize>,
    last: usize,
    arrivals: Arrivals,
    transport_sequence: u16,
    /// When to look after it, microseconds.
    pub(super) due: u64,
    reports_due: u64,
    feedback_due: u64,
    handshake_due: u64,
    picture_loss_due: u64,
    holes: bool,
}

impl Connection {
    pub(super) fn new(socket: UdpSocket, plan: ConnectionPlan, local: (String, String), index: u32, now: u64) -> Self {
        Self {
            socket,
            plan,
            local,
            ssrc: 0x5000_0000 + index,
            opened: now,
            progress: Progress::default(),
            waiters: Vec::new(),
            ice: None,
            dtls: None,
            fingerprint: None,
            begun_there: false,
            sender: None,
            receiver: None,
            ready: false,
            formats: [None; 128],
            extensions: Extensions::default(),
            send_formats: Vec::new(),
            layers: Vec::new(),
            inherited: Vec::new(),
            streams: Vec::new(),
            by_ssrc: FxHashMap::default(),
            last: 0,
            arrivals: Arrivals::new(),
            transport_sequence: 0,
            due: u64::MAX,
            reports_due: 0,
            feedback_due: 0,
            handshake_due: 0,
            picture_loss_due: 0,
            holes: false,
        }
    }

    pub(super) fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.iter()
    }

    pub(super) fn streams_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.streams.iter_mut()
    }

    pub(super) fn inherit(&mut self, replaced: Self) {
        self.inherited = replaced.layers;
    }

    pub(super) fn set_remote(&mut self, turn: &mut Turn<'_>, remote: Remote) {
        self.formats = [None; 128];
        for format in &remote.receive {
            if let Some(slot) = self.formats.get_mut(usize::from(format.payload_type)) {
                *slot = Some(Format {
                    kind: format.kind,
                    rtx_of: format.rtx_of,
                });
            }
        }
        self.extensions = remote.extensions;
        self.send_formats = remote.send;
        match remote.security {
            Security::Fixed(keys) => {
                let Some(&to) = remote.candidates.first() else {
                    return self.fail("no address to send to");
                };
                if let Err(error) = self.socket.connect(to) {
                    return self.fail(&error.to_string());
                }
                if let Some(keys) = keys {
                    let sender = SrtpSender::new(keys.profile, &keys.send_key, &keys.send_salt);
                    let receiver = SrtpReceiver::new(keys.profile, &keys.receive_key, &keys.receive_salt);
                    match (sender, receiver) {
                        (Ok(sender), Ok(receiver)) => (self.sender, self.receiver) = (Some(sender), Some(receiver)),
                        _ => return self.fail("the fixed keys have a wrong length"),
                    }
                }
                self.progress.ice_connected = Some(self.since(turn.now));
                self.begin_media(turn);
            }
            Security::Negotiated {
                ufrag,
                pwd,
                fingerprint,
                begins,
            } => {
                if self.ice.is_none() {
                    let seed = u64::from(self.ssrc) << 32 | turn.now;
                    let local = (self.local.0.as_str(), self.local.1.as_str());
                    self.ice = Some(Ice::new(local, (&ufrag, &pwd), remote.candidates, seed));
                    self.fingerprint = Some(fingerprint);
                    self.begun_there = begins;
                    self.point();
                }
                if self.ready {
                    self.update_layers();
                }
            }
        }
        self.due = turn.now;
    }

    /// What is due. Sets the next time.
    pub(super) fn maintain(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        if let Some(ice) = &mut self.ice {
            let before = ice.current;
            if let Some(check) = ice.poll(now / 1_000) {
                if ice.current != before {
                    self.point();
                }
                let _ = self.socket.send(&check);
            }
        }
        if self.dtls.is_some() && !self.ready && now >= self.handshake_due {
            self.handshake_due = now + HANDSHAKE_STEP;
            self.advance_dtls(turn, None);
        }
        if !self.ready && !self.progress.failed && now - self.opened > CONNECT_TIMEOUT {
            let stage = match self.progress.ice_connected {
                Some(_) => "DTLS is not done after 30 s",
                None => "no connectivity check was answered in 30 s",
            };
            self.fail(stage);
        }
        if self.progress.failed {
            self.due = u64::MAX;
            return;
        }
        if !self.ready {
            self.due = now + HANDSHAKE_STEP;
            return;
        }
        self.due = now + 1_000_000;
        let interval = turn.options.feedback_interval.as_micros() as u64;
        if interval > 0 && self.extensions.transport_cc.is_some() {
            if now >= self.feedback_due {
                self.feedback_due = now + interval;
                self.send_feedback(turn);
            }
            self.due = self.due.min(self.feedback_due);
        }
        if now >= self.reports_due {
            self.reports_due = now + REPORTS;
            self.send_reports(turn);
        }
        self.due = self.due.min(self.reports_due);
        if self.holes {
            self.repair(turn);
            self.due = self.due.min(now + REPAIR_STEP);
        }
    }

    pub(super) fn wait(&mut self, milestone: Milestone, reply: oneshot::Sender<Progress>) {
        self.waiters.push((milestone, reply));
        self.tell();
    }

    #[inline]
    pub(super) fn on_datagram(&mut self, turn: &mut Turn<'_>, at: Option<u64>, datagram: &mut [u8]) {
        match demux::classify(datagram) {
            Some(Protocol::Rtp) => self.on_rtp(turn, at.unwrap_or(turn.wall), datagram),
            Some(Protocol::Rtcp) => self.on_rtcp(turn, datagram),
            Some(Protocol::Stun) => self.on_stun(turn, datagram),
            Some(Protocol::Dtls) if self.fingerprint.is_some() => self.advance_dtls(turn, Some(datagram)),
            _ => {}
        }
    }

    fn on_rtp(&mut self, turn: &mut Turn<'_>, at: u64, datagram: &mut [u8]) {
        let Some(&[_, second, s0, s1, t0, t1, t2, t3, r0, r1, r2, r3]) = datagram.first_chunk() else {
            return;
        };
        let payload_type = second & 0x7f;
        let Some(format) = self.formats[usize::from(payload_type)].filter(|_| self.ready) else {
            turn.totals.unexpected += 1;
            return;
        };
        let seq = u16::from_be_bytes([s0, s1]);
        let timestamp = u32::from_be_bytes([t0, t1, t2, t3]);
        let ssrc = u32::from_be_bytes([r0, r1, r2, r3]);
        if format.kind == Kind::Video && turn.options.receive_loss > 0.0 && turn.chance() < turn.options.receive_loss {
            return;
        }
        if let Some(repaired) = format.rtx_of {
            return self.on_retransmission(turn, repaired, datagram);
        }
        let known = self.streams.get(self.last).is_some_and(|stream| stream.ssrc == ssrc);
        if !known {
            let Some(index) = self.stream_of(ssrc, format.kind, payload_type, seq, datagram) else {
                return;
            };
            self.last = index;
        }
        let Some(stream) = self.streams.get_mut(self.last) else {
            return;
        };
        if let Some(id) = self.extensions.transport_cc
            && let Some(number) = transport_number(datagram, id, &mut stream.number_at)
        {
            self.arrivals.on_packet(number, turn.now);
        }
        let ticks = match format.kind {
            Kind::Video => turn.now.wrapping_mul(9) / 100,
            Kind::Audio => turn.now.wrapping_mul(6) / 125,
        };
        let before = stream.lost;
        if stream.on_packet(seq, timestamp, turn.now, ticks as u32) == Arrival::Duplicate {
            turn.totals.duplicates += 1;
            return;
        }
        if stream.has_holes() && !self.holes {
            self.holes = true;
            self.due = self.due.min(turn.now + REPAIR_STEP);
        }
        stream.on_sound(turn.now);
        turn.totals.on_media(format.kind, datagram.len(), stream.lost - before);
        turn.hearing.on_packet(self.plan.participant, format.kind, turn.now);
        stream.unsampled = stream.unsampled.saturating_add(1);
        let every = turn.options.sample_every;
        if stream.unsampled > every.max(1) - 1 && (every > 0 || stream.unsampled == u32::MAX) {
            stream.unsampled = 0;
            let stamped = self.sample(turn, at, datagram);
            if let Some(stream) = self.streams.get_mut(self.last) {
                stream.awaits_stamp = !stamped;
            }
        } else if stream.awaits_stamp && second & MARKER != 0 {
            stream.awaits_stamp = false;
            self.sample(turn, at, datagram);
        }
    }

    /// Authenticates a packet and takes its latency, if it has a stamp. Of recorded frames only the last packet has.
    fn sample(&mut self, turn: &mut Turn<'_>, at: u64, datagram: &mut [u8]) -> bool {
        let Ok(header) = Header::parse(datagram) else {
            return false;
        };
        let len = match &mut self.receiver {
            None => datagram.len(),
            Some(receiver) => match receiver.unprotect_rtp(datagram, header.len) {
                Ok(unprotected) => unprotected.len,
                Err(_) => {
                    turn.totals.authentication_failed += 1;
                    return false;
                }
            },
        };
        turn.totals.authenticated += 1;
        if self.progress.first_media.is_none() {
            self.progress.first_media = Some(self.since(turn.now));
            self.tell();
        }
        let stamp = datagram.get(header.len..len).and_then(Stamp::of);
        if let Some(stamp) = stamp {
            turn.totals.on_latency(at.saturating_sub(stamp.sent), stamp.layer);
        }
        stamp.is_some()
    }

    fn on_retransmission(&mut self, turn: &mut Turn<'_>, repaired: u8, datagram: &mut [u8]) {
        let Ok(header) = Header::parse(datagram) else { return };
        if let Some(id) = self.extensions.transport_cc
            && let Some(number) = extension(&header, datagram, id).and_then(<[u8]>::first_chunk)
        {
            self.arrivals.on_packet(u16::from_be_bytes(*number), turn.now);
        }
        let len = match &mut self.receiver {
            None => datagram.len(),
            Some(receiver) => match receiver.unprotect_rtp(datagram, header.len) {
                Ok(unprotected) => unprotected.len,
                Err(_) => {
                    turn.totals.authentication_failed += 1;
                    return;
                }
            },
        };
        turn.totals.received_rtx += 1;
        let mid = self
            .extensions
            .mid
            .and_then(|id| extension(&header, datagram, id))
            .map(name_of);
        // RFC 4588 section 4: the original number precedes the payload.
        let Some(original) = datagram.get(header.len..len).and_then(|payload| payload.first_chunk()) else {
            return;
        };
        let stream = self
            .streams
            .iter_mut()
            .find(|stream| stream.payload_type == repaired && mid.is_none_or(|mid| mid == stream.mid));
        if let Some(stream) = stream {
            let arrival = stream.on_packet(u16::from_be_bytes(*original), header.timestamp, turn.now, 0);
            turn.totals.repaired += u64::from(arrival != Arrival::Duplicate);
        }
    }

    fn stream_of(&mut self, ssrc: u32, kind: Kind, payload_type: u8, seq: u16, datagram: &[u8]) -> Option<usize> {
        if let Some(&index) = self.by_ssrc.get(&ssrc) {
            return Some(index);
        }
        if self.streams.len() >= MAX_STREAMS {
            return None;
        }
        let header = Header::parse(datagram).ok()?;
        let mid = self.extensions.mid.and_then(|id| extension(&header, datagram, id));
        self.streams
            .push(Stream::new(ssrc, kind, payload_type, mid.unwrap_or_default(), seq));
        self.by_ssrc.insert(ssrc, self.streams.len() - 1);
        Some(self.streams.len() - 1)
    }

    fn on_rtcp(&mut self, turn: &mut Turn<'_>, datagram: &mut [u8]) {
        let len = match &mut self.receiver {
            None => datagram.len(),
            Some(receiver) => match receiver.unprotect_rtcp(datagram) {
                Ok(len) => len,
                Err(_) => {
                    turn.totals.authentication_failed += 1;
                    return;
                }
            },
        };
        let Some(compound) = datagram.get(..len) else { return };
        let mut again = Vec::new();
        for packet in rtcp::packets(compound).flatten() {
            match packet {
                rtcp::Packet::SenderReport(report) => {
                    if let Some(&index) = self.by_ssrc.get(&report.ssrc)
                        && let Some(stream) = self.streams.get_mut(index)
                    {
                        stream.on_sender_report(report.info.ntp, turn.now);
                    }
                }
                rtcp::Packet::PictureLoss(loss) => self.on_keyframe_request(turn, loss.media_ssrc),
                rtcp::Packet::FullIntra(request) => {
                    for entry in request.entries() {
                        self.on_keyframe_request(turn, entry.ssrc);
                    }
                }
                rtcp::Packet::Nack(nack) => again.extend(nack.sequences().map(|seq| (nack.media_ssrc, seq))),
                _ => {}
            }
        }
        for (ssrc, seq) in again {
            self.send_again(turn, ssrc, seq);
        }
        turn.outgoing.send(&self.socket);
    }

    fn on_keyframe_request(&mut self, turn: &mut Turn<'_>, ssrc: u32) {
        turn.totals.plis_received += 1;
        if let Some(layer) = self.layers.iter_mut().find(|layer| layer.ssrc() == ssrc) {
            layer.force_keyframe();
        }
    }

    fn on_stun(&mut self, turn: &mut Turn<'_>, datagram: &[u8]) {
        let Some(ice) = &mut self.ice else { return };
        let Some(&from) = ice.candidates.get(ice.current) else {
            return;
        };
        match ice.handle(from, datagram) {
            Outcome::Answer(answer) => {
                let _ = self.socket.send(&answer);
            }
            Outcome::Connected => {
                self.progress.ice_connected = Some(self.since(turn.now));
                self.advance_dtls(turn, None);
            }
            Outcome::Nothing => {}
        }
    }

    /// Before ICE has found a path nothing is sent.
    fn advance_dtls(&mut self, turn: &mut Turn<'_>, datagram: Option<&[u8]>) {
        let Some(fingerprint) = self.fingerprint else { return };
        if self.dtls.is_none() {
            match Dtls::new(turn.identity, self.plan.cipher, fingerprint, !self.begun_there) {
                Ok(dtls) => self.dtls = Some(dtls),
                Err(error) => return self.fail(&error.to_string()),
            }
        }
        let Some(dtls) = &mut self.dtls else { return };
        let result: Result<_, DtlsError> = dtls.advance(datagram);
        while let Some(flight) = dtls.poll_datagram() {
            let _ = self.socket.send(&flight);
        }
        match result {
            Ok(Some(keys)) => {
                (self.sender, self.receiver) = (Some(keys.sender), Some(keys.receiver));
                self.begin_media(turn);
            }
            Ok(None) => {}
            Err(error) => self.fail(&error.to_string()),
        }
    }

    fn begin_media(&mut self, turn: &mut Turn<'_>) {
        self.ready = true;
        self.progress.dtls_connected = Some(self.since(turn.now));
        self.update_layers();
        // Spread over the interval, so that thousands do not speak at once.
        let spread = (turn.chance() * 100_000.0) as u64;
        self.feedback_due = turn.now + spread;
        self.reports_due = turn.now + spread;
        self.due = turn.now;
        self.tell();
    }

    /// Publications that the server accepted by now.
    fn update_layers(&mut self) {
        for format in &self.send_formats {
            let mut known = false;
            if self.layers.iter().all(|layer| layer.cid() != format.cid) {
                let (these, others) = std::mem::take(&mut self.inherited)
                    .into_iter()
                    .partition(|layer| layer.cid() == format.cid);
                self.inherited = others;
                let mut these: Vec<LayerSender> = these;
                self.layers.append(&mut these);
            }
            for layer in self.layers.iter_mut().filter(|layer| layer.cid() == format.cid) {
                layer.set_format(format.clone());
                known = true;
            }
            let publication = self
                .plan
                .publications
                .iter()
                .find(|publication| publication.cid == format.cid);
            if let (false, Some(publication)) = (known, publication) {
                self.layers.extend(
                    publication.layers.iter().enumerate().map(|(place, layer)| {
                        LayerSender::new(publication.codec, layer.clone(), place, format.clone())
                    }),
                );
            }
        }
    }

    /// Sends the next frame of a layer and returns the time to the one after it, ns.
    pub(super) fn send_frame(
        &mut self,
        turn: &mut Turn<'_>,
        index: usize,
        source: &Source,
        recording: Option<&Recording>,
        late: bool,
    ) -> Option<u64> {
        let layer = self.layers.get_mut(index)?;
        let kind = layer.codec().kind();
        let (frame, step) = layer.begin_frame(source, recording)?;
        for packet in 0..frame.packets {
            if turn.outgoing.is_full() {
                turn.outgoing.send(&self.socket);
            }
            let wall = super::wall_clock();
            let outline = Outline {
                extensions: &self.extensions,
                transport_sequence: self.transport_sequence,
                wall,
                send_time: wire::ext::AbsSendTime::from_micros(wall / 1_000).bytes(),
            };
            let lost = turn.loses();
            let out = turn.outgoing.room()?;
            let (header, len, seq) = layer.write(out, &frame, packet, recording, &outline)?;
            let len = match &mut self.sender {
                Some(sender) => sender.protect_rtp(out, header, len, seq).ok()?,
                None => len,
            };
            if !lost {
                turn.outgoing.commit(len);
            }
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
            turn.totals.on_published(kind, len, late);
        }
        turn.outgoing.send(&self.socket);
        Some(step)
    }

    fn send_again(&mut self, turn: &mut Turn<'_>, ssrc: u32, seq: u16) {
        let Some(layer) = self.layers.iter_mut().find(|layer| layer.ssrc() == ssrc) else {
            return;
        };
        if turn.outgoing.is_full() {
            turn.outgoing.send(&self.socket);
        }
        let outline = Outline {
            extensions: &self.extensions,
            transport_sequence: self.transport_sequence,
            wall: turn.wall,
            send_time: wire::ext::AbsSendTime::from_micros(turn.wall / 1_000).bytes(),
        };
        let lost = turn.loses();
        let Some(out) = turn.outgoing.room() else { return };
        let Some((header, len, number)) = layer.again(out, seq, &outline) else {
            return;
        };
        let len = match &mut self.sender {
            Some(sender) => sender.protect_rtp(out, header, len, number).ok(),
            None => Some(len),
        };
        if let Some(len) = len {
            if !lost {
                turn.outgoing.commit(len);
            }
            self.transport_sequence = self.transport_sequence.wrapping_add(1);
        }
    }

    fn send_feedback(&mut self, turn: &mut Turn<'_>) {
        let media_ssrc = self.streams.first().map_or(0, |stream| stream.ssrc);
        while let Some((first, count)) = self.arrivals.next() {
            let serial = self.arrivals.serial;
            let mut told = 0;
            let arrivals = &self.arrivals;
            let times = (first..first + count).map(|seq| arrivals.arrival(seq));
            let ssrc = self.ssrc;
            send_rtcp(&self.socket, &mut self.sender, |out| {
                let written = twcc::write(out, ssrc, media_ssrc, serial, first as u16, times)?;
                told = written.told as u64;
                Ok(written.len)
            });
            self.arrivals.told(told);
            turn.totals.feedback_sent += 1;
        }
    }

    fn send_reports(&mut self, turn: &mut Turn<'_>) {
        let ntp = ntp(turn.wall);
        for layer in &self.layers {
            if let Some(info) = layer.report(ntp) {
                let (ssrc, cname) = (layer.ssrc(), self.plan.participant.to_string());
                send_rtcp(&self.socket, &mut self.sender, |out| {
                    let len = report::write_sender(out, ssrc, &info, [])?;
                    let more = sdes::write_cname(out.get_mut(len..).unwrap_or_default(), ssrc, &cname)?;
                    Ok(len + more)
                });
            }
        }
        for chunk in self.streams.chunks_mut(MAX_BLOCKS) {
            let blocks: Vec<_> = chunk.iter_mut().map(|stream| stream.report(turn.now)).collect();
            let ssrc = self.ssrc;
            send_rtcp(&self.socket, &mut self.sender, |out| {
                report::write_receiver(out, ssrc, blocks)
            });
        }
    }

    fn repair(&mut self, turn: &mut Turn<'_>) {
        let mut ask = Vec::new();
        self.holes = false;
        for stream in &mut self.streams {
            ask.clear();
            let given_up = stream.ask(turn.now, &mut ask);
            self.holes |= stream.has_holes();
            let (from, of) = (self.ssrc, stream.ssrc);
            if !ask.is_empty() {
                turn.totals.nacks_sent += ask.len() as u64;
                send_rtcp(&self.socket, &mut self.sender, |out| {
                    nack::write(out, from, of, ask.iter().copied())
                });
            }
            if given_up && turn.now >= self.picture_loss_due {
                self.picture_loss_due = turn.now + PICTURE_LOSS_SPACING;
                turn.totals.plis_sent += 1;
                let loss = pli::PictureLoss {
                    sender_ssrc: from,
                    media_ssrc: of,
                };
                send_rtcp(&self.socket, &mut self.sender, |out| loss.write(out));
            }
        }
    }

    /// Sends to the candidate of now.
    fn point(&mut self) {
        let to: Option<SocketAddr> = self
            .ice
            .as_ref()
            .and_then(|ice| ice.candidates.get(ice.current).copied());
        match to.map(|to| self.socket.connect(to)) {
            Some(Ok(())) => {}
            Some(Err(error)) => self.fail(&error.to_string()),
            None => self.fail("the server has no UDP candidate"),
        }
    }

    fn fail(&mut self, why: &str) {
        if !std::mem::replace(&mut self.progress.failed, true) {
            eprintln!("pysfu-load: participant {}: {why}", self.plan.participant);
            self.tell();
        }
    }

    fn tell(&mut self) {
        let progress = self.progress;
        let mut waiting = Vec::new();
        for (milestone, reply) in self.waiters.drain(..) {
            let reached = match milestone {
                Milestone::Connected => progress.dtls_connected,
                Milestone::FirstMedia => progress.first_media,
            };
            if reached.is_some() || progress.failed {
                let _ = reply.send(progress);
            } else {
                waiting.push((milestone, reply));
            }
        }
        self.waiters = waiting;
    }

    /// Seconds since it was opened.
    fn since(&self, now: u64) -> f64 {
        now.saturating_sub(self.opened) as f64 / 1e6
    }
}

fn send_rtcp(
    socket: &UdpSocket,
    sender: &mut Option<SrtpSender>,
    write: impl FnOnce(&mut [u8]) -> Result<usize, WriteError>,
) {
    let mut out = [0; 1_500];
    let Ok(len) = write(&mut out[..1_400]) else { return };
    let len = match sender {
        Some(sender) => sender.protect_rtcp(&mut out, len).ok(),
        None => Some(len),
    };
    if let Some(datagram) = len.and_then(|len| out.get(..len)) {
        let _ = socket.send(datagram);
    }
}

fn extension<'a>(header: &Header, datagram: &'a [u8], id: u8) -> Option<&'a [u8]> {
    header
        .extensions(datagram)
        .find(|(found, _)| *found == id)
        .map(|(_, value)| value)
}

fn name_of(mid: &[u8]) -> [u8; 8] {
    let mut name = [0; 8];
    for (to, from) in name.iter_mut().zip(mid) {
        *to = *from;
    }
    name
}

/// The transport-wide number: where it was in the last packet, or found anew.
#[inline]
fn transport_number(datagram: &[u8], id: u8, at: &mut usize) -> Option<u16> {
    const EXTENSION: u8 = 0x10;
    let known = *at > 0 && datagram[0] & EXTENSION != 0 && datagram.get(*at - 1) == Some(&(id << 4 | 1));
    if !known {
        let header = Header::parse(datagram).ok()?;
        let value = extension(&header, datagram, id)?;
        *at = value.as_ptr() as usize - datagram.as_ptr() as usize;
    }
    let number = datagram.get(*at..)?.first_chunk()?;
    Some(u16::from_be_bytes(*number))
}

/// NTP time of a time since 1970 in ns (RFC 3550 section 4).
fn ntp(wall: u64) -> u64 {
    let (seconds, ns) = (wall / 1_000_000_000, wall % 1_000_000_000);
    ((seconds + NTP_OFFSET) << 32) | ((ns << 32) / 1_000_000_000)
}
