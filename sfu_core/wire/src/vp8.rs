//! VP8 payload descriptor and the start of the frame behind it (RFC 7741 sections 4.2 and 4.3).

use crate::picture::{PictureId, Tl0PicIdx};

const EXTENDED: u8 = 0x80;
const NON_REFERENCE: u8 = 0x20;
const START: u8 = 0x10;
const PARTITION: u8 = 0x07;
const HAS_PICTURE_ID: u8 = 0x80;
const HAS_TL0_PIC_IDX: u8 = 0x40;
const HAS_TEMPORAL: u8 = 0x20;
const HAS_KEY_INDEX: u8 = 0x10;
/// Behind the frame tag of three octets (RFC 6386 section 9.1).
const START_CODE: [u8; 3] = [0x9d, 0x01, 0x2a];

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("VP8 payload descriptor is cut short")]
pub struct Truncated;

/// Positions count from the first octet of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The frame can be left out without harm to others.
    pub non_reference: bool,
    /// First packet of a partition; with partition 0 the first of a frame.
    pub start: bool,
    pub partition: u8,
    pub picture_id: Option<PictureId>,
    pub tl0_pic_idx: Option<Tl0PicIdx>,
    pub temporal: Option<Temporal>,
    pub key_index: Option<u8>,
    /// Octets of the descriptor: the VP8 data begins there.
    pub len: usize,
    /// First packet of a keyframe.
    pub keyframe: bool,
    /// Width and height of a keyframe, in pixels.
    pub resolution: Option<(u16, u16)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Temporal {
    /// Temporal layer, 0 to 3.
    pub layer: u8,
    /// Y bit: depends on layer 0 alone, so that a receiver may go up to this layer here.
    pub sync: bool,
}

impl Descriptor {
    /// First packet of a frame.
    #[inline]
    pub fn frame_start(&self) -> bool {
        self.start && self.partition == 0
    }

    #[inline]
    pub fn parse(payload: &[u8]) -> Result<Self, Truncated> {
        let byte = |at: usize| payload.get(at).copied().ok_or(Truncated);
        let first = byte(0)?;
        let mut descriptor = Self {
            non_reference: first & NON_REFERENCE != 0,
            start: first & START != 0,
            partition: first & PARTITION,
            picture_id: None,
            tl0_pic_idx: None,
            temporal: None,
            key_index: None,
            len: 1,
            keyframe: false,
            resolution: None,
        };
        if first & EXTENDED != 0 {
            let present = byte(1)?;
            let mut at = 2;
            if present & HAS_PICTURE_ID != 0 {
                let id = PictureId::read(payload, at as u8).ok_or(Truncated)?;
                descriptor.picture_id = Some(id);
                at += id.len();
            }
            if present & HAS_TL0_PIC_IDX != 0 {
                descriptor.tl0_pic_idx = Some(Tl0PicIdx {
                    offset: at as u8,
                    value: byte(at)?,
                });
                at += 1;
            }
            if present & (HAS_TEMPORAL | HAS_KEY_INDEX) != 0 {
                let layers = byte(at)?;
                descriptor.temporal = (present & HAS_TEMPORAL != 0).then_some(Temporal {
                    layer: layers >> 6,
                    sync: layers & 0x20 != 0,
                });
                descriptor.key_index = (present & HAS_KEY_INDEX != 0).then_some(layers & 0x1f);
                at += 1;
            }
            descriptor.len = at;
        }
        if descriptor.frame_start() {
            let frame = payload.get(descriptor.len..).unwrap_or_default();
            // P bit of the frame tag: 0 for a keyframe.
            descriptor.keyframe = frame.first().is_some_and(|tag| tag & 0x01 == 0);
            if descriptor.keyframe {
                descriptor.resolution = resolution(frame);
            }
        }
        Ok(descriptor)
    }
}

