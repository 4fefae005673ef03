//! The decode targets of a structure: which layers they have, which are sent, which are part of which.

use std::sync::Arc;

use wire::dependency::{Indication, Structure};

use super::super::filter::Limit;

const MAX_TARGETS: usize = 32;

#[derive(Debug, Default)]
pub(super) struct Targets {
    structure: Option<Arc<Structure>>,
    /// Highest spatial and temporal layer of each.
    layers: [(u8, u8); MAX_TARGETS],
    count: u8,
    active: u32,
}

impl Targets {
    pub(super) fn is_empty(&self) -> bool {
        self.structure.is_none()
    }

    /// False when it is the one that was known.
    pub(super) fn set_structure(&mut self, structure: &Arc<Structure>) -> bool {
        let known = self.structure.as_ref();
        if known.is_some_and(|known| Arc::ptr_eq(known, structure) || known == structure) {
            return false;
        }
        self.count = structure.targets();
        for (target, layers) in (0..self.count).zip(&mut self.layers) {
            *layers = structure.target_layers(target);
        }
        self.active = structure.all_targets();
        self.structure = Some(Arc::clone(structure));
        true
    }

    pub(super) fn set_active(&mut self, active: u32) {
        self.active = active;
    }

    pub(super) fn layers(&self, target: u8) -> (u8, u8) {
        self.layers.get(usize::from(target)).copied().unwrap_or_default()
    }

    /// Highest spatial layer of all that are active.
    pub(super) fn top(&self) -> u8 {
        self.active().map(|target| self.layers(target).0).max().unwrap_or(0)
    }

    pub(super) fn chain(&self, target: u8) -> Option<u8> {
        self.structure.as_ref()?.chain(target)
    }

    /// The highest active one within the limit; without any the lowest. Spatial layers above `top` do not come.
    pub(super) fn best(&self, limit: Limit, top: u8) -> Option<u8> {
        let within = self.by_preference(limit, top).next();
        within.or_else(|| self.active().min_by_key(|&target| self.layers(target)))
    }

    /// Active ones within the limit, the highest first.
    pub(super) fn by_preference(&self, limit: Limit, top: u8) -> impl Iterator<Item = u8> {
        let key = move |target: u8| {
            let (spatial, temporal) = self.layers(target);
            let within = spatial <= limit.spatial.min(top) && temporal <= limit.temporal;
            within.then_some(((spatial, temporal), target))
        };
        let next = move |below: Option<((u8, u8), u8)>| {
            let keys = self.active().filter_map(key);
            keys.filter(|&key| below.is_none_or(|below| key < below)).max()
        };
        std::iter::successors(next(None), move |&last| next(Some(last))).map(|(_, target)| target)
    }

    /// Every frame of `target` is one of `of`, too.
    pub(super) fn is_part(&self, target: u8, of: u8) -> bool {
        let absent = |indication| indication == Indication::NotPresent;
        self.structure.as_ref().is_some_and(|structure| {
            let mut templates = structure.templates().iter();
            templates.all(|template| absent(template.indication(target)) || !absent(template.indication(of)))
        })
    }

    /// Bit n: target n is part of it.
    pub(super) fn complete(&self, of: u8) -> u32 {
        let parts = (0..self.count).filter(|&target| self.is_part(target, of));
        parts.fold(0, |mask, target| mask | 1 << target)
    }

    fn active(&self) -> impl Iterator<Item = u8> {
        (0..self.count).filter(|target| self.active >> target & 1 != 0)
    }
}
