//! What workers tell each other: a track with subscribers on another worker, of this node or another, crosses once per worker.
//!
//! A worker that is not the track's home keeps a mirror of the track. It attaches to the home when its first
//! subscription comes and detaches when its last one leaves.

pub(crate) mod left_out;
pub(crate) mod wire;

use std::sync::Arc;

use arrayvec::ArrayString;

use crate::allocate::LayerId;
use crate::command::{Codec, Description, MediaKind, Sound};
use crate::ids::{LinkId, TrackId, WorkerId};
use crate::packet::Packet;

/// Whom tracks cross to and from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Neighbour {
    /// Another worker of this node.
    Worker(WorkerId),
    /// A worker of another node.
    Link(LinkId),
}

#[derive(Clone, Debug)]
pub enum Crossing {
    /// To home: send me this track. `thinned`: what nobody here can use may be left out of its streams.
    Attach {
        track: TrackId,
        kind: MediaKind,
        thinned: bool,
    },
    /// To home: no longer.
    Detach { track: TrackId },
    /// To home: what the subscribers here can use of it.
    LayersWanted { track: TrackId, highest: Option<LayerId> },
    /// To home: a subscriber needs a keyframe of this layer.
    RequestKeyframe { track: TrackId, layer: u8 },
    /// To mirrors: formats and layers, at once after an attach and whenever they change.
    Formats { track: TrackId, formats: Arc<Formats> },
    /// To mirrors: the same for what the track shows.
    About { track: TrackId, about: Arc<About> },
    /// To mirrors. `fades`: of the last ones for a while, for others are louder.
    Packet {
        track: TrackId,
        packet: Arc<Packet>,
        fades: bool,
    },
    /// To a mirror that has just attached: of each layer that flows what came since its last keyframe, in order of arrival.
    Kept {
        track: TrackId,
        packets: Arc<[Arc<Packet>]>,
    },
    /// To mirrors. `kept`: what came since the last keyframe follows.
    LayerActive {
        track: TrackId,
        layer: u8,
        active: bool,
        kept: bool,
    },
    /// To mirrors: a sender report of the publisher (RFC 3550 section 6.4.1).
    SenderReport {
        track: TrackId,
        layer: u8,
        report: SourceClock,
    },
    /// To mirrors: the track is gone.
    Removed { track: TrackId },
}

impl Crossing {
    /// The same, to the home of a track, which calls it by this name.
    pub(crate) fn named(&self, track: TrackId) -> Option<Self> {
        Some(match *self {
            Self::Attach { kind, thinned, .. } => Self::Attach { track, kind, thinned },
            Self::Detach { .. } => Self::Detach { track },
            Self::LayersWanted { highest, .. } => Self::LayersWanted { track, highest },
            Self::RequestKeyframe { layer, .. } => Self::RequestKeyframe { track, layer },
            _ => return None,
        })
    }
}

/// Canonical name (RFC 3550 section 6.5.1).
pub type Cname = ArrayString<24>;

/// What a mirror must know to forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Formats {
    /// Payload type, codec, clock rate in Hz.
    pub codecs: Vec<(crate::ids::PayloadType, Codec, u32)>,
    pub layers: u8,
    pub sound: Sound,
    /// Of the publisher, in reports to subscribers.
    pub cname: Cname,
    /// Random: another publication has another.
    pub source: u64,
}

/// What allocation must know of a track beside its media.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct About {
    pub description: Description,
    /// Of its publisher as a speaker.
    pub rank: Option<u8>,
}

/// A publisher's NTP time and the RTP timestamp of the same instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceClock {
    /// NTP timestamp, 32.32 fixed point.
    pub ntp: u64,
    pub rtp: u32,
    /// When the report arrived, microseconds since the engines' common epoch.
    pub arrival: u64,
}
