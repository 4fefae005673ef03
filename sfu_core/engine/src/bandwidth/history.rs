//! What was sent and is not told of yet: a ring by transport-wide number.

use super::ProbeId;

/// Packets remembered at first; the ring doubles while it overwrites what may still be told of. Powers of two.
const FEWEST: usize = 256;
/// More remembers longer at high rates (2,048 packets are 1.3 s at 15 Mb/s) and costs 8 bytes each.
const MOST: usize = 2_048;
/// A packet older than this is given up rather than made room for, microseconds.
const PATIENCE: u32 = 1_500_000;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
enum Fate {
    Free = 0,
    Pending = 1,
    Arrived = 2,
    Lost = 3,
}

/// Eight bytes, so that a packet costs one store. `meta` holds, from the lowest bit: 8 bits of the number above the
/// smallest ring, 2 of [`Fate`], 3 of the probe.
#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// Low 32 bits of the time of sending.
    sent: u32,
    bytes: u16,
    meta: u16,
}

impl Slot {
    fn fate(self) -> Fate {
        match self.meta >> 8 & 3 {
            0 => Fate::Free,
            1 => Fate::Pending,
            2 => Fate::Arrived,
            _ => Fate::Lost,
        }
    }

    fn set_fate(&mut self, fate: Fate) {
        self.meta = self.meta & !(3 << 8) | (fate as u16) << 8;
    }

    fn is(self, sequence: u16) -> bool {
        self.meta as u8 == (sequence >> 8) as u8 && self.fate() != Fate::Free
    }
}

/// A packet that feedback tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sent {
    /// Counts packets without wrapping.
    pub(super) number: u64,
    pub(super) at: u64,
    pub(super) bytes: u32,
    pub(super) probe: Option<ProbeId>,
    /// It had been told lost before.
    pub(super) was_lost: bool,
}

#[derive(Debug)]
pub(super) struct History {
    slots: Box<[Slot]>,
    /// The newest number; `None` before the first packet.
    highest: Option<u64>,
    /// Everything below is settled: told of, or given up.
    settled: u64,
    in_flight: u64,
}

impl History {
    pub(super) fn new() -> Self {
        Self {
            slots: vec![Slot::default(); FEWEST].into_boxed_slice(),
            highest: None,
            settled: 0,
            in_flight: 0,
        }
    }

    #[inline]
    pub(super) fn push(&mut self, sequence: u16, now: u64, bytes: u32, probe: Option<ProbeId>) {
        let number = match self.highest {
            Some(highest) => highest + u64::from(sequence.wrapping_sub(highest as u16).wrapping_sub(1)) + 1,
            None => {
                self.settled = u64::from(sequence);
                u64::from(sequence)
            }
        };
        self.highest = Some(number);
        let index = sequence as usize & (self.slots.len() - 1);
        let old = self.slots[index];
        if old.fate() == Fate::Pending {
            self.make_room(old, now);
        }
        let bytes = bytes.min(u32::from(u16::MAX));
        let probe = probe.map_or(0, |id| u16::from(id.tag()) + 1);
        let index = sequence as usize & (self.slots.len() - 1);
        self.slots[index] = Slot {
            sent: now as u32,
            bytes: bytes as u16,
            meta: sequence >> 8 | (Fate::Pending as u16) << 8 | probe << 10,
        };
        self.in_flight += u64::from(bytes);
    }

    /// Bytes sent that nothing was told of.
    pub(super) fn in_flight(&self) -> u64 {
        self.in_flight
    }

    pub(super) fn highest(&self) -> Option<u64> {
        self.highest
    }

    /// Whether `sequence` is one of those remembered or just forgotten, so that telling of it is no lie.
    pub(super) fn could_know(&self, sequence: u16) -> bool {
        self.highest
            .is_some_and(|highest| (highest as u16).wrapping_sub(sequence) < 1 << 15)
    }

    /// Feedback says that it arrived; `None` for packets unknown or known to have arrived.
    pub(super) fn arrived(&mut self, now: u64, sequence: u16) -> Option<Sent> {
        self.settle(now, sequence, Fate::Arrived)
    }

    /// Feedback says that it did not arrive (until now); `None` where that is not news.
    pub(super) fn missing(&mut self, now: u64, sequence: u16) -> Option<Sent> {
        self.settle(now, sequence, Fate::Lost)
    }

    /// Gives up what was sent before `number`: feedback went past it without a word, so feedback was lost.
    /// Returns the bytes.
    pub(super) fn give_up_before(&mut self, number: u64) -> u64 {
        let end = number.min(self.highest.map_or(0, |highest| highest + 1));
        let start = self.settled.max(end.saturating_sub(self.slots.len() as u64));
        let mut bytes = 0;
        for number in start..end {
            let index = number as usize & (self.slots.len() - 1);
            let slot = &mut self.slots[index];
            if slot.is(number as u16) && slot.fate() == Fate::Pending {
                slot.set_fate(Fate::Free);
                bytes += u64::from(slot.bytes);
            }
        }
        self.settled = self.settled.max(end);
        self.in_flight = self.in_flight.saturating_sub(bytes);
        bytes
    }

