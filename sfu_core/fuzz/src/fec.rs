//! Forward error correction: formats, then encoder and decoder by operations.

use engine::command::ExtensionIds;
use engine::fec::{Decoder, Encoder, Format, Media, Pool, Protection, Received, opus_red};
use wire::fec::{Recovery, WriteError};
use wire::red::{Primary, Redundant};
use wire::{flexfec, rtp, ulpfec};

use crate::input::Input;

const SSRC: u32 = 7;
const MAX_PACKET: usize = 1_500;
const IDS: ExtensionIds = ExtensionIds {
    mid: None,
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

pub(crate) fn ulpfec(data: &[u8]) {
    let Ok(found) = ulpfec::Packet::parse(data) else { return };
    let mut octets = found.first.parity.len();
    for level in found.higher() {
        assert_eq!(level.offset, octets);
        octets += level.parity.len();
    }
    assert!(octets <= data.len() && found.first.mask >> ulpfec::MAX_SPAN == 0);
    // What was read is what is written.
    let mut out = [0; ulpfec::MAX_HEADER];
    let parity_len = found.first.parity.len() as u16;
    let len = ulpfec::write_header(&mut out, &found.recovery, found.base, found.first.mask, parity_len).unwrap();
    let again = [&out[..len], found.first.parity].concat();
    let again = ulpfec::Packet::parse(&again).unwrap();
    assert_eq!(
        (again.recovery, again.base, again.first),
        (found.recovery, found.base, found.first)
    );
}

pub(crate) fn flexfec(data: &[u8]) {
    let Ok(found) = flexfec::Packet::parse(data) else {
        return;
    };
    let mut out = [0; flexfec::MAX_HEADER];
    let len = flexfec::write_header(&mut out, &found.recovery, found.ssrc, found.base, found.mask).unwrap();
    let again = [&out[..len], found.parity].concat();
    assert_eq!(flexfec::Packet::parse(&again), Ok(found));
}

pub(crate) fn round_trip(data: &[u8]) {
    let mut input = Input::new(data);
    let room = usize::from(input.u8()) % 40;
    let recovery = Recovery {
        flags: input.u8() & 0x3f,
        kind: input.u8(),
        timestamp: input.u32(),
        length: input.u16(),
    };
    let (base, ssrc) = (input.u16(), input.u32());
    let mask = u128::from(input.u64()) << (input.u8() % 64);
    let mut out = vec![0; room];
    match ulpfec::write_header(&mut out, &recovery, base, mask, 0) {
        Ok(len) => {
            let read = ulpfec::Packet::parse(&out[..len]).unwrap();
            assert_eq!((read.recovery, read.base, read.first.mask), (recovery, base, mask));
        }
        Err(WriteError::Mask) => assert!(mask == 0 || mask >> ulpfec::MAX_SPAN != 0),
        Err(WriteError::BufferFull) => assert!(room < ulpfec::MAX_HEADER),
    }
    match flexfec::write_header(&mut out, &recovery, ssrc, base, mask) {
        Ok(len) => {
            let read = flexfec::Packet::parse(&out[..len]).unwrap();
            assert_eq!(
                (read.recovery, read.base, read.ssrc, read.mask),
                (recovery, base, ssrc, mask)
            );
        }
        Err(WriteError::Mask) => assert!(mask == 0 || mask >> flexfec::MAX_SPAN != 0),
        Err(WriteError::BufferFull) => assert!(room < flexfec::MAX_HEADER),
    }
}

/// Whatever comes, what is recovered is a packet of the stream, and there is an end to it.
pub(crate) fn decoder(data: &[u8]) {
    let mut input = Input::new(data);
    let mut decoder = Decoder::new(format(input.bool()), SSRC);
    while !input.is_empty() {
        let operation = input.u8();
        let some = input.some();
        if operation & 1 == 0 {
            decoder.handle_repair(some);
        } else {
            let (header, payload) = some.split_at(some.len().min(12 + usize::from(operation) % 32));
            decoder.handle_media(
                &Received {
                    header,
                    payload_type: operation,
                    payload,
                },
                &IDS,
            );
        }
        let mut recovered = 0;
        while let Some(packet) = decoder.poll_recovered() {
            assert!((rtp::FIXED_HEADER..=MAX_PACKET).contains(&packet.len()));
            assert_eq!(packet[8..12], SSRC.to_be_bytes());
            recovered += 1;
        }
        assert!(recovered <= 64);
    }
}

/// What an encoder makes of packets that arrive or do not, recovers those that did not or nothing else.
pub(crate) fn encoder(data: &[u8]) {
    let mut input = Input::new(data);
    let format = format(input.bool());
    let (mut encoder, mut pool, mut decoder) = (Encoder::new(format), Pool::default(), Decoder::new(format, SSRC));
    let mut sent: Vec<Vec<u8>> = Vec::new();
    let (mut now, mut sequence, mut timestamp) = (0, 100 + u64::from(input.u16()), input.u32());
    while !input.is_empty() {
        let operation = input.u8();
        now += u64::from(operation) * 100;
        match operation % 8 {
            0 => {
                let plan = Protection {
                    share: f32::from(input.u8()) / 255.0,
                    frames: input.u8() % 8,
                    essential_only: input.bool(),
                    ..Protection::NONE
                };
                encoder.protect_by(plan, plan);
            }
            1 => timestamp = timestamp.wrapping_add(3_000),
            2 => sequence += u64::from(input.u8()),
            3 => encoder.reset(&mut pool),
            4 => encoder.handle_timeout(now, &mut pool),
            kind => {
                let shape = input.u8();
                let payload = vec![shape; usize::from(shape) * 6];
                let mut header = vec![0; rtp::FIXED_HEADER];
                let marker = shape & 1 != 0;
                rtp::write_header(&mut header, marker, 96, sequence as u16, timestamp, SSRC, false).unwrap();
                let media = Media {
                    sequence,
                    header: &header,
                    payload_type: 96,
                    payload: [&payload[..payload.len() / 3], &payload[payload.len() / 3..]],
                    essential: shape & 2 != 0,
                    keyframe: shape & 0x3c == 0,
                };
                encoder.protect(now, &media, &IDS, &mut pool);
                if kind > 5 {
                    decoder.handle_media(
                        &Received {
                            header: &header,
                            payload_type: 96,
                            payload: &payload,
                        },
                        &IDS,
                    );
                }
                sent.push([header, payload].concat());
                sequence += 1;
            }
        }
        while let Some(repair) = encoder.due(now) {
            let whole = repair.parts().concat();
            assert!(whole.len() <= 1_400);
            let payload = match format {
                Format::Ulpfec { .. } => Redundant::single(&whole).unwrap().data,
                Format::Flexfec { .. } => &whole,
            };
            decoder.handle_repair(payload);
            encoder.sent(&mut pool);
        }
        while let Some(packet) = decoder.poll_recovered() {
            assert!(sent.iter().any(|sent| sent == packet));
        }
    }
}

pub(crate) fn opus(data: &[u8]) {
    let mut input = Input::new(data);
    let mut out = vec![0; usize::from(input.u16()) % MAX_PACKET];
    let (timestamp, sequence, duration) = (input.u32(), input.u64(), u32::from(input.u16()));
    let primary = Primary {
        payload_type: input.u8() & 0x7f,
        data: input.some(),
    };
    let former: Vec<_> = (0..input.u8() % 8)
        .map(|_| (timestamp.wrapping_sub(u32::from(input.u16())), input.some()))
        .collect();
    let Ok(len) = opus_red::add(&mut out, primary, timestamp, former.iter().copied()) else {
        return;
    };
    let packet = Redundant::parse(&out[..len]).unwrap();
    assert_eq!(packet.primary, primary);
    assert!(packet.blocks().count() <= opus_red::MAX_BLOCKS);
    for frame in opus_red::recover(&packet, sequence, timestamp, duration, |_, _| true) {
        assert!(frame.sequence < sequence && former.contains(&(frame.timestamp, frame.payload)));
    }
}

/// Redundancy as a subscriber, or whoever says so, sends it.
pub(crate) fn opus_recover(data: &[u8]) {
    let mut input = Input::new(data);
    let (sequence, timestamp) = (u64::from(input.u32()), input.u32());
    let (duration, asked) = (u32::from(input.u16()), input.u8());
    let octets = input.rest();
    let Ok(packet) = Redundant::parse(octets) else { return };
    let missing = |number: u64, _| asked & 1 == 0 || number.is_multiple_of(2);
    let mut recovered = 0;
    for frame in opus_red::recover(&packet, sequence, timestamp, duration, missing) {
        assert!(frame.sequence < sequence && missing(frame.sequence, frame.timestamp));
        let back = timestamp.wrapping_sub(frame.timestamp);
        assert_eq!(u64::from(back), (sequence - frame.sequence) * u64::from(duration));
        let brought = (frame.payload_type, back, frame.payload);
        let mut blocks = packet.blocks();
        assert!(blocks.any(|block| (block.payload_type, u32::from(block.timestamp_offset), block.data) == brought));
        assert!(!frame.payload.is_empty());
        recovered += frame.payload.len();
    }
    assert!(recovered <= octets.len());
}

fn format(flexible: bool) -> Format {
    match flexible {
        true => Format::Flexfec { ssrc: SSRC },
        false => Format::Ulpfec { payload_type: 122 },
    }
}
