//! A link between two workers of two nodes: datagrams that are sealed, numbered and repaired.
//!
//! Sans-IO: time is an argument in microseconds, what is to be sent is fetched with [`Link::poll_transmit`]. Every media
//! datagram has a number. The receiver asks for what it misses and is sent the same octets again; where losses and the
//! round trip make that slow, some parity goes along. Nothing waits for anything: what arrives is delivered at once, and
//! order is the business of the RTP inside.
//!
//! Control goes with numbers of its own: reports of what has arrived, which measure round trip and loss, and messages of
//! the user, which are repeated until they are acknowledged.
#![forbid(unsafe_code)]

mod history;
mod kept;
mod link;
mod missing;
mod parity;
mod report;
mod seal;
mod window;

pub use link::{Arrival, Config, Link, Stats, Text};
pub use seal::{HEADER, Head, Keys, MAX_DATAGRAM, MAX_HEAD, OVERHEAD, Refused, link_id};
