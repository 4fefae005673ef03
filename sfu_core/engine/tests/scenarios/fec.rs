//! Parity towards a subscriber whose path loses: what it saves a viewer, what it costs, and when there is none.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use netem::{Capacity, Change, LinkConfig, Loss, Queue, Script};
use pysfu_engine::command::{Command, FecFormats, MediaKind, Wanted};
use pysfu_engine::fec::Format;
use pysfu_engine::ids::{PayloadType, SubscriptionId};
use pysfu_engine::stats::SubscriptionRow;

use crate::media::{self, Source};
use crate::path::Path;
use crate::spectator::Spectator;
use crate::world::{MS, WANT_ALL, World};

const VIDEO: u32 = 9_000;
/// Packets per frame and octets of payload: about 150 kb/s, 500 kb/s and 2.2 Mb/s at 30 frames per second.
const LAYERS: [(&str, (u16, u16), usize, usize); 3] = [
    ("q", (320, 180), 1, 560),
    ("h", (640, 360), 2, 1_000),
    ("f", (1_280, 720), 8, 1_150),
];
const KEYFRAME: usize = 5;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Parity {
    None,
    Flexfec,
    Ulpfec,
}

impl Parity {
    fn formats(self) -> FecFormats {
        let only = |wanted, payload_type| (self == wanted).then_some(PayloadType(payload_type));
        FecFormats {
            flexfec: only(Self::Flexfec, media::FLEXFEC),
            red: only(Self::Ulpfec, media::RED),
            red_rtx: None,
            ulpfec: only(Self::Ulpfec, media::ULPFEC),
        }
    }

    fn format(self) -> Format {
        match self {
            Self::Ulpfec => Format::Ulpfec {
                payload_type: media::ULPFEC,
            },
            Self::None | Self::Flexfec => Format::Flexfec { ssrc: VIDEO },
        }
    }
}

struct Call {
    world: World,
    alice: usize,
    bob: usize,
    subscription: SubscriptionId,
    layers: Vec<Source>,
    viewer: Rc<RefCell<Spectator>>,
    ticks: u64,
    /// Bits per second that the engine sends to Bob, each second.
    sent: Vec<f64>,
}

fn link(bits_per_second: u64, delay: Duration, loss: Loss) -> LinkConfig {
    LinkConfig {
        capacity: Capacity::kbps(bits_per_second / 1_000),
        delay,
        queue: Queue::Time(300 * MS),
        loss,
        ..LinkConfig::default()
    }
}

impl Call {
    fn new(parity: Parity, config: LinkConfig, script: Script, seed: u64) -> Self {
        let mut world = World::new();
        world.tick = MS;
        let (alice, bob) = (world.join(0), world.join(0));
        let video = world.publish_video(alice, "0", &["q", "h", "f"]);
        let viewer = Spectator::new(VIDEO, parity.format(), 2 * config.delay.as_micros() as u64);
        let (path, viewer) = Path::new(world.now, config, script, seed).shown_to(viewer);
        world.people[bob].path = Some(Box::new(path));
        let subscription = world.subscribe_with(bob, video, 0, (MediaKind::Video, VIDEO), parity.formats());
        let layers = LAYERS.iter().enumerate();
        let layers = layers.map(|(index, (rid, size, ..))| Source::video(1_000 + index as u32, "0", Some(rid), *size));
        Self {
            world,
            alice,
            bob,
            subscription,
            layers: layers.collect(),
            viewer,
            ticks: 0,
            sent: Vec::new(),
        }
    }

    fn run(&mut self, seconds: u64) {
        for _ in 0..seconds * 1_000 {
            if matches!(self.ticks % 100, 0 | 33 | 66) {
                self.send_frame();
            }
            self.world.step();
            self.ticks += 1;
            if self.ticks.is_multiple_of(1_000) {
                let bytes = self.row().bytes as f64 * 8.0;
                self.sent.push(bytes - self.sent.iter().sum::<f64>());
            }
        }
    }

