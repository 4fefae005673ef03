//! ICE-lite agent of one peer (RFC 8445 section 2.5, RFC 8839), and the answering side of consent (RFC 7675).
//!
//! We only answer: the peer is controlling, finds the pairs and nominates. A check is acted upon after its fingerprint, user
//! name and integrity proved right. Checks without valid credentials get no answer unless they name our user fragment;
//! that answer is shorter than the check.

mod message;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use wire::stun::Message;

use self::message::{Failure, failure_response, parse_check, success_response};
use crate::command::IceCredentials;
use crate::config::Config;
use crate::event::DisconnectReason;
use crate::ids::SocketId;

pub use self::message::local_ufrag;

/// Addresses of one peer that may be valid at once; the longest silent one gives way.
const MAX_PAIRS: usize = 16;
/// A pair that is not selected is forgotten when no check came for so long.
const PAIR_LIFETIME: Duration = Duration::from_secs(30);
/// Within this time of the first nomination the pair of highest priority wins, for some peers nominate all they try
/// (aggressive nomination, RFC 5245 section 8.1.1.2). Later the latest nomination wins: the peer has moved.
const SETTLING: Duration = Duration::from_secs(2);
/// A selected pair without checks for this long yields to another that has them. Longer than any interval of consent
/// checks (RFC 7675 section 5.1: 6 s).
const SILENCE: Duration = Duration::from_secs(8);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IceEvent {
    Validated {
        socket: SocketId,
        remote: SocketAddr,
    },
    Dropped {
        socket: SocketId,
        remote: SocketAddr,
    },
    Selected {
        remote: SocketAddr,
    },
    /// Nothing follows.
    Lost(DisconnectReason),
}

pub(crate) struct IceAgent {
    current: Generation,
    /// Credentials before a restart, until a check with the current ones succeeds.
    former: Option<Generation>,
    pairs: Vec<Pair>,
    selected: Option<Selected>,
    started: Instant,
    ice_timeout: Duration,
    consent_timeout: Duration,
    lost: bool,
    datagrams: VecDeque<(SocketId, SocketAddr, Vec<u8>)>,
    events: VecDeque<IceEvent>,
    dropped: u64,
}

struct Generation {
    local: IceCredentials,
    remote: Option<IceCredentials>,
}

/// What the peer's address and our socket make: we have one candidate per socket.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Address {
    socket: SocketId,
    remote: SocketAddr,
}

struct Pair {
    at: Address,
    last_check: Instant,
    priority: u32,
    /// User fragment that the peer claimed before we knew its own.
    claimed: Option<Box<str>>,
}

#[derive(Clone, Copy)]
struct Selected {
    at: Address,
    /// First nomination with these credentials.
    since: Instant,
    /// Selected with the credentials of before a restart.
    former: bool,
}

/// Which credentials a check was made with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum With {
    Current,
    Former,
}

impl IceAgent {
    pub(crate) fn new(now: Instant, local: IceCredentials, config: &Config) -> Self {
        Self {
            current: Generation { local, remote: None },
            former: None,
            pairs: Vec::new(),
            selected: None,
            started: now,
            ice_timeout: config.ice_timeout,
            consent_timeout: config.consent_timeout,
            lost: false,
            datagrams: VecDeque::new(),
            events: VecDeque::new(),
            dropped: 0,
        }
    }

    /// Pairs made by someone who claimed another user fragment are dropped.
    pub(crate) fn set_remote(&mut self, remote: IceCredentials) {
        let impostors: Vec<Address> = self
            .pairs
            .iter()
            .filter(|pair| pair.claimed.as_ref().is_some_and(|claimed| **claimed != *remote.ufrag))
            .map(|pair| pair.at)
            .collect();
        for at in impostors {
            self.drop_pair(at);
        }
        for pair in &mut self.pairs {
            pair.claimed = None;
        }
        self.current.remote = Some(remote);
    }

    pub(crate) fn restart(&mut self, now: Instant, local: IceCredentials, remote: IceCredentials) {
        self.started = now;
        let restarted = Generation {
            local,
            remote: Some(remote),
        };
        self.former = Some(std::mem::replace(&mut self.current, restarted));
        if let Some(selected) = &mut self.selected {
            selected.former = true;
        }
    }

    pub(crate) fn local_ufrags(&self) -> impl Iterator<Item = &str> {
        let generations = std::iter::once(&self.current).chain(&self.former);
        generations.map(|generation| generation.local.ufrag.as_str())
    }

    pub(crate) fn is_validated(&self, socket: SocketId, remote: SocketAddr) -> bool {
        self.pairs.iter().any(|pair| pair.at == Address { socket, remote })
    }

    pub(crate) fn selected(&self) -> Option<(SocketId, SocketAddr)> {
        self.selected.map(|selected| (selected.at.socket, selected.at.remote))
    }

    pub(crate) fn handle_datagram(&mut self, now: Instant, socket: SocketId, remote: SocketAddr, datagram: &[u8]) {
        if self.lost {
            return;
        }
        let Some(check) = parse_check(datagram) else {
            self.dropped += 1;
            return;
        };
        let answer = match self.authenticate(&check) {
            Ok((with, claimed)) => {
                let claimed = claimed.map(Box::from);
                self.on_check(now, Address { socket, remote }, &check, with, claimed);
                let password = match (with, &self.former) {
                    (With::Former, Some(former)) => &former.local.pwd,
                    _ => &self.current.local.pwd,
                };
                success_response(&check, remote, password)
            }
            Err(failure) => {
                self.dropped += 1;
                failure.and_then(|failure| failure_response(&check, &failure))
            }
        };
        self.datagrams.extend(answer.map(|answer| (socket, remote, answer)));
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.lost {
            return;
        }
        if self.next_timeout().is_some_and(|at| at <= now) {
            self.lost = true;
            let reason = match self.selected {
                Some(_) => DisconnectReason::ConsentLost,
                None => DisconnectReason::IceTimeout,
            };
            self.events.push_back(IceEvent::Lost(reason));
            return;
        }
        self.forget_silent(now);
    }

