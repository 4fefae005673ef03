//! ICE, DTLS, SRTP contexts and data channels of one peer: everything but the meaning of RTP and RTCP.
//!
//! Call order: `handle_*` for what arrived, then `poll_event` until `None`, then `poll_datagram` until `None`, then
//! `next_timeout`. After [`TransportEvent::Disconnected`] drain `poll_datagram` once more (it may hold a
//! `close_notify`) and drop the transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::command::{Fingerprint, IceCredentials};
use crate::config::Config;
use crate::dtls::DtlsIdentity;
use crate::event::{CommandError, DisconnectReason, SrtpProfile};
use crate::ids::SocketId;
use crate::srtp::{SrtpReceiver, SrtpSender};

#[derive(Clone, Debug, PartialEq)]
pub enum TransportEvent {
    /// A connectivity check from this address proved authentic: route its datagrams to this transport.
    AddressValidated {
        socket: SocketId,
        remote: SocketAddr,
    },
    /// The address no longer belongs to this transport.
    AddressDropped {
        socket: SocketId,
        remote: SocketAddr,
    },
    /// A pair was nominated, or the peer moved to another one: send there from now on.
    IceConnected {
        remote: SocketAddr,
    },
    /// DTLS is done and the peer's certificate is the announced one: SRTP contexts exist.
    Connected {
        profile: SrtpProfile,
    },
    /// Last event of a transport.
    Disconnected(DisconnectReason),
    ChannelOpened {
        label: String,
        reliable: bool,
    },
    ChannelClosed {
        label: String,
    },
    Data {
        label: String,
        binary: bool,
        payload: Vec<u8>,
    },
}

/// What was dropped, since the start of the transport.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportCounters {
    /// STUN that is malformed, not a binding request, or fails its integrity or user name.
    pub dropped_stun: u64,
    /// DTLS from an address that passed no connectivity check.
    pub dropped_dtls_source: u64,
    /// Data messages that could not be queued or were too big.
    pub dropped_data: u64,
}

pub struct Transport {
    counters: TransportCounters,
}

impl Transport {
    pub fn new(now: Instant, local: IceCredentials, identity: Arc<DtlsIdentity>, config: &Config) -> Self {
        let _ = (now, local, identity, config);
        Self {
            counters: TransportCounters::default(),
        }
    }

    /// May be repeated; the first call lets DTLS proceed.
    pub fn set_remote(&mut self, now: Instant, ice: IceCredentials, fingerprints: Vec<Fingerprint>) {
        let _ = (now, ice, fingerprints);
    }

    /// New credentials of both sides (RFC 8445 section 9). The old ones stay valid until a check with the new ones succeeds:
    /// route both local user fragments here until [`Transport::local_ufrags`] has only the new one.
    pub fn restart_ice(&mut self, now: Instant, local: IceCredentials, remote: IceCredentials) {
        let _ = (now, local, remote);
    }

    /// The local user fragments that are valid now: the current one and, during an ICE restart, the former one.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        [].into_iter()
    }

    pub fn handle_stun(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
        let _ = (now, socket, from, datagram);
    }

    pub fn handle_dtls(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
        let _ = (now, socket, from, datagram);
    }

    /// Whether SRTP and SRTCP from this address may be looked at.
    pub fn srtp_source_ok(&self, socket: SocketId, from: SocketAddr) -> bool {
        let _ = (socket, from);
        false
    }

    /// `None` until [`TransportEvent::Connected`].
    pub fn receiver(&mut self) -> Option<&mut SrtpReceiver> {
        None
    }

    /// `None` until [`TransportEvent::Connected`].
    pub fn sender(&mut self) -> Option<&mut SrtpSender> {
        None
    }

    /// Where to send; `None` until a pair is nominated and after the end.
    pub fn selected(&self) -> Option<(SocketId, SocketAddr)> {
        None
    }

    /// Opens a channel by DCEP (RFC 8832). Allowed at any time; it is announced once DTLS and SCTP are up.
    pub fn open_channel(
        &mut self,
        now: Instant,
        label: &str,
        ordered: bool,
        max_retransmits: Option<u16>,
    ) -> Result<(), CommandError> {
        let _ = (now, label, ordered, max_retransmits);
        Ok(())
    }

    /// Sends on the open channel of this label. False when there is none, or the message is too big, or the buffer is
    /// full (counted in [`TransportCounters::dropped_data`]).
    pub fn send_data(&mut self, now: Instant, label: &str, binary: bool, payload: &[u8]) -> bool {
        let _ = (now, label, binary, payload);
        false
    }

    /// Says goodbye: queues a `close_notify` if DTLS is up. Drain [`poll_datagram`](Self::poll_datagram) afterwards.
    pub fn close(&mut self, now: Instant) {
        let _ = now;
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        None
    }

    /// STUN answers, DTLS and SCTP: everything but media.
    pub fn poll_datagram(&mut self) -> Option<(SocketId, SocketAddr, Vec<u8>)> {
        None
    }

    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        None
    }

    pub fn counters(&self) -> TransportCounters {
        self.counters
    }
}
