//! Parity over sealed datagrams: the sum (XOR) of several lets any one of them be made anew, tag and all.
//!
//! Members lie `stride` numbers apart, so that a run of losses falls into different sums.
//! ```text
//! first member's number (6) | stride (1) | members (1) | sum of lengths (2) | sum of octets, as long as the longest
//! ```

use crate::kept::Kept;
use crate::seal::{MAX_DATAGRAM, OVERHEAD};

const HEAD: usize = 10;
/// Longer datagrams are left out: their parity would not fit.
pub(crate) const MAX_MEMBER: usize = MAX_DATAGRAM - OVERHEAD - HEAD;
pub(crate) const MAX_STRIDE: usize = 8;
const MAX_MEMBERS: u8 = 64;

/// How much parity goes along; none with `members` 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) members: u8,
    pub(crate) stride: u8,
}

/// Below, repeating is enough. Higher spares parity, lower adds it against accidents.
pub(crate) const MIN_LOSS: f64 = 0.003;
/// Where a round trip is shorter, repeating is fast enough. Microseconds.
pub(crate) const MIN_RTT: u64 = 60_000;
/// Parity for each loss, in the mean. Higher mends more at once.
const PER_LOSS: f64 = 2.5;
const MIN_SHARE: f64 = 0.04;
/// With what is repeated all redundancy stays below an eighth.
const MAX_SHARE: f64 = 0.07;
/// A sum is complete within this time, or parity comes later than a repetition. Seconds.
const SPAN: f64 = 0.012;

/// `loss`: share of datagrams. `burst`: mean length of a run of losses. `rtt`: microseconds. `rate`: datagrams per second.
pub(crate) fn plan(loss: f64, burst: f64, rtt: u64, rate: f64) -> Plan {
    if loss < MIN_LOSS || rtt < MIN_RTT {
        return Plan::default();
    }
    let members = (1.0 / (PER_LOSS * loss).clamp(MIN_SHARE, MAX_SHARE)).round();
    let stride = (2.0 * burst - 1.0).round().clamp(1.0, MAX_STRIDE as f64);
    // As many runs as fit the time side by side.
    let stride = stride.min((rate * SPAN / members).floor());
    if stride < 1.0 {
        return Plan::default();
    }
    Plan {
        members: members as u8,
        stride: stride as u8,
    }
}

#[derive(Clone, Debug)]
struct Sum {
    first: u64,
    members: u8,
    lengths: u16,
    longest: usize,
    octets: [u8; MAX_MEMBER],
}

impl Sum {
    const EMPTY: Self = Self {
        first: 0,
        members: 0,
        lengths: 0,
        longest: 0,
        octets: [0; MAX_MEMBER],
    };

    fn add(&mut self, datagram: &[u8]) {
        self.lengths ^= datagram.len() as u16;
        self.longest = self.longest.max(datagram.len());
        xor(&mut self.octets, datagram);
    }

    fn clear(&mut self) {
        self.octets[..self.longest].fill(0);
        (self.members, self.lengths, self.longest) = (0, 0, 0);
    }
}

/// Adds octets up, eight at a time.
fn xor(sum: &mut [u8], datagram: &[u8]) {
    let (sums, sum_rest) = sum[..datagram.len()].as_chunks_mut::<8>();
    let (chunks, rest) = datagram.as_chunks::<8>();
    for (sum, chunk) in sums.iter_mut().zip(chunks) {
        *sum = (u64::from_ne_bytes(*sum) ^ u64::from_ne_bytes(*chunk)).to_ne_bytes();
    }
    for (sum, octet) in sum_rest.iter_mut().zip(rest) {
        *sum ^= octet;
    }
}

/// Sums of what is sent. It has memory only while there is parity.
#[derive(Debug, Default)]
pub(crate) struct Encoder {
    plan: Plan,
    sums: Vec<Sum>,
    payload: Vec<u8>,
}

impl Encoder {
    /// Takes effect at once; sums that were begun are forgotten.
    pub(crate) fn set(&mut self, plan: Plan) {
        if plan != self.plan {
            self.plan = plan;
            self.sums = vec![Sum::EMPTY; usize::from(plan.stride) * usize::from(plan.members > 0)];
        }
    }

    /// True when a sum is complete: then `payload` is what a parity datagram shall carry.
    pub(crate) fn add(&mut self, number: u64, datagram: &[u8]) -> bool {
        if !self.is_on() {
            return false;
        }
        let stride = u64::from(self.plan.stride);
        let Some(sum) = self.sums.get_mut((number % stride.max(1)) as usize) else {
            return false;
        };
        if datagram.len() > MAX_MEMBER {
            sum.clear();
            return false;
        }
        if sum.members == 0 {
            sum.first = number;
        }
        sum.add(datagram);
        sum.members += 1;
        if sum.members < self.plan.members {
            return false;
        }
        self.payload.clear();
        self.payload.extend_from_slice(&sum.first.to_be_bytes()[2..]);
        self.payload.extend_from_slice(&[self.plan.stride, sum.members]);
        self.payload.extend_from_slice(&sum.lengths.to_be_bytes());
        self.payload.extend_from_slice(&sum.octets[..sum.longest]);
        sum.clear();
        true
    }

