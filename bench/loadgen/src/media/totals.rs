//! Sums over all connections, taken and begun anew by each [`MediaHandle::take`](super::MediaHandle::take).

use std::time::Instant;

use hdrhistogram::Histogram;

use super::{Counts, KindCounts, LAYERS, Latency};
use crate::plan::Kind;

/// Latencies are kept in microseconds, up to a minute, with three digits.
const MAX_LATENCY: u64 = 60_000_000;

/// What all connections stand at, at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    /// Streams that received something.
    pub(super) streams: u64,
    /// Numbers of streams that have not come and may still come.
    pub(super) holes_audio: u64,
    pub(super) holes_video: u64,
    /// Datagrams dropped by full sockets, closed ones included.
    pub(super) drops: u64,
}

pub(super) struct Totals {
    begun: Instant,
    media_cpu: f64,
    process_cpu: f64,
    /// Holes and drops when this began.
    before: Standing,
    published: KindCounts,
    received_audio: KindCounts,
    received_video: KindCounts,
    lost_audio: u64,
    lost_video: u64,
    latency: Histogram<u64>,
    sampled_layers: [u64; LAYERS],
    sent_late: u64,
    pub(super) repaired: u64,
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
    pub(super) fn new(before: Standing) -> Option<Self> {
        Some(Self {
            begun: Instant::now(),
            media_cpu: cpu_seconds(libc::CLOCK_THREAD_CPUTIME_ID),
            process_cpu: cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID),
            before,
            published: KindCounts::default(),
            received_audio: KindCounts::default(),
            received_video: KindCounts::default(),
            lost_audio: 0,
            lost_video: 0,
            latency: Histogram::new_with_bounds(1, MAX_LATENCY, 3).ok()?,
            sampled_layers: [0; LAYERS],
            sent_late: 0,
            repaired: 0,
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

    /// `ns` from sending to arrival, of a packet of that layer.
    pub(super) fn on_latency(&mut self, ns: u64, layer: u8) {
        self.latency.saturating_record((ns / 1_000).max(1));
        if let Some(count) = self.sampled_layers.get_mut(usize::from(layer)) {
            *count += 1;
        }
    }

    pub(super) fn on_published(&mut self, _: Kind, bytes: usize, late: bool) {
        self.published.packets += 1;
        self.published.bytes += bytes as u64;
        self.sent_late += u64::from(late);
    }

    /// Holes that are open now count as lost now, and those that were open at the beginning no more: a packet that comes
    /// later is one less in the next counts. Otherwise the loss of a slow stream would be told seconds after it happened.
    pub(super) fn counts(&self, now: &Standing) -> Counts {
        // Nothing sampled is no latency, not one of zero.
        let ms = |us: u64| {
            if self.latency.is_empty() {
                f64::NAN
            } else {
                us as f64 / 1_000.0
            }
        };
        let quantile = |q: f64| ms(self.latency.value_at_quantile(q));
        Counts {
            seconds: self.begun.elapsed().as_secs_f64(),
            published: self.published,
            received_audio: self.received_audio,
            received_video: self.received_video,
            received_rtx: self.received_rtx,
            repaired: self.repaired,
            lost_audio: (self.lost_audio + now.holes_audio).saturating_sub(self.before.holes_audio),
            lost_video: (self.lost_video + now.holes_video).saturating_sub(self.before.holes_video),
            duplicates: self.duplicates,
            unexpected: self.unexpected,
            nacks_sent: self.nacks_sent,
            plis_sent: self.plis_sent,
            plis_received: self.plis_received,
            feedback_sent: self.feedback_sent,
            authenticated: self.authenticated,
            authentication_failed: self.authentication_failed,
            streams: now.streams,
            sampled_layers: self.sampled_layers,
            latency_ms: Latency {
                samples: self.latency.len(),
                p50: quantile(0.5),
                p90: quantile(0.9),
                p99: quantile(0.99),
                p999: quantile(0.999),
                max: ms(self.latency.max()),
            },
            media_cpu_seconds: cpu_seconds(libc::CLOCK_THREAD_CPUTIME_ID) - self.media_cpu,
            process_cpu_seconds: cpu_seconds(libc::CLOCK_PROCESS_CPUTIME_ID) - self.process_cpu,
            receive_buffer_errors: now.drops.saturating_sub(self.before.drops),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_open_at_the_end_is_lost_and_what_was_open_before_is_not() {
        let before = Standing {
            holes_video: 5,
            drops: 2,
            ..Standing::default()
        };
        let mut totals = Totals::new(before).unwrap();
        // Three of the five left the window unseen, two came; four new ones are open.
        totals.on_media(Kind::Video, 1_200, 3);
        let now = Standing {
            holes_video: 4,
            drops: 9,
            streams: 1,
            ..Standing::default()
        };
        let counts = totals.counts(&now);
        assert_eq!((counts.lost_video, counts.lost_audio), (2, 0));
        assert_eq!((counts.receive_buffer_errors, counts.streams), (7, 1));
        // All that was open came.
        assert_eq!(Totals::new(before).unwrap().counts(&Standing::default()).lost_video, 0);
    }

    #[test]
    fn latencies_keep_three_digits() {
        let mut totals = Totals::new(Standing::default()).unwrap();
        for micros in 1..=10_000_u64 {
            totals.on_latency(micros * 1_000, 1);
        }
        let counts = totals.counts(&Standing::default());
        let latency = counts.latency_ms;
        assert_eq!((latency.samples, counts.sampled_layers), (10_000, [0, 10_000, 0]));
        for (told, exact) in [
            (latency.p50, 5.0),
            (latency.p99, 9.9),
            (latency.p999, 9.99),
            (latency.max, 10.0),
        ] {
            assert!((told / exact - 1.0).abs() < 2e-3, "{told} is not {exact}");
        }
        let none = Totals::new(Standing::default()).unwrap().counts(&Standing::default());
        assert!(none.latency_ms.p50.is_nan());
    }
}
