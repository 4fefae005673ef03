//! Data channels.

use std::time::Duration;

use pysfu_engine::event::{CommandError, DataChannel, Limit};
use pysfu_engine::transport::TransportEvent;
use sctp_proto::PayloadProtocolIdentifier as Ppid;

use crate::client::Version;
use crate::world::World;

/// Reliable and ordered, label "chat" (RFC 8832 section 5.1).
const OPEN_CHAT: &[u8] = b"\x03\x00\x01\x00\x00\x00\x00\x00\x00\x04\x00\x00chat";
/// Unordered, no retransmissions.
const OPEN_LOSSY: &[u8] = b"\x03\x81\x01\x00\x00\x00\x00\x00\x00\x06\x00\x00_lossy";
const ACK: &[u8] = &[2];

fn data(label: &str, binary: bool, payload: &[u8]) -> TransportEvent {
    TransportEvent::Data {
        label: label.into(),
        binary,
        payload: payload.to_vec(),
    }
}

fn opened(stream: u16, label: &str, reliable: bool) -> TransportEvent {
    TransportEvent::ChannelOpened(DataChannel {
        stream,
        label: label.into(),
        ordered: reliable,
        max_retransmits: (!reliable).then_some(0),
        max_lifetime: None,
    })
}

#[test]
fn the_client_opens_channels_and_both_send() {
    let mut world = World::with_data();
    world.client.open_stream(world.now, 0, OPEN_CHAT);
    world.client.open_stream(world.now, 2, OPEN_LOSSY);
    world.client.write(world.now, 0, Ppid::String, "grüezi".as_bytes());
    world.client.write(world.now, 2, Ppid::Binary, &[9; 3_000]);
    world.client.write(world.now, 0, Ppid::StringEmpty, &[0]);
    world.client.write(world.now, 0, Ppid::BinaryEmpty, &[0]);
    world.run_for(Duration::from_secs(2));
    for event in [
        opened(0, "chat", true),
        opened(2, "_lossy", false),
        data("chat", false, "grüezi".as_bytes()),
        data("_lossy", true, &[9; 3_000]),
        data("chat", false, b""),
        data("chat", true, b""),
    ] {
        assert!(world.saw(&event), "{event:?} of {:?}", world.events);
    }
    for id in [0, 2] {
        assert!(world.client.messages.contains(&(id, Ppid::Dcep, ACK.to_vec())));
    }

    for (label, binary, payload) in [
        ("chat", false, &b"hello"[..]),
        ("_lossy", true, &[7; 2_000]),
        ("chat", true, b""),
    ] {
        assert!(world.transport.send_data(world.now, label, binary, payload));
    }
    assert!(!world.transport.send_data(world.now, "nowhere", false, b"x"));
    world.run_for(Duration::from_secs(1));
    for message in [
        (0, Ppid::String, b"hello".to_vec()),
        (2, Ppid::Binary, vec![7; 2_000]),
        (0, Ppid::BinaryEmpty, vec![0]),
    ] {
        assert!(world.client.messages.contains(&message), "{message:?}");
    }
    assert_eq!(world.transport.counters().dropped_data, 1);
}

#[test]
fn big_messages_survive_loss() {
    for seed in 1..6 {
        let mut world = World::with_data();
        world.seed(seed);
        (world.loss, world.jitter) = (10, 60);
        world.client.open_stream(world.now, 0, OPEN_CHAT);
        world.run_until("opened", |world| world.saw(&opened(0, "chat", true)));
        let big: Vec<u8> = (0..100_000u32).map(|i| (i * 7) as u8).collect();
        world.client.write(world.now, 0, Ppid::Binary, &big);
        assert!(world.transport.send_data(world.now, "chat", true, &big));
        world.run_until("received", |world| world.saw(&data("chat", true, &big)));
        world.run_until("sent", |world| {
            world.client.messages.contains(&(0, Ppid::Binary, big.clone()))
        });
    }
}

