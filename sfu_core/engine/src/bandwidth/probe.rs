//! Short bursts above the target find capacity that steady growth would find late, or, with nothing to send, never.

use super::{Demand, Probe, ProbeId};

/// Time a cluster lasts at least. Longer measures better and queues more when there is no room.
const DURATION: u64 = 20_000;
const FEWEST_BYTES: u32 = 2_500;
const FEWEST_PACKETS: u32 = 5;
/// The first probe of a path that nothing is known of, as a multiple of the start.
const FIRST: f64 = 4.0;
/// After a success the next one is this much higher.
const NEXT: f64 = 2.5;
/// Where congestion was met before, the most that a probe exceeds the target by, and where capacity keeps changing. A short
/// cluster finds room among the packets of others as well: more takes it from them before they can tell.
const LATER: f64 = 1.7;
const LATER_VOLATILE: f64 = 2.0;
/// And the time for which what it found is tried before the next one, beside a round trip, microseconds.
const TRY: u64 = 150_000;
const TOWARD_DEMAND: f64 = 4.0;
/// A probe toward a layer asks for this much more than the layer, so that it fits with something to spare.
const MARGIN: f64 = 1.15;
/// Microseconds between probes that find nothing: the first, and the longest. Shorter finds capacity sooner and
/// disturbs more.
const SHORTEST_WAIT: u64 = 1_000_000;
const LONGEST_WAIT: u64 = 3_500_000;
/// A sender that does not use its target waits so long after a grant ended in congestion, microseconds. More keeps layered
/// senders who share a path from taking turns, less returns sooner to a path that has recovered.
const IDLE_WAIT: u64 = 3_000_000;
/// No probe so soon after congestion, microseconds; sooner where the capacity keeps changing.
const CALM: u64 = 2_000_000;
const CALM_VOLATILE: u64 = 600_000;
/// Where congestion began is known for so long, microseconds: probes there find nothing and disturb.
const FORGOTTEN: u64 = 4_000_000;
/// No probe into a queue of so many milliseconds.
const QUEUE: f64 = 15.0;
/// A cluster whose end is not told of after so much time and a round trip has failed, microseconds.
const PATIENCE: u64 = 1_000_000;
/// Some of what the pacer counts is not sent in the end, and its bytes are estimates: a cluster is sent with so many packets less
/// and this share of its bytes.
const SPARED: u32 = 1;
const SENT: f64 = 0.75;
/// A cluster counts when this share of it arrived.
const ENOUGH: f64 = 0.8;
/// Arrival below this share of the sent rate means that the path was full.
const FULL: f64 = 0.9;
/// Of a full path's rate so much is used: packets of others between those of the cluster widen it.
const USED: f64 = 0.95;

#[derive(Debug)]
pub(super) struct Prober {
    next_id: u8,
    cluster: Option<Cluster>,
    /// Rate of a probe that follows from the last result.
    follow_up: Option<f64>,
    follow_up_at: u64,
    /// Rate that the path carried before it fell silent.
    known: f64,
    next_at: u64,
    wait: u64,
    idle_until: u64,
    /// The last cluster found the path full, and was sent again.
    is_repeated: bool,
}

/// What the rest knows, when a probe is considered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Situation {
    pub(super) target: f64,
    pub(super) most: f64,
    pub(super) demand: Demand,
    pub(super) is_limited: bool,
    /// The target is where congestion began of late.
    pub(super) is_near_capacity: bool,
    pub(super) calm_for: u64,
    pub(super) queue: f64,
    pub(super) round_trip: u64,
    pub(super) is_contended: bool,
    pub(super) is_volatile: bool,
    /// Congestion was met before.
    pub(super) is_experienced: bool,
}

#[derive(Debug)]
struct Cluster {
    id: ProbeId,
    rate: f64,
    bytes: u32,
    ordered: u64,
    sent: Span,
    /// Transport-wide number of the last packet.
    last_number: u64,
    arrived: Span,
}

/// Packets between a first and a last time.
#[derive(Debug, Default)]
struct Span {
    packets: u32,
    bytes: u32,
    first: i64,
    first_bytes: u32,
    last: i64,
    last_bytes: u32,
}

