//! Engines and clients joined by a network, in simulated time.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pysfu_engine::command::{
    Codec, Command, ExtensionIds, FecFormats, IceCredentials, MediaKind, PayloadMap, Publish, PublishedCodec, Sound,
    Subscribe, Wanted,
};
use pysfu_engine::ids::{Mid, PayloadType, PeerId, Rid, SocketId, Ssrc, SubscriptionId, TrackId, WorkerId};
use pysfu_engine::srtp::SrtpError;
use pysfu_engine::stats::StatsSnapshot;
use pysfu_engine::transmit::TransmitArena;
use pysfu_engine::{Config, DtlsIdentity, Engine, Event};

use crate::client::{Client, Version};
use crate::media::{self, Rtp};

pub(crate) const SOCKET: SocketId = SocketId(0);
pub(crate) const MS: Duration = Duration::from_millis(1);
const STEP: Duration = Duration::from_millis(5);

pub(crate) const WANT_ALL: Wanted = Wanted {
    paused: false,
    max_spatial: 255,
    max_temporal: 255,
};

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) start: Instant,
    pub(crate) engines: Vec<Engine>,
    pub(crate) people: Vec<Person>,
    pub(crate) events: Vec<Event>,
    pub(crate) arena: TransmitArena,
    /// Simulated time goes on in steps of this.
    pub(crate) tick: Duration,
    /// Between engines that are different nodes.
    pub(crate) cables: Vec<Cable>,
    /// What those who subscribe want at first.
    pub(crate) wanted: Wanted,
    /// What went through the cables, if somebody listens.
    pub(crate) wiretap: Option<Vec<Vec<u8>>>,
    next_id: u64,
}

/// One way from an engine to another.
pub(crate) struct Cable {
    pub(crate) from: usize,
    pub(crate) to: usize,
    pub(crate) way: netem::Link<Vec<u8>>,
}

/// Where an engine is reached by other nodes.
pub(crate) fn engine_address(engine: usize) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, engine as u8], 7_000))
}

/// What lies between an engine and a client.
pub(crate) trait Network {
    fn send(&mut self, now: Instant, datagram: &[u8]);
    /// What has arrived by now, and when.
    fn arrivals(&mut self, now: Instant) -> Vec<(Instant, Vec<u8>)>;
    /// Decrypted: read, and as it came.
    fn on_rtp(&mut self, when: Instant, packet: &Rtp, plain: &[u8]);
    /// RTCP to be protected and sent up, now and then.
    fn feedback(&mut self, now: Instant) -> Option<Vec<u8>>;
    fn send_up(&mut self, now: Instant, datagram: Vec<u8>);
    fn arrives_up(&mut self, now: Instant) -> Option<Vec<u8>>;
}

/// A client with its place in the world.
pub(crate) struct Person {
    pub(crate) peer: PeerId,
    pub(crate) worker: usize,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    /// Decrypted, in order of arrival.
    pub(crate) rtp: Vec<Rtp>,
    pub(crate) rtcp: Vec<Vec<u8>>,
    /// Packets received that are lost before they arrive: true for those.
    pub(crate) loses: Box<dyn FnMut(&Rtp) -> bool>,
    /// An emulated path instead of one that loses nothing and takes no time.
    pub(crate) path: Option<Box<dyn Network>>,
    /// Sends no feedback.
    pub(crate) silent: bool,
    /// The network is gone.
    pub(crate) offline: bool,
    indices: std::collections::HashMap<u32, u64>,
    transport_sequence: u16,
}

pub(crate) fn identity() -> Arc<DtlsIdentity> {
    static IDENTITY: OnceLock<Arc<DtlsIdentity>> = OnceLock::new();
    Arc::clone(IDENTITY.get_or_init(|| Arc::new(DtlsIdentity::generate().unwrap())))
}

fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        ufrag: name.to_owned(),
        pwd: format!("{name}-password-of-22-characters"),
    }
}

