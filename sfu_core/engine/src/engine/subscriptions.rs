//! The subscriptions of this worker: what they wait for, and what their clients say.

use std::collections::VecDeque;
use std::time::Instant;

use wire::rtcp::nack::Nack;
use wire::rtcp::report::ReportBlock;
use wire::rtcp::{report, sdes};

use super::Engine;
use super::flush::Full;
use super::paced::{Outlet, Paced};
use crate::command::{MediaKind, Redirect, Subscribe, Wanted};
use crate::downlink::Downlink;
use crate::event::{CommandError, Event, Limit};
use crate::forward::{Egress, Subscription};
use crate::ids::{SubscriptionId, TrackId, WorkerId};
use crate::peer::Peer;
use crate::stats::SubscriptionRow;
use crate::transmit::TransmitArena;

/// Packets that wait are looked at so often at most, microseconds: those of one look are sent together.
const PACE: u64 = 1_000;
/// Numbers that a subscriber may ask again between two flushes. What is beyond it asks once more.
const MAX_ASKED: usize = 512;

/// A subscription with its place in the engine.
pub(super) struct Subscriber {
    pub(super) id: SubscriptionId,
    /// Its own key, and others.
    pub(super) key: usize,
    pub(super) peer: usize,
    pub(super) track: usize,
    pub(super) state: Subscription,
    /// Number of the first pending packet of the track that it has not seen.
    pub(super) cursor: u64,
    /// It is in its peer's list of those with something to send.
    pub(super) ready: bool,
    /// Numbers asked again.
    pub(super) asked: VecDeque<u16>,
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
        let track_key = self.source(subscribe.track, subscribe.kind, subscribe.home)?;
        let at = self.micros(now);
        let track = &mut self.tracks[track_key];
        let mut state = Subscription::new(at, subscribe, seed());
        state.update_target(track);
        let slot = self.subscribers.vacant_entry();
        let key = slot.key();
        slot.insert(Subscriber {
            id: subscribe.subscription,
            key,
            peer: peer_key,
            track: track_key,
            state,
            cursor: track.end(),
            ready: false,
            asked: VecDeque::new(),
        });
        track.subscribers.push(key);
        self.attend(track_key);
        self.subscription_keys.insert(subscribe.subscription, key);
        let peer = &mut self.peers[peer_key];
        peer.subscriptions.push(key);
        peer.by_ssrc.insert(subscribe.ssrc.0, key);
        peer.may_protect |= subscribe.red.is_some() || self.subscribers[key].state.has_parity();
        if let Some(ssrc) = subscribe.rtx_ssrc {
            peer.by_ssrc.insert(ssrc.0, key);
        }
        self.on_wishes(now, key);
        self.steer(now, key);
        Ok(())
    }

    /// The subscription goes on with another track, under its own numbers. What waits of the former one is not sent any more.
    pub(super) fn redirect(&mut self, now: Instant, redirect: &Redirect) -> Result<(), CommandError> {
        let key = self.subscription_key(redirect.subscription)?;
        let kind = self.subscribers[key].state.kind;
        let track_key = self.source(redirect.track, kind, redirect.home)?;
        if self.tracks[track_key].kind != kind {
            return Err(CommandError::UnknownTrack);
        }
        let subscriber = &mut self.subscribers[key];
        let former = std::mem::replace(&mut subscriber.track, track_key);
        if former == track_key {
            return Ok(());
        }
        let track = &mut self.tracks[track_key];
        subscriber.state.redirect(redirect, track);
        subscriber.cursor = track.end();
        subscriber.asked.clear();
        track.subscribers.push(key);
        if let Some(downlink) = self.peers[subscriber.peer].downlink.as_deref_mut() {
            downlink.pacer.remove(key as u32);
        }
        self.attend(track_key);
        self.leave_track(now, key, former);
        self.decide_soon(now, key);
        self.on_wishes(now, key);
        self.steer(now, key);
        Ok(())
    }

    /// A track of this worker, or the mirror of one.
    fn source(&mut self, track: TrackId, kind: MediaKind, home: WorkerId) -> Result<usize, CommandError> {
        match self.track_keys.get(&track) {
            Some(&key) => Ok(key),
            None if home == self.config.worker => Err(CommandError::UnknownTrack),
            None => Ok(self.mirror(track, kind, home)),
        }
    }

    pub(super) fn set_wanted(
        &mut self,
        now: Instant,
        subscription: SubscriptionId,
        wanted: Wanted,
    ) -> Result<(), CommandError> {
        let key = self.subscription_key(subscription)?;
        let subscriber = &mut self.subscribers[key];
        subscriber.state.set_wanted(wanted, &self.tracks[subscriber.track]);
        self.decide_soon(now, key);
        self.on_wishes(now, key);
        self.steer(now, key);
        Ok(())
    }

    /// A layer of the track began or ceased to flow, or its layers are others.
    pub(super) fn on_layer_activity(&mut self, now: Instant, track: usize) {
        self.tracks[track].wishes.forget();
        self.tracks[track].follow_links();
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
            subscriber.state.watch_freezes(at);
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
    pub(super) fn handle_nack(&mut self, now: Instant, peer: usize, nack: &Nack<'_>) {
        let at = self.micros(now);
        let Some(&key) = self.peers[peer].by_ssrc.get(&nack.media_ssrc) else {
            return;
        };
        let subscriber = &mut self.subscribers[key];
        let track = &self.tracks[subscriber.track];
        let room = MAX_ASKED - subscriber.asked.len();
        for sequence in nack.sequences().take(room) {
            subscriber.state.on_asked(at, sequence, track);
            subscriber.asked.push_back(sequence);
        }
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
            shielded,
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
        let (log, pacer) = downlink.as_deref_mut().map(Downlink::parts).unzip();
        let mut egress = Egress::new(at, arena, sender, (socket, to), extension_ids, transport_sequence).logged(log);
        if !shielded.is_empty() {
            egress = egress.with_pool(&mut self.parities);
        }
        let mut out = Outlet {
            at,
            egress: &mut egress,
            pacer,
            counters: &mut self.counters,
        };
        while let Some(&key) = ready.last() {
            let subscriber = &mut self.subscribers[key];
            subscriber.flush(&self.tracks[subscriber.track], &mut out)?;
            ready.pop();
            self.wishes.push(key);
        }
        for &key in shielded.iter() {
            let subscriber = &mut self.subscribers[key];
            subscriber.send_parity(&self.tracks[subscriber.track], &mut out)?;
        }
        if out.pacer.is_some() {
            let mut waiting = Paced {
                own: subscriptions,
                turn: padding_turn,
                subscribers: &mut self.subscribers,
                tracks: &self.tracks,
                wishes: &mut self.wishes,
            };
            waiting.release(&mut out)?;
        }
        let due = shielded
            .iter()
            .filter_map(|&key| self.subscribers[key].state.shield_due());
        let next = out.pacer.and_then(|pacer| pacer.next(at));
        if let Some(next) = due.chain(next).min() {
            self.schedule.wait_until(next.max(at + PACE));
            self.pace(key);
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
        if let Some(paused) = subscriber.state.poll_paused() {
            self.events.push_back(Event::StreamPaused {
                subscription: subscriber.id,
                paused,
            });
        }
        let Some(layer) = subscriber.state.keyframe_wanted() else {
            return;
        };
        // One may be among what waits. Another layer can wait until the queue is empty, who cannot decode anything cannot.
        let pacer = self.peers[subscriber.peer]
            .downlink
            .as_deref()
            .map(|downlink| &downlink.pacer);
        let waits = pacer.is_some_and(|pacer| match subscriber.state.is_stuck() {
            true => pacer.holds_keyframe(key as u32),
            false => pacer.holds(key as u32),
        });
        if waits {
            return;
        }
        // A client that cannot decode anything yet would not use it.
        let track = subscriber.track;
        if self.peers[subscriber.peer].is_connected() {
            self.want_keyframe(now, track, layer);
        }
    }
}

/// Unpredictable; zero when the system has no randomness, which costs no more than that.
fn seed() -> u64 {
    let mut bytes = [0; 8];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}
