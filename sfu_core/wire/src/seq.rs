//! Arithmetic on numbers that wrap: RTP sequence numbers and timestamps (RFC 3550 appendix A.1, RFC 1982).

/// The number nearest to `last` whose low 16 bits are `value`; a tie counts as behind.
///
/// Below zero does not exist: there it is the next one above. Begin with one cycle in hand (`1 << 16`) so that packets
/// reordered around the first one come out right.
#[inline]
pub fn extend(last: u64, value: u16) -> u64 {
    let ahead = value.wrapping_sub(last as u16);
    last.checked_add_signed(i64::from(ahead as i16))
        .unwrap_or_else(|| last.wrapping_add(u64::from(ahead)))
}

/// The same for 32-bit timestamps; begin with `1 << 32` in hand.
#[inline]
pub fn extend_timestamp(last: u64, value: u32) -> u64 {
    let ahead = value.wrapping_sub(last as u32);
    last.checked_add_signed(i64::from(ahead as i32))
        .unwrap_or_else(|| last.wrapping_add(u64::from(ahead)))
}

/// How far `a` is ahead of `b`; negative when it is behind. A distance of half the range counts as behind.
#[inline]
pub fn distance(a: u16, b: u16) -> i16 {
    a.wrapping_sub(b) as i16
}

/// Whether `a` comes after `b`.
#[inline]
pub fn is_newer(a: u16, b: u16) -> bool {
    distance(a, b) > 0
}

/// Whether timestamp `a` is later than `b`.
#[inline]
pub fn is_later(a: u32, b: u32) -> bool {
    a.wrapping_sub(b) as i32 > 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extends_to_the_nearest() {
        let cycle = 1 << 16;
        for (last, value, expected) in [
            (cycle, 0, cycle),
            (cycle, 1, cycle + 1),
            (cycle, 0xffff, cycle - 1),
            (cycle + 0xffff, 0, 2 * cycle),
            (cycle + 0xffff, 0xfffe, cycle + 0xfffe),
            (cycle + 10, 10 + 0x7fff, cycle + 10 + 0x7fff),
            (cycle + 10, 10 + 0x8000, 10 + 0x8000),
            (3, 0xfffe, 0xfffe),
            (0, 0x8000, 0x8000),
            (u64::MAX, 0xffff, u64::MAX),
            (u64::MAX, 0, 0),
        ] {
            assert_eq!(extend(last, value), expected, "{last} {value}");
        }
    }

    #[test]
    fn extends_timestamps_to_the_nearest() {
        let cycle = 1 << 32;
        for (last, value, expected) in [
            (cycle, 3_000, cycle + 3_000),
            (cycle + 0xffff_ff00, 0x100, 2 * cycle + 0x100),
            (cycle + 5, 0xffff_fff0, 0xffff_fff0),
            (5, 0xffff_fff0, 0xffff_fff0),
            (cycle, 0x8000_0000, 0x8000_0000),
            (u64::MAX, 1, 1),
        ] {
            assert_eq!(extend_timestamp(last, value), expected, "{last} {value}");
        }
    }

    #[test]
    fn every_step_keeps_the_low_bits_and_moves_at_most_half_a_cycle() {
        let mut last = 1 << 16;
        let mut value = 1_u16;
        for _ in 0..200_000 {
            value = value.wrapping_mul(25_173).wrapping_add(13_849);
            let next = extend(last, value);
            assert_eq!(next as u16, value);
            assert!(next.abs_diff(last) <= 1 << 16);
            last = next.max(1 << 16);
        }
    }

    #[test]
    fn compares_across_the_wrap() {
        assert!(is_newer(1, 0xffff) && !is_newer(0xffff, 1) && !is_newer(7, 7));
        assert!(!is_newer(0x8000, 0) && is_newer(0x7fff, 0));
        assert_eq!((distance(2, 0xfffe), distance(0xfffe, 2)), (4, -4));
        assert!(is_later(10, u32::MAX) && !is_later(u32::MAX, 10) && !is_later(9, 9));
    }
}
