//! Which packets are asked again and when, as libwebrtc does it (modules/video_coding/nack_requester): at once, then every
//! round trip, ten times at most, until a later picture is here with all that it refers to.

use std::collections::BTreeMap;

use super::sequence::Sequence;

/// Between two looks at what is missing, microseconds.
const TURN: u64 = 20_000;
const TRIES: u32 = 10;
/// More missing than this is no longer asked for: only a keyframe helps.
const MOST: usize = 1_000;

#[derive(Default)]
pub(crate) struct Nacks {
    /// How often each was asked for, and when last, microseconds.
    missing: BTreeMap<u64, (u32, u64)>,
    /// Seen to be missing since the last look: asked for whatever becomes of them.
    fresh: Vec<u16>,
    next: Option<u64>,
    turn: u64,
    /// There was more than can be asked for.
    pub(crate) gave_up: bool,
    pub(crate) asked: u64,
}

impl Nacks {
    pub(crate) fn on_packet(&mut self, now: u64, number: u64, sequence: &Sequence) {
        self.missing.remove(&number);
        let next = self.next.unwrap_or(number);
        if number >= next {
            let gap = (next..number).filter(|missing| !sequence.has(*missing));
            for missing in gap {
                self.missing.insert(missing, (1, now));
                self.fresh.push(missing as u16);
            }
            self.next = Some(number + 1);
        }
        if self.missing.len() > MOST {
            self.missing.clear();
            self.fresh.clear();
            self.gave_up = true;
        }
    }

    /// A picture that ends with this number is here, and all that it refers to: what is missing before it is not needed to go
    /// on (RtpVideoStreamReceiver2::FrameContinuous).
    pub(crate) fn clear_up_to(&mut self, number: u64) {
        self.missing = self.missing.split_off(&(number + 1));
    }

    /// Numbers to ask for now.
    pub(crate) fn poll(&mut self, now: u64, round_trip: u64) -> Vec<u16> {
        let mut due = std::mem::take(&mut self.fresh);
        if now >= self.turn + TURN {
            self.turn = now;
            self.missing.retain(|_, (tries, _)| *tries < TRIES);
            for (&number, (tries, at)) in &mut self.missing {
                if now >= *at + round_trip {
                    (*tries, *at) = (*tries + 1, now);
                    due.push(number as u16);
                }
            }
        }
        self.asked += due.len() as u64;
        due
    }
}
