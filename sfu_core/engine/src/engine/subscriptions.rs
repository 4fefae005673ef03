//! The subscriptions of this worker: what they wait for, and what their clients say.

use std::sync::Arc;
use std::time::Instant;

use slab::Slab;
use wire::rtcp::nack::Nack;
use wire::rtcp::report::ReportBlock;
use wire::rtcp::{report, sdes};

use super::Engine;
use super::flush::Full;
use crate::command::{MediaKind, Subscribe, Wanted};
use crate::downlink::{Downlink, Waiting};
use crate::event::{CommandError, Event, Limit};
use crate::forward::{Egress, Forwarded, Subscription};
use crate::ids::{SubscriptionId, WorkerId};
use crate::pacer::{Admit, Class, Item, Pacer, Poll};
use crate::packet::Packet;
use crate::peer::Peer;
use crate::publish::track::Track;
use crate::stats::{SubscriptionRow, WorkerRow};
use crate::transmit::TransmitArena;

/// Bytes that a packet has on the wire beyond its payload: RTP with extensions, SRTP, UDP, IP.
const OVERHEAD: u32 = 76;
/// Of a retransmission, before it is known which packet it is.
const REPAIR_BYTES: u32 = 1_200;
/// Packets that wait are looked at so often at most, microseconds: those of one look are sent together.
const PACE: u64 = 1_000;
/// Numbers that a subscriber may ask again between two flushes. What is beyond it asks once more.
const MAX_ASKED: usize = 512;

/// A subscription with its place in the engine.
pub(super) struct Subscriber {
    pub(super) id: SubscriptionId,
    /// Keys.
    pub(super) peer: usize,
    pub(super) track: usize,
    pub(super) state: Subscription,
    /// Number of the first pending packet of the track that it has not seen.
    cursor: u64,
    /// It is in its peer's list of those with something to send.
    ready: bool,
    /// Numbers asked again.
    asked: Vec<u16>,
}

impl Engine {
    pub(super) fn subscribe(&mut self, now: Instant, subscribe: &Subscribe) -> Result<(), CommandError> {
        let peer_key = self.peer_key(subscribe.peer)?;
        if self.peers[peer_key].subscriptions.len() >= self.config.max_subscriptions_per_peer {
            return Err(CommandError::Limit(Limit::Subscriptions));
        }
        if self.subscription_keys.contains_key(&subscribe.subscription) {
            return Ok(());
        }
        let track_key = match self.track_keys.get(&subscribe.track) {
            Some(&key) => key,
            None if subscribe.home == self.config.worker => return Err(CommandError::UnknownTrack),
            None => self.mirror(subscribe.track, subscribe.kind, WorkerId(subscribe.home.0)),
        };
        let at = self.micros(now);
        let track = &mut self.tracks[track_key];
        let mut state = Subscription::new(at, subscribe, seed());
        state.update_target(track);
        let key = self.subscribers.insert(Subscriber {
            id: subscribe.subscription,
            peer: peer_key,
            track: track_key,
            state,
            cursor: track.end(),
            ready: false,
            asked: Vec::new(),
        });
        track.subscribers.push(key);
        self.subscription_keys.insert(subscribe.subscription, key);
        let peer = &mut self.peers[peer_key];
        peer.subscriptions.push(key);
        peer.by_ssrc.insert(subscribe.ssrc.0, key);
        if let Some(ssrc) = subscribe.rtx_ssrc {
            peer.by_ssrc.insert(ssrc.0, key);
        }
        self.steer(now, key);
        Ok(())
    }

    pub(super) fn set_wanted(
        &mut self,
        now: Instant,
        subscription: SubscriptionId,
        wanted: Wanted,
    ) -> Result<(), CommandError> {
        let key = self
            .subscription_keys
            .get(&subscription)
            .copied()
            .ok_or(CommandError::UnknownSubscription)?;
        let subscriber = &mut self.subscribers[key];
        subscriber.state.set_wanted(wanted, &self.tracks[subscriber.track]);
        self.steer(now, key);
        Ok(())
    }

    /// A layer of the track began or ceased to flow, or its layers are others.
    pub(super) fn on_layer_activity(&mut self, now: Instant, track: usize) {
        for index in 0..self.tracks[track].subscribers.len() {
            let source = &self.tracks[track];
            let key = source.subscribers[index];
            self.subscribers[key].state.update_target(source);
            self.steer(now, key);
        }
    }