#[test]
fn we_open_channels_before_and_after_the_association() {
    let mut world = World::connected(Version::Auto);
    world
        .transport
        .open_channel(world.now, "_reliable", true, None)
        .unwrap();
    world.run_for(Duration::from_millis(100));
    world.client.start_sctp(world.now);
    world.run_for(Duration::from_secs(1));
    world
        .transport
        .open_channel(world.now, "_lossy", false, Some(0))
        .unwrap();
    world.run_for(Duration::from_secs(1));
    let opens = [(1, OPEN_RELIABLE), (3, OPEN_LOSSY_OURS)];
    for (id, open) in opens {
        assert!(
            world.client.messages.contains(&(id, Ppid::Dcep, open.to_vec())),
            "{:?}",
            world.client.messages
        );
    }
    assert!(
        !world.transport.send_data(world.now, "_lossy", true, b"early"),
        "not before it is accepted"
    );
    for (id, _) in opens {
        world.client.write(world.now, id, Ppid::Dcep, ACK);
    }
    world.run_for(Duration::from_secs(1));
    assert!(world.saw(&opened(1, "_reliable", true)) && world.saw(&opened(3, "_lossy", false)));
    assert!(world.transport.send_data(world.now, "_lossy", true, b"now"));
    world.client.write(world.now, 1, Ppid::String, b"up");
    world.run_for(Duration::from_secs(1));
    assert!(world.client.messages.contains(&(3, Ppid::Binary, b"now".to_vec())));
    assert!(world.saw(&data("_reliable", false, b"up")));
}

const OPEN_RELIABLE: &[u8] = b"\x03\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00_reliable";
const OPEN_LOSSY_OURS: &[u8] = b"\x03\x81\x00\x00\x00\x00\x00\x00\x00\x06\x00\x00_lossy";

#[test]
fn the_client_closes_a_channel_and_reuses_its_id() {
    let mut world = World::with_data();
    world.client.open_stream(world.now, 0, OPEN_CHAT);
    world.run_for(Duration::from_secs(1));
    world.client.close_stream(world.now, 0);
    let closed = TransportEvent::ChannelClosed { label: "chat".into() };
    world.run_until("closed", |world| world.saw(&closed));
    assert!(!world.transport.send_data(world.now, "chat", false, b"x"));
    world.run_for(Duration::from_secs(3));
    world.client.open_stream(world.now, 0, OPEN_LOSSY);
    world.run_until("reused", |world| world.saw(&opened(0, "_lossy", false)));
}

#[test]
fn channels_that_the_client_has_from_elsewhere_go_on() {
    let mut world = World::new(Version::Auto);
    world.client.await_sctp();
    let restored = [opened(0, "_lossy", false), opened(3, "_reliable", true)];
    let channels = restored.iter().filter_map(|event| match event {
        TransportEvent::ChannelOpened(channel) => Some(channel.clone()),
        _ => None,
    });
    world.transport.restore_channels(world.now, channels.collect()).unwrap();
    world.announce();
    world.run_until("connected", |world| world.client.connected && world.is_connected());
    world.run_until("restored", |world| restored.iter().all(|event| world.saw(event)));
    assert!(world.transport.send_data(world.now, "_reliable", true, b"down"));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.client.messages, [(3, Ppid::Binary, b"down".to_vec())]);
    world.client.open_empty_stream(0);
    world.client.write(world.now, 0, Ppid::Binary, b"up");
    world.run_for(Duration::from_secs(1));
    assert!(world.saw(&data("_lossy", true, b"up")));
}

#[test]
fn a_client_that_begins_anew_by_itself_keeps_its_channels() {
    let mut world = World::new(Version::Auto);
    let restored = opened(2, "chat", true);
    let TransportEvent::ChannelOpened(channel) = restored.clone() else {
        unreachable!()
    };
    world.transport.restore_channels(world.now, vec![channel]).unwrap();
    world.announce();
    world.run_until("connected", |world| world.client.connected && world.is_connected());
    world.client.start_sctp(world.now);
    world.run_until("restored", |world| world.saw(&restored));
    world.run_for(Duration::from_millis(100));
    world.client.open_empty_stream(2);
    world.client.write(world.now, 2, Ppid::String, b"up");
    assert!(world.transport.send_data(world.now, "chat", false, b"down"));
    world.run_for(Duration::from_secs(1));
    assert!(world.saw(&data("chat", false, b"up")));
    assert!(world.client.messages.contains(&(2, Ppid::String, b"down".to_vec())));
}

