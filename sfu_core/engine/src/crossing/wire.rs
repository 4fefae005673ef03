//! Crossings as octets, for links to other nodes: packets as datagrams of media, all else as messages.
//!
//! ```text
//! packet:   track (8) | flags (1) | layer (1) | payload type (1) | stream (4) | number (6) | time (6) | age in ms (2), of old ones
//!           extensions: mask (1), then those that it names | length of what is told as left out (1), that
//!           length of the dependency descriptor (1), descriptor | payload
//! left out: of each frame: its first packet's number, as the difference to this one's (2) | packets (1) | bytes, in eights (2)
//!           spatial and temporal layer (1) | flags (1) | picture id (2), frame number (2), if it has them
//! message:  kind (1) | track (8) | what the kind needs
//! ```
//! Tracks are named as their home names them. What a packet's payload says is read again where it arrives. What follows what is known
//! of a message is ignored: later releases say more there.

mod left_out;

use arrayvec::ArrayVec;
use relay::Head;

use super::left_out::{LeftOut, MAX_LEFT_OUT};
use super::{About, Cname, Crossing, Formats, SourceClock};
use crate::allocate::LayerId;
use crate::command::{Codec, Description, MAX_LAYERS, MediaKind, Sound, Source};
use crate::ids::{PayloadType, TrackId};
use crate::packet::{AbsCaptureTime, Carried, Packet};

/// Octets in front of a packet's payload and dependency descriptor, at most.
pub(crate) const MAX_HEAD: usize = MAX_PLAIN_HEAD + 1 + MAX_LEFT_OUT * left_out::MAX_ENTRY;
/// The same where nothing is told as left out.
const MAX_PLAIN_HEAD: usize = FIXED + 2 + 1 + 1 + 16 + 1 + 3 + 1;

/// What every packet begins with, up to its time.
const FIXED: usize = 27;
const _: () = assert!(MAX_HEAD <= relay::MAX_HEAD);

/// Microseconds that a packet was here already, above which that is told: it goes to who is new to its track.
const OLD: u64 = 30_000;

const MARKER: u8 = 1;
const RECOVERED: u8 = 2;
const FADES: u8 = 4;
const AGED: u8 = 8;
const EXTENDED: u8 = 16;
const DEPENDENT: u8 = 32;
const TELLS: u8 = 64;
const ALONE: u8 = 128;

const LEVEL: u8 = 1;
const CAPTURE: u8 = 2;
const CAPTURE_OFFSET: u8 = 4;
const ORIENTATION: u8 = 8;
const PLAYOUT: u8 = 16;

/// Of a packet, all but what its payload says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrived<'a> {
    pub(crate) track: TrackId,
    pub(crate) layer: u8,
    pub(crate) payload_type: PayloadType,
    pub(crate) stream: u32,
    pub(crate) seq: u64,
    pub(crate) time: u64,
    pub(crate) marker: bool,
    pub(crate) recovered: bool,
    pub(crate) fades: bool,
    /// How long it had been where it comes from, microseconds; 0: it went on at once.
    pub(crate) age: u64,
    pub(crate) extensions: Carried,
    /// Nothing comes but what is told of others.
    pub(crate) alone: bool,
    left_out: &'a [u8],
    pub(crate) dependency: &'a [u8],
    pub(crate) payload: &'a [u8],
}

/// How long a packet was here already, ms; 0 where that is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Age(u16);

impl Age {
    /// Of microseconds.
    pub(crate) fn new(micros: u64) -> Self {
        match micros {
            0..OLD => Self(0),
            _ => Self(u16::try_from(micros / 1_000).unwrap_or(u16::MAX)),
        }
    }
}

/// How a packet crosses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) fades: bool,
    /// As the last one of its picture, for nothing above it crosses.
    pub(crate) ends: bool,
    /// Only to tell what is left out: descriptor and payload do not follow.
    pub(crate) alone: bool,
}

