//! Which microphones of a room are forwarded: the loudest few, by the levels in their packets (RFC 6464).
//!
//! Each worker ranks the tracks of a room that it sees: those published on it, and mirrors. A track that is not among the loudest at home
//! does not cross to other workers; whoever is among the loudest of all is among the loudest at home, so nobody is missed.
//! Places are held: whoever has one keeps it through pauses, and until somebody else needs it.

use crate::ids::GroupId;

/// dBov below overload: whoever is at least so loud speaks. A larger number lets murmurs and keyboards in.
const SPEAKS: u8 = 50;
/// Packets of speech in a row that ask for a place. One more comes 20 ms later, one less lets every click in.
const ONSET: u8 = 2;
/// Packets further apart than this, microseconds, are not in a row.
const ROW: u64 = 150_000;
/// Microseconds that a place is kept after the last speech: longer than pauses within a turn. Longer makes newcomers wait when
/// many take turns, shorter cuts those who think while they speak.
const HOLD: u64 = 2_000_000;
/// Microseconds before a place may be lost to somebody louder. Longer flaps less.
const STAY: u64 = 1_000_000;
/// Decibels by which somebody louder must exceed a speaker to take its place. More flaps less.
const MARGIN: f32 = 6.0;
/// Weight of a packet in the loudness of a speaker: about the last 200 ms count.
const WEIGHT: f32 = 0.1;
/// Loudness of tracks that do not tell theirs.
const UNKNOWN: u8 = 40;
/// Tracks of one room that do not tell how loud they are, and are forwarded nevertheless. More serves more telephone gateways
/// and recorded players, and floods rooms of clients without levels.
const MAX_UNRANKED: usize = 16;

/// How loud a track is while it speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Voice {
    /// dBov below overload, over what was speech.
    loudness: f32,
    /// Packets of speech in a row.
    run: u8,
    /// Times of the last packet and of the last speech, microseconds; 0: never.
    heard: u64,
    spoke: u64,
}

impl Voice {
    /// `level` as in the extension, 0 to 127.
    pub(crate) fn on_packet(&mut self, level: u8, now: u64) {
        let in_row = now.saturating_sub(self.heard) <= ROW;
        self.heard = now;
        if level > SPEAKS {
            self.run = 0;
            return;
        }
        if self.is_idle(now) {
            self.loudness = f32::from(level);
        }
        self.run = if in_row { self.run.saturating_add(1) } else { 1 };
        self.loudness += (f32::from(level) - self.loudness) * WEIGHT;
        self.spoke = now;
    }

    fn is_idle(&self, now: u64) -> bool {
        self.spoke == 0 || now.saturating_sub(self.spoke) >= HOLD
    }
}

/// One who is forwarded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Holder {
    pub(crate) voice: Voice,
    /// When it got its place, microseconds.
    pub(crate) since: u64,
}

/// Whose place somebody who speaks takes, by its index: that of the one who has been silent longest, else of the softest speaker
/// if that is much softer. `None`: it has to wait.
pub(crate) fn displaced(now: u64, newcomer: &Voice, holders: impl Iterator<Item = Holder>) -> Option<usize> {
    if newcomer.run < ONSET {
        return None;
    }
    let mut silent: Option<(u64, usize)> = None;
    let mut softest: Option<(f32, usize)> = None;
    for (index, Holder { voice, since }) in holders.enumerate() {
        if voice.is_idle(now) {
            if silent.is_none_or(|(spoke, _)| voice.spoke < spoke) {
                silent = Some((voice.spoke, index));
            }
        } else if now.saturating_sub(since) >= STAY
            && voice.loudness - newcomer.loudness >= MARGIN
            && softest.is_none_or(|(loudness, _)| voice.loudness > loudness)
        {
            softest = Some((voice.loudness, index));
        }
    }
    silent.map(|(_, index)| index).or(softest.map(|(_, index)| index))
}

/// Level to rank a packet by.
pub(crate) fn level(told: Option<u8>) -> u8 {
    told.map_or(UNKNOWN, |level| level & 0x7f)
}

/// The places of one room on this worker.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) id: GroupId,
    /// Tracks that are in it.
    pub(crate) members: usize,
    /// Those that tell how loud they are, and those that do not.
    ranked: Places,
    unranked: Places,
}

#[derive(Debug)]
pub(crate) struct Places {
    most: usize,
    /// Keys of tracks, and since when they have their place, microseconds.
    pub(crate) held: Vec<(usize, u64)>,
}

impl Group {
    pub(crate) fn new(id: GroupId, most: usize) -> Self {
        let places = |most| Places { most, held: Vec::new() };
        Self {
            id,
            members: 0,
            ranked: places(most),
            unranked: places(MAX_UNRANKED),
        }
    }

    pub(crate) fn places(&mut self, ranked: bool) -> &mut Places {
        match ranked {
            true => &mut self.ranked,
            false => &mut self.unranked,
        }
    }

    pub(crate) fn release(&mut self, track: usize) {
        for places in [&mut self.ranked, &mut self.unranked] {
            places.held.retain(|&(held, _)| held != track);
        }
    }
}

impl Places {
    /// A place that nobody has.
    pub(crate) fn take_free(&mut self, track: usize, now: u64) -> bool {
        let free = self.held.len() < self.most;
        if free {
            self.held.push((track, now));
        }
        free
    }

    /// Gives the place at `index` to another; the track that had it.
    pub(crate) fn replace(&mut self, index: usize, track: usize, now: u64) -> Option<usize> {
        let place = self.held.get_mut(index)?;
        Some(std::mem::replace(place, (track, now)).0)
    }
}

#[cfg(test)]
mod tests;
