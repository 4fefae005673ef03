//! Which numbers were seen.

/// Numbers behind the highest that are told apart: more takes later repairs. At 50,000 packets/s this is more than a second.
pub(crate) const WINDOW: u64 = 65_536;
const WORDS: usize = (WINDOW / 64) as usize;

#[derive(Debug)]
pub(crate) struct Window {
    /// One above the highest seen.
    end: u64,
    seen: Box<[u64]>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            end: 0,
            seen: vec![0; WORDS].into_boxed_slice(),
        }
    }
}

impl Window {
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Neither seen nor too old to tell.
    pub(crate) fn is_new(&self, number: u64) -> bool {
        number >= self.end || (self.end - number <= WINDOW - 64 && self.seen[word(number)] >> (number & 63) & 1 == 0)
    }

    /// Only after authentication.
    pub(crate) fn mark(&mut self, number: u64) {
        self.reach(number);
        self.seen[word(number)] |= 1 << (number & 63);
    }

    /// `number` was sent, whether it comes or not.
    pub(crate) fn reach(&mut self, number: u64) {
        if number >= self.end {
            let fresh = (self.end.div_ceil(64)..=number / 64).take(WORDS);
            for index in fresh {
                self.seen[index as usize % WORDS] = 0;
            }
            // A leap over the whole window leaves nothing of it.
            if number / 64 >= self.end.div_ceil(64) + WORDS as u64 {
                self.seen.fill(0);
            }
            self.end = number + 1;
        }
    }
}

fn word(number: u64) -> usize {
    (number / 64) as usize % WORDS
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use netem::Random;

    use super::*;

    #[test]
    fn agrees_with_a_set() {
        for seed in 0..20 {
            let mut random = Random::new(seed, 0);
            let (mut window, mut model) = (Window::default(), HashSet::new());
            let mut highest = 0_u64;
            for _ in 0..5_000 {
                let number = match random.bits() % 10 {
                    0 => highest + random.bits() % 200_000,
                    1..5 => highest + random.bits() % 4,
                    _ => highest.saturating_sub(random.bits() % 70_000),
                };
                let is_new = window.is_new(number);
                if is_new {
                    assert!(model.insert(number), "{number} twice");
                    window.mark(number);
                    highest = highest.max(number);
                } else {
                    let too_old = highest - number >= WINDOW - 64;
                    assert!(model.contains(&number) || too_old, "{number} of {highest}");
                }
                assert_eq!(window.end(), highest + u64::from(!model.is_empty()));
            }
        }
    }
}
