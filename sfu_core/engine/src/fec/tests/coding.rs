//! What an encoder makes of a stream, a decoder recovers.

use wire::ext::{Form, Writer};
use wire::{red::Redundant, rtp};

use super::path::Random;
use crate::command::ExtensionIds;
use crate::fec::{Decoder, Encoder, Format, MAX_BITS, Media, Pool, Protection, Received};

const SSRC: u32 = 0x1122_3344;
const MEDIA_TYPE: u8 = 96;
const IDS: ExtensionIds = ExtensionIds {
    mid: Some(1),
    rid: None,
    repaired_rid: None,
    audio_level: None,
    transport_cc: Some(3),
    abs_send_time: Some(4),
    abs_capture_time: None,
    dependency_descriptor: None,
    video_orientation: None,
    playout_delay: None,
};
const FORMATS: [Format; 2] = [Format::Ulpfec { payload_type: 122 }, Format::Flexfec { ssrc: SSRC }];

/// One packet as it is sent, and as it should be recovered: with mutable values zero.
struct Packet {
    sequence: u64,
    header: Vec<u8>,
    payload: Vec<u8>,
    expected: Vec<u8>,
    keyframe: bool,
    essential: bool,
}

impl Packet {
    fn new(sequence: u64, timestamp: u32, marker: bool, payload: Vec<u8>) -> Self {
        let header = |mutable: [u8; 5]| {
            let mut out = vec![0; 64];
            let fixed =
                rtp::write_header(&mut out, marker, MEDIA_TYPE, sequence as u16, timestamp, SSRC, true).unwrap();
            let mut extensions = Writer::new(&mut out[fixed..], Form::OneByte);
            extensions.put(3, &mutable[..2]).unwrap();
            extensions.put(1, b"mid").unwrap();
            extensions.put(4, &mutable[2..]).unwrap();
            let len = fixed + extensions.finish().unwrap();
            out.truncate(len);
            out
        };
        let time = sequence.wrapping_mul(0x9e37_79b9).to_be_bytes();
        let expected = [header([0; 5]), payload.clone()].concat();
        Self {
            sequence,
            header: header([time[3], time[4], time[5], time[6], time[7]]),
            payload,
            expected,
            keyframe: false,
            essential: true,
        }
    }

    fn media(&self) -> Media<'_> {
        let (lead, rest) = self.payload.split_at(self.payload.len().min(3));
        Media {
            sequence: self.sequence,
            header: &self.header,
            payload_type: MEDIA_TYPE,
            payload: [lead, rest],
            essential: self.essential,
            keyframe: self.keyframe,
        }
    }

    fn received(&self) -> Received<'_> {
        Received {
            header: &self.header,
            payload_type: MEDIA_TYPE,
            payload: &self.payload,
        }
    }
}

fn plan(share: f32, frames: u8) -> Protection {
    Protection {
        share,
        frames,
        ..Protection::NONE
    }
}

/// `frames` frames of `packets` packets with random payloads, 33 ms apart. The shorter some packets, the fewer repairs.
fn stream(random: &mut Random, first: u64, shortest: u64, frames: u64, packets: u64) -> Vec<Packet> {
    (0..frames * packets)
        .map(|index| {
            let payload = (0..shortest + random.below(1_200 - shortest))
                .map(|_| random.next() as u8)
                .collect();
            let timestamp = (index / packets * 3_000) as u32;
            Packet::new(first + index, timestamp, index % packets == packets - 1, payload)
        })
        .collect()
}

fn take_all(encoder: &mut Encoder, pool: &mut Pool, repairs: &mut Vec<Vec<u8>>) {
    while let Some(repair) = encoder.due(u64::MAX) {
        repairs.push(repair.parts().concat());
        encoder.sent(pool);
    }
}

/// Repairs of each group, in order.
fn encode(format: Format, plan: Protection, packets: &[Packet]) -> Vec<Vec<u8>> {
    let (mut encoder, mut pool) = (Encoder::new(format), Pool::default());
    encoder.protect_by(plan, plan);
    let mut repairs = Vec::new();
    for packet in packets {
        encoder.protect(0, &packet.media(), &IDS, &mut pool);
        take_all(&mut encoder, &mut pool, &mut repairs);
    }
    repairs
}

/// The payload of a repair packet without RED.
fn unwrapped(format: Format, repair: &[u8]) -> &[u8] {
    match format {
        Format::Ulpfec { payload_type } => {
            let block = Redundant::single(repair).unwrap();
            assert_eq!(block.payload_type, payload_type);
            block.data
        }
        Format::Flexfec { .. } => repair,
    }
}

fn base_of(format: Format, repair: &[u8]) -> u16 {
    match format {
        Format::Ulpfec { .. } => wire::ulpfec::Packet::parse(&repair[1..]).unwrap().base,
        Format::Flexfec { .. } => wire::flexfec::Packet::parse(repair).unwrap().base,
    }
}

