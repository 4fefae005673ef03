//! What became of the last frames.

/// A power of two. References reach less far back.
const FRAMES: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Forwarded,
    Dropped,
    /// Not received, or forgotten.
    No,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    number: u16,
    known: Known,
    ends: bool,
}

#[derive(Debug)]
pub(super) struct Frames([Entry; FRAMES]);

impl Default for Frames {
    fn default() -> Self {
        Self(
            [Entry {
                number: 0,
                known: Known::No,
                ends: false,
            }; FRAMES],
        )
    }
}

impl Frames {
    pub(super) fn record(&mut self, number: u16, forwarded: bool, ends: bool) {
        let known = if forwarded { Known::Forwarded } else { Known::Dropped };
        self.0[usize::from(number) % FRAMES] = Entry { number, known, ends };
    }

    pub(super) fn known(&self, number: u16) -> Known {
        let entry = &self.0[usize::from(number) % FRAMES];
        match entry.number == number {
            true => entry.known,
            false => Known::No,
        }
    }

    /// It ends its picture.
    pub(super) fn ends(&self, number: u16) -> bool {
        let entry = &self.0[usize::from(number) % FRAMES];
        entry.number == number && entry.ends
    }
}
