//! Two connections without a server between them: what counts as genuine.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use std::time::Duration;

use engine::event::SrtpProfile;
use pysfu_load::media::{Counts, MediaHandle, MediaOptions, Source};
use pysfu_load::plan::{
    Codec, ConnectionPlan, Extensions, FixedKeys, Kind, Layer, Local, Publication, ReceiveFormat, Remote, Security,
    SendFormat, offered,
};

/// AES-128-GCM.
const KEY: usize = 16;
const SALT: usize = 12;

fn keys(send: u8, receive: u8) -> FixedKeys {
    FixedKeys {
        profile: SrtpProfile::AeadAes128Gcm,
        send_key: vec![send; KEY],
        send_salt: vec![send; SALT],
        receive_key: vec![receive; KEY],
        receive_salt: vec![receive; SALT],
    }
}

fn plan(participant: u32, publications: Vec<Publication>) -> ConnectionPlan {
    ConnectionPlan {
        participant,
        publications,
        cipher: SrtpProfile::AeadAes128Gcm,
    }
}

fn to(other: &Local, keys: FixedKeys) -> Remote {
    Remote {
        security: Security::Fixed(Some(keys)),
        candidates: vec![other.candidate],
        receive: vec![ReceiveFormat {
            payload_type: offered::VP8,
            kind: Kind::Video,
            rtx_of: None,
        }],
        send: vec![SendFormat {
            cid: "camera".to_owned(),
            mid: "0".to_owned(),
            payload_type: offered::VP8,
            rtx_payload_type: None,
        }],
        extensions: Extensions::default(),
    }
}

/// What comes of 100 frames a second, half a second long, when the receiver's key is this one and the sender's is 1.
async fn counts(receive: u8) -> Counts {
    let options = MediaOptions {
        sample_every: 3,
        ..MediaOptions::default()
    };
    let media = MediaHandle::start(options).unwrap();
    let camera = Publication {
        cid: "camera".to_owned(),
        codec: Codec::Vp8,
        layers: vec![Layer {
            rid: None,
            ssrc: 7,
            rtx_ssrc: None,
            width: 640,
            height: 360,
            bitrate: 500_000,
        }],
    };
    let sender = media.open(plan(0, vec![camera])).await.unwrap();
    let receiver = media.open(plan(1, Vec::new())).await.unwrap();
    media.set_remote(receiver.id, to(&sender, keys(2, receive)));
    media.set_remote(sender.id, to(&receiver, keys(1, 2)));
    media.set_source(
        Kind::Video,
        Source::Synthetic {
            packets_per_frame: 2,
            payload: 500,
            frames_per_second: 100.0,
            keyframe_interval: Duration::from_secs(1),
        },
    );
    tokio::time::sleep(Duration::from_millis(500)).await;
    media.take().await.unwrap()
}

#[tokio::test]
async fn samples_with_the_right_key_are_genuine_and_timed() {
    let counts = counts(1).await;
    assert!(counts.received_video.packets > 10);
    assert!(counts.authenticated > 3);
    assert_eq!(counts.authenticated, counts.latency_ms.samples);
    assert_eq!((counts.authentication_failed, counts.lost_video), (0, 0));
}

#[tokio::test]
async fn samples_with_a_wrong_key_are_counted_and_have_no_latency() {
    let counts = counts(3).await;
    assert!(counts.received_video.packets > 10);
    assert!(counts.authentication_failed > 3);
    assert_eq!((counts.authenticated, counts.latency_ms.samples), (0, 0));
}
