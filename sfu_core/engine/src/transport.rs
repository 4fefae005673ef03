//! ICE, DTLS, SRTP contexts and data channels of one peer: everything but the meaning of RTP and RTCP.
//!
//! Call order: `handle_*` for what arrived, then `poll_event` until `None`, then `poll_datagram` until `None`, then
//! `next_timeout`. After [`TransportEvent::Disconnected`] drain `poll_datagram` once more and drop the transport.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::command::{Fingerprint, IceCredentials};
use crate::config::Config;
use crate::data::{DataChannels, DataEvent, DataLimits};
use crate::dtls::{DtlsEvent, DtlsIdentity, DtlsServer, SrtpKeys};
use crate::event::{CommandError, DataChannel, DisconnectReason, Limit, SrtpProfile};
use crate::ice::{IceAgent, IceEvent};
use crate::ids::SocketId;
use crate::srtp::{SrtpReceiver, SrtpSender};

/// From our answer to a client's check to our ClientHello. libwebrtc takes the new pair some milliseconds after the answer; its
/// ServerHello goes where it was before until then, and comes again after 50 ms. Longer is surer, and silent for longer.
const BEGIN_DELAY: Duration = Duration::from_millis(15);

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
    /// A pair was nominated, or the peer moved to another one: send there from now on. Some clients finish DTLS before they
    /// nominate, so that the first may come after [`TransportEvent::Connected`].
    IceConnected {
        remote: SocketAddr,
    },
    /// DTLS is done and the peer's certificate is the announced one: SRTP contexts exist.
    Connected {
        profile: SrtpProfile,
    },
    /// Last event of a transport.
    Disconnected(DisconnectReason),
    ChannelOpened(DataChannel),
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
    /// Data messages that could not be queued, were too big or belonged to no channel.
    pub dropped_data: u64,
}

pub struct Transport {
    ice: IceAgent,
    identity: Arc<DtlsIdentity>,
    announced: Vec<Fingerprint>,
    /// From the first datagram on.
    dtls: Option<Box<DtlsServer>>,
    /// Where DTLS came from last: answered there until a pair is nominated.
    dtls_source: Option<(SocketId, SocketAddr)>,
    srtp: Option<Box<SrtpKeys>>,
    /// A peer with a nominated pair that does not finish DTLS is dropped then.
    connect_by: Option<Instant>,
    patience: Duration,
    limits: DataLimits,
    /// From the first application data on, or from the first channel opened here.
    data: Option<Box<DataChannels>>,
    /// We send the ClientHello, to the first address that proves authentic.
    begins: bool,
    /// When to, once there is one.
    begin_at: Option<Instant>,
    ended: bool,
    /// Nothing but media has happened since there was nothing to send.
    quiet: bool,
    events: VecDeque<TransportEvent>,
    dropped_dtls_source: u64,
    unsent_data: u64,
}

impl Transport {
    pub fn new(now: Instant, local: IceCredentials, identity: Arc<DtlsIdentity>, config: &Config) -> Self {
        Self {
            ice: IceAgent::new(now, local, config),
            identity,
            announced: Vec::new(),
            dtls: None,
            dtls_source: None,
            srtp: None,
            connect_by: None,
            patience: config.ice_timeout,
            limits: DataLimits::from(config),
            data: None,
            begins: false,
            begin_at: None,
            ended: false,
            quiet: false,
            events: VecDeque::new(),
            dropped_dtls_source: 0,
            unsent_data: 0,
        }
    }

    /// May be repeated. Checks and the DTLS handshake may precede it; [`TransportEvent::Connected`] does not.
    pub fn set_remote(&mut self, now: Instant, ice: IceCredentials, fingerprints: Vec<Fingerprint>) {
        self.ice.set_remote(ice);
        if let Some(dtls) = &mut self.dtls {
            dtls.announce(&fingerprints);
        }
        self.announced = fingerprints;
        self.pump(now);
    }

    /// Makes us the DTLS client, of a client that was told so: media flows sooner when it has a transport elsewhere, as
    /// its own ClientHello would go there at first. To precede its first check.
    pub fn begin_dtls(&mut self) {
        self.begins = true;
        data_of(&mut self.data, self.limits).take_even_ids();
    }

    /// New credentials of both sides (RFC 8445 section 9). The old ones stay valid until a check with the new ones succeeds:
    /// route both local user fragments here until [`Transport::local_ufrags`] has only the new one.
    pub fn restart_ice(&mut self, now: Instant, local: IceCredentials, remote: IceCredentials) {
        self.ice.restart(now, local, remote);
    }

