//! A client: its keys, its place in the network, what it publishes and what it receives.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use pysfu_engine::ids::PeerId;
use wire::demux::{Kind, classify};
use wire::rtcp::{self, Packet, report, twcc};
use wire::rtp::{self as header, Header};

use crate::client::Client;
use crate::media::Track;
use crate::media::publisher::Publisher;
use crate::receive::feedback::Arrivals;
use crate::receive::{Arrival, Receiver};
use crate::rtp::{self, Rtp};
use crate::wires::UDP_IP;

/// Between receiver reports, microseconds.
const REPORTS: u64 = 1_000_000;
/// SSRC under which feedback is sent.
const OWN: u32 = 1;

pub(crate) struct Peer {
    pub(crate) id: PeerId,
    pub(crate) address: SocketAddr,
    pub(crate) client: Client,
    /// Wires of the world that its datagrams take; none: they arrive at once.
    pub(crate) down: Option<usize>,
    pub(crate) up: Option<usize>,
    /// Delay of this client alone, each way, microseconds.
    pub(crate) extra: u64,
    /// Of the empty path, microseconds: what a browser knows from reports.
    pub(crate) round_trip: u64,
    pub(crate) under_way: VecDeque<(u64, Vec<u8>)>,
    pub(crate) under_way_up: VecDeque<(u64, Vec<u8>)>,
    pub(crate) publishers: Vec<Publisher>,
    pub(crate) receivers: Vec<Receiver>,
    pub(crate) told: Told,
    /// When it was added, microseconds.
    pub(crate) since: u64,
    by_ssrc: HashMap<u32, (usize, Stream)>,
    arrivals: Arrivals,
    next_report: u64,
    indices: HashMap<u32, u64>,
    transport_sequence: u16,
}

#[derive(Clone, Copy, PartialEq)]
enum Stream {
    Media,
    Repair,
    Parity,
}

/// Bytes that arrived, with those of UDP and IP, since last asked.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    pub(crate) video: u64,
    pub(crate) audio: u64,
    /// Retransmissions that were of use.
    pub(crate) repair: u64,
    pub(crate) parity: u64,
    /// Padding and repetitions of what was there.
    pub(crate) padding: u64,
}

impl Peer {
    pub(crate) fn new(id: PeerId, address: SocketAddr, client: Client, now: u64) -> Self {
        Self {
            id,
            address,
            client,
            down: None,
            up: None,
            extra: 0,
            round_trip: 0,
            under_way: VecDeque::new(),
            under_way_up: VecDeque::new(),
            publishers: Vec::new(),
            receivers: Vec::new(),
            told: Told::default(),
            since: now,
            by_ssrc: HashMap::new(),
            arrivals: Arrivals::default(),
            next_report: now + REPORTS,
            indices: HashMap::new(),
            transport_sequence: 0,
        }
    }

    pub(crate) fn receive_stream(&mut self, receiver: Receiver) {
        let index = self.receivers.len();
        self.by_ssrc.insert(receiver.ssrc, (index, Stream::Media));
        if let Some(ssrc) = receiver.rtx_ssrc {
            self.by_ssrc.insert(ssrc, (index, Stream::Repair));
        }
        if let Some(ssrc) = receiver.fec_ssrc() {
            self.by_ssrc.insert(ssrc, (index, Stream::Parity));
        }
        self.receivers.push(receiver);
    }

    pub(crate) fn connected(&self) -> bool {
        self.client.keys.is_some()
    }

    /// A datagram of the engine arrives. What it wants sent at once goes to `out`.
    pub(crate) fn handle(
        &mut self,
        now: u64,
        instant: std::time::Instant,
        mut datagram: Vec<u8>,
        tracks: &[Track],
        out: &mut Vec<Vec<u8>>,
    ) {
        match (classify(&datagram), self.client.keys.as_mut()) {
            (Some(Kind::Rtp), Some((_, _, receiver))) => {
                let header = Header::parse(&datagram).unwrap();
                // Nothing goes out twice; what is late is known already.
                let Ok(opened) = receiver.unprotect_rtp(&mut datagram, header.len) else {
                    return;
                };
                datagram.truncate(opened.len);
                self.handle_rtp(now, &header, &datagram, tracks);
            }
            (Some(Kind::Rtcp), Some((_, _, receiver))) => {
                let len = receiver.unprotect_rtcp(&mut datagram).unwrap();
                datagram.truncate(len);
                self.handle_rtcp(now, &datagram, out);
            }
            _ => self.client.handle(instant, &datagram),
        }
    }

