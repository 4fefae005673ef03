//! Links and single flows for the scenarios.

use std::time::Duration;

use netem::{Capacity, Change, Jitter, LinkConfig, Queue, Script};

use crate::flow::Setup;
use crate::world::{Series, World, seconds};

/// With the queue of RFC 8867 (section 4) and a little jitter, that seeds differ.
pub(crate) fn link(kbps: u64, delay_ms: u64) -> LinkConfig {
    LinkConfig {
        capacity: Capacity::kbps(kbps),
        delay: Duration::from_millis(delay_ms),
        queue: queue(300),
        jitter: Some(Jitter::uniform(Duration::from_millis(2))),
        ..LinkConfig::default()
    }
}

pub(crate) fn queue(ms: u64) -> Queue {
    Queue::Time(Duration::from_millis(ms))
}

/// The way back.
pub(crate) fn wire(delay_ms: u64) -> LinkConfig {
    LinkConfig {
        delay: Duration::from_millis(delay_ms),
        ..LinkConfig::default()
    }
}

/// Capacity in kb/s from a number of seconds on.
pub(crate) fn steps(first: LinkConfig, steps: &[(f64, u64)]) -> LinkConfig {
    let script = steps
        .iter()
        .map(|&(at, kbps)| (seconds(at), Change::Capacity(Capacity::kbps(kbps))));
    LinkConfig {
        script: Script::new(script),
        ..first
    }
}

pub(crate) fn alone(down: LinkConfig, up: LinkConfig, setup: Setup, seconds: f64, seed: u64) -> Series {
    let mut world = World::new(down, up, vec![setup], vec![], seed);
    world.run(seconds);
    world.series.swap_remove(0)
}
