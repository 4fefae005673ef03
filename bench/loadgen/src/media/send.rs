//! One published layer: frames into RTP packets, kept for retransmission.

use wire::rtcp::report::SenderInfo;
use wire::rtp;

use super::Source;
use super::recording::Recording;
use super::stamp::{self, Stamp};
use crate::plan::{Codec, Extensions, Layer, SendFormat};

/// Packets kept for retransmission: a power of two.
const KEPT: usize = 512;
/// Between keyframes that are asked for, ns: libwebrtc's encoders take no notice of more requests.
const KEYFRAME_SPACING: u64 = 300_000_000;

/// A packet that was sent, for retransmission.
#[derive(Clone, Default)]
struct Kept {
    seq: u16,
    timestamp: u32,
    marker: bool,
    payload: Vec<u8>,
}

pub(super) struct LayerSender {
    codec: Codec,
    layer: Layer,
    /// Index among the layers of its publication.
    place: usize,
    format: SendFormat,
    sequence: u64,
    timestamp: u32,
    rtx_sequence: u64,
    picture: u16,
    number: u32,
    kept: Vec<Kept>,
    force_keyframe: bool,
    /// Frames until the next keyframe of a synthetic source.
    until_keyframe: u64,
    /// Index of the next recorded frame.
    position: usize,
    /// Number of the next live frame, counted since 1970, and that from which on the next keyframe may be.
    live: u64,
    live_keyframe: u64,
    packets: u32,
    octets: u32,
    /// When the next frame is due, ns of the thread's clock.
    pub(super) due: u64,
    /// The wall clock at the beginning of the thread's, ns since 1970.
    pub(super) zero: u64,
}

/// What one packet of a frame is.
pub(super) struct Outline<'a> {
    pub(super) extensions: &'a Extensions,
    pub(super) transport_sequence: u16,
    /// ns since 1970.
    pub(super) wall: u64,
    /// 24 bits of abs-send-time.
    pub(super) send_time: [u8; 3],
}

/// A frame about to be sent.
pub(super) struct Frame {
    pub(super) packets: usize,
    keyframe: bool,
    recorded: Option<usize>,
    /// Of the recorded frame, the encoding as a keyframe.
    forced: bool,
    payload: usize,
}

impl LayerSender {
    pub(super) fn new(codec: Codec, layer: Layer, place: usize, format: SendFormat) -> Self {
        let first = layer.ssrc;
        Self {
            codec,
            place,
            format,
            sequence: 1 + u64::from(first % 0x7000),
            timestamp: first.wrapping_mul(0x9e37_79b9),
            rtx_sequence: 1,
            picture: first as u16 & 0x7fff,
            number: 0,
            kept: Vec::new(),
            force_keyframe: true,
            until_keyframe: 0,
            position: 0,
            live: 0,
            live_keyframe: 0,
            packets: 0,
            octets: 0,
            due: 0,
            zero: 0,
            layer,
        }
    }

    pub(super) fn ssrc(&self) -> u32 {
        self.layer.ssrc
    }

    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    pub(super) fn place(&self) -> usize {
        self.place
    }

    pub(super) fn set_format(&mut self, format: SendFormat) {
        self.format = format;
    }

    pub(super) fn cid(&self) -> &str {
        &self.format.cid
    }

    pub(super) fn force_keyframe(&mut self) {
        self.force_keyframe = true;
    }

