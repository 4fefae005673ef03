//! What a subscriber wants decides what it gets of its path; what nobody wants is not sent.

use std::time::Duration;

use netem::Script;
use pysfu_engine::command::{Command, Description, MediaKind, Source, Wanted};
use pysfu_engine::ids::TrackId;
use pysfu_engine::{Config, Event};

use crate::meeting::{Meeting, link, view};
use crate::world::{MS, WANT_ALL, World};

fn seconds(time: f64) -> Duration {
    Duration::from_secs_f64(time)
}

fn wanted(world: &World, track: TrackId) -> Vec<(u64, Option<(u8, u8)>)> {
    let all = world.events.iter().filter_map(|event| match event {
        Event::LayersWanted { track: told, highest } if *told == track => Some((0, *highest)),
        _ => None,
    });
    all.collect()
}

#[test]
fn publishers_are_told_what_all_workers_together_can_use() {
    let mut world = World::with(3, Config::default());
    let (alice, bob, carol) = (world.join(0), world.join(1), world.join(2));
    let track = world.publish_video(alice, "0", &["q", "h", "f"]);
    let describe = Command::Describe {
        peer: world.people[alice].peer,
        track,
        description: Description {
            source: Source::Camera,
            sizes: [(320, 180), (640, 360), (1_280, 720)].into_iter().collect(),
        },
    };
    world.command(0, describe);
    let last = |world: &World| wanted(world, track).last().map(|&(_, highest)| highest);
    world.run_for(4_800 * MS);
    assert_eq!(
        last(&world),
        None,
        "publishers may send ahead of their first subscriber"
    );
    world.run_for(400 * MS);
    assert_eq!(last(&world), Some(None));
    // Bob, on another worker.
    let of_bob = world.subscribe(bob, track, 0, MediaKind::Video, 9_000);
    world.run_for(10 * MS);
    assert_eq!(last(&world), Some(Some((255, 255))));
    let view_of = |world: &World, who: usize, subscription, width, height| Command::SetView {
        peer: world.people[who].peer,
        subscription,
        view: view(width, height),
    };
    let small = view_of(&world, bob, of_bob, 300, 170);
    world.command(1, small);
    world.run_for(4_900 * MS);
    assert_eq!(last(&world), Some(Some((255, 255))), "less waits");
    world.run_for(400 * MS);
    assert_eq!(last(&world), Some(Some((0, 255))));
    // Carol, on a third one, with more.
    let of_carol = world.subscribe(carol, track, 0, MediaKind::Video, 9_000);
    let medium = view_of(&world, carol, of_carol, 600, 340);
    world.command(2, medium);
    world.run_for(10 * MS);
    assert_eq!(last(&world), Some(Some((255, 255))), "before her view was known");
    world.run_for(5_500 * MS);
    assert_eq!(last(&world), Some(Some((1, 255))));
    // Fewer frames, of both.
    for (worker, who, subscription) in [(1, bob, of_bob), (2, carol, of_carol)] {
        let peer = world.people[who].peer;
        let wanted = Wanted {
            max_temporal: 1,
            ..WANT_ALL
        };
        world.command(
            worker,
            Command::SetWanted {
                peer,
                subscription,
                wanted,
            },
        );
    }
    world.run_for(5_500 * MS);
    assert_eq!(last(&world), Some(Some((1, 1))));
    // Carol goes, Bob pauses.
    let peer = world.people[carol].peer;
    world.command(2, Command::RemovePeer { peer });
    world.run_for(5_500 * MS);
    assert_eq!(last(&world), Some(Some((0, 1))));
    let wanted = Wanted {
        paused: true,
        ..WANT_ALL
    };
    let peer = world.people[bob].peer;
    let pause = |wanted| Command::SetWanted {
        peer,
        subscription: of_bob,
        wanted,
    };
    world.command(1, pause(wanted));
    world.run_for(5_500 * MS);
    assert_eq!(last(&world), Some(None));
    world.command(1, pause(WANT_ALL));
    world.run_for(10 * MS);
    assert_eq!(last(&world), Some(Some((0, 255))), "his view is what it was");
}

#[test]
fn wishes_that_change_for_ever_are_few_messages() {
    let mut meeting = Meeting::new(1, false, link(10_000_000), Script::default());
    for round in 0..200 {
        meeting.show(0, [view(300, 170), view(1_280, 720)][round % 2]);
        meeting.run(50 * MS);
    }
    assert_eq!(wanted(&meeting.world, meeting.cameras[0].track), []);
}

#[test]
fn a_small_tile_takes_a_low_layer_and_the_publisher_stops_the_others() {
    let mut meeting = Meeting::new(1, false, link(10_000_000), Script::default());
    meeting.run(seconds(3.0));
    assert_eq!(meeting.forwarded(0), Some(2));
    meeting.show(0, view(300, 170));
    meeting.run(MS * 300);
    assert_eq!(meeting.forwarded(0), Some(0), "300 ms down");
    meeting.run(seconds(7.0));
    assert_eq!(meeting.sends(0), [true, false, false]);
    let used = meeting.sent_over(seconds(3.0));
    assert!(used < 250_000.0, "{used}");
    // Large again: the layer has to be switched on first.
    let asked = meeting.cameras[0].requests;
    meeting.show(0, view(1_280, 720));
    meeting.run(MS * 1_000);
    assert_eq!(meeting.forwarded(0), Some(2), "a second up");
    assert!(
        meeting.cameras[0].requests[2] <= asked[2] + 1,
        "{:?}",
        meeting.cameras[0].requests
    );
    meeting.run(seconds(1.0));
    assert!(meeting.frames.longest_gap(seconds(3.0), seconds(15.0)) < 150 * MS);
}

