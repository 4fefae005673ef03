//! A model of a scalable encoder: frames with known references, told by VP9's payload descriptor or by the dependency
//! descriptor.

use std::collections::HashMap;

use wire::dependency::{Layout, MAX_CHAINS, Structure, Template, Written};
use wire::picture::{PictureId, Tl0PicIdx};
use wire::vp9;

/// How frames depend on each other, and how that is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mode {
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    pub(crate) between: Between,
    pub(crate) told: Told,
}

/// Prediction between spatial layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Between {
    Always,
    /// K-SVC.
    InKeyframes,
    /// Simulcast within one stream.
    Never,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// Temporal layers alone.
    Vp8,
    Vp9Flexible,
    Vp9,
    /// Payloads are encrypted end to end.
    Dependency,
}

/// A frame of one spatial layer.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    /// Also the frame number.
    pub(crate) id: u32,
    pub(crate) picture: u32,
    pub(crate) spatial: u8,
    pub(crate) temporal: u8,
    pub(crate) key: bool,
    pub(crate) references: Vec<u32>,
}

/// Payload and dependency descriptor of one packet.
pub(crate) struct Made {
    pub(crate) frame: u32,
    pub(crate) payload: Vec<u8>,
    pub(crate) dependency: Vec<u8>,
    pub(crate) marker: bool,
}

pub(crate) struct Encoder {
    pub(crate) mode: Mode,
    pub(crate) frames: HashMap<u32, Frame>,
    /// Spatial layers that are sent, and whether that is not told.
    pub(crate) sends: u8,
    pub(crate) silent: bool,
    pub(crate) structure: Structure,
    /// In each packet of the lowest layer; twice as many in the next.
    pub(crate) octets: usize,
    picture: u32,
    /// Since the last keyframe.
    position: u32,
    tl0: u8,
    /// By spatial and temporal layer: the newest frame.
    newest: HashMap<(u8, u8), u32>,
    /// By chain: the newest frame.
    chains: Vec<Option<u32>>,
}

const TAG: usize = 6;
const SIZES: [(u16, u16); 3] = [(320, 180), (640, 360), (1_280, 720)];

impl Encoder {
    pub(crate) fn new(mode: Mode) -> Self {
        Self {
            mode,
            frames: HashMap::new(),
            sends: mode.spatial,
            silent: false,
            structure: structure(mode),
            octets: 30,
            // Numbers turn over soon.
            picture: 32_000,
            position: 0,
            tl0: 250,
            newest: HashMap::new(),
            chains: vec![None; mode.spatial.into()],
        }
    }

    /// The packets of the next picture, `packets` for each layer.
    pub(crate) fn picture(&mut self, key: bool, packets: u8) -> Vec<Made> {
        self.picture_of(key, |_, _, _| packets)
    }

    /// The same with so many packets for each layer: of its spatial and temporal number, and whether it is a keyframe.
    pub(crate) fn picture_of(&mut self, key: bool, mut packets: impl FnMut(u8, u8, bool) -> u8) -> Vec<Made> {
        let key = key || self.newest.is_empty();
        self.picture += 1;
        self.position = if key { 0 } else { self.position + 1 };
        let temporal = match self.mode.temporal {
            1 => 0,
            2 => [0, 1][self.position as usize % 2],
            _ => [0, 2, 1, 2][self.position as usize % 4],
        };
        if temporal == 0 {
            self.tl0 = self.tl0.wrapping_add(1);
        }
        let mut made = Vec::new();
        for spatial in 0..self.sends {
            let frame = self.frame(spatial, temporal, key);
            let packets = packets(spatial, temporal, key);
            let descriptors = (0..packets).map(|index| self.describe(&frame, index == 0, index + 1 == packets));
            let descriptors: Vec<_> = descriptors.collect();
            for (index, (mut payload, dependency)) in descriptors.into_iter().enumerate() {
                payload.extend(frame.id.to_be_bytes());
                payload.extend([index as u8, packets]);
                payload.resize(payload.len() + self.octets * (1 + usize::from(spatial)), 0x55);
                // At the end, whatever is in front.
                let tag = payload.len() - TAG;
                payload[tag..].copy_from_slice(&tag_of(frame.id, index as u8, packets));
                made.push(Made {
                    frame: frame.id,
                    payload,
                    dependency,
                    marker: spatial + 1 == self.sends && index + 1 == usize::from(packets),
                });
            }
            self.remember(frame);
        }
        made
    }