    /// The next frame and the time to the one after it, ns; `None` when silent.
    pub(super) fn begin_frame(&mut self, source: &Source, recording: Option<&Recording>) -> Option<(Frame, u64)> {
        match *source {
            Source::Silence => None,
            Source::Synthetic {
                packets_per_frame,
                payload,
                frames_per_second,
                keyframe_interval,
            } => {
                if frames_per_second <= 0.0 {
                    return None;
                }
                let keyframe = std::mem::take(&mut self.force_keyframe) || self.until_keyframe == 0;
                if keyframe {
                    self.until_keyframe = (keyframe_interval.as_secs_f64() * frames_per_second) as u64;
                }
                self.until_keyframe = self.until_keyframe.saturating_sub(1);
                let clock = match self.codec {
                    Codec::Opus => 48_000.0,
                    _ => 90_000.0,
                };
                self.advance((clock / frames_per_second) as u32);
                let frame = Frame {
                    packets: packets_per_frame as usize,
                    keyframe,
                    recorded: None,
                    forced: false,
                    payload: payload as usize,
                };
                Some((frame, (1e9 / frames_per_second) as u64))
            }
            Source::Recorded { speed } => {
                let recording = recording?;
                if std::mem::take(&mut self.force_keyframe) {
                    self.position = recording.keyframe_after(self.position);
                }
                let index = self.position % recording.frames.len().max(1);
                let frame = recording.frames.get(index)?;
                self.position = index + 1;
                self.advance(frame.ticks);
                let time = 1e9 * f64::from(frame.ticks) / f64::from(recording.clock_rate) / speed.max(1e-3);
                let frame = Frame {
                    packets: frame.payloads.len(),
                    keyframe: frame.keyframe,
                    recorded: Some(index),
                    forced: false,
                    payload: 0,
                };
                Some((frame, time as u64))
            }
            Source::Live => self.begin_live(recording?),
        }
    }

    /// The frame that is due now. After one that could not be sent in time there is a keyframe, as nothing can be predicted from
    /// what was never sent.
    fn begin_live(&mut self, recording: &Recording) -> Option<(Frame, u64)> {
        let count = recording.frames.len() as u64;
        let ticks = recording.frames.first()?.ticks;
        let interval = 1_000_000_000 * u64::from(ticks) / u64::from(recording.clock_rate);
        let now = self.zero + self.due;
        let number = ((now + interval / 2) / interval).max(self.live);
        let index = (number % count) as usize;
        let missed = number != self.live;
        let forced = (self.force_keyframe || missed) && number >= self.live_keyframe;
        let forced = forced && !recording.keyframes.is_empty();
        let skipped = if self.live == 0 { 1 } else { number + 1 - self.live };
        self.advance(ticks.wrapping_mul(skipped as u32));
        self.live = number + 1;
        if forced {
            self.live_keyframe = number + KEYFRAME_SPACING / interval;
        }
        self.force_keyframe = (self.force_keyframe || missed) && !forced;
        let frames = if forced {
            &recording.keyframes
        } else {
            &recording.frames
        };
        let frame = frames.get(index)?;
        let frame = Frame {
            packets: frame.payloads.len(),
            keyframe: frame.keyframe,
            recorded: Some(index),
            forced,
            payload: 0,
        };
        Some((frame, ((number + 1) * interval).saturating_sub(now)))
    }

    fn advance(&mut self, ticks: u32) {
        self.timestamp = self.timestamp.wrapping_add(ticks);
        self.picture = (self.picture + 1) & 0x7fff;
    }

