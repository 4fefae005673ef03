//! A subscriber behind a path that changes: what is forwarded follows what the path carries.

use std::time::Duration;

use netem::{LinkConfig, Script};
use pysfu_engine::Event;
use pysfu_engine::command::{Command, MediaKind, Wanted};
use pysfu_engine::ids::{SubscriptionId, TrackId};

use wire::rtcp::nack;

use crate::camera::{Camera, is_due, link, seconds};
use crate::media::Source;
use crate::path::{Frames, Path};
use crate::world::{MS, World};

const VIDEO: u32 = 9_000;
const AUDIO: u32 = 9_100;

struct Call {
    world: World,
    alice: usize,
    bob: usize,
    subscription: SubscriptionId,
    video: TrackId,
    camera: Camera,
    voice: Source,
    frames: Frames,
    ticks: u64,
    /// Layer forwarded, at the end of each 100 ms.
    history: Vec<Option<u8>>,
}

impl Call {
    fn new(config: LinkConfig, script: Script, seed: u64) -> Self {
        let mut world = World::new();
        world.tick = MS;
        let (alice, bob) = (world.join(0), world.join(0));
        let video: TrackId = world.publish_video(alice, "0", &Camera::RIDS);
        let audio = world.publish_audio(alice, "1");
        let path = Path::new(world.now, config, script, seed);
        let frames = path.frames();
        world.people[bob].path = Some(Box::new(path));
        let subscription = world.subscribe(bob, video, 0, MediaKind::Video, VIDEO);
        world.subscribe(bob, audio, 0, MediaKind::Audio, AUDIO);
        Self {
            camera: Camera::new("0"),
            voice: Source::audio(2_000, "1"),
            world,
            frames,
            alice,
            bob,
            subscription,
            video,
            ticks: 0,
            history: Vec::new(),
        }
    }

    /// Alice sends everything at its time.
    fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() {
            let tick = self.ticks;
            self.ticks += 1;
            if is_due(tick) {
                self.camera.send(&mut self.world, self.alice);
            }
            if tick % 20 == 7 {
                let packet = self.voice.speak(30);
                self.world.send(self.alice, packet);
            }
            self.world.step();
            if tick % 100 == 99 {
                self.history.push(self.forwarded());
            }
        }
    }

    fn forwarded(&self) -> Option<u8> {
        let mut layers = self.world.events.iter().filter_map(|event| match event {
            Event::LayerForwarded { subscription, layer } if *subscription == self.subscription => Some(*layer),
            _ => None,
        });
        layers.next_back().flatten()
    }

    /// Layers between two moments, seconds.
    fn layers(&self, from: f64, to: f64) -> &[Option<u8>] {
        &self.history[(from * 10.0) as usize..(to * 10.0) as usize]
    }

    fn longest_gap(&self, from: f64, to: f64) -> Duration {
        self.frames.longest_gap(seconds(from), seconds(to))
    }
}

fn told(history: &[Option<u8>]) -> String {
    history
        .iter()
        .map(|layer| layer.map_or('-', |layer| char::from(b'0' + layer)))
        .collect()
}

#[test]
fn a_good_path_gets_the_best_layer_and_keeps_it() {
    for seed in 0..3 {
        let mut call = Call::new(link(10_000_000, 25 * MS), Script::default(), seed);
        call.run(seconds(12.0));
        assert!(
            call.layers(1.5, 12.0).iter().all(|layer| *layer == Some(2)),
            "{}",
            told(&call.history)
        );
        assert!(
            call.longest_gap(1.0, 12.0) < 150 * MS,
            "{:?}",
            call.longest_gap(1.0, 12.0)
        );
    }
}

#[test]
fn a_path_that_narrows_gets_less_at_once_and_more_when_it_recovers() {
    for seed in 0..3 {
        let script = Script::capacities([(seconds(10.0), 1_000_000), (seconds(25.0), 10_000_000)]);
        let mut call = Call::new(link(10_000_000, 25 * MS), script, seed);
        call.run(seconds(40.0));
        let told = told(&call.history);
        assert!(call.layers(12.0, 25.0).iter().all(|layer| *layer < Some(2)), "{told}");
        assert!(call.layers(13.0, 25.0).iter().all(|layer| *layer >= Some(0)), "{told}");
        assert!(call.layers(30.0, 40.0).iter().all(|layer| *layer == Some(2)), "{told}");
        let freeze = call.longest_gap(9.0, 40.0);
        assert!(freeze < 500 * MS, "{freeze:?} {told}");
    }
}

#[test]
fn what_a_path_does_not_carry_at_all_is_paused_and_audio_goes_on() {
    let mut call = Call::new(link(100_000, 25 * MS), Script::default(), 1);
    call.run(seconds(15.0));
    assert!(
        call.layers(8.0, 15.0).iter().all(Option::is_none),
        "{}",
        told(&call.history)
    );
    let voice = |packet: &&crate::media::Rtp| packet.ssrc == AUDIO;
    let heard = call.world.people[call.bob].rtp.iter().filter(voice).count();
    assert!(heard > 15 * 50 * 9 / 10, "{heard}");
}

