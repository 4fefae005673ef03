//! A listener as a test models it: frames are played at a fixed delay behind the clock, each once; what has not come by then is
//! concealed. Behind a frame of silence (RFC 6716 section 2.1.9) nothing is missed until the next packet.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use wire::red::Redundant;

use crate::media::{OPUS, Rtp};

pub(crate) const RED: u8 = 63;
/// Ticks of a frame.
pub(crate) const FRAME: u64 = 960;

#[derive(Clone, Debug, Default)]
pub(crate) struct Listener {
    /// By unwrapped timestamp: what it holds and when it first came, microseconds; and whether it is silence.
    frames: BTreeMap<u64, (Vec<u8>, u64, bool)>,
    highest: u64,
    pub(crate) numbers: Vec<u64>,
    pub(crate) octets: usize,
    pub(crate) red: usize,
    pub(crate) markers: usize,
}

impl Listener {
    /// `at`: since the start.
    pub(crate) fn hear(&mut self, at: Duration, packet: &Rtp) {
        let at = at.as_micros() as u64;
        let first = self.numbers.last().map_or(1 << 20, |&last| last);
        self.numbers.push(match self.numbers.is_empty() {
            true => (1 << 20) + u64::from(packet.seq),
            false => wire::seq::extend(first, packet.seq),
        });
        self.octets += packet.payload.len();
        self.markers += usize::from(packet.marker);
        let base = if self.highest == 0 {
            (1 << 32) + u64::from(packet.timestamp)
        } else {
            self.highest
        };
        let time = base.wrapping_add_signed(i64::from(packet.timestamp.wrapping_sub(base as u32) as i32));
        self.highest = self.highest.max(time);
        if packet.payload_type == RED {
            self.red += 1;
            let red = Redundant::parse(&packet.payload).unwrap();
            assert_eq!(red.primary.payload_type, OPUS);
            for block in red.blocks() {
                assert_eq!(block.payload_type, OPUS);
                self.keep(time - u64::from(block.timestamp_offset), block.data, at);
            }
            self.keep(time, red.primary.data, at);
        } else {
            assert_eq!(packet.payload_type, OPUS);
            self.keep(time, &packet.payload, at);
        }
    }

    fn keep(&mut self, time: u64, payload: &[u8], at: u64) {
        let entry = (payload.to_vec(), at, payload.len() == 1);
        let kept = self.frames.entry(time).or_insert(entry);
        assert_eq!(kept.0, payload, "two frames of one time");
    }

    /// Payloads in the order of their times.
    pub(crate) fn played(&self) -> Vec<String> {
        let frames = self.frames.values().filter(|(.., silence)| !silence);
        frames
            .map(|(payload, ..)| String::from_utf8_lossy(payload).into_owned())
            .collect()
    }

    pub(crate) fn payloads(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.frames.values().map(|(payload, ..)| payload)
    }

    /// Share of frames that were not there when they should be played, `delay` behind the earliest arrival, from a time on.
    pub(crate) fn concealed(&self, delay: Duration, from: Duration) -> f64 {
        let delay = delay.as_micros() as u64;
        let arrival = |time: u64, at: u64| at as i64 - (time * 1_000 / 48) as i64;
        let Some(base) = self.frames.iter().map(|(&time, &(_, at, _))| arrival(time, at)).min() else {
            return 1.0;
        };
        let (mut expected, mut missed) = (0_u64, 0_u64);
        let mut last: Option<(u64, bool)> = None;
        for (&time, &(_, at, silence)) in &self.frames {
            let due = (time * 1_000 / 48) as i64 + base + delay as i64;
            if due < from.as_micros() as i64 {
                last = Some((time, silence));
                continue;
            }
            if let Some((before, false)) = last {
                let gap = (time - before).div_ceil(FRAME) - 1;
                (expected, missed) = (expected + gap, missed + gap);
            }
            expected += 1;
            missed += u64::from(at as i64 > due);
            last = Some((time, silence));
        }
        missed as f64 / expected.max(1) as f64
    }

    /// Share of frames of speech that never came, from a time on.
    pub(crate) fn lost(&self, from: Duration) -> f64 {
        let times: Vec<u64> = self.since(from).map(|(time, _)| time).collect();
        let (Some(first), Some(last)) = (times.first(), times.last()) else {
            return 1.0;
        };
        1.0 - times.len() as f64 / ((last - first) / FRAME + 1) as f64
    }

    /// How much later than the quickest one frames came, sorted, from a time on.
    pub(crate) fn waits(&self, from: Duration) -> Vec<Duration> {
        let transit = |(time, at): (u64, u64)| at as i64 - (time * 1_000 / 48) as i64;
        let least = self.since(Duration::ZERO).map(transit).min().unwrap_or_default();
        let waits = self.since(from).map(|frame| (transit(frame) - least) as u64);
        let mut waits: Vec<_> = waits.map(Duration::from_micros).collect();
        waits.sort_unstable();
        waits
    }

    /// Times and arrivals of frames that came from then on.
    fn since(&self, from: Duration) -> impl Iterator<Item = (u64, u64)> {
        let from = from.as_micros() as u64;
        let frames = self.frames.iter().map(|(&time, &(_, at, _))| (time, at));
        frames.filter(move |&(_, at)| at >= from)
    }

    /// Numbers that never came, of those in between.
    pub(crate) fn holes(&self) -> u64 {
        let numbers: HashSet<_> = self.numbers.iter().collect();
        let (Some(first), Some(last)) = (self.numbers.iter().min(), self.numbers.iter().max()) else {
            return 0;
        };
        last - first + 1 - numbers.len() as u64
    }
}
