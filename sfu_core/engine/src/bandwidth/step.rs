//! A change of path shifts all later packets by the same delay; a queue makes each wait longer than the one before. A
//! jump is therefore held back until the next packets tell which it is.

use super::grouping::Sample;

/// A jump smaller than this is left to the trend, microseconds.
const LEAST: i64 = 12_000;
/// Groups and time after which a jump that stayed is a step. More is surer, and later to see a queue that filled at once.
const GROUPS: u32 = 5;
const LASTING: u64 = 120_000;
/// After a jump that was none the next ones are none either for so long, microseconds.
const DISTRUST: u64 = 600_000;
/// Groups further apart than this were sent with nothing between them to tell a jump from a ramp, microseconds.
const LONGEST_GAP: u64 = 250_000;

#[derive(Debug, Default)]
pub(super) struct Steps {
    last: Option<Sample>,
    /// Sum of all steps.
    shift: i64,
    suspect: Option<Suspect>,
    /// When the last step that was not revoked began.
    stepped: Option<u64>,
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
            if jump >= LEAST && gap <= LONGEST_GAP && sample.sent >= self.distrusted_until {
                self.shift += jump;
                self.stepped = Some(sample.sent);
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
