//! Makes repair packets for the packets of one subscription, as they are sent.
//!
//! Packets are gathered in groups of some frames, each in one of [`BUCKETS`] parities in turn; when the group ends and its
//! size is known, the buckets are merged into as many repairs as the budget allows, by [`masks`](super::masks).

use std::collections::VecDeque;

use arrayvec::ArrayVec;
use wire::rtp::{FIXED_HEADER, Header};
use wire::{fec::WriteError, flexfec, red, ulpfec};

use super::masks::{covering, fitting};
use super::parity::{MAX_BITS, Parity, Pool};
use super::{Format, Protection};
use crate::command::ExtensionIds;

/// Packets of one bucket are covered alike. More tells more of them apart and costs memory, 1.4 KB each.
const BUCKETS: usize = 24;
/// Repairs of one group at most.
const MAX_REPAIRS: usize = 24;
/// Repairs that wait to be sent. They do so for a fraction of a second.
const MAX_READY: usize = 48;
/// A group is ended after so many times the frames it should have, though no repair can be afforded.
const PATIENCE: u32 = 3;
/// Budget that may be kept or owed, in packets. More keeps the redundancy exact over keyframes and makes it burst.
const MAX_KEPT: f32 = 4.0;
const MAX_OWED: f32 = 2.0;

/// One packet as the subscriber sees it.
#[derive(Clone, Copy, Debug)]
pub struct Media<'a> {
    pub sequence: u64,
    /// As written, with the extensions.
    pub header: &'a [u8],
    /// Of the media itself: in RED that of the block, while `header` and `payload` are those without RED.
    pub payload_type: u8,
    /// The rewritten beginning, and the rest.
    pub payload: [&'a [u8]; 2],
    /// Later frames need it: not of a temporal layer that is left out at will.
    pub essential: bool,
    pub keyframe: bool,
}

impl Media<'_> {
    /// Octets behind the fixed header.
    pub(super) fn bits(&self) -> usize {
        let [first, second] = self.payload;
        (self.header.len() + first.len() + second.len()).saturating_sub(FIXED_HEADER)
    }
}

/// What follows the RTP header of a repair packet.
#[derive(Debug)]
pub struct Repair<'a> {
    head: ArrayVec<u8, MAX_HEAD>,
    parity: &'a [u8],
    /// That of the last media packet it covers.
    pub timestamp: u32,
}

const MAX_HEAD: usize = flexfec::MAX_HEADER + 1;

impl Repair<'_> {
    pub fn parts(&self) -> [&[u8]; 2] {
        [&self.head, self.parity]
    }
}

pub struct Encoder {
    format: Format,
    delta: Protection,
    keyframe: Protection,
    group: Option<Group>,
    buckets: [Option<Box<Parity>>; BUCKETS],
    /// Octets that may be spent on repairs; negative when owed.
    credit: f32,
    ready: VecDeque<Ready>,
}

/// Packets that will be covered together.
#[derive(Clone, Copy)]
struct Group {
    base: u64,
    mask: u128,
    packets: u32,
    frames: u32,
    /// Octets of the longest repair.
    longest: usize,
    /// Of the frame that has begun and not ended.
    frame: Option<u32>,
    keyframe: bool,
    opened: u64,
}

struct Ready {
    /// Microseconds.
    due: u64,
    parity: Box<Parity>,
}

