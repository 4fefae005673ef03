//! Forward error correction of video, redundancy of audio.
//!
//! Where a round trip is short, a retransmission repairs in time and costs only what was lost. Where it is long, the
//! viewer sees each repair as a freeze: there some parity goes along (the hybrid of Holmer, Shemer and Paniconi, "Handling
//! packet loss in WebRTC", ICIP 2013). [`protection`] decides how much, from what [`burst`] saw of the path.
//!
//! Towards a subscriber an [`Encoder`] sees every packet as it is sent and yields repair packets. From a
//! publisher a [`Decoder`] sees media and repair packets and yields what was lost. [`opus_red`] puts former frames of audio in
//! front of the newest one, or takes them out.

pub mod burst;
mod decoder;
mod encoder;
mod fates;
mod masks;
mod mutable;
pub mod opus_red;
mod parity;
pub mod protection;

pub use decoder::{Decoder, Received};
pub use encoder::{Encoder, Media, Repair};
pub(crate) use fates::Fates;
pub use parity::{MAX_BITS, Pool};
pub use protection::Protection;

/// The format of repair packets that a peer negotiated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// In RED on the SSRC and in the numbers of the media (RFC 5109 section 14.1), where it has this payload type. All packets
    /// of the stream, media too, go in RED then: browsers give their decoder nothing else.
    Ulpfec { payload_type: u8 },
    /// On an SSRC of its own; this is the SSRC of the media.
    Flexfec { ssrc: u32 },
}

#[cfg(test)]
mod tests;
