//! Links that are cut, and mirrors that go on another way.

use std::time::Duration;

use pysfu_engine::command::{Command, MediaKind};
use pysfu_engine::ids::TrackId;
use pysfu_engine::{Config, Event};

use super::{Camera, Nodes, OUT, assert_continuous, link, way};
use crate::world::MS;

/// Three nodes, each joined to the others, and a viewer on the second.
fn triangle(delay: u64) -> (Nodes, Camera, usize, TrackId) {
    let mut nodes = Nodes::new(3, Config::default());
    for (one, other) in [(0, 1), (0, 2), (2, 1)] {
        nodes.join(one, other, &way(delay, 0.0));
    }
    let camera = Camera::new(&mut nodes, 0);
    let bob = nodes.world.join(1);
    let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
    nodes.world.subscribe(bob, here, 1, MediaKind::Video, OUT);
    (nodes, camera, bob, here)
}

fn told(nodes: &Nodes, from: usize, to: usize, alive: bool) -> bool {
    let link = link(from, to);
    nodes.was_told(&Event::LinkAlive { link, alive })
}

#[test]
fn a_cut_link_is_seen_and_the_picture_goes_on_over_a_third_node_within_a_second() {
    for delay in [5, 40, 100] {
        let (mut nodes, mut camera, bob, here) = triangle(delay);
        nodes.film(&mut camera, 90);
        nodes.world.run_for(300 * MS);
        assert_eq!(camera.missing(&nodes.world.people[bob].rtp, 60), 0);
        nodes.cut_both(0, 1, 1.0);
        let (cut, before) = (nodes.world.now, nodes.world.people[bob].rtp.len());
        while !told(&nodes, 1, 0, false) {
            nodes.film(&mut camera, 1);
        }
        // What the control plane does then.
        let transit = nodes.mirror(2, 0, camera.track, MediaKind::Video);
        nodes.mirror_as(here, 1, 2, transit, MediaKind::Video, None);
        let moved = nodes.world.now;
        while nodes.world.people[bob].rtp.len() < before + 10 {
            nodes.film(&mut camera, 1);
        }
        let (seen, back) = (moved - cut, nodes.world.now - cut);
        assert!(seen <= Duration::from_millis(800), "{delay} ms: seen after {seen:?}");
        assert!(
            back <= Duration::from_millis(1_000 + 4 * delay),
            "{delay} ms: back after {back:?}"
        );
        assert!(told(&nodes, 0, 1, false), "the other end sees it, too");
        nodes.film(&mut camera, 90);
        nodes.world.run_for(500 * MS);
        let rtp = &nodes.world.people[bob].rtp;
        // What was kept fills the gap, if a keyframe was not long ago; else one was asked for.
        assert_eq!(camera.missing(rtp, 120), 0);
        // The former way is not taken again when it is there again.
        nodes.cut_both(0, 1, 0.0);
        nodes.film(&mut camera, 60);
        assert!(told(&nodes, 1, 0, true) && told(&nodes, 0, 1, true));
        let direct = nodes.row(0, 1).media_sent;
        nodes.film(&mut camera, 30);
        assert_eq!(nodes.row(0, 1).media_sent, direct);
        nodes.world.command(1, Command::RemoveLink { link: link(1, 0) });
        nodes.film(&mut camera, 30);
        nodes.world.run_for(300 * MS);
        assert_eq!(camera.missing(&nodes.world.people[bob].rtp, 200), 0);
    }
}

#[test]
fn a_planned_move_loses_nothing() {
    let (mut nodes, mut camera, bob, here) = triangle(30);
    nodes.film(&mut camera, 60);
    let transit = nodes.mirror(2, 0, camera.track, MediaKind::Video);
    nodes.mirror_as(here, 1, 2, transit, MediaKind::Video, None);
    nodes.film(&mut camera, 60);
    let direct = nodes.row(0, 1).media_sent;
    // And back.
    nodes.mirror_as(here, 1, 0, camera.track, MediaKind::Video, None);
    nodes.film(&mut camera, 60);
    assert!(nodes.row(0, 1).media_sent > direct);
    nodes.world.command(1, Command::RemoveLink { link: link(1, 2) });
    nodes.film(&mut camera, 30);
    let asked = camera.asked;
    nodes.world.run_for(300 * MS);
    let rtp = &nodes.world.people[bob].rtp;
    assert_eq!(camera.missing(rtp, 400), 0);
    assert_continuous(rtp);
    assert!(asked <= 2, "{asked} keyframes asked for");
    // The third node is no longer asked to carry it.
    let transit = nodes.row(2, 1).media_sent;
    nodes.film(&mut camera, 30);
    assert_eq!(nodes.row(2, 1).media_sent, transit);
}

#[test]
fn a_way_that_is_cut_in_one_direction_is_seen_at_both_ends() {
    for (from, to) in [(0, 1), (1, 0)] {
        let (mut nodes, mut camera, _, _) = triangle(40);
        nodes.film(&mut camera, 60);
        nodes.cut(from, to, 1.0);
        nodes.film(&mut camera, 30);
        assert!(told(&nodes, 0, 1, false) && told(&nodes, 1, 0, false));
        assert!(!told(&nodes, 2, 1, false));
    }
}

