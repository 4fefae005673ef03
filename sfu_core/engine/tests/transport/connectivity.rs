//! Checks, nomination, consent, moves and restarts.

use std::time::Duration;

use pysfu_engine::event::DisconnectReason;
use pysfu_engine::transport::TransportEvent;

use crate::client::Version;
use crate::stun::{Flags, request};
use crate::world::{SOCKET, World, address, config, credentials};

const HOME: u16 = 1_000;
const AWAY: u16 = 2_000;

fn check(world: &mut World, port: u16, flags: &Flags) {
    let datagram = request(&world.client.ice, &world.client.server, flags);
    world.reach_server(address(port), &datagram);
}

fn nominate() -> Flags {
    Flags {
        nominate: true,
        ..Flags::default()
    }
}

fn selected(world: &World) -> Option<u16> {
    world.transport.selected().map(|(_, remote)| remote.port())
}

fn validated(world: &World, port: u16) -> bool {
    world.transport.srtp_source_ok(SOCKET, address(port))
}

#[test]
fn nothing_happens_without_authentic_checks() {
    let mut world = World::new(Version::Auto);
    world.announce();
    let good = (world.client.ice.clone(), world.client.server.clone());
    let stranger = credentials("stranger");
    let mut wrong_password = good.1.clone();
    wrong_password.pwd.push('x');
    for (client, server, answers) in [
        (&good.0, &stranger, 0),
        (&good.0, &wrong_password, 1),
        (&stranger, &good.1, 1),
    ] {
        let datagram = request(client, server, &nominate());
        world.transport.handle_stun(world.now, SOCKET, address(HOME), &datagram);
        let mut got = 0;
        while let Some((_, to, answer)) = world.transport.poll_datagram() {
            assert_eq!((to, answer[1]), (address(HOME), 0x11));
            assert!(answer.len() < datagram.len(), "no amplification");
            got += 1;
        }
        assert_eq!(got, answers);
        assert!(!validated(&world, HOME));
    }
    let mut damaged = request(&good.0, &good.1, &nominate());
    damaged[30] ^= 1;
    world.reach_server(address(HOME), &damaged);
    assert_eq!(world.transport.counters().dropped_stun, 4);
    assert_eq!((world.transport.poll_datagram(), selected(&world)), (None, None));
    assert!(world.events.is_empty());
}

#[test]
fn unknown_attributes_and_role_conflicts_are_answered() {
    for (flags, error) in [
        (
            Flags {
                unknown: Some(0x7f00),
                ..nominate()
            },
            Some(420),
        ),
        (
            Flags {
                controlled: true,
                ..nominate()
            },
            Some(487),
        ),
        (
            Flags {
                unknown: Some(0xff00),
                ..nominate()
            },
            None,
        ),
    ] {
        let mut world = World::new(Version::Auto);
        world.announce();
        world.client.check = flags;
        world.run_for(Duration::from_millis(100));
        let answer = &world.client.answers[0];
        assert_eq!(
            (answer.error, answer.success, answer.authentic),
            (error, error.is_none(), true)
        );
        assert_eq!(selected(&world).is_some(), error.is_none());
    }
}

#[test]
fn a_check_validates_and_a_nomination_selects() {
    let mut world = World::new(Version::Auto);
    world.announce();
    check(&mut world, HOME, &Flags::default());
    assert!(validated(&world, HOME) && selected(&world).is_none());
    check(&mut world, HOME, &nominate());
    assert_eq!(selected(&world), Some(HOME));
    let remote = address(HOME);
    let events = [
        TransportEvent::AddressValidated { socket: SOCKET, remote },
        TransportEvent::IceConnected { remote },
    ];
    assert_eq!(world.events, events);
}

#[test]
fn before_a_nomination_media_goes_where_dtls_came_about() {
    let mut world = World::new(Version::Auto);
    world.announce();
    world.client.check.nominate = false;
    check(&mut world, AWAY, &Flags::default());
    world.run_until("connected", |world| world.client.connected && world.is_connected());
    assert!(validated(&world, AWAY));
    assert_eq!(
        selected(&world),
        Some(HOME),
        "nothing proves that the other one carries both ways"
    );
    check(&mut world, AWAY, &nominate());
    assert_eq!(selected(&world), Some(AWAY));
}

#[test]
fn of_aggressive_nominations_the_highest_priority_wins() {
    let mut world = World::new(Version::Auto);
    world.announce();
    for (port, priority, want) in [(1, 50, 1), (2, 90, 2), (3, 70, 2), (1, 50, 2), (4, 90, 2)] {
        check(&mut world, port, &Flags { priority, ..nominate() });
        assert_eq!(selected(&world), Some(want), "{port}");
    }
}

#[test]
fn a_peer_that_moves_is_followed_at_once() {
    let mut world = World::connected(Version::Auto);
    world.run_for(Duration::from_secs(3));
    world.events.clear();
    check(
        &mut world,
        AWAY,
        &Flags {
            priority: 1,
            ..Flags::default()
        },
    );
    assert_eq!(selected(&world), Some(HOME), "not nominated");
    check(
        &mut world,
        AWAY,
        &Flags {
            priority: 1,
            ..nominate()
        },
    );
    assert_eq!(selected(&world), Some(AWAY));
    assert!(validated(&world, HOME), "packets under way are still accepted");
    assert!(world.saw(&TransportEvent::IceConnected { remote: address(AWAY) }));
    check(&mut world, HOME, &nominate());
    assert_eq!(selected(&world), Some(HOME), "and back");
}

