//! The way between the engine and a subscriber: an emulated link down, a delay up, and transport-wide feedback on what arrives.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use netem::{Link, LinkConfig, Script};
use wire::rtcp::twcc;

use crate::media::{self, Rtp};
use crate::spectator::Spectator;
use crate::world::{MS, Network};

const FEEDBACK: Duration = Duration::from_millis(50);

pub(crate) struct Path {
    link: Link<Vec<u8>>,
    start: Instant,
    /// Up, the same as down.
    delay: Duration,
    up: VecDeque<(Instant, Vec<u8>)>,
    /// Transport-wide numbers that arrived since the last feedback, and when, microseconds.
    arrived: Vec<(u64, u64)>,
    highest: u64,
    /// The first number that nothing was told of, where losses between two feedbacks are told, as browsers do.
    untold: Option<Option<u64>>,
    serial: u8,
    told: Instant,
    frames: Frames,
    viewer: Option<Rc<RefCell<Spectator>>>,
}

/// When the last video packet of each frame came, microseconds.
#[derive(Clone, Default)]
pub(crate) struct Frames(Rc<RefCell<Vec<u64>>>);

impl Frames {
    /// The longest time without a new frame between two moments since the start.
    pub(crate) fn longest_gap(&self, from: Duration, to: Duration) -> Duration {
        let (from, to) = (from.as_micros() as u64, to.as_micros() as u64);
        let frames = self.0.borrow();
        let times: Vec<u64> = frames.iter().copied().filter(|&at| at >= from && at <= to).collect();
        let gap = times.windows(2).map(|pair| pair[1] - pair[0]).max();
        gap.map_or(MS * 1_000_000, Duration::from_micros)
    }
}

impl Path {
    pub(crate) fn new(now: Instant, config: LinkConfig, script: Script, seed: u64) -> Self {
        Self {
            delay: config.delay,
            link: Link::new(LinkConfig { script, ..config }, seed),
            start: now,
            up: VecDeque::new(),
            arrived: Vec::new(),
            highest: 1 << 16,
            untold: None,
            serial: 0,
            told: now,
            frames: Frames::default(),
            viewer: None,
        }
    }

    /// Every loss is told of, also the one between two feedbacks.
    pub(crate) fn telling_all(mut self) -> Self {
        self.untold = Some(None);
        self
    }

    /// Somebody looks at the video that this brings, and asks for what is missing.
    pub(crate) fn shown_to(mut self, viewer: Spectator) -> (Self, Rc<RefCell<Spectator>>) {
        let viewer = Rc::new(RefCell::new(viewer));
        self.viewer = Some(Rc::clone(&viewer));
        (self, viewer)
    }

    pub(crate) fn frames(&self) -> Frames {
        self.frames.clone()
    }
}

impl Network for Path {
    fn send(&mut self, now: Instant, datagram: &[u8]) {
        let at = now - self.start;
        // UDP and IP.
        self.link.push(at, datagram.len() + 28, datagram.to_vec());
    }

    /// What has arrived by now.
    fn arrivals(&mut self, now: Instant) -> Vec<(Instant, Vec<u8>)> {
        let at = now - self.start;
        let mut all = Vec::new();
        while let Some(next) = self.link.next().filter(|&next| next <= at) {
            while let Some((when, datagram)) = self.link.pop(next) {
                all.push((self.start + when, datagram));
            }
        }
        all
    }

    fn on_rtp(&mut self, when: Instant, packet: &Rtp, plain: &[u8]) {
        let micros = (when - self.start).as_micros() as u64;
        if packet.marker && packet.payload_type == media::VP8 {
            self.frames.0.borrow_mut().push(micros);
        }
        if let Some(viewer) = &self.viewer {
            viewer.borrow_mut().on_rtp(micros, packet, plain);
        }
        if let Some(&[high, low]) = packet.extension(media::TRANSPORT_CC) {
            let number = wire::seq::extend(self.highest, u16::from_be_bytes([high, low]));
            self.highest = self.highest.max(number);
            self.arrived.push((number, micros));
        }
    }

    /// RTCP to be protected and sent, now and then.
    fn feedback(&mut self, now: Instant) -> Option<Vec<u8>> {
        let asks = self.viewer.as_ref().and_then(|viewer| {
            let micros = (now - self.start).as_micros() as u64;
            viewer.borrow_mut().asks(micros)
        });
        if asks.is_some() || now < self.told + FEEDBACK || self.arrived.is_empty() {
            return asks;
        }
        self.told = now;
        self.arrived.sort_unstable();
        let mut first = self.arrived[0].0;
        let last = self.arrived[self.arrived.len() - 1].0;
        if let Some(untold) = &mut self.untold {
            first = first.min(untold.replace(last + 1).unwrap_or(first));
        }
        let mut times = vec![None; (last - first + 1) as usize];
        for (number, micros) in self.arrived.drain(..) {
            times[(number - first) as usize] = Some(micros);
        }
        let mut out = vec![0; 1_200];
        let written = twcc::write(&mut out, 1, 2, self.serial, first as u16, times.iter().copied()).unwrap();
        self.serial = self.serial.wrapping_add(1);
        out.truncate(written.len);
        Some(out)
    }

    fn send_up(&mut self, now: Instant, datagram: Vec<u8>) {
        self.up.push_back((now + self.delay, datagram));
    }

    fn arrives_up(&mut self, now: Instant) -> Option<Vec<u8>> {
        let due = self.up.front().is_some_and(|(at, _)| *at <= now);
        due.then(|| self.up.pop_front()).flatten().map(|(_, datagram)| datagram)
    }
}
