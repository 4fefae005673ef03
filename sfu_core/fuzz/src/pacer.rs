//! The pacer by operations: nothing is lost or made, and what waits leaves in the order that it promises.

use std::collections::{BTreeMap, VecDeque};

use engine::bandwidth::{Bandwidth, Limits, Probe};
use engine::pacer::{Admit, Class, Item, Pacer, Poll};

use crate::input::Input;

/// Packets that wait at most.
const MOST: usize = 2_600;
const FLOWS: u32 = 5;
const CLASSES: [Class; 4] = [Class::Audio, Class::Urgent, Class::Video, Class::Repair];
/// Packets that one instant may let go beyond those that wait: the burst of a cluster of padding.
const MOST_PADDING: usize = 60_000;

/// Serial numbers of what was pushed and neither came back nor is known to be dropped.
#[derive(Default)]
struct Waiting {
    audio: VecDeque<u64>,
    urgent: VecDeque<u64>,
    repair: VecDeque<u64>,
    video: BTreeMap<u32, VecDeque<u64>>,
}

#[derive(Default)]
struct Sums {
    pushed: u64,
    sent: u64,
    admitted: u64,
    padding: u64,
    pushed_audio: u64,
    sent_audio: u64,
    pushed_video: u64,
    sent_video: u64,
}

struct World {
    pacer: Pacer<(u64, u32)>,
    now: u64,
    waiting: Waiting,
    sums: Sums,
}

pub(crate) fn pacer(data: &[u8]) {
    let mut input = Input::new(data);
    let probes = clusters();
    let mut world = World {
        pacer: Pacer::default(),
        now: u64::from(input.u32()),
        waiting: Waiting::default(),
        sums: Sums::default(),
    };
    while !input.is_empty() {
        let (operation, value) = (input.u8(), input.u8());
        match operation % 16 {
            0..=6 => {
                for _ in 0..=operation >> 5 {
                    world.offer(operation, value);
                }
            }
            7 => world.flood(value),
            8 => {
                let rate = [Some(u64::from(value) * 40_000), Some(u64::MAX), Some(0), None];
                world
                    .pacer
                    .set_rate(world.now, rate[usize::from(operation >> 4) % rate.len()]);
            }
            9 => {
                let probe = Probe {
                    bits_per_second: [f64::from(value) * 50_000.0, f64::NAN, -1.0, 1e12][usize::from(operation >> 6)],
                    bytes: u32::from(input.u16()),
                    packets: u32::from(input.u8()),
                    ..probes[usize::from(value) % probes.len()]
                };
                world.pacer.probe(world.now, probe);
            }
            10 => world.remove(u32::from(value) % FLOWS),
            11 => world.now += u64::from(value) << (operation >> 4),
            12 => world.drain(),
            13 => world.pacer.refund(u32::from(value) << (operation >> 4)),
            _ => {
                if let Some(at) = world.pacer.next(world.now) {
                    assert!(at >= world.now);
                    world.now = at;
                }
                world.drain();
            }
        }
        assert!(world.pacer.len() <= MOST);
    }
    world.end();
}

/// Only the estimator makes them.
fn clusters() -> Vec<Probe> {
    let limits = Limits {
        start: 1e6,
        min: 1e5,
        max: 1e7,
    };
    let mut bandwidth = Bandwidth::new(0, limits);
    (0..100).filter_map(|step| bandwidth.poll(step * 100_000)).collect()
}

impl World {
    fn offer(&mut self, operation: u8, value: u8) {
        let class = CLASSES[usize::from(operation >> 3) % CLASSES.len()];
        let bytes = if value == 0xff { u32::MAX } else { u32::from(value) * 7 };
        let flow = u32::from(value) % FLOWS;
        if self.pacer.admit(self.now, bytes, class) == Admit::SendNow {
            // Nothing overtakes what waits in front of it.
            assert!(class == Class::Audio || self.pacer.is_empty());
            self.sums.admitted += 1;
            return;
        }
        self.push(class, flow, bytes, value.is_multiple_of(16));
    }

