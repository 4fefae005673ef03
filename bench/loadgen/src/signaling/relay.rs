//! The bare relay of `bench/ceiling`: a line of JSON over TCP, keys made here, no ICE and no DTLS.

use std::net::SocketAddr;
use std::time::Instant;

use engine::event::SrtpProfile;
use engine::srtp::key_lengths;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use super::transports::Transports;
use super::{Join, Session, SignalingError, Subscribe, Timing};
use crate::media::MediaHandle;
use crate::plan::{
    Codec, ConnectionPlan, Extensions, FixedKeys, Kind, ReceiveFormat, Remote, Security, SendFormat, offered,
};

pub(super) struct Relay {
    address: String,
}

#[derive(Serialize)]
struct Announcement {
    index: u32,
    publishes: bool,
    receives: bool,
    address: SocketAddr,
    profile: &'static str,
    send_key: String,
    send_salt: String,
    receive_key: String,
    receive_salt: String,
}

#[derive(Deserialize)]
struct Answer {
    address: SocketAddr,
    /// Whether the relay encrypts.
    crypto: bool,
}

impl Relay {
    pub(super) fn new(address: &str) -> Self {
        Self {
            address: address.to_owned(),
        }
    }

    pub(super) async fn join(&self, media: &MediaHandle, join: Join) -> Result<Session, SignalingError> {
        let begun = Instant::now();
        let mut transports = Transports::new(media);
        let local = transports
            .open(ConnectionPlan {
                participant: join.index,
                publications: join.publish.clone(),
                cipher: SrtpProfile::AeadAes128Gcm,
            })
            .await?;
        let (key, salt) = key_lengths(SrtpProfile::AeadAes128Gcm);
        let keys = FixedKeys {
            profile: SrtpProfile::AeadAes128Gcm,
            send_key: random(key),
            send_salt: random(salt),
            receive_key: random(key),
            receive_salt: random(salt),
        };
        let announcement = Announcement {
            index: join.index,
            publishes: !join.publish.is_empty(),
            receives: join.subscribe != Subscribe::None,
            address: local.candidate,
            profile: "aead-aes-128-gcm",
            send_key: hex(&keys.send_key),
            send_salt: hex(&keys.send_salt),
            receive_key: hex(&keys.receive_key),
            receive_salt: hex(&keys.receive_salt),
        };
        let unreachable = |error: std::io::Error| SignalingError::Unreachable(format!("{}: {error}", self.address));
        let protocol = |error: serde_json::Error| SignalingError::Protocol(error.to_string());
        let mut stream = BufReader::new(TcpStream::connect(&self.address).await.map_err(unreachable)?);
        let mut line = serde_json::to_string(&announcement).map_err(protocol)?;
        line.push('\n');
        stream.write_all(line.as_bytes()).await.map_err(unreachable)?;
        line.clear();
        stream.read_line(&mut line).await.map_err(unreachable)?;
        let answer: Answer = serde_json::from_str(&line).map_err(protocol)?;
        let send = join.publish.iter().zip(0..).map(|(publication, mid)| {
            let (payload_type, rtx_payload_type) = payload_types(publication.codec);
            SendFormat {
                cid: publication.cid.clone(),
                mid: format!("{mid}"),
                payload_type,
                rtx_payload_type,
            }
        });
        let receive = [Codec::Opus, Codec::Vp8, Codec::H264].map(|codec| ReceiveFormat {
            payload_type: payload_types(codec).0,
            kind: if codec == Codec::Opus { Kind::Audio } else { Kind::Video },
            rtx_of: None,
        });
        transports.set_remote(
            local.id,
            Remote {
                security: Security::Fixed(answer.crypto.then_some(keys)),
                candidates: vec![answer.address],
                receive: receive.to_vec(),
                send: send.collect(),
                extensions: Extensions {
                    mid: Some(offered::MID),
                    rid: Some(offered::RID),
                    repaired_rid: Some(offered::REPAIRED_RID),
                    transport_cc: Some(offered::TRANSPORT_CC),
                    audio_level: Some(offered::AUDIO_LEVEL),
                    abs_send_time: Some(offered::ABS_SEND_TIME),
                },
            },
        );
        let now = begun.elapsed().as_secs_f64();
        let (session, mut orders) = Session::new(
            vec![local.id],
            Timing {
                joined: now,
                answered: now,
                ..Timing::default()
            },
        );
        tokio::task::spawn_local(async move {
            // The relay has no layers.
            while orders.recv().await.is_some() {}
            drop((stream, transports));
        });
        Ok(session)
    }
}

fn payload_types(codec: Codec) -> (u8, Option<u8>) {
    match codec {
        Codec::Opus => (offered::OPUS, None),
        Codec::Vp8 => (offered::VP8, None),
        Codec::H264 => (offered::H264, None),
    }
}

fn random(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
