//! How much the path to one subscriber carries: an estimator at the sender, fed by what the subscriber says of arrivals.
//!
//! Delay ([`trendline`], [`step`], [`rate`]), losses ([`loss`]) and probes ([`probe`]) each bound the rate. What a subscriber says is
//! a claim ([`feedback`]): it can lower its own rate, and raise it no further than what was really sent to it.

mod acknowledged;
mod contention;
mod feedback;
mod fill;
mod grouping;
mod history;
mod limited;
mod loss;
mod probe;
mod rate;
mod silence;
mod standing;
mod step;
mod streams;
mod trendline;
mod values;

pub(crate) use feedback::Clock;
pub use rate::State;
pub use values::{Constraint, Demand, Estimate, Kind, Limits, Probe, ProbeId};
use wire::rtcp::{ccfb, twcc};

use acknowledged::{Acknowledged, BRIEF, STEADY};
use contention::Contention;
use feedback::Verdict;
use fill::Fill;
use grouping::Grouping;
use history::History;
use limited::Limited;
use loss::Losses;
use probe::{Prober, Situation};
use rate::{Rate, Signal};
use silence::{Afterwards, Silence};
use standing::Standing;
use streams::Streams;
use trendline::{Trendline, Usage};

/// What was learned of a queue so long ago tells nothing of it now, microseconds: when nothing is sent, nothing is learned. Longer
/// spares paths that others fill, shorter finds sooner what a path carries on which everything is paused.
const STALE: u64 = 1_000_000;
/// On a path that loses more than these could mend: with less, pictures that lack a packet gather, and none is shown. Higher serves
/// worse paths, and lets a client that lies of its losses have more repeated, within its own rate.
const MOST_RTX_OF_LOSSY: f64 = 0.3;
/// Retransmissions per packet that is lost of those that must be there. Higher leaves room for those that are asked for twice,
/// lower for the picture.
const REPEATED: f64 = 1.1;
/// What REMB allows is taken up at most this many times per second, as a claim that nothing proves.
const REMB_GROWTH: f64 = 2.0;
/// Retransmissions never take more of the target than this share away from media.
pub(crate) const MOST_RTX: f64 = 0.15;
/// Metrics of one RFC 8888 report that are looked at.
const MOST_METRICS: usize = 4_096;

/// Overwhelming losses so soon after the first feedback are a flood of ours, microseconds.
const BEGINNING: u64 = 3_000_000;
/// A share lost of what one feedback tells of that is an overflow: a step of delay comes without.
const OVERFLOWN: f64 = 0.15;
/// Media that are allocated less than this share of the target leave much of it.
const LEAVES_MUCH: f64 = 0.75;
/// A share lost beyond twice what the path itself loses: padding would only lose more.
const LOSES_MORE: f64 = 0.02;
/// Where delays vary by so many milliseconds a short cluster proves little: what it found is tried for longer.
const NOISY: f64 = 6.0;
/// A queue of so many milliseconds is small.
const SMALL_QUEUE: f64 = 20.0;

/// Call [`Self::poll`] after feedback and every 5 to 50 ms.
#[derive(Debug)]
pub struct Bandwidth {
    limits: Limits,
    demand: Demand,
    history: History,
    streams: Streams,
    clock: Clock,
    grouping: Grouping,
    trendline: Trendline,
    acknowledged: Acknowledged,
    contention: Contention,
    standing: Standing,
    losses: Losses,
    rate: Rate,
    limited: Limited,
    prober: Prober,
    fill: Fill,
    /// Bytes sent since the last look.
    sent: u64,
    sent_rtx: u64,
    /// When REMB last came.
    remb_at: Option<u64>,
    round_trip: Option<u64>,
    /// Microseconds from sending to feedback, smoothed.
    loop_delay: Option<f64>,
    silence: Silence,
    /// When feedback came first.
    begun: Option<u64>,
    /// A flood at the beginning was met.
    is_purged: bool,
    refused: u64,
    scratch: Vec<(u64, Option<i64>)>,
}

/// Retransmissions per packet of media that a path with so much loss of its own needs: it loses them, too.
fn repeated(loss: f64) -> f64 {
    REPEATED * loss / (1.0 - loss)
}

/// What one feedback brought.
#[derive(Default)]
struct Batch {
    /// When the newest packet told of was sent, and its number.
    newest: Option<(u64, u64)>,
    lost: u32,
    packets: u32,
}

