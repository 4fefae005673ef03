//! One outgoing packet: header, extensions and payload gathered into the transmit arena and protected there.

use std::net::SocketAddr;

use wire::ext::AbsSendTime;
use wire::{red, rtp};

use super::header::{HeaderTemplate, Values};
use super::pictures::{self, PicturePatch};
use crate::bandwidth::{Kind, ProbeId};
use crate::command::ExtensionIds;
use crate::downlink::SentLog;
use crate::fec::Pool;
use crate::ids::SocketId;
use crate::packet::{MAX_PACKET, Packet, PictureIds};
use crate::srtp::{MAX_RTP_OVERHEAD, SrtpSender};
use crate::transmit::TransmitArena;

/// Bytes of UDP payload that pass every common path: 1,500 less IPv6 and UDP headers. Extensions that would exceed it are left out.
const MAX_DATAGRAM: usize = 1_452;
/// Room asked of the arena for one packet. A publisher's packet that is larger than [`MAX_DATAGRAM`] itself still fits.
const ROOM: usize = MAX_PACKET + 128;

/// Where a peer's packets go, and what they share.
pub struct Egress<'a> {
    arena: &'a mut TransmitArena,
    sender: &'a mut SrtpSender,
    socket: SocketId,
    to: SocketAddr,
    ids: &'a ExtensionIds,
    /// Transport-wide sequence number of the peer's next packet.
    transport_sequence: &'a mut u16,
    send_time: [u8; 3],
    /// Microseconds.
    now: u64,
    /// Of the peers whose path is estimated.
    log: Option<SentLog<'a>>,
    /// Memory for parity.
    pool: Option<&'a mut Pool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum WriteError {
    /// Flush the arena and try again.
    ArenaFull,
    /// The packet cannot be sent at all.
    Unsendable,
}

/// The part of a header that the subscription decides.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head<'a> {
    pub(super) marker: bool,
    pub(super) payload_type: u8,
    pub(super) sequence: u64,
    pub(super) timestamp: u32,
    pub(super) ssrc: u32,
    pub(super) mid: &'a str,
    /// Dependency descriptor; empty without one.
    pub(super) dependency: &'a [u8],
}

/// What follows the header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body<'a> {
    /// Original sequence number, in a retransmission (RFC 4588 section 4).
    pub(super) original: Option<u16>,
    /// Payload type of the media, when it is in RED (RFC 2198 section 3).
    pub(super) red: Option<u8>,
    pub(super) payload: &'a [u8],
    pub(super) pictures: Option<(&'a PictureIds, PicturePatch)>,
    /// The payload is padding alone (RFC 3550 section 5.1).
    pub(super) padding: bool,
}

/// The P bit of the first octet.
const PADDING: u8 = 0x20;
/// Bytes that may be rewritten at the front of a payload: the original sequence number, the header of RED, and the ids of a
/// VP8 or VP9 descriptor, within six bytes. A block of the cipher.
const LEAD: usize = 16;

impl<'a> Body<'a> {
    /// The rewritten beginning, made in `lead`, and the rest, which is encrypted straight from the shared packet.
    #[inline]
    fn parts<'l>(&self, lead: &'l mut [u8; LEAD]) -> [&'l [u8]; 2]
    where
        'a: 'l,
    {
        if self.original.is_none() && self.pictures.is_none() && self.red.is_none() {
            return [&[], self.payload];
        }
        let mut at = 0;
        if let Some(original) = self.original {
            at = 2;
            lead[..at].copy_from_slice(&original.to_be_bytes());
        }
        if let Some(payload_type) = self.red {
            lead[at..=at].copy_from_slice(&red::single_header(payload_type));
            at += 1;
        }
        let (first, rest) = self.payload.split_at(self.payload.len().min(LEAD - at));
        let end = at + first.len();
        lead[at..end].copy_from_slice(first);
        if let Some((meta, values)) = self.pictures {
            pictures::patch(&mut lead[at..end], meta, values);
        }
        [&lead[..end], rest]
    }
}

impl<'a> Egress<'a> {
    /// `now` in microseconds.
    pub fn new(
        now: u64,
        arena: &'a mut TransmitArena,
        sender: &'a mut SrtpSender,
        (socket, to): (SocketId, SocketAddr),
        ids: &'a ExtensionIds,
        transport_sequence: &'a mut u16,
    ) -> Self {
        Self {
            arena,
            sender,
            socket,
            to,
            ids,
            transport_sequence,
            send_time: AbsSendTime::from_micros(now).bytes(),
            now,
            log: None,
            pool: None,
        }
    }

    /// Tells what is sent to the estimator of the peer's path.
    pub fn logged(mut self, log: Option<SentLog<'a>>) -> Self {
        self.log = log;
        self
    }

