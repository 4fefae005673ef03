//! RTP header and header extensions of outgoing packets. Nearly all of it is the same from packet to packet of a stream:
//! it is made once and then patched at offsets that are known.

use wire::ext::{Form, Writer};
use wire::rtp;

use super::egress::Head;
use crate::command::ExtensionIds;
use crate::packet::{Carried, Packet};

/// Longer headers are made anew for each packet.
const MAX_TEMPLATE: usize = 48;

/// What fills the extensions.
pub(super) struct Values<'a> {
    pub(super) ids: &'a ExtensionIds,
    pub(super) mid: &'a str,
    pub(super) transport_sequence: u16,
    /// As in abs-send-time.
    pub(super) send_time: [u8; 3],
    /// Bytes that the extension may take.
    pub(super) room: usize,
}

/// The header of one stream. Default: none yet. To be dropped when the ids change.
#[derive(Clone, Debug)]
pub(super) struct HeaderTemplate {
    bytes: [u8; MAX_TEMPLATE],
    /// 0: there is none.
    len: u8,
    at: Places,
}

/// Where in the header the changing values are; 0: absent.
#[derive(Clone, Copy, Debug, Default)]
struct Places {
    transport_sequence: u8,
    send_time: u8,
    audio_level: u8,
}

impl Default for HeaderTemplate {
    fn default() -> Self {
        Self {
            bytes: [0; MAX_TEMPLATE],
            len: 0,
            at: Places::default(),
        }
    }
}

impl HeaderTemplate {
    /// Writes the header to the front of `out` and returns its length.
    #[inline]
    pub(super) fn write(
        &mut self,
        out: &mut [u8],
        head: &Head<'_>,
        values: &Values<'_>,
        packet: &Packet,
    ) -> Option<usize> {
        if let Some(len) = self.patch(out, head, values, packet) {
            return Some(len);
        }
        let (len, complete) = make(out, head, values, packet)?;
        if let Some(at) = complete
            && is_plain(packet, head)
            && len <= MAX_TEMPLATE
        {
            self.bytes[..len].copy_from_slice(&out[..len]);
            self.len = len as u8;
            self.at = at;
        }
        Some(len)
    }

    /// `None` when this packet's header has another shape.
    #[inline]
    fn patch(&self, out: &mut [u8], head: &Head<'_>, values: &Values<'_>, packet: &Packet) -> Option<usize> {
        let len = usize::from(self.len);
        let fits = len > 0 && len <= rtp::FIXED_HEADER + values.room;
        let level = packet.extensions.audio_level;
        let same = level.is_some() == (self.at.audio_level > 0) || values.ids.audio_level.is_none();
        if !(fits && same && is_plain(packet, head)) {
            return None;
        }
        let header = out.first_chunk_mut::<MAX_TEMPLATE>()?;
        *header = self.bytes;
        header[1] = head.payload_type & 0x7f | u8::from(head.marker) << 7;
        header[2..4].copy_from_slice(&(head.sequence as u16).to_be_bytes());
        header[4..8].copy_from_slice(&head.timestamp.to_be_bytes());
        header[8..12].copy_from_slice(&head.ssrc.to_be_bytes());
        let transport_sequence = values.transport_sequence.to_be_bytes();
        put(header, self.at.transport_sequence, &transport_sequence);
        put(header, self.at.send_time, &values.send_time);
        put(header, self.at.audio_level, level.as_slice());
        Some(len)
    }
}

/// Values that few packets carry are not part of a template.
fn is_plain(packet: &Packet, head: &Head<'_>) -> bool {
    let Carried {
        audio_level: _,
        abs_capture_time: None,
        video_orientation: None,
        playout_delay: None,
    } = packet.extensions
    else {
        return false;
    };
    head.dependency.is_empty()
}

#[inline]
fn put(header: &mut [u8; MAX_TEMPLATE], at: u8, value: &[u8]) {
    let at = usize::from(at);
    if at > 0
        && let Some(place) = header.get_mut(at..at + value.len())
    {
        place.copy_from_slice(value);
    }
}

