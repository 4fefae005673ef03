//! What payload and dependency descriptor say about a packet's place in the stream, codec by codec.

use std::sync::Arc;

use wire::dependency::{self, Descriptor, Indication, Structure};
use wire::{av1, h264, vp8, vp9};

use super::rates::MAX_SPATIAL;
use crate::command::Codec;
use crate::packet::{Dependency, Facts, PictureIds, Vp9Meta};

/// Of the payload alone. One that is malformed, empty or encrypted end to end tells nothing: it is forwarded like any other
/// and starts nothing.
pub(crate) fn read(codec: Codec, payload: &[u8]) -> Facts {
    let facts = match codec {
        Codec::Opus | Codec::Red => None,
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => h264(payload),
        Codec::Av1 => av1(payload),
    };
    facts.unwrap_or_default()
}

/// Reads the dependency descriptors of one stream.
#[derive(Default)]
pub(crate) struct Dependencies {
    /// The last one told.
    structure: Option<Arc<Structure>>,
    /// By spatial layer: indications of all targets that have a higher one.
    above: [u64; MAX_SPATIAL],
    /// Bit n: decode target n is being sent.
    active: u32,
}

impl Dependencies {
    /// Adds what the descriptor says to the facts, over what the payload said. Returns the structure that it tells.
    pub(crate) fn read(&mut self, value: &[u8], facts: &mut Facts) -> Option<Arc<Structure>> {
        let descriptor = Descriptor::parse(value).ok()?;
        let told = self.take_structure(&descriptor);
        let frame = self.frame(&descriptor);
        // Who never tells a structure leaves the payload to say it.
        facts.keyframe = descriptor.keyframe() || facts.keyframe && self.structure.is_none();
        facts.frame_start = descriptor.start;
        if let Some(frame) = &frame {
            self.active = frame.active_targets.unwrap_or(self.active);
            (facts.spatial, facts.temporal) = (frame.spatial, frame.temporal);
            let above = self.above.get(usize::from(frame.spatial));
            facts.needed_above = above.is_some_and(|above| frame.indications() & above != 0);
        }
        if let Some(size) = told.as_ref().and_then(|structure| structure.sizes().last()) {
            facts.resolution = Some(*size);
        }
        facts.dependency = Some(Dependency {
            number: descriptor.frame_number,
            end: descriptor.end,
            frame,
            active: self.active,
        });
        told
    }

    fn take_structure(&mut self, descriptor: &Descriptor<'_>) -> Option<Arc<Structure>> {
        let structure = descriptor.structure().ok()??;
        // Keyframes mostly repeat it.
        if self.structure.as_deref() != Some(&structure) {
            self.above = above(&structure);
            self.structure = Some(Arc::new(structure));
        }
        self.structure.clone()
    }

    fn frame(&self, descriptor: &Descriptor<'_>) -> Option<dependency::Frame> {
        descriptor.frame(self.structure.as_deref()?).ok()
    }
}

fn above(structure: &Structure) -> [u64; MAX_SPATIAL] {
    let mut above = [0; MAX_SPATIAL];
    for target in 0..structure.targets() {
        let (top, _) = structure.target_layers(target);
        for mask in above.iter_mut().take(usize::from(top)) {
            *mask |= Indication::ALL_BITS << (target * 2);
        }
    }
    above
}

fn vp8(payload: &[u8]) -> Option<Facts> {
    let descriptor = vp8::Descriptor::parse(payload).ok()?;
    Some(Facts {
        keyframe: descriptor.keyframe,
        frame_start: descriptor.frame_start(),
        temporal: descriptor.temporal.map_or(0, |temporal| temporal.layer),
        switching_point: descriptor
            .temporal
            .is_none_or(|temporal| temporal.layer == 0 || temporal.sync),
        resolution: descriptor.resolution,
        ids: Some(PictureIds {
            picture_id: descriptor.picture_id,
            tl0_pic_idx: descriptor.tl0_pic_idx,
        }),
        ..Facts::default()
    })
}

fn vp9(payload: &[u8]) -> Option<Facts> {
    let descriptor = vp9::Descriptor::parse(payload).ok()?;
    let layers = descriptor.layers;
    Some(Facts {
        keyframe: descriptor.keyframe(),
        frame_start: descriptor.start,
        temporal: descriptor.temporal(),
        spatial: descriptor.spatial(),
        switching_point: layers.is_none_or(|layers| layers.switching_up),
        needed_above: layers.is_some() && !descriptor.not_inter_layer_reference,
        resolution: descriptor.resolution(),
        ids: Some(PictureIds {
            picture_id: descriptor.picture_id,
            tl0_pic_idx: layers.and_then(|layers| layers.tl0_pic_idx),
        }),
        vp9: Some(Vp9Meta {
            layered: layers.is_some(),
            end: descriptor.end,
            inter_predicted: descriptor.inter_predicted,
            inter_layer: layers.is_some_and(|layers| layers.inter_layer),
            flexible: descriptor.flexible,
            references: descriptor.references,
            spatial_layers: descriptor.structure.map_or(0, |structure| structure.spatial_layers),
        }),
        ..Facts::default()
    })
}

fn h264(payload: &[u8]) -> Option<Facts> {
    let payload = h264::Payload::parse(payload).ok()?;
    Some(Facts {
        keyframe: payload.keyframe(),
        frame_start: payload.nals().any(|nal| nal.start),
        switching_point: true,
        resolution: payload.resolution(),
        ..Facts::default()
    })
}

fn av1(payload: &[u8]) -> Option<Facts> {
    let payload = av1::Payload::parse(payload).ok()?;
    let first = payload.obus().next();
    Some(Facts {
        keyframe: payload.keyframe(),
        frame_start: !payload.continues,
        temporal: first.map_or(0, |obu| obu.temporal),
        spatial: first.map_or(0, |obu| obu.spatial),
        resolution: payload.resolution(),
        ..Facts::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    type Case<'a> = (&'a str, Codec, &'a [u8], bool, Option<(u16, u16)>);

    #[test]
    fn keyframes_by_codec() {
        let vp8_key = [0x10, 0x50, 0x01, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x01];
        let cases: [Case<'_>; 10] = [
            ("VP8 keyframe", Codec::Vp8, &vp8_key, true, Some((640, 480))),
            ("VP8 keyframe goes on", Codec::Vp8, &[0x00, 0x50], false, None),
            ("VP8 delta", Codec::Vp8, &[0x10, 0x51], false, None),
            ("VP9 keyframe", Codec::Vp9, &[0x08, 0x00], true, None),
            ("VP9 delta", Codec::Vp9, &[0x48, 0x00], false, None),
            (
                "H.264 IDR fragment begins",
                Codec::H264,
                &[0x7c, 0x85, 0x00],
                true,
                None,
            ),
            (
                "H.264 IDR fragment goes on",
                Codec::H264,
                &[0x7c, 0x05, 0x00],
                false,
                None,
            ),
            ("AV1 new sequence", Codec::Av1, &[0x18, 0x12, 0x00], true, None),
            ("AV1 delta", Codec::Av1, &[0x10, 0x30, 0x00], false, None),
            ("nothing", Codec::Vp8, &[], false, None),
        ];
        for (name, codec, payload, keyframe, resolution) in cases {
            let facts = read(codec, payload);
            assert_eq!((facts.keyframe, facts.resolution), (keyframe, resolution), "{name}");
        }
    }
}
