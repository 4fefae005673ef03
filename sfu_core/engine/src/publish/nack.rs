//! Which packets of a layer to ask again from the publisher (RFC 4585 section 6.2.1).

use std::collections::VecDeque;

/// A gap may be reordering: microseconds to wait before the first request. Longer saves needless requests, shorter heals sooner.
const REORDER_TOLERANCE: u64 = 5_000;
/// Requests per packet. More helps on very lossy paths and costs the publisher bandwidth.
pub(crate) const MAX_TRIES: u8 = 10;
/// The same where what is missing may be parity, which nobody sends again. More wastes requests for it, fewer gives up media:
/// with a tenth of requests or answers lost, four fail for one packet in ten thousand.
pub(crate) const MAX_TRIES_BESIDE_PARITY: u8 = 4;
/// Packets missing at once; beyond this a keyframe is cheaper than repair.
const MAX_MISSING: usize = 512;
/// Spacing of two requests for one packet, microseconds: about the round-trip time within these bounds.
const MIN_SPACING: u64 = 20_000;
const MAX_SPACING: u64 = 400_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Missing {
    seq: u64,
    /// When the gap was seen, microseconds.
    since: u64,
    /// First and last request.
    first: u64,
    asked: u64,
    tries: u8,
}

/// Time from a request to its answer, microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RoundTrip {
    Measured(u64),
    /// Since the first of several requests: which of them was answered is not known (Karn's algorithm, RFC 6298 section 3).
    AtMost(u64),
}

/// When a missing packet is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    /// Microseconds, beyond which no subscriber could wait.
    pub(crate) max_age: u64,
    pub(crate) max_tries: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Decision {
    Wait,
    Ask,
    GiveUp,
}

/// What an arrival meant for the list of missing packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    InOrder,
    /// It closes a gap; `round_trip` when it was asked for.
    Closes {
        round_trip: Option<RoundTrip>,
    },
    /// The gap is too large to repair.
    TooManyMissing,
}

/// Missing packets of one layer, oldest first.
#[derive(Default)]
pub(crate) struct NackList {
    highest: Option<u64>,
    missing: VecDeque<Missing>,
}

impl NackList {
    /// Also for padding: every number that arrived, once.
    pub(crate) fn on_packet(&mut self, seq: u64, now: u64) -> Arrival {
        let Some(highest) = self.highest else {
            self.highest = Some(seq);
            return Arrival::InOrder;
        };
        if seq <= highest {
            return self.close(seq, now);
        }
        self.highest = Some(seq);
        let gap = (seq - highest - 1) as usize;
        if self.missing.len() + gap > MAX_MISSING {
            self.missing.clear();
            return Arrival::TooManyMissing;
        }
        self.missing.extend((highest + 1..seq).map(|seq| Missing {
            seq,
            since: now,
            first: 0,
            asked: 0,
            tries: 0,
        }));
        Arrival::InOrder
    }

    /// Appends the numbers to ask for now.
    pub(crate) fn due(&mut self, now: u64, round_trip: Option<u64>, patience: Patience, into: &mut Vec<u16>) {
        self.missing
            .retain_mut(|missing| match decide(missing, now, round_trip, patience) {
                Decision::Wait => true,
                Decision::GiveUp => false,
                Decision::Ask => {
                    if missing.tries == 0 {
                        missing.first = now;
                    }
                    missing.asked = now;
                    missing.tries += 1;
                    into.push(missing.seq as u16);
                    true
                }
            });
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty()
    }

    fn close(&mut self, seq: u64, now: u64) -> Arrival {
        let Ok(index) = self.missing.binary_search_by_key(&seq, |m| m.seq) else {
            return Arrival::InOrder;
        };
        let closed = self.missing.remove(index);
        let round_trip = closed.and_then(|missing| {
            let since = now.saturating_sub(missing.first);
            match missing.tries {
                0 => None,
                1 => Some(RoundTrip::Measured(since)),
                _ => Some(RoundTrip::AtMost(since)),
            }
        });
        Arrival::Closes { round_trip }
    }
}

