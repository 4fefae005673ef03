//! Data channels of one peer (RFC 8831): SCTP, carried by DTLS, and the protocol that opens channels.
//!
//! The peer sends the SCTP INIT: browsers, libdatachannel and pion always do, aiortc does towards an ICE-lite peer. So do
//! browsers after DTLS was made anew, and keep their channels. To a peer that has channels open with an association that
//! ended elsewhere and goes on with that one, we send it: for the peer that is a restart (RFC 9260 section 5.2.4.1). Not
//! implemented: negotiated channels, sub-protocols, priorities.

mod dcep;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier as Ppid, ReliabilityType, ServerConfig, StreamEvent, StreamId, TransportConfig,
};

use self::dcep::{Limit, Message, Open, Reliability};
use crate::config::Config;
use crate::event::DataChannel;

/// SCTP packets of at most 1,191 bytes, as libwebrtc sends them: with DTLS, UDP and IPv6 they fit 1,280.
const MAX_PAYLOAD: u32 = 1_163;
/// Stream ids from 0, as in libwebrtc.
const STREAMS: u16 = 1_024;
const MAX_LABEL: usize = 256;
/// Shorter recovers faster, longer retransmits less on slow paths. Milliseconds.
const RTO_INITIAL: u64 = 1_000;
const RTO_MIN: u64 = 300;
const RTO_MAX: u64 = 10_000;
/// A peer that begins anew by itself has done so by then. Shorter makes data flow sooner where it does not, and two INITs
/// cross more often.
const PATIENCE: Duration = Duration::from_millis(300);
/// Chunk type (RFC 9260 section 3.2), behind the common header.
const INIT: (usize, u8) = (12, 1);
/// SCTP addresses its peer by something; DTLS is the only path.
const REMOTE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), sctp_proto::DEFAULT_SCTP_PORT);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum DataEvent {
    Opened(DataChannel),
    Closed {
        label: String,
    },
    Received {
        label: String,
        binary: bool,
        payload: Vec<u8>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    #[error("no open channel of this label")]
    NotOpen,
    #[error("message too big")]
    TooBig,
    #[error("buffer full")]
    Full,
}

/// Limits of [`Config`] that concern data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DataLimits {
    pub(crate) channels: usize,
    pub(crate) message: usize,
    pub(crate) buffered: usize,
}

impl From<&Config> for DataLimits {
    fn from(config: &Config) -> Self {
        Self {
            channels: config.max_data_channels_per_peer,
            message: config.max_data_message,
            buffered: config.max_data_buffered,
        }
    }
}

pub(crate) struct DataChannels {
    limits: DataLimits,
    association: Option<Box<Sctp>>,
    channels: BTreeMap<StreamId, Channel>,
    /// To be opened once there is an association.
    wanted: VecDeque<(String, Reliability)>,
    /// Open at the peer: SCTP is to start over under them.
    restored: Vec<(StreamId, String, Reliability)>,
    /// When we do, unless the peer does.
    start_at: Option<Instant>,
    packets: VecDeque<Vec<u8>>,
    events: VecDeque<DataEvent>,
    /// Ids of our channels are odd when we are the DTLS server, else even (RFC 8832 section 6).
    odd: bool,
    /// Messages received that were dropped: on no channel, or of no known kind.
    dropped: u64,
}

struct Sctp {
    endpoint: Endpoint,
    handle: AssociationHandle,
    association: Association,
    /// We sent the INIT.
    ours: bool,
    established: bool,
}

struct Channel {
    label: String,
    reliability: Reliability,
    /// Ours, and not yet acknowledged.
    opening: bool,
}

