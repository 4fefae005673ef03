//! A client: ICE checks, DTLS client, SCTP association, all in simulated time.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dimpl::certificate::generate_self_signed_certificate;
use dimpl::{Dtls, Output};
use pysfu_engine::command::{Fingerprint, IceCredentials};
use pysfu_engine::event::SrtpProfile;
use pysfu_engine::srtp::{SrtpReceiver, SrtpSender, key_lengths};
use sctp_proto::{
    Association, AssociationHandle, ClientConfig, DatagramEvent, Endpoint, EndpointConfig, Event, Payload,
    PayloadProtocolIdentifier as Ppid, ServerConfig, StreamEvent,
};

use crate::stun;

pub(crate) struct Client {
    pub(crate) ice: IceCredentials,
    pub(crate) server: IceCredentials,
    pub(crate) check: stun::Flags,
    pub(crate) fingerprint: Fingerprint,
    /// That of the server's certificate, once seen.
    pub(crate) server_certificate: Option<Vec<u8>>,
    pub(crate) connected: bool,
    pub(crate) closed: bool,
    /// The handshake took too long.
    pub(crate) failed: bool,
    pub(crate) keys: Option<(SrtpProfile, SrtpSender, SrtpReceiver)>,
    pub(crate) out: VecDeque<Vec<u8>>,
    pub(crate) sctp: Option<Sctp>,
    /// Waits for an INIT.
    awaiting: Option<Endpoint>,
    pub(crate) messages: Vec<(u16, Ppid, Vec<u8>)>,
    pub(crate) streams_finished: Vec<u16>,
    pub(crate) answers: Vec<stun::Answer>,
    /// Percent of SCTP packets that are damaged, checksum made right again.
    pub(crate) damage: u64,
    pub(crate) random: u64,
    /// Checks only.
    pub(crate) dtls_paused: bool,
    dtls: Dtls,
    /// Begins DTLS at the first successful check.
    dtls_started: bool,
    /// It is the DTLS client.
    active: bool,
    next_check: Instant,
    dtls_deadline: Option<Instant>,
}

pub(crate) struct Sctp {
    endpoint: Endpoint,
    handle: AssociationHandle,
    pub(crate) association: Association,
}

pub(crate) enum Version {
    Dtls12,
    Auto,
}

const CHECK_INTERVAL: Duration = Duration::from_millis(500);

