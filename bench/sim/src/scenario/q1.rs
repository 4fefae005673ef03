//! RFC 8867 5.1 to 5.3: capacity that varies, for one flow and for two, and feedback that meets congestion.

use std::time::Duration;

use netem::profiles::{Profile, rfc8867};

use super::room::Room;
use super::{Outcome, Scenario, Setup};

/// Uplink media take this share of their capacity, and follow it so much later, microseconds.
const UPLINK: (f64, u64) = (0.9, 1_000_000);

pub(super) fn add(all: &mut Vec<Scenario>) {
    for delay in [50, 100] {
        all.push(Scenario::new(format!("q1-5.1-{delay}ms"), 3.0, move |setup| {
            one(setup, rfc8867::rfc8867_5_1(Duration::from_millis(delay)), false)
        }));
    }
    // The same path without jitter tells what is due to it.
    let still = Scenario::new("q1-5.1-50ms", 3.0, |setup| {
        one(
            setup,
            rfc8867::rfc8867_5_1(Duration::from_millis(50)).without_jitter(),
            false,
        )
    });
    all.push(still.variant("no jitter"));
    all.push(Scenario::new("q1-5.2-50ms", 5.0, two));
    all.push(Scenario::new("q1-5.3-50ms", 3.0, |setup| {
        one(setup, rfc8867::rfc8867_5_3(Duration::from_millis(50)), true)
    }));
}

/// When the capacity changes, and what it is from then on: seconds, bits per second.
fn steps(profile: &Profile) -> Vec<(f64, f64)> {
    let first = (0.0, profile.down.capacity.mean().unwrap_or(0) as f64);
    let later = profile.down.script.changes().filter_map(|(at, change)| match change {
        netem::Change::Capacity(capacity) => Some((at.as_secs_f64(), capacity.mean()? as f64)),
        _ => None,
    });
    std::iter::once(first).chain(later).collect()
}

fn one(setup: Setup, profile: Profile, congested: bool) -> Outcome {
    let end = if setup.quick {
        65.0_f64.min(profile.duration.as_secs_f64())
    } else {
        profile.duration.as_secs_f64()
    };
    let steps = steps(&profile);
    let mut room = Room::gallery(setup.seed);
    let who = room.receiver(profile.down, profile.up);
    if congested {
        let up = room.world.peers[who].up.unwrap();
        room.world.wires[up].fill(UPLINK.0, UPLINK.1);
    }
    room.world.run(end);
    let mut outcome = Outcome::default();
    tell(&mut outcome, &room, &[who], &steps, end);
    outcome
}

fn two(setup: Setup) -> Outcome {
    let profile = rfc8867::rfc8867_5_2(Duration::from_millis(50));
    let end = if setup.quick {
        30.0
    } else {
        profile.duration.as_secs_f64()
    };
    let steps = steps(&profile);
    let mut room = Room::gallery(setup.seed);
    let both = [room.connected(), room.connected()];
    let (down, up) = (
        room.world.wire(profile.down, vec![]),
        room.world.wire(profile.up, vec![]),
    );
    for who in both {
        room.world.share(who, down, up, 0);
        room.subscribe(who);
    }
    room.world.run(end);
    let mut outcome = Outcome::default();
    tell(&mut outcome, &room, &both, &steps, end);
    outcome
}

/// Of several flows their sum counts.
fn tell(outcome: &mut Outcome, room: &Room, flows: &[usize], steps: &[(f64, f64)], end: f64) {
    let watches: Vec<_> = flows.iter().map(|&who| room.watch(who)).collect();
    let mut sum = watches[0].clone();
    for watch in &watches[1..] {
        for (all, more) in sum.estimate.iter_mut().zip(&watch.estimate) {
            *all += more;
        }
        for (all, more) in sum.sent.iter_mut().zip(&watch.sent) {
            *all += more;
        }
    }
    let used: f64 = watches.iter().map(|watch| watch.use_of_capacity(0.0, end)).sum();
    outcome.tell("use", "%", used);
    outcome.tell("queue_p95", "ms", watches[0].wait(0.95, 0.0, end));
    outcome.tell("queue_p99", "ms", watches[0].wait(0.99, 0.0, end));
    let (mut fall, mut rise) = (0.0_f64, 0.0_f64);
    for (index, &(at, rate)) in steps.iter().enumerate().skip(1) {
        let next = steps.get(index + 1).map_or(end, |&(at, _)| at.min(end));
        if next <= at {
            continue;
        }
        if rate < steps[index - 1].1 {
            fall = fall.max(sum.until(at, next, |estimate| estimate < rate));
        } else {
            rise = rise.max(sum.until(at, next, |estimate| estimate >= 0.9 * rate));
        }
    }
    outcome.tell("fall", "s", fall);
    outcome.tell("rise", "s", rise);
    let steady = (10.0, steps[1].0.min(end));
    outcome.tell("steady_spread", "%", sum.spread(steady.0, steady.1));
    outcome.tell(
        "steady_use",
        "%",
        watches
            .iter()
            .map(|watch| watch.use_of_capacity(steady.0, steady.1))
            .sum(),
    );
    outcome.tell("freeze", "s", room.all_freezes(flows[0], 1.0, end).total);
    outcome.tell("concealment", "%", room.concealment(flows[0], 1.0, end));
    outcome.tell("padding", "%", watches[0].padding(0.0, end));
    outcome.show(&sum, "");
}
