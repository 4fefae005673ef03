//! Writing of descriptors: whole ones, and changes of those that are passed on.

use super::structure::{MAX_CHAINS, MAX_TARGETS, Structure, Template};
use super::{Frame, MANDATORY, MAX_TEMPLATES};
use crate::bits::{BitWriter, Bits};
use crate::cursor::BufferFull;

/// A descriptor to be written. Lists that are `None` are as in the template.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written<'a> {
    pub start: bool,
    pub end: bool,
    pub template_id: u8,
    pub frame_number: u16,
    /// To be told with this frame.
    pub structure: Option<&'a Structure>,
    pub active_targets: Option<u32>,
    /// Two bits for each decode target, the first one lowest.
    pub indications: Option<u64>,
    pub differences: Option<&'a [u16]>,
    pub chains: Option<&'a [u8]>,
}

/// What a structure is made of.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Id of the first template.
    pub offset: u8,
    pub targets: u8,
    /// In the order of their layers (appendix A.8.3.1): spatial, then temporal.
    pub templates: &'a [Template],
    pub chains: u8,
    /// Chain that protects each target.
    pub protecting: &'a [u8],
    /// Width and height of each spatial layer; empty when they are not to be told.
    pub sizes: &'a [(u16, u16)],
}

impl Structure {
    /// `None` when there is more of anything than a descriptor can say.
    pub fn new(layout: &Layout<'_>) -> Option<Self> {
        let top = layout.templates.last()?.spatial;
        let mut structure = Self {
            offset: layout.offset % MAX_TEMPLATES,
            count: u8::try_from(layout.templates.len()).ok()?,
            templates: [Template::default(); MAX_TEMPLATES as usize],
            targets: layout.targets,
            chains: layout.chains,
            protecting: [0; MAX_TARGETS],
            sizes: None,
            spatial_layers: top + 1,
        };
        let fits = (1..=MAX_TARGETS).contains(&usize::from(layout.targets)) && usize::from(layout.chains) <= MAX_CHAINS;
        let templates = structure.templates.get_mut(..layout.templates.len())?;
        templates.copy_from_slice(layout.templates);
        structure
            .protecting
            .get_mut(..layout.protecting.len())?
            .copy_from_slice(layout.protecting);
        if !layout.sizes.is_empty() {
            let mut sizes = [(0, 0); 4];
            sizes.get_mut(..layout.sizes.len())?.copy_from_slice(layout.sizes);
            structure.sizes = Some(sizes);
        }
        fits.then_some(structure)
    }

    fn write(&self, bits: &mut BitWriter<'_>) -> Result<(), BufferFull> {
        bits.number(self.offset.into(), 6)?;
        bits.number(u32::from(self.targets) - 1, 5)?;
        let templates = self.templates();
        for (template, next) in templates.iter().zip(templates.iter().skip(1)) {
            let following = match (
                next.spatial - template.spatial,
                next.temporal.wrapping_sub(template.temporal),
            ) {
                (0, 0) => 0,
                (0, _) => 1,
                _ => 2,
            };
            bits.number(following, 2)?;
        }
        bits.number(3, 2)?;
        for template in templates {
            write_indications(bits, template.indications, self.targets)?;
        }
        for template in templates {
            for &difference in template.differences.as_slice() {
                bits.bit(true)?;
                bits.number(u32::from(difference) - 1, 4)?;
            }
            bits.bit(false)?;
        }
        bits.below(self.chains.into(), u32::from(self.targets) + 1)?;
        if self.chains > 0 {
            for &chain in self.protecting.iter().take(usize::from(self.targets)) {
                bits.below(chain.into(), self.chains.into())?;
            }
            for template in templates {
                let chains = template.chains.iter().take(usize::from(self.chains));
                chains.copied().try_for_each(|chain| bits.number(chain.into(), 4))?;
            }
        }
        bits.bit(self.sizes.is_some())?;
        for &(width, height) in self.sizes() {
            bits.number(u32::from(width) - 1, 16)?;
            bits.number(u32::from(height) - 1, 16)?;
        }
        Ok(())
    }
}

impl Written<'_> {
    /// Returns the octets used. `last` is the structure that holds, if none is told here.
    pub fn write(&self, last: &Structure, out: &mut [u8]) -> Result<usize, BufferFull> {
        let structure = self.structure.unwrap_or(last);
        let mut bits = BitWriter::new(out);
        bits.bit(self.start)?;
        bits.bit(self.end)?;
        bits.number(self.template_id.into(), 6)?;
        bits.number(self.frame_number.into(), 16)?;
        let flags = [
            self.structure.is_some(),
            self.active_targets.is_some(),
            self.indications.is_some(),
            self.differences.is_some(),
            self.chains.is_some(),
        ];
        if flags == [false; 5] {
            return Ok(bits.len());
        }
        flags.into_iter().try_for_each(|flag| bits.bit(flag))?;
        if let Some(structure) = self.structure {
            structure.write(&mut bits)?;
        }
        if let Some(mask) = self.active_targets {
            bits.number(mask, structure.targets.into())?;
        }
        if let Some(indications) = self.indications {
            write_indications(&mut bits, indications, structure.targets)?;
        }
        if let Some(differences) = self.differences {
            for &difference in differences {
                let less_one = u32::from(difference) - 1;
                let size = (u32::BITS - less_one.leading_zeros()).div_ceil(4).max(1);
                bits.number(size, 2)?;
                bits.number(less_one, size * 4)?;
            }
            bits.number(0, 2)?;
        }
        if let Some(chains) = self.chains {
            let chains = chains.iter().take(usize::from(structure.chains));
            chains.copied().try_for_each(|chain| bits.number(chain.into(), 8))?;
        }
        Ok(bits.len())
    }
}

fn write_indications(bits: &mut BitWriter<'_>, packed: u64, targets: u8) -> Result<(), BufferFull> {
    (0..u32::from(targets)).try_for_each(|target| bits.number((packed >> (target * 2)) as u32, 2))
}

/// Copies a descriptor with another frame number and, if given, these active targets. `frame` is what it was read as.
/// Returns the octets used: at most five more than it had.
pub fn rewrite(
    value: &[u8],
    frame: &Frame,
    frame_number: u16,
    active_targets: Option<u32>,
    out: &mut [u8],
) -> Result<usize, BufferFull> {
    let Some(targets) = active_targets else {
        return renumber(value, frame_number, out);
    };
    let mask = frame.mask;
    let mut from = Bits::new(value.iter().copied());
    let mut to = BitWriter::new(out);
    // The flag of the active targets is the second one.
    let flag = MANDATORY * 8 + 1;
    for at in 0..usize::from(mask.at) {
        let bit = from.bit().unwrap_or(false);
        to.bit(bit || at == flag)?;
    }
    to.number(targets, mask.width.into())?;
    if mask.present {
        from.skip(mask.width.into());
    }
    while let Some(bit) = from.bit() {
        to.bit(bit)?;
    }
    let len = to.len();
    set_number(frame_number, out);
    Ok(len)
}

/// Copies a descriptor with another frame number.
pub fn renumber(value: &[u8], frame_number: u16, out: &mut [u8]) -> Result<usize, BufferFull> {
    out.get_mut(..value.len()).ok_or(BufferFull)?.copy_from_slice(value);
    set_number(frame_number, out);
    Ok(value.len())
}

fn set_number(frame_number: u16, out: &mut [u8]) {
    if let Some(place) = out.get_mut(1..MANDATORY) {
        place.copy_from_slice(&frame_number.to_be_bytes());
    }
}
