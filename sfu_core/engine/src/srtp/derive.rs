//! Session keys from master keys (RFC 3711 section 4.3, RFC 6188 section 3, RFC 7714 section 11).

use aes::cipher::{BlockEncrypt, KeyInit};
use aes::{Aes128Enc, Aes256Enc, Block};

use super::SrtpError;

/// Labels of RTP; those of RTCP are 3 more.
#[derive(Clone, Copy)]
pub(super) enum Label {
    Encryption = 0,
    Authentication = 1,
    Salt = 2,
}

/// Added to a label to derive a key of SRTCP.
pub(super) const RTCP: u8 = 3;

/// AES in counter mode keyed with a master key, as pseudo-random function.
pub(super) struct Derivation {
    aes: MasterAes,
    salt: [u8; 14],
}

#[expect(clippy::large_enum_variant, reason = "lives on the stack while keys are derived")]
enum MasterAes {
    Aes128(Aes128Enc),
    Aes256(Aes256Enc),
}

impl Derivation {
    /// A key of 16 or 32 bytes. A salt shorter than 14 bytes is padded on its right (RFC 7714 section 11).
    pub(super) fn new(key: &[u8], master_salt: &[u8]) -> Result<Self, SrtpError> {
        let aes = match key.len() {
            16 => MasterAes::Aes128(Aes128Enc::new_from_slice(key).map_err(|_| SrtpError::KeyLength)?),
            32 => MasterAes::Aes256(Aes256Enc::new_from_slice(key).map_err(|_| SrtpError::KeyLength)?),
            _ => return Err(SrtpError::KeyLength),
        };
        let mut salt = [0; 14];
        salt.get_mut(..master_salt.len())
            .ok_or(SrtpError::KeyLength)?
            .copy_from_slice(master_salt);
        Ok(Self { aes, salt })
    }

    pub(super) fn derive<const N: usize>(&self, label: Label, offset: u8) -> [u8; N] {
        let mut start = [0; 16];
        start[..14].copy_from_slice(&self.salt);
        // The label is the eighth byte from the right of the 14 bytes that the key derivation rate of zero leaves.
        start[7] ^= label as u8 + offset;
        let mut out = [0; N];
        for (counter, chunk) in out.chunks_mut(16).enumerate() {
            let mut block = Block::from(start);
            block[14..].copy_from_slice(&(counter as u16).to_be_bytes());
            match &self.aes {
                MasterAes::Aes128(aes) => aes.encrypt_block(&mut block),
                MasterAes::Aes256(aes) => aes.encrypt_block(&mut block),
            }
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        out
    }
}
