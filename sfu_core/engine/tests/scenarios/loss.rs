//! Packets that are lost, on either side.

use pysfu_engine::command::MediaKind;

use crate::media::{Source, VP8_RTX};
use crate::world::{MS, World};

const OUT: u32 = 9_000;

/// One publisher of single-layer video, one subscriber; the first keyframe has arrived.
fn call() -> (World, usize, usize, Source) {
    let mut world = World::new();
    let (alice, bob) = (world.join(0), world.join(0));
    let track = world.publish_video(alice, "0", &[]);
    world.subscribe(bob, track, 0, MediaKind::Video, OUT);
    let mut source = Source::video(1_000, "0", None, (640, 360));
    for packet in source.frame(true, 3) {
        world.send(alice, packet);
    }
    world.run_for(20 * MS);
    assert_eq!(world.people[bob].rtp.len(), 3);
    (world, alice, bob, source)
}

#[test]
fn lost_packet_is_nacked_and_recovered() {
    let (mut world, alice, bob, mut source) = call();
    let frame = source.frame(false, 4);
    let lost = frame[1].seq;
    for packet in frame.into_iter().filter(|packet| packet.seq != lost) {
        world.send(alice, packet);
    }
    world.run_for(20 * MS);
    assert_eq!(world.people[alice].nacked(source.ssrc), [lost]);
    world.send(alice, source.again(2_000, lost));
    world.run_for(20 * MS);
    let received = &world.people[bob].rtp;
    assert_eq!(received.len(), 7);
    let mut in_order = received.clone();
    in_order.sort_by_key(|packet| packet.seq);
    let first = in_order[0].seq;
    for (index, packet) in in_order.iter().enumerate() {
        assert_eq!(packet.seq, first + index as u16);
        assert_eq!(packet.tag(), source.sent[index].tag());
    }
    let row = world.stats(0).layers[0];
    assert_eq!((row.packets_recovered, row.nacks_sent, row.packets_lost), (1, 1, 1));
    // It is never asked again.
    world.run_for(500 * MS);
    assert_eq!(world.people[alice].nacked(source.ssrc), [lost]);
}

#[test]
fn unanswered_nacks_are_repeated_and_given_up() {
    let (mut world, alice, _, mut source) = call();
    let frame = source.frame(false, 3);
    for packet in [frame[0].clone(), frame[2].clone()] {
        world.send(alice, packet);
    }
    world.run_for(3_000 * MS);
    let asked = world.people[alice].nacked(source.ssrc);
    assert!((5..=10).contains(&asked.len()), "{asked:?}");
    assert!(asked.iter().all(|&seq| seq == frame[1].seq));
}

#[test]
fn reordering_is_not_loss() {
    let (mut world, alice, bob, mut source) = call();
    let frame = source.frame(false, 3);
    for index in [1, 0, 2] {
        world.send(alice, frame[index].clone());
    }
    world.run_for(100 * MS);
    assert!(world.people[alice].nacked(source.ssrc).is_empty());
    assert_eq!(world.people[bob].rtp.len(), 6);
}

#[test]
fn subscriber_is_sent_again_what_it_lost() {
    let (mut world, alice, bob, mut source) = call();
    let mut count = 0;
    world.people[bob].loses = Box::new(move |_| {
        count += 1;
        count == 2
    });
    for packet in source.frame(false, 3) {
        world.send(alice, packet);
    }
    world.run_for(20 * MS);
    let received = &world.people[bob].rtp;
    assert_eq!(received.len(), 5);
    let missing = received[3].seq + 1;
    world.send_rtcp(bob, |out| wire::rtcp::nack::write(out, 77, OUT, [missing]).unwrap());
    world.run_for(20 * MS);
    let again = world.people[bob].rtp.last().unwrap();
    assert_eq!((again.ssrc, again.payload_type), (OUT + 1, VP8_RTX));
    assert_eq!(again.payload[..2], missing.to_be_bytes());
    let original = &source.sent[4];
    assert!(again.payload.ends_with(original.tag()));
    // The publisher had nothing to do with it.
    assert!(world.people[alice].nacked(source.ssrc).is_empty());
    assert_eq!(world.stats(0).subscriptions[0].packets_retransmitted, 1);
}

