//! Links between the engine and clients: of one client alone, or shared.

use std::collections::VecDeque;
use std::time::Duration;

use netem::{Link, LinkConfig};

use crate::tcp::Tcp;
use crate::world::{Packet, What};

/// Octets of UDP and IPv4.
pub(crate) const UDP_IP: usize = 28;

/// What travels: a datagram of a client, a segment of a TCP, or something that only takes room.
#[derive(Clone, Debug)]
enum Item {
    Datagram { peer: usize, bytes: Vec<u8> },
    Segment(Packet),
    Filler,
}

/// One direction of a path, with everyone who shares it. Times are microseconds since it began.
pub(crate) struct Wire {
    link: Link<Item>,
    /// Of the empty wire, microseconds.
    pub(crate) delay: u64,
    pub(crate) tcps: Vec<Tcp>,
    /// Bytes of segments that arrived, by TCP.
    pub(crate) tcp_bytes: Vec<u64>,
    filler: Option<Filler>,
    out: Vec<Packet>,
}

/// Traffic that follows the capacity as a converged sender does: it sends so much of it, and hears of changes later.
struct Filler {
    share: f64,
    late: u64,
    capacities: VecDeque<(u64, u64)>,
    credit: f64,
}

/// Bytes of a packet of filler.
const FILLER: usize = 1_200;

impl Wire {
    pub(crate) fn new(config: LinkConfig, tcps: Vec<Tcp>, seed: u64) -> Self {
        Self {
            delay: config.delay.as_micros() as u64,
            link: Link::new(config, seed),
            tcp_bytes: vec![0; tcps.len()],
            tcps,
            filler: None,
            out: Vec::new(),
        }
    }

    /// Adds traffic that takes `share` of the capacity, as it was `late` microseconds ago.
    pub(crate) fn fill(&mut self, share: f64, late: u64) {
        self.filler = Some(Filler {
            share,
            late,
            capacities: VecDeque::new(),
            credit: 0.0,
        });
    }

    /// Returns how long it will wait, milliseconds; none when there is no room for it.
    pub(crate) fn push(&mut self, now: u64, peer: usize, bytes: Vec<u8>) -> Option<f64> {
        let at = Duration::from_micros(now);
        let dropped = self.link.counters().dropped_queue;
        self.link.push(at, bytes.len() + UDP_IP, Item::Datagram { peer, bytes });
        let counters = self.link.counters();
        let wait = counters.queue_delay.map_or(0.0, |delay| delay.as_secs_f64() * 1e3);
        (counters.dropped_queue == dropped).then_some(wait)
    }

    /// Datagrams that arrive by `now`, in order, with their client.
    pub(crate) fn pop(&mut self, now: u64, arrived: &mut Vec<(u64, usize, Vec<u8>)>) {
        self.compete(now);
        while let Some((at, item)) = self.link.pop(Duration::from_micros(now)) {
            let at = at.as_micros() as u64;
            match item {
                Item::Datagram { peer, bytes } => arrived.push((at, peer, bytes)),
                Item::Segment(packet) => {
                    let What::Segment { number } = packet.what;
                    self.tcp_bytes[packet.flow] += u64::from(packet.bytes);
                    self.tcps[packet.flow].on_arrival(number, at);
                }
                Item::Filler => {}
            }
        }
    }

    /// Bits per second at the last time told; none where nothing limits.
    pub(crate) fn capacity(&self) -> Option<u64> {
        self.link.counters().capacity
    }

    /// Bytes that could have been carried so far.
    pub(crate) fn could_carry(&self) -> u64 {
        self.link.counters().capacity_bytes
    }

    /// What others send.
    fn compete(&mut self, now: u64) {
        for (index, tcp) in self.tcps.iter_mut().enumerate() {
            tcp.step(now, index, &mut self.out);
        }
        let at = Duration::from_micros(now);
        for packet in self.out.drain(..) {
            self.link.push(at, packet.bytes as usize, Item::Segment(packet));
        }
        let Some(filler) = &mut self.filler else { return };
        self.link.advance_to(at);
        let capacity = self.link.counters().capacity.unwrap_or(0);
        filler.capacities.push_back((now, capacity));
        while filler
            .capacities
            .front()
            .is_some_and(|(since, _)| since + filler.late < now)
        {
            filler.capacities.pop_front();
        }
        let known = filler.capacities.front().map_or(0, |&(_, capacity)| capacity);
        // Steps are of a millisecond.
        filler.credit += known as f64 * filler.share / 8e3;
        while filler.credit >= FILLER as f64 {
            filler.credit -= FILLER as f64;
            self.link.push(at, FILLER, Item::Filler);
        }
    }
}
