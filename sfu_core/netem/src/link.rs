//! One direction of a path.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::bottleneck::Bottleneck;
use crate::codel::Queued;
use crate::config::LinkConfig;
use crate::counters::Counters;
use crate::delay::{Jitter, Reorder};
use crate::loss::Losses;
use crate::random::Random;
use crate::script::{Change, Script};
use crate::units::{Nanos, nanos};

/// Carries items of any number of flows through one bottleneck. For flows of different length, give each an unlimited link of
/// its own before or behind a shared one.
///
/// Times never go back: an earlier one counts as the last one told. The same seed and the same calls give the same
/// result; each effect draws from numbers of its own, so that switching jitter on does not lose other packets.
#[derive(Debug)]
pub struct Link<T> {
    bottleneck: Bottleneck<(u64, T)>,
    losses: Losses,
    duplicate: f64,
    duplicates: Random,
    delay: Nanos,
    jitter: Option<Jitter>,
    jitters: Random,
    reorder: Option<Reorder>,
    reorders: Random,
    script: Script,
    /// Changes of the script that have happened.
    changed: usize,
    now: Nanos,
    under_way: BinaryHeap<UnderWay<T>>,
    /// The latest arrival of those that nothing may overtake.
    latest: Nanos,
    /// Breaks ties of arrival in favour of what left first.
    sent: u64,
    /// One more than the number of the latest pushed packet among those handed out.
    newest: u64,
    counters: Counters,
}

#[derive(Debug)]
struct UnderWay<T> {
    arrival: Nanos,
    sent: u64,
    pushed: u64,
    bytes: usize,
    item: T,
}

