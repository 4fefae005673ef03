//! Which packets of a stream are here.

/// Numbers remembered.
const WINDOW: usize = 16_384;

pub(crate) struct Sequence {
    first: Option<u64>,
    highest: u64,
    /// The number last seen in each place.
    here: Vec<u64>,
    /// Without retransmissions.
    received: u64,
}

impl Default for Sequence {
    fn default() -> Self {
        Self {
            first: None,
            highest: 0,
            here: vec![u64::MAX; WINDOW],
            received: 0,
        }
    }
}

impl Sequence {
    /// The number without turn-over.
    pub(crate) fn extend(&mut self, sequence: u16) -> u64 {
        if self.first.is_none() {
            self.highest = u64::from(sequence) + (1 << 16);
            self.first = Some(self.highest);
        }
        let number = self.number_of(sequence);
        self.highest = self.highest.max(number);
        number
    }

    pub(crate) fn number_of(&self, sequence: u16) -> u64 {
        wire::seq::extend(self.highest, sequence)
    }

    /// Whether it was not there.
    pub(crate) fn insert(&mut self, number: u64, first_hand: bool) -> bool {
        self.received += u64::from(first_hand);
        std::mem::replace(&mut self.here[number as usize % WINDOW], number) != number
    }

    pub(crate) fn has(&self, number: u64) -> bool {
        self.here[number as usize % WINDOW] == number
    }

    pub(crate) fn highest(&self) -> u64 {
        self.highest
    }

    /// Packets expected and received so far.
    pub(crate) fn counts(&self) -> Option<(u64, u64)> {
        self.first.map(|first| (self.highest - first + 1, self.received))
    }
}
