//! What a client makes of one subscription.

pub(crate) mod audio;
pub(crate) mod feedback;
pub(crate) mod nack;
pub(crate) mod playout;
pub(crate) mod sequence;
pub(crate) mod video;

use pysfu_engine::command::MediaKind;
use pysfu_engine::fec::{Decoder, Format as Protection, Received};
use pysfu_engine::ids::SubscriptionId;
use wire::rtcp::report::ReportBlock;
use wire::rtcp::{nack as message, pli};
use wire::rtp::Header;

use crate::media::spec::Format;
use crate::media::{Tag, Track};
use crate::peer::written;
use crate::rtp;
use audio::Voice;
use sequence::Sequence;
use video::Video;

/// A packet that arrived, decrypted.
pub(crate) struct Arrival<'a> {
    /// Microseconds.
    pub(crate) now: u64,
    pub(crate) sequence: u16,
    pub(crate) timestamp: u32,
    pub(crate) marker: bool,
    pub(crate) payload_type: u8,
    pub(crate) payload: &'a [u8],
}

pub(crate) struct Receiver {
    pub(crate) subscription: SubscriptionId,
    pub(crate) track: usize,
    pub(crate) ssrc: u32,
    pub(crate) rtx_ssrc: Option<u32>,
    pub(crate) media: Media,
    format: Format,
    sequence: Sequence,
    /// Of FlexFEC, under its SSRC.
    parity: Option<(u32, Box<Decoder>)>,
    /// Middle bits of the last sender report, and when it came.
    report: Option<(u32, u64)>,
    /// At the last report: expected and received.
    reported: (u64, u64),
}

pub(crate) enum Media {
    Video(Box<Video>),
    Voice(Box<Voice>),
}

impl Receiver {
    pub(crate) fn new(
        subscription: SubscriptionId,
        track: usize,
        kind: MediaKind,
        ssrc: u32,
        format: Format,
        now: u64,
    ) -> Self {
        Self {
            subscription,
            track,
            ssrc,
            rtx_ssrc: None,
            media: match kind {
                MediaKind::Video => Media::Video(Box::new(Video::new(now))),
                MediaKind::Audio => Media::Voice(Box::default()),
            },
            format,
            sequence: Sequence::default(),
            parity: None,
            report: None,
            reported: (0, 0),
        }
    }

    pub(crate) fn is_video(&self) -> bool {
        matches!(self.media, Media::Video(_))
    }

    pub(crate) fn video(&self) -> Option<&Video> {
        match &self.media {
            Media::Video(video) => Some(video),
            Media::Voice(_) => None,
        }
    }

    pub(crate) fn voice(&self) -> Option<&Voice> {
        match &self.media {
            Media::Voice(voice) => Some(voice),
            Media::Video(_) => None,
        }
    }

    /// Spatial layer that is shown now.
    pub(crate) fn layer(&self, now: u64) -> Option<u8> {
        self.video()
            .and_then(|video| video.layer(now))
            .map(|(spatial, _)| spatial)
    }

    /// Takes FlexFEC under this SSRC.
    pub(crate) fn protect(&mut self, ssrc: u32) {
        let format = Protection::Flexfec { ssrc: self.ssrc };
        self.parity = Some((ssrc, Box::new(Decoder::new(format, self.ssrc))));
    }

    pub(crate) fn fec_ssrc(&self) -> Option<u32> {
        self.parity.as_ref().map(|(ssrc, _)| *ssrc)
    }

    /// Whether it was of use. `packet`: its header and the rest.
    pub(crate) fn on_media(&mut self, arrival: Arrival<'_>, packet: (&[u8], &[u8]), tracks: &[Track]) -> bool {
        let (now, number) = (arrival.now, self.sequence.extend(arrival.sequence));
        if let Some((_, decoder)) = &mut self.parity {
            let media = Received {
                header: packet.0,
                payload_type: arrival.payload_type,
                payload: packet.1,
            };
            decoder.handle_media(&media, &rtp::extension_ids());
        }
        let useful = self.insert(number, arrival, tracks, false);
        self.recover(now, tracks);
        useful
    }

