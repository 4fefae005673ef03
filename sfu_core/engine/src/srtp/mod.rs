//! SRTP and SRTCP (RFC 3711, RFC 7714): one sending and one receiving context per peer.
//!
//! Contexts are keyed once; protecting and unprotecting a packet allocates nothing. Not implemented, for DTLS-SRTP does
//! not negotiate it: master key identifiers and key derivation rates other than zero.

mod cipher;
mod derive;
mod receive;
mod replay;
mod send;
#[cfg(test)]
mod vectors;

pub use receive::{SrtpReceiver, Unprotected};
pub use send::SrtpSender;

use crate::event::SrtpProfile;

/// Most bytes that protection adds to an RTP packet: the tag.
pub const MAX_RTP_OVERHEAD: usize = 16;
/// Most bytes that protection adds to an RTCP packet: the tag, and the index with its E bit.
pub const MAX_RTCP_OVERHEAD: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    #[error("master key or salt has the wrong length for its profile")]
    KeyLength,
    #[error("packet too short for its header, tag or trailer")]
    TooShort,
    #[error("no room for the result")]
    NoRoom,
    #[error("the extended sequence number is not that of the header, or exceeds 48 bits")]
    Index,
    #[error("the key protected as many packets as it may")]
    Exhausted,
    #[error("authentication failed")]
    Auth,
    #[error("replayed or too old")]
    Replay,
}

/// Bytes of master key and master salt (RFC 5764 section 4.1.2, RFC 7714 section 12).
pub fn key_lengths(profile: SrtpProfile) -> (usize, usize) {
    match profile {
        SrtpProfile::AeadAes128Gcm => (16, 12),
        SrtpProfile::AeadAes256Gcm => (32, 12),
        SrtpProfile::Aes128CmHmacSha1_80 => (16, 14),
    }
}

/// SSRC and sequence number of an RTP packet whose fixed header is present.
fn rtp_ids(packet: &[u8]) -> Result<(u32, u16), SrtpError> {
    match *packet {
        [_, _, s0, s1, _, _, _, _, a, b, c, d, ..] => {
            Ok((u32::from_be_bytes([a, b, c, d]), u16::from_be_bytes([s0, s1])))
        }
        _ => Err(SrtpError::TooShort),
    }
}

/// SSRC of an RTCP packet's sender.
fn rtcp_ssrc(packet: &[u8]) -> Result<u32, SrtpError> {
    match *packet {
        [_, _, _, _, a, b, c, d, ..] => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(SrtpError::TooShort),
    }
}
