//! Scalable streams: VP9 by its payload descriptor, and by dependency descriptors with payloads that nobody can read.

mod decoder;
mod encoder;
mod links;

use std::collections::HashSet;

use pysfu_engine::Event;
use pysfu_engine::command::{
    AnnouncedSsrc, Codec, Command, ExtensionIds, FecFormats, MediaKind, PayloadMap, Publish, PublishedCodec, Sound,
    Subscribe, Wanted,
};
use pysfu_engine::ids::{Mid, PayloadType, Ssrc, SubscriptionId, TrackId, WorkerId};

use crate::links::Nodes;
use crate::media::Rtp;
use crate::world::{MS, WANT_ALL, World, extension_ids};
use decoder::Shown;
use encoder::{Between, Encoder, Made, Mode, Told};

pub(crate) const DEPENDENCY: u8 = 6;
const VIDEO: u8 = 98;
const VIDEO_RTX: u8 = 99;
const IN: u32 = 1_000;
const OUT: u32 = 9_000;
/// Milliseconds between pictures, a multiple of the world's step.
const PICTURE: u64 = 35;
/// An encoder answers a request for a keyframe with its next picture; requests have this spacing, milliseconds.
const REQUESTS: u64 = 2_000;

const fn mode(told: Told, spatial: u8, temporal: u8, between: Between) -> Mode {
    Mode {
        spatial,
        temporal,
        between,
        told,
    }
}

/// Every scalability mode that is supported, by its name in WebRTC-SVC.
const MODES: [(&str, Mode); 15] = [
    ("VP9 L1T2", mode(Told::Vp9, 1, 2, Between::Always)),
    ("VP9 L1T3", mode(Told::Vp9, 1, 3, Between::Always)),
    ("VP9 L2T3", mode(Told::Vp9, 2, 3, Between::Always)),
    ("VP9 L3T3", mode(Told::Vp9, 3, 3, Between::Always)),
    ("VP9 L3T3_KEY", mode(Told::Vp9, 3, 3, Between::InKeyframes)),
    ("VP9 flexible L1T3", mode(Told::Vp9Flexible, 1, 3, Between::Always)),
    ("VP9 flexible L3T3", mode(Told::Vp9Flexible, 3, 3, Between::Always)),
    (
        "VP9 flexible L3T3_KEY",
        mode(Told::Vp9Flexible, 3, 3, Between::InKeyframes),
    ),
    ("DD L1T2", mode(Told::Dependency, 1, 2, Between::Always)),
    ("DD L1T3", mode(Told::Dependency, 1, 3, Between::Always)),
    ("DD L2T3", mode(Told::Dependency, 2, 3, Between::Always)),
    ("DD L3T3", mode(Told::Dependency, 3, 3, Between::Always)),
    ("DD L3T3_KEY", mode(Told::Dependency, 3, 3, Between::InKeyframes)),
    ("DD L2T1_KEY", mode(Told::Dependency, 2, 1, Between::InKeyframes)),
    ("DD S2T3", mode(Told::Dependency, 2, 3, Between::Never)),
];

/// As many as are quick, or from the environment.
fn seeds(usual: u64) -> std::ops::RangeInclusive<u64> {
    1..=std::env::var("PYSFU_SEEDS")
        .ok()
        .and_then(|count| count.parse().ok())
        .unwrap_or(usual)
}

struct Random(u64);

impl Random {
    fn below(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % below
    }
}

/// One publisher of a scalable stream and one subscriber, on the same node or on the last of several.
struct Call {
    world: World,
    alice: usize,
    bob: usize,
    /// Where Bob is.
    node: usize,
    /// What the track is called on each node.
    tracks: Vec<TrackId>,
    subscription: SubscriptionId,
    encoder: Encoder,
    seq: u16,
    rtx_seq: u16,
    timestamp: u32,
    /// Sent by number, for repairs, with frame and index.
    sent: Vec<(Rtp, (u32, u8))>,
    /// On their way: when they arrive, milliseconds.
    on_the_way: Vec<(u64, Vec<u8>, (u32, u8))>,
    arrived: HashSet<(u32, u8)>,
    received: Vec<(u64, Rtp)>,
    loss: Loss,
    random: Random,
    keyframes: u32,
}

