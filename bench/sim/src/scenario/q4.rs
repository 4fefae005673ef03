//! Bursts of loss: a camera with and without forward error correction, a voice with and without redundancy.

use std::time::Duration;

use netem::profiles::lossy;

use super::room::Room;
use super::{Outcome, Scenario, Setup};

/// Share of packets lost, packets of a burst on average.
const BURSTS: [(f64, f64); 4] = [(0.01, 2.0), (0.03, 5.0), (0.05, 10.0), (0.1, 20.0)];
/// Nothing is judged before, seconds.
const FROM: f64 = 3.0;

pub(super) fn add(all: &mut Vec<Scenario>) {
    for (share, length) in BURSTS {
        for round_trip in [150, 300] {
            let name = format!("q4-video-{}pct-{length}-{round_trip}ms", share * 100.0);
            let round_trip = Duration::from_millis(round_trip);
            all.push(Scenario::new(name, 2.0, move |setup| {
                video(setup, share, length, round_trip)
            }));
        }
    }
    for percent in [10, 30] {
        for length in [1, 2] {
            for (variant, redundant) in [("", true), ("no RED", false)] {
                let name = format!("q4-audio-{percent}pct-{length}");
                let run = move |setup| audio(setup, f64::from(percent) / 100.0, length, redundant);
                all.push(Scenario::new(name, 0.3, run).variant(variant));
            }
        }
    }
}

/// The same losses meet the call twice, the second time with retransmission alone.
fn video(setup: Setup, share: f64, length: f64, round_trip: Duration) -> Outcome {
    let profile = lossy::bursts(share, length, round_trip).unwrap();
    let end = if setup.quick { 10.0 } else { 60.0 };
    let call = |redundant| {
        let mut room = Room::camera(setup.seed);
        room.world.redundant = redundant;
        let who = room.receiver(profile.down.clone(), profile.up.clone());
        room.world.run(end);
        (room, who)
    };
    let ((room, who), (alone, listener)) = (call(true), call(false));
    let (freezes, without) = (room.all_freezes(who, FROM, end), alone.all_freezes(listener, FROM, end));
    let mut outcome = Outcome::default();
    let watch = room.watch(who);
    // Where nothing stands still either way, nothing is gained.
    let change = 100.0 * (freezes.total / without.total - 1.0);
    outcome.tell(
        "freeze_against_rtx",
        "%",
        if without.total > 0.0 { change } else { 0.0 },
    );
    outcome.tell("freeze_share", "%", 100.0 * freezes.total / (end - FROM));
    outcome.tell("freeze_share_rtx", "%", 100.0 * without.total / (end - FROM));
    outcome.tell("longest_freeze", "s", freezes.longest);
    outcome.tell("frame_loss", "%", room.frame_loss(who, FROM, end - 2.0));
    outcome.tell("frame_loss_rtx", "%", alone.frame_loss(listener, FROM, end - 2.0));
    outcome.tell("redundancy", "%", watch.redundancy(FROM, end));
    outcome.tell("concealment", "%", room.concealment(who, FROM, end));
    outcome.show(watch, "");
    outcome
}

/// A voice alone; bursts of so many packets on average.
fn audio(setup: Setup, share: f64, length: u32, redundant: bool) -> Outcome {
    let round_trip = Duration::from_millis(150);
    let profile = match length {
        1 => lossy::random(share, round_trip),
        _ => lossy::bursts(share, f64::from(length), round_trip).unwrap(),
    };
    let end = if setup.quick { 20.0 } else { 120.0 };
    let mut room = Room::camera(setup.seed);
    room.world.redundant = redundant;
    let who = room.connected();
    room.world.attach(who, profile.down, profile.up);
    let voice = room.voice;
    room.world.subscribe(who, voice);
    room.world.run(end);
    let mut outcome = Outcome::default();
    outcome.tell("concealment", "%", room.concealment(who, 5.0, end));
    outcome.show(room.watch(who), "");
    outcome
}
