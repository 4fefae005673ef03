//! Which losses congestion causes. Loss that stays the same at every rate is the path's own; loss that grows with the rate
//! is ours. A likelihood over the last observations tells them apart, as in loss-based estimation of libwebrtc's second
//! version, with the queue as further evidence.

use arrayvec::ArrayVec;

/// An observation lasts at least so long and has so many packets.
const LASTS: u64 = 250_000;
const PACKETS: u32 = 20;
const OBSERVATIONS: usize = 20;
/// How much less each older observation counts. Nearer 1 is surer, and later to see that the path changed.
const FADING: f64 = 0.9;
/// Observations before losses are thought to last.
const LASTING: usize = 8;
/// Loss below this share is nobody's concern: queues that overflow once in a while.
const NEGLIGIBLE: f64 = 0.015;
/// A path's own loss is not more than this; what exceeds it is congestion whatever else speaks against it.
const MOST_INHERENT: f64 = 0.35;
/// A share lost of two observations on end that is congestion at once. More waits for better evidence, less takes bursts for it.
const OVERWHELMING: f64 = 0.5;
/// A share that few paths lose: at the start it is more likely a queue that was full from the first packet on. Less floods fewer
/// paths for longer, and takes more that lose at random for flooded.
const HEAVY: f64 = 0.15;
/// By how many nats a limit must explain the observations better than none. Higher limits later, lower limits by chance.
const DOUBT: f64 = 4.0;
/// Doubt that an overfull queue takes away: losses while it is full are losses of congestion.
const DOUBT_BESIDE_QUEUE: f64 = 1.0;
/// By how many nats no limit must explain them better, once there is one.
const DOUBT_LIMITED: f64 = 2.0;
/// A queue of so many milliseconds is one that could overflow.
const QUEUE: f64 = 30.0;
/// So many packets beside no queue tell what is lost there.
const ENOUGH: f64 = 40.0;
/// Loss beyond this that is thought the path's own is put to the test: the rate falls to this share for so many
/// observations, and if losses do not fall with it they are.
const SUSPICIOUS: f64 = 0.04;
const TRIAL: f64 = 0.75;
const TRIAL_LASTS: u32 = 2;
/// Observations between tests. Fewer see a change of path sooner, more cost less of the rate.
const BETWEEN_TRIALS: u32 = 50;
const BETWEEN_TRIALS_LIMITED: u32 = 16;
/// Growth of the limit per observation in which loss is back at what is inherent.
const GROWTH: f64 = 1.06;

#[derive(Clone, Copy, Debug, Default)]
struct Observation {
    /// Bits per second sent.
    rate: f64,
    packets: f64,
    lost: f64,
    has_queue: bool,
}

#[derive(Debug)]
pub(super) struct Losses {
    observations: [Observation; OBSERVATIONS],
    len: usize,
    newest: usize,
    open: Open,
    inherent: f64,
    /// The median of observations.
    lasting: f64,
    limit: Option<f64>,
    is_overwhelming: bool,
    is_heavy: bool,
    recent: f64,
    /// Observations since the last test began.
    since_trial: u32,
    /// Rate of that test.
    trial: f64,
}

#[derive(Debug, Default)]
struct Open {
    first_sent: Option<u64>,
    last_sent: u64,
    bytes: u64,
    packets: u32,
    lost: u32,
    queue: f64,
}

impl Losses {
    pub(super) fn new() -> Self {
        Self {
            observations: [Observation::default(); OBSERVATIONS],
            len: 0,
            newest: 0,
            open: Open::default(),
            inherent: 0.0,
            lasting: 0.0,
            limit: None,
            is_overwhelming: false,
            is_heavy: false,
            recent: 0.0,
            since_trial: BETWEEN_TRIALS,
            trial: 0.0,
        }
    }

    pub(super) fn push(&mut self, sent: u64, bytes: u32, lost: bool) {
        let open = &mut self.open;
        open.first_sent.get_or_insert(sent);
        open.last_sent = open.last_sent.max(sent);
        open.bytes += u64::from(bytes);
        open.packets += 1;
        open.lost += u32::from(lost);
    }

    /// A packet that was told lost did arrive.
    pub(super) fn found(&mut self) {
        if self.open.lost > 0 {
            self.open.lost -= 1;
        } else {
            let newest = &mut self.observations[self.newest];
            newest.lost = (newest.lost - 1.0).max(0.0);
        }
    }