impl Bandwidth {
    pub fn new(now: u64, limits: Limits) -> Self {
        let max = limits.max.max(1_000.0);
        let min = limits.min.clamp(1_000.0, max);
        let limits = Limits {
            start: limits.start.clamp(min, max),
            min,
            max,
        };
        Self {
            limits,
            demand: Demand {
                allocated: 0.0,
                next: max,
                most: max,
            },
            history: History::new(),
            streams: Streams::default(),
            clock: Clock::default(),
            grouping: Grouping::default(),
            trendline: Trendline::new(),
            acknowledged: Acknowledged::new(),
            contention: Contention::default(),
            standing: Standing::default(),
            losses: Losses::new(),
            rate: Rate::new(now, limits.start),
            limited: Limited::new(now),
            prober: Prober::new(now, limits.start),
            fill: Fill::new(now),
            sent: 0,
            sent_rtx: 0,
            remb_at: None,
            round_trip: None,
            loop_delay: None,
            silence: Silence::new(now),
            begun: None,
            is_purged: false,
            refused: 0,
            scratch: Vec::new(),
        }
    }

    /// A packet of `bytes` left with this transport-wide number.
    #[inline]
    pub fn on_sent(&mut self, sequence: u16, now: u64, bytes: u32, kind: Kind, probe: Option<ProbeId>) {
        self.history.push(sequence, now, bytes, probe);
        self.sent += u64::from(bytes);
        // What a probe repeats is sent because there is room.
        if kind == Kind::Rtx && probe.is_none() {
            self.sent_rtx += u64::from(bytes);
        }
        if let Some(id) = probe {
            self.prober.on_sent(id, self.history.highest().unwrap_or(0), now, bytes);
        }
    }

    /// The packet numbered `transport` is `sequence` of the stream `ssrc`. Only where the subscriber sends feedback by
    /// stream (RFC 8888).
    pub fn on_sent_stream(&mut self, transport: u16, ssrc: u32, sequence: u16) {
        self.streams.push(ssrc, sequence, transport);
    }

    pub fn on_transport_feedback(&mut self, now: u64, feedback: &twcc::Feedback<'_>) {
        let reference = self.clock.reference(feedback.reference);
        let mut batch = Batch::default();
        let mut is_first = true;
        for status in feedback.statuses() {
            if is_first && let Some(number) = self.history.number(status.sequence) {
                self.give_up_before(number);
                is_first = false;
            }
            let arrival = status.arrival.map(|arrival| reference.saturating_add(arrival));
            self.on_status(now, status.sequence, arrival, &mut batch);
        }
        self.on_feedback(now, batch);
    }

    pub fn on_ccfb(&mut self, now: u64, feedback: &ccfb::Feedback<'_>) {
        let told = self.clock.timestamp(feedback.timestamp);
        let mut statuses = std::mem::take(&mut self.scratch);
        statuses.clear();
        let metrics = feedback.reports().flat_map(|report| {
            report
                .metrics()
                .map(move |(sequence, metric)| (report.ssrc, sequence, metric))
        });
        for (ssrc, sequence, metric) in metrics.take(MOST_METRICS) {
            let number = self
                .streams
                .find(ssrc, sequence)
                .and_then(|transport| self.history.number(transport));
            match (number, metric.map(|metric| Clock::arrival(told, metric))) {
                (None, _) => self.refused += u64::from(metric.is_some()),
                // It came, nobody knows when.
                (Some(_), Some(None)) => {}
                (Some(number), arrival) => statuses.push((number, arrival.flatten())),
            }
        }
        // Streams are told of one after the other; delays make sense in the order of sending.
        statuses.sort_unstable();
        let mut batch = Batch::default();
        for &(number, arrival) in &statuses {
            self.on_status(now, number as u16, arrival, &mut batch);
        }
        self.scratch = statuses;
        self.on_feedback(now, batch);
    }

    /// What the receiver estimates itself: the only word of those without feedback on packets, and not heard from others.
    pub fn on_remb(&mut self, now: u64, bits_per_second: u64) {
        if self.silence.told_at().is_some() {
            return;
        }
        let claimed = (bits_per_second as f64).clamp(self.limits.min, self.limits.max);
        let before = self.remb_at.replace(now).unwrap_or(now);
        let passed = (now.saturating_sub(before) as f64 / 1e6).min(1.0);
        let reachable = self.rate.target() * REMB_GROWTH.powf(passed);
        self.rate.cap(claimed);
        self.rate.restore(claimed.min(reachable));
        self.silence.on_word();
    }