    /// Writes one packet of the frame, unprotected, and returns the lengths of header and packet and its extended number.
    pub(super) fn write(
        &mut self,
        out: &mut [u8],
        frame: &Frame,
        index: usize,
        recording: Option<&Recording>,
        outline: &Outline<'_>,
    ) -> Option<(usize, usize, u64)> {
        let last = index + 1 == frame.packets;
        let marker = last && self.codec != Codec::Opus;
        let seq = self.sequence;
        let header = self.header(
            out,
            marker,
            seq as u16,
            self.timestamp,
            self.layer.ssrc,
            self.format.payload_type,
            outline,
        )?;
        let mut payload = match frame.recorded {
            None => self.synthetic(out.get_mut(header..)?, frame, index)? - stamp::LEN,
            Some(position) => {
                let recording = recording?;
                let frames = if frame.forced {
                    &recording.keyframes
                } else {
                    &recording.frames
                };
                let payload = frames.get(position)?.payloads.get(index)?;
                let room = out.get_mut(header..)?;
                room.get_mut(..payload.len())?.copy_from_slice(payload);
                self.renumber(room);
                payload.len()
            }
        };
        // Decoders take no notice of what follows the last byte that they need of a frame, in the middle they would.
        if last || frame.recorded.is_none() {
            let stamp = Stamp {
                layer: self.place as u8,
                number: self.number,
                sent: outline.wall,
            };
            let room = out.get_mut(header + payload..)?;
            room.get_mut(..stamp::LEN)?.copy_from_slice(&stamp.bytes());
            payload += stamp::LEN;
        }
        self.number = self.number.wrapping_add(1);
        self.sequence += 1;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload as u32);
        if self.format.rtx_payload_type.is_some() && self.layer.rtx_ssrc.is_some() {
            self.kept.resize_with(KEPT, Kept::default);
            let kept = &mut self.kept[seq as usize % KEPT];
            (kept.seq, kept.timestamp, kept.marker) = (seq as u16, self.timestamp, marker);
            kept.payload.clear();
            kept.payload.extend_from_slice(&out[header..header + payload]);
        }
        Some((header, header + payload, seq))
    }

    /// A kept packet in RTX format (RFC 4588 section 4).
    pub(super) fn again(&mut self, out: &mut [u8], seq: u16, outline: &Outline<'_>) -> Option<(usize, usize, u64)> {
        let (payload_type, ssrc) = (self.format.rtx_payload_type?, self.layer.rtx_ssrc?);
        let index = usize::from(seq) % KEPT;
        let kept = self
            .kept
            .get(index)
            .filter(|kept| kept.seq == seq && !kept.payload.is_empty())?;
        let header = self.header(
            out,
            kept.marker,
            self.rtx_sequence as u16,
            kept.timestamp,
            ssrc,
            payload_type,
            outline,
        )?;
        let len = header + 2 + kept.payload.len();
        out.get_mut(header..header + 2)?.copy_from_slice(&seq.to_be_bytes());
        out.get_mut(header + 2..len)?.copy_from_slice(&kept.payload);
        self.rtx_sequence += 1;
        Some((header, len, self.rtx_sequence - 1))
    }

    pub(super) fn report(&self, ntp: u64) -> Option<SenderInfo> {
        (self.packets > 0).then_some(SenderInfo {
            ntp,
            rtp_timestamp: self.timestamp,
            packets: self.packets,
            octets: self.octets,
        })
    }

    #[allow(clippy::too_many_arguments, reason = "the fields of one header")]
    fn header(
        &self,
        out: &mut [u8],
        marker: bool,
        seq: u16,
        timestamp: u32,
        ssrc: u32,
        payload_type: u8,
        outline: &Outline<'_>,
    ) -> Option<usize> {
        let repair = Some(ssrc) == self.layer.rtx_ssrc;
        let ids = outline.extensions;
        let rid = self.layer.rid.as_deref().unwrap_or("").as_bytes();
        let number = outline.transport_sequence.to_be_bytes();
        // Voice activity at -30 dBov (RFC 6464).
        let level: &[u8] = if self.codec == Codec::Opus { &[0x80 | 30] } else { &[] };
        let elements: [(Option<u8>, &[u8]); 5] = [
            (ids.mid, self.format.mid.as_bytes()),
            (if repair { ids.repaired_rid } else { ids.rid }, rid),
            (ids.transport_cc, &number),
            (ids.audio_level, level),
            (ids.abs_send_time, &outline.send_time),
        ];
        let (_, rest) = out.split_at_mut_checked(rtp::FIXED_HEADER)?;
        let mut writer = wire::ext::Writer::new(rest, wire::ext::Form::OneByte);
        for (id, value) in elements {
            if let (Some(id), false) = (id, value.is_empty()) {
                writer.put(id, value).ok()?;
            }
        }
        let extension = if writer.is_empty() { 0 } else { writer.finish().ok()? };
        rtp::write_header(out, marker, payload_type, seq, timestamp, ssrc, extension > 0).ok()?;
        Some(rtp::FIXED_HEADER + extension)
    }

    /// A payload of the wanted size that begins as the codec's does.
    fn synthetic(&self, out: &mut [u8], frame: &Frame, index: usize) -> Option<usize> {
        let first = index == 0;
        let (width, height) = (self.layer.width as u16, self.layer.height as u16);
        let mut head = [0; 32];
        let len = match self.codec {
            Codec::Opus => {
                // CELT, 20 ms, one frame (RFC 6716 section 3.1).
                head[0] = 0x78;
                1
            }
            Codec::Vp8 => {
                // Descriptor with a 15-bit picture id (RFC 7741 section 4.2), then frame tag and key frame header (RFC 6386 section 9.1).
                head[0] = 0x80 | u8::from(first) << 4;
                head[1] = 0x80;
                head[2..4].copy_from_slice(&(0x8000 | self.picture).to_be_bytes());
                if first {
                    head[4] = u8::from(!frame.keyframe) | 0x10;
                    head[7..10].copy_from_slice(&[0x9d, 0x01, 0x2a]);
                    head[10..12].copy_from_slice(&width.to_le_bytes());
                    head[12..14].copy_from_slice(&height.to_le_bytes());
                }
                14
            }
            Codec::H264 => {
                // An IDR or another slice, whole when it is one packet, else in FU-A fragments (RFC 6184 section 5.8).
                let kind = if frame.keyframe { 5 } else { 1 };
                let start = u8::from(first) << 7;
                let end = u8::from(index + 1 == frame.packets) << 6;
                if frame.packets == 1 {
                    head[..2].copy_from_slice(&[0x60 | kind, 0x88]);
                    2
                } else {
                    head[..3].copy_from_slice(&[0x60 | 28, start | end | kind, 0x88]);
                    3
                }
            }
        };
        let size = frame.payload.max(len + stamp::LEN);
        let payload = out.get_mut(..size)?;
        payload[..len].copy_from_slice(&head[..len]);
        payload[len..].fill(index as u8);
        Some(size)
    }

    /// Gives a recorded VP8 payload, whose descriptor has a 15-bit picture id, the picture id of now.
    fn renumber(&self, payload: &mut [u8]) {
        if self.codec == Codec::Vp8
            && let Some(id) = payload.get_mut(2..4)
        {
            id.copy_from_slice(&(0x8000 | self.picture).to_be_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::recording::RecordedFrame;
    use super::*;

    const INTERVAL: u64 = 33_333_333;

    fn recording() -> Recording {
        let frames = |keyframe: bool| {
            (0..10)
                .map(|number| RecordedFrame {
                    keyframe,
                    ticks: 3_000,
                    payloads: vec![vec![number; 8]; if keyframe { 3 } else { 1 }],
                })
                .collect()
        };
        Recording {
            clock_rate: 90_000,
            frames: frames(false),
            keyframes: frames(true),
        }
    }

    fn sender() -> LayerSender {
        let layer = Layer {
            rid: None,
            ssrc: 7,
            rtx_ssrc: None,
            width: 0,
            height: 0,
            bitrate: 0,
        };
        let format = SendFormat {
            cid: String::new(),
            mid: String::new(),
            payload_type: 96,
            rtx_payload_type: None,
        };
        LayerSender {
            // Frame 6 of the 100th round.
            zero: 1_006 * INTERVAL,
            ..LayerSender::new(Codec::Vp8, layer, 0, format)
        }
    }

    /// The frame that is due: its place in the recording and whether it is sent as a keyframe.
    fn step(sender: &mut LayerSender, recording: &Recording) -> (usize, bool) {
        let (frame, wait) = sender.begin_frame(&Source::Live, Some(recording)).unwrap();
        sender.due += wait;
        (frame.recorded.unwrap(), frame.forced)
    }

    #[test]
    fn live_frames_are_those_of_the_clock_and_go_round() {
        let (mut sender, recording) = (sender(), recording());
        // Found a little late.
        sender.due = INTERVAL / 4;
        let begun = sender.timestamp;
        let sent: Vec<_> = (0..6).map(|_| step(&mut sender, &recording)).collect();
        assert_eq!(
            sent,
            [(6, true), (7, false), (8, false), (9, false), (0, false), (1, false)]
        );
        assert_eq!(sender.due, 6 * INTERVAL);
        assert_eq!(sender.timestamp.wrapping_sub(begun), 6 * 3_000);
    }

    #[test]
    fn a_keyframe_comes_when_asked_for_but_not_two_at_once() {
        let (mut sender, recording) = (sender(), recording());
        assert_eq!(step(&mut sender, &recording), (6, true));
        sender.force_keyframe();
        // 300 ms are nine frames.
        let keyframes: Vec<_> = (1..20).filter(|_| step(&mut sender, &recording).1).collect();
        assert_eq!(keyframes, [9]);
    }

    #[test]
    fn what_was_never_sent_predicts_nothing() {
        let (mut sender, recording) = (sender(), recording());
        for _ in 0..20 {
            step(&mut sender, &recording);
        }
        let before = sender.timestamp;
        sender.due += 5 * INTERVAL;
        assert_eq!(step(&mut sender, &recording), (1, true));
        assert_eq!(sender.timestamp.wrapping_sub(before), 6 * 3_000);
    }
}
