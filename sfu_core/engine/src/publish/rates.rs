//! Bit and frame rates of one stream by spatial and temporal layer, over the last two seconds.
//!
//! A keyframe counts as any other frame of its layer: it passes, and a layer is chosen by what it takes for longer.

use crate::packet::Packet;

/// Microseconds per bucket; rates are over the full buckets.
const BUCKET: u64 = 250_000;
const BUCKETS: usize = 8;
/// Layers told apart; higher ones count as the last.
pub const MAX_SPATIAL: usize = 4;
pub const MAX_TEMPORAL: usize = 4;

#[derive(Clone, Copy, Debug, Default)]
struct Volume {
    /// Without keyframes.
    bytes: u32,
    /// Of them in frames that higher spatial layers need.
    shared: u32,
    keyframe_bytes: u32,
    frames: u32,
    /// Of them.
    keyframes: u32,
}

type Table = [[Volume; MAX_TEMPORAL]; MAX_SPATIAL];

#[derive(Clone, Debug, Default)]
pub(crate) struct Rates {
    buckets: [Table; BUCKETS],
    filling: Table,
    /// Number of the bucket that fills now, and of the first that was filled whole.
    current: u64,
    first: u64,
    /// Timestamp of the last keyframe.
    keyframe: Option<u32>,
}

/// What one spatial and temporal layer takes.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rate {
    /// With everything that it depends on.
    pub(crate) bits_per_second: f64,
    pub(crate) frames_per_second: f64,
}

impl Rates {
    #[inline]
    pub(crate) fn add(&mut self, packet: &Packet) {
        let bucket = packet.arrival / BUCKET;
        if bucket > self.current {
            self.advance(bucket);
        }
        let facts = &packet.facts;
        let spatial = usize::from(facts.spatial).min(MAX_SPATIAL - 1);
        let temporal = usize::from(facts.temporal).min(MAX_TEMPORAL - 1);
        let volume = &mut self.filling[spatial][temporal];
        let bytes = packet.left_out.unwrap_or(packet.payload().len() as u32);
        volume.frames += u32::from(facts.frame_start);
        if facts.keyframe {
            self.keyframe = Some(packet.timestamp);
        }
        if self.keyframe == Some(packet.timestamp) {
            volume.keyframes += u32::from(facts.frame_start);
            volume.keyframe_bytes = volume.keyframe_bytes.saturating_add(bytes);
            return;
        }
        volume.bytes = volume.bytes.saturating_add(bytes);
        if facts.needed_above {
            volume.shared = volume.shared.saturating_add(bytes);
        }
    }

    /// Of everything, keyframes too.
    pub(crate) fn bits_per_second(&self, now: u64) -> f64 {
        let (buckets, seconds) = self.full(now);
        let volumes = buckets.flat_map(|table| table.iter().flatten());
        bits(
            volumes.map(|volume| volume.bytes.saturating_add(volume.keyframe_bytes)),
            seconds,
        )
    }

    /// Of the layers up to these; zero when it is not known yet.
    pub(crate) fn of(&self, spatial: usize, temporal: usize, now: u64) -> Rate {
        let below = |layer: usize| {
            let (buckets, _) = self.full(now);
            buckets.flat_map(move |table| table[layer].iter().take(temporal + 1))
        };
        let (_, seconds) = self.full(now);
        let frames: u32 = below(spatial).map(|volume| volume.frames).sum();
        let keyframes: u32 = below(spatial).map(|volume| volume.keyframes).sum();
        let bits_per_second = if frames > keyframes {
            let own = bits(below(spatial).map(|volume| volume.bytes), seconds);
            let shared = (0..spatial).map(|layer| bits(below(layer).map(|volume| volume.shared), seconds));
            (own + shared.sum::<f64>()) * f64::from(frames) / f64::from(frames - keyframes)
        } else {
            let own = below(spatial).map(|volume| volume.bytes.saturating_add(volume.keyframe_bytes));
            bits(own, seconds)
        };
        Rate {
            bits_per_second,
            frames_per_second: f64::from(frames) / seconds,
        }
    }

    /// Number of spatial and temporal layers that were seen lately.
    pub(crate) fn extent(&self) -> (usize, usize) {
        let (mut spatials, mut temporals) = (0, 0);
        for table in self.buckets.iter().chain([&self.filling]) {
            for (spatial, row) in table.iter().enumerate() {
                for (temporal, _) in row
                    .iter()
                    .enumerate()
                    .filter(|(_, volume)| volume.bytes > 0 || volume.keyframe_bytes > 0)
                {
                    (spatials, temporals) = (spatials.max(spatial + 1), temporals.max(temporal + 1));
                }
            }
        }
        (spatials, temporals)
    }

