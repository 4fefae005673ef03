//! Joining, leaving, vanishing, and the limits of all that.

use pysfu_engine::command::{Command, IceCredentials, MediaKind};
use pysfu_engine::event::{CommandError, DisconnectReason, Limit};
use pysfu_engine::ids::{PeerId, SubscriptionId, TrackId};
use pysfu_engine::{Config, Event};

use crate::media::{AUDIO_LEVEL, Source};
use crate::world::{MS, WANT_ALL, World};

const OUT: u32 = 9_000;

#[test]
fn audio_reaches_the_others() {
    let mut world = World::new();
    let (alice, bob, carol) = (world.join(0), world.join(0), world.join(0));
    let track = world.publish_audio(alice, "0");
    world.subscribe(bob, track, 0, MediaKind::Audio, OUT);
    world.subscribe(carol, track, 0, MediaKind::Audio, OUT + 10);
    let mut source = Source::audio(1_000, "0");
    for _ in 0..50 {
        let packet = source.speak(30);
        world.send(alice, packet);
        world.run_for(20 * MS);
    }
    for (who, ssrc) in [(bob, OUT), (carol, OUT + 10)] {
        let received = &world.people[who].rtp;
        assert_eq!(received.len(), 50);
        for (packet, sent) in received.iter().zip(&source.sent) {
            assert_eq!((packet.ssrc, packet.tag()), (ssrc, sent.tag()));
            assert_eq!(packet.extension(AUDIO_LEVEL), Some(&[0x80 | 30][..]));
        }
        assert!(received.windows(2).all(|p| p[1].seq == p[0].seq.wrapping_add(1)));
        assert!(
            received
                .windows(2)
                .all(|p| p[1].timestamp == p[0].timestamp.wrapping_add(960))
        );
    }
    assert!(world.people[alice].rtp.is_empty());
    assert!(
        world
            .events
            .iter()
            .any(|e| matches!(e, Event::TrackStarted { track: t, .. } if *t == track))
    );
    let speaks = world.events.iter().any(|event| match event {
        Event::AudioLevels(levels) => levels.iter().any(|l| l.track == track && l.active && l.level < 40),
        _ => false,
    });
    assert!(speaks);
}

#[test]
fn publisher_vanishes() {
    let mut world = World::new();
    let (alice, bob) = (world.join(0), world.join(0));
    let track = world.publish_audio(alice, "0");
    let subscription = world.subscribe(bob, track, 0, MediaKind::Audio, OUT);
    let mut source = Source::audio(1_000, "0");
    let packet = source.speak(30);
    world.send(alice, packet);
    world.people[alice].offline = true;
    world.run_until("noticed", |world| world.disconnected(alice));
    let gone = Event::Disconnected {
        peer: world.people[alice].peer,
        reason: DisconnectReason::ConsentLost,
    };
    assert!(world.events.contains(&gone));
    let row = world.stats(0).workers[0];
    assert_eq!((row.peers, row.tracks, row.subscriptions), (1, 0, 0));
    // The control plane's own clean-up finds nothing to do.
    let before = world.events.len();
    let (alice, bob) = (world.people[alice].peer, world.people[bob].peer);
    world.command(
        0,
        Command::Unsubscribe {
            peer: bob,
            subscription,
        },
    );
    world.command(0, Command::Unpublish { peer: alice, track });
    world.command(0, Command::RemovePeer { peer: alice });
    assert_eq!(world.events.len(), before);
}

#[test]
fn subscriber_moves_to_another_address() {
    let mut world = World::new();
    let (alice, bob) = (world.join(0), world.join(0));
    let track = world.publish_audio(alice, "0");
    world.subscribe(bob, track, 0, MediaKind::Audio, OUT);
    let mut source = Source::audio(1_000, "0");
    world.people[bob].address.set_port(40_000);
    world.run_for(4_000 * MS);
    let packet = source.speak(30);
    world.send(alice, packet);
    world.run_for(10 * MS);
    assert_eq!(world.people[bob].rtp.len(), 1);
}

