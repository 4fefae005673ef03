//! Seeded losses.

/// Deterministic numbers (xorshift64*).
pub(in crate::fec) struct Random(u64);

impl Random {
    pub(in crate::fec) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(in crate::fec) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(in crate::fec) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 32) % limit.max(1)
    }

    /// 0 to 1.
    pub(in crate::fec) fn share(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Gilbert's model: in the bad state every packet is lost, in the good one none.
pub(in crate::fec) struct GilbertElliott {
    random: Random,
    bad: bool,
    to_bad: f64,
    to_good: f64,
}

impl GilbertElliott {
    /// Loses `share` of the packets, `burst` in a row on average. A burst of 1 is no memory at all.
    pub(in crate::fec) fn new(seed: u64, share: f64, burst: f64) -> Self {
        // Without memory runs of losses have this length.
        let to_good = 1.0 / burst.max(1.0 / (1.0 - share));
        Self {
            random: Random::new(seed),
            bad: false,
            to_bad: share * to_good / (1.0 - share),
            to_good,
        }
    }

    pub(in crate::fec) fn loses(&mut self) -> bool {
        let change = if self.bad { self.to_good } else { self.to_bad };
        self.bad ^= self.random.share() < change;
        self.bad
    }
}
