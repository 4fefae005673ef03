//! Parity of a publisher whose path up loses and is too long for retransmission: what subscribers get.

use pysfu_engine::command::{Command, FecFormats, MediaKind};
use pysfu_engine::fec::{Encoder, Format, Media, Pool, Protection};
use pysfu_engine::ids::PayloadType;
use pysfu_engine::stats::LayerRow;

use crate::media::{self, FLEXFEC, RED, Rtp, Source, TRANSPORT_CC, ULPFEC, VP8, VP8_HEADER};
use crate::world::{MS, World, extension_ids};

const SSRC: u32 = 1_000;
const PARITY: u32 = 1_500;
const VIDEO: u32 = 9_000;
const PLAN: Protection = Protection {
    share: 0.5,
    frames: 2,
    ..Protection::NONE
};
const FLEXFEC_ALONE: FecFormats = FecFormats {
    flexfec: Some(PayloadType(FLEXFEC)),
    red: None,
    red_rtx: None,
    ulpfec: None,
};
const ULPFEC_IN_RED: FecFormats = FecFormats {
    flexfec: None,
    red: Some(PayloadType(RED)),
    red_rtx: Some(PayloadType(RED + 1)),
    ulpfec: Some(PayloadType(ULPFEC)),
};

/// The publisher never sends again what it is asked for.
struct Call {
    world: World,
    alice: usize,
    bob: usize,
    fec: FecFormats,
    source: Source,
    encoder: Encoder,
    pool: Pool,
    parity_sequence: u16,
    /// Number of the last media packet, extended.
    number: u64,
    /// What was in each media packet, behind the codec's descriptor.
    sent: Vec<Vec<u8>>,
    lost: usize,
}

