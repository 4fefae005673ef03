//! What a bottleneck can carry, over time.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use crate::opportunities::Opportunities;
use crate::trace::{self, SECOND, Trace};
use crate::units::{Nanos, Work, seconds_from_json};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Capacity {
    #[default]
    Unlimited,
    /// bit/s. Zero stops the link.
    Constant(u64),
    /// Begins at the time at which it is set.
    Trace(Arc<Trace>),
    /// Begins at the time at which it is set.
    Opportunities(Arc<Opportunities>),
}

impl Capacity {
    pub const fn kbps(rate: u64) -> Self {
        Self::Constant(rate * 1_000)
    }

    /// bit/s over a whole period; none where nothing limits.
    pub fn mean(&self) -> Option<u64> {
        match self {
            Self::Unlimited => None,
            Self::Constant(rate) => Some(*rate),
            Self::Trace(trace) => Some(trace.mean()),
            Self::Opportunities(opportunities) => Some(opportunities.mean()),
        }
    }

    /// Bytes that can be carried between two times since the capacity was set; none where nothing limits.
    pub fn bytes_between(&self, from: Duration, to: Duration) -> Option<u64> {
        let nanos = crate::units::nanos;
        let work = Clocked::new(self.clone(), 0).work_between(nanos(from), nanos(to).max(nanos(from)))?;
        Some((work / crate::units::work(1)) as u64)
    }
}

impl From<Trace> for Capacity {
    fn from(trace: Trace) -> Self {
        Self::Trace(Arc::new(trace))
    }
}

impl From<Opportunities> for Capacity {
    fn from(opportunities: Opportunities) -> Self {
        Self::Opportunities(Arc::new(opportunities))
    }
}

/// A capacity and when it began.
#[derive(Clone, Debug)]
pub(crate) struct Clocked {
    capacity: Capacity,
    origin: Nanos,
}

impl Clocked {
    pub(crate) fn new(capacity: Capacity, origin: Nanos) -> Self {
        Self { capacity, origin }
    }

    pub(crate) fn mean(&self) -> Option<u64> {
        self.capacity.mean()
    }

    /// bit/s at `time`. Opportunities count over the second before.
    pub(crate) fn rate_at(&self, time: Nanos) -> Option<u64> {
        let since = time.saturating_sub(self.origin);
        match &self.capacity {
            Capacity::Unlimited => None,
            Capacity::Constant(rate) => Some(*rate),
            Capacity::Trace(trace) => Some(trace.rate_at(Duration::from_nanos(since))),
            Capacity::Opportunities(opportunities) => {
                let window = since.min(SECOND);
                let work = opportunities.work_until(since) - opportunities.work_until(since - window);
                Some(trace::rate(work, window))
            }
        }
    }

    /// Work that can be done after `from`, until and with `to`; none where nothing limits.
    pub(crate) fn work_between(&self, from: Nanos, to: Nanos) -> Option<Work> {
        let (begun, ended) = (from.saturating_sub(self.origin), to.saturating_sub(self.origin));
        Some(match &self.capacity {
            Capacity::Unlimited => return None,
            Capacity::Constant(rate) => Work::from(*rate) * Work::from(ended - begun),
            Capacity::Trace(trace) => trace.work_until(ended) - trace.work_until(begun),
            Capacity::Opportunities(opportunities) => opportunities.work_until(ended) - opportunities.work_until(begun),
        })
    }

    /// When `work` is done that begins at `from`; none for never.
    pub(crate) fn finish(&self, from: Nanos, work: Work) -> Option<Nanos> {
        let begun = from.saturating_sub(self.origin);
        match &self.capacity {
            _ if work == 0 => Some(from),
            Capacity::Unlimited => Some(from),
            Capacity::Constant(0) => None,
            Capacity::Constant(rate) => u64::try_from(work.div_ceil(Work::from(*rate))).ok()?.checked_add(from),
            Capacity::Trace(trace) => trace.time_of(trace.work_until(begun) + work).checked_add(self.origin),
            Capacity::Opportunities(opportunities) => opportunities
                .time_of(opportunities.work_until(begun) + work)
                .checked_add(self.origin),
        }
    }
}

/// In JSON: `"unlimited"`, a number of bit/s, `{"steps": [[seconds, bit/s], …], "period_s": …}` or
/// `{"opportunities_ms": […]}`.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Json {
    Word(Word),
    Rate(u64),
    Trace(TraceJson),
    Opportunities(OpportunitiesJson),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Unlimited,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TraceJson {
    steps: Vec<(f64, u64)>,
    period_s: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OpportunitiesJson {
    opportunities_ms: Vec<f64>,
}

impl<'de> Deserialize<'de> for Capacity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let seconds = seconds_from_json::<D::Error>;
        match Json::deserialize(deserializer)? {
            Json::Word(Word::Unlimited) => Ok(Self::Unlimited),
            Json::Rate(rate) => Ok(Self::Constant(rate)),
            Json::Trace(TraceJson { steps, period_s }) => {
                let steps: Result<Vec<_>, _> = steps
                    .into_iter()
                    .map(|(start, rate)| Ok((seconds(start)?, rate)))
                    .collect();
                Ok(Trace::new(&steps?, seconds(period_s)?)
                    .map_err(D::Error::custom)?
                    .into())
            }
            Json::Opportunities(OpportunitiesJson { opportunities_ms }) => {
                let times: Result<Vec<_>, _> = opportunities_ms.into_iter().map(|time| seconds(time / 1e3)).collect();
                Ok(Opportunities::new(&times?).map_err(D::Error::custom)?.into())
            }
        }
    }
}

impl Serialize for Capacity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Unlimited => Json::Word(Word::Unlimited),
            Self::Constant(rate) => Json::Rate(*rate),
            Self::Trace(trace) => Json::Trace(TraceJson {
                steps: trace.steps().map(|(start, rate)| (start.as_secs_f64(), rate)).collect(),
                period_s: trace.period().as_secs_f64(),
            }),
            Self::Opportunities(opportunities) => Json::Opportunities(OpportunitiesJson {
                opportunities_ms: opportunities.times().map(|time| time.as_secs_f64() * 1e3).collect(),
            }),
        }
        .serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_read_and_written_alike() {
        for json in [
            r#""unlimited""#,
            "1000000",
            r#"{"steps":[[0.0,1000000],[0.5,0]],"period_s":2.0}"#,
            r#"{"opportunities_ms":[1.0,2.5]}"#,
        ] {
            let capacity: Capacity = serde_json::from_str(json).unwrap();
            assert_eq!(serde_json::to_string(&capacity).unwrap(), json);
        }
        for json in [
            r#""fast""#,
            "-1",
            r#"{"steps":[],"period_s":1}"#,
            r#"{"opportunities_ms":[-1]}"#,
        ] {
            assert!(serde_json::from_str::<Capacity>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn bytes_between_two_times() {
        let s = Duration::from_secs;
        let trace = Trace::new(&[(s(0), 8_000), (s(1), 0)], s(2)).unwrap();
        assert_eq!(Capacity::from(trace).bytes_between(s(1), s(4)), Some(1_000));
        assert_eq!(Capacity::kbps(8).bytes_between(s(1), s(4)), Some(3_000));
        assert_eq!(Capacity::Unlimited.bytes_between(s(1), s(4)), None);
    }
}