    /// The buckets that are full at `now`, and how many seconds they are.
    fn full(&self, now: u64) -> (impl Iterator<Item = &Table>, f64) {
        let bucket = (now / BUCKET).max(self.current);
        let oldest = bucket.saturating_sub(BUCKETS as u64).max(self.first);
        let tables = (oldest..bucket).filter_map(|number| match number {
            filling if filling == self.current => Some(&self.filling),
            older if older < self.current => self.buckets.get(older as usize % BUCKETS),
            _ => None,
        });
        let count = bucket.saturating_sub(oldest).max(1);
        (tables, count as f64 * BUCKET as f64 / 1e6)
    }

    #[cold]
    fn advance(&mut self, bucket: u64) {
        if bucket - self.current > BUCKETS as u64 {
            self.buckets = Default::default();
            // A flow that begins within a bucket does not fill it.
            self.first = bucket + 1;
        } else {
            self.buckets[self.current as usize % BUCKETS] = self.filling;
            for empty in self.current + 1..bucket {
                self.buckets[empty as usize % BUCKETS] = Default::default();
            }
        }
        self.filling = Default::default();
        self.current = bucket;
    }
}

fn bits(bytes: impl Iterator<Item = u32>, seconds: f64) -> f64 {
    bytes.map(u64::from).sum::<u64>() as f64 * 8.0 / seconds
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    fn add(rates: &mut Rates, ms: u64, (spatial, temporal): (u8, u8), bytes: usize, needed_above: bool) {
        let mut packet = Packet::default();
        packet.arrival = ms * MS;
        (packet.facts.spatial, packet.facts.temporal) = (spatial, temporal);
        (packet.facts.frame_start, packet.facts.needed_above) = (true, needed_above);
        assert!(packet.set_content(&vec![0; bytes], &[]));
        rates.add(&packet);
    }

    #[test]
    fn a_steady_flow_is_known_after_a_bucket_and_falls_to_zero() {
        let mut rates = Rates::default();
        let mut known = None;
        for ms in 10_100..13_000 {
            add(&mut rates, ms, (0, 0), 125, false);
            let rate = rates.bits_per_second(ms * MS);
            if rate > 0.0 {
                known.get_or_insert(ms);
                assert_eq!(rate, 1e6, "{ms}");
            }
        }
        assert_eq!(known, Some(10_500));
        assert_eq!(rates.bits_per_second(13_500 * MS), 7.5e5);
        assert_eq!(rates.bits_per_second(60_000 * MS), 0.0);
        for ms in 70_000..70_600 {
            add(&mut rates, ms, (0, 0), 250, false);
        }
        assert_eq!(rates.bits_per_second(70_600 * MS), 2e6, "nothing of before");
    }

    #[test]
    fn a_keyframe_counts_as_any_other_frame() {
        let mut rates = Rates::default();
        for (index, ms) in (10_000..13_000).step_by(100).enumerate() {
            let mut packet = Packet::default();
            (packet.arrival, packet.timestamp) = (ms * MS, ms as u32 * 90);
            let keyframe = index == 25;
            for part in 0..if keyframe { 8 } else { 1 } {
                (packet.facts.frame_start, packet.facts.keyframe) = (part == 0, keyframe && part == 0);
                assert!(packet.set_content(&[0; 1_250], &[]));
                rates.add(&packet);
            }
        }
        let rate = rates.of(0, 0, 13_000 * MS);
        assert!((rate.bits_per_second - 1e5).abs() < 1.0, "{rate:?}");
        assert_eq!(rate.frames_per_second, 10.0);
        assert_eq!(rates.bits_per_second(13_000 * MS), 1.35e5);
    }

    /// Two spatial layers of three temporal ones; the lower spatial layer is needed by the higher, or only for itself.
    #[test]
    fn a_layer_costs_what_it_depends_on() {
        for (needed, upper) in [
            (true, [30_000.0, 60_000.0, 120_000.0]),
            (false, [20_000.0, 40_000.0, 80_000.0]),
        ] {
            let mut rates = Rates::default();
            for (ms, temporal) in (10_000..13_000).step_by(25).zip([0, 2, 1, 2].into_iter().cycle()) {
                add(&mut rates, ms, (0, temporal), 125, needed);
                add(&mut rates, ms, (1, temporal), 250, false);
            }
            assert_eq!(rates.extent(), (2, 3));
            let of = |spatial| [0, 1, 2].map(|temporal| rates.of(spatial, temporal, 13_000 * MS));
            assert_eq!(of(0).map(|rate| rate.bits_per_second), [10_000.0, 20_000.0, 40_000.0]);
            assert_eq!(of(1).map(|rate| rate.bits_per_second), upper);
            assert_eq!(of(1).map(|rate| rate.frames_per_second), [10.0, 20.0, 40.0]);
        }
    }

    #[test]
    fn layers_beyond_the_table_count_as_the_last() {
        let mut rates = Rates::default();
        for ms in 10_000..11_000 {
            add(&mut rates, ms, (7, 7), 125, false);
        }
        assert_eq!(rates.extent(), (MAX_SPATIAL, MAX_TEMPORAL));
        assert_eq!(rates.of(3, 3, 11_000 * MS).bits_per_second, 1e6);
    }
}
