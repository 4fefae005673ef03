//! DTLS with one peer (RFC 6347, RFC 9147), keying SRTP (RFC 5764): as its server, or as its client where we begin.
//!
//! Whom to listen to is the transport's business: what comes here was sent from an address that passed ICE, so the cookie
//! exchange is left out. Not implemented: session resumption.

mod hello;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::digest;
use dimpl::certificate::generate_self_signed_certificate;
use dimpl::{Dtls, DtlsCertificate, KeyingMaterial, Output};

use self::hello::{HelloBuffer, MAX_BUFFERED, Version};
use crate::command::Fingerprint;
use crate::event::{DisconnectReason, SrtpProfile};
use crate::srtp::{SrtpReceiver, SrtpSender, key_lengths};

/// Largest DTLS record that carries handshake messages. Certificates of clients fit few; paths of 1,280 bytes carry it.
const MTU: usize = 1_150;
/// Datagrams buffered for reordering, of 1,500 bytes each.
const MAX_RECEIVE_QUEUE: usize = 20;
/// Shorter resends more on paths with a long round-trip time, longer joins later after a loss.
const FIRST_RETRANSMISSION: Duration = Duration::from_millis(250);
const MAX_RETRANSMISSIONS: usize = 7;
/// The same of a handshake that we begin: the client is there already, and takes a moment to answer to where it comes from.
const FIRST_RETRANSMISSION_BEGUN: Duration = Duration::from_millis(40);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(20);

/// Self-signed ECDSA P-256 certificate of this process, shared by all its engines.
pub struct DtlsIdentity {
    certificate: DtlsCertificate,
    fingerprint: Fingerprint,
    config: Arc<dimpl::Config>,
    begins: Arc<dimpl::Config>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot generate a certificate: {0}")]
pub struct IdentityError(String);

impl DtlsIdentity {
    pub fn generate() -> Result<Self, IdentityError> {
        let certificate = generate_self_signed_certificate().map_err(|e| IdentityError(e.to_string()))?;
        let config = |first_retransmission| {
            let built = dimpl::Config::builder()
                .mtu(MTU)
                .max_queue_rx(MAX_RECEIVE_QUEUE)
                .use_server_cookie(false)
                .flight_start_rto(first_retransmission)
                .flight_retries(MAX_RETRANSMISSIONS)
                .handshake_timeout(HANDSHAKE_TIMEOUT)
                .build();
            built.map(Arc::new).map_err(|e| IdentityError(e.to_string()))
        };
        Ok(Self {
            fingerprint: sha256(&certificate.certificate),
            certificate,
            config: config(FIRST_RETRANSMISSION)?,
            begins: config(FIRST_RETRANSMISSION_BEGUN)?,
        })
    }

