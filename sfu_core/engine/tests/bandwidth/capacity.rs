//! Capacity that is unknown, falls, rises and vanishes.

use std::time::Duration;

use netem::profiles::{Profile, cellular};
use netem::{Change, Script};

use crate::flow::{Setup, Source, layers};
use crate::goals::Goal::{AtLeast, AtMost, Told, Within};
use crate::goals::judge;
use crate::paths::{alone, link, steps, wire};
use crate::world::{World, seconds};

/// RFC 8867 section 5.1.
#[test]
fn variable_capacity() {
    for delay in [50, 100] {
        let columns = [
            ("use", AtLeast(0.85)),
            ("queue p95 ms", AtMost(80.0)),
            ("90% of 2.5 Mb/s after s", AtMost(8.0)),
            ("below 0.6 Mb/s after s", AtMost(1.0)),
            ("90% of 1 Mb/s after s", AtMost(8.0)),
            ("steady spread p95", AtMost(0.1)),
            ("steady use", AtLeast(0.9)),
            ("steady queue p95 ms", AtMost(80.0)),
        ];
        judge(&format!("RFC 8867 5.1, {delay} ms"), &columns, |seed| {
            let down = steps(link(1_000, delay), &[(40.0, 2_500), (60.0, 600), (80.0, 1_000)]);
            let series = alone(
                down,
                wire(delay),
                Setup {
                    most: 5e6,
                    ..Setup::default()
                },
                100.0,
                seed,
            );
            vec![
                // 1, 2.5, 0.6 and 1 Mb/s for 40, 20, 20 and 20 s.
                series.mean_arrived(0.0, 100.0) / 1.22e6,
                series.wait(0.95, 0.0, 100.0),
                series.until(40.0, |rate| rate >= 0.9 * 2.5e6),
                series.until(60.0, |rate| rate < 0.6e6),
                series.until(80.0, |rate| rate >= 0.9 * 1e6),
                series.spread(20.0, 40.0),
                series.mean_arrived(20.0, 40.0) / 1e6,
                series.wait(0.95, 20.0, 40.0),
            ]
        });
    }
}

#[test]
fn startup() {
    for (kbps, delay, soon) in [
        (500, 20, 1.0),
        (3_000, 20, 1.0),
        (3_000, 100, 1.5),
        (10_000, 20, 1.0),
        (10_000, 100, 1.5),
    ] {
        let columns = [
            ("share at 2 s", Within(0.84, 1.25)),
            ("84% after s", AtMost(soon)),
            ("queue p95 ms", AtMost(80.0)),
            ("share from 5 s on", AtLeast(0.9)),
        ];
        judge(&format!("start at {kbps} kb/s, {delay} ms"), &columns, |seed| {
            let capacity = kbps as f64 * 1e3;
            let series = alone(link(kbps, delay), wire(delay), Setup::default(), 10.0, seed);
            vec![
                series.target[19] / capacity,
                series.until(0.0, |rate| rate > 0.84 * capacity),
                series.wait(0.95, 0.0, 10.0),
                series.mean_arrived(5.0, 10.0) / capacity,
            ]
        });
    }
}

#[test]
fn ten_one_ten() {
    let columns = [
        ("below 1 Mb/s after s", AtMost(1.0)),
        ("90% of 10 Mb/s after s", AtMost(5.0)),
        ("use of 10", AtLeast(0.85)),
        ("use of 1", AtLeast(0.85)),
        ("queue p95 ms", AtMost(80.0)),
    ];
    judge("10/1/10 Mb/s", &columns, |seed| {
        let down = steps(link(10_000, 25), &[(20.0, 1_000), (40.0, 10_000)]);
        let series = alone(down, wire(25), Setup::default(), 70.0, seed);
        vec![
            series.until(20.0, |rate| rate < 1e6),
            series.until(40.0, |rate| rate > 9e6),
            series.mean_arrived(5.0, 20.0) / 1e7,
            series.mean_arrived(25.0, 40.0) / 1e6,
            series.wait(0.95, 0.0, 70.0),
        ]
    });
}

