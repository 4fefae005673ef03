//! Video over one link: whole, only what is wanted, and asked for once.

use pysfu_engine::command::{Command, MediaKind, PayloadMap, Redirect, Wanted};
use pysfu_engine::ids::{PayloadType, SubscriptionId, WorkerId};

use super::{Camera, Nodes, OUT, keys, link};
use crate::media::{Source, VP8, VP8_RTX};
use crate::world::{MS, WANT_ALL};

#[test]
fn media_cross_a_link_and_nothing_is_lost() {
    for (delay, loss) in [(0, 0.0), (50, 0.0), (50, 0.03)] {
        let mut nodes = Nodes::pair(delay, loss);
        let mut camera = Camera::new(&mut nodes, 0);
        let bob = nodes.world.join(1);
        nodes.film(&mut camera, 30);
        let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
        nodes.world.run_for(300 * MS);
        nodes.world.subscribe(bob, here, 1, MediaKind::Video, OUT);
        // Messages that are lost are repeated.
        let losses = if loss > 0.0 { 6 } else { 0 };
        nodes.world.run_for((2 + losses) * delay as u32 * MS + 40 * MS);
        let rtp = &nodes.world.people[bob].rtp;
        assert!(!rtp.is_empty(), "begins with what the home keeps");
        assert_eq!(rtp[0].payload[4] & 1, 0, "a keyframe");
        assert_eq!(camera.asked, 0);
        nodes.film(&mut camera, 150);
        nodes.world.run_for(500 * MS);
        let missing = camera.missing(&nodes.world.people[bob].rtp, 300);
        assert_eq!(missing, 0, "{delay} ms, {loss}: of the best layer");
        let row = nodes.row(1, 0);
        assert_eq!((row.refused, row.given_up), (0, 0));
        assert_eq!(row.repaired + row.mended > 0, loss > 0.0);
    }
}

fn want(nodes: &mut Nodes, who: usize, subscription: SubscriptionId, paused: bool, max_spatial: u8) {
    let peer = nodes.world.people[who].peer;
    let wanted = Wanted {
        paused,
        max_spatial,
        max_temporal: 255,
    };
    nodes.world.command(
        nodes.world.people[who].worker,
        Command::SetWanted {
            peer,
            subscription,
            wanted,
        },
    );
}

#[test]
fn only_what_somebody_wants_crosses_and_once() {
    let mut nodes = Nodes::pair(20, 0.0);
    let mut camera = Camera::new(&mut nodes, 0);
    let viewers: Vec<_> = (0..5).map(|_| nodes.world.join(1)).collect();
    let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
    let crossed = |nodes: &mut Nodes, camera: &mut Camera, frames: usize| {
        let before = nodes.row(0, 1).media_sent;
        nodes.film(camera, frames);
        nodes.row(0, 1).media_sent - before
    };
    assert_eq!(crossed(&mut nodes, &mut camera, 60), 0, "nobody is there");
    let subscriptions: Vec<_> = viewers
        .iter()
        .map(|&viewer| nodes.world.subscribe(viewer, here, 1, MediaKind::Video, OUT))
        .collect();
    crossed(&mut nodes, &mut camera, 10);
    // Two packets of each of two layers per frame.
    assert_eq!(
        crossed(&mut nodes, &mut camera, 60),
        240,
        "both layers once, for five viewers"
    );
    for (&viewer, &subscription) in viewers.iter().zip(&subscriptions) {
        want(&mut nodes, viewer, subscription, false, 0);
    }
    // Less is wanted for long before less is sent.
    crossed(&mut nodes, &mut camera, 200);
    assert_eq!(
        crossed(&mut nodes, &mut camera, 60),
        120,
        "the upper layer stays at home"
    );
    want(&mut nodes, viewers[3], subscriptions[3], false, 1);
    let asked = camera.asked;
    nodes.film(&mut camera, 30);
    assert!(camera.asked > asked, "the layer begins with a keyframe");
    let upper = nodes.world.people[viewers[3]].rtp.iter().rev().take(2);
    assert!(upper.clone().count() == 2 && upper.into_iter().all(|packet| packet.tag().starts_with(b"h")));
    for (&viewer, &subscription) in viewers.iter().zip(&subscriptions) {
        want(&mut nodes, viewer, subscription, true, 1);
    }
    crossed(&mut nodes, &mut camera, 200);
    assert_eq!(crossed(&mut nodes, &mut camera, 60), 0, "all look away");
    want(&mut nodes, viewers[0], subscriptions[0], false, 1);
    nodes.film(&mut camera, 30);
    for (&viewer, &subscription) in viewers.iter().zip(&subscriptions) {
        let peer = nodes.world.people[viewer].peer;
        nodes.world.command(1, Command::Unsubscribe { peer, subscription });
    }
    nodes.film(&mut camera, 3);
    assert_eq!(crossed(&mut nodes, &mut camera, 60), 0, "all left");
    assert_eq!(nodes.world.stats(0).workers[0].dropped_crossing, 0);
}

