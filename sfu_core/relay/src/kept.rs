//! What arrived, by number, for the sums of parity.

use std::collections::VecDeque;

/// The memory begins with so many octets and doubles as needed.
const FIRST: usize = 128 * 1024;

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u64,
    at: u64,
    start: usize,
    len: usize,
}

/// The newest datagrams, within limits of octets and age. Numbers rise, but may have gaps.
#[derive(Debug)]
pub(crate) struct Kept {
    bytes: Vec<u8>,
    entries: VecDeque<Entry>,
    max_bytes: usize,
    max_age: u64,
}

impl Kept {
    pub(crate) fn new(max_bytes: usize, max_age: u64) -> Self {
        Self {
            bytes: Vec::new(),
            entries: VecDeque::new(),
            max_bytes,
            max_age,
        }
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
            start,
            len: datagram.len(),
        });
    }

    pub(crate) fn get(&self, number: u64) -> Option<&[u8]> {
        let entry = self.entries.get(self.index(number)?)?;
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
            let mut kept = Kept::new(max_bytes, 1_000_000);
            let mut model: VecDeque<(u64, u64, Vec<u8>)> = VecDeque::new();
            let (mut now, mut number) = (0, 0);
            for _ in 0..3_000 {
                now += random.bits() % 2_000;
                number += 1 + random.bits() % 3;
                let datagram = vec![number as u8; 1 + (random.bits() % 1_400) as usize];
                kept.keep(now, number, &datagram);
                model.push_back((number, now, datagram));
                let held = kept.entries.iter().map(|entry| entry.len).sum::<usize>();
                assert!(held <= max_bytes && kept.bytes.len() <= max_bytes);
                let (wanted, at, expected) = &model[(random.bits() as usize) % model.len()];
                match kept.get(*wanted) {
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
}