/// The whole header; of the extensions the indispensable come first, those that do not fit are left out. Returns its
/// length, and where the values are if nothing was left out.
fn make(out: &mut [u8], head: &Head<'_>, values: &Values<'_>, packet: &Packet) -> Option<(usize, Option<Places>)> {
    let ids = values.ids;
    let carried = &packet.extensions;
    let transport_sequence = values.transport_sequence.to_be_bytes();
    let elements: [(Option<u8>, &[u8]); 8] = [
        (ids.mid, values.mid.as_bytes()),
        (ids.transport_cc, &transport_sequence),
        (ids.dependency_descriptor, head.dependency),
        (ids.audio_level, carried.audio_level.as_slice()),
        (ids.video_orientation, carried.video_orientation.as_slice()),
        (ids.abs_send_time, &values.send_time),
        (
            ids.abs_capture_time,
            carried.abs_capture_time.as_ref().map_or(&[], |time| time.bytes()),
        ),
        (
            ids.playout_delay,
            carried.playout_delay.as_ref().map_or(&[], |delay| delay),
        ),
    ];
    let present = || {
        elements
            .iter()
            .filter(|(_, value)| !value.is_empty())
            .filter_map(|&(id, value)| Some((id?, value)))
    };
    let form = match present().all(|(id, value)| Form::OneByte.fits(id, value.len())) {
        true => Form::OneByte,
        false => Form::TwoByte,
    };
    let (fixed, rest) = out.split_at_mut_checked(rtp::FIXED_HEADER)?;
    let room = values.room.min(rest.len());
    let mut writer = Writer::new(&mut rest[..room], form);
    let mut at = Places::default();
    let mut complete = true;
    for (id, value) in present() {
        let Ok(offset) = writer.put(id, value) else {
            complete = false;
            continue;
        };
        let offset = u8::try_from(rtp::FIXED_HEADER + offset).unwrap_or_default();
        match Some(id) {
            id if id == ids.transport_cc => at.transport_sequence = offset,
            id if id == ids.abs_send_time => at.send_time = offset,
            id if id == ids.audio_level => at.audio_level = offset,
            _ => {}
        }
    }
    let extension = match writer.is_empty() {
        true => Ok(0),
        false => writer.finish(),
    };
    complete &= extension.is_ok();
    let extension = extension.unwrap_or(0);
    let sequence = head.sequence as u16;
    let (timestamp, ssrc) = (head.timestamp, head.ssrc);
    rtp::write_header(
        fixed,
        head.marker,
        head.payload_type,
        sequence,
        timestamp,
        ssrc,
        extension > 0,
    )
    .ok()?;
    Some((rtp::FIXED_HEADER + extension, complete.then_some(at)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A template that has seen other packets writes the same header as a new one.
    #[test]
    fn a_patched_header_equals_one_made_anew() {
        let mut state = 7_u64;
        let mut random = |below: u64| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state % below
        };
        for case in 0..40 {
            let mut id = |value: u8| (random(4) > 0).then_some(if case % 5 == 4 { 20 + value } else { value });
            let ids = ExtensionIds {
                mid: id(1),
                rid: None,
                repaired_rid: None,
                audio_level: id(2),
                transport_cc: id(3),
                abs_send_time: id(4),
                abs_capture_time: id(5),
                dependency_descriptor: id(6),
                video_orientation: id(7),
                playout_delay: id(8),
            };
            let mut template = HeaderTemplate::default();
            let mut patched = 0;
            for _ in 0..200 {
                let mut packet = Packet::default();
                packet.extensions.audio_level = (case % 2 == 0 || random(20) == 0).then(|| random(256) as u8);
                packet.extensions.video_orientation = (random(20) == 0).then_some(1);
                if random(20) == 0 {
                    assert!(packet.set_content(b"", &[3; 30]));
                }
                let values = Values {
                    ids: &ids,
                    mid: "12",
                    transport_sequence: random(1 << 16) as u16,
                    send_time: [random(256) as u8, 2, random(256) as u8],
                    room: if random(10) == 0 { random(40) as usize } else { 200 },
                };
                let head = Head {
                    marker: random(2) == 0,
                    payload_type: random(128) as u8,
                    sequence: random(1 << 40),
                    timestamp: random(1 << 32) as u32,
                    ssrc: 99,
                    mid: "12",
                    dependency: packet.dependency(),
                };
                let (mut used, mut fresh) = ([0xaa; 256], [0x55; 256]);
                patched += usize::from(template.patch(&mut [0; 256], &head, &values, &packet).is_some());
                let len = template.write(&mut used, &head, &values, &packet).unwrap();
                assert_eq!(
                    HeaderTemplate::default().write(&mut fresh, &head, &values, &packet),
                    Some(len)
                );
                assert_eq!(used[..len], fresh[..len], "case {case}");
            }
            assert!(patched > 100, "{patched} of 200 patched in case {case}");
        }
    }
}
