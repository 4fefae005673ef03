//! A node that sends what its estimate says, and the client that tells it what arrives.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use netem::{Link, LinkConfig, Random};
use pysfu_engine::bandwidth::{Bandwidth, Demand, Kind, Limits, Probe};
use wire::rtcp::{self, ccfb, twcc};

use crate::world::{Packet, What};

const PACKET: u32 = 1_200;
const FRAME: u64 = 33_333;
/// The client's clock: elsewhere, and 50 ppm fast.
const CLOCK_OFFSET: u64 = 5_000_000_000;
/// The pacer sends frames at this multiple of the estimate, at most 5 ms at once.
const PACING: f64 = 1.25;

#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// An encoder that makes what it may.
    Elastic,
    /// Simulcast: one of these bitrates.
    Layers(Vec<f64>),
}

/// Simulcast, the layers alone.
pub(crate) fn layers() -> Source {
    Source::Layers(vec![150e3, 500e3, 1.5e6, 2.5e6, 5e6])
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Format {
    TransportWide,
    /// RFC 8888: audio and video are told of as streams of their own.
    ByStream,
}

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) source: Source,
    pub(crate) limits: Limits,
    /// Bits per second that are of use.
    pub(crate) most: f64,
    pub(crate) from: f64,
    /// Nothing is sent between these times.
    pub(crate) pause: (f64, f64),
    /// Milliseconds between feedback.
    pub(crate) feedback: (u64, u64),
    /// Milliseconds each way beside the shared link.
    pub(crate) delay: u64,
    /// Nothing of the feedback made between these times arrives.
    pub(crate) deaf: (f64, f64),
    pub(crate) format: Format,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            source: Source::Elastic,
            limits: Limits {
                start: 300e3,
                min: 50e3,
                max: 20e6,
            },
            most: 20e6,
            from: 0.0,
            pause: (0.0, 0.0),
            feedback: (50, 100),
            delay: 0,
            deaf: (0.0, 0.0),
            format: Format::TransportWide,
        }
    }
}

pub(crate) struct Flow {
    index: usize,
    setup: Setup,
    pub(crate) bandwidth: Bandwidth,
    random: Random,
    /// Feedback on its way, at the node's end.
    up: Link<Vec<u8>>,
    ahead: Link<Packet>,
    // The node.
    next_number: u64,
    queue: VecDeque<u32>,
    tokens: f64,
    /// Bytes of padding that may be sent.
    filled: f64,
    next_frame: u64,
    next_audio: u64,
    layer: usize,
    layer_since: u64,
    probe: Option<Probing>,
    pub(crate) sent_bytes: u64,
    pub(crate) padding_bytes: u64,
    /// Bitrate of the layer by time, when it changed.
    pub(crate) layers: Vec<(u64, f64)>,
    /// The stream that each number belongs to, and its number there.
    streams: BTreeMap<u64, (u32, u16)>,
    stream_numbers: [u16; 2],
    // The client.
    arrivals: BTreeMap<u64, u64>,
    told: u64,
    late: Option<u64>,
    next_feedback: u64,
    serial: u8,
}

struct Probing {
    probe: Probe,
    bytes: u32,
    packets: u32,
    tokens: f64,
}

impl Flow {
    pub(crate) fn new(index: usize, setup: Setup, up: LinkConfig, seed: u64) -> Self {
        let start = (setup.from * 1e6) as u64;
        let mut random = Random::new(seed, 99);
        let phase = random.bits() % FRAME;
        let ahead = LinkConfig {
            delay: Duration::from_millis(setup.delay),
            ..LinkConfig::default()
        };
        let up = LinkConfig {
            delay: up.delay + Duration::from_millis(setup.delay),
            ..up
        };
        Self {
            index,
            bandwidth: Bandwidth::new(start, setup.limits),
            up: Link::new(up, seed ^ 0x55),
            ahead: Link::new(ahead, seed),
            next_number: random.bits() % 65_536,
            random,
            queue: VecDeque::new(),
            tokens: 0.0,
            filled: 0.0,
            next_frame: start + phase,
            next_audio: start,
            layer: 0,
            layer_since: 0,
            probe: None,
            sent_bytes: 0,
            padding_bytes: 0,
            layers: Vec::new(),
            streams: BTreeMap::new(),
            stream_numbers: [65_500, 7],
            arrivals: BTreeMap::new(),
            told: 0,
            late: None,
            next_feedback: start,
            serial: 0,
            setup,
        }
    }

