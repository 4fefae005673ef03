//! Reading and writing of bit fields, most significant bit first.

use crate::cursor::BufferFull;

/// Over octets that may be computed on the way, such as a NAL unit without its emulation prevention.
pub(crate) struct Bits<I> {
    octets: I,
    current: u8,
    /// Bits of `current` not taken yet.
    left: u32,
    /// Octets taken, `current` among them.
    begun: usize,
}

impl<I: Iterator<Item = u8>> Bits<I> {
    pub(crate) fn new(octets: I) -> Self {
        Self {
            octets,
            current: 0,
            left: 0,
            begun: 0,
        }
    }

    /// Bits taken so far.
    pub(crate) fn position(&self) -> usize {
        self.begun * 8 - self.left as usize
    }

    pub(crate) fn bit(&mut self) -> Option<bool> {
        if self.left == 0 {
            self.current = self.octets.next()?;
            self.begun += 1;
            self.left = 8;
        }
        self.left -= 1;
        Some(self.current >> self.left & 1 != 0)
    }

    /// Of up to 32 bits; more are refused.
    pub(crate) fn number(&mut self, width: u32) -> Option<u32> {
        if width > 32 {
            return None;
        }
        let mut value = 0;
        let mut missing = width;
        while missing > 0 {
            if self.left == 0 {
                self.current = self.octets.next()?;
                self.begun += 1;
                self.left = 8;
            }
            let take = missing.min(self.left);
            self.left -= take;
            let taken = u32::from(self.current) >> self.left & ((1 << take) - 1);
            value = value << take | taken;
            missing -= take;
        }
        Some(value)
    }

    pub(crate) fn small(&mut self, width: u32) -> Option<u8> {
        self.number(width).map(|value| value as u8)
    }

    pub(crate) fn skip(&mut self, count: u32) -> Option<()> {
        (0..count).try_for_each(|_| self.bit().map(drop))
    }

    /// Unsigned Exp-Golomb code (ITU-T H.264 section 9.1).
    pub(crate) fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.bit()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.number(zeros)?)
    }

    /// Signed Exp-Golomb code (ITU-T H.264 section 9.1.1).
    pub(crate) fn signed_exp_golomb(&mut self) -> Option<i32> {
        let code = i64::from(self.exp_golomb()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 0 { -magnitude } else { magnitude }).ok()
    }

    /// Value below `count`, in as few bits as that needs (AV1 specification section 4.10.7).
    pub(crate) fn below(&mut self, count: u32) -> Option<u32> {
        let width = u32::BITS - count.leading_zeros();
        let short = (1_u32.checked_shl(width)?).checked_sub(count)?;
        let value = self.number(width.checked_sub(1)?)?;
        if value < short {
            return Some(value);
        }
        let extra = u32::from(self.bit()?);
        Some((value << 1) - short + extra)
    }
}

/// Into a slice; what is left of the last octet is zero.
pub(crate) struct BitWriter<'a> {
    out: &'a mut [u8],
    /// Bits written.
    at: usize,
}

impl<'a> BitWriter<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    pub(crate) fn bit(&mut self, bit: bool) -> Result<(), BufferFull> {
        let octet = self.out.get_mut(self.at / 8).ok_or(BufferFull)?;
        let place = 7 - self.at % 8;
        if place == 7 {
            *octet = 0;
        }
        *octet |= u8::from(bit) << place;
        self.at += 1;
        Ok(())
    }

    /// The lowest `width` bits, at most 32.
    pub(crate) fn number(&mut self, value: u32, width: u32) -> Result<(), BufferFull> {
        (0..width.min(32))
            .rev()
            .try_for_each(|place| self.bit(value >> place & 1 != 0))
    }

    /// What [`Bits::below`] reads.
    pub(crate) fn below(&mut self, value: u32, count: u32) -> Result<(), BufferFull> {
        let width = u32::BITS - count.leading_zeros();
        let short = (1_u32.checked_shl(width).unwrap_or(0)).wrapping_sub(count);
        match value < short {
            true => self.number(value, width.saturating_sub(1)),
            false => self.number(value.wrapping_add(short), width),
        }
    }

    /// Octets written, the begun one among them.
    pub(crate) fn len(&self) -> usize {
        self.at.div_ceil(8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(octets: &[u8]) -> Bits<impl Iterator<Item = u8>> {
        Bits::new(octets.iter().copied())
    }

    #[test]
    fn numbers() {
        let mut reader = bits(&[0b1010_0101, 0xff, 0x00, 0x12, 0x34, 0x56]);
        assert_eq!(reader.number(0), Some(0));
        assert_eq!(reader.bit(), Some(true));
        assert_eq!(reader.number(3), Some(0b010));
        assert_eq!(reader.number(8), Some(0b0101_1111));
        assert_eq!(reader.skip(12), Some(()));
        assert_eq!(reader.number(24), Some(0x12_3456));
        assert_eq!((reader.bit(), reader.number(1), reader.skip(1)), (None, None, None));
        assert_eq!(bits(&[0xff; 4]).number(32), Some(u32::MAX));
        assert_eq!(bits(&[0xff; 8]).number(33), None);
    }

    #[test]
    fn exp_golomb_codes() {
        // ITU-T H.264 table 9-2: 1, 010, 011, 00100.
        let mut reader = bits(&[0b1010_0110, 0b0100_0000]);
        let codes: Vec<_> = (0..4).map(|_| reader.exp_golomb().unwrap()).collect();
        assert_eq!(codes, [0, 1, 2, 3]);
        let mut reader = bits(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        let codes: Vec<_> = (0..5).map(|_| reader.signed_exp_golomb().unwrap()).collect();
        assert_eq!(codes, [0, 1, -1, 2, -2]);
        assert_eq!(bits(&[0; 100]).exp_golomb(), None);
        assert_eq!(
            bits(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]).exp_golomb(),
            Some(u32::MAX - 1)
        );
        assert_eq!(bits(&[0, 0, 0]).exp_golomb(), None);
    }

    #[test]
    fn values_below_a_count() {
        // Of five values the first three take two bits, the others three.
        for (octet, expected) in [
            (0b0000_0000, 0),
            (0b0100_0000, 1),
            (0b1000_0000, 2),
            (0b1100_0000, 3),
            (0b1110_0000, 4),
        ] {
            assert_eq!(bits(&[octet]).below(5), Some(expected));
        }
        assert_eq!(bits(&[0]).below(1), Some(0));
        assert_eq!(bits(&[0]).below(0), None);
        assert_eq!(bits(&[]).below(2), None);
    }

    #[test]
    fn what_is_written_is_read() {
        let mut out = [0xff; 12];
        let mut writer = BitWriter::new(&mut out);
        writer.number(0b101, 3).unwrap();
        for count in [1, 2, 3, 5, 9, 33] {
            for value in [0, count / 2, count - 1] {
                writer.below(value, count).unwrap();
            }
        }
        writer.number(0xdead, 16).unwrap();
        let (len, end) = (writer.len(), writer.at);
        let mut reader = bits(&out[..len]);
        assert_eq!(reader.number(3), Some(0b101));
        for count in [1, 2, 3, 5, 9, 33] {
            for value in [0, count / 2, count - 1] {
                assert_eq!(reader.below(count), Some(value), "{value} of {count}");
            }
        }
        assert_eq!(reader.number(16), Some(0xdead));
        assert_eq!(reader.position(), end);
        assert_eq!(out[len], 0xff, "nothing behind it is touched");
        let mut short = [0; 1];
        assert_eq!(BitWriter::new(&mut short).number(0, 9), Err(BufferFull));
    }
}
