//! Freeing peers, tracks and subscriptions with everything that refers to them.

use std::time::Instant;

use super::Engine;
use crate::crossing::{Crossing, Neighbour};
use crate::publish::track::Origin;

impl Engine {
    /// With its tracks, their subscriptions anywhere, and its own subscriptions.
    pub(super) fn remove_peer(&mut self, now: Instant, key: usize) {
        while let Some(&subscription) = self.peers[key].subscriptions.last() {
            self.remove_subscription(now, subscription);
        }
        while let Some(&track) = self.peers[key].tracks.last() {
            self.remove_track(now, track);
        }
        let mut peer = self.peers.remove(key);
        self.peer_keys.remove(&peer.id);
        if let Some(downlink) = peer.downlink.as_deref() {
            self.retire_downlink(self.micros(now), peer.id, downlink);
        }
        self.outbox.forget(key);
        self.queued.retain(|&queued| queued != key);
        self.busy.retain(|&busy| busy != key);
        self.paced.retain(|&paced| paced != key);
        for address in &peer.addresses {
            if self.addresses.get(address) == Some(&key) {
                self.addresses.remove(address);
            }
        }
        for ufrag in &peer.ufrags {
            if self.ufrags.get(ufrag) == Some(&key) {
                self.ufrags.remove(ufrag);
            }
        }
        peer.transport.close(now);
        while let Some(datagram) = peer.transport.poll_datagram() {
            self.datagrams.push_back(datagram);
        }
    }

    /// With its subscriptions here; its mirrors are told.
    pub(super) fn remove_track(&mut self, now: Instant, key: usize) {
        let track = &mut self.tracks[key];
        let id = track.id;
        // Else the last subscription of a mirror would remove the track itself.
        let subscribers = std::mem::take(&mut track.subscribers);
        for subscriber in subscribers {
            self.forget_subscription(now, subscriber);
        }
        self.leave_group(key);
        let track = self.tracks.remove(key);
        self.retire_track(self.micros(now), &track);
        self.track_keys.remove(&id);
        self.pending.retain(|&pending| pending != key);
        self.crossings.extend(
            track
                .neighbours()
                .map(|mirror| (mirror, Crossing::Removed { track: id })),
        );
        if let Origin::Link { link, theirs } = track.origin {
            self.links.forget(link, theirs, key);
        }
        if let Some((link, theirs)) = track.former {
            self.links.forget(link, theirs, key);
        }
        if let Origin::Peer { key: peer, .. } = track.origin
            && let Some(peer) = self.peers.get_mut(peer)
        {
            peer.demux.remove(key);
            peer.tracks.retain(|&track| track != key);
        }
    }

    /// The last subscription of a mirror takes the mirror with it.
    pub(super) fn remove_subscription(&mut self, now: Instant, key: usize) {
        let track_key = self.subscribers[key].track;
        self.forget_subscription(now, key);
        self.leave_track(now, key, track_key);
    }

    /// A subscription does not take this track any more.
    pub(super) fn leave_track(&mut self, now: Instant, key: usize, track_key: usize) {
        let Some(track) = self.tracks.get_mut(track_key) else {
            return;
        };
        track.subscribers.retain(|&subscriber| subscriber != key);
        track.wishes.forget();
        self.on_watched(now, track_key);
    }

    /// Somebody does not take this track any more.
    pub(super) fn on_watched(&mut self, now: Instant, key: usize) {
        self.attend(key);
        let track = &self.tracks[key];
        if let Origin::Worker(home) = track.origin
            && !track.is_watched()
        {
            let detach = Crossing::Detach { track: track.id };
            self.crossings.push(Neighbour::Worker(home), detach);
            self.remove_track(now, key);
        }
    }

    fn forget_subscription(&mut self, now: Instant, key: usize) {
        let subscriber = self.subscribers.remove(key);
        self.retire_subscription(&subscriber.state.row(self.micros(now)));
        self.subscription_keys.remove(&subscriber.id);
        if let Some(peer) = self.peers.get_mut(subscriber.peer) {
            peer.subscriptions.retain(|&subscription| subscription != key);
            peer.ready.retain(|&ready| ready != key);
            peer.shielded.retain(|&shielded| shielded != key);
            peer.by_ssrc.retain(|_, &mut subscription| subscription != key);
            // The key is taken again: what waits under it must not be taken for another's.
            if let Some(downlink) = peer.downlink.as_deref_mut() {
                downlink.pacer.remove(key as u32);
            }
        }
    }
}
