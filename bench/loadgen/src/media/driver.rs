//! The media thread: waits for datagrams, timers and requests, and gives each connection its turn.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Requests, TryRecvError};
use std::time::{Duration, Instant};

use super::connection::{Connection, Milestone, Turn};
use super::dtls::Identity;
use super::hearing::{self, Hearing, Present};
use super::recording::Replayed;
use super::socket::{self, BATCH, Outgoing, Poller, Receiver, Waker};
use super::totals::{Standing, Totals};
use super::{Counts, Heard, MediaError, MediaOptions, Progress, Source, wall_clock};
use crate::plan::{ConnectionId, ConnectionPlan, Kind, Local, Remote};
use tokio::sync::oneshot;

/// Sleep without timers.
const IDLE: Duration = Duration::from_millis(100);
/// A frame sent later than this counts as late, ns.
const LATE: u64 = 5_000_000;
/// A publisher that fell behind further than this leaves frames out, ns.
const BEHIND: u64 = 100_000_000;
/// Frames are sent and connections maintained for this long before sockets are read again, ns.
const TIMERS: u64 = 2_000_000;
/// Batches read from one socket before others have their turn.
const BATCHES: usize = 8;
const WAKE: u64 = u64::MAX;

pub(super) enum Request {
    Open(ConnectionPlan, oneshot::Sender<Result<Local, MediaError>>),
    SetRemote(ConnectionId, Remote),
    Close(ConnectionId),
    Replace(ConnectionId, ConnectionId),
    Wait(ConnectionId, Milestone, oneshot::Sender<Progress>),
    SetSource(Kind, Source),
    Take(oneshot::Sender<Counts>),
    Listen(bool, oneshot::Sender<Vec<Heard>>),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Task {
    Maintain { connection: u32 },
    Frame { connection: u32, layer: u32 },
}

pub(super) struct Driver {
    options: MediaOptions,
    identity: Identity,
    requests: Requests<Request>,
    waker: Arc<Waker>,
    poller: Poller,
    receiver: Receiver,
    outgoing: Outgoing,
    totals: Totals,
    hearing: Hearing,
    /// Datagrams that sockets dropped that are closed by now.
    drops: u64,
    recordings: Replayed,
    epoch: Instant,
    /// The wall clock at `epoch`, ns since 1970.
    zero: u64,
    /// By id; `None` once closed.
    connections: Vec<Option<Box<Connection>>>,
    /// Due times in ns of the thread's clock. An entry whose time is no longer that of its task is void.
    timers: BinaryHeap<Reverse<(u64, Task)>>,
    audio: Source,
    video: Source,
    random: u64,
}

impl Driver {
    pub(super) fn new(
        options: MediaOptions,
        requests: Requests<Request>,
        waker: Arc<Waker>,
        recordings: Replayed,
    ) -> Result<Self, MediaError> {
        let poller = Poller::new()?;
        poller.add(&*waker, WAKE)?;
        let identity = Identity::new().map_err(|error| MediaError::Ended(error.to_string()))?;
        let totals = Totals::new(Standing::default()).ok_or_else(|| MediaError::Ended("no histogram".to_owned()))?;
        Ok(Self {
            identity,
            poller,
            waker,
            receiver: Receiver::new(options.receive_gro, options.kernel_timestamps),
            outgoing: Outgoing::new(),
            totals,
            hearing: Hearing::new(0),
            drops: 0,
            recordings,
            epoch: Instant::now(),
            zero: wall_clock(),
            connections: Vec::new(),
            timers: BinaryHeap::new(),
            audio: Source::Silence,
            video: Source::Silence,
            random: wall_clock() | 1,
            options,
            requests,
        })
    }

