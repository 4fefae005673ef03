//! Dependency descriptors as they are forwarded: other frame numbers, other active decode targets.

use wire::dependency;

use super::sent::Told;
use crate::packet::Packet;

/// What an element of a header extension can hold (RFC 8285 section 4.3).
pub(super) const MAX_DESCRIPTOR: usize = 255;

/// Empty when it cannot be written.
#[inline(never)]
pub(super) fn write<'r>(packet: &Packet, told: Told, room: &'r mut [u8; MAX_DESCRIPTOR]) -> &'r [u8] {
    let value = packet.dependency();
    let frame = packet
        .facts
        .dependency
        .as_ref()
        .and_then(|dependency| dependency.frame.as_ref());
    let rewritten = match frame {
        Some(frame) if told.targets > 0 => {
            dependency::rewrite(value, frame, told.frame_number, Some(told.targets), room).ok()
        }
        _ => None,
    };
    // Without room for the targets it still says what the frame is.
    let len = rewritten.or_else(|| dependency::renumber(value, told.frame_number, room).ok());
    room.get(..len.unwrap_or(0)).unwrap_or_default()
}
