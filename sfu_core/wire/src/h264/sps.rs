//! Picture size in sequence parameters (ITU-T H.264 section 7.3.2.1.1).

use crate::bits::Bits;

/// Profiles whose parameters tell the chroma format and scaling lists.
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];
const CHROMA_420: u32 = 1;
const CHROMA_422: u32 = 2;
const CHROMA_444: u32 = 3;
/// ITU-T H.264 section 7.4.2.1.1: values beyond are refused.
const MAX_POC_CYCLE: u32 = 255;

/// Width and height after cropping, of parameters without their NAL unit header.
pub(super) fn resolution(data: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::new(without_emulation_prevention(data));
    let profile = bits.small(8)?;
    // Constraints and level, then id.
    bits.skip(16)?;
    bits.exp_golomb()?;
    let chroma = if HIGH_PROFILES.contains(&profile) {
        skip_high_profile(&mut bits)?
    } else {
        CHROMA_420
    };
    skip_order(&mut bits)?;
    // Reference frames, gaps allowed.
    bits.exp_golomb()?;
    bits.skip(1)?;
    let width_in_blocks = bits.exp_golomb()?.checked_add(1)?;
    let height_in_units = bits.exp_golomb()?.checked_add(1)?;
    let frames_only = bits.bit()?;
    if !frames_only {
        bits.skip(1)?;
    }
    // Direct inference.
    bits.skip(1)?;
    let fields = if frames_only { 1 } else { 2 };
    let width = width_in_blocks.checked_mul(16)?;
    let height = height_in_units.checked_mul(16 * fields)?;
    let (crop_width, crop_height) = if bits.bit()? {
        // ITU-T H.264 equations 7-19 to 7-22.
        let unit_x = if matches!(chroma, CHROMA_420 | CHROMA_422) {
            2
        } else {
            1
        };
        let unit_y = if chroma == CHROMA_420 { 2 } else { 1 } * fields;
        let mut both = || bits.exp_golomb()?.checked_add(bits.exp_golomb()?);
        (both()?.checked_mul(unit_x)?, both()?.checked_mul(unit_y)?)
    } else {
        (0, 0)
    };
    let width = u16::try_from(width.checked_sub(crop_width)?).ok()?;
    let height = u16::try_from(height.checked_sub(crop_height)?).ok()?;
    (width > 0 && height > 0).then_some((width, height))
}

/// Leaves out the 3 of every 0, 0, 3 (ITU-T H.264 section 7.4.1).
fn without_emulation_prevention(data: &[u8]) -> impl Iterator<Item = u8> {
    let mut zeros = 0;
    data.iter().copied().filter(move |&octet| {
        let kept = octet != 3 || zeros < 2;
        zeros = if octet == 0 { zeros + 1 } else { 0 };
        kept
    })
}

