//! What happens to a packet's time on its way behind the bottleneck.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::random::Random;
use crate::units::{Nanos, millis, nanos};

/// Delay that is drawn anew for each packet and added to the one-way delay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jitter {
    /// Never more than this (RFC 8867 calls it the maximum end-to-end jitter).
    #[serde(rename = "max_ms", with = "millis")]
    pub max: Duration,
    #[serde(default)]
    pub shape: Shape,
    /// Lets a packet overtake one that was delayed more. Otherwise it waits for it, as on one path through one queue
    /// (RFC 8868 has both models).
    #[serde(default)]
    pub reorders: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Any value up to the maximum alike.
    #[default]
    Uniform,
    /// Normal around half the maximum, which is two deviations away; cut at zero and at the maximum.
    Normal,
}

impl Jitter {
    pub const fn uniform(max: Duration) -> Self {
        Self {
            max,
            shape: Shape::Uniform,
            reorders: false,
        }
    }

    pub const fn normal(max: Duration) -> Self {
        Self {
            max,
            shape: Shape::Normal,
            reorders: false,
        }
    }

    pub(crate) fn draw(&self, random: &mut Random) -> Nanos {
        let max = nanos(self.max) as f64;
        match self.shape {
            Shape::Uniform => (random.unit() * max) as Nanos,
            Shape::Normal => (max / 2.0 + random.normal() * max / 4.0).clamp(0.0, max) as Nanos,
        }
    }
}

/// Some packets are held back, so that later ones overtake them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reorder {
    pub probability: f64,
    #[serde(rename = "extra_ms", with = "millis")]
    pub extra: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_its_bounds_and_has_its_shape() {
        for (jitter, near_middle) in [
            (Jitter::uniform(Duration::from_millis(30)), 0.5),
            // Half the maximum is two deviations: a quarter on each side is one.
            (Jitter::normal(Duration::from_millis(30)), 0.683),
        ] {
            let mut random = Random::new(1, 0);
            let drawn: Vec<Nanos> = (0..50_000).map(|_| jitter.draw(&mut random)).collect();
            assert!(drawn.iter().all(|&delay| delay <= 30_000_000));
            let middle = drawn
                .iter()
                .filter(|&&delay| (7_500_000..22_500_000).contains(&delay))
                .count();
            assert!(
                (middle as f64 / 50_000.0 - near_middle).abs() < 0.01,
                "{jitter:?}: {middle}"
            );
        }
    }
}
