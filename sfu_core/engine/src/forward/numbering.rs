//! Continuous output numbers from input numbers with holes cut out: RTP sequence numbers and VP8 picture ids.
//!
//! Within an epoch (one layer's stream) every input number keeps its distance to its neighbours, so that a packet lost
//! upstream leaves a hole that the subscriber can ask for; a number dropped on purpose leaves none.

use std::collections::VecDeque;

/// Places at which the offset changed that are remembered, so that late packets find the offset of their own time.
/// More keeps later packets; each costs 24 bytes.
const MAX_CHANGES: usize = 32;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    /// First input number that this offset applies to.
    from: u64,
    offset: i64,
    /// Outputs of the inputs before are below it.
    bound: u64,
}

/// Where a dropped number leaves the subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skipped {
    /// The numbers close up behind it.
    Closed,
    /// It came late, its output number was already set aside.
    Hole(u64),
    /// It belongs to no epoch that is known.
    Stale,
}

#[derive(Debug)]
pub(super) struct Numbering {
    /// Output number of the next packet in order.
    next: u64,
    /// Highest input number of the epoch, once it has begun.
    highest: Option<u64>,
    changes: VecDeque<Change>,
}

impl Numbering {
    /// The first output number will be `first`.
    pub(super) fn new(first: u64) -> Self {
        Self {
            next: first,
            highest: None,
            changes: VecDeque::new(),
        }
    }

    /// The last output number in order.
    pub(super) fn newest(&self) -> u64 {
        self.next - 1
    }

    /// Begins an epoch: `input` continues the output. Packets of the former epoch are stale from now on.
    pub(super) fn begin(&mut self, input: u64) -> u64 {
        self.changes.clear();
        self.changes.push_back(Change {
            from: input,
            offset: self.next.wrapping_sub(input) as i64,
            bound: self.next,
        });
        self.highest = Some(input);
        let output = self.next;
        self.next += 1;
        output
    }

    /// Output number of an input number; the same for the same. `None` when it is stale.
    pub(super) fn place(&mut self, input: u64) -> Option<u64> {
        let highest = self.highest?;
        if input > highest {
            self.highest = Some(input);
            self.next += input - highest;
            return Some(self.next - 1);
        }
        self.find(input)
    }

    /// Takes an input number out of the sequence.
    pub(super) fn skip(&mut self, input: u64) -> Skipped {
        let Some(highest) = self.highest else {
            return Skipped::Stale;
        };
        if input <= highest {
            return self.find(input).map_or(Skipped::Stale, Skipped::Hole);
        }
        self.highest = Some(input);
        self.next += input - highest - 1;
        self.change_after(input, input, self.next);
        Skipped::Closed
    }

    /// A number of its own for what is no input: the output, and the input in order before it.
    pub(super) fn insert(&mut self) -> Option<(u64, u64)> {
        let input = self.highest?;
        let output = self.next;
        self.next += 1;
        self.change_after(input, input + 1, output);
        Some((output, input))
    }

    /// What follows `input` continues the output. No input from `unused` on was placed, and none before at `bound`.
    fn change_after(&mut self, input: u64, unused: u64, bound: u64) {
        let change = Change {
            bound,
            from: input + 1,
            offset: self.next.wrapping_sub(input + 1) as i64,
        };
        // Of several in a row the last one counts.
        if let Some(last) = self.changes.back_mut().filter(|last| last.from >= unused) {
            *last = Change {
                bound: last.bound,
                ..change
            };
            return;
        }
        if self.changes.len() >= MAX_CHANGES {
            self.changes.pop_front();
        }
        self.changes.push_back(change);
    }

