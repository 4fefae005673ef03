//! What an engine tells the control plane.

use std::net::SocketAddr;

use crate::command::Codec;
use crate::ids::{LinkId, PeerId, SubscriptionId, TrackId};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SrtpProfile {
    AeadAes128Gcm,
    AeadAes256Gcm,
    Aes128CmHmacSha1_80,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DisconnectReason {
    /// No valid connectivity check arrived in time after the peer was added.
    IceTimeout,
    /// Consent expired (RFC 7675).
    ConsentLost,
    DtlsFailed,
    FingerprintMismatch,
    /// The client offered no SRTP profile that we accept.
    NoSrtpProfile,
    /// The client closed DTLS.
    Closed,
    /// The worker failed; see `io`.
    WorkerFailed,
}

/// An open channel (RFC 8832).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataChannel {
    pub stream: u16,
    pub label: String,
    pub ordered: bool,
    /// Neither this nor `max_lifetime`: reliable.
    pub max_retransmits: Option<u32>,
    /// Milliseconds.
    pub max_lifetime: Option<u32>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A candidate pair was nominated, or a validated peer moved to another address.
    IceConnected {
        peer: PeerId,
        remote: SocketAddr,
    },
    /// DTLS is done: media and data may flow.
    Connected {
        peer: PeerId,
        profile: SrtpProfile,
    },
    /// The peer is gone and its state is freed. No `RemovePeer` is needed.
    Disconnected {
        peer: PeerId,
        reason: DisconnectReason,
    },
    /// First media packet of a track.
    TrackStarted {
        track: TrackId,
        codec: Codec,
    },
    /// A layer began or ceased to flow. `layer` counts from 0, the lowest.
    LayerActive {
        track: TrackId,
        layer: u8,
        active: bool,
    },
    /// The layer forwarded has changed; `None` when nothing is forwarded.
    LayerForwarded {
        subscription: SubscriptionId,
        layer: Option<u8>,
    },
    /// A video is paused because the path does not carry it, or no longer is.
    StreamPaused {
        subscription: SubscriptionId,
        paused: bool,
    },
    /// The highest spatial and temporal layer of a video that anybody can use, on any worker; 255 is the best there is.
    /// `None`: nobody takes it. At first everything is wanted.
    LayersWanted {
        track: TrackId,
        highest: Option<(u8, u8)>,
    },
    /// Smoothed audio levels of tracks whose quantised level or activity changed: dBov below
    /// overload, 0 (loudest) to 127 (silence), RFC 6464.
    AudioLevels(Vec<AudioLevel>),
    DataChannelOpened {
        peer: PeerId,
        channel: DataChannel,
    },
    DataChannelClosed {
        peer: PeerId,
        label: String,
    },
    DataReceived {
        peer: PeerId,
        label: String,
        binary: bool,
        payload: Vec<u8>,
    },
    /// Whether anything authentic comes over a link. At first it is thought alive.
    LinkAlive {
        link: LinkId,
        alive: bool,
    },
    /// The other end has no such track, or no longer.
    MirrorEnded {
        track: TrackId,
    },
    /// A command named something that does not exist or broke a limit.
    CommandFailed {
        peer: Option<PeerId>,
        error: CommandError,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioLevel {
    pub track: TrackId,
    pub level: u8,
    pub active: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("no such peer")]
    UnknownPeer,
    #[error("no such track")]
    UnknownTrack,
    #[error("no such subscription")]
    UnknownSubscription,
    #[error("no open data channel with label {0:?}")]
    UnknownDataChannel(String),
    #[error("no such link")]
    UnknownLink,
    #[error("a key was refused")]
    Key,
    #[error("the track of the other end is mirrored already")]
    Mirrored,
    #[error("limit reached: {0}")]
    Limit(Limit),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    #[error("peers per worker")]
    Peers,
    #[error("tracks per peer")]
    Tracks,
    #[error("subscriptions per peer")]
    Subscriptions,
    #[error("data channels per peer")]
    DataChannels,
    #[error("size of a data message")]
    DataMessage,
    #[error("links per worker")]
    Links,
}
