//! A model of a decoder: what it got must be decodable, and what it waits for must come.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use wire::dependency::{Descriptor, Structure};
use wire::{vp8, vp9};

use super::encoder::{Between, Encoder, Told, is_in, read_tag};
use crate::media::Rtp;

/// The frames received of one picture.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shown {
    pub(crate) picture: u32,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    /// When its last packet came, milliseconds.
    pub(crate) at: u64,
}

/// Checks everything received, in the order of numbers. `lost`: packets (of frame, with index) that never reached the
/// engine. Returns the pictures in their order.
pub(crate) fn check(encoder: &Encoder, received: &[(u64, Rtp)], lost: &HashSet<(u32, u8)>) -> Vec<Shown> {
    check_but(encoder, received, lost, 0..0)
}

/// The same, while pictures sent at these times may lack what the dependency descriptor says to be active, milliseconds.
pub(crate) fn check_but(
    encoder: &Encoder,
    received: &[(u64, Rtp)],
    lost: &HashSet<(u32, u8)>,
    untold: Range<u64>,
) -> Vec<Shown> {
    let mut sorted: BTreeMap<u64, &(u64, Rtp)> = BTreeMap::new();
    let mut index = u64::from(received[0].1.seq) + (1 << 16);
    for entry in received
        .iter()
        .filter(|(_, packet)| packet.payload_type == super::VIDEO)
    {
        index = wire::seq::extend(index, entry.1.seq);
        let twice = sorted.insert(index, entry).is_some();
        assert!(!twice, "{index} twice");
    }
    let (first, last) = (sorted.keys().next().unwrap(), sorted.keys().next_back().unwrap());
    let holes = last - first + 1 - sorted.len() as u64;
    let missing = sorted
        .keys()
        .zip(sorted.keys().skip(1))
        .filter(|(this, next)| **next != **this + 1);
    let missing: Vec<_> = missing.collect();
    assert!(
        holes <= lost.len() as u64,
        "{missing:?} of {first} to {last}, {} lost",
        lost.len()
    );
    let media: Vec<_> = sorted
        .values()
        .filter(|(_, packet)| !packet.payload.is_empty())
        .collect();
    let whole = whole_frames(encoder, &media, lost);
    check_references(encoder, &whole, lost);
    check_markers(encoder, &media, lost);
    match encoder.mode.told {
        Told::Dependency => {
            let within = media.iter().filter(|(at, _)| untold.contains(at));
            let pictures = within.map(|(_, packet)| encoder.frames[&read_tag(&packet.payload).0].picture);
            check_descriptors(encoder, &media, (&whole, &pictures.collect()), lost);
        }
        Told::Vp8 => check_vp8(&media),
        _ => check_picture_ids(encoder, &media),
    }
    pictures(encoder, &media)
}

/// Frames of which everything came, or only what was lost before did not. No others are begun.
fn whole_frames(encoder: &Encoder, media: &[&&(u64, Rtp)], lost: &HashSet<(u32, u8)>) -> HashSet<u32> {
    let mut packets: HashMap<u32, (HashSet<u8>, u8)> = HashMap::new();
    for (_, packet) in media {
        let (frame, index, count) = read_tag(&packet.payload);
        let entry = packets.entry(frame).or_insert((HashSet::new(), count));
        assert!(entry.0.insert(index), "packet {index} of {frame} twice");
    }
    let newest = media.last().map(|(_, packet)| read_tag(&packet.payload).0).unwrap();
    for (frame, (got, count)) in &packets {
        let missing = (0..*count).find(|index| !got.contains(index) && !lost.contains(&(*frame, *index)));
        assert!(
            missing.is_none() || *frame >= newest,
            "{:?} lacks {missing:?}",
            encoder.frames[frame]
        );
    }
    packets.into_keys().collect()
}

/// What a frame refers to was forwarded, unless it was lost before or refers to such.
fn check_references(encoder: &Encoder, got: &HashSet<u32>, lost: &HashSet<(u32, u8)>) {
    let lost: HashSet<_> = lost.iter().map(|(frame, _)| *frame).collect();
    let mut frames: Vec<_> = got.iter().collect();
    frames.sort();
    for frame in frames {
        let frame = &encoder.frames[frame];
        for reference in &frame.references {
            assert!(
                got.contains(reference) || lost.contains(reference),
                "{frame:?} refers to {:?}, which was dropped",
                encoder.frames[reference]
            );
        }
    }
}

