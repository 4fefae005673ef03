//! RTP as clients send and receive it.

use wire::ext::{Form, Writer};
use wire::rtp::{self, Header};

/// Header-extension ids that all clients here negotiate.
pub(crate) const MID: u8 = 1;
pub(crate) const RID: u8 = 2;
pub(crate) const REPAIRED_RID: u8 = 3;
pub(crate) const AUDIO_LEVEL: u8 = 4;
pub(crate) const TRANSPORT_CC: u8 = 5;

pub(crate) const OPUS: u8 = 111;
pub(crate) const VP8: u8 = 96;
pub(crate) const VP8_RTX: u8 = 97;
pub(crate) const RED: u8 = 114;
pub(crate) const ULPFEC: u8 = 116;
pub(crate) const FLEXFEC: u8 = 118;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rtp {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) extensions: Vec<(u8, Vec<u8>)>,
    pub(crate) payload: Vec<u8>,
    /// Octets of padding behind the payload.
    pub(crate) padding: u8,
}

impl Rtp {
    pub(crate) fn write(&self) -> (Vec<u8>, usize) {
        let mut out = vec![0; 2_000];
        let extended = !self.extensions.is_empty();
        let Self {
            marker,
            payload_type,
            seq,
            timestamp,
            ssrc,
            ..
        } = *self;
        let mut len = rtp::write_header(&mut out, marker, payload_type, seq, timestamp, ssrc, extended).unwrap();
        if extended {
            let fits = self
                .extensions
                .iter()
                .all(|(id, value)| Form::OneByte.fits(*id, value.len()));
            let form = if fits { Form::OneByte } else { Form::TwoByte };
            let mut writer = Writer::new(&mut out[len..], form);
            for (id, value) in &self.extensions {
                writer.put(*id, value).unwrap();
            }
            len += writer.finish().unwrap();
        }
        let header = len;
        out.truncate(len);
        out.extend(&self.payload);
        if self.padding > 0 {
            out[0] |= 0x20;
            out.resize(out.len() + usize::from(self.padding), self.padding);
        }
        (out, header)
    }

    pub(crate) fn read(packet: &[u8]) -> Self {
        let header = Header::parse(packet).unwrap();
        Self {
            ssrc: header.ssrc,
            payload_type: header.payload_type,
            seq: header.sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            extensions: header
                .extensions(packet)
                .map(|(id, value)| (id, value.to_vec()))
                .collect(),
            payload: rtp::payload(packet, &header).unwrap().to_vec(),
            padding: 0,
        }
    }

    pub(crate) fn extension(&self, id: u8) -> Option<&[u8]> {
        self.extensions
            .iter()
            .find(|(found, _)| *found == id)
            .map(|(_, value)| value.as_slice())
    }

    /// What [`Source`] wrote behind the codec's own header.
    pub(crate) fn tag(&self) -> &[u8] {
        let at = if self.payload_type == OPUS { 0 } else { VP8_HEADER };
        &self.payload[at..]
    }
}

/// Octets of VP8 descriptor and frame header in the packets made here.
pub(crate) const VP8_HEADER: usize = 4 + 10;

/// One RTP stream of a publisher.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) ssrc: u32,
    pub(crate) payload_type: u8,
    pub(crate) mid: &'static str,
    pub(crate) rid: Option<&'static str>,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
    pub(crate) picture: u16,
    /// Width and height of the layer.
    pub(crate) size: (u16, u16),
    /// Sent so far, for retransmission.
    pub(crate) sent: Vec<Rtp>,
    rtx_seq: u16,
}

impl Source {
    pub(crate) fn audio(ssrc: u32, mid: &'static str) -> Self {
        Self {
            ssrc,
            payload_type: OPUS,
            mid,
            rid: None,
            seq: 65_530,
            timestamp: 4_294_960_000,
            picture: 0,
            size: (0, 0),
            sent: Vec::new(),
            rtx_seq: 1,
        }
    }

    pub(crate) fn video(ssrc: u32, mid: &'static str, rid: Option<&'static str>, size: (u16, u16)) -> Self {
        Self {
            payload_type: VP8,
            rid,
            size,
            picture: 32_765,
            ..Self::audio(ssrc, mid)
        }
    }

    /// 20 ms of Opus.
    pub(crate) fn speak(&mut self, level: u8) -> Rtp {
        let payload = format!("opus {}", self.seq).into_bytes();
        let mut packet = self.packet(payload, false);
        packet.extensions.push((AUDIO_LEVEL, vec![0x80 | level]));
        self.timestamp = self.timestamp.wrapping_add(960);
        packet
    }

    /// A frame of so many packets, 30 per second.
    pub(crate) fn frame(&mut self, keyframe: bool, packets: usize) -> Vec<Rtp> {
        let made = (0..packets)
            .map(|index| {
                // Descriptor with a 15-bit picture id (RFC 7741 section 4.2), then a frame tag and, in a keyframe, the size.
                let mut payload = vec![0x80 | if index == 0 { 0x10 } else { 0 }, 0x80];
                payload.extend((0x8000 | self.picture & 0x7fff).to_be_bytes());
                let (width, height) = self.size;
                payload.extend([u8::from(!keyframe), 0, 0, 0x9d, 0x01, 0x2a]);
                payload.extend([width.to_le_bytes(), height.to_le_bytes()].concat());
                payload.extend(format!("{} {}", self.rid.unwrap_or("-"), self.seq).bytes());
                self.packet(payload, index + 1 == packets)
            })
            .collect();
        self.timestamp = self.timestamp.wrapping_add(3_000);
        self.picture = self.picture.wrapping_add(1);
        made
    }

    /// Padding alone, as bandwidth probes send it.
    pub(crate) fn padding(&mut self) -> Rtp {
        let mut packet = self.packet(Vec::new(), false);
        packet.padding = 200;
        packet
    }

    /// The packet with this number in RTX format (RFC 4588 section 4).
    pub(crate) fn again(&mut self, ssrc: u32, seq: u16) -> Rtp {
        let mut packet = self.sent.iter().find(|packet| packet.seq == seq).unwrap().clone();
        packet.payload = [&seq.to_be_bytes(), packet.payload.as_slice()].concat();
        packet.payload_type = VP8_RTX;
        packet.ssrc = ssrc;
        packet.seq = self.rtx_seq;
        self.rtx_seq += 1;
        for (id, _) in &mut packet.extensions {
            if *id == RID {
                *id = REPAIRED_RID;
            }
        }
        packet
    }

    fn packet(&mut self, payload: Vec<u8>, marker: bool) -> Rtp {
        let mut extensions = vec![(MID, self.mid.as_bytes().to_vec())];
        extensions.extend(self.rid.map(|rid| (RID, rid.as_bytes().to_vec())));
        let packet = Rtp {
            ssrc: self.ssrc,
            payload_type: self.payload_type,
            seq: self.seq,
            timestamp: self.timestamp,
            marker,
            extensions,
            payload,
            padding: 0,
        };
        self.seq = self.seq.wrapping_add(1);
        self.sent.push(packet.clone());
        packet
    }
}