    /// The local user fragments that are valid now: the current one and, during an ICE restart, the former one.
    pub fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        self.ice.local_ufrags()
    }

    pub fn handle_stun(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
        if !self.ended {
            self.ice.handle_datagram(now, socket, from, datagram);
            self.pump(now);
        }
    }

    pub fn handle_dtls(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
        if self.ended {
            return;
        }
        if !self.ice.is_validated(socket, from) {
            self.dropped_dtls_source += 1;
            return;
        }
        self.dtls_source = Some((socket, from));
        let new = || Box::new(DtlsServer::new(Arc::clone(&self.identity), self.announced.clone()));
        self.dtls.get_or_insert_with(new).handle_datagram(now, datagram);
        self.pump(now);
    }

    /// Whether SRTP and SRTCP from this address may be looked at.
    pub fn srtp_source_ok(&self, socket: SocketId, from: SocketAddr) -> bool {
        !self.ended && self.ice.is_validated(socket, from)
    }

    /// `None` until [`TransportEvent::Connected`].
    pub fn receiver(&mut self) -> Option<&mut SrtpReceiver> {
        self.srtp.as_mut().map(|keys| &mut keys.receiver)
    }

    /// `None` until [`TransportEvent::Connected`].
    pub fn sender(&mut self) -> Option<&mut SrtpSender> {
        self.srtp.as_mut().map(|keys| &mut keys.sender)
    }

    /// Where to send: by the nominated pair, and before there is one by that over which DTLS came about, which proves that it
    /// carries both ways. Towards lite agents Chromium nominates a check later, which on long paths is a second.
    /// `None` before either, and after the end.
    pub fn selected(&self) -> Option<(SocketId, SocketAddr)> {
        if self.ended {
            return None;
        }
        self.ice.selected().or_else(|| {
            let proven = self.dtls_source.filter(|_| self.srtp.is_some());
            proven.filter(|&(socket, remote)| self.ice.is_validated(socket, remote))
        })
    }

    /// Opens a channel by DCEP (RFC 8832). Allowed at any time; it is announced once DTLS and SCTP are up, and
    /// [`TransportEvent::ChannelOpened`] tells that the peer accepted it.
    pub fn open_channel(
        &mut self,
        now: Instant,
        label: &str,
        ordered: bool,
        max_retransmits: Option<u16>,
    ) -> Result<(), CommandError> {
        if !data_of(&mut self.data, self.limits).open(now, label, ordered, max_retransmits) {
            return Err(CommandError::Limit(Limit::DataChannels));
        }
        self.pump(now);
        Ok(())
    }

    /// Takes up channels that the peer has open with an association that ended elsewhere. SCTP starts over under them once
    /// DTLS is up, and [`TransportEvent::ChannelOpened`] tells of each then.
    pub fn restore_channels(&mut self, now: Instant, channels: Vec<DataChannel>) -> Result<(), CommandError> {
        if !data_of(&mut self.data, self.limits).restore(channels) {
            return Err(CommandError::Limit(Limit::DataChannels));
        }
        self.ready_for_data(now);
        self.pump(now);
        Ok(())
    }

    /// Sends on the open channel of this label. False when there is none, or the message is too big, or the buffer is
    /// full (counted in [`TransportCounters::dropped_data`]).
    pub fn send_data(&mut self, now: Instant, label: &str, binary: bool, payload: &[u8]) -> bool {
        let sent = self
            .data
            .as_mut()
            .is_some_and(|data| data.send(now, label, binary, payload).is_ok());
        if sent {
            self.pump(now);
        } else {
            self.unsent_data += 1;
        }
        sent
    }

    /// Says goodbye: queues a `close_notify` if DTLS is up. Drain [`poll_datagram`](Self::poll_datagram) afterwards.
    pub fn close(&mut self, now: Instant) {
        self.pump(now);
        if let Some(dtls) = &mut self.dtls {
            dtls.close();
        }
        self.quiet = false;
        self.end();
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        self.ice.handle_timeout(now);
        if let Some(dtls) = &mut self.dtls {
            dtls.handle_timeout(now);
        } else if self.begin_at.is_some_and(|at| at <= now) {
            let mut dtls = Box::new(DtlsServer::new(Arc::clone(&self.identity), self.announced.clone()));
            dtls.begin(now);
            self.dtls = Some(dtls);
        }
        if let Some(data) = &mut self.data {
            data.handle_timeout(now);
        }
        self.pump(now);
        if self.connect_by.is_some_and(|at| at <= now) {
            self.disconnect(DisconnectReason::DtlsFailed);
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let dtls = self.dtls.as_ref().and_then(|dtls| dtls.next_timeout());
        let data = self.data.as_ref().and_then(|data| data.next_timeout());
        let begin = self.begin_at.filter(|_| self.dtls.is_none());
        [self.ice.next_timeout(), self.connect_by, begin, dtls, data]
            .into_iter()
            .flatten()
            .min()
    }

    /// STUN answers, DTLS and SCTP: everything but media.
    pub fn poll_datagram(&mut self) -> Option<(SocketId, SocketAddr, Vec<u8>)> {
        if self.quiet {
            return None;
        }
        let datagram = self.next_datagram();
        self.quiet = datagram.is_none();
        datagram
    }

    fn next_datagram(&mut self) -> Option<(SocketId, SocketAddr, Vec<u8>)> {
        if let Some(answer) = self.ice.poll_datagram() {
            return Some(answer);
        }
        let (socket, to) = self.ice.selected().or(self.dtls_source)?;
        let datagram = self.dtls.as_mut()?.poll_datagram()?;
        Some((socket, to, datagram))
    }

    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    pub fn counters(&self) -> TransportCounters {
        TransportCounters {
            dropped_stun: self.ice.dropped(),
            dropped_dtls_source: self.dropped_dtls_source,
            dropped_data: self.unsent_data + self.data.as_ref().map_or(0, |data| data.dropped()),
        }
    }

    /// Moves what one layer has for the next, until nothing moves.
    fn pump(&mut self, now: Instant) {
        self.quiet = false;
        while let Some(event) = self.ice.poll_event() {
            match event {
                IceEvent::Validated { socket, remote } => {
                    if self.begins && self.srtp.is_none() {
                        self.dtls_source = Some((socket, remote));
                        self.begin_at.get_or_insert(now + BEGIN_DELAY);
                    }
                    self.events
                        .push_back(TransportEvent::AddressValidated { socket, remote });
                }
                IceEvent::Dropped { socket, remote } => {
                    self.events.push_back(TransportEvent::AddressDropped { socket, remote });
                }
                IceEvent::Selected { remote } => {
                    if self.srtp.is_none() {
                        self.connect_by.get_or_insert(now + self.patience);
                    }
                    self.events.push_back(TransportEvent::IceConnected { remote });
                }
                IceEvent::Lost(reason) => return self.disconnect(reason),
            }
        }
        loop {
            while let Some(event) = self.dtls.as_mut().and_then(|dtls| dtls.poll_event()) {
                match event {
                    DtlsEvent::Connected(keys) => {
                        self.events
                            .push_back(TransportEvent::Connected { profile: keys.profile });
                        self.srtp = Some(keys);
                        self.connect_by = None;
                        self.ready_for_data(now);
                    }
                    DtlsEvent::Data(packet) => data_of(&mut self.data, self.limits).handle_packet(now, packet),
                    DtlsEvent::Ended(reason) => return self.disconnect(reason),
                }
            }
            let Some(data) = &mut self.data else { return };
            while let Some(event) = data.poll_event() {
                self.events.push_back(match event {
                    DataEvent::Opened(channel) => TransportEvent::ChannelOpened(channel),
                    DataEvent::Closed { label } => TransportEvent::ChannelClosed { label },
                    DataEvent::Received { label, binary, payload } => TransportEvent::Data { label, binary, payload },
                });
            }
            let Some(dtls) = &mut self.dtls else { return };
            let mut moved = false;
            while let Some(packet) = data.poll_packet() {
                moved = true;
                dtls.send(now, &packet);
            }
            if !moved {
                return;
            }
        }
    }

    fn ready_for_data(&mut self, now: Instant) {
        if self.srtp.is_some()
            && let Some(data) = &mut self.data
        {
            data.ready(now);
        }
    }

    fn disconnect(&mut self, reason: DisconnectReason) {
        if !self.ended {
            self.end();
            self.events.push_back(TransportEvent::Disconnected(reason));
        }
    }

    fn end(&mut self) {
        self.ended = true;
        self.srtp = None;
        self.data = None;
    }
}

fn data_of(data: &mut Option<Box<DataChannels>>, limits: DataLimits) -> &mut DataChannels {
    data.get_or_insert_with(|| Box::new(DataChannels::new(limits)))
}
