//! RTCP to publishers: losses, keyframes, arrivals, reports.

use wire::rtcp::report::ReportBlock;
use wire::rtcp::{fir, nack, pli, remb, report, sdes, twcc};

use super::Engine;
use crate::command::MediaKind;
use crate::publish::nack::{MAX_TRIES, MAX_TRIES_BESIDE_PARITY, Patience};

/// Our SSRC as a receiver. Nothing is sent under it, so it need not be unique among publishers.
const RECEIVER: u32 = 1;
/// Canonical name in our reports (RFC 7022 asks for one that tells nothing).
const CNAME: &str = "pysfu";
/// Numbers per NACK message: fits a compound packet even when none share a bitmask.
const MAX_NACKED: usize = 250;
/// Bits per second that REMB grants at least: above what browsers need for three layers of 1080p, so that they send them.
const MIN_GRANT: f64 = 5e6;
/// Of what arrives, the share granted beyond: a sender may always grow.
const GRANT_GROWTH: f64 = 1.5;
/// The largest grant: what REMB can mean for a browser.
const MAX_GRANT: f64 = 100e6;
/// Report blocks per report (RFC 3550 section 6.4.1: five bits).
const MAX_BLOCKS: usize = 31;

impl Engine {
    /// What cannot wait for the next reports. False when nothing is left to watch.
    pub(super) fn urgent_feedback(&mut self, key: usize, now: u64) -> bool {
        let arrivals = self.send_arrivals(key, now);
        let losses = self.send_losses(key, now);
        let keyframes = self.send_keyframe_requests(key, now);
        arrivals | losses | keyframes
    }

    /// Reports on all sources of the publisher (RFC 3550 section 6.4.2).
    pub(super) fn send_reports(&mut self, key: usize, now: u64) {
        let peer = &self.peers[key];
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.clear();
        for &track in &peer.tracks {
            for layer in &mut self.tracks[track].layers {
                blocks.extend(layer.report_block(now));
            }
        }
        for blocks in blocks.chunks(MAX_BLOCKS) {
            self.outbox
                .add(key, |out| report::write_receiver(out, RECEIVER, blocks.iter().copied()));
        }
        if !blocks.is_empty() {
            self.outbox.add(key, |out| sdes::write_cname(out, RECEIVER, CNAME));
        }
        if peer.remb && !peer.transport_cc && !blocks.is_empty() {
            let grant = (peer.received.bits_per_second(now) * GRANT_GROWTH).clamp(MIN_GRANT, MAX_GRANT) as u64;
            self.outbox.add(key, |out| {
                remb::write(out, RECEIVER, grant, blocks.iter().map(|b: &ReportBlock| b.ssrc))
            });
        }
        self.blocks = blocks;
    }

    fn send_arrivals(&mut self, key: usize, now: u64) -> bool {
        let Some(log) = &mut self.peers[key].arrivals else {
            return false;
        };
        if log.is_due(now) {
            while let Some(span) = log.next() {
                let times = (span.first..span.first + span.count).map(|seq| log.arrival(seq));
                let mut told = 0;
                self.outbox.add(key, |out| {
                    let first = span.first as u16;
                    let written = twcc::write(out, RECEIVER, log.media_ssrc, span.serial, first, times.clone())?;
                    told = written.told as u64;
                    Ok(written.len)
                });
                // Arrivals that no message can express are passed over.
                log.told(told.max(1), now);
            }
        }
        log.waits()
    }

    fn send_losses(&mut self, key: usize, now: u64) -> bool {
        let peer = &self.peers[key];
        let max_age = self.config.retransmission_window.as_micros() as u64;
        let mut waits = false;
        for &track in &peer.tracks {
            let track = &mut self.tracks[track];
            let muted = track.muted;
            let patience = Patience {
                max_age,
                max_tries: match track.takes_ulpfec() {
                    true => MAX_TRIES_BESIDE_PARITY,
                    false => MAX_TRIES,
                },
            };
            for layer in &mut track.layers {
                let up = &mut layer.upstream;
                let Some(ssrc) = up.ssrc.filter(|_| up.nack && !muted && !up.nacks.is_empty()) else {
                    continue;
                };
                self.missing.clear();
                up.nacks.due(now, peer.round_trip, patience, &mut self.missing);
                waits |= !up.nacks.is_empty();
                for missing in self.missing.chunks(MAX_NACKED) {
                    self.outbox
                        .add(key, |out| nack::write(out, RECEIVER, ssrc, missing.iter().copied()));
                    up.nacks_sent += missing.len() as u64;
                    self.counters.nacks_out += 1;
                }
            }
        }
        waits
    }

    pub(super) fn send_keyframe_requests(&mut self, key: usize, now: u64) -> bool {
        let interval = self.config.keyframe_interval.as_micros() as u64;
        let mut waits = false;
        for &track in &self.peers[key].tracks {
            let track = &mut self.tracks[track];
            if track.kind != MediaKind::Video || track.muted {
                continue;
            }
            for layer in &mut track.layers {
                let (keyframes, up) = (&mut layer.keyframes, &mut layer.upstream);
                let Some(ssrc) = up.ssrc.filter(|_| keyframes.is_wanted()) else {
                    continue;
                };
                if keyframes.due(now, interval) {
                    up.plis_sent += 1;
                    self.counters.plis_out += 1;
                    if up.fir {
                        // RFC 5104 section 4.3.1.1: a new number for every request.
                        up.fir_serial = up.fir_serial.wrapping_add(1);
                        let entry = fir::Entry {
                            ssrc,
                            serial: up.fir_serial,
                        };
                        self.outbox.add(key, |out| fir::write(out, RECEIVER, [entry]));
                    } else {
                        let request = pli::PictureLoss {
                            sender_ssrc: RECEIVER,
                            media_ssrc: ssrc,
                        };
                        self.outbox.add(key, |out| request.write(out));
                    }
                }
                waits |= keyframes.is_wanted();
            }
        }
        waits
    }
}
