//! A link in simulated time.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use std::time::Duration;

use pysfu_netem::{
    Aqm, Capacity, Change, Counters, Jitter, Link, LinkConfig, Loss, Opportunities, Queue, Reorder, Script, Trace,
};

const PACKET: usize = 1_200;

fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What came out of a run: (pushed, arrival) by packet, and the counters at the end.
struct Run {
    arrivals: Vec<(Duration, Duration)>,
    counters: Counters,
}

/// A sender of constant bit rate until `end`; then the link runs dry.
fn run(config: LinkConfig, seed: u64, rate: u64, end: Duration) -> Run {
    let mut link = Link::new(config, seed);
    let mut arrivals = Vec::new();
    let space = Duration::from_nanos(PACKET as u64 * 8 * 1_000_000_000 / rate);
    let mut sending = Duration::ZERO;
    loop {
        let now = match link.next() {
            Some(next) if next < sending || sending >= end => next,
            None if sending >= end => break,
            _ => sending,
        };
        while let Some((arrival, pushed)) = link.pop(now) {
            assert!(arrival <= now);
            arrivals.push((pushed, arrival));
        }
        if now == sending && sending < end {
            link.push(now, PACKET, now);
            sending += space;
        }
    }
    Run {
        arrivals,
        counters: link.counters(),
    }
}

impl Run {
    fn bytes_until(&self, time: Duration) -> usize {
        self.arrivals.iter().filter(|&&(_, arrival)| arrival <= time).count() * PACKET
    }

    fn delays(&self) -> impl Iterator<Item = Duration> {
        self.arrivals.iter().map(|&(pushed, arrival)| arrival - pushed)
    }

    fn assert_nothing_vanished(&self) {
        let Counters {
            offered,
            delivered,
            dropped_queue,
            dropped_codel,
            lost,
            duplicated,
            ..
        } = self.counters;
        assert_eq!(offered + duplicated, delivered + dropped_queue + dropped_codel + lost);
        assert_eq!(delivered as usize, self.arrivals.len());
    }
}

#[test]
fn capacity_is_met_to_the_byte() {
    // A rate whose packets take no whole number of nanoseconds.
    let rate = 1_234_567;
    let config = LinkConfig {
        capacity: Capacity::Constant(rate),
        delay: ms(50),
        ..LinkConfig::default()
    };
    let run = run(config, 1, 2_000_000, s(60));
    run.assert_nothing_vanished();
    for seconds in 1..=60 {
        let carried = (rate * seconds / 8) as usize;
        assert_eq!(
            run.bytes_until(s(seconds) + ms(50)),
            carried / PACKET * PACKET,
            "{seconds} s"
        );
    }
}

#[test]
fn packets_of_unequal_size_share_the_capacity() {
    let mut link = Link::new(
        LinkConfig {
            capacity: Capacity::kbps(800),
            ..LinkConfig::default()
        },
        1,
    );
    for bytes in [100, 1_000, 0, 400] {
        link.push(Duration::ZERO, bytes, bytes);
    }
    let arrivals: Vec<_> = std::iter::from_fn(|| link.pop(s(1))).collect();
    assert_eq!(arrivals, [(ms(1), 100), (ms(11), 1_000), (ms(11), 0), (ms(15), 400)]);
}

#[test]
fn an_idle_link_adds_its_delay_and_the_packet_itself() {
    let config = LinkConfig {
        capacity: Capacity::kbps(960),
        delay: ms(20),
        ..LinkConfig::default()
    };
    let run = run(config, 1, 480_000, s(5));
    assert!(run.delays().all(|delay| delay == ms(30)));
}

#[test]
fn full_queue_drops_and_bounds_the_delay() {
    for limit in [50, 300] {
        let config = LinkConfig {
            capacity: Capacity::kbps(1_000),
            queue: Queue::Time(ms(limit)),
            ..LinkConfig::default()
        };
        let run = run(config, 1, 1_500_000, s(30));
        run.assert_nothing_vanished();
        let longest = run.delays().max().unwrap();
        assert!(
            longest <= ms(limit) && longest > ms(limit - 20),
            "limit {limit} ms: {longest:?}"
        );
        let dropped = run.counters.dropped_queue as f64 / run.counters.offered as f64;
        assert!((dropped - 1.0 / 3.0).abs() < 0.01, "{dropped}");
    }
}

#[test]
fn queue_of_bytes_holds_so_many() {
    let mut link = Link::new(
        LinkConfig {
            capacity: Capacity::kbps(8),
            queue: Queue::Bytes(3_000),
            ..LinkConfig::default()
        },
        1,
    );
    for packet in 0..5 {
        link.push(Duration::ZERO, 1_000, packet);
    }
    let counters = link.counters();
    assert_eq!(
        (counters.dropped_queue, counters.queue_packets, counters.queue_bytes),
        (2, 3, 3_000)
    );
    assert_eq!(counters.queue_delay, Some(s(3)));
    // Nothing waits: even what is larger than the queue goes.
    assert_eq!(std::iter::from_fn(|| link.pop(s(10))).count(), 3);
    link.push(s(10), 5_000, 5);
    assert_eq!(link.pop(s(15)), Some((s(15), 5)));
}