    pub(crate) fn is_on(&self) -> bool {
        !self.sums.is_empty()
    }

    pub(crate) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// A sum as it arrived.
pub(crate) struct Received<'a> {
    first: u64,
    stride: u8,
    members: u8,
    lengths: u16,
    octets: &'a [u8],
}

impl<'a> Received<'a> {
    /// `None` when it says what no sender of ours does.
    pub(crate) fn parse(payload: &'a [u8]) -> Option<Self> {
        let (head, octets) = payload.split_first_chunk::<HEAD>()?;
        let mut first = [0; 8];
        first[2..].copy_from_slice(head.get(..6)?);
        let received = Self {
            first: u64::from_be_bytes(first),
            stride: head[6],
            members: head[7],
            lengths: u16::from_be_bytes([head[8], head[9]]),
            octets,
        };
        let fits = (1..=MAX_MEMBERS).contains(&received.members)
            && (1..=MAX_STRIDE as u8).contains(&received.stride)
            && octets.len() <= MAX_MEMBER;
        fits.then_some(received)
    }

    pub(crate) fn numbers(&self) -> impl Iterator<Item = u64> + use<> {
        let (first, stride) = (self.first, u64::from(self.stride));
        (0..u64::from(self.members)).map(move |index| first + index * stride)
    }

    /// Makes `missing` anew in `out` from all others, and returns its length; `None` when one of them is not kept.
    pub(crate) fn mend(&self, missing: u64, kept: &Kept, out: &mut [u8; MAX_DATAGRAM]) -> Option<usize> {
        out[..self.octets.len()].copy_from_slice(self.octets);
        out[self.octets.len()..].fill(0);
        let mut lengths = self.lengths;
        for number in self.numbers().filter(|number| *number != missing) {
            let datagram = kept.get(number)?;
            lengths ^= datagram.len() as u16;
            xor(out.get_mut(..).filter(|_| datagram.len() <= MAX_DATAGRAM)?, datagram);
        }
        let len = usize::from(lengths);
        (OVERHEAD..=self.octets.len()).contains(&len).then_some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_plans() {
        let none = Plan::default();
        for (loss, burst, rtt, rate, expected) in [
            (0.0, 1.0, 100_000, 5_000.0, none),
            (0.03, 1.0, 20_000, 5_000.0, none),
            (0.01, 1.0, 100_000, 5_000.0, Plan { members: 25, stride: 1 }),
            (0.03, 1.0, 100_000, 5_000.0, Plan { members: 14, stride: 1 }),
            (0.03, 2.0, 100_000, 5_000.0, Plan { members: 14, stride: 3 }),
            (0.03, 20.0, 100_000, 50_000.0, Plan { members: 14, stride: 8 }),
            (0.5, 1.0, 100_000, 5_000.0, Plan { members: 14, stride: 1 }),
            (0.03, 1.0, 100_000, 500.0, none),
        ] {
            assert_eq!(plan(loss, burst, rtt, rate), expected, "{loss} {burst} {rtt} {rate}");
        }
    }

    #[test]
    fn any_one_of_a_sum_is_made_anew() {
        let plan = Plan { members: 5, stride: 3 };
        for lost in 0..15 {
            let mut encoder = Encoder::default();
            encoder.set(plan);
            let mut kept = Kept::new(100_000, 1_000_000);
            let mut mended = Vec::new();
            for number in 0..15_u64 {
                let datagram: Vec<u8> = (0..100 + number * 37).map(|index| (index * number + 7) as u8).collect();
                if number != lost {
                    kept.keep(0, number, &datagram);
                }
                if encoder.add(number, &datagram) {
                    let received = Received::parse(encoder.payload()).unwrap();
                    if received.numbers().any(|number| number == lost) {
                        let mut out = [9; MAX_DATAGRAM];
                        let len = received.mend(lost, &kept, &mut out).unwrap();
                        mended.push(out[..len].to_vec());
                    }
                }
            }
            let expected: Vec<u8> = (0..100 + lost * 37).map(|index| (index * lost + 7) as u8).collect();
            assert_eq!(mended, [expected], "{lost}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let kept = Kept::new(100_000, 1_000_000);
        for payload in [&[0; 9][..], &[0; 40], &[255; 40], &[1; MAX_MEMBER + HEAD + 1]] {
            assert!(Received::parse(payload).is_none());
        }
        let mut payload = [0; 60];
        (payload[6], payload[7]) = (1, 2);
        let received = Received::parse(&payload).unwrap();
        assert_eq!(received.mend(0, &kept, &mut [0; MAX_DATAGRAM]), None);
    }
}
