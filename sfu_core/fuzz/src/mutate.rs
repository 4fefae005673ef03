//! Seeded mutations, so that the bodies are exercised without a fuzzer.

/// Deterministic numbers (xorshift64*).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        number as usize % limit.max(1)
    }
}

/// Octets at which formats change their mind.
const EDGES: [u8; 8] = [0x00, 0x01, 0x0f, 0x10, 0x7f, 0x80, 0xfe, 0xff];
const LONGEST: usize = 2_048;

/// Changes `data` in one to four ways, of which one may bring in a part of `other`.
pub fn mutate(random: &mut Random, data: &mut Vec<u8>, other: &[u8]) {
    for _ in 0..1 + random.below(4) {
        let at = random.below(data.len());
        match random.below(8) {
            0 if !data.is_empty() => data[at] ^= 1 << random.below(8),
            1 if !data.is_empty() => data[at] = EDGES[random.below(EDGES.len())],
            2 if !data.is_empty() => data[at] = random.below(256) as u8,
            3 => data.truncate(at),
            4 if !data.is_empty() => drop(data.remove(at)),
            5 => data.insert(at, EDGES[random.below(EDGES.len())]),
            6 => {
                let start = random.below(other.len());
                let end = start + random.below(other.len() - start + 1);
                data.truncate(at);
                data.extend(&other[start..end]);
            }
            _ => {
                let len = random.below(data.len() - at.min(data.len()) + 1);
                data.extend_from_within(at..at + len);
            }
        }
        data.truncate(LONGEST);
    }
}
