//! Transport-wide feedback on what arrives.

/// Between two messages, microseconds: Chromium's shortest, which it takes where the path has room for it.
const FEEDBACK: u64 = 50_000;

pub(crate) struct Arrivals {
    arrived: Vec<(u64, u64)>,
    highest: u64,
    /// One more than the last number told.
    next: u64,
    serial: u8,
    told: u64,
    times: Vec<Option<u64>>,
}

impl Default for Arrivals {
    fn default() -> Self {
        Self {
            arrived: Vec::new(),
            highest: 1 << 16,
            next: 0,
            serial: 0,
            told: 0,
            times: Vec::new(),
        }
    }
}

impl Arrivals {
    pub(crate) fn on_arrival(&mut self, now: u64, number: u16) {
        let number = wire::seq::extend(self.highest, number);
        self.highest = self.highest.max(number);
        self.arrived.push((number, now));
    }

    /// Serial number, first transport-wide number, and arrivals from there on.
    pub(crate) fn poll(&mut self, now: u64) -> Option<(u8, u16, &[Option<u64>])> {
        if now < self.told + FEEDBACK || self.arrived.is_empty() {
            return None;
        }
        self.told = now;
        self.arrived.sort_unstable();
        let (earliest, last) = (self.arrived[0].0, self.arrived[self.arrived.len() - 1].0);
        // What was lost at the beginning is told as well; what comes late is told again.
        let first = if self.next == 0 || earliest < self.next {
            earliest
        } else {
            self.next
        };
        let first = first.max(last.saturating_sub(2_000));
        self.times.clear();
        self.times.resize((last - first + 1) as usize, None);
        for (number, at) in self.arrived.drain(..) {
            if number >= first {
                self.times[(number - first) as usize] = Some(at);
            }
        }
        self.next = last + 1;
        let serial = self.serial;
        self.serial = serial.wrapping_add(1);
        Some((serial, first as u16, &self.times))
    }
}
