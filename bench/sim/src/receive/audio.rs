//! A model of an audio receiver after NetEQ: the delay follows the variation of arrivals, what is not there when it is due is
//! concealed, and redundant blocks (RFC 2198) count as arrivals.

use std::collections::{BTreeSet, VecDeque};

use wire::red::Redundant;

use super::Arrival;
use crate::media::spec::PTIME;
use crate::media::{Tag, Track};

/// Arrivals by which the variation is judged, and the share that is to be in time (NetEq's delay manager: 95 %).
const WINDOW: usize = 500;
const IN_TIME: f64 = 0.95;
/// One more percent in time is worth so many microseconds of delay (its reorder optimizer): redundancy counts as what comes late.
const PERCENT: u64 = 20_000;
/// Frames of delay at most.
const MOST: u64 = 20;
/// Packets between two judgements.
const JUDGE: u32 = 25;
/// Frames above the target from which playing is hastened, and how often that takes a frame, microseconds.
const HASTE: u64 = 2;
const HASTEN: u64 = 100_000;

#[derive(Default)]
pub(crate) struct Voice {
    /// By 20 ms since the first: whether it was concealed.
    pub(crate) played: Vec<(u64, bool)>,
    /// Blocks that came only as redundancy.
    pub(crate) recovered: u64,
    here: BTreeSet<u32>,
    /// Frames that came, played or not.
    known: BTreeSet<u32>,
    /// The next frame to play, and when.
    next: Option<(u32, u64)>,
    delays: VecDeque<u64>,
    since: u32,
    /// Frames.
    target: u64,
    hastened: u64,
}

impl Voice {
    pub(crate) fn on_packet(&mut self, arrival: &Arrival<'_>, payload_type: u8, track: &Track) {
        let (tag, redundant) = if arrival.payload_type == payload_type {
            (Tag::read(arrival.payload), None)
        } else {
            let red = Redundant::parse(arrival.payload).unwrap();
            (Tag::read(red.primary.data), Some(red))
        };
        let Some(tag) = tag else { return };
        self.insert(tag.frame, arrival.now, track, true);
        for block in redundant.iter().flat_map(Redundant::blocks) {
            if let Some(tag) = Tag::read(block.data) {
                self.insert(tag.frame, arrival.now, track, false);
            }
        }
    }

    fn insert(&mut self, frame: u32, now: u64, track: &Track, primary: bool) {
        let (next, _) = *self.next.get_or_insert((frame, now + PTIME * self.target.max(1)));
        if !self.known.insert(frame) {
            return;
        }
        self.judge(now - track.frames[&frame].captured);
        if frame >= next {
            self.here.insert(frame);
            self.recovered += u64::from(!primary);
        }
        while self.known.len() > WINDOW {
            self.known.pop_first();
        }
    }

    fn judge(&mut self, delay: u64) {
        self.delays.push_back(delay);
        if self.delays.len() > WINDOW {
            self.delays.pop_front();
        }
        self.since += 1;
        if self.since >= JUDGE || self.delays.len() < JUDGE as usize {
            self.since = 0;
            let mut ordered: Vec<_> = self.delays.iter().copied().collect();
            ordered.sort_unstable();
            let late = ordered[((ordered.len() - 1) as f64 * IN_TIME) as usize] - ordered[0];
            let cost = |frames: &u64| {
                let in_time = ordered.partition_point(|delay| *delay <= ordered[0] + frames * PTIME);
                let late = 100 * (ordered.len() - in_time) as u64 / ordered.len() as u64;
                frames * PTIME + late * PERCENT
            };
            let cheapest = (0..MOST).min_by_key(cost).unwrap_or(0);
            self.target = 1 + cheapest.max(late.div_ceil(PTIME)).min(MOST);
        }
    }

    pub(crate) fn play(&mut self, now: u64) {
        while let Some((frame, at)) = self.next.filter(|&(_, at)| at <= now) {
            let there = self.here.remove(&frame);
            let newest = self.here.last().copied();
            self.played.push((at, !there));
            // What is lost is passed over; when nothing is there it may yet come.
            let mut next = frame + u32::from(there || newest.is_some());
            let waiting = newest.map_or(0, |newest| u64::from(newest.saturating_sub(next)) + 1);
            if there && waiting > self.target + HASTE && at >= self.hastened + HASTEN && self.here.remove(&next) {
                self.hastened = at;
                next += 1;
            }
            self.next = Some((next, at + PTIME));
        }
    }
}
