//! How participants get into a room of some server. One load engine for all; only the adapter differs.

mod janus;
mod livekit;
mod pysfu;
mod relay;
mod sections;
mod token;
mod transports;
mod whip;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::str::FromStr;
use std::time::Duration;

use engine::event::SrtpProfile;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::media::{MediaError, MediaHandle};
use crate::plan::{ConnectionId, Publication};
use crate::sdp::{Receiving, SdpError};

pub use livekit::Layout;
pub use pysfu::Probe;
pub use token::Credentials;

/// A server, by the URL of its signaling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Server {
    /// `pysfu://host:port`: gRPC of this project. Key and secret of the token: those of `--dev` unless given as
    /// `pysfu://key:secret@host:port`.
    Pysfu { address: String, credentials: Credentials },
    /// `livekit+ws://host:port?protocol=1` (or 0; 1 when it is not said): LiveKit's WebSocket. Key and secret as above.
    /// `host:port,host:port`: several gateways; who cannot get in by one, or loses it, takes the next.
    LiveKit {
        addresses: Vec<String>,
        credentials: Credentials,
        layout: Layout,
    },
    /// `whip+http://host:port`: WHIP to publish at `/whip/ROOM`, WHEP to play at `/whep/ROOM`. Key and secret as above.
    Whip { address: String, credentials: Credentials },
    /// `janus+ws://host:port`: the videoroom plugin over WebSocket.
    Janus { address: String },
    /// `relay://host:port`: the bare relay of `bench/ceiling`.
    Relay { address: String },
}

#[derive(Debug, thiserror::Error)]
pub enum SignalingError {
    #[error("{0:?} is no URL of a server: pysfu://, livekit+ws://, whip+http://, janus+ws:// and relay:// are known")]
    Url(String),
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    #[error("the server refused: {0}")]
    Refused(String),
    #[error("the server's message cannot be understood: {0}")]
    Protocol(String),
    #[error("the server's protocol has no words for {0}")]
    Unsupported(&'static str),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error(transparent)]
    Sdp(#[from] SdpError),
    #[error(transparent)]
    Media(#[from] MediaError),
}

impl FromStr for Server {
    type Err = SignalingError;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        let unknown = || SignalingError::Url(url.to_owned());
        let (scheme, rest) = url.split_once("://").ok_or_else(unknown)?;
        let rest = rest.trim_end_matches('/').to_owned();
        Ok(match scheme {
            "pysfu" => {
                let (address, credentials) = credentials(&rest)?;
                Self::Pysfu { address, credentials }
            }
            "livekit+ws" => {
                let (rest, query) = rest.split_once('?').unwrap_or((&rest, "protocol=1"));
                let layout = match query {
                    "protocol=0" => Layout::Split,
                    "protocol=1" => Layout::Single,
                    _ => return Err(unknown()),
                };
                let (address, credentials) = credentials(rest.trim_end_matches('/'))?;
                Self::LiveKit {
                    addresses: address.split(',').map(str::to_owned).collect(),
                    credentials,
                    layout,
                }
            }
            "whip+http" => {
                let (address, credentials) = credentials(&rest)?;
                Self::Whip { address, credentials }
            }
            "janus+ws" => Self::Janus { address: rest },
            "relay" => Self::Relay { address: rest },
            _ => return Err(unknown()),
        })
    }
}

/// `[key:secret@]host:port`
fn credentials(text: &str) -> Result<(String, Credentials), SignalingError> {
    Ok(match text.rsplit_once('@') {
        Some((credentials, address)) => (address.to_owned(), credentials.parse()?),
        None => (text.to_owned(), Credentials::default()),
    })
}

/// Whose tracks a participant takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Subscribe {
    None,
    /// Everyone's, with so many media sections offered at once.
    All(Receiving),
}

#[derive(Clone, Debug)]
pub struct Join {
    pub room: String,
    pub index: u32,
    pub identity: String,
    pub publish: Vec<Publication>,
    pub subscribe: Subscribe,
    /// Subscriptions are made but held: nothing is sent.
    pub paused: bool,
    pub cipher: SrtpProfile,
    /// Which of several gateways is tried first.
    pub gateway: usize,
}

/// Seconds from the beginning of signaling.
#[derive(Clone, Copy, Debug, Default)]
pub struct Timing {
    /// The connection that media is expected on was opened: what media tells is counted from here.
    pub opened: f64,
    /// The server let the participant in.
    pub joined: f64,
    /// Its description was applied: ICE begins.
    pub answered: f64,
}

/// Size shown, in pixels: which layer is wanted of everything received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    pub width: u32,
    pub height: u32,
}

/// A participant in a room. Dropping it leaves.
#[derive(Debug)]
pub struct Session {
    /// The first is the one that media is expected on.
    pub connections: Vec<ConnectionId>,
    pub timing: Timing,
    wanted: UnboundedSender<Wanted>,
    ended: Option<oneshot::Receiver<End>>,
    resumes: Rc<Cell<u32>>,
    others: Others,
}

/// Identities of the other participants that the server tells of, by their ids.
type Others = Rc<RefCell<BTreeMap<String, String>>>;

/// Why a session is over though nobody dropped it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The connection was lost, and could not be resumed.
    Broken,
    /// The server wants the participant to join anew.
    Rejoin,
    /// The server wants it to stay away.
    Dismissed,
}

/// What the task that owns the server's connection has of its session.
struct Orders {
    wanted: UnboundedReceiver<Wanted>,
    ended: Option<oneshot::Sender<End>>,
    resumes: Rc<Cell<u32>>,
    others: Others,
}

impl Orders {
    async fn recv(&mut self) -> Option<Wanted> {
        self.wanted.recv().await
    }

