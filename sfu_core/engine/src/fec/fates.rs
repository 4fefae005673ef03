//! Which packets a path has lost for good, from transport-wide feedback.
//!
//! A packet told missing may be told of again while the next feedback begins before it: it came late. So a number is settled
//! when feedback begins behind it. Numbers that no feedback told of are unknown, and count as nothing.

use wire::seq;

use super::burst::{Bursts, Loss};

/// Numbers that wait to be settled, a power of two. More bears feedback on more packets at a time and costs two bits each.
const WINDOW: u64 = 2_048;
const WORDS: usize = WINDOW as usize / 64;

pub(crate) struct Fates {
    bursts: Bursts,
    /// Everything below is settled.
    next: u64,
    highest: u64,
    told: [u64; WORDS],
    received: [u64; WORDS],
}

impl Fates {
    /// `first`: a transport-wide number that has been sent. `now` in microseconds, here as everywhere.
    pub(crate) fn new(now: u64, first: u16) -> Self {
        // Cycles in hand, so that no number is below a window.
        let first = (2 << 16) + u64::from(first);
        Self {
            bursts: Bursts::new(now),
            next: first,
            highest: first,
            told: [0; WORDS],
            received: [0; WORDS],
        }
    }

    /// One feedback: numbers in order, and whether they arrived. `newest` was sent last: none beyond it can be known.
    /// While the path is `congested`, they say nothing of what it loses by itself.
    pub(crate) fn on_feedback(
        &mut self,
        now: u64,
        newest: u16,
        congested: bool,
        statuses: impl Iterator<Item = (u16, bool)>,
    ) {
        let mut is_first = true;
        for (sequence, received) in statuses {
            if newest.wrapping_sub(sequence) >= 1 << 15 {
                return;
            }
            let number = seq::extend(self.highest, sequence);
            if std::mem::take(&mut is_first) {
                self.settle_before(now, number);
            }
            if number < self.next {
                continue;
            }
            if number >= self.next + WINDOW {
                self.settle_before(now, number + 1 - WINDOW);
            }
            self.highest = self.highest.max(number);
            if !congested {
                let (word, bit) = place(number);
                self.told[word] |= bit;
                self.received[word] |= if received { bit } else { 0 };
            }
        }
    }

    pub(crate) fn loss(&mut self, now: u64) -> Loss {
        self.bursts.loss(now)
    }

    fn settle_before(&mut self, now: u64, end: u64) {
        // What is further ahead than the window was never told of.
        for number in self.next..end.min(self.next + WINDOW) {
            let (word, bit) = place(number);
            if self.told[word] & bit != 0 {
                self.bursts.on_packet(now, self.received[word] & bit != 0);
            }
            self.told[word] &= !bit;
            self.received[word] &= !bit;
        }
        self.next = self.next.max(end);
    }
}

fn place(number: u64) -> (usize, u64) {
    let index = number % WINDOW;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feedback on `count` numbers from `first`, of which those in `lost` did not arrive.
    fn tell(fates: &mut Fates, first: u16, count: u16, lost: &[u16]) {
        let statuses = (0..count).map(|index| first.wrapping_add(index));
        let statuses = statuses.map(|sequence| (sequence, !lost.contains(&sequence)));
        fates.on_feedback(1_000, first.wrapping_add(count).wrapping_sub(1), false, statuses);
    }

    fn lost(fates: &mut Fates) -> (f32, f32) {
        let loss = fates.loss(1_000);
        (loss.share, loss.burst)
    }

    #[test]
    fn numbers_are_settled_when_feedback_has_passed_them() {
        let mut fates = Fates::new(0, 65_000);
        tell(&mut fates, 65_000, 1_000, &[65_535, 0, 1, 400]);
        assert_eq!(lost(&mut fates), (0.0, 1.0));
        // The last one came late.
        tell(&mut fates, 400, 100, &[]);
        assert_eq!(lost(&mut fates), (3.0 / 936.0, 3.0));
        tell(&mut fates, 500, 100, &[]);
        assert_eq!(lost(&mut fates), (3.0 / 1_036.0, 3.0));
    }

    #[test]
    fn what_nobody_told_of_is_not_lost() {
        let mut fates = Fates::new(0, 0);
        tell(&mut fates, 0, 200, &[7, 9]);
        tell(&mut fates, 10_000, 200, &[]);
        tell(&mut fates, 10_200, 200, &[]);
        assert_eq!(lost(&mut fates), (2.0 / 400.0, 1.0));
    }

    #[test]
    fn what_overflows_a_queue_is_not_the_path() {
        let mut fates = Fates::new(0, 0);
        fates.on_feedback(0, 299, true, (0..300).map(|sequence| (sequence, sequence % 3 > 0)));
        tell(&mut fates, 300, 10, &[]);
        assert_eq!(lost(&mut fates), (0.0, 1.0));
    }

    #[test]
    fn lies_are_of_no_use() {
        let mut fates = Fates::new(0, 0);
        tell(&mut fates, 0, 200, &[]);
        // Of packets that were never sent; of very many; of old ones again.
        fates.on_feedback(0, 199, false, (200..60_000).map(|sequence| (sequence, false)));
        fates.on_feedback(0, 199, false, (0..200).map(|sequence| (sequence, false)));
        fates.on_feedback(0, 9_999, false, (200..10_000).map(|sequence| (sequence, true)));
        fates.on_feedback(0, 9_999, false, (0..10_000).map(|sequence| (sequence, false)));
        assert_eq!(lost(&mut fates), (0.0, 1.0));
    }
}