impl Situation {
    fn later(&self) -> f64 {
        self.target * if self.is_volatile { LATER_VOLATILE } else { LATER }
    }
}

impl Prober {
    pub(super) fn new(now: u64, start: f64) -> Self {
        Self {
            next_id: 0,
            cluster: None,
            follow_up: Some(start * FIRST),
            follow_up_at: now,
            known: 0.0,
            next_at: now,
            wait: SHORTEST_WAIT,
            idle_until: now,
            is_repeated: false,
        }
    }

    /// The cluster to send now, if one is due.
    pub(super) fn poll(&mut self, now: u64, situation: Situation) -> Option<Probe> {
        if let Some(cluster) = &self.cluster {
            if now.saturating_sub(cluster.ordered) < PATIENCE + situation.round_trip {
                return None;
            }
            self.fail(now);
        }
        if situation.queue > QUEUE || situation.is_contended {
            return None;
        }
        let calm = if situation.is_volatile { CALM_VOLATILE } else { CALM };
        let idle_until = if situation.is_limited { self.idle_until } else { 0 };
        let useful = situation.demand.most.min(situation.most);
        let is_due = self.follow_up.is_none() || now >= self.follow_up_at || !situation.is_experienced;
        if !is_due {
            return None;
        }
        let rate = match self.follow_up.take() {
            Some(rate) if situation.is_experienced => rate.min(situation.later().max(self.known)),
            Some(rate) => rate,
            None if now < self.next_at.max(idle_until) || situation.calm_for < calm => return None,
            None => self.aim(situation)?,
        }
        .min(useful * MARGIN)
        .min(situation.most);
        if rate < situation.target * 1.05 {
            return None;
        }
        Some(self.order(now, rate))
    }

    /// A small cluster at a low rate, where nothing that was sent is answered and nothing more is: is the path back?
    pub(super) fn knock(&mut self, now: u64, rate: f64, round_trip: u64) -> Option<Probe> {
        let waits = |cluster: &Cluster| now.saturating_sub(cluster.ordered) < PATIENCE + round_trip;
        if self.cluster.as_ref().is_some_and(waits) {
            return None;
        }
        Some(self.order(now, rate))
    }

    fn order(&mut self, now: u64, rate: f64) -> Probe {
        let id = ProbeId(self.next_id);
        self.next_id = (self.next_id + 1) % ProbeId::COUNT;
        let bytes = ((rate / 8.0 * DURATION as f64 / 1e6) as u32).max(FEWEST_BYTES);
        self.cluster = Some(Cluster {
            id,
            rate,
            bytes,
            ordered: now,
            sent: Span::default(),
            last_number: 0,
            arrived: Span::default(),
        });
        Probe {
            id,
            bits_per_second: rate,
            bytes,
            packets: FEWEST_PACKETS,
            duration: (f64::from(bytes) * 8e6 / rate) as u64,
        }
    }