    pub(crate) fn step(&mut self, now: u64, out: &mut Vec<Packet>) {
        let time = now as f64 / 1e6;
        if time < self.setup.from {
            return;
        }
        self.hear(now);
        let is_paused = time >= self.setup.pause.0 && time < self.setup.pause.1;
        if !is_paused {
            self.produce(now);
        }
        if let Some(probe) = self.bandwidth.poll(now).filter(|_| !is_paused) {
            self.probe = Some(Probing {
                probe,
                bytes: 0,
                packets: 0,
                tokens: f64::from(PACKET),
            });
        }
        self.pace(now);
        while let Some((_, mut packet)) = self.ahead.pop(Duration::from_micros(now)) {
            packet.sent = now;
            out.push(packet);
        }
        self.tell(now);
    }

    fn produce(&mut self, now: u64) {
        let media = self.bandwidth.estimate().media.min(self.setup.most);
        if now >= self.next_audio {
            self.next_audio = now + 20_000;
            self.send(now, 110, Kind::Audio, None);
        }
        if now < self.next_frame {
            return;
        }
        self.next_frame += FRAME;
        let (rate, next, allocated, most) = match &self.setup.source {
            Source::Elastic => (media - 44e3, self.setup.most, media, self.setup.most),
            Source::Layers(layers) => {
                let fits = |rate: f64| rate + 44e3 <= media;
                let best = layers.iter().rposition(|&rate| fits(rate)).unwrap_or(0);
                if best != self.layer || self.layers.is_empty() {
                    self.layer = best;
                    self.layer_since = now;
                    self.layers.push((now, layers[best]));
                }
                let next = layers.get(self.layer + 1).copied().unwrap_or(layers[layers.len() - 1]);
                let most = layers[layers.len() - 1] + 44e3;
                (layers[self.layer], next + 44e3, layers[self.layer] + 44e3, most)
            }
        };
        self.bandwidth.set_demand(now, Demand { allocated, next, most });
        let size = rate.max(20e3) / 8.0 * FRAME as f64 / 1e6 * (0.85 + 0.3 * self.random.unit());
        let mut left = size as u32;
        // The encoder skips frames that could not be sent anyway.
        let waiting: u32 = self.queue.iter().sum();
        if f64::from(waiting) * 8.0 > media * 0.3 {
            return;
        }
        while left > 0 {
            let bytes = left.min(PACKET);
            self.queue.push_back(bytes.max(60));
            left -= bytes;
        }
    }

    fn pace(&mut self, now: u64) {
        if let Some(mut probing) = self.probe.take() {
            probing.tokens += probing.probe.bits_per_second / 8e3;
            let padding = (probing.probe.bytes / probing.probe.packets).min(PACKET);
            while probing.tokens > 0.0 && !probing.is_done() {
                let (bytes, kind) = self
                    .queue
                    .pop_front()
                    .map_or((padding, Kind::Padding), |bytes| (bytes, Kind::Media));
                probing.tokens -= f64::from(bytes);
                probing.bytes += bytes;
                probing.packets += 1;
                self.send(now, bytes, kind, Some(probing.probe));
            }
            self.probe = Some(probing).filter(|probing| !probing.is_done());
            return;
        }
        let rate = self.bandwidth.estimate().target * PACING / 8e6;
        self.tokens = (self.tokens + rate * 1e3).min((rate * 5e3).max(1.0));
        while self.tokens > 0.0 {
            let Some(bytes) = self.queue.pop_front() else { break };
            self.tokens -= f64::from(bytes);
            self.filled -= f64::from(bytes);
            self.send(now, bytes, Kind::Media, None);
        }
        let Some(fill) = self.bandwidth.fill(now) else {
            self.filled = 0.0;
            return;
        };
        self.filled = (self.filled + fill / 8e3).min(fill / 8e3 * 5.0);
        // As the pacer does: what takes 5 ms.
        let padding = ((fill / 8e3 * 5.0) as u32).clamp(200, PACKET);
        while self.filled > 0.0 && self.queue.is_empty() {
            self.filled -= f64::from(padding);
            self.send(now, padding, Kind::Padding, None);
        }
    }

