//! CoDel (RFC 8289): packets are dropped from the head of a queue that stays too long, more often the longer it does.

use std::collections::VecDeque;
use std::time::Duration;

use crate::units::{Nanos, nanos};

/// A packet in a queue.
#[derive(Debug)]
pub(crate) struct Queued<T> {
    pub(crate) entered: Nanos,
    pub(crate) bytes: usize,
    pub(crate) item: T,
}

/// Packets waiting, in order.
#[derive(Debug)]
pub(crate) struct Fifo<T> {
    packets: VecDeque<Queued<T>>,
    bytes: usize,
}

impl<T> Fifo<T> {
    pub(crate) fn new() -> Self {
        Self {
            packets: VecDeque::new(),
            bytes: 0,
        }
    }

    pub(crate) fn push(&mut self, packet: Queued<T>) {
        self.bytes += packet.bytes;
        self.packets.push_back(packet);
    }

    pub(crate) fn pop(&mut self) -> Option<Queued<T>> {
        let packet = self.packets.pop_front()?;
        self.bytes -= packet.bytes;
        Some(packet)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.packets.len()
    }
}

/// The state of a queue; names as in the pseudocode of RFC 8289 section 5.
#[derive(Debug)]
pub(crate) struct Codel {
    target: Nanos,
    interval: Nanos,
    /// The largest packet seen: a queue of no more than one is never too long.
    max_packet: usize,
    first_above_time: Option<Nanos>,
    drop_next: Nanos,
    count: u32,
    last_count: u32,
    dropping: bool,
}

impl Codel {
    pub(crate) fn new(target: Duration, interval: Duration) -> Self {
        Self {
            target: nanos(target),
            interval: nanos(interval),
            max_packet: 0,
            first_above_time: None,
            drop_next: 0,
            count: 0,
            last_count: 0,
            dropping: false,
        }
    }

    /// The packet to send at `now` and how many were dropped before it (`dequeue` there).
    pub(crate) fn pop<T>(&mut self, now: Nanos, queue: &mut Fifo<T>) -> (Option<Queued<T>>, u64) {
        let mut dropped = 0;
        let (mut packet, mut may_drop) = self.look(now, queue);
        if self.dropping {
            self.dropping = may_drop;
            while self.dropping && now >= self.drop_next {
                dropped += 1;
                self.count += 1;
                (packet, may_drop) = self.look(now, queue);
                self.dropping = may_drop;
                if may_drop {
                    self.drop_next = self.after(self.drop_next);
                }
            }
        } else if may_drop {
            dropped += 1;
            (packet, _) = self.look(now, queue);
            self.dropping = true;
            // Where dropping ended lately, it goes on at about the rate that had controlled the queue.
            let since = self.count.saturating_sub(self.last_count);
            let lately = now.saturating_sub(self.drop_next) < 16 * self.interval;
            self.count = if since > 1 && lately { since } else { 1 };
            self.drop_next = self.after(now);
            self.last_count = self.count;
        }
        (packet, dropped)
    }

    /// Takes the head, and tells whether it may be dropped: the queue was over the target for an interval (`dodequeue` there).
    fn look<T>(&mut self, now: Nanos, queue: &mut Fifo<T>) -> (Option<Queued<T>>, bool) {
        let Some(packet) = queue.pop() else {
            self.first_above_time = None;
            return (None, false);
        };
        self.max_packet = self.max_packet.max(packet.bytes);
        if now - packet.entered < self.target || queue.bytes() <= self.max_packet {
            self.first_above_time = None;
            return (Some(packet), false);
        }
        let first_above = *self.first_above_time.get_or_insert(now + self.interval);
        (Some(packet), now >= first_above)
    }

    /// The control law: the rate of drops grows with the root of their count.
    fn after(&self, time: Nanos) -> Nanos {
        time + (self.interval as f64 / f64::from(self.count).sqrt()) as Nanos
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Nanos = 1_000_000;
    const NONE: [Nanos; 0] = [];

    fn codel() -> Codel {
        Codel::new(Duration::from_millis(5), Duration::from_millis(100))
    }

    /// A packet each millisecond finds a sojourn of `sojourn` ms; the times of drops come back.
    fn drops(codel: &mut Codel, from: Nanos, until: Nanos, sojourn: Nanos) -> Vec<Nanos> {
        let mut drops = Vec::new();
        for now in from..until {
            let mut queue = Fifo::new();
            for _ in 0..10 {
                queue.push(Queued {
                    entered: now.saturating_sub(sojourn) * MS,
                    bytes: 1_000,
                    item: (),
                });
            }
            let (packet, dropped) = codel.pop(now * MS, &mut queue);
            assert!(packet.is_some());
            drops.extend((0..dropped).map(|_| now));
        }
        drops
    }

    #[test]
    fn a_queue_under_the_target_loses_nothing() {
        assert_eq!(drops(&mut codel(), 100, 2_000, 4), NONE);
    }

    #[test]
    fn a_short_burst_loses_nothing() {
        assert_eq!(drops(&mut codel(), 100, 199, 20), NONE);
    }

    #[test]
    fn drops_come_faster_by_the_root_of_their_count() {
        // From the first time over the target: one interval, then 100/√1, 100/√2, 100/√3 ms.
        assert_eq!(drops(&mut codel(), 100, 500, 20), [200, 300, 371, 429, 479]);
    }

    #[test]
    fn a_queue_that_comes_back_soon_meets_the_rate_that_had_held_it() {
        let mut codel = codel();
        assert_eq!(drops(&mut codel, 100, 500, 20).len(), 5);
        assert_eq!(drops(&mut codel, 500, 600, 1), NONE);
        // Five drops, the first of them counted before: four, so that the next follows after 100/√4 ms.
        assert_eq!(drops(&mut codel, 600, 770, 20), [700, 750]);
    }

    #[test]
    fn with_one_packet_left_nothing_is_dropped() {
        let mut codel = codel();
        for now in 0..1_000 {
            let mut queue = Fifo::new();
            for _ in 0..2 {
                queue.push(Queued {
                    entered: 0,
                    bytes: 1_000,
                    item: (),
                });
            }
            assert_eq!(codel.pop(now * MS, &mut queue).1, 0);
        }
    }
}