#[test]
fn a_picture_returns_when_a_path_that_carried_none_recovers() {
    let script = Script::capacities([(seconds(5.0), 100_000), (seconds(20.0), 3_000_000)]);
    let mut call = Call::new(link(3_000_000, 25 * MS), script, 1);
    call.run(seconds(40.0));
    let told = told(&call.history);
    assert!(call.layers(15.0, 20.0).iter().all(Option::is_none), "{told}");
    assert!(call.layers(26.0, 40.0).iter().all(|layer| *layer >= Some(0)), "{told}");
    assert!(call.layers(30.0, 40.0).iter().all(|layer| *layer >= Some(1)), "{told}");
}

/// The fall comes at another phase of frames and feedback each time.
#[test]
fn a_thin_path_keeps_the_smallest_picture_and_returns_to_the_best() {
    for phase in 0..4 {
        let fall = 10.0 + f64::from(phase) * 0.237;
        let script = Script::capacities([(seconds(fall), 250_000), (seconds(fall + 20.0), 3_000_000)]);
        let mut call = Call::new(link(3_000_000, 25 * MS), script, 1);
        call.run(seconds(fall + 35.0));
        let told = told(&call.history);
        let all = |from: f64, to: f64, layer: u8| call.layers(from, to).iter().all(|&is| is == Some(layer));
        assert!(all(1.5, 10.0, 2), "{told}");
        assert!(all(fall + 1.0, fall + 20.0, 0), "{told}");
        assert!(all(fall + 25.0, fall + 35.0, 2), "{told}");
        let freeze = call.longest_gap(9.0, fall + 35.0);
        assert!(freeze < 700 * MS, "{freeze:?} {told}");
    }
}

#[test]
fn a_path_that_nearly_breaks_down_is_not_flooded() {
    for phase in 0..4 {
        let fall = 10.0 + f64::from(phase) * 0.237;
        let script = Script::capacities([(seconds(fall), 100_000)]);
        let mut call = Call::new(link(3_000_000, 25 * MS), script, 1);
        call.run(seconds(fall + 10.0));
        let told = told(&call.history);
        assert!(
            call.layers(fall + 1.2, fall + 10.0)
                .iter()
                .all(|&layer| layer <= Some(0)),
            "{told}"
        );
    }
}

#[test]
fn who_tells_nothing_of_what_arrives_gets_what_is_asked_for() {
    let mut call = Call::new(link(10_000_000, 25 * MS), Script::default(), 1);
    call.world.people[call.bob].silent = true;
    call.run(seconds(5.0));
    assert!(
        call.layers(1.0, 5.0).iter().all(|layer| *layer == Some(2)),
        "{}",
        told(&call.history)
    );
}

/// A subscription that ends while its packets wait takes them along, and what comes next begins anew under the same key.
#[test]
fn what_waits_ends_with_its_subscription() {
    let mut call = Call::new(link(300_000, 25 * MS), Script::default(), 1);
    call.run(seconds(2.0));
    for round in 0..20 {
        let (peer, subscription) = (call.world.people[call.bob].peer, call.subscription);
        call.world.command(0, Command::Unsubscribe { peer, subscription });
        let before = call.world.people[call.bob].rtp.len();
        let ssrc = 20_000 + round * 10;
        call.subscription = call.world.subscribe(call.bob, call.video, 0, MediaKind::Video, ssrc);
        call.run(Duration::from_millis(700));
        // What was on its way arrives within the queue's time.
        let late = &call.world.people[call.bob].rtp[before..];
        let first = late.iter().position(|packet| packet.ssrc == ssrc).unwrap_or(late.len());
        let former = |packet: &&crate::media::Rtp| (VIDEO..ssrc).contains(&packet.ssrc) && packet.ssrc != AUDIO;
        let stale = late[first..].iter().filter(former).count();
        assert_eq!(stale, 0, "round {round}");
    }
}

/// Clients refuse a number that they have seen ([`World`] tells): whatever waits, is cut, paused or asked again, nothing goes
/// out twice.
#[test]
fn nothing_is_sent_twice_on_a_wild_path() {
    for seed in 0..6_u64 {
        let rates = [300_000, 600_000, 1_000_000, 3_000_000, 10_000_000];
        let mut random = seed + 1;
        let mut draw = |below: u64| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let steps: Vec<_> = (0..15)
            .map(|step| (seconds(step as f64 * 1.3), rates[draw(5) as usize]))
            .collect();
        let mut call = Call::new(link(3_000_000, 40 * MS), Script::capacities(steps), seed);
        for _ in 0..40 {
            call.run(Duration::from_millis(draw(900)));
            let peer = call.world.people[call.bob].peer;
            let wanted = Wanted {
                paused: draw(5) == 0,
                max_spatial: draw(3) as u8,
                max_temporal: 255,
            };
            let subscription = call.subscription;
            call.world.command(
                0,
                Command::SetWanted {
                    peer,
                    subscription,
                    wanted,
                },
            );
            let received: Vec<u16> = call.world.people[call.bob]
                .rtp
                .iter()
                .map(|packet| packet.seq)
                .collect();
            let Some(&newest) = received.last() else { continue };
            let lost: Vec<u16> = (1..40)
                .step_by(1 + draw(9) as usize)
                .map(|back| newest.wrapping_sub(back))
                .collect();
            call.world
                .send_rtcp(call.bob, |out| nack::write(out, 1, VIDEO, lost).unwrap());
        }
        let media = call.world.people[call.bob]
            .rtp
            .iter()
            .filter(|packet| packet.ssrc == VIDEO)
            .count();
        assert!(media > 100, "{media} {}", told(&call.history));
    }
}