#[test]
fn a_viewer_who_wants_little_from_the_beginning_is_sent_little() {
    let mut nodes = Nodes::pair(20, 0.0);
    let mut camera = Camera::new(&mut nodes, 0);
    let viewer = nodes.world.join(1);
    nodes.film(&mut camera, 20);
    let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
    nodes.world.wanted = Wanted {
        max_spatial: 0,
        ..WANT_ALL
    };
    nodes.world.subscribe(viewer, here, 1, MediaKind::Video, OUT);
    nodes.film(&mut camera, 60);
    let before = nodes.row(0, 1).media_sent;
    // What was kept of the lower layer, and then its packets.
    assert!(before <= 20 * 2 + 60 * 2 + 4, "{before}");
    let rtp = &nodes.world.people[viewer].rtp;
    assert!(rtp.len() > 120 && rtp.iter().all(|packet| packet.tag().starts_with(b"q")));
}

#[test]
fn many_wishes_for_keyframes_are_one() {
    let mut nodes = Nodes::pair(20, 0.0);
    let mut camera = Camera::new(&mut nodes, 0);
    let viewers: Vec<_> = (0..50).map(|_| nodes.world.join(1)).collect();
    let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
    nodes.film(&mut camera, 5);
    for &viewer in &viewers {
        nodes.world.subscribe(viewer, here, 1, MediaKind::Video, OUT);
    }
    nodes.film(&mut camera, 60);
    let (asked, told) = (camera.asked, nodes.row(1, 0).bytes_sent);
    let begun = nodes.world.now;
    // Each asks ten times in two seconds.
    for _ in 0..10 {
        for &viewer in &viewers {
            nodes.world.send_rtcp(viewer, |out| {
                let loss = wire::rtcp::pli::PictureLoss {
                    sender_ssrc: 1,
                    media_ssrc: OUT,
                };
                loss.write(out).unwrap()
            });
        }
        nodes.film(&mut camera, 6);
    }
    let seconds = (nodes.world.now - begun).as_secs_f64();
    let requests = camera.asked - asked;
    // A few at once, and then one in two seconds.
    assert!((1..=4).contains(&requests), "{requests} in {seconds} s");
    let told = (nodes.row(1, 0).bytes_sent - told) as f64 / seconds;
    assert!(told < 10_000.0, "{told} bytes/s of control");
}

/// Nobody asked for the other track before.
#[test]
fn who_is_redirected_to_a_track_of_another_node_makes_it_come() {
    let mut nodes = Nodes::pair(20, 0.0);
    let mut camera = Camera::new(&mut nodes, 0);
    let anna = nodes.world.join(1);
    let own = nodes.world.publish_video(anna, "0", &[]);
    let mut source = Source::video(3_000, "0", None, (640, 360));
    let bob = nodes.world.join(1);
    let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
    let subscription = nodes.world.subscribe(bob, own, 1, MediaKind::Video, OUT);
    nodes.film(&mut camera, 30);
    for packet in source.frame(true, 2) {
        nodes.world.send(anna, packet);
    }
    nodes.world.run_for(50 * MS);
    assert_eq!(nodes.world.people[bob].rtp.len(), 2);
    assert_eq!(nodes.row(0, 1).media_sent, 0, "nobody wants it");
    let redirect = Redirect {
        subscription,
        peer: nodes.world.people[bob].peer,
        track: here,
        home: WorkerId(1),
        payloads: vec![PayloadMap {
            from: PayloadType(VP8),
            to: PayloadType(VP8),
            rtx: Some(PayloadType(VP8_RTX)),
        }],
    };
    nodes.world.command(1, Command::Redirect(redirect));
    nodes.film(&mut camera, 60);
    assert_eq!(camera.missing(&nodes.world.people[bob].rtp, 60), 0);
    assert!(nodes.row(0, 1).media_sent > 120);
}

#[test]
fn keys_change_while_media_flow() {
    let mut nodes = Nodes::pair(50, 0.03);
    let mut camera = Camera::new(&mut nodes, 0);
    let bob = nodes.world.join(1);
    let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
    nodes.world.subscribe(bob, here, 1, MediaKind::Video, OUT);
    nodes.film(&mut camera, 30);
    for phase in 1..=6 {
        for (end, from, to, send) in [(1, 0, 1, false), (0, 1, 0, false), (0, 0, 1, true), (1, 1, 0, true)] {
            let keys = Some(keys(from, to, phase));
            let (send, receive) = if send { (keys, None) } else { (None, keys) };
            let link = link(end, 1 - end);
            nodes.world.command(end, Command::RotateLink { link, send, receive });
        }
        nodes.film(&mut camera, 20);
    }
    nodes.world.run_for(500 * MS);
    assert_eq!(camera.missing(&nodes.world.people[bob].rtp, 240), 0);
    assert_eq!(nodes.row(1, 0).refused + nodes.row(0, 1).refused, 0);
    assert_eq!(nodes.world.stats(0).workers[0].commands_failed, 0);
}
