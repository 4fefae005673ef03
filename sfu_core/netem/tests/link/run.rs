//! Runs of a sender over a link.

use std::time::Duration;

use pysfu_netem::{Counters, Link, LinkConfig};

pub(crate) const PACKET: usize = 1_200;

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// What came out of a run: (pushed, arrival) by packet, and the counters at the end.
pub(crate) struct Run {
    pub(crate) arrivals: Vec<(Duration, Duration)>,
    pub(crate) counters: Counters,
}

/// A sender of constant bit rate until `end`; then the link runs dry.
pub(crate) fn run(config: LinkConfig, seed: u64, rate: u64, end: Duration) -> Run {
    let mut link = Link::new(config, seed);
    let mut arrivals = Vec::new();
    let space = Duration::from_nanos(PACKET as u64 * 8 * 1_000_000_000 / rate);
    let mut sending = Duration::ZERO;
    loop {
        let now = match link.next() {
            Some(next) if next < sending || sending >= end => next,
            None if sending >= end => break,
            _ => sending,
        };
        while let Some((arrival, pushed)) = link.pop(now) {
            assert!(arrival <= now);
            arrivals.push((pushed, arrival));
        }
        if now == sending && sending < end {
            link.push(now, PACKET, now);
            sending += space;
        }
    }
    Run {
        arrivals,
        counters: link.counters(),
    }
}

impl Run {
    pub(crate) fn bytes_until(&self, time: Duration) -> usize {
        self.arrivals.iter().filter(|&&(_, arrival)| arrival <= time).count() * PACKET
    }

    pub(crate) fn delays(&self) -> impl Iterator<Item = Duration> {
        self.arrivals.iter().map(|&(pushed, arrival)| arrival - pushed)
    }

    pub(crate) fn assert_nothing_vanished(&self) {
        let Counters {
            offered,
            delivered,
            dropped_queue,
            dropped_codel,
            lost,
            duplicated,
            ..
        } = self.counters;
        assert_eq!(offered + duplicated, delivered + dropped_queue + dropped_codel + lost);
        assert_eq!(delivered as usize, self.arrivals.len());
    }
}
