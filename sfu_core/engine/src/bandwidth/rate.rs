//! The rate that delay allows: additive increase, multiplicative decrease (draft-ietf-rmcat-gcc-02 section 5.5), with a memory of
//! the rate at which congestion began and a drain that empties the queue before that rate is taken up again.

use super::trendline::Usage;

/// Growth per second while nothing is known of the capacity, and what every second without overuse adds to it, up to
/// a limit. More finds new capacity sooner and overshoots further.
const GROWTH: f64 = 0.08;
const GROWTH_GAIN: f64 = 0.06;
const MOST_GROWTH: f64 = 0.45;
/// Additive growth near the capacity, bits per second and second: this times the square root of the rate (60 kb/s
/// per second at 1 Mb/s). More makes competing flows equal sooner and the rate less steady.
const ADDITIVE: f64 = 60.0;
/// Seconds without overuse that double it: a memory that nothing confirms fades, as in CUBIC (RFC 9438 section 4.2).
const CONVEX: f64 = 4.0;
/// Milliseconds of queue at which growth ends.
const GROWTH_QUEUE: f64 = 25.0;
/// A decrease empties the queue it met in about this many milliseconds; shorter dips deeper.
const DRAIN: f64 = 350.0;
const DEEPEST_DRAIN: f64 = 0.5;
const LIGHTEST_DRAIN: f64 = 0.95;
/// A queue that does not grow is drained more gently up to this length, milliseconds: it may be none of ours.
const STANDING_LONG: f64 = 100.0;
const STANDING_DRAIN: f64 = 0.91;
/// What the media alone take is left to them up to this share of what arrives: without padding the queue empties, too. More
/// keeps layers, less empties it sooner.
const MEDIA_DRAIN: f64 = 0.93;
/// In queues up to so many milliseconds.
const MEDIA_QUEUE: f64 = 60.0;
/// A path that was flooded from its first packet on is sent this share of what it carries for so long, microseconds, to see it
/// empty. Longer learns of longer queues.
const PURGE: f64 = 0.4;
const PURGE_LASTS: u64 = 800_000;
/// Share of the rate met at overuse that is taken up again once the queue is empty.
const RESUME: f64 = 0.97;
/// On a path whose capacity differs by this factor (as a logarithm) from one congestion to the next, growth starts here.
const VOLATILE: f64 = 0.3;
/// One difference counts no more than this: a single drop does not make a path volatile.
const MOST_DIFFERENCE: f64 = 0.8;
const VOLATILE_GROWTH: f64 = 0.30;
/// Congestion so soon after a sender with little to send was granted more is blamed on the grant, microseconds.
const GRANT_ON_TRIAL: u64 = 6_000_000;
/// Milliseconds of queue that are no reason to take a grant back. More trusts probes longer.
const TRIAL_QUEUE: f64 = 20.0;
/// What arrived is left to it, less this: to drain the queue.
const TAKEN_BACK: f64 = 0.8;
/// Such a sender, if it was granted nothing of late, first loses only what it does not use, and more if it comes to
/// that again within this time, microseconds. Longer makes others give way first.
const TOLERANCE: u64 = 2_500_000;
const TOLERATED_QUEUE: f64 = 80.0;
/// The target exceeds what arrives by this factor and this much at most, so that an idle sender earns nothing.
const AHEAD: f64 = 1.35;
const AHEAD_BITS: f64 = 20_000.0;

/// The same where nothing fills what the media leave. More finds capacity without padding, and fails when a layer takes it.
const AHEAD_ALONE: f64 = 1.06;
/// And for each share that the path loses, for that is not known better.
const AHEAD_LOSSY: f64 = 0.4;

/// What delay says, as feedback came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signal {
    pub(super) usage: Usage,
    /// Milliseconds.
    pub(super) queue: f64,
    pub(super) noise: f64,
    /// Bits per second that arrive, what the path loses at any rate added.
    pub(super) acknowledged: Option<f64>,
    /// When the newest packet told of was sent.
    pub(super) sent: u64,
    /// Share that the path itself loses; `acknowledged` is reckoned with it.
    pub(super) inherent: f64,
    pub(super) is_limited: bool,
    /// Bits per second of media as they were allocated.
    pub(super) media: f64,
    /// What is sent is about the target.
    pub(super) is_used: bool,
    /// So little is sent that the queue is hardly ours.
    pub(super) is_idle: bool,
    /// By padding.
    pub(super) is_filled: bool,
    /// Others keep the queue full.
    pub(super) is_contended: bool,
    /// Packets were lost while the queue was full.
    pub(super) has_overflowed: bool,
    /// Microseconds, with the queue.
    pub(super) round_trip: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Increase,
    Hold,
    Decrease,
}

