//! A change of path shifts all later packets by the same delay; a queue makes each wait longer than the one before. A
//! jump is therefore held back until the next packets tell which it is.

use super::grouping::Sample;

/// A jump smaller than this is left to the trend, microseconds.
const LEAST: i64 = 12_000;
/// Groups and time after which a jump that stayed is a step. More is surer, and later to see a queue that filled at once.
const GROUPS: u32 = 5;
const LASTING: u64 = 120_000;
/// Groups further apart than this were sent with nothing between them to tell a jump from a ramp, microseconds.
const LONGEST_GAP: u64 = 250_000;

#[derive(Debug, Default)]
pub(super) struct Steps {
    last: Option<Sample>,
    /// Sum of all steps.
    shift: i64,
    suspect: Option<Suspect>,
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
            if moved.abs() > suspect.amount / 3 {
                revoked = Some(Revoked {
                    amount: suspect.amount,
                    since: suspect.since,
                });
                self.shift -= suspect.amount;
                self.suspect = None;
            } else if suspect.groups >= GROUPS && sample.sent.saturating_sub(suspect.since) >= LASTING {
                self.suspect = None;
            }
        } else if let Some(last) = self.last {
            let jump = sample.delay - last.delay;
            let gap = sample.sent.saturating_sub(last.sent);
            if jump >= LEAST && gap <= LONGEST_GAP {
                self.shift += jump;
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

    /// Whether a jump is held back now.
    pub(super) fn is_suspicious(&self) -> bool {
        self.suspect.is_some()
    }
}
