//! Loss that no congestion causes, and a step of delay: a gallery on 3 Mb/s.

use std::time::Duration;

use netem::profiles::lossy;

use super::room::Room;
use super::{Outcome, Scenario, Setup};

pub(super) fn add(all: &mut Vec<Scenario>) {
    for percent in [2, 5, 10, 20] {
        for round_trip in [50, 150, 300] {
            let name = format!("q3-{percent}pct-{round_trip}ms");
            all.push(Scenario::new(name, 1.5, move |setup| {
                random(setup, f64::from(percent) / 100.0, Duration::from_millis(round_trip))
            }));
        }
    }
    all.push(Scenario::new("q3-step-50ms", 1.0, step));
}

fn random(setup: Setup, share: f64, round_trip: Duration) -> Outcome {
    let profile = lossy::random(share, round_trip);
    let end = if setup.quick { 10.0 } else { 40.0 };
    let mut room = Room::gallery(setup.seed);
    let who = room.receiver(profile.down, profile.up);
    room.world.run(end);
    let mut outcome = Outcome::default();
    let (watch, from) = (room.watch(who), 5.0);
    // Loss comes behind the bottleneck: what is lost has used it.
    outcome.tell("use", "%", watch.use_of_capacity(from, end) / (1.0 - share));
    outcome.tell("frame_loss", "%", room.frame_loss(who, from, end - 2.0));
    outcome.tell("freeze", "s", room.all_freezes(who, from, end).total);
    outcome.tell("queue_p95", "ms", watch.wait(0.95, from, end));
    outcome.tell("frame_delay_p95", "ms", room.frame_delay(who, 0.95, from, end));
    outcome.tell("concealment", "%", room.concealment(who, from, end));
    outcome.tell("redundancy", "%", watch.redundancy(from, end));
    outcome.show(watch, "");
    outcome
}

/// The dip is told against the mean before, which includes the usual swing.
fn step(setup: Setup) -> Outcome {
    let profile = lossy::delay_step();
    let end = if setup.quick { 25.0 } else { 40.0 };
    let mut room = Room::gallery(setup.seed);
    let who = room.receiver(profile.down, profile.up);
    room.world.run(end);
    let mut outcome = Outcome::default();
    let watch = room.watch(who);
    let before = watch.mean_estimate(10.0, 20.0);
    outcome.tell(
        "dip",
        "%",
        100.0 * (1.0 - watch.least_estimate(20.0, end.min(30.0)) / before),
    );
    outcome.tell("use", "%", watch.use_of_capacity(5.0, end));
    outcome.tell("freeze", "s", room.all_freezes(who, 5.0, end).total);
    outcome.tell("queue_p95", "ms", watch.wait(0.95, 5.0, end));
    outcome.show(watch, "");
    outcome
}
