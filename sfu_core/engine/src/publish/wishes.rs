//! What the subscribers of a video can use of it, here and on other workers.

use crate::allocate::{Demand, LayerId, highest_wanted, join};

#[derive(Debug, Default)]
pub(crate) struct Wishes {
    /// The highest layer of use to a subscription of this worker.
    here: Option<LayerId>,
    /// The same of all that mirror the track.
    elsewhere: Option<LayerId>,
    /// Somebody wants less than before, or other layers are there: `here` is to be gathered anew.
    stale: bool,
    /// At home: what the publisher was told.
    demand: Demand,
    /// On a mirror of another worker's: what its home was told.
    told: Option<LayerId>,
    /// On one that comes over a link: what the other end was told.
    asked: Option<Option<LayerId>>,
}

impl Wishes {
    /// Those of all subscriptions may be others.
    pub(crate) fn forget(&mut self) {
        self.stale = true;
    }

    pub(crate) fn is_stale(&self) -> bool {
        self.stale
    }

    /// Those of all subscriptions of this worker.
    pub(crate) fn gather(&mut self, wants: impl IntoIterator<Item = Option<LayerId>>) {
        self.stale = false;
        self.here = highest_wanted(wants);
    }

    /// One subscription wants this by now. True when it is more than anybody did: that is told at once, what is less can
    /// wait until all are asked.
    pub(crate) fn add(&mut self, wants: Option<LayerId>) -> bool {
        let here = self.here.into_iter().chain(wants).reduce(join);
        let more = here != self.here;
        self.here = here;
        self.stale |= wants != here;
        more
    }

    /// Those of all mirrors.
    pub(crate) fn gather_elsewhere(&mut self, wants: impl IntoIterator<Item = Option<LayerId>>) {
        self.elsewhere = highest_wanted(wants);
    }

    /// What a publisher is to be told, when it is something new. `now` in microseconds.
    pub(crate) fn poll_publisher(&mut self, now: u64) -> Option<Option<LayerId>> {
        let before = self.demand.needed();
        self.demand = self.demand.after(now, self.wanted());
        let needed = self.demand.needed();
        (needed != before).then_some(needed)
    }

    /// What the other end of a link is to be told, when it is something new.
    pub(crate) fn poll_link(&mut self, now: u64) -> Option<Option<LayerId>> {
        self.demand = self.demand.after(now, self.wanted());
        let needed = self.demand.needed();
        (self.asked.replace(needed) != Some(needed)).then_some(needed)
    }

    /// It comes over a link, and the other end is asked for it anew.
    pub(crate) fn begin_anew(&mut self) {
        self.demand = Demand::none();
        self.asked = None;
    }

    /// The home may not have heard what it was told.
    pub(crate) fn say_again(&mut self) {
        self.told = None;
    }

    /// What the home is to be told, when it is something new. Less waits there.
    pub(crate) fn poll_home(&mut self) -> Option<Option<LayerId>> {
        let wanted = self.wanted();
        (std::mem::replace(&mut self.told, wanted) != wanted).then_some(wanted)
    }

    fn wanted(&self) -> Option<LayerId> {
        highest_wanted([self.here, self.elsewhere])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000;

    fn id(spatial: u8) -> Option<LayerId> {
        Some(LayerId { spatial, temporal: 2 })
    }

    #[test]
    fn more_is_told_at_once_and_less_when_all_were_asked() {
        let mut wishes = Wishes::default();
        assert!(wishes.add(id(1)));
        assert!(!wishes.add(id(0)) && wishes.is_stale());
        assert_eq!((wishes.poll_home(), wishes.poll_home()), (Some(id(1)), None));
        wishes.gather([id(0), None]);
        assert_eq!((wishes.poll_home(), wishes.poll_home()), (Some(id(0)), None));
        wishes.gather([]);
        assert_eq!(wishes.poll_home(), Some(None));
    }

    #[test]
    fn workers_count_together_until_they_leave() {
        let mut wishes = Wishes::default();
        wishes.gather([id(0)]);
        wishes.gather_elsewhere([id(1), id(2)]);
        assert_eq!(wishes.poll_publisher(0), None);
        assert_eq!(wishes.poll_publisher(5 * S), Some(id(2)));
        wishes.gather_elsewhere([id(1), None]);
        assert_eq!(wishes.poll_publisher(6 * S), None);
        assert_eq!(wishes.poll_publisher(11 * S), Some(id(1)));
        wishes.gather_elsewhere([None]);
        assert_eq!(
            (wishes.poll_publisher(12 * S), wishes.poll_publisher(17 * S)),
            (None, Some(id(0)))
        );
    }
}
