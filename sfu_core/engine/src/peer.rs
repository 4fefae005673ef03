//! One client: its transport, what it publishes and what it receives.

use std::net::SocketAddr;

use rustc_hash::FxHashMap;

use crate::command::ExtensionIds;
use crate::demux_rtp::Demux;
use crate::downlink::Downlink;
use crate::extensions::ExtensionTable;
use crate::ids::{PeerId, SocketId};
use crate::meter::Meter;
use crate::publish::nack::RoundTrip;
use crate::transport::Transport;
use crate::twcc::ArrivalLog;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PeerState {
    New,
    IceConnected,
    Connected,
}

pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) transport: Transport,
    pub(crate) state: PeerState,
    /// Transport statistics that the engine's totals already contain.
    pub(crate) counted: crate::transport::TransportCounters,
    /// Under which the engine finds it.
    pub(crate) addresses: Vec<(SocketId, SocketAddr)>,
    pub(crate) ufrags: Vec<String>,
    pub(crate) extension_ids: ExtensionIds,
    pub(crate) extensions: ExtensionTable,
    pub(crate) transport_cc: bool,
    pub(crate) remb: bool,
    pub(crate) demux: Demux,
    /// Once it sends transport-wide numbers.
    pub(crate) arrivals: Option<ArrivalLog>,
    /// Keys of its tracks and of its subscriptions.
    pub(crate) tracks: Vec<usize>,
    pub(crate) subscriptions: Vec<usize>,
    /// Subscriptions by the SSRCs that this peer sees, media and RTX.
    pub(crate) by_ssrc: FxHashMap<u32, usize>,
    /// Subscriptions with packets to send.
    pub(crate) ready: Vec<usize>,
    /// Some of its subscriptions negotiated forward error correction; those of which parity is being made.
    pub(crate) may_protect: bool,
    pub(crate) shielded: Vec<usize>,
    /// It is in the engine's list of peers with something to send; of publishers with something to watch.
    pub(crate) queued: bool,
    pub(crate) busy: bool,
    /// Did not fit the arena.
    pub(crate) held: Option<(SocketId, SocketAddr, Vec<u8>)>,
    /// What is known of the path to it; `None` when it tells nothing.
    pub(crate) downlink: Option<Box<Downlink>>,
    /// Which of its subscriptions gave the last padding.
    pub(crate) padding_turn: usize,
    /// It is in the engine's list of peers whose packets wait.
    pub(crate) paced: bool,
    /// Transport-wide number of the next packet to it.
    pub(crate) transport_sequence: u16,
    /// The same when redundancy was last decided.
    pub(crate) decided_sequence: u16,
    /// Smoothed, microseconds.
    pub(crate) round_trip: Option<u64>,
    /// When the last reports went out, microseconds.
    pub(crate) reported: u64,
    /// Everything authenticated that it sent.
    pub(crate) received: Meter,
    pub(crate) datagrams_in: u64,
    pub(crate) bytes_in: u64,
    pub(crate) datagrams_out: u64,
    pub(crate) bytes_out: u64,
}

impl Peer {
    pub(crate) fn new(id: PeerId, transport: Transport, now: u64) -> Self {
        Self {
            id,
            transport,
            state: PeerState::New,
            counted: Default::default(),
            addresses: Vec::new(),
            ufrags: Vec::new(),
            extension_ids: ExtensionIds::default(),
            extensions: ExtensionTable::default(),
            transport_cc: false,
            remb: false,
            demux: Demux::default(),
            arrivals: None,
            tracks: Vec::new(),
            subscriptions: Vec::new(),
            by_ssrc: FxHashMap::default(),
            ready: Vec::new(),
            may_protect: false,
            shielded: Vec::new(),
            queued: false,
            busy: false,
            held: None,
            downlink: None,
            padding_turn: 0,
            paced: false,
            transport_sequence: 0,
            decided_sequence: 0,
            round_trip: None,
            reported: now,
            received: Meter::default(),
            datagrams_in: 0,
            bytes_in: 0,
            datagrams_out: 0,
            bytes_out: 0,
        }
    }

    /// Media can be sent: DTLS is done, and the pair over which it was, or another that was nominated, is there.
    pub(crate) fn is_connected(&self) -> bool {
        self.state == PeerState::Connected && self.transport.selected().is_some()
    }

    /// Takes a measurement into the smoothed round-trip time (RFC 6298 section 2), microseconds.
    pub(crate) fn on_round_trip(&mut self, sample: u64) {
        self.round_trip = Some(self.round_trip.map_or(sample, |smoothed| (7 * smoothed + sample) / 8));
    }

    /// What a retransmission says of it.
    pub(crate) fn on_repair(&mut self, sample: RoundTrip) {
        match sample {
            RoundTrip::Measured(sample) => self.on_round_trip(sample),
            // Better than to go on asking as if the path were short, and never to measure it for that reason.
            RoundTrip::AtMost(sample) => self.round_trip = self.round_trip.or(Some(sample)),
        }
    }
}