    /// Media may flow to this peer: what it waits for begins with keyframes.
    pub(super) fn on_connected(&mut self, now: Instant, peer: usize) {
        for index in 0..self.peers[peer].subscriptions.len() {
            self.steer(now, self.peers[peer].subscriptions[index]);
        }
    }

    /// Packets of its track wait for this subscription.
    pub(super) fn ready(&mut self, key: usize) {
        let subscriber = &mut self.subscribers[key];
        let peer = subscriber.peer;
        if !std::mem::replace(&mut subscriber.ready, true) {
            self.peers[peer].ready.push(key);
            self.queue(peer);
        }
    }

    /// Sender reports, and wishes that are still open.
    pub(super) fn visit_subscriptions(&mut self, now: Instant, peer: usize) {
        let at = self.micros(now);
        for index in 0..self.peers[peer].subscriptions.len() {
            let key = self.peers[peer].subscriptions[index];
            let subscriber = &mut self.subscribers[key];
            let track = &self.tracks[subscriber.track];
            if let Some(info) = subscriber.state.sender_report(at, track) {
                let ssrc = subscriber.state.ssrc;
                self.outbox.add(peer, |out| report::write_sender(out, ssrc, &info, []));
                self.outbox.add(peer, |out| sdes::write_cname(out, ssrc, &track.cname));
            }
            self.steer(now, key);
        }
    }

    /// A NACK of a subscriber; answered in the next flush.
    pub(super) fn handle_nack(&mut self, peer: usize, nack: &Nack<'_>) {
        let Some(&key) = self.peers[peer].by_ssrc.get(&nack.media_ssrc) else {
            return;
        };
        let asked = &mut self.subscribers[key].asked;
        let room = MAX_ASKED - asked.len();
        asked.extend(nack.sequences().take(room));
        self.ready(key);
    }

    pub(super) fn handle_picture_loss(&mut self, now: Instant, key: usize) {
        self.subscribers[key].state.handle_keyframe_request();
        self.steer(now, key);
    }

    /// Returns the round-trip time, microseconds, if it is known by now.
    pub(super) fn handle_report(&mut self, now: Instant, key: usize, block: &ReportBlock) -> Option<u64> {
        let at = self.micros(now);
        let subscriber = &mut self.subscribers[key];
        let state = &mut subscriber.state;
        // Reports on the RTX stream tell nothing of the media.
        if block.ssrc != state.ssrc {
            return None;
        }
        state.handle_report(at, block, &self.tracks[subscriber.track]);
        let round_trip = (state.rtt_ms() * 1_000.0) as u64;
        (round_trip > 0).then_some(round_trip)
    }

    /// Sends what the ready subscriptions of a peer have. `at` is `now` in microseconds.
    pub(super) fn flush_media(
        &mut self,
        now: Instant,
        at: u64,
        key: usize,
        arena: &mut TransmitArena,
    ) -> Result<(), Full> {
        let Peer {
            transport,
            extension_ids,
            transport_sequence,
            ready,
            downlink,
            padding_turn,
            subscriptions,
            ..
        } = &mut self.peers[key];
        let selected = transport.selected();
        let Some(((socket, to), sender)) = selected.zip(transport.sender()) else {
            for key in ready.drain(..) {
                let subscriber = &mut self.subscribers[key];
                subscriber.pass_over(&self.tracks[subscriber.track]);
            }
            return Ok(());
        };
        // From the first media on, what is sent is remembered, so that feedback can be understood.
        if downlink.is_none() && extension_ids.transport_cc.is_some() && !ready.is_empty() {
            *downlink = Some(Box::new(Downlink::new(at, &self.config)));
        }
        let (log, mut pacer) = downlink.as_deref_mut().map(Downlink::parts).unzip();
        let mut egress = Egress::new(at, arena, sender, (socket, to), extension_ids, transport_sequence).logged(log);
        while let Some(&key) = ready.last() {
            let subscriber = &mut self.subscribers[key];
            let track = &self.tracks[subscriber.track];
            subscriber.flush(at, key, track, &mut egress, pacer.as_deref_mut(), &mut self.counters)?;
            ready.pop();
            self.wishes.push(key);
        }
        if let Some(pacer) = pacer {
            let mut waiting = Paced {
                own: subscriptions,
                turn: padding_turn,
                subscribers: &mut self.subscribers,
                tracks: &self.tracks,
                counters: &mut self.counters,
                wishes: &mut self.wishes,
            };
            waiting.release(at, pacer, &mut egress)?;
            if let Some(next) = pacer.next(at) {
                self.schedule.wait_until(next.max(at + PACE));
                self.pace(key);
            }
        }
        while let Some(key) = self.wishes.pop() {
            self.wish(now, key);
        }
        Ok(())
    }