#[test]
fn codel_keeps_the_queue_near_its_target() {
    let config = |aqm| LinkConfig {
        capacity: Capacity::kbps(10_000),
        queue: Queue::Time(ms(1_000)),
        aqm,
        ..LinkConfig::default()
    };
    let late_median = |run: &Run| {
        let mut delays: Vec<_> = run
            .arrivals
            .iter()
            .filter(|(pushed, _)| *pushed > s(10))
            .map(|(a, b)| *b - *a)
            .collect();
        delays.sort();
        delays[delays.len() / 2]
    };
    // An overload of 5 % stands for a sender that answers drops slowly.
    let managed = run(config(Aqm::CODEL), 1, 10_500_000, s(60));
    managed.assert_nothing_vanished();
    let unmanaged = run(config(Aqm::None), 1, 10_500_000, s(60));
    assert!(late_median(&managed) < ms(15), "{:?}", late_median(&managed));
    assert!(late_median(&unmanaged) > ms(900), "{:?}", late_median(&unmanaged));
    assert!(managed.counters.dropped_codel > 0 && managed.counters.dropped_queue == 0);
    // It costs no capacity.
    let used = managed.counters.delivered_bytes as f64 / managed.counters.capacity_bytes as f64;
    assert!(used > 0.99, "{used}");
}

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

#[test]
fn capacity_changes_while_a_packet_is_sent() {
    let mut link = Link::new(
        LinkConfig {
            capacity: Capacity::kbps(8),
            ..LinkConfig::default()
        },
        1,
    );
    link.push(s(0), 1_000, ());
    // Half is sent; nothing moves for a second; the rest goes four times as fast.
    link.set(ms(500), Change::Capacity(Capacity::Constant(0)));
    assert_eq!(link.next(), None);
    assert_eq!(link.counters().queue_delay, None);
    link.set(ms(1_500), Change::Capacity(Capacity::kbps(32)));
    assert_eq!(link.next(), Some(ms(1_625)));
    assert_eq!(link.pop(s(2)), Some((ms(1_625), ())));
}

#[test]
fn a_standing_link_wakes_at_the_change_that_frees_it() {
    let mut link = Link::new(
        LinkConfig {
            capacity: Capacity::Constant(0),
            script: Script::new([(s(5), Change::Capacity(Capacity::Unlimited))]),
            ..LinkConfig::default()
        },
        1,
    );
    link.push(s(1), PACKET, ());
    assert_eq!(link.next(), Some(s(5)));
    assert_eq!(link.pop(s(5)), Some((s(5), ())));
    assert_eq!(link.next(), None);
}

#[test]
fn trace_begins_again_after_its_period() {
    let trace = Trace::new(&[(s(0), 2_000_000), (s(1), 0), (s(2), 1_000_000)], s(4)).unwrap();
    let config = LinkConfig {
        capacity: trace.into(),
        ..LinkConfig::default()
    };
    let run = run(config, 1, 3_000_000, s(40));
    for (seconds, megabits) in [
        (1, 2),
        (2, 2),
        (4, 4),
        (5, 6),
        (6, 6),
        (8, 8),
        (37, 38),
        (38, 38),
        (40, 40),
    ] {
        let expected = megabits * 125_000;
        assert_eq!(run.bytes_until(s(seconds)), expected / PACKET * PACKET, "{seconds} s");
    }
}

#[test]
fn opportunities_carry_1500_bytes_each_and_waste_what_is_unused() {
    let opportunities = Opportunities::parse_mahimahi("10\n20\n20\n50\n").unwrap();
    let mut link = Link::new(
        LinkConfig {
            capacity: opportunities.into(),
            ..LinkConfig::default()
        },
        1,
    );
    for bytes in [1_000, 1_000, 500, 600, 1_400] {
        link.push(ms(5), bytes, bytes);
    }
    let arrivals: Vec<_> = std::iter::from_fn(|| link.pop(ms(45))).collect();
    // 1,000 and half of the second at 10 ms; the rest and three packets of 2,500 bytes in the two at 20 ms.
    assert_eq!(
        arrivals,
        [
            (ms(10), 1_000),
            (ms(20), 1_000),
            (ms(20), 500),
            (ms(20), 600),
            (ms(20), 1_400)
        ]
    );
    // The one at 50 ms passes unused, the next round begins there.
    link.push(ms(55), 1_500, 1);
    assert_eq!(link.next(), Some(ms(60)));
    assert_eq!(link.pop(ms(60)), Some((ms(60), 1)));
    assert_eq!(link.counters().capacity_bytes, 5 * 1_500);
}

#[test]
fn several_flows_share_one_bottleneck() {
    let mut link = Link::new(
        LinkConfig {
            capacity: Capacity::kbps(1_000),
            ..LinkConfig::default()
        },
        1,
    );
    let mut bytes = [0; 2];
    for tick in 0..100_000 {
        let now = Duration::from_micros(tick * 100);
        while let Some((_, flow)) = link.pop(now) {
            bytes[flow] += PACKET;
        }
        // Not in step with each other; flow 1 sends twice as much.
        if tick % 101 == 0 {
            link.push(now, PACKET, 0);
        }
        if tick % 47 == 0 {
            link.push(now, PACKET, 1);
        }
    }
    let total = (bytes[0] + bytes[1]) as f64;
    assert!((total / 1_250_000.0 - 1.0).abs() < 0.01, "{total}");
    assert!(bytes[1] > bytes[0]);
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
