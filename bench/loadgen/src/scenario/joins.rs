//! Participants who join at a given rate: how long until they are let in, connected, and see something.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{interval, sleep, sleep_until};

use super::ScenarioError;
use super::call::{Shape, join_all};
use crate::media::{MediaHandle, Source};
use crate::progress::Progress;
use crate::report::{JoinsReport, Quantiles};
use crate::server::Watched;
use crate::signaling::{Adapter, Server, Session, SignalingError};

/// A participant that has no media by then has failed.
const PATIENCE: Duration = Duration::from_secs(15);
/// Between two questions to the server.
const PROBE: Duration = Duration::from_millis(50);
const MAX_REASONS: usize = 10;

#[derive(Clone, Debug)]
pub struct Plan {
    pub shape: Shape,
    pub source: Source,
    /// Joins per second.
    pub rate: f64,
    pub count: u32,
    /// Everyone stays for so long; `None`: to the end.
    pub stay: Option<Duration>,
    pub watched: Option<Watched>,
}

/// 30 frames a second of five packets: 1.4 Mb/s.
pub fn camera() -> Source {
    Source::Synthetic {
        packets_per_frame: 5,
        payload: 1_150,
        frames_per_second: 30.0,
        keyframe_interval: Duration::from_secs(3),
    }
}

/// Milliseconds from the beginning of signaling.
struct Joined {
    joined: f64,
    connected: f64,
    first_media: f64,
}

struct Outcome {
    index: u32,
    /// With the session of who stays to the end.
    result: Result<(Joined, Option<Session>), SignalingError>,
    /// When it had media, or failed.
    at: Instant,
}

pub async fn run(server: &Server, name: &str, media: MediaHandle, plan: Plan) -> Result<JoinsReport, ScenarioError> {
    let mut progress = Progress::default();
    let adapter = Rc::new(Adapter::new(server, media.clone()).await?);
    let shape = &plan.shape;
    let publishers = (0..shape.publishers).map(|index| shape.publisher(index)).collect();
    let _publishers = join_all(&adapter, &media, publishers, "publishers", &mut progress).await?;
    media.set_source(shape.tracks.codec.kind(), plan.source.clone());
    sleep(Duration::from_secs(1)).await;
    media.take().await?;
    let before = plan.watched.map(|watched| (watched, watched.read()));
    let probe = adapter.probe(&shape.room);
    let asked = Rc::new(std::cell::RefCell::new(Vec::new()));
    let asking = probe.map(|probe| {
        let asked = Rc::clone(&asked);
        tokio::task::spawn_local(async move {
            let mut ticks = interval(PROBE);
            loop {
                ticks.tick().await;
                let took = probe.ask().await;
                asked.borrow_mut().push(took.as_secs_f64() * 1e3);
            }
        })
    });
    let begun = Instant::now();
    let mut end = begun;
    let mut running: JoinSet<Outcome> = JoinSet::new();
    let mut done: Vec<(u32, Joined)> = Vec::new();
    let mut staying: Vec<Session> = Vec::new();
    let mut reasons = BTreeSet::new();
    let mut failed = 0;
    let mut take = |outcome: Outcome| {
        end = end.max(outcome.at);
        match outcome.result {
            Ok((joined, session)) => {
                done.push((outcome.index, joined));
                staying.extend(session);
            }
            Err(error) => {
                failed += 1;
                if reasons.len() < MAX_REASONS {
                    reasons.insert(error.to_string());
                }
            }
        }
    };
    for index in 0..plan.count {
        let at = begun + Duration::from_secs_f64(f64::from(index) / plan.rate);
        sleep_until(at.into()).await;
        let (adapter, media, join, stay) = (Rc::clone(&adapter), media.clone(), shape.subscriber(index), plan.stay);
        running.spawn_local(async move {
            let result = tokio::time::timeout(PATIENCE, one(&adapter, &media, join)).await;
            let result = result.unwrap_or(Err(SignalingError::Timeout(PATIENCE)));
            let at = Instant::now();
            let result = match (result, stay) {
                (Ok((joined, session)), Some(stay)) => {
                    sleep(stay).await;
                    drop(session);
                    Ok((joined, None))
                }
                (result, _) => result.map(|(joined, session)| (joined, Some(session))),
            };
            Outcome { index, result, at }
        });
        while let Some(Ok(outcome)) = running.try_join_next() {
            take(outcome);
        }
        progress.tell(&format!("{} of {} began to join", index + 1, plan.count));
    }
    while let Some(outcome) = running.join_next().await {
        if let Ok(outcome) = outcome {
            take(outcome);
        }
        progress.tell(&format!("waiting for {} of {}", running.len(), plan.count));
    }
    let seconds = (end - begun).as_secs_f64();
    let usage = before.map(|(watched, before)| watched.since(&before));
    if let Some(asking) = asking {
        asking.abort();
    }
    let counts = media.take().await?;
    drop(staying);
    done.sort_by_key(|(index, _)| *index);
    let all = |pick: fn(&Joined) -> f64| done.iter().map(|(_, joined)| pick(joined)).collect::<Vec<_>>();
    let first_media = all(|joined| joined.first_media);
    let rpc = asked.borrow();
    let report = JoinsReport {
        server: name.to_owned(),
        rate: plan.rate,
        joins: done.len(),
        seconds,
        failed,
        failures: reasons.into_iter().collect(),
        joined_ms: Quantiles::of(&all(|joined| joined.joined)),
        connected_ms: Quantiles::of(&all(|joined| joined.connected)),
        first_media_ms: Quantiles::of(&first_media),
        first_media_each_ms: first_media,
        rpc_ms: (!rpc.is_empty()).then(|| Quantiles::of(&rpc)),
        server_cpu_seconds: usage.map(|usage| usage.seconds),
        load_cpu_seconds: counts.process_cpu_seconds,
    };
    progress.line(&summary(&report));
    Ok(report)
}

/// A line for whoever watches.
fn summary(report: &JoinsReport) -> String {
    let mut parts = vec![
        format!("{} joins in {:.1} s", report.joins, report.seconds),
        format!("{} failed", report.failed),
    ];
    if report.joins > 0 {
        parts.push(format!("joined p50 {:.0} ms", report.joined_ms.p50));
        let first = report.first_media_ms;
        parts.push(format!("first media p50 {:.0} p99 {:.0} ms", first.p50, first.p99));
    }
    if let Some(rpc) = report.rpc_ms {
        parts.push(format!("RPC p99 {:.0} ms", rpc.p99));
    }
    if let Some(seconds) = report.server_cpu_seconds {
        parts.push(format!("server {seconds:.1} s of CPU"));
    }
    parts.push(format!("load {:.1} s of CPU", report.load_cpu_seconds));
    parts.join(", ")
}

async fn one(
    adapter: &Adapter,
    media: &MediaHandle,
    join: crate::signaling::Join,
) -> Result<(Joined, Session), SignalingError> {
    let session = adapter.join(join).await?;
    let Some(&connection) = session.connections.first() else {
        return Err(SignalingError::Protocol("no connection".to_owned()));
    };
    let progress = media.first_media(connection).await?;
    match (progress.dtls_connected, progress.first_media) {
        (Some(connected), Some(first_media)) => {
            let opened = session.timing.opened;
            let joined = Joined {
                joined: session.timing.joined * 1e3,
                connected: (opened + connected) * 1e3,
                first_media: (opened + first_media) * 1e3,
            };
            Ok((joined, session))
        }
        _ => Err(SignalingError::Refused("ICE or DTLS failed".to_owned())),
    }
}
