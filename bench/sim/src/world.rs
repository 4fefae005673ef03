//! The engine, its clients, and the network between them, in simulated time: steps of a millisecond.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use netem::LinkConfig;
use pysfu_engine::command::{
    AnnouncedSsrc, Command, FecFormats, IceCredentials, MediaKind, PayloadMap, Publish, PublishedCodec, Sound,
    Subscribe, Wanted,
};
use pysfu_engine::ids::{Mid, PayloadType, PeerId, Rid, SocketId, Ssrc, SubscriptionId, TrackId, WorkerId};
use pysfu_engine::stats::StatsSnapshot;
use pysfu_engine::transmit::TransmitArena;
use pysfu_engine::{Config, DtlsIdentity, Engine, Event};
use wire::rtp::Header;

use crate::client::{Client, Version};
use crate::media::Track;
use crate::media::publisher::Publisher;
use crate::media::spec::{Format, RIDS, Spec};
use crate::media::stream::rtx_ssrc;
use crate::metrics::{SLOT, Watch};
use crate::peer::Peer;
use crate::receive::Receiver;
use crate::rtp;
use crate::tcp::Tcp;
use crate::wires::Wire;

const SOCKET: SocketId = SocketId(0);
/// Microseconds.
pub(crate) const STEP: u64 = 1_000;
const JOIN: u64 = 200_000;

/// Payload type of redundant audio.
const RED: u8 = 63;
/// As browsers agree to it.
const FLEXFEC: FecFormats = FecFormats {
    flexfec: Some(PayloadType(49)),
    red: None,
    red_rtx: None,
    ulpfec: None,
};

const WANT_ALL: Wanted = Wanted {
    paused: false,
    max_spatial: 255,
    max_temporal: 255,
};

/// A segment of a TCP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet {
    pub(crate) flow: usize,
    pub(crate) what: What,
    pub(crate) bytes: u32,
    #[allow(dead_code, reason = "told by the sender that is shared with the estimator's tests")]
    pub(crate) sent: u64,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum What {
    Segment { number: u64 },
}

pub(crate) struct World {
    start: Instant,
    /// Microseconds since the engine began.
    pub(crate) now: u64,
    engine: Engine,
    arena: TransmitArena,
    pub(crate) peers: Vec<Peer>,
    pub(crate) tracks: Vec<Track>,
    pub(crate) wires: Vec<Wire>,
    /// What is watched: by client, from its downlink's beginning.
    pub(crate) watches: HashMap<usize, Watch>,
    /// When layers of subscriptions changed, microseconds.
    pub(crate) forwarded: Vec<(u64, SubscriptionId, Option<u8>)>,
    snapshot: StatsSnapshot,
    addresses: HashMap<SocketAddr, usize>,
    /// Receivers negotiate what protects against losses beside retransmission.
    pub(crate) redundant: bool,
    wire_start: u64,
    next_id: u64,
    next_ssrc: u32,
    seed: u64,
    arrived: Vec<(u64, usize, Vec<u8>)>,
    out: Vec<Vec<u8>>,
}

fn identity() -> Arc<DtlsIdentity> {
    static IDENTITY: OnceLock<Arc<DtlsIdentity>> = OnceLock::new();
    Arc::clone(IDENTITY.get_or_init(|| Arc::new(DtlsIdentity::generate().unwrap())))
}

