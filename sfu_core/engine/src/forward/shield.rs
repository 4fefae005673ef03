//! Parity beside one subscription of video, and second copies of its retransmissions: made while the path loses, else nothing
//! but the format is kept.

use arrayvec::ArrayVec;

use super::Subscription;
use super::egress::{Body, Egress, Head, WriteError};
use super::header::HeaderTemplate;
use super::sent::Sent;
use crate::command::{Codec, Subscribe};
use crate::fec::{Encoder, Format, Media, Pool, Protection};
use crate::meter::Meter;
use crate::packet::Packet;
use crate::publish::track::Track;

/// Parity later than this is of no use, microseconds: what it covers was asked again, or given up.
const STALE: u64 = 250_000;
/// Second copies that wait. They do so for a fraction of a round trip.
const MAX_COPIES: usize = 64;

/// What was negotiated, and what was sent of it. Outlives the shield: its numbers must never be used twice.
pub(super) struct Fec {
    stream: Stream,
    /// Of the next packet of FlexFEC.
    sequence: u64,
    pub(super) packets: u64,
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stream {
    /// On an SSRC of its own.
    Flexfec { ssrc: u32, payload_type: u8 },
    /// In RED among the media.
    Ulpfec { red: u8, payload_type: u8 },
}

/// While the path loses.
pub(super) struct Shield {
    encoder: Encoder,
    header: HeaderTemplate,
    meter: Meter,
    /// Timestamp of the last keyframe.
    keyframe: Option<u32>,
    /// When the pacer was asked for a turn that has not come.
    asked: Option<u64>,
    second_copy: Option<u64>,
    /// Numbers, and when they are due.
    copies: ArrayVec<(u64, u16), MAX_COPIES>,
}

impl Fec {
    /// FlexFEC before ULPFEC: it leaves the media as they are, and what is lost of it is missed by nobody.
    pub(super) fn new(subscribe: &Subscribe, seed: u64) -> Option<Box<Self>> {
        let formats = &subscribe.fec;
        let flexfec = formats.flexfec.zip(subscribe.fec_ssrc);
        let stream = match (flexfec, formats.red.zip(formats.ulpfec)) {
            (Some((payload_type, ssrc)), _) => Stream::Flexfec {
                ssrc: ssrc.0,
                payload_type: payload_type.0,
            },
            (None, Some((red, ulpfec))) => Stream::Ulpfec {
                red: red.0,
                payload_type: ulpfec.0,
            },
            (None, None) => return None,
        };
        Some(Box::new(Self {
            stream,
            // As that of the media.
            sequence: 1 + (seed >> 24) % 0x7fff,
            packets: 0,
            bytes: 0,
        }))
    }

    fn format(&self, media: u32) -> Format {
        match self.stream {
            Stream::Flexfec { .. } => Format::Flexfec { ssrc: media },
            Stream::Ulpfec { payload_type, .. } => Format::Ulpfec { payload_type },
        }
    }

    /// Payload type of RED, if the media must be in it.
    pub(super) fn red(&self) -> Option<u8> {
        match self.stream {
            Stream::Flexfec { .. } => None,
            Stream::Ulpfec { red, .. } => Some(red),
        }
    }
}

impl Shield {
    fn new(format: Format) -> Box<Self> {
        Box::new(Self {
            encoder: Encoder::new(format),
            header: HeaderTemplate::default(),
            meter: Meter::default(),
            keyframe: None,
            asked: None,
            second_copy: None,
            copies: ArrayVec::new(),
        })
    }

    pub(super) fn forget_header(&mut self) {
        self.header = HeaderTemplate::default();
    }

    /// Sends a packet of media, and remembers it in parity. `red`: payload type of RED, where parity asks for it.
    #[inline(never)]
    pub(super) fn send(
        &mut self,
        red: Option<u8>,
        packet: &Packet,
        (head, body): (Head<'_>, Body<'_>),
        template: &mut HeaderTemplate,
        egress: &mut Egress<'_>,
    ) -> Result<usize, WriteError> {
        if packet.facts.keyframe {
            self.keyframe = Some(head.timestamp);
        }
        let payload_type = head.payload_type;
        // In RED only as long as there is parity for it.
        let red = red.filter(|_| !self.encoder.is_idle());
        let told = Head {
            payload_type: red.unwrap_or(payload_type),
            ..head
        };
        let body = Body {
            red: red.map(|_| payload_type),
            ..body
        };
        let now = egress.now();
        let mut pool = egress.take_pool();
        let written = egress.write_shown(told, template, packet, body, |header, payload, ids| {
            let media = Media {
                sequence: head.sequence,
                header,
                payload_type,
                payload,
                essential: packet.facts.temporal == 0,
                keyframe: self.keyframe == Some(head.timestamp),
            };
            if let Some(pool) = &mut pool {
                self.encoder.protect(now, &media, ids, pool);
            }
        });
        egress.put_pool(pool);
        written
    }

    /// A retransmission was sent.
    pub(super) fn on_sent_again(&mut self, now: u64, sequence: u16) {
        if let Some(after) = self.second_copy
            && !self.copies.is_full()
        {
            self.copies.push((now + after, sequence));
        }
    }

