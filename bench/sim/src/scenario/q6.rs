//! One room: simulcast and scalable publishers, one of which loses packets on its way up; ten receivers from 0.15 to 5 Mb/s,
//! and one who has plenty, on whom switches are timed.

use netem::Loss;
use netem::profiles::receivers::{CAPACITIES, lossy_publisher, receiver};

use super::room::Room;
use super::{Outcome, Scenario, Setup};
use crate::media::spec::{Format, Spec};
use crate::metrics::mean;

/// What any picture at all is worth; a receiver of none from the others is held against it.
const PRESENCE: f64 = 4.0;
const PLENTY: u64 = 50_000_000;
/// The publishers; the last one loses packets.
const FORMATS: [Format; 5] = [Format::Vp8, Format::H264, Format::Vp9, Format::Av1, Format::Vp8];
/// Seconds: what is delivered is judged between the first two; layers are asked for, and asked back, at the next, codec by
/// codec; then the best layers vanish.
const STEADY: (f64, f64) = (20.0, 38.0);
const SWITCH: f64 = 40.0;
const EACH: f64 = 4.0;
const VANISH: f64 = 58.0;
const END: f64 = 62.0;
/// Bits per second of a voice with its headers, and what headers add to video.
const VOICE: f64 = 58e3;
const HEADERS: f64 = 1.06;

pub(super) fn add(all: &mut Vec<Scenario>) {
    all.push(Scenario::new("q6-room", 12.0, room));
}

fn room(setup: Setup) -> Outcome {
    let (first, last) = if setup.quick { (10.0, 14.0) } else { STEADY };
    let (healthy, _) = run(setup.seed, false, first, last, last);
    let end = if setup.quick { last } else { END };
    let (lossy, world) = run(setup.seed, true, first, last, end);
    let mut outcome = Outcome::default();
    let utilities: Vec<_> = lossy.iter().map(|receiver| receiver.utility).collect();
    outcome.tell("utility", "%", mean(&utilities));
    outcome.tell(
        "utility_least",
        "%",
        utilities.iter().copied().fold(f64::INFINITY, f64::min),
    );
    let changes: Vec<_> = lossy
        .iter()
        .zip(&healthy)
        .map(|(with, without)| 100.0 * (with.healthy - without.healthy).abs() / without.healthy.max(PRESENCE))
        .collect();
    outcome.tell("healthy_change", "%", mean(&changes));
    if !setup.quick {
        tell_switches(&mut outcome, &world);
    }
    outcome.show(world.room.watch(world.receivers[5]), "");
    outcome
}

struct Delivered {
    /// Of the best choice that fits, percent.
    utility: f64,
    /// That of the publishers without loss.
    healthy: f64,
}

struct Played {
    room: Room,
    receivers: Vec<usize>,
    rich: usize,
}

fn run(seed: u64, loses: bool, first: f64, last: f64, end: f64) -> (Vec<Delivered>, Played) {
    let mut room = Room::new(seed, FORMATS.map(Spec::camera).to_vec());
    let links = CAPACITIES.iter().chain([&PLENTY]).map(|&capacity| receiver(capacity));
    let links: Vec<_> = links.collect();
    let who: Vec<usize> = links.iter().map(|_| room.connected()).collect();
    room.world.begin();
    for (&who, profile) in who.iter().zip(links) {
        room.world.attach(who, profile.down, profile.up);
        room.subscribe(who);
    }
    let mut config = lossy_publisher().up;
    if !loses {
        config.loss = Loss::default();
    }
    let up = room.world.wire(config, vec![]);
    room.world.peers[FORMATS.len() - 1].up = Some(up);
    room.world.run(first);
    let receivers = &who[..CAPACITIES.len()];
    let mut sums = vec![(0.0, 0.0); receivers.len()];
    let mut turns = 0.0;
    while room.world.time() < last {
        room.world.run((room.world.time() + 0.5).min(last));
        turns += 1.0;
        for (sum, &who) in sums.iter_mut().zip(receivers) {
            let shown = |index: usize| {
                let receiver = &room.receivers(who)[index];
                let layer = receiver.video().and_then(|video| video.layer(room.world.now));
                layer.map_or(0.0, |(spatial, temporal)| {
                    value(&Spec::camera(FORMATS[index]), spatial, temporal)
                })
            };
            let values: Vec<f64> = (0..FORMATS.len()).map(shown).collect();
            sum.0 += values.iter().sum::<f64>();
            sum.1 += values[..FORMATS.len() - 1].iter().sum::<f64>();
        }
    }
    let delivered = sums.iter().zip(CAPACITIES).map(|((all, healthy), capacity)| Delivered {
        utility: 100.0 * all / turns / best((capacity as f64 - VOICE) / HEADERS),
        healthy: healthy / turns,
    });
    let delivered = delivered.collect();
    let rich = who[CAPACITIES.len()];
    if end > last {
        for index in 0..4 {
            let at = SWITCH + EACH * index as f64;
            room.world.run(at);
            room.world.want(rich, index, 0);
            room.world.run(at + EACH / 2.0);
            room.world.want(rich, index, 255);
        }
        room.world.run(VANISH);
        for publisher in 0..4 {
            room.world.peers[publisher].publishers[0].set_layers(2);
        }
        room.world.run(end);
    }
    let receivers = receivers.to_vec();
    (delivered, Played { room, receivers, rich })
}

