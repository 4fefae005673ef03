//! Frames by their descriptors, one packet each.

use wire::picture::PictureId;

use super::*;
use crate::packet::PictureIds;

/// P, D, "needed above" and U of a frame.
#[derive(Clone, Copy)]
struct Bits(bool, bool, bool, bool);

const KEY: Bits = Bits(false, false, true, true);
const KEY_ABOVE: Bits = Bits(false, true, true, true);
const KEY_TOP: Bits = Bits(false, true, false, true);
const LOW: Bits = Bits(true, false, true, true);
const ABOVE: Bits = Bits(true, true, true, true);
const TOP: Bits = Bits(true, true, false, true);
/// Without prediction between spatial layers.
const ALONE: Bits = Bits(true, false, false, true);

fn packet(picture: u16, (spatial, temporal): (u8, u8), Bits(inter, below, needed, up): Bits, layers: u8) -> Packet {
    let mut packet = Packet::default();
    packet.time = u64::from(picture) * 3_000;
    packet.marker = spatial + 1 == layers;
    let facts = &mut packet.facts;
    (facts.spatial, facts.temporal) = (spatial, temporal);
    (facts.frame_start, facts.needed_above, facts.switching_point) = (true, needed, up);
    facts.ids = Some(PictureIds {
        picture_id: Some(PictureId {
            offset: 1,
            value: picture,
            long: true,
        }),
        tl0_pic_idx: None,
    });
    facts.vp9 = Some(Vp9Meta {
        layered: true,
        end: true,
        inter_predicted: inter,
        inter_layer: below,
        spatial_layers: if spatial == 0 && !inter { layers } else { 0 },
        ..Vp9Meta::default()
    });
    packet
}

const fn limit(spatial: u8, temporal: u8) -> Limit {
    Limit { spatial, temporal }
}

const DROP: Option<bool> = None;
const PASS: Option<bool> = Some(false);
const END: Option<bool> = Some(true);

/// Picture, what is wanted from it on, temporal layer, bits of each spatial layer, what becomes of them, and whether a
/// keyframe is needed then.
type Case<'a> = (u16, Limit, u8, &'a [Bits], &'a [Option<bool>], bool);

