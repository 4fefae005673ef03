//! The quality scenarios Q1 to Q8 in simulated time: the real engine with DTLS and SRTP, emulated links, model encoders, and
//! model receivers that do what browsers do. docs/media-quality.md says how each number is measured.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "shares the harness of the engine's tests; a failure ends the run"
)]

#[allow(dead_code, reason = "of the engine's tests")]
#[path = "../../../sfu_core/engine/tests/transport/client.rs"]
mod client;
#[allow(dead_code, reason = "of the engine's tests")]
#[path = "../../../sfu_core/engine/tests/scenarios/svc/encoder.rs"]
mod encoder;
mod media;
pub mod metrics;
#[allow(dead_code, reason = "of the engine's tests")]
#[path = "../../../sfu_core/engine/tests/scenarios/media.rs"]
mod packets;
mod peer;
mod receive;
mod rtp;
pub mod scenario;
#[allow(dead_code, reason = "of the engine's tests")]
#[path = "../../../sfu_core/engine/tests/transport/stun.rs"]
mod stun;
#[allow(dead_code, reason = "of the estimator's tests")]
#[path = "../../../sfu_core/engine/tests/bandwidth/tcp.rs"]
mod tcp;
mod wires;
mod world;
