//! What one flush sends to one peer: packets of its subscriptions as the path has room, and those that waited for it.

use std::sync::Arc;

use slab::Slab;

use super::flush::Full;
use super::subscriptions::Subscriber;
use crate::command::MediaKind;
use crate::downlink::Waiting;
use crate::forward::Egress;
use crate::pacer::{Admit, Class, Item, Pacer, Poll};
use crate::packet::Packet;
use crate::publish::track::Track;
use crate::stats::WorkerRow;

/// Bytes that a packet has on the wire beyond its payload: RTP with extensions, SRTP, UDP, IP.
const OVERHEAD: u32 = 76;
/// Of a retransmission, before it is known which packet it is.
const REPAIR_BYTES: u32 = 1_200;

/// The way out of one flush.
pub(super) struct Outlet<'o, 'e> {
    /// Microseconds.
    pub(super) at: u64,
    pub(super) egress: &'o mut Egress<'e>,
    /// Of a path that is estimated.
    pub(super) pacer: Option<&'o mut Pacer<Waiting>>,
    pub(super) counters: &'o mut WorkerRow,
}

impl Outlet<'_, '_> {
    /// Whether a packet may go now; else it must be pushed.
    fn admits(&mut self, bytes: u32, class: Class) -> bool {
        let admit = self.pacer.as_mut().map(|pacer| pacer.admit(self.at, bytes, class));
        admit != Some(Admit::Queue)
    }

    /// What was admitted or polled was not sent.
    fn refund(&mut self, bytes: u32) {
        if let Some(pacer) = &mut self.pacer {
            pacer.refund(bytes);
        }
    }

    fn push(&mut self, item: Item<Waiting>) {
        if let Some(pacer) = &mut self.pacer {
            pacer.push(self.at, item);
        }
    }
}

impl Subscriber {
    /// Sends what is new of its track, and what was asked again.
    pub(super) fn flush(&mut self, track: &Track, out: &mut Outlet<'_, '_>) -> Result<(), Full> {
        self.catch_up(track, out)?;
        while let Some(packet) = track.pending(self.cursor) {
            self.offer(packet, track, out)?;
            self.cursor += 1;
            if self.state.is_behind() {
                // Behind the one that was just sent.
                self.state.advance();
                self.catch_up(track, out)?;
            }
        }
        if let Some(&first) = self.asked.front() {
            self.state
                .weigh_repairs(out.at, first, self.asked.len(), track, out.egress);
        }
        while let Some(&sequence) = self.asked.front() {
            self.repair(sequence, track, out)?;
            self.asked.pop_front();
        }
        self.pass_over(track);
        Ok(())
    }

    /// Nothing waits any more.
    pub(super) fn pass_over(&mut self, track: &Track) {
        self.cursor = track.end();
        self.asked.clear();
        self.ready = false;
    }

    /// Sends what is kept, when the subscription has just begun with it.
    fn catch_up(&mut self, track: &Track, out: &mut Outlet<'_, '_>) -> Result<(), Full> {
        while let Some(packet) = self.state.kept(track) {
            self.offer(packet, track, out)?;
            self.state.advance();
            // What is pending was kept, too.
            self.cursor = track.end();
        }
        Ok(())
    }

    /// Forwards a packet now, or when the path has room for it.
    fn offer(&mut self, packet: &Arc<Packet>, track: &Track, out: &mut Outlet<'_, '_>) -> Result<(), Full> {
        if !self.state.takes(packet) {
            return Ok(());
        }
        if !out.egress.has_room() {
            return Err(Full);
        }
        let class = match self.state.kind {
            MediaKind::Audio => Class::Audio,
            MediaKind::Video => Class::Video,
        };
        let bytes = on_wire(packet, self.state.copies());
        if out.admits(bytes, class) {
            self.forward(packet, track, out);
            return Ok(());
        }
        let waiting = Waiting::Media {
            key: self.key,
            id: self.id,
            packet: Arc::clone(packet),
        };
        out.push(Item {
            keyframe: packet.facts.keyframe,
            ..self.item(waiting, class, bytes)
        });
        Ok(())
    }

    /// Sends a packet again, now or when the path has room for it.
    fn repair(&mut self, sequence: u16, track: &Track, out: &mut Outlet<'_, '_>) -> Result<(), Full> {
        if !out.egress.has_room() {
            return Err(Full);
        }
        if out.admits(REPAIR_BYTES, Class::Urgent) {
            self.send_again(sequence, track, out);
            return Ok(());
        }
        let waiting = Waiting::Repair {
            key: self.key,
            id: self.id,
            sequence,
        };
        out.push(self.item(waiting, Class::Urgent, REPAIR_BYTES));
        Ok(())
    }

    fn forward(&mut self, packet: &Packet, track: &Track, out: &mut Outlet<'_, '_>) {
        if self.state.forward(out.at, packet, track, out.egress) {
            out.counters.rtp_packets_out += 1;
        } else {
            out.refund(on_wire(packet, self.state.copies()));
        }
    }

