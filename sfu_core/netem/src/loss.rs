//! Loss that congestion does not cause.

use serde::{Deserialize, Serialize};

use crate::config::ConfigError;
use crate::random::Random;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    #[default]
    None,
    /// Each packet with this probability, whatever happened to others.
    Independent(f64),
    GilbertElliott(GilbertElliott),
}

/// Two states with a probability of loss each (Gilbert 1960, Elliott 1963); one step of the chain per packet.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "GilbertElliottJson")]
pub struct GilbertElliott {
    /// From the good state into the bad one.
    pub enter: f64,
    /// From the bad state into the good one.
    pub leave: f64,
    pub loss_in_good: f64,
    pub loss_in_bad: f64,
}

/// In JSON either the four probabilities, or the share of packets lost and the mean length of a burst.
#[derive(Deserialize)]
#[serde(untagged)]
enum GilbertElliottJson {
    Mean(MeanJson),
    States(StatesJson),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MeanJson {
    mean: f64,
    burst: f64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StatesJson {
    enter: f64,
    leave: f64,
    loss_in_good: f64,
    loss_in_bad: f64,
}

impl TryFrom<GilbertElliottJson> for GilbertElliott {
    type Error = ConfigError;

    fn try_from(json: GilbertElliottJson) -> Result<Self, ConfigError> {
        match json {
            GilbertElliottJson::Mean(MeanJson { mean, burst }) => Self::of_bursts(mean, burst),
            GilbertElliottJson::States(states) => Ok(Self {
                enter: states.enter,
                leave: states.leave,
                loss_in_good: states.loss_in_good,
                loss_in_bad: states.loss_in_bad,
            }),
        }
    }
}

impl GilbertElliott {
    /// Loses `mean` of all packets in bursts of `burst` packets on average, and none between bursts.
    pub fn of_bursts(mean: f64, burst: f64) -> Result<Self, ConfigError> {
        let leave = 1.0 / burst;
        // Stationary share of the bad state: enter / (enter + leave) = mean.
        let enter = mean * leave / (1.0 - mean);
        if !(0.0..1.0).contains(&mean) || !(1.0..=f64::MAX).contains(&burst) || enter > 1.0 {
            return Err(ConfigError::Bursts { mean, burst });
        }
        Ok(Self {
            enter,
            leave,
            loss_in_good: 0.0,
            loss_in_bad: 1.0,
        })
    }
}

impl Loss {
    pub const fn independent(probability: f64) -> Self {
        Self::Independent(probability)
    }

    /// Gilbert–Elliott by the share of packets lost and the mean length of a burst.
    pub fn bursts(mean: f64, burst: f64) -> Result<Self, ConfigError> {
        GilbertElliott::of_bursts(mean, burst).map(Self::GilbertElliott)
    }

    pub(crate) fn probabilities(&self) -> Vec<f64> {
        match *self {
            Self::None => Vec::new(),
            Self::Independent(probability) => vec![probability],
            Self::GilbertElliott(chain) => vec![chain.enter, chain.leave, chain.loss_in_good, chain.loss_in_bad],
        }
    }
}

/// A loss model at work.
#[derive(Debug)]
pub(crate) struct Losses {
    model: Loss,
    bad: bool,
    random: Random,
}

impl Losses {
    pub(crate) fn new(model: Loss, random: Random) -> Self {
        Self {
            model,
            bad: false,
            random,
        }
    }

    pub(crate) fn set(&mut self, model: Loss) {
        self.model = model;
        self.bad = false;
    }

    /// Whether the next packet is lost.
    pub(crate) fn takes(&mut self) -> bool {
        match self.model {
            Loss::None => false,
            Loss::Independent(probability) => self.random.chance(probability),
            Loss::GilbertElliott(chain) => {
                let turns = self.random.chance(if self.bad { chain.leave } else { chain.enter });
                self.bad ^= turns;
                let probability = if self.bad {
                    chain.loss_in_bad
                } else {
                    chain.loss_in_good
                };
                self.random.chance(probability)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COUNT: usize = 400_000;

    fn pattern(model: Loss, seed: u64) -> Vec<bool> {
        let mut losses = Losses::new(model, Random::new(seed, 0));
        (0..COUNT).map(|_| losses.takes()).collect()
    }

    fn mean(pattern: &[bool]) -> f64 {
        pattern.iter().filter(|&&lost| lost).count() as f64 / pattern.len() as f64
    }

    fn mean_burst(pattern: &[bool]) -> f64 {
        let bursts = pattern.split(|&lost| !lost).filter(|burst| !burst.is_empty()).count();
        mean(pattern) * pattern.len() as f64 / bursts as f64
    }

    #[test]
    fn independent_loss_meets_its_share_and_does_not_cluster() {
        for share in [0.02, 0.05, 0.1, 0.2] {
            let pattern = pattern(Loss::independent(share), 1);
            assert!(
                (mean(&pattern) / share - 1.0).abs() < 0.05,
                "{share}: {}",
                mean(&pattern)
            );
            let burst = 1.0 / (1.0 - share);
            assert!(
                (mean_burst(&pattern) / burst - 1.0).abs() < 0.02,
                "{share}: {}",
                mean_burst(&pattern)
            );
        }
    }

    #[test]
    fn bursts_meet_their_share_and_length() {
        for share in [0.01, 0.03, 0.1, 0.3] {
            for burst in [2.0, 5.0, 20.0] {
                let pattern = pattern(Loss::bursts(share, burst).unwrap(), 2);
                let (mean, length) = (mean(&pattern), mean_burst(&pattern));
                assert!(
                    (mean / share - 1.0).abs() < 0.2,
                    "share {share}, burst {burst}: lost {mean}"
                );
                assert!(
                    (length / burst - 1.0).abs() < 0.1,
                    "share {share}, burst {burst}: length {length}"
                );
            }
        }
    }

    #[test]
    fn general_chain_loses_in_both_states() {
        let chain = GilbertElliott {
            enter: 0.01,
            leave: 0.04,
            loss_in_good: 0.05,
            loss_in_bad: 0.5,
        };
        let expected = 0.8 * 0.05 + 0.2 * 0.5;
        let lost = mean(&pattern(Loss::GilbertElliott(chain), 3));
        assert!((lost / expected - 1.0).abs() < 0.05, "{lost}, expected {expected}");
    }

    #[test]
    fn impossible_bursts_are_refused() {
        for (mean, burst) in [
            (1.0, 2.0),
            (-0.1, 2.0),
            (0.1, 0.5),
            (0.9, 2.0),
            (f64::NAN, 2.0),
            (0.1, f64::NAN),
        ] {
            assert!(Loss::bursts(mean, burst).is_err(), "{mean}, {burst}");
        }
    }
}
