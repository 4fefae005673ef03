//! Links to workers of other nodes: what crosses to them is sealed and sent, what comes over them is opened and crosses here.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use arrayvec::ArrayVec;
use relay::{Arrival, Link, MAX_DATAGRAM, Refused};
use rustc_hash::FxHashMap;

use super::Engine;
use super::flush::Full;
use crate::command::{AddLink, MediaKind, Mirror};
use crate::counters::Dropped;
use crate::crossing::wire::{self, Arrived, MAX_HEAD, MAX_MESSAGE};
use crate::crossing::{Crossing, Neighbour};
use crate::event::{CommandError, Event, Limit};
use crate::ids::{LinkId, SocketId, TrackId};
use crate::packet::Packet;
use crate::publish::facts;
use crate::publish::track::{Origin, Track};
use crate::transmit::TransmitArena;

/// Other nodes times their workers is less.
const MAX_LINKS: usize = 1_024;
/// What waits for the arena, per link. More is dropped, but for messages: then the link is thought dead.
const MAX_WAITING: usize = 65_536;

#[derive(Default)]
pub(super) struct Links {
    links: FxHashMap<LinkId, Box<Relay>>,
}

/// One link and what is under way.
struct Relay {
    state: Link,
    socket: SocketId,
    /// Where the other end was heard last.
    remote: Option<SocketAddr>,
    /// Ours of the tracks that come over it by theirs, and theirs by ours.
    ours: FxHashMap<TrackId, TrackId>,
    theirs: FxHashMap<TrackId, TrackId>,
    /// In the order in which it crossed: what a track is goes before its packets.
    outgoing: VecDeque<Outgoing>,
    alive: bool,
}

enum Outgoing {
    Packet {
        track: TrackId,
        packet: Arc<Packet>,
        fades: bool,
        kept: bool,
    },
    Message(Box<ArrayVec<u8, MAX_MESSAGE>>),
}

impl Links {
    pub(super) fn is_empty(&self) -> bool {
        self.links.is_empty()
    }

    /// The track does not come over the link any more.
    pub(super) fn forget(&mut self, link: LinkId, track: TrackId) {
        if let Some(relay) = self.links.get_mut(&link)
            && let Some(theirs) = relay.theirs.remove(&track)
        {
            relay.ours.remove(&theirs);
            relay.say(&Crossing::Detach { track: theirs });
        }
    }
}

impl Engine {
    pub(super) fn add_link(&mut self, now: Instant, add: &AddLink) -> Result<(), CommandError> {
        if self.links.links.contains_key(&add.link) {
            return Ok(());
        }
        if self.links.links.len() >= MAX_LINKS {
            return Err(CommandError::Limit(Limit::Links));
        }
        let config = relay::Config {
            link: add.theirs,
            send: add.send.clone(),
            receive: add.receive.clone(),
        };
        let at = self.micros(now);
        let relay = Relay {
            state: Link::new(at, &config).ok_or(CommandError::Key)?,
            socket: add.socket,
            remote: add.remote,
            ours: FxHashMap::default(),
            theirs: FxHashMap::default(),
            outgoing: VecDeque::new(),
            alive: true,
        };
        self.links.links.insert(add.link, Box::new(relay));
        self.schedule.wait_until(at);
        Ok(())
    }

    pub(super) fn rotate_link(
        &mut self,
        link: LinkId,
        send: Option<&relay::Keys>,
        receive: Option<&relay::Keys>,
    ) -> Result<(), CommandError> {
        let relay = self.links.links.get_mut(&link).ok_or(CommandError::UnknownLink)?;
        let received = receive.is_none_or(|keys| relay.state.rotate_receive(keys));
        let sent = send.is_none_or(|keys| relay.state.rotate_send(keys));
        if received && sent {
            Ok(())
        } else {
            Err(CommandError::Key)
        }
    }

    pub(super) fn remove_link(&mut self, now: Instant, link: LinkId) {
        if self.links.links.remove(&link).is_none() {
            return;
        }
        let from = Neighbour::Link(link);
        let over = |track: &Track| track.origin == Origin::Link(link);
        let gone: Vec<usize> = self
            .tracks
            .iter()
            .filter(|(_, track)| over(track))
            .map(|(key, _)| key)
            .collect();
        for key in gone {
            self.events.push_back(Event::MirrorEnded {
                track: self.tracks[key].id,
            });
            self.remove_track(now, key);
        }
        self.crossings.links.retain(|(to, _)| *to != link);
        self.early.retain(|&(_, asked, _)| asked != from);
        let mirrored: Vec<TrackId> = self
            .tracks
            .iter()
            .filter(|(_, track)| track.mirrors.contains(&from))
            .map(|(_, track)| track.id)
            .collect();
        for track in mirrored {
            self.cross(now, from, Crossing::Detach { track });
        }
    }

