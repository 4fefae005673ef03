//! What the path or a stranger does to datagrams of a link.

use std::time::Duration;

use netem::{Jitter, LinkConfig, Random, Reorder};
use pysfu_engine::Config;
use pysfu_engine::command::MediaKind;

use super::{Camera, Nodes, OUT, link, way};
use crate::world::{MS, SOCKET, engine_address};

#[test]
fn reordered_and_doubled_datagrams_change_nothing() {
    let mut nodes = Nodes::new(2, Config::default());
    let config = LinkConfig {
        duplicate: 0.1,
        reorder: Some(Reorder {
            probability: 0.1,
            extra: 10 * MS,
        }),
        ..way(30, 0.01)
    };
    nodes.join(0, 1, &config);
    let mut camera = Camera::new(&mut nodes, 0);
    let bob = nodes.world.join(1);
    let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
    nodes.world.subscribe(bob, here, 1, MediaKind::Video, OUT);
    nodes.film(&mut camera, 200);
    nodes.world.run_for(500 * MS);
    // Clients would tell of a packet that was protected twice.
    assert_eq!(camera.missing(&nodes.world.people[bob].rtp, 300), 0);
    let row = nodes.row(1, 0);
    assert!(row.duplicates > 50, "{row:?}");
    assert_eq!(row.refused, 0);
}

/// Anybody can send to the port, and read what passes.
#[test]
fn forged_and_replayed_datagrams_are_dropped_and_counted() {
    let mut nodes = Nodes::pair(10, 0.0);
    let mut camera = Camera::new(&mut nodes, 0);
    let bob = nodes.world.join(1);
    let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
    nodes.world.subscribe(bob, here, 1, MediaKind::Video, OUT);
    nodes.film(&mut camera, 30);
    nodes.world.wiretap = Some(Vec::new());
    let mut random = Random::new(1, 1);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let (mut forged, mut replayed) = (0, 0);
    for _ in 0..100 {
        nodes.film(&mut camera, 1);
        seen.extend(nodes.world.wiretap.replace(Vec::new()).unwrap_or_default());
        for _ in 0..20 {
            let mut datagram = seen[random.bits() as usize % seen.len()].clone();
            let bit = random.bits() as usize % (datagram.len() * 8);
            match random.bits() % 3 {
                0 => replayed += 1,
                1 => datagram[bit / 8] ^= 1 << (bit % 8),
                _ => datagram.truncate(bit / 8),
            }
            forged += 1;
            let stranger = engine_address(77);
            nodes.world.engines[1].handle_datagram(nodes.world.now, SOCKET, stranger, &mut datagram);
        }
    }
    nodes.world.run_for(500 * MS);
    assert_eq!(camera.missing(&nodes.world.people[bob].rtp, 200), 0);
    let (row, worker) = (nodes.row(1, 0), nodes.world.stats(1).workers[0]);
    assert!(row.duplicates >= replayed / 2, "{row:?}");
    let counted = row.duplicates
        + row.refused
        + worker.dropped_unknown_source
        + worker.dropped_unknown_protocol
        + worker.dropped_stun;
    assert!(counted >= forged - 5, "{counted} of {forged}");
    assert_eq!(row.link, u64::from(link(1, 0).0));
}

#[test]
fn jitter_is_not_taken_for_loss() {
    let mut nodes = Nodes::new(2, Config::default());
    let config = LinkConfig {
        jitter: Some(Jitter {
            reorders: true,
            ..Jitter::uniform(Duration::from_micros(1_900))
        }),
        ..way(30, 0.0)
    };
    nodes.join(0, 1, &config);
    let mut camera = Camera::new(&mut nodes, 0);
    let bob = nodes.world.join(1);
    let here = nodes.mirror(1, 0, camera.track, MediaKind::Video);
    nodes.world.subscribe(bob, here, 1, MediaKind::Video, OUT);
    nodes.film(&mut camera, 200);
    assert_eq!(camera.missing(&nodes.world.people[bob].rtp, 300), 0);
    assert_eq!(nodes.row(0, 1).repeats_sent, 0);
}
