//! SRTP framing of RFC 7714 with keys derived as in RFC 3711 section 4.3, and no more.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, DecryptionContext, EncryptingKey, EncryptionContext, UnboundCipherKey};

pub(crate) const TAG: usize = 16;
const KEY: usize = 16;
const SALT: usize = 12;

#[derive(Debug, thiserror::Error)]
#[error("a key of AEAD_AES_128_GCM has 16 bytes, its salt 12")]
pub(crate) struct KeyError;

/// One direction.
pub(crate) struct Cipher {
    key: LessSafeKey,
    salt: [u8; SALT],
}

impl Cipher {
    pub(crate) fn new(master: &[u8], salt: &[u8]) -> Result<Self, KeyError> {
        let master: [u8; KEY] = master.try_into().map_err(|_| KeyError)?;
        let salt: [u8; SALT] = salt.try_into().map_err(|_| KeyError)?;
        let key = derive(&master, &salt, 0)?;
        let unbound = UnboundKey::new(&AES_128_GCM, &key).map_err(|_| KeyError)?;
        let mut session_salt = [0; SALT];
        session_salt.copy_from_slice(&derive(&master, &salt, 2)?[..SALT]);
        Ok(Self {
            key: LessSafeKey::new(unbound),
            salt: session_salt,
        })
    }

    /// Two zero bytes, SSRC, 48-bit index, XOR salt (RFC 7714 section 8.1).
    fn nonce(&self, packet: &[u8], index: u64) -> Nonce {
        let mut nonce = self.salt;
        for (byte, of) in nonce[2..6].iter_mut().zip(packet.get(8..12).unwrap_or_default()) {
            *byte ^= of;
        }
        for (byte, of) in nonce[6..].iter_mut().zip(&index.to_be_bytes()[2..]) {
            *byte ^= of;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// Copies `packet` (header and payload) to `out`, encrypted; returns the length.
    pub(crate) fn seal(&self, packet: &[u8], header: usize, index: u64, out: &mut [u8]) -> Option<usize> {
        let len = packet.len() + TAG;
        let out = out.get_mut(..len)?;
        let (head, payload) = packet.split_at_checked(header)?;
        let (to, rest) = out.split_at_mut(header);
        to.copy_from_slice(head);
        let (body, tag) = rest.split_at_mut(payload.len());
        self.key
            .seal_out_of_place_scatter(self.nonce(packet, index), Aad::from(head), payload, body, &[], tag)
            .ok()?;
        Some(len)
    }

    /// Decrypts in place; returns the length of header and payload.
    pub(crate) fn open(&self, packet: &mut [u8], header: usize, index: u64) -> Option<usize> {
        let nonce = self.nonce(packet, index);
        let (head, rest) = packet.split_at_mut_checked(header)?;
        let body = self.key.open_in_place(nonce, Aad::from(&*head), rest).ok()?.len();
        Some(header + body)
    }
}

/// AES-CM as key derivation function (RFC 3711 section 4.3.3), key derivation rate 0.
fn derive(master: &[u8; KEY], salt: &[u8], label: u8) -> Result<[u8; KEY], KeyError> {
    let mut iv = [0; 16];
    iv.get_mut(..salt.len()).ok_or(KeyError)?.copy_from_slice(salt);
    iv[7] ^= label;
    let mut key = [0; KEY];
    let unbound = UnboundCipherKey::new(&AES_128, master).map_err(|_| KeyError)?;
    let cipher = EncryptingKey::ctr(unbound).map_err(|_| KeyError)?;
    let _: DecryptionContext = cipher
        .less_safe_encrypt(&mut key, EncryptionContext::Iv128(aws_lc_rs::iv::FixedLength::from(iv)))
        .map_err(|_| KeyError)?;
    Ok(key)
}

/// Octets of the RTP header with contributing sources and extension (RFC 3550 section 5.1).
pub(crate) fn header_len(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let mut len = 12 + 4 * usize::from(first & 0x0f);
    if first & 0x10 != 0 {
        let words = packet.get(len + 2..len + 4)?;
        len += 4 + 4 * usize::from(u16::from_be_bytes([words[0], words[1]]));
    }
    (len <= packet.len()).then_some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_the_rfc() {
        // RFC 3711 appendix B.3.
        let master = [
            0xe1, 0xf9, 0x7a, 0x0d, 0x3e, 0x01, 0x8b, 0xe0, 0xd6, 0x4f, 0xa3, 0x2c, 0x06, 0xde, 0x41, 0x39,
        ];
        let salt = [
            0x0e, 0xc6, 0x75, 0xad, 0x49, 0x8a, 0xfe, 0xeb, 0xb6, 0x96, 0x0b, 0x3a, 0xab, 0xe6,
        ];
        let cipher_key = [
            0xc6, 0x1e, 0x7a, 0x93, 0x74, 0x4f, 0x39, 0xee, 0x10, 0x73, 0x4a, 0xfe, 0x3f, 0xf7, 0xa0, 0x87,
        ];
        let cipher_salt = [
            0x30, 0xcb, 0xbc, 0x08, 0x86, 0x3d, 0x8c, 0x85, 0xd4, 0x9d, 0xb3, 0x4a, 0x9a, 0xe1,
        ];
        assert_eq!(derive(&master, &salt, 0).unwrap(), cipher_key);
        assert_eq!(derive(&master, &salt, 2).unwrap()[..14], cipher_salt);
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let cipher = Cipher::new(&[1; 16], &[2; 12]).unwrap();
        let mut packet = vec![0x90, 96, 0, 7, 0, 0, 0, 1, 9, 9, 9, 9, 0xbe, 0xde, 0, 1, 0x10, 1, 0, 0];
        packet.extend([5; 100]);
        let header = header_len(&packet).unwrap();
        assert_eq!(header, 20);
        let mut out = [0; 200];
        let len = cipher.seal(&packet, header, 65_543, &mut out).unwrap();
        assert_eq!(len, packet.len() + TAG);
        assert_ne!(out[header..packet.len()], packet[header..]);
        let mut copy = out;
        assert_eq!(cipher.open(&mut copy[..len], header, 65_543), Some(packet.len()));
        assert_eq!(copy[..packet.len()], packet);
        assert_eq!(cipher.open(&mut out[..len], header, 65_544), None);
    }
}