/// The longest over codecs.
fn tell_switches(outcome: &mut Outcome, played: &Played) {
    const DOWN: [&str; 4] = [
        "switch_down_vp8",
        "switch_down_h264",
        "switch_down_vp9",
        "switch_down_av1",
    ];
    const UP: [&str; 4] = ["switch_up_vp8", "switch_up_h264", "switch_up_vp9", "switch_up_av1"];
    const GONE: [&str; 4] = ["vanished_vp8", "vanished_h264", "vanished_vp9", "vanished_av1"];
    let room = &played.room;
    let after = |index: usize, seconds: f64, fits: &dyn Fn(u8) -> bool| {
        let from = room.at(seconds);
        let mut shown = room.receivers(played.rich)[index].video().unwrap().shown.iter();
        let found = shown.find(|shown| shown.at > from && fits(shown.spatial));
        found.map_or(f64::INFINITY, |shown| (shown.at - from) as f64 / 1e3)
    };
    let (mut downs, mut ups, mut gone, mut frozen) = (0.0_f64, 0.0_f64, 0.0_f64, 0.0);
    for index in 0..4 {
        let at = SWITCH + EACH * index as f64;
        let down = after(index, at, &|spatial| spatial == 0);
        let up = after(index, at + EACH / 2.0, &|spatial| spatial == 2);
        let next = after(index, VANISH, &|spatial| spatial < 2);
        outcome.tell(DOWN[index], "ms", down);
        outcome.tell(UP[index], "ms", up);
        outcome.tell(GONE[index], "ms", next);
        downs = downs.max(down);
        ups = ups.max(up);
        gone = gone.max(next);
        frozen += room.freezes(played.rich, index, at, at + EACH).total;
    }
    outcome.tell("switch_down", "ms", downs);
    outcome.tell("switch_up", "ms", ups);
    outcome.tell("vanished_layer", "ms", gone);
    outcome.tell("switch_freeze", "s", frozen);
}

/// What a layer is worth to a receiver: as docs/media-quality.md defines it for a camera in full size.
fn value(spec: &Spec, spatial: u8, temporal: u8) -> f64 {
    const TILE: f64 = 2.0;
    const COVER: f64 = 0.9;
    let pixels = |spatial: usize| {
        let (width, height) = spec.layers[spatial].size;
        f64::from(width) * f64::from(height)
    };
    let share = (pixels(spatial.into()) / (pixels(spec.layers.len() - 1) * COVER)).min(1.0);
    let fps = 30.0 / f64::from(1_u32 << (spec.temporal - 1 - temporal));
    let motion = if fps < 15.0 {
        0.75 * (fps / 15.0).powi(2)
    } else {
        0.75 + 0.25 * (fps - 15.0) / 15.0
    };
    PRESENCE + TILE * share.sqrt() * motion
}

/// The greatest sum of values that fits a budget, one choice per publisher; all of them tried.
fn best(budget: f64) -> f64 {
    let mut reached = vec![(0.0, 0.0)];
    for format in FORMATS {
        let spec = Spec::camera(format);
        let layers = (0..spec.layers.len() as u8).flat_map(|spatial| (0..spec.temporal).map(move |t| (spatial, t)));
        let choices: Vec<_> = layers.map(|(s, t)| (spec.rate(s, t), value(&spec, s, t))).collect();
        let more = reached.iter().flat_map(|&(cost, worth)| {
            let with = choices.iter().map(move |&(rate, value)| (cost + rate, worth + value));
            with.chain([(cost, worth)])
        });
        let mut more: Vec<(f64, f64)> = more.filter(|(cost, _)| *cost <= budget).collect();
        more.sort_by(|a, b| a.0.total_cmp(&b.0).then(b.1.total_cmp(&a.1)));
        // What costs more and is worth no more is left out.
        let mut most = -1.0;
        more.retain(|&(_, worth)| {
            worth > most && {
                most = worth;
                true
            }
        });
        reached = more;
    }
    reached.last().map_or(0.0, |&(_, worth)| worth)
}
