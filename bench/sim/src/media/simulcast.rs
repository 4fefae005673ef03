//! A model of simulcast encoders: a stream per layer, each with temporal layers.

use super::rate::RateControl;
use super::spec::{Format, Spec, temporal_of, weight};
use super::stream::Stream;
use super::{Frame, TAG, Tag, Track, h264};
use crate::rtp::Rtp;

/// Octets of a payload.
pub(crate) const PAYLOAD: usize = 1_150;

/// The encoder of one layer.
pub(crate) struct Layer {
    spatial: u8,
    rate: RateControl,
    /// Since the last keyframe.
    position: u32,
    tl0: u8,
    picture_id: u16,
    /// By temporal layer: the newest frame.
    newest: [Option<u32>; 3],
}

impl Layer {
    pub(crate) fn new(spatial: u8, bits_per_second: f64, seed: u64) -> Self {
        Self {
            spatial,
            rate: RateControl::new(bits_per_second, seed, u64::from(spatial)),
            position: 0,
            tl0: 250,
            picture_id: 32_700,
            newest: [None; 3],
        }
    }

    /// Encodes and packs picture number `picture`.
    pub(crate) fn encode(
        &mut self,
        track: &mut Track,
        stream: &mut Stream,
        picture: u32,
        captured: u64,
        key: bool,
    ) -> Vec<Rtp> {
        let spec = &track.spec;
        let key = key || self.newest[0].is_none();
        self.position = if key { 0 } else { self.position + 1 };
        let temporal = temporal_of(spec.temporal, self.position);
        if temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        self.picture_id = self.picture_id.wrapping_add(1);
        let octets = self.rate.next(key, weight(spec.temporal, temporal));
        let packets = self.pack(spec, octets, key, temporal);
        let id = picture * spec.layers.len() as u32 + u32::from(self.spatial);
        let before = usize::from(temporal.max(1));
        let references = if key {
            None
        } else {
            self.newest[..before].iter().flatten().max().copied()
        };
        let frame = Frame {
            picture,
            spatial: self.spatial,
            temporal,
            references: references.into_iter().collect(),
            captured,
        };
        if key {
            track.keyframes.push((captured, self.spatial));
            self.newest = [None; 3];
        }
        self.newest[usize::from(temporal)] = Some(id);
        track.frames.insert(id, frame);
        let count = packets.len() as u16;
        let tagged = packets
            .into_iter()
            .zip(0..)
            .map(|(mut payload, index): (Vec<u8>, u16)| {
                Tag {
                    frame: id,
                    index,
                    count,
                }
                .write(&mut payload);
                stream.packet(captured, payload, index + 1 == count, None)
            });
        tagged.collect()
    }

    /// Payloads without their tags.
    fn pack(&self, spec: &Spec, octets: usize, key: bool, temporal: u8) -> Vec<Vec<u8>> {
        let size = spec.layers[usize::from(self.spatial)].size;
        let count = octets.div_ceil(PAYLOAD - TAG).max(1);
        let each = octets / count;
        let mut packets = Vec::with_capacity(count + 1);
        if spec.format == Format::H264 && key {
            packets.push(h264::parameters(size, TAG));
        }
        packets.extend((0..count).map(|index| {
            let (first, last) = (index == 0, index + 1 == count);
            let mut payload = match spec.format {
                Format::H264 => h264::fragment(key, first, last),
                _ => self.vp8(size, key, temporal, first),
            };
            payload.resize(each.max(payload.len()), 0);
            payload
        }));
        packets
    }

    /// Payload descriptor with picture id and layers (RFC 7741 section 4.2), frame tag, size.
    fn vp8(&self, (width, height): (u16, u16), key: bool, temporal: u8, first: bool) -> Vec<u8> {
        let [high, low] = (0x8000 | self.picture_id & 0x7fff).to_be_bytes();
        let non_reference = u8::from(temporal == 2) << 5;
        // Of the pattern 0 2 1 2 all but the last refer to the lowest layer alone.
        let sync = u8::from(temporal > 0 && self.position % 4 < 3) << 5;
        let mut payload = vec![0x80 | non_reference | u8::from(first) << 4, 0xe0, high, low];
        payload.extend([self.tl0, temporal << 6 | sync]);
        payload.extend([u8::from(!key), 0, 0, 0x9d, 0x01, 0x2a]);
        payload.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
        payload
    }
}