    /// The number that feedback calls `sequence`.
    pub(super) fn number(&self, sequence: u16) -> Option<u64> {
        let highest = self.highest?;
        highest.checked_sub(u64::from((highest as u16).wrapping_sub(sequence)))
    }

    fn settle(&mut self, now: u64, sequence: u16, fate: Fate) -> Option<Sent> {
        let number = self.number(sequence)?;
        if self.highest? - number >= self.slots.len() as u64 {
            return None;
        }
        let index = sequence as usize & (self.slots.len() - 1);
        let slot = &mut self.slots[index];
        let before = slot.fate();
        let is_news = before == Fate::Pending || (before == Fate::Lost && fate == Fate::Arrived);
        if !slot.is(sequence) || !is_news {
            return None;
        }
        slot.set_fate(fate);
        if before == Fate::Pending {
            self.in_flight = self.in_flight.saturating_sub(u64::from(slot.bytes));
        }
        Some(Sent {
            number,
            at: now.saturating_sub(u64::from((now as u32).wrapping_sub(slot.sent))),
            bytes: u32::from(slot.bytes),
            probe: (slot.meta >> 10 & 7).checked_sub(1).map(|tag| ProbeId(tag as u8)),
            was_lost: before == Fate::Lost,
        })
    }

    /// `old` is about to be overwritten: doubles the ring, or gives `old` up.
    #[cold]
    fn make_room(&mut self, old: Slot, now: u64) {
        let is_young = (now as u32).wrapping_sub(old.sent) < PATIENCE;
        let count = self.slots.len();
        if is_young && count < MOST {
            let mut slots = vec![Slot::default(); count * 2].into_boxed_slice();
            for (index, &slot) in self.slots.iter().enumerate() {
                // The ring's lowest 8 bits of the number are its index; the others are in the slot.
                let sequence = (slot.meta & 0xff) << 8 | (index & (FEWEST - 1)) as u16;
                slots[sequence as usize & (count * 2 - 1)] = slot;
            }
            self.slots = slots;
        } else {
            self.in_flight = self.in_flight.saturating_sub(u64::from(old.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(first: u16, count: u64) -> History {
        let mut history = History::new();
        for index in 0..count {
            history.push(first.wrapping_add(index as u16), index * 1_000, 100, None);
        }
        history
    }

    #[test]
    fn a_packet_is_told_of_once() {
        let mut history = History::new();
        history.push(65_535, 5_000_000_000, 1_200, Some(ProbeId(4)));
        history.push(0, 5_000_001_000, 70_000, None);
        assert_eq!(history.in_flight(), 1_200 + 65_535);
        let sent = history.arrived(5_000_100_000, 65_535).unwrap();
        assert_eq!(
            (sent.at, sent.bytes, sent.probe, sent.was_lost),
            (5_000_000_000, 1_200, Some(ProbeId(4)), false)
        );
        assert_eq!(history.arrived(5_000_100_000, 65_535), None);
        assert_eq!(history.missing(5_000_100_000, 65_535), None);
        assert_eq!(history.missing(5_000_100_000, 0).map(|sent| sent.bytes), Some(65_535));
        assert_eq!(history.missing(5_000_100_000, 0), None);
        assert!(history.arrived(5_000_100_000, 0).unwrap().was_lost);
        assert_eq!(history.in_flight(), 0);
    }

    #[test]
    fn unknown_numbers_are_no_packets() {
        let mut history = history(1_000, 10);
        for sequence in [0, 999, 1_010, 1_256, 40_000] {
            assert_eq!(history.arrived(10_000, sequence), None, "{sequence}");
        }
        assert!(history.could_know(1_009) && history.could_know(500) && !history.could_know(1_010));
        assert_eq!(History::new().arrived(0, 7), None);
    }

    #[test]
    fn grows_while_packets_are_young_and_stops_at_the_limit() {
        let mut history = history(65_000, 1_000);
        assert_eq!(history.slots.len(), 1_024);
        assert_eq!(history.in_flight(), 100_000);
        for index in 0..1_000_u64 {
            let sent = history
                .arrived(2_000_000, 65_000_u16.wrapping_add(index as u16))
                .unwrap();
            assert_eq!((sent.at, sent.number), (index * 1_000, 65_000 + index));
        }
        for index in 0..10_000_u64 {
            history.push(464_u16.wrapping_add(index as u16), 3_000_000, 100, None);
        }
        assert_eq!((history.slots.len(), history.in_flight()), (MOST, MOST as u64 * 100));
        let mut old = self::history(0, 1);
        for index in 1..2_000_u64 {
            old.push(index as u16, index * 20_000, 100, None);
        }
        assert_eq!((old.slots.len(), old.in_flight()), (256, 25_600));
    }

    #[test]
    fn silence_about_a_packet_gives_it_up() {
        let mut history = history(65_530, 20);
        history.arrived(100_000, 65_533);
        assert_eq!(history.give_up_before(65_530 + 10), 900);
        assert_eq!((history.give_up_before(65_530 + 10), history.in_flight()), (0, 1_000));
        assert_eq!(history.give_up_before(u64::MAX), 1_000);
        assert_eq!(history.arrived(100_000, 65_531), None);
    }
}
