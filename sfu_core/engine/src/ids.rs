//! Identifiers. Ids of peers, tracks and subscriptions are unique within the process and never reused.

use arrayvec::ArrayString;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);
    };
}

id!(
    /// One ICE/DTLS transport to a client.
    PeerId(u64)
);
id!(
    /// One published track: an audio source, or a video source with all its layers.
    TrackId(u64)
);
id!(
    /// One track forwarded to one peer.
    SubscriptionId(u64)
);
id!(
    /// Microphones of which the loudest few are forwarded: those of a room.
    GroupId(u64)
);
id!(
    /// Index of a worker, from 0.
    WorkerId(u8)
);
id!(
    /// A link to a worker of another node. Every datagram that comes over it begins with this number, which is this node's to choose.
    LinkId(u32)
);
id!(
    /// Index of a socket within its worker, from 0.
    SocketId(u8)
);
id!(
    /// Synchronization source (RFC 3550 section 3).
    Ssrc(u32)
);
id!(
    /// RTP payload type, 0 to 127.
    PayloadType(u8)
);

/// Workers of a node at most.
pub const MAX_WORKERS: u8 = 64;

impl TrackId {
    /// The `serial`th of a node, which lives on this worker: links may end on any other, and must find it.
    pub fn new(serial: u64, home: WorkerId) -> Self {
        Self(serial * u64::from(MAX_WORKERS) + u64::from(home.0 % MAX_WORKERS))
    }

    /// Where its publisher or its link is.
    pub fn home(self) -> WorkerId {
        WorkerId((self.0 % u64::from(MAX_WORKERS)) as u8)
    }
}

impl LinkId {
    /// Unpredictable, as long as the system has randomness.
    pub fn random() -> Self {
        let mut bytes = [0; 4];
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        Self(u32::from_ne_bytes(bytes))
    }
}

/// Media identification tag (RFC 9143), at most 16 bytes.
pub type Mid = ArrayString<16>;
/// RTP stream id (RFC 8852), at most 16 bytes.
pub type Rid = ArrayString<16>;
