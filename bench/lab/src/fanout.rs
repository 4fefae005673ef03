//! One publisher, many subscriptions.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use pysfu_engine::Config;
use pysfu_engine::command::{
    AddLink, Codec, Command, FecFormats, IceCredentials, Keys, MediaKind, Mirror, PayloadMap, Publish, PublishedCodec,
    Sound, Subscribe,
};
use pysfu_engine::ids::{LinkId, Mid, PayloadType, PeerId, Ssrc, SubscriptionId, TrackId, WorkerId};
use pysfu_engine::transmit::TransmitArena;
use serde::{Deserialize, Serialize};
use wire::rtcp::report::{self, ReportBlock};
use wire::rtcp::twcc;

use crate::media::{OPUS, Source, VP8, VP8_RTX};
use crate::world::{Cable, MS, SOCKET, WANT_ALL, World, engine_address};

/// Bits per second of every path.
const BITRATE: u64 = 1_000_000_000;
const FIRST_SSRC: u32 = 1_000_000;
/// As a worker of `io` has it.
const ARENA: usize = 256 * 1024;
const ARENA_MESSAGES: usize = 1_024;
const FRAME: usize = 5;
const VIDEO_PAYLOAD: usize = 1_150;
const AUDIO_PAYLOAD: usize = 120;

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Vp8,
    Vp9,
    H264,
    Opus,
}

#[derive(Args, Clone, Debug, Deserialize)]
pub(crate) struct Setup {
    #[arg(long, default_value_t = 100)]
    subscriptions: u32,
    #[arg(long, value_enum, default_value = "vp8")]
    codec: Format,
    /// Subscribers send transport-wide feedback every 100 ms and reports every second
    #[arg(long)]
    #[serde(default)]
    feedback: bool,
    /// Links that carry the track to another node, beside the subscriptions
    #[arg(long, default_value_t = 0)]
    #[serde(default)]
    links: u32,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Outcome {
    packets_in: u64,
    packets_out: u64,
    /// Of them over links.
    packets_linked: u64,
    seconds: f64,
    ns_per_packet: f64,
}

/// What happens at one instant: packets of a frame, or feedback of a subscriber.
struct Turn {
    from: SocketAddr,
    datagrams: Vec<Vec<u8>>,
    after: Duration,
}

pub(crate) struct Fanout {
    world: World,
    publisher: usize,
    source: Source,
    codec: Format,
    subscriptions: u32,
    feedback: bool,
    turns: Vec<Turn>,
    frames: u64,
    reported: u64,
    links: u32,
}

impl Fanout {
    pub(crate) fn new(setup: &Setup) -> Self {
        // The clients here send no checks once they are connected.
        let config = Config {
            consent_timeout: Duration::from_secs(1_000_000),
            // The path carries everything and is known to: no probes, whose padding would take numbers.
            start_bitrate: BITRATE,
            max_bitrate: BITRATE,
            ..Config::default()
        };
        let mut world = World::with(1 + u8::from(setup.links > 0), config);
        world.arena = TransmitArena::new(ARENA, ARENA_MESSAGES);
        let publisher = world.join(0);
        let kind = if setup.codec == Format::Opus {
            MediaKind::Audio
        } else {
            MediaKind::Video
        };
        let (payload_type, rtx) = match kind {
            MediaKind::Audio => (OPUS, None),
            MediaKind::Video => (VP8, Some(PayloadType(VP8_RTX))),
        };
        let (codec, clock_rate) = match setup.codec {
            Format::Vp8 => (Codec::Vp8, 90_000),
            Format::Vp9 => (Codec::Vp9, 90_000),
            Format::H264 => (Codec::H264, 90_000),
            Format::Opus => (Codec::Opus, 48_000),
        };
        let track = TrackId(world.id());
        let publish = Publish {
            track,
            peer: world.people[publisher].peer,
            kind,
            mid: Mid::from("0").unwrap(),
            codecs: vec![PublishedCodec {
                payload_type: PayloadType(payload_type),
                rtx_payload_type: rtx,
                codec,
                clock_rate,
                nack: kind == MediaKind::Video,
                pli: kind == MediaKind::Video,
            }],
            rids: Vec::new(),
            ssrcs: Vec::new(),
            sound: Sound::default(),
            fec: FecFormats::default(),
        };
        world.command(0, Command::Publish(publish));
        for index in 0..setup.subscriptions {
            let who = world.join(0);
            let ssrc = FIRST_SSRC + 2 * index;
            let subscribe = Subscribe {
                subscription: SubscriptionId(world.id()),
                peer: world.people[who].peer,
                track,
                home: WorkerId(0),
                kind,
                mid: Mid::from("0").unwrap(),
                ssrc: Ssrc(ssrc),
                rtx_ssrc: rtx.map(|_| Ssrc(ssrc + 1)),
                payloads: vec![PayloadMap {
                    from: PayloadType(payload_type),
                    to: PayloadType(payload_type),
                    rtx,
                }],
                red: None,
                wanted: WANT_ALL,
                fec: FecFormats::default(),
                fec_ssrc: None,
            };
            world.command(0, Command::Subscribe(subscribe));
        }
        for index in 0..setup.links {
            link(&mut world, track, kind, index);
        }
        world.run_for(10 * MS);
        let source = match kind {
            MediaKind::Audio => Source::audio(77, "0"),
            MediaKind::Video => Source::video(77, "0", None, (1_280, 720)),
        };
        let mut fanout = Self {
            world,
            publisher,
            source,
            codec: setup.codec,
            subscriptions: setup.subscriptions,
            feedback: setup.feedback,
            turns: Vec::new(),
            frames: 0,
            reported: 0,
            links: setup.links,
        };
        // Rings, pools and queues reach their full size.
        fanout.prepare(u64::from(fanout.subscriptions + fanout.links) * 700);
        fanout.run();
        fanout
    }

