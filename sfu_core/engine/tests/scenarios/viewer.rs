//! A receiver of one video that asks for what it lacks and decodes in order, behind an emulated path: what it shows is the truth.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use wire::rtcp::nack;
use wire::rtcp::pli::PictureLoss;

use crate::media::{self, Rtp};
use crate::path::Path;
use crate::world::Network;

/// A packet is asked for again so often, and given up for a keyframe after so long.
const ASK_AGAIN: u64 = 100_000;
const GIVE_UP: u64 = 1_000_000;

pub(crate) struct Viewer {
    path: Path,
    start: Instant,
    ssrc: u32,
    /// Microseconds in which each packet came, by its number; marker, first of a keyframe.
    came: BTreeMap<u64, (u64, bool, bool)>,
    highest: u64,
    /// Numbers missing: since when, and when last asked for.
    missing: BTreeMap<u64, (u64, u64)>,
    /// The next number to decode.
    next: u64,
    waits_for_keyframe: bool,
    asked_for_keyframe: u64,
    shown: Shown,
}

/// When pictures were shown, microseconds.
#[derive(Clone, Default)]
pub(crate) struct Shown(Rc<RefCell<Vec<u64>>>);

impl Shown {
    pub(crate) fn count(&self) -> u64 {
        self.0.borrow().len() as u64
    }

    /// Gaps of more than max(3 × frame, frame + 150 ms): how many, and how long together.
    pub(crate) fn freezes(&self, frame: Duration) -> (u64, Duration) {
        let frame = frame.as_micros() as u64;
        let limit = (3 * frame).max(frame + 150_000);
        let times = self.0.borrow();
        let gaps = times
            .windows(2)
            .map(|pair| pair[1] - pair[0])
            .filter(|&gap| gap > limit);
        let gaps: Vec<u64> = gaps.collect();
        (gaps.len() as u64, Duration::from_micros(gaps.iter().sum()))
    }
}

impl Viewer {
    /// Of the video that comes under `ssrc`; its retransmissions come under the next number.
    pub(crate) fn new(now: Instant, path: Path, ssrc: u32) -> (Self, Shown) {
        let shown = Shown::default();
        let viewer = Self {
            path: path.telling_all(),
            start: now,
            ssrc,
            came: BTreeMap::new(),
            highest: 0,
            missing: BTreeMap::new(),
            next: 0,
            waits_for_keyframe: true,
            asked_for_keyframe: 0,
            shown: shown.clone(),
        };
        (viewer, shown)
    }

    fn take(&mut self, at: u64, sequence: u16, marker: bool, payload: &[u8]) {
        let number = if self.highest == 0 {
            (1 << 16) + u64::from(sequence)
        } else {
            wire::seq::extend(self.highest, sequence)
        };
        if self.highest > 0 {
            for lost in self.highest + 1..number {
                self.missing.insert(lost, (at, 0));
            }
        }
        self.highest = self.highest.max(number);
        self.missing.remove(&number);
        let opens = payload.len() > 4 && payload[0] & 0x10 != 0 && payload[4] & 1 == 0;
        self.came.insert(number, (at, marker, opens));
        self.decode(at);
    }

    /// In order, or from the next keyframe that is complete.
    fn decode(&mut self, at: u64) {
        loop {
            let next = Some(self.next).filter(|_| !self.waits_for_keyframe);
            let keyframes = self.came.range(self.next..).filter(|(_, (_, _, opens))| *opens);
            let mut starts = next.into_iter().chain(keyframes.map(|(&number, _)| number));
            let Some(end) = starts.find_map(|start| self.end_of_picture(start)) else {
                return;
            };
            self.waits_for_keyframe = false;
            self.next = end + 1;
            self.came = self.came.split_off(&self.next);
            self.missing = self.missing.split_off(&self.next);
            self.shown.0.borrow_mut().push(at);
        }
    }

    /// The last number of a picture that begins here, when all of it came.
    fn end_of_picture(&self, start: u64) -> Option<u64> {
        (start..)
            .map_while(|number| self.came.get(&number).map(|(_, marker, _)| (number, *marker)))
            .find_map(|(number, marker)| marker.then_some(number))
    }

    fn micros(&self, now: Instant) -> u64 {
        (now - self.start).as_micros() as u64
    }
}

impl Network for Viewer {
    fn send(&mut self, now: Instant, datagram: &[u8]) {
        self.path.send(now, datagram);
    }

    fn arrivals(&mut self, now: Instant) -> Vec<(Instant, Vec<u8>)> {
        self.path.arrivals(now)
    }

    fn on_rtp(&mut self, when: Instant, packet: &Rtp, plain: &[u8]) {
        self.path.on_rtp(when, packet, plain);
        let at = self.micros(when);
        if packet.ssrc == self.ssrc && !packet.payload.is_empty() {
            self.take(at, packet.seq, packet.marker, &packet.payload);
        } else if packet.ssrc == self.ssrc + 1 && packet.payload_type == media::VP8_RTX && packet.payload.len() > 2 {
            let original = u16::from_be_bytes([packet.payload[0], packet.payload[1]]);
            if self.missing.contains_key(&wire::seq::extend(self.highest, original)) {
                self.take(at, original, packet.marker, &packet.payload[2..]);
            }
        }
    }

    fn feedback(&mut self, now: Instant) -> Option<Vec<u8>> {
        let at = self.micros(now);
        let mut out = vec![0; 1_400];
        let due = |(_, asked): &(u64, u64)| *asked == 0 || at - asked >= ASK_AGAIN;
        let asked: Vec<u64> = self
            .missing
            .iter()
            .filter(|(_, times)| due(times))
            .map(|(number, _)| *number)
            .collect();
        let is_lost = self.missing.values().any(|(since, _)| at - since > GIVE_UP);
        self.waits_for_keyframe |= is_lost;
        let mut len = 0;
        if is_lost {
            self.missing.clear();
            self.next = self.highest + 1;
        }
        if self.waits_for_keyframe && self.highest > 0 && at - self.asked_for_keyframe > 300_000 {
            self.asked_for_keyframe = at;
            let loss = PictureLoss {
                sender_ssrc: 1,
                media_ssrc: self.ssrc,
            };
            len += loss.write(&mut out).unwrap();
        } else if !asked.is_empty() && !is_lost {
            for number in asked.iter().take(100) {
                self.missing.get_mut(number).unwrap().1 = at;
            }
            let numbers = asked.iter().take(100).map(|&number| number as u16);
            len += nack::write(&mut out[len..], 1, self.ssrc, numbers).unwrap();
        }
        let mut all = out[..len].to_vec();
        all.extend(self.path.feedback(now).unwrap_or_default());
        (!all.is_empty()).then_some(all)
    }

    fn send_up(&mut self, now: Instant, datagram: Vec<u8>) {
        self.path.send_up(now, datagram);
    }

    fn arrives_up(&mut self, now: Instant) -> Option<Vec<u8>> {
        self.path.arrives_up(now)
    }
}