#[test]
fn keyframes_are_believed_before_what_a_publisher_says() {
    let mut meeting = Meeting::new(1, false, link(10_000_000), Script::default());
    let camera = &meeting.cameras[0];
    let lie = Command::Describe {
        peer: meeting.world.people[camera.who].peer,
        track: camera.track,
        description: Description {
            source: Source::Camera,
            sizes: [(60_000, 60_000), (1, 1), (0, 9), (7, 7)].into_iter().collect(),
        },
    };
    meeting.world.command(0, lie);
    meeting.show(0, view(600, 340));
    meeting.run(seconds(4.0));
    assert_eq!(meeting.forwarded(0), Some(1));
}

#[test]
fn what_is_paused_by_its_subscriber_is_switched_off_and_returns_fast() {
    let mut meeting = Meeting::new(1, false, link(10_000_000), Script::default());
    meeting.run(seconds(2.0));
    meeting.want(0, true);
    meeting.run(seconds(8.0));
    assert_eq!((meeting.sends(0), meeting.forwarded(0)), ([false; 3], None));
    meeting.want(0, false);
    meeting.run(MS * 1_000);
    assert_eq!((meeting.sends(0), meeting.forwarded(0)), ([true; 3], Some(2)));
    let paused = |event: &&Event| matches!(event, Event::StreamPaused { .. });
    assert_eq!(
        meeting.world.events.iter().filter(paused).count(),
        0,
        "asked for, not told"
    );
}

/// Four tiles of equal size. What the path does not carry falls where nobody speaks.
#[test]
fn who_speaks_keeps_quality_and_others_pause_first() {
    let script = Script::capacities([(seconds(10.0), 1_200_000), (seconds(25.0), 380_000)]);
    let mut meeting = Meeting::new(4, false, link(10_000_000), script);
    meeting.speak(2, Some(0));
    for camera in 0..4 {
        meeting.show(camera, view(960, 540));
    }
    meeting.run(seconds(10.0));
    assert!(
        (0..4).all(|camera| meeting.forwarded(camera) == Some(2)),
        "{:?}",
        meeting.told(9.0, 10.0)
    );
    meeting.run(seconds(15.0));
    let told = meeting.told(13.0, 25.0);
    let mean = |camera: usize| {
        let counts = told[camera];
        (counts[2] + 2 * counts[3]) as f64 / counts.iter().sum::<usize>() as f64
    };
    assert!([0, 1, 3].iter().all(|&other| mean(2) >= mean(other)), "{told:?}");
    assert!([1, 3].iter().all(|&other| mean(2) > mean(other) + 0.3), "{told:?}");
    assert!(told.iter().all(|counts| counts[0] < 30), "nobody pauses: {told:?}");
    meeting.run(seconds(5.0));
    let used = meeting.sent_over(seconds(15.0));
    assert!(used < 380_000.0 * 1.05, "the sum fits: {used}");
    let told = meeting.told(30.0, 45.0);
    assert!(told[2][0] < 40, "{told:?}");
    assert!([0, 1, 3].iter().any(|&other| told[other][0] > 300), "{told:?}");
    for camera in 0..4 {
        // Else nobody could find out when they fit again.
        assert_eq!(meeting.sends(camera), [true; 3], "wishes know no bandwidth");
    }
    let paused = |camera: usize| {
        let subscription = meeting.cameras[camera].subscription;
        let mut states = meeting.world.events.iter().filter_map(|event| match event {
            Event::StreamPaused {
                subscription: told,
                paused,
            } if *told == subscription => Some(*paused),
            _ => None,
        });
        states.next_back().unwrap_or(false)
    };
    for camera in 0..4 {
        assert_eq!(paused(camera), meeting.forwarded(camera).is_none(), "{camera} is told");
    }
}

#[test]
fn a_shared_screen_comes_before_cameras() {
    let script = Script::capacities([(seconds(8.0), 3_000_000)]);
    let mut meeting = Meeting::new(4, true, link(12_000_000), script);
    meeting.show(0, view(1_280, 720));
    for camera in 1..4 {
        meeting.show(camera, view(640, 360));
    }
    meeting.run(seconds(25.0));
    let told = meeting.told(12.0, 25.0);
    assert!(told[0][3] > 500, "{told:?}");
    assert!(told[1..].iter().all(|counts| counts[0] < 30), "{told:?}");
}

#[test]
fn priority_is_heeded() {
    let script = Script::capacities([(seconds(8.0), 1_250_000)]);
    let mut meeting = Meeting::new(3, false, link(10_000_000), script);
    for camera in 0..3 {
        let priority = if camera == 1 { 3 } else { 0 };
        let shown = pysfu_engine::command::View {
            priority,
            ..view(640, 360)
        };
        meeting.show(camera, shown);
    }
    meeting.run(seconds(20.0));
    let told = meeting.told(12.0, 20.0);
    assert!(told[1][2] > 320 && told[0][2] < 80 && told[2][2] < 80, "{told:?}");
}

#[test]
fn a_vanished_layer_is_replaced_at_once_with_declared_sizes_too() {
    for (shown, layer) in [(view(1_280, 720), 2), (view(600, 340), 1)] {
        let mut meeting = Meeting::new(1, false, link(10_000_000), Script::default());
        meeting.cameras[0].obeys = false;
        meeting.show(0, shown);
        meeting.run(seconds(4.0));
        assert_eq!(meeting.forwarded(0), Some(layer));
        meeting.cameras[0].broken[usize::from(layer)] = true;
        meeting.run(MS * 250);
        assert_eq!(meeting.forwarded(0), Some(layer - 1));
        meeting.run(seconds(1.0));
        let gap = meeting.frames.longest_gap(seconds(3.0), seconds(5.0));
        assert!(gap < 300 * MS, "{gap:?}");
    }
}