    pub(super) fn on_sent(&mut self, id: ProbeId, number: u64, now: u64, bytes: u32) {
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.id == id) {
            cluster.sent.push(now as i64, bytes);
            cluster.last_number = cluster.last_number.max(number);
        }
    }

    pub(super) fn on_arrived(&mut self, id: ProbeId, arrival: i64, bytes: u32) {
        if let Some(cluster) = self.cluster.as_mut().filter(|cluster| cluster.id == id) {
            cluster.arrived.push(arrival, bytes);
        }
    }

    /// Feedback told of everything up to `number`. The rate that a cluster proved, once it is told of.
    pub(super) fn result(&mut self, now: u64, number: u64) -> Option<f64> {
        let cluster = self.cluster.as_ref()?;
        let is_sent = cluster.sent.packets + SPARED >= FEWEST_PACKETS
            && f64::from(cluster.sent.bytes) >= SENT * f64::from(cluster.bytes);
        if !is_sent || number < cluster.last_number {
            return None;
        }
        let is_enough = f64::from(cluster.arrived.packets) >= ENOUGH * f64::from(cluster.sent.packets);
        let (Some(sent), Some(arrived), true) = (cluster.sent.sending(), cluster.arrived.arriving(), is_enough) else {
            self.fail(now);
            return None;
        };
        let (ordered, started) = (cluster.rate, cluster.ordered);
        self.cluster = None;
        if arrived < FULL * sent.min(ordered) {
            // Found where it ends, unless a few packets were held up: a second cluster tells.
            self.next_at = now + self.wait;
            self.follow_up = Some(ordered).filter(|_| !std::mem::replace(&mut self.is_repeated, true));
            return Some(arrived * USED);
        }
        self.is_repeated = false;
        let proven = sent.min(arrived).min(ordered);
        self.wait = SHORTEST_WAIT;
        self.next_at = now;
        self.follow_up = Some(proven * NEXT);
        self.follow_up_at = now + now.saturating_sub(started) + TRY;
        Some(proven)
    }

    /// Congestion: what was planned before it is void.
    pub(super) fn on_congestion(&mut self) {
        self.known = 0.0;
        self.follow_up = None;
    }

    /// What the last probes granted led to congestion as soon as it was used.
    pub(super) fn on_revoked(&mut self, now: u64) {
        self.idle_until = now + IDLE_WAIT;
    }

    /// The path carried this rate before it fell silent.
    pub(super) fn aim_at(&mut self, now: u64, rate: f64) {
        self.follow_up = Some(rate);
        self.follow_up_at = now;
        self.known = rate;
    }

    fn aim(&mut self, situation: Situation) -> Option<f64> {
        let Situation { target, demand, .. } = situation;
        let is_wanting = target < demand.most.min(situation.most);
        let is_known = situation.is_near_capacity && situation.calm_for < FORGOTTEN;
        if !is_wanting || (is_known && !situation.is_limited) {
            return None;
        }
        // The next one comes by itself.
        self.is_repeated = true;
        self.wait = (self.wait * 3 / 2).min(LONGEST_WAIT);
        self.next_at = u64::MAX;
        if situation.is_limited {
            let next = demand.next * MARGIN;
            return (target < next).then(|| next.min(target * TOWARD_DEMAND)).or_else(|| {
                self.next_at = 0;
                None
            });
        }
        Some(situation.later())
    }

    fn fail(&mut self, now: u64) {
        self.cluster = None;
        self.next_at = now + self.wait;
    }
}

impl Span {
    fn push(&mut self, at: i64, bytes: u32) {
        if self.packets == 0 || at < self.first {
            (self.first, self.first_bytes) = (at, bytes);
        }
        if self.packets == 0 || at >= self.last {
            (self.last, self.last_bytes) = (at, bytes);
        }
        self.packets += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }

    /// The last packet takes time after the last time of sending.
    fn sending(&self) -> Option<f64> {
        self.rate(self.bytes - self.last_bytes)
    }

    /// The first packet took time before the first arrival.
    fn arriving(&self) -> Option<f64> {
        self.rate(self.bytes - self.first_bytes)
    }