    fn resumed(&self) {
        self.resumes.set(self.resumes.get() + 1);
    }

    fn end(&mut self, end: End) {
        if let Some(ended) = self.ended.take() {
            // Nobody may be waiting for it.
            let _ = ended.send(end);
        }
    }
}

impl Session {
    /// The orders go to the task that owns the server's connection. When they end, the participant leaves.
    fn new(connections: Vec<ConnectionId>, timing: Timing) -> (Self, Orders) {
        let (wanted, orders) = unbounded_channel();
        let (end, ended) = oneshot::channel();
        let resumes = Rc::new(Cell::new(0));
        let others = Others::default();
        let session = Self {
            connections,
            timing,
            wanted,
            ended: Some(ended),
            resumes: Rc::clone(&resumes),
            others: Rc::clone(&others),
        };
        let orders = Orders {
            wanted: orders,
            ended: Some(end),
            resumes,
            others,
        };
        (session, orders)
    }

    /// Until the server ends it. Those whose protocol does not tell why are [`End::Broken`], as is everything asked twice.
    pub fn ended(&mut self) -> impl Future<Output = End> + 'static {
        let ended = self.ended.take();
        async {
            match ended {
                Some(ended) => ended.await.unwrap_or(End::Broken),
                None => End::Broken,
            }
        }
    }

    /// Identities of the other participants, as far as its protocol tells: sorted.
    pub fn others(&self) -> Vec<String> {
        let mut others: Vec<String> = self.others.borrow().values().cloned().collect();
        others.sort();
        others
    }

    /// How often its connection was lost and it went on by another.
    pub fn resumes(&self) -> u32 {
        self.resumes.get()
    }

    pub fn set_wanted(&self, wanted: Wanted) {
        let _ = self.wanted.send(wanted);
    }
}

/// Joins participants, sharing what can be shared between them. Must live on a tokio runtime with a `LocalSet`.
pub struct Adapter {
    media: MediaHandle,
    kind: Kind,
}

enum Kind {
    Pysfu(pysfu::Pysfu),
    LiveKit(livekit::LiveKit),
    Whip(whip::Whip),
    Janus(janus::Janus),
    Relay(relay::Relay),
}

/// How long a server may take to let a participant in.
const PATIENCE: Duration = Duration::from_secs(20);

impl Adapter {
    pub async fn new(server: &Server, media: MediaHandle) -> Result<Self, SignalingError> {
        let kind = match server {
            Server::Pysfu { address, credentials } => Kind::Pysfu(pysfu::Pysfu::connect(address, credentials).await?),
            Server::LiveKit {
                addresses,
                credentials,
                layout,
            } => Kind::LiveKit(livekit::LiveKit::new(addresses, credentials, *layout)),
            Server::Whip { address, credentials } => Kind::Whip(whip::Whip::new(address, credentials)),
            Server::Janus { address } => Kind::Janus(janus::Janus::new(address)),
            Server::Relay { address } => Kind::Relay(relay::Relay::new(address)),
        };
        Ok(Self { media, kind })
    }

    /// Until ICE begins: see [`MediaHandle::connected`] for what follows.
    pub async fn join(&self, join: Join) -> Result<Session, SignalingError> {
        let joining = async {
            match &self.kind {
                Kind::Pysfu(server) => server.join(&self.media, join).await,
                Kind::LiveKit(server) => server.join(&self.media, join).await,
                Kind::Whip(server) => server.join(&self.media, join).await,
                Kind::Janus(server) => server.join(&self.media, join).await,
                Kind::Relay(server) => server.join(&self.media, join).await,
            }
        };
        tokio::time::timeout(PATIENCE, joining)
            .await
            .map_err(|_| SignalingError::Timeout(PATIENCE))?
    }

    /// Something cheap to ask the server for while it is busy, if it has such.
    pub fn probe(&self, room: &str) -> Option<Probe> {
        match &self.kind {
            Kind::Pysfu(server) => Some(server.probe(room)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let credentials = |key: &str| Credentials {
            key: key.to_owned(),
            secret: "secret".to_owned(),
        };
        let pysfu = |key: &str| Server::Pysfu {
            address: "127.0.0.1:7".to_owned(),
            credentials: credentials(key),
        };
        assert_eq!("pysfu://127.0.0.1:7".parse::<Server>().unwrap(), pysfu("devkey"));
        assert_eq!("pysfu://me:secret@127.0.0.1:7".parse::<Server>().unwrap(), pysfu("me"));
        let janus = Server::Janus {
            address: "[::1]:8188".to_owned(),
        };
        assert_eq!("janus+ws://[::1]:8188/".parse::<Server>().unwrap(), janus);
        let livekit = |layout| Server::LiveKit {
            addresses: vec!["127.0.0.1:7".to_owned()],
            credentials: credentials("devkey"),
            layout,
        };
        let url = "livekit+ws://127.0.0.1:7";
        assert_eq!(url.parse::<Server>().unwrap(), livekit(Layout::Single));
        assert_eq!(
            format!("{url}/?protocol=1").parse::<Server>().unwrap(),
            livekit(Layout::Single)
        );
        assert_eq!(
            format!("{url}?protocol=0").parse::<Server>().unwrap(),
            livekit(Layout::Split)
        );
        let whip = Server::Whip {
            address: "127.0.0.1:7".to_owned(),
            credentials: credentials("me"),
        };
        assert_eq!("whip+http://me:secret@127.0.0.1:7".parse::<Server>().unwrap(), whip);
        for bad in ["", "http://x", "pysfu:/x", "pysfu://me@x", "livekit+ws://x?protocol=2"] {
            assert!(matches!(bad.parse::<Server>(), Err(SignalingError::Url(_))), "{bad}");
        }
    }
}
