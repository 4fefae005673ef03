//! What a payload says about its place in the stream, codec by codec.

use wire::{av1, dependency, h264, vp8, vp9};

use crate::command::Codec;
use crate::packet::{Facts, Vp8Meta, Vp8PictureId, Vp8Tl0};

/// A payload that is malformed or empty tells nothing: it is forwarded like any other and starts nothing.
pub(crate) fn read(codec: Codec, payload: &[u8], dependency: &[u8]) -> Facts {
    let facts = match codec {
        Codec::Opus | Codec::Red => None,
        Codec::Vp8 => vp8(payload),
        Codec::Vp9 => vp9(payload),
        Codec::H264 => h264(payload),
        Codec::Av1 => av1(payload, dependency),
    };
    facts.unwrap_or_default()
}

fn vp8(payload: &[u8]) -> Option<Facts> {
    let descriptor = vp8::Descriptor::parse(payload).ok()?;
    let picture_id = descriptor.picture_id.map(|id| Vp8PictureId {
        offset: id.offset,
        value: id.value,
        long: id.long,
    });
    let tl0_pic_idx = descriptor.tl0_pic_idx.map(|index| Vp8Tl0 {
        offset: index.offset,
        value: index.value,
    });
    Some(Facts {
        keyframe: descriptor.keyframe,
        frame_start: descriptor.frame_start(),
        temporal: descriptor.temporal.map_or(0, |temporal| temporal.layer),
        spatial: 0,
        switching_point: descriptor
            .temporal
            .is_none_or(|temporal| temporal.layer == 0 || temporal.sync),
        resolution: descriptor.resolution,
        vp8: Some(Vp8Meta {
            picture_id,
            tl0_pic_idx,
            descriptor_len: descriptor.len as u8,
        }),
    })
}

fn vp9(payload: &[u8]) -> Option<Facts> {
    let descriptor = vp9::Descriptor::parse(payload).ok()?;
    Some(Facts {
        keyframe: descriptor.keyframe(),
        frame_start: descriptor.picture_start(),
        temporal: descriptor.temporal(),
        spatial: descriptor.spatial(),
        switching_point: descriptor
            .layers
            .is_none_or(|layers| layers.temporal == 0 || layers.switching_up),
        resolution: descriptor.resolution(),
        vp8: None,
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

fn av1(payload: &[u8], descriptor: &[u8]) -> Option<Facts> {
    let payload = av1::Payload::parse(payload).ok()?;
    let frame = dependency::Descriptor::parse(descriptor).ok();
    let first = payload.obus().next();
    Some(Facts {
        keyframe: payload.keyframe() || frame.is_some_and(|frame| frame.keyframe()),
        frame_start: frame.map_or(!payload.continues, |frame| frame.start),
        temporal: first.map_or(0, |obu| obu.temporal),
        spatial: first.map_or(0, |obu| obu.spatial),
        switching_point: first.is_none_or(|obu| obu.temporal == 0),
        resolution: payload.resolution(),
        vp8: None,
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
            let facts = read(codec, payload, &[]);
            assert_eq!((facts.keyframe, facts.resolution), (keyframe, resolution), "{name}");
        }
    }
}
