//! Output numbers by operations, against arithmetic over everything that was skipped.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::engine_numbering::{Numbering, Skipped};
use crate::input::Input;

/// Places of drops for which late packets surely still find their number.
const REMEMBERED: usize = 30;

/// One layer's stream, as it should be numbered.
struct Epoch {
    start: u64,
    first_output: u64,
    highest: u64,
    /// Taken out while they were new.
    skipped: BTreeSet<u64>,
    /// Outputs that no input has, by the input before them.
    inserted: BTreeMap<u64, u64>,
}

impl Epoch {
    /// Where the number belongs, if it has a place.
    fn output(&self, input: u64) -> u64 {
        let inserted: u64 = self.inserted.range(..input).map(|(_, count)| count).sum();
        self.first_output + (input - self.start) + inserted - self.skipped.range(..input).count() as u64
    }

    fn has_place(&self, input: u64) -> bool {
        input >= self.start && !self.skipped.contains(&input)
    }

    /// In so many places was something dropped since that its own may be forgotten; neighbours are one.
    fn may_be_forgotten(&self, input: u64) -> bool {
        let since = self.skipped.range(input..);
        let dropped = since.filter(|&&dropped| !self.skipped.contains(&(dropped + 1))).count();
        dropped + self.inserted.range(input..).count() >= REMEMBERED
    }

    fn check(&self, input: u64, found: Option<u64>) {
        match found {
            Some(output) => {
                assert!(self.has_place(input), "{input} has no place, not {output}");
                assert_eq!(output, self.output(input), "of {input}");
            }
            None => assert!(
                !self.has_place(input) || self.may_be_forgotten(input),
                "{input} is stale"
            ),
        }
    }
}

pub(crate) fn numbering(data: &[u8]) {
    let mut input = Input::new(data);
    let first = 1 + u64::from(input.u16());
    let mut numbers = Numbering::new(first);
    let mut epoch: Option<Epoch> = None;
    // By output number: who has it.
    let mut used: HashMap<u64, (u64, u64)> = HashMap::new();
    let (mut epochs, mut newest) = (0_u64, first - 1);
    while !input.is_empty() {
        let (operation, value) = (input.u8(), input.u8());
        let Some(now) = epoch.as_mut().filter(|_| operation % 16 != 0) else {
            let start = (1 << 20) + u64::from(input.u32());
            let output = numbers.begin(start);
            assert!(output == newest + 1 && output == numbers.newest());
            epochs += 1;
            assert!(used.insert(output, (epochs, start)).is_none());
            newest = output;
            epoch = Some(Epoch {
                start,
                first_output: output,
                highest: start,
                skipped: BTreeSet::new(),
                inserted: BTreeMap::new(),
            });
            continue;
        };
        let ahead = now.highest + 1 + u64::from(if value >= 0xf0 { u16::from(value & 15) * 500 } else { 0 });
        let behind = now.highest.saturating_sub(u64::from(value));
        match operation % 16 {
            1..=6 => {
                let output = numbers.place(ahead);
                now.highest = ahead;
                assert!(output.is_some_and(|output| output > newest), "new numbers rise");
                now.check(ahead, output);
            }
            7..=9 => {
                assert_eq!(numbers.skip(ahead), Skipped::Closed);
                now.highest = ahead;
                now.skipped.insert(ahead);
            }
            10..=12 => {
                let output = numbers.place(behind);
                now.check(behind, output);
                assert_eq!(numbers.place(behind), output, "the same for the same");
            }
            15 => {
                assert_eq!(numbers.insert(), Some((newest + 1, now.highest)));
                assert!(used.insert(newest + 1, (epochs, u64::MAX)).is_none());
                *now.inserted.entry(now.highest).or_default() += 1;
            }
            _ => match numbers.skip(behind) {
                Skipped::Closed => panic!("{behind} is not new"),
                Skipped::Hole(output) => now.check(behind, Some(output)),
                Skipped::Stale => now.check(behind, None),
            },
        }
        // Nobody else has had the number.
        for of in [ahead, behind] {
            if of <= now.highest
                && let Some(output) = numbers.place(of)
            {
                let owner = *used.entry(output).or_insert((epochs, of));
                assert_eq!(owner, (epochs, of), "{output} twice");
            }
        }
        newest = now.output(now.highest + 1) - 1;
        assert_eq!(numbers.newest(), newest);
    }
}
