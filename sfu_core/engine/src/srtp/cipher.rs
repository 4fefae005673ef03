//! The transforms: AES-GCM (RFC 7714) and AES-CM with HMAC-SHA1 (RFC 3711 section 4).

use aes::Aes128Enc;
use aes::cipher::{InnerIvInit, KeyInit, StreamCipher, StreamCipherCoreWrapper};
use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ctr::{CtrCore, flavors::Ctr128BE};
use hmac::{Hmac, Mac};
use sha1::Sha1;

use super::derive::{Derivation, Label, RTCP};
use super::{SrtpError, key_lengths};
use crate::event::SrtpProfile;

const GCM_TAG: usize = 16;
const HMAC_TAG: usize = 10;
/// Fixed RTCP header, which stays in the clear.
const RTCP_HEADER: usize = 8;
/// E bit and index.
const RTCP_TRAILER: usize = 4;
const E_BIT: u32 = 1 << 31;
/// The SRTCP index has 31 bits.
pub(super) const MAX_RTCP_INDEX: u32 = E_BIT - 1;

/// Keys of one direction.
pub(super) enum Cipher {
    Gcm { rtp: Gcm, rtcp: Gcm },
    Cm { rtp: Box<Cm>, rtcp: Box<Cm> },
}

impl Cipher {
    pub(super) fn new(profile: SrtpProfile, key: &[u8], salt: &[u8]) -> Result<Self, SrtpError> {
        if (key.len(), salt.len()) != key_lengths(profile) {
            return Err(SrtpError::KeyLength);
        }
        let derivation = Derivation::new(key, salt)?;
        Ok(match profile {
            SrtpProfile::AeadAes128Gcm | SrtpProfile::AeadAes256Gcm => Self::Gcm {
                rtp: Gcm::derive(profile, &derivation, 0)?,
                rtcp: Gcm::derive(profile, &derivation, RTCP)?,
            },
            SrtpProfile::Aes128CmHmacSha1_80 => Self::Cm {
                rtp: Box::new(Cm::derive(&derivation, 0)?),
                rtcp: Box::new(Cm::derive(&derivation, RTCP)?),
            },
        })
    }

    pub(super) fn rtp_tag_len(&self) -> usize {
        match self {
            Self::Gcm { .. } => GCM_TAG,
            Self::Cm { .. } => HMAC_TAG,
        }
    }

