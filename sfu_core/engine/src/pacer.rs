//! Sends what exceeds the path's pace later, in order of urgency: the queue in front of one subscriber.
//!
//! Most packets never wait: [`Pacer::admit`] lets them go when nothing waits and the bucket allows. What must wait is
//! [`Pacer::push`]ed and comes back from [`Pacer::poll`]. The bucket leaks at [`FACTOR`] times the estimate. Without an estimate
//! everything goes at once.
//!
//! Order, and why:
//! 1. Audio leaves at once even when the bucket is full, and is charged to it, but for clusters: video makes room. Only when audio alone
//!    is [`AUDIO_DEBT`] ahead does it wait, first in line.
//! 2. [`Class::Urgent`]: retransmissions. A viewer waits for them, and their budget bounds how long they delay the rest.
//! 3. Video, by deficit round robin over subscriptions (Shreedhar and Varghese 1995): a keyframe of one does not hold up
//!    the frames of the others, as it would by age.
//! 4. Repair (FEC), by age. While it waits it is owed [`REPAIR_SHARE`] of what video sends, so it does not starve; no more is
//!    made than that as a rule, so it does not pile up either.
//! 5. Padding, only for probes.
//!
//! Video that waited [`MAX_AGE`] is stale: the subscription's queue is dropped up to its newest keyframe, or altogether. In the
//! latter case [`Poll::DropUntilKeyframe`] says so, and the caller forwards nothing of it until a keyframe. Queue packets before
//! they are numbered: then what is dropped leaves no hole.

mod bucket;
mod flows;
mod queue;

use std::collections::VecDeque;

use arrayvec::ArrayVec;

use crate::bandwidth::{Probe, ProbeId};

use bucket::Bucket;
use flows::{Cut, Flows};
use queue::{Entry, List, Slab};

/// Pace over estimate. More empties the queue after a keyframe sooner and fills the one at the bottleneck; 1 delays
/// every frame that is larger than the average.
const FACTOR: f64 = 1.15;
/// Microseconds that audio may be ahead of the pace before it waits. More favours audio on a path too thin for it.
const AUDIO_DEBT: u64 = 100_000;
/// Microseconds that video may wait. More freezes later and shows older pictures.
const MAX_AGE: u64 = 250_000;
/// A subscription that is cut again within this time, microseconds, may wait twice as long, up to eight times: otherwise a large
/// keyframe on a thin path would be cut for ever.
const CUT_AGAIN: u64 = 10_000_000;
const MAX_DOUBLINGS: u8 = 3;
/// Between two looks for what is stale, microseconds.
const SWEEP: u64 = 20_000;
/// Microseconds gathered between two rounds of sending, when packets are that close: makes GSO groups, delays a little.
const TICK: u64 = 2_000;
/// Bytes per turn of a subscription: at least a packet.
const QUANTUM: u32 = 1_500;
/// Bytes of repair per byte of video while both wait. More heals losses sooner and delays new frames.
const REPAIR_SHARE: f64 = 0.25;
/// Packets waiting for one subscriber at most: bounds memory. A quarter of a second at 100 Mb/s.
const MAX_QUEUED: usize = 2_600;
const MAX_REPAIR: usize = 256;
const MAX_AUDIO: usize = 256;
/// Clusters that may wait for their turn.
const MAX_PROBES: usize = 4;
/// A cluster that is not done after this is given up, microseconds.
const PROBE_TIMEOUT: u64 = 1_000_000;
/// Bytes of padding that are asked for at once: so that a cluster has its packets, within these.
const MOST_PADDING: u32 = 1_200;
const LEAST_PADDING: u32 = 200;
/// Microseconds that a packet of padding beside the media takes at most. Longer holds up the media behind it.
const FILL_PACKET: u64 = 5_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Audio,
    Urgent,
    Video,
    Repair,
}

/// A packet that waits. `flow` names the subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item<T> {
    pub item: T,
    pub flow: u32,
    pub class: Class,
    /// On the wire.
    pub bytes: u32,
    /// First packet of a keyframe.
    pub keyframe: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admit {
    /// It is charged, unless it is audio beside a cluster.
    SendNow,
    /// Push it.
    Queue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Poll<T> {
    Send {
        item: T,
        class: Class,
        /// The cluster that it belongs to.
        probe: Option<ProbeId>,
    },
    /// Send about so many bytes that the subscriber can do without: old packets as RTX (RFC 4588), or padding (RFC 3550
    /// section 5.1), and tell [`Pacer::padded`].
    /// `probe`: the cluster that it belongs to.
    Padding { bytes: u32, probe: Option<ProbeId> },
    /// What waited of this flow is gone: forward nothing of it before a keyframe.
    DropUntilKeyframe(u32),
}

/// Packets, since the beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub sent_at_once: u64,
    pub sent_later: u64,
    pub dropped_audio: u64,
    pub dropped_video: u64,
    pub dropped_repair: u64,
    pub cuts: u64,
    pub padding_bytes: u64,
}

