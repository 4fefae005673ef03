//! Links to workers of other nodes: what crosses to them is sealed and sent, what comes over them is opened and crosses here.

mod arriving;
mod leaving;
mod mirrors;

use std::net::SocketAddr;
use std::time::Instant;

use relay::Link;
use rustc_hash::FxHashMap;
use slab::Slab;

use super::Engine;
use super::flush::Full;
use crate::command::AddLink;
use crate::crossing::wire::{ANEW, FORGET};
use crate::crossing::{Crossing, Neighbour};
use crate::event::{CommandError, Event, Limit};
use crate::ids::{LinkId, SocketId, TrackId};
use crate::publish::track::Origin;
use crate::stats::LinkRow;
use crate::transmit::TransmitArena;
pub(super) use leaving::Offer;
use leaving::{Leaving, Outgoing};

/// Other nodes times their workers is less.
const MAX_LINKS: usize = 1_024;

#[derive(Default)]
pub(super) struct Links {
    relays: Slab<Relay>,
    keys: FxHashMap<LinkId, usize>,
}

/// One link and what is under way.
struct Relay {
    id: LinkId,
    /// `None` only while a datagram of it is looked at.
    state: Option<Box<Link<Leaving>>>,
    socket: SocketId,
    /// Where the other end was heard last.
    remote: Option<SocketAddr>,
    /// Keys of the tracks that come over it, by the other end's name.
    ours: FxHashMap<TrackId, usize>,
    outgoing: Outgoing,
    /// The other end can be told what is left out of a stream.
    knows_left_out: bool,
    alive: bool,
    /// When it has something to send by itself.
    due: u64,
}

impl Links {
    pub(super) fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }

    fn get_mut(&mut self, link: LinkId) -> Option<&mut Relay> {
        self.relays.get_mut(*self.keys.get(&link)?)
    }

    pub(super) fn set_knows_left_out(&mut self, link: LinkId) {
        if let Some(relay) = self.get_mut(link) {
            relay.knows_left_out = true;
        }
    }

    /// The track `theirs` does not come over the link any more.
    pub(super) fn forget(&mut self, link: LinkId, theirs: TrackId, key: usize) {
        if let Some(relay) = self.get_mut(link)
            && relay.ours.get(&theirs) == Some(&key)
        {
            relay.ours.remove(&theirs);
            relay.outgoing.say(&Crossing::Detach { track: theirs });
        }
    }

    pub(super) fn rows(&self, worker: u64, rows: &mut Vec<LinkRow>) {
        rows.extend(self.relays.iter().filter_map(|(_, relay)| {
            let stats = relay.state.as_ref()?.stats();
            Some(LinkRow {
                link: relay.id.0.into(),
                worker,
                alive: relay.alive.into(),
                mirrors: relay.ours.len() as u64,
                rtt_ms: stats.rtt as f64 / 1_000.0,
                loss: stats.loss,
                burst: stats.burst,
                media_sent: stats.media_sent,
                parity_sent: stats.parity_sent,
                repeats_sent: stats.repeats_sent,
                bytes_sent: stats.bytes_sent,
                redundant_bytes_sent: stats.redundant_bytes_sent,
                dropped: relay.outgoing.dropped,
                media_received: stats.media_received,
                bytes_received: stats.bytes_received,
                repaired: stats.repaired,
                mended: stats.mended,
                given_up: stats.given_up,
                duplicates: stats.duplicates,
                refused: stats.refused,
            })
        }));
    }
}

impl Engine {
    pub(super) fn add_link(&mut self, now: Instant, add: &AddLink) -> Result<(), CommandError> {
        if self.links.keys.contains_key(&add.link) {
            return Ok(());
        }
        if self.links.relays.len() >= MAX_LINKS {
            return Err(CommandError::Limit(Limit::Links));
        }
        let config = relay::Config {
            link: add.theirs,
            send: add.send.clone(),
            receive: add.receive.clone(),
        };
        let at = self.micros(now);
        let state = Link::new(at, &config).ok_or(CommandError::Key)?;
        let key = self.links.relays.insert(Relay {
            id: add.link,
            state: Some(Box::new(state)),
            socket: add.socket,
            remote: add.remote,
            ours: FxHashMap::default(),
            outgoing: Outgoing::default(),
            knows_left_out: false,
            alive: true,
            due: at,
        });
        self.links.keys.insert(add.link, key);
        self.schedule.wait_until(at);
        Ok(())
    }

