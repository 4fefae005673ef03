//! What happens behind the bottleneck, scripts, and that all of it repeats.

use pysfu_netem::{Aqm, Capacity, Change, Jitter, Link, LinkConfig, Loss, Reorder, Script};

use crate::run::{PACKET, ms, run, s};

#[test]
fn jitter_alone_reorders_nothing() {
    for jitter in [Jitter::uniform(ms(30)), Jitter::normal(ms(30))] {
        let config = LinkConfig {
            delay: ms(50),
            jitter: Some(jitter),
            ..LinkConfig::default()
        };
        let run = run(config, 1, 2_000_000, s(60));
        assert_eq!(run.counters.reordered, 0);
        assert!(run.arrivals.is_sorted());
        assert!(run.delays().all(|delay| (ms(50)..=ms(80)).contains(&delay)));
        assert!(run.delays().max().unwrap() - run.delays().min().unwrap() > ms(25));
    }
}

#[test]
fn jitter_may_reorder_when_asked() {
    let jitter = Jitter {
        reorders: true,
        ..Jitter::uniform(ms(30))
    };
    let config = LinkConfig {
        jitter: Some(jitter),
        ..LinkConfig::default()
    };
    assert!(run(config, 1, 2_000_000, s(10)).counters.reordered > 100);
}

#[test]
fn reordered_packets_come_late_by_what_was_asked() {
    let config = LinkConfig {
        delay: ms(50),
        reorder: Some(Reorder {
            probability: 0.02,
            extra: ms(25),
        }),
        ..LinkConfig::default()
    };
    let run = run(config, 1, 2_000_000, s(60));
    let late = run.delays().filter(|&delay| delay == ms(75)).count();
    assert!(run.delays().all(|delay| delay == ms(50) || delay == ms(75)));
    let share = late as f64 / run.arrivals.len() as f64;
    assert!((share - 0.02).abs() < 0.005, "{share}");
    assert_eq!(run.counters.reordered, late as u64);
}

#[test]
fn duplicates_arrive_beside_their_originals() {
    let config = LinkConfig {
        duplicate: 0.1,
        ..LinkConfig::default()
    };
    let run = run(config, 1, 2_000_000, s(60));
    run.assert_nothing_vanished();
    let twice = run.arrivals.windows(2).filter(|pair| pair[0] == pair[1]).count();
    assert_eq!(run.counters.duplicated, twice as u64);
    assert!((twice as f64 / run.counters.offered as f64 - 0.1).abs() < 0.01);
}

#[test]
fn loss_behind_the_bottleneck_uses_capacity() {
    let config = LinkConfig {
        capacity: Capacity::kbps(1_000),
        loss: Loss::bursts(0.1, 4.0).unwrap(),
        ..LinkConfig::default()
    };
    let run = run(config, 1, 1_500_000, s(300));
    run.assert_nothing_vanished();
    let counters = run.counters;
    assert!((counters.departed as f64 * PACKET as f64 / counters.capacity_bytes as f64) > 0.99);
    let lost = counters.lost as f64 / counters.departed as f64;
    assert!((lost - 0.1).abs() < 0.01, "{lost}");
}

#[test]
fn script_steps_take_effect_at_their_times() {
    let config = LinkConfig {
        capacity: Capacity::kbps(1_000),
        delay: ms(50),
        script: Script::capacities([(s(40), 2_500_000), (s(60), 600_000), (s(80), 1_000_000)])
            .with(s(90), Change::AddDelay(ms(50))),
        ..LinkConfig::default()
    };
    let run = run(config, 1, 3_000_000, s(100));
    let between = |from: u64, to: u64| (run.bytes_until(s(to) + ms(50)) - run.bytes_until(s(from) + ms(50))) as f64;
    for (from, to, rate) in [
        (1, 40, 1_000_000.0),
        (40, 60, 2_500_000.0),
        (60, 80, 600_000.0),
        (80, 90, 1_000_000.0),
    ] {
        let expected = rate / 8.0 * (to - from) as f64;
        assert!((between(from, to) - expected).abs() <= PACKET as f64, "{from}–{to} s");
    }
    // 50 ms of silence at the step, then the same pace.
    let gaps: Vec<_> = run
        .arrivals
        .windows(2)
        .filter(|pair| pair[1].1 - pair[0].1 > ms(40))
        .collect();
    assert_eq!(gaps.len(), 1);
    assert!((s(90)..s(90) + ms(110)).contains(&gaps[0][1].1));
    assert_eq!(run.counters.reordered, 0);
}

#[test]
fn less_delay_waits_for_what_is_under_way() {
    let mut link = Link::new(
        LinkConfig {
            delay: ms(100),
            ..LinkConfig::default()
        },
        1,
    );
    link.push(ms(0), PACKET, 'a');
    link.set(ms(10), Change::Delay(ms(20)));
    link.push(ms(10), PACKET, 'b');
    assert_eq!(link.pop(ms(99)), None);
    assert_eq!(link.pop(ms(200)), Some((ms(100), 'a')));
    assert_eq!(link.pop(ms(200)), Some((ms(100), 'b')));
}

fn everything() -> LinkConfig {
    LinkConfig {
        capacity: Capacity::kbps(1_500),
        delay: ms(40),
        aqm: Aqm::CODEL,
        jitter: Some(Jitter::uniform(ms(10))),
        reorder: Some(Reorder {
            probability: 0.01,
            extra: ms(20),
        }),
        duplicate: 0.01,
        loss: Loss::bursts(0.03, 3.0).unwrap(),
        script: Script::capacities([(s(5), 900_000), (s(10), 3_000_000)]),
        ..LinkConfig::default()
    }
}

#[test]
fn same_seed_same_result() {
    let (first, second) = (
        run(everything(), 5, 1_600_000, s(20)),
        run(everything(), 5, 1_600_000, s(20)),
    );
    first.assert_nothing_vanished();
    assert_eq!(first.arrivals, second.arrivals);
    assert_eq!(first.counters, second.counters);
    assert_ne!(first.arrivals, run(everything(), 6, 1_600_000, s(20)).arrivals);
}

#[test]
fn polling_more_often_changes_nothing() {
    let pushes: Vec<_> = (0..2_000).map(|index| ms(index * 7)).collect();
    let outcome = |polls: u32| {
        let mut link = Link::new(everything(), 9);
        let mut arrivals = Vec::new();
        for pair in pushes.windows(2) {
            link.push(pair[0], PACKET, pair[0]);
            for step in 0..polls {
                arrivals.extend(std::iter::from_fn(|| {
                    link.pop(pair[0] + (pair[1] - pair[0]) * step / polls)
                }));
            }
        }
        arrivals.extend(std::iter::from_fn(|| link.pop(s(60))));
        arrivals
    };
    assert_eq!(outcome(0), outcome(1));
    assert_eq!(outcome(1), outcome(13));
}

#[test]
fn one_effect_does_not_shift_the_draws_of_another() {
    let lost = |jitter| {
        let config = LinkConfig {
            loss: Loss::independent(0.1),
            jitter,
            ..LinkConfig::default()
        };
        let run = run(config, 3, 1_000_000, s(20));
        run.arrivals.into_iter().map(|(pushed, _)| pushed).collect::<Vec<_>>()
    };
    assert_eq!(lost(None), lost(Some(Jitter::uniform(ms(5)))));
}