    fn send_frame(&mut self) {
        let asked = self.world.people[self.alice].keyframe_requests();
        self.world.people[self.alice].rtcp.clear();
        for (source, (_, _, packets, size)) in self.layers.iter_mut().zip(LAYERS) {
            let keyframe = self.ticks == 0 || asked.contains(&source.ssrc);
            let mut frame = source.frame(keyframe, if keyframe { packets * KEYFRAME } else { packets });
            source.sent.clear();
            for packet in &mut frame {
                packet.payload.resize(size, 0);
            }
            for packet in frame {
                self.world.send(self.alice, packet);
            }
        }
    }

    fn row(&self) -> SubscriptionRow {
        let rows = self.world.stats(0).subscriptions;
        *rows.iter().find(|row| row.subscription == self.subscription.0).unwrap()
    }

    fn want(&mut self, wanted: Wanted) {
        let peer = self.world.people[self.bob].peer;
        let subscription = self.subscription;
        let command = Command::SetWanted {
            peer,
            subscription,
            wanted,
        };
        self.world.command(0, command);
    }

    /// Seconds frozen, and parity per media.
    fn outcome(&self) -> (f64, f64) {
        let row = self.row();
        let media = row.bytes - row.fec_bytes;
        (
            self.viewer.borrow().frozen as f64 / 1e6,
            row.fec_bytes as f64 / media as f64,
        )
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// The goal of Q4, in whole calls, where bursts are short enough for parity in time.
#[test]
fn freezes_are_shorter_than_with_retransmission_alone() {
    println!("loss burst   rtt  frozen: RTX  FlexFEC  ULPFEC  redundancy");
    let (mut alone, mut flexfec, mut ulpfec) = (0.0, 0.0, 0.0);
    for (loss, burst, delay) in [(0.01, 2.0, 150), (0.02, 2.0, 75), (0.05, 2.0, 100), (0.02, 3.0, 150)] {
        let mut frozen = Vec::new();
        let mut redundancy = Vec::new();
        for parity in [Parity::None, Parity::Flexfec, Parity::Ulpfec] {
            let outcomes: Vec<_> = (0..5)
                .map(|seed| {
                    let loss = Loss::bursts(loss, burst).unwrap();
                    let config = link(6_000_000, delay * MS, loss);
                    let mut call = Call::new(parity, config, Script::default(), seed);
                    call.run(40);
                    assert!(call.viewer.borrow().frames > 1_000, "{}", call.viewer.borrow().frames);
                    call.outcome()
                })
                .collect();
            frozen.push(mean(&outcomes.iter().map(|outcome| outcome.0).collect::<Vec<_>>()));
            redundancy.push(median(outcomes.iter().map(|outcome| outcome.1).collect()));
        }
        println!(
            "{:3.0} % {burst:4} {:5} {:10.2} s {:6.2} s {:5.2} s {:5.1} % {:5.1} %",
            100.0 * loss,
            2 * delay,
            frozen[0],
            frozen[1],
            frozen[2],
            100.0 * redundancy[1],
            100.0 * redundancy[2]
        );
        assert!(redundancy[1] <= 0.11 && redundancy[2] <= 0.11, "{redundancy:?}");
        alone += frozen[0];
        flexfec += frozen[1];
        ulpfec += frozen[2];
    }
    println!(
        "all: FlexFEC {:.0} %, ULPFEC {:.0} %",
        100.0 * (flexfec / alone - 1.0),
        100.0 * (ulpfec / alone - 1.0)
    );
    assert!(
        flexfec <= 0.65 * alone && ulpfec <= 0.7 * alone,
        "{alone} {flexfec} {ulpfec}"
    );
}

#[test]
fn redundancy_follows_the_losses_up_and_down() {
    for parity in [Parity::Flexfec, Parity::Ulpfec] {
        let config = link(6_000_000, 100 * MS, Loss::None);
        let mut script = Script::default();
        for (at, loss) in [(10, 0.05), (40, 0.0)] {
            script = script.with(Duration::from_secs(at), Change::Loss(Loss::bursts(loss, 2.0).unwrap()));
        }
        let mut call = Call::new(parity, config, script, 1);
        call.run(10);
        assert_eq!(
            (call.row().fec_packets, call.viewer.borrow().in_red),
            (0, 0),
            "{parity:?}"
        );
        call.run(20);
        let during = call.row();
        assert!(
            during.fec_share > 0.05 && during.fec_share < 0.15,
            "{}",
            during.fec_share
        );
        assert!(
            call.viewer.borrow().recovered > 20,
            "{}",
            call.viewer.borrow().recovered
        );
        call.run(50);
        let after = call.row();
        assert_eq!(after.fec_share, 0.0);
        call.run(5);
        assert_eq!(call.row().fec_packets, after.fec_packets);
    }
}

#[test]
fn short_round_trips_need_none() {
    let config = link(6_000_000, 20 * MS, Loss::bursts(0.03, 2.0).unwrap());
    let mut call = Call::new(Parity::Flexfec, config, Script::default(), 1);
    call.run(20);
    // The first frames wait in a queue: until it is gone, the round trip is not short.
    assert!(call.row().fec_packets < 10, "{}", call.row().fec_packets);
}

/// A path that is full and loses for no other reason: what is sent and shown is the same with parity negotiated.
#[test]
fn a_full_path_is_not_filled_further() {
    for capacity in [1_000_000, 1_400_000] {
        let run = |parity| {
            let config = link(capacity, 100 * MS, Loss::None);
            let mut call = Call::new(parity, config, Script::default(), 1);
            call.run(40);
            let frames = call.viewer.borrow().frames;
            (mean(&call.sent[10..]), frames, call.row().fec_bytes as f64)
        };
        let (without, with) = (run(Parity::None), run(Parity::Flexfec));
        println!("{capacity}: {without:?} {with:?}");
        assert!((with.0 / without.0 - 1.0).abs() < 0.05, "{with:?} {without:?}");
        assert!(with.1 as f64 > 0.95 * without.1 as f64, "{with:?} {without:?}");
        assert_eq!(with.2, 0.0);
    }
}

/// Everything together stays within what a narrow path carries that loses besides.
#[test]
fn parity_is_taken_from_the_picture_and_not_from_the_path() {
    for seed in 0..3 {
        let config = link(1_500_000, 100 * MS, Loss::bursts(0.03, 2.0).unwrap());
        let mut call = Call::new(Parity::Flexfec, config, Script::default(), seed);
        call.run(40);
        let row = call.row();
        assert!(row.fec_packets > 0);
        let most = call.sent[10..].iter().copied().fold(0.0, f64::max);
        assert!(most < 1_500_000.0 * 1.1, "{most}");
        let rtx = row.rtx_share * row.bitrate_bps;
        assert!(rtx <= 0.16 * 1_500_000.0, "{rtx}");
    }
}

#[test]
fn a_pause_ends_parity_and_numbers_go_on() {
    for parity in [Parity::Flexfec, Parity::Ulpfec] {
        let config = link(6_000_000, 100 * MS, Loss::bursts(0.05, 2.0).unwrap());
        let mut call = Call::new(parity, config, Script::default(), 1);
        call.run(15);
        for _ in 0..5 {
            call.want(Wanted {
                paused: true,
                ..WANT_ALL
            });
            call.run(1);
            let paused = call.row();
            call.run(1);
            assert_eq!(call.row().fec_packets, paused.fec_packets);
            call.want(WANT_ALL);
            call.run(3);
        }
        // The client refuses a number that it has seen (`Person::receive` tells).
        let row = call.row();
        assert!(row.fec_packets > 50, "{parity:?} {}", row.fec_packets);
        let frames = call.viewer.borrow().frames;
        call.run(5);
        assert!(call.viewer.borrow().frames > frames + 100);
    }
}