#[derive(Debug)]
pub(super) struct Rate {
    target: f64,
    pub(super) state: State,
    /// Rate at which congestion began of late: mean and relative variance.
    memory: Option<(f64, f64)>,
    decreased_at: u64,
    overused_at: u64,
    updated: u64,
    resume: Option<f64>,
    purged_until: u64,
    /// How much capacity differs from one congestion to the next, as a logarithm.
    volatility: f64,
    /// Logarithm of what it usually is.
    usual: Option<f64>,
    /// When a limited sender was granted more, and what it had.
    grant: Option<(u64, f64)>,
    tolerated_at: Option<u64>,
}

impl Rate {
    pub(super) fn new(now: u64, start: f64) -> Self {
        Self {
            target: start,
            state: State::Increase,
            memory: None,
            decreased_at: 0,
            overused_at: now,
            updated: now,
            resume: None,
            purged_until: 0,
            volatility: 0.0,
            usual: None,
            grant: None,
            tolerated_at: None,
        }
    }

    pub(super) fn target(&self) -> f64 {
        self.target
    }

    /// Microseconds since a queue was last seen to grow or stand.
    pub(super) fn calm_for(&self, now: u64) -> u64 {
        now.saturating_sub(self.overused_at)
    }

    /// Whether the path was ever found full.
    pub(super) fn is_experienced(&self) -> bool {
        self.usual.is_some()
    }

    /// Whether the path's capacity keeps changing.
    pub(super) fn is_volatile(&self) -> bool {
        self.volatility > VOLATILE
    }

    /// Whether the target is where congestion began of late.
    pub(super) fn is_near_capacity(&self) -> bool {
        !self.is_volatile()
            && self.memory.is_some_and(|(mean, variance)| {
                let band = (3.0 * variance.sqrt()).clamp(0.08, 0.25);
                (self.target / mean - 1.0).abs() < band
            })
    }

    /// What is taken up again when the queue is empty, while the target is below it.
    pub(super) fn resume(&self) -> Option<f64> {
        self.resume.filter(|&resume| self.target < resume)
    }

    /// The queue is full since the first packet: nobody knows the delay without it. `carried`: bits per second that arrive.
    pub(super) fn purge(&mut self, now: u64, carried: f64) {
        self.target = carried * PURGE;
        self.resume = Some(carried * RESUME);
        self.remember(carried);
        self.grant = None;
        (self.decreased_at, self.overused_at) = (now, now);
        self.purged_until = now + PURGE_LASTS;
    }

    /// A probe arrived at this rate.
    pub(super) fn raise(&mut self, now: u64, rate: f64, is_limited: bool) {
        if rate <= self.target || now < self.purged_until {
            return;
        }
        if is_limited {
            self.grant = Some((now, self.target));
        }
        self.target = rate;
        self.resume = None;
        if self.memory.is_some_and(|(mean, _)| rate > mean * 1.1) {
            self.memory = None;
        }
    }

    /// A queue began to grow at this rate, and does not yet stand. What `media` are allocated is left to them: padding was too much.
    pub(super) fn settle(&mut self, now: u64, acknowledged: f64, media: f64) {
        self.overused_at = now;
        if acknowledged < self.target * 1.05 {
            self.remember(acknowledged);
            self.target = self.target.min((acknowledged * RESUME).max(media));
            self.decreased_at = now;
        }
    }

    /// A limit that held for a moment is gone.
    pub(super) fn restore(&mut self, rate: f64) {
        self.target = self.target.max(rate);
    }

    /// Another limit holds: growth begins from there.
    pub(super) fn cap(&mut self, rate: f64) {
        self.target = self.target.min(rate);
    }