/// Width and height of 14 bits each; their upper bits are a scale for display.
fn resolution(frame: &[u8]) -> Option<(u16, u16)> {
    let [_, _, _, c0, c1, c2, w0, w1, h0, h1] = *frame.first_chunk()?;
    let sizes = [[w0, w1], [h0, h1]].map(|octets| u16::from_le_bytes(octets) & 0x3fff);
    ([c0, c1, c2] == START_CODE).then_some((sizes[0], sizes[1]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Libvpx keyframe of 320 by 180 behind a descriptor that has everything.
    const KEYFRAME: [u8; 16] = [
        0x90, 0xf0, 0x92, 0x34, 0x07, 0x65, 0xd0, 0x0f, 0x00, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00,
    ];

    #[test]
    fn everything_present() {
        assert_eq!(
            Descriptor::parse(&KEYFRAME),
            Ok(Descriptor {
                non_reference: false,
                start: true,
                partition: 0,
                picture_id: Some(PictureId {
                    offset: 2,
                    value: 0x1234,
                    long: true
                }),
                tl0_pic_idx: Some(Tl0PicIdx { offset: 4, value: 7 }),
                temporal: Some(Temporal { layer: 1, sync: true }),
                key_index: Some(5),
                len: 6,
                keyframe: true,
                resolution: Some((320, 180)),
            })
        );
    }

    #[test]
    fn descriptors_of_every_shape() {
        let temporal = |layer, sync| Some(Temporal { layer, sync });
        let id = |offset, value, long| Some(PictureId { offset, value, long });
        let tl0 = |offset, value| Some(Tl0PicIdx { offset, value });
        for (payload, len, picture_id, tl0_pic_idx, layer) in [
            (&[0x00][..], 1, None, None, None),
            (&[0x80, 0x00], 2, None, None, None),
            (&[0x80, 0x80, 0x7f], 3, id(2, 0x7f, false), None, None),
            (&[0x80, 0x80, 0xff, 0xff], 4, id(2, 0x7fff, true), None, None),
            (&[0x80, 0x40, 9], 3, None, tl0(2, 9), None),
            (&[0x80, 0x20, 0xc0], 3, None, None, temporal(3, false)),
            (&[0x80, 0x10, 0xc0], 3, None, None, None),
            (
                &[0x80, 0xe0, 3, 4, 0xa0],
                5,
                id(2, 3, false),
                tl0(3, 4),
                temporal(2, true),
            ),
        ] {
            let found = Descriptor::parse(payload).unwrap();
            assert_eq!(
                (found.len, found.picture_id, found.tl0_pic_idx, found.temporal),
                (len, picture_id, tl0_pic_idx, layer),
                "{payload:?}"
            );
            for short in 0..len {
                assert_eq!(Descriptor::parse(&payload[..short]), Err(Truncated), "{payload:?}");
            }
        }
    }

    #[test]
    fn only_the_first_packet_of_a_keyframe_is_one() {
        for (first, tag, frame_start, keyframe) in [
            (0x10, 0x10, true, true),
            (0x10, 0x11, true, false),
            (0x00, 0x10, false, false),
            (0x11, 0x10, false, false),
        ] {
            let found = Descriptor::parse(&[first, tag]).unwrap();
            assert_eq!(
                (found.frame_start(), found.keyframe, found.resolution),
                (frame_start, keyframe, None)
            );
        }
        // Nothing behind the descriptor, then a wrong start code.
        assert!(!Descriptor::parse(&[0x10]).unwrap().keyframe);
        let mut wrong = KEYFRAME;
        wrong[9] = 0;
        let found = Descriptor::parse(&wrong).unwrap();
        assert_eq!((found.keyframe, found.resolution), (true, None));
    }

    #[test]
    fn rewrites_in_place() {
        let mut payload = KEYFRAME;
        let found = Descriptor::parse(&payload).unwrap();
        found.picture_id.unwrap().rewrite(&mut payload, 0x7ffe);
        found.tl0_pic_idx.unwrap().rewrite(&mut payload, 255);
        let again = Descriptor::parse(&payload).unwrap();
        assert_eq!(again.picture_id.unwrap().value, 0x7ffe);
        assert_eq!(again.tl0_pic_idx.unwrap().value, 255);
        assert_eq!(payload[..2], KEYFRAME[..2]);
        assert_eq!(payload[5..], KEYFRAME[5..]);

        // Values wrap at the width of the field and leave its M bit alone.
        found.picture_id.unwrap().rewrite(&mut payload, 0x8001);
        assert_eq!(payload[2..4], [0x80, 0x01]);
        let mut short = [0x80, 0x80, 0x7f];
        let id = Descriptor::parse(&short).unwrap().picture_id.unwrap();
        id.rewrite(&mut short, 0x80);
        assert_eq!(short[2], 0);

        for len in 0..4 {
            let mut cut = KEYFRAME;
            found.picture_id.unwrap().rewrite(&mut cut[..len], 0);
            found.tl0_pic_idx.unwrap().rewrite(&mut cut[..len], 0);
            assert_eq!(cut, KEYFRAME);
        }
    }
}