    fn rate(&self, bytes: u32) -> Option<f64> {
        let lasted = self.last.checked_sub(self.first)?;
        // A burst that arrives within a tick of the feedback's clock is faster than can be told.
        (self.packets > 1).then(|| f64::from(bytes) * 8e6 / lasted.max(250) as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SITUATION: Situation = Situation {
        target: 300e3,
        most: 10e6,
        demand: Demand {
            allocated: 300e3,
            next: 1e6,
            most: 5e6,
        },
        is_limited: false,
        is_near_capacity: false,
        calm_for: 10_000_000,
        queue: 0.0,
        round_trip: 100_000,
        is_contended: false,
        is_volatile: false,
        is_experienced: false,
    };

    /// Sends a cluster as ordered, and tells of its arrival through a path of `capacity`.
    fn send(prober: &mut Prober, probe: Probe, now: u64, capacity: f64, lost: impl Fn(u32) -> bool) -> Option<f64> {
        let bytes = probe.bytes.div_ceil(probe.packets);
        let spacing = f64::from(bytes) * 8e6 / probe.bits_per_second;
        let service = (f64::from(bytes) * 8e6 / capacity).max(spacing);
        for index in 0..probe.packets {
            prober.on_sent(
                probe.id,
                u64::from(index),
                now + (f64::from(index) * spacing) as u64,
                bytes,
            );
        }
        for index in (0..probe.packets).filter(|&index| !lost(index)) {
            prober.on_arrived(probe.id, (f64::from(index) * service) as i64, bytes);
        }
        prober.result(now + 200_000, u64::from(probe.packets) - 1)
    }

    fn poll(prober: &mut Prober, now: u64, target: f64) -> Option<Probe> {
        prober.poll(now, Situation { target, ..SITUATION })
    }

    #[test]
    fn the_first_probes_climb_to_where_the_path_ends() {
        let mut prober = Prober::new(0, 300e3);
        let (mut target, mut now) = (300e3, 0);
        let mut rates = Vec::new();
        while let Some(probe) = poll(&mut prober, now, target) {
            rates.push((probe.bits_per_second / 1e3) as u32);
            target = f64::max(target, send(&mut prober, probe, now, 2e6, |_| false).unwrap_or(0.0));
            now += 200_000;
        }
        assert_eq!(rates[..2], [1_200, 3_000]);
        assert!(
            rates.len() <= 3 && (1.85e6..2e6).contains(&target),
            "{rates:?} {target}"
        );
    }

    #[test]
    fn no_more_than_is_useful() {
        let mut prober = Prober::new(0, 3e6);
        let probe = poll(&mut prober, 0, 3e6).unwrap();
        assert!(probe.bits_per_second <= 5e6 * MARGIN);
        assert!(probe.bytes >= 5e6 as u32 / 8 / 50 && probe.packets >= FEWEST_PACKETS);
        let mut satisfied = Prober::new(0, 6e6);
        assert_eq!(poll(&mut satisfied, 0, 6e6), None);
    }

    #[test]
    fn a_limited_sender_probes_for_its_next_layer() {
        let mut prober = Prober::new(0, 300e3);
        let probe = poll(&mut prober, 0, 300e3).unwrap();
        send(&mut prober, probe, 0, 1e9, |_| true);
        let limited = Situation {
            is_limited: true,
            target: 500e3,
            ..SITUATION
        };
        let probe = prober.poll(5_000_000, limited).unwrap();
        assert!((1e6..1.3e6).contains(&probe.bits_per_second));
        send(&mut prober, probe, 5_000_000, 600e3, |_| false);
        // What was granted did harm: it waits.
        prober.on_revoked(6_000_000);
        assert_eq!(prober.poll(8_900_000, limited), None);
        assert!(prober.poll(9_000_000, limited).is_some());
    }

    #[test]
    fn not_when_it_would_disturb() {
        for situation in [
            Situation {
                queue: 20.0,
                ..SITUATION
            },
            Situation {
                is_contended: true,
                ..SITUATION
            },
            Situation {
                calm_for: 1_000_000,
                ..SITUATION
            },
            Situation {
                calm_for: 3_000_000,
                is_near_capacity: true,
                ..SITUATION
            },
            Situation {
                target: 6e6,
                ..SITUATION
            },
        ] {
            let mut prober = Prober::new(0, 300e3);
            prober.on_congestion();
            assert_eq!(prober.poll(10_000_000, situation), None, "{situation:?}");
        }
    }

    #[test]
    fn too_few_or_none_tell_nothing() {
        let mut prober = Prober::new(0, 300e3);
        let probe = poll(&mut prober, 0, 300e3).unwrap();
        assert_eq!(send(&mut prober, probe, 0, 1e9, |index| index % 2 == 0), None);
        let mut forgotten = Prober::new(0, 300e3);
        let first = poll(&mut forgotten, 0, 300e3).unwrap();
        assert_eq!(poll(&mut forgotten, 500_000, 300e3), None);
        let second = [2_000_000, 4_000_000]
            .into_iter()
            .find_map(|now| poll(&mut forgotten, now, 300e3))
            .unwrap();
        assert_ne!(first.id, second.id);
    }

    #[test]
    fn arriving_at_once_proves_no_more_than_was_sent() {
        let mut prober = Prober::new(0, 300e3);
        let probe = poll(&mut prober, 0, 300e3).unwrap();
        let bytes = probe.bytes.div_ceil(probe.packets);
        for index in 0..probe.packets {
            prober.on_sent(probe.id, u64::from(index), u64::from(index) * 4_000, bytes);
            prober.on_arrived(probe.id, 5, bytes);
        }
        assert!(prober.result(200_000, 99).is_some_and(|rate| rate <= 1.2e6));
    }
}
