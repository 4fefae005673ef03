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
/// Later probes: the most they exceed the target by.
const LATER: f64 = 2.0;
const TOWARD_DEMAND: f64 = 4.0;
/// A probe toward a layer asks for this much more than the layer, so that it fits with something to spare.
const MARGIN: f64 = 1.15;
/// Microseconds between probes that find nothing: the first, and the longest. Shorter finds capacity sooner and
/// disturbs more.
const SHORTEST_WAIT: u64 = 1_000_000;
const LONGEST_WAIT: u64 = 4_000_000;
/// A sender that does not use its target waits longer each time that a grant ended in congestion.
const FIRST_IDLE_WAIT: u64 = 3_000_000;
const LONGEST_IDLE_WAIT: u64 = 48_000_000;
/// No probe so soon after congestion, microseconds; sooner where the capacity keeps changing.
const CALM: u64 = 2_000_000;
const CALM_VOLATILE: u64 = 600_000;
/// Where congestion began is known for so long, microseconds: probes there find nothing and disturb.
const FORGOTTEN: u64 = 4_000_000;
/// No probe into a queue of so many milliseconds.
const QUEUE: f64 = 15.0;
/// A cluster whose end is not told of after so much time and a round trip has failed, microseconds.
const PATIENCE: u64 = 1_000_000;
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
    next_at: u64,
    wait: u64,
    idle_wait: u64,
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

impl Prober {
    pub(super) fn new(now: u64, start: f64) -> Self {
        Self {
            next_id: 0,
            cluster: None,
            follow_up: Some(start * FIRST),
            next_at: now,
            wait: SHORTEST_WAIT,
            idle_wait: FIRST_IDLE_WAIT,
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
        let rate = match self.follow_up.take() {
            Some(rate) => rate,
            None if now < self.next_at.max(idle_until) || situation.calm_for < calm => return None,
            None => self.aim(situation)?,
        }
        .min(useful * MARGIN);
        if rate < situation.target * 1.05 {
            return None;
        }
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
        Some(Probe {
            id,
            bits_per_second: rate,
            bytes,
            packets: FEWEST_PACKETS,
            duration: (f64::from(bytes) * 8e6 / rate) as u64,
        })
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
        let is_sent = cluster.sent.packets >= FEWEST_PACKETS && cluster.sent.bytes >= cluster.bytes;
        if !is_sent || number < cluster.last_number {
            return None;
        }
        let is_enough = f64::from(cluster.arrived.packets) >= ENOUGH * f64::from(cluster.sent.packets);
        let (Some(sent), Some(arrived), true) = (cluster.sent.sending(), cluster.arrived.arriving(), is_enough) else {
            self.fail(now);
            return None;
        };
        let ordered = cluster.rate;
        self.cluster = None;
        if arrived < FULL * sent {
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
        Some(proven)
    }

    /// Congestion: what was planned before it is void.
    pub(super) fn on_congestion(&mut self) {
        self.follow_up = None;
    }

    /// What the last probes granted led to congestion as soon as it was used.
    pub(super) fn on_revoked(&mut self, now: u64) {
        self.idle_wait = (self.idle_wait * 2).min(LONGEST_IDLE_WAIT);
        self.idle_until = now + self.idle_wait;
    }

    /// The path carried this rate before it fell silent.
    pub(super) fn aim_at(&mut self, rate: f64) {
        self.follow_up = Some(rate);
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
        Some(target * LATER)
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