impl<'a> Arrived<'a> {
    /// Writes all but descriptor and payload, which follow in this order, into `out`; `None` when it does not fit. `left_out`:
    /// at most [`MAX_LEFT_OUT`].
    pub(crate) fn write_head(
        track: TrackId,
        packet: &Packet,
        manner: Manner,
        age: Age,
        left_out: &[LeftOut],
        out: &mut Head,
    ) -> Option<()> {
        let mut writer = Writer(out);
        let flag = |set: bool, flag: u8| if set { flag } else { 0 };
        let dependency = if manner.alone { &[] } else { packet.dependency() };
        let aged = age != Age::default();
        let extended = packet.extensions != Carried::default();
        let mut fixed = [0; FIXED];
        fixed[..8].copy_from_slice(&track.0.to_be_bytes());
        fixed[8..11].copy_from_slice(&[
            flag(packet.marker | manner.ends, MARKER)
                | flag(packet.recovered, RECOVERED)
                | flag(manner.fades, FADES)
                | flag(aged, AGED)
                | flag(extended, EXTENDED)
                | flag(!dependency.is_empty(), DEPENDENT)
                | flag(!left_out.is_empty(), TELLS)
                | flag(manner.alone, ALONE),
            packet.layer,
            packet.payload_type.0,
        ]);
        fixed[11..15].copy_from_slice(&packet.stream.to_be_bytes());
        fixed[15..21].copy_from_slice(&packet.seq.to_be_bytes()[2..]);
        fixed[21..].copy_from_slice(&packet.time.to_be_bytes()[2..]);
        writer.put(&fixed)?;
        if aged {
            writer.put(&age.0.to_be_bytes())?;
        }
        if extended {
            write_extensions(&packet.extensions, &mut writer)?;
        }
        if !left_out.is_empty() {
            left_out::write(packet.seq, left_out, &mut writer)?;
        }
        if !dependency.is_empty() {
            writer.put(&[u8::try_from(dependency.len()).ok()?])?;
        }
        Some(())
    }

    /// `None` when it is cut short.
    pub(crate) fn read(datagram: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(datagram);
        let track = TrackId(reader.u64()?);
        let [flags, layer, payload_type] = reader.array()?;
        let stream = u32::from_be_bytes(reader.array()?);
        let (seq, time) = (reader.u48()?, reader.u48()?);
        let age = match flags & AGED {
            0 => 0,
            _ => u64::from(u16::from_be_bytes(reader.array()?)) * 1_000,
        };
        let extensions = match flags & EXTENDED {
            0 => Carried::default(),
            _ => read_extensions(&mut reader)?,
        };
        let mut part = |flag: u8| match flags & flag {
            0 => Some(&[][..]),
            _ => {
                let len = reader.u8()?;
                reader.take(len.into())
            }
        };
        let (left_out, dependency) = (part(TELLS)?, part(DEPENDENT)?);
        Some(Self {
            track,
            layer,
            payload_type: PayloadType(payload_type),
            stream,
            seq,
            time,
            marker: flags & MARKER != 0,
            recovered: flags & RECOVERED != 0,
            fades: flags & FADES != 0,
            age,
            extensions,
            alone: flags & ALONE != 0,
            left_out,
            dependency,
            payload: reader.0,
        })
    }
}

impl Arrived<'_> {
    /// What was left out before it, as far as it can be read.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = LeftOut> {
        let (seq, mut reader) = (self.seq, Reader(self.left_out));
        std::iter::from_fn(move || left_out::read(seq, &mut reader)).take(MAX_LEFT_OUT)
    }
}

fn write_extensions(extensions: &Carried, writer: &mut Writer<'_>) -> Option<()> {
    let capture = extensions.abs_capture_time.as_ref().map(AbsCaptureTime::bytes);
    let mut mask = 0;
    let mut name = |set: bool, bit: u8| mask |= if set { bit } else { 0 };
    name(extensions.audio_level.is_some(), LEVEL);
    name(capture.is_some(), CAPTURE);
    name(capture.is_some_and(|bytes| bytes.len() == 16), CAPTURE_OFFSET);
    name(extensions.video_orientation.is_some(), ORIENTATION);
    name(extensions.playout_delay.is_some(), PLAYOUT);
    writer.put(&[mask])?;
    writer.put(extensions.audio_level.as_slice())?;
    writer.put(capture.unwrap_or_default())?;
    writer.put(extensions.video_orientation.as_slice())?;
    writer.put(extensions.playout_delay.as_ref().map_or(&[][..], |delay| delay))
}

