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

#[test]
fn differences_and_chains() {
    let value = octets(&["1 1 000101 0000000000000001 1 0 0 0 0", &structure()].concat());
    let structure = Descriptor::parse(&value).unwrap().structure().unwrap().unwrap();
    let told: Vec<_> = structure
        .templates()
        .iter()
        .map(|template| (template.differences.as_slice(), template.chains[0]))
        .collect();
    assert_eq!(told, [(&[][..], 0), (&[4], 1), (&[2], 2)]);
    assert_eq!(
        [0, 1, 2, 40].map(|target| structure.chain(target)),
        [Some(0), Some(0), Some(0), None]
    );
    let custom = octets("0 1 000111 0000000000000010  0 0 0 1 1  10 00000001 01 1111 00  00000101");
    let frame = Descriptor::parse(&custom).unwrap().frame(&structure).unwrap();
    assert_eq!((frame.differences.as_slice(), frame.chains[0]), (&[2, 16][..], 5));
    let many = octets(&["0 1 000111 0000000000000010  0 0 0 1 0 ", &"01 0000 ".repeat(9), "00"].concat());
    let many = Descriptor::parse(&many).unwrap();
    assert_eq!(many.frame(&structure), Err(Error::References));
}

/// Two spatial layers of two temporal ones, a chain each.
fn layered() -> Structure {
    let template = |spatial, temporal, indications, list: &[u16], chains: [u8; 2]| {
        let mut differences = Differences::default();
        assert!(list.iter().all(|&difference| differences.push(difference)));
        let mut template = Template {
            spatial,
            temporal,
            indications,
            differences,
            ..Template::default()
        };
        template.chains[..2].copy_from_slice(&chains);
        template
    };
    let templates = [
        template(0, 0, 0b10_10_10_10, &[], [0, 0]),
        template(0, 0, 0b11_11_10_10, &[4], [4, 3]),
        template(0, 1, 0b11_00_01_00, &[2], [2, 1]),
        template(1, 0, 0b10_10_00_00, &[4, 1], [1, 1]),
        template(1, 1, 0b01_00_00_00, &[2, 1], [3, 2]),
    ];
    Structure::new(&Layout {
        offset: 61,
        targets: 4,
        templates: &templates,
        chains: 2,
        protecting: &[0, 0, 1, 1],
        sizes: &[(320, 180), (640, 360)],
    })
    .unwrap()
}

#[test]
fn what_is_written_is_read() {
    let structure = layered();
    let mut out = [0; 255];
    let written = Written {
        start: true,
        template_id: 61,
        frame_number: 7,
        structure: Some(&structure),
        ..Written::default()
    };
    let len = written.write(&structure, &mut out).unwrap();
    let read = Descriptor::parse(&out[..len]).unwrap();
    assert_eq!(read.structure(), Ok(Some(structure)));
    assert_eq!(
        (read.start, read.end, read.template_id, read.frame_number),
        (true, false, 61, 7)
    );
    for short in 0..len {
        assert!(written.write(&structure, &mut [0; 255][..short]).is_err());
    }
    let written = Written {
        end: true,
        template_id: 1,
        active_targets: Some(0b0101),
        indications: Some(0b01_10_11_00),
        differences: Some(&[1, 17, 4_096]),
        chains: Some(&[255, 0]),
        ..Written::default()
    };
    let len = written.write(&structure, &mut out).unwrap();
    let frame = Descriptor::parse(&out[..len]).unwrap().frame(&structure).unwrap();
    assert_eq!(
        (frame.spatial, frame.temporal, frame.active_targets),
        (1, 1, Some(0b0101))
    );
    assert_eq!(
        (frame.differences.as_slice(), frame.chains[0]),
        (&[1, 17, 4_096][..], 255)
    );
    assert_eq!(frame.indication(0), Indication::NotPresent);
    assert_eq!(frame.indication(3), Indication::Discardable);
}

/// Everything but number and mask stays what it was, whatever is told in the descriptor.
#[test]
fn rewriting_changes_number_and_mask_alone() {
    let structure = layered();
    for fields in 0..32_u8 {
        let has = |bit: u8| fields >> bit & 1 != 0;
        let written = Written {
            start: has(0),
            end: true,
            template_id: if has(0) { 61 } else { 63 },
            frame_number: 65_535,
            structure: has(0).then_some(&structure),
            active_targets: has(1).then_some(0b1110),
            indications: has(2).then_some(0b11_01_10_00),
            differences: has(3).then_some(&[3, 300]),
            chains: has(4).then_some(&[9, 200]),
        };
        let mut value = [0; 255];
        let len = written.write(&structure, &mut value).unwrap();
        let value = &value[..len];
        let before = Descriptor::parse(value).unwrap();
        let frame = before.frame(&structure).unwrap();
        for mask in [None, Some(0b0011)] {
            let mut out = [0xff; 255];
            let len = rewrite(value, &frame, 5, mask, &mut out).unwrap();
            assert!(len <= value.len() + 5);
            let after = Descriptor::parse(&out[..len]).unwrap();
            assert_eq!(
                (after.start, after.end, after.template_id, after.frame_number),
                (before.start, true, before.template_id, 5)
            );
            assert_eq!(after.structure(), before.structure());
            let then = after.frame(&structure).unwrap();
            let expected = mask.or(frame.active_targets);
            assert_eq!(then.active_targets, expected, "{fields:#b}");
            assert_eq!(
                (then.indications, then.differences, then.chains),
                (frame.indications, frame.differences, frame.chains)
            );
            assert!(rewrite(value, &frame, 5, mask, &mut out[..len - 1]).is_err());
        }
    }
}
