//! Offers and answers.

use std::fmt::Write;

use super::read::{Description, Section};
use crate::plan::{Codec, Kind, Local, Publication, offered};

/// Media sections to receive with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Receiving {
    pub audio: usize,
    pub video: usize,
}

impl Receiving {
    /// Audio before video.
    pub fn kinds(self) -> Vec<Kind> {
        let audio = std::iter::repeat_n(Kind::Audio, self.audio);
        audio.chain(std::iter::repeat_n(Kind::Video, self.video)).collect()
    }
}

/// The only offer of a connection: see [`offer_sections`].
pub fn offer(local: &Local, receiving: Receiving) -> String {
    offer_sections(local, &receiving.kinds(), 1)
}

/// Sending sections first, then receiving ones. Mids count up from 0. `version`: of the session, it grows with every
/// offer (RFC 8866 section 5.2).
pub fn offer_sections(local: &Local, receiving: &[Kind], version: u32) -> String {
    let count = local.publications.len() + receiving.len();
    let mids: Vec<String> = (0..count).map(|mid| mid.to_string()).collect();
    let mut text = head(&mids.join(" "), version);
    let receiving = receiving.iter().map(|kind| (None, *kind));
    let sections = local
        .publications
        .iter()
        .map(|publication| (Some(publication), publication.codec.kind()));
    for (mid, (publication, kind)) in sections.chain(receiving).enumerate() {
        section(&mut text, local, mid, publication, kind);
    }
    text
}

/// What to answer to a section of an offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answering {
    Receive,
    Refuse,
}

