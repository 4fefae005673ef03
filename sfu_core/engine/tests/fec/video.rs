//! Scenario Q4: freezes over loss, length of bursts and round trip.

use std::time::Duration;

use netem::{Capacity, Link, LinkConfig, Loss};

use super::receiver::Receiver;
use super::sender::{Datagram, Sender, Stream};

#[derive(Clone, Copy, Debug)]
struct Cell {
    stream: Stream,
    loss: f64,
    burst: f64,
    /// Microseconds.
    rtt: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    /// Share of time.
    frozen: f64,
    /// Parity and second copies less frames left out, of the octets of media.
    redundancy: f64,
    repeated: f64,
}

/// One call. Feedback and requests are not lost.
fn run(cell: Cell, hybrid: bool, seconds: u64, seed: u64) -> Outcome {
    let config = LinkConfig {
        capacity: Capacity::Unlimited,
        delay: Duration::from_micros(cell.rtt / 2),
        ..LinkConfig::default()
    };
    let mut back = Link::<Vec<u16>>::new(config.clone(), seed);
    let loss = Loss::bursts(cell.loss, cell.burst).unwrap();
    let mut link = Link::<Datagram>::new(LinkConfig { loss, ..config }, seed);
    let mut sender = Sender::new(cell.stream, hybrid, cell.rtt, seed);
    let mut receiver = Receiver::new(cell.stream, cell.rtt);
    let (mut out, mut arrived) = (Vec::new(), Vec::new());
    let end = seconds * 1_000_000;
    for now in (0..end).step_by(1_000) {
        let time = Duration::from_micros(now);
        let nacks: Vec<u16> = std::iter::from_fn(|| back.pop(time))
            .flat_map(|(_, nacks)| nacks)
            .collect();
        sender.poll(now, &nacks, &arrived, &mut out);
        for datagram in out.drain(..) {
            link.push(time, 1_000, datagram);
        }
        while let Some((_, datagram)) = link.pop(time) {
            if arrived.len() <= datagram.transport {
                arrived.resize(datagram.transport + 1, false);
            }
            arrived[datagram.transport] = true;
            receiver.handle(now, &datagram, &sender.packets);
        }
        let nacks = receiver.nacks(now);
        if !nacks.is_empty() {
            back.push(time, 100, nacks);
        }
    }
    receiver.finish(end);
    let media = (sender.media_octets + sender.thinned_octets) as f64;
    let added = (sender.parity_octets + sender.copied_octets) as f64 - sender.thinned_octets as f64;
    Outcome {
        frozen: receiver.frozen as f64 / end as f64,
        redundancy: added / media,
        repeated: sender.repeated_octets as f64 / media,
    }
}

fn median(runs: &[Outcome], field: fn(&Outcome) -> f64) -> f64 {
    let mut values: Vec<_> = runs.iter().map(field).collect();
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

/// Frozen with retransmission alone, with parity, and the redundancy of that: medians over ten seeds.
fn compare(cell: Cell, seconds: u64) -> (f64, f64, f64) {
    let runs = |hybrid| -> Vec<Outcome> { (0..10).map(|seed| run(cell, hybrid, seconds, seed)).collect() };
    let (alone, hybrid) = (runs(false), runs(true));
    let (before, after) = (median(&alone, |run| run.frozen), median(&hybrid, |run| run.frozen));
    let redundancy = median(&hybrid, |run| run.redundancy);
    println!(
        "{:4} kb/s {:7} {:3.0} % {:4} {:5} {:7.1} % {:6.1} % {:6.0} % {:9.1} % {:9.1} % {:5.1} %",
        cell.stream.bitrate / 1_000,
        if cell.stream.layered { "layers" } else { "" },
        100.0 * cell.loss,
        cell.burst,
        cell.rtt / 1_000,
        100.0 * before,
        100.0 * after,
        100.0 * (after / before - 1.0),
        100.0 * redundancy,
        100.0 * median(&alone, |run| run.repeated),
        100.0 * median(&hybrid, |run| run.repeated),
    );
    (before, after, redundancy)
}

const TITLE: &str =
    "stream              loss burst   rtt  frozen: RTX  hybrid  change  redundancy  RTX octets: alone, hybrid";

/// Where parity can be there in time: bursts of a few packets, a round trip above what a viewer notices.
#[test]
fn parity_shortens_freezes_of_short_bursts() {
    println!("{TITLE}");
    for layered in [false, true] {
        let (mut before, mut after) = (0.0, 0.0);
        for loss in [0.01, 0.02, 0.05] {
            for rtt in [150_000, 300_000] {
                let stream = Stream {
                    bitrate: 2_500_000,
                    layered,
                };
                let burst = 2.0;
                let (alone, hybrid, redundancy) = compare(
                    Cell {
                        stream,
                        loss,
                        burst,
                        rtt,
                    },
                    30,
                );
                assert!(redundancy <= 0.105, "{redundancy}");
                before += alone;
                after += hybrid;
            }
        }
        // The goal of Q4.
        assert!(after <= 0.6 * before, "{before} {after}");
    }
}

/// Longer bursts take more than any repairs in time: there it must do no harm.
#[test]
fn long_bursts_are_left_to_retransmission() {
    println!("{TITLE}");
    let (mut before, mut after) = (0.0, 0.0);
    for loss in [0.02, 0.05] {
        for burst in [10.0, 20.0] {
            let stream = Stream {
                bitrate: 1_000_000,
                layered: false,
            };
            let rtt = 300_000;
            let (alone, hybrid, redundancy) = compare(
                Cell {
                    stream,
                    loss,
                    burst,
                    rtt,
                },
                30,
            );
            assert!(redundancy <= 0.06, "{redundancy}");
            before += alone;
            after += hybrid;
        }
    }
    assert!(after <= 1.05 * before, "{before} {after}");
}

/// The whole of Q4, for the record: `cargo test -p pysfu-engine --release --test fec -- --ignored --nocapture`.
#[test]
#[ignore = "a table that takes minutes"]
fn table() {
    println!("{TITLE}");
    for (bitrate, layered) in [
        (1_000_000, false),
        (2_500_000, false),
        (1_000_000, true),
        (2_500_000, true),
    ] {
        let stream = Stream { bitrate, layered };
        let (mut before, mut after) = (0.0, 0.0);
        for burst in [2.0, 5.0, 10.0, 20.0] {
            for loss in [0.01, 0.02, 0.05, 0.1] {
                for rtt in [150_000, 200_000, 300_000] {
                    let (alone, hybrid, _) = compare(
                        Cell {
                            stream,
                            loss,
                            burst,
                            rtt,
                        },
                        60,
                    );
                    before += alone;
                    after += hybrid;
                }
            }
        }
        println!("all: {:.0} %", 100.0 * (after / before - 1.0));
    }
}
