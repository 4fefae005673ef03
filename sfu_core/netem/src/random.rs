//! Seeded randomness that gives the same numbers on every machine: integers alone, no function of the C library.

/// xoshiro256++ (Blackman and Vigna), its state filled by SplitMix64.
#[derive(Clone, Debug)]
pub struct Random([u64; 4]);

impl Random {
    /// Generators of one seed and different `stream`s are independent, so that one effect does not shift another's
    /// draws.
    pub fn new(seed: u64, stream: u64) -> Self {
        let mut state = seed ^ stream.wrapping_mul(0xd1b5_4a32_d192_ed03);
        Self(std::array::from_fn(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            mixed ^ (mixed >> 31)
        }))
    }

    pub fn bits(&mut self) -> u64 {
        let [a, b, c, d] = &mut self.0;
        let result = a.wrapping_add(*d).rotate_left(23).wrapping_add(*a);
        let shifted = *b << 17;
        *c ^= *a;
        *d ^= *b;
        *b ^= *c;
        *a ^= *d;
        *c ^= shifted;
        *d = d.rotate_left(45);
        result
    }

    /// Uniform in [0, 1).
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// Normal with mean 0 and deviation 1, by the sum of twelve uniform numbers: cut at ±6, equal on every machine.
    pub fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut random = Random::new(1, 0);
        let count = 200_000;
        let units: Vec<f64> = (0..count).map(|_| random.unit()).collect();
        let normals: Vec<f64> = (0..count).map(|_| random.normal()).collect();
        for (numbers, mean, variance) in [(units, 0.5, 1.0 / 12.0), (normals, 0.0, 1.0)] {
            let measured = numbers.iter().sum::<f64>() / f64::from(count);
            let spread = numbers.iter().map(|number| (number - measured).powi(2)).sum::<f64>() / f64::from(count);
            assert!((measured - mean).abs() < 0.01, "mean {measured}, expected {mean}");
            assert!(
                (spread / variance - 1.0).abs() < 0.02,
                "variance {spread}, expected {variance}"
            );
        }
    }

    #[test]
    fn seed_and_stream_both_matter() {
        let numbers = |seed, stream| (0..4).map(|_| Random::new(seed, stream).bits()).collect::<Vec<_>>();
        assert_eq!(numbers(1, 2), numbers(1, 2));
        assert_ne!(numbers(1, 2), numbers(2, 2));
        assert_ne!(numbers(1, 2), numbers(1, 3));
    }
}
