//! What the control plane asks of an engine.

use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
pub use relay::Keys;

pub use crate::allocate::Source;
pub use crate::event::DataChannel;
use crate::ids::{GroupId, LinkId, Mid, PayloadType, PeerId, Rid, SocketId, Ssrc, SubscriptionId, TrackId, WorkerId};

/// A user fragment and password (RFC 8839 section 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    pub ufrag: String,
    pub pwd: String,
}

impl std::fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceCredentials")
            .field("ufrag", &self.ufrag)
            .finish_non_exhaustive()
    }
}

/// SHA-256 certificate fingerprint (RFC 8122).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub [u8; 32]);

/// Header-extension ids negotiated with one peer, 1 to 14 (one-byte) or to 255 (two-byte headers, RFC 8285).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExtensionIds {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
    pub audio_level: Option<u8>,
    pub transport_cc: Option<u8>,
    pub abs_send_time: Option<u8>,
    pub abs_capture_time: Option<u8>,
    pub dependency_descriptor: Option<u8>,
    pub video_orientation: Option<u8>,
    pub playout_delay: Option<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaKind {
    Audio,
    Video,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    Opus,
    /// RFC 2198, of Opus. It is taken apart at its arrival: subscribers are sent Opus, or RED of our own.
    Red,
    Vp8,
    Vp9,
    H264,
    Av1,
}

/// One payload type that a publisher may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublishedCodec {
    pub payload_type: PayloadType,
    /// Payload type of its retransmission format (RFC 4588), if negotiated.
    pub rtx_payload_type: Option<PayloadType>,
    pub codec: Codec,
    /// Hz.
    pub clock_rate: u32,
    /// Negotiated feedback.
    pub nack: bool,
    pub pli: bool,
}

/// Formats of forward error correction that one peer negotiated for a section of video. Default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FecFormats {
    /// FlexFEC (draft-ietf-payload-flexible-fec-scheme-03).
    pub flexfec: Option<PayloadType>,
    /// RED (RFC 2198) of video, and the format of its retransmissions.
    pub red: Option<PayloadType>,
    pub red_rtx: Option<PayloadType>,
    /// ULPFEC (RFC 5109), which comes in RED alone.
    pub ulpfec: Option<PayloadType>,
}

/// SSRCs announced in SDP, for clients that send neither MID nor RID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnnouncedSsrc {
    pub ssrc: Ssrc,
    pub rtx_ssrc: Option<Ssrc>,
}

/// A track that a peer sends.
#[derive(Clone, Debug)]
pub struct Publish {
    pub track: TrackId,
    pub peer: PeerId,
    pub kind: MediaKind,
    pub mid: Mid,
    /// Negotiated formats, preferred first.
    pub codecs: Vec<PublishedCodec>,
    /// RIDs from the lowest layer to the highest; empty without simulcast.
    pub rids: Vec<Rid>,
    pub ssrcs: Vec<AnnouncedSsrc>,
    pub sound: Sound,
    pub fec: FecFormats,
}

/// What matters of audio alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sound {
    /// It is forwarded while it is among the loudest of these; always without one.
    pub group: Option<GroupId>,
    /// Payloads are encrypted end to end: nothing can be put beside them or in their place.
    pub encrypted: bool,
}

/// Layers that a track can have.
pub const MAX_LAYERS: usize = 8;

/// What a publisher says of a video. It weighs and scales its own track by that, nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    pub source: Source,
    /// Width and height of each layer, the lowest first; zero is unknown. What keyframes tell is believed before it.
    pub sizes: ArrayVec<(u16, u16), MAX_LAYERS>,
}

/// How a publisher's payload type reaches one subscriber.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PayloadMap {
    pub from: PayloadType,
    pub to: PayloadType,
    /// The subscriber's RTX payload type for `to`, if it negotiated one.
    pub rtx: Option<PayloadType>,
}

/// The highest layer that a subscriber wants. Layers count from 0, the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub paused: bool,
    pub max_spatial: u8,
    pub max_temporal: u8,
}

/// How a subscriber shows a video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Pixels; zero is as large as there is.
    pub width: u16,
    pub height: u16,
    /// Each step doubles (halves) what it is worth, up to ±6.
    pub priority: i8,
}

/// A track to forward to a peer.
#[derive(Clone, Debug)]
pub struct Subscribe {
    pub subscription: SubscriptionId,
    pub peer: PeerId,
    pub track: TrackId,
    /// The worker on which the track's publisher lives.
    pub home: WorkerId,
    pub kind: MediaKind,
    /// The subscriber's media section.
    pub mid: Mid,
    /// Never used towards this peer before, nor are `rtx_ssrc` and `fec_ssrc`: a second stream under one SSRC would repeat nonces
    /// (RFC 7714 section 8.1).
    pub ssrc: Ssrc,
    /// Present exactly when some entry of `payloads` has `rtx`.
    pub rtx_ssrc: Option<Ssrc>,
    pub payloads: Vec<PayloadMap>,
    /// The subscriber's payload type of RED (RFC 2198) with Opus, if it negotiated one and may get it.
    pub red: Option<PayloadType>,
    pub fec: FecFormats,
    /// Of FlexFEC, which is not used without it.
    pub fec_ssrc: Option<Ssrc>,
    pub wanted: Wanted,
}

