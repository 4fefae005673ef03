//! Recovers what a publisher's packets lost on their way, from the repair packets beside them.
//!
//! Of each repair, the packets that are here are taken away; when one is left, it is that packet. It may be the
//! missing one of another repair, and so on. Nothing is kept before the first repair came.

use std::collections::VecDeque;

use wire::fec::{Recovery, toggle};
use wire::rtp::{FIXED_HEADER, Header};
use wire::{flexfec, seq, ulpfec};

use super::Format;
use super::mutable::mutable;
use crate::command::ExtensionIds;
use crate::packet::MAX_PACKET;

/// Packets kept. Repairs reach back by [`flexfec::MAX_SPAN`] at most, and may come a little later.
const WINDOW: u64 = 128;
/// Repairs that wait for more of their packets.
const MAX_WAITING: usize = 32;
/// Recovered packets that wait to be taken.
const MAX_RECOVERED: usize = 16;

/// One media packet of the publisher, without RED and RTX.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// With the extensions.
    pub header: &'a [u8],
    /// In RED that of the block.
    pub payload_type: u8,
    /// With its padding.
    pub payload: &'a [u8],
}

pub struct Decoder {
    format: Format,
    ssrc: u32,
    /// Empty before the first repair.
    window: Box<[Slot]>,
    highest: u64,
    waiting: VecDeque<Waiting>,
    /// Settled ones, for their memory.
    spare: Vec<Waiting>,
    /// Numbers, to be looked up in the window.
    recovered: VecDeque<u64>,
    /// The packet that was returned last.
    out: Vec<u8>,
}

/// A packet that is here.
#[derive(Clone, Default)]
struct Slot {
    /// 0: none.
    number: u64,
    fields: Recovery,
    bits: Vec<u8>,
}

/// A repair of which several packets are missing.
#[derive(Default)]
struct Waiting {
    base: u64,
    /// Of those that are missing.
    mask: u128,
    fields: Recovery,
    bits: Vec<u8>,
}

impl Decoder {
    /// `ssrc` of the media.
    pub fn new(format: Format, ssrc: u32) -> Self {
        Self {
            format,
            ssrc,
            window: Box::default(),
            highest: 0,
            waiting: VecDeque::new(),
            spare: Vec::new(),
            recovered: VecDeque::new(),
            out: Vec::new(),
        }
    }

    /// Every media packet, retransmitted ones too, in the order of arrival.
    pub fn handle_media(&mut self, media: &Received<'_>, ids: &ExtensionIds) {
        let Ok(header) = Header::parse(media.header) else {
            return;
        };
        if header.ssrc != self.ssrc || media.header.len() + media.payload.len() > MAX_PACKET {
            return;
        }
        let number = self.number(header.sequence);
        self.highest = self.highest.max(number);
        let Some(slot) = vacant(&mut self.window, number, self.highest) else {
            return;
        };
        let Some((fixed, extension)) = media.header.split_first_chunk::<FIXED_HEADER>() else {
            return;
        };
        slot.number = number;
        slot.bits.clear();
        slot.bits.extend_from_slice(extension);
        for place in mutable(media.header, &header, ids) {
            slot.bits[place.start - FIXED_HEADER..place.end - FIXED_HEADER].fill(0);
        }
        slot.bits.extend_from_slice(media.payload);
        slot.fields = Recovery::of(fixed, media.payload_type, slot.bits.len() as u16);
        self.resolve(number);
    }

    /// The payload of a repair packet; of ULPFEC the block of RED.
    pub fn handle_repair(&mut self, payload: &[u8]) {
        let (base, mask, fields, parity) = match self.format {
            Format::Ulpfec { .. } => match ulpfec::Packet::parse(payload) {
                Ok(packet) => (packet.base, packet.first.mask, packet.recovery, packet.first.parity),
                Err(_) => return,
            },
            Format::Flexfec { .. } => match flexfec::Packet::parse(payload) {
                Ok(packet) if packet.ssrc == self.ssrc => (packet.base, packet.mask, packet.recovery, packet.parity),
                _ => return,
            },
        };
        if parity.len() > MAX_PACKET {
            return;
        }
        if self.window.is_empty() {
            self.window = vec![Slot::default(); WINDOW as usize].into_boxed_slice();
            self.waiting.reserve(MAX_WAITING);
            self.spare.reserve(MAX_WAITING + 1);
            self.recovered.reserve(MAX_RECOVERED);
            self.out.reserve(MAX_PACKET);
        }
        let base = self.number(base);
        if self.highest == 0 {
            self.highest = base;
        }
        let newest = base + u64::from(127 - mask.leading_zeros());
        if base + WINDOW <= self.highest || newest > self.highest + WINDOW {
            // What it covers is forgotten, or it is of another time.
            return;
        }
        let oldest = (self.waiting.len() == MAX_WAITING).then(|| self.waiting.pop_front());
        let mut repair = oldest.flatten().or_else(|| self.spare.pop()).unwrap_or_default();
        repair.bits.clear();
        repair.bits.extend_from_slice(parity);
        (repair.base, repair.mask, repair.fields) = (base, mask, fields);
        for bit in bits_of(mask) {
            if let Some(slot) = present(&self.window, base + u64::from(bit)) {
                repair.take_away(bit, slot);
            }
        }
        self.settle(repair);
    }