    /// Whether what a probe granted was taken back.
    pub(super) fn update(&mut self, now: u64, signal: Signal) -> bool {
        let passed = (now.saturating_sub(self.updated) as f64 / 1e6).min(1.0);
        self.updated = now;
        if now < self.purged_until {
            self.state = State::Decrease;
            return false;
        }
        match signal.usage {
            _ if signal.is_contended => self.contend(now, passed, signal),
            Usage::Over | Usage::Standing => return self.decrease(now, signal),
            Usage::Under => {
                self.state = State::Hold;
                self.resume_when_empty(now, signal);
            }
            Usage::Normal => {
                self.state = State::Increase;
                self.resume_when_empty(now, signal);
                self.increase(now, passed, signal);
            }
        }
        false
    }

    fn decrease(&mut self, now: u64, signal: Signal) -> bool {
        self.overused_at = now;
        self.state = State::Decrease;
        let Some(acknowledged) = signal.acknowledged else {
            // Nothing is known of the rate: half of it at most once per round trip.
            if now.saturating_sub(self.decreased_at) > signal.round_trip.max(200_000) {
                self.target *= 0.5;
                self.decreased_at = now;
            }
            return false;
        };
        if self.is_on_trial(now) && signal.usage == Usage::Over && signal.queue < TRIAL_QUEUE {
            // The first keyframe of what was granted passes. If it is more than that, the queue soon tells.
            self.state = State::Hold;
            return false;
        }
        if signal.is_idle && signal.queue < TOLERATED_QUEUE {
            self.state = State::Hold;
            return false;
        }
        if self.take_back(now, acknowledged) {
            return true;
        }
        if self.spare(now, signal, acknowledged) {
            return false;
        }
        let is_mild = signal.usage == Usage::Standing && signal.queue < STANDING_LONG;
        let deepest = if is_mild { STANDING_DRAIN } else { DEEPEST_DRAIN };
        let drain = (1.0 - signal.queue / DRAIN).clamp(deepest, LIGHTEST_DRAIN);
        let mut lower = acknowledged * drain;
        if signal.queue < MEDIA_QUEUE {
            lower = lower.max(signal.media.min(acknowledged * MEDIA_DRAIN));
        }
        let is_fresh = signal.sent > self.decreased_at;
        if is_fresh {
            self.remember(acknowledged);
            self.resume = Some(acknowledged * RESUME);
        } else if let Some(resume) = &mut self.resume {
            // Still the packets of before the decrease: arrivals come down to what the path really carries.
            *resume = resume.min(acknowledged * RESUME);
            if let Some((mean, _)) = &mut self.memory {
                *mean = mean.min(acknowledged);
            }
        }
        if lower < self.target {
            self.target = lower;
            if is_fresh {
                self.decreased_at = now;
            }
        }
        false
    }

    fn is_on_trial(&self, now: u64) -> bool {
        self.grant
            .is_some_and(|(at, _)| now.saturating_sub(at) < GRANT_ON_TRIAL)
    }

    fn take_back(&mut self, now: u64, acknowledged: f64) -> bool {
        let is_on_trial = self.is_on_trial(now);
        let Some((_, before)) = self.grant.take().filter(|_| is_on_trial) else {
            return false;
        };
        self.target = self.target.min(before.max(acknowledged * TAKEN_BACK));
        self.decreased_at = now;
        true
    }

    /// A sender that uses less than its target seldom caused the congestion that it sees.
    fn spare(&mut self, now: u64, signal: Signal, acknowledged: f64) -> bool {
        if signal.is_used || signal.queue > TOLERATED_QUEUE {
            return false;
        }
        if signal.usage == Usage::Standing {
            return true;
        }
        let is_again = self
            .tolerated_at
            .is_some_and(|at| (signal.round_trip..TOLERANCE).contains(&now.saturating_sub(at)));
        if is_again {
            return false;
        }
        if self.tolerated_at.is_none_or(|at| now.saturating_sub(at) >= TOLERANCE) {
            self.tolerated_at = Some(now);
        }
        self.target = self.target.min((acknowledged * 1.1).max(self.target * 0.85));
        true
    }

    fn resume_when_empty(&mut self, now: u64, signal: Signal) {
        let Some(resume) = self.resume else { return };
        if signal.queue < 8.0 + signal.noise {
            self.target = self.target.max(resume);
            self.resume = None;
        } else if now.saturating_sub(self.decreased_at) > 3_000_000 {
            self.resume = None;
        }
    }

