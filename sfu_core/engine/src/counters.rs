//! Why a datagram went no further.

use crate::srtp::SrtpError;
use crate::stats::WorkerRow;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dropped {
    UnknownSource,
    UnknownProtocol,
    Stun,
    SrtpAuth,
    SrtpReplay,
    SrtpEarly,
    Malformed,
    NoRoute,
    Muted,
    Duplicate,
    /// Far from all other numbers of its layer.
    Stray,
    PoolExhausted,
}

impl Dropped {
    pub(crate) fn count(self, row: &mut WorkerRow) {
        let counter = match self {
            Self::UnknownSource => &mut row.dropped_unknown_source,
            Self::UnknownProtocol => &mut row.dropped_unknown_protocol,
            Self::Stun => &mut row.dropped_stun,
            Self::SrtpAuth => &mut row.dropped_srtp_auth,
            Self::SrtpReplay => &mut row.dropped_srtp_replay,
            Self::SrtpEarly => &mut row.dropped_srtp_early,
            Self::Malformed => &mut row.dropped_malformed,
            Self::NoRoute => &mut row.dropped_no_route,
            Self::Muted => &mut row.dropped_muted,
            Self::Duplicate => &mut row.dropped_duplicate,
            Self::Stray => &mut row.dropped_stray,
            Self::PoolExhausted => &mut row.dropped_pool_exhausted,
        };
        *counter += 1;
    }
}

impl From<SrtpError> for Dropped {
    fn from(error: SrtpError) -> Self {
        match error {
            SrtpError::Replay => Self::SrtpReplay,
            SrtpError::Auth => Self::SrtpAuth,
            _ => Self::Malformed,
        }
    }
}

impl From<wire::rtp::Error> for Dropped {
    fn from(_: wire::rtp::Error) -> Self {
        Self::Malformed
    }
}
