//! A relay of UDP: clients send to its ports, servers see one socket per client.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::str::FromStr;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};

use crate::emulator::{Direction, Emulator};
use crate::wait::Wait;
use crate::{Emulation, Failure};

#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Where clients send to, and the server it goes on to; port 0 for any free one, which the first line of output
    /// tells. Once per port
    #[arg(long, required = true, value_name = "LISTEN=TO")]
    forward: Vec<Forward>,
    /// Whose packets meet in one pair of links
    #[arg(long, value_enum, default_value = "all")]
    share: Share,
    /// Clients at once; what comes from more is dropped
    #[arg(long, default_value_t = 1_024)]
    clients: usize,
    /// Seconds without a packet after which a client is forgotten
    #[arg(long, default_value_t = 60)]
    idle_s: u64,
    #[command(flatten)]
    emulation: Emulation,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Share {
    /// One bottleneck for everything: a household
    All,
    /// One for each --forward, numbered in order
    Forward,
    /// One for each client address
    Client,
}

#[derive(Clone, Copy, Debug)]
struct Forward {
    listen: SocketAddr,
    to: SocketAddr,
}

impl FromStr for Forward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (listen, to) = text.split_once('=').ok_or("expected LISTEN=TO")?;
        let address = |text: &str| text.parse().map_err(|error| format!("{text}: {error}"));
        let forward = Self {
            listen: address(listen)?,
            to: address(to)?,
        };
        if forward.listen.is_ipv4() != forward.to.is_ipv4() {
            return Err("both addresses need to be of one family".to_owned());
        }
        Ok(forward)
    }
}

/// Read from one socket before others have their turn.
const BATCH: usize = 64;
const LARGEST: usize = 65_536;
/// Bursts wait in the kernel until they are read.
static KERNEL_BUFFER: libc::c_int = 4 << 20;

struct Port {
    socket: UdpSocket,
    to: SocketAddr,
}

struct Client {
    number: u64,
    port: usize,
    address: SocketAddr,
    upstream: UdpSocket,
    link: u32,
    heard: Instant,
}

#[derive(Clone)]
struct Packet {
    client: u64,
    payload: Vec<u8>,
}

struct Relay {
    ports: Vec<Port>,
    clients: Vec<Client>,
    /// Places in `clients`.
    by_address: HashMap<(usize, SocketAddr), usize>,
    by_number: HashMap<u64, usize>,
    next_number: u64,
    share: Share,
    most_clients: usize,
    idle: Duration,
    emulator: Emulator<Packet>,
    buffer: Vec<u8>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    let mut wait = Wait::new().map_err(Failure::io("signals"))?;
    let ports: Result<Vec<Port>, Failure> = options.forward.iter().map(Port::open).collect();
    let mut relay = Relay {
        ports: ports?,
        clients: Vec::new(),
        by_address: HashMap::new(),
        by_number: HashMap::new(),
        next_number: 0,
        share: options.share,
        most_clients: options.clients,
        idle: Duration::from_secs(options.idle_s),
        emulator: Emulator::new(&options.emulation)?,
        buffer: vec![0; LARGEST],
    };
    relay.announce()?;
    let mut watched = usize::MAX;
    loop {
        if relay.clients.len() != watched {
            watched = relay.clients.len();
            wait.watch(relay.descriptors());
        }
        if !relay.emulator.wait(&mut wait)? {
            return Ok(());
        }
        relay.deliver();
        let ready: Vec<usize> = (0..relay.ports.len() + watched)
            .filter(|&index| wait.readable(index))
            .collect();
        for index in ready {
            match index.checked_sub(relay.ports.len()) {
                None => relay.read_clients(index),
                Some(client) => relay.read_server(client),
            }
            relay.deliver();
        }
        if relay.forget_idle() {
            watched = usize::MAX;
        }
    }
}

impl Port {
    fn open(forward: &Forward) -> Result<Self, Failure> {
        let socket = open(forward.listen).map_err(Failure::io(forward.listen.to_string()))?;
        Ok(Self { socket, to: forward.to })
    }
}

