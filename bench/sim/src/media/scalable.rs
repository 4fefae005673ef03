//! Scalable encoders: the model of the engine's own tests, with sizes of frames.

use super::rate::RateControl;
use super::simulcast::PAYLOAD;
use super::spec::{Format, Spec, weight};
use super::stream::Stream;
use super::{Frame, TAG, Tag, Track};
use crate::encoder::{Between, Encoder, Mode, Told};
use crate::rtp::{self, Rtp};

pub(crate) struct Scalable {
    encoder: Encoder,
    rates: Vec<RateControl>,
    /// Packets made of each frame so far.
    made: Vec<(u32, u16)>,
}

impl Scalable {
    pub(crate) fn new(spec: &Spec, seed: u64) -> Self {
        let (told, between) = match spec.format {
            Format::Vp9 => (Told::Vp9Flexible, Between::InKeyframes),
            _ => (Told::Dependency, Between::Always),
        };
        let rates = spec.layers.iter().zip(0..);
        Self {
            encoder: Encoder::new(Mode {
                spatial: spec.layers.len() as u8,
                temporal: spec.temporal,
                between,
                told,
            }),
            rates: rates
                .map(|(layer, at)| RateControl::new(layer.rate, seed, at))
                .collect(),
            made: Vec::new(),
        }
    }

    /// Layers that are encoded; that some are not is not told.
    pub(crate) fn set_layers(&mut self, count: u8) {
        self.encoder.sends = count;
        self.encoder.silent = true;
    }

    pub(crate) fn encode(&mut self, track: &mut Track, stream: &mut Stream, captured: u64, key: bool) -> Vec<Rtp> {
        let temporal_layers = track.spec.temporal;
        let rates = &mut self.rates;
        let mut sizes = [(0, 0); 3];
        let made = self.encoder.picture_of(key, |spatial, temporal, key| {
            let octets = rates[usize::from(spatial)].next(key, weight(temporal_layers, temporal));
            let count = octets.div_ceil(PAYLOAD - TAG).max(1);
            sizes[usize::from(spatial)] = (octets / count, count as u16);
            count as u8
        });
        self.made.clear();
        let mut packets = Vec::with_capacity(made.len());
        for packet in made {
            let frame = &self.encoder.frames[&packet.frame];
            let (each, count) = sizes[usize::from(frame.spatial)];
            let index = self.made.iter().filter(|made| made.0 == packet.frame).count() as u16;
            self.made.push((packet.frame, index));
            if index == 0 {
                if frame.key {
                    track.keyframes.push((captured, frame.spatial));
                }
                let known = Frame {
                    picture: frame.picture,
                    spatial: frame.spatial,
                    temporal: frame.temporal,
                    references: frame.references.clone(),
                    captured,
                };
                track.frames.insert(packet.frame, known);
            }
            let mut payload = packet.payload;
            payload.resize(each.max(payload.len()), 0);
            let tag = Tag {
                frame: packet.frame,
                index,
                count,
            };
            tag.write(&mut payload);
            let dependency = Some(packet.dependency).filter(|value| !value.is_empty());
            let more = dependency.map(|value| (rtp::DEPENDENCY, value));
            packets.push(stream.packet(captured, payload, packet.marker, more));
        }
        packets
    }
}