    /// `queue` in milliseconds, `target` the bits per second that other evidence allows.
    pub(super) fn update(&mut self, queue: f64, target: f64) {
        self.open.queue = self.open.queue.max(queue);
        let Some(first) = self.open.first_sent else { return };
        let lasted = self.open.last_sent.saturating_sub(first);
        if lasted < LASTS || self.open.packets < PACKETS {
            return;
        }
        let open = std::mem::take(&mut self.open);
        self.newest = (self.newest + 1) % OBSERVATIONS;
        self.len = (self.len + 1).min(OBSERVATIONS);
        let observation = Observation {
            // The last packet takes time after the last time of sending.
            rate: open.bytes as f64 * (1.0 - 1.0 / f64::from(open.packets)) * 8e6 / lasted as f64,
            packets: f64::from(open.packets),
            lost: f64::from(open.lost),
            has_queue: open.queue > QUEUE,
        };
        self.observations[self.newest] = observation;
        let share = observation.lost / observation.packets;
        self.recent += 0.3 * (share - self.recent);
        self.lasting = self.median();
        self.since_trial = self.since_trial.saturating_add(1);
        self.decide(observation, target);
    }

    /// Bits per second that losses allow; `None` while they say nothing.
    pub(super) fn limit(&self) -> Option<f64> {
        self.limit
    }

    /// More is lost than most paths lose.
    pub(super) fn is_heavy(&self) -> bool {
        self.is_heavy
    }

    /// A lower rate for a short test of whether losses depend on it.
    pub(super) fn trial(&self) -> Option<f64> {
        (self.since_trial < TRIAL_LASTS).then_some(self.trial)
    }

    /// Share of packets that the path loses at any rate.
    pub(super) fn inherent(&self) -> f64 {
        self.inherent
    }

    /// Share of packets that the path loses by itself, and has lost in most observations: what an outage or a burst took says nothing of
    /// what will be lost.
    pub(super) fn lasting(&self) -> f64 {
        self.lasting.min(self.inherent)
    }

    /// Share of packets lost of late.
    pub(super) fn recent(&self) -> f64 {
        self.recent
    }

    /// Of what single observations lost, but for those of an outage; 0 before there are enough.
    fn median(&self) -> f64 {
        let shares = self
            .weighted()
            .map(|(_, observation)| observation.lost / observation.packets);
        let mut shares: ArrayVec<f64, OBSERVATIONS> = shares.filter(|share| *share < MOST_INHERENT).collect();
        shares.sort_unstable_by(f64::total_cmp);
        let median = shares.get(shares.len() / 2).filter(|_| shares.len() >= LASTING);
        median.copied().unwrap_or(0.0)
    }

    fn decide(&mut self, last: Observation, target: f64) {
        let (mut lost, mut packets, mut beside_queue) = (0.0, 0.0, 0.0);
        for (weight, observation) in self.weighted() {
            lost += weight * observation.lost;
            packets += weight * observation.packets;
            beside_queue += weight * if observation.has_queue { observation.lost } else { 0.0 };
        }
        if lost < NEGLIGIBLE * packets {
            (self.is_overwhelming, self.is_heavy) = (false, false);
            self.inherent = lost / packets;
            self.limit = self.limit.map(|limit| limit * GROWTH).filter(|&limit| limit < target);
            return;
        }
        let (unlimited, inherent) = self.likelihood(f64::INFINITY);
        let doubt = match self.limit {
            None => DOUBT - (DOUBT - DOUBT_BESIDE_QUEUE) * (beside_queue / lost),
            Some(_) => -DOUBT_LIMITED,
        };
        let mut best = (unlimited + doubt, inherent, None);
        let from = self.limit.unwrap_or(target).min(target);
        let delivered = last.rate * (1.0 - last.lost / last.packets) / (1.0 - self.inherent);
        let overwhelms = |(_, last): (f64, Observation)| last.lost > OVERWHELMING * last.packets;
        self.is_overwhelming = self.len > 1 && self.weighted().take(2).all(overwhelms);
        self.is_heavy = self.len > 1
            && self
                .weighted()
                .take(2)
                .all(|(_, last)| last.lost > HEAVY * last.packets);
        if self.is_overwhelming {
            self.limit = Some(delivered.min(from));
            return;
        }
        for candidate in [
            from * GROWTH,
            from,
            from * 0.95,
            from * 0.85,
            delivered,
            delivered * 0.95,
        ] {
            let (likelihood, inherent) = self.likelihood(candidate);
            if likelihood > best.0 {
                best = (likelihood, inherent, Some(candidate));
            }
        }
        self.inherent = best.1.min(self.beside_no_queue());
        // A limit that nothing supports any more is lifted step by step.
        self.limit = match (best.2, self.limit) {
            (None, Some(limit)) => Some(limit * GROWTH).filter(|&limit| limit < target),
            (found, _) => found,
        };
        let between = if self.limit.is_some() {
            BETWEEN_TRIALS_LIMITED
        } else {
            BETWEEN_TRIALS
        };
        if self.inherent > SUSPICIOUS && self.since_trial >= between {
            self.since_trial = 0;
            self.trial = target.min(last.rate) * TRIAL;
        }
    }

