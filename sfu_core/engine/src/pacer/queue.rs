//! Queues that share their memory: linked lists in one slab.

/// No node.
const NONE: u32 = u32::MAX;

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<T> {
    pub(super) item: T,
    /// Since when, microseconds.
    pub(super) since: u64,
    pub(super) bytes: u32,
    /// A keyframe begins with it.
    pub(super) keyframe: bool,
}

pub(super) struct Slab<T> {
    nodes: Vec<Node<T>>,
    free: u32,
    used: usize,
    bytes: u64,
}

struct Node<T> {
    entry: Option<Entry<T>>,
    next: u32,
}

/// In order of arrival. Belongs to one [`Slab`]; dropping it leaks its entries there, so clear it before.
#[derive(Clone, Copy, Debug)]
pub(super) struct List {
    head: u32,
    tail: u32,
    len: u32,
    bytes: u64,
}

impl<T> Slab<T> {
    pub(super) const fn new() -> Self {
        Self {
            nodes: Vec::new(),
            free: NONE,
            used: 0,
            bytes: 0,
        }
    }

    /// Entries of all lists.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Of all entries.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    fn insert(&mut self, entry: Entry<T>) -> u32 {
        self.used += 1;
        self.bytes += u64::from(entry.bytes);
        let node = Node {
            entry: Some(entry),
            next: NONE,
        };
        match self.nodes.get_mut(self.free as usize) {
            Some(place) => {
                let index = self.free;
                self.free = place.next;
                *place = node;
                index
            }
            None => {
                self.nodes.push(node);
                (self.nodes.len() - 1) as u32
            }
        }
    }
}

impl List {
    pub(super) const EMPTY: Self = Self {
        head: NONE,
        tail: NONE,
        len: 0,
        bytes: 0,
    };

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn push<T>(&mut self, slab: &mut Slab<T>, entry: Entry<T>) {
        self.len += 1;
        self.bytes += u64::from(entry.bytes);
        let index = slab.insert(entry);
        match slab.nodes.get_mut(self.tail as usize) {
            Some(last) => last.next = index,
            None => self.head = index,
        }
        self.tail = index;
    }

    pub(super) fn first<'s, T>(&self, slab: &'s Slab<T>) -> Option<&'s Entry<T>> {
        slab.nodes.get(self.head as usize)?.entry.as_ref()
    }

    pub(super) fn has_keyframe<T>(&self, slab: &Slab<T>) -> bool {
        let after = |node: &&Node<T>| slab.nodes.get(node.next as usize);
        let mut nodes = std::iter::successors(slab.nodes.get(self.head as usize), after);
        nodes.any(|node| node.entry.as_ref().is_some_and(|entry| entry.keyframe))
    }

    pub(super) fn pop<T>(&mut self, slab: &mut Slab<T>) -> Option<Entry<T>> {
        let index = self.head;
        let node = slab.nodes.get_mut(index as usize)?;
        let entry = node.entry.take()?;
        self.head = std::mem::replace(&mut node.next, slab.free);
        slab.free = index;
        slab.used -= 1;
        slab.bytes -= u64::from(entry.bytes);
        self.len -= 1;
        self.bytes -= u64::from(entry.bytes);
        if self.head == NONE {
            self.tail = NONE;
        }
        Some(entry)
    }

    /// Drops everything before the last keyframe that begins behind the first entry, or everything when there is none. Returns how
    /// many.
    pub(super) fn cut<T>(&mut self, slab: &mut Slab<T>) -> usize {
        let mut keep = None;
        let mut index = self.head;
        for place in 0..self.len {
            let Some(node) = slab.nodes.get(index as usize) else {
                break;
            };
            if place > 0 && node.entry.as_ref().is_some_and(|entry| entry.keyframe) {
                keep = Some(place);
            }
            index = node.next;
        }
        let drops = keep.unwrap_or(self.len);
        for _ in 0..drops {
            self.pop(slab);
        }
        drops as usize
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn entry<T>(item: T, keyframe: bool) -> Entry<T> {
        Entry {
            item,
            since: 0,
            bytes: 10,
            keyframe,
        }
    }

    #[test]
    fn lists_keep_their_order_and_share_memory() {
        let mut slab = Slab::new();
        let (mut a, mut b) = (List::EMPTY, List::EMPTY);
        for round in 0..50 {
            for number in 0..4 {
                a.push(&mut slab, entry(number, false));
                b.push(&mut slab, entry(100 + number, false));
            }
            assert_eq!(
                (a.len(), a.bytes(), slab.used(), slab.bytes()),
                (4, 40, 8, 80),
                "{round}"
            );
            for number in 0..4 {
                assert_eq!(a.pop(&mut slab).map(|entry| entry.item), Some(number));
                assert_eq!(b.first(&slab).map(|entry| entry.item), Some(100 + number));
                assert_eq!(b.pop(&mut slab).map(|entry| entry.item), Some(100 + number));
            }
            assert!(a.is_empty() && a.pop(&mut slab).is_none() && slab.used() == 0);
        }
        assert_eq!(slab.nodes.len(), 8);
    }

    #[test]
    fn a_cut_leaves_the_last_keyframe_and_what_follows() {
        let table: [(&[bool], usize); 6] = [
            (&[], 0),
            (&[false, false], 2),
            (&[true, false], 2),
            (&[false, true, false], 1),
            (&[true, false, true, false, true, false], 4),
            (&[true, true], 1),
        ];
        for (keyframes, dropped) in table {
            let mut slab = Slab::new();
            let mut list = List::EMPTY;
            let held = Rc::new(());
            for &keyframe in keyframes {
                list.push(&mut slab, entry(Rc::clone(&held), keyframe));
            }
            assert_eq!(list.has_keyframe(&slab), keyframes.contains(&true));
            assert_eq!(list.cut(&mut slab), dropped, "{keyframes:?}");
            assert_eq!(list.len(), keyframes.len() - dropped);
            assert_eq!(Rc::strong_count(&held), 1 + list.len(), "what is dropped is freed");
        }
    }
}
