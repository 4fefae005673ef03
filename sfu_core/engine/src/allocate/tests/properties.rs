//! What holds for any input.

use super::*;

#[test]
fn the_budget_is_not_exceeded_beyond_what_is_tolerated() {
    let mut random = Random(10);
    for _ in 0..300 {
        let count = 1 + random.below(20) as usize;
        let mut subscriber = super::random(&mut random, count);
        subscriber.audio = random.below(200_000);
        subscriber.overhead = random.below(30) as f32 / 100.0;
        let desired = subscriber.ask(0, 0).desired;
        for tick in 0..10 {
            let budget = random.below(desired * 12 / 10 + 1);
            let summary = subscriber.decide(tick * 1_000_000, budget);
            let tolerated = if summary.over_budget { 1.0 + EXCESS } else { 1.0 };
            let most = budget.max(subscriber.audio) as f64 * tolerated;
            assert!(summary.total as f64 <= most + 1.0, "{summary:?} {budget}");
            let sum: u64 = subscriber
                .decisions
                .iter()
                .map(|decision| decision.bits_per_second)
                .sum();
            assert_eq!(sum, summary.video);
        }
    }
}

#[test]
fn more_budget_is_never_worse() {
    let mut random = Random(11);
    for _ in 0..200 {
        let count = 1 + random.below(12) as usize;
        let mut subscriber = super::random(&mut random, count);
        let desired = subscriber.ask(0, 0).desired * 12 / 10;
        let mut best = 0.0;
        for step in 0..=100 {
            let utility = subscriber.ask(0, desired * step / 100).utility;
            // Near the optimum, not at it.
            assert!(utility >= best * 0.99, "{utility} after {best}");
            best = utility.max(best);
        }
    }
}

#[test]
fn priority_is_respected_among_equals() {
    let track = simulcast();
    let mut random = Random(12);
    for _ in 0..300 {
        let count = 2 + random.below(10) as usize;
        let mut subscriber = Subscriber::new(&vec![track.as_slice(); count]);
        for candidate in &mut subscriber.candidates {
            candidate.priority = random.below(5) as i8 - 2;
        }
        let desired = subscriber.ask(0, 0).desired;
        subscriber.ask(0, random.below(desired));
        for (a, b) in subscriber.candidates.iter().zip(&subscriber.decisions) {
            for (c, d) in subscriber.candidates.iter().zip(&subscriber.decisions) {
                let better = a.priority >= c.priority + 2;
                assert!(
                    !better || b.layer() >= d.layer(),
                    "{} {b:?} {} {d:?}",
                    a.priority,
                    c.priority
                );
            }
        }
    }
}

#[test]
fn hostile_numbers() {
    let mut random = Random(13);
    for _ in 0..2_000 {
        let mut layers: Vec<Layer> = (0..random.below(40))
            .map(|_| {
                let extreme = |random: &mut Random| [0, 1, u64::MAX, random.below(1 << 40)][random.below(4) as usize];
                Layer {
                    id: id(extreme(&mut random) as u8, extreme(&mut random) as u8),
                    active: random.chance(70),
                    bits_per_second: extreme(&mut random),
                    width: extreme(&mut random) as u16,
                    height: extreme(&mut random) as u16,
                    frames_per_second: [0.0, -1.0, f32::NAN, f32::INFINITY, 30.0][random.below(5) as usize],
                }
            })
            .collect();
        if random.chance(50) {
            complete(&mut layers, Source::Screen);
        }
        let candidates: Vec<_> = (0..random.below(8))
            .map(|_| Candidate {
                source: [Source::Camera, Source::Screen][random.below(2) as usize],
                priority: random.below(256) as u8 as i8,
                speaker_rank: random.chance(50).then(|| random.below(256) as u8),
                wanted: random
                    .chance(50)
                    .then(|| (random.below(65_536) as u16, random.below(3) as u16)),
                max_spatial: random.below(256) as u8,
                max_temporal: random.below(256) as u8,
                may_pause: random.chance(70),
                current: random
                    .chance(50)
                    .then(|| id(random.below(4) as u8, random.below(4) as u8)),
                ..camera(random.below(50) as u32..random.below(50) as u32)
            })
            .collect();
        let request = Request {
            now: random.below(u64::MAX),
            budget: [0, 1_000_000, u64::MAX][random.below(3) as usize],
            audio: [0, u64::MAX][random.below(2) as usize],
            overhead: [0.0, 0.5, f32::NAN, -1.0, f32::INFINITY][random.below(5) as usize],
            layers: &layers,
            candidates: &candidates,
            standing: Standing::default(),
            resume: None,
        };
        let mut decisions = Vec::new();
        let summary = allocate(&request, &mut Scratch::default(), &mut decisions);
        assert_eq!(decisions.len(), candidates.len());
        assert!(summary.utility.is_finite() && summary.total <= 1 << 50);
    }
}

#[test]
fn thousands_of_subscriptions_reuse_their_memory() {
    let mut random = Random(14);
    let mut subscriber = super::random(&mut random, 2_048);
    let desired = subscriber.ask(0, 0).desired;
    subscriber.decide(0, desired / 3);
    let capacities = |s: &Subscriber| {
        (
            s.scratch.choices.capacity(),
            s.scratch.menus.capacity(),
            s.decisions.capacity(),
        )
    };
    let before = capacities(&subscriber);
    for tick in 1..20 {
        let summary = subscriber.decide(tick * 100_000, desired * tick / 20);
        assert!(summary.total <= desired * tick / 20 + 1);
    }
    assert_eq!(capacities(&subscriber), before);
}