    /// SHA-256 of the certificate, to be announced in SDP (RFC 8122).
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl std::fmt::Debug for DtlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DtlsIdentity")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

fn sha256(der: &[u8]) -> Fingerprint {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest::digest(&digest::SHA256, der).as_ref());
    Fingerprint(bytes)
}

/// SRTP contexts of both directions.
pub struct SrtpKeys {
    pub profile: SrtpProfile,
    pub sender: SrtpSender,
    pub receiver: SrtpReceiver,
}

pub(crate) enum DtlsEvent {
    /// The handshake is done with one of the announced certificates.
    Connected(Box<SrtpKeys>),
    Data(Vec<u8>),
    /// Nothing follows.
    Ended(DisconnectReason),
}

/// Created by the first datagram, so that a transport that waits costs nothing.
pub(crate) struct DtlsServer {
    identity: Arc<DtlsIdentity>,
    state: State,
    /// From the ClientHello on.
    dtls: Option<Box<Dtls>>,
    /// We are the client.
    begun: bool,
    /// Bytes received while the handshake has not begun.
    hello_bytes: usize,
    /// SHA-256 of the certificate that the peer proved to own.
    peer: Option<Fingerprint>,
    /// Those announced by signaling; may come later than the handshake.
    announced: Vec<Fingerprint>,
    deadline: Option<Instant>,
    datagrams: VecDeque<Vec<u8>>,
    events: VecDeque<DtlsEvent>,
}

enum State {
    Hello(HelloBuffer),
    Handshake,
    /// Done, but the peer's certificate is not verified before its fingerprint is announced.
    Unverified(Option<Box<SrtpKeys>>),
    Connected,
    Ended,
}

impl DtlsServer {
    pub(crate) fn new(identity: Arc<DtlsIdentity>, announced: Vec<Fingerprint>) -> Self {
        Self {
            identity,
            state: State::Hello(HelloBuffer::default()),
            dtls: None,
            begun: false,
            hello_bytes: 0,
            peer: None,
            announced,
            deadline: None,
            datagrams: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// We send the ClientHello, in the version that the peer chooses.
    pub(crate) fn begin(&mut self, now: Instant) {
        let (config, certificate) = (Arc::clone(&self.identity.begins), self.identity.certificate.clone());
        let mut dtls = Dtls::new_auto(config, certificate, now);
        dtls.set_active(true);
        (self.state, self.begun, self.dtls) = (State::Handshake, true, Some(Box::new(dtls)));
        self.with_dtls(|dtls| dtls.handle_timeout(now));
    }

    /// Fingerprints of the certificates that the peer may have. Those of an established connection don't change.
    pub(crate) fn announce(&mut self, fingerprints: &[Fingerprint]) {
        self.announced = fingerprints.to_vec();
        self.verify();
    }

    pub(crate) fn handle_datagram(&mut self, now: Instant, datagram: &[u8]) {
        let State::Hello(buffer) = &mut self.state else {
            return self.feed(now, datagram);
        };
        if let Some((version, datagrams)) = buffer.push(datagram) {
            self.state = State::Handshake;
            self.dtls = Some(Box::new(self.new_dtls(now, version)));
            self.hello_bytes = 0;
            datagrams.iter().for_each(|datagram| self.feed(now, datagram));
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.with_dtls(|dtls| dtls.handle_timeout(now));
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.deadline
    }

    /// Application data; dropped unless connected.
    pub(crate) fn send(&mut self, now: Instant, data: &[u8]) {
        if matches!(self.state, State::Connected) {
            self.with_dtls(|dtls| {
                dtls.handle_timeout(now)?;
                dtls.send_application_data(data).map(|_| ())
            });
        }
    }

    /// Queues a `close_notify` where there is a connection.
    pub(crate) fn close(&mut self) {
        self.with_dtls(Dtls::close);
        self.end();
    }

    pub(crate) fn poll_datagram(&mut self) -> Option<Vec<u8>> {
        self.datagrams.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<DtlsEvent> {
        self.events.pop_front()
    }

    fn feed(&mut self, now: Instant, datagram: &[u8]) {
        if !self.begun
            && matches!(self.state, State::Handshake)
            && self.dtls.as_ref().is_some_and(|d| d.protocol_version().is_none())
        {
            self.hello_bytes += datagram.len();
            if self.hello_bytes > MAX_BUFFERED {
                self.state = State::Hello(HelloBuffer::default());
                (self.dtls, self.deadline) = (None, None);
                return;
            }
        }
        self.with_dtls(|dtls| {
            dtls.handle_timeout(now)?;
            dtls.handle_packet(datagram)
        });
    }

    fn with_dtls(&mut self, act: impl FnOnce(&mut Dtls) -> Result<(), dimpl::Error>) {
        if matches!(self.state, State::Ended) {
            return;
        }
        let Some(mut dtls) = self.dtls.take() else { return };
        // Every error is fatal, and nothing may be polled after it.
        match act(&mut dtls) {
            Ok(()) => {
                self.drain(&mut dtls);
                self.dtls = Some(dtls);
            }
            Err(error) => {
                tracing::debug!(%error, "DTLS failed");
                self.fail(DisconnectReason::DtlsFailed);
            }
        }
    }

    fn drain(&mut self, dtls: &mut Dtls) {
        let mut buffer = vec![0; 2_048];
        let mut connected = false;
        let mut keys = None;
        loop {
            match dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => self.datagrams.push_back(packet.to_vec()),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::PeerCert(der) => self.peer = Some(sha256(der)),
                Output::Connected => connected = true,
                Output::KeyingMaterial(material, profile) => keys = srtp_keys(&material, profile, self.begun),
                // Before the peer is verified it may be anyone's; SCTP repeats it.
                Output::ApplicationData(data) if matches!(self.state, State::Connected) => {
                    self.events.push_back(DtlsEvent::Data(data.to_vec()));
                }
                Output::CloseNotify => {
                    self.fail(DisconnectReason::Closed);
                    return;
                }
                Output::Timeout(at) => {
                    self.deadline = (!matches!(self.state, State::Ended)).then_some(at);
                    break;
                }
                _ => {}
            }
            // Keys come right behind: verified before application data of the same flight.
            if connected && keys.is_some() {
                connected = false;
                self.state = State::Unverified(keys.take().map(Box::new));
                self.verify();
            }
        }
        if connected {
            self.fail(DisconnectReason::NoSrtpProfile);
        }
    }

    fn verify(&mut self) {
        let State::Unverified(keys) = &mut self.state else {
            return;
        };
        if self.announced.is_empty() {
            return;
        }
        if !self.peer.is_some_and(|peer| self.announced.contains(&peer)) {
            self.fail(DisconnectReason::FingerprintMismatch);
        } else if let Some(keys) = keys.take() {
            self.state = State::Connected;
            self.events.push_back(DtlsEvent::Connected(keys));
        }
    }

    fn fail(&mut self, reason: DisconnectReason) {
        if !matches!(self.state, State::Ended) {
            self.end();
            self.events.push_back(DtlsEvent::Ended(reason));
        }
    }

    fn new_dtls(&self, now: Instant, version: Version) -> Dtls {
        let (config, certificate) = (Arc::clone(&self.identity.config), self.identity.certificate.clone());
        match version {
            Version::Dtls12 => Dtls::new_12(config, certificate, now),
            Version::Best => Dtls::new_auto(config, certificate, now),
        }
    }

    fn end(&mut self) {
        self.state = State::Ended;
        self.deadline = None;
    }
}

/// Client key, server key, client salt, server salt (RFC 5764 section 4.2). `begun`: we are the client.
fn srtp_keys(material: &KeyingMaterial, profile: dimpl::SrtpProfile, begun: bool) -> Option<SrtpKeys> {
    let profile = match profile {
        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
        dimpl::SrtpProfile::AES128_CM_SHA1_80 => SrtpProfile::Aes128CmHmacSha1_80,
        _ => return None,
    };
    let (key, salt) = key_lengths(profile);
    let (client_key, rest) = material.split_at_checked(key)?;
    let (server_key, rest) = rest.split_at_checked(key)?;
    let (client_salt, server_salt) = rest.split_at_checked(salt)?;
    let (client, server) = ((client_key, client_salt), (server_key, server_salt));
    let (ours, theirs) = if begun { (client, server) } else { (server, client) };
    Some(SrtpKeys {
        profile,
        sender: SrtpSender::new(profile, ours.0, ours.1).ok()?,
        receiver: SrtpReceiver::new(profile, theirs.0, theirs.1).ok()?,
    })
}
