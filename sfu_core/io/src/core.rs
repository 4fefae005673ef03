//! The handle that a control plane holds: starts the workers, routes commands to them, gathers events and statistics.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use engine::command::{Command, Description, IceCredentials, MediaKind, Publish, Redirect, Subscribe, View, Wanted};
use engine::event::DisconnectReason;
use engine::ids::{MAX_WORKERS, PeerId, SubscriptionId, TrackId, WorkerId};
use engine::stats::StatsSnapshot;
use engine::{Config, DtlsIdentity, Engine, Event};

use crate::addresses::{announced, bind_addresses, open_sockets};
use crate::counters::IoRow;
use crate::crossings::{Inbound, Outbound, link};
use crate::events::{EventQueue, Report};
use crate::links::Linked;
use crate::sys::Poller;
use crate::udp::{self, Mmsg, Receiver};
use crate::worker::{Shared, Worker};

/// Commands that may wait per worker. More rides out larger bursts of joins.
const COMMANDS: usize = 65_536;

#[derive(Clone, Debug)]
pub struct Settings {
    pub workers: usize,
    /// Addresses to listen on; an unspecified one stands for those of all interfaces.
    pub bind: Vec<IpAddr>,
    /// Worker i listens on this + i; 0 lets the kernel choose.
    pub port: u16,
    /// Announced instead of the bound addresses of their family.
    pub external_ips: Vec<IpAddr>,
    pub engine: Config,
}

