//! What the workers tell the control plane: one queue, drained in batches when its eventfd is readable.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Mutex, MutexGuard, PoisonError};

use engine::Event;
use engine::ids::WorkerId;

use crate::counters::IoRow;
use crate::sys::EventFd;

/// Bytes of data messages that may wait. More rides out a longer stall of the control plane.
const MAX_DATA: usize = 64 * 1024 * 1024;
/// Events beyond which those that tell no change of life are dropped.
const MAX_OPTIONAL: usize = 65_536;

#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    Event(Event),
    /// The worker's thread has ended by a panic; its peers are gone.
    WorkerFailed(WorkerId),
}

#[derive(Debug)]
pub(crate) struct EventQueue {
    state: Mutex<State>,
    readable: EventFd,
}

#[derive(Debug, Default)]
struct State {
    reports: VecDeque<Report>,
    data: usize,
}

impl EventQueue {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self {
            state: Mutex::default(),
            readable: EventFd::new()?,
        })
    }

    /// Appends all, except what must not pile up: data and levels that nobody takes.
    pub(crate) fn push(&self, reports: &mut Vec<Report>, counters: &mut IoRow) {
        let mut state = self.lock();
        let was_empty = state.reports.is_empty();
        for report in reports.drain(..) {
            let payload = payload(&report);
            if payload > 0 && state.data + payload > MAX_DATA {
                counters.data_dropped += 1;
                continue;
            }
            if state.reports.len() >= MAX_OPTIONAL && is_optional(&report) {
                counters.events_dropped += 1;
                continue;
            }
            state.data += payload;
            state.reports.push_back(report);
        }
        let wake = was_empty && !state.reports.is_empty();
        drop(state);
        if wake {
            self.readable.notify();
        }
    }

    /// At most `limit` reports, oldest first. Stays readable while more wait.
    pub(crate) fn take(&self, limit: usize) -> Vec<Report> {
        let mut state = self.lock();
        let count = limit.min(state.reports.len());
        let taken: Vec<_> = state.reports.drain(..count).collect();
        state.data -= taken.iter().map(payload).sum::<usize>();
        if state.reports.is_empty() {
            self.readable.clear();
        }
        taken
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.readable.as_raw_fd()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held; a queue is valid whatever happened to a holder.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn payload(report: &Report) -> usize {
    match report {
        Report::Event(Event::DataReceived { payload, .. }) => payload.len(),
        _ => 0,
    }
}

fn is_optional(report: &Report) -> bool {
    matches!(
        report,
        Report::Event(Event::AudioLevels(_) | Event::LayerForwarded { .. })
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::ids::PeerId;

    fn data(len: usize) -> Report {
        Report::Event(Event::DataReceived {
            peer: PeerId(1),
            label: "chat".into(),
            binary: true,
            payload: vec![0; len],
        })
    }

    #[test]
    fn bounds_data_but_never_loses_life_and_death() {
        let queue = EventQueue::new().unwrap();
        let mut counters = IoRow::default();
        let mut reports = vec![data(MAX_DATA), data(1), Report::WorkerFailed(WorkerId(0))];
        queue.push(&mut reports, &mut counters);
        assert_eq!((counters.data_dropped, reports.len()), (1, 0));
        assert_eq!(queue.take(1).len(), 1);
        assert_eq!(queue.take(9), [Report::WorkerFailed(WorkerId(0))]);
        queue.push(&mut vec![data(1)], &mut counters);
        assert_eq!((queue.take(9).len(), counters.data_dropped), (1, 1));
        for _ in 0..3 {
            queue.push(
                &mut vec![Report::Event(Event::AudioLevels(Vec::new())); MAX_OPTIONAL],
                &mut counters,
            );
        }
        assert_eq!(counters.events_dropped, 2 * MAX_OPTIONAL as u64);
    }
}
