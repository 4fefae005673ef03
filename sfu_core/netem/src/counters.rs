//! What a link did so far, and what waits in it.

use std::time::Duration;

use serde::Serialize;

use crate::units::{Work, millis, work};

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Counters {
    pub offered: u64,
    pub offered_bytes: u64,
    /// Handed out by `pop`, duplicates included.
    pub delivered: u64,
    pub delivered_bytes: u64,
    /// Came when the queue was full.
    pub dropped_queue: u64,
    pub dropped_codel: u64,
    /// Taken by the loss model.
    pub lost: u64,
    pub duplicated: u64,
    /// Handed out after a packet that was pushed later.
    pub reordered: u64,
    /// Left the bottleneck, and how long they had waited and been sent altogether.
    pub departed: u64,
    #[serde(rename = "queueing_ms", with = "millis")]
    pub queueing: Duration,
    /// What the bottleneck could have carried; none as long as nothing limited it.
    pub capacity_bytes: u64,
    #[serde(skip)]
    pub(crate) capacity_work: Work,
    /// bit/s now; none where nothing limits. Opportunities count over the second before.
    pub capacity: Option<u64>,
    /// Waiting or being sent now.
    pub queue_packets: usize,
    pub queue_bytes: usize,
    /// Until the last waiting packet has left, if the capacity is as known; none if it never will.
    #[serde(rename = "queue_delay_ms", serialize_with = "optional_millis")]
    pub queue_delay: Option<Duration>,
}

impl Counters {
    pub(crate) fn could_carry(&mut self, done: Work) {
        self.capacity_work += done;
        self.capacity_bytes = (self.capacity_work / work(1)) as u64;
    }
}

fn optional_millis<S: serde::Serializer>(time: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(|time| time.as_secs_f64() * 1e3).serialize(serializer)
}
