//! The queue and the capacity.

use std::time::Duration;

use pysfu_netem::{Aqm, Capacity, Change, Link, LinkConfig, Opportunities, Queue, Script, Trace};

use crate::run::{PACKET, Run, ms, run, s};

#[test]
fn capacity_is_met_to_the_byte() {
    // A rate whose packets take no whole number of nanoseconds.
    let rate = 1_234_567;
    let config = LinkConfig {
        capacity: Capacity::Constant(rate),
        delay: ms(50),
        ..LinkConfig::default()
    };
    let run = run(config, 1, 2_000_000, s(60));
    run.assert_nothing_vanished();
    for seconds in 1..=60 {
        let carried = (rate * seconds / 8) as usize;
        assert_eq!(
            run.bytes_until(s(seconds) + ms(50)),
            carried / PACKET * PACKET,
            "{seconds} s"
        );
    }
}

#[test]
fn packets_of_unequal_size_share_the_capacity() {
    let mut link = Link::new(
        LinkConfig {
            capacity: Capacity::kbps(800),
            ..LinkConfig::default()
        },
        1,
    );
    for bytes in [100, 1_000, 0, 400] {
        link.push(Duration::ZERO, bytes, bytes);
    }
    let arrivals: Vec<_> = std::iter::from_fn(|| link.pop(s(1))).collect();
    assert_eq!(arrivals, [(ms(1), 100), (ms(11), 1_000), (ms(11), 0), (ms(15), 400)]);
}

#[test]
fn an_idle_link_adds_its_delay_and_the_packet_itself() {
    let config = LinkConfig {
        capacity: Capacity::kbps(960),
        delay: ms(20),
        ..LinkConfig::default()
    };
    let run = run(config, 1, 480_000, s(5));
    assert!(run.delays().all(|delay| delay == ms(30)));
}

#[test]
fn full_queue_drops_and_bounds_the_delay() {
    for limit in [50, 300] {
        let config = LinkConfig {
            capacity: Capacity::kbps(1_000),
            queue: Queue::Time(ms(limit)),
            ..LinkConfig::default()
        };
        let run = run(config, 1, 1_500_000, s(30));
        run.assert_nothing_vanished();
        let longest = run.delays().max().unwrap();
        assert!(
            longest <= ms(limit) && longest > ms(limit - 20),
            "limit {limit} ms: {longest:?}"
        );
        let dropped = run.counters.dropped_queue as f64 / run.counters.offered as f64;
        assert!((dropped - 1.0 / 3.0).abs() < 0.01, "{dropped}");
    }
}

#[test]
fn queue_of_bytes_holds_so_many() {
    let mut link = Link::new(
        LinkConfig {
            capacity: Capacity::kbps(8),
            queue: Queue::Bytes(3_000),
            ..LinkConfig::default()
        },
        1,
    );
    for packet in 0..5 {
        link.push(Duration::ZERO, 1_000, packet);
    }
    let counters = link.counters();
    assert_eq!(
        (counters.dropped_queue, counters.queue_packets, counters.queue_bytes),
        (2, 3, 3_000)
    );
    assert_eq!(counters.queue_delay, Some(s(3)));
    // Nothing waits: even what is larger than the queue goes.
    assert_eq!(std::iter::from_fn(|| link.pop(s(10))).count(), 3);
    link.push(s(10), 5_000, 5);
    assert_eq!(link.pop(s(15)), Some((s(15), 5)));
}

#[test]
fn codel_keeps_the_queue_near_its_target() {
    let config = |aqm| LinkConfig {
        capacity: Capacity::kbps(10_000),
        queue: Queue::Time(ms(1_000)),
        aqm,
        ..LinkConfig::default()
    };
    let late_median = |run: &Run| {
        let mut delays: Vec<_> = run
            .arrivals
            .iter()
            .filter(|(pushed, _)| *pushed > s(10))
            .map(|(a, b)| *b - *a)
            .collect();
        delays.sort();
        delays[delays.len() / 2]
    };
    // An overload of 5 % stands for a sender that answers drops slowly.
    let managed = run(config(Aqm::CODEL), 1, 10_500_000, s(60));
    managed.assert_nothing_vanished();
    let unmanaged = run(config(Aqm::None), 1, 10_500_000, s(60));
    assert!(late_median(&managed) < ms(15), "{:?}", late_median(&managed));
    assert!(late_median(&unmanaged) > ms(900), "{:?}", late_median(&unmanaged));
    assert!(managed.counters.dropped_codel > 0 && managed.counters.dropped_queue == 0);
    // It costs no capacity.
    let used = managed.counters.delivered_bytes as f64 / managed.counters.capacity_bytes as f64;
    assert!(used > 0.99, "{used}");
}