    fn handle_rtp(&mut self, now: u64, header: &Header, packet: &[u8], tracks: &[Track]) {
        let number = header.extensions(packet).find(|(id, _)| *id == rtp::TRANSPORT_CC);
        if let Some(&[high, low]) = number.map(|(_, value)| value).and_then(|value| value.first_chunk()) {
            self.arrivals.on_arrival(now, u16::from_be_bytes([high, low]));
        }
        let bytes = (packet.len() + 16 + UDP_IP) as u64;
        let Some(&(index, stream)) = self.by_ssrc.get(&header.ssrc) else {
            return;
        };
        let payload = header::payload(packet, header).unwrap();
        let receiver = &mut self.receivers[index];
        let arrival = Arrival {
            now,
            sequence: header.sequence,
            timestamp: header.timestamp,
            marker: header.marker,
            payload_type: header.payload_type,
            payload,
        };
        let useful = match stream {
            Stream::Media => receiver.on_media(arrival, packet.split_at(header.len), tracks),
            Stream::Parity => receiver.on_parity(now, payload, tracks),
            Stream::Repair => receiver.on_repair(arrival, tracks),
        };
        *match (useful, stream, receiver.is_video()) {
            (false, ..) => &mut self.told.padding,
            (true, Stream::Repair, _) => &mut self.told.repair,
            (true, Stream::Parity, _) => &mut self.told.parity,
            (true, Stream::Media, true) => &mut self.told.video,
            (true, Stream::Media, false) => &mut self.told.audio,
        } += bytes;
    }

    /// The engine sent a packet down.
    pub(crate) fn on_sent(&mut self, now: u64, header: &Header) {
        if let Some(&(index, Stream::Media)) = self.by_ssrc.get(&header.ssrc) {
            self.receivers[index].on_sent(now, header.timestamp);
        }
    }

    fn handle_rtcp(&mut self, now: u64, compound: &[u8], out: &mut Vec<Vec<u8>>) {
        for packet in rtcp::packets(compound) {
            let packet = packet.unwrap();
            if let Packet::SenderReport(report) = &packet
                && let Some(&(index, Stream::Media)) = self.by_ssrc.get(&report.ssrc)
            {
                self.receivers[index].on_sender_report(now, report.info.ntp);
            }
            let again: Vec<Rtp> = self
                .publishers
                .iter_mut()
                .flat_map(|publisher| publisher.on_rtcp(now, &packet))
                .collect();
            for packet in again {
                let datagram = self.protect(packet);
                out.push(datagram);
            }
        }
    }

    /// Everything that is due, as datagrams.
    pub(crate) fn poll(&mut self, now: u64, tracks: &mut [Track], out: &mut Vec<Vec<u8>>) {
        if !self.connected() {
            return;
        }
        let (mut media, mut messages) = (Vec::new(), Vec::new());
        for publisher in &mut self.publishers {
            publisher.poll(now, &mut tracks[publisher.track], &mut media, &mut messages);
        }
        for packet in media {
            let datagram = self.protect(packet);
            out.push(datagram);
        }
        for receiver in &mut self.receivers {
            receiver.poll(now, self.round_trip, tracks, &mut messages);
        }
        if let Some((serial, first, times)) = self.arrivals.poll(now) {
            let times = times.iter().copied();
            messages.push(written(|out| {
                twcc::write(out, OWN, OWN, serial, first, times).unwrap().len
            }));
        }
        if self.next_report <= now && !self.receivers.is_empty() {
            self.next_report = now + REPORTS;
            for some in self.receivers.chunks_mut(31) {
                let blocks: Vec<_> = some.iter_mut().filter_map(|receiver| receiver.report(now)).collect();
                messages.push(written(|out| report::write_receiver(out, OWN, blocks).unwrap()));
            }
        }
        for message in messages {
            let datagram = self.protect_rtcp(message);
            out.push(datagram);
        }
    }

    fn protect(&mut self, mut packet: Rtp) -> Vec<u8> {
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        let number = self.transport_sequence.to_be_bytes().to_vec();
        packet.extensions.push((rtp::TRANSPORT_CC, number));
        let (mut bytes, header) = packet.write();
        let len = bytes.len();
        let index = self.indices.entry(packet.ssrc).or_insert(packet.seq.into());
        *index = wire::seq::extend(*index, packet.seq);
        bytes.resize(len + 16, 0);
        let (_, sender, _) = self.client.keys.as_mut().unwrap();
        let len = sender.protect_rtp(&mut bytes, header, len, *index).unwrap();
        bytes.truncate(len);
        bytes
    }

    pub(crate) fn protect_rtcp(&mut self, mut message: Vec<u8>) -> Vec<u8> {
        let len = message.len();
        message.resize(len + 64, 0);
        let (_, sender, _) = self.client.keys.as_mut().unwrap();
        let len = sender.protect_rtcp(&mut message, len).unwrap();
        message.truncate(len);
        message
    }
}

pub(crate) fn written(write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut out = vec![0; 1_400];
    let len = write(&mut out);
    out.truncate(len);
    out
}
