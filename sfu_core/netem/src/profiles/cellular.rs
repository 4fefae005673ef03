//! Cellular links, made up from a seed; no one's recordings.
//!
//! The model is that of Sprout (Winstein et al., NSDI'13): packets leave in a Poisson process whose rate wanders, with
//! outages. Here the logarithm of the rate is an Ornstein–Uhlenbeck process, which unlike Brownian motion returns
//! to a median; outages begin at random and last an exponential time. The parameters are chosen to be demanding in the way that drives
//! are described in the literature (tenfold changes within seconds, outages), not fitted to data.

use std::time::Duration;

use super::{Profile, ms, s};
use crate::capacity::Capacity;
use crate::config::{LinkConfig, Queue};
use crate::opportunities::Opportunities;
use crate::random::Random;
use crate::trace::Trace;

/// The rate is drawn anew this often.
const STEP: Duration = ms(20);
const LENGTH: Duration = s(120);

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cellular {
    /// bit/s that half of the time is exceeded.
    pub median: u64,
    /// Deviation of the logarithm: at 1, a third of the time is beyond a factor of e.
    pub spread: f64,
    /// Time after which the rate has forgotten most of what it was.
    pub memory: Duration,
    /// bit/s that the modem never exceeds.
    pub ceiling: u64,
    /// Mean time between outages.
    pub outage_every: Duration,
    /// Mean length of an outage.
    pub outage: Duration,
    /// bit/s during an outage: none, or what an older network gives meanwhile.
    pub outage_rate: u64,
}

/// HSPA from a moving car.
pub const THREE_G: Cellular = Cellular {
    median: 1_200_000,
    spread: 0.7,
    memory: s(3),
    ceiling: 7_200_000,
    outage_every: s(45),
    outage: ms(1_500),
    outage_rate: 0,
};

/// LTE from a moving car: short outages are handovers.
pub const LTE: Cellular = Cellular {
    median: 6_000_000,
    spread: 0.8,
    memory: s(2),
    ceiling: 40_000_000,
    outage_every: s(40),
    outage: ms(400),
    outage_rate: 0,
};

/// 5G in a city: much, gone behind the next corner, where LTE is left.
pub const FIVE_G: Cellular = Cellular {
    median: 60_000_000,
    spread: 0.9,
    memory: s(1),
    ceiling: 400_000_000,
    outage_every: s(12),
    outage: s(1),
    outage_rate: 2_000_000,
};

impl Cellular {
    /// The same at `share` of the rates, as for the uplink.
    #[must_use]
    pub fn scaled(self, share: f64) -> Self {
        let scale = |rate: u64| (rate as f64 * share) as u64;
        Self {
            median: scale(self.median),
            ceiling: scale(self.ceiling),
            outage_rate: scale(self.outage_rate),
            ..self
        }
    }

    /// The rate in steps of 20 ms, in whole kbit/s.
    pub fn rates(&self, seed: u64, length: Duration) -> Vec<u64> {
        let mut random = Random::new(seed, 5);
        let keep = (-STEP.as_secs_f64() / self.memory.as_secs_f64()).exp();
        let fresh = (1.0 - keep * keep).sqrt() * self.spread;
        let mut logarithm = random.normal() * self.spread;
        let mut outage_at = exponential(&mut random, self.outage_every);
        let mut outage_until = Duration::ZERO;
        let steps = length.as_nanos() / STEP.as_nanos();
        (0..steps as u32)
            .map(|step| {
                let now = STEP * step;
                if now >= outage_at {
                    outage_until = now + exponential(&mut random, self.outage);
                    outage_at = outage_until + exponential(&mut random, self.outage_every);
                }
                logarithm = keep * logarithm + fresh * random.normal();
                let rate = (self.median as f64 * logarithm.exp()).min(self.ceiling as f64) as u64;
                let rate = if now < outage_until {
                    rate.min(self.outage_rate)
                } else {
                    rate
                };
                rate / 1_000 * 1_000
            })
            .collect()
    }