    /// `packet` is header, payload and room for the tag.
    pub(super) fn seal_rtp(
        &self,
        ssrc: u32,
        index: u64,
        packet: &mut [u8],
        header_len: usize,
    ) -> Result<(), SrtpError> {
        let body = packet
            .len()
            .checked_sub(self.rtp_tag_len())
            .ok_or(SrtpError::TooShort)?;
        let (message, tag) = packet.split_at_mut_checked(body).ok_or(SrtpError::TooShort)?;
        let (header, payload) = message.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort)?;
        match self {
            Self::Gcm { rtp, .. } => tag.copy_from_slice(&rtp.seal(rtp_nonce(ssrc, index), header, payload)?),
            Self::Cm { rtp, .. } => {
                rtp.apply(ssrc, index, payload);
                tag.copy_from_slice(&rtp.tag(message, &roc(index)));
            }
        }
        Ok(())
    }

    /// The same with the payload elsewhere, in two parts: `packet` is header, room for the payload and room for the tag.
    pub(super) fn seal_rtp_from(
        &self,
        ssrc: u32,
        index: u64,
        packet: &mut [u8],
        header_len: usize,
        [first, second]: [&[u8]; 2],
    ) -> Result<(), SrtpError> {
        let (header, rest) = packet.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort)?;
        let (front, back) = rest.split_at_mut_checked(first.len()).ok_or(SrtpError::TooShort)?;
        match self {
            Self::Gcm { rtp, .. } => rtp.seal_from(rtp_nonce(ssrc, index), header, [first, second], front, back),
            Self::Cm { .. } => {
                front.copy_from_slice(first);
                back.get_mut(..second.len())
                    .ok_or(SrtpError::TooShort)?
                    .copy_from_slice(second);
                self.seal_rtp(ssrc, index, packet, header_len)
            }
        }
    }

    /// Returns the length of header and payload. A failure may leave the payload destroyed.
    pub(super) fn open_rtp(
        &self,
        ssrc: u32,
        index: u64,
        packet: &mut [u8],
        header_len: usize,
    ) -> Result<usize, SrtpError> {
        let body = packet
            .len()
            .checked_sub(self.rtp_tag_len())
            .ok_or(SrtpError::TooShort)?;
        let (message, tag) = packet.split_at_mut_checked(body).ok_or(SrtpError::TooShort)?;
        if header_len > body {
            return Err(SrtpError::TooShort);
        }
        match self {
            Self::Gcm { rtp, .. } => {
                let (header, payload) = message.split_at_mut_checked(header_len).ok_or(SrtpError::TooShort)?;
                rtp.open(rtp_nonce(ssrc, index), header, payload, tag)?;
            }
            Self::Cm { rtp, .. } => {
                rtp.verify(message, &roc(index), tag)?;
                rtp.apply(ssrc, index, message.get_mut(header_len..).unwrap_or_default());
            }
        }
        Ok(body)
    }

    /// Decrypts the payload into the front of `out` and returns its length. `packet` stays as it was.
    pub(super) fn open_rtp_into(
        &self,
        ssrc: u32,
        index: u64,
        packet: &[u8],
        header_len: usize,
        out: &mut [u8],
    ) -> Result<usize, SrtpError> {
        let body = packet
            .len()
            .checked_sub(self.rtp_tag_len())
            .ok_or(SrtpError::TooShort)?;
        let (message, tag) = packet.split_at_checked(body).ok_or(SrtpError::TooShort)?;
        let (header, payload) = message.split_at_checked(header_len).ok_or(SrtpError::TooShort)?;
        let out = out.get_mut(..payload.len()).ok_or(SrtpError::NoRoom)?;
        match self {
            Self::Gcm { rtp, .. } => rtp.open_into(rtp_nonce(ssrc, index), header, payload, tag, out)?,
            Self::Cm { rtp, .. } => {
                rtp.verify(message, &roc(index), tag)?;
                out.copy_from_slice(payload);
                rtp.apply(ssrc, index, out);
            }
        }
        Ok(payload.len())
    }

    pub(super) fn rtcp_overhead(&self) -> usize {
        RTCP_TRAILER + self.rtp_tag_len()
    }

    /// `packet` is the compound packet and room for [`Self::rtcp_overhead`].
    pub(super) fn seal_rtcp(&self, ssrc: u32, index: u32, packet: &mut [u8]) -> Result<(), SrtpError> {
        let trailer = (index | E_BIT).to_be_bytes();
        let body = packet
            .len()
            .checked_sub(self.rtcp_overhead())
            .ok_or(SrtpError::TooShort)?;
        if body < RTCP_HEADER {
            return Err(SrtpError::TooShort);
        }
        match self {
            // Ciphertext, tag, then the index (RFC 7714 section 9.2).
            Self::Gcm { rtcp, .. } => {
                let (header, rest) = packet.split_at_mut(RTCP_HEADER);
                let (payload, end) = rest.split_at_mut(body - RTCP_HEADER);
                let tag = rtcp.seal(rtcp_nonce(ssrc, index), &encrypted_aad(header, &trailer), payload)?;
                end[..GCM_TAG].copy_from_slice(&tag);
                end[GCM_TAG..].copy_from_slice(&trailer);
            }
            // Ciphertext, index, then the tag (RFC 3711 section 3.4).
            Self::Cm { rtcp, .. } => {
                rtcp.apply(ssrc, index.into(), &mut packet[RTCP_HEADER..body]);
                packet[body..body + RTCP_TRAILER].copy_from_slice(&trailer);
                let tag = rtcp.tag(&packet[..body + RTCP_TRAILER], &[]);
                packet[body + RTCP_TRAILER..].copy_from_slice(&tag);
            }
        }
        Ok(())
    }

    /// Index of a packet, not yet authenticated.
    pub(super) fn rtcp_index(&self, packet: &[u8]) -> Result<u32, SrtpError> {
        let end = match self {
            Self::Gcm { .. } => packet.len(),
            Self::Cm { .. } => packet.len().checked_sub(HMAC_TAG).ok_or(SrtpError::TooShort)?,
        };
        let trailer = end.checked_sub(RTCP_TRAILER).and_then(|start| packet.get(start..end));
        let word: [u8; 4] = trailer.and_then(|t| t.try_into().ok()).ok_or(SrtpError::TooShort)?;
        Ok(u32::from_be_bytes(word) & MAX_RTCP_INDEX)
    }

    /// Returns the length of the compound packet. `index` is what [`Self::rtcp_index`] returned.
    pub(super) fn open_rtcp(&self, ssrc: u32, index: u32, packet: &mut [u8]) -> Result<usize, SrtpError> {
        let body = packet
            .len()
            .checked_sub(self.rtcp_overhead())
            .ok_or(SrtpError::TooShort)?;
        if body < RTCP_HEADER {
            return Err(SrtpError::TooShort);
        }
        match self {
            Self::Gcm { rtcp, .. } => {
                let (message, end) = packet.split_at_mut(body);
                let (tag, trailer) = end.split_at(GCM_TAG);
                let nonce = rtcp_nonce(ssrc, index);
                if trailer[0] & 0x80 != 0 {
                    let (header, payload) = message.split_at_mut(RTCP_HEADER);
                    rtcp.open(nonce, &encrypted_aad(header, trailer), payload, tag)?;
                } else {
                    rtcp.verify_clear(nonce, message, trailer, tag)?;
                }
            }
            Self::Cm { rtcp, .. } => {
                let (message, tag) = packet.split_at_mut(body + RTCP_TRAILER);
                rtcp.verify(message, &[], tag)?;
                if message[body] & 0x80 != 0 {
                    rtcp.apply(ssrc, index.into(), &mut message[RTCP_HEADER..body]);
                }
            }
        }
        Ok(body)
    }
}