    pub(super) fn rotate_link(
        &mut self,
        link: LinkId,
        send: Option<&relay::Keys>,
        receive: Option<&relay::Keys>,
    ) -> Result<(), CommandError> {
        let relay = self.links.get_mut(link).ok_or(CommandError::UnknownLink)?;
        let state = relay.state.as_mut().ok_or(CommandError::UnknownLink)?;
        let received = receive.is_none_or(|keys| state.rotate_receive(keys));
        let sent = send.is_none_or(|keys| state.rotate_send(keys));
        if received && sent {
            Ok(())
        } else {
            Err(CommandError::Key)
        }
    }

    /// The tracks that come over it end, those that go over it no longer do.
    pub(super) fn remove_link(&mut self, now: Instant, link: LinkId) {
        let Some(key) = self.links.keys.remove(&link) else {
            return;
        };
        self.links.relays.remove(key);
        for key in self.tracks_where(|origin| matches!(origin, Origin::Link { link: over, .. } if over == link)) {
            self.end_mirror(now, key);
        }
        for (_, track) in &mut self.tracks {
            track.former.take_if(|(over, _)| *over == link);
        }
        self.crossings.links.retain(|(to, _)| *to != link);
        self.early.retain(|&(_, asked, _)| asked != Neighbour::Link(link));
        self.detach_all(now, link);
    }

    /// Nothing of what is mirrored at the other end is any more.
    fn detach_all(&mut self, now: Instant, link: LinkId) {
        let from = Neighbour::Link(link);
        let mirrored: Vec<TrackId> = self
            .tracks
            .iter()
            .filter(|(_, track)| track.neighbours().any(|to| to == from))
            .map(|(_, track)| track.id)
            .collect();
        for track in mirrored {
            self.cross(now, from, Crossing::Detach { track });
        }
    }

    /// Sends what waits for links, link by link.
    pub(super) fn flush_links(&mut self, at: u64, arena: &mut TransmitArena) -> Result<(), Full> {
        self.sort_crossings();
        for (_, relay) in &mut self.links.relays {
            if !relay.outgoing.is_empty() || relay.due <= at {
                relay.flush(at, arena)?;
            }
            self.schedule.wait_until(relay.due);
        }
        Ok(())
    }

    /// Tells which links have fallen silent, or speak again.
    pub(super) fn tend_links(&mut self, at: u64) {
        let mut speaks = Vec::new();
        for (_, relay) in &mut self.links.relays {
            let Some(state) = &mut relay.state else {
                continue;
            };
            state.expire(at);
            let alive = state.is_alive(at);
            if alive && relay.outgoing.take_overflow() {
                speaks.push(relay.id);
            }
            if std::mem::replace(&mut relay.alive, alive) == alive {
                continue;
            }
            if alive {
                speaks.push(relay.id);
            }
            relay.outgoing.set_open(alive);
            self.events.push_back(Event::LinkAlive { link: relay.id, alive });
        }
        for link in speaks {
            self.ask_anew(link);
            if let Some(relay) = self.links.get_mut(link) {
                relay.outgoing.say_octets(ANEW);
            }
        }
    }

    /// What was said over the link may be lost: the tracks that come over it are asked for again.
    fn ask_anew(&mut self, link: LinkId) {
        let Some(relay) = self.links.get_mut(link) else {
            return;
        };
        relay.outgoing.say_octets(FORGET);
        for key in self.tracks_where(|origin| matches!(origin, Origin::Link { link: over, .. } if over == link)) {
            if self.tracks[key].attached {
                self.ask(key);
            }
        }
    }

    fn tracks_where(&self, of: impl Fn(Origin) -> bool) -> Vec<usize> {
        let found = self.tracks.iter().filter(|(_, track)| of(track.origin));
        found.map(|(key, _)| key).collect()
    }
}