pub struct Pacer<T> {
    /// `None` while there is no estimate.
    bucket: Option<Bucket>,
    /// Bits per second, outside of clusters.
    pace: u64,
    slab: Slab<T>,
    audio: List,
    urgent: List,
    repair: List,
    video: Flows,
    /// Bytes that repair is owed.
    owed: f64,
    cuts: VecDeque<u32>,
    /// When it was last looked for what is stale.
    swept: u64,
    probes: ArrayVec<Cluster, MAX_PROBES>,
    /// What padding fills up to.
    fill: Option<Bucket>,
    counters: Counters,
}

struct Cluster {
    probe: Probe,
    /// Microseconds; `None` while others are before it.
    begun: Option<u64>,
    bytes: u32,
    packets: u32,
}

impl<T> Default for Pacer<T> {
    fn default() -> Self {
        Self {
            bucket: None,
            pace: 0,
            slab: Slab::new(),
            audio: List::EMPTY,
            urgent: List::EMPTY,
            repair: List::EMPTY,
            video: Flows::default(),
            owed: 0.0,
            cuts: VecDeque::new(),
            swept: 0,
            probes: ArrayVec::new(),
            fill: None,
            counters: Counters::default(),
        }
    }
}

impl<T> Pacer<T> {
    /// Paces from now on by this estimate, bits per second; `None` lets everything through. `now` in microseconds, here as
    /// everywhere.
    pub fn set_rate(&mut self, now: u64, estimate: Option<u64>) {
        let Some(estimate) = estimate else {
            self.bucket = None;
            self.fill = None;
            self.probes.clear();
            return;
        };
        self.pace = (estimate as f64 * FACTOR) as u64;
        let rate = self.rate();
        match &mut self.bucket {
            Some(bucket) => bucket.set_rate(now, rate),
            None => self.bucket = Some(Bucket::new(now, rate)),
        }
    }

    /// Whether a packet may go at once; it is charged then.
    pub fn admit(&mut self, now: u64, bytes: u32, class: Class) -> Admit {
        let is_first = match class {
            Class::Audio => self.audio.is_empty(),
            _ => self.slab.used() == 0 && self.probes.is_empty() && self.cuts.is_empty(),
        };
        if let Some(bucket) = &mut self.bucket {
            let may = match class {
                Class::Audio => bucket.debt(now) <= AUDIO_DEBT,
                _ => bucket.allows(now),
            };
            if !is_first || !may {
                return Admit::Queue;
            }
            // A cluster is measured without the audio in between, which would slow it down.
            if class != Class::Audio || self.probes.is_empty() {
                bucket.charge(now, bytes);
            }
            if let Some(fill) = &mut self.fill {
                fill.charge(now, bytes);
            }
        } else if !is_first {
            return Admit::Queue;
        }
        self.counters.sent_at_once += 1;
        Admit::SendNow
    }

    /// Of what was admitted or polled last, so many bytes were not sent: nobody waits for them.
    pub fn refund(&mut self, bytes: u32) {
        if let Some(bucket) = &mut self.bucket {
            bucket.refund(bytes);
        }
        if let Some(fill) = &mut self.fill {
            fill.refund(bytes);
        }
    }

    /// Takes what was not admitted.
    pub fn push(&mut self, now: u64, item: Item<T>) {
        self.make_room(now, item.class);
        let entry = Entry {
            item: item.item,
            since: now,
            bytes: item.bytes.min(u32::from(u16::MAX)),
            keyframe: item.keyframe,
        };
        match item.class {
            Class::Audio => self.audio.push(&mut self.slab, entry),
            Class::Urgent => self.urgent.push(&mut self.slab, entry),
            Class::Repair => self.repair.push(&mut self.slab, entry),
            Class::Video => self.video.push(&mut self.slab, item.flow, entry),
        }
    }

