//! Dependency descriptor (AV1 RTP specification appendix A): which layer a frame belongs to and what it is for.

mod structure;
mod write;

pub use structure::{Differences, MAX_CHAINS, Structure, Template};
pub use write::{Layout, Written, renumber, rewrite};

use crate::bits::Bits;

/// Octets of the mandatory fields; more are extended fields.
const MANDATORY: usize = 3;
const MAX_TEMPLATES: u8 = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("dependency descriptor is cut short")]
    Truncated,
    #[error("dependency descriptor has more templates or layers than it may")]
    Structure,
    #[error("dependency descriptor refers to template {0}, which its structure lacks")]
    Template(u8),
    #[error("frame refers to more others than any codec allows")]
    References,
}

/// Mandatory fields (appendix A.8.2), and whether a structure follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptor<'a> {
    /// First packet of a frame.
    pub start: bool,
    /// Last packet of a frame.
    pub end: bool,
    /// 6 bits.
    pub template_id: u8,
    pub frame_number: u16,
    flags: Flags,
    /// Behind the flags.
    bytes: &'a [u8],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flags {
    structure: bool,
    active_targets: bool,
    custom_targets: bool,
    custom_differences: bool,
    custom_chains: bool,
}

/// What a structure says about a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub spatial: u8,
    pub temporal: u8,
    /// Uses of the frame by decode target: see [`Frame::indication`].
    indications: u64,
    /// Bit n: decode target n is being sent. `None` when it stays as it was; a structure sets all.
    pub active_targets: Option<u32>,
    pub differences: Differences,
    /// By chain: frames back to the one before it in the chain; 0: there is none.
    pub chains: [u8; MAX_CHAINS],
    /// Where [`rewrite`] finds the active targets.
    mask: Mask,
}

/// Place of the active targets in a descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mask {
    /// Bits before it.
    at: u16,
    /// Bits that it has or would have.
    width: u8,
    present: bool,
}

/// What a frame is for a decode target (appendix A.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Indication {
    /// It is no part of it.
    NotPresent,
    /// Nothing of it depends on the frame.
    Discardable,
    /// From here on a receiver may go over to it.
    Switch,
    Required,
}

impl<'a> Descriptor<'a> {
    pub fn parse(value: &'a [u8]) -> Result<Self, Error> {
        let &[first, n0, n1] = value.first_chunk::<MANDATORY>().ok_or(Error::Truncated)?;
        let extended = value.get(MANDATORY..).unwrap_or_default();
        let flag = |mask| extended.first().is_some_and(|octet| octet & mask != 0);
        Ok(Self {
            start: first & 0x80 != 0,
            end: first & 0x40 != 0,
            template_id: first & 0x3f,
            frame_number: u16::from_be_bytes([n0, n1]),
            flags: Flags {
                structure: flag(0x80),
                active_targets: flag(0x40),
                custom_targets: flag(0x20),
                custom_differences: flag(0x10),
                custom_chains: flag(0x08),
            },
            bytes: extended,
        })
    }

    /// First packet of a keyframe: only there a new structure begins.
    pub fn keyframe(&self) -> bool {
        self.start && self.flags.structure
    }

    pub fn has_structure(&self) -> bool {
        self.flags.structure
    }

    /// The structure that holds from this frame on, if one is told.
    pub fn structure(&self) -> Result<Option<Structure>, Error> {
        if !self.flags.structure {
            return Ok(None);
        }
        Structure::take(&mut self.behind_flags()?).map(Some)
    }

    /// What the last structure told says about this frame; one in the descriptor itself goes before it.
    pub fn frame(&self, last: &Structure) -> Result<Frame, Error> {
        let mut bits = self.behind_flags()?;
        let own = match self.flags.structure {
            true => Some(Structure::take(&mut bits)?),
            false => None,
        };
        let structure = own.as_ref().unwrap_or(last);
        let mut active_targets = own.as_ref().map(Structure::all_targets);
        let mask = Mask {
            // The flags are there if anything is, and would be if nothing is.
            at: (MANDATORY * 8 + bits.position().max(5)) as u16,
            width: structure.targets(),
            present: self.flags.active_targets,
        };
        if self.flags.active_targets {
            active_targets = Some(bits.number(mask.width.into()).ok_or(Error::Truncated)?);
        }
        let template = structure
            .template(self.template_id)
            .ok_or(Error::Template(self.template_id))?;
        let mut frame = Frame {
            spatial: template.spatial,
            temporal: template.temporal,
            indications: template.indications,
            active_targets,
            differences: template.differences,
            chains: template.chains,
            mask,
        };
        if self.flags.custom_targets {
            frame.indications = structure::take_indications(&mut bits, structure.targets()).ok_or(Error::Truncated)?;
        }
        if self.flags.custom_differences {
            frame.differences = take_differences(&mut bits)?;
        }
        if self.flags.custom_chains {
            frame.chains = structure::take_chains(&mut bits, structure.chains(), 8).ok_or(Error::Truncated)?;
        }
        Ok(frame)
    }

    fn behind_flags(&self) -> Result<Bits<impl Iterator<Item = u8> + use<'a>>, Error> {
        let mut bits = Bits::new(self.bytes.iter().copied());
        if !self.bytes.is_empty() {
            bits.skip(5).ok_or(Error::Truncated)?;
        }
        Ok(bits)
    }
}

impl Frame {
    /// What the frame is for decode target `target`, 0 to 31.
    pub fn indication(&self, target: u8) -> Indication {
        Indication::of(self.indications, target)
    }

    /// Two bits for each decode target, the first one lowest; zero is not present.
    pub fn indications(&self) -> u64 {
        self.indications
    }
}

impl Indication {
    /// Those that the indication of one target takes.
    pub const ALL_BITS: u64 = 0x03;

    fn of(packed: u64, target: u8) -> Self {
        match packed.checked_shr(u32::from(target) * 2).unwrap_or(0) & 0x03 {
            0 => Self::NotPresent,
            1 => Self::Discardable,
            2 => Self::Switch,
            _ => Self::Required,
        }
    }
}

/// Differences less one in 4, 8 or 12 bits each, told by two bits in front; 0 ends them.
fn take_differences<I: Iterator<Item = u8>>(bits: &mut Bits<I>) -> Result<Differences, Error> {
    let mut differences = Differences::default();
    loop {
        let size = bits.number(2).ok_or(Error::Truncated)?;
        if size == 0 {
            return Ok(differences);
        }
        let difference = bits.number(size * 4).ok_or(Error::Truncated)? as u16 + 1;
        if !differences.push(difference) {
            return Err(Error::References);
        }
    }
}

#[cfg(test)]
mod tests;