#[test]
fn too_many_channels_are_not_restored() {
    let mut world = World::new(Version::Auto);
    let one = |stream| DataChannel {
        stream,
        label: "chat".into(),
        ordered: true,
        max_retransmits: None,
        max_lifetime: None,
    };
    let full = world.transport.restore_channels(world.now, (0..5).map(one).collect());
    assert_eq!(full, Err(CommandError::Limit(Limit::DataChannels)));
    let beyond = world.transport.restore_channels(world.now, vec![one(1_024)]);
    assert_eq!(beyond, Err(CommandError::Limit(Limit::DataChannels)));
}

#[test]
fn channels_and_buffers_are_bounded() {
    let mut world = World::with_data();
    for i in 0..6 {
        world.client.open_stream(world.now, i * 2, OPEN_CHAT);
    }
    world.run_for(Duration::from_secs(2));
    assert_eq!(
        world
            .events
            .iter()
            .filter(|event| matches!(event, TransportEvent::ChannelOpened(channel) if channel.label == "chat"))
            .count(),
        4
    );
    let full = world.transport.open_channel(world.now, "more", true, None);
    assert_eq!(full, Err(CommandError::Limit(Limit::DataChannels)));

    assert!(
        !world.transport.send_data(world.now, "chat", true, &[0; 100_001]),
        "message too big"
    );
    world.loss = 100;
    let sent = (0..100)
        .filter(|_| world.transport.send_data(world.now, "chat", true, &[0; 10_000]))
        .count();
    assert_eq!(sent, 30, "300 kB of buffer");
    world.loss = 0;
    world.run_for(Duration::from_secs(10));
    assert!(
        world.transport.send_data(world.now, "chat", true, &[0; 10_000]),
        "drained"
    );
}

#[test]
fn data_without_a_channel_is_dropped() {
    let mut world = World::with_data();
    world.client.open_stream(world.now, 4, b"\x07bad");
    world.client.open_stream(world.now, 5, OPEN_CHAT);
    world.run_for(Duration::from_secs(1));
    assert_eq!(
        world.transport.counters().dropped_data,
        2,
        "malformed, and an id that is ours"
    );
    assert!(
        !world
            .events
            .iter()
            .any(|event| matches!(event, TransportEvent::ChannelOpened(_)))
    );
}

#[test]
fn garbage_in_dtls_is_survived() {
    let mut world = World::with_data();
    for len in 1..300u16 {
        let packet: Vec<u8> = (0..len).map(|i| (i.wrapping_mul(len) >> 3) as u8).collect();
        world.client.send_application_data(world.now, &packet);
    }
    world.run_for(Duration::from_secs(1));
    world.client.open_stream(world.now, 0, OPEN_CHAT);
    world.run_until("opened", |world| world.saw(&opened(0, "chat", true)));
}

/// What a hostile client may send: valid checksums, nonsense behind them.
#[test]
fn damaged_sctp_is_survived() {
    for seed in 1..200 {
        let mut world = World::connected(Version::Auto);
        (world.client.damage, world.client.random) = (30, seed * 0x9e37_79b9);
        world.client.start_sctp(world.now);
        world.run_for(Duration::from_millis(1_500));
        for (id, open) in [(0, OPEN_CHAT), (2, OPEN_LOSSY)] {
            world.client.try_open_stream(world.now, id, open);
        }
        let _ = world.transport.open_channel(world.now, "ours", true, None);
        for round in 0..20 {
            world.client.try_write(world.now, 0, Ppid::Binary, &vec![round; 5_000]);
            world.client.try_write(world.now, 2, Ppid::String, b"text");
            world.transport.send_data(world.now, "chat", true, &[1; 3_000]);
            world.run_for(Duration::from_millis(100));
        }
        world.client.try_close_stream(world.now, 0);
        world.run_for(Duration::from_secs(5));
        assert!(world.transport.selected().is_some(), "media goes on");
    }
}
