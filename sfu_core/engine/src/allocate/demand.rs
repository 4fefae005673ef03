//! What of a track anybody needs, so that its publisher need not encode the rest (dynacast).

use super::LayerId;

/// Microseconds for which a layer is kept although nobody wants it any more. Longer spares encoders from restarts when
/// people scroll; shorter saves uplink sooner.
const LINGER: u64 = 5_000_000;

/// The layer up to which a publisher should send: the highest spatial and the highest temporal one that somebody
/// can use. What lies below is needed, too: to fall back to. `None`: nobody wants any.
pub fn highest_wanted(wants: impl IntoIterator<Item = Option<LayerId>>) -> Option<LayerId> {
    wants.into_iter().flatten().reduce(join)
}

/// Of one track. Rises at once, falls after [`LINGER`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    needed: Option<LayerId>,
    /// The highest wanted since less was wanted than `needed`, and since when: microseconds.
    falling: Option<(Option<LayerId>, u64)>,
}

/// Nobody has told the publisher anything: it sends all that it has.
impl Default for Demand {
    fn default() -> Self {
        Self {
            needed: Some(LayerId::BEST),
            falling: None,
        }
    }
}

impl Demand {
    /// Nothing is wanted yet.
    pub fn none() -> Self {
        Self {
            needed: None,
            falling: None,
        }
    }

    /// What the publisher was told to send.
    pub fn needed(self) -> Option<LayerId> {
        self.needed
    }

    /// With [`highest_wanted`] of all subscribers.
    #[must_use]
    pub fn after(self, now: u64, wanted: Option<LayerId>) -> Self {
        let all = match (self.needed, wanted) {
            (Some(needed), Some(wanted)) => Some(join(needed, wanted)),
            (needed, wanted) => needed.or(wanted),
        };
        if wanted == all {
            return Self {
                needed: all,
                falling: None,
            };
        }
        // More may be wanted than needed in one dimension, and less in the other.
        let (most, since) = self.falling.map_or((wanted, now), |(most, since)| {
            let most = most.into_iter().chain(wanted).reduce(join);
            (most, since)
        });
        if now.saturating_sub(since) < LINGER {
            return Self {
                needed: all,
                falling: Some((most, since)),
            };
        }
        Self {
            needed: most,
            falling: (most != wanted).then_some((wanted, now)),
        }
    }
}

/// The highest of both dimensions.
pub(crate) fn join(a: LayerId, b: LayerId) -> LayerId {
    LayerId {
        spatial: a.spatial.max(b.spatial),
        temporal: a.temporal.max(b.temporal),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn id(spatial: u8, temporal: u8) -> Option<LayerId> {
        Some(LayerId { spatial, temporal })
    }

    #[test]
    fn the_highest_that_anybody_wants() {
        assert_eq!(highest_wanted([]), None);
        assert_eq!(highest_wanted([None, None]), None);
        assert_eq!(highest_wanted([id(0, 2), None, id(1, 1)]), id(1, 2));
    }

    #[test]
    fn demand_rises_at_once_and_falls_late() {
        let table = [
            // (second, wanted, needed)
            (0, id(1, 2), Some(LayerId::BEST)),
            (5, id(1, 2), id(1, 2)),
            (6, id(2, 2), id(2, 2)),
            (7, id(0, 2), id(2, 2)),
            (11, id(1, 2), id(2, 2)),
            // What was wanted meanwhile counts.
            (12, id(0, 2), id(1, 2)),
            (16, id(0, 2), id(1, 2)),
            (17, id(0, 2), id(0, 2)),
            (18, None, id(0, 2)),
            (19, id(0, 2), id(0, 2)),
            (20, None, id(0, 2)),
            (25, None, None),
            (26, id(0, 0), id(0, 0)),
        ];
        let mut demand = Demand::default();
        for (second, wanted, needed) in table {
            demand = demand.after(second * S, wanted);
            assert_eq!(demand.needed(), needed, "at {second} s");
        }
    }
}