    /// What DTLS agreed on.
    pub(crate) fn profile(&self) -> String {
        let keys = self.world.people[self.publisher].client.keys.as_ref();
        keys.map_or_else(String::new, |(profile, ..)| format!("{profile:?}"))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    /// Makes ready, and protects, what leads to about so many packets out.
    pub(crate) fn prepare(&mut self, packets: u64) {
        let per_frame = if self.codec == Format::Opus { 1 } else { FRAME };
        let frames = packets
            .div_ceil(per_frame as u64 * u64::from((self.subscriptions + self.links).max(1)))
            .max(1);
        let from = self.world.people[self.publisher].address;
        for _ in 0..frames {
            let datagrams = self.frame();
            self.turns.push(Turn {
                from,
                datagrams,
                after: if per_frame == 1 { 20 * MS } else { 33 * MS },
            });
            if self.feedback && self.frames.is_multiple_of(3) {
                self.feed_back();
            }
        }
    }

    /// Forwards what was prepared. Not inlined: callgrind counts from its entry to its return.
    #[inline(never)]
    pub(crate) fn run(&mut self) -> Outcome {
        let mut turns = std::mem::take(&mut self.turns);
        let mut outcome = Outcome::default();
        let (begun, mut elsewhere) = (Instant::now(), Duration::ZERO);
        for turn in &mut turns {
            self.world.now += turn.after;
            let now = self.world.now;
            let engine = &mut self.world.engines[0];
            outcome.packets_in += turn.datagrams.len() as u64;
            for datagram in &mut turn.datagrams {
                engine.handle_datagram(now, SOCKET, turn.from, datagram);
            }
            if engine.next_timeout().is_some_and(|due| due <= now) {
                engine.handle_timeout(now);
            }
            loop {
                self.world.arena.clear();
                let engine = &mut self.world.engines[0];
                let more = engine.poll_transmit(now, &mut self.world.arena);
                outcome.packets_out += self.world.arena.volume().0;
                if self.links > 0 {
                    let crossing = Instant::now();
                    outcome.packets_linked += self.cross_links();
                    elsewhere += crossing.elapsed();
                    for datagram in &mut self.world.wiretap.take().unwrap_or_default() {
                        self.world.engines[0].handle_datagram(now, SOCKET, engine_address(1), datagram);
                    }
                }
                if !more {
                    break;
                }
            }
            while self.world.engines[0].poll_event().is_some() {}
        }
        outcome.seconds = begun.elapsed().saturating_sub(elsewhere).as_secs_f64();
        outcome.ns_per_packet = outcome.seconds * 1e9 / outcome.packets_out.max(1) as f64;
        outcome
    }

    /// What went to the other node, and what that answers. Not counted: it is another machine.
    #[inline(never)]
    fn cross_links(&mut self) -> u64 {
        let World {
            now, engines, arena, ..
        } = &mut self.world;
        let (mut packets, mut answers) = (0, Vec::new());
        for message in arena
            .messages()
            .iter()
            .filter(|message| message.to == engine_address(1))
        {
            let (start, end) = (message.start as usize, (message.start + message.len) as usize);
            for datagram in arena.bytes()[start..end].chunks(message.segment.into()) {
                packets += u64::from(datagram[0] & 0b11 == 0);
                engines[1].handle_datagram(*now, SOCKET, engine_address(0), &mut datagram.to_vec());
            }
        }
        if engines[1].next_timeout().is_some_and(|due| due <= *now) {
            engines[1].handle_timeout(*now);
        }
        loop {
            arena.clear();
            let more = engines[1].poll_transmit(*now, arena);
            for message in arena
                .messages()
                .iter()
                .filter(|message| message.to == engine_address(0))
            {
                let (start, end) = (message.start as usize, (message.start + message.len) as usize);
                let datagrams = arena.bytes()[start..end].chunks(message.segment.into());
                answers.extend(datagrams.map(<[u8]>::to_vec));
            }
            if !more {
                break;
            }
        }
        while engines[1].poll_event().is_some() {}
        self.world.wiretap = Some(answers);
        packets
    }

    fn frame(&mut self) -> Vec<Vec<u8>> {
        let keyframe = self.frames.is_multiple_of(90);
        self.frames += 1;
        let mut packets = match self.codec {
            Format::Opus => vec![self.source.speak(30)],
            _ => self.source.frame(keyframe, FRAME),
        };
        let last = packets.len() - 1;
        for (index, packet) in packets.iter_mut().enumerate() {
            match self.codec {
                Format::Opus => packet.payload.resize(AUDIO_PAYLOAD, 7),
                Format::Vp8 => packet.payload.resize(VIDEO_PAYLOAD, 7),
                // FU-A of an IDR or another slice (RFC 6184 section 5.8).
                Format::H264 => {
                    let edge = u8::from(index == 0) << 7 | u8::from(index == last) << 6;
                    packet.payload = vec![0x7c, edge | if keyframe { 5 } else { 1 }];
                    packet.payload.resize(VIDEO_PAYLOAD, 7);
                }
                // I, P, B and E of the descriptor with a 15-bit picture id (RFC 9628 section 4.2).
                Format::Vp9 => {
                    let edges = u8::from(index == 0) << 3 | u8::from(index == last) << 2;
                    let picture = 0x8000 | (self.frames as u16 & 0x7fff);
                    packet.payload = vec![0x80 | u8::from(!keyframe) << 6 | edges];
                    packet.payload.extend(picture.to_be_bytes());
                    packet.payload.resize(VIDEO_PAYLOAD, 7);
                }
            }
        }
        self.source.sent.clear();
        packets
            .into_iter()
            .map(|packet| self.world.protect(self.publisher, packet))
            .collect()
    }

    /// Feedback of all subscribers on what was sent since the last one, spread over a tick.
    fn feed_back(&mut self) {
        let per_frame = if self.codec == Format::Opus { 1 } else { FRAME as u64 };
        let (first, count) = (self.reported, self.frames * per_frame - self.reported);
        self.reported += count;
        let with_report = self.frames.is_multiple_of(30);
        for index in 0..self.subscriptions {
            let who = self.publisher + 1 + index as usize;
            let mut datagrams = Vec::new();
            let interval = if per_frame == 1 { 20_000 } else { 33_000 };
            let arrival = |number: u64| 1_000_000 + number / per_frame * interval + number % per_frame * 250;
            let times = (first..first + count).map(|number| Some(arrival(number)));
            datagrams.push(self.rtcp(who, |out| {
                let media = FIRST_SSRC + 2 * index;
                twcc::write(out, 1, media, (first / 15) as u8, first as u16, times)
                    .unwrap()
                    .len
            }));
            if with_report {
                let block = ReportBlock {
                    ssrc: FIRST_SSRC + 2 * index,
                    fraction_lost: 0,
                    cumulative_lost: 0,
                    highest_sequence: first as u32,
                    jitter: 10,
                    last_sender_report: 0,
                    delay: 0,
                };
                datagrams.push(self.rtcp(who, |out| report::write_receiver(out, 1, [block]).unwrap()));
            }
            self.turns.push(Turn {
                from: self.world.people[who].address,
                datagrams,
                after: Duration::ZERO,
            });
        }
    }

    fn rtcp(&mut self, who: usize, write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
        let mut bytes = vec![0; 1_500];
        let len = write(&mut bytes[..1_400]);
        let (_, sender, _) = self.world.people[who].client.keys.as_mut().unwrap();
        let len = sender.protect_rtcp(&mut bytes, len).unwrap();
        bytes.truncate(len);
        bytes
    }
}

/// A link to the second engine, another node, and somebody there who wants the track.
fn link(world: &mut World, track: TrackId, kind: MediaKind, index: u32) {
    if index == 0 {
        for (from, to) in [(0, 1), (1, 0)] {
            let way = netem::Link::new(netem::LinkConfig::default(), 0);
            world.cables.push(Cable { from, to, way });
        }
    }
    for (engine, other) in [(0, 1), (1, 0)] {
        let keys = |from: usize| Keys {
            key: [from as u8; 16],
            salt: [index as u8; 12],
        };
        let add = AddLink {
            link: LinkId(index),
            theirs: index,
            send: keys(engine),
            receive: keys(other),
            socket: SOCKET,
            remote: Some(engine_address(other)),
        };
        world.command(engine, Command::AddLink(add));
    }
    let (mirror, peer) = (TrackId(world.id()), PeerId(world.id()));
    let local = IceCredentials {
        ufrag: format!("nobody{index}"),
        pwd: "a-password-of-22-characters".to_owned(),
    };
    world.command(1, Command::AddPeer { peer, local });
    let crossing = Mirror {
        track: mirror,
        link: LinkId(index),
        theirs: track,
        kind,
        group: None,
    };
    world.command(1, Command::Mirror(crossing));
    let subscribe = Subscribe {
        subscription: SubscriptionId(world.id()),
        peer,
        track: mirror,
        home: WorkerId(1),
        kind,
        mid: Mid::from("0").unwrap(),
        ssrc: Ssrc(1),
        rtx_ssrc: None,
        payloads: vec![PayloadMap {
            from: PayloadType(if kind == MediaKind::Audio { OPUS } else { VP8 }),
            to: PayloadType(100),
            rtx: None,
        }],
        red: None,
        wanted: WANT_ALL,
        fec: FecFormats::default(),
        fec_ssrc: None,
    };
    world.command(1, Command::Subscribe(subscribe));
}
