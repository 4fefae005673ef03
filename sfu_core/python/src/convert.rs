//! Python values to commands, events to Python tuples. Everything is checked here: what fails is a `ValueError`.

use std::time::Duration;

use engine::command::{
    AnnouncedSsrc, Codec, Description, ExtensionIds, FecFormats, Keys, MAX_LAYERS, MediaKind, PayloadMap,
    PublishedCodec, Source,
};
use engine::event::{DisconnectReason, SrtpProfile};
use engine::ids::{Mid, PayloadType, Rid, Ssrc};
use engine::{Config, Event};
use io::Report;
use pyo3::IntoPyObjectExt;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

/// (payload type, RTX payload type, codec, clock rate, nack, pli).
pub(crate) type CodecRow = (u8, Option<u8>, String, u32, bool, bool);
/// (SSRC, RTX SSRC).
pub(crate) type SsrcRow = (u32, Option<u32>);
/// (publisher's payload type, subscriber's, subscriber's RTX).
pub(crate) type PayloadRow = (u8, u8, Option<u8>);

/// Payload types of FlexFEC, RED of video, its RTX, ULPFEC.
pub(crate) type FecRow = (Option<u8>, Option<u8>, Option<u8>, Option<u8>);
pub(crate) const NO_FEC: FecRow = (None, None, None, None);

pub(crate) fn invalid(what: impl Into<String>) -> PyErr {
    PyValueError::new_err(what.into())
}

pub(crate) fn kind(name: &str) -> PyResult<MediaKind> {
    match name {
        "audio" => Ok(MediaKind::Audio),
        "video" => Ok(MediaKind::Video),
        other => Err(invalid(format!("kind must be audio or video, not {other:?}"))),
    }
}

/// `sizes`: (width, height) of the layers, lowest first.
pub(crate) fn description(source: &str, sizes: &[(u16, u16)]) -> PyResult<Description> {
    if sizes.len() > MAX_LAYERS {
        return Err(invalid(format!("a track has at most {MAX_LAYERS} layers")));
    }
    let source = match source {
        "camera" => Source::Camera,
        "screen" => Source::Screen,
        other => return Err(invalid(format!("source must be camera or screen, not {other:?}"))),
    };
    Ok(Description {
        source,
        sizes: sizes.iter().copied().collect(),
    })
}

pub(crate) fn mid(text: &str) -> PyResult<Mid> {
    Mid::from(text).map_err(|_| invalid(format!("mid {text:?} is longer than 16 bytes")))
}

pub(crate) fn rids(texts: &[String]) -> PyResult<Vec<Rid>> {
    let rid = |text: &String| Rid::from(text).map_err(|_| invalid(format!("rid {text:?} is longer than 16 bytes")));
    texts.iter().map(rid).collect()
}

pub(crate) fn codecs(rows: &[CodecRow]) -> PyResult<Vec<PublishedCodec>> {
    rows.iter()
        .map(|(payload_type, rtx, name, clock_rate, nack, pli)| {
            if *clock_rate == 0 {
                return Err(invalid("clock rate must not be 0"));
            }
            Ok(PublishedCodec {
                payload_type: pt(*payload_type)?,
                rtx_payload_type: rtx.map(pt).transpose()?,
                codec: codec(name)?,
                clock_rate: *clock_rate,
                nack: *nack,
                pli: *pli,
            })
        })
        .collect()
}

pub(crate) fn ssrcs(rows: &[SsrcRow]) -> Vec<AnnouncedSsrc> {
    rows.iter()
        .map(|&(ssrc, rtx)| AnnouncedSsrc {
            ssrc: Ssrc(ssrc),
            rtx_ssrc: rtx.map(Ssrc),
        })
        .collect()
}

pub(crate) fn fec((flexfec, red, red_rtx, ulpfec): FecRow) -> PyResult<FecFormats> {
    Ok(FecFormats {
        flexfec: flexfec.map(pt).transpose()?,
        red: red.map(pt).transpose()?,
        red_rtx: red_rtx.map(pt).transpose()?,
        ulpfec: ulpfec.map(pt).transpose()?,
    })
}

pub(crate) fn payloads(rows: &[PayloadRow]) -> PyResult<Vec<PayloadMap>> {
    rows.iter()
        .map(|&(from, to, rtx)| {
            Ok(PayloadMap {
                from: pt(from)?,
                to: pt(to)?,
                rtx: rtx.map(pt).transpose()?,
            })
        })
        .collect()
}

pub(crate) fn set_extension(ids: &mut ExtensionIds, name: &str, id: u8) -> PyResult<()> {
    if id == 0 {
        return Err(invalid(format!("id of header extension {name} must not be 0")));
    }
    let field = match name {
        "mid" => &mut ids.mid,
        "rid" => &mut ids.rid,
        "repaired_rid" => &mut ids.repaired_rid,
        "audio_level" => &mut ids.audio_level,
        "transport_cc" => &mut ids.transport_cc,
        "abs_send_time" => &mut ids.abs_send_time,
        "abs_capture_time" => &mut ids.abs_capture_time,
        "dependency_descriptor" => &mut ids.dependency_descriptor,
        "video_orientation" => &mut ids.video_orientation,
        "playout_delay" => &mut ids.playout_delay,
        other => return Err(invalid(format!("unknown header extension {other:?}"))),
    };
    *field = Some(id);
    Ok(())
}

