//! Publishers to receivers at given rates, or at ever higher ones until the server gives way.

use std::rc::Rc;
use std::time::Duration;

use super::call::{Shape, join_all};
use super::{ScenarioError, cipher_name};
use crate::media::{MediaHandle, Source};
use crate::plan::Codec;
use crate::progress::Progress;
use crate::report::{FanoutReport, Step};
use crate::server::Watched;
use crate::signaling::{Adapter, Server, Session, Wanted};

/// Rate at which everyone is waited for, per second.
const WARM_RATE: f64 = 20.0;
/// How long the last receiver may take until its first media.
const FIRST_MEDIA: Duration = Duration::from_secs(20);
/// A search starts here (packets per second out) and grows by this.
const SEARCH_START: f64 = 40_000.0;
const SEARCH_GROWTH: f64 = 1.3;
const SEARCH_HALVINGS: usize = 5;
/// Of the layers of simulcast: each wants another one than the one before.
const SIZES: [(u32, u32); 3] = [(320, 180), (640, 360), (1_280, 720)];

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
    /// All receivers change the size that they want this often, and so the layer of simulcast.
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

    /// Packets per second out at a rate of 1: where a search begins, so that of recorded video about will do.
    fn per_rate(&self) -> f64 {
        let packets = match (self.traffic, self.shape.tracks.codec) {
            (Traffic::Synthetic { packets_per_frame, .. }, _) => f64::from(packets_per_frame),
            (Traffic::Recorded, Codec::Opus) => 50.0,
            (Traffic::Recorded, _) => 250.0,
        };
        packets * f64::from(self.shape.publishers) * self.shape.fanout()
    }

    /// Packets that the server should send for each published one. Synthetic layers are all alike; of recorded ones it
    /// depends on which of them are forwarded.
    fn fanout(&self) -> Option<f64> {
        match (self.traffic, self.shape.tracks.layers()) {
            (_, 1) => Some(self.shape.fanout()),
            (Traffic::Synthetic { .. }, layers) => Some(self.shape.fanout() / f64::from(layers)),
            (Traffic::Recorded, _) => None,
        }
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
                first.map_err(|_| ScenarioError::NoMedia(FIRST_MEDIA))??;
            }
        }
    }
    let mut report = FanoutReport {
        server: name.to_owned(),
        publishers: shape.publishers,
        subscribers: shape.subscribers,
        fanout: shape.fanout(),
        cipher: cipher_name(shape.cipher),
        media: match plan.traffic {
            Traffic::Synthetic { .. } => "synthetic",
            Traffic::Recorded => "recorded",
        },
        steps: Vec::new(),
        saturation: None,
    };
    let mut run = Run {
        media,
        plan: &plan,
        sessions,
        sizes: SIZES.iter().cycle(),
        progress,
    };
    for &rate in &plan.steps {
        report.steps.push(run.measure(rate).await?);
    }
    if plan.search {
        report.saturation = run.search(&mut report.steps).await?;
    }
    let delivered = report.steps.iter().any(|step| step.delivered_pps > 0.0);
    match delivered || shape.paused {
        true => Ok(report),
        false => Err(ScenarioError::Nothing),
    }
}

/// Everyone is there and receives.
struct Run<'a> {
    media: MediaHandle,
    plan: &'a Plan,
    sessions: Vec<Session>,
    /// Wanted from now on.
    sizes: std::iter::Cycle<std::slice::Iter<'static, (u32, u32)>>,
    progress: Progress,
}

impl Run<'_> {
    /// One rate, held for a while.
    async fn measure(&mut self, rate: f64) -> Result<Step, ScenarioError> {
        let plan = self.plan;
        self.media.set_source(plan.shape.tracks.codec.kind(), plan.source(rate));
        let what = match plan.traffic {
            Traffic::Synthetic { .. } => format!("{rate:.0} frames/s"),
            Traffic::Recorded => format!("recorded media, times {rate:.1}"),
        };
        self.progress.sleep(&format!("warming up: {what}"), plan.warmup).await;
        self.media.take().await?;
        let before = plan.watched.map(|watched| (watched, watched.read()));
        let mut left = plan.time;
        while !left.is_zero() {
            let part = plan.switch_every.unwrap_or(left).min(left);
            if plan.switch_every.is_some()
                && let Some(&(width, height)) = self.sizes.next()
            {
                let wanted = Wanted { width, height };
                self.sessions.iter().for_each(|session| session.set_wanted(wanted));
            }
            self.progress.sleep(&format!("measuring: {what}"), part).await;
            left -= part;
        }
        let usage = before.map(|(watched, before)| watched.since(&before));
        let counts = self.media.take().await?;
        let step = Step::new(rate, plan.fanout(), counts, usage.as_ref());
        self.progress.line(&summary(&step));
        Ok(step)
    }

    /// Grows until a rate is not delivered whole, then halves the distance a few times. A rate counts as too high when
    /// it fails twice: one stall of a shared machine is no limit.
    async fn search(&mut self, steps: &mut Vec<Step>) -> Result<Option<Step>, ScenarioError> {
        let mut best: Option<Step> = None;
        let mut low = 0.0;
        let mut high = f64::INFINITY;
        let mut rate = SEARCH_START / self.plan.per_rate();
        let mut halvings = 0;
        while halvings < SEARCH_HALVINGS {
            let mut step = self.measure(rate).await?;
            if !step.is_whole() {
                steps.push(step);
                step = self.measure(rate).await?;
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
}

/// A line for whoever watches.
fn summary(step: &Step) -> String {
    let offered = step
        .offered_pps
        .map_or(String::new(), |offered| format!(" of {offered:>9.0} offered"));
    let mut parts = vec![
        format!("{:>9.0} packets/s{offered}", step.delivered_pps),
        format!("loss {:.3} %", step.loss * 100.0),
    ];
    let latency = &step.latency_ms;
    if latency.samples > 0 {
        parts.push(format!(
            "p50 {:.2} p99 {:.2} p99.9 {:.2} ms",
            latency.p50, latency.p99, latency.p999
        ));
    }
    let cost = |us: Option<f64>, busy: f64| match us {
        Some(us) => format!("{us:.2} µs per packet at {:.0} %", busy * 100.0),
        None => format!("{:.1} % busy", busy * 100.0),
    };
    if let Some(server) = &step.server {
        parts.push(format!("server {}", cost(server.process_us, server.busy)));
    }
    parts.push(format!("load {}", cost(step.load_us_per_packet, step.load_busy)));
    match step.bottleneck {
        "none" => {}
        "load" => parts.push(format!("limited by the load engine: {}", step.load_limits.join(", "))),
        other => parts.push(format!("limited by the {other}")),
    }
    parts.join(", ")
}
