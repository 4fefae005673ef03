//! RFC 8867 5.4 to 5.8: flows that share a bottleneck, with each other and with TCP.

use std::time::Duration;

use netem::profiles::{Profile, Source, rfc8867};

use super::room::Room;
use super::{Outcome, Scenario, Setup};
use crate::metrics::{SLOT, jain};
use crate::tcp::{Flavor, Tcp};

pub(super) fn add(all: &mut Vec<Scenario>) {
    all.push(Scenario::new("q8-flows", 6.0, |setup| {
        media(setup, rfc8867::rfc8867_5_4(), 60.0, 120.0)
    }));
    let still = Scenario::new("q8-flows", 6.0, |setup| {
        media(setup, rfc8867::rfc8867_5_4().without_jitter(), 60.0, 120.0)
    });
    all.push(still.variant("no jitter"));
    all.push(Scenario::new("q8-rtts", 9.0, |setup| {
        media(setup, rfc8867::rfc8867_5_5(), 60.0, 150.0)
    }));
    for queue in [300, 1_000] {
        let name = format!("q8-tcp-{queue}ms");
        all.push(Scenario::new(name, 4.0, move |setup| {
            tcp(setup, Duration::from_millis(queue))
        }));
    }
    all.push(Scenario::new("q8-pause", 6.0, pause));
}

/// The flows of a profile run until `end`; those that begin later join later.
fn run(setup: Setup, profile: Profile, end: f64, tcps: Vec<Tcp>) -> (Room, Vec<usize>, usize) {
    let mut room = Room::gallery(setup.seed);
    let flows = profile.flows.iter().filter(|flow| flow.source == Source::Media);
    let flows: Vec<_> = flows.cloned().collect();
    let who: Vec<usize> = flows.iter().map(|_| room.connected()).collect();
    room.world.begin();
    let (down, up) = (room.world.wire(profile.down, tcps), room.world.wire(profile.up, vec![]));
    for (&who, flow) in who.iter().zip(&flows) {
        room.world.run(flow.start.as_secs_f64().min(end));
        room.world.share(who, down, up, flow.delay.as_micros() as u64);
        room.subscribe(who);
    }
    (room, who, down)
}

fn media(setup: Setup, profile: Profile, from: f64, end: f64) -> Outcome {
    let (from, end) = if setup.quick { (from, from + 5.0) } else { (from, end) };
    let (mut room, who, _) = run(setup, profile, end, vec![]);
    room.world.run(end);
    let mut outcome = Outcome::default();
    tell(&mut outcome, &room, &who, from, end);
    outcome
}

fn tell(outcome: &mut Outcome, room: &Room, who: &[usize], from: f64, end: f64) {
    let rates: Vec<_> = who.iter().map(|&who| mean_useful(room, who, from, end)).collect();
    outcome.tell("jain", "", jain(&rates));
    let could = could_carry(room, who[0], from, end);
    outcome.tell("use", "%", 100.0 * rates.iter().sum::<f64>() / could);
    let waits = who.iter().map(|&who| room.watch(who).wait(0.95, from, end));
    outcome.tell("queue_p95", "ms", waits.fold(0.0, f64::max));
    let concealed = who.iter().map(|&who| room.concealment(who, from, end));
    outcome.tell("concealment", "%", concealed.fold(0.0, f64::max));
    let frozen = who.iter().map(|&who| room.all_freezes(who, from, end).total);
    outcome.tell("freeze", "s", frozen.fold(0.0, f64::max));
    for (index, &who) in who.iter().enumerate() {
        outcome.show(room.watch(who), &format!(" {}", index + 1));
    }
}

/// Watches begin when their client does, and end now.
fn mean_useful(room: &Room, who: usize, from: f64, to: f64) -> f64 {
    let late = late(room, who);
    room.watch(who).mean_useful(from - late, to - late)
}

fn late(room: &Room, who: usize) -> f64 {
    room.world.time() - room.watch(who).told.len() as f64 * SLOT as f64 / 1e6
}

fn could_carry(room: &Room, first: usize, from: f64, to: f64) -> f64 {
    let carried = &room.watch(first).carried;
    let at = |seconds: f64| carried[((seconds * 10.0) as usize).min(carried.len()) - 1];
    (at(to) - at(from)) as f64 * 8.0 / (to - from)
}

fn tcp(setup: Setup, queue: Duration) -> Outcome {
    let profile = rfc8867::rfc8867_5_6(queue);
    let (from, end) = (20.0, if setup.quick { 30.0 } else { 120.0 });
    let back = profile.up.delay.as_micros() as u64;
    let tcp = Tcp::new(Flavor::Cubic, 0.0, back);
    let (mut room, who, down) = run(setup, profile, end, vec![tcp]);
    room.world.run(from);
    let before = room.world.wires[down].tcp_bytes[0];
    room.world.run(end);
    let theirs = (room.world.wires[down].tcp_bytes[0] - before) as f64 * 8.0 / (end - from);
    let ours = mean_useful(&room, who[0], from, end);
    let mut outcome = Outcome::default();
    outcome.tell("share", "%", 100.0 * ours / (ours + theirs));
    outcome.tell("concealment", "%", room.concealment(who[0], from, end));
    outcome.tell("freeze", "s", room.all_freezes(who[0], from, end).total);
    outcome.tell("queue_p95", "ms", room.watch(who[0]).wait(0.95, from, end));
    outcome.show(room.watch(who[0]), "");
    outcome
}

/// The first of three flows pauses. It is back when it gets 80 % of what it got before.
fn pause(setup: Setup) -> Outcome {
    let profile = rfc8867::rfc8867_5_8();
    let (begin, resume, end) = (40.0, 60.0, if setup.quick { 70.0 } else { 100.0 });
    let (mut room, who, _) = run(setup, profile, end, vec![]);
    let videos = room.videos.len();
    room.world.run(begin);
    (0..videos).for_each(|index| room.world.pause(who[0], index, true));
    room.world.run(resume);
    (0..videos).for_each(|index| room.world.pause(who[0], index, false));
    room.world.run(end);
    let mut outcome = Outcome::default();
    let before = room.watch(who[0]).mean_useful(begin - 20.0, begin);
    let windows = (0..((end - resume) * 10.0) as u32 - 5).map(|slot| resume + f64::from(slot) / 10.0);
    let back = windows
        .clone()
        .find(|&at| room.watch(who[0]).mean_useful(at, at + 0.5) >= 0.8 * before);
    outcome.tell("resume", "s", back.map_or(f64::INFINITY, |at| at + 0.5 - resume));
    tell(&mut outcome, &room, &who, resume + 5.0, end);
    outcome
}
