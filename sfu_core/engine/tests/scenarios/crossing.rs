//! Tracks with subscribers on other workers.

use pysfu_engine::command::{Command, MediaKind};
use pysfu_engine::ids::TrackId;
use pysfu_engine::{Config, Event};

use crate::media::Source;
use crate::world::{MS, World};

const OUT: u32 = 9_000;

/// A publisher, and a subscriber on another worker.
fn two_workers() -> (World, [usize; 2]) {
    let mut world = World::with(2, Config::default());
    let people = [world.join(0), world.join(1)];
    (world, people)
}

fn publish_two_layers(world: &mut World, who: usize) -> (TrackId, [Source; 2]) {
    let track = world.publish_video(who, "0", &["q", "h"]);
    let sources = [
        Source::video(1_000, "0", Some("q"), (320, 180)),
        Source::video(1_001, "0", Some("h"), (640, 360)),
    ];
    (track, sources)
}

#[test]
fn a_track_crosses_once_for_all_subscribers_of_a_worker() {
    let mut world = World::with(2, Config::default());
    let alice = world.join(0);
    let others: Vec<_> = (0..3).map(|_| world.join(1)).collect();
    let track = world.publish_audio(alice, "0");
    for (index, &who) in others.iter().enumerate() {
        world.subscribe(who, track, 0, MediaKind::Audio, OUT + index as u32);
    }
    world.run_for(10 * MS);
    let mut source = Source::audio(1_000, "0");
    for _ in 0..50 {
        let packet = source.speak(30);
        world.send(alice, packet);
        world.run_for(20 * MS);
    }
    for &who in &others {
        let received = &world.people[who].rtp;
        assert_eq!(received.len(), 50);
        assert!(
            received
                .iter()
                .zip(&source.sent)
                .all(|(got, sent)| got.tag() == sent.tag())
        );
    }
    let row = world.stats(1).workers[0];
    assert_eq!((row.mirrors, row.tracks, row.subscriptions), (1, 0, 3));
    assert!(row.crossings_in < 60, "{}", row.crossings_in);
    // Only the home tells of the track.
    let told = world
        .events
        .iter()
        .filter(|e| matches!(e, Event::LayerActive { active: true, .. }));
    assert_eq!(told.count(), 1);
}

#[test]
fn keyframe_wishes_cross_back() {
    let (mut world, [alice, bob]) = two_workers();
    let (track, mut sources) = publish_two_layers(&mut world, alice);
    for source in &mut sources {
        for packet in source.frame(true, 2) {
            world.send(alice, packet);
        }
    }
    world.run_for(1_000 * MS);
    world.people[alice].rtcp.clear();
    world.subscribe(bob, track, 0, MediaKind::Video, OUT);
    for _ in 0..20 {
        let asked = world.people[alice].keyframe_requests();
        world.people[alice].rtcp.clear();
        for source in &mut sources {
            for packet in source.frame(asked.contains(&source.ssrc), 2) {
                world.send(alice, packet);
            }
        }
        world.run_for(33 * MS);
    }
    let received = &world.people[bob].rtp;
    assert!(received.len() > 20);
    assert_eq!(received[0].payload[4] & 1, 0, "begins with a keyframe");
    assert_eq!(received.last().unwrap().tag()[0], b'h');
    // What it lost is in the mirror's own ring.
    let missing = received.last().unwrap().seq;
    world.send_rtcp(bob, |out| wire::rtcp::nack::write(out, 77, OUT, [missing]).unwrap());
    world.run_for(10 * MS);
    assert_eq!(world.people[bob].rtp.last().unwrap().ssrc, OUT + 1);
}

