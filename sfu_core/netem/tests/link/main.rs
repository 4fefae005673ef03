//! A link in simulated time.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod bottleneck;
mod run;
mod way;
