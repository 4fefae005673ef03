//! How long participants heard and saw nothing: per participant, over all connections that it has had, as a person would notice it.

use super::{Heard, Silence};
use crate::plan::Kind;

/// A stream is there when something came within this time, microseconds.
pub(super) const PRESENT: u64 = 1_000_000;

/// By index of the participant.
pub(super) struct Hearing {
    /// When it began to be counted, microseconds.
    begun: u64,
    ears: Vec<[Ear; 2]>,
}

#[derive(Clone, Copy, Default)]
struct Ear {
    packets: u64,
    last: u64,
    longest: u64,
    /// When the longest began.
    longest_at: u64,
}

/// Of the streams of one participant that are there: how many, and the longest silence of any of them, microseconds.
#[derive(Clone, Copy, Default)]
pub(super) struct Present {
    pub(super) streams: u32,
    pub(super) longest: u64,
}

impl Hearing {
    pub(super) fn new(begun: u64) -> Self {
        Self {
            begun,
            ears: Vec::new(),
        }
    }

    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Who is listened for from now on.
    pub(super) fn open(&mut self, participant: u32) {
        let length = participant as usize + 1;
        if self.ears.len() < length {
            self.ears.resize(length, [Ear::default(); 2]);
        }
    }

    #[inline]
    pub(super) fn on_packet(&mut self, participant: u32, kind: Kind, now: u64) {
        if let Some(ear) = self
            .ears
            .get_mut(participant as usize)
            .map(|ears| &mut ears[place(kind)])
        {
            ear.take(self.begun, now);
        }
    }

    /// What everyone heard since this began, with the silence that lasts. `present` tells of the streams of each.
    pub(super) fn heard(&self, now: u64, epoch_ms: f64, present: &[[Present; 2]]) -> Vec<Heard> {
        let of = |participant: usize, kind: Kind| {
            let mut ear = self
                .ears
                .get(participant)
                .map_or(Ear::default(), |ears| ears[place(kind)]);
            let packets = ear.packets;
            let last = ear.last.max(self.begun);
            ear.take(self.begun, now);
            let streams = present
                .get(participant)
                .map_or(Present::default(), |of| of[place(kind)]);
            Silence {
                packets,
                streams: streams.streams,
                gap_ms: ear.longest as f64 / 1e3,
                gap_at_ms: epoch_ms + ear.longest_at as f64 / 1e3,
                silent_ms: now.saturating_sub(last) as f64 / 1e3,
                stream_gap_ms: streams.longest as f64 / 1e3,
            }
        };
        (0..self.ears.len())
            .map(|participant| Heard {
                audio: of(participant, Kind::Audio),
                video: of(participant, Kind::Video),
            })
            .collect()
    }

    /// Counts anew: what was silent before is silent from now on.
    pub(super) fn restart(&mut self, now: u64) {
        self.begun = now;
        for ear in self.ears.iter_mut().flatten() {
            (ear.packets, ear.longest, ear.longest_at) = (0, 0, 0);
        }
    }
}

impl Ear {
    fn take(&mut self, begun: u64, now: u64) {
        let last = self.last.max(begun);
        let silence = now.saturating_sub(last);
        if silence > self.longest {
            (self.longest, self.longest_at) = (silence, last);
        }
        self.last = now;
        self.packets += 1;
    }
}

pub(super) fn place(kind: Kind) -> usize {
    match kind {
        Kind::Audio => 0,
        Kind::Video => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_counted_over_its_beginning_and_its_end() {
        let mut hearing = Hearing::new(1_000_000);
        hearing.open(1);
        for at in [1_020_000, 1_040_000, 1_540_000] {
            hearing.on_packet(1, Kind::Audio, at);
        }
        let gap = |hearing: &Hearing, now: u64| {
            let heard = hearing.heard(now, 0.0, &[]);
            (heard[1].audio.gap_ms, heard[1].audio.gap_at_ms, heard[1].audio.packets)
        };
        assert_eq!(gap(&hearing, 1_600_000), (500.0, 1_040.0, 3));
        // One that lasts is one, too, and being asked changes nothing.
        assert_eq!(gap(&hearing, 2_540_000), (1_000.0, 1_540.0, 3));
        assert_eq!(gap(&hearing, 1_600_000), (500.0, 1_040.0, 3));
        hearing.restart(2_000_000);
        assert_eq!(gap(&hearing, 2_100_000), (100.0, 2_000.0, 0));
        // Who never heard anything.
        assert_eq!(hearing.heard(2_100_000, 0.0, &[])[0].video.gap_ms, 100.0);
    }
}
