//! The engine of one worker.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::command::Command;
use crate::config::Config;
use crate::crossing::Crossing;
use crate::dtls::DtlsIdentity;
use crate::event::Event;
use crate::ids::{SocketId, WorkerId};
use crate::stats::StatsSnapshot;
use crate::transmit::TransmitArena;

pub struct Engine {
    config: Config,
    identity: Arc<DtlsIdentity>,
}

impl Engine {
    /// `now` is the epoch of packet times: engines that exchange crossings must be given the same one.
    pub fn new(now: Instant, config: Config, identity: Arc<DtlsIdentity>) -> Self {
        let _ = now;
        Self { config, identity }
    }

    pub fn handle_datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &mut [u8]) {
        let _ = (now, socket, from, datagram, &self.config, &self.identity);
    }

    pub fn handle_command(&mut self, now: Instant, command: Command) {
        let _ = (now, command);
    }

    pub fn handle_crossing(&mut self, now: Instant, from: WorkerId, crossing: Crossing) {
        let _ = (now, from, crossing);
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// Fills the arena; true when it is full and more waits (send, clear, call again).
    pub fn poll_transmit(&mut self, now: Instant, arena: &mut TransmitArena) -> bool {
        let _ = (now, arena);
        false
    }

    pub fn poll_crossing(&mut self) -> Option<(WorkerId, Crossing)> {
        None
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// Adds the rows of this engine to a snapshot.
    pub fn stats(&self, now: Instant, into: &mut StatsSnapshot) {
        let _ = (now, into);
    }
}
