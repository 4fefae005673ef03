//! Unprotecting what we receive.

use rustc_hash::FxHashMap;

use super::cipher::Cipher;
use super::replay::{ReplayWindow, estimate};
use super::{SrtpError, rtcp_ssrc, rtp_ids};
use crate::event::SrtpProfile;

/// SSRCs remembered per peer and protocol; the longest silent one is forgotten. More cost 160 bytes each.
const MAX_STREAMS: usize = 512;
/// After so many packets in a row that did not authenticate, later rollover counters are tried: the stream may have been
/// silent to us for more than half a turn of its sequence numbers, and would never be understood again.
const FAILURES_BEFORE_SEARCH: u32 = 8;
/// How many rollover counters ahead are tried, one per packet, in turn.
const SEARCH: u64 = 64;
/// A packet to be tried twice is copied; larger ones are tried once.
const MAX_RETRY: usize = 2048;

/// A packet that proved authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unprotected {
    /// Where header and payload end: the tag is behind it.
    pub len: usize,
    /// Sequence number with its rollover counter (48 bits), per SSRC.
    pub extended_seq: u64,
}

pub struct SrtpReceiver {
    cipher: Cipher,
    /// Created by an SSRC's first authentic packet.
    rtp: FxHashMap<u32, Stream>,
    rtcp: FxHashMap<u32, Stream>,
    /// Packets in a row of SSRCs unknown that did not authenticate.
    unknown_failures: u32,
    /// Authentic packets so far: the clock of "longest silent".
    packets: u64,
}

struct Stream {
    window: ReplayWindow,
    failures: u32,
    last_packet: u64,
}

/// Indices that a packet may have, in the order of trial.
struct Candidates {
    first: Option<u64>,
    second: Option<u64>,
}

impl SrtpReceiver {
    /// `key` and `salt` are the master key and salt, of [`super::key_lengths`] bytes.
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        Ok(Self {
            cipher: Cipher::new(profile, key, salt)?,
            rtp: FxHashMap::default(),
            rtcp: FxHashMap::default(),
            unknown_failures: 0,
            packets: 0,
        })
    }

    /// Authenticates and decrypts an RTP packet in place. `header_len` includes CSRCs and the extension.
    /// On error nothing has changed but, perhaps, the bytes of `packet`.
    pub fn unprotect_rtp(&mut self, packet: &mut [u8], header_len: usize) -> Result<Unprotected, SrtpError> {
        let (ssrc, seq) = rtp_ids(packet)?;
        let candidates = self.candidates(ssrc, seq);
        if let Candidates {
            first: Some(index),
            second: None,
        } = candidates
        {
            let opened = self.cipher.open_rtp(ssrc, index, packet, header_len);
            return self.settle(ssrc, index, opened);
        }
        let mut copy = [0; MAX_RETRY];
        let copy = copy.get_mut(..packet.len()).ok_or(SrtpError::NoRoom)?;
        copy.copy_from_slice(packet);
        let payload = packet.get_mut(header_len..).ok_or(SrtpError::TooShort)?;
        let (index, opened) = self.open_into(ssrc, &candidates, copy, header_len, payload);
        self.settle(ssrc, index, opened.map(|payload_len| header_len + payload_len))
    }

    /// The same, but leaves `packet` as it is and writes the payload to the front of `out`.
    /// [`Unprotected::len`] counts header and payload.
    pub fn unprotect_rtp_into(
        &mut self,
        packet: &[u8],
        header_len: usize,
        out: &mut [u8],
    ) -> Result<Unprotected, SrtpError> {
        let (ssrc, seq) = rtp_ids(packet)?;
        let candidates = self.candidates(ssrc, seq);
        let (index, opened) = self.open_into(ssrc, &candidates, packet, header_len, out);
        self.settle(ssrc, index, opened.map(|payload_len| header_len + payload_len))
    }

    /// Authenticates and decrypts a compound RTCP packet in place and returns its length.
    pub fn unprotect_rtcp(&mut self, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let ssrc = rtcp_ssrc(packet)?;
        let index = self.cipher.rtcp_index(packet)?;
        if self
            .rtcp
            .get(&ssrc)
            .is_some_and(|stream| !stream.window.is_new(index.into()))
        {
            return Err(SrtpError::Replay);
        }
        let len = self.cipher.open_rtcp(ssrc, index, packet)?;
        self.packets += 1;
        remember(&mut self.rtcp, ssrc, index.into(), self.packets);
        Ok(len)
    }

    /// The stream of this SSRC authenticated at least once.
    pub fn knows(&self, ssrc: u32) -> bool {
        self.rtp.contains_key(&ssrc)
    }

    fn candidates(&self, ssrc: u32, seq: u16) -> Candidates {
        let Some(stream) = self.rtp.get(&ssrc) else {
            // The sender began near 65535 and the packets before the wrap were lost: its counter is 1 by now.
            // Or they were lost for longer than that.
            let turns = match self.unknown_failures.checked_sub(FAILURES_BEFORE_SEARCH) {
                Some(n) => u64::from(n) % SEARCH + 1,
                None => u64::from(seq < 0x8000),
            };
            let later = (turns > 0).then_some(u64::from(seq) | turns << 16);
            return Candidates {
                first: Some(seq.into()),
                second: later,
            };
        };
        let likely = estimate(stream.window.highest(), seq);
        let searched = stream.failures.checked_sub(FAILURES_BEFORE_SEARCH).and_then(|n| {
            // Not below the highest: an older index than the estimate is a replay or a lost cause.
            let turns = u64::from(n) % SEARCH + 1;
            Some(likely? + (turns << 16)).filter(|index| index >> 48 == 0)
        });
        Candidates {
            first: likely.filter(|&index| stream.window.is_new(index)),
            second: searched,
        }
    }

    fn open_into(
        &self,
        ssrc: u32,
        candidates: &Candidates,
        packet: &[u8],
        header_len: usize,
        out: &mut [u8],
    ) -> (u64, Result<usize, SrtpError>) {
        let mut last = (0, Err(SrtpError::Replay));
        for index in [candidates.first, candidates.second].into_iter().flatten() {
            let opened = self.cipher.open_rtp_into(ssrc, index, packet, header_len, out);
            if opened != Err(SrtpError::Auth) {
                return (index, opened);
            }
            // What the window refuses stays a replay, even if a guess at a later counter fails.
            if candidates.first.is_some() {
                last = (index, opened);
            }
        }
        last
    }

    fn settle(&mut self, ssrc: u32, index: u64, opened: Result<usize, SrtpError>) -> Result<Unprotected, SrtpError> {
        match opened {
            Ok(len) => {
                self.packets += 1;
                if remember(&mut self.rtp, ssrc, index, self.packets) {
                    self.unknown_failures = 0;
                }
                Ok(Unprotected {
                    len,
                    extended_seq: index,
                })
            }
            Err(error) => {
                let failures = match self.rtp.get_mut(&ssrc) {
                    Some(stream) => &mut stream.failures,
                    None => &mut self.unknown_failures,
                };
                *failures = failures.saturating_add(1);
                Err(error)
            }
        }
    }
}