    fn frame(&self, spatial: u8, temporal: u8, key: bool) -> Frame {
        let mut references = Vec::new();
        if !key {
            let before = (0..=temporal.saturating_sub(1)).filter_map(|below| self.newest.get(&(spatial, below)));
            references.extend(before.max());
        }
        let id = self.picture * u32::from(self.mode.spatial) + u32::from(spatial);
        let between = match self.mode.between {
            Between::Always => true,
            Between::InKeyframes => key,
            Between::Never => false,
        };
        if spatial > 0 && between {
            references.push(id - 1);
        }
        Frame {
            id,
            picture: self.picture,
            spatial,
            temporal,
            key,
            references,
        }
    }

    fn told_layers(&self) -> usize {
        usize::from(if self.silent { self.mode.spatial } else { self.sends })
    }

    fn remember(&mut self, frame: Frame) {
        self.newest.insert((frame.spatial, frame.temporal), frame.id);
        if frame.key {
            for temporal in 1..self.mode.temporal {
                self.newest.remove(&(frame.spatial, temporal));
            }
        }
        for chain in 0..self.mode.spatial {
            if in_chain(self.mode, &frame, chain) {
                self.chains[usize::from(chain)] = Some(frame.id);
            }
        }
        self.frames.insert(frame.id, frame);
    }

    fn describe(&self, frame: &Frame, start: bool, end: bool) -> (Vec<u8>, Vec<u8>) {
        let mut out = [0; 255];
        if self.mode.told == Told::Dependency {
            let differences: Vec<_> = frame.references.iter().map(|id| (frame.id - id) as u16).collect();
            let restarts = |chain: u8| {
                frame.key && (frame.spatial == 0 || self.mode.between == Between::Never && chain == frame.spatial)
            };
            let chains: Vec<_> = (0..self.mode.spatial)
                .map(|chain| match self.chains[usize::from(chain)] {
                    Some(before) if !restarts(chain) => (frame.id - before) as u8,
                    _ => 0,
                })
                .collect();
            let tells = start && frame.key && frame.spatial == 0;
            let active = (self.sends < self.mode.spatial && !self.silent)
                .then(|| (1_u32 << (self.sends * self.mode.temporal)) - 1);
            let written = Written {
                start,
                end,
                template_id: template_id(self.mode, frame),
                frame_number: frame.id as u16,
                structure: tells.then_some(&self.structure),
                active_targets: active.filter(|_| start && frame.spatial == 0),
                differences: Some(&differences),
                chains: Some(&chains),
                ..Written::default()
            };
            let len = written.write(&self.structure, &mut out).unwrap();
            return (vec![frame.id as u8, 0xff], out[..len].to_vec());
        }
        if self.mode.told == Told::Vp8 {
            let lowest = frame.references.iter().all(|id| self.frames[id].temporal == 0);
            let [picture_high, picture_low] = ((frame.picture & 0x7fff) as u16 | 0x8000).to_be_bytes();
            let descriptor = [
                0x80 | u8::from(start) << 4,
                0xe0,
                picture_high,
                picture_low,
                self.tl0,
                frame.temporal << 6 | u8::from(lowest) << 5,
                u8::from(!frame.key),
            ];
            return (descriptor.to_vec(), Vec::new());
        }
        let flexible = self.mode.told == Told::Vp9Flexible;
        let same: Vec<_> = frame
            .references
            .iter()
            .filter(|id| **id / u32::from(self.mode.spatial) != frame.picture)
            .collect();
        let differences: Vec<_> = same
            .iter()
            .map(|id| (frame.picture - **id / u32::from(self.mode.spatial)) as u8)
            .collect();
        let lower = |id: &&&u32| self.frames[*id].temporal < frame.temporal;
        let descriptor = vp9::Descriptor {
            picture_id: Some(PictureId {
                offset: 1,
                value: (frame.picture & 0x7fff) as u16,
                long: true,
            }),
            inter_predicted: !same.is_empty(),
            flexible,
            start,
            end,
            not_inter_layer_reference: frame.spatial + 1 == self.mode.spatial
                || !(self.mode.between == Between::Always || frame.key),
            layers: Some(vp9::Layers {
                temporal: frame.temporal,
                // In flexible mode as libwebrtc sets it: everything it refers to is of lower layers.
                switching_up: if flexible {
                    same.iter().all(|id| lower(&id))
                } else {
                    true
                },
                spatial: frame.spatial,
                inter_layer: frame.references.len() > same.len(),
                tl0_pic_idx: Some(Tl0PicIdx {
                    offset: 0,
                    value: self.tl0,
                }),
            }),
            references: if flexible {
                vp9::References::new(&differences).unwrap()
            } else {
                vp9::References::default()
            },
            structure: (frame.key && frame.spatial == 0 && start)
                .then(|| vp9::Structure::new(&SIZES[..self.told_layers()]).unwrap()),
            len: 0,
        };
        let len = descriptor.write(&mut out).unwrap();
        (out[..len].to_vec(), Vec::new())
    }
}

