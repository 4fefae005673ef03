//! Protecting a packet and recovering one allocate nothing once the memory is there: counted by the allocator itself.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper is a failing test")]

mod counting;

use pysfu_engine::command::ExtensionIds;
use pysfu_engine::fec::{Decoder, Encoder, Format, Media, Pool, Protection, Received};
use wire::rtp;

use counting::allocations;

const SSRC: u32 = 7;
const IDS: ExtensionIds = ExtensionIds {
    mid: None,
    rid: None,
    repaired_rid: None,
    audio_level: None,
    transport_cc: None,
    abs_send_time: None,
    abs_capture_time: None,
    dependency_descriptor: None,
    video_orientation: None,
    playout_delay: None,
};

#[test]
fn steady_state() {
    let format = Format::Flexfec { ssrc: SSRC };
    let (mut encoder, mut pool, mut decoder) = (Encoder::new(format), Pool::default(), Decoder::new(format, SSRC));
    let plan = Protection {
        share: 0.3,
        frames: 2,
        ..Protection::NONE
    };
    encoder.protect_by(plan, plan);
    let payload = [5; 1_000];
    let mut whole = [0; 1_500];
    let mut recovered = 0;
    let mut send = |sequence: u64| {
        let mut header = [0; rtp::FIXED_HEADER];
        let timestamp = (sequence / 10 * 3_000) as u32;
        rtp::write_header(
            &mut header,
            sequence % 10 == 9,
            96,
            sequence as u16,
            timestamp,
            SSRC,
            false,
        )
        .unwrap();
        let media = Media {
            sequence,
            header: &header,
            payload_type: 96,
            payload: [&[], &payload],
            essential: true,
            keyframe: false,
        };
        encoder.protect(0, &media, &IDS, &mut pool);
        if !sequence.is_multiple_of(7) {
            let received = Received {
                header: &header,
                payload_type: 96,
                payload: &payload,
            };
            decoder.handle_media(&received, &IDS);
        }
        while let Some(repair) = encoder.due(0) {
            let [head, parity] = repair.parts();
            let len = head.len() + parity.len();
            whole[..head.len()].copy_from_slice(head);
            whole[head.len()..len].copy_from_slice(parity);
            decoder.handle_repair(&whole[..len]);
            encoder.sent(&mut pool);
        }
        while decoder.poll_recovered().is_some() {
            recovered += 1;
        }
    };
    (1_000..12_000).for_each(&mut send);
    assert_eq!(allocations(|| (12_000..22_000).for_each(&mut send)), 0);
    assert!(recovered > 2_500, "{recovered}");
}