/// True for a new stream.
fn remember(streams: &mut FxHashMap<u32, Stream>, ssrc: u32, index: u64, packet: u64) -> bool {
    if let Some(stream) = streams.get_mut(&ssrc) {
        stream.window.mark(index);
        stream.failures = 0;
        stream.last_packet = packet;
        return false;
    }
    if streams.len() >= MAX_STREAMS {
        let silent = streams
            .iter()
            .min_by_key(|(_, stream)| stream.last_packet)
            .map(|(&ssrc, _)| ssrc);
        if let Some(silent) = silent {
            streams.remove(&silent);
        }
    }
    let window = ReplayWindow::starting_at(index);
    streams.insert(
        ssrc,
        Stream {
            window,
            failures: 0,
            last_packet: packet,
        },
    );
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::{SrtpSender, key_lengths};

    const PROFILES: [SrtpProfile; 3] = [
        SrtpProfile::AeadAes128Gcm,
        SrtpProfile::AeadAes256Gcm,
        SrtpProfile::Aes128CmHmacSha1_80,
    ];
    const SSRC: u32 = 0x1234_5678;
    const HEADER: usize = 20;

    fn pair(profile: SrtpProfile) -> (SrtpSender, SrtpReceiver) {
        let (key, salt) = key_lengths(profile);
        let (key, salt) = (&[7; 32][..key], &[9; 14][..salt]);
        (
            SrtpSender::new(profile, key, salt).unwrap(),
            SrtpReceiver::new(profile, key, salt).unwrap(),
        )
    }

    /// With a header extension of one word.
    fn clear(ssrc: u32, index: u64, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 96];
        packet.extend((index as u16).to_be_bytes());
        packet.extend([0, 0, 0, 1]);
        packet.extend(ssrc.to_be_bytes());
        packet.extend([0xbe, 0xde, 0, 1, 0x10, 5, 0, 0]);
        packet.extend(payload);
        packet
    }

    fn protect(sender: &mut SrtpSender, ssrc: u32, index: u64) -> Vec<u8> {
        let mut packet = clear(ssrc, index, &index.to_be_bytes());
        let len = packet.len();
        packet.resize(len + super::super::MAX_RTP_OVERHEAD, 0);
        let sealed = sender.protect_rtp(&mut packet, HEADER, len, index).unwrap();
        packet.truncate(sealed);
        packet
    }

    fn receive(receiver: &mut SrtpReceiver, packet: &[u8]) -> Result<u64, SrtpError> {
        receiver
            .unprotect_rtp(&mut packet.to_vec(), HEADER)
            .map(|u| u.extended_seq)
    }

    #[test]
    fn round_trips_in_place_and_into_another_buffer() {
        for profile in PROFILES {
            let (mut sender, mut receiver) = pair(profile);
            for index in [100, 101] {
                let sealed = protect(&mut sender, SSRC, index);
                let clear = clear(SSRC, index, &index.to_be_bytes());
                assert_eq!(sealed[..HEADER], clear[..HEADER]);
                assert_ne!(sealed[HEADER..clear.len()], clear[HEADER..]);
                let mut packet = sealed.clone();
                let got = receiver.unprotect_rtp(&mut packet, HEADER).unwrap();
                assert_eq!(
                    (got.extended_seq, &packet[..got.len]),
                    (index, &clear[..]),
                    "{profile:?}"
                );
            }
            let sealed = protect(&mut sender, SSRC, 102);
            let mut out = [0; 8];
            let got = receiver.unprotect_rtp_into(&sealed, HEADER, &mut out).unwrap();
            assert_eq!(
                (got.len, got.extended_seq, out),
                (HEADER + 8, 102, 102u64.to_be_bytes())
            );
            let sealed = protect(&mut sender, SSRC, 103);
            assert_eq!(
                receiver.unprotect_rtp_into(&sealed, HEADER, &mut [0; 7]),
                Err(SrtpError::NoRoom)
            );
        }
    }

    #[test]
    fn rtcp_round_trips_and_is_not_replayed() {
        for profile in PROFILES {
            let (mut sender, mut receiver) = pair(profile);
            let clear = [&[0x80, 201, 0, 3], &SSRC.to_be_bytes()[..], &[1; 8]].concat();
            let mut sealed: Vec<Vec<u8>> = (0..3)
                .map(|_| {
                    let mut packet = [&clear[..], &[0; super::super::MAX_RTCP_OVERHEAD]].concat();
                    let len = sender.protect_rtcp(&mut packet, clear.len()).unwrap();
                    packet.truncate(len);
                    packet
                })
                .collect();
            let mut copies = sealed.clone();
            for i in [2, 0, 1] {
                let len = receiver.unprotect_rtcp(&mut sealed[i]).unwrap();
                assert_eq!(sealed[i][..len], clear, "{profile:?}");
                assert_eq!(receiver.unprotect_rtcp(&mut copies[i]), Err(SrtpError::Replay));
            }
        }
    }

    #[test]
    fn sender_refuses_a_foreign_index_and_short_buffers() {
        for profile in PROFILES {
            let (mut sender, _) = pair(profile);
            let mut packet = [clear(SSRC, 5, b"x"), vec![0; 16]].concat();
            let len = packet.len() - 16;
            for (index, want) in [(6, SrtpError::Index), (1 << 48 | 5, SrtpError::Index)] {
                assert_eq!(sender.protect_rtp(&mut packet, HEADER, len, index), Err(want));
            }
            assert_eq!(
                sender.protect_rtp(&mut packet, HEADER, len + 16, 5),
                Err(SrtpError::NoRoom)
            );
            assert_eq!(
                sender.protect_rtp(&mut packet, len + 1, len, 5),
                Err(SrtpError::TooShort)
            );
            assert_eq!(sender.protect_rtcp(&mut packet, 7), Err(SrtpError::TooShort));
            assert_eq!(sender.protect_rtcp(&mut packet[..7], 7), Err(SrtpError::TooShort));
        }
        let (key, salt) = ([0; 16], [0; 13]);
        assert_eq!(
            SrtpSender::new(PROFILES[0], &key, &salt).err(),
            Some(SrtpError::KeyLength)
        );
    }

    #[test]
    fn refuses_replays_forgeries_and_foreign_streams() {
        for profile in PROFILES {
            let (mut sender, mut receiver) = pair(profile);
            let packet = protect(&mut sender, SSRC, 1_000);
            for i in 0..packet.len() {
                let mut forged = packet.clone();
                forged[i] ^= 1;
                assert!(receive(&mut receiver, &forged).is_err(), "byte {i}");
            }
            assert!(!receiver.knows(SSRC), "state only after authentication");
            assert_eq!(receive(&mut receiver, &packet), Ok(1_000));
            assert_eq!(receive(&mut receiver, &packet), Err(SrtpError::Replay));
            assert_eq!(receive(&mut receiver, &protect(&mut sender, SSRC, 2_500)), Ok(2_500));
            assert_eq!(
                receive(&mut receiver, &protect(&mut sender, SSRC, 1_001)),
                Err(SrtpError::Replay)
            );
            assert_eq!(receive(&mut receiver, &protect(&mut sender, SSRC, 2_000)), Ok(2_000));
        }
    }

    #[test]
    fn first_packets_around_a_wrap() {
        let wrap = 1 << 16;
        for order in [
            vec![wrap - 2, wrap - 1, wrap, wrap + 1],
            vec![wrap, wrap - 1, wrap + 1],
            vec![wrap + 500, wrap + 501, wrap - 1],
            vec![wrap - 1, wrap + 30_000, 2 * wrap - 10_000, 2 * wrap - 10, 2 * wrap + 3],
        ] {
            let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
            for index in order.iter().copied() {
                let fresh = order[0] > index + 900;
                let got = receive(&mut receiver, &protect(&mut sender, SSRC, index));
                assert_eq!(got, if fresh { Err(SrtpError::Replay) } else { Ok(index) }, "{order:?}");
            }
        }
    }

    #[test]
    fn finds_a_stream_again_after_any_silence() {
        for lost in [30_000, 32_769, 40_000, 65_536, 100_000, 200_000, 500_000] {
            let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
            assert_eq!(receive(&mut receiver, &protect(&mut sender, SSRC, 60_000)), Ok(60_000));
            let after = 60_000 + lost;
            let back = (after..after + 40).find(|&i| receive(&mut receiver, &protect(&mut sender, SSRC, i)) == Ok(i));
            assert!(back.is_some(), "{lost}");
        }
    }

    #[test]
    fn random_schedules_never_freeze() {
        let mut random = 0x9e37_79b9_7f4a_7c15u64;
        let mut next = move |below: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % below
        };
        let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
        for ssrc in 0..100_000 {
            let mut index = if next(2) == 0 { 65_536 - next(20) } else { next(65_536) };
            let mut held = Vec::new();
            for _ in 0..next(12) {
                index += match next(12) {
                    0 => next(300_000),
                    1 => next(3_000),
                    _ => 1,
                };
                match next(4) {
                    0 => {}
                    1 => held.push(index),
                    _ => drop(receive(&mut receiver, &protect(&mut sender, ssrc, index))),
                }
                if next(3) == 0
                    && let Some(late) = held.pop()
                {
                    let _ = receive(&mut receiver, &protect(&mut sender, ssrc, late));
                }
            }
            let back =
                (index + 1..index + 80).find(|&i| receive(&mut receiver, &protect(&mut sender, ssrc, i)) == Ok(i));
            assert!(back.is_some(), "stream {ssrc} frozen at {index}");
        }
    }

    #[test]
    fn remembers_a_bounded_number_of_streams() {
        let (mut sender, mut receiver) = pair(SrtpProfile::AeadAes128Gcm);
        for ssrc in 0..2_000 {
            receive(&mut receiver, &protect(&mut sender, ssrc, 1)).unwrap();
            receive(&mut receiver, &protect(&mut sender, 5_000, ssrc.into())).unwrap();
        }
        assert_eq!(receiver.rtp.len(), MAX_STREAMS);
        assert!(receiver.knows(5_000) && receiver.knows(1_999) && !receiver.knows(0));
    }

    #[test]
    fn garbage_never_panics() {
        let mut random = 3u64;
        for profile in PROFILES {
            let (mut sender, mut receiver) = pair(profile);
            let good = protect(&mut sender, SSRC, 1);
            receive(&mut receiver, &good).unwrap();
            for _ in 0..20_000 {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let mut packet = good[..random as usize % (good.len() + 1)].to_vec();
                let len = packet.len().max(1);
                if let Some(byte) = packet.get_mut((random >> 20) as usize % len) {
                    *byte = (random >> 40) as u8;
                }
                let header_len = (random >> 50) as usize % 60;
                assert!(receiver.unprotect_rtp(&mut packet.clone(), header_len).is_err() || packet == good);
                let _ = receiver.unprotect_rtp_into(&packet, header_len, &mut [0; 4]);
                assert!(receiver.unprotect_rtcp(&mut packet).is_err());
            }
        }
    }
}
