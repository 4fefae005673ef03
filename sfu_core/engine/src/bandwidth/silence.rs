//! Silence: packets leave, and nothing is told of them.
//!
//! The path may be dead, and what it is sent is in the way of its recovery (RFC 8083 section 4.1 ends in the same place).

/// With packets unanswered for so many usual gaps between feedback and this long, the target falls, microseconds. Shorter
/// gives way sooner when the path is dead, longer bears feedback lost or late.
const GAPS: f64 = 4.0;
const LEAST: u64 = 150_000;
/// And falls again so often, to this share.
const STEP: u64 = 100_000;
const FACTOR: f64 = 0.8;
/// When everything was paused because nothing is answered, nothing would ever be: after so long a few packets ask whether the
/// path is back, microseconds. Shorter sees it sooner, longer leaves a dead path alone.
const KNOCK: u64 = 500_000;
/// After a silence shorter than this the path is taken to be what it was, microseconds.
const SHORT: u64 = 1_500_000;
/// The target taken up again, as a share of the one before.
const AFTERWARDS: f64 = 0.85;

/// What to make of the target of before, in bits per second, once something is heard again.
#[derive(Debug, PartialEq)]
pub(super) enum Afterwards {
    TakeUp(f64),
    Probe(f64),
}

#[derive(Debug)]
pub(super) struct Silence {
    /// When something was sent last, as far as was looked.
    sent_at: u64,
    told_at: Option<u64>,
    unanswered_since: Option<u64>,
    /// Nothing was under way when that began.
    is_resumed: bool,
    /// Microseconds between feedback, smoothed.
    gap: f64,
    /// When the target fell for it, and from where.
    before: Option<(u64, f64)>,
}

impl Silence {
    pub(super) fn new(now: u64) -> Self {
        Self {
            sent_at: now,
            told_at: None,
            unanswered_since: None,
            is_resumed: true,
            gap: 100_000.0,
            before: None,
        }
    }

    pub(super) fn on_sent(&mut self, now: u64) {
        self.sent_at = now;
        if self.unanswered_since.is_none() {
            self.unanswered_since = Some(now);
            self.is_resumed = self.told_at.is_none_or(|told| now.saturating_sub(told) > LEAST);
        }
    }

    pub(super) fn on_feedback(&mut self, now: u64) -> Option<Afterwards> {
        if let Some(told) = self.told_at.replace(now) {
            self.gap += 0.1 * ((now.saturating_sub(told) as f64).min(500_000.0) - self.gap);
        }
        self.unanswered_since = None;
        let (since, target) = self.before.take()?;
        Some(match now.saturating_sub(since) < SHORT {
            true => Afterwards::TakeUp(target * AFTERWARDS),
            false => Afterwards::Probe(target),
        })
    }

    /// Something was heard that is no feedback on packets.
    pub(super) fn on_word(&mut self) {
        self.unanswered_since = None;
    }

    /// The lower target, if nothing was heard for too long. `round_trip` in microseconds.
    pub(super) fn watch(&mut self, now: u64, target: f64, round_trip: u64) -> Option<f64> {
        let since = self.unanswered_since?;
        if now.saturating_sub(since) <= self.patience(round_trip) {
            return None;
        }
        self.before.get_or_insert((now, target));
        self.unanswered_since = Some(since + STEP);
        Some(target * FACTOR)
    }

    /// When feedback last came.
    pub(super) fn told_at(&self) -> Option<u64> {
        self.told_at
    }

    /// What was sent is unanswered for a while.
    pub(super) fn is_silent(&self, now: u64) -> bool {
        self.unanswered_since
            .is_some_and(|since| now.saturating_sub(since) > LEAST)
    }

    /// Nothing is sent that could be answered.
    pub(super) fn is_idle(&self, now: u64) -> bool {
        now.saturating_sub(self.sent_at) > KNOCK
    }

    /// Microseconds that packets may go unanswered: the way there and back too where nothing was under way before.
    fn patience(&self, round_trip: u64) -> u64 {
        LEAST + (GAPS * self.gap) as u64 + if self.is_resumed { 2 * round_trip } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000;

    /// Answered every 50 ms for two seconds, then no more.
    fn unheard() -> Silence {
        let mut silence = Silence::new(0);
        for at in 1..=40 {
            silence.on_sent(50 * at * MS - 10 * MS);
            assert_eq!(silence.on_feedback(50 * at * MS), None);
        }
        silence.on_sent(2_010 * MS);
        silence
    }

    #[test]
    fn the_target_falls_step_by_step() {
        let mut silence = unheard();
        assert!(!silence.is_silent(2_150 * MS) && silence.is_silent(2_170 * MS));
        let mut target = 1_000.0;
        let mut fell = Vec::new();
        for at in (2_010..2_700).step_by(5) {
            if let Some(lower) = silence.watch(at * MS, target, 50 * MS) {
                target = lower;
                fell.push(at);
            }
        }
        assert_eq!(fell, [2_365, 2_465, 2_565, 2_665]);
        assert!((target - 409.6).abs() < 1e-6, "{target}");
        assert!(!silence.is_idle(2_510 * MS) && silence.is_idle(2_511 * MS));
    }

    #[test]
    fn a_short_silence_is_forgotten_and_a_long_one_probed() {
        for (heard, expected) in [(3_000, Afterwards::TakeUp(850.0)), (4_200, Afterwards::Probe(1_000.0))] {
            let mut silence = unheard();
            assert!(silence.watch(2_400 * MS, 1_000.0, 50 * MS).is_some());
            assert!(silence.watch(2_600 * MS, 800.0, 50 * MS).is_some());
            assert_eq!(silence.on_feedback(heard * MS), Some(expected));
            assert_eq!(silence.on_feedback((heard + 50) * MS), None);
        }
    }

    #[test]
    fn a_beginning_waits_for_the_way_there_and_back() {
        let mut silence = Silence::new(0);
        silence.on_sent(0);
        assert_eq!(silence.watch(1_100 * MS, 1_000.0, 300 * MS), None);
        assert_eq!(silence.watch(1_200 * MS, 1_000.0, 300 * MS), Some(800.0));
        silence.on_word();
        assert!(!silence.is_silent(1_200 * MS));
    }
}