/// The last packet of a picture is marked and no other.
fn check_markers(encoder: &Encoder, media: &[&&(u64, Rtp)], lost: &HashSet<(u32, u8)>) {
    let picture = |packet: &Rtp| encoder.frames[&read_tag(&packet.payload).0].picture;
    let torn: HashSet<_> = lost.iter().map(|(frame, _)| encoder.frames[frame].picture).collect();
    for pair in media.windows(2) {
        let (this, next) = (&pair[0].1, &pair[1].1);
        let ends = picture(this) != picture(next);
        let frame = &encoder.frames[&read_tag(&this.payload).0];
        // Of independent layers the lower one goes ahead in a keyframe, in case that the wanted one does not come.
        let goes_ahead = encoder.mode.between == Between::Never && frame.key;
        // Of the first picture, packets may have come before the structure that tells what they are.
        let first = encoder.mode.told == Told::Dependency && frame.picture == picture(&media[0].1);
        if !torn.contains(&frame.picture) && !goes_ahead && !first {
            assert_eq!(this.marker, ends, "{frame:?}");
        }
        assert!(picture(this) <= picture(next));
        assert_eq!(this.timestamp != next.timestamp, ends);
    }
}

/// Picture ids go up, by one where nothing was dropped late.
fn check_vp8(media: &[&&(u64, Rtp)]) {
    let ids = media.iter().map(|(_, packet)| {
        let descriptor = vp8::Descriptor::parse(&packet.payload).unwrap();
        (packet.timestamp, descriptor.picture_id.unwrap().value)
    });
    let ids: Vec<_> = ids.collect();
    let steps = ids.windows(2).filter(|pair| pair[0].0 != pair[1].0);
    let steps: Vec<_> = steps.map(|pair| pair[1].1.wrapping_sub(pair[0].1) & 0x7fff).collect();
    assert!(steps.iter().all(|step| (1..8).contains(step)), "{steps:?}");
    let gaps = steps.iter().filter(|step| **step != 1).count();
    assert!(gaps * 20 <= steps.len(), "{gaps} gaps of {}", steps.len());
}

/// Picture ids keep their distances; nothing else of the descriptor is changed.
fn check_picture_ids(encoder: &Encoder, media: &[&&(u64, Rtp)]) {
    let mut offsets = HashSet::new();
    for (_, packet) in media {
        let frame = &encoder.frames[&read_tag(&packet.payload).0];
        let descriptor = vp9::Descriptor::parse(&packet.payload).unwrap();
        let id = u32::from(descriptor.picture_id.unwrap().value);
        offsets.insert(id.wrapping_sub(frame.picture) & 0x7fff);
        assert_eq!(
            (descriptor.spatial(), descriptor.temporal()),
            (frame.spatial, frame.temporal)
        );
    }
    assert_eq!(offsets.len(), 1);
}

/// Frame numbers keep their distances, and every decode target that is said to be active is there.
fn check_descriptors(
    encoder: &Encoder,
    media: &[&&(u64, Rtp)],
    (got, untold): (&HashSet<u32>, &HashSet<u32>),
    lost: &HashSet<(u32, u8)>,
) {
    let mut structure: Option<Structure> = None;
    let mut active = 0;
    let mut offsets = HashSet::new();
    let mut by_picture: BTreeMap<u32, u32> = BTreeMap::new();
    // Who lost the packet that told them does not know.
    let torn: HashSet<_> = lost.iter().map(|(frame, _)| encoder.frames[frame].picture).collect();
    for (_, packet) in media {
        let frame = &encoder.frames[&read_tag(&packet.payload).0];
        let value = packet.extension(super::DEPENDENCY).unwrap();
        let descriptor = Descriptor::parse(value).unwrap();
        offsets.insert(descriptor.frame_number.wrapping_sub(frame.id as u16));
        if let Some(told) = descriptor.structure().unwrap() {
            structure = Some(told);
        }
        let read = descriptor.frame(structure.as_ref().unwrap()).unwrap();
        assert_eq!((read.spatial, read.temporal), (frame.spatial, frame.temporal));
        active = read.active_targets.unwrap_or(active);
        by_picture.insert(frame.picture, active);
    }
    assert_eq!(offsets.len(), 1);
    let targets = u32::from(encoder.mode.temporal);
    let newest = *by_picture.keys().next_back().unwrap();
    for frame in encoder.frames.values() {
        // The last picture may be on its way.
        let Some(active) = by_picture.get(&frame.picture).filter(|_| frame.picture < newest) else {
            continue;
        };
        for target in (0..32).filter(|target| active >> target & 1 != 0) {
            let layers = ((target / targets) as u8, (target % targets) as u8);
            if is_in(encoder.mode, frame, layers) && !torn.contains(&frame.picture) && !untold.contains(&frame.picture)
            {
                assert!(got.contains(&frame.id), "{frame:?} is missing of {layers:?}");
            }
        }
    }
}

fn pictures(encoder: &Encoder, media: &[&&(u64, Rtp)]) -> Vec<Shown> {
    let mut shown: Vec<Shown> = Vec::new();
    for (at, packet) in media {
        let frame = &encoder.frames[&read_tag(&packet.payload).0];
        if shown.last().is_none_or(|last| last.picture != frame.picture) {
            shown.push(Shown {
                picture: frame.picture,
                ..Shown::default()
            });
        }
        let last = shown.last_mut().unwrap();
        last.spatial = last.spatial.max(frame.spatial);
        last.temporal = last.temporal.max(frame.temporal);
        last.at = last.at.max(*at);
    }
    shown
}
