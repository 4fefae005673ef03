//! Helpers, and the rules as tables.

mod optimum;
mod properties;
mod rules;
mod stability;

use super::*;

pub(super) const TOP: u8 = 255;

pub(super) fn layer(spatial: u8, temporal: u8, kilobits: u64, active: bool) -> Layer {
    let halvings = f32::from(2 - temporal.min(2));
    Layer {
        id: id(spatial, temporal),
        active,
        bits_per_second: kilobits * 1_000,
        width: 320 << spatial,
        height: 180 << spatial,
        frames_per_second: 30.0 / halvings.exp2(),
    }
}

pub(super) fn id(spatial: u8, temporal: u8) -> LayerId {
    LayerId { spatial, temporal }
}

pub(super) fn camera(layers: Range<u32>) -> Candidate {
    Candidate {
        source: Source::Camera,
        priority: 0,
        speaker_rank: None,
        wanted: None,
        max_spatial: TOP,
        max_temporal: TOP,
        paused: false,
        may_pause: true,
        current: None,
        hysteresis: Hysteresis::default(),
        layers,
    }
}

/// 180p, 360p and 720p with three temporal layers each: 150, 500 and 2,000 kb/s in full.
fn simulcast() -> Vec<Layer> {
    let rates = [[60, 90, 150], [200, 300, 500], [800, 1_200, 2_000]];
    let all = (0u8..).zip(rates).flat_map(|(spatial, rates)| {
        (0u8..)
            .zip(rates)
            .map(move |(temporal, rate)| layer(spatial, temporal, rate, true))
    });
    all.collect()
}

/// A subscriber between decisions.
struct Subscriber {
    layers: Vec<Layer>,
    candidates: Vec<Candidate>,
    audio: u64,
    overhead: f32,
    standing: Standing,
    resume: Option<u64>,
    scratch: Scratch,
    decisions: Vec<Decision>,
    switches: usize,
}

impl Subscriber {
    fn new(tracks: &[&[Layer]]) -> Self {
        let mut layers = Vec::new();
        let mut candidates = Vec::new();
        for track in tracks {
            let start = layers.len() as u32;
            layers.extend_from_slice(track);
            candidates.push(camera(start..layers.len() as u32));
        }
        Self {
            layers,
            candidates,
            audio: 0,
            overhead: 0.0,
            standing: Standing::default(),
            resume: None,
            scratch: Scratch::default(),
            decisions: Vec::new(),
            switches: 0,
        }
    }

    /// What would be decided, without doing it.
    fn ask(&mut self, now: u64, budget: u64) -> Summary {
        let request = Request {
            now,
            budget,
            audio: self.audio,
            overhead: self.overhead,
            layers: &self.layers,
            candidates: &self.candidates,
            standing: self.standing,
            resume: self.resume,
        };
        allocate(&request, &mut self.scratch, &mut self.decisions)
    }

    fn decide(&mut self, now: u64, budget: u64) -> Summary {
        let summary = self.ask(now, budget);
        self.standing = summary.standing;
        for (candidate, decision) in self.candidates.iter_mut().zip(&self.decisions) {
            self.switches += usize::from(candidate.current != decision.layer());
            candidate.current = decision.layer();
            candidate.hysteresis = decision.hysteresis;
        }
        summary
    }

    /// Decides every 100 ms from `from` to `to`, seconds.
    fn run(&mut self, (from, to): (u64, u64), mut budget: impl FnMut() -> u64) {
        for tick in from * 10..to * 10 {
            let budget = budget();
            let summary = self.decide(tick * 100_000, budget);
            assert!(summary.over_budget || summary.total <= budget + 1);
        }
    }

    fn targets(&self) -> Vec<Option<LayerId>> {
        self.decisions.iter().map(Decision::layer).collect()
    }
}

/// Deterministic numbers (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// Around 1, at most `spread` away.
    fn around(&mut self, spread: f64) -> f64 {
        1.0 - spread + 2.0 * spread * self.below(1 << 30) as f64 / f64::from(1 << 30)
    }
}

/// Tracks of all kinds: simulcast and single, with layers missing, overshooting and out of order of cost.
fn random(random: &mut Random, count: usize) -> Subscriber {
    let tracks: Vec<Vec<Layer>> = (0..count)
        .map(|_| {
            let (spatials, temporals) = (1 + random.below(3) as u8, 1 + random.below(3) as u8);
            let scale = 0.3 + random.below(300) as f64 / 100.0;
            let mut track = Vec::new();
            for spatial in 0..spatials {
                for temporal in 0..temporals {
                    let nominal = [150.0, 500.0, 2_000.0][usize::from(spatial)]
                        * [0.4, 0.6, 1.0][usize::from(2 + temporal - (temporals - 1))];
                    let rate = nominal * scale * random.around(0.4);
                    track.push(layer(
                        spatial,
                        temporal + 3 - temporals,
                        rate as u64,
                        !random.chance(10),
                    ));
                }
            }
            track
        })
        .collect();
    let borrowed: Vec<&[Layer]> = tracks.iter().map(Vec::as_slice).collect();
    let mut subscriber = Subscriber::new(&borrowed);
    for candidate in &mut subscriber.candidates {
        if random.chance(15) {
            candidate.source = Source::Screen;
        }
        if random.chance(30) {
            candidate.priority = random.below(7) as i8 - 3;
        }
        if random.chance(20) {
            candidate.speaker_rank = Some(random.below(4) as u8);
        }
        if random.chance(50) {
            let height = 90 + random.below(1_000) as u16;
            candidate.wanted = Some((height / 9 * 16, height));
        }
        if random.chance(20) {
            candidate.max_spatial = random.below(3) as u8;
        }
        candidate.paused = random.chance(5);
    }
    subscriber
}