/// Durations in milliseconds.
pub(crate) fn set_limit(config: &mut Config, name: &str, value: u64) -> PyResult<()> {
    let size = usize::try_from(value).map_err(|_| invalid(format!("limit {name} is too large")))?;
    let time = Duration::from_millis(value);
    match name {
        "max_peers" => config.max_peers = size,
        "max_tracks_per_peer" => config.max_tracks_per_peer = size,
        "max_subscriptions_per_peer" => config.max_subscriptions_per_peer = size,
        "max_data_channels_per_peer" => config.max_data_channels_per_peer = size,
        "max_data_message" => config.max_data_message = size,
        "max_data_buffered" => config.max_data_buffered = size,
        "ice_timeout" => config.ice_timeout = time,
        "consent_timeout" => config.consent_timeout = time,
        "retransmission_window" => config.retransmission_window = time,
        "keyframe_interval" => config.keyframe_interval = time,
        "layer_timeout" => config.layer_timeout = time,
        "audio_redundancy" => config.audio_redundancy = size,
        "loudest" => config.loudest = size,
        "start_bitrate" => config.start_bitrate = value,
        "max_bitrate" => config.max_bitrate = value,
        other => return Err(invalid(format!("unknown limit {other:?}"))),
    }
    Ok(())
}

/// As documented at `Core.poll_events`.
pub(crate) fn report(py: Python<'_>, report: Report) -> PyResult<Py<PyAny>> {
    let event = match report {
        Report::WorkerFailed(worker) => return ("worker_failed", worker.0).into_py_any(py),
        Report::Event(event) => event,
    };
    match event {
        Event::IceConnected { peer, remote } => {
            ("ice_connected", peer.0, remote.ip().to_string(), remote.port()).into_py_any(py)
        }
        Event::Connected { peer, profile } => ("connected", peer.0, profile_name(profile)).into_py_any(py),
        Event::Disconnected { peer, reason } => ("disconnected", peer.0, reason_name(reason)).into_py_any(py),
        Event::TrackStarted { track, codec } => ("track_started", track.0, codec_name(codec)).into_py_any(py),
        Event::LayerActive { track, layer, active } => ("layer_active", track.0, layer, active).into_py_any(py),
        Event::LayerForwarded { subscription, layer } => ("layer_forwarded", subscription.0, layer).into_py_any(py),
        Event::StreamPaused { subscription, paused } => ("stream_paused", subscription.0, paused).into_py_any(py),
        Event::LayersWanted { track, highest } => ("layers_wanted", track.0, highest).into_py_any(py),
        Event::AudioLevels(levels) => {
            let rows: Vec<_> = levels.iter().map(|l| (l.track.0, l.level, l.active)).collect();
            ("audio_levels", rows).into_py_any(py)
        }
        Event::DataChannelOpened { peer, channel } => {
            let limits = (channel.max_retransmits, channel.max_lifetime);
            let reliable = limits == (None, None);
            let row = (channel.stream, channel.ordered, limits.0, limits.1);
            ("data_channel_opened", peer.0, channel.label, reliable, row).into_py_any(py)
        }
        Event::DataChannelClosed { peer, label } => ("data_channel_closed", peer.0, label).into_py_any(py),
        Event::DataReceived {
            peer,
            label,
            binary,
            payload,
        } => ("data_received", peer.0, label, binary, PyBytes::new(py, &payload)).into_py_any(py),
        Event::LinkAlive { link, alive } => ("link_alive", link.0, alive).into_py_any(py),
        Event::MirrorEnded { track } => ("mirror_ended", track.0).into_py_any(py),
        Event::CommandFailed { peer, error } => {
            ("command_failed", peer.map(|peer| peer.0), error.to_string()).into_py_any(py)
        }
    }
}

/// 16 octets of key and 12 of salt.
pub(crate) fn keys(octets: &[u8]) -> PyResult<Keys> {
    let parts = octets.split_first_chunk().and_then(|(key, salt)| {
        Some(Keys {
            key: *key,
            salt: salt.try_into().ok()?,
        })
    });
    parts.ok_or_else(|| invalid(format!("the keys of a link have 16 + 12 octets, not {}", octets.len())))
}

pub(crate) fn profile(name: &str) -> PyResult<SrtpProfile> {
    [
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmHmacSha1_80,
    ]
    .into_iter()
    .find(|profile| profile_name(*profile) == name)
    .ok_or_else(|| invalid(format!("unknown SRTP profile {name:?}")))
}

pub(crate) fn pt(value: u8) -> PyResult<PayloadType> {
    match value {
        0..=127 => Ok(PayloadType(value)),
        _ => Err(invalid(format!("payload type {value} is above 127"))),
    }
}

fn codec(name: &str) -> PyResult<Codec> {
    [Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1]
        .into_iter()
        .find(|codec| codec_name(*codec) == name)
        .ok_or_else(|| invalid(format!("unknown codec {name:?}")))
}

fn codec_name(codec: Codec) -> &'static str {
    match codec {
        Codec::Opus => "opus",
        Codec::Red => "red",
        Codec::Vp8 => "vp8",
        Codec::Vp9 => "vp9",
        Codec::H264 => "h264",
        Codec::Av1 => "av1",
    }
}

fn profile_name(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AeadAes128Gcm => "aead_aes_128_gcm",
        SrtpProfile::AeadAes256Gcm => "aead_aes_256_gcm",
        SrtpProfile::Aes128CmHmacSha1_80 => "aes_128_cm_hmac_sha1_80",
    }
}

fn reason_name(reason: DisconnectReason) -> &'static str {
    match reason {
        DisconnectReason::IceTimeout => "ice_timeout",
        DisconnectReason::ConsentLost => "consent_lost",
        DisconnectReason::DtlsFailed => "dtls_failed",
        DisconnectReason::FingerprintMismatch => "fingerprint_mismatch",
        DisconnectReason::NoSrtpProfile => "no_srtp_profile",
        DisconnectReason::Closed => "closed",
        DisconnectReason::WorkerFailed => "worker_failed",
    }
}