#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("UDP {address} cannot be opened: {reason}")]
    Bind { address: SocketAddr, reason: io::Error },
    #[error("{0}")]
    Settings(&'static str),
    #[error("no DTLS certificate could be made: {0}")]
    Identity(String),
    #[error(transparent)]
    System(#[from] io::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("the worker does not keep up with commands")]
    QueueFull,
    #[error("the worker has failed")]
    WorkerFailed,
    #[error("no such peer")]
    UnknownPeer,
    #[error("no such track")]
    UnknownTrack,
    #[error("no such subscription")]
    UnknownSubscription,
    #[error("no such worker")]
    UnknownWorker,
    #[error("no such link")]
    UnknownLink,
    #[error("there is a link with this id")]
    LinkExists,
    #[error("a mirror stays on its worker and of its kind")]
    OtherWorker,
    #[error("no socket reaches this address")]
    Unreachable,
}

pub struct Core {
    workers: Vec<Handle>,
    events: Arc<EventQueue>,
    next_id: AtomicU64,
    /// Where everything lives. Never held on the media path.
    places: Mutex<Places>,
    fingerprint: [u8; 32],
}

pub(crate) struct Handle {
    commands: SyncSender<Command>,
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
    pub(crate) announced: Vec<SocketAddr>,
    /// By socket.
    pub(crate) bound: Vec<IpAddr>,
}

#[derive(Default)]
pub(crate) struct Places {
    peers: HashMap<PeerId, Peer>,
    pub(crate) tracks: HashMap<TrackId, (PeerId, MediaKind)>,
    subscriptions: HashMap<SubscriptionId, PeerId>,
    pub(crate) linked: Linked,
}

struct Peer {
    worker: WorkerId,
    tracks: Vec<TrackId>,
    subscriptions: Vec<SubscriptionId>,
}

impl Core {
    pub fn start(settings: &Settings) -> Result<Self, StartError> {
        if settings.workers == 0 || settings.workers > usize::from(MAX_WORKERS) {
            return Err(StartError::Settings("workers must be 1 to 64"));
        }
        let identity = DtlsIdentity::generate().map_err(|error| StartError::Identity(error.to_string()))?;
        let identity = Arc::new(identity);
        let addresses = bind_addresses(&settings.bind)?;
        if addresses.is_empty() {
            return Err(StartError::Settings("no address to listen on"));
        }
        let events = Arc::new(EventQueue::new()?);
        let shared = (0..settings.workers)
            .map(|_| Ok(Arc::new(Shared::new()?)))
            .collect::<io::Result<Vec<_>>>()?;
        let (mut inbound, mut outbound) = links(&shared);
        let epoch = Instant::now();
        let mut core = Self {
            workers: Vec::new(),
            events: Arc::clone(&events),
            next_id: AtomicU64::new(1),
            places: Mutex::default(),
            fingerprint: identity.fingerprint().0,
        };
        for (index, shared) in shared.iter().enumerate() {
            let sockets = open_sockets(&addresses, settings.port, index)?;
            for socket in &sockets {
                let (receive, send) = udp::buffers(socket)?;
                if receive.min(send) < udp::SOCKET_BUFFER {
                    tracing::warn!(
                        worker = index,
                        receive,
                        send,
                        "small socket buffers: raise net.core.rmem_max and wmem_max"
                    );
                }
            }
            let gro = sockets.iter().all(udp::enable_gro);
            let gso = sockets.first().is_some_and(udp::has_gso);
            let (commands, received) = sync_channel(COMMANDS);
            let config = Config {
                worker: WorkerId(index as u8),
                workers: settings.workers as u8,
                ..settings.engine.clone()
            };
            let worker = Worker {
                id: config.worker,
                engine: Engine::new(epoch, config, Arc::clone(&identity)),
                receiver: Receiver::new(gro),
                sender: Mmsg::new(gso),
                commands: received,
                inbound: std::mem::take(&mut inbound[index]),
                outbound: std::mem::take(&mut outbound[index]),
                events: Arc::clone(&events),
                shared: Arc::clone(shared),
                poller: Poller::new(sockets.len() + 1)?,
                counters: IoRow {
                    worker: index as u64,
                    gso: u64::from(gso),
                    ..IoRow::default()
                },
                sockets,
            };
            worker.register()?;
            let announced = announced(&worker.sockets, &settings.external_ips)?;
            let thread = std::thread::Builder::new()
                .name(format!("sfu-worker-{index}"))
                .spawn(move || worker.run())?;
            core.workers.push(Handle {
                commands,
                shared: Arc::clone(shared),
                thread: Mutex::new(Some(thread)),
                announced,
                bound: addresses.clone(),
            });
        }
        Ok(core)
    }

    pub fn worker_count(&self) -> usize {
        self.workers.len()
    }

    /// SHA-256 of the DTLS certificate.
    pub fn fingerprint(&self) -> [u8; 32] {
        self.fingerprint
    }

    /// Readable while events wait.
    pub fn event_fd(&self) -> RawFd {
        self.events.fd()
    }

    /// At most `limit` reports. Peers of a failed worker are reported as disconnected.
    pub fn poll_events(&self, limit: usize) -> Vec<Report> {
        let mut reports = self.events.take(limit);
        let (mut orphans, mut cut) = (Vec::new(), Vec::new());
        let mut places = self.places();
        for report in &reports {
            match report {
                Report::Event(Event::Disconnected { peer, .. }) => places.remove(*peer),
                Report::Event(Event::MirrorEnded { track }) => {
                    places.linked.mirrors.remove(track);
                }
                Report::Event(_) => (),
                Report::WorkerFailed(worker) => {
                    orphans.extend(places.on_worker(*worker));
                    let (links, mirrors) = places.linked.take_of(*worker);
                    let dead = links.into_iter().map(|link| Event::LinkAlive { link, alive: false });
                    let ended = mirrors.into_iter().map(|track| Event::MirrorEnded { track });
                    cut.extend(dead.chain(ended).map(Report::Event));
                }
            }
        }
        reports.append(&mut cut);
        for peer in orphans {
            places.remove(peer);
            let reason = DisconnectReason::WorkerFailed;
            reports.push(Report::Event(Event::Disconnected { peer, reason }));
        }
        reports
    }

    /// Where this peer's client can reach its worker.
    pub fn candidates(&self, peer: PeerId) -> Result<Vec<SocketAddr>, CommandError> {
        let worker = self.worker_of(peer)?;
        Ok(self.handle(worker)?.announced.clone())
    }

    /// A new peer on this worker or on the one with the fewest.
    pub fn add_peer(&self, local: IceCredentials, worker: Option<WorkerId>) -> Result<PeerId, CommandError> {
        let peer = PeerId(self.id());
        let mut places = self.places();
        let worker = match worker {
            Some(worker) => worker,
            None => self.least_loaded(&places)?,
        };
        self.send(worker, Command::AddPeer { peer, local })?;
        let place = Peer {
            worker,
            tracks: Vec::new(),
            subscriptions: Vec::new(),
        };
        places.peers.insert(peer, place);
        Ok(peer)
    }

    pub fn remove_peer(&self, peer: PeerId) -> Result<(), CommandError> {
        let worker = self.worker_of(peer)?;
        self.places().remove(peer);
        self.send(worker, Command::RemovePeer { peer })
    }

    /// A command that names one peer and makes nothing new.
    pub fn command(&self, peer: PeerId, command: Command) -> Result<(), CommandError> {
        self.send(self.worker_of(peer)?, command)
    }

    /// `publish.track` is ignored; the new id is returned.
    pub fn publish(&self, publish: Publish) -> Result<TrackId, CommandError> {
        let (peer, kind) = (publish.peer, publish.kind);
        let mut places = self.places();
        let place = places.peers.get_mut(&peer).ok_or(CommandError::UnknownPeer)?;
        let track = TrackId::new(self.id(), place.worker);
        self.send(place.worker, Command::Publish(Publish { track, ..publish }))?;
        place.tracks.push(track);
        places.tracks.insert(track, (peer, kind));
        Ok(track)
    }

    /// Audio or video.
    pub fn kind(&self, track: TrackId) -> Result<MediaKind, CommandError> {
        let places = self.places();
        let published = places.tracks.get(&track).map(|&(_, kind)| kind);
        let kind = published.or_else(|| places.linked.mirrors.get(&track).map(|&(_, kind)| kind));
        kind.ok_or(CommandError::UnknownTrack)
    }

    /// `publish.peer` and `publish.kind` are ignored: they do not change.
    pub fn update_publish(&self, publish: Publish) -> Result<(), CommandError> {
        let (peer, worker) = self.track(publish.track)?;
        let kind = self.kind(publish.track)?;
        self.send(worker, Command::UpdatePublish(Publish { peer, kind, ..publish }))
    }

    pub fn unpublish(&self, track: TrackId) -> Result<(), CommandError> {
        let (peer, worker) = self.track(track)?;
        let mut places = self.places();
        places.tracks.remove(&track);
        if let Some(place) = places.peers.get_mut(&peer) {
            place.tracks.retain(|&other| other != track);
        }
        self.send(worker, Command::Unpublish { peer, track })
    }

    pub fn set_muted(&self, track: TrackId, muted: bool) -> Result<(), CommandError> {
        let (peer, worker) = self.track(track)?;
        self.send(worker, Command::SetMuted { peer, track, muted })
    }

    /// `subscribe.subscription` and `subscribe.home` are ignored; the new id is returned.
    pub fn subscribe(&self, subscribe: Subscribe) -> Result<SubscriptionId, CommandError> {
        let home = self.home(subscribe.track)?;
        let subscription = SubscriptionId(self.id());
        let peer = subscribe.peer;
        let mut places = self.places();
        let place = places.peers.get_mut(&peer).ok_or(CommandError::UnknownPeer)?;
        let subscribe = Subscribe {
            subscription,
            home,
            ..subscribe
        };
        self.send(place.worker, Command::Subscribe(subscribe))?;
        place.subscriptions.push(subscription);
        places.subscriptions.insert(subscription, peer);
        Ok(subscription)
    }

    /// The subscription goes on with another track. `redirect.peer` and `redirect.home` are ignored.
    pub fn redirect(&self, redirect: Redirect) -> Result<(), CommandError> {
        let (peer, worker) = self.subscription(redirect.subscription)?;
        let home = self.home(redirect.track)?;
        self.send(worker, Command::Redirect(Redirect { peer, home, ..redirect }))
    }

    pub fn set_wanted(&self, subscription: SubscriptionId, wanted: Wanted) -> Result<(), CommandError> {
        let (peer, worker) = self.subscription(subscription)?;
        let command = Command::SetWanted {
            peer,
            subscription,
            wanted,
        };
        self.send(worker, command)
    }

    /// What a video shows, and in which sizes.
    pub fn describe(&self, track: TrackId, description: Description) -> Result<(), CommandError> {
        let (peer, worker) = self.track(track)?;
        let command = Command::Describe {
            peer,
            track,
            description,
        };
        self.send(worker, command)
    }

    /// Whether the publisher of a video speaks, or spoke before.
    pub fn set_speaker(&self, track: TrackId, rank: Option<u8>) -> Result<(), CommandError> {
        let (peer, worker) = self.track(track)?;
        self.send(worker, Command::SetSpeaker { peer, track, rank })
    }

    /// How a subscriber shows a video.
    pub fn set_view(&self, subscription: SubscriptionId, view: View) -> Result<(), CommandError> {
        let (peer, worker) = self.subscription(subscription)?;
        let command = Command::SetView {
            peer,
            subscription,
            view,
        };
        self.send(worker, command)
    }

    pub fn unsubscribe(&self, subscription: SubscriptionId) -> Result<(), CommandError> {
        let (peer, worker) = self.subscription(subscription)?;
        let mut places = self.places();
        places.subscriptions.remove(&subscription);
        if let Some(place) = places.peers.get_mut(&peer) {
            place.subscriptions.retain(|&other| other != subscription);
        }
        self.send(worker, Command::Unsubscribe { peer, subscription })
    }

    /// To those of `peers` that exist, with one command per worker.
    pub fn send_data(&self, data: engine::command::SendData) -> Result<(), CommandError> {
        let mut by_worker: HashMap<WorkerId, Vec<PeerId>> = HashMap::new();
        {
            let places = self.places();
            for &peer in &data.peers {
                if let Some(place) = places.peers.get(&peer) {
                    by_worker.entry(place.worker).or_default().push(peer);
                }
            }
        }
        for (worker, peers) in by_worker {
            let data = engine::command::SendData { peers, ..data.clone() };
            self.send(worker, Command::SendData(data))?;
        }
        Ok(())
    }

    /// The newest statistics of all workers.
    pub fn stats(&self) -> (StatsSnapshot, Vec<IoRow>) {
        let mut all = StatsSnapshot::default();
        let mut io = Vec::new();
        for handle in &self.workers {
            let snapshot = handle.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
            all.workers.extend_from_slice(&snapshot.engine.workers);
            all.peers.extend_from_slice(&snapshot.engine.peers);
            all.downlinks.extend_from_slice(&snapshot.engine.downlinks);
            all.layers.extend_from_slice(&snapshot.engine.layers);
            all.subscriptions.extend_from_slice(&snapshot.engine.subscriptions);
            all.links.extend_from_slice(&snapshot.engine.links);
            io.push(snapshot.io);
        }
        (all, io)
    }

    /// Stops the workers and closes their sockets. May be called again.
    pub fn shutdown(&self) {
        for handle in &self.workers {
            handle.shared.stop.store(true, Ordering::Release);
            handle.shared.waker.wake();
        }
        for handle in &self.workers {
            let thread = handle.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(thread) = thread {
                // A worker that failed has reported it.
                let _ = thread.join();
            }
        }
    }

    pub(crate) fn id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn handle(&self, worker: WorkerId) -> Result<&Handle, CommandError> {
        self.workers
            .get(usize::from(worker.0))
            .ok_or(CommandError::UnknownWorker)
    }

    fn worker_of(&self, peer: PeerId) -> Result<WorkerId, CommandError> {
        let places = self.places();
        places
            .peers
            .get(&peer)
            .map(|place| place.worker)
            .ok_or(CommandError::UnknownPeer)
    }

    fn track(&self, track: TrackId) -> Result<(PeerId, WorkerId), CommandError> {
        let (peer, _) = *self.places().tracks.get(&track).ok_or(CommandError::UnknownTrack)?;
        Ok((peer, self.worker_of(peer)?))
    }

    fn subscription(&self, subscription: SubscriptionId) -> Result<(PeerId, WorkerId), CommandError> {
        let peer = *self
            .places()
            .subscriptions
            .get(&subscription)
            .ok_or(CommandError::UnknownSubscription)?;
        Ok((peer, self.worker_of(peer)?))
    }

    fn least_loaded(&self, places: &Places) -> Result<WorkerId, CommandError> {
        let mut peers = vec![0_usize; self.workers.len()];
        for place in places.peers.values() {
            if let Some(count) = peers.get_mut(usize::from(place.worker.0)) {
                *count += 1;
            }
        }
        let alive = peers
            .iter()
            .enumerate()
            .filter(|(index, _)| !self.workers[*index].shared.failed.load(Ordering::Acquire));
        alive
            .min_by_key(|(_, count)| **count)
            .map(|(index, _)| WorkerId(index as u8))
            .ok_or(CommandError::WorkerFailed)
    }

    pub(crate) fn send(&self, worker: WorkerId, command: Command) -> Result<(), CommandError> {
        let handle = self.handle(worker)?;
        if handle.shared.failed.load(Ordering::Acquire) {
            return Err(CommandError::WorkerFailed);
        }
        handle.commands.try_send(command).map_err(|error| match error {
            TrySendError::Full(_) => CommandError::QueueFull,
            TrySendError::Disconnected(_) => CommandError::WorkerFailed,
        })?;
        handle.shared.waker.wake();
        Ok(())
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        self.shutdown();
    }
}

impl Places {
    fn remove(&mut self, peer: PeerId) {
        let Some(place) = self.peers.remove(&peer) else { return };
        for track in place.tracks {
            self.tracks.remove(&track);
        }
        for subscription in place.subscriptions {
            self.subscriptions.remove(&subscription);
        }
    }

    fn on_worker(&self, worker: WorkerId) -> Vec<PeerId> {
        let here = self.peers.iter().filter(|(_, place)| place.worker == worker);
        here.map(|(peer, _)| *peer).collect()
    }
}

/// A link for every ordered pair of workers.
fn links(shared: &[Arc<Shared>]) -> (Vec<Vec<Inbound>>, Vec<Vec<Option<Outbound>>>) {
    let count = shared.len();
    let mut inbound: Vec<Vec<Inbound>> = (0..count).map(|_| Vec::new()).collect();
    let mut outbound: Vec<Vec<Option<Outbound>>> = (0..count).map(|_| Vec::new()).collect();
    for (from, outbound) in outbound.iter_mut().enumerate() {
        for (to, (inbound, shared)) in inbound.iter_mut().zip(shared).enumerate() {
            outbound.push((from != to).then(|| {
                let (sending, receiving) = link(WorkerId(from as u8), shared);
                inbound.push(receiving);
                sending
            }));
        }
    }
    (inbound, outbound)
}