    /// Adds a cluster: what goes next goes at its rate, and padding is asked for where media lack. False when too many wait,
    /// or without an estimate.
    pub fn probe(&mut self, now: u64, probe: Probe) -> bool {
        let cluster = Cluster {
            probe,
            begun: None,
            bytes: 0,
            packets: 0,
        };
        let taken = self.bucket.is_some() && self.probes.try_push(cluster).is_ok();
        if taken && self.probes.len() == 1 {
            self.begin_cluster(now);
        }
        taken
    }

    /// Padding is asked for from now on whenever less than this is sent, bits per second. Whether that begins now.
    pub fn set_fill(&mut self, now: u64, rate: Option<u64>) -> bool {
        let rate = rate.filter(|_| self.bucket.is_some());
        match (&mut self.fill, rate) {
            (Some(fill), Some(rate)) => fill.set_rate(now, rate),
            (fill, Some(rate)) => *fill = Some(Bucket::new(now, rate)),
            (fill, None) => {
                *fill = None;
                return false;
            }
        }
        true
    }

    /// What to do next; `None`: nothing before [`Pacer::next`].
    pub fn poll(&mut self, now: u64) -> Option<Poll<T>> {
        if now.saturating_sub(self.swept) >= SWEEP {
            self.sweep(now);
        }
        if let Some(flow) = self.cuts.pop_front() {
            return Some(Poll::DropUntilKeyframe(flow));
        }
        let (allowed, debt) = match &self.bucket {
            Some(bucket) => (bucket.allows(now), bucket.debt(now)),
            None => (true, 0),
        };
        let (class, entry) = if !self.audio.is_empty() && debt <= AUDIO_DEBT {
            (Class::Audio, self.audio.pop(&mut self.slab))
        } else if !allowed {
            return None;
        } else if !self.urgent.is_empty() {
            (Class::Urgent, self.urgent.pop(&mut self.slab))
        } else if self.video.is_empty() || self.owes_repair() {
            (Class::Repair, self.repair.pop(&mut self.slab))
        } else {
            (Class::Video, self.video.pop(&mut self.slab))
        };
        let Some(entry) = entry else {
            return self.pad(now);
        };
        let bytes = f64::from(entry.bytes);
        match class {
            _ if self.repair.is_empty() => self.owed = 0.0,
            Class::Video => self.owed += bytes * REPAIR_SHARE,
            Class::Repair => self.owed = (self.owed - bytes).max(0.0),
            _ => {}
        }
        self.counters.sent_later += 1;
        let probe = self.charge(now, entry.bytes, class != Class::Audio);
        Some(Poll::Send {
            item: entry.item,
            class,
            probe,
        })
    }

    /// So many bytes were sent as padding.
    pub fn padded(&mut self, now: u64, bytes: u32) {
        self.counters.padding_bytes += u64::from(bytes);
        self.charge(now, bytes, true);
    }

    /// When to poll again, microseconds; `None` while nothing waits.
    pub fn next(&self, now: u64) -> Option<u64> {
        let Some(bucket) = &self.bucket else {
            return (self.slab.used() > 0 || !self.cuts.is_empty()).then_some(now);
        };
        if !self.cuts.is_empty() {
            return Some(now);
        }
        let allows = bucket.allows_at();
        if !self.probes.is_empty() {
            return Some(allows.max(now));
        }
        let fills_at = self.fill.as_ref().map(|fill| fill.allows_at().max(allows).max(now));
        if self.slab.used() == 0 {
            return fills_at;
        }
        let mut at = allows;
        if bucket.takes(u64::from(QUANTUM)) < TICK {
            at += TICK;
        }
        if !self.audio.is_empty() {
            at = at.min(allows.saturating_sub(AUDIO_DEBT));
        }
        let at = at.min(self.swept.saturating_add(SWEEP)).max(now);
        Some(fills_at.map_or(at, |fills_at| at.min(fills_at)))
    }

    /// Forgets a subscription that ended. Its repairs that wait still come.
    pub fn remove(&mut self, flow: u32) {
        self.counters.dropped_video += self.video.remove(&mut self.slab, flow) as u64;
        self.cuts.retain(|&other| other != flow);
    }

    /// Microseconds until a packet that comes now would leave.
    pub fn queue_delay(&self, now: u64) -> u64 {
        let bytes = self.slab.bytes();
        self.bucket
            .as_ref()
            .map_or(0, |bucket| bucket.debt(now) + bucket.takes(bytes))
    }

    /// Whether video of this subscription waits.
    pub fn holds(&self, flow: u32) -> bool {
        self.video.holds(flow)
    }