    /// Bytes that the path has left for retransmissions.
    pub(super) fn rtx_left(&mut self) -> f64 {
        let now = self.now;
        self.log.as_mut().map_or(f64::INFINITY, |log| log.rtx_left(now))
    }

    /// Whether the path has room for so many bytes of retransmissions; they are taken.
    pub(super) fn takes_rtx(&mut self, bytes: usize) -> bool {
        let now = self.now;
        self.log.as_mut().is_none_or(|log| log.takes_rtx(now, bytes))
    }

    /// Microseconds.
    pub(super) fn now(&self) -> u64 {
        self.now
    }

    /// Gives memory for parity.
    pub(crate) fn with_pool(mut self, pool: &'a mut Pool) -> Self {
        self.pool = Some(pool);
        self
    }

    pub(crate) fn pool(&mut self) -> Option<&mut Pool> {
        self.pool.as_deref_mut()
    }

    pub(super) fn take_pool(&mut self) -> Option<&'a mut Pool> {
        self.pool.take()
    }

    pub(super) fn put_pool(&mut self, pool: Option<&'a mut Pool>) {
        self.pool = pool;
    }

    /// The next packets belong to this cluster.
    pub(crate) fn set_probe(&mut self, probe: Option<ProbeId>) {
        if let Some(log) = &mut self.log {
            log.probe = probe;
        }
    }

    /// The next packets go for nothing but to see what the path carries, whatever they hold.
    pub(super) fn set_filling(&mut self, fills: bool) {
        if let Some(log) = &mut self.log {
            log.fills = fills;
        }
    }

    /// Whether the packet written last arrives is to be told of `number`: SSRC and sequence number of the media. False where nothing
    /// is told.
    pub(super) fn mark(&mut self, number: (u32, u16)) -> bool {
        let Some(log) = &mut self.log else { return false };
        log.mark(self.now, self.transport_sequence.wrapping_sub(1), number);
        true
    }

    /// The peer negotiated dependency descriptors.
    pub(super) fn takes_dependencies(&self) -> bool {
        self.ids.dependency_descriptor.is_some()
    }

    /// Whether [`Egress::write`] would find room.
    pub fn has_room(&mut self) -> bool {
        self.arena.reserve(ROOM).is_some()
    }

    /// Appends one protected packet and returns its length. `template` is the header of the stream's former packet, or
    /// an empty one.
    #[inline]
    pub(super) fn write(
        &mut self,
        head: Head<'_>,
        template: &mut HeaderTemplate,
        packet: &Packet,
        body: Body<'_>,
    ) -> Result<usize, WriteError> {
        self.write_shown(head, template, packet, body, |_, _, _| {})
    }

    /// The same, and shows what is sent before it is encrypted: header, and payload in two parts, out of RED.
    #[inline]
    pub(super) fn write_shown(
        &mut self,
        head: Head<'_>,
        template: &mut HeaderTemplate,
        packet: &Packet,
        body: Body<'_>,
        show: impl FnOnce(&[u8], [&[u8]; 2], &ExtensionIds),
    ) -> Result<usize, WriteError> {
        let mut lead = [0; LEAD];
        let [first, rest] = body.parts(&mut lead);
        let kind = match (body.padding, body.original) {
            (true, _) => Kind::Padding,
            (false, Some(_)) => Kind::Rtx,
            (false, None) => Kind::Media,
        };
        let show = |header: &[u8], ids: &ExtensionIds| {
            let media = first.get(usize::from(body.red.is_some())..).unwrap_or_default();
            show(header, [media, rest], ids);
        };
        self.put(head, template, packet, ([first, rest], kind), show)
    }

    /// Appends a packet of parity.
    pub(super) fn write_parity(
        &mut self,
        head: Head<'_>,
        template: &mut HeaderTemplate,
        parts: [&[u8]; 2],
    ) -> Result<usize, WriteError> {
        self.put(head, template, &Packet::default(), (parts, Kind::Fec), |_, _| {})
    }

    #[inline]
    fn put(
        &mut self,
        head: Head<'_>,
        template: &mut HeaderTemplate,
        packet: &Packet,
        (parts, kind): ([&[u8]; 2], Kind),
        show: impl FnOnce(&[u8], &ExtensionIds),
    ) -> Result<usize, WriteError> {
        let out = self.arena.reserve(ROOM).ok_or(WriteError::ArenaFull)?;
        let content = parts[0].len() + parts[1].len();
        let values = Values {
            ids: self.ids,
            mid: head.mid,
            transport_sequence: *self.transport_sequence,
            send_time: self.send_time,
            room: MAX_DATAGRAM.saturating_sub(rtp::FIXED_HEADER + content + MAX_RTP_OVERHEAD),
        };
        let header_len = template
            .write(out, &head, &values, packet)
            .ok_or(WriteError::Unsendable)?;
        if kind == Kind::Padding {
            out[0] |= PADDING;
        }
        let protected = self.sender.protect_rtp_from(out, header_len, parts, head.sequence);
        let len = protected.map_err(|_| WriteError::Unsendable)?;
        // Headers are not encrypted.
        show(out.get(..header_len).unwrap_or_default(), self.ids);
        self.arena.commit(self.socket, self.to, len);
        if let Some(log) = &mut self.log {
            let number = (head.ssrc, head.sequence as u16);
            let kind = if log.fills { Kind::Padding } else { kind };
            log.on_sent(self.now, *self.transport_sequence, number, len, kind);
        }
        *self.transport_sequence = self.transport_sequence.wrapping_add(1);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SrtpProfile;
    use crate::srtp::SrtpReceiver;

    const IDS: ExtensionIds = ExtensionIds {
        mid: Some(1),
        rid: None,
        repaired_rid: None,
        audio_level: Some(2),
        transport_cc: Some(3),
        abs_send_time: Some(4),
        abs_capture_time: None,
        dependency_descriptor: Some(5),
        video_orientation: None,
        playout_delay: None,
    };

    type Elements = Vec<(u8, Vec<u8>)>;

    /// Sends one packet and returns it unprotected: header, elements, payload.
    fn send(packet: &Packet, body: Body<'_>) -> (rtp::Header, Elements, Vec<u8>) {
        let (key, salt) = ([7; 16], [9; 12]);
        let mut sender = SrtpSender::new(SrtpProfile::AeadAes128Gcm, &key, &salt).unwrap();
        let mut receiver = SrtpReceiver::new(SrtpProfile::AeadAes128Gcm, &key, &salt).unwrap();
        let mut arena = TransmitArena::new(4_096, 4);
        let mut transport_sequence = 500;
        let to = (SocketId(0), "127.0.0.1:9".parse().unwrap());
        let mut egress = Egress::new(0, &mut arena, &mut sender, to, &IDS, &mut transport_sequence);
        let head = Head {
            marker: true,
            payload_type: 96,
            sequence: 70_000,
            timestamp: 1_234,
            ssrc: 42,
            mid: "0",
            dependency: packet.dependency(),
        };
        let len = egress
            .write(head, &mut HeaderTemplate::default(), packet, body)
            .unwrap();
        assert_eq!(transport_sequence, 501);
        let mut datagram = arena.bytes()[..len].to_vec();
        let header = rtp::Header::parse(&datagram).unwrap();
        let unprotected = receiver.unprotect_rtp(&mut datagram, header.len).unwrap();
        let elements = header
            .extensions(&datagram)
            .map(|(id, value)| (id, value.to_vec()))
            .collect();
        (header, elements, datagram[header.len..unprotected.len].to_vec())
    }

    #[test]
    fn header_extensions_and_payload() {
        let mut packet = Packet::default();
        packet.extensions.audio_level = Some(0x85);
        assert!(packet.set_content(b"payload", &[]));
        let body = Body {
            original: Some(0x0102),
            red: None,
            payload: packet.payload(),
            pictures: None,
            padding: false,
        };
        let (header, elements, payload) = send(&packet, body);
        assert_eq!(
            (
                header.marker,
                header.payload_type,
                header.sequence,
                header.timestamp,
                header.ssrc
            ),
            (true, 96, 4_464, 1_234, 42)
        );
        assert_eq!(payload, b"\x01\x02payload");
        assert_eq!(
            elements,
            [
                (1, b"0".to_vec()),
                (3, vec![1, 244]),
                (2, vec![0x85]),
                (4, vec![0, 0, 0])
            ]
        );
    }

    #[test]
    fn a_long_descriptor_takes_the_two_byte_form() {
        let mut packet = Packet::default();
        assert!(packet.set_content(b"x", &[3; 40]));
        let body = Body {
            original: None,
            red: None,
            payload: packet.payload(),
            pictures: None,
            padding: false,
        };
        let (_, elements, payload) = send(&packet, body);
        assert_eq!(payload, b"x");
        assert!(elements.contains(&(5, vec![3; 40])));
    }

    #[test]
    fn a_full_packet_goes_without_extensions() {
        let mut packet = Packet::default();
        assert!(packet.set_content(&[1; 1_440], &[]));
        let body = Body {
            original: None,
            red: None,
            payload: packet.payload(),
            pictures: None,
            padding: false,
        };
        let (_, elements, payload) = send(&packet, body);
        assert_eq!((elements.len(), payload.len()), (0, 1_440));
    }
}
