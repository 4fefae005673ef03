//! VP9 payload descriptor (RFC 9628 section 4.2).

use crate::cursor::Reader;

const HAS_PICTURE_ID: u8 = 0x80;
const INTER_PREDICTED: u8 = 0x40;
const HAS_LAYERS: u8 = 0x20;
const FLEXIBLE: u8 = 0x10;
const START: u8 = 0x08;
const END: u8 = 0x04;
const HAS_STRUCTURE: u8 = 0x02;
const NOT_INTER_LAYER_REFERENCE: u8 = 0x01;
/// RFC 9628 section 4.2: a picture refers to three others at most.
const MAX_REFERENCES: usize = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("VP9 payload descriptor is cut short")]
    Truncated,
    #[error("VP9 picture refers to more than three others")]
    References,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor {
    pub picture_id: Option<PictureId>,
    /// Refers to earlier pictures.
    pub inter_predicted: bool,
    /// References are told per picture rather than by a structure.
    pub flexible: bool,
    /// First packet of a layer frame.
    pub start: bool,
    /// Last packet of a layer frame.
    pub end: bool,
    /// No higher spatial layer of this picture refers to it.
    pub not_inter_layer_reference: bool,
    pub layers: Option<Layers>,
    pub structure: Option<Structure>,
    /// Octets of the descriptor: the VP9 data begins there.
    pub len: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureId {
    pub offset: u8,
    pub value: u16,
    /// 15 bits in two octets, else 7 bits in one.
    pub long: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layers {
    /// 0 to 7.
    pub temporal: u8,
    /// U bit: a receiver may go up to this temporal layer from the next picture on.
    pub switching_up: bool,
    /// 0 to 7.
    pub spatial: u8,
    /// D bit: needs the layer below of the same picture.
    pub inter_layer: bool,
    /// Running number of pictures of temporal layer 0; absent in flexible mode.
    pub tl0_pic_idx: Option<u8>,
}

/// Scalability structure (RFC 9628 section 4.2.1); of the groups of pictures only the place is skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Spatial layers, 1 to 8.
    pub spatial_layers: u8,
    /// Width and height of each layer in pixels, where they are told.
    sizes: Option<[(u16, u16); 8]>,
}

impl Structure {
    /// Width and height of each spatial layer from the lowest; empty when they are not told.
    pub fn sizes(&self) -> &[(u16, u16)] {
        let sizes = self.sizes.as_ref().map_or(&[][..], |sizes| sizes);
        sizes.get(..usize::from(self.spatial_layers)).unwrap_or_default()
    }
}

impl Descriptor {
    pub fn parse(payload: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader(payload);
        let first = reader.u8().ok_or(Error::Truncated)?;
        let flexible = first & FLEXIBLE != 0;
        let inter_predicted = first & INTER_PREDICTED != 0;
        let picture_id = match first & HAS_PICTURE_ID {
            0 => None,
            _ => Some(PictureId::take(&mut reader).ok_or(Error::Truncated)?),
        };
        let layers = match first & HAS_LAYERS {
            0 => None,
            _ => Some(Layers::take(&mut reader, flexible).ok_or(Error::Truncated)?),
        };
        if flexible && inter_predicted {
            skip_references(&mut reader)?;
        }
        let structure = match first & HAS_STRUCTURE {
            0 => None,
            _ => Some(Structure::take(&mut reader).ok_or(Error::Truncated)?),
        };
        Ok(Self {
            picture_id,
            inter_predicted,
            flexible,
            start: first & START != 0,
            end: first & END != 0,
            not_inter_layer_reference: first & NOT_INTER_LAYER_REFERENCE != 0,
            layers,
            structure,
            len: payload.len() - reader.0.len(),
        })
    }

    /// 0 without layer indices.
    pub fn temporal(&self) -> u8 {
        self.layers.map_or(0, |layers| layers.temporal)
    }

    /// 0 without layer indices.
    pub fn spatial(&self) -> u8 {
        self.layers.map_or(0, |layers| layers.spatial)
    }

    /// First packet of a picture, that is of its lowest spatial layer.
    pub fn picture_start(&self) -> bool {
        self.start && self.spatial() == 0
    }

    /// First packet of a picture that refers to no other.
    pub fn keyframe(&self) -> bool {
        self.picture_start() && !self.inter_predicted
    }

    /// Of the highest spatial layer, where the structure tells it.
    pub fn resolution(&self) -> Option<(u16, u16)> {
        self.structure.as_ref()?.sizes().last().copied()
    }
}

impl PictureId {
    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        // Right behind the first octet.
        let offset = 1;
        let high = reader.u8()?;
        let long = high & 0x80 != 0;
        let value = if long {
            u16::from_be_bytes([high & 0x7f, reader.u8()?])
        } else {
            u16::from(high)
        };
        Some(Self { offset, value, long })
    }
}

impl Layers {
    fn take(reader: &mut Reader<'_>, flexible: bool) -> Option<Self> {
        let octet = reader.u8()?;
        Some(Self {
            temporal: octet >> 5,
            switching_up: octet & 0x10 != 0,
            spatial: octet >> 1 & 0x07,
            inter_layer: octet & 0x01 != 0,
            tl0_pic_idx: if flexible { None } else { Some(reader.u8()?) },
        })
    }
}

