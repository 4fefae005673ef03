//! Numbers that have not arrived, and when to ask for them.

use std::collections::VecDeque;

/// More than this are not asked for: the link was cut, or somebody leaps.
const MAX: usize = 4_096;
/// Out of order by less is no loss, where datagrams overtake each other. Longer asks later, shorter asks for what is only late.
const REORDER: u64 = 2_000;
/// As much is waited at most when datagrams were seen to be later.
const MAX_REORDER: u64 = 10_000;
/// Where none has overtaken another for so long, none will: what is missing is asked for at once. Longer is slower to believe it.
const CALM: u64 = 5_000_000;
/// Where parity comes, it gets the chance to mend before anything is asked for.
const PARITY: u64 = 14_000;
/// The second question after the first, which the other side does not answer again. Longer waits longer when the first was lost,
/// shorter loses both in one burst.
const AGAIN: u64 = 8_000;
/// Beyond this age nothing is worth a repair: players have gone on.
const GIVE_UP: u64 = 1_000_000;

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    since: u64,
    next: u64,
    asked: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Missing {
    entries: VecDeque<Entry>,
    lost: u64,
    runs: u64,
    given_up: u64,
    last_lost: Option<u64>,
    /// Until when datagrams are thought to overtake each other, and by how much they did.
    unsteady: Option<u64>,
    lateness: u64,
}

impl Missing {
    /// `numbers` did not come before one that is higher than all of them.
    pub(crate) fn add(&mut self, now: u64, numbers: std::ops::Range<u64>, parity: bool) {
        let count = numbers.end - numbers.start;
        let wait = if parity { PARITY } else { self.patience(now) };
        let skipped = count.saturating_sub(MAX as u64);
        self.given_up += skipped;
        self.lost += skipped;
        self.runs += u64::from(skipped > 0);
        for number in numbers.start + skipped..numbers.end {
            if self.entries.len() == MAX {
                self.entries.pop_front();
                self.given_up += 1;
            }
            self.entries.push_back(Entry {
                number,
                since: now,
                next: now + wait,
                asked: 0,
            });
        }
    }

    /// At first nothing is known of the way.
    fn patience(&mut self, now: u64) -> u64 {
        if now >= *self.unsteady.get_or_insert(now + CALM) {
            self.lateness = 0;
            return 0;
        }
        self.lateness.clamp(REORDER, MAX_REORDER)
    }

    /// One of them is here. True when that was asked for: what comes sooner than an answer can was overtaken.
    pub(crate) fn arrived(&mut self, now: u64, number: u64, rtt: u64) -> bool {
        let Some(entry) = self.take(number) else {
            return false;
        };
        let late = now - entry.since;
        let asked = entry.asked > 0 && late >= rtt / 2;
        if !asked {
            self.lateness = self.lateness.max(late + late / 2);
            self.unsteady = Some(now + CALM);
        }
        asked
    }

    fn take(&mut self, number: u64) -> Option<Entry> {
        let index = self.entries.binary_search_by_key(&number, |entry| entry.number).ok()?;
        self.entries.remove(index)
    }

    /// What parity cannot mend is asked for at once.
    pub(crate) fn hurry(&mut self, now: u64, number: u64) {
        if let Ok(index) = self.entries.binary_search_by_key(&number, |entry| entry.number)
            && let Some(entry) = self.entries.get_mut(index)
            && entry.asked == 0
        {
            entry.next = entry.next.min(now);
        }
    }

    /// Hands out at most `most` of those to be asked for now, and forgets those that are too old. They are asked for again
    /// every `interval`, twice each time: the question may be lost, too.
    pub(crate) fn due(&mut self, now: u64, interval: u64, most: usize, mut ask: impl FnMut(u64)) {
        while self.entries.front().is_some_and(|entry| entry.since + GIVE_UP <= now) {
            self.entries.pop_front();
            self.given_up += 1;
        }
        let due = self.entries.iter_mut().filter(|entry| entry.next <= now);
        for entry in due.take(most) {
            if entry.asked == 0 {
                self.lost += 1;
                self.runs += u64::from(self.last_lost.is_none_or(|last| last + 1 != entry.number));
                self.last_lost = Some(entry.number);
            }
            entry.asked += 1;
            entry.next = now
                + if entry.asked % 2 == 1 {
                    AGAIN.min(interval)
                } else {
                    interval
                };
            ask(entry.number);
        }
    }

