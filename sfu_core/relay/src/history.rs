//! What was sent, for who asks for it again: not the datagrams but what they were sealed from.

use std::collections::VecDeque;

use crate::link::Text;
use crate::seal::{Sealer, Stamp, TAG};

/// Limits of what is kept. Datagrams bound the memory of the history itself and, where nobody else holds them, of the packets in
/// it; octets what can be sent again. More mends more losses of what was sent again, and of wider links.
const MAX_ENTRIES: usize = 16_384;
const MAX_BYTES: usize = 8 * 1024 * 1024;
/// Entries whose memory is kept, whatever there are.
const LEAST_ROOM: usize = 64;

#[derive(Debug)]
struct Entry<T> {
    text: T,
    at: u64,
    tag: [u8; TAG],
    /// When it was sent again, after `at`; 0: not yet.
    again: u32,
    len: u16,
    phase: u8,
}

// Of a text of 32 octets, as that of a packet is: a link keeps thousands.
const _: () = assert!(size_of::<Entry<[u64; 4]>>() == 64);

/// The newest of what was sent, within limits of number, octets and age.
#[derive(Debug)]
pub(crate) struct History<T> {
    /// Number of the oldest entry. Those behind it have the numbers that follow.
    first: u64,
    entries: VecDeque<Entry<T>>,
    bytes: usize,
    max_age: u64,
}

impl<T: Text> History<T> {
    /// Microseconds.
    pub(crate) fn new(max_age: u64) -> Self {
        Self {
            first: 0,
            entries: VecDeque::new(),
            bytes: 0,
            max_age,
        }
    }

    pub(crate) fn set_max_age(&mut self, age: u64) {
        self.max_age = age;
    }

    /// `text` was sealed as `datagram`. What is too old or has no place any more is forgotten.
    pub(crate) fn keep(&mut self, now: u64, stamp: Stamp, datagram: &[u8], text: T) {
        let Some(&tag) = datagram.last_chunk() else {
            return;
        };
        self.expire(now);
        while self.entries.len() >= MAX_ENTRIES || self.bytes + datagram.len() > MAX_BYTES {
            self.forget();
        }
        // Numbers have no gaps. Had they one, what is asked for would be another datagram.
        if stamp.number != self.first + self.entries.len() as u64 {
            self.entries.clear();
            self.bytes = 0;
        }
        if self.entries.is_empty() {
            self.first = stamp.number;
        }
        self.bytes += datagram.len();
        self.entries.push_back(Entry {
            text,
            at: now,
            tag,
            again: 0,
            len: datagram.len() as u16,
            phase: stamp.phase,
        });
    }

    /// The same, to be called from time to time: nothing is held by a link that sends no more, and what it has taken for a burst
    /// is given back. A ring much larger than what is in it is never in the cache where it is written.
    pub(crate) fn tidy(&mut self, now: u64) {
        self.expire(now);
        let len = self.entries.len().max(LEAST_ROOM);
        if self.entries.capacity() > 4 * len {
            self.entries.shrink_to(2 * len);
        }
    }

    /// Forgets what is too old.
    fn expire(&mut self, now: u64) {
        while self.entries.front().is_some_and(|first| first.at + self.max_age < now) {
            self.forget();
        }
    }

    /// Writes the datagram once more and returns its length. The same once per `interval`: what was sent again that recently is
    /// under way.
    pub(crate) fn write_again(
        &mut self,
        now: u64,
        number: u64,
        interval: u64,
        sealer: &Sealer,
        out: &mut [u8],
    ) -> Option<usize> {
        let index = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let entry = self.entries.get_mut(index)?;
        if entry.again != 0 && now < entry.at + u64::from(entry.again) + interval {
            return None;
        }
        let stamp = Stamp {
            number,
            phase: entry.phase,
        };
        let len = sealer.seal_again(stamp, &entry.tag, &entry.text, out)?;
        entry.again = u32::try_from(now.saturating_sub(entry.at)).unwrap_or(u32::MAX).max(1);
        Some(len)
    }

