//! One room whose receivers have unequal downlinks, and a publisher with a bad uplink.

use std::time::Duration;

use super::{Profile, ms, s};
use crate::capacity::Capacity;
use crate::config::{LinkConfig, Queue};
use crate::loss::Loss;

const DELAY: Duration = ms(25);

/// bit/s, between each two about the same factor.
pub const CAPACITIES: [u64; 10] = [
    150_000, 220_000, 330_000, 480_000, 710_000, 1_050_000, 1_550_000, 2_300_000, 3_400_000, 5_000_000,
];

/// A receiver with a downlink of `capacity` bit/s.
pub fn receiver(capacity: u64) -> Profile {
    let down = LinkConfig {
        capacity: Capacity::Constant(capacity),
        queue: Queue::Time(ms(300)),
        ..wire()
    };
    Profile::of_one_flow(format!("receiver-{}kbps", capacity / 1_000), s(60), down, wire())
}

/// A publisher who loses 10 % of what it sends, in bursts of 3 packets.
pub fn lossy_publisher() -> Profile {
    let up = LinkConfig {
        loss: Loss::bursts(0.1, 3.0).unwrap_or_default(),
        ..wire()
    };
    let mut profile = Profile::of_one_flow("publisher-10pct", s(60), wire(), up);
    profile.flows.iter_mut().for_each(|flow| flow.upwards = true);
    profile
}

pub fn all() -> Vec<Profile> {
    CAPACITIES
        .into_iter()
        .map(receiver)
        .chain([lossy_publisher()])
        .collect()
}

fn wire() -> LinkConfig {
    LinkConfig {
        delay: DELAY,
        ..LinkConfig::default()
    }
}
