//! RTP as clients send and receive it, and the header extensions that all of them negotiate.

use pysfu_engine::command::ExtensionIds;

pub(crate) use crate::packets::{AUDIO_LEVEL, MID, REPAIRED_RID, RID, Rtp, TRANSPORT_CC};

pub(crate) const DEPENDENCY: u8 = 6;

pub(crate) fn extension_ids() -> ExtensionIds {
    ExtensionIds {
        mid: Some(MID),
        rid: Some(RID),
        repaired_rid: Some(REPAIRED_RID),
        audio_level: Some(AUDIO_LEVEL),
        transport_cc: Some(TRANSPORT_CC),
        dependency_descriptor: Some(DEPENDENCY),
        ..ExtensionIds::default()
    }
}
