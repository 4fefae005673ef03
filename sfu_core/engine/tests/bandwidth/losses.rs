//! Losses that congestion causes, and those that it does not.

use std::time::Duration;

use netem::{Aqm, Jitter, LinkConfig, Loss};

use crate::flow::Setup;
use crate::goals::Goal::{AtLeast, AtMost, Told};
use crate::goals::judge;
use crate::paths::{alone, link, queue, wire};

#[test]
fn random_loss() {
    for (loss, least) in [(0.02, 0.85), (0.05, 0.85), (0.1, 0.85), (0.2, 0.6)] {
        for rtt in [50, 150, 300] {
            // Of what the link can deliver when it loses that share.
            let columns = [
                ("use", AtLeast(least)),
                ("use from 10 s on", AtLeast(least)),
                ("queue p95 ms", AtMost(80.0)),
            ];
            judge(&format!("{}% lost, RTT {rtt} ms", loss * 100.0), &columns, |seed| {
                let down = LinkConfig {
                    loss: Loss::independent(loss),
                    ..link(2_000, rtt / 2)
                };
                let series = alone(down, wire(rtt / 2), Setup::default(), 60.0, seed);
                let capacity = 2e6 * (1.0 - loss);
                vec![
                    series.mean_arrived(0.0, 60.0) / capacity,
                    series.mean_arrived(10.0, 60.0) / capacity,
                    series.wait(0.95, 0.0, 60.0),
                ]
            });
        }
    }
}

#[test]
fn bursts_of_loss() {
    for (mean, burst) in [(0.05, 5.0), (0.1, 20.0)] {
        judge(
            &format!("{}% lost in bursts of {burst}", mean * 100.0),
            &[("use", AtLeast(0.75)), ("spread", Told)],
            |seed| {
                let down = LinkConfig {
                    loss: Loss::bursts(mean, burst).unwrap(),
                    ..link(2_000, 75)
                };
                let series = alone(down, wire(75), Setup::default(), 60.0, seed);
                vec![
                    series.mean_arrived(10.0, 60.0) / 2e6 / (1.0 - mean),
                    series.spread(20.0, 60.0),
                ]
            },
        );
    }
}

/// Losses without delay are all that a short queue tells.
#[test]
fn short_and_managed_queues() {
    for (name, down, least) in [
        (
            "queue of 10 ms",
            LinkConfig {
                queue: queue(10),
                ..link(2_000, 30)
            },
            0.7,
        ),
        (
            "queue of 30 ms",
            LinkConfig {
                queue: queue(30),
                ..link(2_000, 30)
            },
            0.85,
        ),
        (
            "CoDel",
            LinkConfig {
                aqm: Aqm::CODEL,
                ..link(2_000, 30)
            },
            0.85,
        ),
        (
            "queue of 2 s",
            LinkConfig {
                queue: queue(2_000),
                ..link(2_000, 30)
            },
            0.85,
        ),
    ] {
        judge(
            name,
            &[
                ("use", AtLeast(least)),
                ("queue p95 ms", AtMost(80.0)),
                ("lost", AtMost(0.1)),
            ],
            |seed| {
                let series = alone(down.clone(), wire(30), Setup::default(), 60.0, seed);
                vec![
                    series.mean_arrived(10.0, 60.0) / 2e6,
                    series.wait(0.95, 10.0, 60.0),
                    1.0 - series.mean_arrived(10.0, 60.0) / series.mean_target(10.0, 60.0),
                ]
            },
        );
    }
}

#[test]
fn jitter() {
    for ms in [10, 20, 40] {
        judge(
            &format!("jitter of {ms} ms"),
            &[("use", AtLeast(0.85)), ("queue and jitter p95 ms", AtMost(80.0))],
            |seed| {
                let down = LinkConfig {
                    jitter: Some(Jitter::normal(Duration::from_millis(ms))),
                    ..link(2_000, 50)
                };
                let series = alone(down, wire(50), Setup::default(), 60.0, seed);
                vec![series.mean_arrived(10.0, 60.0) / 2e6, series.wait(0.95, 10.0, 60.0)]
            },
        );
    }
}
