//! A publisher on a bad uplink in the same room: what others send looks as it did, and nobody's path is blamed (Q6).

use netem::{Capacity, LinkConfig, Queue, Script};
use pysfu_engine::command::MediaKind;
use pysfu_engine::ids::SubscriptionId;
use pysfu_engine::stats::SubscriptionRow;

use crate::media::Source;
use crate::path::Path;
use crate::viewer::Viewer;
use crate::world::{MS, World};

const LAYERS: [(&str, (u16, u16), usize, usize); 3] = [
    ("q", (320, 180), 1, 560),
    ("h", (640, 360), 2, 1_000),
    ("f", (1_280, 720), 6, 1_150),
];
/// SSRCs that Bob sees of Alice and of Carol.
const ALICE: u32 = 9_000;
const CAROL: u32 = 9_100;
/// Packets that a publisher can send again.
const KEPT: usize = 400;

struct Publisher {
    who: usize,
    layers: Vec<Source>,
    /// Number of its next retransmission stream, one per layer.
    rtx: u32,
    loss: f64,
    random: u64,
}

impl Publisher {
    fn new(who: usize, first_ssrc: u32, loss: f64, seed: u64) -> Self {
        let layers = LAYERS.iter().enumerate();
        let layers =
            layers.map(|(index, (rid, size, ..))| Source::video(first_ssrc + index as u32, "0", Some(rid), *size));
        Self {
            who,
            layers: layers.collect(),
            rtx: first_ssrc + 100,
            loss,
            random: seed,
        }
    }

    fn loses(&mut self) -> bool {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) as f64 / (1_u64 << 31) as f64 <= self.loss
    }

    fn send_frames(&mut self, world: &mut World, first: bool) {
        let asked = world.people[self.who].keyframe_requests();
        let mut all = Vec::new();
        for (index, (_, _, packets, size)) in LAYERS.iter().enumerate() {
            let ssrc = self.layers[index].ssrc;
            for lost in world.people[self.who].nacked(ssrc) {
                if self.layers[index].sent.iter().any(|packet| packet.seq == lost) {
                    all.push(self.layers[index].again(self.rtx + index as u32, lost));
                }
            }
            let source = &mut self.layers[index];
            let keyframe = first || asked.contains(&source.ssrc);
            let mut frame = source.frame(keyframe, if keyframe { packets * 5 } else { *packets });
            for (packet, kept) in frame.iter_mut().zip({
                let start = source
                    .sent
                    .len()
                    .saturating_sub(if keyframe { packets * 5 } else { *packets });
                &mut source.sent[start..]
            }) {
                packet.payload.resize(*size, 0);
                kept.payload.resize(*size, 0);
            }
            let old = source.sent.len().saturating_sub(KEPT);
            source.sent.drain(..old);
            all.extend(frame);
        }
        world.people[self.who].rtcp.clear();
        for packet in all {
            if !self.loses() {
                world.send(self.who, packet);
            }
        }
    }
}

/// What Bob got of both, and what his path was taken to carry, every 100 ms from the fifth second on.
struct Seen {
    estimates: Vec<f64>,
    carol: Vec<i64>,
    rows: [SubscriptionRow; 2],
    loss: f64,
}

fn call(capacity: u64, loss: f64, seed: u64) -> Seen {
    let mut world = World::new();
    world.tick = MS;
    let (alice, carol, bob) = (world.join(0), world.join(0), world.join(0));
    let rids = ["q", "h", "f"];
    let tracks = [alice, carol].map(|who| world.publish_video(who, "0", &rids));
    let config = LinkConfig {
        capacity: Capacity::kbps(capacity / 1_000),
        delay: 25 * MS,
        queue: Queue::Time(300 * MS),
        ..LinkConfig::default()
    };
    let (viewer, _) = Viewer::new(world.now, Path::new(world.now, config, Script::default(), 1), CAROL);
    world.people[bob].path = Some(Box::new(viewer));
    let subscriptions: [SubscriptionId; 2] = [
        world.subscribe(bob, tracks[0], 0, MediaKind::Video, ALICE),
        world.subscribe(bob, tracks[1], 0, MediaKind::Video, CAROL),
    ];
    let mut publishers = [
        Publisher::new(alice, 1_000, loss, seed),
        Publisher::new(carol, 2_000, 0.0, seed),
    ];
    let (mut estimates, mut layers) = (Vec::new(), Vec::new());
    for tick in 0..20_000_u64 {
        if matches!(tick % 100, 0 | 33 | 66) {
            for publisher in &mut publishers {
                publisher.send_frames(&mut world, tick == 0);
            }
        }
        world.step();
        if tick > 5_000 && tick % 100 == 99 {
            let stats = world.stats(0);
            estimates.push(stats.downlinks.iter().map(|row| row.estimate_bps).fold(0.0, f64::max));
            let of_carol = stats
                .subscriptions
                .iter()
                .find(|row| row.subscription == subscriptions[1].0);
            layers.push(of_carol.unwrap().spatial);
        }
    }
    let stats = world.stats(0);
    let row = |id: SubscriptionId| *stats.subscriptions.iter().find(|row| row.subscription == id.0).unwrap();
    let peer = world.people[bob].peer.0;
    Seen {
        estimates,
        carol: layers,
        rows: subscriptions.map(row),
        loss: stats.downlinks.iter().find(|row| row.peer == peer).unwrap().loss,
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The path carries both. On one that carries the best layer of only one of two equal videos, either may get it.
#[test]
fn a_bad_uplink_changes_nothing_of_what_others_send() {
    for (capacity, loss, seeds) in [(8_000_000, 0.05, 2), (8_000_000, 0.1, 2)] {
        let mut shares = Vec::new();
        let good = call(capacity, 0.0, 1);
        for seed in 0..seeds {
            let bad = call(capacity, loss, seed);
            let same = good
                .carol
                .iter()
                .zip(&bad.carol)
                .filter(|(good, bad)| good == bad)
                .count();
            let layers = same as f64 / good.carol.len() as f64;
            let (pictures, before) = (bad.rows[1].pictures_delivered, good.rows[1].pictures_delivered);
            shares.push(mean(&bad.estimates) / mean(&good.estimates));
            println!(
                "{:.0} Mb/s, {:.0} % lost on the way up: estimate × {:.3}, the other's layers no worse {:.1} % of the time, its \
                 pictures {before} and {pictures}, loss of the path {:.3}; of the lossy one {} of {}",
                capacity as f64 / 1e6,
                loss * 100.0,
                shares[shares.len() - 1],
                layers * 100.0,
                bad.loss,
                bad.rows[0].pictures_delivered,
                bad.rows[0].pictures,
            );
            assert!(layers >= 0.98, "{layers}");
            assert!(bad.loss < 0.005, "{}", bad.loss);
            assert!(pictures as f64 >= 0.98 * before as f64, "{pictures} of {before}");
            assert!(bad.rows[1].freezes <= good.rows[1].freezes);
        }
        let share = mean(&shares);
        assert!((0.98..1.02).contains(&share), "{share}");
    }
}
