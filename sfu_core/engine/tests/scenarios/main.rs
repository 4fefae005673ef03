//! Whole engines in simulated time: publishers and subscribers that really do ICE, DTLS and SRTP.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failing helper is a failing test")]

mod audio;
mod camera;
mod chaos;
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../transport/client.rs"]
mod client;
mod crossing;
mod demand;
mod downlink;
mod fec;
mod hostile;
mod layers;
mod lifecycle;
mod links;
mod listener;
mod loss;
mod lossy_publisher;
mod media;
mod meeting;
mod path;
mod redirect;
mod reports;
mod spectator;
mod statistics;
#[allow(dead_code, reason = "shared with the tests of the transport")]
#[path = "../transport/stun.rs"]
mod stun;
mod svc;
mod uplink_parity;
mod viewer;
mod world;