    fn send_again(&mut self, sequence: u16, track: &Track, out: &mut Outlet<'_, '_>) {
        if !self.state.repair(out.at, sequence, track, out.egress) {
            out.refund(REPAIR_BYTES);
        }
    }

    /// Sends parity and second copies that are due, or asks the pacer for a turn.
    pub(super) fn send_parity(&mut self, track: &Track, out: &mut Outlet<'_, '_>) -> Result<(), Full> {
        loop {
            if !out.egress.has_room() {
                return Err(Full);
            }
            let Some(pool) = out.egress.pool() else { break };
            let Some(len) = self.state.parity_due(out.at, pool) else {
                break;
            };
            let bytes = len as u32 + OVERHEAD;
            if !out.admits(bytes, Class::Repair) {
                let waiting = Waiting::Parity {
                    key: self.key,
                    id: self.id,
                };
                out.push(self.item(waiting, Class::Repair, bytes));
                self.state.on_parity_waits(out.at);
                break;
            }
            self.parity(bytes, out);
        }
        loop {
            if !out.egress.has_room() {
                return Err(Full);
            }
            let Some(sequence) = self.state.copy_due(out.at) else {
                return Ok(());
            };
            // A path without room for it is not one that loses at random.
            if out.admits(REPAIR_BYTES, Class::Repair) && !self.state.send_copy(out.at, sequence, track, out.egress) {
                out.refund(REPAIR_BYTES);
            }
        }
    }

    /// A parity packet of about so many bytes.
    fn parity(&mut self, bytes: u32, out: &mut Outlet<'_, '_>) {
        if self.state.send_parity(out.at, out.egress) {
            out.counters.rtp_packets_out += 1;
        } else {
            out.refund(bytes);
        }
    }

    fn item(&self, item: Waiting, class: Class, bytes: u32) -> Item<Waiting> {
        Item {
            item,
            flow: self.key as u32,
            class,
            bytes,
            keyframe: false,
        }
    }
}

/// What a peer's pacer gives back finds its way from here.
pub(super) struct Paced<'a> {
    /// Keys of the peer's subscriptions.
    pub(super) own: &'a [usize],
    /// Which of them gives padding next.
    pub(super) turn: &'a mut usize,
    pub(super) subscribers: &'a mut Slab<Subscriber>,
    pub(super) tracks: &'a Slab<Track>,
    pub(super) wishes: &'a mut Vec<usize>,
}

impl Paced<'_> {
    /// Sends what may go by now.
    pub(super) fn release(&mut self, out: &mut Outlet<'_, '_>) -> Result<(), Full> {
        loop {
            if !out.egress.has_room() {
                return Err(Full);
            }
            match out.pacer.as_mut().and_then(|pacer| pacer.poll(out.at)) {
                None => return Ok(()),
                Some(Poll::Send { item, probe, .. }) => {
                    out.egress.set_probe(probe);
                    self.send(item, out);
                    out.egress.set_probe(None);
                }
                Some(Poll::Padding { bytes, probe }) => {
                    out.egress.set_probe(probe);
                    let padded = self.pad(bytes, out.egress);
                    out.egress.set_probe(None);
                    if let Some(pacer) = &mut out.pacer {
                        // Where nobody has any, the cluster still ends.
                        pacer.padded(out.at, if padded > 0 { padded } else { bytes });
                    }
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

    /// Bytes sent; the peer's subscriptions take turns.
    fn pad(&mut self, bytes: u32, egress: &mut Egress<'_>) -> u32 {
        for _ in 0..self.own.len() {
            *self.turn = self.turn.wrapping_add(1);
            let subscriber = self
                .own
                .get(*self.turn % self.own.len())
                .and_then(|&key| self.subscribers.get_mut(key));
            let Some(subscriber) = subscriber else { continue };
            let padded = subscriber.state.pad(bytes, &self.tracks[subscriber.track], egress);
            if padded > 0 {
                return padded;
            }
        }
        0
    }

    fn send(&mut self, item: Waiting, out: &mut Outlet<'_, '_>) {
        let (key, id) = match item {
            Waiting::Media { key, id, .. } | Waiting::Repair { key, id, .. } | Waiting::Parity { key, id } => (key, id),
        };
        let Some(subscriber) = self.subscribers.get_mut(key).filter(|subscriber| subscriber.id == id) else {
            return;
        };
        let track = &self.tracks[subscriber.track];
        match item {
            Waiting::Media { packet, .. } => {
                subscriber.forward(&packet, track, out);
                // What came before a stream began here has passed: those behind it wait in the queue already.
                subscriber.state.forget_kept();
                self.wishes.push(key);
            }
            Waiting::Repair { sequence, .. } => subscriber.send_again(sequence, track, out),
            Waiting::Parity { .. } => {
                subscriber.parity(REPAIR_BYTES, out);
                // What is due by now asks for the next turn; without room it does so in the next flush.
                let _ = subscriber.send_parity(track, out);
            }
        }
    }
}

/// With `copies` of its payload, former ones taken for as long.
fn on_wire(packet: &Packet, copies: u32) -> u32 {
    packet.payload().len() as u32 * copies + OVERHEAD
}