    fn push(&mut self, class: Class, flow: u32, bytes: u32, keyframe: bool) {
        let serial = self.sums.pushed;
        self.sums.pushed += 1;
        match class {
            Class::Audio => self.waiting.audio.push_back(serial),
            Class::Urgent => self.waiting.urgent.push_back(serial),
            Class::Repair => self.waiting.repair.push_back(serial),
            Class::Video => self.waiting.video.entry(flow).or_default().push_back(serial),
        }
        self.sums.pushed_audio += u64::from(class == Class::Audio);
        self.sums.pushed_video += u64::from(class == Class::Video);
        let item = Item {
            item: (serial, flow),
            flow,
            class,
            bytes,
            keyframe,
        };
        self.pacer.push(self.now, item);
    }

    /// More than it holds.
    fn flood(&mut self, value: u8) {
        for index in 0..u32::from(value) * 4 {
            let class = if value.is_multiple_of(4) {
                CLASSES[index as usize % 4]
            } else {
                Class::Video
            };
            self.push(class, index % FLOWS, 1_200, index % 50 == 0);
            assert!(self.pacer.len() <= MOST);
        }
    }

    fn remove(&mut self, flow: u32) {
        self.pacer.remove(flow);
        self.waiting.video.remove(&flow);
        assert!(!self.pacer.holds(flow));
    }

    /// All that may go now.
    fn drain(&mut self) {
        let mut padding = 0;
        while let Some(poll) = self.pacer.poll(self.now) {
            match poll {
                Poll::Send { item, class, .. } => self.sent(item, class),
                Poll::DropUntilKeyframe(flow) => assert!(flow < FLOWS),
                Poll::Padding { bytes, .. } => {
                    padding += 1;
                    assert!(self.pacer.is_empty() && padding <= MOST_PADDING);
                    self.sums.padding += u64::from(bytes);
                    self.pacer.padded(self.now, bytes);
                }
            }
        }
        let next = self.pacer.next(self.now);
        assert!(next.is_none_or(|next| next > self.now), "a busy loop");
        assert!(next.is_some() || self.pacer.is_empty());
    }

    fn sent(&mut self, (serial, flow): (u64, u32), class: Class) {
        self.sums.sent += 1;
        self.sums.sent_audio += u64::from(class == Class::Audio);
        self.sums.sent_video += u64::from(class == Class::Video);
        let waiting = &mut self.waiting;
        // What is more urgent waits no more: it was sent, or dropped, and must not come later.
        if class != Class::Audio {
            waiting.audio.clear();
            if class != Class::Urgent {
                waiting.urgent.clear();
            }
        }
        let list = match class {
            Class::Audio => &mut waiting.audio,
            Class::Urgent => &mut waiting.urgent,
            Class::Repair => &mut waiting.repair,
            Class::Video => waiting.video.entry(flow).or_default(),
        };
        // In the order in which they came; drops are from the front.
        while list.front().is_some_and(|&first| first < serial) {
            list.pop_front();
        }
        assert_eq!(list.pop_front(), Some(serial), "{class:?} not in order");
    }

    /// Without a rate all that is left comes at once, and every packet is accounted for.
    fn end(mut self) {
        self.pacer.set_rate(self.now, None);
        self.drain();
        assert!(self.pacer.is_empty() && self.pacer.queue_delay(self.now) == 0);
        let counters = self.pacer.counters();
        let sums = &self.sums;
        assert_eq!((counters.sent_later, counters.sent_at_once), (sums.sent, sums.admitted));
        assert_eq!(counters.padding_bytes, sums.padding);
        assert_eq!(sums.pushed_audio, sums.sent_audio + counters.dropped_audio);
        assert_eq!(sums.pushed_video, sums.sent_video + counters.dropped_video);
        let dropped = counters.dropped_audio + counters.dropped_video + counters.dropped_repair;
        assert_eq!(sums.pushed, sums.sent + dropped);
    }
}