    pub(super) fn bits_per_second(&self, now: u64) -> f64 {
        self.meter.bits_per_second(now)
    }
}

impl Subscription {
    /// Parity was negotiated, and what is sent may have it. Without retransmission of what parity took from the numbers of
    /// a stream, H.264 would wait for it: only formats that count pictures tell that nothing is missing.
    pub(crate) fn may_protect(&self, track: &Track) -> bool {
        let Some(fec) = &self.fec else { return false };
        let codec = self.payload.and_then(|map| track.codec(map.from));
        fec.red().is_none() || self.rtx_ssrc.is_some() && matches!(codec, Some(Codec::Vp8 | Codec::Vp9))
    }

    /// Protects keyframes and other frames so from now on. True while there is something to look after.
    pub(crate) fn protect_by(&mut self, keyframe: Protection, delta: Protection) -> bool {
        let idle = keyframe.is_none() && delta.is_none() && delta.second_copy.is_none();
        let Some(fec) = &self.fec else { return false };
        if idle && self.shield.is_none() {
            return false;
        }
        let format = fec.format(self.ssrc);
        let shield = self.shield.get_or_insert_with(|| Shield::new(format));
        shield.encoder.protect_by(keyframe, delta);
        shield.second_copy = delta.second_copy;
        if idle && shield.encoder.is_idle() && shield.copies.is_empty() {
            self.shield = None;
        }
        self.shield.is_some()
    }

    /// Share of parity in what was sent of late.
    pub(crate) fn parity_bits_per_second(&self, now: u64) -> f64 {
        self.shield.as_ref().map_or(0.0, |shield| shield.bits_per_second(now))
    }

    /// Parity was negotiated.
    pub(crate) fn has_parity(&self) -> bool {
        self.fec.is_some()
    }

    /// Parity is being made.
    pub(crate) fn is_shielded(&self) -> bool {
        self.shield.is_some()
    }

    /// When parity or a copy is due, microseconds.
    pub(crate) fn shield_due(&self) -> Option<u64> {
        let shield = self.shield.as_ref()?;
        let copy = shield.copies.first().map(|&(due, _)| due);
        // Parity that waits for the pacer comes with its turn, or is given up.
        let parity = match shield.asked {
            Some(asked) => Some(asked + STALE),
            None => shield.encoder.next_timeout(),
        };
        copy.into_iter().chain(parity).min()
    }

    /// Octets of the parity packet to be sent now, if there is one and the pacer was not asked already. Ends groups that
    /// wait for too long, and drops what is too old.
    pub(crate) fn parity_due(&mut self, now: u64, pool: &mut Pool) -> Option<usize> {
        let shield = self.shield.as_deref_mut()?;
        if shield.asked.is_some_and(|asked| now.saturating_sub(asked) < STALE) {
            return None;
        }
        shield.asked = None;
        shield.encoder.handle_timeout(now, pool);
        while shield.encoder.due(now.saturating_sub(STALE)).is_some() {
            shield.encoder.sent(pool);
        }
        let repair = shield.encoder.due(now)?;
        Some(repair.parts().iter().map(|part| part.len()).sum())
    }

    /// The pacer owes a turn.
    pub(crate) fn on_parity_waits(&mut self, now: u64) {
        if let Some(shield) = &mut self.shield {
            shield.asked = Some(now);
        }
    }

    /// The number of a retransmission whose second copy is due.
    pub(crate) fn copy_due(&mut self, now: u64) -> Option<u16> {
        let copies = &mut self.shield.as_deref_mut()?.copies;
        let due = copies.first().is_some_and(|&(due, _)| due <= now);
        due.then(|| copies.pop_at(0)).flatten().map(|(_, sequence)| sequence)
    }

    /// Sends the parity packet that is due. Needs room in `egress`.
    pub(crate) fn send_parity(&mut self, now: u64, egress: &mut Egress<'_>) -> bool {
        let Self {
            shield: Some(shield),
            fec: Some(fec),
            ..
        } = self
        else {
            return false;
        };
        shield.asked = None;
        let Some(repair) = shield.encoder.due(now) else {
            return false;
        };
        let (head, template, inserted) = match fec.stream {
            Stream::Flexfec { ssrc, payload_type } => {
                fec.sequence += 1;
                ((ssrc, payload_type, fec.sequence - 1), &mut shield.header, None)
            }
            Stream::Ulpfec { red, .. } => {
                let Some((output, source)) = self.sequence.insert() else {
                    return false;
                };
                ((self.ssrc, red, output), &mut self.header, Some((output, source)))
            }
        };
        let (ssrc, payload_type, sequence) = head;
        let head = Head {
            marker: false,
            payload_type,
            sequence,
            timestamp: repair.timestamp,
            ssrc,
            mid: &self.mid,
            dependency: &[],
        };
        let written = egress.write_parity(head, template, repair.parts());
        let timestamp = repair.timestamp;
        if let Some(pool) = egress.pool() {
            shield.encoder.sent(pool);
        }
        if let (Some((output, source)), Some(current), Some(map)) = (inserted, self.source, self.payload) {
            // Who misses it gets an empty packet in its place.
            self.sent.insert(&Sent {
                output,
                source,
                timestamp,
                layer: current.layer,
                payload_type: map.to.0,
                filler: true,
                ..Sent::default()
            });
        }
        let Ok(len) = written else { return false };
        shield.meter.add(len, now);
        fec.packets += 1;
        fec.bytes += len as u64;
        self.bytes += len as u64;
        true
    }

    /// What is gathered belongs to what is not sent any more.
    pub(super) fn drop_parity(&mut self, egress: &mut Egress<'_>) {
        if let (Some(shield), Some(pool)) = (&mut self.shield, egress.pool()) {
            shield.encoder.reset(pool);
        }
    }
}
