//! Changes of a link over time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;
use crate::config::Queue;
use crate::delay::{Jitter, Reorder};
use crate::loss::Loss;
use crate::units::{millis, seconds};

/// What already passed the bottleneck keeps its arrival time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// A trace begins at the time of the change. What of the packet being sent has left, has left.
    Capacity(Capacity),
    #[serde(rename = "delay_ms", with = "millis")]
    Delay(Duration),
    /// Added to the one-way delay of that time.
    #[serde(rename = "add_delay_ms", with = "millis")]
    AddDelay(Duration),
    /// What waits already is not dropped.
    Queue(Queue),
    Jitter(Option<Jitter>),
    Reorder(Option<Reorder>),
    Duplicate(f64),
    Loss(Loss),
}

/// (time, change), in order of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(from = "Vec<Step>", into = "Vec<Step>")]
pub struct Script(Vec<(Duration, Change)>);

/// In JSON `[seconds, {change}]`.
#[derive(Serialize, Deserialize)]
struct Step(#[serde(with = "seconds")] Duration, Change);

impl Script {
    /// Sorts by time; changes of the same time keep their order.
    pub fn new(changes: impl IntoIterator<Item = (Duration, Change)>) -> Self {
        let mut changes: Vec<_> = changes.into_iter().collect();
        changes.sort_by_key(|&(time, _)| time);
        Self(changes)
    }

    /// Constant capacities: (time, bit/s).
    pub fn capacities(steps: impl IntoIterator<Item = (Duration, u64)>) -> Self {
        Self::new(
            steps
                .into_iter()
                .map(|(time, rate)| (time, Change::Capacity(Capacity::Constant(rate)))),
        )
    }

    #[must_use]
    pub fn with(self, time: Duration, change: Change) -> Self {
        Self::new(self.0.into_iter().chain([(time, change)]))
    }

    /// The same, its times counted from `start`.
    #[must_use]
    pub fn starting_at(&self, start: Duration) -> Self {
        Self(
            self.0
                .iter()
                .map(|(time, change)| (start.saturating_add(*time), change.clone()))
                .collect(),
        )
    }

    pub fn changes(&self) -> impl Iterator<Item = (Duration, &Change)> {
        self.0.iter().map(|(time, change)| (*time, change))
    }

    /// The change at `index`, in order of time.
    pub(crate) fn get(&self, index: usize) -> Option<&(Duration, Change)> {
        self.0.get(index)
    }
}

impl From<Vec<Step>> for Script {
    fn from(steps: Vec<Step>) -> Self {
        Self::new(steps.into_iter().map(|Step(at, change)| (at, change)))
    }
}

impl From<Script> for Vec<Step> {
    fn from(script: Script) -> Self {
        script.0.into_iter().map(|(at, change)| Step(at, change)).collect()
    }
}
