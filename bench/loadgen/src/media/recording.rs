//! Media that a real encoder made, read from IVF files and cut into RTP payloads (RFC 7741, RFC 6184).
//!
//! `python -m bench.record` makes the files. IVF: a header of 32 bytes with a four-letter code and the time base, then
//! frames of 4 bytes length, 8 bytes time and content, all little-endian. Opus packets are kept in the same container.
//!
//! The sender puts a stamp behind the last payload of each frame. Decoders of VP8 and H.264 have all macroblocks by then and
//! do not look at it; in an Opus packet it is padding.

use std::path::{Path, PathBuf};

use super::stamp;
use crate::plan::Codec;

/// Bytes of payload per packet, the stamp not counted.
const MAX_PAYLOAD: usize = 1_150;

#[derive(Clone, Debug)]
pub(super) struct RecordedFrame {
    pub(super) keyframe: bool,
    /// Since the frame before, in units of the clock rate.
    pub(super) ticks: u32,
    pub(super) payloads: Vec<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub(super) struct Recording {
    pub(super) clock_rate: u32,
    pub(super) frames: Vec<RecordedFrame>,
    /// The same frames as keyframes, if they were recorded too: `NAME-key.ivf` beside `NAME.ivf`.
    pub(super) keyframes: Vec<RecordedFrame>,
}

/// Of each kind by layer, lowest first.
#[derive(Debug, Default)]
pub(super) struct Replayed {
    pub(super) audio: Vec<Recording>,
    pub(super) video: Vec<Recording>,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    #[error("{0}: {1}; `make recordings` makes the recordings")]
    Io(String, std::io::Error),
    #[error("{0} is no IVF file of {1}")]
    Format(String, &'static str),
}

impl Recording {
    pub(super) fn read(path: &Path, codec: Codec) -> Result<Self, RecordingError> {
        let name = path.display().to_string();
        let file = std::fs::read(path).map_err(|error| RecordingError::Io(name.clone(), error))?;
        let wanted = match codec {
            Codec::Opus => "OPUS",
            Codec::Vp8 => "VP80",
            Codec::H264 => "H264",
        };
        let mut recording = Self::parse(&file, codec, wanted).ok_or(RecordingError::Format(name, wanted))?;
        if let Some(beside) = keyframes_of(path).filter(|beside| beside.is_file()) {
            recording.keyframes = Self::read(&beside, codec)?.frames;
        }
        Ok(recording)
    }

