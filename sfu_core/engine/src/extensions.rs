//! Header extensions of a received packet, by the ids negotiated with its sender.

use wire::ext;
use wire::rtp::Header;

use crate::command::ExtensionIds;
use crate::packet::{AbsCaptureTime, Carried};

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Meaning {
    #[default]
    None,
    Mid,
    Rid,
    RepairedRid,
    AudioLevel,
    TransportCc,
    AbsCaptureTime,
    DependencyDescriptor,
    VideoOrientation,
    PlayoutDelay,
}

/// What each id means: one look-up per element instead of a search.
pub(crate) struct ExtensionTable([Meaning; 256]);

/// The elements of one packet that are of use here.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Extensions<'a> {
    pub(crate) mid: Option<&'a [u8]>,
    pub(crate) rid: Option<&'a [u8]>,
    pub(crate) repaired_rid: Option<&'a [u8]>,
    pub(crate) transport_cc: Option<u16>,
    pub(crate) dependency: &'a [u8],
    pub(crate) carried: Carried,
}

impl Default for ExtensionTable {
    fn default() -> Self {
        Self([Meaning::None; 256])
    }
}

impl ExtensionTable {
    pub(crate) fn new(ids: &ExtensionIds) -> Self {
        let mut table = Self::default();
        for (id, meaning) in [
            (ids.mid, Meaning::Mid),
            (ids.rid, Meaning::Rid),
            (ids.repaired_rid, Meaning::RepairedRid),
            (ids.audio_level, Meaning::AudioLevel),
            (ids.transport_cc, Meaning::TransportCc),
            (ids.abs_capture_time, Meaning::AbsCaptureTime),
            (ids.dependency_descriptor, Meaning::DependencyDescriptor),
            (ids.video_orientation, Meaning::VideoOrientation),
            (ids.playout_delay, Meaning::PlayoutDelay),
        ] {
            if let Some(id) = id {
                table.0[usize::from(id)] = meaning;
            }
        }
        table
    }

    pub(crate) fn read<'a>(&self, header: &Header, packet: &'a [u8]) -> Extensions<'a> {
        let mut found = Extensions::default();
        for (id, value) in header.extensions(packet) {
            match self.0[usize::from(id)] {
                Meaning::None => {}
                Meaning::Mid => found.mid = Some(value),
                Meaning::Rid => found.rid = Some(value),
                Meaning::RepairedRid => found.repaired_rid = Some(value),
                Meaning::TransportCc => found.transport_cc = ext::transport_sequence(value),
                Meaning::DependencyDescriptor => found.dependency = value,
                Meaning::AudioLevel => found.carried.audio_level = value.first().copied(),
                Meaning::AbsCaptureTime => found.carried.abs_capture_time = AbsCaptureTime::new(value),
                Meaning::VideoOrientation => found.carried.video_orientation = value.first().copied(),
                Meaning::PlayoutDelay => found.carried.playout_delay = value.try_into().ok(),
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_by_negotiated_id() {
        let ids = ExtensionIds {
            mid: Some(4),
            transport_cc: Some(3),
            audio_level: Some(1),
            playout_delay: Some(200),
            ..ExtensionIds::default()
        };
        let table = ExtensionTable::new(&ids);
        let mut packet = [0; 64];
        let mut len = wire::rtp::write_header(&mut packet, false, 96, 1, 2, 3, true).unwrap();
        let mut writer = ext::Writer::new(&mut packet[len..], ext::Form::TwoByte);
        for (id, value) in [
            (1, &[0x85][..]),
            (3, &[1, 2]),
            (4, b"7"),
            (5, b"not negotiated"),
            (200, &[1, 2, 3]),
        ] {
            writer.put(id, value).unwrap();
        }
        len += writer.finish().unwrap();
        let packet = &packet[..len];
        let found = table.read(&Header::parse(packet).unwrap(), packet);
        assert_eq!(
            (found.mid, found.rid, found.transport_cc),
            (Some(&b"7"[..]), None, Some(0x0102))
        );
        assert_eq!(
            (found.carried.audio_level, found.carried.playout_delay),
            (Some(0x85), Some([1, 2, 3]))
        );
    }
}