/// Of the path from the publisher: percent of packets lost and reordered, and whether repairs are lost, too.
#[derive(Clone, Copy, Default)]
struct Loss {
    lost: u64,
    reordered: u64,
    repairs: bool,
}

impl Call {
    fn new(mode: Mode, loss: Loss, seed: u64) -> Self {
        let mut call = Self::among(World::new(), 0, mode, seed);
        call.loss = loss;
        call
    }

    /// Each node has a link to the next one; the track crosses all of them.
    fn among(mut world: World, node: usize, mode: Mode, seed: u64) -> Self {
        let alice = join(&mut world, 0);
        let bob = join(&mut world, node);
        let track = TrackId(world.id());
        let subscription = SubscriptionId(world.id());
        let codec = match mode.told {
            Told::Dependency => Codec::Av1,
            Told::Vp8 => Codec::Vp8,
            _ => Codec::Vp9,
        };
        let publish = Publish {
            track,
            peer: world.people[alice].peer,
            kind: MediaKind::Video,
            mid: Mid::from("0").unwrap(),
            codecs: vec![PublishedCodec {
                payload_type: PayloadType(VIDEO),
                rtx_payload_type: Some(PayloadType(VIDEO_RTX)),
                codec,
                clock_rate: 90_000,
                nack: true,
                pli: true,
            }],
            rids: Vec::new(),
            ssrcs: vec![AnnouncedSsrc {
                ssrc: Ssrc(IN),
                rtx_ssrc: Some(Ssrc(IN + 1)),
            }],
            sound: Sound::default(),
            fec: FecFormats::default(),
        };
        world.command(0, Command::Publish(publish));
        let mut nodes = Nodes { world };
        let mut tracks = vec![track];
        for here in 1..=node {
            let mirror = nodes.mirror(here, here - 1, tracks[here - 1], MediaKind::Video);
            tracks.push(mirror);
        }
        let mut call = Self {
            world: nodes.world,
            alice,
            bob,
            node,
            tracks,
            subscription,
            encoder: Encoder::new(mode),
            seq: 65_000,
            rtx_seq: 7,
            timestamp: u32::MAX - 90_000,
            sent: Vec::new(),
            on_the_way: Vec::new(),
            arrived: HashSet::new(),
            received: Vec::new(),
            loss: Loss::default(),
            random: Random(seed * 2 + 1),
            keyframes: 0,
        };
        call.subscribe(bob, subscription);
        call
    }

    fn subscribe(&mut self, who: usize, subscription: SubscriptionId) {
        let node = self.world.people[who].worker;
        let subscribe = Subscribe {
            subscription,
            peer: self.world.people[who].peer,
            track: self.tracks[node],
            home: WorkerId(node as u8),
            kind: MediaKind::Video,
            mid: Mid::from("s").unwrap(),
            ssrc: Ssrc(OUT),
            rtx_ssrc: Some(Ssrc(OUT + 1)),
            payloads: vec![PayloadMap {
                from: PayloadType(VIDEO),
                to: PayloadType(VIDEO),
                rtx: Some(PayloadType(VIDEO_RTX)),
            }],
            red: None,
            wanted: WANT_ALL,
            fec: FecFormats::default(),
            fec_ssrc: None,
        };
        self.world.command(node, Command::Subscribe(subscribe));
    }

    fn want(&mut self, max_spatial: u8, max_temporal: u8) {
        self.want_for(self.bob, self.subscription, (max_spatial, max_temporal));
    }

    fn want_for(&mut self, who: usize, subscription: SubscriptionId, (max_spatial, max_temporal): (u8, u8)) {
        let wanted = Wanted {
            paused: false,
            max_spatial,
            max_temporal,
        };
        let peer = self.world.people[who].peer;
        self.world.command(
            self.world.people[who].worker,
            Command::SetWanted {
                peer,
                subscription,
                wanted,
            },
        );
    }

