//! Datagrams that no honest client sends.

use std::net::SocketAddr;

use pysfu_engine::command::MediaKind;

use crate::media::Source;
use crate::world::{MS, SOCKET, World};

const OUT: u32 = 9_000;

fn call() -> (World, usize, usize, Source) {
    let mut world = World::new();
    let (alice, bob) = (world.join(0), world.join(0));
    let track = world.publish_audio(alice, "0");
    world.subscribe(bob, track, 0, MediaKind::Audio, OUT);
    (world, alice, bob, Source::audio(1_000, "0"))
}

#[test]
fn garbage_datagrams_are_counted() {
    let (mut world, alice, bob, mut source) = call();
    let stranger = SocketAddr::from(([198, 51, 100, 7], 666));
    let good = source.speak(30);
    let mut protected = world.protect(alice, good);
    let before = world.stats(0).workers[0];
    let mut random = 1u32;
    for len in (0..1_400).step_by(7) {
        let mut datagram: Vec<u8> = (0..len)
            .map(|_| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (random >> 24) as u8
            })
            .collect();
        for from in [stranger, world.people[alice].address] {
            world.engines[0].handle_datagram(world.now, SOCKET, from, &mut datagram.clone());
        }
        // As RTP and as RTCP of a known address.
        for kind in [96, 200, 201, 205, 206] {
            if let [first, second, ..] = &mut datagram[..] {
                (*first, *second) = (0x90, kind);
            }
            let from = world.people[alice].address;
            world.engines[0].handle_datagram(world.now, SOCKET, from, &mut datagram.clone());
        }
    }
    // A real packet from the wrong place.
    world.engines[0].handle_datagram(world.now, SOCKET, stranger, &mut protected.clone());
    world.run_for(200 * MS);
    let row = world.stats(0).workers[0];
    assert!(row.dropped_unknown_source > before.dropped_unknown_source);
    assert!(row.dropped_unknown_protocol > before.dropped_unknown_protocol);
    assert!(row.dropped_srtp_auth > 500, "{row:?}");
    assert!(world.people[bob].rtp.is_empty());
    // And the call goes on.
    world.deliver(alice, std::mem::take(&mut protected));
    world.run_for(10 * MS);
    assert_eq!(world.people[bob].rtp.len(), 1);
    assert!(!world.disconnected(alice) && !world.disconnected(bob));
}

#[test]
fn replayed_packets_are_dropped() {
    let (mut world, alice, bob, mut source) = call();
    let packets: Vec<_> = (0..10)
        .map(|_| source.speak(30))
        .map(|packet| world.protect(alice, packet))
        .collect();
    for _ in 0..5 {
        for packet in &packets {
            world.deliver(alice, packet.clone());
        }
    }
    world.run_for(10 * MS);
    assert_eq!(world.people[bob].rtp.len(), 10);
    assert_eq!(world.stats(0).workers[0].dropped_srtp_replay, 40);
}

#[test]
fn strange_ssrcs_are_not_forwarded_and_do_not_grow() {
    let (mut world, alice, bob, mut source) = call();
    for ssrc in 0..2_000 {
        let mut packet = source.speak(30);
        packet.ssrc = 50_000 + ssrc;
        packet.payload_type = 99;
        packet.extensions.clear();
        world.send(alice, packet);
    }
    world.run_for(10 * MS);
    assert!(world.people[bob].rtp.is_empty());
    assert_eq!(world.stats(0).workers[0].dropped_no_route, 2_000);
}

#[test]
fn media_for_a_missing_track_is_counted() {
    let (mut world, _, bob, mut source) = call();
    let packet = source.speak(30);
    world.send(bob, packet);
    assert_eq!(world.stats(0).workers[0].dropped_no_route, 1);
}

#[test]
fn malformed_rtcp_is_counted_and_harmless() {
    let (mut world, alice, bob, mut source) = call();
    for body in [
        &[0x81, 201, 0, 1, 0, 0, 0, 1][..],
        &[0x80, 203, 0xff, 0xff, 0, 0, 0, 1],
        &[0x9f, 205, 0, 1, 0, 0, 0, 1],
    ] {
        world.send_rtcp(alice, |out| {
            out[..body.len()].copy_from_slice(body);
            body.len()
        });
    }
    assert!(world.stats(0).workers[0].dropped_malformed >= 2);
    // A NACK and a picture loss for streams of nobody.
    world.send_rtcp(bob, |out| wire::rtcp::nack::write(out, 77, 12_345, 0..500).unwrap());
    world.send_rtcp(bob, |out| {
        wire::rtcp::pli::PictureLoss {
            sender_ssrc: 1,
            media_ssrc: 2,
        }
        .write(out)
        .unwrap()
    });
    let packet = source.speak(30);
    world.send(alice, packet);
    world.run_for(10 * MS);
    assert_eq!(world.people[bob].rtp.len(), 1);
}
