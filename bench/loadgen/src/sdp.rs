//! Session descriptions (RFC 8866) of the load engine: offers and answers out, the server's in.
//!
//! Everything is bundled (RFC 9143) over one transport with rtcp-mux; this side is the DTLS client (`a=setup:active`), unless it leaves that open.

mod read;
mod write;

pub use read::{Description, SdpError, Section};
pub use write::{Answering, Receiving, answer, offer, offer_sections};