    fn now(&self) -> u64 {
        (self.world.now - self.world.start).as_millis() as u64
    }

    /// One picture, a keyframe if one was asked for, and the time until the next.
    fn picture(&mut self) {
        let asked = self.world.people[self.alice].keyframe_requests().contains(&IN);
        self.picture_with(asked);
    }

    fn picture_with(&mut self, key: bool) {
        self.repair();
        self.world.people[self.alice].rtcp.clear();
        self.keyframes += u32::from(key);
        let packets = 1 + self.random.below(3) as u8;
        for made in self.encoder.picture(key, packets) {
            self.send(made);
        }
        self.timestamp = self.timestamp.wrapping_add(90 * PICTURE as u32);
        for _ in 0..PICTURE / 5 {
            self.deliver();
            self.world.run_for(5 * MS);
            let now = self.now();
            let got = std::mem::take(&mut self.world.people[self.bob].rtp);
            self.received.extend(got.into_iter().map(|packet| (now, packet)));
        }
    }

    fn send(&mut self, made: Made) {
        let mut extensions = vec![(crate::media::MID, b"0".to_vec())];
        if !made.dependency.is_empty() {
            extensions.push((DEPENDENCY, made.dependency));
        }
        let packet = Rtp {
            ssrc: IN,
            payload_type: VIDEO,
            seq: self.seq,
            timestamp: self.timestamp,
            marker: made.marker,
            extensions,
            payload: made.payload,
            padding: 0,
        };
        self.seq = self.seq.wrapping_add(1);
        let (_, index, _) = encoder::read_tag(&packet.payload);
        self.transmit(packet.clone(), (made.frame, index), self.loss.lost);
        self.sent.push((packet, (made.frame, index)));
    }

    fn transmit(&mut self, packet: Rtp, of: (u32, u8), lost: u64) {
        let datagram = self.world.protect(self.alice, packet);
        if self.random.below(100) < lost {
            return;
        }
        let late = self.random.below(100) < self.loss.reordered;
        let delay = if late { 5 * (1 + self.random.below(6)) } else { 0 };
        self.on_the_way.push((self.now() + delay, datagram, of));
    }

    fn deliver(&mut self) {
        let now = self.now();
        let (due, later): (Vec<_>, Vec<_>) = std::mem::take(&mut self.on_the_way)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.on_the_way = later;
        for (_, datagram, of) in due {
            self.arrived.insert(of);
            self.world.deliver(self.alice, datagram);
        }
    }

    /// Sends again what the engine asked for (RFC 4588 section 4).
    fn repair(&mut self) {
        for seq in self.world.people[self.alice].nacked(IN) {
            let Some((mut packet, of)) = self.sent.iter().rev().find(|(packet, _)| packet.seq == seq).cloned() else {
                continue;
            };
            packet.payload = [&seq.to_be_bytes(), packet.payload.as_slice()].concat();
            (packet.payload_type, packet.ssrc, packet.seq) = (VIDEO_RTX, IN + 1, self.rtx_seq);
            self.rtx_seq = self.rtx_seq.wrapping_add(1);
            let lost = if self.loss.repairs { 100 } else { self.loss.lost };
            self.transmit(packet, of, lost);
        }
    }

    /// Packets sent that never arrived.
    fn lost(&self) -> HashSet<(u32, u8)> {
        let sent = self.sent.iter().map(|(_, of)| *of);
        sent.filter(|of| !self.arrived.contains(of)).collect()
    }

    fn check(&self) -> Vec<Shown> {
        decoder::check(&self.encoder, &self.received, &self.lost())
    }

    fn forwarded(&self) -> Option<u8> {
        let mut layers = self.world.events.iter().filter_map(|event| match event {
            Event::LayerForwarded { subscription, layer } if *subscription == self.subscription => Some(*layer),
            _ => None,
        });
        layers.next_back().flatten()
    }
}