impl Structure {
    fn take(reader: &mut Reader<'_>) -> Option<Self> {
        let octet = reader.u8()?;
        let spatial_layers = (octet >> 5) + 1;
        let sizes = if octet & 0x10 != 0 {
            let mut sizes = [(0, 0); 8];
            for size in sizes.iter_mut().take(usize::from(spatial_layers)) {
                *size = (reader.u16()?, reader.u16()?);
            }
            Some(sizes)
        } else {
            None
        };
        if octet & 0x08 != 0 {
            for _ in 0..reader.u8()? {
                let references = reader.u8()? >> 2 & 0x03;
                reader.bytes(usize::from(references))?;
            }
        }
        Some(Self { spatial_layers, sizes })
    }
}

/// Differences of picture ids; the lowest bit says that another follows.
fn skip_references(reader: &mut Reader<'_>) -> Result<(), Error> {
    for _ in 0..MAX_REFERENCES {
        if reader.u8().ok_or(Error::Truncated)? & 0x01 == 0 {
            return Ok(());
        }
    }
    Err(Error::References)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chromium, non-flexible keyframe with a structure of one layer of 640 by 360 and a group of one picture.
    const KEYFRAME: [u8; 13] = [
        0xaa, 0x92, 0x34, 0x00, 0x07, 0x18, 0x02, 0x80, 0x01, 0x68, 0x01, 0x04, 0x01,
    ];

    #[test]
    fn keyframe_with_structure() {
        let found = Descriptor::parse(&KEYFRAME).unwrap();
        assert_eq!(
            found,
            Descriptor {
                picture_id: Some(PictureId {
                    offset: 1,
                    value: 0x1234,
                    long: true
                }),
                inter_predicted: false,
                flexible: false,
                start: true,
                end: false,
                not_inter_layer_reference: false,
                layers: Some(Layers {
                    temporal: 0,
                    switching_up: false,
                    spatial: 0,
                    inter_layer: false,
                    tl0_pic_idx: Some(7)
                }),
                structure: found.structure,
                len: 13,
            }
        );
        assert!(found.keyframe() && found.picture_start());
        assert_eq!(found.structure.unwrap().sizes(), [(640, 360)]);
        assert_eq!(found.resolution(), Some((640, 360)));
        for len in 0..KEYFRAME.len() {
            assert_eq!(Descriptor::parse(&KEYFRAME[..len]), Err(Error::Truncated), "{len}");
        }
    }

    #[test]
    fn three_spatial_layers() {
        let payload = [
            0x0a, 0x50, 0x01, 0x40, 0x00, 0xb4, 0x02, 0x80, 0x01, 0x68, 0x05, 0x00, 0x02, 0xd0, 0x99,
        ];
        let found = Descriptor::parse(&payload).unwrap();
        assert_eq!(found.structure.unwrap().sizes(), [(320, 180), (640, 360), (1_280, 720)]);
        assert_eq!((found.len, found.resolution()), (14, Some((1_280, 720))));
        let untold = Descriptor::parse(&[0x0a, 0x40]).unwrap();
        assert_eq!(
            (untold.structure.unwrap().sizes(), untold.resolution()),
            (&[][..], None)
        );
    }

    #[test]
    fn layers_and_flexible_mode() {
        let found = Descriptor::parse(&[0xa0, 0x05, 0x55, 0x09]).unwrap();
        assert_eq!(found.picture_id.unwrap().value, 5);
        assert_eq!(
            found.layers,
            Some(Layers {
                temporal: 2,
                switching_up: true,
                spatial: 2,
                inter_layer: true,
                tl0_pic_idx: Some(9)
            })
        );
        // Flexible: no running number, then up to three references.
        let found = Descriptor::parse(&[0x70, 0x20, 0x03, 0x05, 0x06, 0xff]).unwrap();
        assert_eq!((found.temporal(), found.len), (1, 5));
        assert_eq!(Descriptor::parse(&[0x50, 0x03, 0x03, 0x03]), Err(Error::References));
        assert_eq!(Descriptor::parse(&[0x50, 0x03]), Err(Error::Truncated));
        // P without F says nothing more.
        assert_eq!(Descriptor::parse(&[0x40]).unwrap().len, 1);
    }

    #[test]
    fn what_is_a_keyframe() {
        for (payload, picture_start, keyframe) in [
            (&[0x08][..], true, true),
            (&[0x00], false, false),
            (&[0x48], true, false),
            // Upper spatial layer of a keyframe.
            (&[0x28, 0x02, 0], false, false),
            (&[0x28, 0x00, 0], true, true),
        ] {
            let found = Descriptor::parse(payload).unwrap();
            assert_eq!((found.picture_start(), found.keyframe()), (picture_start, keyframe));
        }
    }

    #[test]
    fn groups_of_pictures_end_within_the_payload() {
        // Two pictures with two and no references.
        let found = Descriptor::parse(&[0x02, 0x08, 2, 0x08, 1, 2, 0x00, 9]).unwrap();
        assert_eq!(found.len, 7);
        assert_eq!(Descriptor::parse(&[0x02, 0x08, 255, 0x0c, 1]), Err(Error::Truncated));
    }
}
