//! Publishers to receivers at given rates, or at ever higher ones until the server gives way.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::call::{Shape, join_all};
use super::{ScenarioError, cipher_name};
use crate::media::{MediaHandle, Source};
use crate::plan::Codec;
use crate::progress::Progress;
use crate::report::{FanoutReport, Step};
use crate::server::Watched;
use crate::signaling::{Adapter, Server};

/// Rate at which everyone is waited for, per second.
const WARM_RATE: f64 = 20.0;
/// How long the last receiver may take until its first media.
const FIRST_MEDIA: Duration = Duration::from_secs(20);
/// A search starts here (packets per second out) and grows by this.
const SEARCH_START: f64 = 40_000.0;
const SEARCH_GROWTH: f64 = 1.3;
const SEARCH_HALVINGS: usize = 5;

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Traffic {
    /// Packets of so many bytes of payload, so many per frame.
    Synthetic {
        payload: u32,
        packets_per_frame: u32,
    },
    Recorded,
}

#[derive(Clone, Debug)]
pub struct Plan {
    pub shape: Shape,
    pub traffic: Traffic,
    /// Frames per second per publisher; of recorded media, times their own pace.
    pub steps: Vec<f64>,
    pub warmup: Duration,
    pub time: Duration,
    pub search: bool,
    pub watched: Option<Watched>,
    /// All receivers change the size they want this often.
    pub switch_every: Option<Duration>,
}

impl Plan {
    fn source(&self, rate: f64) -> Source {
        match self.traffic {
            Traffic::Synthetic {
                payload,
                packets_per_frame,
            } => Source::Synthetic {
                packets_per_frame,
                payload,
                frames_per_second: rate,
                keyframe_interval: Duration::from_secs(3),
            },
            Traffic::Recorded => Source::Recorded { speed: rate },
        }
    }

    /// Packets per second out at a rate of 1.
    fn per_rate(&self) -> f64 {
        let packets = match self.traffic {
            Traffic::Synthetic { packets_per_frame, .. } => f64::from(packets_per_frame),
            Traffic::Recorded => 250.0,
        };
        packets * f64::from(self.shape.publishers) * self.shape.fanout()
    }
}

pub async fn run(server: &Server, name: &str, media: MediaHandle, plan: Plan) -> Result<FanoutReport, ScenarioError> {
    let mut progress = Progress::default();
    let adapter = Rc::new(Adapter::new(server, media.clone()).await?);
    let shape = &plan.shape;
    let kind = shape.tracks.codec.kind();
    let publishers = (0..shape.publishers).map(|index| shape.publisher(index)).collect();
    let mut sessions = join_all(&adapter, &media, publishers, "publishers", &mut progress).await?;
    let warm = match plan.traffic {
        Traffic::Recorded => 1.0,
        Traffic::Synthetic { .. } => WARM_RATE,
    };
    media.set_source(kind, plan.source(warm));
    let subscribers = (0..shape.subscribers).map(|index| shape.subscriber(index)).collect();
    sessions.extend(join_all(&adapter, &media, subscribers, "subscribers", &mut progress).await?);
    if !shape.paused {
        let receivers = sessions
            .iter()
            .skip(if shape.mesh { 0 } else { shape.publishers as usize });
        for session in receivers {
            if let Some(&connection) = session.connections.first() {
                let first = tokio::time::timeout(FIRST_MEDIA, media.first_media(connection)).await;
                first.map_err(|_| ScenarioError::Nothing)??;
            }
        }
    }
    let mut report = FanoutReport {
        server: name.to_owned(),
        publishers: shape.publishers,
        subscribers: shape.subscribers,
        fanout: shape.fanout(),
        cipher: cipher_name(shape.cipher),
        join_failures: Vec::new(),
        steps: Vec::new(),
        saturation: None,
    };
    let mut turn = 0_usize;
    for &rate in &plan.steps {
        let step = measure(&media, &plan, rate, &sessions, &mut turn, &mut progress).await?;
        report.steps.push(step);
    }
    if plan.search {
        report.saturation = search(&media, &plan, &sessions, &mut report.steps, &mut progress).await?;
    }
    let delivered = report.steps.iter().any(|step| step.delivered_pps > 0.0);
    match delivered || shape.paused {
        true => Ok(report),
        false => Err(ScenarioError::Nothing),
    }
}

async fn measure(
    media: &MediaHandle,
    plan: &Plan,
    rate: f64,
    sessions: &[crate::signaling::Session],
    turn: &mut usize,
    progress: &mut Progress,
) -> Result<Step, ScenarioError> {
    media.set_source(plan.shape.tracks.codec.kind(), plan.source(rate));
    sleep(plan.warmup).await;
    media.take().await?;
    let before = plan.watched.map(|watched| (watched, watched.read()));
    match plan.switch_every {
        None => sleep(plan.time).await,
        Some(every) => {
            let end = tokio::time::Instant::now() + plan.time;
            while tokio::time::Instant::now() < end {
                *turn += 1;
                let (width, height) = [(320, 180), (640, 360), (1_280, 720)][*turn % 3];
                sessions.iter().for_each(|session| session.set_wanted(width, height));
                sleep(every).await;
            }
        }
    }
    let usage = before.map(|(watched, before)| watched.since(&before));
    let counts = media.take().await?;
    let layers = if plan.shape.tracks.simulcast && plan.shape.tracks.codec != Codec::Opus {
        3.0
    } else {
        1.0
    };
    let step = Step::new(rate, plan.shape.fanout() / layers, counts, usage.as_ref());
    let server = step.server.as_ref().map_or(String::new(), |server| {
        format!(
            ", server {:.2} µs per packet at {:.0} %",
            server.process_us,
            server.busy * 100.0
        )
    });
    progress.line(&format!(
        "{:>9.0} packets/s of {:>9.0} offered, loss {:.3} %, p50 {:.2} p99 {:.2} p99.9 {:.2} ms{server}, load {:.2} µs at {:.0} % ({})",
        step.delivered_pps,
        step.offered_pps,
        step.loss * 100.0,
        step.latency_ms.p50,
        step.latency_ms.p99,
        step.latency_ms.p999,
        step.load_us_per_packet,
        step.load_busy * 100.0,
        step.bottleneck
    ));
    Ok(step)
}

/// Grows until a rate is not delivered whole, then halves the distance a few times. A rate counts as too high when it
/// fails twice: one stall of a shared machine is no limit.
async fn search(
    media: &MediaHandle,
    plan: &Plan,
    sessions: &[crate::signaling::Session],
    steps: &mut Vec<Step>,
    progress: &mut Progress,
) -> Result<Option<Step>, ScenarioError> {
    let mut best: Option<Step> = None;
    let mut low = 0.0;
    let mut high = f64::INFINITY;
    let mut rate = SEARCH_START / plan.per_rate();
    let mut halvings = 0;
    let mut turn = 0;
    while halvings < SEARCH_HALVINGS {
        let mut step = measure(media, plan, rate, sessions, &mut turn, progress).await?;
        if !step.is_whole() {
            steps.push(step);
            step = measure(media, plan, rate, sessions, &mut turn, progress).await?;
        }
        if step.is_whole() {
            low = rate;
            if best.as_ref().is_none_or(|best| step.delivered_pps > best.delivered_pps) {
                best = Some(step.clone());
            }
        } else {
            high = rate;
        }
        steps.push(step);
        if high.is_finite() {
            halvings += 1;
            rate = (low + high) / 2.0;
        } else {
            rate *= SEARCH_GROWTH;
        }
    }
    Ok(best)
}
