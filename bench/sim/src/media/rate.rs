//! Sizes of frames as a rate control makes them.

use netem::Random;

use super::spec::FPS;

/// A keyframe against the mean frame.
const KEYFRAME: f64 = 5.0;
/// Standard deviation of sizes, of the mean.
const VARIATION: f64 = 0.15;
/// What a keyframe took too much is saved by frames that are this much smaller.
const SAVING: f64 = 0.2;
const LEAST: f64 = 60.0;

pub(crate) struct RateControl {
    /// Octets of a mean frame.
    mean: f64,
    debt: f64,
    random: Random,
}

impl RateControl {
    pub(crate) fn new(bits_per_second: f64, seed: u64, stream: u64) -> Self {
        Self {
            mean: bits_per_second / 8.0 / FPS as f64,
            debt: 0.0,
            random: Random::new(seed, stream),
        }
    }

    /// Octets of the next frame, which usually has so many times the mean.
    pub(crate) fn next(&mut self, key: bool, weight: f64) -> usize {
        let varied = 1.0 + (VARIATION * self.random.normal()).clamp(-0.5, 0.8);
        if key {
            let size = self.mean * KEYFRAME * varied;
            self.debt += size - self.mean;
            return size as usize;
        }
        let size = self.mean * weight * varied;
        let saved = (size * SAVING).min(self.debt);
        self.debt -= saved;
        (size - saved).max(LEAST) as usize
    }
}
