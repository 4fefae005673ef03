//! Replay windows and the estimation of rollover counters (RFC 3711 sections 3.3.1 and 3.3.2).

const WORDS: u64 = 16;

/// Which of the last 1,024 indices (at least 961, for it moves by words) were seen. Wide, for retransmissions come late.
#[derive(Clone, Debug, Default)]
pub(super) struct ReplayWindow {
    highest: u64,
    seen: [u64; WORDS as usize],
}

impl ReplayWindow {
    pub(super) fn starting_at(index: u64) -> Self {
        let mut window = Self {
            highest: index,
            seen: [0; WORDS as usize],
        };
        window.mark(index);
        window
    }

    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Neither seen nor too old to tell.
    pub(super) fn is_new(&self, index: u64) -> bool {
        if index > self.highest {
            return true;
        }
        (self.highest >> 6) - (index >> 6) < WORDS && self.seen[word(index)] >> (index & 63) & 1 == 0
    }

    /// Only after authentication, and only what [`Self::is_new`].
    pub(super) fn mark(&mut self, index: u64) {
        if index > self.highest {
            let (from, to) = (self.highest >> 6, index >> 6);
            for fresh in (from + 1..=to).rev().take(WORDS as usize) {
                self.seen[(fresh % WORDS) as usize] = 0;
            }
            self.highest = index;
        }
        self.seen[word(index)] |= 1 << (index & 63);
    }
}

fn word(index: u64) -> usize {
    (index >> 6) as usize % WORDS as usize
}

/// The 48-bit index nearest to the highest one with this sequence number; `None` beyond 48 bits. Where the nearest were
/// negative only the next turn is possible.
pub(super) fn estimate(highest: u64, seq: u16) -> Option<u64> {
    let distance = i64::from(seq.wrapping_sub(highest as u16) as i16);
    let index = highest.checked_add_signed(distance).unwrap_or(seq.into());
    (index >> 48 == 0).then_some(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimates_the_nearest_index() {
        for (highest, seq, want) in [
            (0, 0, Some(0)),
            (0, 1, Some(1)),
            (0, 0x7fff, Some(0x7fff)),
            (0, 0x8000, Some(0x8000)),
            (5, 0xffff, Some(0xffff)),
            (0xffff, 0, Some(0x1_0000)),
            (0xfffe, 0xffff, Some(0xffff)),
            (0x1_0000, 0xffff, Some(0xffff)),
            (0x1_0003, 0xfff0, Some(0xfff0)),
            (0x1_8000, 0x0000, Some(0x1_0000)),
            (0x1_8001, 0x0000, Some(0x2_0000)),
            (0x5_1234, 0x1234, Some(0x5_1234)),
            ((1 << 48) - 1, 0, None),
        ] {
            assert_eq!(estimate(highest, seq), want, "{highest:#x} {seq:#x}");
        }
    }

    #[test]
    fn window_refuses_what_was_seen_and_what_is_too_old() {
        let mut window = ReplayWindow::starting_at(5_000);
        assert!(!window.is_new(5_000));
        for (index, new) in [(4_999, true), (5_001, true), (4_100, true), (3_900, false), (0, false)] {
            assert_eq!(window.is_new(index), new, "{index}");
        }
        window.mark(4_100);
        assert!(!window.is_new(4_100));
        window.mark(5_900);
        assert!(!window.is_new(5_000));
        assert!(window.is_new(5_001));
        assert!(!window.is_new(4_101));
        window.mark(1 << 40);
        assert!(window.is_new((1 << 40) - 900));
        assert!(!window.is_new(5_900));
    }

    #[test]
    fn window_agrees_with_a_set() {
        let mut random = 1u64;
        let mut next = || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random
        };
        let mut window = ReplayWindow::starting_at(10_000);
        let mut seen = std::collections::HashSet::from([10_000]);
        for _ in 0..100_000 {
            let jump = if next() % 100 == 0 { next() % 3_000 } else { next() % 8 };
            let index = (window.highest() + jump).saturating_sub(next() % 1_100);
            let too_old = (window.highest() >> 6).saturating_sub(index >> 6) >= WORDS;
            assert_eq!(window.is_new(index), !too_old && !seen.contains(&index), "{index}");
            if window.is_new(index) {
                window.mark(index);
                seen.insert(index);
            }
        }
    }
}
