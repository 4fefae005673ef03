//! Simulcast layers and keyframes.

use pysfu_engine::Event;
use pysfu_engine::command::{Command, MediaKind, Wanted};
use pysfu_engine::ids::{SubscriptionId, TrackId};

use crate::media::{Rtp, Source, VP8_HEADER};
use crate::world::{MS, WANT_ALL, World};

const OUT: u32 = 9_000;

struct Call {
    world: World,
    alice: usize,
    bob: usize,
    track: TrackId,
    subscription: SubscriptionId,
    sources: Vec<Source>,
}

/// Three layers; nothing was sent yet.
fn call() -> Call {
    let mut world = World::new();
    let (alice, bob) = (world.join(0), world.join(0));
    let track = world.publish_video(alice, "0", &["q", "h", "f"]);
    let subscription = world.subscribe(bob, track, 0, MediaKind::Video, OUT);
    let sources = ["q", "h", "f"]
        .iter()
        .zip([(320, 180), (640, 360), (1_280, 720)])
        .enumerate()
        .map(|(index, (rid, size))| Source::video(1_000 + index as u32, "0", Some(rid), size))
        .collect();
    Call {
        world,
        alice,
        bob,
        track,
        subscription,
        sources,
    }
}

impl Call {
    /// A frame of each of these layers: keyframes for those that were asked.
    fn frames(&mut self, layers: &[usize]) {
        let asked: Vec<_> = self.world.people[self.alice].keyframe_requests();
        self.world.people[self.alice].rtcp.clear();
        for &layer in layers {
            let source = &mut self.sources[layer];
            let keyframe = asked.contains(&source.ssrc);
            for packet in source.frame(keyframe, 2) {
                self.world.send(self.alice, packet);
            }
        }
        self.world.run_for(35 * MS);
    }

    fn received(&mut self) -> Vec<Rtp> {
        std::mem::take(&mut self.world.people[self.bob].rtp)
    }

    fn forwarded(&self) -> Option<u8> {
        let mut layers = self.world.events.iter().filter_map(|event| match event {
            Event::LayerForwarded { subscription, layer } if *subscription == self.subscription => Some(*layer),
            _ => None,
        });
        layers.next_back().flatten()
    }
}

fn layers(packets: &[Rtp]) -> Vec<u8> {
    let mut rids: Vec<u8> = packets.iter().map(|packet| packet.tag()[0]).collect();
    rids.dedup();
    rids
}

/// Sequence numbers without gaps, timestamps and picture ids that never fall.
fn assert_continuous(packets: &[Rtp]) {
    let picture = |packet: &Rtp| u16::from_be_bytes([packet.payload[2] & 0x7f, packet.payload[3]]);
    for pair in packets.windows(2) {
        assert_eq!(pair[1].seq, pair[0].seq.wrapping_add(1));
        let ticks = pair[1].timestamp.wrapping_sub(pair[0].timestamp);
        assert!(ticks < 2 * 90_000, "{ticks} ticks");
        let pictures = picture(&pair[1]).wrapping_sub(picture(&pair[0])) & 0x7fff;
        assert!(pictures <= 1, "{pictures} pictures");
        assert_eq!(pictures == 1, ticks > 0);
    }
    assert!(
        packets
            .iter()
            .all(|packet| packet.ssrc == OUT && packet.payload.len() > VP8_HEADER)
    );
}

#[test]
fn layer_switch_waits_for_keyframe() {
    let mut call = call();
    for _ in 0..10 {
        call.frames(&[0, 1, 2]);
    }
    assert_eq!(call.forwarded(), Some(2));
    let mut all = call.received();
    let peer = call.world.people[call.bob].peer;
    let wanted = Wanted {
        max_spatial: 0,
        ..WANT_ALL
    };
    call.world.command(
        0,
        Command::SetWanted {
            peer,
            subscription: call.subscription,
            wanted,
        },
    );
    let high: Vec<_> = call.sources[2].frame(false, 2);
    for packet in high {
        call.world.send(call.alice, packet);
    }
    call.world.run_for(35 * MS);
    let still = call.received();
    assert_eq!(layers(&still), *b"f", "the old layer goes on until the keyframe");
    all.extend(still);
    for _ in 0..30 {
        call.frames(&[0, 1, 2]);
    }
    assert_eq!(call.forwarded(), Some(0));
    let then = call.received();
    assert_eq!(layers(&then).last(), Some(&b'q'));
    all.extend(then);
    assert_continuous(&all);
}

#[test]
fn first_layer_to_arrive_is_forwarded_and_the_best_follows() {
    let mut call = call();
    for _ in 0..20 {
        call.frames(&[0]);
    }
    assert_eq!(call.forwarded(), Some(0));
    for _ in 0..40 {
        call.frames(&[0, 1, 2]);
    }
    assert_eq!(call.forwarded(), Some(2));
    let all = call.received();
    assert_eq!(layers(&all), *b"qf");
    assert_continuous(&all);
}

