//! What a run tells, as JSON.

use serde::Serialize;

use crate::media::{Counts, Latency};
use crate::server::Usage;

/// Shares of a core above which there is no time left.
const LOAD_SATURATED: f64 = 0.92;
const SERVER_SATURATED: f64 = 0.95;
/// Share of the published packets that may be sent late.
const MOST_LATE: f64 = 0.001;

/// One rate, held for a while. What there is nothing to tell of is null.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// Frames per second of each publisher (audio: packets); of recorded media, times their own pace.
    pub rate: f64,
    pub seconds: f64,
    /// Packets per second that the server should have sent: published times receivers. Null when that depends on the
    /// layers that the server chooses.
    pub offered_pps: Option<f64>,
    /// In the first place or as a retransmission.
    pub delivered_pps: f64,
    pub delivered_mbps: f64,
    /// Share of the packets of a stream that never came, by holes in the numbers.
    pub loss: f64,
    /// Share of the offered packets that were not delivered, streams that got nothing included.
    pub shortfall: Option<f64>,
    pub latency_ms: Latency,
    pub server: Option<ServerCost>,
    /// CPU microseconds of the load engine's media thread per delivered packet.
    pub load_us_per_packet: Option<f64>,
    /// Share of a core that the media thread used.
    pub load_busy: f64,
    /// Datagrams that the kernel dropped because a socket of the load engine was full.
    pub load_drops: u64,
    /// Who could not do more: "load" when it had no time, sent late or let its sockets overflow; "server" when a thread
    /// or the CPU of it had no time, or its sockets overflowed; else "none".
    pub bottleneck: &'static str,
    /// Why it is "load": "cpu", "drops", "late".
    pub load_limits: Vec<&'static str>,
    pub counts: Counts,
}

/// CPU microseconds per delivered packet, null when there was none.
#[derive(Clone, Debug, Serialize)]
pub struct ServerCost {
    /// Of the server's process, all threads.
    pub process_us: Option<f64>,
    /// Of the CPU that the server runs on: everything but idle, interrupts included.
    pub cpu_us: Option<f64>,
    pub user_us: Option<f64>,
    pub system_us: Option<f64>,
    /// Share of a core that the process used, all threads: above 1 with several workers.
    pub busy: f64,
    /// Share of a core, at most 1, of its busiest thread or of the CPU that it has to itself, whichever is higher.
    pub busiest: f64,
    /// Datagrams that the kernel dropped because a socket of the server was full.
    pub receive_drops: u64,
    /// Resident memory in proportion to sharing, KB.
    pub pss_kb: u64,
    /// CPU seconds of each of the server's threads that worked, the busiest first.
    pub threads: Vec<ThreadCost>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct ThreadCost {
    pub id: u32,
    pub seconds: f64,
}

impl Step {
    /// `fanout`: packets that the server should send for each published one, if that is known.
    pub fn new(rate: f64, fanout: Option<f64>, counts: Counts, usage: Option<&Usage>) -> Self {
        let seconds = counts.seconds.max(1e-9);
        let delivered = counts.received_audio.packets + counts.received_video.packets + counts.repaired;
        let bytes = counts.received_audio.bytes + counts.received_video.bytes;
        let lost = counts.lost_audio + counts.lost_video;
        let published = counts.published.packets as f64;
        let offered = fanout.map(|fanout| published * fanout);
        let load_busy = counts.media_cpu_seconds / seconds;
        let server = usage.map(|usage| usage.per_packet(delivered, seconds));
        let server_drops = server.as_ref().map_or(0, |server| server.receive_drops);
        let load_drops = counts.receive_buffer_errors;
        let limits = [
            ("cpu", load_busy > LOAD_SATURATED),
            ("drops", load_drops > 0),
            ("late", counts.sent_late as f64 > MOST_LATE * published),
        ];
        let load_limits: Vec<_> = limits.iter().filter(|(_, is)| *is).map(|(name, _)| *name).collect();
        let bottleneck = if !load_limits.is_empty() {
            "load"
        } else if server.as_ref().is_some_and(|server| server.busiest > SERVER_SATURATED) || server_drops > 0 {
            "server"
        } else {
            "none"
        };
        Self {
            rate,
            seconds,
            offered_pps: offered.map(|offered| offered / seconds),
            delivered_pps: delivered as f64 / seconds,
            delivered_mbps: bytes as f64 * 8.0 / seconds / 1e6,
            loss: lost as f64 / (delivered + lost).max(1) as f64,
            shortfall: offered.map(|offered| (offered - delivered as f64).max(0.0) / offered.max(1.0)),
            latency_ms: counts.latency_ms,
            server,
            load_us_per_packet: per(counts.media_cpu_seconds * 1e6, delivered),
            load_busy,
            load_drops,
            bottleneck,
            load_limits,
            counts,
        }
    }

