//! Several flows through one bottleneck (RFC 8867 sections 5.4 to 5.6).

use crate::flow::{Setup, layers};
use crate::goals::Goal::{AtLeast, AtMost, Told, Within};
use crate::goals::judge;
use crate::paths::{link, wire};
use crate::tcp::{Flavor, Tcp};
use crate::world::{World, jain, mean};

#[test]
fn equals() {
    for (count, kbps, gap) in [(2, 2_000, 10.0), (3, 3_500, 20.0), (5, 5_000, 5.0)] {
        let columns = [
            ("Jain from the last start on", AtLeast(0.95)),
            ("use", AtLeast(0.85)),
            ("queue p95 ms", AtMost(80.0)),
        ];
        judge(&format!("{count} flows, one more every {gap} s"), &columns, |seed| {
            let setups = (0..count).map(|index| Setup {
                from: f64::from(index) * gap,
                ..Setup::default()
            });
            let mut world = World::new(link(kbps, 50), wire(50), setups.collect(), vec![], seed);
            world.run(120.0);
            let from = f64::from(count) * gap;
            let rates: Vec<_> = world
                .series
                .iter()
                .map(|series| series.mean_arrived(from, 120.0))
                .collect();
            vec![
                jain(&rates),
                rates.iter().sum::<f64>() / (kbps as f64 * 1e3),
                world.series[0].wait(0.95, from, 120.0),
            ]
        });
    }
}

#[test]
fn different_round_trips() {
    let columns = [
        ("Jain", AtLeast(0.85)),
        ("use", AtLeast(0.85)),
        ("queue p95 ms", AtMost(80.0)),
    ];
    judge("5 flows, RTT 10 to 160 ms", &columns, |seed| {
        let setups = [10, 25, 75, 0, 50].map(|delay| Setup {
            delay,
            ..Setup::default()
        });
        let mut world = World::new(link(5_000, 5), wire(5), setups.to_vec(), vec![], seed);
        world.run(120.0);
        let rates: Vec<_> = world
            .series
            .iter()
            .map(|series| series.mean_arrived(20.0, 120.0))
            .collect();
        vec![
            jain(&rates),
            rates.iter().sum::<f64>() / 5e6,
            world.series[0].wait(0.95, 20.0, 120.0),
        ]
    });
}

/// Layers that don't divide the capacity evenly. The model takes whatever fits; the allocator's patience is not part of it.
#[test]
fn layered_senders() {
    let columns = [
        ("use", AtLeast(0.7)),
        ("queue p95 ms", AtMost(60.0)),
        ("changes per flow in 90 s", AtMost(100.0)),
        ("Jain", Told),
    ];
    judge("3 layered flows, 5 Mb/s", &columns, |seed| {
        let setups = vec![
            Setup {
                source: layers(),
                ..Setup::default()
            };
            3
        ];
        let mut world = World::new(link(5_000, 30), wire(30), setups, vec![], seed);
        world.run(90.0);
        let rates: Vec<_> = world
            .series
            .iter()
            .map(|series| series.mean_arrived(20.0, 90.0))
            .collect();
        let changes: Vec<_> = world.flows.iter().map(|flow| flow.layers.len() as f64).collect();
        vec![
            rates.iter().sum::<f64>() / 5e6,
            world.series[0].wait(0.95, 20.0, 90.0),
            mean(&changes),
            jain(&rates),
        ]
    });
}

/// A long TCP fills the queue of 300 ms, started before or after us.
#[test]
fn against_tcp() {
    for flavor in [Flavor::NewReno, Flavor::Cubic] {
        for (kbps, delay, tcp_from) in [(2_000, 50, 0.0), (2_000, 50, 10.0), (5_000, 25, 10.0)] {
            let columns = [
                ("our share", Within(0.35, 0.66)),
                ("use", AtLeast(0.9)),
                ("queue p50 ms", Told),
            ];
            judge(
                &format!("{flavor:?} from {tcp_from} s, {kbps} kb/s, {delay} ms"),
                &columns,
                |seed| {
                    let setup = Setup {
                        from: 10.0 - tcp_from,
                        ..Setup::default()
                    };
                    let tcp = Tcp::new(flavor, tcp_from, delay * 1_000);
                    let mut world = World::new(link(kbps, delay), wire(delay), vec![setup], vec![tcp], seed);
                    world.run(130.0);
                    let [ours, theirs] = [0, 1].map(|flow: usize| world.series[flow].mean_arrived(20.0, 130.0));
                    vec![
                        ours / (ours + theirs),
                        (ours + theirs) / (kbps as f64 * 1e3),
                        world.series[0].wait(0.5, 20.0, 130.0),
                    ]
                },
            );
        }
    }
}
