//! The program between real sockets and namespaces.
#![allow(clippy::unwrap_used, reason = "a failing helper is a failing test")]

mod mesh;
mod process;
mod relay;
mod tun;
