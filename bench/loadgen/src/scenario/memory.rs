//! Memory of the server per subscription: the same viewers, ever more publishers.

use std::rc::Rc;
use std::time::Duration;

use super::ScenarioError;
use super::call::{Shape, join_all};
use crate::media::{MediaHandle, Source};
use crate::plan::Codec;
use crate::progress::Progress;
use crate::report::{MemoryPoint, MemoryReport, slope};
use crate::server::Watched;
use crate::signaling::{Adapter, Server};

/// Packets after which every ring of a subscription is full.
const RING: f64 = 700.0;
/// Packets per second out that any server here carries.
const RATE: f64 = 60_000.0;

#[derive(Clone, Debug)]
pub struct Plan {
    /// Its publishers are the most there will be.
    pub shape: Shape,
    /// Publishers at each point.
    pub publishers: Vec<u32>,
    pub watched: Watched,
}

pub async fn run(server: &Server, name: &str, media: MediaHandle, plan: Plan) -> Result<MemoryReport, ScenarioError> {
    let mut progress = Progress::default();
    let adapter = Rc::new(Adapter::new(server, media.clone()).await?);
    let shape = &plan.shape;
    let audio = shape.tracks.codec == Codec::Opus;
    let viewers = (0..shape.subscribers).map(|index| shape.subscriber(index)).collect();
    let mut sessions = join_all(&adapter, &media, viewers, "viewers", &mut progress).await?;
    let mut points = Vec::new();
    let mut present = 0;
    for &wanted in &plan.publishers {
        let more = (present..wanted).map(|index| shape.publisher(index)).collect();
        sessions.extend(join_all(&adapter, &media, more, "publishers", &mut progress).await?);
        present = wanted;
        let subscriptions = wanted * shape.subscribers;
        let packets_per_frame = if audio { 1 } else { 5 };
        let pps = (RATE / f64::from(subscriptions)).min(200.0);
        let source = Source::Synthetic {
            packets_per_frame,
            payload: if audio { 120 } else { 1_150 },
            frames_per_second: pps / f64::from(packets_per_frame),
            keyframe_interval: Duration::from_secs(1),
        };
        media.set_source(shape.tracks.codec.kind(), source);
        let filling = format!("filling {subscriptions} subscriptions");
        progress.sleep(&filling, Duration::from_secs_f64(RING / pps)).await;
        let counts = media.take().await?;
        if counts.streams < u64::from(subscriptions) {
            return Err(ScenarioError::Subscriptions(counts.streams, subscriptions));
        }
        let point = MemoryPoint {
            subscriptions,
            pss_kb: plan.watched.pss_kb(),
        };
        progress.line(&format!("{subscriptions} subscriptions: {} KB", point.pss_kb));
        points.push(point);
    }
    let line: Vec<_> = points
        .iter()
        .map(|point| (f64::from(point.subscriptions), point.pss_kb as f64))
        .collect();
    Ok(MemoryReport {
        server: name.to_owned(),
        kind: if audio { "audio" } else { "video" },
        viewers: shape.subscribers,
        points,
        kb_per_subscription: slope(&line),
    })
}
