//! Starts at several capacities, 10/1/10 Mb/s, and 30 s with next to nothing: one camera with three layers.

use netem::profiles::capacity;

use super::room::Room;
use super::{Outcome, Scenario, Setup};

pub(super) fn add(all: &mut Vec<Scenario>) {
    // The layer that fits.
    for (name, rate, layer) in [("500k", 500_000, 0), ("3m", 3_000_000, 2), ("10m", 10_000_000, 2)] {
        all.push(Scenario::new(format!("q2-start-{name}"), 0.5, move |setup| {
            start(setup, rate, layer)
        }));
    }
    all.push(Scenario::new("q2-10-1-10", 1.5, |setup| {
        restored(setup, capacity::fall_and_rise(), (30.0, 50.0), 75.0)
    }));
    all.push(Scenario::new("q2-starve", 1.5, |setup| {
        restored(setup, capacity::starve(), (30.0, 60.0), 85.0)
    }));
}

fn start(setup: Setup, rate: u64, layer: u8) -> Outcome {
    let profile = capacity::start(rate);
    let end = if setup.quick { 5.0 } else { 20.0 };
    let mut room = Room::camera(setup.seed);
    let who = room.receiver(profile.down, profile.up);
    room.world.run(end);
    let mut outcome = Outcome::default();
    let (watch, freezes) = (room.watch(who), room.all_freezes(who, 0.0, end));
    outcome.tell("first_frame", "s", room.reaches(who, 0, 0.0, end));
    outcome.tell("top_layer", "s", room.reaches(who, layer, 0.0, end));
    outcome.tell("freeze", "s", freezes.total);
    outcome.tell("longest_freeze", "s", freezes.longest);
    outcome.tell("queue_p95", "ms", watch.wait(0.95, 0.0, end));
    outcome.tell("concealment", "%", room.concealment(who, 0.0, end));
    outcome.show(watch, "");
    outcome
}

fn restored(setup: Setup, profile: netem::profiles::Profile, (fall, rise): (f64, f64), end: f64) -> Outcome {
    let end = if setup.quick { rise + 10.0 } else { end };
    let mut room = Room::camera(setup.seed);
    let who = room.receiver(profile.down, profile.up);
    room.world.run(end);
    let mut outcome = Outcome::default();
    let (watch, freezes) = (room.watch(who), room.all_freezes(who, 0.0, end));
    outcome.tell("top_layer", "s", room.reaches(who, 2, 0.0, fall));
    outcome.tell("top_layer_again", "s", room.reaches(who, 2, rise, end));
    outcome.tell("freeze", "s", freezes.total);
    outcome.tell("longest_freeze", "s", freezes.longest);
    outcome.tell("queue_p95", "ms", watch.wait(0.95, 0.0, end));
    outcome.tell("concealment", "%", room.concealment(who, 0.0, end));
    outcome.show(watch, "");
    outcome
}
