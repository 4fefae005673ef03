//! Descriptors written field by field.

use super::*;

/// Octets of fields written as zeros and ones; spaces separate, the end is padded with zeros.
fn octets(fields: &str) -> Vec<u8> {
    let bits: Vec<_> = fields.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    bits.chunks(8)
        .map(|octet| {
            octet
                .iter()
                .enumerate()
                .fold(0, |sum, (at, bit)| sum | (bit - b'0') << (7 - at))
        })
        .collect()
}

/// Three templates: keyframe, lower, upper.
fn structure() -> String {
    let offset_and_targets = "000101 00001";
    let layers = "00 01 11";
    let indications = "10 10  11 10  00 01";
    let differences = "0  1 0011 0  1 0001 0";
    let chains = "10 0000 0001 0010";
    let size = "1 0000001001111111 0000000101100111";
    [offset_and_targets, layers, indications, differences, chains, size].concat()
}

#[test]
fn mandatory_fields() {
    let value = octets("1 0 000110 0000000100000010");
    let found = Descriptor::parse(&value).unwrap();
    assert_eq!(
        (found.start, found.end, found.template_id, found.frame_number),
        (true, false, 6, 0x0102)
    );
    assert!(!found.keyframe() && !found.has_structure());
    assert_eq!(found.structure(), Ok(None));
    for len in 0..3 {
        assert_eq!(Descriptor::parse(&value[..len]), Err(Error::Truncated));
    }
}

/// A structure and frames of its templates; template ids begin at 5.
#[test]
fn structure_and_frames() {
    let value = octets(&["1 1 000101 0000000000000001 1 0 0 0 0", &structure()].concat());
    let keyframe = Descriptor::parse(&value).unwrap();
    assert!(keyframe.keyframe());
    let structure = keyframe.structure().unwrap().unwrap();
    assert_eq!((structure.targets(), structure.chains()), (2, 1));
    let layers: Vec<_> = structure
        .templates()
        .iter()
        .map(|template| (template.spatial, template.temporal))
        .collect();
    assert_eq!(layers, [(0, 0), (0, 0), (0, 1)]);
    assert_eq!(structure.sizes(), [(640, 360)]);
    assert_eq!(
        (structure.target_layers(0), structure.target_layers(1)),
        ((0, 0), (0, 1))
    );

    let frame = keyframe.frame(&structure).unwrap();
    assert_eq!(
        (frame.spatial, frame.temporal, frame.active_targets),
        (0, 0, Some(0b11))
    );
    assert_eq!(
        [0, 1, 2, 31, 255].map(|target| frame.indication(target)),
        [
            Indication::Switch,
            Indication::Switch,
            Indication::NotPresent,
            Indication::NotPresent,
            Indication::NotPresent
        ]
    );

    let value = octets("1 1 000111 0000000000000010");
    let upper = Descriptor::parse(&value).unwrap().frame(&structure).unwrap();
    assert_eq!((upper.spatial, upper.temporal, upper.active_targets), (0, 1, None));
    assert_eq!(
        [0, 1].map(|target| upper.indication(target)),
        [Indication::NotPresent, Indication::Discardable]
    );

    for (id, known) in [
        (4, false),
        (5, true),
        (6, true),
        (7, true),
        (8, false),
        (63, false),
        (0, false),
    ] {
        let value = [id, 0, 3];
        let frame = Descriptor::parse(&value).unwrap().frame(&structure);
        assert_eq!(frame.is_ok(), known, "{id}");
        if !known {
            assert_eq!(frame, Err(Error::Template(id)));
        }
    }
}

#[test]
fn custom_fields() {
    let value = octets(&["1 1 000101 0000000000000001 1 0 0 0 0", &structure()].concat());
    let structure = Descriptor::parse(&value).unwrap().structure().unwrap().unwrap();
    // Active targets, custom indications, a difference of eight bits, one chain.
    let fields = "0 1 000111 0000000000000010  0 1 1 1 1  01  11 00  10 00000001 00  00000101";
    let value = octets(fields);
    let descriptor = Descriptor::parse(&value).unwrap();
    let frame = descriptor.frame(&structure).unwrap();
    assert_eq!((frame.temporal, frame.active_targets), (1, Some(0b01)));
    assert_eq!(
        [0, 1].map(|target| frame.indication(target)),
        [Indication::Required, Indication::NotPresent]
    );
    for len in 4..value.len() {
        let cut = Descriptor::parse(&value[..len]).unwrap();
        assert_eq!(cut.frame(&structure), Err(Error::Truncated), "{len}");
    }
}

#[test]
fn structures_have_limits() {
    let start = "1 1 000000 0000000000000001 1 0 0 0 0  000000 00000";
    for (layers, expected) in [
        // Five spatial layers, nine temporal ones, sixty-five templates.
        ("10 10 10 10 11".to_owned(), Error::Structure),
        ("01".repeat(8) + "11", Error::Structure),
        ("00".repeat(64) + "11", Error::Structure),
        ("10 10 10 11".to_owned(), Error::Truncated),
    ] {
        let value = octets(&[start, &layers].concat());
        let descriptor = Descriptor::parse(&value).unwrap();
        assert_eq!(descriptor.structure(), Err(expected), "{layers}");
    }
    let most = [
        start,
        &"00".repeat(63),
        "11",
        &"00".repeat(64),
        &"0".repeat(64),
        "0",
        "0",
    ]
    .concat();
    let value = octets(&most);
    let structure = Descriptor::parse(&value).unwrap().structure().unwrap().unwrap();
    assert_eq!((structure.templates().len(), structure.all_targets()), (64, 1));
}

#[test]
fn every_cut_and_changed_bit_is_harmless() {
    let value = octets(&["1 1 000101 0000000000000001 1 1 1 1 1", &structure()].concat());
    let whole = octets(&["1 1 000101 0000000000000001 1 0 0 0 0", &structure()].concat());
    let structure = Descriptor::parse(&whole).unwrap().structure().unwrap().unwrap();
    for len in 3..whole.len() - 1 {
        let cut = Descriptor::parse(&whole[..len]).unwrap();
        assert!(cut.structure() == Ok(None) && len == 3 || cut.structure() == Err(Error::Truncated));
    }
    for bit in 0..value.len() * 8 {
        let mut changed = value.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        let descriptor = Descriptor::parse(&changed).unwrap();
        let _ = descriptor.frame(&structure);
        if let Ok(Some(other)) = descriptor.structure() {
            assert!(other.templates().len() <= 64 && (1..=32).contains(&other.targets()));
            let _ = descriptor.frame(&other);
        }
    }
}