fn drain(decoder: &mut Decoder, into: &mut Vec<Vec<u8>>) {
    while let Some(packet) = decoder.poll_recovered() {
        into.push(packet.to_vec());
    }
}

/// A decoder that has begun to keep packets, before those numbered from `first`.
fn awake(format: Format, first: u64) -> Decoder {
    let packet = Packet::new(first - 1, 0, true, vec![1]);
    let mut decoder = Decoder::new(format, SSRC);
    for repair in encode(format, plan(1.0, 1), &[packet]) {
        decoder.handle_repair(unwrapped(format, &repair));
    }
    assert!(decoder.poll_recovered().is_some());
    decoder
}

#[test]
fn any_burst_as_long_as_the_repairs_is_recovered() {
    let mut random = Random::new(1);
    for format in FORMATS {
        for (share, frames) in [(0.1, 4), (0.15, 4), (0.05, 4), (0.12, 3)] {
            let packets = stream(&mut random, 65_530, 1_000, 4, 10);
            let repairs = encode(format, plan(share, frames), &packets);
            // The first group alone: what was lost in it, for every place of the burst.
            let first = &packets[..usize::from(frames) * 10];
            let base = first[0].sequence as u16;
            let count = repairs
                .iter()
                .filter(|repair| base_of(format, repair).wrapping_sub(base) < first.len() as u16)
                .count();
            assert!(count as f32 >= 0.5 * share * first.len() as f32, "{count}");
            for start in 0..first.len() - count {
                let mut decoder = awake(format, packets[0].sequence);
                let lost = start..start + count;
                let mut recovered = Vec::new();
                for (index, packet) in first.iter().enumerate() {
                    if !lost.contains(&index) {
                        decoder.handle_media(&packet.received(), &IDS);
                    }
                }
                for repair in &repairs {
                    decoder.handle_repair(unwrapped(format, repair));
                    drain(&mut decoder, &mut recovered);
                }
                // Of the next group, whose media never came, a repair may be a packet itself.
                let number = |packet: &Vec<u8>| rtp::Header::parse(packet).unwrap().sequence.wrapping_sub(base);
                recovered.retain(|packet| usize::from(number(packet)) < first.len());
                recovered.sort_by_key(number);
                let expected: Vec<_> = first[lost].iter().map(|packet| packet.expected.clone()).collect();
                assert!(recovered == expected, "{format:?} {share} at {start} of {count}");
            }
        }
    }
}

#[test]
fn order_of_arrival_does_not_matter() {
    let mut random = Random::new(2);
    for format in FORMATS {
        let packets = stream(&mut random, 10, 1_000, 4, 6);
        let repairs = encode(format, plan(0.25, 4), &packets);
        assert!(repairs.len() >= 3, "{}", repairs.len());
        for _ in 0..50 {
            let lost = random.below(24) as usize;
            let mut order: Vec<usize> = (0..packets.len() + repairs.len())
                .filter(|&index| index != lost)
                .collect();
            for index in (1..order.len()).rev() {
                order.swap(index, random.below(index as u64 + 1) as usize);
            }
            let mut decoder = awake(format, 10);
            let mut recovered = Vec::new();
            for index in order {
                match packets.get(index) {
                    Some(packet) => decoder.handle_media(&packet.received(), &IDS),
                    None => decoder.handle_repair(unwrapped(format, &repairs[index - packets.len()])),
                }
                drain(&mut decoder, &mut recovered);
            }
            // Others are recovered too when they come later than the repair.
            assert!(recovered.contains(&packets[lost].expected), "{lost}");
            let known = |packet: &Vec<u8>| packets.iter().any(|sent| sent.expected == *packet);
            assert!(recovered.iter().all(known));
        }
    }
}

#[test]
fn redundancy_keeps_to_the_share() {
    let mut random = Random::new(3);
    for share in [0.02, 0.05, 0.1, 0.2, 0.5] {
        for (frames, per_frame) in [(1, 3), (3, 4), (4, 10), (2, 40)] {
            let packets = stream(&mut random, 5, 0, 240, per_frame);
            let repairs = encode(FORMATS[1], plan(share, frames), &packets);
            let media: usize = packets.iter().map(|packet| packet.expected.len()).sum();
            let parity: usize = repairs.iter().map(|repair| repair.len() + 12).sum();
            let got = parity as f32 / media as f32;
            assert!(got <= 1.1 * share, "{got} of {share}, {frames} frames of {per_frame}");
            assert!(got >= 0.6 * share, "{got} of {share}, {frames} frames of {per_frame}");
        }
    }
}

