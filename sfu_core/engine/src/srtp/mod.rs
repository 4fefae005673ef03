//! SRTP and SRTCP (RFC 3711, RFC 7714): one sending and one receiving context per peer.

use crate::event::SrtpProfile;

/// Most bytes that protection adds to an RTP packet: the tag.
pub const MAX_RTP_OVERHEAD: usize = 16;
/// Most bytes that protection adds to an RTCP packet: the tag, and the index with the E bit.
pub const MAX_RTCP_OVERHEAD: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SrtpError {
    #[error("packet too short for its header, tag or trailer")]
    TooShort,
    #[error("authentication failed")]
    Auth,
    #[error("replayed or too old")]
    Replay,
    #[error("no room for the tag")]
    NoRoom,
    #[error("the key has been used for as many packets as it may")]
    Exhausted,
}

pub struct SrtpSender {
    _profile: SrtpProfile,
}

impl SrtpSender {
    /// Encrypts and authenticates an RTP packet of `len` bytes (header, extensions and payload) in place and returns
    /// its new length. `packet` must have room for [`MAX_RTP_OVERHEAD`] more. `extended_seq` is the sequence number
    /// with its rollover counter: 48 bits, the low 16 equal to the header's.
    ///
    /// The caller must never protect two different contents under the same SSRC and extended sequence number
    /// (RFC 7714 section 8.1): a repeated packet is bit-identical, a retransmission in RTX format has its own SSRC.
    pub fn protect_rtp(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        len: usize,
        extended_seq: u64,
    ) -> Result<usize, SrtpError> {
        let _ = (packet, header_len, len, extended_seq);
        Err(SrtpError::TooShort)
    }

    /// Encrypts and authenticates a compound RTCP packet of `len` bytes in place and returns its new length.
    /// `packet` must have room for [`MAX_RTCP_OVERHEAD`] more. The index is kept here.
    pub fn protect_rtcp(&mut self, packet: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        let _ = (packet, len);
        Err(SrtpError::TooShort)
    }
}

/// A packet that proved authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unprotected {
    /// Where header and payload end: the tag is behind it.
    pub len: usize,
    /// Sequence number with its rollover counter (48 bits), per SSRC.
    pub extended_seq: u64,
}

pub struct SrtpReceiver {
    _profile: SrtpProfile,
}

impl SrtpReceiver {
    /// Authenticates and decrypts an RTP packet in place. `header_len` includes CSRCs and the extension.
    /// On error nothing has changed but, perhaps, the bytes of `packet`.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8], header_len: usize) -> Result<Unprotected, SrtpError> {
        let _ = (packet, header_len);
        Err(SrtpError::TooShort)
    }

    /// The same for an RTCP packet; returns the length of the compound packet.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let _ = packet;
        Err(SrtpError::TooShort)
    }
}
