//! Sums over all connections, taken and begun anew by each [`MediaHandle::take`](super::MediaHandle::take).

use std::time::Instant;

use hdrhistogram::Histogram;

use super::{Counts, KindCounts, Latency};
use crate::plan::Kind;

/// Latencies are kept in microseconds, up to a minute, with three digits.
const MAX_LATENCY: u64 = 60_000_000;

pub(super) struct Totals {
    begun: Instant,
    media_cpu: f64,
    process_cpu: f64,
    receive_errors: u64,
    published: KindCounts,
    received_audio: KindCounts,
    received_video: KindCounts,
    lost_audio: u64,
    lost_video: u64,
    latency: Histogram<u64>,
    sent_late: u64,
    pub(super) received_rtx: u64,
    pub(super) duplicates: u64,
    pub(super) unexpected: u64,
    pub(super) nacks_sent: u64,
    pub(super) plis_sent: u64,
    pub(super) plis_received: u64,
    pub(super) feedback_sent: u64,
    pub(super) authenticated: u64,
    pub(super) authentication_failed: u64,
}

impl Totals {
    pub(super) fn new() -> Option<Self> {
        Some(Self {
            begun: Instant::now(),
            media_cpu: cpu_seconds(libc::CLOCK_THREAD_CPUTIME_ID),
            process_cpu: cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID),
            receive_errors: receive_buffer_errors(),
            published: KindCounts::default(),
            received_audio: KindCounts::default(),
            received_video: KindCounts::default(),
            lost_audio: 0,
            lost_video: 0,
            latency: Histogram::new_with_bounds(1, MAX_LATENCY, 3).ok()?,
            sent_late: 0,
            received_rtx: 0,
            duplicates: 0,
            unexpected: 0,
            nacks_sent: 0,
            plis_sent: 0,
            plis_received: 0,
            feedback_sent: 0,
            authenticated: 0,
            authentication_failed: 0,
        })
    }

    #[inline]
    pub(super) fn on_media(&mut self, kind: Kind, bytes: usize, lost: u64) {
        let (received, all_lost) = match kind {
            Kind::Audio => (&mut self.received_audio, &mut self.lost_audio),
            Kind::Video => (&mut self.received_video, &mut self.lost_video),
        };
        received.packets += 1;
        received.bytes += bytes as u64;
        *all_lost += lost;
    }

    /// `ns` from sending to arrival.
    pub(super) fn on_latency(&mut self, ns: u64) {
        self.latency.saturating_record((ns / 1_000).max(1));
    }

    pub(super) fn on_published(&mut self, _: Kind, bytes: usize, late: bool) {
        self.published.packets += 1;
        self.published.bytes += bytes as u64;
        self.sent_late += u64::from(late);
    }

    /// `streams`: how many received something.
    pub(super) fn counts(&self, streams: u64) -> Counts {
        let quantile = |q: f64| self.latency.value_at_quantile(q) as f64 / 1_000.0;
        Counts {
            seconds: self.begun.elapsed().as_secs_f64(),
            published: self.published,
            received_audio: self.received_audio,
            received_video: self.received_video,
            received_rtx: self.received_rtx,
            lost_audio: self.lost_audio,
            lost_video: self.lost_video,
            duplicates: self.duplicates,
            unexpected: self.unexpected,
            nacks_sent: self.nacks_sent,
            plis_sent: self.plis_sent,
            plis_received: self.plis_received,
            feedback_sent: self.feedback_sent,
            authenticated: self.authenticated,
            authentication_failed: self.authentication_failed,
            streams,
            latency_ms: Latency {
                samples: self.latency.len(),
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: self.latency.max() as f64 / 1_000.0,
            },
            media_cpu_seconds: cpu_seconds(libc::CLOCK_THREAD_CPUTIME_ID) - self.media_cpu,
            process_cpu_seconds: cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID) - self.process_cpu,
            receive_buffer_errors: receive_buffer_errors().saturating_sub(self.receive_errors),
            sent_late: self.sent_late,
        }
    }
}

fn cpu_seconds(clock: libc::clockid_t) -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` outlives the call.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// `RcvbufErrors` of the whole host, both IP versions.
fn receive_buffer_errors() -> u64 {
    let v4 = std::fs::read_to_string("/proc/net/snmp").unwrap_or_default();
    let mut lines = v4.lines().filter(|line| line.starts_with("Udp:"));
    let column = |line: Option<&str>| line.map(|line| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
    let (names, values) = (
        column(lines.next()).unwrap_or_default(),
        column(lines.next()).unwrap_or_default(),
    );
    let v4 = names
        .iter()
        .zip(&values)
        .find(|(name, _)| *name == "RcvbufErrors")
        .and_then(|(_, value)| value.parse::<u64>().ok());
    let v6 = std::fs::read_to_string("/proc/net/snmp6").unwrap_or_default();
    let v6 = v6
        .lines()
        .find_map(|line| line.strip_prefix("Udp6RcvbufErrors")?.trim().parse::<u64>().ok());
    v4.unwrap_or(0) + v6.unwrap_or(0)
}
