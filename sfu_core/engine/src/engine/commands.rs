//! What the control plane asks for.

use std::time::Instant;

use super::Engine;
use crate::command::{
    Command, ExtensionIds, IceCredentials, MediaKind, OpenDataChannel, Publish, RestoreDataChannels, SendData,
};
use crate::crossing::Crossing;
use crate::event::{CommandError, Event, Limit};
use crate::extensions::ExtensionTable;
use crate::ids::{PeerId, SubscriptionId, TrackId};
use crate::peer::Peer;
use crate::publish::track::Track;
use crate::transport::Transport;

impl Engine {
    /// What fails is told by [`Event::CommandFailed`]. Removing what is already gone succeeds: the client may have left
    /// while the command was under way.
    pub fn handle_command(&mut self, now: Instant, command: Command) {
        let peer = subject(&command);
        if let Err(error) = self.execute(now, command) {
            self.counters.commands_failed += 1;
            self.events.push_back(Event::CommandFailed { peer, error });
        }
    }

    fn execute(&mut self, now: Instant, command: Command) -> Result<(), CommandError> {
        match command {
            Command::AddPeer { peer, local } => return self.add_peer(now, peer, local),
            Command::RemovePeer { peer } => {
                if let Some(&key) = self.peer_keys.get(&peer) {
                    self.remove_peer(now, key);
                }
            }
            Command::SetRemote {
                peer,
                ice,
                fingerprints,
            } => {
                let key = self.peer_key(peer)?;
                self.peers[key].transport.set_remote(now, ice, fingerprints);
                self.drain_transport(now, key);
            }
            Command::RestartIce { peer, local, remote } => {
                let key = self.peer_key(peer)?;
                self.peers[key].transport.restart_ice(now, local, remote);
                self.register_ufrags(key);
                self.drain_transport(now, key);
            }
            Command::SetExtensions { peer, ids } => self.set_extensions(peer, ids)?,
            Command::SetFeedback {
                peer,
                transport_cc,
                remb,
            } => {
                let key = self.peer_key(peer)?;
                let peer = &mut self.peers[key];
                (peer.transport_cc, peer.remb) = (transport_cc, remb);
                peer.arrivals = peer.arrivals.take().filter(|_| transport_cc);
            }
            Command::Publish(publish) => self.publish(now, &publish)?,
            Command::UpdatePublish(publish) => self.update_publish(now, &publish)?,
            Command::Unpublish { track, .. } => {
                if let Some(&key) = self.track_keys.get(&track) {
                    self.remove_track(now, key);
                }
            }
            Command::SetMuted { track, muted, .. } => self.set_muted(now, track, muted)?,
            Command::Describe { track, description, .. } => return self.describe(now, track, &description),
            Command::SetSpeaker { track, rank, .. } => return self.set_speaker(now, track, rank),
            Command::SetView { subscription, view, .. } => return self.set_view(now, subscription, view),
            Command::Subscribe(subscribe) => return self.subscribe(now, &subscribe),
            Command::Redirect(redirect) => return self.redirect(now, &redirect),
            Command::SetWanted {
                subscription, wanted, ..
            } => return self.set_wanted(now, subscription, wanted),
            Command::Unsubscribe { subscription, .. } => {
                if let Some(&key) = self.subscription_keys.get(&subscription) {
                    self.remove_subscription(now, key);
                }
            }
            Command::OpenDataChannel(open) => return self.open_data_channel(now, &open),
            Command::BeginDtls { peer } => {
                let key = self.peer_key(peer)?;
                self.peers[key].transport.begin_dtls();
            }
            Command::RestoreDataChannels(restore) => return self.restore_data_channels(now, restore),
            Command::SendData(send) => return self.send_data(now, &send),
            Command::AddLink(add) => return self.add_link(now, &add),
            Command::RotateLink { link, send, receive } => {
                return self.rotate_link(link, send.as_ref(), receive.as_ref());
            }
            Command::RemoveLink { link } => self.remove_link(now, link),
            Command::Mirror(mirror) => return self.mirror_over_link(now, &mirror),
            Command::RemoveMirror { track } => {
                if let Some(&key) = self.track_keys.get(&track) {
                    self.remove_track(now, key);
                }
            }
        }
        Ok(())
    }

    pub(super) fn peer_key(&self, peer: PeerId) -> Result<usize, CommandError> {
        self.peer_keys.get(&peer).copied().ok_or(CommandError::UnknownPeer)
    }

    pub(super) fn track_key(&self, track: TrackId) -> Result<usize, CommandError> {
        self.track_keys.get(&track).copied().ok_or(CommandError::UnknownTrack)
    }

    pub(super) fn subscription_key(&self, subscription: SubscriptionId) -> Result<usize, CommandError> {
        let key = self.subscription_keys.get(&subscription).copied();
        key.ok_or(CommandError::UnknownSubscription)
    }

    fn add_peer(&mut self, now: Instant, id: PeerId, local: IceCredentials) -> Result<(), CommandError> {
        if self.peer_keys.contains_key(&id) {
            return Ok(());
        }
        if self.peers.len() >= self.config.max_peers {
            return Err(CommandError::Limit(Limit::Peers));
        }
        let transport = Transport::new(now, local, self.identity.clone(), &self.config);
        let key = self.peers.insert(Peer::new(id, transport, self.micros(now)));
        self.peer_keys.insert(id, key);
        self.register_ufrags(key);
        Ok(())
    }