    pub(super) fn subscription_rows(&self, at: u64, rows: &mut Vec<SubscriptionRow>) {
        rows.extend(self.subscribers.iter().map(|(_, subscriber)| subscriber.state.row(at)));
    }

    /// Begins with what is kept of the track, or asks for the keyframe that the subscription waits for.
    pub(super) fn steer(&mut self, now: Instant, key: usize) {
        let subscriber = &mut self.subscribers[key];
        let peer = &self.peers[subscriber.peer];
        // What waits must not be sent a second time.
        let waits = peer
            .downlink
            .as_deref()
            .is_some_and(|downlink| downlink.pacer.holds(key as u32));
        if peer.is_connected() && !waits && subscriber.state.begin_with_kept(&self.tracks[subscriber.track]) {
            self.ready(key);
        }
        self.wish(now, key);
    }

    /// Tells the layer forwarded when it has changed, and asks for the keyframe that the subscription waits for.
    fn wish(&mut self, now: Instant, key: usize) {
        let subscriber = &mut self.subscribers[key];
        if let Some(layer) = subscriber.state.poll_layer() {
            self.events.push_back(Event::LayerForwarded {
                subscription: subscriber.id,
                layer,
            });
        }
        let Some(layer) = subscriber.state.keyframe_wanted() else {
            return;
        };
        // One may be among what waits.
        let downlink = self.peers[subscriber.peer].downlink.as_deref();
        if downlink.is_some_and(|downlink| downlink.pacer.holds(key as u32)) {
            return;
        }
        // A client that cannot decode anything yet would not use it.
        let track = subscriber.track;
        if self.peers[subscriber.peer].is_connected() {
            self.want_keyframe(now, track, layer);
        }
    }
}

impl Subscriber {
    #[allow(clippy::too_many_arguments)]
    fn flush(
        &mut self,
        at: u64,
        key: usize,
        track: &Track,
        egress: &mut Egress<'_>,
        mut pacer: Option<&mut Pacer<Waiting>>,
        counters: &mut WorkerRow,
    ) -> Result<(), Full> {
        self.catch_up(at, key, track, egress, pacer.as_deref_mut(), counters)?;
        while let Some(packet) = track.pending(self.cursor) {
            self.offer(at, key, packet, track, egress, pacer.as_deref_mut(), counters)?;
            self.cursor += 1;
            if self.state.is_behind() {
                // Behind the one that was just sent.
                self.state.advance();
                self.catch_up(at, key, track, egress, pacer.as_deref_mut(), counters)?;
            }
        }
        while let Some(&sequence) = self.asked.last() {
            if !egress.has_room() {
                return Err(Full);
            }
            if let Some(pacer) = pacer.as_deref_mut()
                && pacer.admit(at, REPAIR_BYTES, Class::Repair) == Admit::Queue
            {
                let item = Waiting::Repair {
                    key,
                    id: self.id,
                    sequence,
                };
                pacer.push(at, self.item(key, item, Class::Repair, REPAIR_BYTES));
            } else {
                self.state.handle_nack(at, std::iter::once(sequence), track, egress);
            }
            self.asked.pop();
        }
        self.pass_over(track);
        Ok(())
    }

    /// Sends what is kept, when the subscription has just begun with it.
    #[allow(clippy::too_many_arguments)]
    fn catch_up(
        &mut self,
        at: u64,
        key: usize,
        track: &Track,
        egress: &mut Egress<'_>,
        mut pacer: Option<&mut Pacer<Waiting>>,
        counters: &mut WorkerRow,
    ) -> Result<(), Full> {
        while let Some(packet) = self.state.kept(track) {
            self.offer(at, key, packet, track, egress, pacer.as_deref_mut(), counters)?;
            self.state.advance();
            // What is pending was kept, too.
            self.cursor = track.end();
        }
        Ok(())
    }

