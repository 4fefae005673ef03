//! Template dependency structure (AV1 RTP specification appendix A.8.3).

use super::{Error, Indication, MAX_TEMPLATES};
use crate::bits::Bits;

const MAX_SPATIAL: u8 = 4;
const MAX_TEMPORAL: u8 = 8;
pub(super) const MAX_TARGETS: usize = 32;

/// Frames that one frame refers to at most: AV1 has seven references.
const MAX_DIFFERENCES: usize = 8;
/// Chains that are followed; a stream with more has the others unprotected. Senders have one for each spatial layer.
pub const MAX_CHAINS: usize = 8;

/// Kinds of frames that a sender makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Id of the first template.
    pub(super) offset: u8,
    pub(super) count: u8,
    pub(super) templates: [Template; MAX_TEMPLATES as usize],
    pub(super) targets: u8,
    pub(super) chains: u8,
    /// Chain that protects each target.
    pub(super) protecting: [u8; MAX_TARGETS],
    /// Width and height of each spatial layer in pixels, where they are told.
    pub(super) sizes: Option<[(u16, u16); MAX_SPATIAL as usize]>,
    pub(super) spatial_layers: u8,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pub spatial: u8,
    pub temporal: u8,
    /// Two bits for each decode target, the first one lowest.
    pub indications: u64,
    pub differences: Differences,
    /// By chain: frames back to the one before it in the chain; 0: there is none.
    pub chains: [u8; MAX_CHAINS],
}

/// Frames that a frame refers to, as differences of frame numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Differences {
    list: [u16; MAX_DIFFERENCES],
    count: u8,
}

impl Differences {
    /// False when there is no room.
    pub fn push(&mut self, difference: u16) -> bool {
        let place = self.list.get_mut(usize::from(self.count));
        place.is_some_and(|place| {
            *place = difference;
            self.count += 1;
            true
        })
    }

    pub fn as_slice(&self) -> &[u16] {
        self.list.get(..usize::from(self.count)).unwrap_or_default()
    }
}

/// What follows a template (`next_layer_idc`).
#[derive(Clone, Copy)]
enum Following {
    SameLayer,
    TemporalAbove,
    SpatialAbove,
    Nothing,
}

impl Structure {
    /// Number of decode targets, 1 to 32.
    pub fn targets(&self) -> u8 {
        self.targets
    }

    /// Number of chains, of frames that decode targets need without a gap; 0 to 32.
    pub fn chains(&self) -> u8 {
        self.chains
    }

    /// The chain that protects a decode target, if one does and is followed.
    pub fn chain(&self, target: u8) -> Option<u8> {
        let chain = *self.protecting.get(usize::from(target))?;
        (chain < self.chains.min(MAX_CHAINS as u8)).then_some(chain)
    }

    /// In the order of their ids.
    pub fn templates(&self) -> &[Template] {
        self.templates.get(..usize::from(self.count)).unwrap_or_default()
    }

    /// Width and height of each spatial layer from the lowest; empty when they are not told.
    pub fn sizes(&self) -> &[(u16, u16)] {
        let sizes = self.sizes.as_ref().map_or(&[][..], |sizes| sizes);
        sizes.get(..usize::from(self.spatial_layers)).unwrap_or_default()
    }

    /// Spatial and temporal layer that a decode target needs: the highest of the frames in it (appendix A.8.3.2).
    pub fn target_layers(&self, target: u8) -> (u8, u8) {
        self.templates()
            .iter()
            .filter(|template| template.indication(target) != Indication::NotPresent)
            .fold((0, 0), |(spatial, temporal), template| {
                (spatial.max(template.spatial), temporal.max(template.temporal))
            })
    }

    /// Bit n for each decode target n.
    pub fn all_targets(&self) -> u32 {
        // There is at least one.
        u32::MAX >> (32 - u32::from(self.targets))
    }

    pub(super) fn template(&self, id: u8) -> Option<&Template> {
        let index = (id + MAX_TEMPLATES).wrapping_sub(self.offset) % MAX_TEMPLATES;
        self.templates().get(usize::from(index))
    }