    pub fn on_round_trip(&mut self, _now: u64, round_trip: u64) {
        let round_trip = round_trip.min(10_000_000);
        self.round_trip = Some(match self.round_trip {
            Some(smoothed) => (smoothed * 7 + round_trip) / 8,
            None => round_trip,
        });
    }

    pub fn set_demand(&mut self, _now: u64, demand: Demand) {
        self.demand = demand;
    }

    /// Moves time on; the cluster to send now, if one is due.
    pub fn poll(&mut self, now: u64) -> Option<Probe> {
        if let Some(lower) = self.silence.watch(now, self.target(), self.loop_delay()) {
            self.rate.cap(lower.max(self.limits.min));
        }
        self.look_at_sent(now);
        if self.silence.is_silent(now) {
            let is_idle = self.silence.is_idle(now);
            return is_idle
                .then(|| self.prober.knock(now, self.target(), self.loop_delay()))
                .flatten();
        }
        self.consider_filling(now);
        if self.fill.is_trying() {
            return None;
        }
        let told_at = self.silence.told_at();
        let is_stale = told_at.is_some_and(|told| now.saturating_sub(told) > STALE);
        let situation = Situation {
            target: self.target(),
            most: self.limits.max,
            demand: self.demand,
            // Padding hides from the sender's own account what media leave.
            is_limited: self.limited.is_limited() || self.demand.allocated < LEAVES_MUCH * self.target(),
            is_near_capacity: self.rate.is_near_capacity(),
            calm_for: self.rate.calm_for(now),
            queue: if is_stale {
                0.0
            } else {
                self.trendline.queue() - self.trendline.noise()
            },
            round_trip: self.loop_delay(),
            is_contended: !is_stale && self.contention.is_contended(),
            is_volatile: self.rate.is_volatile(),
            is_experienced: self.rate.is_experienced(),
        };
        self.prober.poll(now, situation)
    }

    pub fn estimate(&self) -> Estimate {
        let target = self.target();
        Estimate {
            target,
            rtx: self.rtx(),
            media: (target - self.rtx().min(target * self.rtx_share()))
                .min(target / (1.0 + repeated(self.losses.lasting()))),
            state: self.rate.state,
            loss: self.losses.recent(),
            round_trip: self.round_trip.or(self.loop_delay.map(|delay| delay as u64)),
            acknowledged: self.acknowledged_rate(0.0),
            is_limited: self.limited.is_limited(),
            queue: self.trendline.queue(),
            is_contended: self.contention.is_contended(),
            resume: self.rate.resume().or(self.losses.trial().map(|_| self.rate.target())),
        }
    }

    /// Bits per second of retransmissions, as sent of late.
    pub(crate) fn rtx(&self) -> f64 {
        self.limited.rtx_rate()
    }

    /// Share of the target that retransmissions may take: what the path's own loss needs, if that is more than usual.
    pub(crate) fn rtx_share(&self) -> f64 {
        let repeated = repeated(self.losses.lasting());
        (repeated / (1.0 + repeated)).clamp(MOST_RTX, MOST_RTX_OF_LOSSY)
    }

    /// Bits per second up to which padding is to be sent beside the media.
    pub fn fill(&self, now: u64) -> Option<f64> {
        let rate = self.fill.rate(now, self.target());
        rate.filter(|_| !self.silence.is_silent(now))
            .map(|rate| rate.min(self.limits.max))
    }

    /// The target is lower for a moment, to see whether losses depend on it.
    pub(crate) fn tests_losses(&self) -> bool {
        self.losses.trial().is_some()
    }

    /// What holds the estimate where it is.
    pub fn constraint(&self) -> Constraint {
        let loss = [self.losses.limit(), self.losses.trial()].into_iter().flatten();
        let rate = self.rate.target();
        if self.silence.told_at().is_none() && self.remb_at.is_some() {
            Constraint::Receiver
        } else if self.limited.is_limited() {
            Constraint::Application
        } else if loss.fold(f64::INFINITY, f64::min) < rate {
            Constraint::Loss
        } else if rate >= self.limits.max {
            Constraint::Maximum
        } else {
            Constraint::Delay
        }
    }

    /// The transport-wide number of a packet, where feedback comes by stream.
    pub(crate) fn transport_number(&self, ssrc: u32, sequence: u16) -> Option<u16> {
        self.streams.find(ssrc, sequence)
    }

