//! Wire formats of real-time media: parse, write, rewrite in place.
//!
//! No time, no state, no allocation: parsers borrow from the datagram, writers fill a slice that the caller owns and return
//! how much of it they used. Nothing that arrives can cause a panic.
#![forbid(unsafe_code)]

mod cursor;
pub mod demux;
pub mod ext;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod seq;
pub mod stun;
pub mod vp8;

pub use cursor::BufferFull;
