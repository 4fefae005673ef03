use std::sync::Arc;

use wire::picture::PictureId;
use wire::rtp;

use super::*;
use crate::command::{Codec, ExtensionIds, FecFormats, Publish, PublishedCodec, Sound as PublishedSound};
use crate::event::SrtpProfile;
use crate::ids::{PayloadType, Rid, SocketId, Ssrc, WorkerId};
use crate::packet::{Facts, PictureIds};
use crate::srtp::{SrtpReceiver, SrtpSender};
use crate::transmit::TransmitArena;

const MS: u64 = 1_000;
const ALL: Wanted = Wanted {
    paused: false,
    max_spatial: 255,
    max_temporal: 255,
};

/// A three-layer video track and one subscription to it.
struct World {
    track: Track,
    subscription: Subscription,
    sender: SrtpSender,
    receiver: SrtpReceiver,
    transport_sequence: u16,
    now: u64,
}

/// What the subscriber got.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Got {
    sequence: u16,
    timestamp: u32,
    ssrc: u32,
    payload: Vec<u8>,
}

impl World {
    fn new() -> Self {
        let (key, salt) = ([1; 16], [2; 12]);
        let publish = Publish {
            track: TrackId(1),
            peer: PeerId(1),
            kind: MediaKind::Video,
            mid: Mid::from("0").unwrap(),
            codecs: vec![PublishedCodec {
                payload_type: PayloadType(96),
                rtx_payload_type: None,
                codec: Codec::Vp8,
                clock_rate: 90_000,
                nack: true,
                pli: true,
            }],
            rids: ["q", "h", "f"].iter().map(|rid| Rid::from(rid).unwrap()).collect(),
            ssrcs: Vec::new(),
            sound: PublishedSound::default(),
            fec: FecFormats::default(),
        };
        let subscribe = Subscribe {
            subscription: SubscriptionId(1),
            peer: PeerId(2),
            track: TrackId(1),
            home: WorkerId(0),
            kind: MediaKind::Video,
            mid: Mid::from("3").unwrap(),
            ssrc: Ssrc(10),
            rtx_ssrc: Some(Ssrc(11)),
            payloads: vec![PayloadMap {
                from: PayloadType(96),
                to: PayloadType(100),
                rtx: Some(PayloadType(101)),
            }],
            red: None,
            wanted: ALL,
            fec: FecFormats::default(),
            fec_ssrc: None,
        };
        Self {
            track: Track::published(&publish, 0),
            subscription: Subscription::new(0, &subscribe, 0),
            sender: SrtpSender::new(SrtpProfile::AeadAes128Gcm, &key, &salt).unwrap(),
            receiver: SrtpReceiver::new(SrtpProfile::AeadAes128Gcm, &key, &salt).unwrap(),
            transport_sequence: 0,
            now: 0,
        }
    }

    fn set_active(&mut self, active: [bool; 3]) {
        for (layer, active) in self.track.layers.iter_mut().zip(active) {
            layer.active = active;
        }
        self.subscription.update_target(&self.track);
    }

    fn packet(&mut self, layer: u8, seq: u64, facts: Facts) -> Arc<Packet> {
        let mut packet = Packet::default();
        packet.layer = layer;
        packet.seq = seq + 65_536;
        packet.timestamp = 1_000_000 * u32::from(layer) + 3_000 * seq as u32;
        packet.time = packet.timestamp.into();
        packet.payload_type = PayloadType(96);
        packet.arrival = self.now;
        packet.facts = facts;
        assert!(packet.set_content(&[layer, seq as u8], &[]));
        Arc::new(packet)
    }