/// Somebody who takes dependency descriptors.
fn join(world: &mut World, node: usize) -> usize {
    let who = world.join(node);
    let peer = world.people[who].peer;
    let ids = ExtensionIds {
        dependency_descriptor: Some(DEPENDENCY),
        ..extension_ids()
    };
    world.command(node, Command::SetExtensions { peer, ids });
    who
}

/// Layers of the pictures shown within these times, milliseconds.
fn layers(shown: &[Shown], times: std::ops::Range<u64>) -> (u8, u8) {
    let within = shown.iter().filter(|shown| times.contains(&shown.at));
    within.fold((0, 0), |(spatial, temporal), shown| {
        (spatial.max(shown.spatial), temporal.max(shown.temporal))
    })
}

/// Targets change at random; each is reached in bounded time and kept to, and nothing is ever broken.
#[test]
fn targets_change_at_random() {
    for (name, mode) in MODES {
        for seed in seeds(3) {
            let mut call = Call::new(mode, Loss::default(), seed);
            for _ in 0..20 {
                call.picture();
            }
            let mut periods = Vec::new();
            for _ in 0..12 {
                let spatial = call.random.below(u64::from(mode.spatial) + 1) as u8;
                let temporal = call.random.below(u64::from(mode.temporal) + 1) as u8;
                let before = call.now();
                call.want(spatial, temporal);
                // A request for a keyframe may have to wait, then comes the picture, then the lowest temporal layer.
                for _ in 0..REQUESTS / PICTURE + 10 {
                    call.picture();
                }
                let reached = call.now();
                for _ in 0..8 {
                    call.picture();
                }
                let target = (spatial.min(mode.spatial - 1), temporal.min(mode.temporal - 1));
                periods.push((before, reached, call.now(), target));
                let stats = call.world.stats(0);
                let row = stats.subscriptions[0];
                assert_eq!(
                    (row.spatial, row.temporal),
                    (target.0.into(), target.1.into()),
                    "{name} {seed}"
                );
                assert_eq!(call.forwarded(), Some(target.0));
            }
            assert!(call.lost().is_empty());
            let shown = call.check();
            for (before, reached, end, target) in periods {
                assert_eq!(
                    layers(&shown, reached..end),
                    target,
                    "{name}, seed {seed}, {before}..{end}"
                );
                let count = shown.iter().filter(|shown| (reached..end).contains(&shown.at)).count();
                let expected = 8 >> (mode.temporal - 1 - target.1);
                assert!(count.abs_diff(expected) <= 1, "{name} {seed}: {count} pictures");
            }
        }
    }
}

/// Uplink with loss and reordering, repaired or not.
#[test]
fn loss_and_reordering_before_the_engine() {
    for (name, mode) in MODES {
        for seed in seeds(5) {
            let (lost, reordered, repairs) = [
                (3, 5, false),
                (0, 20, false),
                (8, 20, false),
                (2, 5, true),
                (1, 0, true),
            ][seed as usize % 5];
            let loss = Loss {
                lost,
                reordered,
                repairs,
            };
            let mut call = Call::new(mode, loss, seed);
            for _ in 0..30 {
                let spatial = call.random.below(u64::from(mode.spatial)) as u8;
                let temporal = call.random.below(u64::from(mode.temporal)) as u8;
                call.want(spatial, temporal);
                for _ in 0..call.random.below(30) {
                    call.picture();
                }
            }
            call.loss = Loss::default();
            call.want(255, 255);
            for _ in 0..REQUESTS / PICTURE + 20 {
                call.picture();
            }
            let end = call.now();
            let shown = call.check();
            let best = (mode.spatial - 1, mode.temporal - 1);
            assert_eq!(layers(&shown, end - 300..end), best, "{name} {seed}");
        }
    }
}