#[test]
fn joining_and_leaving_leaves_nothing_behind() {
    let mut world = World::new();
    let alice = world.join(0);
    let track = world.publish_video(alice, "0", &[]);
    let mut source = Source::video(1_000, "0", None, (640, 360));
    let mut pooled = 0;
    for round in 0..30 {
        let bob = world.join(0);
        let own = world.publish_audio(bob, "0");
        let subscription = world.subscribe(bob, track, 0, MediaKind::Video, OUT);
        for _ in 0..5 {
            for packet in source.frame(true, 3) {
                world.send(alice, packet);
            }
            world.run_for(30 * MS);
        }
        assert!(!world.people[bob].rtp.is_empty());
        let peer = world.people[bob].peer;
        match round % 3 {
            0 => world.command(0, Command::RemovePeer { peer }),
            1 => {
                world.command(0, Command::Unsubscribe { peer, subscription });
                world.command(0, Command::Unpublish { peer, track: own });
                world.command(0, Command::RemovePeer { peer });
            }
            _ => {
                let now = world.now;
                world.people[bob].client.close_dtls(now);
                world.run_until("closed", |world| world.disconnected(bob));
            }
        }
        let row = world.stats(0).workers[0];
        assert_eq!((row.peers, row.tracks, row.subscriptions), (1, 1, 0));
        if round == 14 {
            pooled = row.pooled_packets;
        }
        world.people[bob].offline = true;
    }
    assert!(world.stats(0).workers[0].pooled_packets <= pooled + 8);
}

#[test]
fn limits_are_told() {
    let config = Config {
        max_peers: 2,
        max_tracks_per_peer: 1,
        max_subscriptions_per_peer: 1,
        ..Config::default()
    };
    let mut world = World::with(1, config);
    let (alice, bob) = (world.add(0), world.add(0));
    let track = world.publish_audio(alice, "0");
    world.publish_audio(alice, "1");
    world.subscribe(bob, track, 0, MediaKind::Audio, OUT);
    world.subscribe(bob, track, 0, MediaKind::Audio, OUT + 1);
    let local = IceCredentials {
        ufrag: "more".to_owned(),
        pwd: "more-password-of-22-characters".to_owned(),
    };
    let third = PeerId(1_000_000);
    world.command(0, Command::AddPeer { peer: third, local });
    let (alice, bob) = (world.people[alice].peer, world.people[bob].peer);
    let failures: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::CommandFailed { peer, error } => Some((peer.unwrap(), error.clone())),
            _ => None,
        })
        .collect();
    let limit = CommandError::Limit;
    let expected = [
        (alice, limit(Limit::Tracks)),
        (bob, limit(Limit::Subscriptions)),
        (third, limit(Limit::Peers)),
    ];
    assert_eq!(failures, expected);
}

#[test]
fn unknown_names_are_told() {
    let mut world = World::new();
    let alice = world.add(0);
    let peer = world.people[alice].peer;
    let nobody = PeerId(1_000_000);
    world.command(
        0,
        Command::SetFeedback {
            peer: nobody,
            transport_cc: true,
            remb: false,
        },
    );
    world.command(
        0,
        Command::SetMuted {
            peer,
            track: TrackId(77),
            muted: true,
        },
    );
    world.subscribe(alice, TrackId(77), 0, MediaKind::Audio, OUT);
    let subscription = SubscriptionId(78);
    world.command(
        0,
        Command::SetWanted {
            peer,
            subscription,
            wanted: WANT_ALL,
        },
    );
    let errors: Vec<_> = world
        .events
        .iter()
        .filter_map(|event| match event {
            Event::CommandFailed { error, .. } => Some(error.to_string()),
            _ => None,
        })
        .collect();
    assert_eq!(
        errors,
        ["no such peer", "no such track", "no such track", "no such subscription"]
    );
    assert_eq!(world.stats(0).workers[0].commands_failed, 4);
}