    /// Until every handle is gone.
    pub(super) fn run(mut self) {
        if let Some(cpu) = self.options.cpu {
            pin(cpu);
        }
        // Counted from here: CPU time is that of this thread.
        self.begin_totals(Standing::default());
        loop {
            let now = self.nanos();
            let next = self
                .timers
                .peek()
                .map(|Reverse((due, _))| Duration::from_nanos(due.saturating_sub(now)));
            let ready: Vec<u64> = self
                .poller
                .wait(next.unwrap_or(IDLE).min(IDLE))
                .iter()
                .map(|event| event.u64)
                .collect();
            for token in ready {
                match u32::try_from(token) {
                    Ok(connection) => self.receive(connection),
                    Err(_) => {
                        self.waker.reset();
                        if !self.take_requests() {
                            return;
                        }
                    }
                }
            }
            self.run_timers();
        }
    }

    fn nanos(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    fn receive(&mut self, id: u32) {
        for _ in 0..BATCHES {
            let Some(mut connection) = self.connections.get_mut(id as usize).and_then(Option::take) else {
                return;
            };
            let count = self.receiver.receive(&connection.socket);
            let now = self.nanos() / 1_000;
            let due = connection.due;
            let mut turn = Turn {
                now,
                wall: wall_clock(),
                options: &self.options,
                identity: &mut self.identity,
                totals: &mut self.totals,
                hearing: &mut self.hearing,
                outgoing: &mut self.outgoing,
                random: &mut self.random,
            };
            let before = connection.layers.len();
            self.receiver
                .drain(|at, datagram| connection.on_datagram(&mut turn, at, datagram));
            if connection.due != due {
                self.timers
                    .push(Reverse((connection.due * 1_000, Task::Maintain { connection: id })));
            }
            self.schedule_layers(id, &mut connection, before);
            self.connections[id as usize] = Some(connection);
            if count < BATCH {
                return;
            }
        }
    }

    /// New layers begin at a random phase of their frame interval.
    fn schedule_layers(&mut self, id: u32, connection: &mut Connection, from: usize) {
        for (index, layer) in connection.layers.iter_mut().enumerate().skip(from) {
            self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            layer.due = self.epoch.elapsed().as_nanos() as u64 + (self.random >> 33) % 33_000_000;
            layer.zero = self.zero;
            let task = Task::Frame {
                connection: id,
                layer: index as u32,
            };
            self.timers.push(Reverse((layer.due, task)));
        }
    }

    /// Not for ever: who cannot keep up with sending must still receive and answer requests.
    fn run_timers(&mut self) {
        let begun = self.nanos();
        loop {
            let now = self.nanos();
            let Some(&Reverse((due, task))) = self.timers.peek() else {
                return;
            };
            if due > now || now > begun + TIMERS {
                return;
            }
            self.timers.pop();
            match task {
                Task::Maintain { connection } => self.maintain(connection, due),
                Task::Frame { connection, layer } => self.send_frame(connection, layer, due, now),
            }
        }
    }

    fn maintain(&mut self, id: u32, due: u64) {
        let now = self.nanos() / 1_000;
        let Some(mut connection) = self.connections.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        if connection.due * 1_000 == due {
            let mut turn = Turn {
                now,
                wall: wall_clock(),
                options: &self.options,
                identity: &mut self.identity,
                totals: &mut self.totals,
                hearing: &mut self.hearing,
                outgoing: &mut self.outgoing,
                random: &mut self.random,
            };
            let before = connection.layers.len();
            connection.maintain(&mut turn);
            if connection.due != u64::MAX {
                self.timers
                    .push(Reverse((connection.due * 1_000, Task::Maintain { connection: id })));
            }
            self.schedule_layers(id, &mut connection, before);
        }
        self.connections[id as usize] = Some(connection);
    }

    fn send_frame(&mut self, id: u32, index: u32, due: u64, now: u64) {
        let Some(mut connection) = self.connections.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        let wanted = connection
            .layers
            .get(index as usize)
            .map(|layer| (layer.due, layer.codec(), layer.place()));
        if let Some((at, codec, place)) = wanted
            && at == due
        {
            let source = match codec.kind() {
                Kind::Audio => self.audio.clone(),
                Kind::Video => self.video.clone(),
            };
            let recording = match codec.kind() {
                Kind::Audio => self.recordings.audio.get(place),
                Kind::Video => self.recordings.video.get(place),
            };
            let mut turn = Turn {
                now: now / 1_000,
                wall: wall_clock(),
                options: &self.options,
                identity: &mut self.identity,
                totals: &mut self.totals,
                hearing: &mut self.hearing,
                outgoing: &mut self.outgoing,
                random: &mut self.random,
            };
            let late = now > due + LATE;
            let step = connection.send_frame(&mut turn, index as usize, &source, recording, late);
            if let (Some(step), Some(layer)) = (step, connection.layers.get_mut(index as usize)) {
                layer.due = if now > due + BEHIND { now } else { due } + step.max(1);
                let task = Task::Frame {
                    connection: id,
                    layer: index,
                };
                self.timers.push(Reverse((layer.due, task)));
            }
        }
        self.connections[id as usize] = Some(connection);
    }

    /// False when nobody can ask any more.
    fn take_requests(&mut self) -> bool {
        loop {
            let request = match self.requests.try_recv() {
                Ok(request) => request,
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            };
            match request {
                Request::Open(plan, reply) => {
                    let _ = reply.send(self.open(plan));
                }
                Request::SetRemote(id, remote) => self.set_remote(id.0, remote),
                Request::Close(id) => drop(self.close(id)),
                Request::Replace(old, new) => {
                    if let Some(old) = self.close(old)
                        && let Some(Some(new)) = self.connections.get_mut(new.0 as usize)
                    {
                        new.inherit(*old);
                    }
                }
                Request::Wait(id, milestone, reply) => {
                    // Dropping the reply tells that the connection is not there.
                    if let Some(Some(connection)) = self.connections.get_mut(id.0 as usize) {
                        connection.wait(milestone, reply);
                    }
                }
                Request::Listen(anew, reply) => {
                    let _ = reply.send(self.listen(anew));
                }
                Request::SetSource(kind, source) => self.set_source(kind, source),
                Request::Take(reply) => {
                    let standing = self.standing();
                    let _ = reply.send(self.totals.counts(&standing));
                    self.begin_totals(standing);
                }
            }
        }
    }

    fn listen(&mut self, anew: bool) -> Vec<Heard> {
        let (now, begun) = (self.nanos() / 1_000, self.hearing.begun());
        let mut present: Vec<[Present; 2]> = Vec::new();
        for connection in self.connections.iter().flatten() {
            let participant = connection.plan.participant as usize;
            if present.len() <= participant {
                present.resize(participant + 1, [Present::default(); 2]);
            }
            for stream in connection.streams() {
                let silent = now.saturating_sub(stream.at);
                let of = &mut present[participant][hearing::place(stream.kind)];
                if silent < hearing::PRESENT {
                    of.streams += 1;
                    of.longest = of.longest.max(stream.silence(begun)).max(silent);
                }
            }
        }
        let heard = self.hearing.heard(now, self.zero as f64 / 1e6, &present);
        if anew {
            self.hearing.restart(now);
            let streams = self.connections.iter_mut().flatten();
            streams
                .flat_map(|connection| connection.streams_mut())
                .for_each(|stream| stream.longest = (0, 0));
        }
        heard
    }

    fn standing(&self) -> Standing {
        let mut standing = Standing {
            drops: self.drops,
            ..Standing::default()
        };
        for connection in self.connections.iter().flatten() {
            standing.drops += socket::drops(&connection.socket);
            for stream in connection.streams().filter(|stream| stream.packets > 0) {
                standing.streams += 1;
                match stream.kind {
                    Kind::Audio => standing.holes_audio += stream.holes(),
                    Kind::Video => standing.holes_video += stream.holes(),
                }
            }
        }
        standing
    }

    fn begin_totals(&mut self, standing: Standing) {
        if let Some(totals) = Totals::new(standing) {
            self.totals = totals;
        }
    }

    fn open(&mut self, plan: ConnectionPlan) -> Result<Local, MediaError> {
        let id = self.connections.len() as u32;
        let address = SocketAddr::new(self.options.address, 0);
        let socket = socket::bind(address, &self.options)?;
        let candidate = socket.local_addr()?;
        self.poller.add(&socket, id.into())?;
        let (ufrag, pwd) = (self.word(8), self.word(24));
        let local = Local {
            id: ConnectionId(id),
            ufrag: ufrag.clone(),
            pwd: pwd.clone(),
            fingerprint: self.identity.fingerprint,
            passive: false,
            candidate,
            publications: plan.publications.clone(),
        };
        let now = self.nanos() / 1_000;
        self.hearing.open(plan.participant);
        self.connections
            .push(Some(Box::new(Connection::new(socket, plan, (ufrag, pwd), id, now))));
        Ok(local)
    }

    fn set_remote(&mut self, id: u32, remote: Remote) {
        let now = self.nanos() / 1_000;
        let Some(mut connection) = self.connections.get_mut(id as usize).and_then(Option::take) else {
            return;
        };
        let mut turn = Turn {
            now,
            wall: wall_clock(),
            options: &self.options,
            identity: &mut self.identity,
            totals: &mut self.totals,
            hearing: &mut self.hearing,
            outgoing: &mut self.outgoing,
            random: &mut self.random,
        };
        let before = connection.layers.len();
        connection.set_remote(&mut turn, remote);
        self.timers
            .push(Reverse((connection.due * 1_000, Task::Maintain { connection: id })));
        self.schedule_layers(id, &mut connection, before);
        self.connections[id as usize] = Some(connection);
    }

    fn close(&mut self, id: ConnectionId) -> Option<Box<Connection>> {
        let connection = self.connections.get_mut(id.0 as usize).and_then(Option::take)?;
        self.drops += socket::drops(&connection.socket);
        Some(connection)
    }

    fn set_source(&mut self, kind: Kind, source: Source) {
        let recordings = match kind {
            Kind::Audio => &self.recordings.audio,
            Kind::Video => &self.recordings.video,
        };
        if matches!(source, Source::Recorded { .. } | Source::Live) && recordings.is_empty() {
            eprintln!("pysfu-load: recorded media are wanted but there are no recordings: nothing is sent");
        }
        match kind {
            Kind::Audio => self.audio = source,
            Kind::Video => self.video = source,
        }
        // All of this kind begin anew: those that were silent have no timer.
        let mut connections = std::mem::take(&mut self.connections);
        for (id, connection) in connections.iter_mut().enumerate() {
            for (index, layer) in connection.iter_mut().flat_map(|c| c.layers.iter_mut()).enumerate() {
                if layer.codec().kind() == kind {
                    self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    layer.due = self.epoch.elapsed().as_nanos() as u64 + (self.random >> 33) % 20_000_000;
                    let task = Task::Frame {
                        connection: id as u32,
                        layer: index as u32,
                    };
                    self.timers.push(Reverse((layer.due, task)));
                }
            }
        }
        self.connections = connections;
    }

    /// Random letters for ICE credentials (RFC 8445 section 5.3).
    fn word(&mut self, len: usize) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bytes = vec![0; len];
        let _ = aws_lc_rs::rand::fill(&mut bytes);
        bytes
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(byte % 64)]))
            .collect()
    }
}

/// Runs this thread on one CPU, if the kernel lets it.
fn pin(cpu: usize) {
    // SAFETY: a plain C struct for which zeroes are valid; CPU_SET stays inside it for any index below its size.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu.min(libc::CPU_SETSIZE as usize - 1), &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set);
    }
}
