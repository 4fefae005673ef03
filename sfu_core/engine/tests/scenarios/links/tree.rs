//! One publisher and ten thousand viewers: nodes that feed nodes.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use pysfu_engine::Config;
use pysfu_engine::command::MediaKind;
use pysfu_engine::ids::TrackId;

use super::{Nodes, OUT, way};
use crate::media::Source;
use crate::world::MS;

const NODES: usize = 25;
const FAN_OUT: usize = 4;
const VIEWERS: usize = 400;
const DELAY: u64 = 20;
/// Whoever comes to a stream may miss what was sent before.
const WARM_UP: usize = 3;
const TICK: Duration = Duration::from_micros(500);

/// Which node feeds this one.
fn parent(node: usize) -> usize {
    (node - 1) / FAN_OUT
}

fn hops(node: usize) -> u32 {
    if node == 0 { 0 } else { 1 + hops(parent(node)) }
}

fn run(loss: f64, packets: usize) -> (usize, Vec<Duration>) {
    let mut nodes = Nodes::new(NODES as u8, Config::default());
    let alice = nodes.world.join(0);
    let published = nodes.world.publish_audio(alice, "0");
    let mut tracks = vec![published];
    for node in 1..NODES {
        let from = parent(node);
        nodes.join(node, from, &way(DELAY, loss));
        let mirror = nodes.mirror(node, from, tracks[from], MediaKind::Audio);
        tracks.push(mirror);
    }
    // A client stands for many: each subscription is forwarded and protected by itself.
    let viewers: Vec<usize> = tracks
        .iter()
        .enumerate()
        .map(|(node, track): (usize, &TrackId)| {
            let viewer = nodes.world.join(node);
            for index in 0..VIEWERS as u32 {
                nodes
                    .world
                    .subscribe(viewer, *track, node, MediaKind::Audio, OUT + index);
            }
            viewer
        })
        .collect();
    nodes.world.run_for(150 * DELAY as u32 * MS);
    nodes.world.tick = TICK;
    let mut source = Source::audio(500, "0");
    let mut sent: HashMap<Vec<u8>, Instant> = HashMap::new();
    let mut over = Vec::new();
    let mut seen = [0; NODES];
    let mut watch = |nodes: &mut Nodes, time: Duration, sent: &HashMap<Vec<u8>, Instant>| {
        let until = nodes.world.now + time;
        while nodes.world.now < until {
            nodes.world.step();
            for node in 1..NODES {
                let rtp = &nodes.world.people[viewers[node]].rtp;
                for packet in &rtp[seen[node]..] {
                    let took = nodes.world.now - sent[packet.tag()];
                    let own = hops(node) * DELAY as u32 * MS;
                    over.push((took - own) / hops(node));
                }
                seen[node] = rtp.len();
            }
        }
    };
    let mut came = 0;
    for index in 0..WARM_UP + packets {
        if index == WARM_UP {
            watch(&mut nodes, 1_000 * MS, &sent);
            came = received(&nodes, &viewers);
        }
        let packet = source.speak(20);
        sent.insert(packet.tag().to_vec(), nodes.world.now);
        nodes.world.send(alice, packet);
        watch(&mut nodes, 100 * MS, &sent);
    }
    watch(&mut nodes, 1_000 * MS, &sent);
    let came = received(&nodes, &viewers) - came;
    for node in 0..NODES {
        let stats = nodes.world.stats(node);
        assert!(stats.links.len() <= FAN_OUT + 1);
        // Once to each that it feeds.
        for row in &stats.links {
            assert!(row.media_sent <= (WARM_UP + packets) as u64, "{row:?}");
            assert_eq!((row.dropped, row.refused), (0, 0));
        }
    }
    over.sort_unstable();
    (packets * NODES * VIEWERS - came, over)
}

fn received(nodes: &Nodes, viewers: &[usize]) -> usize {
    viewers.iter().map(|&viewer| nodes.world.people[viewer].rtp.len()).sum()
}

#[test]
fn ten_thousand_viewers_of_a_tree_get_everything_within_a_millisecond_per_hop() {
    let (missing, over) = run(0.0, 20);
    assert_eq!(missing, 0);
    assert_eq!(over.len(), (WARM_UP + 20) * (NODES - 1) * VIEWERS);
    let p99 = over[over.len() * 99 / 100];
    println!(
        "per hop beyond the link's own delay: p99 {p99:?}, most {:?}",
        over[over.len() - 1]
    );
    assert!(p99 <= Duration::from_millis(1), "{p99:?}");
}

#[test]
fn losses_of_every_link_of_a_tree_are_made_good() {
    let (missing, over) = run(0.03, 20);
    assert_eq!(missing, 0);
    let median = over[over.len() / 2];
    assert!(median <= Duration::from_millis(1), "{median:?}");
}
