//! The engine of one worker.

mod commands;
mod crossings;
mod demand;
mod downlinks;
mod feedback;
mod flush;
mod ingest;
mod links;
mod mend;
mod paced;
mod protect;
mod redundancy;
mod redundant;
mod removal;
mod rtcp;
mod snapshot;
mod subscriptions;
mod tick;
mod voices;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustc_hash::FxHashMap;
use slab::Slab;
use wire::demux::{Kind, classify};
use wire::rtcp::report::ReportBlock;

use crate::config::Config;
use crate::counters::Dropped;
use crate::crossing::{Crossing, Neighbour};
use crate::dtls::DtlsIdentity;
use crate::event::{DisconnectReason, Event};
use crate::fec;
use crate::ice;
use crate::ids::{GroupId, PeerId, SocketId, SubscriptionId, TrackId, WorkerId};
use crate::loudest::Group;
use crate::outbox::Outbox;
use crate::packet::PacketPool;
use crate::peer::{Peer, PeerState};
use crate::publish::track::Track;
use crate::stats::WorkerRow;
use crate::transport::TransportEvent;
use crossings::Outgoing;
use subscriptions::Subscriber;

/// Packets held at most, about 1.6 KB each. More serve more publishers within the retransmission window.
const MAX_POOLED: usize = 131_072;

/// Datagram from a peer, remembered until the next flush.
type Datagram = (SocketId, SocketAddr, Vec<u8>);

pub struct Engine {
    config: Config,
    identity: Arc<DtlsIdentity>,
    epoch: Instant,
    counters: WorkerRow,
    peers: Slab<Peer>,
    tracks: Slab<Track>,
    subscribers: Slab<Subscriber>,
    groups: Slab<Group>,
    links: links::Links,
    peer_keys: FxHashMap<PeerId, usize>,
    track_keys: FxHashMap<TrackId, usize>,
    subscription_keys: FxHashMap<SubscriptionId, usize>,
    group_keys: FxHashMap<GroupId, usize>,
    /// Peers by the addresses from which authentic connectivity checks came, and by local user fragment.
    addresses: FxHashMap<(SocketId, SocketAddr), usize>,
    ufrags: FxHashMap<String, usize>,
    /// Who asked for tracks that are not published here yet, and until when they wait, microseconds.
    early: Vec<(TrackId, Neighbour, u64)>,
    pool: PacketPool,
    /// For parity to subscribers.
    parities: fec::Pool,
    events: VecDeque<Event>,
    crossings: Outgoing,
    outbox: Outbox,
    /// Last words of peers that are gone, and what did not fit the arena.
    datagrams: VecDeque<Datagram>,
    /// Keys of peers with something to send, of tracks with pending packets, of publishers with something to watch.
    queued: VecDeque<usize>,
    pending: Vec<usize>,
    busy: Vec<usize>,
    /// Peers whose packets wait for their time.
    paced: Vec<usize>,
    schedule: tick::Schedule,
    /// Reused: numbers to ask for, report blocks to send.
    missing: Vec<u16>,
    blocks: Vec<ReportBlock>,
    allocator: downlinks::Allocator,
    /// Reused: subscriptions to steer after a flush.
    wishes: Vec<usize>,
}

impl Engine {
    /// `now` is the epoch of packet times: engines that exchange crossings must be given the same one.
    pub fn new(now: Instant, config: Config, identity: Arc<DtlsIdentity>) -> Self {
        let counters = WorkerRow {
            worker: config.worker.0.into(),
            ..WorkerRow::default()
        };
        Self {
            config,
            identity,
            epoch: now,
            counters,
            peers: Slab::new(),
            tracks: Slab::new(),
            subscribers: Slab::new(),
            groups: Slab::new(),
            links: links::Links::default(),
            group_keys: FxHashMap::default(),
            peer_keys: FxHashMap::default(),
            track_keys: FxHashMap::default(),
            subscription_keys: FxHashMap::default(),
            addresses: FxHashMap::default(),
            ufrags: FxHashMap::default(),
            early: Vec::new(),
            pool: PacketPool::new(MAX_POOLED),
            parities: fec::Pool::default(),
            events: VecDeque::new(),
            crossings: Outgoing::default(),
            outbox: Outbox::default(),
            datagrams: VecDeque::new(),
            queued: VecDeque::new(),
            pending: Vec::new(),
            busy: Vec::new(),
            paced: Vec::new(),
            allocator: downlinks::Allocator::default(),
            schedule: tick::Schedule::default(),
            missing: Vec::new(),
            blocks: Vec::new(),
            wishes: Vec::new(),
        }
    }

