//! Protecting what we send.

use super::cipher::{Cipher, MAX_RTCP_INDEX};
use super::{SrtpError, rtcp_ssrc, rtp_ids};
use crate::event::SrtpProfile;

pub struct SrtpSender {
    cipher: Cipher,
    /// Of the next SRTCP packet, whatever its SSRC.
    rtcp_index: u32,
}

impl SrtpSender {
    /// `key` and `salt` are the master key and salt, of [`super::key_lengths`] bytes.
    pub fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        Ok(Self {
            cipher: Cipher::new(profile, key, salt)?,
            rtcp_index: 0,
        })
    }

    /// Encrypts and authenticates an RTP packet of `len` bytes (header, extensions and payload) in place and returns
    /// its new length. `packet` must have room for [`super::MAX_RTP_OVERHEAD`] more. `extended_seq` is the sequence
    /// number with its rollover counter: 48 bits, the low 16 equal to the header's, the first packet of an SSRC below
    /// 2^16 (receivers assume a rollover counter of zero).
    ///
    /// The caller must never protect two different contents under one SSRC and extended sequence number
    /// (RFC 3711 section 9.1, RFC 7714 section 8.1): a repeated packet must be bit-identical, and a retransmission in
    /// RTX format has an SSRC of its own.
    pub fn protect_rtp(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        len: usize,
        extended_seq: u64,
    ) -> Result<usize, SrtpError> {
        let (ssrc, seq) = rtp_ids(packet)?;
        if extended_seq >> 48 != 0 || extended_seq as u16 != seq {
            return Err(SrtpError::Index);
        }
        let sealed = len + self.cipher.rtp_tag_len();
        let packet = packet.get_mut(..sealed).ok_or(SrtpError::NoRoom)?;
        self.cipher.seal_rtp(ssrc, extended_seq, packet, header_len)?;
        Ok(sealed)
    }

    /// The same with the payload elsewhere, in two parts: `packet` begins with the header, and has room for the payload
    /// and [`super::MAX_RTP_OVERHEAD`] more. Fastest when the first part is empty or 16 bytes, a block of the cipher.
    pub fn protect_rtp_from(
        &mut self,
        packet: &mut [u8],
        header_len: usize,
        payload: [&[u8]; 2],
        extended_seq: u64,
    ) -> Result<usize, SrtpError> {
        let (ssrc, seq) = rtp_ids(packet)?;
        if extended_seq >> 48 != 0 || extended_seq as u16 != seq {
            return Err(SrtpError::Index);
        }
        let sealed = header_len + payload[0].len() + payload[1].len() + self.cipher.rtp_tag_len();
        let packet = packet.get_mut(..sealed).ok_or(SrtpError::NoRoom)?;
        self.cipher
            .seal_rtp_from(ssrc, extended_seq, packet, header_len, payload)?;
        Ok(sealed)
    }

    /// Encrypts and authenticates a compound RTCP packet of `len` bytes in place and returns its new length.
    /// `packet` must have room for [`super::MAX_RTCP_OVERHEAD`] more. The index is kept here.
    pub fn protect_rtcp(&mut self, packet: &mut [u8], len: usize) -> Result<usize, SrtpError> {
        if self.rtcp_index > MAX_RTCP_INDEX {
            return Err(SrtpError::Exhausted);
        }
        let ssrc = rtcp_ssrc(packet)?;
        let sealed = len + self.cipher.rtcp_overhead();
        let packet = packet.get_mut(..sealed).ok_or(SrtpError::NoRoom)?;
        self.cipher.seal_rtcp(ssrc, self.rtcp_index, packet)?;
        self.rtcp_index += 1;
        Ok(sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::srtp::key_lengths;

    #[test]
    fn from_elsewhere_and_in_place_give_the_same_packet() {
        for profile in [
            SrtpProfile::AeadAes128Gcm,
            SrtpProfile::AeadAes256Gcm,
            SrtpProfile::Aes128CmHmacSha1_80,
        ] {
            let (key, salt) = key_lengths(profile);
            let mut sender = SrtpSender::new(profile, &vec![3; key], &vec![5; salt]).unwrap();
            for payload in [0_usize, 1, 15, 16, 17, 255, 1_200] {
                let payload: Vec<u8> = (0..payload).map(|i| i as u8).collect();
                let mut header = [0x80, 96, 1, 2, 0, 0, 0, 9, 1, 2, 3, 4, 0, 0, 0, 0].to_vec();
                header[0] |= 0x10;
                let index = 7 << 16 | 0x0102;
                let (mut apart, mut together) = (header.clone(), header.clone());
                apart.resize(2_000, 0xee);
                together.extend(&payload);
                together.resize(2_000, 0xee);
                let len = sender
                    .protect_rtp(&mut together, 16, 16 + payload.len(), index)
                    .unwrap();
                for split in [0, 1, 7, 16, 32, 1_200] {
                    let (first, rest) = payload.split_at(split.min(payload.len()));
                    assert_eq!(sender.protect_rtp_from(&mut apart, 16, [first, rest], index), Ok(len));
                    assert_eq!(apart, together, "split at {split}");
                }
                let short = &mut apart[..len - 1];
                assert!(sender.protect_rtp_from(short, 16, [&payload, &[]], index).is_err());
            }
        }
    }
}