    /// Forwards a packet now, or when the path has room for it.
    #[allow(clippy::too_many_arguments)]
    fn offer(
        &mut self,
        at: u64,
        key: usize,
        packet: &Arc<Packet>,
        track: &Track,
        egress: &mut Egress<'_>,
        pacer: Option<&mut Pacer<Waiting>>,
        counters: &mut WorkerRow,
    ) -> Result<(), Full> {
        if let Some(pacer) = pacer {
            if !self.state.takes(packet) {
                return Ok(());
            }
            if !egress.has_room() {
                return Err(Full);
            }
            let class = match self.state.kind {
                MediaKind::Audio => Class::Audio,
                MediaKind::Video => Class::Video,
            };
            let bytes = packet.payload().len() as u32 + OVERHEAD;
            if pacer.admit(at, bytes, class) == Admit::Queue {
                let waiting = Waiting::Media {
                    key,
                    id: self.id,
                    packet: Arc::clone(packet),
                };
                let item = Item {
                    keyframe: packet.facts.keyframe,
                    ..self.item(key, waiting, class, bytes)
                };
                pacer.push(at, item);
                return Ok(());
            }
        }
        match self.state.forward(at, packet, track, egress) {
            Forwarded::Sent => counters.rtp_packets_out += 1,
            Forwarded::Dropped => {}
            Forwarded::Full => return Err(Full),
        }
        Ok(())
    }

    fn item(&self, key: usize, item: Waiting, class: Class, bytes: u32) -> Item<Waiting> {
        Item {
            item,
            flow: key as u32,
            class,
            bytes,
            keyframe: false,
        }
    }

    /// Nothing waits any more.
    fn pass_over(&mut self, track: &Track) {
        self.cursor = track.end();
        self.asked.clear();
        self.ready = false;
    }
}

/// What a peer's pacer gives back finds its way from here.
struct Paced<'a> {
    /// Keys of the peer's subscriptions.
    own: &'a [usize],
    /// Which of them gives padding next.
    turn: &'a mut usize,
    subscribers: &'a mut Slab<Subscriber>,
    tracks: &'a Slab<Track>,
    counters: &'a mut WorkerRow,
    wishes: &'a mut Vec<usize>,
}

impl Paced<'_> {
    fn release(&mut self, at: u64, pacer: &mut Pacer<Waiting>, egress: &mut Egress<'_>) -> Result<(), Full> {
        loop {
            if !egress.has_room() {
                return Err(Full);
            }
            match pacer.poll(at) {
                None => return Ok(()),
                Some(Poll::Send { item, probe, .. }) => {
                    egress.set_probe(probe);
                    self.send(at, item, egress);
                    egress.set_probe(None);
                }
                Some(Poll::Padding { bytes, probe }) => {
                    egress.set_probe(Some(probe));
                    self.pad(bytes, egress);
                    egress.set_probe(None);
                }
                Some(Poll::DropUntilKeyframe(flow)) => {
                    let key = flow as usize;
                    if let Some(subscriber) = self.subscribers.get_mut(key) {
                        subscriber.state.interrupt();
                        self.wishes.push(key);
                    }
                }
            }
        }
    }

    /// The peer's subscriptions take turns.
    fn pad(&mut self, bytes: u32, egress: &mut Egress<'_>) {
        for _ in 0..self.own.len() {
            *self.turn = self.turn.wrapping_add(1);
            let subscriber = self
                .own
                .get(*self.turn % self.own.len())
                .and_then(|&key| self.subscribers.get_mut(key));
            if let Some(subscriber) = subscriber
                && subscriber.state.pad(bytes, &self.tracks[subscriber.track], egress)
            {
                return;
            }
        }
    }

    fn send(&mut self, at: u64, item: Waiting, egress: &mut Egress<'_>) {
        let (key, id) = match item {
            Waiting::Media { key, id, .. } | Waiting::Repair { key, id, .. } => (key, id),
        };
        let Some(subscriber) = self.subscribers.get_mut(key).filter(|subscriber| subscriber.id == id) else {
            return;
        };
        let track = &self.tracks[subscriber.track];
        match item {
            Waiting::Media { packet, .. } => {
                if subscriber.state.forward(at, &packet, track, egress) == Forwarded::Sent {
                    self.counters.rtp_packets_out += 1;
                }
                // What came before a stream began here has passed: those behind it wait in the queue already.
                subscriber.state.forget_kept();
                self.wishes.push(key);
            }
            Waiting::Repair { sequence, .. } => {
                subscriber
                    .state
                    .handle_nack(at, std::iter::once(sequence), track, egress);
            }
        }
    }
}

/// Unpredictable; zero when the system has no randomness, which costs no more than that.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
