//! Feedback that is lost, late, rare, or of another format.

use std::time::Duration;

use netem::{Capacity, Jitter, LinkConfig, Loss};

use crate::flow::{Format, Setup};
use crate::goals::Goal::{AtLeast, AtMost};
use crate::goals::judge;
use crate::paths::{alone, link, queue, wire};

#[test]
fn bad_ways_back() {
    let jittery = LinkConfig {
        jitter: Some(Jitter::uniform(Duration::from_millis(80))),
        ..wire(50)
    };
    let narrow = LinkConfig {
        capacity: Capacity::kbps(20),
        queue: queue(600),
        ..wire(50)
    };
    for (name, up, feedback) in [
        (
            "30% of feedback lost",
            LinkConfig {
                loss: Loss::independent(0.3),
                ..wire(50)
            },
            (50, 100),
        ),
        ("feedback late and every 200 ms", wire(200), (200, 250)),
        ("jittery feedback", jittery, (50, 100)),
        ("feedback through 20 kb/s", narrow, (50, 100)),
    ] {
        let columns = [
            ("use", AtLeast(0.85)),
            ("queue p95 ms", AtMost(80.0)),
            ("spread", AtMost(0.15)),
        ];
        judge(name, &columns, |seed| {
            let series = alone(
                link(2_000, 50),
                up.clone(),
                Setup {
                    feedback,
                    ..Setup::default()
                },
                60.0,
                seed,
            );
            vec![
                series.mean_arrived(10.0, 60.0) / 2e6,
                series.wait(0.95, 10.0, 60.0),
                series.spread(20.0, 60.0),
            ]
        });
    }
}

#[test]
fn no_feedback_for_a_while() {
    for lasting in [1.0, 3.0] {
        let columns = [
            ("least", AtMost(0.8)),
            ("back after s", AtMost(2.0)),
            ("queue p95 ms", AtMost(80.0)),
        ];
        judge(&format!("{lasting} s without feedback"), &columns, |seed| {
            let setup = Setup {
                deaf: (30.0, 30.0 + lasting),
                ..Setup::default()
            };
            let series = alone(link(2_000, 50), wire(50), setup, 60.0, seed);
            vec![
                series.least_target(30.0, 40.0) / 2e6,
                series.until(30.0 + lasting, |rate| rate > 1.7e6),
                series.wait(0.95, 30.0, 60.0),
            ]
        });
    }
}

/// RFC 8888 tells times in 1/1024 s, of streams one after the other, and of each packet several times.
#[test]
fn feedback_by_stream() {
    let columns = [
        ("use", AtLeast(0.85)),
        ("queue p95 ms", AtMost(80.0)),
        ("84% after s", AtMost(1.5)),
    ];
    judge("RFC 8888", &columns, |seed| {
        let series = alone(
            link(2_000, 50),
            wire(50),
            Setup {
                format: Format::ByStream,
                ..Setup::default()
            },
            60.0,
            seed,
        );
        vec![
            series.mean_arrived(10.0, 60.0) / 2e6,
            series.wait(0.95, 10.0, 60.0),
            series.until(0.0, |rate| rate > 0.84 * 2e6),
        ]
    });
}