fn read_extensions(reader: &mut Reader<'_>) -> Option<Carried> {
    let mask = reader.u8()?;
    let mut extensions = Carried::default();
    if mask & LEVEL != 0 {
        extensions.audio_level = Some(reader.u8()?);
    }
    if mask & CAPTURE != 0 {
        let len = if mask & CAPTURE_OFFSET == 0 { 8 } else { 16 };
        extensions.abs_capture_time = AbsCaptureTime::new(reader.take(len)?);
    }
    if mask & ORIENTATION != 0 {
        extensions.video_orientation = Some(reader.u8()?);
    }
    if mask & PLAYOUT != 0 {
        extensions.playout_delay = Some(reader.array()?);
    }
    Some(extensions)
}

const ATTACH: u8 = 1;
const DETACH: u8 = 2;
const LAYERS_WANTED: u8 = 3;
const REQUEST_KEYFRAME: u8 = 4;
const FORMATS: u8 = 5;
const ABOUT: u8 = 6;
const LAYER_ACTIVE: u8 = 7;
const SENDER_REPORT: u8 = 8;
const REMOVED: u8 = 9;

/// Messages of the link as a whole: forget what we asked for, it is asked for again; and: ask anew, what we said may be lost.
pub(crate) const FORGET: &[u8] = &[10];
pub(crate) const ANEW: &[u8] = &[11];

/// Formats of a track that are told at most; browsers offer a dozen.
const MAX_CODECS: usize = 24;
const AUDIO: u8 = 1;
const VIDEO: u8 = 2;
const ENCRYPTED: u8 = 1;
const SCREEN: u8 = 1;
const RANKED: u8 = 2;
const ACTIVE: u8 = 1;
const KEPT: u8 = 2;
const THINNED: u8 = 1;

/// A crossing other than of packets as a message of at most [`MAX_MESSAGE`] octets; `None` for packets. Which microphones belong
/// together each node knows by itself.
pub(crate) fn write_message(crossing: &Crossing) -> Option<ArrayVec<u8, MAX_MESSAGE>> {
    let mut out = ArrayVec::new();
    let (kind, track) = match crossing {
        Crossing::Attach { track, .. } => (ATTACH, track),
        Crossing::Detach { track } => (DETACH, track),
        Crossing::LayersWanted { track, .. } => (LAYERS_WANTED, track),
        Crossing::RequestKeyframe { track, .. } => (REQUEST_KEYFRAME, track),
        Crossing::Formats { track, .. } => (FORMATS, track),
        Crossing::About { track, .. } => (ABOUT, track),
        Crossing::LayerActive { track, .. } => (LAYER_ACTIVE, track),
        Crossing::SenderReport { track, .. } => (SENDER_REPORT, track),
        Crossing::Removed { track } => (REMOVED, track),
        Crossing::Packet { .. } | Crossing::Kept { .. } => return None,
    };
    out.push(kind);
    put(&mut out, &track.0.to_be_bytes())?;
    match crossing {
        Crossing::Attach { kind, thinned, .. } => {
            let kind = match kind {
                MediaKind::Audio => AUDIO,
                MediaKind::Video => VIDEO,
            };
            put(&mut out, &[kind])?;
            if *thinned {
                put(&mut out, &[THINNED])?;
            }
        }
        Crossing::LayersWanted {
            highest: Some(highest), ..
        } => put(&mut out, &[highest.spatial, highest.temporal])?,
        Crossing::RequestKeyframe { layer, .. } => put(&mut out, &[*layer])?,
        Crossing::Formats { formats, .. } => {
            put(
                &mut out,
                &[formats.layers, u8::from(formats.sound.encrypted) * ENCRYPTED],
            )?;
            put(&mut out, &formats.source.to_be_bytes())?;
            put(&mut out, &[formats.cname.len() as u8])?;
            put(&mut out, formats.cname.as_bytes())?;
            for (payload_type, codec, clock_rate) in formats.codecs.iter().take(MAX_CODECS) {
                put(&mut out, &[payload_type.0, codec_number(*codec)])?;
                put(&mut out, &clock_rate.to_be_bytes())?;
            }
        }
        Crossing::About { about, .. } => {
            let screen = about.description.source == Source::Screen;
            let flags = (u8::from(screen) * SCREEN) | (u8::from(about.rank.is_some()) * RANKED);
            put(&mut out, &[flags, about.rank.unwrap_or(0)])?;
            for (width, height) in &about.description.sizes {
                put(&mut out, &width.to_be_bytes())?;
                put(&mut out, &height.to_be_bytes())?;
            }
        }
        Crossing::LayerActive {
            layer, active, kept, ..
        } => put(
            &mut out,
            &[*layer, (u8::from(*active) * ACTIVE) | (u8::from(*kept) * KEPT)],
        )?,
        Crossing::SenderReport { layer, report, .. } => {
            put(&mut out, &[*layer])?;
            put(&mut out, &report.ntp.to_be_bytes())?;
            put(&mut out, &report.rtp.to_be_bytes())?;
        }
        _ => (),
    }
    Some(out)
}