    /// The most that can be the path's own, by two standard deviations: it loses as much while nothing waits. A queue that overflowed
    /// once tells nothing of it.
    fn beside_no_queue(&self) -> f64 {
        let calm = self.weighted().filter(|(_, observation)| !observation.has_queue);
        let (lost, packets) = calm.fold((0.0, 0.0), |(lost, packets), (weight, observation)| {
            (lost + weight * observation.lost, packets + weight * observation.packets)
        });
        if packets < ENOUGH {
            return 1.0;
        }
        (lost + 2.0 * lost.sqrt() + 1.0) / packets
    }

    /// Logarithm of the likelihood of all observations if what exceeds `limit` is lost, at the inherent loss that
    /// makes it greatest, and that inherent loss.
    fn likelihood(&self, limit: f64) -> (f64, f64) {
        let excess = |observation: &Observation| (1.0 - limit / observation.rate.max(1.0)).clamp(0.0, 0.99);
        let mut inherent = self.inherent.clamp(0.005, MOST_INHERENT);
        // Expectation maximization: which share of the losses was inherent, given the shares.
        for _ in 0..6 {
            let (mut own, mut packets) = (0.0, 0.0);
            for (weight, observation) in self.weighted() {
                let probability = inherent + (1.0 - inherent) * excess(&observation);
                own += weight * observation.lost * inherent / probability;
                packets += weight * observation.packets;
            }
            inherent = (own / packets).clamp(1e-4, MOST_INHERENT);
        }
        let mut sum = 0.0;
        for (weight, observation) in self.weighted() {
            let probability = (inherent + (1.0 - inherent) * excess(&observation)).clamp(1e-4, 0.999);
            let arrived = observation.packets - observation.lost;
            sum += weight * (observation.lost * probability.ln() + arrived * (1.0 - probability).ln());
        }
        (sum, inherent)
    }

    /// Observations from the newest, with how much they count.
    fn weighted(&self) -> impl Iterator<Item = (f64, Observation)> {
        let mut weight = 1.0 / FADING;
        (0..self.len).map(move |back| {
            weight *= FADING;
            (
                weight,
                self.observations[(self.newest + OBSERVATIONS - back) % OBSERVATIONS],
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Packets of 1,250 bytes at `rate` of 2 Mb/s at most, for so many seconds, each lost with the probability told for
    /// the rate. Sends what it may.
    fn run(seconds: u64, queue: f64, lost: impl Fn(f64) -> f64) -> (Losses, f64) {
        let mut losses = Losses::new();
        let (mut now, mut random) = (0.0, 12_345_u64);
        let wanted = 2e6;
        let mut next_update = 0.0;
        let mut sum = (0.0, 0.0);
        while now < seconds as f64 * 1e6 {
            let rate = [losses.limit(), losses.trial()]
                .into_iter()
                .flatten()
                .fold(wanted, f64::min);
            now += 10_000.0 * 1e6 / rate;
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let chance = (random >> 40) as f64 / (1_u64 << 24) as f64;
            losses.push(now as u64, 1_250, chance < lost(rate));
            if now > next_update {
                losses.update(queue, wanted);
                next_update = now + 50_000.0;
            }
            if now > 5e6 {
                sum = (sum.0 + rate, sum.1 + 1.0);
            }
        }
        (losses, sum.0 / sum.1)
    }

    #[test]
    fn loss_at_any_rate_limits_nothing() {
        for share in [0.02, 0.05, 0.1, 0.2] {
            let (losses, mean) = run(60, 3.0, |_| share);
            assert!(mean > 0.93 * 2e6, "{share}: {mean}");
            assert!(
                (losses.inherent() - share).abs() < 0.03
                    && (losses.lasting() - share).abs() < 0.04
                    && (losses.recent() - share).abs() < 0.08,
                "{share}"
            );
        }
    }

    #[test]
    fn what_an_outage_takes_does_not_last() {
        let mut losses = Losses::new();
        for packet in 0..3_000_u64 {
            let now = packet * 5_000;
            losses.push(now, 1_250, (1_000..1_200).contains(&packet) || packet % 50 == 0);
            losses.update(3.0, 2e6);
            assert!(losses.lasting() < 0.05, "{packet}: {}", losses.lasting());
        }
    }

    #[test]
    fn loss_above_a_rate_limits_to_it() {
        for (limit, share) in [(1e6, 0.0), (1.5e6, 0.0), (1e6, 0.05)] {
            let (_, mean) = run(60, 3.0, |rate| share + (1.0 - share) * (1.0 - limit / rate).max(0.0));
            assert!((0.8 * limit..1.15 * limit).contains(&mean), "{limit} {share}: {mean}");
        }
    }

    #[test]
    fn what_arrived_after_all_is_no_loss() {
        let mut losses = Losses::new();
        for index in 0..100 {
            losses.push(index * 5_000, 1_250, index % 2 == 0);
            if index % 2 == 0 {
                losses.found();
            }
        }
        losses.update(0.0, 1e6);
        assert_eq!((losses.recent(), losses.limit()), (0.0, None));
    }
}