#[test]
fn capacity_changes_while_a_packet_is_sent() {
    let mut link = Link::new(
        LinkConfig {
            capacity: Capacity::kbps(8),
            ..LinkConfig::default()
        },
        1,
    );
    link.push(s(0), 1_000, ());
    // Half is sent; nothing moves for a second; the rest goes four times as fast.
    link.set(ms(500), Change::Capacity(Capacity::Constant(0)));
    assert_eq!(link.next(), None);
    assert_eq!(link.counters().queue_delay, None);
    link.set(ms(1_500), Change::Capacity(Capacity::kbps(32)));
    assert_eq!(link.next(), Some(ms(1_625)));
    assert_eq!(link.pop(s(2)), Some((ms(1_625), ())));
}

#[test]
fn a_standing_link_wakes_at_the_change_that_frees_it() {
    let mut link = Link::new(
        LinkConfig {
            capacity: Capacity::Constant(0),
            script: Script::new([(s(5), Change::Capacity(Capacity::Unlimited))]),
            ..LinkConfig::default()
        },
        1,
    );
    link.push(s(1), PACKET, ());
    assert_eq!(link.next(), Some(s(5)));
    assert_eq!(link.pop(s(5)), Some((s(5), ())));
    assert_eq!(link.next(), None);
}

#[test]
fn trace_begins_again_after_its_period() {
    let trace = Trace::new(&[(s(0), 2_000_000), (s(1), 0), (s(2), 1_000_000)], s(4)).unwrap();
    let config = LinkConfig {
        capacity: trace.into(),
        ..LinkConfig::default()
    };
    let run = run(config, 1, 3_000_000, s(40));
    for (seconds, megabits) in [
        (1, 2),
        (2, 2),
        (4, 4),
        (5, 6),
        (6, 6),
        (8, 8),
        (37, 38),
        (38, 38),
        (40, 40),
    ] {
        let expected = megabits * 125_000;
        assert_eq!(run.bytes_until(s(seconds)), expected / PACKET * PACKET, "{seconds} s");
    }
}

#[test]
fn opportunities_carry_1500_bytes_each_and_waste_what_is_unused() {
    let opportunities = Opportunities::parse_mahimahi("10\n20\n20\n50\n").unwrap();
    let mut link = Link::new(
        LinkConfig {
            capacity: opportunities.into(),
            ..LinkConfig::default()
        },
        1,
    );
    for bytes in [1_000, 1_000, 500, 600, 1_400] {
        link.push(ms(5), bytes, bytes);
    }
    let arrivals: Vec<_> = std::iter::from_fn(|| link.pop(ms(45))).collect();
    // 1,000 and half of the second at 10 ms; the rest and three packets of 2,500 bytes in the two at 20 ms.
    assert_eq!(
        arrivals,
        [
            (ms(10), 1_000),
            (ms(20), 1_000),
            (ms(20), 500),
            (ms(20), 600),
            (ms(20), 1_400)
        ]
    );
    // The one at 50 ms passes unused, the next round begins there.
    link.push(ms(55), 1_500, 1);
    assert_eq!(link.next(), Some(ms(60)));
    assert_eq!(link.pop(ms(60)), Some((ms(60), 1)));
    assert_eq!(link.counters().capacity_bytes, 5 * 1_500);
}

#[test]
fn several_flows_share_one_bottleneck() {
    let mut link = Link::new(
        LinkConfig {
            capacity: Capacity::kbps(1_000),
            ..LinkConfig::default()
        },
        1,
    );
    let mut bytes = [0; 2];
    for tick in 0..100_000 {
        let now = Duration::from_micros(tick * 100);
        while let Some((_, flow)) = link.pop(now) {
            bytes[flow] += PACKET;
        }
        // Not in step with each other; flow 1 sends twice as much.
        if tick % 101 == 0 {
            link.push(now, PACKET, 0);
        }
        if tick % 47 == 0 {
            link.push(now, PACKET, 1);
        }
    }
    let total = (bytes[0] + bytes[1]) as f64;
    assert!((total / 1_250_000.0 - 1.0).abs() < 0.01, "{total}");
    assert!(bytes[1] > bytes[0]);
}

#[test]
fn a_trace_begins_when_it_is_set() {
    let trace = Trace::new(&[(s(0), 96_000), (s(1), 0)], s(2)).unwrap();
    let mut link = Link::new(
        LinkConfig {
            queue: Queue::Bytes(20_000),
            ..LinkConfig::default()
        },
        1,
    );
    link.set(ms(500), Change::Capacity(trace.into()));
    // 100 ms each, up to half a second before the trace stands still for one.
    for packet in 0..8 {
        link.push(s(1), PACKET, packet);
    }
    let times: Vec<_> = std::iter::from_fn(|| link.pop(s(4)))
        .map(|(arrival, _)| arrival.as_millis())
        .collect();
    assert_eq!(times, [1_100, 1_200, 1_300, 1_400, 1_500, 2_600, 2_700, 2_800]);
}