pub(crate) fn extension_ids() -> ExtensionIds {
    ExtensionIds {
        mid: Some(media::MID),
        rid: Some(media::RID),
        repaired_rid: Some(media::REPAIRED_RID),
        audio_level: Some(media::AUDIO_LEVEL),
        transport_cc: Some(media::TRANSPORT_CC),
        ..ExtensionIds::default()
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(1, Config::default())
    }

    pub(crate) fn with(workers: u8, config: Config) -> Self {
        let start = Instant::now();
        let engine = |worker| {
            Engine::new(
                start,
                Config {
                    worker: WorkerId(worker),
                    ..config.clone()
                },
                identity(),
            )
        };
        Self {
            now: start,
            start,
            engines: (0..workers).map(engine).collect(),
            people: Vec::new(),
            events: Vec::new(),
            arena: TransmitArena::new(256 * 1_024, 256),
            tick: STEP,
            cables: Vec::new(),
            wanted: WANT_ALL,
            wiretap: None,
            next_id: 1,
        }
    }

    pub(crate) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Adds a client to a worker; it begins to connect.
    pub(crate) fn add(&mut self, worker: usize) -> usize {
        let peer = PeerId(self.id());
        let (client, server) = (
            credentials(&format!("client{}", peer.0)),
            credentials(&format!("server{}", peer.0)),
        );
        self.command(
            worker,
            Command::AddPeer {
                peer,
                local: server.clone(),
            },
        );
        let client = Client::new(self.now, Version::Auto, client, server);
        self.command(
            worker,
            Command::SetRemote {
                peer,
                ice: client.ice.clone(),
                fingerprints: vec![client.fingerprint],
            },
        );
        self.command(
            worker,
            Command::SetExtensions {
                peer,
                ids: extension_ids(),
            },
        );
        self.command(
            worker,
            Command::SetFeedback {
                peer,
                transport_cc: true,
                remb: false,
            },
        );
        self.people.push(Person {
            peer,
            worker,
            address: SocketAddr::from(([192, 0, 2, 1], 10_000 + peer.0 as u16)),
            client,
            rtp: Vec::new(),
            rtcp: Vec::new(),
            loses: Box::new(|_| false),
            path: None,
            silent: false,
            offline: false,
            indices: Default::default(),
            transport_sequence: 0,
        });
        self.people.len() - 1
    }

    /// The same, connected.
    pub(crate) fn join(&mut self, worker: usize) -> usize {
        let who = self.add(worker);
        let peer = self.people[who].peer;
        self.run_until("connected", |world| {
            world.people[who].client.keys.is_some()
                && world
                    .events
                    .iter()
                    .any(|e| matches!(e, Event::Connected { peer: p, .. } if *p == peer))
        });
        who
    }

    pub(crate) fn command(&mut self, worker: usize, command: Command) {
        self.engines[worker].handle_command(self.now, command);
        self.drain(worker);
    }

    pub(crate) fn publish_audio(&mut self, who: usize, mid: &str) -> TrackId {
        self.publish(who, mid, MediaKind::Audio, &[], FecFormats::default())
    }

    pub(crate) fn publish_video(&mut self, who: usize, mid: &str, rids: &[&str]) -> TrackId {
        self.publish_protected(who, mid, rids, FecFormats::default())
    }

    pub(crate) fn publish_protected(&mut self, who: usize, mid: &str, rids: &[&str], fec: FecFormats) -> TrackId {
        self.publish(who, mid, MediaKind::Video, rids, fec)
    }

    fn publish(&mut self, who: usize, mid: &str, kind: MediaKind, rids: &[&str], fec: FecFormats) -> TrackId {
        let track = TrackId(self.id());
        let (payload_type, rtx, codec, clock_rate) = match kind {
            MediaKind::Audio => (media::OPUS, None, Codec::Opus, 48_000),
            MediaKind::Video => (media::VP8, Some(PayloadType(media::VP8_RTX)), Codec::Vp8, 90_000),
        };
        let publish = Publish {
            track,
            peer: self.people[who].peer,
            kind,
            mid: Mid::from(mid).unwrap(),
            codecs: vec![PublishedCodec {
                payload_type: PayloadType(payload_type),
                rtx_payload_type: rtx,
                codec,
                clock_rate,
                nack: kind == MediaKind::Video,
                pli: kind == MediaKind::Video,
            }],
            rids: rids.iter().map(|rid| Rid::from(rid).unwrap()).collect(),
            ssrcs: Vec::new(),
            sound: Sound::default(),
            fec,
        };
        self.command(self.people[who].worker, Command::Publish(publish));
        track
    }

    /// Subscribes `who` to a track of someone on the worker `home`; its SSRC is `ssrc`, that of RTX the next one.
    pub(crate) fn subscribe(
        &mut self,
        who: usize,
        track: TrackId,
        home: usize,
        kind: MediaKind,
        ssrc: u32,
    ) -> SubscriptionId {
        self.subscribe_with(who, track, home, (kind, ssrc), FecFormats::default())
    }

    /// The same with forward error correction; the SSRC of FlexFEC is the next one.
    pub(crate) fn subscribe_with(
        &mut self,
        who: usize,
        track: TrackId,
        home: usize,
        (kind, ssrc): (MediaKind, u32),
        fec: FecFormats,
    ) -> SubscriptionId {
        let subscription = SubscriptionId(self.id());
        let video = kind == MediaKind::Video;
        let (from, rtx) = if video {
            (media::VP8, Some(PayloadType(media::VP8_RTX)))
        } else {
            (media::OPUS, None)
        };
        let subscribe = Subscribe {
            subscription,
            peer: self.people[who].peer,
            track,
            home: WorkerId(home as u8),
            kind,
            mid: Mid::from("s").unwrap(),
            ssrc: Ssrc(ssrc),
            rtx_ssrc: video.then_some(Ssrc(ssrc + 1)),
            payloads: vec![PayloadMap {
                from: PayloadType(from),
                to: PayloadType(from),
                rtx,
            }],
            red: None,
            wanted: self.wanted,
            fec,
            fec_ssrc: fec.flexfec.map(|_| Ssrc(ssrc + 2)),
        };
        self.command(self.people[who].worker, Command::Subscribe(subscribe));
        subscription
    }

    /// Protects and delivers a packet of a client at once.
    pub(crate) fn send(&mut self, who: usize, packet: Rtp) {
        let datagram = self.protect(who, packet);
        self.deliver(who, datagram);
    }

    pub(crate) fn protect(&mut self, who: usize, mut packet: Rtp) -> Vec<u8> {
        let person = &mut self.people[who];
        person.transport_sequence = person.transport_sequence.wrapping_add(1);
        packet
            .extensions
            .push((media::TRANSPORT_CC, person.transport_sequence.to_be_bytes().to_vec()));
        let (mut bytes, header) = packet.write();
        let len = bytes.len();
        let index = person.indices.entry(packet.ssrc).or_insert(packet.seq.into());
        *index = wire::seq::extend(*index, packet.seq);
        bytes.resize(len + 16, 0);
        let (_, sender, _) = person.client.keys.as_mut().unwrap();
        let len = sender.protect_rtp(&mut bytes, header, len, *index).unwrap();
        bytes.truncate(len);
        bytes
    }

    pub(crate) fn send_rtcp(&mut self, who: usize, write: impl FnOnce(&mut [u8]) -> usize) {
        let datagram = self.protect_rtcp(who, write);
        self.deliver(who, datagram);
    }

    pub(crate) fn protect_rtcp(&mut self, who: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
        let mut bytes = vec![0; 1_500];
        let len = write(&mut bytes);
        let (_, sender, _) = self.people[who].client.keys.as_mut().unwrap();
        let len = sender.protect_rtcp(&mut bytes, len).unwrap();
        bytes.truncate(len);
        bytes
    }

    pub(crate) fn deliver(&mut self, who: usize, mut datagram: Vec<u8>) {
        let Person {
            worker,
            address,
            offline,
            ..
        } = self.people[who];
        if !offline {
            self.engines[worker].handle_datagram(self.now, SOCKET, address, &mut datagram);
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    pub(crate) fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let limit = self.now + Duration::from_secs(60);
        while !done(self) {
            assert!(self.now < limit, "not {what} after 60 s");
            self.step();
        }
    }

    pub(crate) fn step(&mut self) {
        self.now += self.tick;
        for who in 0..self.people.len() {
            self.people[who].client.handle_timeout(self.now);
            while let Some(datagram) = self.people[who].client.out.pop_front() {
                self.deliver(who, datagram);
            }
        }
        for who in 0..self.people.len() {
            self.travel(who);
        }
        self.travel_cables();
        for worker in 0..self.engines.len() {
            if self.engines[worker].next_timeout().is_some_and(|at| at <= self.now) {
                self.engines[worker].handle_timeout(self.now);
            }
        }
        // What one worker tells another may make that one talk.
        for _ in 0..3 {
            for worker in 0..self.engines.len() {
                self.drain(worker);
            }
        }
    }

    fn travel_cables(&mut self) {
        let at = self.now - self.start;
        for index in 0..self.cables.len() {
            while let Some((_, mut datagram)) = self.cables[index].way.pop(at) {
                let Cable { from, to, .. } = self.cables[index];
                self.engines[to].handle_datagram(self.now, SOCKET, engine_address(from), &mut datagram);
            }
        }
    }

    /// Both ways of an emulated path.
    fn travel(&mut self, who: usize) {
        let now = self.now;
        let person = &mut self.people[who];
        let Some(mut path) = person.path.take() else { return };
        for (when, datagram) in path.arrivals(now) {
            let before = person.rtp.len();
            if let Some(plain) = person.receive(when, &datagram)
                && let Some(packet) = person.rtp[before..].first()
            {
                path.on_rtp(when, packet, &plain);
            }
        }
        if let Some(feedback) = path.feedback(now).filter(|_| !person.silent) {
            let protected = self.protect_rtcp(who, |out| {
                out[..feedback.len()].copy_from_slice(&feedback);
                feedback.len()
            });
            path.send_up(now, protected);
        }
        while let Some(datagram) = path.arrives_up(now) {
            self.deliver(who, datagram);
        }
        self.people[who].path = Some(path);
    }

    pub(crate) fn drain(&mut self, worker: usize) {
        loop {
            self.arena.clear();
            let more = self.engines[worker].poll_transmit(self.now, &mut self.arena);
            for message in self.arena.messages() {
                let (start, end) = (message.start as usize, (message.start + message.len) as usize);
                for datagram in self.arena.bytes()[start..end].chunks(message.segment.into()) {
                    let at = self.now - self.start;
                    let cable = self
                        .cables
                        .iter_mut()
                        .find(|cable| cable.from == worker && engine_address(cable.to) == message.to);
                    if let Some(cable) = cable {
                        self.wiretap.iter_mut().for_each(|heard| heard.push(datagram.to_vec()));
                        cable.way.push(at, datagram.len(), datagram.to_vec());
                    } else if let Some(person) = self.people.iter_mut().find(|p| p.address == message.to) {
                        match &mut person.path {
                            Some(path) => path.send(self.now, datagram),
                            None => drop(person.receive(self.now, datagram)),
                        }
                    }
                }
            }
            if !more {
                break;
            }
        }
        while let Some((to, crossing)) = self.engines[worker].poll_crossing() {
            self.engines[usize::from(to.0)].handle_crossing(self.now, WorkerId(worker as u8), crossing);
        }
        while let Some(event) = self.engines[worker].poll_event() {
            self.events.push(event);
        }
    }

    pub(crate) fn stats(&self, worker: usize) -> StatsSnapshot {
        let mut snapshot = StatsSnapshot::default();
        self.engines[worker].stats(self.now, &mut snapshot);
        snapshot
    }

    pub(crate) fn disconnected(&self, who: usize) -> bool {
        let peer = self.people[who].peer;
        self.events
            .iter()
            .any(|e| matches!(e, Event::Disconnected { peer: p, .. } if *p == peer))
    }
}

impl Person {
    /// RTP as it came, decrypted.
    fn receive(&mut self, now: Instant, datagram: &[u8]) -> Option<Vec<u8>> {
        if self.offline {
            return None;
        }
        let Some(kind) = wire::demux::classify(datagram) else {
            panic!("the engine sent {datagram:?}");
        };
        let mut packet = datagram.to_vec();
        match (kind, &mut self.client.keys) {
            (wire::demux::Kind::Rtp, Some((_, _, receiver))) => {
                let header = wire::rtp::Header::parse(&packet).unwrap();
                let len = match receiver.unprotect_rtp(&mut packet, header.len) {
                    Ok(opened) => opened.len,
                    // Older than the receiver's window; never a number for the second time (RFC 7714 section 8.1).
                    Err(SrtpError::Replay) => {
                        let twice = self
                            .rtp
                            .iter()
                            .rev()
                            .take(1_000)
                            .find(|old| (old.ssrc, old.seq) == (header.ssrc, header.sequence));
                        assert_eq!(
                            twice, None,
                            "sent again as seq {} time {}",
                            header.sequence, header.timestamp
                        );
                        return None;
                    }
                    Err(error) => panic!("{error}"),
                };
                packet.truncate(len);
                let read = Rtp::read(&packet);
                if !(self.loses)(&read) {
                    self.rtp.push(read);
                }
                return Some(packet);
            }
            (wire::demux::Kind::Rtcp, Some((_, _, receiver))) => {
                let len = receiver.unprotect_rtcp(&mut packet).unwrap();
                self.rtcp.push(packet[..len].to_vec());
            }
            _ => self.client.handle(now, datagram),
        }
        None
    }

    /// All RTCP messages received so far, mapped.
    pub(crate) fn messages<T>(&self, pick: impl Fn(&wire::rtcp::Packet<'_>) -> Option<T>) -> Vec<T> {
        self.rtcp
            .iter()
            .flat_map(|compound| wire::rtcp::packets(compound))
            .filter_map(|packet| pick(&packet.unwrap()))
            .collect()
    }

    /// SSRCs of the keyframe requests received.
    pub(crate) fn keyframe_requests(&self) -> Vec<u32> {
        self.messages(|packet| match packet {
            wire::rtcp::Packet::PictureLoss(loss) => Some(loss.media_ssrc),
            _ => None,
        })
    }

    /// Numbers asked again of this SSRC.
    pub(crate) fn nacked(&self, ssrc: u32) -> Vec<u16> {
        let lists = self.messages(|packet| match packet {
            wire::rtcp::Packet::Nack(nack) if nack.media_ssrc == ssrc => Some(nack.sequences().collect::<Vec<_>>()),
            _ => None,
        });
        lists.concat()
    }
}
