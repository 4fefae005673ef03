//! Picture ids and TL0PICIDX of VP8 and VP9 that run on over layer switches and, of VP8, dropped temporal layers (RFC 7741
//! and RFC 9628, section 4.2). VP9 keeps the gaps of dropped pictures: references count by picture id.

use super::numbering::{Numbering, Skipped};
use crate::packet::PictureIds;

/// Values to write into the payload descriptor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct PicturePatch {
    pub(super) picture_id: u16,
    pub(super) tl0_pic_idx: u8,
}

#[derive(Debug)]
pub(super) struct Pictures {
    pictures: Numbering,
    source: Unwrap,
    tl0_offset: u8,
    last_tl0: u8,
}

impl Pictures {
    pub(super) fn new(first_picture: u16) -> Self {
        Self {
            pictures: Numbering::new(u64::from(first_picture & 0x7fff)),
            source: Unwrap::default(),
            tl0_offset: 0,
            last_tl0: 0,
        }
    }

    /// The first packet of an epoch.
    pub(super) fn begin(&mut self, ids: &PictureIds) {
        self.source = Unwrap::default();
        if let Some(picture) = self.source.next(ids) {
            self.pictures.begin(picture);
        }
        if let Some(tl0) = ids.tl0_pic_idx {
            self.tl0_offset = self.last_tl0.wrapping_add(1).wrapping_sub(tl0.value);
        }
    }

    /// What to write into a packet that is forwarded; `None` when it belongs to a dropped picture.
    pub(super) fn place(&mut self, ids: &PictureIds) -> Option<PicturePatch> {
        let mut patch = PicturePatch::default();
        if let Some(picture) = self.source.next(ids) {
            patch.picture_id = self.pictures.place(picture)? as u16;
        }
        if let Some(tl0) = ids.tl0_pic_idx {
            patch.tl0_pic_idx = tl0.value.wrapping_add(self.tl0_offset);
            if patch.tl0_pic_idx.wrapping_sub(self.last_tl0) < 0x80 {
                self.last_tl0 = patch.tl0_pic_idx;
            }
        }
        Some(patch)
    }

    /// A packet of a dropped picture. False when its number was already promised and stays a gap.
    pub(super) fn skip(&mut self, ids: &PictureIds) -> bool {
        match self.source.next(ids) {
            Some(picture) => self.pictures.skip(picture) == Skipped::Closed,
            None => true,
        }
    }
}

/// Picture ids of one stream, unwrapped.
#[derive(Debug, Default)]
pub(super) struct Unwrap {
    /// Of the newest picture.
    newest: Option<u64>,
}

impl Unwrap {
    /// `None` without a picture id.
    pub(super) fn next(&mut self, ids: &PictureIds) -> Option<u64> {
        let id = ids.picture_id?;
        let modulus: u64 = if id.long { 1 << 15 } else { 1 << 7 };
        let value = u64::from(id.value) % modulus;
        let Some(last) = self.newest else {
            // One cycle in hand for pictures reordered around the first.
            let first = modulus + value;
            self.newest = Some(first);
            return Some(first);
        };
        let ahead = (value + modulus - last % modulus) % modulus;
        if ahead < modulus / 2 {
            self.newest = Some(last + ahead);
            return Some(last + ahead);
        }
        last.checked_sub(modulus - ahead)
    }
}

/// Writes the values into a copied payload. The offsets were found when the packet was parsed.
pub(super) fn patch(payload: &mut [u8], ids: &PictureIds, values: PicturePatch) {
    if let Some(id) = ids.picture_id {
        id.rewrite(payload, values.picture_id);
    }
    if let Some(tl0) = ids.tl0_pic_idx {
        tl0.rewrite(payload, values.tl0_pic_idx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::picture::{PictureId, Tl0PicIdx};

    fn meta(picture: u16, tl0: u8) -> PictureIds {
        PictureIds {
            picture_id: Some(PictureId {
                offset: 2,
                value: picture,
                long: true,
            }),
            tl0_pic_idx: Some(Tl0PicIdx { offset: 4, value: tl0 }),
        }
    }

    #[test]
    fn ids_run_on_over_switches_wraps_and_drops() {
        let mut ids = Pictures::new(100);
        ids.begin(&meta(32_767, 9));
        let mut got = Vec::new();
        for (picture, tl0) in [(32_767, 9), (32_767, 9), (0, 10)] {
            got.push(ids.place(&meta(picture, tl0)).unwrap());
        }
        assert!(ids.skip(&meta(1, 10)));
        assert_eq!(ids.place(&meta(1, 10)), None);
        got.push(ids.place(&meta(2, 11)).unwrap());
        ids.begin(&meta(500, 200));
        got.push(ids.place(&meta(500, 200)).unwrap());
        let got: Vec<_> = got.iter().map(|p| (p.picture_id, p.tl0_pic_idx)).collect();
        assert_eq!(got, [(100, 1), (100, 1), (101, 2), (102, 3), (103, 4)]);
    }

    #[test]
    fn patches_both_lengths() {
        let mut payload = [0x90, 0xe0, 0x80, 0x05, 7, 0x20];
        let values = PicturePatch {
            picture_id: 0x1234,
            tl0_pic_idx: 0xee,
        };
        patch(&mut payload, &meta(5, 7), values);
        assert_eq!(payload, [0x90, 0xe0, 0x92, 0x34, 0xee, 0x20]);
        let short = PictureIds {
            picture_id: Some(PictureId {
                offset: 2,
                value: 5,
                long: false,
            }),
            tl0_pic_idx: None,
        };
        let mut payload = [0x90, 0x80, 0x05];
        patch(&mut payload, &short, values);
        assert_eq!(payload, [0x90, 0x80, 0x34]);
        patch(&mut [], &meta(1, 1), values);
    }
}
