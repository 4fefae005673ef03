//! Where else a track is: at a neighbour, who has it from here.

use crate::allocate::LayerId;
use crate::crossing::Neighbour;
use crate::forward::thinning::Thinning;

pub(crate) struct Mirror {
    pub(crate) to: Neighbour,
    /// The highest layer of use to somebody there; `None` before that was told.
    pub(crate) wants: Option<Option<LayerId>>,
    /// Over a link whose other end knows what is left out.
    pub(crate) thinning: Option<Thinning>,
}

impl Mirror {
    pub(crate) fn new(to: Neighbour) -> Self {
        Self {
            to,
            wants: None,
            thinning: None,
        }
    }
}
