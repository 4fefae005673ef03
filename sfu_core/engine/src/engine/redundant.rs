//! RED of a publisher (RFC 2198): its frames become packets of their own, those that were lost included, so that each subscriber
//! is sent what suits its own path.

use std::time::Instant;

use arrayvec::ArrayVec;
use wire::opus;
use wire::red::Redundant;
use wire::rtp::Header;

use super::Engine;
use super::ingest::Media;
use crate::command::Codec;
use crate::counters::Dropped;
use crate::extensions::Extensions;
use crate::fec::opus_red::{self, MAX_BLOCKS};
use crate::ids::PayloadType;
use crate::packet::Carried;
use crate::publish::layer::Layer;

impl Engine {
    /// What was lost first, then the newest.
    pub(super) fn accept_redundant(
        &mut self,
        now: Instant,
        key: usize,
        header: &Header,
        extensions: &Extensions<'_>,
        media: &Media<'_>,
    ) -> Result<(), Dropped> {
        let track = &self.tracks[key];
        // Padding alone is no RED, but its number must be known.
        let parsed = match media.payload {
            [] => None,
            payload => Some(Redundant::parse(payload).map_err(|_| Dropped::Malformed)?),
        };
        let known = |payload_type: Option<u8>| {
            let mut formats = track.codecs.iter().filter(|format| format.codec == Codec::Opus);
            let is = |own: PayloadType| payload_type.is_none_or(|payload_type| payload_type == own.0);
            formats.find(|format| is(format.payload_type)).copied()
        };
        let format = known(parsed.map(|red| red.primary.payload_type)).ok_or(Dropped::Malformed)?;
        let opus = Media {
            format,
            payload: parsed.map_or(&[], |red| red.primary.data),
            ..*media
        };
        if let Some(red) = parsed.filter(|_| !media.recovered) {
            self.recover(now, key, header, extensions, (&red, &opus))?;
        }
        self.accept(now, key, header, extensions, &opus)
    }

    /// The frames beside the newest that have not come themselves.
    fn recover(
        &mut self,
        now: Instant,
        key: usize,
        header: &Header,
        extensions: &Extensions<'_>,
        (red, newest): (&Redundant<'_>, &Media<'_>),
    ) -> Result<(), Dropped> {
        let at = self.micros(now);
        let Some(duration) = opus::duration(newest.payload) else {
            return Ok(());
        };
        let layer = usize::from(newest.layer);
        let slot = self.tracks[key].layers.get(layer).ok_or(Dropped::NoRoute)?;
        let (seq, timestamp) = (newest.place.seq, header.timestamp);
        let missing = |number, time| is_missing(slot, number, time, (seq, timestamp));
        let frames: ArrayVec<_, MAX_BLOCKS> = opus_red::recover(red, seq, timestamp, duration, missing)
            .filter(|frame| frame.payload_type == newest.format.payload_type.0)
            .take(MAX_BLOCKS)
            .collect();
        for frame in frames {
            let slot = self.tracks[key].layers.get_mut(layer).ok_or(Dropped::NoRoute)?;
            let Ok(place) = slot.place_repair(frame.sequence as u16, frame.timestamp, at) else {
                continue;
            };
            let header = Header {
                timestamp: frame.timestamp,
                marker: false,
                ..*header
            };
            let carried = Carried {
                audio_level: extensions.carried.audio_level,
                ..Carried::default()
            };
            let lost = Media {
                place,
                recovered: true,
                payload: frame.payload,
                ..*newest
            };
            self.accept(now, key, &header, &Extensions { carried, ..*extensions }, &lost)?;
        }
        Ok(())
    }
}

/// Nothing came under this number, and the time lies between those of its neighbours. `newest`: number and time of the packet at
/// hand, which is not kept yet.
fn is_missing(layer: &Layer, number: u64, time: u32, (newest, newest_time): (u64, u32)) -> bool {
    let ring = &layer.ring;
    if number >= newest || ring.is_known(number) {
        return false;
    }
    let is_before = |one: u32, other: u32| (other.wrapping_sub(one) as i32) > 0;
    let before = number.checked_sub(1).and_then(|number| ring.get(number));
    let behind = match number + 1 == newest {
        true => Some(newest_time),
        false => ring.get(number + 1).map(|packet| packet.timestamp),
    };
    before.is_none_or(|packet| is_before(packet.timestamp, time)) && behind.is_none_or(|behind| is_before(time, behind))
}
