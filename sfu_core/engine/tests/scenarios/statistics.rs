//! What the engine tells of paths and pictures, against what the path is and what the subscriber saw.

use std::time::Duration;

use netem::{Change, LinkConfig, Loss, Script};
use pysfu_engine::command::{Command, MediaKind, Wanted};
use pysfu_engine::ids::SubscriptionId;
use pysfu_engine::stats::{DownlinkRow, FeedbackKind, LimitedBy, PauseReason, SubscriptionRow};
use wire::rtcp::remb;

use crate::camera::{Camera, is_due, link, seconds};
use crate::path::Path;
use crate::viewer::{Shown, Viewer};
use crate::world::{MS, World};

const VIDEO: u32 = 9_000;
const FRAME: Duration = Duration::from_micros(33_333);

struct Call {
    world: World,
    alice: usize,
    bob: usize,
    subscription: SubscriptionId,
    camera: Camera,
    shown: Option<Shown>,
    ticks: u64,
    /// The publisher's camera is on.
    films: bool,
}

impl Call {
    fn new(link: Option<(LinkConfig, Script, u64)>) -> Self {
        let mut world = World::new();
        world.tick = MS;
        let (alice, bob) = (world.join(0), world.join(0));
        let video = world.publish_video(alice, "0", &Camera::RIDS);
        let mut shown = None;
        if let Some((config, script, seed)) = link {
            let path = Path::new(world.now, config, script, seed);
            let (viewer, truth) = Viewer::new(world.now, path, VIDEO);
            world.people[bob].path = Some(Box::new(viewer));
            shown = Some(truth);
        }
        let subscription = world.subscribe(bob, video, 0, MediaKind::Video, VIDEO);
        Self {
            camera: Camera::new("0"),
            world,
            alice,
            bob,
            subscription,
            shown,
            ticks: 0,
            films: true,
        }
    }

    fn run(&mut self, time: Duration) {
        for _ in 0..time.as_millis() {
            let tick = self.ticks;
            self.ticks += 1;
            if self.films && is_due(tick) {
                self.camera.send(&mut self.world, self.alice);
            }
            self.world.step();
        }
    }

    fn row(&self) -> SubscriptionRow {
        self.world.stats(0).subscriptions[0]
    }

    fn downlink(&self) -> DownlinkRow {
        let peer = self.world.people[self.bob].peer.0;
        let rows = self.world.stats(0).downlinks;
        *rows.iter().find(|row| row.peer == peer).unwrap()
    }

    fn want(&mut self, paused: bool) {
        let (peer, subscription) = (self.world.people[self.bob].peer, self.subscription);
        let wanted = Wanted {
            paused,
            max_spatial: 255,
            max_temporal: 255,
        };
        self.world.command(
            0,
            Command::SetWanted {
                peer,
                subscription,
                wanted,
            },
        );
    }
}

/// What is told is what the subscriber saw: outages, random loss, bursts, a path that narrows.
#[test]
fn freezes_are_told_as_they_were_seen() {
    let outage = |at: f64, lasts: f64| {
        let dead = Loss::Independent(1.0);
        Script::default()
            .with(seconds(at), Change::Loss(dead))
            .with(seconds(at + lasts), Change::Loss(Loss::None))
    };
    let fast = link(10_000_000, 25 * MS);
    let cases = [
        ("a good path", fast.clone(), Script::default()),
        ("an outage of 400 ms", fast.clone(), outage(6.0, 0.4)),
        ("an outage of 800 ms", fast.clone(), outage(6.0, 0.8)),
        (
            "3 % loss",
            LinkConfig {
                loss: Loss::Independent(0.03),
                ..link(10_000_000, 40 * MS)
            },
            Script::default(),
        ),
        (
            "bursts of loss, 150 ms",
            LinkConfig {
                loss: Loss::bursts(0.05, 8.0).unwrap(),
                ..link(10_000_000, 75 * MS)
            },
            Script::default(),
        ),
        (
            "4 Mb/s to 700 kb/s and back",
            link(4_000_000, 50 * MS),
            Script::capacities([(seconds(6.0), 700_000), (seconds(12.0), 4_000_000)]),
        ),
    ];
    for (name, config, script) in cases {
        for seed in 0..3 {
            let mut call = Call::new(Some((config.clone(), script.clone(), seed)));
            call.run(seconds(20.0));
            let row = call.row();
            let shown = call.shown.as_ref().unwrap();
            let (count, total) = shown.freezes(FRAME);
            let total = total.as_secs_f64() * 1e3;
            println!(
                "{name}: {} freezes, {:.0} ms told; {count}, {total:.0} ms seen; {} of {} pictures told, {} seen",
                row.freezes,
                row.freeze_ms,
                row.pictures_delivered,
                row.pictures,
                shown.count()
            );
            let off = (row.freeze_ms - total).abs();
            assert!(off <= 200.0 + 0.15 * total, "{name}, seed {seed}: off by {off:.0} ms");
            assert!(row.freezes.abs_diff(count) <= 1 + count / 4, "{name}, seed {seed}");
            let unseen = row.pictures_delivered.abs_diff(shown.count());
            assert!(
                unseen <= 15 + shown.count() / 50,
                "{name}, seed {seed}: {unseen} pictures"
            );
        }
    }
}

