//! Tracks that come over a link: asked for while somebody wants them, and moved to another link.

use std::time::Instant;

use super::super::Engine;
use crate::command::{MediaKind, Mirror};
use crate::crossing::{Crossing, Neighbour};
use crate::event::{CommandError, Event};
use crate::publish::track::{Origin, Track};

impl Engine {
    /// A new mirror, or one that comes from elsewhere from now on.
    pub(in crate::engine) fn mirror_over_link(&mut self, now: Instant, mirror: &Mirror) -> Result<(), CommandError> {
        let begun = match self.track_keys.get(&mirror.track) {
            Some(&key) => self.move_mirror(now, key, mirror),
            None => self.begin_mirror(mirror),
        };
        if begun.is_err() && !self.track_keys.contains_key(&mirror.track) {
            // Its handle was given out.
            self.events.push_back(Event::MirrorEnded { track: mirror.track });
        }
        begun
    }

    fn begin_mirror(&mut self, mirror: &Mirror) -> Result<(), CommandError> {
        let relay = self.links.get_mut(mirror.link).ok_or(CommandError::UnknownLink)?;
        if relay.ours.contains_key(&mirror.theirs) {
            return Err(CommandError::Mirrored);
        }
        let mut track = Track::relayed(mirror.track, mirror.kind, (mirror.link, mirror.theirs));
        track.sound.group = mirror.group;
        let key = self.tracks.insert(track);
        relay.ours.insert(mirror.theirs, key);
        self.track_keys.insert(mirror.track, key);
        self.attach_early(mirror.track, key);
        Ok(())
    }

    /// What comes the old way is taken until something comes the new way.
    fn move_mirror(&mut self, now: Instant, key: usize, mirror: &Mirror) -> Result<(), CommandError> {
        let track = &mut self.tracks[key];
        let Origin::Link { link, theirs } = track.origin else {
            return Err(CommandError::UnknownTrack);
        };
        if (link, theirs) == (mirror.link, mirror.theirs) {
            return Ok(());
        }
        let relay = self.links.get_mut(mirror.link).ok_or(CommandError::UnknownLink)?;
        match relay.ours.get(&mirror.theirs) {
            Some(&other) if other != key => return Err(CommandError::Mirrored),
            _ => relay.ours.insert(mirror.theirs, key),
        };
        let before = track.former.replace((link, theirs));
        track.origin = Origin::Link {
            link: mirror.link,
            theirs: mirror.theirs,
        };
        if let Some((link, theirs)) = before.filter(|&before| before != (mirror.link, mirror.theirs)) {
            self.links.forget(link, theirs, key);
        }
        let track = &mut self.tracks[key];
        track.moved = u8::MAX;
        if track.attached {
            self.ask(key);
            self.tend_wishes(now, key);
        } else {
            self.leave_former(key);
        }
        Ok(())
    }

    /// Nothing more is taken from where the mirror came before it was moved.
    pub(super) fn leave_former(&mut self, key: usize) {
        if let Some((link, theirs)) = self.tracks[key].former.take() {
            self.links.forget(link, theirs, key);
        }
    }

    /// A track that comes over a link is asked for while somebody wants it.
    pub(in crate::engine) fn attend(&mut self, key: usize) {
        let track = &mut self.tracks[key];
        let Origin::Link { link, .. } = track.origin else {
            return;
        };
        let watched = track.is_watched();
        if std::mem::replace(&mut track.attached, watched) == watched {
            return;
        }
        if watched {
            self.ask(key);
            return;
        }
        let track = &mut self.tracks[key];
        track.layers.iter_mut().for_each(|layer| layer.active = false);
        let detach = Crossing::Detach { track: track.id };
        self.crossings.push(Neighbour::Link(link), detach);
        self.leave_former(key);
    }

    /// What is wanted of it is told as soon as it is known.
    pub(super) fn ask(&mut self, key: usize) {
        let track = &mut self.tracks[key];
        if let Some(home) = track.origin.neighbour() {
            track.layers.iter_mut().for_each(|layer| layer.active = false);
            track.wishes.begin_anew();
            let (track, kind) = (track.id, track.kind);
            let attach = Crossing::Attach {
                track,
                kind,
                thinned: true,
            };
            self.crossings.push(home, attach);
        }
    }

    /// Less than everything goes there from now on, where the other end knows what is left out.
    pub(in crate::engine) fn begin_thinning(&mut self, key: usize, to: Neighbour) {
        let Neighbour::Link(link) = to else { return };
        let knows = self.links.get_mut(link).is_some_and(|relay| relay.knows_left_out);
        let track = &mut self.tracks[key];
        if knows
            && track.kind == MediaKind::Video
            && let Some(mirror) = track.mirror_mut(to)
        {
            mirror.thinning.get_or_insert_default();
        }
    }

    /// The track is gone where it comes from.
    pub(in crate::engine) fn end_mirror(&mut self, now: Instant, key: usize) {
        let track = self.tracks[key].id;
        self.events.push_back(Event::MirrorEnded { track });
        self.remove_track(now, key);
    }
}