#[test]
fn what_is_asked_for_first_is_sent_first() {
    let (mut world, alice, bob, mut source) = call();
    for packet in source.frame(false, 6) {
        world.send(alice, packet);
    }
    world.run_for(20 * MS);
    let received = &world.people[bob].rtp;
    let missing: Vec<u16> = received[4..8].iter().map(|packet| packet.seq).collect();
    world.send_rtcp(bob, |out| {
        wire::rtcp::nack::write(out, 77, OUT, missing.clone()).unwrap()
    });
    world.run_for(20 * MS);
    let again = world.people[bob].rtp.iter().filter(|packet| packet.ssrc == OUT + 1);
    let again: Vec<u16> = again
        .map(|packet| u16::from_be_bytes([packet.payload[0], packet.payload[1]]))
        .collect();
    assert_eq!(again, missing);
}

/// Who asks for a packet for so long cannot show anything since, and would ask for a keyframe itself after three seconds.
#[test]
fn what_can_no_longer_be_repeated_takes_a_keyframe() {
    let (mut world, alice, bob, mut source) = call();
    let mut forgotten = None;
    // Longer than what a newcomer begins with is kept.
    for _ in 0..120 {
        for packet in source.frame(false, 2) {
            world.send(alice, packet);
        }
        world.run_for(33 * MS);
        forgotten.get_or_insert(world.people[bob].rtp[3].seq);
    }
    assert!(world.people[alice].keyframe_requests().is_empty());
    let asks = |out: &mut [u8]| wire::rtcp::nack::write(out, 77, OUT, forgotten).unwrap();
    world.send_rtcp(bob, asks);
    world.run_for(20 * MS);
    assert_eq!(world.people[alice].keyframe_requests(), [source.ssrc]);
    for packet in source.frame(true, 3) {
        world.send(alice, packet);
    }
    world.run_for(20 * MS);
    world.people[alice].rtcp.clear();
    // It has what it needs.
    world.send_rtcp(bob, asks);
    world.run_for(1_000 * MS);
    assert!(world.people[alice].keyframe_requests().is_empty());
}

#[test]
fn duplicates_are_forwarded_once() {
    let (mut world, alice, bob, mut source) = call();
    let frame = source.frame(false, 2);
    for packet in &frame {
        world.send(alice, packet.clone());
        let again = source.again(2_000, packet.seq);
        world.send(alice, again);
    }
    world.run_for(20 * MS);
    assert_eq!(world.people[bob].rtp.len(), 5);
    assert_eq!(world.stats(0).workers[0].dropped_duplicate, 2);
}

#[test]
fn padding_leaves_no_gap() {
    let (mut world, alice, bob, mut source) = call();
    for _ in 0..10 {
        for packet in source.frame(false, 2) {
            world.send(alice, packet);
        }
        for _ in 0..3 {
            let padding = source.padding();
            world.send(alice, padding);
        }
        world.run_for(33 * MS);
    }
    let received = &world.people[bob].rtp;
    assert_eq!(received.len(), 23);
    assert!(
        received
            .windows(2)
            .all(|pair| pair[1].seq == pair[0].seq.wrapping_add(1))
    );
    assert!(received.iter().all(|packet| !packet.payload.is_empty()));
    assert!(world.people[alice].nacked(source.ssrc).is_empty());
}

#[test]
fn nack_storm_is_within_the_budget() {
    let (mut world, alice, bob, mut source) = call();
    for _ in 0..100 {
        for packet in source.frame(false, 10) {
            world.send(alice, packet);
        }
        let heard = world.people[bob].rtp.len();
        let recent: Vec<_> = world.people[bob].rtp[heard.saturating_sub(200)..]
            .iter()
            .filter(|packet| packet.ssrc == OUT)
            .map(|packet| packet.seq)
            .collect();
        world.send_rtcp(bob, |out| wire::rtcp::nack::write(out, 77, OUT, recent).unwrap());
        world.run_for(10 * MS);
    }
    let again = world.people[bob].rtp.iter().filter(|packet| packet.ssrc == OUT + 1);
    let again: usize = again.map(|packet| packet.payload.len()).sum();
    assert!((1..60_000).contains(&again), "{again} bytes");
}
