//! In simulated time: the caller polls exactly when it is told to.

use super::*;

const MS: u64 = 1_000;
const S: u64 = 1_000_000;
/// Flow, and number within it.
type Id = (u32, u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sent {
    at: u64,
    id: Id,
    class: Class,
    bytes: u32,
    waited: u64,
    probe: Option<u8>,
}

/// A pacer with its caller. Items are `(arrival, id, bytes)`.
struct World {
    now: u64,
    pacer: Pacer<(u64, Id, u32)>,
    sent: Vec<Sent>,
    padding: Vec<(u64, u32)>,
    cut: Vec<(u64, u32)>,
    /// Flows that wait for a keyframe.
    dropping: Vec<u32>,
}

fn probe(bits_per_second: f64, bytes: u32, packets: u32) -> Probe {
    Probe {
        id: ProbeId(0),
        bits_per_second,
        bytes,
        packets,
        duration: (f64::from(bytes) * 8e6 / bits_per_second) as u64,
    }
}

impl World {
    fn new(estimate: u64) -> Self {
        let mut pacer = Pacer::default();
        pacer.set_rate(0, Some(estimate));
        Self {
            now: 0,
            pacer,
            sent: Vec::new(),
            padding: Vec::new(),
            cut: Vec::new(),
            dropping: Vec::new(),
        }
    }

    /// A pace of so many bits per second.
    fn paced(pace: u64) -> Self {
        Self::new((pace as f64 / FACTOR).round() as u64)
    }

    fn poll(&mut self) {
        while let Some(poll) = self.pacer.poll(self.now) {
            match poll {
                Poll::Send {
                    item: (arrival, id, bytes),
                    class,
                    probe,
                } => self.sent.push(Sent {
                    at: self.now,
                    id,
                    class,
                    bytes,
                    waited: self.now - arrival,
                    probe: probe.map(|probe| probe.0),
                }),
                Poll::Padding { bytes, .. } => {
                    self.pacer.padded(self.now, bytes);
                    self.padding.push((self.now, bytes));
                }
                Poll::DropUntilKeyframe(flow) => {
                    self.cut.push((self.now, flow));
                    self.dropping.push(flow);
                }
            }
        }
    }

    fn advance(&mut self, to: u64) {
        while let Some(at) = self.pacer.next(self.now).filter(|&at| at <= to) {
            assert!(at > self.now || self.now == 0 || at == self.now);
            self.now = at;
            self.poll();
            assert!(
                self.pacer.next(self.now).is_none_or(|next| next > self.now),
                "a busy loop"
            );
        }
        self.now = self.now.max(to);
    }

    fn offer(&mut self, class: Class, id: Id, bytes: u32, keyframe: bool) {
        if self.pacer.admit(self.now, bytes, class) == Admit::SendNow {
            self.sent.push(Sent {
                at: self.now,
                id,
                class,
                bytes,
                waited: 0,
                probe: None,
            });
            return;
        }
        let item = Item {
            item: (self.now, id, bytes),
            flow: id.0,
            class,
            bytes,
            keyframe,
        };
        self.pacer.push(self.now, item);
    }

    /// A frame of video in packets of 1,200 bytes, as its subscription forwards it: not while it waits for a keyframe.
    fn frame(&mut self, flow: u32, number: u32, bytes: u32, keyframe: bool) {
        if keyframe {
            self.dropping.retain(|&other| other != flow);
        }
        if self.dropping.contains(&flow) {
            return;
        }
        for start in (0..bytes).step_by(1_200) {
            let size = (bytes - start).min(1_200);
            self.offer(Class::Video, (flow, number), size, keyframe && start == 0);
        }
    }

    fn bytes(&self, keep: impl Fn(&Sent) -> bool) -> u64 {
        self.sent
            .iter()
            .filter(|sent| keep(sent))
            .map(|sent| u64::from(sent.bytes))
            .sum()
    }

    fn waited(&self, keep: impl Fn(&Sent) -> bool) -> u64 {
        self.sent
            .iter()
            .filter(|sent| keep(sent))
            .map(|sent| sent.waited)
            .max()
            .unwrap_or(0)
    }
}

/// Fills the queue so that nothing goes at once.
fn block(world: &mut World) {
    while world.pacer.admit(world.now, 1_200, Class::Video) == Admit::SendNow {}
}

#[test]
fn without_an_estimate_everything_goes_at_once() {
    let mut pacer = Pacer::<()>::default();
    for class in [Class::Audio, Class::Urgent, Class::Video, Class::Repair] {
        for _ in 0..10_000 {
            assert_eq!(pacer.admit(0, 1_200, class), Admit::SendNow);
        }
    }
    assert!(!pacer.probe(0, probe(1e6, 5_000, 5)));
    assert_eq!((pacer.poll(0), pacer.next(0), pacer.queue_delay(0)), (None, None, 0));
}

#[test]
fn losing_the_estimate_empties_the_queue() {
    let mut world = World::new(S);
    world.frame(1, 0, 60_000, true);
    assert!(world.pacer.len() > 40);
    world.pacer.set_rate(0, None);
    assert_eq!(world.pacer.next(0), Some(0));
    world.poll();
    assert_eq!((world.sent.len(), world.pacer.len()), (50, 0));
}

#[test]
fn order_of_classes() {
    let mut world = World::paced(8 * S);
    block(&mut world);
    for class in [Class::Repair, Class::Video, Class::Urgent] {
        for number in 0..2 {
            world.offer(class, (1, number), 1_000, false);
        }
    }
    for number in 0..2 {
        world.offer(Class::Audio, (2, number), 100, false);
    }
    world.advance(S);
    let order: Vec<_> = world.sent.iter().map(|sent| (sent.class, sent.id.1)).collect();
    let expected = [Class::Audio, Class::Urgent, Class::Video, Class::Repair];
    let expected: Vec<_> = expected.iter().flat_map(|&class| [(class, 0), (class, 1)]).collect();
    assert_eq!(order, expected);
}

#[test]
fn bursts_are_five_milliseconds_at_most() {
    let mut world = World::paced(12 * S);
    for number in 0..300 {
        world.frame(number % 3, number, 4_000 + number * 7 % 9_000, false);
        world.advance(u64::from(number) * 7 * MS);
    }
    let mut start = 0;
    for end in 0..world.sent.len() {
        // In any interval: its length and the burst, and a packet that ends it.
        while world.sent[end].at - world.sent[start].at > 3 * MS {
            start += 1;
        }
        let bytes: u64 = world.sent[start..=end].iter().map(|sent| u64::from(sent.bytes)).sum();
        let span = world.sent[end].at - world.sent[start].at;
        assert!(bytes <= (span + BURST_AT_MOST) * 12 / 8 + 1_200, "{bytes} in {span}");
    }
}

const BURST_AT_MOST: u64 = 5 * MS;

#[test]
fn the_rate_is_kept() {
    for pace in [100_000, 1_000_000, 10_000_000, 200_000_000] {
        let mut world = World::paced(pace);
        // Twice as much as goes, without being cut: keyframes all the way.
        for tick in 0..2_000 {
            world.advance(tick * 5 * MS);
            if world.pacer.queue_delay(world.now) < 100 * MS {
                world.frame(1, tick as u32, (pace / 8 / 100) as u32, false);
            }
        }
        let sent = world.bytes(|sent| sent.at > S) * 8 / 9;
        assert!(sent.abs_diff(pace) * 50 <= pace, "{sent} instead of {pace}");
    }
}

#[test]
fn audio_passes_a_full_queue_and_is_charged() {
    let mut world = World::paced(S);
    world.frame(1, 0, 25_000, true);
    for number in 0..50 {
        world.advance(u64::from(number) * 20 * MS);
        world.offer(Class::Audio, (9, number), 150, false);
        world.frame(1, number + 1, 1_200, false);
    }
    world.advance(2 * S);
    assert_eq!(world.waited(|sent| sent.class == Class::Audio), 0);
    let counters = world.pacer.counters();
    assert_eq!((counters.dropped_audio, counters.dropped_video), (0, 0));
    let total = world.bytes(|sent| sent.at < 900 * MS);
    assert!(
        total * 8 <= 9 * S / 10 + 6 * 8 * 1_200,
        "audio is within the pace: {total}"
    );
}

#[test]
fn a_flood_of_audio_is_bounded() {
    let mut world = World::paced(500_000);
    for tick in 0..2_000 {
        world.advance(tick * MS);
        world.offer(Class::Audio, (1, tick as u32), 150, false);
        if tick % 33 == 0 {
            world.offer(Class::Video, (2, 0), 1_000, false);
        }
    }
    assert!(world.pacer.len() <= MAX_AUDIO + 20);
    assert!(world.pacer.counters().dropped_audio > 500);
    let rate = world.bytes(|sent| sent.class == Class::Audio) * 8 / 2;
    assert!((490_000..560_000).contains(&rate), "{rate}");
}

#[test]
fn stale_video_is_dropped_until_a_keyframe() {
    let mut world = World::paced(400_000);
    for number in 0..90 {
        world.advance(u64::from(number) * 33 * MS);
        // One second of twice what fits, then what fits.
        let bytes = if number < 30 { 3_600 } else { 1_200 };
        world.frame(1, number, bytes, number == 60);
    }
    world.advance(4 * S);
    assert_eq!(world.cut.len(), 1);
    let (at, flow) = world.cut[0];
    assert!(flow == 1 && at < S);
    assert!(world.waited(|_| true) <= MAX_AGE + SWEEP);
    let after: Vec<_> = world
        .sent
        .iter()
        .filter(|sent| sent.at > at)
        .map(|sent| sent.id.1)
        .collect();
    assert_eq!(after, (60..90).collect::<Vec<_>>(), "whole from the keyframe on");
}

#[test]
fn a_keyframe_that_waits_already_is_kept() {
    let mut world = World::paced(400_000);
    world.frame(1, 0, 24_000, false);
    world.advance(200 * MS);
    world.frame(1, 1, 4_800, true);
    world.advance(2 * S);
    assert_eq!((world.cut.len(), world.pacer.counters().cuts), (0, 1));
    assert!(world.pacer.counters().dropped_video > 0);
    assert_eq!(world.bytes(|sent| sent.id.1 == 1), 4_800);
}

#[test]
fn a_keyframe_too_large_for_the_path_gets_through_in_the_end() {
    let mut world = World::paced(100_000);
    let mut whole = None;
    let mut tried = 0;
    for number in 0..300u32 {
        world.advance(u64::from(number) * 33 * MS);
        let asked = world.dropping.contains(&1) || number == 0;
        let is_due = number == 0 || world.cut.last().is_some_and(|cut| world.now - cut.0 > 300 * MS);
        tried += u32::from(asked && is_due);
        // 0.8 s at this pace.
        world.frame(1, number, if asked && is_due { 10_000 } else { 300 }, asked && is_due);
        if let Some(sent) = world
            .sent
            .last()
            .filter(|sent| world.bytes(|s| s.id == sent.id) == 10_000)
        {
            whole.get_or_insert((sent.at, tried));
        }
    }
    let (at, tries) = whole.unwrap();
    assert!(at < 5 * S && tries <= 3, "{at} {tries}");
    // The stream goes on after it.
    assert!(world.sent.last().unwrap().id.1 > 290);
}

#[test]
fn subscriptions_share_by_bytes() {
    let mut world = World::paced(2 * S);
    // One has a keyframe of 100 KB and goes on to flood; three have small frames.
    for number in 0..30 {
        world.advance(u64::from(number) * 33 * MS);
        world.frame(9, number, if number == 0 { 50_000 } else { 20_000 }, false);
        for flow in 0..3 {
            world.frame(flow, number, 1_500, false);
        }
    }
    let small = world.waited(|sent| sent.id.0 < 3);
    assert!(small <= 30 * MS, "{small}");
    assert!(world.cut.iter().all(|&(_, flow)| flow == 9) && !world.cut.is_empty());
    // All backlogged alike, with packets of different sizes: equal bytes.
    let mut world = World::paced(4 * S);
    for tick in 0..200 {
        world.advance(tick * MS);
        for flow in 1..=4 {
            world.offer(Class::Video, (flow, 0), 300 * flow, false);
        }
    }
    let shares: Vec<_> = (1..=4).map(|flow| world.bytes(|sent| sent.id.0 == flow)).collect();
    let (least, most) = (shares.iter().min().unwrap(), shares.iter().max().unwrap());
    assert!(most - least <= 2 * u64::from(QUANTUM), "{shares:?}");
}

#[test]
fn repair_does_not_starve_behind_video_nor_video_behind_repair() {
    let mut world = World::paced(2 * S);
    for tick in 0..1_000u32 {
        world.advance(u64::from(tick) * MS);
        if world.pacer.video.is_empty() || world.pacer.queue_delay(world.now) < 60 * MS {
            world.frame(tick % 3, tick, 3_000, false);
        }
        if tick % 40 == 0 {
            // 12 % of the pace.
            world.offer(Class::Repair, (7, tick), 1_200, false);
        }
    }
    let repaired = world.bytes(|sent| sent.class == Class::Repair);
    assert!(repaired >= 24 * 1_200, "{repaired}");
    let waited = world.waited(|sent| sent.class == Class::Repair);
    assert!(waited <= 60 * MS, "{waited}");
    // More than its share: video keeps its own.
    let mut world = World::paced(2 * S);
    for tick in 0..1_000u32 {
        world.advance(u64::from(tick) * MS);
        world.offer(Class::Repair, (7, tick), 1_200, false);
        if world.pacer.video.is_empty() {
            world.frame(1, tick, 3_000, false);
        }
    }
    let (video, repair) = (
        world.bytes(|s| s.class == Class::Video),
        world.bytes(|s| s.class == Class::Repair),
    );
    assert!(video >= 7 * repair / 2 && repair * 6 >= video, "{video} {repair}");
    assert!(world.pacer.counters().dropped_repair > 500);
    assert!(world.waited(|sent| sent.class == Class::Repair) <= MAX_AGE + SWEEP);
}

#[test]
fn a_cluster_of_padding_has_its_shape() {
    for rate in [600_000.0, 3e6, 20e6] {
        let mut world = World::new(300_000);
        world.advance(S);
        let bytes = ((rate / 8.0 * 0.015) as u32).max(6_000);
        assert!(world.pacer.probe(S, probe(rate, bytes, 5)));
        world.advance(3 * S);
        let sent: u32 = world.padding.iter().map(|&(_, bytes)| bytes).sum();
        assert!((bytes..bytes + MOST_PADDING).contains(&sent) && world.padding.len() >= 5);
        let (first, last) = (world.padding[0], world.padding[world.padding.len() - 1]);
        assert_eq!(first.0, S);
        let found = f64::from(sent - last.1) * 8e6 / (last.0 - first.0) as f64;
        assert!((found / rate - 1.0).abs() < 0.02, "{found} instead of {rate}");
        assert_eq!(world.pacer.next(world.now), None, "it is over");
        assert_eq!(world.pacer.counters().padding_bytes, u64::from(sent));
    }
}

#[test]
fn media_take_the_place_of_padding() {
    let mut world = World::new(300_000);
    world.pacer.probe(0, probe(2e6, 10_000, 5));
    for number in 0..10 {
        world.advance(u64::from(number) * 4 * MS);
        world.offer(Class::Video, (1, number), 800, false);
        world.offer(Class::Audio, (2, number), 100, false);
    }
    world.advance(S);
    let media = world.bytes(|sent| sent.probe.is_some());
    let padding: u32 = world.padding.iter().map(|&(_, bytes)| bytes).sum();
    assert!(media >= 6_000 && padding > 0, "{media} {padding}");
    assert!((10_000..11_200).contains(&(media + u64::from(padding))));
    assert!(
        world
            .sent
            .iter()
            .all(|sent| sent.class == Class::Video || sent.probe.is_none())
    );
    assert_eq!(world.sent.len(), 20);
}

/// Half of the rate is audio, which is no part of what is measured.
#[test]
fn audio_in_between_does_not_slow_a_cluster_down() {
    let mut world = World::new(100_000);
    world.advance(S);
    world.pacer.probe(S, probe(120_000.0, 2_500, 5));
    for number in 0..10 {
        world.offer(Class::Audio, (1, number), 150, false);
        world.advance(S + u64::from(number + 1) * 20 * MS);
    }
    let (first, last) = (world.padding[0], world.padding[world.padding.len() - 1]);
    let sent: u32 = world.padding.iter().map(|&(_, bytes)| bytes).sum();
    let found = f64::from(sent - last.1) * 8e6 / (last.0 - first.0) as f64;
    assert!((found / 120_000.0 - 1.0).abs() < 0.02, "{found}");
}

#[test]
fn audio_that_waited_is_not_counted_in_a_cluster() {
    let mut world = World::new(300_000);
    while world.pacer.admit(0, 200, Class::Audio) == Admit::SendNow {}
    world.offer(Class::Audio, (1, 0), 200, false);
    assert_eq!(world.pacer.len(), 1);
    world.pacer.probe(0, probe(1e6, 6_000, 5));
    world.advance(S);
    let padding: u32 = world.padding.iter().map(|&(_, bytes)| bytes).sum();
    assert_eq!((padding, world.sent.len(), world.sent[0].probe), (6_000, 1, None));
}

#[test]
fn clusters_follow_each_other_and_are_bounded() {
    let mut world = World::new(300_000);
    let taken = (0..10).filter(|_| world.pacer.probe(0, probe(1e6, 6_000, 5))).count();
    assert_eq!(taken, MAX_PROBES);
    world.advance(S);
    let sent: u32 = world.padding.iter().map(|&(_, bytes)| bytes).sum();
    assert_eq!(sent, 4 * 6_000);
    let lasted = world.padding[world.padding.len() - 1].0;
    assert!(lasted.abs_diff(4 * 6_000 * 8) <= 12 * MS, "{lasted}");
}

#[test]
fn a_cluster_that_cannot_end_is_given_up() {
    let mut world = World::new(300_000);
    world.pacer.probe(0, probe(f64::NAN, u32::MAX, u32::MAX));
    world.advance(3 * S);
    assert_eq!(world.pacer.next(world.now), None);
    let padding: u32 = world.padding.iter().map(|&(_, bytes)| bytes).sum();
    assert!(padding <= 4 * MOST_PADDING, "{padding}");
}

#[test]
fn memory_is_bounded_and_nobody_stays_cut() {
    let mut world = World::paced(10_000);
    for number in 0..20_000 {
        world.offer(Class::Video, (number % 50, number), 1_200, false);
        world.offer(Class::Repair, (number % 50, number), 1_200, false);
        world.offer(Class::Urgent, (number % 50, number), 1_200, false);
        assert!(world.pacer.len() <= MAX_QUEUED);
    }
    world.poll();
    assert!(world.cut.len() == 50 && world.pacer.counters().cuts > 50);
    for flow in 0..50 {
        world.pacer.remove(flow);
    }
    assert!(world.pacer.len() <= 2 * MAX_REPAIR && world.pacer.video.is_empty());
    world.pacer.set_rate(world.now, Some(10 * S));
    world.advance(world.now + S);
    assert!(world.pacer.is_empty());
}

#[test]
fn a_subscription_that_ends_leaves_the_turn_to_others() {
    let mut world = World::paced(S);
    block(&mut world);
    for flow in 1..=3 {
        world.frame(flow, 0, 2_400, true);
    }
    world.pacer.remove(1);
    world.pacer.remove(77);
    world.advance(S);
    let flows: Vec<_> = world.sent.iter().map(|sent| sent.id.0).collect();
    assert_eq!(flows, [2, 3, 2, 3]);
    assert_eq!(world.pacer.counters().dropped_video, 2);
}

#[test]
fn hostile_numbers() {
    for estimate in [0, 1, u64::MAX] {
        let mut world = World::new(estimate);
        for number in 0..500 {
            let bytes = [0, 1, 1_200, u32::MAX][number as usize % 4];
            let class = [Class::Audio, Class::Urgent, Class::Video, Class::Repair][number as usize / 4 % 4];
            world.offer(class, (number, number), bytes, false);
            world
                .pacer
                .set_rate(world.now, Some([0, u64::MAX, S][number as usize % 3]));
            world.poll();
            assert!(world.pacer.queue_delay(world.now) < u64::MAX / 2);
        }
        world.pacer.set_rate(world.now, Some(100 * S));
        world.advance(10 * S);
        assert!(world.pacer.is_empty());
    }
    // Clocks at their ends, and one that runs backwards.
    let mut world = World::new(S);
    for now in [u64::MAX, 0, u64::MAX / 2, 5] {
        world.now = now;
        world.frame(1, 0, 20_000, true);
        world.pacer.poll(now);
        world.pacer.next(now);
        world.pacer.set_rate(now, Some(2 * S));
    }
}