/// The top layer vanishes without a word: the next one takes its place, and it comes back.
#[test]
fn a_vanished_spatial_layer_is_replaced() {
    for (name, mode) in MODES.into_iter().filter(|(_, mode)| mode.spatial == 3) {
        let mut call = Call::new(mode, Loss::default(), 1);
        for _ in 0..60 {
            call.picture();
        }
        call.encoder.sends = 2;
        call.encoder.silent = true;
        let vanished = call.now();
        for _ in 0..60 {
            call.picture();
        }
        let back = call.now();
        call.encoder.sends = 3;
        call.picture_with(true);
        for _ in 0..60 {
            call.picture();
        }
        let shown = call.check();
        let next = shown
            .iter()
            .find(|shown| shown.at > vanished && shown.spatial == 1)
            .unwrap();
        assert!(next.at - vanished <= 250, "{name}: after {} ms", next.at - vanished);
        assert_eq!(layers(&shown, next.at..back), (1, 2), "{name}");
        assert_eq!(layers(&shown, back + 700..call.now()), (2, 2), "{name}");
        let longest = shown.windows(2).map(|pair| pair[1].at - pair[0].at).max().unwrap();
        assert!(longest <= 250, "{name}: {longest} ms without a picture");
        // It was not asked for more often than that.
        assert!(call.keyframes <= 6, "{name}: {} keyframes", call.keyframes);
    }
}

/// Who comes later begins with the last keyframe, with the layers that are wanted.
#[test]
fn a_newcomer_begins_with_what_is_kept() {
    for (name, mode) in MODES {
        let mut call = Call::new(mode, Loss::default(), 1);
        for _ in 0..10 {
            call.picture();
        }
        let keyframes = call.keyframes;
        let carol = join(&mut call.world, 0);
        let subscription = SubscriptionId(call.world.id());
        call.subscribe(carol, subscription);
        for _ in 0..10 {
            call.picture();
        }
        let got = std::mem::take(&mut call.world.people[carol].rtp);
        call.received = got.into_iter().map(|packet| (0, packet)).collect();
        let shown = call.check();
        assert!(shown.len() >= 15, "{name}: {}", shown.len());
        assert_eq!(call.keyframes, keyframes, "{name}");
    }
}

/// A packet that the subscriber missed is sent again as it was: descriptor, marker and all.
#[test]
fn what_is_sent_again_is_the_same() {
    for (name, mode) in MODES {
        let mut call = Call::new(mode, Loss::default(), 1);
        let missed = std::rc::Rc::new(std::cell::RefCell::new(Vec::<Rtp>::new()));
        let into = std::rc::Rc::clone(&missed);
        call.world.people[call.bob].loses = Box::new(move |packet| {
            let loses = packet.ssrc == OUT && packet.seq % 7 == 0;
            if loses {
                into.borrow_mut().push(packet.clone());
            }
            loses
        });
        call.want(1, 1);
        for _ in 0..60 {
            if call.random.below(10) == 0 {
                let (spatial, temporal) = (call.random.below(3) as u8, call.random.below(3) as u8);
                call.want(spatial, temporal);
            }
            call.picture();
            let lost: Vec<_> = missed.borrow().iter().rev().take(4).map(|packet| packet.seq).collect();
            for seq in lost {
                call.world
                    .send_rtcp(call.bob, |out| wire::rtcp::nack::write(out, 77, OUT, [seq]).unwrap());
            }
        }
        let again: Vec<_> = call
            .received
            .iter()
            .filter(|(_, packet)| packet.ssrc == OUT + 1)
            .collect();
        assert!(again.len() > 5, "{name}: {}", again.len());
        for (_, packet) in again {
            let seq = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
            let missed = missed.borrow();
            let original = missed.iter().find(|packet| packet.seq == seq).unwrap();
            assert_eq!(packet.payload[2..], original.payload, "{name}");
            assert_eq!(
                (packet.marker, packet.timestamp, packet.extension(DEPENDENCY)),
                (original.marker, original.timestamp, original.extension(DEPENDENCY)),
                "{name}"
            );
        }
    }
}