/// Returns the chroma format; separate planes count as monochrome.
fn skip_high_profile<I: Iterator<Item = u8>>(bits: &mut Bits<I>) -> Option<u32> {
    let chroma = bits.exp_golomb()?;
    let separate_planes = chroma == CHROMA_444 && bits.bit()?;
    // Bit depths of luma and chroma, bypass.
    bits.exp_golomb()?;
    bits.exp_golomb()?;
    bits.skip(1)?;
    if bits.bit()? {
        for list in 0..if chroma == CHROMA_444 { 12 } else { 8 } {
            if bits.bit()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(if separate_planes { 0 } else { chroma })
}

/// ITU-T H.264 section 7.3.2.1.1.1.
fn skip_scaling_list<I: Iterator<Item = u8>>(bits: &mut Bits<I>, entries: usize) -> Option<()> {
    let mut last = 8_u8;
    for _ in 0..entries {
        last = last.wrapping_add(bits.signed_exp_golomb()? as u8);
        if last == 0 {
            break;
        }
    }
    Some(())
}

/// Frame numbers and picture order count.
fn skip_order<I: Iterator<Item = u8>>(bits: &mut Bits<I>) -> Option<()> {
    bits.exp_golomb()?;
    match bits.exp_golomb()? {
        0 => drop(bits.exp_golomb()?),
        1 => {
            bits.skip(1)?;
            bits.exp_golomb()?;
            bits.exp_golomb()?;
            let cycle = bits.exp_golomb()?;
            if cycle > MAX_POC_CYCLE {
                return None;
            }
            for _ in 0..cycle {
                bits.exp_golomb()?;
            }
        }
        _ => {}
    }
    Some(())
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// x264, constrained baseline, 640 by 360 cropped from 640 by 368.
    pub(in super::super) const BASELINE_360P: [u8; 23] = [
        0x42, 0xc0, 0x1e, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0x84, 0x00, 0x00, 0x03, 0x00, 0x04, 0x00, 0x00, 0x03, 0x00,
        0xf2, 0x3c, 0x58, 0xba, 0x80,
    ];
    pub(in super::super) const WIDTH_HEIGHT_360P: (u16, u16) = (640, 360);

    /// x264, 1920 by 1080 cropped from 1088 lines.
    const BASELINE_1080P: [u8; 23] = [
        0x42, 0xc0, 0x28, 0xda, 0x01, 0xe0, 0x08, 0x9f, 0x96, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10, 0x00, 0x00, 0x03,
        0x03, 0xc8, 0xf1, 0x83, 0x2a,
    ];

    /// x264, high profile, interlaced, 1280 by 720.
    const INTERLACED_720P: [u8; 24] = [
        0x64, 0x00, 0x20, 0xac, 0xd9, 0x40, 0x50, 0x0b, 0xbf, 0x2c, 0x20, 0x00, 0x00, 0x03, 0x00, 0x20, 0x00, 0x00,
        0x07, 0x83, 0xe2, 0xc5, 0xb2, 0xc0,
    ];

    /// x264, high profile, 320 by 180.
    const HIGH_180P: [u8; 22] = [
        0x64, 0x00, 0x0d, 0xac, 0xb2, 0x02, 0x83, 0x3f, 0x3c, 0x20, 0x00, 0x00, 0x03, 0x00, 0x20, 0x00, 0x00, 0x07,
        0x91, 0xe2, 0x85, 0x49,
    ];

    #[test]
    fn parameters_of_x264() {
        for (data, size) in [
            (&BASELINE_360P[..], WIDTH_HEIGHT_360P),
            (&BASELINE_1080P, (1_920, 1_080)),
            (&INTERLACED_720P, (1_280, 720)),
            (&HIGH_180P, (320, 180)),
        ] {
            assert_eq!(resolution(data), Some(size));
            for len in 0..8 {
                assert_eq!(resolution(&data[..len]), None, "{size:?} {len}");
            }
        }
    }

    #[test]
    fn scaling_lists_are_skipped() {
        let list_of_16 = ["1", &"1".repeat(16)].concat();
        let fields = [
            "01100100 00000000 00001010 1",
            // Chroma 4:2:0, depths, no bypass, lists: one of equal entries, one that ends at its first entry, none.
            "010 1 1 0 1",
            &list_of_16,
            "1 000010001",
            "000000",
            // Order count of type 2, one reference, 32 by 16 pixels without cropping.
            "1 011 010 0 010 1 1 1 0",
        ];
        let bits: Vec<_> = fields.concat().bytes().filter(|byte| *byte != b' ').collect();
        let data: Vec<_> = bits
            .chunks(8)
            .map(|octet| {
                octet
                    .iter()
                    .enumerate()
                    .fold(0, |sum, (at, bit)| sum | (bit - b'0') << (7 - at))
            })
            .collect();
        assert_eq!(resolution(&data), Some((32, 16)));
    }

    #[test]
    fn three_after_two_zeros_is_left_out() {
        let found: Vec<_> = without_emulation_prevention(&[0, 0, 3, 0, 0, 3, 1, 3, 0, 3, 0, 0, 0, 3]).collect();
        assert_eq!(found, [0, 0, 0, 0, 1, 3, 0, 3, 0, 0, 0]);
    }

    #[test]
    fn any_changed_bit_never_panics() {
        for data in [&BASELINE_360P[..], &BASELINE_1080P, &INTERLACED_720P, &HIGH_180P] {
            for bit in 0..data.len() * 8 {
                let mut changed = data.to_vec();
                changed[bit / 8] ^= 1 << (bit % 8);
                if let Some((width, height)) = resolution(&changed) {
                    assert!(width > 0 && height > 0);
                }
            }
        }
    }
}