/// Nothing is re-homed: the link is the only one, and comes back after much has changed at both ends.
#[test]
fn what_changed_while_a_link_was_away_holds_when_it_is_back() {
    let mut nodes = Nodes::pair(30, 0.0);
    let mut camera = Camera::new(&mut nodes, 0);
    let mut other = Camera::new(&mut nodes, 0);
    other.layers.iter_mut().for_each(|layer| layer.ssrc += 100);
    let (bob, carol) = (nodes.world.join(1), nodes.world.join(1));
    let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
    let second = nodes.mirror(1, 0, other.track, MediaKind::Video);
    let left = nodes.world.subscribe(bob, here, 1, MediaKind::Video, OUT);
    nodes.film(&mut camera, 30);
    nodes.film(&mut other, 30);
    nodes.cut_both(0, 1, 1.0);
    nodes.film(&mut camera, 60);
    // One is left, one is begun, the camera's track ends: none of it can be told.
    let peer = nodes.world.people[bob].peer;
    nodes.world.command(
        1,
        Command::Unsubscribe {
            peer,
            subscription: left,
        },
    );
    nodes.world.subscribe(carol, second, 1, MediaKind::Video, OUT);
    let (peer, track) = (nodes.world.people[camera.who].peer, camera.track);
    nodes.world.command(0, Command::Unpublish { peer, track });
    nodes.film(&mut other, 60);
    nodes.cut_both(0, 1, 0.0);
    nodes.film(&mut other, 30);
    assert!(told(&nodes, 1, 0, true));
    nodes.film(&mut other, 60);
    assert_eq!(other.missing(&nodes.world.people[carol].rtp, 120), 0);
    assert_eq!(nodes.world.stats(0).workers[0].commands_failed, 0);
    // Of the one that ended, its mirror hears as soon as somebody wants it.
    nodes.world.subscribe(bob, here, 1, MediaKind::Video, OUT + 10);
    nodes.film(&mut other, 200);
    assert!(nodes.was_told(&Event::MirrorEnded { track: here }));
}

#[test]
fn what_waits_for_a_dead_node_is_bounded() {
    let (mut nodes, mut camera, _, _) = triangle(20);
    nodes.film(&mut camera, 60);
    nodes.cut_both(0, 1, 1.0);
    nodes.film(&mut camera, 30);
    let pooled = nodes.world.stats(0).workers[0].pooled_packets;
    for track in 0..100 {
        nodes.mirror(0, 1, TrackId(1 << 20 | track), MediaKind::Audio);
    }
    nodes.film(&mut camera, 600);
    let row = nodes.row(0, 1);
    assert!(row.alive == 0 && row.dropped > 1_000, "{row:?}");
    let more = nodes.world.stats(0).workers[0].pooled_packets;
    assert!(more <= pooled + 200, "{more} packets are held, {pooled} were");
}

#[test]
fn the_end_of_a_track_and_of_a_link_end_mirrors() {
    let (mut nodes, mut camera, bob, here) = triangle(20);
    nodes.film(&mut camera, 30);
    let (peer, track) = (nodes.world.people[camera.who].peer, camera.track);
    nodes.world.command(0, Command::Unpublish { peer, track });
    nodes.world.run_for(100 * MS);
    assert!(nodes.was_told(&Event::MirrorEnded { track: here }));
    let mut again = Camera::new(&mut nodes, 0);
    again.layers.iter_mut().for_each(|layer| layer.ssrc += 100);
    let here = nodes.mirror(1, 0, again.track, MediaKind::Video);
    nodes.world.subscribe(bob, here, 1, MediaKind::Video, OUT + 10);
    nodes.film(&mut again, 30);
    assert_eq!(again.missing(&nodes.world.people[bob].rtp, 20), 0);
    nodes.world.command(1, Command::RemoveLink { link: link(1, 0) });
    assert!(nodes.was_told(&Event::MirrorEnded { track: here }));
    let stats = nodes.world.stats(1);
    assert_eq!((stats.workers[0].subscriptions, stats.workers[0].mirrors), (0, 0));
    // The other end finds out by itself.
    nodes.film(&mut again, 60);
    assert!(told(&nodes, 0, 1, false));
    // A mirror for which there is no link is told to be none.
    let none = nodes.mirror(1, 0, again.track, MediaKind::Video);
    assert!(nodes.was_told(&Event::MirrorEnded { track: none }));
}

/// A participant has moved to another node and publishes there anew: subscriptions go on with the new track under their numbers.
#[test]
fn another_publication_takes_the_place_of_a_mirrors_track() {
    let (mut nodes, mut camera, bob, here) = triangle(20);
    nodes.film(&mut camera, 60);
    let mut moved = Camera::new(&mut nodes, 2);
    moved.layers.iter_mut().for_each(|layer| layer.ssrc += 100);
    nodes.film(&mut moved, 10);
    nodes.mirror_as(here, 1, 2, moved.track, MediaKind::Video, None);
    nodes.film(&mut moved, 90);
    nodes.world.run_for(200 * MS);
    let rtp = &nodes.world.people[bob].rtp;
    assert_eq!(moved.missing(rtp, 120), 0);
    assert_continuous(rtp);
}
