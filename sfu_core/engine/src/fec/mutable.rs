//! Header extensions that are written when a packet leaves. They are zero in the parity at both ends, as browsers have it:
//! else a sender would have to know them before.

use std::ops::Range;

use arrayvec::ArrayVec;
use wire::rtp::Header;

use crate::command::ExtensionIds;

/// Where their values are in the packet that `header` was parsed from.
pub(super) fn mutable(packet: &[u8], header: &Header, ids: &ExtensionIds) -> ArrayVec<Range<usize>, 4> {
    let mut places = ArrayVec::new();
    let Some(extension) = header.extension else {
        return places;
    };
    let mut elements = header.extensions(packet);
    while let Some((id, value)) = elements.next() {
        if ids.transport_cc == Some(id) || ids.abs_send_time == Some(id) {
            let end = extension.end - elements.remaining();
            if places.try_push(end - value.len()..end).is_err() {
                break;
            }
        }
    }
    places
}
