//! Two ends of a link over emulated paths, in simulated time.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

use std::time::Duration;

use netem::{Capacity, Change, Jitter, LinkConfig, Loss, Random};
use pysfu_relay::{Arrival, Config, Keys, Link, MAX_DATAGRAM, Refused, Stats};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000_000;

fn keys(seed: u8) -> Keys {
    Keys {
        key: [seed; 16],
        salt: [seed ^ 0xff; 12],
    }
}

struct End {
    link: Link<Vec<u8>>,
    /// The way to the other end.
    way: netem::Link<Vec<u8>>,
    messages: Vec<Vec<u8>>,
    /// Of each packet the time from its sending to its arrival.
    delays: Vec<Option<u64>>,
}

struct Pair {
    now: u64,
    ends: [End; 2],
    sent_at: Vec<u64>,
    random: Random,
}

fn at(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

impl Pair {
    fn new(rtt: u64, loss: f64, burst: f64, seed: u64) -> Self {
        let config = LinkConfig {
            capacity: Capacity::Unlimited,
            delay: at(rtt / 2),
            loss: if burst == 1.0 {
                Loss::independent(loss)
            } else {
                Loss::bursts(loss, burst).unwrap()
            },
            ..LinkConfig::default()
        };
        let end = |link: u32, send: u8, receive: u8| End {
            link: Link::new(
                0,
                &Config {
                    link,
                    send: keys(send),
                    receive: keys(receive),
                },
            )
            .unwrap(),
            way: netem::Link::new(config.clone(), seed * 2 + u64::from(link)),
            messages: Vec::new(),
            delays: Vec::new(),
        };
        Self {
            now: 0,
            ends: [end(0, 1, 2), end(1, 2, 1)],
            sent_at: Vec::new(),
            random: Random::new(seed, 9),
        }
    }

    /// The first end sends a packet that says its number.
    fn send(&mut self) {
        let mut out = [0; MAX_DATAGRAM];
        let number = self.sent_at.len() as u64;
        // Video, and the voices between.
        let len = match self.random.bits() % 5 {
            0 => 60 + (self.random.bits() % 1_000) as usize,
            _ => 1_100 + (self.random.bits() % 100) as usize,
        };
        let sender = &mut self.ends[0];
        let mut packet = vec![number as u8; 8 + len];
        packet[..8].copy_from_slice(&number.to_be_bytes());
        let len = sender.link.send(self.now, packet, &mut out).unwrap();
        sender.way.push(at(self.now), len, out[..len].to_vec());
        self.sent_at.push(self.now);
    }

    fn step(&mut self) {
        let mut out = [0; MAX_DATAGRAM];
        for from in [0, 1] {
            while let Some((_, mut datagram)) = self.ends[from].way.pop(at(self.now)) {
                let to = &mut self.ends[1 - from];
                let (messages, delays, sent_at, now) = (&mut to.messages, &mut to.delays, &self.sent_at, self.now);
                let result = to.link.receive(now, &mut datagram, |arrival| match arrival {
                    Arrival::Message(message) => messages.push(message.to_vec()),
                    Arrival::Media(packet) => {
                        let number = u64::from_be_bytes(*packet.first_chunk().unwrap()) as usize;
                        assert!(packet[8..].iter().all(|octet| *octet == number as u8));
                        delays.resize(delays.len().max(number + 1), None);
                        assert!(delays[number].is_none(), "{number} twice");
                        delays[number] = Some(now - sent_at[number]);
                    }
                });
                // A repetition may cross with what it repeats.
                assert!(matches!(result, Ok(()) | Err(Refused::Replayed)), "{result:?}");
            }
            let end = &mut self.ends[from];
            while let Some(len) = end.link.poll_transmit(self.now, &mut out) {
                end.way.push(at(self.now), len, out[..len].to_vec());
            }
        }
        self.now += MS / 2;
    }

    /// Sends `rate` packets a second, one by one or in frames of ten, for a time.
    fn run(&mut self, time: u64, rate: u64, frames: bool) {
        let end = self.now + time;
        let group = if frames { 10 } else { 1 };
        let mut due = self.now;
        while self.now < end {
            while due <= self.now && rate > 0 {
                (0..group).for_each(|_| self.send());
                due += group * SECOND / rate;
            }
            self.step();
        }
    }

    fn set(&mut self, change: &Change) {
        for end in &mut self.ends {
            end.way.set(at(self.now), change.clone());
        }
    }

    fn stats(&self) -> [Stats; 2] {
        [self.ends[0].link.stats(), self.ends[1].link.stats()]
    }

    /// Share that never came; 95th percentile of the delay beyond the path's own, of all that were lost on the way and came later.
    fn result(&self, rtt: u64) -> (f64, u64) {
        let delays = &self.ends[1].delays;
        let lost = self.sent_at.len() - delays.iter().flatten().count();
        let mut late: Vec<u64> = delays
            .iter()
            .flatten()
            .map(|delay| delay - rtt / 2)
            .filter(|delay| *delay > 0)
            .collect();
        late.sort_unstable();
        let p95 = late.get(late.len() * 95 / 100).copied().unwrap_or(0);
        (lost as f64 / self.sent_at.len() as f64, p95)
    }
}

/// 3 % of random loss at a round trip of 100 ms is what links between regions are held to.
#[test]
fn losses_between_regions_are_repaired() {
    println!("  rtt   loss burst   rate | residual  late p95  redundancy  parity");
    for (rtt, loss, burst, rate, frames) in [
        (100, 0.03, 1.0, 2_000, true),
        (100, 0.03, 1.0, 2_000, false),
        (100, 0.03, 1.0, 1_000, true),
        (100, 0.03, 1.0, 10_000, true),
        (100, 0.03, 1.0, 100, false),
        (100, 0.01, 1.0, 2_000, true),
        (100, 0.05, 1.0, 1_000, true),
        (250, 0.05, 1.0, 2_000, true),
        (100, 0.03, 3.0, 1_000, true),
        (80, 0.01, 4.0, 2_000, true),
        (20, 0.03, 1.0, 2_000, true),
    ] {
        let mut results = Vec::new();
        for seed in 0..3 {
            let mut pair = Pair::new(rtt * MS, loss, burst, seed);
            pair.run(20 * SECOND, rate, frames);
            pair.run(2 * SECOND, 0, false);
            let (residual, late) = pair.result(rtt * MS);
            let stats = pair.stats()[0];
            let redundancy = stats.redundant_bytes_sent as f64 / (stats.bytes_sent - stats.redundant_bytes_sent) as f64;
            results.push((residual, late as f64 / (rtt * MS) as f64, redundancy, stats.parity_sent));
            assert!((stats.loss - loss).abs() < loss * 0.5 + 0.002, "{loss}: {stats:?}");
            assert!(stats.rtt.abs_diff(rtt * MS) < (rtt * MS) / 10, "{stats:?}");
        }
        let mean =
            |value: fn(&(f64, f64, f64, u64)) -> f64| results.iter().map(value).sum::<f64>() / results.len() as f64;
        let (residual, late, redundancy) = (mean(|r| r.0), mean(|r| r.1), mean(|r| r.2));
        println!(
            "{rtt:>5} {loss:>6} {burst:>5} {rate:>6} | {:>7.4} % {late:>5.2} RTT {:>9.2} % {:>7}",
            residual * 100.0,
            redundancy * 100.0,
            results[0].3
        );
        assert!(residual <= 0.0005, "{rtt} {loss} {burst} {rate}: {residual}");
        assert!(redundancy <= 0.12, "{rtt} {loss} {burst} {rate}: {redundancy}");
        if burst == 1.0 && loss <= 0.03 && rtt == 100 {
            // At 100 packets/s the next one, which shows the loss, comes a tenth of a round trip later.
            let bound = if rate == 100 { 1.3 } else { 1.2 };
            assert!(late <= bound, "{rtt} {loss} {burst} {rate}: {late}");
        }
    }
}

#[test]
fn without_loss_nothing_is_redundant_but_control() {
    let mut pair = Pair::new(100 * MS, 0.0, 1.0, 1);
    pair.run(10 * SECOND, 2_000, true);
    pair.run(SECOND, 0, false);
    let [sender, receiver] = pair.stats();
    assert_eq!((sender.parity_sent, sender.repeats_sent), (0, 0));
    assert_eq!(receiver.media_received, sender.media_sent);
    assert!(sender.redundant_bytes_sent < sender.bytes_sent / 500, "{sender:?}");
    let (residual, late) = pair.result(100 * MS);
    assert_eq!((residual, late), (0.0, 0));
}

/// A way that was steady until the link trusted it: what is late is asked for a few times, until that is known.
#[test]
fn datagrams_that_overtake_each_other_are_not_sent_again() {
    for (before, asked) in [(0, 0), (30 * SECOND, 30)] {
        let mut pair = Pair::new(100 * MS, 0.0, 1.0, 1);
        pair.run(before, 2_000, false);
        // The one gap that shows that nothing overtakes anything.
        pair.set(&Change::Loss(Loss::independent(0.002)));
        pair.run(before, 2_000, false);
        pair.set(&Change::Loss(Loss::None));
        pair.run(SECOND, 2_000, false);
        let former = pair.stats()[0];
        pair.set(&Change::Jitter(Some(Jitter {
            reorders: true,
            ..Jitter::uniform(at(1_500))
        })));
        pair.run(20 * SECOND, 2_000, false);
        pair.run(SECOND, 0, false);
        let repeats = pair.stats()[0].repeats_sent - former.repeats_sent;
        assert!(repeats <= asked, "{repeats} after {before}");
        assert_eq!(pair.result(100 * MS).0, 0.0);
    }
}

#[test]
fn messages_arrive_once_and_in_order_whatever_is_lost() {
    for seed in 0..5 {
        let mut pair = Pair::new(60 * MS, 0.3, 2.0, seed);
        let mut told = Vec::new();
        for index in 0..60_u32 {
            let message = index.to_be_bytes().repeat(1 + index as usize % 20);
            assert!(pair.ends[1].link.tell(&message));
            told.push(message);
            pair.run(20 * MS, 500, false);
        }
        pair.run(60 * SECOND, 0, false);
        assert_eq!(pair.ends[0].messages, told);
    }
    let mut pair = Pair::new(60 * MS, 0.0, 1.0, 0);
    assert!(!pair.ends[0].link.tell(&[0; 257]));
    let taken = (0..10_000).filter(|_| pair.ends[0].link.tell(b"x")).count();
    assert_eq!(taken, 4_096);
    pair.run(SECOND, 0, false);
    assert_eq!(pair.ends[1].messages.len(), 4_096);
}

#[test]
fn messages_behind_a_lost_one_wait_for_it_alone() {
    let mut pair = Pair::new(100 * MS, 0.0, 1.0, 0);
    pair.run(SECOND, 0, false);
    let told: Vec<Vec<u8>> = (0..100_u8).map(|index| vec![index; 100]).collect();
    let (lost, others) = told.split_at(5);
    pair.set(&Change::Loss(Loss::independent(1.0)));
    assert!(lost.iter().all(|message| pair.ends[0].link.tell(message)));
    pair.run(20 * MS, 0, false);
    pair.set(&Change::Loss(Loss::None));
    assert!(others.iter().all(|message| pair.ends[0].link.tell(message)));
    pair.run(140 * MS, 0, false);
    assert!(pair.ends[1].messages.is_empty(), "in order");
    // The lost ones are on their way again; the others need not be.
    pair.set(&Change::Loss(Loss::independent(1.0)));
    pair.run(60 * MS, 0, false);
    assert_eq!(pair.ends[1].messages, told);
}

#[test]
fn messages_are_repeated_soon_after_the_other_end_has_stood_still() {
    let mut pair = Pair::new(40 * MS, 0.0, 1.0, 1);
    pair.run(SECOND, 0, false);
    // Its datagrams wait, and so does what it answers.
    pair.set(&Change::AddDelay(at(4 * SECOND)));
    pair.run(8 * SECOND, 0, false);
    pair.set(&Change::Delay(at(20 * MS)));
    // What comes now does not overtake what waited.
    pair.run(4 * SECOND + 50 * MS, 0, false);
    assert!(pair.stats()[0].rtt > SECOND, "{}", pair.stats()[0].rtt);
    pair.set(&Change::Loss(Loss::independent(1.0)));
    assert!(pair.ends[0].link.tell(b"a track"));
    pair.run(10 * MS, 0, false);
    pair.set(&Change::Loss(Loss::None));
    pair.run(1_100 * MS, 0, false);
    assert_eq!(pair.ends[1].messages, [b"a track"]);
}

#[test]
fn a_link_that_is_cut_is_seen_in_time_and_goes_on_when_it_is_back() {
    let mut pair = Pair::new(100 * MS, 0.0, 1.0, 1);
    pair.run(SECOND, 0, false);
    assert!(
        pair.ends.iter().all(|end| end.link.is_alive(pair.now)),
        "silence is not death"
    );
    pair.run(SECOND, 500, false);
    pair.set(&Change::Loss(Loss::independent(1.0)));
    let cut = pair.now;
    while pair.ends.iter().any(|end| end.link.is_alive(pair.now)) {
        pair.run(10 * MS, 500, false);
        assert!(pair.now < cut + SECOND);
    }
    pair.run(30 * SECOND, 500, false);
    pair.set(&Change::Loss(Loss::None));
    let back = pair.sent_at.len();
    pair.run(2 * SECOND, 500, false);
    assert!(pair.ends.iter().all(|end| end.link.is_alive(pair.now)));
    pair.run(SECOND, 0, false);
    let delays = &pair.ends[1].delays[back..];
    assert!(delays.iter().all(Option::is_some));
}

#[test]
fn a_way_that_is_cut_in_one_direction_is_seen_by_both_ends() {
    let mut pair = Pair::new(100 * MS, 0.01, 1.0, 1);
    pair.run(10 * SECOND, 0, false);
    assert!(pair.ends.iter().all(|end| end.link.is_alive(pair.now)));
    pair.ends[0].way.set(at(pair.now), Change::Loss(Loss::independent(1.0)));
    pair.run(900 * MS, 0, false);
    assert!(pair.ends.iter().all(|end| !end.link.is_alive(pair.now)));
    pair.set(&Change::Loss(Loss::None));
    pair.run(400 * MS, 0, false);
    assert!(pair.ends.iter().all(|end| end.link.is_alive(pair.now)));
}

#[test]
fn keys_change_while_media_flow() {
    let mut pair = Pair::new(100 * MS, 0.03, 1.0, 1);
    for seed in 10..20 {
        pair.run(500 * MS, 2_000, true);
        assert!(pair.ends[1].link.rotate_receive(&keys(seed)));
        assert!(pair.ends[0].link.rotate_send(&keys(seed)));
    }
    pair.run(SECOND, 0, false);
    let (residual, _) = pair.result(100 * MS);
    assert!(residual < 0.0005, "{residual}");
}

/// Anybody may send to the port: nothing that is forged, replayed or cut changes what is delivered.
#[test]
fn forged_and_replayed_datagrams_are_dropped_and_counted() {
    let mut pair = Pair::new(20 * MS, 0.0, 1.0, 1);
    let mut random = Random::new(7, 7);
    let mut seen: Vec<Vec<u8>> = Vec::new();
    let mut refused = 0;
    for _ in 0..2_000 {
        let mut out = [0; MAX_DATAGRAM];
        let number = pair.sent_at.len() as u64;
        pair.sent_at.push(pair.now);
        let packet = [number.to_be_bytes().as_slice(), &[number as u8; 100]].concat();
        let len = pair.ends[0].link.send(pair.now, packet, &mut out).unwrap();
        seen.push(out[..len].to_vec());
        pair.ends[0].way.push(at(pair.now), len, out[..len].to_vec());
        pair.step();
        let mut bad = seen[random.bits() as usize % seen.len()].clone();
        match random.bits() % 3 {
            0 if pair.now > SECOND => (),
            1 => {
                let bit = random.bits() as usize % (bad.len() * 8);
                bad[bit / 8] ^= 1 << (bit % 8);
            }
            _ => bad.truncate(random.bits() as usize % bad.len()),
        }
        if pair.ends[1].link.receive(pair.now, &mut bad, |_| ()).is_err() {
            refused += 1;
        }
    }
    pair.run(SECOND, 0, false);
    assert_eq!(pair.ends[1].delays.iter().flatten().count(), 2_000);
    let stats = pair.stats()[1];
    assert_eq!(stats.refused + stats.duplicates, refused);
    assert!(refused > 1_000);
}
