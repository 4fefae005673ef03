//! DTLS and the keys that it makes.

use std::time::Duration;

use pysfu_engine::command::Fingerprint;
use pysfu_engine::event::{DisconnectReason, SrtpProfile};
use pysfu_engine::srtp::{MAX_RTCP_OVERHEAD, MAX_RTP_OVERHEAD};
use pysfu_engine::transport::TransportEvent;

use crate::client::Version;
use crate::world::{SOCKET, World, address, config, identity};

#[test]
fn connects_with_either_version() {
    for version in [Version::Dtls12, Version::Auto] {
        let mut world = World::connected(version);
        let remote = address(1_000);
        assert_eq!(
            world.events,
            [
                TransportEvent::AddressValidated { socket: SOCKET, remote },
                TransportEvent::IceConnected { remote },
                TransportEvent::Connected {
                    profile: SrtpProfile::AeadAes256Gcm
                },
            ]
        );
        let der = world.client.server_certificate.clone().unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &der);
        assert_eq!(digest.as_ref(), identity().fingerprint().0);
        assert!(world.transport.srtp_source_ok(SOCKET, remote));
        media_flows_both_ways(&mut world);
    }
}

#[test]
fn begins_itself_with_the_first_address_that_is_authentic() {
    for loss in [0, 20] {
        let mut world = World::new(Version::Dtls12);
        world.loss = loss;
        world.client.await_dtls();
        world.transport.begin_dtls();
        world.announce();
        world.run_until("connected", |world| world.client.connected && world.is_connected());
        media_flows_both_ways(&mut world);
    }
}

/// libwebrtc needs some time until it answers on the pair that it has just seen to work.
#[test]
fn begins_a_moment_after_the_answer_to_the_check() {
    let mut world = World::new(Version::Dtls12);
    world.jitter = 1;
    world.client.await_dtls();
    world.transport.begin_dtls();
    world.announce();
    let validated = TransportEvent::AddressValidated {
        socket: SOCKET,
        remote: address(1_000),
    };
    world.run_until("checked", |world| world.saw(&validated));
    let checked = world.now;
    world.run_until("connected", |world| world.is_connected());
    let took = world.now - checked;
    assert!(
        took >= Duration::from_millis(15) && took < Duration::from_millis(50),
        "{took:?}"
    );
}

fn media_flows_both_ways(world: &mut World) {
    let (_, client_sender, client_receiver) = world.client.keys.as_mut().unwrap();
    let mut clear = vec![0x80, 96, 0, 7, 0, 0, 0, 1, 0, 0, 0, 9];
    clear.extend([5; 100]);
    let mut packet = [&clear[..], &[0; MAX_RTP_OVERHEAD]].concat();

    let len = client_sender.protect_rtp(&mut packet, 12, clear.len(), 7).unwrap();
    let receiver = world.transport.receiver().unwrap();
    let got = receiver.unprotect_rtp(&mut packet[..len], 12).unwrap();
    assert_eq!((&packet[..got.len], got.extended_seq), (&clear[..], 7));

    let sender = world.transport.sender().unwrap();
    let len = sender.protect_rtp(&mut packet, 12, clear.len(), 7).unwrap();
    let got = client_receiver.unprotect_rtp(&mut packet[..len], 12).unwrap();
    assert_eq!(&packet[..got.len], &clear[..]);

    let mut rtcp = [&[0x80, 201, 0, 1, 0, 0, 0, 9][..], &[0; MAX_RTCP_OVERHEAD]].concat();
    let len = sender.protect_rtcp(&mut rtcp, 8).unwrap();
    assert_eq!(client_receiver.unprotect_rtcp(&mut rtcp[..len]), Ok(8));
}

/// DTLS draws its own random numbers: the last flight may be lost time and again, yet hardly twice in so many runs.
#[test]
fn connects_through_loss_and_reordering() {
    let mut failures = 0;
    for seed in 0..60 {
        for version in [Version::Dtls12, Version::Auto] {
            let mut world = World::new(version);
            world.seed(seed + 1);
            (world.loss, world.jitter) = (20, 200);
            world.announce();
            let connected = |world: &World| world.client.connected && world.is_connected();
            world.run_until("connected", |world| world.client.failed || connected(world));
            failures += u32::from(!connected(&world));
        }
    }
    assert!(failures < 2, "{failures}");
}

