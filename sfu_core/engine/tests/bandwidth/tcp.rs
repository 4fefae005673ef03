//! A TCP with something to send all the time: NewReno (RFC 6582) or CUBIC (RFC 9438), an acknowledgement per segment.

use std::collections::{BTreeSet, VecDeque};

use crate::world::{Packet, What};

const SEGMENT: u32 = 1_500;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Flavor {
    NewReno,
    Cubic,
}

pub(crate) struct Tcp {
    flavor: Flavor,
    from: u64,
    /// Back to the sender, microseconds.
    back: u64,
    window: f64,
    threshold: f64,
    next: u64,
    outstanding: BTreeSet<u64>,
    lost: VecDeque<u64>,
    acknowledgements: VecDeque<(u64, u64)>,
    sent_at: std::collections::BTreeMap<u64, u64>,
    round_trip: f64,
    /// Losses of segments before this one belong to the same reduction.
    recovery_until: u64,
    progress_at: u64,
    most: f64,
    reduced_at: u64,
}

impl Tcp {
    pub(crate) fn new(flavor: Flavor, from: f64, back: u64) -> Self {
        Self {
            flavor,
            from: (from * 1e6) as u64,
            back,
            window: 10.0,
            threshold: f64::INFINITY,
            next: 0,
            outstanding: BTreeSet::new(),
            lost: VecDeque::new(),
            acknowledgements: VecDeque::new(),
            sent_at: std::collections::BTreeMap::new(),
            round_trip: 0.2,
            recovery_until: 0,
            progress_at: 0,
            most: 0.0,
            reduced_at: 0,
        }
    }

    pub(crate) fn on_arrival(&mut self, number: u64, arrival: u64) {
        self.acknowledgements.push_back((arrival + self.back, number));
    }

    pub(crate) fn step(&mut self, now: u64, flow: usize, out: &mut Vec<Packet>) {
        if now < self.from {
            return;
        }
        while self.acknowledgements.front().is_some_and(|&(at, _)| at <= now) {
            let Some((at, number)) = self.acknowledgements.pop_front() else {
                break;
            };
            self.acknowledge(at, number);
        }
        if self.outstanding.is_empty() {
            self.progress_at = now;
        }
        // Retransmission timeout.
        if now.saturating_sub(self.progress_at) > (self.round_trip * 2e6).max(1e6) as u64 {
            self.threshold = (self.window / 2.0).max(2.0);
            self.window = 1.0;
            self.lost = std::mem::take(&mut self.outstanding).into_iter().collect();
            self.recovery_until = self.next;
            self.progress_at = now;
        }
        while (self.outstanding.len() as f64) < self.window.floor() {
            let number = self.lost.pop_front().unwrap_or_else(|| {
                self.next += 1;
                self.next - 1
            });
            self.outstanding.insert(number);
            self.sent_at.insert(number, now);
            out.push(Packet {
                flow,
                what: What::Segment { number },
                bytes: SEGMENT,
                sent: now,
            });
        }
    }

    fn acknowledge(&mut self, at: u64, number: u64) {
        if !self.outstanding.remove(&number) {
            return;
        }
        self.progress_at = at;
        let sent = self.sent_at.remove(&number).unwrap_or(at);
        self.round_trip += 0.125 * ((at - sent) as f64 / 1e6 - self.round_trip);
        // Sent well before what was acknowledged and still missing (RFC 8985 section 3).
        let missing: Vec<_> = self
            .outstanding
            .iter()
            .copied()
            .filter(|earlier| self.sent_at.get(earlier).is_some_and(|&at| at + 10_000 < sent))
            .filter(|&earlier| earlier + 3 <= number)
            .collect();
        for number in missing {
            self.outstanding.remove(&number);
            self.lost.push_back(number);
            if number >= self.recovery_until {
                self.reduce(at);
                self.recovery_until = self.next;
            }
        }
        if self.window < self.threshold {
            self.window += 1.0;
        } else {
            self.window += match self.flavor {
                Flavor::NewReno => 1.0 / self.window,
                Flavor::Cubic => self.cubic(at),
            };
        }
    }

    fn reduce(&mut self, now: u64) {
        let factor = match self.flavor {
            Flavor::NewReno => 0.5,
            Flavor::Cubic => 0.7,
        };
        self.most = if self.window < self.most {
            self.window * 0.85
        } else {
            self.window
        };
        self.window = (self.window * factor).max(2.0);
        self.threshold = self.window;
        self.reduced_at = now;
    }

    /// RFC 9438 section 4.2, and no slower than Reno (section 4.3).
    fn cubic(&self, now: u64) -> f64 {
        let k = (self.most * 0.3 / 0.4).cbrt();
        let time = (now - self.reduced_at) as f64 / 1e6 + self.round_trip;
        let aim = (0.4 * (time - k).powi(3) + self.most).clamp(self.window, self.window * 1.5);
        ((aim - self.window) / self.window).max(0.53 / self.window)
    }
}
