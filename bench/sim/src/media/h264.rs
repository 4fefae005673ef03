//! H.264 as RFC 6184 packs it: parameter sets in front of an IDR picture, slices in fragments.

/// NAL unit types.
const SLICE: u8 = 1;
const IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;
const REFERENCE: u8 = 0x60;

/// The parameter sets as one aggregate, whose last unit, of supplemental information, is still to be appended: `more` octets.
pub(crate) fn parameters(size: (u16, u16), more: usize) -> Vec<u8> {
    let (sps, pps) = (sequence_parameters(size), [REFERENCE | PPS, 0xce, 0x3c, 0x80]);
    let mut out = vec![REFERENCE | STAP_A];
    for nal in [sps.as_slice(), &pps] {
        out.extend((nal.len() as u16).to_be_bytes());
        out.extend(nal);
    }
    out.extend((more as u16 + 1).to_be_bytes());
    out.push(SEI);
    out
}

/// Header of a fragment of a picture, or of a picture in one packet.
pub(crate) fn fragment(key: bool, first: bool, last: bool) -> Vec<u8> {
    let nal = if key { IDR } else { SLICE };
    // First macroblock 0: a slice begins a picture.
    match (first, last) {
        (true, true) => vec![REFERENCE | nal, 0x88],
        _ => vec![REFERENCE | FU_A, u8::from(first) << 7 | u8::from(last) << 6 | nal, 0x88],
    }
}

/// Baseline profile, ITU-T H.264 section 7.3.2.1.
fn sequence_parameters((width, height): (u16, u16)) -> Vec<u8> {
    let (across, down) = (u32::from(width).div_ceil(16), u32::from(height).div_ceil(16));
    let mut bits = Bits::default();
    // Id, frame number of 4 bits, order of output without reordering, one reference frame, no gaps.
    for value in [0, 0, 2, 1] {
        bits.exp_golomb(value);
    }
    bits.push(0, 1);
    bits.exp_golomb(across - 1);
    bits.exp_golomb(down - 1);
    // Frames only, direct inference.
    bits.push(0b11, 2);
    let cropped = (across * 16 - u32::from(width), down * 16 - u32::from(height));
    bits.push(u32::from(cropped != (0, 0)), 1);
    if cropped != (0, 0) {
        for value in [0, cropped.0 / 2, 0, cropped.1 / 2] {
            bits.exp_golomb(value);
        }
    }
    // No usability information; the stop bit.
    bits.push(0b01, 2);
    [&[REFERENCE | SPS, 66, 0xc0, 31], bits.bytes().as_slice()].concat()
}

#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 != 0));
    }

    fn exp_golomb(&mut self, value: u32) {
        let len = 32 - (value + 1).leading_zeros();
        self.push(0, len - 1);
        self.push(value + 1, len);
    }

    fn bytes(&self) -> Vec<u8> {
        let octet = |bits: &[bool]| (0..8).fold(0, |sum, at| sum << 1 | u8::from(bits.get(at) == Some(&true)));
        self.0.chunks(8).map(octet).collect()
    }
}

#[cfg(test)]
mod tests {
    use wire::h264::Payload;

    use super::*;

    #[test]
    fn parsers_read_what_is_written() {
        for size in [(320, 180), (640, 360), (1_280, 720)] {
            let parameters = [parameters(size, 3), vec![1, 2, 3]].concat();
            assert_eq!(Payload::parse(&parameters).unwrap().resolution(), Some(size));
        }
        assert!(Payload::parse(&fragment(true, true, false)).unwrap().keyframe());
        assert!(!Payload::parse(&fragment(false, true, true)).unwrap().keyframe());
    }
}