    fn set_extensions(&mut self, peer: PeerId, ids: ExtensionIds) -> Result<(), CommandError> {
        let key = self.peer_key(peer)?;
        let peer = &mut self.peers[key];
        peer.extension_ids = ids;
        peer.extensions = ExtensionTable::new(&ids);
        for &key in &peer.subscriptions {
            self.subscribers[key].state.forget_headers();
        }
        Ok(())
    }

    fn publish(&mut self, now: Instant, publish: &Publish) -> Result<(), CommandError> {
        if self.track_keys.contains_key(&publish.track) {
            return self.update_publish(now, publish);
        }
        let peer_key = self.peer_key(publish.peer)?;
        if self.peers[peer_key].tracks.len() >= self.config.max_tracks_per_peer {
            return Err(CommandError::Limit(Limit::Tracks));
        }
        let key = self.tracks.insert(Track::published(publish, peer_key));
        self.track_keys.insert(publish.track, key);
        self.join_group(key);
        let peer = &mut self.peers[peer_key];
        peer.tracks.push(key);
        peer.demux.set(key, publish);
        self.attach_early(publish.track, key);
        Ok(())
    }

    fn update_publish(&mut self, now: Instant, publish: &Publish) -> Result<(), CommandError> {
        let peer = self.peer_key(publish.peer)?;
        let key = self.track_key(publish.track)?;
        let track = &mut self.tracks[key];
        if !self.peers[peer].tracks.contains(&key) {
            return Err(CommandError::UnknownTrack);
        }
        track.update(publish);
        self.peers[peer].demux.set(key, publish);
        let crossing = Crossing::Formats {
            track: publish.track,
            formats: track.formats().into(),
        };
        self.crossings
            .extend(track.neighbours().map(|mirror| (mirror, crossing.clone())));
        self.on_layer_activity(now, key);
        Ok(())
    }

    fn set_muted(&mut self, now: Instant, track: TrackId, muted: bool) -> Result<(), CommandError> {
        let key = self.track_key(track)?;
        let track = &mut self.tracks[key];
        if std::mem::replace(&mut track.muted, muted) == muted {
            return Ok(());
        }
        if muted {
            self.lose_place(key);
        }
        for layer in 0..self.tracks[key].layers.len() {
            let track = &mut self.tracks[key];
            let slot = &mut track.layers[layer];
            if muted {
                if std::mem::replace(&mut slot.active, false) {
                    self.tell_layer(now, key, layer as u8, false);
                }
                continue;
            }
            slot.interrupt();
            if track.kind == MediaKind::Video && track.is_watched() {
                self.want_keyframe(now, key, layer as u8);
            }
        }
        Ok(())
    }

    fn open_data_channel(&mut self, now: Instant, open: &OpenDataChannel) -> Result<(), CommandError> {
        let key = self.peer_key(open.peer)?;
        let transport = &mut self.peers[key].transport;
        transport.open_channel(now, &open.label, open.ordered, open.max_retransmits)?;
        self.drain_transport(now, key);
        Ok(())
    }

    fn restore_data_channels(&mut self, now: Instant, restore: RestoreDataChannels) -> Result<(), CommandError> {
        let key = self.peer_key(restore.peer)?;
        self.peers[key].transport.restore_channels(now, restore.channels)?;
        self.drain_transport(now, key);
        Ok(())
    }

    fn send_data(&mut self, now: Instant, send: &SendData) -> Result<(), CommandError> {
        if send.payload.len() > self.config.max_data_message {
            return Err(CommandError::Limit(Limit::DataMessage));
        }
        for peer in &send.peers {
            let Some(&key) = self.peer_keys.get(peer) else {
                self.counters.dropped_data += 1;
                continue;
            };
            self.peers[key]
                .transport
                .send_data(now, &send.label, send.binary, &send.payload);
            self.drain_transport(now, key);
        }
        Ok(())
    }
}

/// Whom a failure concerns.
fn subject(command: &Command) -> Option<PeerId> {
    match command {
        Command::AddPeer { peer, .. }
        | Command::BeginDtls { peer }
        | Command::RemovePeer { peer }
        | Command::SetRemote { peer, .. }
        | Command::RestartIce { peer, .. }
        | Command::SetExtensions { peer, .. }
        | Command::SetFeedback { peer, .. }
        | Command::Unpublish { peer, .. }
        | Command::SetMuted { peer, .. }
        | Command::Describe { peer, .. }
        | Command::SetSpeaker { peer, .. }
        | Command::SetView { peer, .. }
        | Command::SetWanted { peer, .. }
        | Command::Unsubscribe { peer, .. } => Some(*peer),
        Command::Publish(publish) | Command::UpdatePublish(publish) => Some(publish.peer),
        Command::Subscribe(subscribe) => Some(subscribe.peer),
        Command::Redirect(redirect) => Some(redirect.peer),
        Command::OpenDataChannel(open) => Some(open.peer),
        Command::RestoreDataChannels(restore) => Some(restore.peer),
        Command::SendData(_)
        | Command::AddLink(_)
        | Command::RotateLink { .. }
        | Command::RemoveLink { .. }
        | Command::Mirror(_)
        | Command::RemoveMirror { .. } => None,
    }
}