impl Client {
    pub(crate) fn new(now: Instant, version: Version, ice: IceCredentials, server: IceCredentials) -> Self {
        let certificate = generate_self_signed_certificate().unwrap();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, &certificate.certificate);
        let config = Arc::new(
            dimpl::Config::builder()
                .flight_start_rto(Duration::from_millis(100))
                .flight_retries(9)
                .build()
                .unwrap(),
        );
        let mut dtls = match version {
            Version::Dtls12 => Dtls::new_12(config, certificate, now),
            Version::Auto => Dtls::new_auto(config, certificate, now),
        };
        dtls.set_active(true);
        Self {
            ice,
            server,
            check: stun::Flags {
                nominate: true,
                ..stun::Flags::default()
            },
            fingerprint: Fingerprint(digest.as_ref().try_into().unwrap()),
            server_certificate: None,
            connected: false,
            closed: false,
            failed: false,
            keys: None,
            out: VecDeque::new(),
            sctp: None,
            awaiting: None,
            messages: Vec::new(),
            streams_finished: Vec::new(),
            answers: Vec::new(),
            damage: 0,
            random: 1,
            dtls_paused: false,
            dtls,
            dtls_started: false,
            active: true,
            next_check: now,
            dtls_deadline: None,
        }
    }

    /// The server is to begin.
    pub(crate) fn await_dtls(&mut self) {
        self.dtls.set_active(false);
        (self.dtls_started, self.active) = (true, false);
    }

    pub(crate) fn start_dtls(&mut self, now: Instant) {
        if !self.dtls_started {
            self.dtls_started = true;
            self.dtls.handle_timeout(now).unwrap();
            self.drain_dtls(now);
        }
    }

    pub(crate) fn start_sctp(&mut self, now: Instant) {
        let mut endpoint = Endpoint::new(Arc::new(EndpointConfig::new()), None);
        let transport = sctp_proto::TransportConfig::default()
            .with_max_receive_message_size(1 << 20)
            .with_max_send_message_size(1 << 20)
            .with_rto_initial_ms(300)
            .with_rto_min_ms(300);
        let mut config = ClientConfig::new();
        config.transport = Arc::new(transport);
        let (handle, association) = endpoint.connect(config, "127.0.0.1:5000".parse().unwrap()).unwrap();
        self.sctp = Some(Sctp {
            endpoint,
            handle,
            association,
        });
        self.drain_sctp(now);
    }

    /// The server is to begin.
    pub(crate) fn await_sctp(&mut self) {
        let (endpoint, server) = (EndpointConfig::new(), ServerConfig::new());
        self.awaiting = Some(Endpoint::new(Arc::new(endpoint), Some(Arc::new(server))));
    }

    pub(crate) fn open_stream(&mut self, now: Instant, id: u16, open: &[u8]) {
        self.sctp
            .as_mut()
            .unwrap()
            .association
            .open_stream(id, Ppid::Binary)
            .unwrap();
        self.write(now, id, Ppid::Dcep, open);
    }

    /// Of a channel that was opened before.
    pub(crate) fn open_empty_stream(&mut self, id: u16) {
        let association = &mut self.sctp.as_mut().unwrap().association;
        association.open_stream(id, Ppid::Binary).unwrap();
    }

    pub(crate) fn write(&mut self, now: Instant, id: u16, ppid: Ppid, payload: &[u8]) {
        let association = &mut self.sctp.as_mut().unwrap().association;
        association.stream(id).unwrap().write_with_ppi(payload, ppid).unwrap();
        self.drain_sctp(now);
    }

    pub(crate) fn close_stream(&mut self, now: Instant, id: u16) {
        self.sctp
            .as_mut()
            .unwrap()
            .association
            .stream(id)
            .unwrap()
            .close()
            .unwrap();
        self.drain_sctp(now);
    }

    /// Whether or not there still is an association.
    pub(crate) fn try_open_stream(&mut self, now: Instant, id: u16, open: &[u8]) {
        let association = &mut self.sctp.as_mut().unwrap().association;
        let _ = association.open_stream(id, Ppid::Binary);
        self.try_write(now, id, Ppid::Dcep, open);
    }

    pub(crate) fn try_write(&mut self, now: Instant, id: u16, ppid: Ppid, payload: &[u8]) {
        let association = &mut self.sctp.as_mut().unwrap().association;
        if let Ok(mut stream) = association.stream(id) {
            let _ = stream.write_with_ppi(payload, ppid);
        }
        self.drain_sctp(now);
    }

    pub(crate) fn try_close_stream(&mut self, now: Instant, id: u16) {
        let association = &mut self.sctp.as_mut().unwrap().association;
        if let Ok(mut stream) = association.stream(id) {
            let _ = stream.close();
        }
        self.drain_sctp(now);
    }

    pub(crate) fn close_dtls(&mut self, now: Instant) {
        self.dtls.close().unwrap();
        self.drain_dtls(now);
    }

    pub(crate) fn send_application_data(&mut self, now: Instant, data: &[u8]) {
        self.dtls.handle_timeout(now).unwrap();
        self.dtls.send_application_data(data).unwrap();
        self.drain_dtls(now);
    }

    pub(crate) fn handle(&mut self, now: Instant, datagram: &[u8]) {
        match wire::demux::classify(datagram) {
            Some(wire::demux::Kind::Stun) => {
                let answer = stun::read_answer(datagram, &self.server.pwd);
                if answer.success && !self.dtls_paused {
                    self.start_dtls(now);
                }
                self.answers.push(answer);
            }
            Some(wire::demux::Kind::Dtls) => {
                self.dtls.handle_timeout(now).unwrap();
                self.dtls.handle_packet(datagram).unwrap();
                self.drain_dtls(now);
            }
            _ => {}
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.next_check <= now {
            self.next_check = now + CHECK_INTERVAL;
            self.out.push_back(stun::request(&self.ice, &self.server, &self.check));
        }
        if self.dtls_deadline.is_some_and(|at| at <= now) && !self.failed {
            match self.dtls.handle_timeout(now) {
                Ok(()) => self.drain_dtls(now),
                Err(_) => self.failed = true,
            }
        }
        if let Some(sctp) = &mut self.sctp {
            sctp.association.handle_timeout(now);
            self.drain_sctp(now);
        }
    }

    fn drain_dtls(&mut self, now: Instant) {
        let mut buffer = vec![0; 4_096];
        let mut packets = Vec::new();
        loop {
            match self.dtls.poll_output(&mut buffer) {
                Output::Packet(packet) => self.out.push_back(packet.to_vec()),
                Output::BufferTooSmall { needed } => buffer.resize(needed, 0),
                Output::PeerCert(der) => self.server_certificate = Some(der.to_vec()),
                Output::Connected => self.connected = true,
                Output::KeyingMaterial(material, profile) => self.keys = Some(keys(&material, profile, self.active)),
                Output::ApplicationData(data) => packets.push(data.to_vec()),
                Output::CloseNotify => self.closed = true,
                Output::Timeout(at) => {
                    self.dtls_deadline = Some(at);
                    break;
                }
                _ => {}
            }
        }
        for packet in packets {
            let remote = "127.0.0.1:5000".parse().unwrap();
            if let Some(mut endpoint) = self.awaiting.take() {
                match endpoint.handle(now, remote, None, None, packet.into()) {
                    Some((handle, DatagramEvent::NewAssociation(association))) => {
                        self.sctp = Some(Sctp {
                            endpoint,
                            handle,
                            association,
                        });
                    }
                    _ => self.awaiting = Some(endpoint),
                }
                self.drain_sctp(now);
                continue;
            }
            let Some(sctp) = &mut self.sctp else { continue };
            if let Some((_, DatagramEvent::AssociationEvent(event))) =
                sctp.endpoint.handle(now, remote, None, None, packet.into())
            {
                sctp.association.handle_event(event);
            }
            self.drain_sctp(now);
        }
    }

    fn drain_sctp(&mut self, now: Instant) {
        let Some(sctp) = &mut self.sctp else { return };
        while let Some(event) = sctp.association.poll() {
            match event {
                Event::Stream(StreamEvent::Readable { id }) => {
                    while let Ok(Some(chunks)) = sctp.association.stream(id).and_then(|mut s| s.read_sctp()) {
                        let mut payload = vec![0; chunks.len()];
                        chunks.read(&mut payload).unwrap();
                        self.messages.push((id, chunks.ppi, payload));
                    }
                }
                Event::Stream(StreamEvent::Finished { id }) => self.streams_finished.push(id),
                _ => {}
            }
        }
        while let Some(event) = sctp.association.poll_endpoint_event() {
            sctp.endpoint.handle_event(sctp.handle, event);
        }
        let mut packets = Vec::new();
        while let Some(transmit) = sctp.association.poll_transmit(now) {
            if let Payload::RawEncode(chunks) = transmit.payload {
                packets.extend(chunks.into_iter().map(|bytes| bytes.to_vec()));
            }
        }
        for mut packet in packets {
            if self.next() % 100 < self.damage {
                self.damage_sctp(&mut packet);
            }
            self.send_application_data(now, &packet);
        }
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 11
    }

    /// Changes, removes and repeats bytes behind the common header (RFC 9260 section 3).
    fn damage_sctp(&mut self, packet: &mut Vec<u8>) {
        for _ in 0..=self.next() % 3 {
            let at = 12 + self.next() as usize % (packet.len() - 12).max(1);
            match self.next() % 5 {
                0 => packet.truncate(at.max(16)),
                1 => {
                    let tail = packet[at.min(packet.len())..].to_vec();
                    packet.extend(tail);
                }
                _ if at < packet.len() => {
                    packet[at] = match self.next() % 4 {
                        0 => 0,
                        1 => 0xff,
                        2 => packet[at] ^ 1 << (self.next() % 8),
                        _ => self.next() as u8,
                    };
                }
                _ => {}
            }
        }
        packet[8..12].fill(0);
        let sum = crc32c(packet);
        packet[8..12].copy_from_slice(&sum.to_le_bytes());
    }
}

/// RFC 9260 appendix A.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
        }
    }
    !crc
}

/// The client's halves of the exported keys (RFC 5764 section 4.2).
fn keys(material: &[u8], profile: dimpl::SrtpProfile, active: bool) -> (SrtpProfile, SrtpSender, SrtpReceiver) {
    let profile = match profile {
        dimpl::SrtpProfile::AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
        dimpl::SrtpProfile::AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
        _ => SrtpProfile::Aes128CmHmacSha1_80,
    };
    let (key, salt) = key_lengths(profile);
    let (client_key, rest) = material.split_at(key);
    let (server_key, rest) = rest.split_at(key);
    let (client_salt, server_salt) = rest.split_at(salt);
    let (client, server) = ((client_key, client_salt), (server_key, server_salt));
    let (ours, theirs) = if active { (client, server) } else { (server, client) };
    (
        profile,
        SrtpSender::new(profile, ours.0, ours.1).unwrap(),
        SrtpReceiver::new(profile, theirs.0, theirs.1).unwrap(),
    )
}