/// High 32 bits of the 48-bit index.
fn roc(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}

/// Two zero bytes, SSRC, 48-bit index (RFC 7714 section 8.1).
fn rtp_nonce(ssrc: u32, index: u64) -> u128 {
    u128::from(ssrc) << 48 | u128::from(index)
}

/// Two zero bytes, SSRC, two zero bytes, 31-bit index (RFC 7714 section 9.1).
fn rtcp_nonce(ssrc: u32, index: u32) -> u128 {
    u128::from(ssrc) << 48 | u128::from(index)
}

/// RFC 7714 section 9.2: fixed header, then E bit and index.
fn encrypted_aad(header: &[u8], trailer: &[u8]) -> [u8; RTCP_HEADER + RTCP_TRAILER] {
    let mut aad = [0; RTCP_HEADER + RTCP_TRAILER];
    aad[..RTCP_HEADER].copy_from_slice(header);
    aad[RTCP_HEADER..].copy_from_slice(trailer);
    aad
}

pub(super) struct Gcm {
    key: LessSafeKey,
    /// The 96-bit salt.
    salt: u128,
}

impl Gcm {
    fn derive(profile: SrtpProfile, derivation: &Derivation, offset: u8) -> Result<Self, SrtpError> {
        let salt = derivation.derive(Label::Salt, offset);
        match profile {
            SrtpProfile::AeadAes256Gcm => Self::new(&derivation.derive::<32>(Label::Encryption, offset), salt),
            _ => Self::new(&derivation.derive::<16>(Label::Encryption, offset), salt),
        }
    }

