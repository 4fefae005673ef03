//! How a path loses: the share of packets, and how many in a row, from transport-wide feedback.

/// Length of one part of the window, microseconds, and their number: 30 s in all, so that bursts are seen that come every ten
/// seconds. Longer is steadier, shorter follows a path that changes sooner.
const PART: u64 = 3_000_000;
const PARTS: usize = 10;
/// Packets before anything is said.
const MIN_PACKETS: u32 = 100;

/// What the window holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// 0 to 1.
    pub share: f32,
    /// Mean number of packets lost in a row, 1 or more.
    pub burst: f32,
}

impl Loss {
    pub const NONE: Self = Self { share: 0.0, burst: 1.0 };
}

/// Feed it each transport-wide number once, in order, when its fate is settled: not a number that the next feedback may
/// still report as received.
#[derive(Clone, Debug)]
pub struct Bursts {
    parts: [Part; PARTS],
    current: usize,
    /// When the current part began, microseconds.
    began: u64,
    /// The last packet was lost.
    losing: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Part {
    packets: u32,
    lost: u32,
    bursts: u32,
}

impl Bursts {
    pub fn new(now: u64) -> Self {
        Self {
            parts: Default::default(),
            current: 0,
            began: now,
            losing: false,
        }
    }

    /// `now` in microseconds.
    pub fn on_packet(&mut self, now: u64, received: bool) {
        self.advance(now);
        let part = &mut self.parts[self.current];
        part.packets = part.packets.saturating_add(1);
        if !received {
            part.lost += 1;
            part.bursts += u32::from(!self.losing);
        }
        self.losing = !received;
    }

    pub fn loss(&mut self, now: u64) -> Loss {
        self.advance(now);
        let sum = |field: fn(&Part) -> u32| self.parts.iter().map(|part| u64::from(field(part))).sum::<u64>();
        let (packets, lost, bursts) = (sum(|part| part.packets), sum(|part| part.lost), sum(|part| part.bursts));
        if packets < u64::from(MIN_PACKETS) || lost == 0 {
            return Loss::NONE;
        }
        Loss {
            share: lost as f32 / packets as f32,
            // A burst that began before the window has no beginning in it.
            burst: lost as f32 / bursts.max(1) as f32,
        }
    }

    fn advance(&mut self, now: u64) {
        let passed = now.saturating_sub(self.began) / PART;
        for _ in 0..passed.min(PARTS as u64) {
            self.current = (self.current + 1) % PARTS;
            self.parts[self.current] = Part::default();
        }
        self.began += passed * PART;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fec::tests::path::Losses;

    #[test]
    fn finds_share_and_burst_of_a_path() {
        for (share, burst) in [(0.01, 1.0), (0.02, 2.0), (0.05, 5.0), (0.1, 3.0), (0.3, 1.5)] {
            let mut path = Losses::new(7, share, burst);
            let mut bursts = Bursts::new(0);
            let mut seen = Vec::new();
            // 300 packets per second; the estimate at the end of each window.
            for packet in 0..600 * 300_u64 {
                let now = packet * 3_333;
                bursts.on_packet(now, !path.next());
                if packet % 9_000 == 8_999 {
                    seen.push(bursts.loss(now));
                }
            }
            let mean = |field: fn(&Loss) -> f32| seen.iter().map(field).sum::<f32>() / seen.len() as f32;
            let (got_share, got_burst) = (mean(|loss| loss.share), mean(|loss| loss.burst));
            assert!((got_share / share as f32 - 1.0).abs() < 0.2, "{got_share} of {share}");
            assert!((got_burst / burst as f32 - 1.0).abs() < 0.2, "{got_burst} of {burst}");
        }
    }

    #[test]
    fn says_nothing_of_few_packets_and_forgets() {
        let mut bursts = Bursts::new(0);
        for packet in 0..99 {
            bursts.on_packet(packet, packet % 2 == 0);
        }
        assert_eq!(bursts.loss(99), Loss::NONE);
        bursts.on_packet(100, true);
        assert_eq!(
            bursts.loss(100),
            Loss {
                share: 0.49,
                burst: 1.0
            }
        );
        assert_eq!(bursts.loss(29_999_999).share, 0.49);
        assert_eq!(bursts.loss(30_000_000), Loss::NONE);
        assert_eq!(bursts.loss(u64::MAX), Loss::NONE);
    }
}
