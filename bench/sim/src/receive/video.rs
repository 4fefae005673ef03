//! A model of a video receiver: pictures are assembled, decoded when everything that they refer to was, and shown when they
//! are due. What is not complete by the time that a later picture is decoded is left out.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::Arrival;
use super::nack::Nacks;
use super::playout::Playout;
use crate::media::{Tag, Track};

/// Without a keyframe since the beginning, and without a picture that can be decoded, microseconds, one is asked for
/// (VideoReceiveStreamInterface: 200 ms and 3 s).
const WAIT_FOR_KEYFRAME: u64 = 200_000;
const WAIT_FOR_PICTURE: u64 = 3_000_000;
/// A stream that is silent for this long is not expected to give pictures.
const SILENT: u64 = 1_000_000;
/// Pictures waiting at most.
const MOST_WAITING: usize = 300;
/// Decoded frames remembered.
const REMEMBERED: usize = 400;
/// What was shown last counts as being shown for so long, microseconds.
const CURRENT: u64 = 1_000_000;

pub(crate) struct Video {
    pub(crate) nacks: Nacks,
    pub(crate) playout: Playout,
    pub(crate) shown: Vec<Shown>,
    /// Pictures that were sent to it: when, and their timestamps.
    pub(crate) sent: Vec<(u64, u32)>,
    pub(crate) requests: u64,
    pictures: BTreeMap<u32, Picture>,
    decoded: BTreeSet<u32>,
    /// Frames that are here with all that they refer to.
    continuous: BTreeSet<u32>,
    last: Option<u32>,
    last_decoded: u64,
    last_arrival: u64,
    last_request: u64,
    known: HashSet<u32>,
    clock: Clock,
    /// Something came since decoding was last tried.
    changed: bool,
    due: u64,
}

/// A picture that a viewer saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown {
    /// Microseconds.
    pub(crate) at: u64,
    pub(crate) captured: u64,
    pub(crate) timestamp: u32,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
}

#[derive(Debug)]
struct Picture {
    captured: u64,
    timestamp: u32,
    /// By its timestamp, microseconds.
    taken: i64,
    /// Frames with packets that are here, and how many there are.
    frames: Vec<(u32, u16, u16)>,
    /// Of its last packet.
    end: u64,
    marker: bool,
    repeated: bool,
    complete: bool,
}

/// Timestamps of video without turn-over.
#[derive(Default)]
struct Clock(Option<(u32, i64)>);

impl Clock {
    fn micros(&mut self, timestamp: u32) -> i64 {
        let (before, ticks) = self.0.unwrap_or((timestamp, 0));
        let ticks = ticks + i64::from(timestamp.wrapping_sub(before) as i32);
        self.0 = Some((timestamp, ticks));
        ticks * 100 / 9
    }
}

impl Video {
    pub(crate) fn new(now: u64) -> Self {
        Self {
            nacks: Nacks::default(),
            playout: Playout::default(),
            shown: Vec::new(),
            sent: Vec::new(),
            requests: 0,
            pictures: BTreeMap::new(),
            decoded: BTreeSet::new(),
            continuous: BTreeSet::new(),
            last: None,
            last_decoded: now,
            last_arrival: now,
            last_request: now,
            known: HashSet::new(),
            clock: Clock::default(),
            changed: false,
            due: 0,
        }
    }

    /// Spatial and temporal layer that are shown now.
    pub(crate) fn layer(&self, now: u64) -> Option<(u8, u8)> {
        let current = self.shown.iter().rev().take_while(|shown| shown.at + CURRENT > now);
        let spatial = self.shown.last().filter(|shown| shown.at + CURRENT > now)?.spatial;
        let temporal = current.take(8).map(|shown| shown.temporal).max()?;
        Some((spatial, temporal))
    }

    pub(crate) fn on_sent(&mut self, now: u64, timestamp: u32) {
        if self.known.insert(timestamp) {
            self.sent.push((now, timestamp));
        }
    }

