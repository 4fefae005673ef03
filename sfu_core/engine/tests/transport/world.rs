//! A transport and a client joined by a network that delays, loses and reorders, in simulated time.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use pysfu_engine::Config;
use pysfu_engine::command::{Fingerprint, IceCredentials};
use pysfu_engine::dtls::DtlsIdentity;
use pysfu_engine::ids::SocketId;
use pysfu_engine::transport::{Transport, TransportEvent};

use crate::client::{Client, Version};

pub(crate) const SOCKET: SocketId = SocketId(1);
const STEP: Duration = Duration::from_millis(5);

pub(crate) struct World {
    pub(crate) now: Instant,
    pub(crate) transport: Transport,
    pub(crate) client: Client,
    /// Where the client's datagrams come from.
    pub(crate) from: SocketAddr,
    /// Where the client can be reached; everything else is lost.
    pub(crate) reachable: Vec<SocketAddr>,
    pub(crate) events: Vec<TransportEvent>,
    /// Percent of datagrams lost.
    pub(crate) loss: u64,
    /// Most milliseconds of delay, drawn per datagram.
    pub(crate) jitter: u64,
    random: u64,
    flying: Vec<(Instant, Flight)>,
}

enum Flight {
    ToServer(SocketAddr, Vec<u8>),
    ToClient(SocketAddr, Vec<u8>),
}

pub(crate) fn credentials(ufrag: &str) -> IceCredentials {
    IceCredentials {
        ufrag: ufrag.to_owned(),
        pwd: format!("{ufrag}-password-of-22-characters"),
    }
}

pub(crate) fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], port))
}

pub(crate) fn identity() -> Arc<DtlsIdentity> {
    static IDENTITY: OnceLock<Arc<DtlsIdentity>> = OnceLock::new();
    Arc::clone(IDENTITY.get_or_init(|| Arc::new(DtlsIdentity::generate().unwrap())))
}

pub(crate) fn config() -> Config {
    Config {
        max_data_message: 100_000,
        max_data_buffered: 300_000,
        max_data_channels_per_peer: 4,
        ..Config::default()
    }
}

impl World {
    /// The transport does not know the client's credentials yet.
    pub(crate) fn new(version: Version) -> Self {
        let now = Instant::now();
        let server = credentials("server");
        Self {
            now,
            transport: Transport::new(now, server.clone(), identity(), &config()),
            client: Client::new(now, version, credentials("client"), server),
            from: address(1_000),
            reachable: vec![address(1_000)],
            events: Vec::new(),
            loss: 0,
            jitter: 10,
            random: 0x2545_f491_4f6c_dd1d,
            flying: Vec::new(),
        }
    }

    pub(crate) fn connected(version: Version) -> Self {
        let mut world = Self::new(version);
        world.announce();
        world.run_until("connected", |world| world.client.connected && world.is_connected());
        world
    }

    /// With SCTP up.
    pub(crate) fn with_data() -> Self {
        let mut world = Self::connected(Version::Auto);
        world.client.start_sctp(world.now);
        world.run_until("association", |w| {
            !w.client.sctp.as_ref().unwrap().association.is_handshaking()
        });
        world
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        self.random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    }

    pub(crate) fn announce(&mut self) {
        let fingerprints = vec![Fingerprint([0; 32]), self.client.fingerprint];
        self.transport
            .set_remote(self.now, self.client.ice.clone(), fingerprints);
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.events
            .iter()
            .any(|event| matches!(event, TransportEvent::Connected { .. }))
    }

    pub(crate) fn saw(&self, event: &TransportEvent) -> bool {
        self.events.contains(event)
    }

    pub(crate) fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let limit = self.now + Duration::from_secs(60);
        while !done(self) {
            assert!(self.now < limit, "not {what} after 60 s: {:?}", self.events);
            self.step();
        }
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let until = self.now + time;
        while self.now < until {
            self.step();
        }
    }

    fn step(&mut self) {
        self.now += STEP;
        while let Some(i) = self.flying.iter().position(|(at, _)| *at <= self.now) {
            match self.flying.swap_remove(i).1 {
                Flight::ToServer(from, datagram) => self.reach_server(from, &datagram),
                Flight::ToClient(to, datagram) if self.reachable.contains(&to) => {
                    self.client.handle(self.now, &datagram);
                }
                Flight::ToClient(..) => {}
            }
        }
        self.client.handle_timeout(self.now);
        if self.transport.next_timeout().is_some_and(|at| at <= self.now) {
            self.transport.handle_timeout(self.now);
        }
        while let Some(datagram) = self.client.out.pop_front() {
            let flight = Flight::ToServer(self.from, datagram);
            self.fly(flight);
        }
        self.drain();
    }

    /// As an engine routes it.
    pub(crate) fn reach_server(&mut self, from: SocketAddr, datagram: &[u8]) {
        match wire::demux::classify(datagram) {
            Some(wire::demux::Kind::Stun) => self.transport.handle_stun(self.now, SOCKET, from, datagram),
            Some(wire::demux::Kind::Dtls) => self.transport.handle_dtls(self.now, SOCKET, from, datagram),
            _ => {}
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(event) = self.transport.poll_event() {
            self.events.push(event);
        }
        while let Some((socket, to, datagram)) = self.transport.poll_datagram() {
            assert_eq!(socket, SOCKET);
            self.fly(Flight::ToClient(to, datagram));
        }
    }

    fn fly(&mut self, flight: Flight) {
        let lost = self.next() % 100 < self.loss;
        let delay = Duration::from_millis(5 + self.next() % self.jitter.max(1));
        if !lost {
            self.flying.push((self.now + delay, flight));
        }
    }

    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random >> 8
    }
}