/// A subscription that goes on with another track of the same kind: the same picture in another format.
#[derive(Clone, Debug)]
pub struct Redirect {
    pub subscription: SubscriptionId,
    pub peer: PeerId,
    pub track: TrackId,
    /// The worker on which the track's publisher lives.
    pub home: WorkerId,
    pub payloads: Vec<PayloadMap>,
}

/// A link to a worker of another node.
#[derive(Clone, Debug)]
pub struct AddLink {
    pub link: LinkId,
    /// The id that the other end gave it.
    pub theirs: u32,
    pub send: Keys,
    pub receive: Keys,
    pub socket: SocketId,
    /// Where the other end listens; without it the first authentic datagram tells.
    pub remote: Option<SocketAddr>,
}

/// A track that comes over a link of this worker, once somebody wants it.
#[derive(Clone, Copy, Debug)]
pub struct Mirror {
    pub track: TrackId,
    pub link: LinkId,
    /// What the other end calls it.
    pub theirs: TrackId,
    pub kind: MediaKind,
    /// As in [`Sound`].
    pub group: Option<GroupId>,
}

#[derive(Clone, Debug)]
pub struct OpenDataChannel {
    pub peer: PeerId,
    pub label: String,
    pub ordered: bool,
    /// `None` is reliable.
    pub max_retransmits: Option<u16>,
}

/// Channels that the client has open with an association that ended elsewhere: SCTP starts over under them.
#[derive(Clone, Debug)]
pub struct RestoreDataChannels {
    pub peer: PeerId,
    pub channels: Vec<DataChannel>,
}

#[derive(Clone, Debug)]
pub struct SendData {
    /// Those without an open channel of this label are skipped and counted.
    pub peers: Vec<PeerId>,
    pub label: String,
    pub binary: bool,
    pub payload: Arc<[u8]>,
}

#[derive(Clone, Debug)]
pub enum Command {
    AddPeer {
        peer: PeerId,
        local: IceCredentials,
    },
    RemovePeer {
        peer: PeerId,
    },
    /// Remote credentials and certificate fingerprints; any one may match. May be repeated.
    SetRemote {
        peer: PeerId,
        ice: IceCredentials,
        fingerprints: Vec<Fingerprint>,
    },
    /// ICE restart (RFC 8445 section 9): new credentials of both sides. The old ones and the old
    /// address stay valid until a check with the new ones succeeds.
    RestartIce {
        peer: PeerId,
        local: IceCredentials,
        remote: IceCredentials,
    },
    SetExtensions {
        peer: PeerId,
        ids: ExtensionIds,
    },
    /// Whether feedback to this publisher is transport-wide, REMB, or none.
    SetFeedback {
        peer: PeerId,
        transport_cc: bool,
        remb: bool,
    },
    Publish(Publish),
    /// Replaces formats, RIDs and SSRCs of a published track after renegotiation.
    UpdatePublish(Publish),
    Unpublish {
        peer: PeerId,
        track: TrackId,
    },
    /// Drops what the publisher sends while it is muted by the server.
    SetMuted {
        peer: PeerId,
        track: TrackId,
        muted: bool,
    },
    /// What a video shows, and in which sizes.
    Describe {
        peer: PeerId,
        track: TrackId,
        description: Description,
    },
    /// The publisher of this video speaks (0), or spoke before: the lower the number, the later.
    SetSpeaker {
        peer: PeerId,
        track: TrackId,
        rank: Option<u8>,
    },
    Subscribe(Subscribe),
    Redirect(Redirect),
    SetView {
        peer: PeerId,
        subscription: SubscriptionId,
        view: View,
    },
    SetWanted {
        peer: PeerId,
        subscription: SubscriptionId,
        wanted: Wanted,
    },
    Unsubscribe {
        peer: PeerId,
        subscription: SubscriptionId,
    },
    /// We begin the DTLS handshake. To precede the peer's first check.
    BeginDtls {
        peer: PeerId,
    },
    OpenDataChannel(OpenDataChannel),
    RestoreDataChannels(RestoreDataChannels),
    SendData(SendData),
    AddLink(AddLink),
    /// The next keys of one direction or both. What we receive must be told before the other end sends with it.
    RotateLink {
        link: LinkId,
        send: Option<Keys>,
        receive: Option<Keys>,
    },
    /// With the tracks that come over it.
    RemoveLink {
        link: LinkId,
    },
    Mirror(Mirror),
    /// With its subscriptions.
    RemoveMirror {
        track: TrackId,
    },
}
