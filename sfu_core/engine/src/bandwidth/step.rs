//! A change of path shifts all later packets by the same delay; a queue makes each wait longer than the one before. A
//! jump is therefore held back until the next packets tell which it is.

use super::grouping::Sample;

/// A jump smaller than this is left to the trend, microseconds.
const LEAST: i64 = 12_000;
/// A larger one is an outage, after which everything comes late, microseconds.
const MOST: i64 = 300_000;
/// Groups and time after which a jump that stayed is a step. More is surer, and later to see a queue that filled at once.
const GROUPS: u32 = 5;
const LASTING: u64 = 120_000;
/// After a jump that was none the next ones are none either for so long, microseconds.
const DISTRUST: u64 = 600_000;
/// So large a jump so soon after the first sample is the queue that our first packets filled, microseconds: nobody knows yet what the
/// path carries. A larger jump leaves short queues to be seen later, a longer beginning takes changes of path for queues.
const FLOOD: i64 = 100_000;
const BEGINNING: u64 = 400_000;
/// Packets lost so soon after a step say that a queue filled at once, microseconds.
const DISPROVED: u64 = 1_000_000;
/// Groups further apart than this were sent with nothing between them to tell a jump from a ramp, microseconds.
const LONGEST_GAP: u64 = 250_000;

#[derive(Debug, Default)]
pub(super) struct Steps {
    last: Option<Sample>,
    /// When the first sample was sent.
    begun: Option<u64>,
    /// Sum of all steps.
    shift: i64,
    suspect: Option<Suspect>,
    /// When the last step that was not revoked began, and by how much.
    stepped: Option<u64>,
    amount: i64,
    distrusted_until: u64,
}

#[derive(Clone, Copy, Debug)]
struct Suspect {
    amount: i64,
    since: u64,
    groups: u32,
    /// Delay right after the jump.
    level: i64,
}

/// A jump that turned out to be none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Revoked {
    pub(super) amount: i64,
    /// Samples sent since then were told too low by the amount.
    pub(super) since: u64,
}

impl Steps {
    /// The delay without steps, and the jump taken for one before, if it was none.
    pub(super) fn push(&mut self, sample: Sample) -> (i64, Option<Revoked>) {
        let mut revoked = None;
        if let Some(suspect) = &mut self.suspect {
            suspect.groups += 1;
            let moved = sample.delay - suspect.level;
            if moved.abs() > suspect.amount / 2 {
                revoked = Some(Revoked {
                    amount: suspect.amount,
                    since: suspect.since,
                });
                self.shift -= suspect.amount;
                self.suspect = None;
                self.stepped = None;
                self.distrusted_until = sample.sent + DISTRUST;
            } else if suspect.groups >= GROUPS && sample.sent.saturating_sub(suspect.since) >= LASTING {
                self.suspect = None;
            }
        } else if let Some(last) = self.last {
            let jump = sample.delay - last.delay;
            let gap = sample.sent.saturating_sub(last.sent);
            let begun = *self.begun.get_or_insert(last.sent);
            let floods = jump >= FLOOD && sample.sent.saturating_sub(begun) < BEGINNING;
            if (LEAST..=MOST).contains(&jump) && !floods && gap <= LONGEST_GAP && sample.sent >= self.distrusted_until {
                self.shift += jump;
                self.stepped = Some(sample.sent);
                self.amount = jump;
                self.suspect = Some(Suspect {
                    amount: jump,
                    since: sample.sent,
                    groups: 0,
                    level: sample.delay,
                });
            }
        }
        self.last = Some(sample);
        (sample.delay - self.shift, revoked)
    }

    /// Packets were lost: what jumped was a queue that overflowed.
    pub(super) fn disprove(&mut self) -> Option<Revoked> {
        let newest = self.last.map_or(0, |last| last.sent);
        let since = self.stepped.take_if(|at| newest.saturating_sub(*at) < DISPROVED)?;
        self.suspect = None;
        self.shift -= self.amount;
        self.distrusted_until = newest + DISTRUST;
        Some(Revoked {
            amount: self.amount,
            since,
        })
    }