#[test]
fn low_and_dead() {
    for (name, kbps, from, to) in [
        ("3 s dead", 0, 30.0, 33.0),
        ("10 s dead", 0, 30.0, 40.0),
        ("30 s at 250 kb/s", 250, 30.0, 60.0),
    ] {
        let columns = [
            ("90% after s", AtMost(5.0)),
            ("queue p95 after ms", AtMost(120.0)),
            ("queue p95 within ms", AtMost(120.0)),
            ("kb/s within", Told),
        ];
        judge(name, &columns, |seed| {
            let down = steps(link(2_000, 50), &[(from, kbps), (to, 2_000)]);
            let series = alone(down, wire(50), Setup::default(), to + 30.0, seed);
            vec![
                series.until(to, |rate| rate > 1.8e6),
                series.wait(0.95, to + 2.0, to + 30.0),
                series.wait(0.95, from + 2.0, to),
                series.mean_arrived(from + 2.0, to) / 1e3,
            ]
        });
    }
}

/// The extremes that a subscriber may have.
#[test]
fn thin_wide_and_far() {
    for (kbps, delay, queue) in [(80, 50, 120.0), (150, 50, 80.0), (20_000, 50, 80.0), (2_000, 300, 80.0)] {
        let columns = [
            ("use", AtLeast(0.85)),
            ("queue p95 ms", AtMost(queue)),
            ("spread", Told),
        ];
        judge(&format!("{kbps} kb/s, {delay} ms"), &columns, |seed| {
            let mut setup = Setup {
                most: 30e6,
                ..Setup::default()
            };
            setup.limits.min = 30e3;
            setup.limits.max = 30e6;
            let series = alone(link(kbps, delay), wire(delay), setup, 60.0, seed);
            vec![
                series.mean_arrived(10.0, 60.0) / (kbps as f64 * 1e3),
                series.wait(0.95, 10.0, 60.0),
                series.spread(20.0, 60.0),
            ]
        });
    }
}

/// What libwebrtc asserts of itself (goog_cc_network_control_unittest).
#[test]
fn anchors() {
    let columns = [
        ("450±100", Within(350.0, 550.0)),
        ("750±150", Within(600.0, 900.0)),
        ("90±25", Within(65.0, 115.0)),
    ];
    judge("500/800/100 kb/s, 100 ms", &columns, |seed| {
        let down = steps(link(500, 100), &[(25.0, 800), (45.0, 100)]);
        let series = alone(down, wire(100), Setup::default(), 95.0, seed);
        vec![
            series.mean_target(20.0, 25.0) / 1e3,
            series.mean_target(40.0, 45.0) / 1e3,
            series.mean_target(85.0, 95.0) / 1e3,
        ]
    });
    judge("1 Mb/s falls to 0.5", &[("below after s", AtMost(0.93))], |seed| {
        let series = alone(
            steps(link(1_000, 50), &[(30.0, 500)]),
            wire(50),
            Setup::default(),
            40.0,
            seed,
        );
        vec![series.until(30.0, |rate| rate < 500e3)]
    });
}

/// A change of path adds 50 ms to each packet. The least target is told against the mean before, which includes the usual swing.
#[test]
fn delay_step() {
    for (kbps, source) in [(2_000, Source::Elastic), (4_000, layers())] {
        let columns = [("least", AtLeast(0.9)), ("later", AtLeast(0.95))];
        judge(&format!("+50 ms at {kbps} kb/s"), &columns, |seed| {
            let mut down = link(kbps, 50);
            down.script = Script::new([(seconds(30.0), Change::AddDelay(Duration::from_millis(50)))]);
            let setup = Setup {
                source: source.clone(),
                ..Setup::default()
            };
            let series = alone(down, wire(50), setup, 50.0, seed);
            let before = series.mean_target(20.0, 30.0);
            vec![
                series.least_target(30.0, 40.0) / before,
                series.mean_target(40.0, 50.0) / before,
            ]
        });
    }
}