    pub(super) fn mirror_over_link(&mut self, mirror: &Mirror) -> Result<(), CommandError> {
        if self.track_keys.contains_key(&mirror.track) {
            return Ok(());
        }
        let relay = self
            .links
            .links
            .get_mut(&mirror.link)
            .ok_or(CommandError::UnknownLink)?;
        relay.ours.insert(mirror.theirs, mirror.track);
        relay.theirs.insert(mirror.track, mirror.theirs);
        let mut track = Track::relayed(mirror.track, mirror.kind, mirror.link);
        track.sound.group = mirror.group;
        let key = self.tracks.insert(track);
        self.track_keys.insert(mirror.track, key);
        self.attach_early(mirror.track, key);
        Ok(())
    }

    /// A track that comes over a link is asked for while somebody wants it.
    pub(super) fn attend(&mut self, key: usize) {
        let track = &mut self.tracks[key];
        let Origin::Link(link) = track.origin else {
            return;
        };
        let watched = track.is_watched();
        if std::mem::replace(&mut track.attached, watched) == watched {
            return;
        }
        let id = track.id;
        let crossing = match watched {
            true => Crossing::Attach { track: id },
            false => {
                track.layers.iter_mut().for_each(|layer| layer.active = false);
                Crossing::Detach { track: id }
            }
        };
        self.crossings.push(Neighbour::Link(link), crossing);
    }

    pub(super) fn handle_link(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &mut [u8],
    ) -> Result<(), Dropped> {
        let id = LinkId(relay::link_id(datagram).ok_or(Dropped::UnknownProtocol)?);
        let mut relay = self.links.links.remove(&id).ok_or(Dropped::UnknownSource)?;
        let at = self.micros(now);
        let Relay { state, ours, .. } = &mut *relay;
        let opened = state.receive(at, datagram, |arrival| match arrival {
            Arrival::Media(packet) => self.take_relayed(now, at, ours, packet),
            Arrival::Message(message) => self.take_message(now, at, id, ours, message),
        });
        if opened.is_ok() {
            (relay.socket, relay.remote) = (socket, Some(from));
        }
        self.schedule.wait_until(relay.state.next_timeout());
        self.links.links.insert(id, relay);
        opened.map_err(|refused| match refused {
            Refused::Malformed => Dropped::Malformed,
            Refused::Replayed => Dropped::SrtpReplay,
            Refused::Phase | Refused::Forged => Dropped::SrtpAuth,
        })
    }

    fn take_relayed(&mut self, now: Instant, at: u64, ours: &FxHashMap<TrackId, TrackId>, datagram: &[u8]) {
        let Some(arrived) = Arrived::read(datagram) else {
            self.counters.dropped_malformed += 1;
            return;
        };
        // What was detached is still under way for a while.
        let key = ours.get(&arrived.track).and_then(|track| self.track_keys.get(track));
        let Some(&key) = key else {
            return;
        };
        let track = &mut self.tracks[key];
        let Some(codec) = track.codec(arrived.payload_type) else {
            return;
        };
        let Some(layer) = track.layers.get_mut(usize::from(arrived.layer)) else {
            return;
        };
        let mut facts = facts::read(codec, arrived.payload);
        let structure = match arrived.dependency {
            [] => None,
            value => layer.upstream.dependencies.read(value, &mut facts),
        };
        let packet = self.pool.take(|packet| {
            packet.layer = arrived.layer;
            packet.seq = arrived.seq;
            packet.timestamp = arrived.time as u32;
            packet.time = arrived.time;
            packet.stream = arrived.stream;
            packet.marker = arrived.marker;
            packet.payload_type = arrived.payload_type;
            packet.arrival = at;
            packet.recovered = arrived.recovered;
            packet.extensions = arrived.extensions;
            packet.facts = facts;
            packet.structure = structure;
            packet.set_content(arrived.payload, arrived.dependency)
        });
        let Some(packet) = packet else {
            self.counters.dropped_pool_exhausted += 1;
            return;
        };
        if arrived.kept {
            let least = self.config.layer_timeout.as_micros() as u64;
            layer.keep(&packet, least);
            return;
        }
        if arrived.fades {
            self.lose_place(key);
        }
        self.distribute(now, key, packet, arrived.fades);
    }

    fn take_message(
        &mut self,
        now: Instant,
        at: u64,
        link: LinkId,
        ours: &FxHashMap<TrackId, TrackId>,
        message: &[u8],
    ) {
        let Some(mut crossing) = wire::read_message(message, at) else {
            self.counters.dropped_malformed += 1;
            return;
        };
        // Of a track that comes from there they say what it is, by their name.
        match &mut crossing {
            Crossing::Formats { track, .. }
            | Crossing::About { track, .. }
            | Crossing::LayerActive { track, .. }
            | Crossing::SenderReport { track, .. }
            | Crossing::Removed { track } => match ours.get(track) {
                Some(ours) => *track = *ours,
                None => return,
            },
            _ => (),
        }
        if let Crossing::Formats { track, formats } = &mut crossing
            && let Some(&key) = self.track_keys.get(track)
        {
            Arc::make_mut(formats).sound.group = self.tracks[key].sound.group;
        }
        self.cross(now, Neighbour::Link(link), crossing);
    }

