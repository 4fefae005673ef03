//! Whole transports in simulated time, against a client made of other parts.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod client;
mod connectivity;
mod data;
mod handshake;
mod stun;
mod world;