/// Of the layers, by now.
fn inactive(call: &Call) -> Vec<u8> {
    let mut inactive = Vec::new();
    for event in &call.world.events {
        match event {
            Event::LayerActive {
                layer, active: false, ..
            } => inactive.push(*layer),
            Event::LayerActive {
                layer, active: true, ..
            } => inactive.retain(|gone| gone != layer),
            _ => {}
        }
    }
    inactive
}

/// Within 250 ms, the keyframe of the lower layer included; and it comes back.
#[test]
fn vanished_layer_is_replaced() {
    let mut call = call();
    for _ in 0..30 {
        call.frames(&[0, 1, 2]);
    }
    assert_eq!(call.forwarded(), Some(2));
    for _ in 0..7 {
        call.frames(&[0, 1]);
    }
    assert_eq!(call.forwarded(), Some(1));
    assert_eq!(inactive(&call), [2]);
    for _ in 0..60 {
        call.frames(&[0, 1]);
    }
    call.frames(&[0, 1, 2]);
    assert!(inactive(&call).is_empty());
    for _ in 0..20 {
        call.frames(&[0, 1, 2]);
    }
    assert_eq!(call.forwarded(), Some(2));
    assert_continuous(&call.received());
}

/// A pause of everything is no reason to change, a still screen share for instance, or a network that hung.
#[test]
fn a_common_pause_changes_nothing() {
    let mut call = call();
    for _ in 0..30 {
        call.frames(&[0, 1, 2]);
    }
    for pause in [300, 1_000, 4_000] {
        call.world.run_for(pause * MS);
        for _ in 0..10 {
            call.frames(&[0, 1, 2]);
        }
        assert!(inactive(&call).is_empty(), "{pause} ms");
    }
    assert_eq!(call.forwarded(), Some(2));
    assert_eq!(layers(&call.received()).last(), Some(&b'f'));
}

#[test]
fn a_screen_share_of_five_frames_a_second_does_not_flap() {
    let mut call = call();
    for _ in 0..10 {
        call.frames(&[0, 1, 2]);
    }
    for _ in 0..50 {
        call.frames(&[0, 1, 2]);
        call.world.run_for(165 * MS);
        assert!(inactive(&call).is_empty());
    }
    let _ = call.received();
    // Here, too, a layer that vanishes is replaced, by its own cadence.
    for _ in 0..6 {
        call.frames(&[0, 1]);
        call.world.run_for(165 * MS);
    }
    assert_eq!((inactive(&call), call.forwarded()), (vec![2], Some(1)));
}

#[test]
fn paused_subscription_gets_nothing_and_resumes_with_a_keyframe() {
    let mut call = call();
    for _ in 0..10 {
        call.frames(&[0, 1, 2]);
    }
    let before = call.received();
    let (peer, subscription) = (call.world.people[call.bob].peer, call.subscription);
    let wanted = Wanted {
        paused: true,
        ..WANT_ALL
    };
    call.world.command(
        0,
        Command::SetWanted {
            peer,
            subscription,
            wanted,
        },
    );
    for _ in 0..10 {
        call.frames(&[0, 1, 2]);
    }
    assert!(call.received().is_empty());
    call.world.command(
        0,
        Command::SetWanted {
            peer,
            subscription,
            wanted: WANT_ALL,
        },
    );
    for _ in 0..20 {
        call.frames(&[0, 1, 2]);
    }
    let after = call.received();
    assert!(
        !after.is_empty() && after[0].payload[4] & 1 == 0,
        "begins with a keyframe"
    );
    assert_eq!(after[0].seq, before.last().unwrap().seq.wrapping_add(1));
}

#[test]
fn picture_losses_of_many_are_one_request_per_interval() {
    let mut call = call();
    for _ in 0..10 {
        call.frames(&[0, 1, 2]);
    }
    call.world.run_for(600 * MS);
    call.world.people[call.alice].rtcp.clear();
    for _ in 0..100 {
        let loss = wire::rtcp::pli::PictureLoss {
            sender_ssrc: 77,
            media_ssrc: OUT,
        };
        call.world.send_rtcp(call.bob, |out| loss.write(out).unwrap());
        call.world.run_for(5 * MS);
    }
    let requests = call.world.people[call.alice].keyframe_requests();
    assert_eq!(requests, [call.sources[2].ssrc]);
    assert!(call.world.stats(0).workers[0].keyframe_requests_suppressed >= 98);
}

#[test]
fn unanswered_keyframe_request_is_repeated() {
    let mut call = call();
    for layer in 0..3 {
        for packet in call.sources[layer].frame(false, 1) {
            call.world.send(call.alice, packet);
        }
    }
    call.world.run_for(2_000 * MS);
    let requests = call.world.people[call.alice].keyframe_requests();
    let best = requests.iter().filter(|&&ssrc| ssrc == call.sources[2].ssrc).count();
    assert!((2..=4).contains(&best), "{requests:?}");
}