    /// Parity always counts as redundancy.
    pub(crate) fn on_parity(&mut self, now: u64, payload: &[u8], tracks: &[Track]) -> bool {
        if let Some((_, decoder)) = &mut self.parity {
            decoder.handle_repair(payload);
        }
        self.recover(now, tracks);
        true
    }

    fn recover(&mut self, now: u64, tracks: &[Track]) {
        let Some((_, decoder)) = &mut self.parity else { return };
        let recovered: Vec<Vec<u8>> = std::iter::from_fn(|| decoder.poll_recovered().map(<[u8]>::to_vec)).collect();
        for packet in recovered {
            let header = Header::parse(&packet).unwrap();
            let number = self.sequence.number_of(header.sequence);
            let arrival = Arrival {
                now,
                sequence: header.sequence,
                timestamp: header.timestamp,
                marker: header.marker,
                payload_type: header.payload_type,
                payload: wire::rtp::payload(&packet, &header).unwrap(),
            };
            self.insert(number, arrival, tracks, true);
        }
    }

    /// A packet in RTX format (RFC 4588 section 4).
    pub(crate) fn on_repair(&mut self, arrival: Arrival<'_>, tracks: &[Track]) -> bool {
        let Some((&original, payload)) = arrival.payload.split_first_chunk() else {
            return false;
        };
        let sequence = u16::from_be_bytes(original);
        let number = self.sequence.number_of(sequence);
        let arrival = Arrival {
            sequence,
            payload,
            ..arrival
        };
        self.insert(number, arrival, tracks, true)
    }

    fn insert(&mut self, number: u64, arrival: Arrival<'_>, tracks: &[Track], again: bool) -> bool {
        let fresh = self.sequence.insert(number, !again);
        match &mut self.media {
            Media::Video(video) => {
                video.nacks.on_packet(arrival.now, number, &self.sequence);
                let tag = Tag::read(arrival.payload).filter(|_| fresh);
                let Some(tag) = tag else { return false };
                video.on_packet(&arrival, number, tag, &tracks[self.track], again);
            }
            Media::Voice(voice) => {
                if fresh {
                    voice.on_packet(&arrival, self.format.payload_type(), &tracks[self.track]);
                }
            }
        }
        fresh
    }

    pub(crate) fn on_sent(&mut self, now: u64, timestamp: u32) {
        if let Media::Video(video) = &mut self.media {
            video.on_sent(now, timestamp);
        }
    }

    pub(crate) fn on_sender_report(&mut self, now: u64, ntp: u64) {
        self.report = Some(((ntp >> 16) as u32, now));
    }

    /// Time goes on: pictures are shown, and what is missing is asked for.
    pub(crate) fn poll(&mut self, now: u64, round_trip: u64, tracks: &[Track], messages: &mut Vec<Vec<u8>>) {
        match &mut self.media {
            Media::Video(video) => {
                let missing = video.nacks.poll(now, round_trip);
                if !missing.is_empty() {
                    video.playout.on_nack(now, missing.len());
                    messages.push(written(|out| {
                        message::write(out, 1, self.ssrc, missing.iter().copied()).unwrap()
                    }));
                }
                video.show(now, round_trip, &tracks[self.track]);
                if video.wants_keyframe(now) {
                    let loss = pli::PictureLoss {
                        sender_ssrc: 1,
                        media_ssrc: self.ssrc,
                    };
                    messages.push(written(|out| loss.write(out).unwrap()));
                }
            }
            Media::Voice(voice) => voice.play(now),
        }
    }

    /// RFC 3550 section 6.4.2, without jitter.
    pub(crate) fn report(&mut self, now: u64) -> Option<ReportBlock> {
        let (expected, received) = self.sequence.counts()?;
        let since = (expected - self.reported.0, received - self.reported.1);
        self.reported = (expected, received);
        let lost = since.0.saturating_sub(since.1);
        Some(ReportBlock {
            ssrc: self.ssrc,
            fraction_lost: (lost * 256 / since.0.max(1)).min(255) as u8,
            cumulative_lost: expected as i32 - received as i32,
            highest_sequence: self.sequence.highest() as u32,
            jitter: 0,
            last_sender_report: self.report.map_or(0, |(middle, _)| middle),
            delay: self
                .report
                .map_or(0, |(_, at)| ((now - at) * 65_536 / 1_000_000) as u32),
        })
    }
}
