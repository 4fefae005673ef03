//! Seeded numbers and losses.

use std::time::Duration;

use netem::{Capacity, Link, LinkConfig, Loss};

pub(in crate::fec) struct Random(netem::Random);

impl Random {
    pub(in crate::fec) fn new(seed: u64) -> Self {
        Self(netem::Random::new(seed, 0))
    }

    pub(in crate::fec) fn next(&mut self) -> u64 {
        self.0.bits()
    }

    pub(in crate::fec) fn below(&mut self, limit: u64) -> u64 {
        self.0.bits() % limit.max(1)
    }
}

/// Packets that are lost or not.
pub(in crate::fec) struct Losses(Link<()>);

impl Losses {
    /// Loses `share` of the packets, `burst` in a row on average. A burst of 1 is no memory at all.
    pub(in crate::fec) fn new(seed: u64, share: f64, burst: f64) -> Self {
        let loss = match burst > 1.0 {
            true => Loss::bursts(share, burst).unwrap(),
            false => Loss::independent(share),
        };
        let capacity = Capacity::Unlimited;
        let config = LinkConfig {
            capacity,
            loss,
            ..LinkConfig::default()
        };
        Self(Link::new(config, seed))
    }

    pub(in crate::fec) fn next(&mut self) -> bool {
        self.0.push(Duration::ZERO, 100, ());
        self.0.pop(Duration::ZERO).is_none()
    }
}