    fn parse(file: &[u8], codec: Codec, wanted: &str) -> Option<Self> {
        let (header, mut rest) = file.split_at_checked(32)?;
        if &header[..4] != b"DKIF" || &header[8..12] != wanted.as_bytes() {
            return None;
        }
        let word = |at: usize| Some(u32::from_le_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let (rate, scale) = (word(16)?.max(1), word(20)?);
        let clock_rate = if codec == Codec::Opus { 48_000 } else { 90_000 };
        let mut frames = Vec::new();
        let mut before = None;
        while let Some((head, tail)) = rest.split_at_checked(12) {
            let len = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
            let time = u64::from_le_bytes(head[4..].try_into().ok()?);
            let (content, tail) = tail.split_at_checked(len)?;
            rest = tail;
            let step = before.map_or(1, |before| time.saturating_sub(before)).max(1);
            before = Some(time);
            frames.push(RecordedFrame {
                keyframe: is_keyframe(codec, content),
                ticks: (step * u64::from(clock_rate) * u64::from(scale) / u64::from(rate)) as u32,
                payloads: match codec {
                    Codec::Opus => vec![opus(content)?],
                    Codec::Vp8 => vp8(content),
                    Codec::H264 => h264(content),
                },
            });
        }
        (!frames.is_empty()).then_some(Self {
            clock_rate,
            frames,
            keyframes: Vec::new(),
        })
    }

    /// Index of the next keyframe from a position on, round the end.
    pub(super) fn keyframe_after(&self, position: usize) -> usize {
        let count = self.frames.len().max(1);
        (position..position + count)
            .find(|index| self.frames.get(index % count).is_some_and(|frame| frame.keyframe))
            .unwrap_or(0)
            % count
    }
}

/// `vp8-0-key.ivf` of `vp8-0.ivf`.
fn keyframes_of(path: &Path) -> Option<PathBuf> {
    let stem = path.file_stem()?.to_str()?;
    (!stem.ends_with("-key")).then(|| path.with_file_name(format!("{stem}-key.ivf")))
}

fn is_keyframe(codec: Codec, content: &[u8]) -> bool {
    match codec {
        Codec::Opus => true,
        // The inverse key frame flag (RFC 6386 section 9.1).
        Codec::Vp8 => content.first().is_some_and(|first| first & 1 == 0),
        Codec::H264 => nal_units(content).any(|unit| unit.first().is_some_and(|first| first & 0x1f == 5)),
    }
}

/// A packet of one frame (code 0) as one of code 3 whose padding is the stamp, which the sender appends (RFC 6716 section
/// 3.2.5: decoders accept any value there).
fn opus(content: &[u8]) -> Option<Vec<u8>> {
    const ONE_PADDED_FRAME: u8 = 0x41;
    let (&toc, frame) = content.split_first()?;
    (toc & 3 == 0).then(|| [&[toc | 3, ONE_PADDED_FRAME, stamp::LEN as u8], frame].concat())
}

/// Descriptor with a 15-bit picture id, which the sender fills in, before each part.
fn vp8(content: &[u8]) -> Vec<Vec<u8>> {
    content
        .chunks(MAX_PAYLOAD - 4)
        .enumerate()
        .map(|(index, part)| [&[0x80 | u8::from(index == 0) << 4, 0x80, 0x80, 0], part].concat())
        .collect()
}

/// NAL units as they are, or in fragments (FU-A).
fn h264(content: &[u8]) -> Vec<Vec<u8>> {
    let mut payloads = Vec::new();
    for unit in nal_units(content) {
        let Some((&head, body)) = unit.split_first() else {
            continue;
        };
        if unit.len() <= MAX_PAYLOAD {
            payloads.push(unit.to_vec());
            continue;
        }
        let count = body.chunks(MAX_PAYLOAD - 2).count();
        for (index, part) in body.chunks(MAX_PAYLOAD - 2).enumerate() {
            let start = u8::from(index == 0) << 7;
            let end = u8::from(index + 1 == count) << 6;
            payloads.push([&[head & 0xe0 | 28, start | end | head & 0x1f], part].concat());
        }
    }
    payloads
}

/// Of an Annex B byte stream (H.264 annex B.1).
fn nal_units(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut starts: Vec<usize> = content
        .windows(3)
        .enumerate()
        .filter(|(_, window)| *window == [0, 0, 1])
        .map(|(at, _)| at + 3)
        .collect();
    starts.push(content.len() + 3);
    let pairs: Vec<_> = starts.windows(2).map(|pair| (pair[0], pair[1] - 3)).collect();
    pairs.into_iter().filter_map(move |(from, to)| {
        let unit = content.get(from..to)?;
        // The zero byte of a four-byte start code belongs to the next one.
        let unit = unit.strip_suffix(&[0]).unwrap_or(unit);
        (!unit.is_empty()).then_some(unit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ivf(code: &[u8; 4], frames: &[&[u8]]) -> Vec<u8> {
        let mut file = b"DKIF\0\0\x20\0".to_vec();
        file.extend(code);
        file.extend([0; 4]);
        file.extend(30_u32.to_le_bytes());
        file.extend(1_u32.to_le_bytes());
        file.extend([0; 8]);
        for (time, frame) in frames.iter().enumerate() {
            file.extend((frame.len() as u32).to_le_bytes());
            file.extend((time as u64).to_le_bytes());
            file.extend(*frame);
        }
        file
    }

    #[test]
    fn vp8_frames_become_packets() {
        let key = vec![0; 3_000];
        let file = ivf(b"VP80", &[&key, &[1; 10]]);
        let recording = Recording::parse(&file, Codec::Vp8, "VP80").unwrap();
        assert_eq!(recording.frames.len(), 2);
        let [first, second] = &recording.frames[..] else {
            panic!()
        };
        assert!(first.keyframe && !second.keyframe);
        assert_eq!((first.payloads.len(), first.ticks), (3, 3_000));
        assert!(first.payloads.iter().all(|payload| payload.len() <= MAX_PAYLOAD));
        assert_eq!((first.payloads[0][0], first.payloads[1][0]), (0x90, 0x80));
        assert_eq!(recording.keyframe_after(1), 0);
    }

    #[test]
    fn h264_units_are_fragmented() {
        let mut content = vec![0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 1, 0x65];
        content.extend([7; 2_000]);
        let file = ivf(b"H264", &[&content]);
        let recording = Recording::parse(&file, Codec::H264, "H264").unwrap();
        let frame = &recording.frames[0];
        assert!(frame.keyframe);
        let heads: Vec<_> = frame
            .payloads
            .iter()
            .map(|payload| (payload[0] & 0x1f, payload.len()))
            .collect();
        assert_eq!(heads, [(7, 3), (8, 2), (28, 1_150), (28, 854)]);
        assert_eq!((frame.payloads[2][1], frame.payloads[3][1]), (0x85, 0x45));
        let bytes: usize = frame.payloads[2..].iter().map(|payload| payload.len() - 2).sum();
        assert_eq!(bytes, 2_000);
    }

    #[test]
    fn opus_packets_are_padded_with_the_stamp() {
        let file = ivf(b"OPUS", &[&[0x78, 1, 2]]);
        let recording = Recording::parse(&file, Codec::Opus, "OPUS").unwrap();
        assert_eq!(recording.frames[0].payloads, [[0x7b, 0x41, 18, 1, 2]]);
        assert!(Recording::parse(&ivf(b"OPUS", &[&[0x79, 1, 2]]), Codec::Opus, "OPUS").is_none());
    }

    #[test]
    fn refuses_what_is_not_such_a_file() {
        for file in [&b""[..], b"DKIF", &ivf(b"VP90", &[&[0]]), &ivf(b"VP80", &[])] {
            assert!(Recording::parse(file, Codec::Vp8, "VP80").is_none());
        }
    }
}