    /// A smooth link of these rates.
    pub fn trace(&self, seed: u64, length: Duration) -> Capacity {
        let rates = self.rates(seed, length);
        let steps: Vec<_> = (0..).map(|step| STEP * step).zip(rates).collect();
        // Only a link without any capacity is refused, which stands still here too.
        Trace::new(&steps, STEP * steps.len() as u32).map_or(Capacity::Constant(0), Capacity::from)
    }

    /// A link of these rates that serves packets in a Poisson process, in bursts of whole milliseconds as schedulers
    /// do: the more demanding one.
    pub fn opportunities(&self, seed: u64, length: Duration) -> Capacity {
        let mut random = Random::new(seed, 6);
        let mut times = Vec::new();
        for (step, rate) in self.rates(seed, length).into_iter().enumerate() {
            let per_ms = rate as f64 / (1_500.0 * 8.0 * 1_000.0);
            for millisecond in 1..=STEP.as_millis() as u64 {
                let time = STEP * step as u32 + ms(millisecond);
                times.extend((0..poisson(&mut random, per_ms)).map(|_| time));
            }
        }
        Opportunities::new(&times).map_or(Capacity::Constant(0), Capacity::from)
    }
}

/// Downlink and uplink of such a network, each with its own trace. Base stations queue deeply, and repeat what is lost.
pub fn profile(name: &str, network: Cellular, delay: Duration, seed: u64) -> Profile {
    let link = |capacity| LinkConfig {
        capacity,
        delay,
        queue: Queue::Time(s(1)),
        ..LinkConfig::default()
    };
    let down = link(network.opportunities(seed, LENGTH));
    let up = link(network.scaled(0.4).opportunities(seed ^ u64::MAX, LENGTH));
    Profile::of_one_flow(name, LENGTH, down, up)
}

pub fn three_g(seed: u64) -> Profile {
    profile("3g", THREE_G, ms(60), seed)
}

pub fn lte(seed: u64) -> Profile {
    profile("lte", LTE, ms(30), seed)
}

pub fn five_g(seed: u64) -> Profile {
    profile("5g", FIVE_G, ms(12), seed)
}

pub fn all(seed: u64) -> Vec<Profile> {
    vec![three_g(seed), lte(seed), five_g(seed)]
}

fn exponential(random: &mut Random, mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - random.unit()).ln())
}

/// Counts how many exponential gaps fit (Knuth); the mean is at most a few dozen here.
fn poisson(random: &mut Random, mean: f64) -> u32 {
    let limit = (-mean).exp();
    let mut product = random.unit();
    let mut count = 0;
    while product > limit {
        product *= random.unit();
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = s(4_000);

    #[test]
    fn rates_have_the_median_and_outages_asked_for() {
        for network in [THREE_G, LTE, FIVE_G] {
            let mut rates = network.rates(1, LONG);
            let low = rates.iter().filter(|&&rate| rate <= network.outage_rate).count() as f64 / rates.len() as f64;
            let expected = network.outage.as_secs_f64() / (network.outage + network.outage_every).as_secs_f64();
            assert!(
                (low / expected - 1.0).abs() < 0.35,
                "{network:?}: outage {low}, expected {expected}"
            );
            rates.sort_unstable();
            let median = rates[rates.len() / 2] as f64 / network.median as f64;
            assert!((0.8..1.1).contains(&median), "{network:?}: median {median}");
            assert!(rates.last() <= Some(&network.ceiling));
            // The rates span more than a tenfold.
            assert!(rates[rates.len() * 95 / 100] > 7 * rates[rates.len() * 15 / 100]);
        }
    }

    #[test]
    fn opportunities_carry_what_the_rates_do() {
        for seed in 0..3 {
            let (smooth, bursty) = (LTE.trace(seed, LENGTH), LTE.opportunities(seed, LENGTH));
            let ratio = bursty.mean().unwrap() as f64 / smooth.mean().unwrap() as f64;
            assert!((ratio - 1.0).abs() < 0.03, "{ratio}");
        }
    }

    #[test]
    fn seeds_make_different_links() {
        assert_eq!(lte(1), lte(1));
        assert_ne!(lte(1), lte(2));
        assert_ne!(lte(1).down.capacity, lte(1).up.capacity);
    }
}