    pub(crate) fn contains(&self, number: u64) -> bool {
        self.entries.binary_search_by_key(&number, |entry| entry.number).is_ok()
    }

    pub(crate) fn next(&self) -> Option<u64> {
        self.entries.iter().map(|entry| entry.next).min()
    }

    /// Parity has made it anew before it was asked for: it was lost all the same.
    pub(crate) fn mended(&mut self, number: u64) {
        if self.take(number).is_some_and(|entry| entry.asked == 0) {
            self.lost += 1;
            self.runs += u64::from(self.last_lost.is_none_or(|last| last + 1 != number));
            self.last_lost = Some(number);
        }
    }

    /// How many were lost on the way, whether they came later or not.
    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    /// Runs of numbers lost on end.
    pub(crate) fn runs(&self) -> u64 {
        self.runs
    }

    /// How many never came.
    pub(crate) fn given_up(&self) -> u64 {
        self.given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due(missing: &mut Missing, now: u64) -> Vec<u64> {
        let mut asked = Vec::new();
        missing.due(now, 100_000, 1_000, |number| asked.push(number));
        asked
    }

    #[test]
    fn what_is_late_is_not_asked_for_and_what_is_lost_is_again_and_again() {
        let mut missing = Missing::default();
        missing.add(0, 5..8, false);
        assert_eq!(due(&mut missing, 1_000), []);
        assert!(!missing.arrived(1_000, 6, 100_000));
        assert_eq!(due(&mut missing, 2_000), [5, 7]);
        assert_eq!(due(&mut missing, 2_000 + AGAIN - 1), []);
        assert_eq!(due(&mut missing, 2_000 + AGAIN), [5, 7]);
        assert!(missing.arrived(90_000, 5, 100_000));
        assert_eq!(missing.next(), Some(102_000 + AGAIN));
        assert_eq!(due(&mut missing, 102_000 + AGAIN), [7]);
        assert_eq!((missing.lost(), missing.runs(), missing.given_up()), (2, 2, 0));
        assert_eq!(due(&mut missing, GIVE_UP), []);
        assert_eq!((missing.lost(), missing.given_up(), missing.next()), (2, 1, None));
    }

    #[test]
    fn who_sees_nothing_overtaken_asks_at_once() {
        let mut missing = Missing::default();
        let wait = |missing: &mut Missing, now, number| {
            missing.add(now, number..number + 1, false);
            missing.entries.back().unwrap().next - now
        };
        // Of a way that is not known, and of one that is.
        assert_eq!(wait(&mut missing, 1_000, 1), REORDER);
        assert_eq!(wait(&mut missing, 1_000 + CALM, 2), 0);
        assert_eq!(due(&mut missing, 1_000 + CALM), [2]);
        // It comes before an answer can, so it was only late.
        assert!(!missing.arrived(5_000 + CALM, 2, 100_000));
        assert_eq!(wait(&mut missing, 6_000 + CALM, 3), 6_000);
        assert!(!missing.arrived(60_000 + CALM, 3, 200_000));
        assert_eq!(wait(&mut missing, 70_000 + CALM, 4), MAX_REORDER);
        assert_eq!(due(&mut missing, 80_000 + CALM), [4]);
        assert!(missing.arrived(180_000 + CALM, 4, 100_000), "an answer is none of it");
        assert_eq!(wait(&mut missing, 60_000 + 2 * CALM, 5), 0);
    }

    #[test]
    fn parity_has_its_chance_first() {
        let mut missing = Missing::default();
        missing.add(0, 1..4, true);
        missing.mended(2);
        missing.hurry(3_000, 3);
        assert_eq!(due(&mut missing, 3_000), [3]);
        assert_eq!(due(&mut missing, PARITY), [1, 3]);
        assert_eq!(missing.lost(), 3);
    }

    #[test]
    fn a_leap_is_bounded() {
        let mut missing = Missing::default();
        missing.add(0, 0..1_000_000_000_000, false);
        assert_eq!(missing.entries.len(), MAX);
        assert_eq!(missing.given_up(), 1_000_000_000_000 - MAX as u64);
        missing.add(1, 1_000_000_000_001..1_000_000_000_003, false);
        assert_eq!(missing.entries.len(), MAX);
    }
}