impl Encoder {
    /// Does nothing until [`protect_by`](Self::protect_by) says otherwise.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            delta: Protection::NONE,
            keyframe: Protection::NONE,
            group: None,
            buckets: Default::default(),
            credit: 0.0,
            ready: VecDeque::with_capacity(MAX_READY),
        }
    }

    /// For keyframes and for other frames.
    pub fn protect_by(&mut self, keyframe: Protection, delta: Protection) {
        (self.keyframe, self.delta) = (keyframe, delta);
    }

    /// Nothing is protected, nothing waits: packets need not be shown.
    pub fn is_idle(&self) -> bool {
        self.delta.is_none() && self.keyframe.is_none() && self.group.is_none() && self.ready.is_empty()
    }

    /// Takes every packet of the subscription in the order of sending, retransmissions left out. `now` in microseconds.
    pub fn protect(&mut self, now: u64, media: &Media<'_>, ids: &ExtensionIds, pool: &mut Pool) {
        let plan = if media.keyframe { self.keyframe } else { self.delta };
        let Ok(header) = Header::parse(media.header) else {
            return;
        };
        let another_frame = |group: &Group| group.frame.is_some_and(|frame| frame != header.timestamp);
        if self.group.as_ref().is_some_and(another_frame) {
            // The end of the former frame did not come, or had no marker.
            self.end_frame(now, media.keyframe, pool);
        }
        let len = media.bits();
        self.credit += plan.share * (len + FIXED_HEADER) as f32;
        if plan.is_none() {
            self.end_group(now, pool);
        } else if (media.essential || !plan.essential_only) && len <= MAX_BITS {
            self.add(now, media, &header, ids, pool);
        } else if let Some(group) = &mut self.group {
            group.frame = Some(header.timestamp);
        }
        let full = |group: &Group| group.packets as f32 * plan.share >= MAX_REPAIRS as f32;
        if self.group.as_ref().is_some_and(full) {
            self.end_group(now, pool);
        } else if header.marker && self.group.is_some() {
            self.end_frame(now, false, pool);
        }
    }

    /// To be called when [`next_timeout`](Self::next_timeout) has passed: ends a group that waits for frames which do not come.
    pub fn handle_timeout(&mut self, now: u64, pool: &mut Pool) {
        if self.group.as_ref().is_some_and(|group| self.deadline(group) <= now) {
            self.end_group(now, pool);
        }
    }

    /// When something is due, microseconds.
    pub fn next_timeout(&self) -> Option<u64> {
        let ready = self.ready.front().map(|ready| ready.due);
        let group = self.group.as_ref().map(|group| self.deadline(group));
        ready.into_iter().chain(group).min()
    }

    /// The repair packet to be sent now. Call [`sent`](Self::sent) when it was, then again.
    pub fn due(&self, now: u64) -> Option<Repair<'_>> {
        let ready = self.ready.front().filter(|ready| ready.due <= now)?;
        self.repair(&ready.parity).ok()
    }

    pub fn sent(&mut self, pool: &mut Pool) {
        if let Some(ready) = self.ready.pop_front() {
            pool.give(ready.parity);
        }
    }

    /// Drops what is gathered and what waits: the stream ends, or its numbers begin anew.
    pub fn reset(&mut self, pool: &mut Pool) {
        self.drop_group(pool);
        for ready in self.ready.drain(..) {
            pool.give(ready.parity);
        }
        self.credit = 0.0;
    }

    fn add(&mut self, now: u64, media: &Media<'_>, header: &Header, ids: &ExtensionIds, pool: &mut Pool) {
        let span = match self.format {
            Format::Ulpfec { .. } => ulpfec::MAX_SPAN,
            Format::Flexfec { .. } => flexfec::MAX_SPAN,
        };
        let ends = |group: &Group| {
            media.sequence >= group.base + u64::from(span) || (media.keyframe != group.keyframe && group.packets > 0)
        };
        if self.group.as_ref().is_some_and(ends) {
            self.end_group(now, pool);
        }
        let group = self.group.get_or_insert(Group {
            base: media.sequence,
            mask: 0,
            packets: 0,
            frames: 0,
            longest: 0,
            frame: None,
            keyframe: media.keyframe,
            opened: now,
        });
        // A late packet from before the group is left to retransmission.
        let Some(bit) = media.sequence.checked_sub(group.base).map(|bit| bit as u32) else {
            return;
        };
        if group.mask & 1 << bit != 0 {
            return;
        }
        let bucket = &mut self.buckets[group.packets as usize % BUCKETS];
        let base = group.base;
        bucket
            .get_or_insert_with(|| pool.take(base))
            .add(bit, media, header, ids);
        group.mask |= 1 << bit;
        group.packets += 1;
        group.longest = group.longest.max(media.bits() + ulpfec::MAX_HEADER);
        group.frame = Some(header.timestamp);
    }

    fn end_frame(&mut self, now: u64, keyframe_follows: bool, pool: &mut Pool) {
        let Some(group) = &mut self.group else { return };
        group.frames += 1;
        group.frame = None;
        let plan = if group.keyframe { self.keyframe } else { self.delta };
        let frames = u32::from(plan.frames);
        let affordable = self.credit >= 0.5 * group.longest as f32;
        let ends = group.keyframe || keyframe_follows || group.frames >= frames && affordable;
        if ends || group.frames >= PATIENCE * frames {
            self.end_group(now, pool);
        }
    }

    /// Makes as many repairs as the budget allows, to be sent one after another.
    fn end_group(&mut self, now: u64, pool: &mut Pool) {
        let Some(group) = self.group else { return };
        let plan = if group.keyframe { self.keyframe } else { self.delta };
        let longest = group.longest as f32;
        let affordable = (self.credit / longest).round().max(0.0) as usize;
        let packets = group.packets as usize;
        let count = fitting(affordable.min(packets).min(MAX_REPAIRS), packets, BUCKETS);
        if count == 0 || plan.is_none() {
            self.credit = self.credit.min(MAX_KEPT * longest);
            self.drop_group(pool);
            return;
        }
        self.group = None;
        let mut repairs: ArrayVec<Box<Parity>, MAX_REPAIRS> = (0..count).map(|_| pool.take(group.base)).collect();
        for (index, bucket) in self.buckets.iter_mut().enumerate() {
            let Some(bucket) = bucket.take() else { continue };
            for repair in covering(index, count, packets) {
                if let Some(repair) = repairs.get_mut(repair) {
                    repair.merge(&bucket);
                }
            }
            pool.give(bucket);
        }
        for (parity, index) in repairs.into_iter().filter(|parity| parity.mask != 0).zip(0..) {
            if self.ready.len() == MAX_READY
                && let Some(oldest) = self.ready.pop_front()
            {
                pool.give(oldest.parity);
            }
            self.credit -= (parity.bits().len() + ulpfec::MAX_HEADER) as f32;
            let due = now + plan.delay + index * plan.spacing;
            let due = self.ready.back().map_or(due, |last| due.max(last.due));
            self.ready.push_back(Ready { due, parity });
        }
        self.credit = self.credit.clamp(-MAX_OWED * longest, MAX_KEPT * longest);
    }

    fn drop_group(&mut self, pool: &mut Pool) {
        self.group = None;
        for parity in self.buckets.iter_mut().filter_map(Option::take) {
            pool.give(parity);
        }
    }

    fn deadline(&self, group: &Group) -> u64 {
        group.opened + if group.keyframe { self.keyframe } else { self.delta }.patience
    }

    fn repair<'a>(&self, parity: &'a Parity) -> Result<Repair<'a>, WriteError> {
        let mut out = [0; MAX_HEAD];
        let base = parity.base as u16;
        let len = match self.format {
            Format::Ulpfec { payload_type } => {
                let (block, rest) = out.split_at_mut(red::PRIMARY_HEADER);
                block.copy_from_slice(&red::single_header(payload_type));
                let parity_len = parity.bits().len() as u16;
                block.len() + ulpfec::write_header(rest, &parity.recovery, base, parity.mask, parity_len)?
            }
            Format::Flexfec { ssrc } => flexfec::write_header(&mut out, &parity.recovery, ssrc, base, parity.mask)?,
        };
        let mut head = ArrayVec::from(out);
        head.truncate(len);
        Ok(Repair {
            head,
            parity: parity.bits(),
            timestamp: parity.timestamp,
        })
    }
}