fn run(cases: &[Case<'_>]) {
    let mut svc = Svc::new(cases[0].1);
    for &(picture, limit, temporal, bits, expected, needs) in cases {
        svc.set_limit(limit);
        let layers = bits.len() as u8;
        let got: Vec<_> = (0..)
            .zip(bits)
            .map(|(spatial, &bits)| svc.pass(&packet(picture, (spatial, temporal), bits, layers)))
            .collect();
        assert_eq!(
            (got.as_slice(), svc.needs_keyframe()),
            (expected, needs),
            "picture {picture}"
        );
    }
}

/// L3T3: down at the next picture, up with a keyframe.
#[test]
fn spatial_layers_with_prediction_between_them() {
    let (key, delta) = (&[KEY, KEY_ABOVE, KEY_TOP][..], &[LOW, ABOVE, TOP][..]);
    run(&[
        (1, limit(9, 9), 0, key, &[PASS, PASS, PASS], false),
        (2, limit(9, 9), 0, delta, &[PASS, PASS, PASS], false),
        (3, limit(1, 9), 0, delta, &[PASS, END, DROP], false),
        (4, limit(0, 9), 0, delta, &[END, DROP, DROP], false),
        (5, limit(2, 9), 0, delta, &[END, DROP, DROP], true),
        (6, limit(2, 9), 0, key, &[PASS, PASS, PASS], false),
        (7, limit(0, 9), 0, key, &[END, DROP, DROP], false),
        (8, limit(1, 9), 0, key, &[PASS, END, DROP], false),
    ]);
}

/// L3T3_KEY: only the highest layer is forwarded, and every change waits for a keyframe.
#[test]
fn spatial_layers_with_prediction_in_keyframes() {
    let (key, delta) = (&[KEY, KEY_ABOVE, KEY_TOP][..], &[ALONE, ALONE, ALONE][..]);
    run(&[
        (1, limit(9, 9), 0, key, &[PASS, PASS, PASS], false),
        (2, limit(9, 9), 0, delta, &[DROP, DROP, PASS], false),
        (3, limit(1, 9), 0, delta, &[DROP, DROP, PASS], true),
        (4, limit(1, 9), 0, key, &[PASS, END, DROP], false),
        (5, limit(1, 9), 0, delta, &[DROP, END, DROP], false),
        (6, limit(0, 9), 0, delta, &[DROP, END, DROP], true),
        (7, limit(0, 9), 0, key, &[END, DROP, DROP], false),
        (8, limit(0, 9), 0, delta, &[END, DROP, DROP], false),
    ]);
}

/// A layer that begins with no reference to earlier pictures is taken, unless its picture was ended before it.
#[test]
fn a_layer_that_begins_without_a_keyframe() {
    run(&[
        (1, limit(9, 9), 0, &[KEY], &[PASS], false),
        (2, limit(9, 9), 0, &[LOW, KEY_TOP], &[PASS, PASS], false),
        (3, limit(9, 9), 0, &[LOW, TOP], &[PASS, PASS], false),
        (4, limit(0, 9), 0, &[LOW, TOP], &[END, DROP], false),
        (5, limit(1, 9), 0, &[LOW, KEY_TOP], &[END, DROP], true),
    ]);
}

#[test]
fn temporal_layers_go_up_behind_a_switching_up_point() {
    let flat = Bits(true, false, false, false);
    run(&[
        (1, limit(0, 2), 0, &[KEY], &[PASS], false),
        (2, limit(0, 2), 2, &[flat], &[PASS], false),
        (3, limit(0, 0), 1, &[flat], &[DROP], false),
        (4, limit(0, 0), 2, &[flat], &[DROP], false),
        (5, limit(0, 2), 0, &[flat], &[PASS], false),
        // Wanted, but what they refer to is not there.
        (6, limit(0, 2), 2, &[flat], &[DROP], false),
        (7, limit(0, 2), 1, &[flat], &[DROP], false),
        (8, limit(0, 2), 0, &[ALONE], &[PASS], false),
        (9, limit(0, 2), 2, &[flat], &[PASS], false),
        (10, limit(0, 1), 2, &[flat], &[DROP], false),
        (11, limit(0, 2), 1, &[ALONE], &[PASS], false),
        (12, limit(0, 2), 2, &[flat], &[PASS], false),
    ]);
}

/// In flexible mode references say it.
#[test]
fn references_are_followed_in_flexible_mode() {
    let mut svc = Svc::new(limit(0, 2));
    let pass = |svc: &mut Svc, picture: u16, temporal: u8, references: &[u8]| {
        let mut packet = packet(picture, (0, temporal), if references.is_empty() { KEY } else { LOW }, 1);
        let meta = packet.facts.vp9.as_mut().unwrap();
        meta.flexible = true;
        meta.references = wire::vp9::References::new(references).unwrap();
        svc.pass(&packet).is_some()
    };
    assert!(pass(&mut svc, 1, 0, &[]));
    svc.set_limit(limit(0, 0));
    assert!(!pass(&mut svc, 2, 1, &[1]));
    svc.set_limit(limit(0, 2));
    for (picture, temporal, references, passes) in [
        (3, 2, &[1][..], false),
        (4, 2, &[3], true),
        (5, 0, &[4], true),
        (6, 1, &[1], true),
        (7, 2, &[1, 5], false),
        // Not received: a repair may come.
        (9, 1, &[1], true),
    ] {
        assert_eq!(pass(&mut svc, picture, temporal, references), passes, "{picture}");
    }
}

#[test]
fn a_keyframe_may_have_fewer_layers_than_it_told() {
    let mut svc = Svc::new(limit(9, 9));
    let mut low = packet(1, (0, 0), KEY, 3);
    low.marker = false;
    assert_eq!(svc.pass(&low), PASS);
    let mut above = packet(1, (1, 0), KEY_ABOVE, 3);
    above.marker = true;
    assert_eq!(svc.pass(&above), PASS);
    for picture in 2..5 {
        assert_eq!(svc.pass(&packet(picture, (0, 0), ALONE, 2)), DROP);
        assert_eq!(svc.pass(&packet(picture, (1, 0), ALONE, 2)), PASS);
    }
    assert_eq!((svc.layers().0, svc.needs_keyframe()), (1, false));
}

#[test]
fn packets_of_a_frame_share_its_fate() {
    let mut svc = Svc::new(limit(0, 9));
    assert_eq!(svc.pass(&packet(1, (0, 0), KEY, 2)), END);
    svc.set_limit(limit(1, 0));
    assert_eq!(svc.pass(&packet(1, (0, 0), KEY, 2)), END);
    assert_eq!(svc.pass(&packet(1, (1, 0), KEY_TOP, 2)), DROP);
    // Picture ids that turn over, and a packet older than anything remembered.
    for picture in 2..200 {
        assert_eq!(svc.pass(&packet(picture, (0, 0), LOW, 2)), END);
    }
    assert_eq!(svc.pass(&packet(20, (0, 0), LOW, 2)), DROP);
}