fn decide(missing: &Missing, now: u64, round_trip: Option<u64>, patience: Patience) -> Decision {
    let age = now.saturating_sub(missing.since);
    if age > patience.max_age {
        return Decision::GiveUp;
    }
    if missing.tries == 0 {
        return if age >= REORDER_TOLERANCE {
            Decision::Ask
        } else {
            Decision::Wait
        };
    }
    let spacing = round_trip
        .map_or(2 * MIN_SPACING, |r| r + r / 4)
        .clamp(MIN_SPACING, MAX_SPACING);
    match now.saturating_sub(missing.asked) >= spacing {
        false => Decision::Wait,
        true if missing.tries >= patience.max_tries => Decision::GiveUp,
        true => Decision::Ask,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;
    const USUAL: Patience = Patience {
        max_age: 1_000 * MS,
        max_tries: MAX_TRIES,
    };

    #[test]
    fn decisions() {
        use Decision::{Ask, GiveUp, Wait};
        let cases = [
            // tries, age, since asked, round trip, decision
            (0, 0, 0, None, Wait),
            (0, 4, 0, None, Wait),
            (0, 5, 0, None, Ask),
            (1, 30, 25, None, Wait),
            (1, 45, 40, None, Ask),
            (1, 30, 19, Some(2), Wait),
            (1, 30, 20, Some(2), Ask),
            (1, 130, 124, Some(100), Wait),
            (1, 130, 125, Some(100), Ask),
            (1, 500, 400, Some(900), Ask),
            (10, 500, 39, None, Wait),
            (10, 500, 400, None, GiveUp),
            (1, 1_001, 1, None, GiveUp),
        ];
        for (tries, age, since_asked, round_trip, expected) in cases {
            let now = 10_000 * MS;
            let missing = Missing {
                seq: 1,
                since: now - age * MS,
                first: now - age * MS,
                asked: now - since_asked * MS,
                tries,
            };
            let got = decide(&missing, now, round_trip.map(|r: u64| r * MS), USUAL);
            assert_eq!(
                got, expected,
                "{tries} tries, {age} ms old, asked {since_asked} ms ago, rtt {round_trip:?}"
            );
        }
    }

    #[test]
    fn asks_once_for_each_gap_and_measures_the_round_trip() {
        let mut list = NackList::default();
        for seq in [100, 101, 104, 106] {
            assert_eq!(list.on_packet(seq, 0), Arrival::InOrder);
        }
        let mut asked = Vec::new();
        list.due(5 * MS, None, USUAL, &mut asked);
        list.due(6 * MS, None, USUAL, &mut asked);
        assert_eq!(asked, [102, 103, 105]);
        assert_eq!(
            list.on_packet(103, 35 * MS),
            Arrival::Closes {
                round_trip: Some(RoundTrip::Measured(30 * MS))
            }
        );
        assert_eq!(list.on_packet(103, 36 * MS), Arrival::InOrder);
        asked.clear();
        list.due(45 * MS, None, USUAL, &mut asked);
        assert_eq!(asked, [102, 105]);
        // The answer may be one to the first request.
        let round_trip = Some(RoundTrip::AtMost(55 * MS));
        assert_eq!(list.on_packet(102, 60 * MS), Arrival::Closes { round_trip });
    }

    #[test]
    fn what_may_be_parity_is_given_up_sooner() {
        for (max_tries, expected) in [(MAX_TRIES, 10), (MAX_TRIES_BESIDE_PARITY, 4)] {
            let mut list = NackList::default();
            list.on_packet(1, 0);
            list.on_packet(3, 0);
            let mut asked = Vec::new();
            let patience = Patience { max_tries, ..USUAL };
            (0..900).for_each(|now| list.due(now * MS, Some(20 * MS), patience, &mut asked));
            assert_eq!((asked.len(), list.is_empty()), (expected, true));
        }
    }

    #[test]
    fn reordering_within_the_tolerance_is_not_asked() {
        let mut list = NackList::default();
        for (seq, now) in [(1, 0), (3, 0), (2, 2 * MS)] {
            list.on_packet(seq, now);
        }
        let mut asked = Vec::new();
        list.due(100 * MS, None, USUAL, &mut asked);
        assert!(asked.is_empty() && list.is_empty());
    }

    #[test]
    fn a_huge_gap_gives_up() {
        let mut list = NackList::default();
        list.on_packet(1, 0);
        assert_eq!(list.on_packet(3_000, 0), Arrival::TooManyMissing);
        assert!(list.is_empty());
        assert_eq!(list.on_packet(3_001, 0), Arrival::InOrder);
    }
}
