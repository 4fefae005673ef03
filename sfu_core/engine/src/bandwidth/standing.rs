//! Whose queue is it that stands? One of ours gets shorter when less is sent. Delay that stays the same is the path's: a step
//! that was not seen as one (see [`super::step`]), or learned when the path was better.

/// Milliseconds of expected draining after which the queue must have become shorter. More is surer, and costs the time of
/// a lower rate.
const EXPECTED: f64 = 35.0;
/// And so many packets' time: at low rates a queue is a few packets.
const EXPECTED_PACKETS: f64 = 2.5;
const PACKET_BITS: f64 = 9_600.0;
/// A step came at once: the queue was at most half as long so shortly before, microseconds. What others fill takes longer.
const SUDDEN: u64 = 500_000;
/// By this share of what was expected.
const ANSWER: f64 = 0.4;
/// A sender that does not fill the path sees its queue grow or shrink; one that stays the same so long is none of its own,
/// microseconds.
const UNCHANGED: u64 = 1_000_000;
/// Milliseconds. Longer queues are those of others more likely than a longer path.
const LONGEST: f64 = 100.0;
/// A change by this many milliseconds and this share ends the observation.
const CHANGE: f64 = 8.0;
const CHANGE_SHARE: f64 = 0.3;

#[derive(Debug, Default)]
pub(super) struct Standing {
    observed: Option<Observed>,
    /// When the queue was last short.
    short_at: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Observed {
    since: u64,
    updated: u64,
    /// Queue at the beginning, least and most since then, milliseconds.
    queue: f64,
    least: f64,
    most: f64,
    /// Bits per second that arrived at the beginning.
    rate: f64,
    /// Milliseconds by which our own queue would have become shorter.
    expected: f64,
}

impl Standing {
    /// Whether what stands turned out to be the path. `threshold` is the queue that counts as standing, milliseconds;
    /// `acknowledged` in bits per second.
    pub(super) fn is_path(
        &mut self,
        now: u64,
        queue: f64,
        threshold: f64,
        acknowledged: f64,
        is_limited: bool,
    ) -> bool {
        if queue < threshold * 0.5 {
            self.short_at = Some(now);
        }
        if queue > LONGEST || queue < threshold * 0.7 {
            self.observed = None;
            return false;
        }
        let Some(observed) = &mut self.observed else {
            let is_sudden = self.short_at.is_some_and(|at| now.saturating_sub(at) < SUDDEN);
            if queue >= threshold && is_sudden {
                self.observed = Some(Observed {
                    since: now,
                    updated: now,
                    queue,
                    least: queue,
                    most: queue,
                    rate: acknowledged,
                    expected: 0.0,
                });
            }
            return false;
        };
        let passed = now.saturating_sub(observed.updated) as f64 / 1e3;
        observed.updated = now;
        observed.least = observed.least.min(queue);
        observed.most = observed.most.max(queue);
        observed.rate = observed.rate.max(acknowledged);
        observed.expected += (1.0 - acknowledged / observed.rate.max(1.0)) * passed;
        let is_same = observed.most - observed.least < CHANGE + CHANGE_SHARE * observed.queue;
        let has_answered = observed.queue - observed.least > ANSWER * observed.expected;
        let enough = EXPECTED + EXPECTED_PACKETS * PACKET_BITS * 1e3 / observed.rate.max(1.0);
        let is_unmoved = observed.expected > enough && !has_answered;
        let is_alien = is_limited && now.saturating_sub(observed.since) > UNCHANGED;
        if !is_same {
            self.observed = None;
            return false;
        }
        if is_unmoved || is_alien {
            self.observed = None;
            return true;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feedback each 50 ms for 5 s: (queue, rate) by second.
    fn is_path(is_limited: bool, at: impl Fn(f64) -> (f64, f64)) -> Option<f64> {
        let mut standing = Standing::default();
        assert!(!standing.is_path(0, 0.0, 30.0, 1e6, is_limited));
        (0..100).map(|index| f64::from(index) * 0.05).find(|&second| {
            let (queue, rate) = at(second);
            standing.is_path((second * 1e6) as u64, queue, 30.0, rate, is_limited)
        })
    }

    #[test]
    fn table() {
        // Sending a tenth less for a while shortens nothing.
        let told = is_path(false, |second| (50.0, if second > 1.0 { 900e3 } else { 1e6 }));
        assert!(told.is_some_and(|at| (1.5..1.8).contains(&at)), "{told:?}");
        // It drains as it should.
        assert_eq!(
            is_path(false, |second| (80.0 - 20.0 * second, 980e3 + (5.0 - second) * 4e3)),
            None
        );
        // At the full rate nobody knows.
        assert_eq!(is_path(false, |_| (50.0, 1e6)), None);
        // But who does not fill the path does.
        assert!(is_path(true, |_| (50.0, 1e6)).is_some());
        // Short, long and varying queues.
        assert_eq!(is_path(true, |_| (20.0, 1e6)), None);
        assert_eq!(is_path(true, |_| (200.0, 1e6)), None);
        assert_eq!(is_path(true, |second| (50.0 + 40.0 * (second * 4.0).sin(), 1e6)), None);
    }
}