/// Of a message at the end of the relay crate's limit.
pub(crate) const MAX_MESSAGE: usize = 256;

/// `None` when it is cut short or of a kind that is not known. `at`: microseconds since the engines' epoch.
pub(crate) fn read_message(message: &[u8], at: u64) -> Option<Crossing> {
    let mut reader = Reader(message);
    let kind = reader.u8()?;
    let track = TrackId(reader.u64()?);
    Some(match kind {
        ATTACH => Crossing::Attach {
            track,
            kind: match reader.u8()? {
                AUDIO => MediaKind::Audio,
                VIDEO => MediaKind::Video,
                _ => return None,
            },
            // Who does not say so does not know of it.
            thinned: reader.u8().is_some_and(|flags| flags & THINNED != 0),
        },
        DETACH => Crossing::Detach { track },
        LAYERS_WANTED => Crossing::LayersWanted {
            track,
            highest: match reader.0 {
                [] => None,
                _ => {
                    let [spatial, temporal] = reader.array()?;
                    Some(LayerId { spatial, temporal })
                }
            },
        },
        REQUEST_KEYFRAME => Crossing::RequestKeyframe {
            track,
            layer: reader.u8()?,
        },
        FORMATS => Crossing::Formats {
            track,
            formats: read_formats(&mut reader)?.into(),
        },
        ABOUT => Crossing::About {
            track,
            about: read_about(&mut reader)?.into(),
        },
        LAYER_ACTIVE => {
            let [layer, flags] = reader.array()?;
            Crossing::LayerActive {
                track,
                layer,
                active: flags & ACTIVE != 0,
                kept: flags & KEPT != 0,
            }
        }
        SENDER_REPORT => Crossing::SenderReport {
            track,
            layer: reader.u8()?,
            report: SourceClock {
                ntp: reader.u64()?,
                rtp: u32::from_be_bytes(reader.array()?),
                arrival: at,
            },
        },
        REMOVED => Crossing::Removed { track },
        _ => return None,
    })
}

fn read_formats(reader: &mut Reader<'_>) -> Option<Formats> {
    let [layers, flags] = reader.array()?;
    let (source, cname_len) = (reader.u64()?, reader.u8()?);
    let cname = std::str::from_utf8(reader.take(cname_len.into())?).ok()?;
    let cname = Cname::from(cname).ok()?;
    let mut codecs = Vec::new();
    while !reader.0.is_empty() && codecs.len() < MAX_CODECS {
        let [payload_type, codec] = reader.array()?;
        let clock_rate = u32::from_be_bytes(reader.array()?);
        // What a newer node sends in a format of its own is not forwarded.
        if let Some(codec) = codec_of(codec) {
            codecs.push((PayloadType(payload_type & 0x7f), codec, clock_rate));
        }
    }
    Some(Formats {
        codecs,
        layers,
        sound: Sound {
            group: None,
            encrypted: flags & ENCRYPTED != 0,
        },
        cname,
        source,
    })
}