#[test]
fn pause_and_resume() {
    judge(
        "10 s of silence",
        &[("back after s", AtMost(2.0)), ("queue p95 ms", AtMost(120.0))],
        |seed| {
            let series = alone(
                link(2_000, 50),
                wire(50),
                Setup {
                    pause: (20.0, 30.0),
                    ..Setup::default()
                },
                45.0,
                seed,
            );
            let back = series.arrived[300..].iter().position(|&rate| rate > 1.6e6);
            vec![
                back.map_or(f64::INFINITY, |slots| slots as f64 / 10.0),
                series.wait(0.95, 30.0, 45.0),
            ]
        },
    );
}

/// With layers a sender seldom uses what it may: probes have to find room for the next one.
#[test]
fn layered_sender() {
    for (kbps, best) in [(800, 500e3), (2_000, 1.5e6), (3_500, 2.5e6), (8_000, 5e6)] {
        let columns = [
            ("best layer after s", AtMost(1.5)),
            ("changes of layer", AtMost(5.0)),
            ("queue p95 ms", AtMost(40.0)),
            ("padding", AtMost(0.05)),
        ];
        judge(&format!("layers, {kbps} kb/s"), &columns, |seed| {
            let setup = Setup {
                source: layers(),
                ..Setup::default()
            };
            let mut world = World::new(link(kbps, 40), wire(40), vec![setup], vec![], seed);
            world.run(60.0);
            let series = &world.series[0];
            let chosen = &world.flows[0].layers;
            let reached = chosen.iter().find(|&&(_, rate)| rate >= best);
            vec![
                reached.map_or(f64::INFINITY, |&(at, _)| at as f64 / 1e6),
                chosen.len() as f64,
                series.wait(0.95, 0.0, 60.0),
                series.padding_bytes as f64 / series.sent_bytes as f64,
            ]
        });
    }
    judge(
        "layers, 8/1/8 Mb/s",
        &[("down after s", AtMost(1.0)), ("up after s", AtMost(5.0))],
        |seed| {
            let down = steps(link(8_000, 40), &[(20.0, 1_000), (50.0, 8_000)]);
            let setup = Setup {
                source: layers(),
                ..Setup::default()
            };
            let mut world = World::new(down, wire(40), vec![setup], vec![], seed);
            world.run(80.0);
            let after = |time: f64, fits: &dyn Fn(f64) -> bool| {
                let chosen = world.flows[0].layers.iter().filter(|&&(at, _)| at as f64 >= time * 1e6);
                let found = chosen.clone().find(|&&(_, rate)| fits(rate));
                found.map_or(f64::INFINITY, |&(at, _)| at as f64 / 1e6 - time)
            };
            vec![after(20.0, &|rate| rate < 1e6), after(50.0, &|rate| rate >= 5e6)]
        },
    );
}

/// The 3G cars of the model stand still for 1.5 s every 45 s: their p95 is beyond what sending less can mend.
#[test]
fn cellular_traces() {
    let networks = [
        ("3G", cellular::three_g as fn(u64) -> Profile, 900.0),
        ("LTE", cellular::lte, 450.0),
        ("5G", cellular::five_g, 450.0),
    ];
    for (name, profile, queue) in networks {
        let columns = [
            ("use", AtLeast(0.6)),
            ("queue p50 ms", AtMost(100.0)),
            ("queue p95 ms", AtMost(queue)),
            ("Mb/s", Told),
        ];
        judge(name, &columns, |seed| {
            let profile = profile(seed);
            let capacity = profile.down.capacity.clone();
            let slot = Duration::from_millis(100);
            let useful = |index| capacity.bytes_between(slot * index, slot * (index + 1)).unwrap() as f64 * 80.0;
            let mean = (0..1_000).map(|index| useful(index).min(20e6)).sum::<f64>() / 1e3;
            let series = alone(profile.down, profile.up, Setup::default(), 100.0, seed);
            vec![
                series.mean_arrived(0.0, 100.0) / mean,
                series.wait(0.5, 0.0, 100.0),
                series.wait(0.95, 0.0, 100.0),
                mean / 1e6,
            ]
        });
    }
}