impl Relay {
    /// The first line says where clients reach which server.
    fn announce(&mut self) -> Result<(), Failure> {
        let mut forwards = Vec::new();
        for (index, port) in self.ports.iter().enumerate() {
            let listen = port.socket.local_addr().map_err(Failure::io("address"))?;
            forwards.push(serde_json::json!({ "listen": listen, "to": port.to }));
            match self.share {
                Share::All => self.emulator.open(0),
                Share::Forward => self.emulator.open(index as u32),
                Share::Client => {}
            }
        }
        self.emulator.say(&serde_json::json!({ "forwards": forwards }));
        Ok(())
    }

    fn descriptors(&self) -> Vec<i32> {
        let ports = self.ports.iter().map(|port| port.socket.as_raw_fd());
        let clients = self.clients.iter().map(|client| client.upstream.as_raw_fd());
        ports.chain(clients).collect()
    }

    fn read_clients(&mut self, port: usize) {
        for _ in 0..BATCH {
            let Ok((length, address)) = self.ports[port].socket.recv_from(&mut self.buffer) else {
                return;
            };
            let Some(place) = self.client(port, address) else {
                continue;
            };
            self.push(place, Direction::Up, length);
        }
    }

    fn read_server(&mut self, place: usize) {
        for _ in 0..BATCH {
            // An error is the end of what waits, or the server's "port unreachable", which UDP clients ignore too.
            let Ok(length) = self.clients[place].upstream.recv(&mut self.buffer) else {
                return;
            };
            self.push(place, Direction::Down, length);
        }
    }

    fn push(&mut self, place: usize, direction: Direction, length: usize) {
        let client = &mut self.clients[place];
        client.heard = Instant::now();
        let packet = Packet {
            client: client.number,
            payload: self.buffer[..length].to_vec(),
        };
        // A link carries IP: 20 or 40 bytes of its header, 8 of UDP's.
        let headers = if client.address.is_ipv4() { 28 } else { 48 };
        self.emulator.push(client.link, direction, length + headers, packet);
    }

    /// Sends what has arrived. What the kernel does not take is lost, as elsewhere.
    fn deliver(&mut self) {
        self.emulator.deliver(|direction, packet| {
            let Some(&place) = self.by_number.get(&packet.client) else {
                return;
            };
            let client = &self.clients[place];
            let _ = match direction {
                Direction::Up => client.upstream.send(&packet.payload),
                Direction::Down => self.ports[client.port].socket.send_to(&packet.payload, client.address),
            };
        });
    }

    /// The place of the client, who may be new.
    fn client(&mut self, port: usize, address: SocketAddr) -> Option<usize> {
        if let Some(&place) = self.by_address.get(&(port, address)) {
            return Some(place);
        }
        if self.clients.len() >= self.most_clients {
            return None;
        }
        let to = self.ports[port].to;
        let any = if to.is_ipv4() {
            SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
        } else {
            SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))
        };
        let upstream = open(any).ok()?;
        upstream.connect(to).ok()?;
        let number = self.next_number;
        self.next_number += 1;
        let link = match self.share {
            Share::All => 0,
            Share::Forward => port as u32,
            Share::Client => number as u32,
        };
        self.emulator.open(link);
        self.emulator.say(&serde_json::json!({
            "client": address, "link": link, "upstream": upstream.local_addr().ok(), "to": to,
        }));
        let place = self.clients.len();
        self.by_address.insert((port, address), place);
        self.by_number.insert(number, place);
        self.clients.push(Client {
            number,
            port,
            address,
            upstream,
            link,
            heard: Instant::now(),
        });
        Some(place)
    }

    /// Whether there were any.
    fn forget_idle(&mut self) -> bool {
        let (kept, idle): (Vec<Client>, Vec<Client>) = std::mem::take(&mut self.clients)
            .into_iter()
            .partition(|client| client.heard.elapsed() < self.idle);
        self.clients = kept;
        if idle.is_empty() {
            return false;
        }
        if self.share == Share::Client {
            idle.iter().for_each(|client| self.emulator.close(client.link));
        }
        let places = || self.clients.iter().enumerate();
        self.by_address = places()
            .map(|(place, client)| ((client.port, client.address), place))
            .collect();
        self.by_number = places().map(|(place, client)| (client.number, place)).collect();
        true
    }
}

fn open(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    for option in [libc::SO_RCVBUF, libc::SO_SNDBUF] {
        // SAFETY: the option's value is a `c_int` that outlives the call. A failure leaves smaller buffers, no harm.
        unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                option,
                (&raw const KERNEL_BUFFER).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
    }
    Ok(socket)
}
