//! The estimator in simulated time: what it finds, how soon, and what waits meanwhile. Ten seeds each; `--nocapture` prints
//! what was measured.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper is a failing test")]

mod capacity;
mod feedback;
mod flow;
mod goals;
mod hostile;
mod losses;
mod paths;
mod sharing;
mod tcp;
mod world;
