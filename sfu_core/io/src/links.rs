//! Links to other nodes, and the tracks that come over them.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use engine::command::{AddLink, Command, Keys, MediaKind, Mirror};
use engine::ids::{GroupId, LinkId, SocketId, TrackId, WorkerId};

use crate::core::{CommandError, Core};

/// Links and mirrors, by where they are.
#[derive(Default)]
pub(crate) struct Linked {
    pub(crate) links: HashMap<LinkId, WorkerId>,
    pub(crate) mirrors: HashMap<TrackId, (LinkId, MediaKind)>,
}

impl Core {
    /// Where a published track or a mirror lives.
    pub fn home(&self, track: TrackId) -> Result<WorkerId, CommandError> {
        let places = self.places();
        let known = places.tracks.contains_key(&track) || places.linked.mirrors.contains_key(&track);
        known.then(|| track.home()).ok_or(CommandError::UnknownTrack)
    }

    /// Where clients and links reach a worker.
    pub fn addresses(&self, worker: WorkerId) -> Result<Vec<SocketAddr>, CommandError> {
        Ok(self.handle(worker)?.announced.clone())
    }

    /// An id for a link of this node.
    pub fn new_link(&self) -> LinkId {
        let places = self.places();
        loop {
            let link = LinkId::random();
            if !places.linked.links.contains_key(&link) {
                return link;
            }
        }
    }

    pub fn add_link(
        &self,
        link: LinkId,
        worker: WorkerId,
        theirs: u32,
        (send, receive): (Keys, Keys),
        remote: Option<SocketAddr>,
    ) -> Result<(), CommandError> {
        let socket = match remote {
            Some(remote) => self.socket_to(worker, remote.ip())?,
            // The first authentic datagram tells.
            None => SocketId(0),
        };
        let mut places = self.places();
        if places.linked.links.contains_key(&link) {
            return Err(CommandError::LinkExists);
        }
        let add = AddLink {
            link,
            theirs,
            send,
            receive,
            socket,
            remote,
        };
        self.send(worker, Command::AddLink(add))?;
        places.linked.links.insert(link, worker);
        Ok(())
    }

    pub fn rotate_link(&self, link: LinkId, send: Option<Keys>, receive: Option<Keys>) -> Result<(), CommandError> {
        let worker = self.link(link)?;
        self.send(worker, Command::RotateLink { link, send, receive })
    }

    /// Its mirrors end.
    pub fn remove_link(&self, link: LinkId) -> Result<(), CommandError> {
        let worker = self.link(link)?;
        self.places().linked.links.remove(&link);
        self.send(worker, Command::RemoveLink { link })
    }

    /// A new mirror, or `track`, which comes over this link from now on.
    pub fn mirror(
        &self,
        link: LinkId,
        theirs: TrackId,
        kind: MediaKind,
        group: Option<GroupId>,
        track: Option<TrackId>,
    ) -> Result<TrackId, CommandError> {
        let worker = self.link(link)?;
        let mut places = self.places();
        let track = match track {
            None => TrackId::new(self.id(), worker),
            Some(track) => {
                let &(_, before) = places.linked.mirrors.get(&track).ok_or(CommandError::UnknownTrack)?;
                if track.home() != worker || before != kind {
                    return Err(CommandError::OtherWorker);
                }
                track
            }
        };
        let mirror = Mirror {
            track,
            link,
            theirs,
            kind,
            group,
        };
        self.send(worker, Command::Mirror(mirror))?;
        places.linked.mirrors.insert(track, (link, kind));
        Ok(track)
    }

    pub fn unmirror(&self, track: TrackId) -> Result<(), CommandError> {
        let removed = self.places().linked.mirrors.remove(&track);
        removed.ok_or(CommandError::UnknownTrack)?;
        self.send(track.home(), Command::RemoveMirror { track })
    }

    fn link(&self, link: LinkId) -> Result<WorkerId, CommandError> {
        let places = self.places();
        let worker = places.linked.links.get(&link).copied();
        worker.ok_or(CommandError::UnknownLink)
    }

    /// The socket from which an address can be reached: of its family, and of this machine if the address is.
    fn socket_to(&self, worker: WorkerId, remote: IpAddr) -> Result<SocketId, CommandError> {
        let bound = &self.handle(worker)?.bound;
        let fits = |local: &IpAddr| local.is_ipv4() == remote.is_ipv4() && local.is_loopback() == remote.is_loopback();
        let family = |local: &IpAddr| local.is_ipv4() == remote.is_ipv4();
        let index = bound
            .iter()
            .position(|local| *local == remote)
            .or_else(|| bound.iter().position(fits))
            .or_else(|| bound.iter().position(family));
        index
            .map(|index| SocketId(index as u8))
            .ok_or(CommandError::Unreachable)
    }
}

impl Linked {
    /// A worker has failed: links and mirrors that were there.
    pub(crate) fn take_of(&mut self, worker: WorkerId) -> (Vec<LinkId>, Vec<TrackId>) {
        let links: Vec<_> = self
            .links
            .extract_if(|_, of| *of == worker)
            .map(|(link, _)| link)
            .collect();
        let mirrors = self.mirrors.extract_if(|track, _| track.home() == worker);
        (links, mirrors.map(|(track, _)| track).collect())
    }
}
