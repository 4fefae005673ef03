//! Clients that lie: the estimate stays within its limits, nothing panics, and a lie earns nothing.

use netem::Random;
use pysfu_engine::bandwidth::{Bandwidth, Demand, Kind, Limits};
use wire::rtcp::{self, ccfb, twcc};

const LIMITS: Limits = Limits {
    start: 300e3,
    min: 50e3,
    max: 5e6,
};

/// Sends what the estimate says in packets of 1,200 bytes for so many seconds; `tell` may answer each 50 ms.
fn send(seconds: u64, mut tell: impl FnMut(u64, &mut Bandwidth, std::ops::Range<u64>)) -> Bandwidth {
    let mut bandwidth = Bandwidth::new(0, LIMITS);
    let demand = Demand {
        allocated: 1e6,
        next: 2e6,
        most: 4e6,
    };
    bandwidth.set_demand(0, demand);
    let (mut number, mut told, mut tokens) = (60_000_u64, 60_000, 0.0);
    for now in (0..seconds * 1_000_000).step_by(5_000) {
        let probe = bandwidth.poll(now);
        tokens += bandwidth.estimate().target.min(demand.most) / 8.0 * 0.005;
        let mut budget = probe.map_or(0, |probe| probe.packets);
        while tokens > 0.0 || budget > 0 {
            budget = budget.saturating_sub(1);
            bandwidth.on_sent(number as u16, now, 1_200, Kind::Media, probe.map(|probe| probe.id));
            number += 1;
            tokens -= 1_200.0;
        }
        if now % 50_000 == 0 && told < number {
            tell(now, &mut bandwidth, told..number);
            told = number;
        }
        let estimate = bandwidth.estimate();
        assert!((LIMITS.min..=LIMITS.max).contains(&estimate.target), "{estimate:?}");
        assert!(
            estimate.media <= estimate.target && estimate.media >= 0.0,
            "{estimate:?}"
        );
    }
    bandwidth
}

fn feed(bandwidth: &mut Bandwidth, now: u64, first: u64, arrivals: &[Option<u64>]) {
    let mut buffer = vec![0; 4_000];
    let Ok(written) = twcc::write(&mut buffer, 1, 2, 0, first as u16, arrivals.iter().copied()) else {
        return;
    };
    for packet in rtcp::packets(&buffer[..written.len]) {
        if let Ok(rtcp::Packet::TransportWide(feedback)) = packet {
            bandwidth.on_transport_feedback(now, &feedback);
        }
    }
}

#[test]
fn never_a_word_ends_at_the_least() {
    let bandwidth = send(20, |_, _, _| {});
    assert_eq!(bandwidth.estimate().target, LIMITS.min);
}

#[test]
fn everything_at_once_is_no_capacity() {
    let bandwidth = send(20, |now, bandwidth, numbers| {
        let arrivals: Vec<_> = numbers.clone().map(|_| Some(now)).collect();
        feed(bandwidth, now, numbers.start, &arrivals);
    });
    // No more than useful, although all arrives in no time.
    assert!(bandwidth.estimate().target <= 4e6 * 1.4, "{:?}", bandwidth.estimate());
}

#[test]
fn packets_never_sent_are_refused() {
    let honest = send(20, |now, bandwidth, numbers| {
        feed(bandwidth, now, numbers.start, &[Some(now)]);
    });
    assert_eq!(honest.refused(), 0);
    let lying = send(20, |now, bandwidth, numbers| {
        feed(bandwidth, now, numbers.end + 100, &[Some(now); 200]);
    });
    assert!(lying.refused() > 1_000, "{}", lying.refused());
    assert_eq!(lying.estimate().target, LIMITS.min);
}

#[test]
fn arrivals_before_sending_are_refused() {
    let bandwidth = send(20, |now, bandwidth, numbers| {
        let honest = now % 1_000_000 < 500_000;
        let told = if honest {
            now.saturating_sub(10_000)
        } else {
            now.saturating_sub(300_000)
        };
        let arrivals: Vec<_> = numbers.clone().map(|_| Some(told + 77_000_000)).collect();
        feed(bandwidth, now, numbers.start, &arrivals);
    });
    assert!(bandwidth.refused() > 100, "{}", bandwidth.refused());
}

#[test]
fn random_times_and_losses_stay_within_limits() {
    for seed in 0..10 {
        let mut random = Random::new(seed, 0);
        send(20, |now, bandwidth, numbers| {
            let arrivals: Vec<_> = numbers
                .clone()
                .map(|_| random.chance(0.7).then(|| now + random.bits() % 3_000_000))
                .collect();
            let first = numbers
                .start
                .wrapping_add(random.bits() % 5)
                .wrapping_sub(random.bits() % 500);
            feed(bandwidth, now, first, &arrivals);
            // A clock that jumps by hours.
            if random.chance(0.1) {
                feed(bandwidth, now, numbers.start, &[Some(random.bits() % (1 << 40)); 5]);
            }
        });
    }
}