    /// Milliseconds that packets wait at least.
    pub fn queue(&self) -> f64 {
        self.trendline.queue()
    }

    /// Bytes sent that nothing was told of yet.
    pub fn in_flight(&self) -> u64 {
        self.history.in_flight()
    }

    /// Claims that could not be true: packets never sent, impossible times.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Bits per second that may be sent now.
    pub fn target(&self) -> f64 {
        let loss = [self.losses.limit(), self.losses.trial()]
            .into_iter()
            .flatten()
            .fold(f64::INFINITY, f64::min);
        self.rate.target().min(loss).clamp(self.limits.min, self.limits.max)
    }

    fn on_status(&mut self, now: u64, sequence: u16, arrival: Option<i64>, batch: &mut Batch) {
        batch.packets += 1;
        let Some(arrival) = arrival else {
            if let Some(sent) = self.history.missing(now, sequence) {
                self.losses.push(sent.at, sent.bytes, true);
                batch.lost += 1;
            }
            return;
        };
        if !self.history.could_know(sequence) {
            self.refused += 1;
            return;
        }
        let Some(sent) = self.history.arrived(now, sequence) else {
            return;
        };
        match self.clock.judge(now, sent.at, arrival) {
            Verdict::Plausible => {}
            Verdict::Impossible => {
                self.refused += 1;
                return;
            }
            Verdict::Reset => {
                self.trendline.reset();
                self.acknowledged.reset();
                self.grouping = Grouping::default();
            }
        }
        if sent.was_lost {
            self.losses.found();
            batch.lost = batch.lost.saturating_sub(1);
        } else {
            self.losses.push(sent.at, sent.bytes, false);
        }
        self.acknowledged.push(sent.at, arrival, sent.bytes);
        if let Some(sample) = self.grouping.push(sent.at, arrival) {
            self.trendline.push(sample);
        }
        if let Some(id) = sent.probe {
            self.prober.on_arrived(id, arrival, sent.bytes);
        }
        if batch.newest.is_none_or(|(_, number)| number < sent.number) {
            batch.newest = Some((sent.at, sent.number));
        }
    }

    fn on_feedback(&mut self, now: u64, batch: Batch) {
        let Some((sent, number)) = batch.newest else { return };
        if let Some(afterwards) = self.silence.on_feedback(now) {
            // What arrived in the meantime tells nothing of what the path carries now.
            self.acknowledged.reset();
            match afterwards {
                Afterwards::TakeUp(target) => self.rate.restore(target),
                Afterwards::Probe(target) => self.prober.aim_at(now, target),
            }
        }
        let delay = now.saturating_sub(sent) as f64;
        self.loop_delay = Some(
            self.loop_delay
                .map_or(delay, |smoothed| smoothed + 0.1 * (delay - smoothed)),
        );
        self.look_at_sent(now);

        if f64::from(batch.lost) > f64::from(batch.packets) * (2.0 * self.losses.inherent()).max(OVERFLOWN) {
            self.trendline.on_overflow();
        }
        let is_contended = self.contention.is_contended();
        if !is_contended
            && let Some(acknowledged) = self.acknowledged.rate(BRIEF, true)
            && self.standing.is_path(
                now,
                self.trendline.queue(),
                self.trendline.standing(),
                acknowledged,
                self.limited.is_limited(),
            )
        {
            self.trendline.rebase();
        }
        self.trendline.set_volatile(self.rate.is_volatile());
        let usage = self.trendline.usage(is_contended);
        let (queue, noise) = (self.trendline.queue(), self.trendline.noise());
        self.contention.update(now, queue, noise, self.rate.target());
        self.trendline.hold_base(self.contention.is_contended());
        // Losses say nothing of how fast a queue should empty.
        let lasting = self.rate.resume().unwrap_or(self.rate.target());
        self.losses.update(queue, lasting);
        let begun = *self.begun.get_or_insert(now);
        if self.losses.is_heavy() && !self.is_purged && now.saturating_sub(begun) < BEGINNING {
            self.is_purged = true;
            if let Some(carried) = self.losses.limit().or(self.acknowledged_rate(SMALL_QUEUE)) {
                self.prober.on_congestion();
                self.rate.purge(now, carried);
            }
        }
        if matches!(usage, Usage::Over | Usage::Standing) {
            self.prober.on_congestion();
            if !is_contended {
                self.fill
                    .on_congestion(now, self.acknowledged_rate(queue).unwrap_or(self.rate.target()));
            }
        }
        let inherent = self.losses.inherent().min(0.5);
        let is_revoked = self.rate.update(
            now,
            Signal {
                usage,
                queue,
                noise,
                acknowledged: self.acknowledged_at(usage, queue).map(|rate| rate / (1.0 - inherent)),
                sent,
                inherent,
                is_limited: self.limited.is_limited(),
                media: self.demand.allocated,
                is_idle: self.limited.is_idle(),
                is_filled: self.fill.is_filling(),
                is_used: self.fill.is_filling() || self.limited.is_used(),
                is_contended: self.contention.is_contended(),
                has_overflowed: batch.lost > 0 && queue > 30.0,
                round_trip: self.loop_delay(),
            },
        );
        if is_revoked {
            self.prober.on_revoked(now);
        }
        if let Some(proven) = self.prober.result(now, number) {
            let is_doubtful = self.trendline.noise() > NOISY && !self.rate.is_volatile();
            if self.rate.is_experienced() && is_doubtful && proven > self.target() {
                self.fill.attempt(now, self.target(), proven);
            } else {
                self.rate.raise(now, proven, self.limited.is_lasting(now));
            }
        }
        if let Some(tried) = self.fill.passed(now, self.loop_delay())
            && let Some(acknowledged) = self.acknowledged.rate(BRIEF, false)
        {
            let proven = tried.min(acknowledged * 1.05);
            self.rate.raise(now, proven, self.limited.is_lasting(now));
        }
        self.rate.cap(self.limits.max);
        // Growth from far below it would take long.
        self.rate.restore(self.limits.min);
        if let Some(limit) = self.losses.limit() {
            self.rate.cap(limit);
        }
    }

