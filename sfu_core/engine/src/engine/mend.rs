//! Parity of publishers: what was lost on the way up is made anew from it and enters the track as a retransmission does.

use std::time::Instant;

use wire::flexfec;
use wire::rtp::{self, Header};

use super::Engine;
use super::ingest::Media;
use crate::counters::Dropped;
use crate::fec::{Decoder, Format, Received};
use crate::ids::PayloadType;
use crate::packet::{Carried, Facts, Packet};
use crate::publish::layer::Layer;
use crate::publish::voids;

impl Engine {
    /// Parity on an SSRC of its own. It names the SSRC of the media, and senders give it no RID.
    pub(super) fn handle_flexfec(
        &mut self,
        now: Instant,
        peer: usize,
        key: usize,
        payload: &[u8],
    ) -> Result<(), Dropped> {
        let ssrc = flexfec::Packet::parse(payload).map_err(|_| Dropped::Malformed)?.ssrc;
        let track = &mut self.tracks[key];
        if track.muted {
            return Err(Dropped::Muted);
        }
        let mut layers = track.layers.iter_mut().enumerate();
        let (index, layer) = layers
            .find(|(_, layer)| layer.upstream.ssrc == Some(ssrc))
            .ok_or(Dropped::NoRoute)?;
        let mut decoder = decoder(layer, Format::Flexfec { ssrc }, ssrc);
        decoder.handle_repair(payload);
        self.take_recovered(now, (peer, key), index as u8, decoder);
        Ok(())
    }

    /// A packet that was accepted, or that had parity in its place. `content`: what follows its header, padding and RED included.
    pub(super) fn mend(
        &mut self,
        now: Instant,
        (peer, key): (usize, usize),
        header: &[u8],
        content: &[u8],
        media: &Media<'_>,
    ) {
        let track = &mut self.tracks[key];
        // A decoder is for one format. FlexFEC goes first.
        let ulpfec = track.fec.ulpfec.filter(|_| track.takes_ulpfec());
        let Some(layer) = track.layers.get_mut(usize::from(media.layer)) else {
            return;
        };
        let decoder = match media.parity {
            Some(repair) => {
                let (Some(PayloadType(payload_type)), Some(ssrc)) = (ulpfec, layer.upstream.ssrc) else {
                    return;
                };
                let mut decoder = decoder(layer, Format::Ulpfec { payload_type }, ssrc);
                decoder.handle_repair(repair);
                decoder
            }
            // A retransmission may have other extensions than what it repeats (RFC 8852 section 3.2): its sum would be wrong.
            None if media.recovered || media.payload.is_empty() => return,
            None => {
                let Some(mut decoder) = layer.upstream.decoder.take() else {
                    return;
                };
                let received = Received {
                    header,
                    payload_type: media.format.payload_type.0,
                    payload: content,
                };
                decoder.handle_media(&received, &self.peers[peer].extension_ids);
                decoder
            }
        };
        self.take_recovered(now, (peer, key), media.layer, decoder);
    }

    /// Parity that was lost beside a packet is passed on as padding is: nobody waits for it, and it leaves no gap.
    pub(super) fn close_voids(&mut self, now: Instant, key: usize, packet: &Packet) {
        let track = &mut self.tracks[key];
        track.frames.on_packet(packet);
        let Some(layer) = track.layers.get(usize::from(packet.layer)) else {
            return;
        };
        let Some((last, next)) = voids::bounds(&layer.ring, &track.frames, packet) else {
            return;
        };
        for seq in last + 1..next {
            let Some(layer) = self.tracks[key].layers.get_mut(usize::from(packet.layer)) else {
                return;
            };
            if layer.ring.is_known(seq) {
                continue;
            }
            layer.upstream.nacks.on_packet(seq, packet.arrival);
            let nothing = self.pool.take(|nothing| {
                nothing.layer = packet.layer;
                nothing.seq = seq;
                nothing.timestamp = packet.timestamp;
                nothing.time = packet.time;
                nothing.stream = packet.stream;
                nothing.marker = false;
                nothing.payload_type = packet.payload_type;
                nothing.arrival = packet.arrival;
                nothing.recovered = true;
                nothing.extensions = Carried::default();
                nothing.facts = Facts::default();
                nothing.structure = None;
                nothing.left_out = None;
                nothing.set_content(&[], &[])
            });
            if let Some(nothing) = nothing {
                self.distribute(now, key, nothing, false);
            }
        }
    }

    /// Shares what the decoder has made anew, and puts it back.
    fn take_recovered(&mut self, now: Instant, (peer, key): (usize, usize), layer: u8, mut decoder: Box<Decoder>) {
        let at = self.micros(now);
        while let Some(packet) = decoder.poll_recovered() {
            let Ok(header) = Header::parse(packet) else { continue };
            let Ok(payload) = rtp::payload(packet, &header) else {
                continue;
            };
            let track = &mut self.tracks[key];
            let Some(format) = track.format(PayloadType(header.payload_type)).copied() else {
                continue;
            };
            let Some(slot) = track.layers.get_mut(usize::from(layer)) else {
                continue;
            };
            let Ok(place) = slot.place_repair(header.sequence, header.timestamp, at) else {
                continue;
            };
            slot.upstream.recovered_fec += 1;
            let extensions = self.peers[peer].extensions.read(&header, packet);
            let media = Media {
                layer,
                format,
                place,
                recovered: true,
                payload,
                parity: None,
            };
            if let Err(dropped) = self.accept(now, key, &header, &extensions, &media) {
                dropped.count(&mut self.counters);
            }
        }
        if let Some(slot) = self.tracks[key].layers.get_mut(usize::from(layer)) {
            slot.upstream.decoder = Some(decoder);
        }
    }
}

/// That of the layer; it is made for the first repair.
fn decoder(layer: &mut Layer, format: Format, ssrc: u32) -> Box<Decoder> {
    let kept = layer.upstream.decoder.take();
    kept.unwrap_or_else(|| Box::new(Decoder::new(format, ssrc)))
}
