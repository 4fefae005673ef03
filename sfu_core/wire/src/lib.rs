//! Wire formats of real-time media: parse, write, rewrite in place.
//!
//! No time, no state, no allocation: parsers borrow from the datagram, writers fill a slice that the caller owns and return
//! how much of it they used. Nothing that arrives can cause a panic.
#![forbid(unsafe_code)]

mod bits;
mod cursor;

pub mod av1;
pub mod demux;
pub mod dependency;
pub mod ext;
pub mod fec;
pub mod flexfec;
pub mod h264;
pub mod opus;
pub mod picture;
pub mod red;
pub mod rtcp;
pub mod rtp;
pub mod seq;
pub mod stun;
pub mod ulpfec;
pub mod vp8;
pub mod vp9;

pub use cursor::BufferFull;