    /// Packets before `number` are not told of any more; most of them arrived as the others did.
    fn give_up_before(&mut self, number: u64) {
        let bytes = self.history.give_up_before(number);
        let arrived = bytes as f64 * (1.0 - self.losses.recent());
        self.acknowledged.push_unreported(arrived as u64);
    }

    fn consider_filling(&mut self, now: u64) {
        let situation = fill::Situation {
            target: self.target(),
            most: self.demand.most.min(self.limits.max),
            queue: self.trendline.queue() - self.trendline.noise(),
            calm_for: self.rate.calm_for(now),
            is_volatile: self.rate.is_volatile(),
            is_unsuited: !self.rate.is_experienced()
                || self.rate.resume().is_some()
                || self.contention.is_contended()
                || self.losses.recent() > 2.0 * self.losses.inherent() + LOSES_MORE
                || self.silence.is_silent(now),
        };
        if self.fill.update(now, situation)
            && let Some(acknowledged) = self.acknowledged_rate(0.0)
        {
            self.fill.on_congestion(now, acknowledged);
            self.prober.on_congestion();
            self.rate.settle(now, acknowledged, self.demand.allocated);
        }
    }

    fn look_at_sent(&mut self, now: u64) {
        let (bytes, rtx) = (std::mem::take(&mut self.sent), std::mem::take(&mut self.sent_rtx));
        if bytes > 0 {
            self.silence.on_sent(now);
        }
        let target = self.target();
        self.limited.update(now, bytes, rtx, target);
    }

    /// A small queue leaves time to measure well.
    fn acknowledged_rate(&self, queue: f64) -> Option<f64> {
        let span = if queue < SMALL_QUEUE { STEADY } else { BRIEF };
        self.acknowledged
            .rate(span, self.trendline.has_stepped(span as u64 + 100_000))
    }

    /// Who has just begun to send more is judged by what arrived since.
    fn acknowledged_at(&self, usage: Usage, queue: f64) -> Option<f64> {
        let rate = self.acknowledged_rate(queue)?;
        if usage != Usage::Over {
            return Some(rate);
        }
        let stepped = self.trendline.has_stepped(BRIEF as u64 + 100_000);
        Some(self.acknowledged.rate(BRIEF, stepped).unwrap_or(rate).max(rate))
    }

    fn loop_delay(&self) -> u64 {
        self.loop_delay.map_or(200_000, |delay| delay as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside the ring of packets sent: 2 KB to 16 KB, by the rate.
    #[test]
    fn a_subscriber_costs_little() {
        assert!(size_of::<Bandwidth>() <= 5_000, "{}", size_of::<Bandwidth>());
    }
}