    fn increase(&mut self, now: u64, passed: f64, signal: Signal) {
        let Some(acknowledged) = signal.acknowledged else {
            return;
        };
        if !signal.is_used || self.resume.is_some() {
            return;
        }
        if self.memory.is_some_and(|(mean, variance)| {
            let band = (3.0 * variance.sqrt()).clamp(0.08, 0.25);
            acknowledged > mean * (1.0 + band)
        }) {
            // More arrives than the path was thought to carry: it changed.
            self.memory = None;
        }
        let room = (1.0 - (signal.queue - signal.noise).max(0.0) / GROWTH_QUEUE).clamp(0.0, 1.0);
        let calm = self.calm_for(now) as f64 / 1e6;
        let growth = if self.is_near_capacity() {
            ADDITIVE * self.target.sqrt() * passed * (1.0 + (calm / CONVEX).powi(2))
        } else {
            let least = if self.is_volatile() { VOLATILE_GROWTH } else { GROWTH };
            let rate = (least + GROWTH_GAIN * calm).min(MOST_GROWTH);
            self.target * ((1.0 + rate).powf(passed) - 1.0)
        };
        let alone = AHEAD_ALONE + AHEAD_LOSSY * signal.inherent;
        let ahead = if signal.is_filled { AHEAD } else { alone };
        let ceiling = acknowledged * ahead + AHEAD_BITS;
        self.target = self.target.max((self.target + growth * room).min(ceiling));
    }

    /// As a TCP does: grows by about a packet per round trip, falls when the queue overflows.
    fn contend(&mut self, now: u64, passed: f64, signal: Signal) {
        self.overused_at = now;
        let since = now.saturating_sub(self.decreased_at);
        if signal.has_overflowed && since > signal.round_trip {
            self.state = State::Decrease;
            let rate = signal.acknowledged.map_or(self.target, |rate| rate.min(self.target));
            self.target = rate * 0.75;
            self.decreased_at = now;
            return;
        }
        self.state = State::Increase;
        if signal.is_limited {
            return;
        }
        let round_trip = (signal.round_trip as f64 / 1e6).max(0.02);
        let growth = 1.5 * 9_600.0 / (round_trip * round_trip) * passed;
        let ceiling = signal
            .acknowledged
            .map_or(self.target, |rate| rate * AHEAD + AHEAD_BITS);
        self.target = self
            .target
            .max((self.target + growth.min(self.target * 0.3 * passed)).min(ceiling));
    }

