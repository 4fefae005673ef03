//! Frames of a stream with two spatial and two temporal layers, told by their descriptors.

use wire::dependency::{Descriptor, Layout, MAX_CHAINS, Template, Written};

use super::*;

/// Decode targets: spatial 0 with one and two temporal layers, spatial 1 with one and two. `keyed`: the spatial layers
/// depend on each other in keyframes alone.
fn structure(keyed: bool) -> Arc<Structure> {
    // Of the four targets, the first one lowest: 1 discardable, 2 switch, 3 required.
    let delta = if keyed {
        [0b00_00_10_10, 0b00_00_01_00]
    } else {
        [0b11_11_10_10, 0b11_00_01_00]
    };
    let kinds = [
        (0, 0, 0b10_10_10_10),
        (0, 0, delta[0]),
        (0, 1, delta[1]),
        (1, 0, 0b10_10_00_00),
        (1, 0, 0b10_10_00_00),
        (1, 1, 0b01_00_00_00),
    ];
    let templates = kinds.map(|(spatial, temporal, indications)| Template {
        spatial,
        temporal,
        indications,
        chains: [0; MAX_CHAINS],
        ..Template::default()
    });
    let structure = Structure::new(&Layout {
        offset: 0,
        targets: 4,
        templates: &templates,
        chains: 2,
        protecting: &[0, 0, 1, 1],
        sizes: &[],
    });
    Arc::new(structure.unwrap())
}

/// Two frames for each picture, with references to those of the last picture of temporal layer 0.
struct Stream {
    structure: Arc<Structure>,
    keyed: bool,
    number: u16,
    base: u16,
    active: u32,
}

impl Stream {
    fn new(keyed: bool) -> Self {
        Self {
            structure: structure(keyed),
            keyed,
            number: 65_530,
            base: 0,
            active: 0b1111,
        }
    }

    /// Packets of the frames of one picture.
    fn picture(&mut self, key: bool, temporal: u8) -> [Packet; 2] {
        let first = self.number;
        self.number = first.wrapping_add(2);
        if key {
            self.base = first;
        }
        let back = first.wrapping_sub(self.base);
        let packets = [0, 1].map(|spatial: u16| {
            let below = spatial == 1 && (key || !self.keyed);
            let mut differences = Vec::new();
            if !key {
                differences.push(back);
            }
            if below {
                differences.push(1);
            }
            // In the first chain the lower layer, in the second both, or the keyframe and the upper.
            let lower = match (key, spatial, temporal) {
                (true, 0, _) => 0,
                (true, ..) | (_, 1, 0) => 1,
                _ => (back + spatial) as u8,
            };
            let upper = match (key, spatial) {
                (true, 0) => 0,
                (true, _) => 1,
                (false, 0) => back as u8 - 1,
                (false, _) if self.keyed || temporal > 0 => back as u8,
                (false, _) => 1,
            };
            let kind = match (key, spatial) {
                (true, 0) => 0,
                (true, _) => 3,
                (false, 0) => 1 + temporal,
                (false, _) => 4 + temporal,
            };
            let written = Written {
                start: true,
                end: true,
                template_id: kind,
                frame_number: first.wrapping_add(spatial),
                structure: (key && spatial == 0).then_some(&*self.structure),
                differences: Some(&differences),
                chains: Some(&[lower, upper]),
                ..Written::default()
            };
            let mut out = [0; 255];
            let len = written.write(&self.structure, &mut out).unwrap();
            let descriptor = Descriptor::parse(&out[..len]).unwrap();
            let mut packet = Packet::default();
            packet.time = 1_000 + u64::from(first.wrapping_sub(65_530)) * 1_500;
            packet.arrival = packet.time * 11;
            packet.marker = spatial == 1;
            packet.structure = (key && spatial == 0).then(|| Arc::clone(&self.structure));
            packet.facts.keyframe = key && spatial == 0;
            packet.facts.frame_start = true;
            packet.facts.dependency = Some(Dependency {
                number: descriptor.frame_number,
                end: true,
                frame: Some(descriptor.frame(&self.structure).unwrap()),
                active: self.active,
            });
            packet
        });
        if temporal == 0 {
            self.base = first;
        }
        packets
    }
}

fn told(pass: Pass) -> Told {
    pass.told.unwrap()
}

const fn limit(spatial: u8, temporal: u8) -> Limit {
    Limit { spatial, temporal }
}

/// Of a frame that passes: it ends its picture, and the targets told.
type Passed = Option<(bool, u32)>;
/// A keyframe, its temporal layer, what is wanted, what passes, and whether a keyframe is needed then.
type Case = (bool, u8, Limit, [Passed; 2], bool);

fn run(keyed: bool, cases: &[Case]) {
    let mut stream = Stream::new(keyed);
    let mut selector = Selector::new(cases[0].2);
    for (index, &(key, temporal, limit, expected, needs)) in cases.iter().enumerate() {
        selector.set_limit(limit);
        let packets = stream.picture(key, temporal);
        if index == 0 {
            selector.begin(&packets[0]);
        }
        let got = packets.map(|packet| selector.pass(&packet).map(|pass| (pass.ends, told(pass).targets)));
        assert_eq!((got, selector.needs_keyframe()), (expected, needs), "picture {index}");
    }
}

