//! Capacities that are there from the start, go, and come back.

use std::time::Duration;

use super::{Profile, ms, s};
use crate::capacity::Capacity;
use crate::config::{LinkConfig, Queue};
use crate::script::Script;

const DELAY: Duration = ms(25);

fn link(capacity: u64) -> LinkConfig {
    LinkConfig {
        capacity: Capacity::Constant(capacity),
        delay: DELAY,
        queue: Queue::Time(ms(300)),
        ..LinkConfig::default()
    }
}

fn way_back() -> LinkConfig {
    LinkConfig {
        delay: DELAY,
        ..LinkConfig::default()
    }
}

/// One capacity in bit/s, to see how soon it is found.
pub fn start(capacity: u64) -> Profile {
    Profile::of_one_flow(
        format!("start-{}kbps", capacity / 1_000),
        s(30),
        link(capacity),
        way_back(),
    )
}

/// 10 Mb/s, then 1 Mb/s for 20 s, then 10 Mb/s.
pub fn fall_and_rise() -> Profile {
    let down = LinkConfig {
        script: Script::capacities([(s(30), 1_000_000), (s(50), 10_000_000)]),
        ..link(10_000_000)
    };
    Profile::of_one_flow("fall-10-1-10", s(90), down, way_back())
}

/// 5 Mb/s, then 30 s at 0.25 Mb/s, then 5 Mb/s.
pub fn starve() -> Profile {
    let down = LinkConfig {
        script: Script::capacities([(s(30), 250_000), (s(60), 5_000_000)]),
        ..link(5_000_000)
    };
    Profile::of_one_flow("starve-250kbps", s(90), down, way_back())
}

pub fn all() -> Vec<Profile> {
    vec![
        start(500_000),
        start(3_000_000),
        start(10_000_000),
        fall_and_rise(),
        starve(),
    ]
}
