//! The retransmission ring of one layer: recent packets by extended sequence number, shared by all its subscriptions.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::packet::Packet;

/// Numbers spanned at most, whatever the rate: bounds memory against a publisher that jumps or floods.
const MAX_SPAN: u64 = 8_192;

#[derive(Default)]
pub struct Ring {
    /// Extended number of the first slot; 0 before the first packet.
    base: u64,
    /// Of the newest keyframe's first packet.
    keyframe: Option<u64>,
    slots: VecDeque<Option<Arc<Packet>>>,
}

impl Ring {
    pub fn get(&self, seq: u64) -> Option<&Arc<Packet>> {
        let index = usize::try_from(seq.checked_sub(self.base)?).ok()?;
        self.slots.get(index)?.as_ref()
    }

    /// The number is held, or was forgotten. Such a packet must not be forwarded again: under the same outgoing number
    /// and other header extensions it would repeat a nonce (RFC 7714 section 8.1).
    pub fn is_known(&self, seq: u64) -> bool {
        seq < self.base || self.get(seq).is_some()
    }

    pub fn insert(&mut self, packet: Arc<Packet>) {
        let seq = packet.seq;
        if self.base == 0 || seq >= self.end() + MAX_SPAN {
            self.slots.clear();
            self.base = seq;
        } else if seq < self.base {
            return;
        }
        while self.slots.len() as u64 <= seq - self.base {
            self.slots.push_back(None);
        }
        let index = (seq - self.base) as usize;
        if packet.facts.keyframe {
            self.keyframe = self.keyframe.max(Some(seq));
        }
        self.slots[index] = Some(packet);
        while self.slots.len() as u64 > MAX_SPAN {
            self.slots.pop_front();
            self.base += 1;
        }
    }

    /// Forgets what arrived before `time`, microseconds, besides what a newcomer begins with: the newest keyframe and what
    /// came since, if that is later than `run` and at most `max` packets. A hole stays as long as the packet behind it, for it
    /// may be filled.
    pub fn expire(&mut self, time: u64, run: u64, max: usize) {
        let mut old = 0;
        let begins = self.keyframe.filter(|&seq| {
            let recent = self.get(seq).is_some_and(|packet| packet.arrival >= run);
            recent && self.end() - seq <= max as u64
        });
        let most = begins.map_or(self.slots.len(), |seq| (seq - self.base) as usize);
        for (index, slot) in self.slots.iter().enumerate().take(most) {
            match slot {
                Some(packet) if packet.arrival >= time => break,
                Some(_) => old = index + 1,
                None => {}
            }
        }
        self.slots.drain(..old);
        self.base += old as u64;
    }

    /// Number behind the newest.
    pub fn end(&self) -> u64 {
        self.base + self.slots.len() as u64
    }

    /// The newest keyframe's first packet, when it and everything since is held: at most `max` packets of one stream.
    pub fn since_keyframe(&self, max: usize) -> Option<&Arc<Packet>> {
        let newest = self.slots.back()?.as_ref()?;
        let unbroken = self.slots.iter().rev().take(max).map_while(Option::as_ref);
        unbroken
            .take_while(|packet| packet.stream == newest.stream)
            .find(|packet| packet.facts.keyframe)
    }

    /// Held packets, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Packet>> {
        self.slots.iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(seq: u64, arrival: u64) -> Arc<Packet> {
        let mut packet = Packet::default();
        (packet.seq, packet.arrival) = (seq, arrival);
        Arc::new(packet)
    }

    fn held(ring: &Ring) -> Vec<u64> {
        ring.iter().map(|p| p.seq).collect()
    }

    #[test]
    fn finds_by_number_with_gaps_and_reordering() {
        let mut ring = Ring::default();
        for seq in [10, 11, 14, 12] {
            ring.insert(packet(seq, 0));
        }
        assert_eq!(held(&ring), [10, 11, 12, 14]);
        for (seq, found, known) in [
            (9, false, true),
            (10, true, true),
            (13, false, false),
            (14, true, true),
            (15, false, false),
        ] {
            assert_eq!((ring.get(seq).is_some(), ring.is_known(seq)), (found, known), "{seq}");
        }
        ring.insert(packet(9, 0));
        assert_eq!(held(&ring), [10, 11, 12, 14]);
    }