    fn remember(&mut self, rate: f64) {
        let logarithm = rate.max(1.0).ln();
        let usual = self.usual.get_or_insert(logarithm);
        let error = logarithm - *usual;
        *usual += 0.25 * error;
        self.volatility += 0.15 * (error.abs().min(MOST_DIFFERENCE) - self.volatility);
        self.memory = Some(match self.memory {
            Some((mean, variance)) if (rate / mean - 1.0).abs() < 0.3 => {
                let error = rate / mean - 1.0;
                (mean * (1.0 + 0.4 * error), variance + 0.2 * (error * error - variance))
            }
            _ => (rate, 0.001),
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: Signal = Signal {
        usage: Usage::Normal,
        queue: 0.0,
        noise: 1.0,
        acknowledged: Some(1e6),
        sent: 0,
        inherent: 0.0,
        is_limited: false,
        media: 0.0,
        is_idle: false,
        is_used: true,
        is_filled: true,
        is_contended: false,
        has_overflowed: false,
        round_trip: 100_000,
    };

    /// Feedback each 100 ms from a second on.
    fn follow(rate: &mut Rate, from: u64, count: u64, signal: impl Fn(f64) -> Signal) -> f64 {
        for index in 0..count {
            let now = (from * 10 + index) * 100_000;
            let target = rate.target();
            let sent = now.saturating_sub(50_000);
            rate.update(now, Signal { sent, ..signal(target) });
        }
        rate.target()
    }

    fn arriving(target: f64) -> Signal {
        Signal {
            acknowledged: Some(target),
            ..CALM
        }
    }

    #[test]
    fn grows_faster_the_longer_nothing_speaks_against_it() {
        let mut rate = Rate::new(0, 300e3);
        let after_five = follow(&mut rate, 0, 50, arriving);
        let after_ten = follow(&mut rate, 5, 50, arriving);
        assert!((1.5..4.0).contains(&(after_five / 300e3)), "{after_five}");
        assert!(after_ten / after_five > after_five / 300e3, "{after_ten}");
    }

    #[test]
    fn an_idle_sender_a_full_queue_and_few_arrivals_earn_nothing() {
        for signal in [
            Signal {
                is_limited: true,
                is_used: false,
                ..CALM
            },
            Signal { queue: 40.0, ..CALM },
            Signal {
                acknowledged: Some(500e3),
                ..CALM
            },
            Signal {
                acknowledged: None,
                ..CALM
            },
        ] {
            let mut rate = Rate::new(0, 1e6);
            assert_eq!(follow(&mut rate, 0, 50, |_| signal), 1e6, "{signal:?}");
        }
    }

    #[test]
    fn overuse_goes_below_what_arrives_and_comes_back_when_the_queue_is_empty() {
        for (queue, least, most) in [(10.0, 0.94, 0.96), (70.0, 0.79, 0.81), (400.0, 0.49, 0.51)] {
            let mut rate = Rate::new(0, 2e6);
            let over = Signal {
                usage: Usage::Over,
                queue,
                ..CALM
            };
            let share = follow(&mut rate, 1, 1, |_| over) / 1e6;
            assert!((least..most).contains(&share), "{queue}: {share}");
            assert_eq!(rate.state, State::Decrease);
            let back = follow(&mut rate, 2, 1, |_| CALM) / 1e6;
            assert!((0.96..1.05).contains(&back), "{queue}: {back}");
            assert!(rate.is_near_capacity());
        }
    }

    fn rate_with_grant() -> Rate {
        let mut rate = Rate::new(0, 1e6);
        rate.raise(0, 3e6, true);
        rate
    }

    #[test]
    fn a_grant_that_ends_in_congestion_is_taken_back() {
        let mut rate = rate_with_grant();
        let limited = Signal {
            usage: Usage::Over,
            queue: 30.0,
            acknowledged: Some(2e6),
            is_limited: true,
            is_used: false,
            ..CALM
        };
        let mut passing = rate_with_grant();
        assert!(!passing.update(2_000_000, Signal { queue: 10.0, ..limited }));
        assert_eq!(passing.target(), 3e6, "a keyframe passes");
        assert!(rate.update(2_000_000, limited));
        assert_eq!(rate.target(), 2e6 * TAKEN_BACK);
        let mut slow = rate_with_grant();
        let acknowledged = Some(0.5e6);
        assert!(slow.update(
            2_000_000,
            Signal {
                acknowledged,
                ..limited
            }
        ));
        assert_eq!(slow.target(), 1e6, "not below what it was before");
        // Whom nothing was granted loses what it does not use, and more if it comes to that again.
        let mut rate = Rate::new(0, 4e6);
        assert!(!rate.update(1_000_000, limited));
        assert_eq!(rate.target(), 4e6 * 0.85);
        assert!(!rate.update(
            2_000_000,
            Signal {
                sent: 1_900_000,
                ..limited
            }
        ));
        assert!(rate.target() < 2e6);
    }

    #[test]
    fn contended_grows_as_tcp_does_and_falls_when_the_queue_overflows() {
        let contended = |target| Signal {
            usage: Usage::Over,
            queue: 250.0,
            acknowledged: Some(target),
            is_contended: true,
            round_trip: 350_000,
            ..CALM
        };
        let mut rate = Rate::new(0, 1e6);
        let grown = follow(&mut rate, 0, 50, contended);
        assert!((1.3e6..1.8e6).contains(&grown), "{grown}");
        let fallen = follow(&mut rate, 6, 1, |target| Signal {
            has_overflowed: true,
            ..contended(target)
        });
        assert!((0.74..0.76).contains(&(fallen / grown)), "{fallen}");
    }

    #[test]
    fn a_path_that_keeps_changing_is_volatile() {
        let mut rate = Rate::new(0, 2e6);
        for second in 1..20_u64 {
            let over = Signal {
                usage: Usage::Over,
                queue: 30.0,
                sent: second * 1_000_000 - 1,
                ..CALM
            };
            rate.raise(second, 5e6, false);
            rate.update(
                second * 1_000_000,
                Signal {
                    acknowledged: Some(if second % 4 < 2 { 3e6 } else { 0.7e6 }),
                    ..over
                },
            );
            if second == 2 {
                assert!(!rate.is_volatile());
            }
        }
        assert!(rate.is_volatile() && !rate.is_near_capacity());
    }
}
