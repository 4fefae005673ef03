//! From one worker to another: a ring for what can be lost, and a queue behind it for what cannot.

use std::collections::VecDeque;
use std::sync::Arc;

use engine::Crossing;
use engine::ids::WorkerId;
use rtrb::{Consumer, Producer, RingBuffer};

use crate::worker::Shared;

/// Crossings that wait between two workers. Media beyond it is lost; the other worker has stood still for long then.
const RING: usize = 8_192;
/// Crossings other than media that wait behind a full ring. They are as rare as joins: only a worker that has failed lets
/// so many pile up.
const WAITING: usize = 65_536;

/// The sending end.
pub(crate) struct Outbound {
    ring: Producer<Crossing>,
    /// In order, before anything newer.
    waiting: VecDeque<Crossing>,
    to: Arc<Shared>,
    touched: bool,
}

/// The receiving end.
pub(crate) struct Inbound {
    pub(crate) from: WorkerId,
    ring: Consumer<Crossing>,
    counted: usize,
}

pub(crate) fn link(from: WorkerId, to: &Arc<Shared>) -> (Outbound, Inbound) {
    let (producer, consumer) = RingBuffer::new(RING);
    let outbound = Outbound {
        ring: producer,
        waiting: VecDeque::new(),
        to: Arc::clone(to),
        touched: false,
    };
    let inbound = Inbound {
        from,
        ring: consumer,
        counted: 0,
    };
    (outbound, inbound)
}

impl Outbound {
    /// False when it was dropped.
    pub(crate) fn send(&mut self, crossing: Crossing) -> bool {
        self.touched = true;
        let media = matches!(crossing, Crossing::Packet { .. });
        if self.waiting.is_empty() || media {
            match self.ring.push(crossing) {
                Ok(()) => return true,
                Err(_) if media => return false,
                Err(rtrb::PushError::Full(crossing)) => self.waiting.push_back(crossing),
            }
        } else {
            self.waiting.push_back(crossing);
        }
        let held = self.waiting.len() <= WAITING;
        self.waiting.truncate(WAITING);
        held
    }

    /// After a turn: moves what waits and wakes the other worker if there is something new.
    pub(crate) fn finish(&mut self) {
        while !self.ring.is_full()
            && let Some(crossing) = self.waiting.pop_front()
        {
            self.touched = true;
            if let Err(rtrb::PushError::Full(crossing)) = self.ring.push(crossing) {
                self.waiting.push_front(crossing);
            }
        }
        if std::mem::take(&mut self.touched) {
            self.to.waker.wake();
        }
    }
}

impl Inbound {
    /// Notes how many crossings are there: only those are taken by [`take`](Self::take).
    pub(crate) fn count(&mut self) {
        self.counted = self.ring.slots();
    }

    pub(crate) fn take(&mut self) -> Option<Crossing> {
        self.counted = self.counted.checked_sub(1)?;
        self.ring.pop().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::command::MediaKind;
    use engine::ids::TrackId;
    use engine::packet::Packet;

    #[test]
    fn a_full_ring_loses_media_and_nothing_else() {
        let to = Arc::new(Shared::new().unwrap());
        let (mut outbound, mut inbound) = link(WorkerId(0), &to);
        let packet = || Crossing::Packet {
            track: TrackId(0),
            packet: Arc::new(Packet::default()),
            fades: false,
        };
        for _ in 0..RING {
            assert!(outbound.send(packet()));
        }
        assert!(!outbound.send(packet()));
        for id in 1..=100 {
            let attach = Crossing::Attach {
                track: TrackId(id),
                kind: MediaKind::Audio,
                thinned: false,
            };
            assert!(outbound.send(attach));
        }
        outbound.finish();
        let mut tracks = Vec::new();
        for _ in 0..3 {
            inbound.count();
            while let Some(crossing) = inbound.take() {
                if let Crossing::Attach { track, .. } = crossing {
                    tracks.push(track.0);
                }
            }
            outbound.finish();
        }
        assert!(tracks.iter().copied().eq(1..=100), "{tracks:?}");
        assert!(outbound.send(packet()));
    }

    #[test]
    fn only_what_was_counted_is_taken() {
        let to = Arc::new(Shared::new().unwrap());
        let (mut outbound, mut inbound) = link(WorkerId(0), &to);
        outbound.send(Crossing::Detach { track: TrackId(1) });
        inbound.count();
        outbound.send(Crossing::Detach { track: TrackId(2) });
        assert!(inbound.take().is_some());
        assert!(inbound.take().is_none());
        inbound.count();
        assert!(inbound.take().is_some());
    }

    #[test]
    fn what_waits_is_bounded() {
        let to = Arc::new(Shared::new().unwrap());
        let (mut outbound, _inbound) = link(WorkerId(0), &to);
        let detach = || Crossing::Detach { track: TrackId(1) };
        for _ in 0..RING + WAITING {
            assert!(outbound.send(detach()));
        }
        assert!(!outbound.send(detach()));
    }
}