#[test]
fn down_at_once_and_up_where_a_frame_leads() {
    let (all, lower, base) = (0b1111, 0b0011, 0b0001);
    run(
        false,
        &[
            (true, 0, limit(9, 9), [Some((false, 0)), Some((false, 0))], false),
            (false, 1, limit(9, 9), [Some((false, 0)), Some((false, 0))], false),
            (false, 0, limit(0, 9), [Some((true, lower)), None], false),
            (false, 1, limit(0, 0), [None, None], false),
            (false, 0, limit(0, 0), [Some((true, base)), None], false),
            // The temporal layer comes with the next frame that leads to it, the spatial one with a keyframe.
            (false, 1, limit(9, 9), [None, None], true),
            (false, 0, limit(9, 9), [Some((true, lower)), None], true),
            (false, 1, limit(9, 9), [Some((true, lower)), None], true),
            (true, 0, limit(9, 9), [Some((false, all)), Some((false, all))], false),
            (
                false,
                0,
                limit(1, 0),
                [Some((false, 0b0101)), Some((false, 0b0101))],
                false,
            ),
        ],
    );
}

#[test]
fn layers_that_depend_in_keyframes_alone() {
    let (upper, lower) = (0b1100, 0b0011);
    run(
        true,
        &[
            (
                true,
                0,
                limit(9, 9),
                [Some((false, upper)), Some((false, upper))],
                false,
            ),
            (false, 1, limit(9, 9), [None, Some((false, upper))], false),
            (false, 0, limit(9, 9), [None, Some((false, upper))], false),
            // Another layer has to wait, fewer frames have not.
            (false, 0, limit(0, 0), [None, Some((false, 0b0100))], true),
            (false, 1, limit(0, 0), [None, None], true),
            (true, 0, limit(0, 9), [Some((true, lower)), None], false),
            (false, 0, limit(0, 9), [Some((true, lower)), None], false),
        ],
    );
}

#[test]
fn frame_numbers_run_on_when_another_stream_takes_over() {
    let mut selector = Selector::new(limit(9, 9));
    let mut stream = Stream::new(false);
    let first = stream.picture(true, 0);
    selector.begin(&first[0]);
    let numbers = first.map(|packet| told(selector.pass(&packet).unwrap()).frame_number);
    assert_eq!(numbers, [65_530, 65_531]);
    let mut other = Stream::new(false);
    other.number = 1_000;
    let second = other.picture(true, 0);
    selector.begin(&second[0]);
    let numbers = second.map(|packet| told(selector.pass(&packet).unwrap()).frame_number);
    assert_eq!(numbers, [65_532, 65_533]);
    let numbers = other
        .picture(false, 1)
        .map(|packet| told(selector.pass(&packet).unwrap()).frame_number);
    assert_eq!(numbers, [65_534, 65_535]);
}

/// A frame of the chain does not come: after a while a keyframe is asked for, unless it comes after all.
#[test]
fn a_broken_chain_needs_a_keyframe() {
    for repaired in [false, true] {
        let mut selector = Selector::new(limit(9, 9));
        let mut stream = Stream::new(false);
        let first = stream.picture(true, 0);
        selector.begin(&first[0]);
        assert!(first.iter().all(|packet| selector.pass(packet).is_some()));
        let [lower, upper] = stream.picture(false, 0);
        assert!(selector.pass(&lower).is_some());
        for index in 0..12 {
            if index == 3 && repaired {
                assert!(selector.pass(&upper).is_some());
            }
            for packet in stream.picture(false, 0) {
                assert!(selector.pass(&packet).is_some());
            }
            assert_eq!(selector.needs_keyframe(), !repaired && index > 9, "{index}");
        }
        let _ = stream.picture(true, 0).map(|packet| selector.pass(&packet));
        assert!(!selector.needs_keyframe());
    }
}

#[test]
fn what_the_publisher_does_not_send_is_not_waited_for() {
    let mut selector = Selector::new(limit(9, 9));
    let mut stream = Stream::new(false);
    let first = stream.picture(true, 0);
    selector.begin(&first[0]);
    assert!(first.iter().all(|packet| selector.pass(packet).is_some()));
    stream.active = 0b0011;
    let [lower, _] = stream.picture(false, 0);
    assert!(selector.pass(&lower).is_some_and(|pass| !pass.ends));
    assert_eq!((selector.layers(), selector.needs_keyframe()), ((0, 1), false));
}

/// A packet whose structure did not come is not judged, and one without a descriptor neither.
#[test]
fn what_cannot_be_read_passes() {
    let mut selector = Selector::new(limit(0, 0));
    let mut stream = Stream::new(false);
    let mut first = stream.picture(true, 0);
    selector.begin(&first[0]);
    if let Some(dependency) = &mut first[1].facts.dependency {
        dependency.frame = None;
    }
    assert!(first.iter().all(|packet| selector.pass(packet).is_some()));
    assert_eq!(selector.pass(&Packet::default()), Some(Pass::default()));
}

/// Whatever its indications say.
#[test]
fn a_frame_that_refers_to_a_dropped_one_is_dropped() {
    let mut selector = Selector::new(limit(0, 0));
    let mut stream = Stream::new(false);
    let first = stream.picture(true, 0);
    selector.begin(&first[0]);
    assert!(selector.pass(&first[0]).is_some());
    let dropped = stream.number;
    assert!(
        stream
            .picture(false, 1)
            .iter()
            .all(|packet| selector.pass(packet).is_none())
    );
    stream.base = dropped;
    let [lower, _] = stream.picture(false, 0);
    assert_eq!(selector.pass(&lower), None);
    assert!(selector.needs_keyframe());
}
