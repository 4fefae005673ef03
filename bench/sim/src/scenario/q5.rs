//! Cellular networks: a gallery of cameras on traces of capacity.

use netem::profiles::{Profile, cellular};

use super::room::{Room, could_use};
use super::{Outcome, Scenario, Setup};
use crate::media::spec::{Format, Spec};

pub(super) fn add(all: &mut Vec<Scenario>) {
    type Network = fn(u64) -> Profile;
    for (name, profile) in [
        ("3g", cellular::three_g as Network),
        ("lte", cellular::lte),
        ("5g", cellular::five_g),
    ] {
        all.push(Scenario::new(format!("q5-{name}"), 4.0, move |setup| {
            trace(setup, profile(setup.seed))
        }));
    }
}

fn trace(setup: Setup, profile: Profile) -> Outcome {
    let end = if setup.quick { 10.0 } else { 100.0 };
    let cameras = vec![Spec::camera(Format::Vp8); 6];
    let demand: f64 = cameras.iter().map(|camera| camera.rate(2, 2)).sum();
    let could = could_use(&profile.down, 0.0, end, demand);
    let mut room = Room::new(setup.seed, cameras);
    let who = room.receiver(profile.down, profile.up);
    room.world.run(end);
    let mut outcome = Outcome::default();
    let watch = room.watch(who);
    let freezes = room.all_freezes(who, 1.0, end);
    outcome.tell("use", "%", 100.0 * watch.mean_useful(0.0, end) / could);
    outcome.tell("frame_delay_p50", "ms", room.frame_delay(who, 0.5, 1.0, end));
    outcome.tell("frame_delay_p95", "ms", room.frame_delay(who, 0.95, 1.0, end));
    outcome.tell("freeze_share", "%", 100.0 * freezes.total / end);
    outcome.tell("longest_freeze", "s", freezes.longest);
    outcome.tell("queue_p95", "ms", watch.wait(0.95, 0.0, end));
    outcome.tell("concealment", "%", room.concealment(who, 1.0, end));
    outcome.show(watch, "");
    outcome
}