    /// Sends what waits for links, link by link.
    pub(super) fn flush_links(&mut self, at: u64, arena: &mut TransmitArena) -> Result<(), Full> {
        self.sort_crossings();
        for relay in self.links.links.values_mut() {
            if relay.flush(at, arena).is_err() {
                return Err(Full);
            }
            self.schedule.wait_until(relay.state.next_timeout());
        }
        Ok(())
    }

    /// Tells which links have fallen silent, or speak again.
    pub(super) fn tend_links(&mut self, at: u64) {
        for (&link, relay) in &mut self.links.links {
            let alive = relay.state.is_alive(at) && relay.outgoing.len() < MAX_WAITING;
            if std::mem::replace(&mut relay.alive, alive) != alive {
                relay.outgoing.retain(|waiting| matches!(waiting, Outgoing::Message(_)));
                self.events.push_back(Event::LinkAlive { link, alive });
            }
        }
    }

    fn sort_crossings(&mut self) {
        while let Some((link, crossing)) = self.crossings.links.pop_front() {
            let Some(relay) = self.links.links.get_mut(&link) else {
                continue;
            };
            match crossing {
                Crossing::Packet { track, packet, fades } => {
                    let of = self.track_keys.get(&track).map(|&key| &self.tracks[key]);
                    if of.is_some_and(|of| is_wanted(of, link, &packet)) && !relay.put(track, packet, fades, false) {
                        self.counters.dropped_crossing += 1;
                    }
                }
                Crossing::Kept { track, packets } => {
                    for packet in &*packets {
                        relay.put(track, Arc::clone(packet), false, true);
                    }
                }
                mut other => {
                    relay.translate(&mut other);
                    relay.say(&other);
                }
            }
        }
    }
}

/// Simulcast layers above what anybody there can use stay here.
fn is_wanted(track: &Track, link: LinkId, packet: &Packet) -> bool {
    if track.kind == MediaKind::Audio {
        return true;
    }
    match track.wishes.of(Neighbour::Link(link)) {
        None => true,
        Some(None) => false,
        Some(Some(highest)) => track.is_single() || packet.layer <= highest.spatial,
    }
}

impl Relay {
    /// False when too many wait.
    fn put(&mut self, track: TrackId, packet: Arc<Packet>, fades: bool, kept: bool) -> bool {
        let room = self.alive && self.outgoing.len() < MAX_WAITING;
        if room {
            self.outgoing.push_back(Outgoing::Packet {
                track,
                packet,
                fades,
                kept,
            });
        }
        room
    }

    fn say(&mut self, crossing: &Crossing) {
        let message = wire::write_message(crossing);
        self.outgoing
            .extend(message.map(|message| Outgoing::Message(Box::new(message))));
    }

    /// What is said of a track to its home is said by the home's name.
    fn translate(&self, crossing: &mut Crossing) {
        if let Crossing::Attach { track }
        | Crossing::Detach { track }
        | Crossing::LayersWanted { track, .. }
        | Crossing::RequestKeyframe { track, .. } = crossing
            && let Some(theirs) = self.theirs.get(track)
        {
            *track = *theirs;
        }
    }

    fn flush(&mut self, at: u64, arena: &mut TransmitArena) -> Result<(), Full> {
        let Some(remote) = self.remote else {
            return Ok(());
        };
        let mut told = false;
        while let Some(next) = self.outgoing.front() {
            match next {
                Outgoing::Message(message) => {
                    if !self.state.tell(message) {
                        // Until some of them are acknowledged.
                        break;
                    }
                    told = true;
                }
                Outgoing::Packet {
                    track,
                    packet,
                    fades,
                    kept,
                } => {
                    if std::mem::take(&mut told) {
                        drain(&mut self.state, at, (self.socket, remote), arena)?;
                    }
                    let room = arena.reserve(MAX_DATAGRAM).ok_or(Full)?;
                    let mut head = [0; MAX_HEAD];
                    let len = Arrived::write_head(*track, packet, *fades, *kept, &mut head);
                    // What is too long for a link was too long for its path to the subscribers, too.
                    let parts = len.map(|len| [&head[..len], packet.dependency(), packet.payload()]);
                    if let Some(len) = parts.and_then(|parts| self.state.send(at, parts, room)) {
                        arena.commit(self.socket, remote, len);
                    }
                }
            }
            self.outgoing.pop_front();
        }
        drain(&mut self.state, at, (self.socket, remote), arena)
    }
}

/// What the link itself has to send.
fn drain(
    state: &mut Link,
    at: u64,
    (socket, remote): (SocketId, SocketAddr),
    arena: &mut TransmitArena,
) -> Result<(), Full> {
    loop {
        let room = arena.reserve(MAX_DATAGRAM).ok_or(Full)?;
        let Some(len) = state.poll_transmit(at, room) else {
            return Ok(());
        };
        arena.commit(socket, remote, len);
    }
}