    fn find(&self, input: u64) -> Option<u64> {
        let index = self
            .changes
            .partition_point(|change| change.from <= input)
            .checked_sub(1)?;
        let change = self.changes.get(index)?;
        let output = input.checked_add_signed(change.offset)?;
        // A number that was itself skipped would fall on its successor's.
        match self.changes.get(index + 1) {
            Some(next) if output >= next.bound => None,
            _ => Some(output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_holes_of_loss_and_closes_those_of_drops() {
        let mut numbers = Numbering::new(1_000);
        assert_eq!(numbers.place(1), None);
        assert_eq!(numbers.begin(50), 1_000);
        assert_eq!(numbers.place(51), Some(1_001));
        assert_eq!(numbers.place(54), Some(1_004));
        assert_eq!(numbers.skip(55), Skipped::Closed);
        assert_eq!(numbers.skip(56), Skipped::Closed);
        assert_eq!(numbers.place(57), Some(1_005));
        assert_eq!(numbers.place(53), Some(1_003));
        assert_eq!(numbers.place(55), None);
        assert_eq!(numbers.place(57), Some(1_005));
        assert_eq!(numbers.skip(52), Skipped::Hole(1_002));
        assert_eq!(numbers.place(49), None);
        // A gap before a dropped number stays.
        assert_eq!(numbers.skip(60), Skipped::Closed);
        assert_eq!(numbers.place(61), Some(1_008));
        assert_eq!(numbers.place(59), Some(1_007));
    }

    #[test]
    fn what_is_inserted_takes_a_number_that_no_input_has() {
        let mut numbers = Numbering::new(10);
        assert_eq!(numbers.insert(), None);
        numbers.begin(50);
        assert_eq!(numbers.insert(), Some((11, 50)));
        assert_eq!(numbers.insert(), Some((12, 50)));
        assert_eq!(numbers.place(52), Some(14));
        assert_eq!(numbers.insert(), Some((15, 52)));
        assert_eq!(numbers.skip(53), Skipped::Closed);
        assert_eq!(numbers.insert(), Some((16, 53)));
        assert_eq!(numbers.place(54), Some(17));
        // Late, and the same again.
        assert_eq!(numbers.place(51), Some(13));
        assert_eq!(numbers.place(50), Some(10));
        assert_eq!(numbers.place(52), Some(14));
    }

    #[test]
    fn a_new_epoch_continues_the_output() {
        let mut numbers = Numbering::new(7);
        numbers.begin(100);
        assert_eq!(numbers.place(103), Some(10));
        assert_eq!(numbers.begin(9_000), 11);
        assert_eq!(numbers.place(102), None);
        assert_eq!(numbers.place(8_999), None);
        assert_eq!(numbers.place(9_001), Some(12));
    }

    /// 10^5 random arrivals with loss, reordering, drops and switches: numbers are unique and gapless where nothing was lost.
    #[test]
    fn random_schedules_stay_unique_and_continuous() {
        let mut state = 0x9e37_79b9_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        let mut numbers = Numbering::new(random(1 << 15));
        let mut used = std::collections::HashSet::new();
        let (mut input, mut lost) = (70_000, 0);
        let first = numbers.begin(input);
        used.insert(first);
        let mut highest = first;
        let mut held: Vec<u64> = Vec::new();
        for _ in 0..100_000 {
            input += 1;
            match random(100) {
                0 => {
                    lost += held.len() as u64;
                    held.clear();
                    input += 1 + random(1 << 20);
                    let output = numbers.begin(input);
                    assert!(output > highest);
                    assert!(used.insert(output));
                    highest = output;
                }
                1..=5 => assert_eq!(numbers.skip(input), Skipped::Closed),
                6..=8 => held.push(input),
                9..=12 => {
                    input -= 1;
                    let (output, _) = numbers.insert().unwrap();
                    assert!(used.insert(output), "{output} twice");
                    assert!(output > highest);
                    highest = output;
                }
                _ => {
                    let output = numbers.place(input).unwrap();
                    assert!(used.insert(output), "{output} twice");
                    assert!(output > highest);
                    highest = output;
                    if held.len() > 2 {
                        let late = held.remove(random(held.len() as u64) as usize);
                        match numbers.place(late) {
                            Some(output) => assert!(used.insert(output), "{output} twice"),
                            None => lost += 1,
                        }
                    }
                }
            }
        }
        lost += held.len() as u64;
        // Packets held when an epoch ended before anything followed them left no hole.
        let holes = highest - first + 1 - used.len() as u64;
        assert!(holes <= lost, "{holes} holes, {lost} lost");
    }
}