#[test]
fn is_not_connected_before_the_fingerprint_is_known() {
    let mut world = World::new(Version::Auto);
    world.run_until("handshake", |world| world.client.connected);
    world.run_for(Duration::from_secs(1));
    assert!(!world.is_connected());
    assert!(world.transport.receiver().is_none() && world.transport.sender().is_none());
    world.announce();
    world.run_for(Duration::from_millis(5));
    assert!(world.is_connected() && world.transport.sender().is_some());
}

#[test]
fn ends_when_the_certificate_is_another() {
    for late in [false, true] {
        let mut world = World::new(Version::Auto);
        if late {
            world.run_until("handshake", |world| world.client.connected);
        }
        world.transport.set_remote(
            world.now,
            world.client.ice.clone(),
            vec![Fingerprint([1; 32]), identity().fingerprint()],
        );
        world.run_for(Duration::from_secs(5));
        let end = TransportEvent::Disconnected(DisconnectReason::FingerprintMismatch);
        assert_eq!(world.events.last(), Some(&end));
        assert!(!world.is_connected() && world.transport.sender().is_none());
        assert_eq!(
            (world.transport.selected(), world.transport.next_timeout()),
            (None, None)
        );
    }
}

#[test]
fn dtls_from_elsewhere_is_ignored() {
    let mut world = World::new(Version::Auto);
    world.announce();
    world.client.start_dtls(world.now);
    let hello = world.client.out.pop_front().unwrap();
    for port in 0..1_000 {
        world.reach_server(address(2_000 + port), &hello);
    }
    assert_eq!(world.transport.counters().dropped_dtls_source, 1_000);
    assert!(world.transport.poll_datagram().is_none());
    world.run_until("connected", |world| world.client.connected && world.is_connected());
}

#[test]
fn a_flood_of_fragments_does_not_stop_the_handshake() {
    let mut world = World::new(Version::Auto);
    world.announce();
    world.client.dtls_paused = true;
    world.run_for(Duration::from_millis(100));
    // Second fragments of ClientHellos whose first never comes.
    for seq in 0..2_000u32 {
        let mut fragment = vec![22, 0xfe, 0xfd, 0, 0, 0, 0];
        fragment.extend(seq.to_be_bytes());
        fragment.extend([0x04, 0x0c, 1, 0, 16, 0, 0, 0, 0, 8, 0, 0, 4, 0]);
        fragment.resize(fragment.len() + 1_024, 0);
        world.reach_server(address(1_000), &fragment);
    }
    world.client.dtls_paused = false;
    world.run_until("connected", |world| world.client.connected && world.is_connected());
}

#[test]
fn garbage_of_a_validated_address_is_survived() {
    let mut world = World::connected(Version::Auto);
    let mut byte = 0u8;
    for len in 13..1_200 {
        let datagram: Vec<u8> = (0..len)
            .map(|i| {
                byte = byte.wrapping_mul(31).wrapping_add(i as u8);
                byte
            })
            .collect();
        let typed = [&[20 + (len % 44) as u8][..], &datagram[1..]].concat();
        world.reach_server(address(1_000), &typed);
    }
    assert!(
        !world
            .events
            .iter()
            .any(|event| matches!(event, TransportEvent::Disconnected(_)))
    );
}

#[test]
fn the_client_closes() {
    for version in [Version::Dtls12, Version::Auto] {
        let mut world = World::connected(version);
        world.client.close_dtls(world.now);
        world.run_for(Duration::from_millis(100));
        assert_eq!(
            world.events.last(),
            Some(&TransportEvent::Disconnected(DisconnectReason::Closed))
        );
    }
}

#[test]
fn we_close() {
    for version in [Version::Dtls12, Version::Auto] {
        let mut world = World::connected(version);
        world.transport.close(world.now);
        world.run_for(Duration::from_millis(100));
        assert!(world.client.closed);
        assert!(world.transport.selected().is_none());
    }
}

#[test]
fn a_peer_that_never_begins_dtls_is_dropped() {
    let mut world = World::new(Version::Auto);
    world.announce();
    world.client.dtls_paused = true;
    world.run_for(config().ice_timeout);
    assert!(world.transport.selected().is_some());
    world.run_for(Duration::from_millis(100));
    assert_eq!(
        world.events.last(),
        Some(&TransportEvent::Disconnected(DisconnectReason::DtlsFailed))
    );
}
