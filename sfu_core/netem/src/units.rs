//! Time inside the emulator, and how quantities are written in JSON.

use std::time::Duration;

/// Nanoseconds since the link began (enough for 584 years).
pub(crate) type Nanos = u64;

/// What serving a packet takes: bits times nanoseconds per second, so that a rate in bit/s times nanoseconds is work and
/// nothing is rounded.
pub(crate) type Work = u128;

pub(crate) const NANOS_PER_SECOND: u64 = 1_000_000_000;

pub(crate) fn nanos(time: Duration) -> Nanos {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

pub(crate) const fn work(bytes: usize) -> Work {
    bytes as u128 * 8 * NANOS_PER_SECOND as u128
}

/// Thirty days: what lasts longer would not be told by the nanosecond in JSON's numbers, and sums of it reach the end of time.
const MAX_SECONDS: f64 = 30.0 * 86_400.0;

/// A time of a configuration.
pub(crate) fn seconds_from_json<E: serde::de::Error>(seconds: f64) -> Result<Duration, E> {
    if seconds > MAX_SECONDS {
        return Err(E::custom("times end at thirty days"));
    }
    Duration::try_from_secs_f64(seconds).map_err(E::custom)
}

/// Durations as milliseconds in JSON, fractions allowed.
pub(crate) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        (time.as_secs_f64() * 1e3).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::seconds_from_json(f64::deserialize(deserializer)? / 1e3)
    }
}

/// Durations as seconds in JSON, fractions allowed.
pub(crate) mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        time.as_secs_f64().serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::seconds_from_json(f64::deserialize(deserializer)?)
    }
}
