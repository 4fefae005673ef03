//! H.264 RTP payload: single NAL units, STAP-A and FU-A (RFC 6184 sections 5.6 to 5.8).

mod sps;

use crate::cursor::Reader;

const TYPE: u8 = 0x1f;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const FU_START: u8 = 0x80;
const FU_END: u8 = 0x40;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("H.264 payload is empty")]
    Empty,
    #[error("H.264 aggregate or fragment is cut short")]
    Truncated,
    #[error("H.264 packet type {0} is not in non-interleaved mode")]
    Type(u8),
}

/// NAL unit types that matter here (ITU-T H.264 table 7-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NalType {
    Slice,
    /// Slice of an instantaneous decoder refresh, the keyframe.
    Idr,
    SequenceParameters,
    PictureParameters,
    Other(u8),
}

/// A whole NAL unit or a fragment of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Nal<'a> {
    pub nal_type: NalType,
    /// Its first octets are in this packet.
    pub start: bool,
    /// Its last octets are in this packet.
    pub end: bool,
    /// Without the octet that holds the type.
    pub data: &'a [u8],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    packing: Packing<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Packing<'a> {
    One(Nal<'a>),
    Aggregate(&'a [u8]),
}

impl<'a> Payload<'a> {
    /// Checks that all units of an aggregate are within the payload.
    pub fn parse(payload: &'a [u8]) -> Result<Self, Error> {
        let (&first, content) = payload.split_first().ok_or(Error::Empty)?;
        let packing = match first & TYPE {
            nal_type @ 1..=23 => Packing::One(Nal {
                nal_type: NalType::from(nal_type),
                start: true,
                end: true,
                data: content,
            }),
            STAP_A => {
                let mut rest = Reader(content);
                while !rest.0.is_empty() {
                    Nal::aggregated(&mut rest).ok_or(Error::Truncated)?;
                }
                Packing::Aggregate(content)
            }
            FU_A => {
                let (&header, data) = content.split_first().ok_or(Error::Truncated)?;
                Packing::One(Nal {
                    nal_type: NalType::from(header & TYPE),
                    start: header & FU_START != 0,
                    end: header & FU_END != 0,
                    data,
                })
            }
            other => return Err(Error::Type(other)),
        };
        Ok(Self { packing })
    }

    pub fn nals(&self) -> impl Iterator<Item = Nal<'a>> + use<'a> {
        let (one, aggregate) = match self.packing {
            Packing::One(nal) => (Some(nal), &[][..]),
            Packing::Aggregate(content) => (None, content),
        };
        let mut rest = Reader(aggregate);
        one.into_iter()
            .chain(std::iter::from_fn(move || Nal::aggregated(&mut rest)))
    }

    /// A NAL unit of this type begins here.
    pub fn begins(&self, nal_type: NalType) -> bool {
        self.nals().any(|nal| nal.start && nal.nal_type == nal_type)
    }

    /// A keyframe begins here: with its sequence parameters, which senders put in front, or with its first slice.
    ///
    /// Of a sender that puts parameters in a packet of their own both packets say so; the first of one timestamp counts.
    pub fn keyframe(&self) -> bool {
        self.begins(NalType::SequenceParameters) || self.begins(NalType::Idr)
    }

    /// Width and height in pixels, when sequence parameters are in this packet.
    pub fn resolution(&self) -> Option<(u16, u16)> {
        self.nals()
            .find(|nal| nal.start && nal.nal_type == NalType::SequenceParameters)
            .and_then(|nal| sps::resolution(nal.data))
    }
}

impl<'a> Nal<'a> {
    fn aggregated(rest: &mut Reader<'a>) -> Option<Self> {
        let len = rest.u16()?;
        let (&first, data) = rest.bytes(usize::from(len))?.split_first()?;
        Some(Self {
            nal_type: NalType::from(first & TYPE),
            start: true,
            end: true,
            data,
        })
    }
}

impl From<u8> for NalType {
    fn from(number: u8) -> Self {
        match number {
            1 => Self::Slice,
            5 => Self::Idr,
            7 => Self::SequenceParameters,
            8 => Self::PictureParameters,
            other => Self::Other(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sps::tests::{BASELINE_360P, WIDTH_HEIGHT_360P};
    use super::*;

    fn types(payload: &[u8]) -> Result<Vec<NalType>, Error> {
        Ok(Payload::parse(payload)?.nals().map(|nal| nal.nal_type).collect())
    }

    #[test]
    fn single_units() {
        for (first, nal_type, keyframe) in [
            (0x61, NalType::Slice, false),
            (0x65, NalType::Idr, true),
            (0x67, NalType::SequenceParameters, true),
            (0x68, NalType::PictureParameters, false),
            (0x06, NalType::Other(6), false),
        ] {
            let payload = [first, 1, 2];
            let found = Payload::parse(&payload).unwrap();
            let nal = Nal {
                nal_type,
                start: true,
                end: true,
                data: &[1, 2],
            };
            assert_eq!(found.nals().collect::<Vec<_>>(), [nal]);
            assert_eq!(found.keyframe(), keyframe);
        }
    }

    #[test]
    fn aggregates() {
        let mut payload = vec![0x78, 0, BASELINE_360P.len() as u8 + 1, 0x67];
        payload.extend(BASELINE_360P);
        payload.extend([0, 2, 0x68, 0xce, 0, 3, 0x65, 0x88, 0x80]);
        assert_eq!(
            types(&payload),
            Ok(vec![
                NalType::SequenceParameters,
                NalType::PictureParameters,
                NalType::Idr
            ])
        );
        let found = Payload::parse(&payload).unwrap();
        assert!(found.keyframe() && found.begins(NalType::PictureParameters) && !found.begins(NalType::Slice));
        assert_eq!(found.resolution(), Some(WIDTH_HEIGHT_360P));
        assert_eq!(types(&[0x78]), Ok(vec![]));
        for cut in [
            &[0x78, 0][..],
            &[0x78, 0, 2, 0x67],
            &[0x78, 0, 0],
            &[0x78, 0xff, 0xff, 0x65],
        ] {
            assert_eq!(types(cut), Err(Error::Truncated), "{cut:?}");
        }
    }

    #[test]
    fn fragments() {
        for (header, start, end, keyframe) in [
            (0x85, true, false, true),
            (0x05, false, false, false),
            (0x45, false, true, false),
            (0x81, true, false, false),
        ] {
            let payload = [0x7c, header, 9];
            let found = Payload::parse(&payload).unwrap();
            let nal = found.nals().next().unwrap();
            assert_eq!((nal.start, nal.end, nal.data), (start, end, &[9][..]));
            assert_eq!(found.keyframe(), keyframe, "{header:x}");
        }
        assert_eq!(types(&[0x7c]), Err(Error::Truncated));
    }

    #[test]
    fn other_types_are_refused() {
        assert_eq!(types(&[]), Err(Error::Empty));
        for first in [0, 25, 26, 27, 29, 30, 31] {
            assert_eq!(types(&[first, 0, 0]), Err(Error::Type(first)));
        }
    }
}
