//! VP9 payload descriptor (RFC 9628 section 4.2).

use crate::cursor::{BufferFull, Reader, Writer};
use crate::picture::{PictureId, Tl0PicIdx};

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
    /// In flexible mode: pictures referred to.
    pub references: References,
    pub structure: Option<Structure>,
    /// Octets of the descriptor: the VP9 data begins there.
    pub len: usize,
}

/// Differences of picture ids, up to three.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct References {
    list: [u8; MAX_REFERENCES],
    count: u8,
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
    pub tl0_pic_idx: Option<Tl0PicIdx>,
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
    /// `None` of no or of more than eight layers; without sizes when any is zero.
    pub fn new(sizes: &[(u16, u16)]) -> Option<Self> {
        let mut all = [(0, 0); 8];
        all.get_mut(..sizes.len())?.copy_from_slice(sizes);
        let told = sizes.iter().all(|&(width, height)| width > 0 && height > 0);
        (!sizes.is_empty()).then_some(Self {
            spatial_layers: sizes.len() as u8,
            sizes: told.then_some(all),
        })
    }

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
            _ => Some(PictureId::read(payload, 1).ok_or(Error::Truncated)?),
        };
        reader
            .bytes(picture_id.map_or(0, PictureId::len))
            .ok_or(Error::Truncated)?;
        let layers = match first & HAS_LAYERS {
            0 => None,
            _ => {
                let at = (payload.len() - reader.0.len()) as u8;
                Some(Layers::take(&mut reader, flexible, at).ok_or(Error::Truncated)?)
            }
        };
        let references = match flexible && inter_predicted {
            true => References::take(&mut reader)?,
            false => References::default(),
        };
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
            references,
            structure,
            len: payload.len() - reader.0.len(),
        })
    }

    /// Writes the descriptor and returns its octets; of a structure the layers and their sizes alone.
    pub fn write(&self, out: &mut [u8]) -> Result<usize, BufferFull> {
        let mut writer = Writer::new(out);
        let mut first = 0;
        for (mask, set) in [
            (HAS_PICTURE_ID, self.picture_id.is_some()),
            (INTER_PREDICTED, self.inter_predicted),
            (HAS_LAYERS, self.layers.is_some()),
            (FLEXIBLE, self.flexible),
            (START, self.start),
            (END, self.end),
            (HAS_STRUCTURE, self.structure.is_some()),
            (NOT_INTER_LAYER_REFERENCE, self.not_inter_layer_reference),
        ] {
            first |= if set { mask } else { 0 };
        }
        writer.u8(first)?;
        match self.picture_id {
            Some(id) if id.long => writer.u16(0x8000 | id.value)?,
            Some(id) => writer.u8(id.value as u8 & 0x7f)?,
            None => {}
        }
        if let Some(layers) = &self.layers {
            let up = u8::from(layers.switching_up) << 4;
            writer.u8(layers.temporal << 5 | up | layers.spatial << 1 | u8::from(layers.inter_layer))?;
            if !self.flexible {
                writer.u8(layers.tl0_pic_idx.map_or(0, |index| index.value))?;
            }
        }
        if self.flexible && self.inter_predicted {
            let list = self.references.as_slice();
            for (index, difference) in list.iter().enumerate() {
                writer.u8(difference << 1 | u8::from(index + 1 < list.len()))?;
            }
        }
        if let Some(structure) = &self.structure {
            let sizes = structure.sizes();
            writer.u8((structure.spatial_layers - 1) << 5 | u8::from(!sizes.is_empty()) << 4)?;
            for &(width, height) in sizes {
                writer.u16(width)?;
                writer.u16(height)?;
            }
        }
        Ok(writer.len())
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

impl Layers {
    /// `at`: octets before them.
    fn take(reader: &mut Reader<'_>, flexible: bool, at: u8) -> Option<Self> {
        let octet = reader.u8()?;
        let index = |value| Tl0PicIdx { offset: at + 1, value };
        Some(Self {
            temporal: octet >> 5,
            switching_up: octet & 0x10 != 0,
            spatial: octet >> 1 & 0x07,
            inter_layer: octet & 0x01 != 0,
            tl0_pic_idx: if flexible { None } else { Some(index(reader.u8()?)) },
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

impl References {
    /// `None` of more than three.
    pub fn new(differences: &[u8]) -> Option<Self> {
        let mut references = Self::default();
        references
            .list
            .get_mut(..differences.len())?
            .copy_from_slice(differences);
        references.count = differences.len() as u8;
        Some(references)
    }

    pub fn as_slice(&self) -> &[u8] {
        self.list.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Seven bits each; the lowest bit says that another follows.
    fn take(reader: &mut Reader<'_>) -> Result<Self, Error> {
        let mut references = Self::default();
        for place in &mut references.list {
            let octet = reader.u8().ok_or(Error::Truncated)?;
            *place = octet >> 1;
            references.count += 1;
            if octet & 0x01 == 0 {
                return Ok(references);
            }
        }
        Err(Error::References)
    }
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
                    tl0_pic_idx: Some(Tl0PicIdx { offset: 4, value: 7 })
                }),
                references: References::default(),
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
                tl0_pic_idx: Some(Tl0PicIdx { offset: 3, value: 9 })
            })
        );
        // Flexible: no running number, then up to three references.
        let found = Descriptor::parse(&[0x70, 0x20, 0x03, 0x05, 0x06, 0xff]).unwrap();
        assert_eq!((found.temporal(), found.len), (1, 5));
        assert_eq!(found.references.as_slice(), [1, 2, 3]);
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

    #[test]
    fn what_is_written_is_read() {
        for fields in 0..64_u8 {
            let has = |bit: u8| fields >> bit & 1 != 0;
            let (flexible, inter_predicted) = (has(0), has(1));
            let mut descriptor = Descriptor {
                picture_id: has(2).then_some(PictureId {
                    offset: 1,
                    value: if has(3) { 0x7abc } else { 0x55 },
                    long: has(3),
                }),
                inter_predicted,
                flexible,
                start: has(4),
                end: !has(4),
                not_inter_layer_reference: has(5),
                layers: has(3).then_some(Layers {
                    temporal: 2,
                    switching_up: has(2),
                    spatial: 1,
                    inter_layer: has(5),
                    tl0_pic_idx: None,
                }),
                references: match flexible && inter_predicted {
                    true => References::new(&[1, 127]).unwrap(),
                    false => References::default(),
                },
                structure: has(4).then(|| Structure::new(&[(320, 180), (640, 360)]).unwrap()),
                len: 0,
            };
            if let (Some(layers), false) = (&mut descriptor.layers, flexible) {
                let offset = if has(2) { 4 } else { 2 };
                layers.tl0_pic_idx = Some(Tl0PicIdx { offset, value: 200 });
            }
            let mut out = [0; 64];
            descriptor.len = descriptor.write(&mut out).unwrap();
            assert_eq!(Descriptor::parse(&out[..descriptor.len]), Ok(descriptor));
            assert!(descriptor.write(&mut [0; 64][..descriptor.len - 1]).is_err());
        }
        assert_eq!((References::new(&[1; 4]), Structure::new(&[])), (None, None));
    }
}