#[test]
fn muted_track_is_silent_and_comes_back() {
    let mut call = call();
    for _ in 0..10 {
        call.frames(&[0, 1, 2]);
    }
    let mut all = call.received();
    let (peer, track) = (call.world.people[call.alice].peer, call.track);
    call.world.command(
        0,
        Command::SetMuted {
            peer,
            track,
            muted: true,
        },
    );
    for _ in 0..50 {
        call.frames(&[0, 1, 2]);
    }
    assert!(call.received().is_empty());
    assert!(call.world.people[call.alice].nacked(call.sources[2].ssrc).is_empty());
    call.world.command(
        0,
        Command::SetMuted {
            peer,
            track,
            muted: false,
        },
    );
    for _ in 0..30 {
        call.frames(&[0, 1, 2]);
    }
    let after = call.received();
    assert_eq!(layers(&after).last(), Some(&b'f'));
    assert_eq!(after[0].seq, all.last().unwrap().seq.wrapping_add(1));
    all.clear();
    assert_continuous(&after);
}

#[test]
fn restarted_layer_goes_on_without_a_gap() {
    let mut call = call();
    for _ in 0..10 {
        call.frames(&[0, 1, 2]);
    }
    let mut all = call.received();
    // The client replaced its encoder: new SSRCs, numbers and times.
    for source in &mut call.sources {
        source.ssrc += 100;
        source.seq = 17;
        source.timestamp = 5;
    }
    for _ in 0..40 {
        call.frames(&[0, 1, 2]);
    }
    all.extend(call.received());
    assert_eq!(call.forwarded(), Some(2));
    assert!(all.len() > 60);
    assert_continuous(&all);
}

/// Someone who comes later sees the picture at once, from its last keyframe on, and the publisher is not asked.
#[test]
fn a_newcomer_begins_with_what_is_kept() {
    let mut call = call();
    for _ in 0..10 {
        call.frames(&[0, 1, 2]);
    }
    let sent = call.sources[2].sent.last().unwrap().clone();
    call.world.people[call.alice].rtcp.clear();
    let carol = call.world.join(0);
    call.world.subscribe(carol, call.track, 0, MediaKind::Video, OUT);
    call.world.run_for(5 * MS);
    let got = std::mem::take(&mut call.world.people[carol].rtp);
    assert_eq!(layers(&got), *b"f");
    assert_continuous(&got);
    assert_eq!(got.last().unwrap().tag(), sent.tag(), "up to now");
    call.frames(&[0, 1, 2]);
    let more = std::mem::take(&mut call.world.people[carol].rtp);
    assert_continuous(&[&got[got.len() - 1..], &more].concat());
    assert_eq!(more.len(), 2, "each packet once");
    assert!(call.world.people[call.alice].keyframe_requests().is_empty());
}

/// What was seen before a pause is not shown again: then a new keyframe is asked for.
#[test]
fn a_short_pause_repeats_nothing() {
    let mut call = call();
    for _ in 0..10 {
        call.frames(&[2]);
    }
    let before = call.received();
    let peer = call.world.people[call.bob].peer;
    for paused in [true, false] {
        let wanted = Wanted { paused, ..WANT_ALL };
        let subscription = call.subscription;
        call.world.command(
            0,
            Command::SetWanted {
                peer,
                subscription,
                wanted,
            },
        );
        call.world.run_for(5 * MS);
    }
    assert!(call.received().is_empty());
    for _ in 0..20 {
        call.frames(&[2]);
    }
    let after = call.received();
    assert!(!after.is_empty());
    assert_continuous(&[&before[before.len() - 1..], &after].concat());
    let tags: std::collections::HashSet<_> = before.iter().map(Rtp::tag).collect();
    assert!(after.iter().all(|packet| !tags.contains(packet.tag())));
}

/// With a packet missing since the keyframe, or too many packets since, a keyframe is asked for as before.
#[test]
fn a_newcomer_asks_when_what_is_kept_is_not_enough() {
    for (frames, lose) in [(15, true), (200, false)] {
        let mut call = call();
        for frame in 0..frames {
            call.frames(&[2]);
            if lose && frame == 12 {
                let _ = call.sources[2].frame(false, 2);
            }
        }
        call.world.people[call.alice].rtcp.clear();
        let carol = call.world.join(0);
        call.world.subscribe(carol, call.track, 0, MediaKind::Video, OUT);
        // The request before may be less than the least interval ago.
        call.world.run_for(300 * MS);
        assert!(call.world.people[carol].rtp.is_empty());
        assert_eq!(call.world.people[call.alice].keyframe_requests(), [1_002]);
        call.frames(&[2]);
        call.frames(&[2]);
        assert_continuous(&call.world.people[carol].rtp);
        assert!(!call.world.people[carol].rtp.is_empty());
    }
}
