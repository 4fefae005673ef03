//! What goes into the estimator, and what comes out of it.

use super::State;

/// Bits per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    pub start: f64,
    pub min: f64,
    pub max: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Media,
    Audio,
    Rtx,
    Fec,
    Padding,
}

impl Kind {
    pub(crate) const COUNT: usize = 5;
}

/// What an estimate would have to overcome to grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constraint {
    /// Less is sent than the path carries: the estimate says what is proven, not what is possible.
    Application,
    /// Queues grow at a higher rate, or would before more is tried.
    Delay,
    /// More is lost at a higher rate.
    Loss,
    /// The receiver's own estimate (REMB), where it tells nothing of packets.
    Receiver,
    /// The highest rate that is configured.
    Maximum,
}

/// Names a cluster while its packets are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeId(pub(crate) u8);

impl ProbeId {
    /// Few enough for three bits, with one left for "none".
    pub(super) const COUNT: u8 = 7;

    pub(super) fn tag(self) -> u8 {
        self.0
    }
}

/// Bits per second of all subscriptions together.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Demand {
    /// What is allocated now.
    pub allocated: f64,
    /// What it would be with the next layer up; `most` where there is none.
    pub next: f64,
    /// With everything at its best: more is useless.
    pub most: f64,
}

/// A cluster of packets to send now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    pub id: ProbeId,
    pub bits_per_second: f64,
    /// At least so many bytes and so many packets.
    pub bytes: u32,
    pub packets: u32,
    /// Microseconds that they take at the rate.
    pub duration: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Bits per second, everything included.
    pub target: f64,
    /// Bits per second of retransmissions now.
    pub rtx: f64,
    /// The target less these. What parity takes is the allocator's to keep free.
    pub media: f64,
    pub state: State,
    /// Share of packets lost of late.
    pub loss: f64,
    /// Microseconds, once known.
    pub round_trip: Option<u64>,
    /// Bits per second that arrive, once known.
    pub acknowledged: Option<f64>,
    /// Less is sent than could be.
    pub is_limited: bool,
    /// Milliseconds that packets wait in a queue.
    pub queue: f64,
    /// Others keep the queue full.
    pub is_contended: bool,
    /// While the target is lower so that a queue empties: the target after that, as far as it is known.
    pub resume: Option<f64>,
}