fn read_about(reader: &mut Reader<'_>) -> Option<About> {
    let [flags, rank] = reader.array()?;
    let mut sizes = ArrayVec::<_, MAX_LAYERS>::new();
    while !reader.0.is_empty() && !sizes.is_full() {
        sizes.push((u16::from_be_bytes(reader.array()?), u16::from_be_bytes(reader.array()?)));
    }
    let source = if flags & SCREEN == 0 {
        Source::Camera
    } else {
        Source::Screen
    };
    Some(About {
        description: Description { source, sizes },
        rank: (flags & RANKED != 0).then_some(rank),
    })
}

fn codec_number(codec: Codec) -> u8 {
    match codec {
        Codec::Opus => 1,
        Codec::Red => 2,
        Codec::Vp8 => 3,
        Codec::Vp9 => 4,
        Codec::H264 => 5,
        Codec::Av1 => 6,
    }
}

fn codec_of(number: u8) -> Option<Codec> {
    [Codec::Opus, Codec::Red, Codec::Vp8, Codec::Vp9, Codec::H264, Codec::Av1]
        .into_iter()
        .find(|codec| codec_number(*codec) == number)
}

fn put(out: &mut ArrayVec<u8, MAX_MESSAGE>, octets: &[u8]) -> Option<()> {
    out.try_extend_from_slice(octets).ok()
}

struct Writer<'a>(&'a mut Head);

