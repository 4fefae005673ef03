//! Datagrams that are kept by number: of the sender those it may be asked for, of the receiver those that parity needs.

use std::collections::VecDeque;

/// The memory begins with so many octets and doubles as needed.
const FIRST: usize = 128 * 1024;

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    at: u64,
    /// When it was sent again.
    again: u64,
    start: usize,
    len: usize,
}

/// The newest datagrams, within limits of octets and age. Numbers rise, but may have gaps.
#[derive(Debug)]
pub(crate) struct Sent {
    bytes: Vec<u8>,
    entries: VecDeque<Entry>,
    max_bytes: usize,
    max_age: u64,
}

impl Sent {
    pub(crate) fn new(max_bytes: usize, max_age: u64) -> Self {
        Self {
            bytes: Vec::new(),
            entries: VecDeque::new(),
            max_bytes,
            max_age,
        }
    }

    pub(crate) fn set_max_age(&mut self, age: u64) {
        self.max_age = age;
    }

    /// Keeps a copy. What is too old or has no place any more is forgotten, and so is what comes out of order.
    pub(crate) fn keep(&mut self, now: u64, number: u64, datagram: &[u8]) {
        if datagram.len() > self.max_bytes || self.entries.back().is_some_and(|last| last.number >= number) {
            return;
        }
        while self.entries.front().is_some_and(|first| first.at + self.max_age < now) {
            self.entries.pop_front();
        }
        let start = loop {
            if let Some(start) = self.place(datagram.len()) {
                break start;
            }
            if self.bytes.len() < self.max_bytes && self.is_whole() {
                let len = (self.bytes.len() * 2).clamp(FIRST.min(self.max_bytes), self.max_bytes);
                self.bytes.resize(len.max(datagram.len()), 0);
            } else {
                self.entries.pop_front();
            }
        };
        self.bytes[start..start + datagram.len()].copy_from_slice(datagram);
        self.entries.push_back(Entry {
            number,
            at: now,
            again: 0,
            start,
            len: datagram.len(),
        });
    }

    pub(crate) fn get(&self, number: u64) -> Option<&[u8]> {
        let entry = self.entries.get(self.index(number)?)?;
        self.bytes.get(entry.start..entry.start + entry.len)
    }

    /// The same once per `interval`: what was sent again that recently is under way.
    pub(crate) fn get_again(&mut self, now: u64, number: u64, interval: u64) -> Option<&[u8]> {
        let index = self.index(number)?;
        let entry = self.entries.get_mut(index)?;
        if entry.again != 0 && now < entry.again + interval {
            return None;
        }
        entry.again = now.max(1);
        self.bytes.get(entry.start..entry.start + entry.len)
    }

    fn index(&self, number: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&number, |entry| entry.number).ok()
    }

    /// The entries lie in one piece, so that the memory may grow behind them.
    fn is_whole(&self) -> bool {
        match (self.entries.front(), self.entries.back()) {
            (Some(first), Some(last)) => first.start <= last.start,
            _ => true,
        }
    }

    /// Where so many octets are free behind the newest entry.
    fn place(&self, len: usize) -> Option<usize> {
        let (Some(first), Some(last)) = (self.entries.front(), self.entries.back()) else {
            return (len <= self.bytes.len()).then_some(0);
        };
        let end = last.start + last.len;
        if first.start > last.start {
            return (end + len <= first.start).then_some(end);
        }
        if end + len <= self.bytes.len() {
            return Some(end);
        }
        (len <= first.start).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use netem::Random;

    use super::*;

    #[test]
    fn what_is_kept_comes_back_as_it_was() {
        for seed in 0..30 {
            let mut random = Random::new(seed, 0);
            let max_bytes = 1 + (random.bits() % 300_000) as usize;
            let mut sent = Sent::new(max_bytes, 1_000_000);
            let mut model: VecDeque<(u64, u64, Vec<u8>)> = VecDeque::new();
            let (mut now, mut number) = (0, 0);
            for _ in 0..3_000 {
                now += random.bits() % 2_000;
                number += 1 + random.bits() % 3;
                let datagram = vec![number as u8; 1 + (random.bits() % 1_400) as usize];
                sent.keep(now, number, &datagram);
                model.push_back((number, now, datagram));
                let held = sent.entries.iter().map(|entry| entry.len).sum::<usize>();
                assert!(held <= max_bytes && sent.bytes.len() <= max_bytes);
                let (wanted, at, expected) = &model[(random.bits() as usize) % model.len()];
                match sent.get(*wanted) {
                    Some(found) => assert_eq!(found, expected),
                    // Then it was too much or too old.
                    None => {
                        let since: usize = model
                            .iter()
                            .filter(|other| other.0 >= *wanted)
                            .map(|other| other.2.len())
                            .sum();
                        assert!(now - at > 900_000 || since + 4_000 > max_bytes / 2, "{wanted} is gone");
                    }
                }
            }
        }
    }

    #[test]
    fn the_same_is_sent_again_once_per_interval() {
        let mut sent = Sent::new(10_000, 1_000_000);
        sent.keep(0, 5, b"five");
        assert_eq!(sent.get_again(10, 5, 100), Some(b"five".as_slice()));
        assert_eq!(sent.get_again(109, 5, 100), None);
        assert_eq!(sent.get_again(110, 5, 100), Some(b"five".as_slice()));
        assert_eq!(sent.get_again(110, 4, 100), None);
    }
}