    fn forget(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.first += 1;
            self.bytes -= usize::from(entry.len);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;
    use crate::seal::{Head, Keys, Kind, MAX_DATAGRAM};

    fn sealer() -> Sealer {
        let keys = Keys {
            key: [3; 16],
            salt: [4; 12],
        };
        Sealer::new(1, &keys).unwrap()
    }

    #[derive(Debug)]
    struct Shared(Rc<Vec<u8>>);

    impl Text for Shared {
        fn write_head(&self, _: &mut Head) -> Option<()> {
            Some(())
        }

        fn parts(&self) -> [&[u8]; 2] {
            [&[], &self.0]
        }
    }

    /// Seals and keeps it.
    fn send(history: &mut History<Shared>, sealer: &mut Sealer, now: u64, text: Rc<Vec<u8>>) -> Vec<u8> {
        let mut out = [0; MAX_DATAGRAM];
        let (stamp, len) = sealer.seal(Kind::Media, text.as_slice(), &mut out).unwrap();
        history.keep(now, stamp, &out[..len], Shared(text));
        out[..len].to_vec()
    }

    fn again(history: &mut History<Shared>, sealer: &Sealer, now: u64, number: u64) -> Option<Vec<u8>> {
        let mut out = [0; MAX_DATAGRAM];
        let len = history.write_again(now, number, 100, sealer, &mut out)?;
        Some(out[..len].to_vec())
    }

    #[test]
    fn the_same_octets_come_again_once_per_interval() {
        let (mut history, mut sealer) = (History::new(1_000_000), sealer());
        let sent: Vec<_> = (0..5_u8)
            .map(|index| send(&mut history, &mut sealer, 0, Rc::new(vec![index; 50])))
            .collect();
        for (number, datagram) in sent.iter().enumerate() {
            let number = number as u64;
            assert_eq!(again(&mut history, &sealer, 10, number).as_ref(), Some(datagram));
            assert_eq!(again(&mut history, &sealer, 109, number), None);
            assert_eq!(again(&mut history, &sealer, 110, number).as_ref(), Some(datagram));
        }
        assert_eq!(again(&mut history, &sealer, 110, 5), None);
    }

    #[test]
    fn neither_more_nor_longer_than_its_limits_is_kept() {
        for len in [1, 1_400] {
            let (mut history, mut sealer) = (History::new(100_000), sealer());
            let text = Rc::new(vec![7; len]);
            for now in 0..20_000 {
                send(&mut history, &mut sealer, now, Rc::clone(&text));
                let held: usize = history.entries.iter().map(|entry| usize::from(entry.len)).sum();
                assert_eq!(
                    (held, Rc::strong_count(&text)),
                    (history.bytes, history.entries.len() + 1)
                );
                assert!(history.entries.len() <= MAX_ENTRIES && held <= MAX_BYTES);
            }
            assert!(history.entries.len() == MAX_ENTRIES || history.bytes > MAX_BYTES - MAX_DATAGRAM);
            assert!(again(&mut history, &sealer, 20_000, 19_999).is_some());
            let oldest = 20_000 - history.entries.len() as u64;
            assert!(again(&mut history, &sealer, 20_000, oldest).is_some());
            assert_eq!(again(&mut history, &sealer, 20_000, 100), None);
            // Time alone lets go of everything.
            history.tidy(120_000);
            assert_eq!((history.bytes, Rc::strong_count(&text)), (0, 1));
            assert!(history.entries.capacity() <= 4 * LEAST_ROOM);
        }
    }

    #[test]
    fn what_a_burst_took_is_given_back_and_steady_sending_takes_no_more() {
        let (mut history, mut sealer) = (History::new(100_000), sealer());
        let text = Rc::new(vec![7; 100]);
        for _ in 0..3_000 {
            send(&mut history, &mut sealer, 0, Rc::clone(&text));
        }
        let mut capacities = Vec::new();
        for now in (1..4_000).map(|step| step * 500) {
            let sent = send(&mut history, &mut sealer, now, Rc::clone(&text));
            if now % 100_000 == 0 {
                history.tidy(now);
                capacities.push(history.entries.capacity());
                let number = history.first + history.entries.len() as u64 - 1;
                assert_eq!(again(&mut history, &sealer, now, number), Some(sent));
            }
        }
        assert!(capacities[0] >= 3_000, "{capacities:?}");
        let steady = *capacities.last().unwrap();
        assert!(
            steady < 1_000 && capacities[2..].iter().all(|found| *found == steady),
            "{capacities:?}"
        );
    }
}
