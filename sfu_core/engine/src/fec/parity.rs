//! The parity of a set of packets while it is being made.

use wire::fec::{Recovery, toggle};
use wire::rtp::{FIXED_HEADER, Header};

use super::encoder::Media;
use super::mutable::mutable;
use crate::command::ExtensionIds;

/// Octets behind the fixed header of a packet that can be protected: a repair packet has about 70 more, and both must pass
/// every common path. Chromium's packets have 1,200 in all.
pub const MAX_BITS: usize = 1_360;

pub(super) struct Parity {
    pub(super) recovery: Recovery,
    /// Number of the packet that is bit 0 of the mask.
    pub(super) base: u64,
    pub(super) mask: u128,
    pub(super) timestamp: u32,
    len: usize,
    bits: [u8; MAX_BITS],
}

impl Parity {
    fn new() -> Box<Self> {
        Box::new(Self {
            recovery: Recovery::default(),
            base: 0,
            mask: 0,
            timestamp: 0,
            len: 0,
            bits: [0; MAX_BITS],
        })
    }

    /// As long as the longest packet.
    pub(super) fn bits(&self) -> &[u8] {
        &self.bits[..self.len]
    }

    /// Adds a packet of at most [`MAX_BITS`] that has this bit of the mask.
    pub(super) fn add(&mut self, bit: u32, media: &Media<'_>, header: &Header, ids: &ExtensionIds) {
        let Some((fixed, rest)) = media.header.split_first_chunk::<FIXED_HEADER>() else {
            return;
        };
        let len = media.bits();
        self.recovery
            .toggle(&Recovery::of(fixed, media.payload_type, len as u16));
        toggle(&mut self.bits, rest);
        for place in mutable(media.header, header, ids) {
            let at = place.start - FIXED_HEADER;
            toggle(&mut self.bits[at..], &media.header[place]);
        }
        let mut at = rest.len();
        for part in media.payload {
            toggle(&mut self.bits[at.min(MAX_BITS)..], part);
            at += part.len();
        }
        self.mask |= 1 << bit;
        self.timestamp = header.timestamp;
        self.len = self.len.max(len.min(MAX_BITS));
    }

    /// Adds what another of the same group covers.
    pub(super) fn merge(&mut self, other: &Self) {
        self.recovery.toggle(&other.recovery);
        toggle(&mut self.bits, other.bits());
        self.mask ^= other.mask;
        self.timestamp = other.timestamp;
        self.len = self.len.max(other.len);
    }
}

/// Parities that nobody uses, shared by the encoders of a worker: the steady state allocates nothing.
#[derive(Default)]
#[allow(
    clippy::vec_box,
    reason = "they move between groups and queues: pointers are moved, not kilobytes"
)]
pub struct Pool {
    free: Vec<Box<Parity>>,
    /// The fewest that were free since the last trim: so many are not needed.
    spare: usize,
}

/// Parities kept for later, 1.4 KB each. More saves allocations when protection comes and goes, and costs memory.
const MAX_FREE: usize = 256;

impl Pool {
    pub(super) fn take(&mut self, base: u64) -> Box<Parity> {
        let mut parity = self.free.pop().unwrap_or_else(Parity::new);
        self.spare = self.spare.min(self.free.len());
        parity.base = base;
        parity
    }

    /// Frees what was not needed since the last call. To be called every few seconds.
    pub fn trim(&mut self) {
        let needed = self.free.len() - self.spare.min(self.free.len());
        self.free.truncate(needed);
        self.spare = needed;
        if needed == 0 {
            self.free.shrink_to_fit();
        }
    }

    pub(super) fn give(&mut self, mut parity: Box<Parity>) {
        if self.free.len() < MAX_FREE {
            let len = parity.len;
            parity.bits[..len].fill(0);
            (parity.recovery, parity.mask, parity.len) = (Recovery::default(), 0, 0);
            self.free.push(parity);
        }
    }
}
