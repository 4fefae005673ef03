//! Two hundred joins in ten seconds on one speaker, then a picture loss of each every second.

use netem::LinkConfig;
use netem::profiles::receivers;
use wire::rtcp::pli;

use super::room::Room;
use super::{Outcome, Scenario, Setup};
use crate::media::spec::Spec;
use crate::metrics::{mean, quantile};
use crate::peer::written;

const JOINS: usize = 200;
const WITHIN: f64 = 10.0;
/// Seconds: picture losses are told from and until.
const LOSSES: (f64, f64) = (12.0, 32.0);
/// The first of them may find the limit unused.
const SETTLED: f64 = 14.0;
/// Each tells one so often, steps of a millisecond.
const EVERY: u64 = 1_000;

pub(super) fn add(all: &mut Vec<Scenario>) {
    all.push(Scenario::new("q7-joins", 25.0, joins));
}

fn joins(setup: Setup) -> Outcome {
    let count = if setup.quick { JOINS / 10 } else { JOINS };
    let end = if setup.quick { 18.0 } else { LOSSES.1 };
    let mut room = Room::new(setup.seed, vec![Spec::single(1.2e6)]);
    let (track, profile) = (room.videos[0], receivers::receiver(20_000_000));
    let mut people = Vec::new();
    for index in 0..count {
        room.world.run(WITHIN * (index as f64 + 0.5) / count as f64);
        let who = room.world.add();
        room.world
            .attach(who, profile.down.clone(), LinkConfig { ..profile.up.clone() });
        room.world.subscribe(who, track);
        people.push(who);
    }
    room.world.run(LOSSES.0);
    while room.world.time() < end {
        room.world.step();
        for (index, &who) in people.iter().enumerate() {
            if (room.world.now / 1_000 + index as u64 * EVERY / count as u64).is_multiple_of(EVERY) {
                let loss = pli::PictureLoss {
                    sender_ssrc: 1,
                    media_ssrc: room.receivers(who)[0].ssrc,
                };
                room.world.send_rtcp(who, written(|out| loss.write(out).unwrap()));
            }
        }
    }
    let mut outcome = Outcome::default();
    let keyframes = |from: f64, to: f64| {
        let within = room.at(from)..room.at(to);
        let made = room.world.tracks[track].keyframes.iter();
        made.filter(|(at, _)| within.contains(at)).count() as f64 / (to - from)
    };
    outcome.tell("keyframes_per_s", "1/s", keyframes(SETTLED, end));
    outcome.tell("keyframes_per_s_joining", "1/s", keyframes(0.0, WITHIN));
    let shown = |who: usize| {
        let within = room.at(SETTLED)..room.at(end);
        let shown = room.video(who).shown.iter();
        let count = shown.filter(|shown| within.contains(&shown.at)).count();
        100.0 * count as f64 / (30.0 * (end - SETTLED))
    };
    let shares: Vec<_> = people.iter().map(|&who| shown(who)).collect();
    outcome.tell("fps_share", "%", mean(&shares));
    let first = |who: usize| {
        let first = room.video(who).shown.first();
        first.map_or(f64::INFINITY, |first| {
            (first.at - room.world.peers[who].since) as f64 / 1e6
        })
    };
    let firsts: Vec<_> = people.iter().map(|&who| first(who)).collect();
    outcome.tell("first_frame_p95", "s", quantile(firsts.clone(), 0.95));
    outcome.tell("first_frame_p50", "s", quantile(firsts, 0.5));
    outcome
}