#[test]
fn remb_alone_is_followed_and_its_end_noticed() {
    let bandwidth = send(10, |now, bandwidth, _| bandwidth.on_remb(now, 1_500_000));
    assert_eq!(bandwidth.estimate().target, 1.5e6);
    let bandwidth = send(10, |now, bandwidth, _| bandwidth.on_remb(now, u64::MAX));
    assert_eq!(bandwidth.estimate().target, LIMITS.max);
    // Not at once.
    let bandwidth = send(1, |now, bandwidth, _| bandwidth.on_remb(now, u64::MAX));
    assert!(bandwidth.estimate().target <= LIMITS.start * 2.1);
    let bandwidth = send(20, |now, bandwidth, _| {
        if now < 10_000_000 {
            bandwidth.on_remb(now, 1_500_000);
        }
    });
    assert_eq!(bandwidth.estimate().target, LIMITS.min);
}

/// Any operations in any order: nothing panics, everything stays bounded.
#[test]
fn random_operations() {
    for seed in 0..40 {
        let mut random = Random::new(seed, 1);
        let limits = Limits {
            start: (random.bits() % 10_000_000) as f64,
            min: (random.bits() % 1_000_000) as f64,
            max: (random.bits() % 50_000_000) as f64,
        };
        let most = limits.max.max(1_000.0);
        let mut now = random.bits() % (1 << 40);
        let mut bandwidth = Bandwidth::new(now, limits);
        let (mut number, mut probe) = (random.bits() as u16, None);
        for _ in 0..4_000 {
            match random.bits() % 16 {
                0..8 => {
                    let bytes = random.bits() as u32 % if random.chance(0.01) { u32::MAX } else { 1_500 };
                    let kind =
                        [Kind::Media, Kind::Audio, Kind::Rtx, Kind::Fec, Kind::Padding][random.bits() as usize % 5];
                    bandwidth.on_sent(number, now, bytes, kind, probe);
                    bandwidth.on_sent_stream(number, random.bits() as u32 % 3, number);
                    number = number.wrapping_add(if random.chance(0.01) { random.bits() as u16 } else { 1 });
                }
                8..10 => {
                    let count = 1 + random.bits() % 40;
                    let base = random.bits() % (1 << 41);
                    let arrivals: Vec<_> = (0..count)
                        .map(|_| random.chance(0.8).then(|| base + random.bits() % 100_000))
                        .collect();
                    let first = u64::from(number.wrapping_sub(random.bits() as u16 % 64));
                    feed(&mut bandwidth, now, first, &arrivals);
                }
                10 => {
                    let metric = |random: &mut Random| ccfb::Metric {
                        ecn: 0,
                        offset: random.bits() as u16 & 0x1fff,
                    };
                    let metrics: Vec<_> = (0..20)
                        .map(|_| random.chance(0.8).then(|| metric(&mut random)))
                        .collect();
                    let mut buffer = [0; 1_200];
                    let ssrc = random.bits() as u32 % 3;
                    let first = number.wrapping_sub(20);
                    let len = ccfb::write(&mut buffer, 1, random.bits() as u32, [(ssrc, first, metrics)]).unwrap();
                    for packet in rtcp::packets(&buffer[..len]) {
                        if let Ok(rtcp::Packet::CongestionControl(feedback)) = packet {
                            bandwidth.on_ccfb(now, &feedback);
                        }
                    }
                }
                11 => bandwidth.on_remb(now, random.bits()),
                12 => bandwidth.on_round_trip(now, random.bits()),
                13 => {
                    let rate = |random: &mut Random| (random.bits() % 20_000_000) as f64;
                    let demand = Demand {
                        allocated: rate(&mut random),
                        next: rate(&mut random),
                        most: rate(&mut random),
                    };
                    bandwidth.set_demand(now, demand);
                }
                14 => now += random.bits() % 1_000_000,
                _ => now += random.bits() % 10_000,
            }
            if let Some(ordered) = bandwidth.poll(now) {
                assert!(
                    ordered.bits_per_second <= most * 1.2 && ordered.bytes < 1_000_000,
                    "{ordered:?}"
                );
                probe = Some(ordered.id);
            }
            let estimate = bandwidth.estimate();
            assert!(
                estimate.target.is_finite() && estimate.target <= most,
                "seed {seed}: {estimate:?}"
            );
            assert!((0.0..=1.0).contains(&estimate.loss), "seed {seed}: {estimate:?}");
            assert!(
                estimate.queue.is_finite() && estimate.queue >= 0.0,
                "seed {seed}: {estimate:?}"
            );
        }
    }
}
