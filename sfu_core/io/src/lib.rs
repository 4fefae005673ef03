//! Where the engine meets the kernel: sockets, threads and the clock.
//!
//! [`Core`] starts one [`Engine`](engine::Engine) per worker thread. Commands reach a worker through its bounded queue,
//! events leave through one queue for all, and packets for subscribers on another worker cross through a ring per pair.

mod addresses;
mod core;
mod counters;
mod crossings;
mod events;
mod links;
mod logs;
mod sys;
mod udp;
mod worker;

pub use crate::core::{CommandError, Core, Settings, StartError};
pub use counters::IoRow;
pub use events::Report;
pub use logs::{LogRecord, LogValue, Logs};
