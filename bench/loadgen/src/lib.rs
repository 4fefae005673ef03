//! A load engine for SFUs: thousands of WebRTC participants in one process, their media on one core.
//!
//! - [`plan`]: what signaling and media tell each other about a connection;
//! - [`media`]: the media plane, a thread of its own.

pub mod media;
pub mod plan;