impl<T: Clone> Link<T> {
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        let mut link = Self {
            bottleneck: Bottleneck::new(config.capacity, config.queue, config.aqm),
            losses: Losses::new(config.loss, Random::new(seed, 1)),
            duplicate: config.duplicate,
            duplicates: Random::new(seed, 2),
            delay: nanos(config.delay),
            jitter: config.jitter,
            jitters: Random::new(seed, 3),
            reorder: config.reorder,
            reorders: Random::new(seed, 4),
            script: config.script,
            changed: 0,
            now: 0,
            under_way: BinaryHeap::new(),
            latest: 0,
            sent: 0,
            newest: 0,
            counters: Counters::default(),
        };
        link.advance(0);
        link
    }

    /// A packet of `bytes` comes in. It may be dropped at once, which the counters tell.
    pub fn push(&mut self, now: Duration, bytes: usize, item: T) {
        self.advance(nanos(now));
        self.counters.offered += 1;
        self.counters.offered_bytes += bytes as u64;
        if !self.bottleneck.push(bytes, (self.counters.offered, item)) {
            self.counters.dropped_queue += 1;
        }
        // It may go to the server, and through an unlimited one.
        self.advance(self.now);
    }

    /// The next packet that arrived until `now`, and when it did, in order of arrival.
    pub fn pop(&mut self, now: Duration) -> Option<(Duration, T)> {
        self.advance(nanos(now));
        if self.under_way.peek()?.arrival > self.now {
            return None;
        }
        let UnderWay {
            arrival,
            pushed,
            bytes,
            item,
            ..
        } = self.under_way.pop()?;
        self.counters.delivered += 1;
        self.counters.delivered_bytes += bytes as u64;
        if pushed < self.newest {
            self.counters.reordered += 1;
        }
        self.newest = self.newest.max(pushed);
        Some((Duration::from_nanos(arrival), item))
    }

    /// When to call [`pop`](Self::pop) next: something arrives, or leaves the bottleneck (then `pop` may yet
    /// give nothing). None while nothing is on its way, or nothing will ever move.
    pub fn next(&self) -> Option<Duration> {
        let arrival = self.under_way.peek().map(|packet| packet.arrival);
        let departure = (self.bottleneck.packets() > 0)
            .then(|| [self.bottleneck.next(), self.next_change()].into_iter().flatten().min())
            .flatten();
        [arrival, departure]
            .into_iter()
            .flatten()
            .min()
            .map(Duration::from_nanos)
    }

    /// Changes the link at `now`, beside its script.
    pub fn set(&mut self, now: Duration, change: Change) {
        self.advance(nanos(now));
        self.change(change);
        self.advance(self.now);
    }

    /// Replaces what is left of the script by one whose times count from `now`.
    pub fn run(&mut self, now: Duration, script: &Script) {
        self.advance(nanos(now));
        self.script = script.starting_at(Duration::from_nanos(self.now));
        self.changed = 0;
        self.advance(self.now);
    }

    /// Tells the time alone, so that the counters are as of `now`.
    pub fn advance_to(&mut self, now: Duration) {
        self.advance(nanos(now));
    }

    /// As of the last time told.
    pub fn counters(&self) -> Counters {
        Counters {
            capacity: self.bottleneck.rate(),
            queue_packets: self.bottleneck.packets(),
            queue_bytes: self.bottleneck.bytes(),
            queue_delay: self.bottleneck.delay().map(Duration::from_nanos),
            ..self.counters
        }
    }

    /// Everything up to `to` happens, changes of the script at their times.
    fn advance(&mut self, to: Nanos) {
        let to = to.max(self.now);
        while let Some(time) = self.next_change().filter(|&time| time <= to) {
            self.depart_until(time);
            if let Some((_, change)) = self.script.get(self.changed).cloned() {
                self.changed += 1;
                self.change(change);
            }
        }
        self.depart_until(to);
        self.now = to;
    }

    fn next_change(&self) -> Option<Nanos> {
        self.script
            .get(self.changed)
            .map(|(time, _)| nanos(*time).max(self.now))
    }

    fn depart_until(&mut self, time: Nanos) {
        while let Some((departure, packet)) = self.bottleneck.pop(time, &mut self.counters) {
            self.depart(departure, packet);
        }
    }

    fn depart(&mut self, departure: Nanos, packet: Queued<(u64, T)>) {
        let Queued {
            entered,
            bytes,
            item: (pushed, item),
        } = packet;
        self.counters.departed += 1;
        self.counters.queueing += Duration::from_nanos(departure - entered);
        let twice = self.duplicate > 0.0 && self.duplicates.chance(self.duplicate);
        if self.losses.takes() {
            self.counters.lost += 1;
            return;
        }
        let arrival = self.arrival(departure);
        if twice {
            self.counters.duplicated += 1;
            self.send(arrival, pushed, bytes, item.clone());
        }
        self.send(arrival, pushed, bytes, item);
    }

    fn arrival(&mut self, departure: Nanos) -> Nanos {
        let jitter = self.jitter.map_or(0, |jitter| jitter.draw(&mut self.jitters));
        let arrival = departure.saturating_add(self.delay).saturating_add(jitter);
        if let Some(reorder) = self.reorder
            && self.reorders.chance(reorder.probability)
        {
            // Held back alone: what follows neither waits for it nor is waited for.
            return arrival.saturating_add(nanos(reorder.extra));
        }
        if self.jitter.is_some_and(|jitter| jitter.reorders) {
            return arrival;
        }
        self.latest = self.latest.max(arrival);
        self.latest
    }

    fn send(&mut self, arrival: Nanos, pushed: u64, bytes: usize, item: T) {
        self.sent += 1;
        self.under_way.push(UnderWay {
            arrival,
            sent: self.sent,
            pushed,
            bytes,
            item,
        });
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Capacity(capacity) => self.bottleneck.set_capacity(capacity),
            Change::Delay(delay) => self.delay = nanos(delay),
            Change::AddDelay(delay) => self.delay = self.delay.saturating_add(nanos(delay)),
            Change::Queue(queue) => self.bottleneck.set_limit(queue),
            Change::Jitter(jitter) => self.jitter = jitter,
            Change::Reorder(reorder) => self.reorder = reorder,
            Change::Duplicate(probability) => self.duplicate = probability,
            Change::Loss(loss) => self.losses.set(loss),
        }
    }
}

/// The heap gives the greatest first: that is the earliest arrival.
impl<T> Ord for UnderWay<T> {
    fn cmp(&self, other: &Self) -> Ordering {
        (other.arrival, other.sent).cmp(&(self.arrival, self.sent))
    }
}

impl<T> PartialOrd for UnderWay<T> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> PartialEq for UnderWay<T> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<T> Eq for UnderWay<T> {}
