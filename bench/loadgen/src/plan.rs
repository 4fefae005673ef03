//! What signaling and media tell each other about one connection: one transport between the load engine and a
//! server, one UDP 5-tuple. A participant has one connection, or several where the server's protocol wants that.

use std::net::SocketAddr;

use engine::event::SrtpProfile;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionId(pub u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Audio,
    Video,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    Opus,
    Vp8,
    H264,
}

impl Codec {
    pub fn kind(self) -> Kind {
        match self {
            Codec::Opus => Kind::Audio,
            Codec::Vp8 | Codec::H264 => Kind::Video,
        }
    }
}

/// Payload types and extension ids (RFC 8285) that the load engine itself offers, always the same ones.
/// A server that offers chooses its own: [`Remote`] tells which are in use.
pub mod offered {
    pub const OPUS: u8 = 111;
    pub const VP8: u8 = 96;
    pub const VP8_RTX: u8 = 97;
    pub const H264: u8 = 102;
    pub const H264_RTX: u8 = 103;
    pub const MID: u8 = 1;
    pub const RID: u8 = 2;
    pub const REPAIRED_RID: u8 = 3;
    pub const TRANSPORT_CC: u8 = 4;
    pub const AUDIO_LEVEL: u8 = 5;
    pub const ABS_SEND_TIME: u8 = 6;
}

/// One encoding of a publication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Present when there are several (RFC 8852).
    pub rid: Option<String>,
    pub ssrc: u32,
    pub rtx_ssrc: Option<u32>,
    pub width: u32,
    pub height: u32,
    /// Bits per second, as announced to the server.
    pub bitrate: u32,
}

/// One track to be published on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// The `msid` track id.
    pub cid: String,
    pub codec: Codec,
    /// Lowest first; audio has one.
    pub layers: Vec<Layer>,
}

/// What to open.
#[derive(Clone, Debug)]
pub struct ConnectionPlan {
    /// Index of the participant, for the report.
    pub participant: u32,
    pub publications: Vec<Publication>,
    /// The only DTLS-SRTP profile that is offered (RFC 5764 section 4.1.2).
    pub cipher: SrtpProfile,
}

/// This side of an open connection: what an offer or an answer needs.
#[derive(Clone, Debug)]
pub struct Local {
    pub id: ConnectionId,
    pub ufrag: String,
    pub pwd: String,
    /// SHA-256 of the certificate in DER.
    pub fingerprint: [u8; 32],
    /// The server may begin DTLS (`a=setup:actpass`); otherwise this side does.
    pub passive: bool,
    /// The only candidate, of type host.
    pub candidate: SocketAddr,
    pub publications: Vec<Publication>,
}

/// A payload type that the server may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReceiveFormat {
    pub payload_type: u8,
    pub kind: Kind,
    /// Retransmissions (RFC 4588) of this payload type.
    pub rtx_of: Option<u8>,
}

/// What one publication is sent with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendFormat {
    pub cid: String,
    /// RFC 9143.
    pub mid: String,
    pub payload_type: u8,
    pub rtx_payload_type: Option<u8>,
}

/// Header extension ids in use on this connection, both directions; `None`: not negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
    pub transport_cc: Option<u8>,
    pub audio_level: Option<u8>,
    pub abs_send_time: Option<u8>,
}

/// How packets are protected and paths checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Security {
    /// ICE (this side controlling, RFC 8445) and DTLS-SRTP (RFC 5764).
    Negotiated {
        ufrag: String,
        pwd: String,
        /// SHA-256 of the server's certificate; the handshake fails when it has another.
        fingerprint: [u8; 32],
        /// The server begins DTLS (`a=setup:active`); otherwise this side does.
        begins: bool,
    },
    /// The bare relay: no ICE, no DTLS, keys known beforehand. `None`: plain RTP.
    Fixed(Option<FixedKeys>),
}

/// Master keys and salts (RFC 3711) of a connection without DTLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FixedKeys {
    pub profile: SrtpProfile,
    pub send_key: Vec<u8>,
    pub send_salt: Vec<u8>,
    pub receive_key: Vec<u8>,
    pub receive_salt: Vec<u8>,
}

/// The server's side, from its answer or offer. Set again after every negotiation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    pub security: Security,
    /// UDP only, those of component 1, in order of preference.
    pub candidates: Vec<SocketAddr>,
    pub receive: Vec<ReceiveFormat>,
    pub send: Vec<SendFormat>,
    pub extensions: Extensions,
}
