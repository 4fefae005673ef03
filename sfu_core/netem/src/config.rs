//! What one direction of a path is like.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::capacity::Capacity;
use crate::delay::{Jitter, Reorder};
use crate::loss::Loss;
use crate::script::{Change, Script};
use crate::units::millis;

#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ConfigError {
    #[error("{0} is no probability")]
    Probability(f64),
    #[error("bursts of {burst} packets on average cannot lose {mean} of all packets")]
    Bursts { mean: f64, burst: f64 },
}

/// The default is a perfect wire: unlimited, without delay or loss.
///
/// A packet meets the parts in this order: the queue and its management, the capacity, loss, duplication, one-way delay with
/// jitter, reordering. Loss comes behind the bottleneck, so that a lost packet has used capacity, as on a radio link.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    pub capacity: Capacity,
    /// Propagation: what an empty link takes beside sending the packet itself.
    #[serde(rename = "delay_ms", with = "millis")]
    pub delay: Duration,
    pub queue: Queue,
    pub aqm: Aqm,
    pub jitter: Option<Jitter>,
    pub reorder: Option<Reorder>,
    /// Probability that a packet arrives twice.
    pub duplicate: f64,
    pub loss: Loss,
    /// Changes to come, by the time of the link.
    pub script: Script,
}

/// How much may wait. A packet that does not fit is dropped (drop-tail); one that finds nothing waiting always fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Queue {
    /// So long a wait at the capacity, at the mean capacity of a trace: a queue has bytes, it does not shrink when the
    /// radio is bad. More of it stands for a worse "bufferbloat".
    #[serde(rename = "ms", with = "millis")]
    Time(Duration),
    Bytes(usize),
}

impl Default for Queue {
    /// That of the test cases of RFC 8867.
    fn default() -> Self {
        Self::Time(Duration::from_millis(300))
    }
}

/// Active queue management, beside the limit of the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Aqm {
    #[default]
    None,
    /// RFC 8289.
    Codel {
        #[serde(rename = "target_ms", with = "millis")]
        target: Duration,
        #[serde(rename = "interval_ms", with = "millis")]
        interval: Duration,
    },
}

impl Aqm {
    /// CoDel with the values of RFC 8289 section 4.
    pub const CODEL: Self = Self::Codel {
        target: Duration::from_millis(5),
        interval: Duration::from_millis(100),
    };
}

impl LinkConfig {
    /// Whether every probability is one, in the script too.
    pub fn check(&self) -> Result<(), ConfigError> {
        let own = self.loss.probabilities().into_iter().chain([self.duplicate]);
        let reorder = self.reorder.map(|reorder| reorder.probability);
        own.chain(reorder).try_for_each(probability)?;
        self.script.check()
    }
}

impl LinkConfig {
    /// As it is after the change.
    pub fn apply(&mut self, change: Change) {
        match change {
            Change::Capacity(capacity) => self.capacity = capacity,
            Change::Delay(delay) => self.delay = delay,
            Change::AddDelay(delay) => self.delay = self.delay.saturating_add(delay),
            Change::Queue(queue) => self.queue = queue,
            Change::Jitter(jitter) => self.jitter = jitter,
            Change::Reorder(reorder) => self.reorder = reorder,
            Change::Duplicate(probability) => self.duplicate = probability,
            Change::Loss(loss) => self.loss = loss,
        }
    }
}

impl Change {
    pub fn check(&self) -> Result<(), ConfigError> {
        self.probabilities().into_iter().try_for_each(probability)
    }

    fn probabilities(&self) -> Vec<f64> {
        match self {
            Self::Loss(loss) => loss.probabilities(),
            Self::Reorder(reorder) => reorder.iter().map(|reorder| reorder.probability).collect(),
            Self::Duplicate(probability) => vec![*probability],
            Self::Capacity(_) | Self::Delay(_) | Self::AddDelay(_) | Self::Queue(_) | Self::Jitter(_) => Vec::new(),
        }
    }
}

impl Script {
    pub fn check(&self) -> Result<(), ConfigError> {
        self.changes().try_for_each(|(_, change)| change.check())
    }
}

fn probability(value: f64) -> Result<(), ConfigError> {
    if (0.0..=1.0).contains(&value) {
        Ok(())
    } else {
        Err(ConfigError::Probability(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: &str = r#"{
        "capacity": 1000000, "delay_ms": 50.5, "queue": {"ms": 300}, "aqm": {"codel": {"target_ms": 5, "interval_ms": 100}},
        "jitter": {"max_ms": 30, "shape": "normal"}, "reorder": {"probability": 0.01, "extra_ms": 20}, "duplicate": 0.001,
        "loss": {"gilbert_elliott": {"mean": 0.05, "burst": 5}},
        "script": [[40, {"capacity": 2500000}], [50, {"add_delay_ms": 50}], [60, {"loss": "none"}]]
    }"#;

    #[test]
    fn json_says_everything_and_comes_back() {
        let config: LinkConfig = serde_json::from_str(FULL).unwrap();
        assert_eq!(config.check(), Ok(()));
        assert_eq!(config.aqm, Aqm::CODEL);
        assert_eq!(config.delay, Duration::from_micros(50_500));
        assert_eq!(config.loss, Loss::bursts(0.05, 5.0).unwrap());
        assert_eq!(config.script.changes().count(), 3);
        let again: LinkConfig = serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        assert_eq!(serde_json::from_str::<LinkConfig>("{}").unwrap(), LinkConfig::default());
    }

    #[test]
    fn mistakes_are_refused() {
        for json in [
            r#"{"capcity": 1}"#,
            r#"{"delay_ms": -1}"#,
            r#"{"delay_ms": 1e18}"#,
            r#"{"capacity": {"steps": [[0, 1]], "period_s": 1e12}}"#,
            r#"{"queue": {"ms": -1}}"#,
            r#"{"loss": {"gilbert_elliott": {"mean": 2, "burst": 5}}}"#,
            r#"{"script": [[1, {"capcity": 1}]]}"#,
            r#"{"script": [[1, {"duplicate": 0, "delay_ms": 1}]]}"#,
        ] {
            assert!(serde_json::from_str::<LinkConfig>(json).is_err(), "{json}");
        }
        for json in [
            r#"{"duplicate": 1.5}"#,
            r#"{"loss": {"independent": -0.1}}"#,
            r#"{"script": [[1, {"reorder": {"probability": 3, "extra_ms": 1}}]]}"#,
        ] {
            let config: LinkConfig = serde_json::from_str(json).unwrap();
            assert!(matches!(config.check(), Err(ConfigError::Probability(_))), "{json}");
        }
    }
}
