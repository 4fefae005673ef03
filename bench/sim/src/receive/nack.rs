//! Which packets are asked again and when, as libwebrtc does it (modules/video_coding/nack_requester): at once, then every
//! round trip, ten times at most.

use std::collections::BTreeMap;

use super::sequence::Sequence;

/// Between two looks at what is missing, microseconds.
const TURN: u64 = 20_000;
const TRIES: u32 = 10;
/// More missing than this is no longer asked for: only a keyframe helps.
const MOST: usize = 1_000;

#[derive(Default)]
pub(crate) struct Nacks {
    missing: BTreeMap<u64, (u32, u64)>,
    next: Option<u64>,
    turn: u64,
    fresh: bool,
    /// There was more than can be asked for.
    pub(crate) gave_up: bool,
    pub(crate) asked: u64,
}

impl Nacks {
    pub(crate) fn on_packet(&mut self, number: u64, sequence: &Sequence) {
        self.missing.remove(&number);
        let next = self.next.unwrap_or(number);
        if number >= next {
            let gap = (next..number).filter(|missing| !sequence.has(*missing));
            let before = self.missing.len();
            self.missing.extend(gap.map(|missing| (missing, (0, 0))));
            self.fresh |= self.missing.len() > before;
            self.next = Some(number + 1);
        }
        if self.missing.len() > MOST {
            self.missing.clear();
            self.gave_up = true;
        }
    }

    /// Numbers to ask for now.
    pub(crate) fn poll(&mut self, now: u64, round_trip: u64) -> Vec<u16> {
        let regular = now >= self.turn + TURN;
        if self.missing.is_empty() || !(self.fresh || regular) {
            return Vec::new();
        }
        if regular {
            self.turn = now;
        }
        self.fresh = false;
        self.missing.retain(|_, (tries, _)| *tries < TRIES);
        let due = self
            .missing
            .iter_mut()
            .filter(|(_, (tries, at))| *tries == 0 || regular && now >= *at + round_trip.max(TURN));
        let due: Vec<u16> = due
            .map(|(&number, (tries, at))| {
                (*tries, *at) = (*tries + 1, now);
                number as u16
            })
            .collect();
        self.asked += due.len() as u64;
        due
    }
}
