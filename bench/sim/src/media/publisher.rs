//! A publisher of one track: encoders at work, requests for keyframes and packets answered.

use pysfu_engine::command::MediaKind;
use wire::rtcp::Packet;

use super::scalable::Scalable;
use super::simulcast::Layer;
use super::spec::{FRAME, PTIME, RIDS, Spec};
use super::stream::Stream;
use super::{Frame, TAG, Tag, Track};
use crate::rtp::{self, Rtp};

/// From the request for a keyframe until the encoder heeds it, microseconds.
const ENCODER: u64 = 15_000;
const REPORTS: u64 = 1_000_000;

pub(crate) struct Publisher {
    pub(crate) track: usize,
    pub(crate) streams: Vec<Stream>,
    encoder: Encoder,
    /// Spatial layers that are sent, from the lowest.
    sends: u8,
    picture: u32,
    next: u64,
    next_report: u64,
    /// Stream and when its encoder heeds it.
    requests: Vec<(usize, u64)>,
    /// Dropped at the source between these times, microseconds.
    pub(crate) pause: Option<(u64, u64)>,
}

enum Encoder {
    Voice,
    Simulcast(Vec<Layer>),
    Scalable(Box<Scalable>),
}

impl Publisher {
    /// `ssrc`: the first of its streams.
    pub(crate) fn new(track: usize, spec: &Spec, ssrc: u32, mid: &str, now: u64, seed: u64) -> Self {
        let layers = spec.layers.iter().zip(0_u8..);
        let (format, count) = (spec.format, spec.layers.len());
        let encoder = match spec.format.clock_rate() {
            48_000 => Encoder::Voice,
            _ if format.scalable() => Encoder::Scalable(Box::new(Scalable::new(spec, seed))),
            _ => Encoder::Simulcast(
                layers
                    .map(|(layer, spatial)| Layer::new(spatial, layer.rate, seed))
                    .collect(),
            ),
        };
        let streams = if matches!(encoder, Encoder::Simulcast(_)) {
            count
        } else {
            1
        };
        let stream = |index: usize| {
            let rid = (streams > 1).then(|| RIDS[index]);
            Stream::new(
                ssrc + index as u32,
                format.payload_type(),
                format.clock_rate(),
                mid,
                rid,
            )
        };
        Self {
            track,
            streams: (0..streams).map(stream).collect(),
            encoder,
            sends: count as u8,
            picture: 0,
            next: now,
            next_report: now,
            requests: Vec::new(),
            pause: None,
        }
    }

    /// Spatial layers that are sent from now on.
    pub(crate) fn set_layers(&mut self, count: u8) {
        self.sends = count;
        if let Encoder::Scalable(encoder) = &mut self.encoder {
            encoder.set_layers(count);
        }
    }

    /// What is sent by `now`: media, and sender reports.
    pub(crate) fn poll(&mut self, now: u64, track: &mut Track, media: &mut Vec<Rtp>, reports: &mut Vec<Vec<u8>>) {
        while self.next <= now {
            let captured = self.next;
            self.next += if track.kind == MediaKind::Audio { PTIME } else { FRAME };
            if self.pause.is_none_or(|(from, to)| !(from..to).contains(&captured)) {
                self.encode(captured, track, media);
            }
        }
        if self.next_report <= now {
            self.next_report = now + REPORTS;
            reports.extend(self.streams.iter().map(|stream| stream.report(now)));
        }
    }

    fn encode(&mut self, captured: u64, track: &mut Track, media: &mut Vec<Rtp>) {
        self.picture += 1;
        let asked = |at: usize| self.requests.iter().any(|&(of, due)| of == at && due <= captured);
        let asked: Vec<bool> = (0..self.streams.len()).map(asked).collect();
        self.requests.retain(|&(_, due)| due > captured);
        match &mut self.encoder {
            Encoder::Voice => {
                let octets = (track.spec.layers[0].rate / 8.0 * PTIME as f64 / 1e6) as usize;
                let mut payload = vec![0; octets - TAG];
                let frame = self.picture;
                Tag {
                    frame,
                    index: 0,
                    count: 1,
                }
                .write(&mut payload);
                track.frames.insert(frame, voice(frame, captured));
                media.push(self.streams[0].packet(captured, payload, false, Some((rtp::AUDIO_LEVEL, vec![0x80 | 30]))));
            }
            Encoder::Simulcast(layers) => {
                let parts = layers.iter_mut().zip(&mut self.streams).zip(asked);
                for ((layer, stream), key) in parts.take(self.sends.into()) {
                    media.extend(layer.encode(track, stream, self.picture, captured, key));
                }
            }
            Encoder::Scalable(encoder) => {
                media.extend(encoder.encode(track, &mut self.streams[0], captured, asked[0]));
            }
        }
    }

    /// Returns what is to be sent again.
    pub(crate) fn on_rtcp(&mut self, now: u64, packet: &Packet<'_>) -> Vec<Rtp> {
        match packet {
            Packet::PictureLoss(loss) => self.request(now, loss.media_ssrc),
            Packet::FullIntra(request) => request.entries().for_each(|entry| self.request(now, entry.ssrc)),
            Packet::Nack(nack) => {
                let stream = self.streams.iter_mut().find(|stream| stream.ssrc == nack.media_ssrc);
                let Some(stream) = stream else { return Vec::new() };
                return nack.sequences().filter_map(|seq| stream.again(seq)).collect();
            }
            _ => {}
        }
        Vec::new()
    }

    fn request(&mut self, now: u64, ssrc: u32) {
        if let Some(index) = self.streams.iter().position(|stream| stream.ssrc == ssrc)
            && self.requests.iter().all(|&(of, _)| of != index)
        {
            self.requests.push((index, now + ENCODER));
        }
    }
}

fn voice(picture: u32, captured: u64) -> Frame {
    Frame {
        picture,
        spatial: 0,
        temporal: 0,
        references: Vec::new(),
        captured,
    }
}
