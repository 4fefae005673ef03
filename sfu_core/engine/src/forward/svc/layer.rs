//! Whether a spatial layer is unbroken, when references are not told (non-flexible mode).

const MAX_TEMPORAL: usize = 8;

/// By temporal layer.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Layer {
    /// A frame that refers to no earlier picture was forwarded.
    begun: bool,
    /// Number of the newest picture of which the frame was dropped; 0: none.
    dropped: [u64; MAX_TEMPORAL],
    /// Number of the first forwarded picture behind it with the U bit and of a lower temporal layer, and of the last.
    up: [u64; MAX_TEMPORAL],
    newest_up: [u64; MAX_TEMPORAL],
}

impl Layer {
    /// With the picture of this number. What was dropped behind it stays dropped.
    pub(super) fn begin(&mut self, number: u64) {
        self.begun = true;
        for dropped in self.dropped.iter_mut().filter(|dropped| **dropped < number) {
            *dropped = 0;
        }
    }

    /// Nothing of it can be decoded until it begins.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    pub(super) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(super) fn on_drop(&mut self, number: u64, temporal: u8) {
        let temporal = usize::from(temporal) % MAX_TEMPORAL;
        let dropped = &mut self.dropped[temporal];
        *dropped = number.max(*dropped);
        if self.up[temporal] <= *dropped {
            self.up[temporal] = self.newest_up[temporal];
        }
    }

    pub(super) fn on_switching_up(&mut self, number: u64, temporal: u8) {
        let higher = usize::from(temporal) % MAX_TEMPORAL + 1;
        for newest in self.newest_up.iter_mut().skip(higher) {
            *newest = number.max(*newest);
        }
        for (dropped, up) in self.dropped.iter().zip(&mut self.up).skip(higher) {
            if number > *dropped && (*up <= *dropped || number < *up) {
                *up = number;
            }
        }
    }

    /// The lowest temporal layer was forwarded since it began.
    pub(super) fn is_whole(&self) -> bool {
        self.begun && self.dropped[0] == 0
    }

    /// Nothing that a frame of this temporal layer may refer to was dropped. After a picture with the U bit, those of
    /// higher temporal layers depend on nothing of them before it (RFC 9628 section 4.2).
    pub(super) fn is_unbroken(&self, number: u64, temporal: u8) -> bool {
        let temporal = usize::from(temporal) % MAX_TEMPORAL;
        let mut layers = self.dropped.iter().zip(&self.up).take(temporal + 1);
        self.begun && layers.all(|(&dropped, &up)| dropped == 0 || dropped > number || (dropped < up && up < number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_layer_is_unbroken_behind_a_switching_up_point() {
        let mut layer = Layer::default();
        assert!(!layer.is_unbroken(9, 0) && !layer.is_whole());
        layer.begin(9);
        assert!(layer.is_unbroken(10, 2) && layer.is_whole());
        layer.on_drop(11, 1);
        layer.on_drop(12, 2);
        let unbroken = |layer: &Layer, number| [0, 1, 2].map(|temporal| layer.is_unbroken(number, temporal));
        assert_eq!(unbroken(&layer, 13), [true, false, false]);
        assert_eq!(unbroken(&layer, 11), [true, false, false]);
        // Of the layer itself, and before what was dropped, it says nothing.
        layer.on_switching_up(13, 1);
        layer.on_switching_up(10, 0);
        assert_eq!(unbroken(&layer, 14), [true, false, false]);
        layer.on_switching_up(14, 0);
        assert_eq!(unbroken(&layer, 14), [true, false, false]);
        assert_eq!(unbroken(&layer, 15), [true, true, true]);
        layer.on_drop(15, 2);
        assert_eq!(unbroken(&layer, 16), [true, true, false]);
        layer.on_switching_up(17, 1);
        assert_eq!(unbroken(&layer, 18), [true, true, true]);
        layer.on_drop(18, 0);
        layer.on_switching_up(19, 0);
        assert_eq!(unbroken(&layer, 20), [false, false, false]);
        assert!(!layer.is_whole());
    }
}