    /// When consent, or the patience of the beginning, ends.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        if self.lost {
            return None;
        }
        Some(match self.selected_pair() {
            Some(pair) => pair.last_check + self.consent_timeout,
            None => self.started + self.ice_timeout,
        })
    }

    pub(crate) fn poll_datagram(&mut self) -> Option<(SocketId, SocketAddr, Vec<u8>)> {
        self.datagrams.pop_front()
    }

    pub(crate) fn poll_event(&mut self) -> Option<IceEvent> {
        self.events.pop_front()
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// RFC 8489 section 9.1.3, RFC 8445 section 7.3. Nothing has changed before it succeeds. Tells the user fragment that
    /// the peer claims, as long as we don't know it.
    fn authenticate<'a>(&self, check: &Message<'a>) -> Result<(With, Option<&'a str>), Option<Failure>> {
        let (local, claimed) = check.username().and_then(|name| name.split_once(':')).ok_or(None)?;
        let (with, generation) = match &self.former {
            _ if local == self.current.local.ufrag => (With::Current, &self.current),
            Some(former) if local == former.local.ufrag => (With::Former, former),
            _ => return Err(None),
        };
        let password = &generation.local.pwd;
        if !check.verify(password.as_bytes()) {
            return Err(Some(Failure::Unauthorized));
        }
        let claimed = match &generation.remote {
            Some(remote) if remote.ufrag != claimed => return Err(Some(Failure::Unauthorized)),
            Some(_) => None,
            None => Some(claimed),
        };
        if check.not_understood().next().is_some() {
            return Err(Some(Failure::UnknownAttributes(password.clone())));
        }
        // We stay controlled whatever the tie-breaker: a lite agent cannot control a full one (RFC 8445 section 6.1.1).
        if check.ice_controlled().is_some() {
            return Err(Some(Failure::RoleConflict(password.clone())));
        }
        Ok((with, claimed))
    }

    fn on_check(&mut self, now: Instant, at: Address, check: &Message<'_>, with: With, claimed: Option<Box<str>>) {
        if with == With::Current {
            self.former = None;
        }
        self.forget_silent(now);
        match self.pairs.iter_mut().find(|pair| pair.at == at) {
            Some(pair) => {
                pair.last_check = now;
                pair.priority = priority_of(check);
                pair.claimed = claimed;
            }
            None => {
                self.make_room();
                self.pairs.push(Pair {
                    at,
                    last_check: now,
                    priority: priority_of(check),
                    claimed,
                });
                self.events.push_back(IceEvent::Validated {
                    socket: at.socket,
                    remote: at.remote,
                });
            }
        }
        if self.moves_to(now, at, check, with) {
            let since = self
                .selected
                .filter(|selected| !selected.former)
                .map_or(now, |selected| selected.since);
            let changed = self.selected.is_none_or(|selected| selected.at != at);
            self.selected = Some(Selected {
                at,
                since,
                former: with == With::Former,
            });
            if changed {
                self.events.push_back(IceEvent::Selected { remote: at.remote });
            }
        }
    }

    fn moves_to(&self, now: Instant, at: Address, check: &Message<'_>, with: With) -> bool {
        let (Some(selected), Some(pair)) = (self.selected, self.selected_pair()) else {
            return check.use_candidate();
        };
        if selected.former && with == With::Current {
            return check.use_candidate();
        }
        // The peer restarted and chose: checks with former credentials are late.
        if with == With::Former && !selected.former {
            return false;
        }
        let silent = now.saturating_duration_since(pair.last_check) > SILENCE;
        let settling = now.saturating_duration_since(selected.since) < SETTLING;
        selected.at != at && (silent || check.use_candidate() && (!settling || priority_of(check) > pair.priority))
    }

    fn selected_pair(&self) -> Option<&Pair> {
        let selected = self.selected?;
        self.pairs.iter().find(|pair| pair.at == selected.at)
    }

    fn make_room(&mut self) {
        if self.pairs.len() >= MAX_PAIRS {
            let selected = self.selected.map(|selected| selected.at);
            let others = self.pairs.iter().filter(|pair| Some(pair.at) != selected);
            if let Some(at) = others.min_by_key(|pair| pair.last_check).map(|pair| pair.at) {
                self.drop_pair(at);
            }
        }
    }

    fn forget_silent(&mut self, now: Instant) {
        let selected = self.selected.map(|selected| selected.at);
        let is_silent =
            |pair: &&Pair| Some(pair.at) != selected && now.saturating_duration_since(pair.last_check) > PAIR_LIFETIME;
        while let Some(at) = self.pairs.iter().find(is_silent).map(|pair| pair.at) {
            self.drop_pair(at);
        }
    }

    fn drop_pair(&mut self, at: Address) {
        self.pairs.retain(|pair| pair.at != at);
        if self.selected.is_some_and(|selected| selected.at == at) {
            self.selected = None;
        }
        self.events.push_back(IceEvent::Dropped {
            socket: at.socket,
            remote: at.remote,
        });
    }
}

/// Zero where the peer leaves it out, which it must not.
fn priority_of(check: &Message<'_>) -> u32 {
    check.priority().unwrap_or_default()
}
