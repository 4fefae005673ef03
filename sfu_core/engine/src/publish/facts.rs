//! What a payload says about its place in the stream, codec by codec.

use wire::vp8;

use crate::command::Codec;
use crate::packet::{Facts, Vp8Meta, Vp8PictureId, Vp8Tl0};

/// A payload that is malformed or empty tells nothing: it is forwarded like any other and starts nothing.
pub(crate) fn read(codec: Codec, payload: &[u8], dependency: &[u8]) -> Facts {
    let _ = dependency;
    match codec {
        Codec::Vp8 => vp8(payload),
        _ => Facts::default(),
    }
}

fn vp8(payload: &[u8]) -> Facts {
    let Ok(descriptor) = vp8::Descriptor::parse(payload) else {
        return Facts::default();
    };
    Facts {
        keyframe: descriptor.keyframe,
        frame_start: descriptor.frame_start(),
        temporal: descriptor.temporal.map_or(0, |t| t.layer),
        spatial: 0,
        switching_point: descriptor.temporal.is_none_or(|t| t.layer == 0 || t.sync),
        resolution: descriptor.resolution,
        vp8: Some(Vp8Meta {
            picture_id: descriptor.picture_id.map(|id| Vp8PictureId {
                offset: id.offset,
                value: id.value,
                long: id.long,
            }),
            tl0_pic_idx: descriptor.tl0_pic_idx.map(|idx| Vp8Tl0 {
                offset: idx.offset,
                value: idx.value,
            }),
            descriptor_len: descriptor.len as u8,
        }),
    }
}