    fn with_egress<T>(
        &mut self,
        act: impl FnOnce(&mut Subscription, &Track, u64, &mut Egress<'_>) -> T,
    ) -> (T, Vec<Got>) {
        let mut arena = TransmitArena::new(65_536, 64);
        let ids = ExtensionIds {
            transport_cc: Some(3),
            ..ExtensionIds::default()
        };
        let to = (SocketId(0), "127.0.0.1:9".parse().unwrap());
        let mut egress = Egress::new(
            self.now,
            &mut arena,
            &mut self.sender,
            to,
            &ids,
            &mut self.transport_sequence,
        );
        let result = act(&mut self.subscription, &self.track, self.now, &mut egress);
        let mut got = Vec::new();
        for message in arena.messages() {
            let bytes = &arena.bytes()[message.start as usize..(message.start + message.len) as usize];
            for datagram in bytes.chunks(usize::from(message.segment)) {
                let mut datagram = datagram.to_vec();
                let header = rtp::Header::parse(&datagram).unwrap();
                let unprotected = self.receiver.unprotect_rtp(&mut datagram, header.len).unwrap();
                got.push(Got {
                    sequence: header.sequence,
                    timestamp: header.timestamp,
                    ssrc: header.ssrc,
                    payload: datagram[header.len..unprotected.len].to_vec(),
                });
            }
        }
        (result, got)
    }

    fn forward(&mut self, packet: &Arc<Packet>) -> Option<Got> {
        self.track.layers[usize::from(packet.layer)]
            .ring
            .insert(Arc::clone(packet));
        let (_, got) =
            self.with_egress(|subscription, track, now, egress| subscription.forward(now, packet, track, egress));
        got.into_iter().next()
    }

    /// A frame of one packet every 33 ms.
    fn frame(&mut self, layer: u8, seq: u64, keyframe: bool) -> Option<Got> {
        self.now += 33 * MS;
        let facts = Facts {
            keyframe,
            frame_start: true,
            ..Facts::default()
        };
        let packet = self.packet(layer, seq, facts);
        self.forward(&packet)
    }
}

#[test]
fn a_layer_switch_waits_for_a_keyframe_and_runs_on() {
    let mut world = World::new();
    world.set_active([true, false, false]);
    assert_eq!(world.subscription.keyframe_wanted(), Some(0));
    assert_eq!(world.frame(0, 1, false), None);
    let first = world.frame(0, 2, true).unwrap();
    let second = world.frame(0, 3, false).unwrap();
    world.set_active([true, true, true]);
    assert_eq!(world.subscription.keyframe_wanted(), Some(2));
    assert_eq!(world.frame(2, 500, false), None);
    let third = world.frame(0, 4, false).unwrap();
    let fourth = world.frame(2, 501, true).unwrap();
    assert_eq!(world.subscription.keyframe_wanted(), None);
    assert_eq!(world.frame(0, 5, true), None);
    let fifth = world.frame(2, 502, false).unwrap();
    let all = [first, second, third, fourth, fifth];
    for pair in all.windows(2) {
        assert_eq!(pair[1].sequence, pair[0].sequence.wrapping_add(1));
        let step = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!((1..=10_000).contains(&step), "{all:?}");
    }
    assert_eq!(world.subscription.poll_layer(), Some(Some(2)));
    assert_eq!(world.subscription.poll_layer(), None);
}

#[test]
fn the_first_layer_seen_is_not_the_last_word() {
    let mut world = World::new();
    world.set_active([true, true, true]);
    assert!(world.frame(0, 1, true).is_some());
    assert_eq!(world.subscription.keyframe_wanted(), Some(2));
    assert!(world.frame(1, 1, true).is_none());
    assert!(world.frame(2, 1, true).is_some());
    assert_eq!(world.subscription.keyframe_wanted(), None);
}

#[test]
fn a_vanished_layer_is_replaced() {
    let mut world = World::new();
    world.set_active([true, true, true]);
    assert!(world.frame(2, 1, true).is_some());
    world.set_active([true, true, false]);
    assert_eq!(world.subscription.keyframe_wanted(), Some(1));
    assert!(world.frame(1, 9, true).is_some());
}

#[test]
fn a_pause_is_at_once_and_ends_with_a_keyframe() {
    let mut world = World::new();
    world.set_active([true, false, false]);
    let before = world.frame(0, 1, true).unwrap();
    world
        .subscription
        .set_wanted(Wanted { paused: true, ..ALL }, &world.track);
    assert_eq!(world.frame(0, 2, true), None);
    assert_eq!(world.subscription.keyframe_wanted(), None);
    world.subscription.set_wanted(ALL, &world.track);
    assert_eq!(world.frame(0, 3, false), None);
    assert_eq!(world.subscription.keyframe_wanted(), Some(0));
    let after = world.frame(0, 4, true).unwrap();
    assert_eq!(after.sequence, before.sequence + 1);
}

#[test]
fn a_lost_packet_is_sent_again_once_per_round_trip() {
    let mut world = World::new();
    world.set_active([true, false, false]);
    let lost = world.frame(0, 1, true).unwrap();
    world.now += 50 * MS;
    let (_, again) = world.with_egress(|subscription, track, now, egress| {
        let mut ask = |sequence| subscription.repair(now, sequence, track, egress);
        assert_eq!(
            [ask(lost.sequence), ask(lost.sequence), ask(4_000)],
            [true, false, false]
        );
    });
    assert_eq!(again.len(), 1);
    assert_eq!((again[0].ssrc, again[0].timestamp), (11, lost.timestamp));
    let original = [&lost.sequence.to_be_bytes()[..], &lost.payload].concat();
    assert_eq!(again[0].payload, original);
}

#[test]
fn padding_and_dropped_temporal_layers_leave_no_gap() {
    let mut world = World::new();
    world.set_active([true, false, false]);
    world
        .subscription
        .set_wanted(Wanted { max_temporal: 0, ..ALL }, &world.track);
    let picture = |picture: u16, temporal: u8, keyframe| Facts {
        keyframe,
        temporal,
        frame_start: true,
        switching_point: true,
        ids: Some(PictureIds {
            picture_id: Some(PictureId {
                offset: 0,
                value: picture,
                long: false,
            }),
            tl0_pic_idx: None,
        }),
        ..Facts::default()
    };
    let mut got = Vec::new();
    for (seq, facts) in [
        (1, picture(5, 0, true)),
        (2, picture(6, 1, false)),
        (3, picture(7, 0, false)),
    ] {
        let packet = world.packet(0, seq, facts);
        got.extend(world.forward(&packet));
    }
    let mut padding = Packet::default();
    padding.seq = 65_536 + 4;
    padding.payload_type = PayloadType(96);
    assert!(padding.set_content(&[], &[]));
    assert_eq!(world.forward(&Arc::new(padding)), None);
    let packet = world.packet(0, 5, picture(8, 0, false));
    got.extend(world.forward(&packet));
    let first = got[0].sequence;
    let seen: Vec<_> = got.iter().map(|g| (g.sequence - first, g.payload[0])).collect();
    let picture = got[0].payload[0];
    assert_eq!(seen, [(0, picture), (1, picture + 1), (2, picture + 2)]);
}

#[test]
fn a_restarted_layer_asks_for_a_keyframe() {
    let mut world = World::new();
    world.set_active([true, false, false]);
    assert!(world.frame(0, 1, true).is_some());
    for (keyframe, sent) in [(false, false), (true, true)] {
        let mut packet = Packet::default();
        packet.seq = 90_000 + u64::from(keyframe);
        packet.stream = 1;
        packet.payload_type = PayloadType(96);
        packet.facts.keyframe = keyframe;
        assert!(packet.set_content(b"x", &[]));
        assert_eq!(world.forward(&Arc::new(packet)).is_some(), sent);
        assert_eq!(world.subscription.keyframe_wanted(), (!sent).then_some(0));
    }
}

#[test]
fn an_unknown_payload_type_is_not_forwarded() {
    let mut world = World::new();
    world.set_active([true, false, false]);
    let mut packet = Packet::default();
    packet.payload_type = PayloadType(97);
    packet.facts.keyframe = true;
    assert!(packet.set_content(b"x", &[]));
    assert_eq!(world.forward(&Arc::new(packet)), None);
}