    pub(super) fn new(key: &[u8], salt: [u8; 12]) -> Result<Self, SrtpError> {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::KeyLength)?;
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&salt);
        Ok(Self {
            key: LessSafeKey::new(key),
            salt: u128::from_be_bytes(wide),
        })
    }

    fn nonce(&self, unsalted: u128) -> Nonce {
        let wide = (self.salt ^ unsalted).to_be_bytes();
        let mut nonce = [0; 12];
        nonce.copy_from_slice(&wide[4..]);
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, nonce: u128, aad: &[u8], payload: &mut [u8]) -> Result<[u8; GCM_TAG], SrtpError> {
        let tag = self
            .key
            .seal_in_place_separate_tag(self.nonce(nonce), Aad::from(aad), payload)
            .map_err(|_| SrtpError::Exhausted)?;
        tag.as_ref().try_into().map_err(|_| SrtpError::NoRoom)
    }

    /// `back` has room for the second part and the tag.
    fn seal_from(
        &self,
        nonce: u128,
        aad: &[u8],
        [first, second]: [&[u8]; 2],
        front: &mut [u8],
        back: &mut [u8],
    ) -> Result<(), SrtpError> {
        let (nonce, aad) = (self.nonce(nonce), Aad::from(aad));
        let sealed = if first.is_empty() {
            let (body, tag) = back.split_at_mut_checked(second.len()).ok_or(SrtpError::TooShort)?;
            self.key.seal_out_of_place_scatter(nonce, aad, second, body, &[], tag)
        } else {
            self.key
                .seal_out_of_place_scatter(nonce, aad, first, front, second, back)
        };
        sealed.map_err(|_| SrtpError::NoRoom)
    }

    fn open(&self, nonce: u128, aad: &[u8], payload: &mut [u8], tag: &[u8]) -> Result<(), SrtpError> {
        self.key
            .open_in_place_separate_tag(self.nonce(nonce), Aad::from(aad), tag, payload)
            .map(|_| ())
            .map_err(|_| SrtpError::Auth)
    }

    fn open_into(
        &self,
        nonce: u128,
        aad: &[u8],
        ciphertext: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Result<(), SrtpError> {
        self.key
            .open_separate_gather(self.nonce(nonce), Aad::from(aad), ciphertext, tag, out)
            .map_err(|_| SrtpError::Auth)
    }

    /// An SRTCP packet that is authenticated but not encrypted (RFC 7714 section 9.3): all of it, then the index, is
    /// associated data.
    fn verify_clear(&self, nonce: u128, message: &[u8], trailer: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        let mut aad = [0; 2048];
        let len = message.len() + trailer.len();
        let aad = aad.get_mut(..len).ok_or(SrtpError::NoRoom)?;
        aad[..message.len()].copy_from_slice(message);
        aad[message.len()..].copy_from_slice(trailer);
        self.open(nonce, aad, &mut [], tag)
    }
}

pub(super) struct Cm {
    aes: Aes128Enc,
    hmac: Hmac<Sha1>,
    salt: [u8; 14],
}

impl Cm {
    fn derive(derivation: &Derivation, offset: u8) -> Result<Self, SrtpError> {
        Self::new(
            &derivation.derive::<16>(Label::Encryption, offset),
            &derivation.derive::<20>(Label::Authentication, offset),
            derivation.derive(Label::Salt, offset),
        )
    }

    pub(super) fn new(key: &[u8], auth: &[u8], salt: [u8; 14]) -> Result<Self, SrtpError> {
        Ok(Self {
            aes: Aes128Enc::new_from_slice(key).map_err(|_| SrtpError::KeyLength)?,
            hmac: <Hmac<Sha1> as Mac>::new_from_slice(auth).map_err(|_| SrtpError::KeyLength)?,
            salt,
        })
    }

    /// Encrypts or decrypts: XOR with the key stream that starts at salt, SSRC and index (RFC 3711 section 4.1.1).
    pub(super) fn apply(&self, ssrc: u32, index: u64, data: &mut [u8]) {
        let mut salt = [0; 16];
        salt[..14].copy_from_slice(&self.salt);
        let iv = u128::from_be_bytes(salt) ^ u128::from(ssrc) << 64 ^ u128::from(index) << 16;
        let core = CtrCore::<_, Ctr128BE>::inner_iv_init(self.aes.clone(), &iv.to_be_bytes().into());
        StreamCipherCoreWrapper::from_core(core).apply_keystream(data);
    }

    fn tag(&self, message: &[u8], suffix: &[u8]) -> [u8; HMAC_TAG] {
        let full = self
            .hmac
            .clone()
            .chain_update(message)
            .chain_update(suffix)
            .finalize()
            .into_bytes();
        let mut tag = [0; HMAC_TAG];
        tag.copy_from_slice(&full[..HMAC_TAG]);
        tag
    }

    fn verify(&self, message: &[u8], suffix: &[u8], tag: &[u8]) -> Result<(), SrtpError> {
        self.hmac
            .clone()
            .chain_update(message)
            .chain_update(suffix)
            .verify_truncated_left(tag)
            .map_err(|_| SrtpError::Auth)
    }
}
