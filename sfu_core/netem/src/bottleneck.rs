//! The queue and the server of a bottleneck: first in, first out, at the capacity, without rounding.

use crate::capacity::{Capacity, Clocked};
use crate::codel::{Codel, Fifo, Queued};
use crate::config::{Aqm, Queue};
use crate::counters::Counters;
use crate::units::{Nanos, Work, nanos, work};

#[derive(Debug)]
pub(crate) struct Bottleneck<T> {
    capacity: Clocked,
    limit: Queue,
    codel: Option<Codel>,
    waiting: Fifo<T>,
    serving: Option<Serving<T>>,
    /// Everything until here has happened.
    now: Nanos,
    /// What the server could still do at the instant at which the last packet left: the rest of a nanosecond or of
    /// an opportunity. It is for the packet behind, if one waits.
    spare: Work,
}

#[derive(Debug)]
struct Serving<T> {
    packet: Queued<T>,
    left: Work,
}

impl<T> Bottleneck<T> {
    pub(crate) fn new(capacity: Capacity, limit: Queue, aqm: Aqm) -> Self {
        Self {
            capacity: Clocked::new(capacity, 0),
            limit,
            codel: match aqm {
                Aqm::None => None,
                Aqm::Codel { target, interval } => Some(Codel::new(target, interval)),
            },
            waiting: Fifo::new(),
            serving: None,
            now: 0,
            spare: 0,
        }
    }

    pub(crate) fn set_capacity(&mut self, capacity: Capacity) {
        self.capacity = Clocked::new(capacity, self.now);
        self.spare = 0;
    }

    pub(crate) fn set_limit(&mut self, limit: Queue) {
        self.limit = limit;
    }

    /// Whether the packet fits. The bottleneck must have been brought to the time of its arrival.
    pub(crate) fn push(&mut self, bytes: usize, item: T) -> bool {
        if self.serving.is_some() && !self.fits(bytes) {
            return false;
        }
        self.waiting.push(Queued {
            entered: self.now,
            bytes,
            item,
        });
        true
    }

    fn fits(&self, bytes: usize) -> bool {
        match self.limit {
            Queue::Bytes(limit) => self.bytes() + bytes <= limit,
            Queue::Time(limit) => match self.capacity.mean() {
                None => true,
                Some(rate) => self.backlog() + work(bytes) <= Work::from(rate) * Work::from(nanos(limit)),
            },
        }
    }

    /// The next packet that leaves until `until`, and when; without one, all that happens until then has happened.
    pub(crate) fn pop(&mut self, until: Nanos, counters: &mut Counters) -> Option<(Nanos, Queued<T>)> {
        if self.serving.is_none() {
            self.serve(counters);
        }
        let Some(serving) = &mut self.serving else {
            self.advance(until, counters);
            return None;
        };
        match self.capacity.finish(self.now, serving.left) {
            Some(finish) if finish <= until => {
                let done = self.capacity.work_between(self.now, finish);
                self.spare += done.unwrap_or_default().saturating_sub(serving.left);
                let packet = self.serving.take()?.packet;
                self.advance(finish, counters);
                Some((finish, packet))
            }
            _ => {
                let done = self.capacity.work_between(self.now, until);
                serving.left = serving.left.saturating_sub(done.unwrap_or_default());
                self.advance(until, counters);
                None
            }
        }
    }

    /// The next packet goes to the server.
    fn serve(&mut self, counters: &mut Counters) {
        let packet = match &mut self.codel {
            None => self.waiting.pop(),
            Some(codel) => {
                let (packet, dropped) = codel.pop(self.now, &mut self.waiting);
                counters.dropped_codel += dropped;
                packet
            }
        };
        let spare = std::mem::take(&mut self.spare);
        self.serving = packet.map(|packet| {
            let needed = work(packet.bytes);
            self.spare = spare.saturating_sub(needed);
            Serving {
                left: needed.saturating_sub(spare),
                packet,
            }
        });
    }

    fn advance(&mut self, to: Nanos, counters: &mut Counters) {
        if let Some(done) = self.capacity.work_between(self.now, to) {
            counters.could_carry(done);
        }
        self.now = to;
    }

    /// When the next packet leaves as far as is known; none if nothing waits or nothing moves.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.capacity.finish(self.now, self.serving.as_ref()?.left)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.waiting.bytes() + self.serving.as_ref().map_or(0, |serving| serving.packet.bytes)
    }

    pub(crate) fn packets(&self) -> usize {
        self.waiting.len() + usize::from(self.serving.is_some())
    }

    /// How long until all that waits has left; none for never.
    pub(crate) fn delay(&self) -> Option<Nanos> {
        Some(self.capacity.finish(self.now, self.backlog())? - self.now)
    }

    pub(crate) fn rate(&self) -> Option<u64> {
        self.capacity.rate_at(self.now)
    }

    fn backlog(&self) -> Work {
        work(self.waiting.bytes()) + self.serving.as_ref().map_or(0, |serving| serving.left)
    }
}
