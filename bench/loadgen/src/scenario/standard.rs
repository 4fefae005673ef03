//! The standard scenarios, A to F, on which servers are compared: the traffic of calls, broadcasts and their trouble.

use std::time::Duration;

use engine::event::SrtpProfile;

use super::call::{Shape, Tracks};
use super::fanout::{self, Traffic};
use super::joins;
use crate::media::Source;
use crate::plan::Codec;
use crate::server::Watched;

/// Everyone wants another layer this often, or thrice in a shorter run.
const SWITCH: Duration = Duration::from_secs(5);
const WARMUP: Duration = Duration::from_secs(2);
/// Joins per second of churn, and how long everyone stays.
const CHURN: f64 = 200.0;
const STAY: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Letter {
    /// Everyone talks to everyone: audio, 50 packets a second.
    A,
    /// One camera at 720p to many.
    B,
    /// A call of cameras with three layers each, which everyone switches between.
    C,
    /// B, but all viewers hold: the cost of being there.
    D,
    /// B, but every receiver loses some of what it gets.
    E,
    /// Viewers of B who come and go.
    F,
}

impl Letter {
    /// Participants (A, C), viewers (B, D, E) or joins (F).
    fn size(self) -> u32 {
        match self {
            Self::A => 30,
            Self::B | Self::E => 100,
            Self::C => 10,
            Self::D => 3_000,
            Self::F => 2_000,
        }
    }

    fn time(self) -> Duration {
        match self {
            Self::C => 3 * SWITCH,
            _ => Duration::from_secs(10),
        }
    }

    fn is_audio(self) -> bool {
        self == Self::A
    }

    /// Of the video scenarios any codec will do.
    pub fn codec(self, video: Codec) -> Codec {
        if self.is_audio() { Codec::Opus } else { video }
    }

    pub fn simulcast(self) -> bool {
        self == Self::C
    }

    /// Share of packets that receivers lose.
    pub fn receive_loss(self) -> f64 {
        if self == Self::E { 0.02 } else { 0.0 }
    }
}

/// What may be chosen.
#[derive(Clone, Debug)]
pub struct Choices {
    pub room: String,
    pub cipher: SrtpProfile,
    /// Of video.
    pub codec: Codec,
    pub recorded: bool,
    pub size: Option<u32>,
    pub time: Option<Duration>,
    pub watched: Option<Watched>,
}

#[derive(Clone, Debug)]
pub enum Standard {
    Fanout(fanout::Plan),
    Joins(joins::Plan),
}

pub fn plan(letter: Letter, choices: Choices) -> Standard {
    let size = choices.size.unwrap_or(letter.size());
    let time = choices.time.unwrap_or(letter.time());
    let mesh = matches!(letter, Letter::A | Letter::C);
    let shape = Shape {
        room: choices.room,
        tracks: Tracks {
            codec: letter.codec(choices.codec),
            simulcast: letter.simulcast(),
        },
        publishers: if mesh { size } else { 1 },
        subscribers: if mesh { 0 } else { size },
        mesh,
        paused: letter == Letter::D,
        cipher: choices.cipher,
    };
    let recorded = choices.recorded;
    if letter == Letter::F {
        return Standard::Joins(joins::Plan {
            shape,
            source: if recorded {
                Source::Recorded { speed: 1.0 }
            } else {
                joins::camera()
            },
            rate: CHURN,
            count: size,
            stay: Some(STAY),
            watched: choices.watched,
        });
    }
    let synthetic = match letter.is_audio() {
        true => (120, 1),
        false => (1_150, 5),
    };
    let steps = match letter {
        _ if recorded => vec![1.0],
        Letter::A => vec![50.0],
        Letter::C => vec![30.0],
        Letter::D => vec![54.0],
        // 1 and 2.5 Mb/s.
        _ => vec![22.0, 54.0],
    };
    Standard::Fanout(fanout::Plan {
        shape,
        traffic: match recorded {
            true => Traffic::Recorded,
            false => Traffic::Synthetic {
                payload: synthetic.0,
                packets_per_frame: synthetic.1,
            },
        },
        steps,
        warmup: WARMUP.min(time),
        time,
        search: false,
        watched: choices.watched,
        switch_every: letter.simulcast().then(|| SWITCH.min(time / 3)),
    })
}
