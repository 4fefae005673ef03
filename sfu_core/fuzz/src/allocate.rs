//! Allocation of layers over absurd offers and wishes, decision after decision.

use engine::allocate::{
    Candidate, Decision, Demand, Hysteresis, Layer, LayerId, Reason, Request, Scratch, Source, Standing, Summary,
    Target, allocate as decide, complete, highest_wanted,
};

use crate::input::Input;

pub(crate) fn allocate(data: &[u8]) {
    let mut input = Input::new(data);
    let mut layers: Vec<_> = (0..input.u8() % 32).map(|_| layer(&mut input)).collect();
    if input.bool() {
        complete(&mut layers, Source::Camera);
        assert!(
            layers
                .iter()
                .all(|layer| layer.frames_per_second > 0.0 && layer.width > 0)
        );
    }
    let mut candidates: Vec<_> = (0..input.u8() % 12)
        .map(|_| candidate(&mut input, layers.len()))
        .collect();
    let (mut scratch, mut decisions) = (Scratch::default(), Vec::new());
    let (mut now, mut standing) = (0, Standing::default());
    for _ in 0..8 {
        let ask = input.u8();
        now += u64::from(input.u16()) << (ask % 24);
        let request = Request {
            now,
            budget: number(&mut input),
            resume: (ask & 0x80 != 0).then(|| number(&mut input)),
            audio: if ask & 0x40 != 0 { number(&mut input) } else { 0 },
            overhead: [0.0, 0.15, 1.0, f32::NAN, -1.0, f32::INFINITY, 0.5, 0.0][usize::from(ask % 8)],
            layers: &layers,
            candidates: &candidates,
            standing,
        };
        let summary = decide(&request, &mut scratch, &mut decisions);
        check(&request, &summary, &decisions);
        // Neither memory of former calls nor anything else but the request counts.
        let mut again = Vec::new();
        let fresh = decide(&request, &mut Scratch::default(), &mut again);
        assert_eq!((&fresh, &again), (&summary, &decisions));
        standing = summary.standing;
        for (candidate, decision) in candidates.iter_mut().zip(&decisions) {
            (candidate.current, candidate.hysteresis) = (decision.layer(), decision.hysteresis);
        }
    }
}

fn check(request: &Request<'_>, summary: &Summary, decisions: &[Decision]) {
    assert_eq!(decisions.len(), request.candidates.len());
    let sum: u64 = decisions.iter().map(|decision| decision.bits_per_second).sum();
    assert_eq!(sum, summary.video);
    assert!(summary.utility.is_finite() && summary.total < 1 << 56 && summary.desired < 1 << 56);
    let bounds = [Some(request.budget), request.resume, Some(request.audio)];
    let most = bounds.iter().flatten().max().map_or(0, |&most| most.min(1 << 40));
    assert!(summary.over_budget || summary.total <= most + 1);
    assert!(summary.steps.iter().all(|&step| step > summary.video));
    for (candidate, decision) in request.candidates.iter().zip(decisions) {
        let range = candidate.layers.start as usize..candidate.layers.end as usize;
        let offered = request.layers.get(range).unwrap_or_default();
        let flowing = || offered.iter().filter(|layer| layer.active);
        match decision.target {
            Target::Paused(reason) => {
                assert_eq!(decision.bits_per_second, 0);
                assert_eq!(reason == Reason::Asked, candidate.paused);
                assert!(reason != Reason::NothingFlows || flowing().next().is_none());
                assert!(reason != Reason::Bandwidth || candidate.may_pause);
            }
            Target::Layer(id) => {
                assert!(!candidate.paused && flowing().any(|layer| layer.id == id));
                let within = |id: LayerId| id.spatial <= candidate.max_spatial && id.temporal <= candidate.max_temporal;
                assert!(
                    within(id) || !flowing().any(|layer| within(layer.id)),
                    "beyond the wish"
                );
                // Who may be paused is, before the budget is exceeded; only what was held before is kept for a moment.
                let was_held = request.resume.is_some() || request.standing != Standing::default();
                assert!(!summary.over_budget || !candidate.may_pause || was_held, "{decision:?}");
            }
        }
    }
}

/// What a publisher is told to send covers what is wanted, and no more than was wanted lately.
pub(crate) fn demand(data: &[u8]) {
    // Twice, each counted from a call and noticed at the next.
    const LINGER: u64 = 2 * (5_000_000 + LONGEST_STEP);
    const LONGEST_STEP: u64 = 0xffff * 100;
    let mut input = Input::new(data);
    let (mut demand, mut now) = (Demand::default(), 0);
    // At first everything is wanted.
    let mut wishes = vec![(0, demand.needed())];
    while !input.is_empty() {
        let passed = u64::from(input.u16()) * 100;
        now += passed;
        let some: Vec<_> = (0..input.u8() % 4).map(|_| wish(&mut input)).collect();
        let wanted = highest_wanted(some.iter().copied());
        // The last wish held until now.
        wishes.retain(|&(until, _)| until + LINGER >= now);
        if let Some(last) = wishes.last_mut() {
            last.0 = now;
        }
        wishes.push((now, wanted));
        demand = demand.after(now, wanted);
        assert!(covers(demand.needed(), wanted));
        let lately = highest_wanted(wishes.iter().map(|&(_, wish)| wish));
        assert!(covers(lately, demand.needed()), "{lately:?} {:?}", demand.needed());
    }
}

fn covers(all: Option<LayerId>, part: Option<LayerId>) -> bool {
    part.is_none_or(|part| all.is_some_and(|all| all.spatial >= part.spatial && all.temporal >= part.temporal))
}

fn wish(input: &mut Input<'_>) -> Option<LayerId> {
    let octet = input.u8();
    (octet & 0x80 == 0).then_some(LayerId {
        spatial: octet & 3,
        temporal: octet >> 2 & 3,
    })
}

fn number(input: &mut Input<'_>) -> u64 {
    let shift = input.u8();
    u64::from(input.u16()) << (shift % 56) | if shift == 0xff { u64::MAX } else { 0 }
}

fn layer(input: &mut Input<'_>) -> Layer {
    let shape = input.u8();
    Layer {
        id: LayerId {
            spatial: if shape & 0x20 != 0 { input.u8() } else { shape & 3 },
            temporal: shape >> 2 & 7,
        },
        active: shape & 0x40 == 0,
        bits_per_second: if shape & 0x80 != 0 {
            number(input)
        } else {
            u64::from(input.u16()) * 100
        },
        width: input.u16(),
        height: input.u16(),
        frames_per_second: [0.0, 30.0, f32::NAN, f32::INFINITY, -1.0, 1e-30][usize::from(input.u8()) % 6],
    }
}

fn candidate(input: &mut Input<'_>, layers: usize) -> Candidate {
    let shape = input.u8();
    let start = u32::from(input.u8()) % (layers as u32 + 2);
    Candidate {
        source: if shape & 1 == 0 { Source::Camera } else { Source::Screen },
        priority: input.u8() as i8,
        speaker_rank: (shape & 2 != 0).then(|| input.u8()),
        wanted: (shape & 4 != 0).then(|| (input.u16(), input.u16())),
        max_spatial: if shape & 8 != 0 { input.u8() } else { 3 },
        max_temporal: if shape & 16 != 0 { input.u8() } else { 3 },
        paused: shape & 32 != 0,
        may_pause: shape & 64 == 0,
        current: (shape & 128 != 0).then(|| LayerId {
            spatial: input.u8(),
            temporal: input.u8(),
        }),
        hysteresis: Hysteresis::default(),
        layers: start..start + u32::from(input.u8() % 16),
    }
}