/// An answer to a server's offer: every section is received with the formats and extensions of the offer, or refused.
pub fn answer(local: &Local, offer: &Description, how: impl Fn(&Section) -> Answering) -> String {
    let mids: Vec<&str> = offer
        .sections
        .iter()
        .filter(|section| how(section) == Answering::Receive)
        .map(|section| section.mid.as_str())
        .collect();
    let mut text = head(&mids.join(" "), 1);
    for section in &offer.sections {
        let kind = match section.kind {
            Some(Kind::Audio) => "audio",
            Some(Kind::Video) => "video",
            None => "application",
        };
        let refused = how(section) == Answering::Refuse;
        let formats: Vec<String> = section
            .formats
            .iter()
            .map(|format| format.payload_type.to_string())
            .collect();
        let port = if refused { 0 } else { 9 };
        let _ = write!(
            text,
            "m={kind} {port} {} {}\r\n",
            section.protocol,
            section.raw_formats(&formats)
        );
        text.push_str("c=IN IP4 0.0.0.0\r\n");
        let _ = write!(text, "a=mid:{}\r\n", section.mid);
        if refused {
            text.push_str("a=inactive\r\n");
            continue;
        }
        transport(&mut text, local);
        if section.kind.is_none() {
            // The transport is set up for it, but nobody is there: SCTP (RFC 8841) is not spoken.
            text.push_str("a=sctp-port:5000\r\n");
            continue;
        }
        text.push_str("a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
        for (id, uri) in &section.extensions {
            if URIS.iter().any(|known| known == uri) {
                let _ = write!(text, "a=extmap:{id} {uri}\r\n");
            }
        }
        for format in &section.formats {
            let payload_type = format.payload_type;
            let _ = write!(text, "a=rtpmap:{payload_type} {}\r\n", format.encoding);
            if !format.parameters.is_empty() {
                let _ = write!(text, "a=fmtp:{payload_type} {}\r\n", format.parameters);
            }
            if format.rtx_of.is_none() {
                feedback(&mut text, payload_type, section.kind == Some(Kind::Video));
            }
        }
    }
    text
}

pub(super) const URIS: [&str; 6] = [
    "urn:ietf:params:rtp-hdrext:sdes:mid",
    "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
    "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
    "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time",
];

fn head(mids: &str, version: u32) -> String {
    format!(
        "v=0\r\no=- 4611731400430051336 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE {mids}\r\n\
         a=extmap-allow-mixed\r\na=msid-semantic: WMS *\r\n"
    )
}

fn transport(text: &mut String, local: &Local) {
    let (ip, port) = (local.candidate.ip(), local.candidate.port());
    let _ = write!(text, "a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\n");
    let _ = write!(text, "a=end-of-candidates\r\n");
    let _ = write!(text, "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n", local.ufrag, local.pwd);
    let setup = if local.passive { "actpass" } else { "active" };
    let digest: Vec<String> = local.fingerprint.iter().map(|byte| format!("{byte:02X}")).collect();
    let _ = write!(
        text,
        "a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n",
        digest.join(":")
    );
}

fn section(text: &mut String, local: &Local, mid: usize, publication: Option<&Publication>, kind: Kind) {
    let (name, formats, ids): (&str, String, &[u8]) = match (kind, publication.map(|publication| publication.codec)) {
        (Kind::Audio, _) => (
            "audio",
            offered::OPUS.to_string(),
            &[
                offered::MID,
                0,
                0,
                offered::TRANSPORT_CC,
                offered::AUDIO_LEVEL,
                offered::ABS_SEND_TIME,
            ],
        ),
        (Kind::Video, codec) => (
            "video",
            video_formats(codec)
                .iter()
                .map(u8::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            &[
                offered::MID,
                offered::RID,
                offered::REPAIRED_RID,
                offered::TRANSPORT_CC,
                0,
                offered::ABS_SEND_TIME,
            ],
        ),
    };
    let _ = write!(
        text,
        "m={name} 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\n"
    );
    transport(text, local);
    text.push_str(if publication.is_some() {
        "a=sendonly\r\n"
    } else {
        "a=recvonly\r\n"
    });
    text.push_str("a=rtcp-mux\r\na=rtcp-rsize\r\n");
    for (id, uri) in ids.iter().zip(URIS).filter(|(id, _)| **id > 0) {
        let _ = write!(text, "a=extmap:{id} {uri}\r\n");
    }
    match kind {
        Kind::Audio => {
            let _ = write!(
                text,
                "a=rtpmap:{0} opus/48000/2\r\na=fmtp:{0} minptime=10;useinbandfec=1\r\n",
                offered::OPUS
            );
            feedback(text, offered::OPUS, false);
        }
        Kind::Video => {
            for codec in video_codecs(publication.map(|publication| publication.codec)) {
                let (main, rtx, name) = codec;
                let _ = write!(text, "a=rtpmap:{main} {name}/90000\r\n");
                if name == "H264" {
                    let _ = write!(
                        text,
                        "a=fmtp:{main} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n"
                    );
                }
                feedback(text, main, true);
                let _ = write!(text, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={main}\r\n");
            }
        }
    }
    let Some(publication) = publication else { return };
    let _ = write!(text, "a=msid:pysfu-load {}\r\n", publication.cid);
    let rids: Vec<&str> = publication
        .layers
        .iter()
        .filter_map(|layer| layer.rid.as_deref())
        .collect();
    if rids.is_empty() {
        for layer in &publication.layers {
            if let Some(rtx) = layer.rtx_ssrc {
                let _ = write!(text, "a=ssrc-group:FID {} {rtx}\r\n", layer.ssrc);
            }
            for ssrc in [Some(layer.ssrc), layer.rtx_ssrc].into_iter().flatten() {
                let _ = write!(text, "a=ssrc:{ssrc} cname:pysfu-load\r\n");
            }
        }
    } else {
        for rid in &rids {
            let _ = write!(text, "a=rid:{rid} send\r\n");
        }
        let _ = write!(text, "a=simulcast:send {}\r\n", rids.join(";"));
    }
}

/// Payload type, that of its retransmissions, encoding name.
fn video_codecs(only: Option<Codec>) -> Vec<(u8, u8, &'static str)> {
    let all = [
        (Codec::Vp8, (offered::VP8, offered::VP8_RTX, "VP8")),
        (Codec::H264, (offered::H264, offered::H264_RTX, "H264")),
    ];
    all.into_iter()
        .filter(|(codec, _)| only.is_none_or(|only| only == *codec))
        .map(|(_, codec)| codec)
        .collect()
}

fn video_formats(only: Option<Codec>) -> Vec<u8> {
    video_codecs(only)
        .into_iter()
        .flat_map(|(main, rtx, _)| [main, rtx])
        .collect()
}

fn feedback(text: &mut String, payload_type: u8, video: bool) {
    let _ = write!(text, "a=rtcp-fb:{payload_type} transport-cc\r\n");
    if video {
        for kind in ["nack", "nack pli", "ccm fir"] {
            let _ = write!(text, "a=rtcp-fb:{payload_type} {kind}\r\n");
        }
    }
}