/// The first subscriber of a worker begins with what the home keeps, as those beside the publisher do, again and again.
#[test]
fn a_newcomer_elsewhere_begins_with_what_the_home_keeps() {
    let (mut world, [alice, bob]) = two_workers();
    let (track, mut sources) = publish_two_layers(&mut world, alice);
    for frame in 0..40 {
        for source in &mut sources {
            for packet in source.frame(frame == 0, 2) {
                world.send(alice, packet);
            }
        }
        world.run_for(33 * MS);
    }
    world.people[alice].rtcp.clear();
    for round in 0..3 {
        let ssrc = OUT + 10 * round;
        let subscription = world.subscribe(bob, track, 0, MediaKind::Video, ssrc);
        world.run_for(20 * MS);
        let received = std::mem::take(&mut world.people[bob].rtp);
        assert_eq!(received[0].payload[4] & 1, 0, "begins with a keyframe");
        assert!(
            received.iter().all(|packet| packet.tag()[0] == b'h'),
            "of the wanted layer"
        );
        let sent = sources[1].sent.last().unwrap();
        assert_eq!(received.last().unwrap().tag(), sent.tag(), "up to now");
        assert_eq!(received.len(), sources[1].sent.len());
        for source in &mut sources {
            for packet in source.frame(false, 2) {
                world.send(alice, packet);
            }
        }
        world.run_for(33 * MS);
        assert_eq!(world.people[bob].rtp.len(), 2, "each packet once");
        let peer = world.people[bob].peer;
        world.command(1, Command::Unsubscribe { peer, subscription });
        world.run_for(20 * MS);
        world.people[bob].rtp.clear();
    }
    assert!(world.people[alice].keyframe_requests().is_empty());
}

#[test]
fn the_last_subscriber_detaches_and_the_publisher_takes_all_with_it() {
    let (mut world, [alice, bob]) = two_workers();
    let track = world.publish_audio(alice, "0");
    let mut source = Source::audio(1_000, "0");
    let peer = world.people[bob].peer;
    let subscription = world.subscribe(bob, track, 0, MediaKind::Audio, OUT);
    world.run_for(10 * MS);
    world.command(1, Command::Unsubscribe { peer, subscription });
    world.run_for(10 * MS);
    assert_eq!(world.stats(1).workers[0].mirrors, 0);
    let before = world.stats(1).workers[0].crossings_in;
    let packet = source.speak(30);
    world.send(alice, packet);
    world.run_for(20 * MS);
    assert_eq!(world.stats(1).workers[0].crossings_in, before);
    world.subscribe(bob, track, 0, MediaKind::Audio, OUT + 1);
    world.run_for(10 * MS);
    let packet = source.speak(30);
    world.send(alice, packet);
    world.run_for(20 * MS);
    assert_eq!(world.people[bob].rtp.len(), 1);
    let publisher = world.people[alice].peer;
    world.command(0, Command::RemovePeer { peer: publisher });
    world.run_for(10 * MS);
    let row = world.stats(1).workers[0];
    assert_eq!((row.mirrors, row.subscriptions, row.peers), (0, 0, 1));
}

#[test]
fn a_subscription_may_overtake_the_publication() {
    let (mut world, [alice, bob]) = two_workers();
    // The id that the publication will get, once this one subscription has its own.
    let track = pysfu_engine::ids::TrackId(world.id() + 2);
    world.subscribe(bob, track, 0, MediaKind::Audio, OUT);
    world.run_for(10 * MS);
    assert_eq!(world.publish_audio(alice, "0"), track);
    let packet = Source::audio(1_000, "0").speak(30);
    world.run_for(10 * MS);
    world.send(alice, packet);
    world.run_for(20 * MS);
    assert_eq!(world.people[bob].rtp.len(), 1);
    // One that never comes ends.
    let missing = pysfu_engine::ids::TrackId(1_000_000);
    world.subscribe(bob, missing, 0, MediaKind::Audio, OUT + 1);
    assert_eq!(world.stats(1).workers[0].subscriptions, 2);
    world.run_for(6_000 * MS);
    assert_eq!(world.stats(1).workers[0].subscriptions, 1);
}