impl DataChannels {
    pub(crate) fn new(limits: DataLimits) -> Self {
        Self {
            limits,
            association: None,
            channels: BTreeMap::new(),
            wanted: VecDeque::new(),
            restored: Vec::new(),
            start_at: None,
            odd: true,
            packets: VecDeque::new(),
            events: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Opens a channel when there is an association. False when there are too many.
    pub(crate) fn open(&mut self, now: Instant, label: &str, ordered: bool, max_retransmits: Option<u16>) -> bool {
        if self.channels.len() + self.wanted.len() >= self.limits.channels || label.len() > MAX_LABEL {
            return false;
        }
        let limit = max_retransmits.map_or(Limit::Reliable, |n| Limit::Retransmissions(n.into()));
        self.wanted
            .push_back((label.to_owned(), Reliability { ordered, limit }));
        self.progress(now);
        true
    }

    /// We are the DTLS client.
    pub(crate) fn take_even_ids(&mut self) {
        self.odd = false;
    }

    /// Takes up channels that are open at the peer. False when there are too many, or an association is there already.
    pub(crate) fn restore(&mut self, channels: Vec<DataChannel>) -> bool {
        let usable = |channel: &DataChannel| channel.stream < STREAMS && channel.label.len() <= MAX_LABEL;
        if self.association.is_some()
            || channels.len() + self.wanted.len() > self.limits.channels
            || !channels.iter().all(usable)
        {
            return false;
        }
        let rows = channels.into_iter().map(|channel| {
            let limit = match (channel.max_retransmits, channel.max_lifetime) {
                (Some(n), _) => Limit::Retransmissions(n),
                (None, Some(ms)) => Limit::Lifetime(ms),
                (None, None) => Limit::Reliable,
            };
            let ordered = channel.ordered;
            (channel.stream, channel.label, Reliability { ordered, limit })
        });
        self.restored = rows.collect();
        true
    }

    /// DTLS is there to carry SCTP.
    pub(crate) fn ready(&mut self, now: Instant) {
        if !self.restored.is_empty() && self.association.is_none() {
            self.start_at = Some(now + PATIENCE);
        }
    }

    fn start_over(&mut self, now: Instant) {
        self.start_at = None;
        let mut config = ClientConfig::new();
        config.transport = Arc::new(self.transport_config());
        let mut endpoint = self.new_endpoint();
        let Ok((handle, association)) = endpoint.connect(config, REMOTE) else {
            return;
        };
        endpoint.reject_new_associations();
        self.association = Some(Box::new(Sctp {
            endpoint,
            handle,
            association,
            ours: true,
            established: false,
        }));
        self.progress(now);
    }

    pub(crate) fn send(&mut self, now: Instant, label: &str, binary: bool, payload: &[u8]) -> Result<(), SendError> {
        let open = self
            .channels
            .iter()
            .find(|(_, channel)| channel.label == label && !channel.opening);
        let (&id, _) = open.ok_or(SendError::NotOpen)?;
        if payload.len() > self.limits.message {
            return Err(SendError::TooBig);
        }
        let buffered = self.buffered();
        let sctp = self.association.as_mut().ok_or(SendError::NotOpen)?;
        if buffered + payload.len() > self.limits.buffered {
            return Err(SendError::Full);
        }
        // RFC 8831 section 6.6: SCTP has no empty messages.
        let (ppid, payload) = match (binary, payload.is_empty()) {
            (false, false) => (Ppid::String, payload),
            (true, false) => (Ppid::Binary, payload),
            (false, true) => (Ppid::StringEmpty, &[0][..]),
            (true, true) => (Ppid::BinaryEmpty, &[0][..]),
        };
        let mut stream = sctp.association.stream(id).map_err(|_| SendError::NotOpen)?;
        stream.write_with_ppi(payload, ppid).map_err(|_| SendError::NotOpen)?;
        self.progress(now);
        Ok(())
    }

    /// An SCTP packet, decrypted.
    pub(crate) fn handle_packet(&mut self, now: Instant, packet: Vec<u8>) {
        let is_init = packet.get(INIT.0) == Some(&INIT.1);
        if is_init
            && self
                .association
                .as_ref()
                .is_some_and(|sctp| sctp.ours && !sctp.established)
        {
            // INITs have crossed: the peer's counts.
            self.association = None;
        }
        match &mut self.association {
            Some(sctp) => match sctp.endpoint.handle(now, REMOTE, None, None, packet.into()) {
                Some((handle, DatagramEvent::AssociationEvent(event))) if handle == sctp.handle => {
                    sctp.association.handle_event(event);
                }
                _ => return,
            },
            None if self.start_at.is_some() && !is_init => return self.start_over(now),
            None => {
                let mut endpoint = self.new_endpoint();
                let Some((handle, DatagramEvent::NewAssociation(association))) =
                    endpoint.handle(now, REMOTE, None, None, packet.into())
                else {
                    return;
                };
                endpoint.reject_new_associations();
                self.start_at = None;
                self.association = Some(Box::new(Sctp {
                    endpoint,
                    handle,
                    association,
                    ours: false,
                    established: false,
                }));
            }
        }
        self.progress(now);
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.start_at.is_some_and(|at| at <= now) {
            self.start_over(now);
        }
        if let Some(sctp) = &mut self.association
            && sctp.association.poll_timeout().is_some_and(|at| at <= now)
        {
            sctp.association.handle_timeout(now);
            self.progress(now);
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        let association = self
            .association
            .as_ref()
            .and_then(|sctp| sctp.association.poll_timeout());
        [self.start_at, association].into_iter().flatten().min()
    }

    pub(crate) fn poll_packet(&mut self) -> Option<Vec<u8>> {
        self.packets.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<DataEvent> {
        self.events.pop_front()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    fn new_endpoint(&self) -> Endpoint {
        Endpoint::new(Arc::new(self.endpoint_config()), Some(Arc::new(self.server_config())))
    }

    fn endpoint_config(&self) -> EndpointConfig {
        let mut config = EndpointConfig::new();
        config.max_payload_size(MAX_PAYLOAD);
        config
    }

    fn server_config(&self) -> ServerConfig {
        let mut config = ServerConfig::new();
        config.transport = Arc::new(self.transport_config());
        config
    }

    fn transport_config(&self) -> TransportConfig {
        let message = u32::try_from(self.limits.message).unwrap_or(u32::MAX);
        TransportConfig::default()
            .with_max_receive_message_size(message)
            .with_max_send_message_size(message)
            // Two of the biggest messages in reassembly.
            .with_max_receive_buffer_size(message.saturating_mul(2).max(128 * 1_024))
            .with_max_num_inbound_streams(STREAMS)
            .with_max_num_outbound_streams(STREAMS)
            .with_rto_initial_ms(RTO_INITIAL)
            .with_rto_min_ms(RTO_MIN)
            .with_rto_max_ms(RTO_MAX)
    }

    /// Bytes queued or not yet acknowledged, of all channels.
    fn buffered(&mut self) -> usize {
        let Some(sctp) = &mut self.association else { return 0 };
        let amounts = self
            .channels
            .keys()
            .map(|&id| sctp.association.stream(id).and_then(|s| s.buffered_amount()));
        amounts.map(Result::unwrap_or_default).sum()
    }

    /// Until nothing moves: events, then channels to open, then packets to send.
    fn progress(&mut self, now: Instant) {
        while let Some(event) = self.association.as_mut().and_then(|sctp| sctp.association.poll()) {
            match event {
                Event::Connected => {
                    if let Some(sctp) = &mut self.association {
                        sctp.established = true;
                    }
                    self.open_restored();
                }
                Event::Stream(StreamEvent::Opened { id } | StreamEvent::Readable { id }) => self.read(id),
                Event::Stream(StreamEvent::Finished { id }) => self.closed(id),
                Event::HandshakeFailed { .. } | Event::AssociationLost { .. } => {
                    self.flush(now);
                    self.lost();
                }
                _ => {}
            }
        }
        self.open_wanted();
        self.flush(now);
    }

    fn read(&mut self, id: StreamId) {
        loop {
            let Some(sctp) = &mut self.association else { return };
            // Readable events come per chunk, and a stream may have ended meanwhile.
            let Ok(mut stream) = sctp.association.stream(id) else {
                return;
            };
            if !self.channels.contains_key(&id) && id >= STREAMS {
                let _ = stream.close();
                return;
            }
            let Ok(Some(message)) = stream.read_sctp() else { return };
            let mut payload = vec![0; message.len()];
            if message.read(&mut payload).is_err() {
                self.dropped += 1;
                continue;
            }
            match message.ppi {
                Ppid::Dcep => self.on_dcep(id, &payload),
                Ppid::String => self.on_message(id, false, payload),
                Ppid::Binary => self.on_message(id, true, payload),
                Ppid::StringEmpty => self.on_message(id, false, Vec::new()),
                Ppid::BinaryEmpty => self.on_message(id, true, Vec::new()),
                Ppid::Unknown => self.dropped += 1,
            }
        }
    }

    fn on_message(&mut self, id: StreamId, binary: bool, payload: Vec<u8>) {
        // On an unordered channel it may overtake the acknowledgement.
        self.on_accepted(id);
        match self.channels.get(&id) {
            Some(channel) => self.events.push_back(DataEvent::Received {
                label: channel.label.clone(),
                binary,
                payload,
            }),
            None => self.dropped += 1,
        }
    }

    fn on_accepted(&mut self, id: StreamId) {
        if let Some(channel) = self.channels.get_mut(&id)
            && channel.opening
        {
            channel.opening = false;
            self.events.push_back(channel.opened(id));
        }
    }

    fn on_dcep(&mut self, id: StreamId, bytes: &[u8]) {
        let message = Message::parse(bytes);
        if message == Some(Message::Ack) {
            return self.on_accepted(id);
        }
        let Some(sctp) = &mut self.association else { return };
        let Ok(mut stream) = sctp.association.stream(id) else {
            return;
        };
        match message {
            Some(Message::Open(open))
                if id.is_multiple_of(2) == self.odd
                    && !self.channels.contains_key(&id)
                    && self.channels.len() + self.wanted.len() < self.limits.channels
                    && open.label.len() <= MAX_LABEL =>
            {
                let written = set_reliability(&mut stream, open.reliability)
                    && stream.write_with_ppi(&Message::Ack.write(), Ppid::Dcep).is_ok();
                if written {
                    let channel = Channel {
                        label: open.label.to_owned(),
                        reliability: open.reliability,
                        opening: false,
                    };
                    self.events.push_back(channel.opened(id));
                    self.channels.insert(id, channel);
                }
            }
            // Section 6: a channel that cannot be accepted is closed.
            _ => {
                self.dropped += 1;
                let _ = stream.close();
            }
        }
    }

    fn open_wanted(&mut self) {
        let Some(sctp) = &mut self.association else { return };
        if !sctp.established {
            return;
        }
        while let Some((label, reliability)) = self.wanted.pop_front() {
            let mut ours = (u16::from(self.odd)..STREAMS)
                .step_by(2)
                .filter(|id| !self.channels.contains_key(id));
            let free = ours.find(|&id| sctp.association.open_stream(id, Ppid::Binary).is_ok());
            let Some((id, mut stream)) = free.and_then(|id| Some((id, sctp.association.stream(id).ok()?))) else {
                return;
            };
            let open = Message::Open(Open {
                reliability,
                label: &label,
            })
            .write();
            if set_reliability(&mut stream, reliability) && stream.write_with_ppi(&open, Ppid::Dcep).is_ok() {
                self.channels.insert(
                    id,
                    Channel {
                        label,
                        reliability,
                        opening: true,
                    },
                );
            }
        }
    }

    fn open_restored(&mut self) {
        let Some(sctp) = &mut self.association else { return };
        for (id, label, reliability) in std::mem::take(&mut self.restored) {
            // What the client sent first has made the stream already.
            let _ = sctp.association.open_stream(id, Ppid::Binary);
            let Ok(mut stream) = sctp.association.stream(id) else {
                continue;
            };
            if set_reliability(&mut stream, reliability) {
                let channel = Channel {
                    label,
                    reliability,
                    opening: false,
                };
                self.events.push_back(channel.opened(id));
                self.channels.insert(id, channel);
            }
        }
    }

    fn closed(&mut self, id: StreamId) {
        if let Some(channel) = self.channels.remove(&id)
            && !channel.opening
        {
            self.events.push_back(DataEvent::Closed { label: channel.label });
        }
    }

    /// A new INIT may start over.
    fn lost(&mut self) {
        self.association = None;
        while let Some((&id, _)) = self.channels.first_key_value() {
            self.closed(id);
        }
    }

    fn flush(&mut self, now: Instant) {
        let Some(sctp) = &mut self.association else { return };
        while let Some(event) = sctp.association.poll_endpoint_event() {
            sctp.endpoint.handle_event(sctp.handle, event);
        }
        let queued = std::iter::from_fn(|| sctp.endpoint.poll_transmit());
        let mut packets: Vec<_> = queued.map(|transmit| transmit.payload).collect();
        packets.extend(std::iter::from_fn(|| sctp.association.poll_transmit(now)).map(|transmit| transmit.payload));
        for payload in packets {
            if let Payload::RawEncode(chunks) = payload {
                self.packets.extend(chunks.into_iter().map(|bytes| bytes.to_vec()));
            }
        }
    }
}

impl Channel {
    fn opened(&self, stream: StreamId) -> DataEvent {
        let (max_retransmits, max_lifetime) = match self.reliability.limit {
            Limit::Reliable => (None, None),
            Limit::Retransmissions(n) => (Some(n), None),
            Limit::Lifetime(ms) => (None, Some(ms)),
        };
        DataEvent::Opened(DataChannel {
            stream,
            label: self.label.clone(),
            ordered: self.reliability.ordered,
            max_retransmits,
            max_lifetime,
        })
    }
}

fn set_reliability(stream: &mut sctp_proto::Stream<'_>, reliability: Reliability) -> bool {
    let (kind, value) = match reliability.limit {
        Limit::Reliable => (ReliabilityType::Reliable, 0),
        Limit::Retransmissions(n) => (ReliabilityType::Rexmit, n),
        Limit::Lifetime(ms) => (ReliabilityType::Timed, ms),
    };
    stream.set_reliability_params(!reliability.ordered, kind, value).is_ok()
}
