//! What videos are to their subscribers: what they show, who speaks, how they are shown, and which layers are of use to anybody.

use std::sync::Arc;
use std::time::Instant;

use super::Engine;
use crate::command::{Description, MediaKind, View};
use crate::crossing::{About, Crossing, Neighbour};
use crate::event::{CommandError, Event};
use crate::ids::{SubscriptionId, TrackId};
use crate::publish::track::Origin;

impl Engine {
    pub(super) fn describe(
        &mut self,
        now: Instant,
        track: TrackId,
        description: &Description,
    ) -> Result<(), CommandError> {
        let key = self.track_key(track)?;
        let about = About {
            description: description.clone(),
            rank: self.tracks[key].about.rank,
        };
        self.set_about(now, key, Arc::new(about));
        Ok(())
    }

    /// Decisions heed it from the next one on.
    pub(super) fn set_speaker(&mut self, now: Instant, track: TrackId, rank: Option<u8>) -> Result<(), CommandError> {
        let key = self.track_key(track)?;
        let about = About {
            description: self.tracks[key].about.description.clone(),
            rank,
        };
        self.set_about(now, key, Arc::new(about));
        Ok(())
    }

    /// Of a track here, or as its home says.
    pub(super) fn set_about(&mut self, now: Instant, key: usize, about: Arc<About>) {
        let track = &mut self.tracks[key];
        let resized = track.about.description.sizes != about.description.sizes;
        track.about = Arc::clone(&about);
        let id = track.id;
        self.crossings.extend(track.neighbours().map(|mirror| {
            let about = Arc::clone(&about);
            (mirror, Crossing::About { track: id, about })
        }));
        if resized {
            self.on_layer_activity(now, key);
        }
    }

    pub(super) fn set_view(
        &mut self,
        now: Instant,
        subscription: SubscriptionId,
        view: View,
    ) -> Result<(), CommandError> {
        let key = self.subscription_key(subscription)?;
        let subscriber = &mut self.subscribers[key];
        subscriber.state.set_view(view, &self.tracks[subscriber.track]);
        self.decide_soon(now, key);
        self.on_wishes(now, key);
        self.steer(now, key);
        Ok(())
    }

    /// A subscription wants something else: what the path carries is shared out again with the next feedback.
    pub(super) fn decide_soon(&mut self, now: Instant, key: usize) {
        let at = self.micros(now);
        let peer = &mut self.peers[self.subscribers[key].peer];
        // The first decision waits for what the first probes tell.
        if let Some(downlink) = peer.downlink.as_deref_mut().filter(|downlink| downlink.allocated > 0.0) {
            downlink.decide_at = downlink.decide_at.min(at);
        }
    }

    /// Another layer may be the best for this subscription. What is more than anybody wanted is told at once.
    pub(super) fn on_wishes(&mut self, now: Instant, key: usize) {
        let subscriber = &self.subscribers[key];
        let (track, wants) = (subscriber.track, subscriber.state.wants());
        if self.tracks[track].wishes.add(wants) {
            self.tell_wishes(now, track);
        }
    }

    /// Who mirrors the track says what its subscribers can use.
    pub(super) fn on_wishes_elsewhere(
        &mut self,
        now: Instant,
        key: usize,
        from: Neighbour,
        highest: Option<crate::allocate::LayerId>,
    ) {
        if self.tracks[key].mirror_mut(from).is_some() {
            self.tracks[key].set_wants(from, highest);
            self.tell_wishes(now, key);
            self.tracks[key].follow_links();
        }
    }

    /// To be called from time to time: less is told after a while.
    pub(super) fn tend_wishes(&mut self, now: Instant, key: usize) {
        let track = &mut self.tracks[key];
        if track.wishes.is_stale() {
            let subscribers = &self.subscribers;
            let wants = track.subscribers.iter().map(|&key| subscribers[key].state.wants());
            track.wishes.gather(wants);
        }
        self.tell_wishes(now, key);
    }

    fn tell_wishes(&mut self, now: Instant, key: usize) {
        let at = self.micros(now);
        let track = &mut self.tracks[key];
        if track.kind != MediaKind::Video {
            return;
        }
        let id = track.id;
        match track.origin {
            Origin::Peer { .. } => {
                if let Some(highest) = track.wishes.poll_publisher(at) {
                    self.events.push_back(Event::LayersWanted {
                        track: id,
                        highest: highest.map(|layer| (layer.spatial, layer.temporal)),
                    });
                }
            }
            Origin::Worker(home) => {
                if let Some(highest) = track.wishes.poll_home() {
                    self.crossings
                        .push(Neighbour::Worker(home), Crossing::LayersWanted { track: id, highest });
                }
            }
            Origin::Link { link, .. } => {
                if let Some(highest) = track.wishes.poll_link(at) {
                    self.crossings
                        .push(Neighbour::Link(link), Crossing::LayersWanted { track: id, highest });
                }
            }
        }
    }
}
