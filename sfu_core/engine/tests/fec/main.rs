//! What a viewer sees of a path that loses in bursts: retransmission alone beside retransmission with parity.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper is a failing test")]

mod receiver;
mod sender;
mod video;
