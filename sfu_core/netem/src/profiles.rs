//! Networks with names: those that the scenarios of media quality are measured on.

pub mod capacity;
pub mod cellular;
pub mod lossy;
pub mod receivers;
pub mod rfc8867;

use std::time::Duration;

use serde::Serialize;

use crate::config::LinkConfig;

/// A path between node and client, and what is sent over it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Profile {
    pub name: String,
    #[serde(rename = "duration_s", with = "crate::units::seconds")]
    pub duration: Duration,
    /// From the node to the client. Where several flows are named they share this link.
    pub down: LinkConfig,
    /// From the client to the node: feedback, and flows that say so.
    pub up: LinkConfig,
    pub flows: Vec<Flow>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flow {
    pub source: Source,
    pub upwards: bool,
    #[serde(rename = "start_s", with = "crate::units::seconds")]
    pub start: Duration,
    #[serde(rename = "end_s", with = "crate::units::seconds")]
    pub end: Duration,
    /// One-way delay of this flow alone, each way, beside that of the shared links.
    #[serde(rename = "delay_ms", with = "crate::units::millis")]
    pub delay: Duration,
    /// Nothing is sent between these times.
    pub pause: Option<(Duration, Duration)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Media,
    /// Sends as fast as TCP allows, all the time.
    LongTcp,
    /// Files of uniform size one after another, with pauses of exponential length between.
    ShortTcp {
        smallest_bytes: usize,
        largest_bytes: usize,
        mean_pause_ms: u64,
    },
}

impl Profile {
    /// Media downwards all the time.
    pub fn of_one_flow(name: impl Into<String>, duration: Duration, down: LinkConfig, up: LinkConfig) -> Self {
        Self {
            name: name.into(),
            duration,
            down,
            up,
            flows: vec![Flow::media(duration)],
        }
    }

    /// The same without delay variation, where one measures the queue at the receiver.
    #[must_use]
    pub fn without_jitter(mut self) -> Self {
        self.down.jitter = None;
        self.up.jitter = None;
        self
    }
}

impl Flow {
    pub fn media(end: Duration) -> Self {
        Self {
            source: Source::Media,
            upwards: false,
            start: Duration::ZERO,
            end,
            delay: Duration::ZERO,
            pause: None,
        }
    }
}

/// Every profile by its name, for programs; the functions of the families take their parameters themselves. The seed makes
/// the traces.
pub fn all(seed: u64) -> Vec<Profile> {
    [
        rfc8867::all(),
        capacity::all(),
        lossy::all(),
        cellular::all(seed),
        receivers::all(),
    ]
    .concat()
}

pub fn named(name: &str, seed: u64) -> Option<Profile> {
    all(seed).into_iter().find(|profile| profile.name == name)
}

pub(crate) const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

pub(crate) const fn s(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn profiles_are_sound_and_their_names_differ() {
        let profiles = all(1);
        let names: HashSet<_> = profiles.iter().map(|profile| &profile.name).collect();
        assert_eq!(names.len(), profiles.len());
        for profile in &profiles {
            assert_eq!(profile.down.check().and(profile.up.check()), Ok(()), "{}", profile.name);
            assert_eq!(named(&profile.name, 1).as_ref(), Some(profile));
            for flow in &profile.flows {
                assert!(
                    flow.start < flow.end && flow.end <= profile.duration,
                    "{}",
                    profile.name
                );
            }
            for link in [&profile.down, &profile.up] {
                assert!(
                    link.script.changes().all(|(time, _)| time < profile.duration),
                    "{}",
                    profile.name
                );
            }
        }
    }
}
