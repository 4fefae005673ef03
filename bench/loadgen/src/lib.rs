//! A load engine for SFUs: thousands of WebRTC participants in one process, their media on one core.
//!
//! - [`plan`]: what signaling and media tell each other about a connection;
//! - [`media`]: the media plane, a thread of its own;
//! - [`sdp`], [`signaling`]: how participants get into a room of some server;
//! - [`scenario`]: what the commands do; [`server`], [`report`], [`progress`]: what they tell.

pub mod media;
pub mod plan;
pub mod progress;
pub mod report;
pub mod scenario;
pub mod sdp;
pub mod server;
pub mod signaling;
