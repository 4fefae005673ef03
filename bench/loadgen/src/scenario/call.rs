//! Participants of one room: who publishes what, who receives.

use std::rc::Rc;

use engine::event::SrtpProfile;
use tokio::task::JoinSet;

use super::ScenarioError;
use crate::media::MediaHandle;
use crate::plan::{Codec, Layer, Publication};
use crate::progress::Progress;
use crate::sdp::Receiving;
use crate::signaling::{Adapter, Join, Session, SignalingError, Subscribe};

/// Participants that join at the same time.
const AT_ONCE: usize = 16;

/// What each publisher publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracks {
    pub codec: Codec,
    /// Three layers (RFC 8853).
    pub simulcast: bool,
}

#[derive(Clone, Debug)]
pub struct Shape {
    pub room: String,
    pub tracks: Tracks,
    pub publishers: u32,
    pub subscribers: u32,
    /// Everyone who publishes also receives all others.
    pub mesh: bool,
    /// Subscriptions are made but held: nobody receives anything.
    pub paused: bool,
    pub cipher: SrtpProfile,
}

impl Shape {
    /// Receivers of each published frame.
    pub fn fanout(&self) -> f64 {
        if self.paused {
            return 0.0;
        }
        let others = if self.mesh {
            self.publishers.saturating_sub(1)
        } else {
            0
        };
        f64::from(others + self.subscribers)
    }

    fn receiving(&self, tracks: usize) -> Subscribe {
        let receiving = match self.tracks.codec {
            Codec::Opus => Receiving {
                audio: tracks,
                video: 0,
            },
            Codec::Vp8 | Codec::H264 => Receiving {
                audio: 0,
                video: tracks,
            },
        };
        Subscribe::All(receiving)
    }

    pub fn publisher(&self, index: u32) -> Join {
        let subscribe = match self.mesh {
            true => self.receiving(self.publishers.saturating_sub(1) as usize),
            false => Subscribe::None,
        };
        Join {
            room: self.room.clone(),
            index,
            identity: format!("publisher-{index}"),
            publish: vec![publication(index, self.tracks)],
            subscribe,
            paused: self.paused,
            cipher: self.cipher,
            gateway: 0,
        }
    }

    pub fn subscriber(&self, index: u32) -> Join {
        Join {
            room: self.room.clone(),
            index: self.publishers + index,
            identity: format!("viewer-{index}"),
            publish: Vec::new(),
            subscribe: self.receiving(self.publishers as usize),
            paused: self.paused,
            cipher: self.cipher,
            gateway: 0,
        }
    }
}

impl Tracks {
    pub fn layers(&self) -> u32 {
        match self.simulcast && self.codec != Codec::Opus {
            true => 3,
            false => 1,
        }
    }
}

/// The tracks of publication `index` of a room.
pub fn publication(index: u32, tracks: Tracks) -> Publication {
    let base = 0x0100_0000 + index * 16;
    let layer = |place: u32, rid: Option<&str>, (width, height, bitrate)| Layer {
        rid: rid.map(str::to_owned),
        ssrc: base + 2 * place,
        rtx_ssrc: (tracks.codec != Codec::Opus).then_some(base + 2 * place + 1),
        width,
        height,
        bitrate,
    };
    let layers = match (tracks.codec, tracks.simulcast) {
        (Codec::Opus, _) => vec![layer(0, None, (0, 0, 32_000))],
        (_, false) => vec![layer(0, None, (1_280, 720, 2_500_000))],
        (_, true) => vec![
            layer(0, Some("q"), (320, 180, 150_000)),
            layer(1, Some("h"), (640, 360, 500_000)),
            layer(2, Some("f"), (1_280, 720, 1_500_000)),
        ],
    };
    Publication {
        cid: format!("track-{index}"),
        codec: tracks.codec,
        layers,
    }
}

/// Joins all of them, a few at a time, and waits until their transports are connected.
///
/// `what` they are is told, "publishers" for instance.
pub async fn join_all(
    adapter: &Rc<Adapter>,
    media: &MediaHandle,
    joins: Vec<Join>,
    what: &str,
    progress: &mut Progress,
) -> Result<Vec<Session>, ScenarioError> {
    let total = joins.len();
    let mut sessions = Vec::new();
    let mut failures: Vec<String> = Vec::new();
    let mut waiting = joins.into_iter();
    let mut running: JoinSet<Result<Session, SignalingError>> = JoinSet::new();
    loop {
        while running.len() < AT_ONCE
            && let Some(join) = waiting.next()
        {
            let (adapter, media) = (Rc::clone(adapter), media.clone());
            running.spawn_local(async move {
                let session = adapter.join(join).await?;
                for &connection in &session.connections {
                    if media.connected(connection).await?.failed {
                        return Err(SignalingError::Refused("ICE or DTLS failed".to_owned()));
                    }
                }
                Ok(session)
            });
        }
        match running.join_next().await {
            None => break,
            Some(Ok(Ok(session))) => sessions.push(session),
            Some(Ok(Err(error))) => failures.push(error.to_string()),
            Some(Err(error)) => failures.push(error.to_string()),
        }
        progress.tell(&format!("{} of {total} {what} joined", sessions.len()));
    }
    match failures.first() {
        None => Ok(sessions),
        Some(first) => Err(ScenarioError::Joins(failures.len(), total, first.clone())),
    }
}