#[test]
fn a_rebinding_in_mid_call_keeps_the_connection() {
    let mut world = World::connected(Version::Auto);
    world.run_for(Duration::from_secs(5));
    world.from = address(AWAY);
    world.reachable = vec![address(AWAY)];
    world.run_for(Duration::from_secs(1));
    assert_eq!(selected(&world), Some(AWAY));
    world.run_for(Duration::from_secs(40));
    assert!(world.saw(&TransportEvent::AddressDropped {
        socket: SOCKET,
        remote: address(HOME)
    }));
    assert!(
        !world
            .events
            .iter()
            .any(|event| matches!(event, TransportEvent::Disconnected(_)))
    );
    world.client.start_sctp(world.now);
    world.run_until("association", |w| {
        !w.client.sctp.as_ref().unwrap().association.is_handshaking()
    });
}

#[test]
fn a_silent_selected_pair_yields_to_one_that_is_checked() {
    let mut world = World::connected(Version::Auto);
    world.client.check.nominate = false;
    world.from = address(AWAY);
    world.reachable.push(address(AWAY));
    world.run_for(Duration::from_secs(7));
    assert_eq!(selected(&world), Some(HOME));
    world.run_for(Duration::from_secs(3));
    assert_eq!(selected(&world), Some(AWAY));
    world.run_for(Duration::from_secs(60));
    assert!(
        !world
            .events
            .iter()
            .any(|event| matches!(event, TransportEvent::Disconnected(_)))
    );
}

#[test]
fn consent_expires() {
    let mut world = World::connected(Version::Auto);
    world.run_for(Duration::from_secs(30));
    assert_eq!(world.events.len(), 3);
    world.loss = 100;
    world.run_for(config().consent_timeout - Duration::from_secs(1));
    assert!(world.transport.selected().is_some());
    world.run_for(Duration::from_secs(1));
    assert_eq!(
        world.events.last(),
        Some(&TransportEvent::Disconnected(DisconnectReason::ConsentLost))
    );
    assert!(world.transport.selected().is_none() && !validated(&world, HOME));
}

#[test]
fn nobody_comes() {
    for nominates in [false, true] {
        let mut world = World::new(Version::Auto);
        world.announce();
        world.loss = if nominates { 100 } else { 0 };
        world.client.check.nominate = nominates;
        world.client.dtls_paused = true;
        world.run_for(config().ice_timeout - Duration::from_millis(20));
        assert!(world.transport.next_timeout().is_some());
        world.run_for(Duration::from_millis(40));
        assert_eq!(
            world.events.last(),
            Some(&TransportEvent::Disconnected(DisconnectReason::IceTimeout))
        );
    }
}

#[test]
fn restarts_without_interruption() {
    let mut world = World::connected(Version::Auto);
    world.run_for(Duration::from_secs(5));
    let (local, remote) = (credentials("server2"), credentials("client2"));
    world.transport.restart_ice(world.now, local.clone(), remote.clone());
    assert_eq!(
        world.transport.local_ufrags().collect::<Vec<_>>(),
        ["server2", "server"]
    );
    // The client has not heard of it: old checks keep everything alive.
    world.run_for(Duration::from_secs(20));
    assert_eq!((selected(&world), world.events.len()), (Some(HOME), 3));
    assert!(world.client.answers.last().unwrap().success);

    let old = (world.client.ice.clone(), world.client.server.clone());
    (world.client.ice, world.client.server) = (remote, local);
    check(
        &mut world,
        AWAY,
        &Flags {
            priority: 1,
            ..Flags::default()
        },
    );
    assert_eq!((selected(&world), validated(&world, AWAY)), (Some(HOME), true));
    assert_eq!(world.transport.local_ufrags().collect::<Vec<_>>(), ["server2"]);
    check(
        &mut world,
        AWAY,
        &Flags {
            priority: 1,
            ..nominate()
        },
    );
    assert_eq!(selected(&world), Some(AWAY));
    let late = request(&old.0, &old.1, &nominate());
    world.reach_server(address(HOME), &late);
    assert_eq!(selected(&world), Some(AWAY), "old credentials are void");
}

#[test]
fn impostors_of_before_the_answer_are_dropped() {
    let mut world = World::new(Version::Auto);
    let impostor = request(&credentials("impostor"), &world.client.server, &nominate());
    world.reach_server(address(AWAY), &impostor);
    assert_eq!(selected(&world), Some(AWAY));
    check(&mut world, HOME, &nominate());
    world.announce();
    world.run_for(Duration::from_secs(1));
    assert!(world.saw(&TransportEvent::AddressDropped {
        socket: SOCKET,
        remote: address(AWAY)
    }));
    assert_eq!((selected(&world), validated(&world, AWAY)), (Some(HOME), false));
    assert!(world.is_connected());
}

#[test]
fn addresses_of_one_peer_are_bounded() {
    let mut world = World::connected(Version::Auto);
    for port in 0..500 {
        check(&mut world, 3_000 + port, &Flags::default());
    }
    let valid = (1..10_000).filter(|&port| validated(&world, port)).count();
    assert_eq!((valid, selected(&world)), (16, Some(HOME)));
    let count = |kind: fn(&TransportEvent) -> bool| world.events.iter().filter(|event| kind(event)).count();
    let added = count(|event| matches!(event, TransportEvent::AddressValidated { .. }));
    let dropped = count(|event| matches!(event, TransportEvent::AddressDropped { .. }));
    assert_eq!(added - dropped, valid);
}