    /// Delivered in full: what "sustained" means in a search for saturation. Two frames may be on their way at the end.
    pub fn is_whole(&self) -> bool {
        let on_the_way = 2.0 / (self.rate * self.seconds).max(1.0);
        self.loss <= 0.001 && self.shortfall.is_none_or(|shortfall| shortfall <= 0.005 + on_the_way)
    }
}

/// `pysfu-load fanout` and the scenarios made of it.
#[derive(Clone, Debug, Serialize)]
pub struct FanoutReport {
    pub server: String,
    pub publishers: u32,
    pub subscribers: u32,
    /// Receivers of each published packet.
    pub fanout: f64,
    pub cipher: &'static str,
    /// "recorded" or "synthetic".
    pub media: &'static str,
    pub steps: Vec<Step>,
    /// The highest rate that was delivered whole, when it was searched for.
    pub saturation: Option<Step>,
}

/// `pysfu-load joins`: milliseconds from the beginning of signaling.
#[derive(Clone, Debug, Serialize)]
pub struct JoinsReport {
    pub server: String,
    pub rate: f64,
    pub joins: usize,
    /// From the beginning of the first join to the last one's first media.
    pub seconds: f64,
    pub failed: usize,
    /// Distinct reasons, at most ten.
    pub failures: Vec<String>,
    pub joined_ms: Quantiles,
    pub connected_ms: Quantiles,
    pub first_media_ms: Quantiles,
    /// All of them, in order of joining.
    pub first_media_each_ms: Vec<f64>,
    /// Of a cheap RPC asked all the while, where the adapter has one.
    pub rpc_ms: Option<Quantiles>,
    /// CPU seconds of the server and of the load engine, both its threads.
    pub server_cpu_seconds: Option<f64>,
    pub load_cpu_seconds: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Quantiles {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub max: f64,
}

impl Quantiles {
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
            sorted.get(index).copied().unwrap_or(f64::NAN)
        };
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: at(1.0),
        }
    }
}

/// `pysfu-load memory`.
#[derive(Clone, Debug, Serialize)]
pub struct MemoryReport {
    pub server: String,
    pub kind: &'static str,
    pub viewers: u32,
    pub points: Vec<MemoryPoint>,
    /// Least squares over the points.
    pub kb_per_subscription: f64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct MemoryPoint {
    pub subscriptions: u32,
    pub pss_kb: u64,
}

/// Nothing when there were no packets.
pub(crate) fn per(value: f64, packets: u64) -> Option<f64> {
    (packets > 0).then(|| value / packets as f64)
}

/// Least-squares slope of (x, y).
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let count = points.len().max(1) as f64;
    let (x, y) = points
        .iter()
        .fold((0.0, 0.0), |sum, point| (sum.0 + point.0, sum.1 + point.1));
    let (mean_x, mean_y) = (x / count, y / count);
    let (over, under) = points.iter().fold((0.0, 0.0), |sum, point| {
        let dx = point.0 - mean_x;
        (sum.0 + dx * (point.1 - mean_y), sum.1 + dx * dx)
    });
    over / under
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_and_slopes() {
        let values: Vec<f64> = (0..=100).rev().map(f64::from).collect();
        let quantiles = Quantiles::of(&values);
        assert_eq!((quantiles.p50, quantiles.p99, quantiles.max), (50.0, 99.0, 100.0));
        assert_eq!(slope(&[(0.0, 5.0), (10.0, 25.0), (20.0, 45.0)]), 2.0);
    }

    #[test]
    fn a_step_tells_who_is_the_bottleneck() {
        let mut counts = Counts {
            seconds: 1.0,
            media_cpu_seconds: 0.5,
            ..Counts::default()
        };
        counts.published.packets = 10;
        counts.received_video.packets = 990;
        counts.lost_video = 10;
        let step = Step::new(1.0, Some(100.0), counts.clone(), None);
        assert_eq!((step.bottleneck, step.loss, step.is_whole()), ("none", 0.01, false));
        assert!((step.shortfall.unwrap() - 0.01).abs() < 1e-9);
        counts.repaired = 10;
        counts.lost_video = 0;
        assert!(Step::new(1.0, Some(100.0), counts.clone(), None).is_whole());
        let limits = |counts: &Counts| {
            let step = Step::new(1.0, Some(100.0), counts.clone(), None);
            (step.bottleneck, step.load_limits)
        };
        counts.receive_buffer_errors = 1;
        assert_eq!(limits(&counts), ("load", vec!["drops"]));
        (counts.media_cpu_seconds, counts.sent_late) = (0.95, 1);
        assert_eq!(limits(&counts), ("load", vec!["cpu", "drops", "late"]));
    }

    #[test]
    fn without_packets_there_is_no_cost_of_one() {
        let step = Step::new(1.0, None, Counts::default(), Some(&Usage::dropping(0)));
        assert_eq!((step.load_us_per_packet, step.shortfall), (None, None));
        assert_eq!(step.server.unwrap().process_us, None);
    }

    #[test]
    fn datagrams_dropped_at_the_server_are_not_the_load_engines() {
        let counts = |receive_buffer_errors| Counts {
            seconds: 1.0,
            receive_buffer_errors,
            ..Counts::default()
        };
        let step = |here, at_server| {
            let usage = Usage::dropping(at_server);
            let step = Step::new(1.0, Some(1.0), counts(here), Some(&usage));
            (step.bottleneck, step.load_drops)
        };
        assert_eq!(step(0, 0), ("none", 0));
        assert_eq!(step(1, 0), ("load", 1));
        assert_eq!(step(0, 1_000), ("server", 0));
        // Who loses packets itself cannot tell what the server could do.
        assert_eq!(step(1, 1_000), ("load", 1));
    }
}