    fn send(&mut self, now: u64, bytes: u32, kind: Kind, probe: Option<Probe>) {
        let number = self.next_number;
        self.next_number += 1;
        self.bandwidth
            .on_sent(number as u16, now, bytes, kind, probe.map(|probe| probe.id));
        if self.setup.format == Format::ByStream {
            let ssrc = u32::from(kind == Kind::Audio);
            let next = &mut self.stream_numbers[ssrc as usize];
            *next = next.wrapping_add(1);
            self.bandwidth.on_sent_stream(number as u16, ssrc, *next);
            self.streams.insert(number, (ssrc, *next));
        }
        self.sent_bytes += u64::from(bytes);
        if kind == Kind::Padding {
            self.padding_bytes += u64::from(bytes);
        }
        let packet = Packet {
            flow: self.index,
            what: What::Media { number },
            bytes,
            sent: now,
        };
        self.ahead.push(Duration::from_micros(now), bytes as usize, packet);
    }

    pub(crate) fn on_arrival(&mut self, number: u64, arrival: u64) {
        if self.told == 0 {
            self.told = number;
        }
        if number < self.told {
            self.late = Some(self.late.map_or(number, |late| late.min(number)));
        }
        self.arrivals.insert(number, arrival + CLOCK_OFFSET + arrival / 20_000);
    }

    /// The client's part: feedback as Chromium sends it.
    fn tell(&mut self, now: u64) {
        if now < self.next_feedback {
            return;
        }
        let (shortest, longest) = self.setup.feedback;
        self.next_feedback = now + 1_000 * (shortest + self.random.bits() % (longest - shortest + 1));
        let Some((&last, _)) = self.arrivals.last_key_value() else {
            return;
        };
        if self.setup.format == Format::ByStream {
            self.tell_by_stream(now, last);
            return;
        }
        let mut first = self.late.take().unwrap_or(self.told);
        while first <= last {
            let list: Vec<_> = (first..=last)
                .map(|number| self.arrivals.get(&number).copied())
                .collect();
            let mut buffer = [0; 1_200];
            let Ok(written) = twcc::write(&mut buffer, 1, 2, self.serial, first as u16, list.into_iter()) else {
                break;
            };
            self.serial = self.serial.wrapping_add(1);
            first += written.told as u64;
            self.send_feedback(now, &buffer[..written.len]);
        }
        self.told = last + 1;
        let keep = last.saturating_sub(500);
        self.arrivals = self.arrivals.split_off(&keep);
    }

    fn tell_by_stream(&mut self, now: u64, last: u64) {
        let told = now + CLOCK_OFFSET + now / 20_000;
        // The last 200 packets each time: what is told is told again.
        let recent = last.saturating_sub(200)..=last;
        let reports: Vec<_> = [0, 1]
            .into_iter()
            .filter_map(|ssrc| {
                let of_stream = self
                    .streams
                    .range(recent.clone())
                    .filter(|(_, stream)| stream.0 == ssrc);
                let numbers: Vec<_> = of_stream.map(|(&number, stream)| (number, stream.1)).collect();
                let metrics: Vec<_> = numbers
                    .iter()
                    .map(|(number, _)| {
                        let offset = (told - self.arrivals.get(number)?) * 1_024 / 1_000_000;
                        Some(ccfb::Metric {
                            ecn: 0,
                            offset: offset.min(0x1ffe) as u16,
                        })
                    })
                    .collect();
                Some((ssrc, numbers.first()?.1, metrics))
            })
            .collect();
        let mut buffer = [0; 1_200];
        let timestamp = ((u128::from(told) << 16) / 1_000_000) as u32;
        let len = ccfb::write(&mut buffer, 1, timestamp, reports).unwrap();
        self.send_feedback(now, &buffer[..len]);
        self.arrivals = self.arrivals.split_off(&last.saturating_sub(500));
        self.streams = self.streams.split_off(&last.saturating_sub(500));
    }

    fn send_feedback(&mut self, now: u64, compound: &[u8]) {
        let time = now as f64 / 1e6;
        if time < self.setup.deaf.0 || time >= self.setup.deaf.1 {
            self.up
                .push(Duration::from_micros(now), compound.len() + 40, compound.to_vec());
        }
    }

    fn hear(&mut self, now: u64) {
        while let Some((_, compound)) = self.up.pop(Duration::from_micros(now)) {
            for packet in rtcp::packets(&compound) {
                match packet.unwrap() {
                    rtcp::Packet::TransportWide(feedback) => self.bandwidth.on_transport_feedback(now, &feedback),
                    rtcp::Packet::CongestionControl(feedback) => self.bandwidth.on_ccfb(now, &feedback),
                    other => panic!("{other:?}"),
                }
            }
        }
    }
}

impl Probing {
    fn is_done(&self) -> bool {
        self.bytes >= self.probe.bytes && self.packets >= self.probe.packets
    }
}
