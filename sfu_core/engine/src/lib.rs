//! The SFU as a state machine: deterministic, sans-IO. It opens no socket, starts no thread and reads no clock.
//!
//! Call order, once per wake-up of a worker:
//! 1. `handle_command`, `handle_crossing`, `handle_datagram` for everything that arrived, then
//!    `handle_timeout` when `next_timeout` has passed;
//! 2. `poll_transmit` until it returns false, sending and clearing the arena each time;
//! 3. `poll_crossing` and `poll_event` until `None`;
//! 4. sleep until input or `next_timeout`.

pub mod allocate;
pub mod bandwidth;
pub mod command;
pub mod config;
mod counters;
pub mod crossing;
mod data;
mod demux_rtp;
mod downlink;
pub mod dtls;
mod engine;
pub mod event;
mod extensions;
pub mod fec;
pub mod forward;
pub mod ice;
pub mod ids;
mod loudest;
mod meter;
mod outbox;
pub mod pacer;
pub mod packet;
mod peer;
pub mod publish;
pub mod srtp;
pub mod stats;
pub mod transmit;
pub mod transport;
mod twcc;

pub use config::Config;
pub use crossing::Crossing;
pub use dtls::DtlsIdentity;
pub use engine::Engine;
pub use event::Event;