#[test]
fn a_publisher_that_stops_and_a_pause_are_no_freezes() {
    let mut call = Call::new(Some((link(10_000_000, 25 * MS), Script::default(), 1)));
    call.run(seconds(3.0));
    call.films = false;
    call.run(seconds(4.0));
    call.films = true;
    call.run(seconds(3.0));
    call.want(true);
    call.run(seconds(2.0));
    let row = call.row();
    assert_eq!((row.paused, row.pause_reason), (1, PauseReason::Asked as u64));
    assert_eq!((row.target_spatial, row.spatial, row.layer), (-1, -1, -1));
    call.want(false);
    call.run(seconds(3.0));
    let row = call.row();
    assert_eq!((row.freezes, row.freeze_ms, row.frozen_ms), (0, 0.0, 0.0));
    assert_eq!((row.target_spatial, row.spatial), (2, 2));
}

#[test]
fn a_dead_path_is_told_as_a_freeze_that_goes_on() {
    let script = Script::default().with(seconds(5.0), Change::Loss(Loss::Independent(1.0)));
    let mut call = Call::new(Some((link(10_000_000, 25 * MS), script, 1)));
    call.run(seconds(5.0));
    assert_eq!(call.row().frozen_ms, 0.0);
    call.run(seconds(2.0));
    let row = call.row();
    assert!((1_500.0..2_200.0).contains(&row.frozen_ms), "{}", row.frozen_ms);
    assert_eq!((row.freezes, row.freeze_ms), (1, row.frozen_ms));
}

#[test]
fn the_path_of_a_subscriber_is_told_with_what_limits_it() {
    let mut call = Call::new(Some((link(10_000_000, 25 * MS), Script::default(), 1)));
    call.run(seconds(8.0));
    let row = call.downlink();
    assert_eq!(row.feedback, FeedbackKind::TransportWide as u64);
    assert_eq!(row.limited_by, LimitedBy::Application as u64);
    assert!(
        row.estimate_bps > row.desired_bps && row.allocated_bps <= row.desired_bps,
        "{row:?}"
    );
    assert!((1e6..4e6).contains(&row.acknowledged_bps), "{row:?}");
    assert!((50.0..80.0).contains(&row.rtt_ms), "{row:?}");
    assert!(row.loss < 0.01 && row.queue_ms < 20.0 && row.pacer_ms < 20.0, "{row:?}");
    let video = call.row();
    assert!(
        row.bytes > video.bytes && row.padding_bytes > 0 && row.rtx_bytes == 0,
        "{row:?}"
    );

    let mut narrow = Call::new(Some((link(800_000, 25 * MS), Script::default(), 1)));
    narrow.run(seconds(15.0));
    let row = narrow.downlink();
    assert!((400e3..900e3).contains(&row.estimate_bps), "{row:?}");
    assert!(
        row.allocated_bps <= row.estimate_bps && row.desired_bps > 1.5e6,
        "{row:?}"
    );
    let video = narrow.row();
    assert_eq!(
        (video.target_spatial, video.spatial, video.pause_reason),
        (1, 1, PauseReason::None as u64)
    );

    let lossy = LinkConfig {
        loss: Loss::Independent(0.05),
        ..link(10_000_000, 25 * MS)
    };
    let mut lossy = Call::new(Some((lossy, Script::default(), 1)));
    lossy.run(seconds(10.0));
    let (row, video) = (lossy.downlink(), lossy.row());
    assert!((0.02..0.09).contains(&row.loss), "{row:?}");
    assert!(row.rtx_bytes > 0 && video.rtx_bytes > 0, "{row:?} {video:?}");
    let share = video.rtx_bytes as f64 / video.bytes as f64;
    assert!((0.02..0.15).contains(&share), "{share}");

    let mut thin = Call::new(Some((link(100_000, 25 * MS), Script::default(), 1)));
    thin.run(seconds(12.0));
    let video = thin.row();
    assert_eq!((video.paused, video.pause_reason), (1, PauseReason::Bandwidth as u64));
    assert_eq!(video.target_spatial, -1);
}