/// Frame, packet in it, and packets of it.
pub(crate) fn read_tag(payload: &[u8]) -> (u32, u8, u8) {
    let tag = &payload[payload.len() - TAG..];
    (u32::from_be_bytes(tag[..4].try_into().unwrap()), tag[4], tag[5])
}

fn tag_of(frame: u32, index: u8, packets: u8) -> [u8; TAG] {
    let [a, b, c, d] = frame.to_be_bytes();
    [a, b, c, d, index, packets]
}

/// Frames that a decode target of these layers needs.
pub(crate) fn is_in(mode: Mode, frame: &Frame, (spatial, temporal): (u8, u8)) -> bool {
    let of_layer = match mode.between {
        Between::Always => frame.spatial <= spatial,
        Between::InKeyframes => frame.spatial == spatial || frame.key && frame.spatial < spatial,
        Between::Never => frame.spatial == spatial,
    };
    of_layer && frame.temporal <= temporal
}

/// A chain for each spatial layer.
fn in_chain(mode: Mode, frame: &Frame, chain: u8) -> bool {
    frame.temporal == 0 && is_in(mode, frame, (chain, 0))
}

/// Of each spatial layer: the keyframe, the others by temporal layer.
fn template_id(mode: Mode, frame: &Frame) -> u8 {
    let first = frame.spatial * (mode.temporal + 1);
    (60 + first + if frame.key { 0 } else { 1 + frame.temporal }) % 64
}

fn structure(mode: Mode) -> Structure {
    let targets: Vec<_> = (0..mode.spatial)
        .flat_map(|spatial| (0..mode.temporal).map(move |temporal| (spatial, temporal)))
        .collect();
    let mut templates = Vec::new();
    for spatial in 0..mode.spatial {
        let kinds = std::iter::once((0, true)).chain((0..mode.temporal).map(|temporal| (temporal, false)));
        for (temporal, key) in kinds {
            let frame = Frame {
                id: 0,
                picture: 0,
                spatial,
                temporal,
                key,
                references: Vec::new(),
            };
            let indication = |target: (u8, u8)| match is_in(mode, &frame, target) {
                false => 0,
                _ if key => 2,
                _ if spatial < target.0 => 3,
                // Nothing of the target refers to its highest temporal layer.
                _ if temporal > 0 && temporal == target.1 => 1,
                _ => 2,
            };
            let packed = targets.iter().enumerate();
            let indications = packed.fold(0, |sum, (at, target)| sum | indication(*target) << (2 * at));
            templates.push(Template {
                spatial,
                temporal,
                indications,
                chains: [0; MAX_CHAINS],
                ..Template::default()
            });
        }
    }
    let protecting: Vec<_> = targets.iter().map(|target| target.0).collect();
    Structure::new(&Layout {
        offset: 60,
        targets: targets.len() as u8,
        templates: &templates,
        chains: mode.spatial,
        protecting: &protecting,
        sizes: &SIZES[..usize::from(mode.spatial)],
    })
    .unwrap()
}