fn credentials(name: &str) -> IceCredentials {
    IceCredentials {
        ufrag: name.to_owned(),
        pwd: format!("{name}-password-of-22-characters"),
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        // Clients here send no checks once they are connected.
        let config = Config {
            consent_timeout: Duration::from_secs(1_000_000),
            ..Config::default()
        };
        let start = Instant::now();
        Self {
            start,
            now: 0,
            engine: Engine::new(start, config, identity()),
            arena: TransmitArena::new(256 * 1_024, 256),
            peers: Vec::new(),
            tracks: Vec::new(),
            wires: Vec::new(),
            watches: HashMap::new(),
            forwarded: Vec::new(),
            snapshot: StatsSnapshot::default(),
            addresses: HashMap::new(),
            redundant: true,
            wire_start: 0,
            next_id: 1,
            next_ssrc: 1_000,
            seed,
            arrived: Vec::new(),
            out: Vec::new(),
        }
    }

    fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn instant(&self) -> Instant {
        self.start + Duration::from_micros(self.now)
    }

    fn command(&mut self, command: Command) {
        self.engine.handle_command(self.instant(), command);
    }

    /// A client begins to connect.
    pub(crate) fn add(&mut self) -> usize {
        let peer = PeerId(self.id());
        let (client, server) = (
            credentials(&format!("client{}", peer.0)),
            credentials(&format!("server{}", peer.0)),
        );
        let local = server.clone();
        self.command(Command::AddPeer { peer, local });
        let client = Client::new(self.instant(), Version::Auto, client, server);
        self.command(Command::SetRemote {
            peer,
            ice: client.ice.clone(),
            fingerprints: vec![client.fingerprint],
        });
        let ids = rtp::extension_ids();
        self.command(Command::SetExtensions { peer, ids });
        self.command(Command::SetFeedback {
            peer,
            transport_cc: true,
            remb: false,
        });
        let index = self.peers.len();
        let address = SocketAddr::from(([192, 0, 2, 1], 10_000 + peer.0 as u16));
        self.addresses.insert(address, index);
        self.peers.push(Peer::new(peer, address, client, self.now));
        index
    }

    /// A client that is connected. It always takes the same time: handshakes differ in their lengths and so in their steps.
    pub(crate) fn join(&mut self) -> usize {
        let who = self.add();
        let ready = self.now + JOIN;
        while self.now < ready {
            self.step();
        }
        assert!(self.peers[who].connected(), "not connected after {JOIN} µs");
        who
    }

    /// Times of wires and watches count from now. To be called before any wire is made.
    pub(crate) fn begin(&mut self) {
        self.wire_start = self.now;
    }

    /// Seconds since [`begin`](Self::begin).
    pub(crate) fn time(&self) -> f64 {
        (self.now - self.wire_start) as f64 / 1e6
    }

    pub(crate) fn begun(&self) -> u64 {
        self.wire_start
    }

    pub(crate) fn wire(&mut self, config: LinkConfig, tcps: Vec<Tcp>) -> usize {
        let seed = self.seed * 1_000 + self.wires.len() as u64;
        self.wires.push(Wire::new(config, tcps, seed));
        self.wires.len() - 1
    }

    /// Puts wires of its own between the client and the engine, and watches what goes down.
    pub(crate) fn attach(&mut self, who: usize, down: LinkConfig, up: LinkConfig) {
        let (down, up) = (self.wire(down, Vec::new()), self.wire(up, Vec::new()));
        self.share(who, down, up, 0);
    }

    /// The same with wires that others use, too, and a delay of its own, microseconds.
    pub(crate) fn share(&mut self, who: usize, down: usize, up: usize, extra: u64) {
        let peer = &mut self.peers[who];
        (peer.down, peer.up, peer.extra) = (Some(down), Some(up), extra);
        peer.round_trip = self.wires[down].delay + self.wires[up].delay + 2 * extra;
        self.watches.insert(who, Watch::default());
    }

    pub(crate) fn publish(&mut self, who: usize, spec: Spec) -> usize {
        let id = TrackId(self.id());
        let track = self.tracks.len();
        let video = spec.format != Format::Opus;
        let kind = if video { MediaKind::Video } else { MediaKind::Audio };
        let mid = format!("{track}");
        let ssrc = self.next_ssrc;
        self.next_ssrc += 10;
        let seed = self.seed * 100 + track as u64;
        let publisher = Publisher::new(track, &spec, ssrc, &mid, self.now, seed);
        let many = publisher.streams.len() > 1;
        let rids = RIDS[..publisher.streams.len()].iter();
        let announced = AnnouncedSsrc {
            ssrc: Ssrc(ssrc),
            rtx_ssrc: video.then_some(Ssrc(rtx_ssrc(ssrc))),
        };
        let peer = self.peers[who].id;
        self.command(Command::Publish(Publish {
            track: id,
            peer,
            kind,
            mid: Mid::from(mid.as_str()).unwrap(),
            codecs: vec![PublishedCodec {
                payload_type: PayloadType(spec.format.payload_type()),
                rtx_payload_type: video.then_some(PayloadType(spec.format.payload_type() + 1)),
                codec: spec.format.codec(),
                clock_rate: spec.format.clock_rate(),
                nack: video,
                pli: video,
            }],
            sound: Sound::default(),
            rids: if many {
                rids.map(|rid| Rid::from(rid).unwrap()).collect()
            } else {
                Vec::new()
            },
            ssrcs: if many { Vec::new() } else { vec![announced] },
            fec: FecFormats::default(),
        }));
        self.tracks.push(Track {
            id,
            kind,
            spec,
            frames: HashMap::new(),
            keyframes: Vec::new(),
        });
        self.peers[who].publishers.push(publisher);
        track
    }

    /// Returns the index among the client's receivers.
    pub(crate) fn subscribe(&mut self, who: usize, track: usize) -> usize {
        let subscription = SubscriptionId(self.id());
        let spec = &self.tracks[track].spec;
        let (format, kind) = (spec.format, self.tracks[track].kind);
        let video = kind == MediaKind::Video;
        let ssrc = self.next_ssrc;
        self.next_ssrc += 10;
        let rtx = video.then_some(PayloadType(format.payload_type() + 1));
        let peer = &mut self.peers[who];
        let mut receiver = Receiver::new(subscription, track, kind, ssrc, format, self.now);
        receiver.rtx_ssrc = video.then_some(ssrc + 1);
        let protected = video && self.redundant;
        if protected {
            receiver.protect(ssrc + 2);
        }
        peer.receive_stream(receiver);
        let (peer, receivers) = (peer.id, peer.receivers.len());
        self.command(Command::Subscribe(Subscribe {
            subscription,
            peer,
            track: self.tracks[track].id,
            home: WorkerId(0),
            kind,
            mid: Mid::from(format!("s{receivers}").as_str()).unwrap(),
            ssrc: Ssrc(ssrc),
            rtx_ssrc: video.then_some(Ssrc(ssrc + 1)),
            payloads: vec![PayloadMap {
                from: PayloadType(format.payload_type()),
                to: PayloadType(format.payload_type()),
                rtx,
            }],
            red: (!video && self.redundant).then_some(PayloadType(RED)),
            wanted: WANT_ALL,
            fec: if protected { FLEXFEC } else { FecFormats::default() },
            fec_ssrc: protected.then_some(Ssrc(ssrc + 2)),
        }));
        receivers - 1
    }

    pub(crate) fn want(&mut self, who: usize, receiver: usize, max_spatial: u8) {
        let (peer, subscription) = (self.peers[who].id, self.peers[who].receivers[receiver].subscription);
        let wanted = Wanted {
            max_spatial,
            ..WANT_ALL
        };
        self.command(Command::SetWanted {
            peer,
            subscription,
            wanted,
        });
    }

    pub(crate) fn pause(&mut self, who: usize, receiver: usize, paused: bool) {
        let (peer, subscription) = (self.peers[who].id, self.peers[who].receivers[receiver].subscription);
        let wanted = Wanted { paused, ..WANT_ALL };
        self.command(Command::SetWanted {
            peer,
            subscription,
            wanted,
        });
    }

    /// A client's message goes up at once.
    pub(crate) fn send_rtcp(&mut self, who: usize, message: Vec<u8>) {
        let datagram = self.peers[who].protect_rtcp(message);
        self.send_up(who, datagram);
    }

    /// Until so many seconds since the beginning.
    pub(crate) fn run(&mut self, until: f64) {
        let until = self.wire_start + (until * 1e6) as u64;
        while self.now < until {
            self.step();
        }
    }

    pub(crate) fn step(&mut self) {
        self.now += STEP;
        let instant = self.instant();
        for who in 0..self.peers.len() {
            let mut out = std::mem::take(&mut self.out);
            let peer = &mut self.peers[who];
            if !peer.connected() {
                peer.client.handle_timeout(instant);
            }
            out.extend(peer.client.out.drain(..));
            peer.poll(self.now, &mut self.tracks, &mut out);
            for datagram in out.drain(..) {
                self.send_up(who, datagram);
            }
            self.out = out;
        }
        self.carry();
        if self.engine.next_timeout().is_some_and(|at| at <= instant) {
            self.engine.handle_timeout(instant);
        }
        self.drain();
        if (self.now - self.wire_start).is_multiple_of(SLOT) {
            self.observe();
        }
    }

    fn send_up(&mut self, who: usize, mut datagram: Vec<u8>) {
        let peer = &mut self.peers[who];
        let at = self.now - self.wire_start;
        match peer.up {
            Some(wire) => {
                self.wires[wire].push(at, who, datagram);
            }
            None => {
                let address = peer.address;
                self.engine
                    .handle_datagram(self.instant(), SOCKET, address, &mut datagram);
            }
        }
    }

    /// Both ways of all wires.
    fn carry(&mut self) {
        let now = self.now;
        let mut arrived = std::mem::take(&mut self.arrived);
        for wire in 0..self.wires.len() {
            self.wires[wire].pop(now - self.wire_start, &mut arrived);
            for (at, who, bytes) in arrived.drain(..) {
                let peer = &mut self.peers[who];
                let at = at + self.wire_start + peer.extra;
                let down = peer.down == Some(wire);
                if down && peer.extra == 0 {
                    self.receive(at, who, bytes);
                } else if down {
                    peer.under_way.push_back((at, bytes));
                } else {
                    peer.under_way_up.push_back((at, bytes));
                }
            }
        }
        self.arrived = arrived;
        for who in 0..self.peers.len() {
            while let Some((at, bytes)) = pop_due(&mut self.peers[who].under_way, now) {
                self.receive(at, who, bytes);
            }
            while let Some((_, mut bytes)) = pop_due(&mut self.peers[who].under_way_up, now) {
                let address = self.peers[who].address;
                self.engine.handle_datagram(self.instant(), SOCKET, address, &mut bytes);
            }
        }
    }

    fn receive(&mut self, at: u64, who: usize, datagram: Vec<u8>) {
        let instant = self.start + Duration::from_micros(at);
        let mut out = Vec::new();
        self.peers[who].handle(at, instant, datagram, &self.tracks, &mut out);
        for datagram in out {
            self.send_up(who, datagram);
        }
    }

    /// Takes what the engine has to say.
    fn drain(&mut self) {
        let instant = self.instant();
        loop {
            self.arena.clear();
            let more = self.engine.poll_transmit(instant, &mut self.arena);
            let mut at_once = Vec::new();
            for message in self.arena.messages() {
                let Some(&who) = self.addresses.get(&message.to) else {
                    continue;
                };
                let (start, end) = (message.start as usize, (message.start + message.len) as usize);
                for datagram in self.arena.bytes()[start..end].chunks(message.segment.into()) {
                    match self.peers[who].down {
                        None => at_once.push((who, datagram.to_vec())),
                        Some(wire) => {
                            let at = self.now - self.wire_start;
                            let wait = self.wires[wire].push(at, who, datagram.to_vec());
                            if let Some(watch) = self.watches.get_mut(&who) {
                                watch.on_sent(at, datagram.len(), wait);
                            }
                            if wire::demux::classify(datagram) == Some(wire::demux::Kind::Rtp)
                                && let Ok(header) = Header::parse(datagram)
                            {
                                self.peers[who].on_sent(self.now, &header);
                            }
                        }
                    }
                }
            }
            for (who, datagram) in at_once {
                self.receive(self.now, who, datagram);
            }
            if !more {
                break;
            }
        }
        while let Some(event) = self.engine.poll_event() {
            match event {
                Event::LayerForwarded { subscription, layer } => self.forwarded.push((self.now, subscription, layer)),
                Event::CommandFailed { error, .. } => panic!("{error}"),
                _ => {}
            }
        }
    }

    /// A slot of everyone's series ends.
    fn observe(&mut self) {
        self.snapshot.clear();
        self.engine.stats(self.instant(), &mut self.snapshot);
        let told = self.snapshot.downlinks.iter();
        let told = told.map(|row| (row.peer, (row.estimate_bps, row.allocated_bps)));
        let estimates: HashMap<u64, (f64, f64)> = told.collect();
        for who in 0..self.peers.len() {
            if !self.watches.contains_key(&who) {
                continue;
            }
            let estimate = estimates.get(&self.peers[who].id.0).copied().unwrap_or_default();
            let peer = &mut self.peers[who];
            let told = std::mem::take(&mut peer.told);
            let layer = peer.receivers.iter().find(|receiver| receiver.is_video());
            let layer = layer.and_then(|receiver| receiver.layer(self.now));
            let wire = &mut self.wires[peer.down.unwrap_or(0)];
            let (capacity, carried) = (wire.capacity(), wire.could_carry());
            if let Some(watch) = self.watches.get_mut(&who) {
                watch.on_slot(estimate, capacity, carried, told, layer);
            }
        }
    }
}

fn pop_due(queue: &mut std::collections::VecDeque<(u64, Vec<u8>)>, now: u64) -> Option<(u64, Vec<u8>)> {
    let due = queue.front().is_some_and(|(at, _)| *at <= now);
    due.then(|| queue.pop_front()).flatten()
}