impl Call {
    fn new(fec: FecFormats, rids: &[&'static str]) -> Self {
        let mut world = World::new();
        let (alice, bob) = (world.join(0), world.join(0));
        let video = world.publish_protected(alice, "0", rids, fec);
        world.subscribe(bob, video, 0, MediaKind::Video, VIDEO);
        let format = match fec.flexfec {
            Some(_) => Format::Flexfec { ssrc: SSRC },
            None => Format::Ulpfec { payload_type: ULPFEC },
        };
        let mut encoder = Encoder::new(format);
        encoder.protect_by(PLAN, PLAN);
        Self {
            world,
            alice,
            bob,
            fec,
            source: Source::video(SSRC, "0", rids.last().copied(), (640, 360)),
            encoder,
            pool: Pool::default(),
            parity_sequence: 60_000,
            number: 1 << 20,
            sent: Vec::new(),
            lost: 0,
        }
    }

    /// `loses`: by the number of the packet, media and parity together, and whether it is media.
    fn run(&mut self, frames: usize, mut loses: impl FnMut(&mut Self, bool) -> bool) {
        for frame in 0..frames {
            for mut packet in self.source.frame(frame == 0, if frame == 0 { 8 } else { 4 }) {
                // ULPFEC takes numbers of the stream, after the frame was cut.
                if self.fec.flexfec.is_none() {
                    packet.seq = self.parity_sequence;
                    self.parity_sequence = self.parity_sequence.wrapping_add(1);
                }
                let size = 500 + usize::from(packet.seq) * 37 % 600;
                let mark = packet.seq as u8;
                packet.payload.resize(size, mark);
                self.protect(&packet, frame == 0);
                self.sent.push(packet.payload[VP8_HEADER..].to_vec());
                if loses(self, true) {
                    self.lost += 1;
                } else {
                    let packet = self.in_red(packet);
                    self.world.send(self.alice, packet);
                }
            }
            for packet in self.repairs() {
                if !loses(self, false) {
                    self.world.send(self.alice, packet);
                }
            }
            self.source.sent.clear();
            self.world.run_for(30 * MS);
        }
        self.world.run_for(100 * MS);
    }

    /// As it goes over the wire, without RED.
    fn protect(&mut self, packet: &Rtp, keyframe: bool) {
        let mut packet = packet.clone();
        packet.extensions.push((TRANSPORT_CC, vec![0, 0]));
        let (bytes, header) = packet.write();
        self.number = wire::seq::extend(self.number, packet.seq);
        let media = Media {
            sequence: self.number,
            header: &bytes[..header],
            payload_type: VP8,
            payload: [&bytes[header..], &[]],
            essential: true,
            keyframe,
        };
        self.encoder.protect(0, &media, &extension_ids(), &mut self.pool);
    }

    fn in_red(&self, mut packet: Rtp) -> Rtp {
        if let Some(PayloadType(red)) = self.fec.red {
            packet.payload.insert(0, packet.payload_type);
            packet.payload_type = red;
        }
        packet
    }

    fn repairs(&mut self) -> Vec<Rtp> {
        let mut made = Vec::new();
        while let Some(repair) = self.encoder.due(u64::MAX) {
            made.push((repair.timestamp, repair.parts().concat()));
            self.encoder.sent(&mut self.pool);
        }
        made.into_iter()
            .map(|(time, payload)| self.parity(time, payload))
            .collect()
    }

    fn parity(&mut self, timestamp: u32, payload: Vec<u8>) -> Rtp {
        let seq = self.parity_sequence;
        self.parity_sequence = seq.wrapping_add(1);
        let flexfec = self.fec.flexfec.is_some();
        Rtp {
            ssrc: if flexfec { PARITY } else { SSRC },
            payload_type: if flexfec { FLEXFEC } else { RED },
            seq,
            timestamp,
            marker: false,
            extensions: vec![(media::MID, b"0".to_vec())],
            payload,
            padding: 0,
        }
    }

    fn layer(&self, index: usize) -> LayerRow {
        self.world.stats(0).layers[index]
    }

    /// How many empty packets Bob got.
    fn filled(&self) -> u64 {
        let packets = self.world.people[self.bob].rtp.iter();
        packets
            .filter(|packet| packet.ssrc == VIDEO && packet.payload.is_empty())
            .count() as u64
    }

    /// What Bob has, in the order of its numbers, and how many numbers are missing.
    fn shown(&self) -> (Vec<Vec<u8>>, u64) {
        let packets = self.world.people[self.bob].rtp.iter();
        let mut last = 1 << 20;
        let mut shown: Vec<_> = packets
            .filter(|packet| packet.ssrc == VIDEO && !packet.payload.is_empty())
            .map(|packet| {
                assert_eq!(packet.payload_type, VP8);
                last = wire::seq::extend(last, packet.seq);
                (last, packet.payload[VP8_HEADER..].to_vec())
            })
            .collect();
        shown.sort();
        let numbers = shown.last().unwrap().0 - shown[0].0 + 1;
        let missing = numbers - shown.len() as u64;
        (shown.into_iter().map(|(_, payload)| payload).collect(), missing)
    }
}

#[test]
fn what_is_made_anew_leaves_no_gap() {
    for fec in [FLEXFEC_ALONE, ULPFEC_IN_RED] {
        let mut call = Call::new(fec, &[]);
        // Every ninth packet of the stream is lost, after the first repairs came; repairs arrive.
        let mut count = 0;
        // The last group is complete: the keyframe has its own, then two frames make one.
        call.run(201, |_, media| {
            count += usize::from(media);
            media && count > 30 && count % 9 == 0
        });
        assert!(call.lost > 80);
        let layer = call.layer(0);
        assert_eq!(
            (layer.packets_recovered_fec, layer.packets_recovered),
            (call.lost as u64, call.lost as u64),
            "{fec:?}"
        );
        // The worker counts it when the track is gone, too.
        let counted = |call: &Call| {
            let worker = call.world.stats(0).workers[0];
            (worker.uplink_packets_recovered_fec, worker.uplink_packets_recovered)
        };
        let before = counted(&call);
        assert_eq!(before, (call.lost as u64, call.lost as u64), "{fec:?}");
        let (shown, missing) = call.shown();
        assert_eq!(missing, 0, "{fec:?}");
        assert!(shown == call.sent, "{fec:?}");
        let peer = call.world.people[call.alice].peer;
        call.world.command(0, Command::RemovePeer { peer });
        assert!(call.world.stats(0).layers.is_empty());
        assert_eq!(counted(&call), before, "{fec:?}");
    }
}

#[test]
fn parity_that_is_lost_is_waited_for_by_nobody() {
    let mut call = Call::new(ULPFEC_IN_RED, &[]);
    let mut count = 0;
    call.run(201, |_, media| {
        count += usize::from(!media);
        !media && count % 3 == 0
    });
    let (shown, missing) = call.shown();
    assert!(shown == call.sent);
    // Before other parity it is seen as a loss until the next picture begins; behind it, it is no loss at all.
    let layer = call.layer(0);
    assert_eq!(missing, call.filled());
    assert!(missing < layer.packets_lost as u64, "{missing} of {layer:?}");
    // The publisher is asked for it about once.
    assert!(layer.nacks_sent <= missing * 11 / 10, "{missing} of {layer:?}");
}

/// The end of a picture comes late, and parity behind it never: numbers that were set aside for it are filled.
#[test]
fn parity_that_is_lost_behind_a_late_packet_is_filled() {
    let mut call = Call::new(ULPFEC_IN_RED, &[]);
    call.run(20, |_, _| false);
    for _ in 0..10 {
        let mut late = None;
        for last in [true, false] {
            for mut packet in call.source.frame(false, 4) {
                packet.seq = call.parity_sequence;
                call.parity_sequence = call.parity_sequence.wrapping_add(1);
                call.sent.push(packet.payload[VP8_HEADER..].to_vec());
                let ends = packet.marker;
                let packet = call.in_red(packet);
                match last && ends {
                    true => late = Some(packet),
                    false => call.world.send(call.alice, packet),
                }
            }
            call.parity_sequence = call.parity_sequence.wrapping_add(u16::from(last));
            call.world.run_for(2 * MS);
        }
        call.world.send(call.alice, late.unwrap());
        call.world.run_for(30 * MS);
    }
    let (shown, missing) = call.shown();
    assert!(shown == call.sent);
    assert_eq!((missing, call.filled()), (10, 10));
    assert_eq!(call.layer(0).nacks_sent, 0);
}

fn random(seed: &mut u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    *seed >> 33
}

#[test]
fn most_of_random_losses_are_mended_without_a_round_trip() {
    for fec in [FLEXFEC_ALONE, ULPFEC_IN_RED] {
        for mut seed in 0..5 {
            let mut call = Call::new(fec, &[]);
            call.run(300, |_, _| random(&mut seed) % 100 < 5);
            let (shown, _) = call.shown();
            let mended = call.layer(0).packets_recovered_fec;
            println!("{fec:?}: {mended} of {}", call.lost);
            assert!(
                call.lost > 30 && mended * 10 >= call.lost as u64 * 8,
                "{mended} {}",
                call.lost
            );
            assert!(shown.len() as u64 + call.lost as u64 >= call.sent.len() as u64 + mended);
        }
    }
}

#[test]
fn flexfec_finds_its_simulcast_layer_by_the_ssrc_it_names() {
    let mut call = Call::new(FLEXFEC_ALONE, &["q", "h"]);
    let mut count = 0;
    call.run(101, |_, media| {
        count += usize::from(media);
        media && count > 30 && count % 9 == 0
    });
    let recovered = [0, 1].map(|layer| call.layer(layer).packets_recovered_fec);
    assert_eq!(recovered, [0, call.lost as u64]);
}

#[test]
fn hostile_parity_changes_nothing() {
    for fec in [FLEXFEC_ALONE, ULPFEC_IN_RED] {
        let mut call = Call::new(fec, &[]);
        let mut seed = 7;
        call.run(200, |call, media| {
            if !media {
                for _ in 0..20 {
                    let len = random(&mut seed) as usize % 1_200;
                    let mut payload: Vec<u8> = (0..len).map(|_| random(&mut seed) as u8).collect();
                    if fec.flexfec.is_none() {
                        payload.insert(0, ULPFEC);
                    }
                    let packet = call.parity(call.source.timestamp, payload);
                    call.world.send(call.alice, packet);
                }
            }
            false
        });
        let (shown, _) = call.shown();
        assert_eq!(
            shown.iter().filter(|&payload| call.sent.contains(payload)).count(),
            call.sent.len()
        );
    }
}

#[test]
fn parity_that_was_not_negotiated_goes_nowhere() {
    let mut call = Call::new(FLEXFEC_ALONE, &[]);
    let before = call.world.stats(0).workers[0].dropped_no_route;
    let packet = Rtp {
        payload_type: RED,
        ..call.parity(0, vec![ULPFEC, 0, 0])
    };
    call.world.send(call.alice, packet);
    assert_eq!(call.world.stats(0).workers[0].dropped_no_route, before + 1);
}
