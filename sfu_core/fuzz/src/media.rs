//! Payload formats.

use wire::{av1, dependency, h264, red, vp8, vp9};

pub(crate) fn vp8(data: &[u8]) {
    let Ok(found) = vp8::Descriptor::parse(data) else {
        return;
    };
    assert!((1..=data.len()).contains(&found.len) && found.len <= 6);
    assert!(found.resolution.is_none() || found.keyframe);
    assert!(!found.keyframe || found.frame_start());
    // Rewriting changes these two values and nothing else.
    let mut payload = data.to_vec();
    let mut expected = found;
    if let Some(id) = &mut expected.picture_id {
        let mask = if id.long { 0x7fff } else { 0x7f };
        let value = !id.value & mask;
        id.rewrite(&mut payload, value);
        id.value = value;
    }
    if let Some(index) = &mut expected.tl0_pic_idx {
        index.rewrite(&mut payload, !index.value);
        index.value = !index.value;
    }
    assert_eq!(vp8::Descriptor::parse(&payload), Ok(expected));
    assert_eq!(payload[found.len..], data[found.len..]);
}

pub(crate) fn vp9(data: &[u8]) {
    let Ok(found) = vp9::Descriptor::parse(data) else {
        return;
    };
    assert!((1..=data.len()).contains(&found.len));
    assert!(found.temporal() < 8 && found.spatial() < 8);
    assert!(!found.keyframe() || found.start);
    if let Some(structure) = found.structure {
        assert!((1..=8).contains(&structure.spatial_layers));
        assert!(structure.sizes().is_empty() || structure.sizes().len() == usize::from(structure.spatial_layers));
    }
}

pub(crate) fn h264(data: &[u8]) {
    let Ok(found) = h264::Payload::parse(data) else { return };
    let octets: usize = found.nals().map(|nal| 1 + nal.data.len()).sum();
    assert!(octets <= data.len());
    assert!(found.resolution().is_none() || found.keyframe());
}

pub(crate) fn av1(data: &[u8]) {
    let Ok(found) = av1::Payload::parse(data) else { return };
    let octets: usize = found.obus().map(|obu| 1 + obu.data.len()).sum();
    assert!(octets <= data.len());
    assert!(found.obus().all(|obu| obu.temporal < 8 && obu.spatial < 4));
    assert!(found.resolution().is_none() || found.keyframe());
}

/// The first octet divides the input: a descriptor that may bring a structure, then one that needs it.
pub(crate) fn dependency(data: &[u8]) {
    let Some((&at, data)) = data.split_first() else { return };
    let (first, second) = data.split_at(usize::from(at).min(data.len()));
    let Ok(descriptor) = dependency::Descriptor::parse(first) else {
        return;
    };
    assert_eq!(descriptor.keyframe(), descriptor.start && descriptor.has_structure());
    let Ok(Some(structure)) = descriptor.structure() else {
        return;
    };
    assert!((1..=64).contains(&structure.templates().len()));
    assert!((1..=32).contains(&structure.targets()) && structure.chains() <= structure.targets());
    for target in 0..=255 {
        let (spatial, temporal) = structure.target_layers(target);
        assert!(spatial < 4 && temporal < 8);
    }
    for value in [first, second] {
        let Ok(descriptor) = dependency::Descriptor::parse(value) else {
            continue;
        };
        if let Ok(frame) = descriptor.frame(&structure) {
            let own = descriptor.structure().unwrap();
            let all = own.unwrap_or(structure).all_targets();
            assert!(frame.spatial < 4 && frame.temporal < 8);
            assert!(frame.active_targets.is_none_or(|targets| targets & !all == 0));
            dependency_rewritten(&descriptor, value, &structure, &frame, all);
        }
    }
}

/// Another number and other active targets change nothing else.
fn dependency_rewritten(
    descriptor: &dependency::Descriptor<'_>,
    value: &[u8],
    structure: &dependency::Structure,
    frame: &dependency::Frame,
    all: u32,
) {
    let number = !descriptor.frame_number;
    for targets in [None, Some(all), Some(all & 0x5555_5555)] {
        let mut out = vec![0xff; value.len() + 5];
        let len = dependency::rewrite(value, frame, number, targets, &mut out).unwrap();
        let read = dependency::Descriptor::parse(&out[..len]).unwrap();
        assert_eq!((read.frame_number, read.template_id), (number, descriptor.template_id));
        assert_eq!(read.structure(), descriptor.structure());
        let again = read.frame(structure).unwrap();
        assert_eq!(again.active_targets, targets.or(frame.active_targets));
        assert_eq!(
            (again.indications(), again.differences, again.chains),
            (frame.indications(), frame.differences, frame.chains)
        );
    }
}

pub(crate) fn red(data: &[u8]) {
    let Ok(found) = red::Redundant::parse(data) else { return };
    let octets: usize = found.blocks().map(|block| 4 + block.data.len()).sum();
    assert_eq!(octets + 1 + found.primary.data.len(), data.len());
    // Nothing is lost in writing it again.
    let blocks: Vec<_> = found.blocks().collect();
    let mut out = vec![0; data.len()];
    assert_eq!(red::write(&mut out, found.primary, &blocks), Ok(data.len()));
    assert_eq!(out, data);
}