/// Nobody hears anything that could tell that the path is back.
#[test]
fn a_path_that_was_dead_for_long_is_found_again_without_audio() {
    let script = Script::default()
        .with(seconds(5.0), Change::Loss(Loss::Independent(1.0)))
        .with(seconds(15.0), Change::Loss(Loss::None));
    let mut call = Call::new(Some((link(10_000_000, 25 * MS), script, 1)));
    call.run(seconds(14.0));
    let row = call.row();
    assert_eq!((row.spatial, row.pause_reason), (-1, PauseReason::Bandwidth as u64));
    assert!(row.freezes == 1 && row.freeze_ms > 500.0, "{row:?}");
    call.run(seconds(6.0));
    let row = call.row();
    assert_eq!((row.spatial, row.paused), (2, 0), "{row:?}");
}

/// Totals of a worker outlive what they are of.
#[test]
fn totals_never_fall() {
    let script = Script::default()
        .with(seconds(4.0), Change::Loss(Loss::Independent(1.0)))
        .with(seconds(5.0), Change::Loss(Loss::None));
    let mut call = Call::new(Some((link(10_000_000, 25 * MS), script, 1)));
    call.run(seconds(8.0));
    let before = call.world.stats(0).workers[0];
    assert!(before.freezes == 1 && before.freeze_ms > 900, "{before:?}");
    assert!(
        before.pictures_sent >= before.pictures_delivered && before.pictures_delivered > 150,
        "{before:?}"
    );
    assert!(before.downlink_bytes > 1_000_000, "{before:?}");
    let peer = call.world.people[call.bob].peer;
    call.world.command(0, Command::RemovePeer { peer });
    let after = call.world.stats(0);
    assert!(after.downlinks.is_empty() && after.subscriptions.is_empty());
    let after = after.workers[0];
    let of = |row: pysfu_engine::stats::WorkerRow| {
        (
            row.freezes,
            row.freeze_ms,
            row.pictures_sent,
            row.pictures_delivered,
            row.downlink_bytes,
        )
    };
    assert_eq!(of(after), of(before));
}

/// Without feedback on packets the receiver's own estimate holds; without that, too, everything asked for is sent.
#[test]
fn who_estimates_itself_gets_what_it_says() {
    let mut call = Call::new(None);
    call.world.people[call.bob].silent = true;
    call.run(seconds(1.0));
    for _ in 0..100 {
        call.world
            .send_rtcp(call.bob, |out| remb::write(out, 1, 700_000, [VIDEO]).unwrap());
        call.run(100 * MS);
    }
    let (row, video) = (call.downlink(), call.row());
    assert_eq!(row.feedback, FeedbackKind::Receiver as u64);
    assert_eq!(row.limited_by, LimitedBy::Receiver as u64);
    assert!((650e3..710e3).contains(&row.estimate_bps), "{row:?}");
    assert_eq!((video.target_spatial, video.spatial), (1, 1));
    assert_eq!((video.freezes, video.pictures_delivered), (0, 0));
}