    /// Whether a keyframe of this subscription waits.
    pub fn holds_keyframe(&self, flow: u32) -> bool {
        self.video.holds_keyframe(&self.slab, flow)
    }

    /// Packets that wait.
    pub fn len(&self) -> usize {
        self.slab.used()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Bits per second now.
    fn rate(&self) -> u64 {
        let cluster = self.probes.first();
        cluster.map_or(self.pace, |cluster| cluster.probe.bits_per_second as u64)
    }

    fn owes_repair(&self) -> bool {
        let first = self.repair.first(&self.slab);
        first.is_some_and(|first| self.owed >= f64::from(first.bytes))
    }

    fn make_room(&mut self, now: u64, class: Class) {
        // The oldest is of the least use: audio and repair that come later than others are asked for again or concealed.
        if class == Class::Audio && self.audio.len() >= MAX_AUDIO {
            self.audio.pop(&mut self.slab);
            self.counters.dropped_audio += 1;
        }
        if class == Class::Repair && self.repair.len() >= MAX_REPAIR {
            self.repair.pop(&mut self.slab);
            self.counters.dropped_repair += 1;
        }
        if class == Class::Urgent && self.urgent.len() >= MAX_REPAIR {
            self.urgent.pop(&mut self.slab);
            self.counters.dropped_repair += 1;
        }
        while self.slab.used() >= MAX_QUEUED {
            let Some(cut) = self.video.cut_longest(&mut self.slab, now) else {
                return;
            };
            note(cut, &mut self.cuts, &mut self.counters);
        }
    }

    fn sweep(&mut self, now: u64) {
        self.swept = now;
        let Self {
            video,
            slab,
            cuts,
            counters,
            ..
        } = self;
        video.cut_stale(slab, now, |cut| note(cut, cuts, counters));
        for list in [&mut self.urgent, &mut self.repair] {
            // By then it has been asked for again, or given up.
            while list
                .first(&self.slab)
                .is_some_and(|first| now.saturating_sub(first.since) > MAX_AGE)
            {
                list.pop(&mut self.slab);
                self.counters.dropped_repair += 1;
            }
        }
        let begun = self.probes.first().and_then(|cluster| cluster.begun);
        if begun.is_some_and(|begun| now.saturating_sub(begun) > PROBE_TIMEOUT) {
            self.end_cluster(now);
        }
    }

    fn pad(&self, now: u64) -> Option<Poll<T>> {
        let Some(cluster) = self.probes.first() else {
            let fill = self.fill.as_ref().filter(|fill| fill.allows(now))?;
            let bytes = fill.carries(FILL_PACKET).clamp(LEAST_PADDING, MOST_PADDING);
            return Some(Poll::Padding { bytes, probe: None });
        };
        let probe = cluster.probe;
        let bytes = (probe.bytes / probe.packets.max(1)).clamp(LEAST_PADDING, MOST_PADDING);
        Some(Poll::Padding {
            bytes,
            probe: Some(probe.id),
        })
    }

    /// Returns the cluster to which a packet of so many bytes belongs.
    fn charge(&mut self, now: u64, bytes: u32, probes: bool) -> Option<ProbeId> {
        let bucket = self.bucket.as_mut()?;
        if probes || self.probes.is_empty() {
            bucket.charge(now, bytes);
        }
        if let Some(fill) = &mut self.fill {
            fill.charge(now, bytes);
        }
        let cluster = self.probes.first_mut().filter(|_| probes)?;
        cluster.bytes = cluster.bytes.saturating_add(bytes);
        cluster.packets += 1;
        let Cluster {
            probe, bytes, packets, ..
        } = *cluster;
        if bytes >= probe.bytes && packets >= probe.packets {
            self.end_cluster(now);
        }
        Some(probe.id)
    }

    fn begin_cluster(&mut self, now: u64) {
        let rate = self.rate();
        if let Some(bucket) = &mut self.bucket {
            bucket.set_rate(now, rate);
            if let Some(cluster) = self.probes.first_mut() {
                cluster.begun = Some(now);
                bucket.forget_burst(now);
            }
        }
    }

    fn end_cluster(&mut self, now: u64) {
        self.probes.pop_at(0);
        self.begin_cluster(now);
    }
}

fn note(cut: Cut, cuts: &mut VecDeque<u32>, counters: &mut Counters) {
    counters.cuts += 1;
    counters.dropped_video += cut.dropped as u64;
    if cut.is_empty && !cuts.contains(&cut.flow) {
        cuts.push_back(cut.flow);
    }
}

#[cfg(test)]
mod tests;
