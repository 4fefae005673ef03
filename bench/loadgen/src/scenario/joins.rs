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

/// Milliseconds from the beginning of signaling.
struct Joined {
    joined: f64,
    connected: f64,
    first_media: f64,
}

/// Of the participant with this index.
type Outcome = (u32, Result<(Joined, Session), SignalingError>);

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
    let mut running: JoinSet<Outcome> = JoinSet::new();
    let mut done: Vec<(u32, Joined)> = Vec::new();
    let mut staying: Vec<Session> = Vec::new();
    let mut reasons = BTreeSet::new();
    let mut failed = 0;
    let mut take = |outcome: Outcome, staying: &mut Vec<Session>| match outcome {
        (index, Ok((joined, session))) => {
            done.push((index, joined));
            staying.push(session);
        }
        (_, Err(error)) => {
            failed += 1;
            if reasons.len() < MAX_REASONS {
                reasons.insert(error.to_string());
            }
        }
    };
    for index in 0..plan.count {
        let at = begun + Duration::from_secs_f64(f64::from(index) / plan.rate);
        sleep_until(at.into()).await;
        let (adapter, media, join, stay) = (Rc::clone(&adapter), media.clone(), shape.subscriber(index), plan.stay);
        running.spawn_local(async move {
            let outcome = tokio::time::timeout(PATIENCE, one(&adapter, &media, join)).await;
            let outcome = outcome.unwrap_or(Err(SignalingError::Timeout(PATIENCE)));
            if let Some(stay) = stay {
                sleep(stay).await;
            }
            (index, outcome)
        });
        while let Some(Ok(outcome)) = running.try_join_next() {
            take(outcome, &mut staying);
            if plan.stay.is_some() {
                staying.clear();
            }
        }
        progress.tell(&format!("{} of {} began to join", index + 1, plan.count));
    }
    while let Some(outcome) = running.join_next().await {
        if let Ok(outcome) = outcome {
            take(outcome, &mut staying);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    let usage = before.map(|(watched, before)| watched.since(&before));
    if let Some(asking) = asking {
        asking.abort();
    }
    let counts = media.take().await?;
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
    progress.line(&format!(
        "{} joins in {:.1} s, {} failed; joined p50 {:.0} ms, first media p50 {:.0} p99 {:.0} ms; RPC p99 {:.0} ms; \
         server {:.1} s of CPU, load {:.1} s",
        report.joins,
        report.seconds,
        report.failed,
        report.joined_ms.p50,
        report.first_media_ms.p50,
        report.first_media_ms.p99,
        report.rpc_ms.map_or(f64::NAN, |rpc| rpc.p99),
        report.server_cpu_seconds.unwrap_or(f64::NAN),
        report.load_cpu_seconds
    ));
    Ok(report)
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
            let joined = Joined {
                joined: session.timing.joined * 1e3,
                connected: connected * 1e3,
                first_media: first_media * 1e3,
            };
            Ok((joined, session))
        }
        _ => Err(SignalingError::Refused("ICE or DTLS failed".to_owned())),
    }
}