impl Writer<'_> {
    fn put(&mut self, octets: &[u8]) -> Option<()> {
        self.0.try_extend_from_slice(octets).ok()
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*head)
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[octet]| octet)
    }

    fn u48(&mut self) -> Option<u64> {
        let [a, b, c, d, e, f] = self.array()?;
        Some(u64::from_be_bytes([0, 0, a, b, c, d, e, f]))
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACK: TrackId = TrackId(0x0102_0304_0506);

    #[test]
    fn packets_arrive_as_they_were() {
        let capture = |len: usize| AbsCaptureTime::new(&vec![7; len]);
        for (age, audio_level, abs_capture_time, video_orientation, playout_delay, dependency) in [
            (0, None, None, None, None, &[][..]),
            (OLD - 1, Some(0x85), None, None, None, &[]),
            (OLD, None, capture(8), Some(3), None, &[1, 2, 3]),
            (2_345_678, Some(1), capture(16), Some(2), Some([1, 2, 3]), &[9; 200]),
        ] {
            let mut packet = Packet::default();
            packet.layer = 2;
            packet.seq = 1 << 40 | 5;
            packet.time = 3 << 32 | 77;
            packet.stream = 300_000;
            packet.marker = true;
            packet.recovered = audio_level.is_some();
            packet.payload_type = PayloadType(96);
            packet.extensions = Carried {
                audio_level,
                abs_capture_time,
                video_orientation,
                playout_delay,
            };
            assert!(packet.set_content(b"a payload", dependency));
            let mut head = ArrayVec::new();
            let manner = Manner {
                fades: true,
                ..Manner::default()
            };
            Arrived::write_head(TRACK, &packet, manner, Age::new(age), &[], &mut head).unwrap();
            let datagram = [&head, dependency, b"a payload"].concat();
            let expected = Arrived {
                track: TRACK,
                layer: 2,
                payload_type: PayloadType(96),
                stream: 300_000,
                seq: packet.seq,
                time: packet.time,
                marker: true,
                recovered: packet.recovered,
                fades: true,
                age: if age < OLD { 0 } else { age / 1_000 * 1_000 },
                extensions: packet.extensions,
                alone: false,
                left_out: &[],
                dependency,
                payload: b"a payload",
            };
            assert_eq!(Arrived::read(&datagram), Some(expected));
            for cut in 0..head.len() + dependency.len() {
                assert_eq!(Arrived::read(&datagram[..cut]), None, "{cut}");
            }
        }
    }

    /// As the release before this one wrote and read them.
    #[test]
    fn the_former_release_is_understood_and_understands() {
        let attach = |thinned| Crossing::Attach {
            track: TRACK,
            kind: MediaKind::Video,
            thinned,
        };
        let former: [u8; 10] = [1, 0, 0, 1, 2, 3, 4, 5, 6, 2];
        let read = read_message(&former, 0);
        assert_eq!(format!("{read:?}"), format!("{:?}", Some(attach(false))));
        // It reads what it knows, and no further.
        let message = write_message(&attach(true)).unwrap();
        assert_eq!(message[..10], former);
        // A packet that tells nothing is what it was: track, flags (marker), layer, payload type, stream, number, time.
        let mut packet = Packet::default();
        (packet.layer, packet.payload_type, packet.stream) = (1, PayloadType(96), 5);
        (packet.seq, packet.time, packet.marker) = (0x0102_0304_0506, 0x0908_0706_0504, true);
        let former: [u8; 27] = [
            0, 0, 1, 2, 3, 4, 5, 6, 1, 1, 96, 0, 0, 0, 5, 1, 2, 3, 4, 5, 6, 9, 8, 7, 6, 5, 4,
        ];
        let mut head = ArrayVec::new();
        Arrived::write_head(TRACK, &packet, Manner::default(), Age::default(), &[], &mut head).unwrap();
        assert_eq!(head[..], former);
    }

    #[test]
    fn messages_arrive_as_they_were() {
        let formats = Formats {
            codecs: (0..MAX_CODECS as u8)
                .map(|index| {
                    (
                        PayloadType(96 + index),
                        codec_of(index % 6 + 1).unwrap(),
                        90_000 + u32::from(index),
                    )
                })
                .collect(),
            layers: 3,
            sound: Sound {
                group: None,
                encrypted: true,
            },
            cname: Cname::from("12345678901234567890").unwrap(),
            source: u64::MAX - 3,
        };
        let about = About {
            description: Description {
                source: Source::Screen,
                sizes: [(1, 2), (300, 400), (u16::MAX, 5)].into_iter().collect(),
            },
            rank: Some(2),
        };
        let report = SourceClock {
            ntp: u64::MAX - 5,
            rtp: 9,
            arrival: 42,
        };
        let highest = Some(LayerId {
            spatial: 2,
            temporal: 1,
        });
        for crossing in [
            Crossing::Attach {
                track: TRACK,
                kind: MediaKind::Audio,
                thinned: false,
            },
            Crossing::Attach {
                track: TRACK,
                kind: MediaKind::Video,
                thinned: true,
            },
            Crossing::Detach { track: TRACK },
            Crossing::LayersWanted { track: TRACK, highest },
            Crossing::LayersWanted {
                track: TRACK,
                highest: None,
            },
            Crossing::RequestKeyframe { track: TRACK, layer: 1 },
            Crossing::Formats {
                track: TRACK,
                formats: formats.into(),
            },
            Crossing::About {
                track: TRACK,
                about: about.into(),
            },
            Crossing::About {
                track: TRACK,
                about: About::default().into(),
            },
            Crossing::LayerActive {
                track: TRACK,
                layer: 2,
                active: true,
                kept: true,
            },
            Crossing::SenderReport {
                track: TRACK,
                layer: 0,
                report,
            },
            Crossing::Removed { track: TRACK },
        ] {
            let message = write_message(&crossing).unwrap();
            let read = read_message(&message, 42).unwrap();
            assert_eq!(format!("{read:?}"), format!("{crossing:?}"));
            for cut in 0..9 {
                assert!(read_message(&message[..cut], 42).is_none());
            }
        }
        assert!(read_message(&[99; 20], 0).is_none());
    }
}