    /// A packet that was lost, complete with its header. Values of extensions that are written on sending are zero.
    pub fn poll_recovered(&mut self) -> Option<&[u8]> {
        let slot = loop {
            let number = self.recovered.pop_front()?;
            if let Some(slot) = present(&self.window, number) {
                break slot;
            }
        };
        self.out.clear();
        self.out
            .extend_from_slice(&slot.fields.fixed_header(slot.number as u16, self.ssrc));
        self.out.extend_from_slice(&slot.bits);
        Some(&self.out)
    }

    /// Forgets everything: the source began anew.
    pub fn reset(&mut self) {
        *self = Self::new(self.format, self.ssrc);
    }

    fn number(&self, sequence: u16) -> u64 {
        // Cycles in hand, so that no number is 0 nor below a window.
        seq::extend(self.highest.max(2 << 16), sequence)
    }

    /// The packet is here now: repairs that miss it go on.
    fn resolve(&mut self, number: u64) {
        let mut next = Some(number);
        // Each recovery settles at least one repair.
        for _ in 0..=MAX_WAITING {
            let Some(number) = next.take() else { return };
            let Some(slot) = present(&self.window, number) else {
                return;
            };
            for repair in &mut self.waiting {
                if let Some(bit) = repair.bit(number) {
                    repair.take_away(bit, slot);
                }
            }
            let solvable = |repair: &Waiting| repair.mask.count_ones() <= 1;
            while let Some(index) = self.waiting.iter().position(solvable) {
                let Some(repair) = self.waiting.remove(index) else {
                    break;
                };
                next = self.recover(&repair);
                self.spare.push(repair);
                if next.is_some() {
                    break;
                }
            }
        }
    }

    fn settle(&mut self, repair: Waiting) {
        if repair.mask.count_ones() > 1 {
            self.waiting.push_back(repair);
            return;
        }
        let recovered = self.recover(&repair);
        self.spare.push(repair);
        if let Some(number) = recovered {
            self.resolve(number);
        }
    }

    /// The packet that is left in a repair goes into the window; its number.
    fn recover(&mut self, repair: &Waiting) -> Option<u64> {
        let number = repair.base + u64::from(bits_of(repair.mask).next()?);
        let len = usize::from(repair.fields.length);
        // Of a packet longer than the parity only the beginning is known. Parity behind its end tells of a wrong sum.
        let (bits, behind) = repair.bits.split_at_checked(len)?;
        if FIXED_HEADER + len > MAX_PACKET || behind.iter().any(|&octet| octet != 0) {
            return None;
        }
        self.highest = self.highest.max(number);
        let slot = vacant(&mut self.window, number, self.highest)?;
        slot.number = number;
        slot.fields = repair.fields;
        slot.bits.clear();
        slot.bits.extend_from_slice(bits);
        if self.recovered.len() == MAX_RECOVERED {
            self.recovered.pop_front();
        }
        self.recovered.push_back(number);
        Some(number)
    }
}

impl Waiting {
    /// The bit of a packet that it misses.
    fn bit(&self, number: u64) -> Option<u32> {
        let bit = u32::try_from(number.checked_sub(self.base)?).ok()?;
        (self.mask.checked_shr(bit).unwrap_or(0) & 1 != 0).then_some(bit)
    }

    fn take_away(&mut self, bit: u32, slot: &Slot) {
        self.fields.toggle(&slot.fields);
        toggle(&mut self.bits, &slot.bits);
        self.mask &= !(1 << bit);
    }
}

fn bits_of(mut mask: u128) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (bit < 128).then_some(bit)
    })
}

fn present(window: &[Slot], number: u64) -> Option<&Slot> {
    let slot = window.get((number % WINDOW) as usize)?;
    (slot.number == number).then_some(slot)
}

/// The place for a packet that is not here yet and not too old.
fn vacant(window: &mut [Slot], number: u64, highest: u64) -> Option<&mut Slot> {
    let slot = window.get_mut((number % WINDOW) as usize)?;
    (number + WINDOW > highest && slot.number != number).then_some(slot)
}