    pub fn handle_datagram(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &mut [u8]) {
        self.counters.datagrams_in += 1;
        self.counters.bytes_in += datagram.len() as u64;
        let key = self.addresses.get(&(socket, from)).copied();
        if let Some(peer) = key.and_then(|key| self.peers.get_mut(key)) {
            peer.datagrams_in += 1;
            peer.bytes_in += datagram.len() as u64;
        }
        let handled = match classify(datagram) {
            Some(Kind::Rtp) => key
                .ok_or(Dropped::UnknownSource)
                .and_then(|key| self.handle_rtp(now, key, datagram)),
            Some(Kind::Rtcp) => key
                .ok_or(Dropped::UnknownSource)
                .and_then(|key| self.handle_rtcp(now, key, datagram)),
            Some(Kind::Stun) => self.handle_stun(now, socket, from, datagram),
            Some(Kind::Dtls) => key.ok_or(Dropped::UnknownSource).map(|key| {
                self.peers[key].transport.handle_dtls(now, socket, from, datagram);
                self.drain_transport(now, key);
            }),
            None => self.handle_link(now, socket, from, datagram),
        };
        if let Err(dropped) = handled {
            dropped.count(&mut self.counters);
        }
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        // The pool shrinks by timer, too.
        let idle = self.peers.is_empty()
            && self.tracks.is_empty()
            && self.early.is_empty()
            && self.pool.is_empty()
            && self.links.is_empty();
        (!idle).then(|| self.epoch + Duration::from_micros(self.schedule.next()))
    }

    pub fn poll_crossing(&mut self) -> Option<(WorkerId, Crossing)> {
        self.crossings.workers.pop_front()
    }

    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Microseconds since the epoch.
    fn micros(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.epoch).as_micros() as u64
    }

    fn handle_stun(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Dropped> {
        let ufrag = ice::local_ufrag(datagram).ok_or(Dropped::Stun)?;
        let key = self.ufrags.get(ufrag).copied().ok_or(Dropped::UnknownSource)?;
        self.peers[key].transport.handle_stun(now, socket, from, datagram);
        self.drain_transport(now, key);
        Ok(())
    }

    /// Takes what the transport of a peer has to say. The peer may be gone afterwards.
    fn drain_transport(&mut self, now: Instant, key: usize) {
        while let Some(event) = self.peers.get_mut(key).and_then(|peer| peer.transport.poll_event()) {
            let id = self.peers[key].id;
            match event {
                TransportEvent::AddressValidated { socket, remote } => {
                    self.addresses.insert((socket, remote), key);
                    self.peers[key].addresses.push((socket, remote));
                }
                TransportEvent::AddressDropped { socket, remote } => {
                    self.peers[key].addresses.retain(|&address| address != (socket, remote));
                    // It may have moved to another peer of the same client.
                    if self.addresses.get(&(socket, remote)) == Some(&key) {
                        self.addresses.remove(&(socket, remote));
                    }
                }
                TransportEvent::IceConnected { remote } => {
                    let peer = &mut self.peers[key];
                    if peer.state == PeerState::New {
                        peer.state = PeerState::IceConnected;
                    }
                    self.register_ufrags(key);
                    self.events.push_back(Event::IceConnected { peer: id, remote });
                    self.on_connected(now, key);
                }
                TransportEvent::Connected { profile } => {
                    self.peers[key].state = PeerState::Connected;
                    self.events.push_back(Event::Connected { peer: id, profile });
                    self.on_connected(now, key);
                }
                TransportEvent::Disconnected(reason) => {
                    self.disconnect(now, key, reason);
                    return;
                }
                TransportEvent::ChannelOpened(channel) => {
                    self.events.push_back(Event::DataChannelOpened { peer: id, channel });
                }
                TransportEvent::ChannelClosed { label } => {
                    self.events.push_back(Event::DataChannelClosed { peer: id, label });
                }
                TransportEvent::Data { label, binary, payload } => {
                    self.events.push_back(Event::DataReceived {
                        peer: id,
                        label,
                        binary,
                        payload,
                    });
                }
            }
        }
        self.queue(key);
    }

    /// After its local user fragments have changed: they change with an ICE restart and when that is done.
    fn register_ufrags(&mut self, key: usize) {
        let peer = &mut self.peers[key];
        for ufrag in peer.ufrags.drain(..) {
            if self.ufrags.get(&ufrag) == Some(&key) {
                self.ufrags.remove(&ufrag);
            }
        }
        peer.ufrags.extend(peer.transport.local_ufrags().map(str::to_owned));
        for ufrag in &peer.ufrags {
            self.ufrags.insert(ufrag.clone(), key);
        }
    }

    fn disconnect(&mut self, now: Instant, key: usize, reason: DisconnectReason) {
        let id = self.peers[key].id;
        self.remove_peer(now, key);
        self.events.push_back(Event::Disconnected { peer: id, reason });
    }

    /// The peer has something to send.
    fn queue(&mut self, key: usize) {
        if let Some(peer) = self.peers.get_mut(key)
            && !std::mem::replace(&mut peer.queued, true)
        {
            self.queued.push_back(key);
        }
    }

    /// Packets to the peer wait for their time.
    fn pace(&mut self, key: usize) {
        if let Some(peer) = self.peers.get_mut(key)
            && !std::mem::replace(&mut peer.paced, true)
        {
            self.paced.push(key);
        }
    }

    /// The publisher has something to watch in short intervals: losses, arrivals, keyframes asked for.
    fn watch(&mut self, key: usize) {
        if let Some(peer) = self.peers.get_mut(key)
            && !std::mem::replace(&mut peer.busy, true)
        {
            self.busy.push(key);
        }
    }
}