#[test]
fn only_essential_frames_are_covered_when_so_decided() {
    let mut random = Random::new(4);
    let mut packets = stream(&mut random, 5, 1_000, 40, 5);
    for packet in &mut packets {
        packet.essential = (packet.sequence - 5) / 5 % 4 == 0;
    }
    let layered = Protection {
        essential_only: true,
        ..plan(0.1, 1)
    };
    let repairs = encode(FORMATS[1], layered, &packets);
    assert!(repairs.len() >= 15, "{}", repairs.len());
    for repair in repairs {
        let parsed = wire::flexfec::Packet::parse(&repair).unwrap();
        let covered = (0..109).filter(|bit| parsed.mask >> bit & 1 != 0);
        for sequence in covered.map(|bit| u64::from(parsed.base) + bit) {
            let packet = packets.iter().find(|packet| packet.sequence == sequence).unwrap();
            assert!(packet.essential);
        }
    }
}

#[test]
fn a_keyframe_is_a_group_of_its_own() {
    let mut random = Random::new(5);
    let mut packets = stream(&mut random, 100, 1_000, 6, 10);
    for packet in &mut packets[20..30] {
        packet.keyframe = true;
    }
    for repair in encode(FORMATS[1], plan(0.2, 4), &packets) {
        let parsed = wire::flexfec::Packet::parse(&repair).unwrap();
        let covered = (0..109).filter(|bit| parsed.mask >> bit & 1 != 0);
        let mut keys = covered.map(|bit| (120..130).contains(&(u64::from(parsed.base) + bit)));
        let first = keys.next().unwrap();
        assert!(keys.all(|key| key == first));
    }
}

#[test]
fn repairs_are_spread_and_a_stalled_group_ends() {
    let mut random = Random::new(6);
    let packets = stream(&mut random, 100, 1_000, 2, 12);
    let spread = Protection {
        delay: 10_000,
        spacing: 5_000,
        patience: 100_000,
        ..plan(0.25, 2)
    };
    let (mut encoder, mut pool) = (Encoder::new(FORMATS[0]), Pool::default());
    assert!(encoder.is_idle());
    encoder.protect_by(spread, spread);
    for packet in &packets {
        encoder.protect(1_000, &packet.media(), &IDS, &mut pool);
    }
    let mut times = Vec::new();
    while let Some(next) = encoder.next_timeout() {
        assert!(encoder.due(next - 1).is_none());
        encoder.handle_timeout(next, &mut pool);
        while encoder.due(next).is_some() {
            times.push(next);
            encoder.sent(&mut pool);
        }
    }
    assert_eq!(times, [11_000, 16_000, 21_000, 26_000, 31_000, 36_000]);
    // Half a group, then nothing more.
    for packet in &packets[..12] {
        encoder.protect(50_000, &packet.media(), &IDS, &mut pool);
    }
    assert_eq!(encoder.next_timeout(), Some(150_000));
    encoder.handle_timeout(150_000, &mut pool);
    assert_eq!(encoder.next_timeout(), Some(160_000));
    encoder.reset(&mut pool);
    assert_eq!(encoder.next_timeout(), None);
}

#[test]
fn what_is_too_long_or_late_is_left_out() {
    let (mut encoder, mut pool) = (Encoder::new(FORMATS[0]), Pool::default());
    encoder.protect_by(plan(0.5, 8), plan(0.5, 8));
    let sent = [
        Packet::new(1_000, 0, false, vec![1; MAX_BITS + 1]),
        Packet::new(1_001, 0, false, vec![1; 100]),
        Packet::new(1_000, 0, false, vec![1; 100]),
        Packet::new(1_001, 0, false, vec![1; 100]),
        Packet::new(1_040, 0, false, vec![1; 100]),
        // The mask of ULPFEC ends before it.
        Packet::new(1_049, 0, false, vec![1; 100]),
    ];
    for packet in &sent {
        encoder.protect(0, &packet.media(), &IDS, &mut pool);
    }
    let mut repairs = Vec::new();
    take_all(&mut encoder, &mut pool, &mut repairs);
    let masks: Vec<_> = repairs
        .iter()
        .map(|repair| wire::ulpfec::Packet::parse(&repair[1..]).unwrap())
        .map(|packet| (packet.base, packet.first.mask))
        .collect();
    assert_eq!(masks, [(1_001, 1), (1_001, 1 << 39 | 1)]);
}

#[test]
fn lies_do_no_harm() {
    let mut random = Random::new(7);
    for format in FORMATS {
        let mut decoder = awake(format, 3_000);
        let packets = stream(&mut random, 3_000, 1_000, 100, 4);
        let repairs = encode(format, plan(0.5, 4), &packets);
        let mut recovered = Vec::new();
        for (index, packet) in packets.iter().enumerate() {
            if random.below(10) > 0 {
                decoder.handle_media(&packet.received(), &IDS);
            }
            let mut repair = unwrapped(format, &repairs[index * repairs.len() / packets.len()]).to_vec();
            for _ in 0..random.below(4) {
                let at = random.below(repair.len() as u64) as usize;
                repair[at] = random.next() as u8;
            }
            repair.truncate(random.below(1_400) as usize);
            decoder.handle_repair(&repair);
            drain(&mut decoder, &mut recovered);
        }
        assert!(recovered.iter().all(|packet| (12..=1_500).contains(&packet.len())));
    }
}
