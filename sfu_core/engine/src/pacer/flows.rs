//! Video that waits, by subscription: turns by deficit round robin, and cuts.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::queue::{Entry, List, Slab};
use super::{CUT_AGAIN, MAX_AGE, MAX_DOUBLINGS, QUANTUM};

#[derive(Default)]
pub(super) struct Flows {
    flows: FxHashMap<u32, Flow>,
    /// Those with something waiting; the first has the turn.
    turns: VecDeque<u32>,
    /// The first has got its quantum.
    begun: bool,
}

struct Flow {
    list: List,
    /// Bytes that it may still send in this turn.
    deficit: u32,
    /// Microseconds.
    last_cut: Option<u64>,
    doublings: u8,
}

/// What a cut did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub(super) flow: u32,
    pub(super) dropped: usize,
    /// No keyframe is left.
    pub(super) is_empty: bool,
}

impl Flows {
    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    pub(super) fn holds(&self, key: u32) -> bool {
        self.flows.get(&key).is_some_and(|flow| !flow.list.is_empty())
    }

    pub(super) fn holds_keyframe<T>(&self, slab: &Slab<T>, key: u32) -> bool {
        self.flows.get(&key).is_some_and(|flow| flow.list.has_keyframe(slab))
    }

    pub(super) fn push<T>(&mut self, slab: &mut Slab<T>, key: u32, entry: Entry<T>) {
        let flow = self.flows.entry(key).or_insert(Flow {
            list: List::EMPTY,
            deficit: 0,
            last_cut: None,
            doublings: 0,
        });
        if flow.list.is_empty() {
            self.turns.push_back(key);
        }
        flow.list.push(slab, entry);
    }

    /// The next packet by turns.
    pub(super) fn pop<T>(&mut self, slab: &mut Slab<T>) -> Option<Entry<T>> {
        // Each round adds a quantum to whoever cannot send yet; a packet takes 44 of them at most.
        loop {
            let key = *self.turns.front()?;
            let flow = self.flows.get_mut(&key)?;
            let bytes = flow.list.first(slab)?.bytes;
            if !std::mem::replace(&mut self.begun, true) {
                flow.deficit = flow.deficit.saturating_add(QUANTUM);
            }
            if bytes <= flow.deficit {
                flow.deficit -= bytes;
                let entry = flow.list.pop(slab);
                if flow.list.is_empty() {
                    flow.deficit = 0;
                    self.end_turn(None);
                }
                return entry;
            }
            self.end_turn(Some(key));
        }
    }

    /// Cuts the flows whose first packet is too old at `now`, microseconds.
    pub(super) fn cut_stale<T>(&mut self, slab: &mut Slab<T>, now: u64, mut each: impl FnMut(Cut)) {
        for turn in (0..self.turns.len()).rev() {
            let key = self.turns[turn];
            let Some(flow) = self.flows.get_mut(&key) else { continue };
            let doublings = flow.doublings_at(now);
            let first = flow.list.first(slab).map_or(now, |first| first.since);
            if now.saturating_sub(first) > MAX_AGE << doublings {
                each(self.cut(slab, now, key));
            }
        }
    }

    /// Cuts the flow that holds most.
    pub(super) fn cut_longest<T>(&mut self, slab: &mut Slab<T>, now: u64) -> Option<Cut> {
        let bytes = |key: &u32| self.flows.get(key).map_or(0, |flow| flow.list.bytes());
        let longest = self.turns.iter().copied().max_by_key(bytes)?;
        Some(self.cut(slab, now, longest))
    }

    /// Forgets a flow and what waits of it. Returns how many packets that were.
    pub(super) fn remove<T>(&mut self, slab: &mut Slab<T>, key: u32) -> usize {
        let Some(mut flow) = self.flows.remove(&key) else {
            return 0;
        };
        let dropped = flow.list.len();
        while flow.list.pop(slab).is_some() {}
        self.leave(key);
        dropped
    }

    fn cut<T>(&mut self, slab: &mut Slab<T>, now: u64, key: u32) -> Cut {
        let Some(flow) = self.flows.get_mut(&key) else {
            return Cut {
                flow: key,
                dropped: 0,
                is_empty: true,
            };
        };
        flow.doublings = match flow.last_cut {
            Some(_) => (flow.doublings_at(now) + 1).min(MAX_DOUBLINGS),
            None => 1,
        };
        flow.last_cut = Some(now);
        let dropped = flow.list.cut(slab);
        let is_empty = flow.list.is_empty();
        if is_empty {
            flow.deficit = 0;
            self.leave(key);
        }
        Cut {
            flow: key,
            dropped,
            is_empty,
        }
    }

    /// The flow no longer waits for turns.
    fn leave(&mut self, key: u32) {
        if self.turns.front() == Some(&key) {
            self.begun = false;
        }
        self.turns.retain(|&other| other != key);
    }

    fn end_turn(&mut self, again: Option<u32>) {
        self.turns.pop_front();
        self.turns.extend(again);
        self.begun = false;
    }
}

impl Flow {
    fn doublings_at(&self, now: u64) -> u8 {
        let recent = self.last_cut.is_some_and(|cut| now.saturating_sub(cut) < CUT_AGAIN);
        if recent { self.doublings } else { 0 }
    }
}
