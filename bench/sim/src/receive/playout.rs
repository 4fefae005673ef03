//! When a picture is shown: a model of libwebrtc's timing (modules/video_coding/timing). The delay covers the variation of
//! arrivals and, while packets are asked again, a round trip. A receiver knows timestamps alone, not when pictures were taken.

use std::collections::VecDeque;

/// Microseconds by which the variation is judged, and the share of frames that is to be in time.
const WINDOW: u64 = 5_000_000;
const IN_TIME: f64 = 0.95;
/// Frames between two judgements.
const JUDGE: u32 = 10;
/// Frames that come so many times faster than they were taken are sent to catch up and tell nothing of the path.
const CATCH_UP: i64 = 4;
/// The delay changes by so many microseconds per second.
const CHANGE: u64 = 100_000;
/// Decoding and rendering, microseconds.
const RENDER: i64 = 15_000;
/// So many packets asked again within a minute, and a round trip is waited for, up to so long (JitterEstimator: kNackLimit,
/// kNackCountTimeout; the round trip counts 0.9).
const NACKS: usize = 3;
const NACK_TIMEOUT: u64 = 60_000_000;
const MOST_ROUND_TRIP: u64 = 200_000;

#[derive(Default)]
pub(crate) struct Playout {
    /// When frames came that nothing was repeated of, and how much later than their timestamps say.
    delays: VecDeque<(u64, i64)>,
    former: Option<(u64, i64)>,
    since: u32,
    /// From the time that timestamps tell, microseconds: what frames need, and when they are shown.
    needed: i64,
    delay: Option<i64>,
    changed: u64,
    nacks: usize,
    nacked: u64,
}

impl Playout {
    pub(crate) fn on_nack(&mut self, now: u64, packets: usize) {
        if now > self.nacked + NACK_TIMEOUT {
            self.nacks = 0;
        }
        self.nacks += packets;
        self.nacked = now;
    }

    /// `taken`: as timestamps tell it, microseconds of any beginning.
    pub(crate) fn on_complete(&mut self, now: u64, taken: i64, repeated: bool) {
        let former = self.former.replace((now, taken));
        let catches_up = former.is_some_and(|(at, before)| ((now - at) as i64) * CATCH_UP < taken - before);
        if repeated || catches_up {
            return;
        }
        self.delays.push_back((now, now as i64 - taken));
        while self.delays.front().is_some_and(|(at, _)| at + WINDOW < now) {
            self.delays.pop_front();
        }
        self.since += 1;
        if self.since >= JUDGE || self.delays.len() < 3 * JUDGE as usize {
            self.since = 0;
            let mut ordered: Vec<_> = self.delays.iter().map(|&(_, delay)| delay).collect();
            ordered.sort_unstable();
            self.needed = ordered[((ordered.len() - 1) as f64 * IN_TIME) as usize];
        }
    }

    /// When a frame that was taken then is to be shown.
    pub(crate) fn due(&mut self, now: u64, taken: i64, round_trip: u64) -> u64 {
        let patient = self.nacks >= NACKS && now <= self.nacked + NACK_TIMEOUT;
        let repeat = if patient {
            (round_trip * 9 / 10).min(MOST_ROUND_TRIP)
        } else {
            0
        };
        let target = self.needed + repeat as i64 + RENDER;
        let step = ((now - self.changed).min(1_000_000) * CHANGE / 1_000_000) as i64;
        self.changed = now;
        let delay = self
            .delay
            .map_or(target, |delay| target.clamp(delay - step, delay + step));
        // Late frames make the delay grow at once, up to what is wanted.
        let late = (now as i64 - (taken + delay)).max(0);
        let delay = (delay + late).min(target.max(delay));
        self.delay = Some(delay);
        (taken + delay).max(0) as u64
    }
}