    pub(super) fn take<I: Iterator<Item = u8>>(bits: &mut Bits<I>) -> Result<Self, Error> {
        let offset = bits.small(6).ok_or(Error::Truncated)?;
        let targets = bits.small(5).ok_or(Error::Truncated)? + 1;
        let mut structure = Self {
            offset,
            count: 0,
            templates: [Template::default(); MAX_TEMPLATES as usize],
            targets,
            chains: 0,
            protecting: [0; MAX_TARGETS],
            sizes: None,
            spatial_layers: 0,
        };
        structure.take_layers(bits)?;
        structure.take_uses(bits)?;
        structure.take_rest(bits).ok_or(Error::Truncated)?;
        Ok(structure)
    }

    fn take_layers<I: Iterator<Item = u8>>(&mut self, bits: &mut Bits<I>) -> Result<(), Error> {
        let (mut spatial, mut temporal) = (0, 0);
        loop {
            let place = self.templates.get_mut(usize::from(self.count));
            let place = place.ok_or(Error::Structure)?;
            (place.spatial, place.temporal) = (spatial, temporal);
            self.count += 1;
            match Following::from(bits.small(2).ok_or(Error::Truncated)?) {
                Following::SameLayer => {}
                Following::TemporalAbove => temporal += 1,
                Following::SpatialAbove => (spatial, temporal) = (spatial + 1, 0),
                Following::Nothing => break,
            }
            if spatial >= MAX_SPATIAL || temporal >= MAX_TEMPORAL {
                return Err(Error::Structure);
            }
        }
        self.spatial_layers = spatial + 1;
        Ok(())
    }

    fn take_uses<I: Iterator<Item = u8>>(&mut self, bits: &mut Bits<I>) -> Result<(), Error> {
        let count = usize::from(self.count);
        for template in self.templates.iter_mut().take(count) {
            template.indications = take_indications(bits, self.targets).ok_or(Error::Truncated)?;
        }
        for template in self.templates.iter_mut().take(count) {
            // Differences of frame numbers less one, four bits each.
            while bits.bit().ok_or(Error::Truncated)? {
                let difference = bits.number(4).ok_or(Error::Truncated)? as u16 + 1;
                if !template.differences.push(difference) {
                    return Err(Error::References);
                }
            }
        }
        Ok(())
    }

    fn take_rest<I: Iterator<Item = u8>>(&mut self, bits: &mut Bits<I>) -> Option<()> {
        let count = usize::from(self.count);
        self.chains = bits.below(u32::from(self.targets) + 1)? as u8;
        if self.chains > 0 {
            for chain in self.protecting.iter_mut().take(usize::from(self.targets)) {
                *chain = bits.below(u32::from(self.chains))? as u8;
            }
            for template in self.templates.iter_mut().take(count) {
                template.chains = take_chains(bits, self.chains, 4)?;
            }
        }
        if bits.bit()? {
            let mut sizes = [(0, 0); MAX_SPATIAL as usize];
            for size in sizes.iter_mut().take(usize::from(self.spatial_layers)) {
                let mut side = || bits.number(16).map(|less_one| (less_one + 1).min(0xffff) as u16);
                *size = (side()?, side()?);
            }
            self.sizes = Some(sizes);
        }
        Some(())
    }
}

impl Template {
    /// What frames of this template are for decode target `target`, 0 to 31.
    pub fn indication(&self, target: u8) -> Indication {
        Indication::of(self.indications, target)
    }
}

impl From<u8> for Following {
    fn from(code: u8) -> Self {
        match code {
            0 => Self::SameLayer,
            1 => Self::TemporalAbove,
            2 => Self::SpatialAbove,
            _ => Self::Nothing,
        }
    }
}

pub(super) fn take_indications<I: Iterator<Item = u8>>(bits: &mut Bits<I>, targets: u8) -> Option<u64> {
    (0..u32::from(targets)).try_fold(0, |packed, target| {
        Some(packed | u64::from(bits.number(2)?) << (target * 2))
    })
}

/// Differences to the former frames of each chain, of `width` bits.
pub(super) fn take_chains<I: Iterator<Item = u8>>(
    bits: &mut Bits<I>,
    count: u8,
    width: u32,
) -> Option<[u8; MAX_CHAINS]> {
    let mut chains = [0; MAX_CHAINS];
    for chain in 0..usize::from(count) {
        let difference = bits.small(width)?;
        if let Some(place) = chains.get_mut(chain) {
            *place = difference;
        }
    }
    Some(chains)
}
