//! One worker: a thread with an engine, its sockets and its queues. The only place with a clock.

use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver as Commands;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::Engine;
use engine::command::Command;
use engine::ids::{SocketId, WorkerId};
use engine::stats::StatsSnapshot;
use engine::transmit::TransmitArena;

use crate::counters::IoRow;
use crate::crossings::{Inbound, Outbound};
use crate::events::{EventQueue, Report};
use crate::sys::{Poller, Waker};
use crate::udp::{Mmsg, Receiver, Sender};

/// Bytes of outgoing datagrams per flush. Larger makes longer GSO groups, smaller stays in the cache.
const ARENA: usize = 256 * 1024;
const ARENA_MESSAGES: usize = 1_024;
/// Time spent on receiving before the turn's packets are sent: bounds the latency that a flood adds.
const RECEIVE_BUDGET: Duration = Duration::from_millis(1);
/// Commands per turn, so that a burst of joins does not stall media.
const COMMANDS_PER_TURN: usize = 512;
const STATS_INTERVAL: Duration = Duration::from_millis(500);
/// Sleep without timers, so that statistics stay fresh.
const IDLE: Duration = Duration::from_millis(500);

const WAKE: u64 = u64::MAX;

/// The newest statistics of a worker.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    pub(crate) engine: StatsSnapshot,
    pub(crate) io: IoRow,
}

/// What the outside shares with a worker.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) waker: Waker,
    pub(crate) stop: AtomicBool,
    pub(crate) failed: AtomicBool,
    pub(crate) snapshot: Mutex<Snapshot>,
}

impl Shared {
    pub(crate) fn new() -> std::io::Result<Self> {
        Ok(Self {
            waker: Waker::new()?,
            stop: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            snapshot: Mutex::default(),
        })
    }
}

pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) engine: Engine,
    pub(crate) sockets: Vec<UdpSocket>,
    pub(crate) receiver: Receiver,
    pub(crate) sender: Mmsg,
    pub(crate) commands: Commands<Command>,
    pub(crate) inbound: Vec<Inbound>,
    /// By worker; `None` for itself.
    pub(crate) outbound: Vec<Option<Outbound>>,
    pub(crate) events: Arc<EventQueue>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) poller: Poller,
    pub(crate) counters: IoRow,
}

impl Worker {
    /// Watches the sockets and the waker.
    pub(crate) fn register(&self) -> std::io::Result<()> {
        for (token, socket) in (0..).zip(&self.sockets) {
            self.poller.add(socket, token)?;
        }
        self.poller.add(&self.shared.waker, WAKE)
    }

    /// Runs until it is told to stop. A panic ends this worker alone.
    pub(crate) fn run(mut self) {
        let ended = catch_unwind(AssertUnwindSafe(|| self.turns()));
        let failed = match ended {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or("panic")
                .to_owned(),
        };
        tracing::error!(worker = self.id.0, error = failed, "a worker failed");
        self.shared.failed.store(true, Ordering::Release);
        self.events
            .push(&mut vec![Report::WorkerFailed(self.id)], &mut self.counters);
    }

    fn turns(&mut self) -> std::io::Result<()> {
        let mut arena = TransmitArena::new(ARENA, ARENA_MESSAGES);
        let mut reports = Vec::new();
        let mut ready = vec![false; self.sockets.len()];
        let mut stats_due = Instant::now();
        loop {
            let now = Instant::now();
            let wake_at = self.engine.next_timeout().unwrap_or(now + IDLE).min(stats_due.max(now));
            self.poller.wait(Some(wake_at.saturating_duration_since(now)))?;
            self.counters.wakeups += 1;
            let mut now = Instant::now();
            let turn = now;
            ready.fill(false);
            let mut woken = false;
            for token in self.poller.tokens() {
                match usize::try_from(token).ok().and_then(|token| ready.get_mut(token)) {
                    Some(ready) => *ready = true,
                    None => woken = true,
                }
            }
            if woken {
                self.shared.waker.reset();
            }
            if self.shared.stop.load(Ordering::Acquire) {
                self.transmit(now, &mut arena);
                return Ok(());
            }
            self.take_in(now);
            for (index, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
                self.receive(index, turn);
            }
            now = Instant::now();
            if self.engine.next_timeout().is_some_and(|due| due <= now) {
                self.engine.handle_timeout(now);
            }
            self.transmit(now, &mut arena);
            self.give_out(&mut reports);
            let end = Instant::now();
            let took = end.saturating_duration_since(turn).as_micros() as u64;
            self.counters.longest_turn_us = self.counters.longest_turn_us.max(took);
            if end >= stats_due {
                stats_due = end + STATS_INTERVAL;
                self.publish_stats(end);
            }
        }
    }

    /// Commands, then crossings. What a crossing refers to was commanded before it was sent, so only crossings that were
    /// there before the commands were looked at may be taken.
    fn take_in(&mut self, now: Instant) {
        for link in &mut self.inbound {
            link.count();
        }
        let mut more = true;
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(command) = self.commands.try_recv() else {
                more = false;
                break;
            };
            self.engine.handle_command(now, command);
        }
        if more {
            self.shared.waker.wake();
            return;
        }
        for link in &mut self.inbound {
            while let Some(crossing) = link.take() {
                self.engine.handle_crossing(now, link.from, crossing);
            }
        }
    }

    /// Drains one socket, for as long as the turn may take.
    fn receive(&mut self, index: usize, turn: Instant) {
        let socket = SocketId(index as u8);
        let Some(source) = self.sockets.get(index) else { return };
        loop {
            self.counters.receive_calls += 1;
            let count = match self.receiver.receive(source) {
                Ok(count) => count,
                Err(_) => {
                    // An ICMP error of some destination is reported here; it concerns no datagram of ours.
                    self.counters.receive_errors += 1;
                    return;
                }
            };
            if count == 0 {
                return;
            }
            self.counters.receive_messages += count as u64;
            let now = Instant::now();
            let engine = &mut self.engine;
            self.receiver.drain(&mut self.counters, |from, datagram| {
                engine.handle_datagram(now, socket, from, datagram)
            });
            if count < crate::udp::RECEIVE_BATCH || now.saturating_duration_since(turn) > RECEIVE_BUDGET {
                return;
            }
        }
    }

    fn transmit(&mut self, now: Instant, arena: &mut TransmitArena) {
        loop {
            let more = self.engine.poll_transmit(now, arena);
            if !arena.is_empty() {
                self.sender.flush(&self.sockets, arena, &mut self.counters);
                arena.clear();
            }
            if !more {
                return;
            }
        }
    }

    fn give_out(&mut self, reports: &mut Vec<Report>) {
        while let Some((to, crossing)) = self.engine.poll_crossing() {
            let link = self.outbound.get_mut(usize::from(to.0)).and_then(Option::as_mut);
            if !link.is_some_and(|link| link.send(crossing)) {
                self.counters.crossings_dropped += 1;
            }
        }
        self.outbound.iter_mut().flatten().for_each(Outbound::finish);
        while let Some(event) = self.engine.poll_event() {
            reports.push(Report::Event(event));
        }
        if !reports.is_empty() {
            self.events.push(reports, &mut self.counters);
        }
    }

    fn publish_stats(&mut self, now: Instant) {
        let mut snapshot = self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        snapshot.engine.clear();
        self.engine.stats(now, &mut snapshot.engine);
        snapshot.io = self.counters;
        self.counters.longest_turn_us = 0;
    }
}
