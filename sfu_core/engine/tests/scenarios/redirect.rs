//! Subscriptions that go on with another track: the same picture in another format.

use pysfu_engine::command::{Command, MediaKind, PayloadMap, Redirect};
use pysfu_engine::ids::{PayloadType, SubscriptionId, TrackId, WorkerId};
use pysfu_engine::{Config, Event};

use crate::media::{self, Source};
use crate::world::{MS, World};

const OUT: u32 = 9_000;

fn publish_two(world: &mut World, who: usize) -> ([TrackId; 2], [Source; 2]) {
    let tracks = ["0", "1"].map(|mid| world.publish_video(who, mid, &[]));
    let sources = [(1_000, "0"), (2_000, "1")].map(|(ssrc, mid)| Source::video(ssrc, mid, None, (640, 360)));
    (tracks, sources)
}

fn redirect(world: &mut World, who: usize, subscription: SubscriptionId, track: TrackId, to: u8) {
    let worker = world.people[who].worker;
    let redirect = Redirect {
        subscription,
        peer: world.people[who].peer,
        track,
        home: WorkerId(0),
        payloads: vec![PayloadMap {
            from: PayloadType(media::VP8),
            to: PayloadType(to),
            rtx: Some(PayloadType(media::VP8_RTX)),
        }],
    };
    world.command(worker, Command::Redirect(redirect));
}

/// A picture of two packets of each source, `frames` times; with a keyframe first where it is asked for.
fn send(world: &mut World, who: usize, sources: &mut [Source], frames: usize) {
    for _ in 0..frames {
        let asked = world.people[who].keyframe_requests();
        world.people[who].rtcp.clear();
        for source in &mut *sources {
            let keyframe = source.sent.is_empty() || asked.contains(&source.ssrc);
            for packet in source.frame(keyframe, 2) {
                world.send(who, packet);
            }
        }
        world.run_for(33 * MS);
    }
}

/// Everything came in a row, of one stream, in order of time; returns the tags.
fn tags(world: &World, who: usize) -> Vec<Vec<u8>> {
    let received: Vec<_> = world.people[who]
        .rtp
        .iter()
        .filter(|packet| packet.ssrc == OUT)
        .collect();
    for pair in received.windows(2) {
        assert_eq!(
            pair[1].seq,
            pair[0].seq.wrapping_add(1),
            "no number is left out or used twice"
        );
        let later = pair[1].timestamp.wrapping_sub(pair[0].timestamp) as i32;
        assert!((0..18_000).contains(&later), "{later}");
    }
    received.iter().map(|packet| packet.tag().to_vec()).collect()
}

#[test]
fn another_track_takes_over_without_a_gap() {
    for worker in [0, 1] {
        let mut world = World::with(2, Config::default());
        let (alice, bob) = (world.join(0), world.join(worker));
        let (tracks, mut sources) = publish_two(&mut world, alice);
        let subscription = world.subscribe(bob, tracks[0], 0, MediaKind::Video, OUT);
        send(&mut world, alice, &mut sources[..1], 20);
        assert_eq!(tags(&world, bob).len(), 40, "worker {worker}");
        // The other begins, and takes over a moment later.
        send(&mut world, alice, &mut sources, 1);
        redirect(&mut world, bob, subscription, tracks[1], 101);
        world.run_for(5 * MS);
        send(&mut world, alice, &mut sources, 20);
        let received = tags(&world, bob);
        let of_second: Vec<_> = sources[1].sent.iter().map(|packet| packet.tag().to_vec()).collect();
        assert_eq!(
            received[42..],
            of_second,
            "worker {worker}: from its keyframe on, every packet"
        );
        let last = world.people[bob].rtp.last().unwrap();
        assert_eq!(last.payload_type, 101);
        assert!(world.people[alice].keyframe_requests().is_empty());
        // What was sent of the former is not sent again, what is sent now is.
        let (first, last) = (world.people[bob].rtp[0].seq, last.seq);
        world.send_rtcp(bob, |out| wire::rtcp::nack::write(out, 77, OUT, [first, last]).unwrap());
        world.run_for(10 * MS);
        let repaired = world.people[bob].rtp.iter().filter(|packet| packet.ssrc == OUT + 1);
        assert_eq!(repaired.count(), 1, "worker {worker}");
        // The former is nobody's any more, and may end.
        world.run_for(6_000 * MS);
        assert!(world.events.contains(&Event::LayersWanted {
            track: tracks[0],
            highest: None
        }));
        let peer = world.people[alice].peer;
        world.command(0, Command::Unpublish { peer, track: tracks[0] });
        let before = tags(&world, bob).len();
        send(&mut world, alice, &mut sources[1..], 20);
        assert_eq!(tags(&world, bob).len(), before + 40, "worker {worker}");
        let row = world.stats(worker).workers[0];
        assert_eq!((row.subscriptions, row.mirrors), (1, u64::from(worker == 1)));
    }
}

#[test]
fn a_track_that_does_not_flow_yet_takes_over_with_its_first_keyframe() {
    let mut world = World::new();
    let (alice, bob) = (world.join(0), world.join(0));
    let (tracks, mut sources) = publish_two(&mut world, alice);
    let subscription = world.subscribe(bob, tracks[0], 0, MediaKind::Video, OUT);
    send(&mut world, alice, &mut sources[..1], 3);
    redirect(&mut world, bob, subscription, tracks[1], media::VP8);
    send(&mut world, alice, &mut sources[..1], 2);
    assert_eq!(tags(&world, bob).len(), 6);
    send(&mut world, alice, &mut sources, 3);
    assert_eq!(tags(&world, bob).len(), 12);
    // There and back again, and to where it is already.
    redirect(&mut world, bob, subscription, tracks[0], media::VP8);
    redirect(&mut world, bob, subscription, tracks[0], media::VP8);
    world.run_for(5 * MS);
    assert!(tags(&world, bob).len() > 12);
    // What is not there is refused.
    redirect(&mut world, bob, subscription, TrackId(999), media::VP8);
    redirect(&mut world, bob, SubscriptionId(999), tracks[1], media::VP8);
    let refused = world
        .events
        .iter()
        .filter(|event| matches!(event, Event::CommandFailed { .. }));
    assert_eq!(refused.count(), 2);
}
