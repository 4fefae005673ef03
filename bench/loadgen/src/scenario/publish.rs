//! One participant with a camera in three layers and a microphone, live, for receivers that are not ours.

use std::rc::Rc;
use std::time::Duration;

use engine::event::SrtpProfile;
use tokio::sync::oneshot;

use super::ScenarioError;
use super::call::{Tracks, join_all, publication};
use crate::media::{Counts, MediaHandle, Source};
use crate::plan::{Codec, Kind};
use crate::progress::Progress;
use crate::signaling::{Adapter, Join, Server, Subscribe};

#[derive(Clone, Debug)]
pub struct Plan {
    pub room: String,
    /// Tells publishers of one room apart.
    pub index: u32,
    /// At most; without it, until standard input ends.
    pub time: Option<Duration>,
    pub cipher: SrtpProfile,
}

pub async fn run(server: &Server, media: MediaHandle, plan: Plan) -> Result<Counts, ScenarioError> {
    let mut progress = Progress::default();
    let adapter = Rc::new(Adapter::new(server, media.clone()).await?);
    let camera = Tracks {
        codec: Codec::Vp8,
        simulcast: true,
    };
    let microphone = Tracks {
        codec: Codec::Opus,
        simulcast: false,
    };
    let join = Join {
        room: plan.room,
        index: plan.index,
        identity: format!("publisher-{}", plan.index),
        publish: vec![
            publication(2 * plan.index, camera),
            publication(2 * plan.index + 1, microphone),
        ],
        subscribe: Subscribe::None,
        paused: false,
        cipher: plan.cipher,
        gateway: 0,
    };
    let sessions = join_all(&adapter, &media, vec![join], "publishers", &mut progress).await?;
    media.set_source(Kind::Video, Source::Live);
    media.set_source(Kind::Audio, Source::Live);
    progress.line("publishing");
    match plan.time {
        Some(time) => progress.sleep("publishing", time).await,
        None => end_of_input().await,
    }
    let counts = media.take().await?;
    drop(sessions);
    Ok(counts)
}

/// Of standard input, which is read by a thread of its own: reading it blocks.
async fn end_of_input() {
    let (ended, wait) = oneshot::channel::<()>();
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        drop(ended);
    });
    let _ = wait.await;
}