    /// When the last step began, or what may be one.
    pub(super) fn began(&self) -> Option<u64> {
        self.stepped
    }

    /// Whether there was a step, or what may be one, in the `span` before the newest sample.
    pub(super) fn has_stepped(&self, span: u64) -> bool {
        let newest = self.last.map_or(0, |last| last.sent);
        self.stepped.is_some_and(|at| newest.saturating_sub(at) < span)
    }

    /// Whether a jump is held back now.
    pub(super) fn is_suspicious(&self) -> bool {
        self.suspect.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples each 10 ms with these delays in milliseconds; the last delay without steps, and how many were revoked.
    fn after(delays: impl IntoIterator<Item = i64>) -> (i64, usize) {
        let mut steps = Steps::default();
        let mut last = (0, 0);
        for (index, delay) in (0..).zip(delays) {
            let sample = Sample {
                sent: index * 10_000,
                delay: delay * 1_000,
            };
            let (told, revoked) = steps.push(sample);
            last = (told / 1_000, last.1 + usize::from(revoked.is_some()));
        }
        last
    }

    fn delays(parts: &[&[i64]]) -> Vec<i64> {
        parts.concat()
    }

    #[test]
    fn table() {
        // A step stays; noise on it does not matter.
        assert_eq!(after(delays(&[&[20; 20], &[70; 20]])), (20, 0));
        let (told, revoked) = after((0..40).map(|index| 20 + index % 3 + if index < 20 { 0 } else { 50 }));
        assert!((18..=24).contains(&told) && revoked == 0, "{told}");
        // A queue that grows by as much is one.
        assert_eq!(after((0..40).map(|index| 20 + (index - 20).max(0) * 15)), (305, 1));
        // A spike is no step.
        assert_eq!(after(delays(&[&[20; 20], &[70; 3], &[20; 20]])), (20, 1));
        // Nor is what the first packets filled.
        let flood = |early: usize| after((0..60).map(|index| if index < early { 20 } else { 320 }));
        assert_eq!((flood(2), flood(39), flood(41)), ((320, 0), (320, 0), (20, 0)));
        // Nor is an outage.
        assert_eq!(after(delays(&[&[20; 80], &[330; 20]])), (330, 0));
        assert_eq!(after(delays(&[&[20; 80], &[310; 20]])), (20, 0));
        // Neither is what is small, or comes after a pause.
        assert_eq!(after(delays(&[&[20; 20], &[30; 20]])), (30, 0));
    }

    #[test]
    fn a_jump_with_losses_is_a_queue_that_filled_at_once() {
        let mut steps = Steps::default();
        let push = |steps: &mut Steps, index: u64, delay| {
            let sent = index * 10_000;
            steps.push(Sample { sent, delay }).0
        };
        (0..60).for_each(|index| _ = push(&mut steps, index, 20_000));
        (60..100).for_each(|index| assert_eq!(push(&mut steps, index, 320_000), 20_000));
        let revoked = steps.disprove().map(|revoked| revoked.amount);
        assert_eq!((revoked, push(&mut steps, 100, 320_000)), (Some(300_000), 320_000));
        // It can be disproved once, and not after a second.
        assert_eq!(steps.disprove(), None);
        (200..220).for_each(|index| _ = push(&mut steps, index, 340_000));
        (220..400).for_each(|index| _ = push(&mut steps, index, 380_000));
        assert_eq!(steps.disprove(), None);
    }

    #[test]
    fn nothing_is_told_while_it_is_undecided() {
        let mut steps = Steps::default();
        let mut undecided = 0;
        for index in 0..100 {
            let delay = if index < 50 { 20_000 } else { 70_000 };
            steps.push(Sample {
                sent: index * 10_000,
                delay,
            });
            undecided += u32::from(steps.is_suspicious());
        }
        assert!((10..=14).contains(&undecided), "{undecided}");
        assert!(steps.has_stepped(600_000) && !steps.has_stepped(300_000));
    }
}