    /// `number`: that of the packet without turn-over.
    pub(crate) fn on_packet(&mut self, arrival: &Arrival<'_>, number: u64, tag: Tag, track: &Track, again: bool) {
        self.last_arrival = arrival.now;
        let frame = &track.frames[&tag.frame];
        if self.last.is_some_and(|last| frame.picture <= last) {
            return;
        }
        let taken = self.clock.micros(arrival.timestamp);
        let picture = self.pictures.entry(frame.picture).or_insert(Picture {
            captured: frame.captured,
            timestamp: arrival.timestamp,
            taken,
            frames: Vec::new(),
            end: 0,
            marker: false,
            repeated: false,
            complete: false,
        });
        match picture.frames.iter_mut().find(|(id, ..)| *id == tag.frame) {
            Some((_, here, _)) => *here += 1,
            None => picture.frames.push((tag.frame, 1, tag.count)),
        }
        picture.end = picture.end.max(number);
        picture.marker |= arrival.marker;
        picture.repeated |= again;
        let complete = picture.marker && picture.frames.iter().all(|(_, here, count)| here == count);
        if complete && !picture.complete {
            picture.complete = true;
            self.playout.on_complete(arrival.now, picture.taken, picture.repeated);
        }
        picture.complete = complete;
        if complete {
            self.follow(frame.picture, track);
        }
        self.changed = true;
        if self.pictures.len() > MOST_WAITING {
            self.pictures.pop_first();
        }
    }

    /// Pictures from this one on are looked at again: which of them are here with all that they refer to?
    fn follow(&mut self, from: u32, track: &Track) {
        for picture in self.pictures.range(from..).map(|(_, picture)| picture) {
            let ids = || picture.frames.iter().map(|&(id, ..)| id);
            let known = |id: &u32| self.continuous.contains(id) || ids().any(|other| other == *id);
            if !picture.complete || !ids().all(|id| track.frames[&id].references.iter().all(known)) {
                continue;
            }
            self.continuous.extend(ids());
            self.nacks.clear_up_to(picture.end);
        }
        while self.continuous.len() > REMEMBERED {
            self.continuous.pop_first();
        }
    }

    /// Decodes and shows what is due.
    pub(crate) fn show(&mut self, now: u64, round_trip: u64, track: &Track) {
        if !self.changed && now < self.due {
            return;
        }
        while let Some(number) = self.decodable(track) {
            let due = self.playout.due(now, self.pictures[&number].taken, round_trip);
            self.changed = false;
            self.due = due;
            if now < due {
                return;
            }
            self.decode(number, now, track);
        }
        self.changed = false;
        self.due = u64::MAX;
    }

    /// The earliest picture that is complete and refers to nothing that was not decoded.
    fn decodable(&self, track: &Track) -> Option<u32> {
        let complete = self.pictures.iter().filter(|(_, picture)| picture.complete);
        let mut decodable = complete.filter(|(_, picture)| {
            let ids = || picture.frames.iter().map(|&(id, ..)| id);
            ids().all(|id| {
                let mut references = track.frames[&id].references.iter();
                references.all(|reference| self.decoded.contains(reference) || ids().any(|id| id == *reference))
            })
        });
        decodable.next().map(|(&number, _)| number)
    }

    fn decode(&mut self, number: u32, now: u64, track: &Track) {
        let later = self.pictures.split_off(&(number + 1));
        let picture = std::mem::replace(&mut self.pictures, later).remove(&number);
        let Some(picture) = picture else { return };
        let frames = picture.frames.iter().map(|(id, ..)| &track.frames[id]);
        let Some(top) = frames.max_by_key(|frame| frame.spatial) else {
            return;
        };
        self.decoded.extend(picture.frames.iter().map(|(id, ..)| *id));
        while self.decoded.len() > REMEMBERED {
            self.decoded.pop_first();
        }
        self.last = Some(number);
        self.last_decoded = now;
        self.shown.push(Shown {
            at: now,
            captured: picture.captured,
            timestamp: picture.timestamp,
            spatial: top.spatial,
            temporal: top.temporal,
        });
    }

    pub(crate) fn wants_keyframe(&mut self, now: u64) -> bool {
        let flows = now < self.last_arrival + SILENT && !self.pictures.is_empty();
        let wait = if self.last.is_none() {
            WAIT_FOR_KEYFRAME
        } else {
            WAIT_FOR_PICTURE
        };
        let waited = flows && now >= self.last_decoded.max(self.last_request) + wait;
        let gave_up = std::mem::take(&mut self.nacks.gave_up);
        if waited || gave_up {
            self.last_request = now;
            self.requests += 1;
        }
        waited || gave_up
    }
}