    #[test]
    fn forgets_by_time() {
        let mut ring = Ring::default();
        for seq in 1..10 {
            ring.insert(packet(seq, seq * 100));
        }
        ring.expire(750, 750, 0);
        assert_eq!(held(&ring), [8, 9]);
        ring.expire(u64::MAX, u64::MAX, 0);
        assert!(held(&ring).is_empty());
        assert!(ring.is_known(9) && !ring.is_known(10));
        ring.insert(packet(3, 0));
        assert!(held(&ring).is_empty(), "forgotten for good");
        ring.insert(packet(12, 2_000));
        ring.expire(1_000, 1_000, 0);
        assert!(!ring.is_known(11), "may still come");
        ring.insert(packet(11, 2_100));
        assert_eq!(held(&ring), [11, 12]);
    }

    #[test]
    fn keeps_what_a_newcomer_begins_with() {
        let keyframe = |seq, arrival| {
            let mut packet = Packet::default();
            (packet.seq, packet.arrival, packet.facts.keyframe) = (seq, arrival, true);
            Arc::new(packet)
        };
        let ring = || {
            let mut ring = Ring::default();
            for seq in 1..20 {
                ring.insert(if seq == 5 { keyframe(5, 5) } else { packet(seq, seq) });
            }
            ring
        };
        for (run, max, first) in [(0, 100, 5), (5, 15, 5), (5, 14, 15), (6, 100, 15)] {
            let mut ring = ring();
            ring.expire(15, run, max);
            assert_eq!(held(&ring).first(), Some(&first), "{run} {max}");
        }
        // A newer one takes its place.
        let mut ring = ring();
        ring.insert(keyframe(20, 20));
        ring.expire(22, 0, 100);
        assert_eq!(held(&ring), [20]);
    }

    #[test]
    fn span_is_bounded() {
        let mut ring = Ring::default();
        ring.insert(packet(1, 0));
        ring.insert(packet(MAX_SPAN, 0));
        assert_eq!(held(&ring), [1, MAX_SPAN]);
        ring.insert(packet(MAX_SPAN + 1, 0));
        assert_eq!(held(&ring), [MAX_SPAN, MAX_SPAN + 1]);
        ring.insert(packet(1 << 40, 0));
        assert_eq!(held(&ring), [1 << 40]);
        assert_eq!(ring.slots.len(), 1);
    }

    #[test]
    fn what_a_newcomer_can_decode() {
        let keyframe = |seq: u64, stream: u32| {
            let mut packet = Packet::default();
            (packet.seq, packet.stream, packet.facts.keyframe) = (seq, stream, true);
            Arc::new(packet)
        };
        let start = |ring: &Ring, max| ring.since_keyframe(max).map(|packet| packet.seq);
        let mut ring = Ring::default();
        assert_eq!(start(&ring, 10), None);
        ring.insert(packet(5, 0));
        assert_eq!(start(&ring, 10), None);
        ring.insert(keyframe(6, 0));
        assert_eq!(start(&ring, 10), Some(6));
        ring.insert(packet(7, 0));
        ring.insert(packet(8, 0));
        assert_eq!((start(&ring, 3), start(&ring, 2)), (Some(6), None));
        ring.insert(packet(10, 0));
        assert_eq!(start(&ring, 10), None, "a hole");
        ring.insert(packet(9, 0));
        assert_eq!(start(&ring, 10), Some(6));
        ring.insert(keyframe(11, 0));
        assert_eq!(start(&ring, 10), Some(11), "the newest");
        let mut restarted = Packet::default();
        (restarted.seq, restarted.stream) = (12, 1);
        ring.insert(Arc::new(restarted));
        assert_eq!(start(&ring, 10), None, "another stream");
    }
}
