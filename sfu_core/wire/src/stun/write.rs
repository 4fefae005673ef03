//! Writing of STUN messages.

use std::net::SocketAddr;

use hmac::Mac;

use super::{
    ATTRIBUTE_HEADER, Class, FINGERPRINT_LEN, FINGERPRINT_XOR, HEADER, INTEGRITY_LEN, MAGIC_COOKIE, TransactionId,
    address, attribute, crc32, kind_of, mac,
};
use crate::cursor::{BufferFull, Writer as Cursor};

/// Appends attributes in the order of the calls; what does not fit is told by [`Writer::finish`].
///
/// MESSAGE-INTEGRITY comes after all others but FINGERPRINT, which is the last.
#[must_use]
pub struct Writer<'a> {
    cursor: Cursor<'a>,
    transaction: TransactionId,
    outcome: Result<(), BufferFull>,
}

impl<'a> Writer<'a> {
    pub fn new(out: &'a mut [u8], class: Class, method: u16, transaction: &TransactionId) -> Self {
        let mut cursor = Cursor::new(out);
        let outcome = cursor
            .u16(kind_of(class, method))
            .and_then(|()| cursor.u16(0))
            .and_then(|()| cursor.u32(MAGIC_COOKIE))
            .and_then(|()| cursor.bytes(transaction));
        Self {
            cursor,
            transaction: *transaction,
            outcome,
        }
    }

    pub fn attribute(self, kind: u16, value: &[u8]) -> Self {
        self.parts(kind, value, &[])
    }

    pub fn username(self, name: &str) -> Self {
        self.attribute(attribute::USERNAME, name.as_bytes())
    }

    pub fn software(self, name: &str) -> Self {
        self.attribute(attribute::SOFTWARE, name.as_bytes())
    }

    pub fn priority(self, priority: u32) -> Self {
        self.attribute(attribute::PRIORITY, &priority.to_be_bytes())
    }

    pub fn use_candidate(self) -> Self {
        self.attribute(attribute::USE_CANDIDATE, &[])
    }

    pub fn ice_controlling(self, tiebreaker: u64) -> Self {
        self.attribute(attribute::ICE_CONTROLLING, &tiebreaker.to_be_bytes())
    }

    pub fn ice_controlled(self, tiebreaker: u64) -> Self {
        self.attribute(attribute::ICE_CONTROLLED, &tiebreaker.to_be_bytes())
    }

    pub fn xor_mapped_address(self, of: SocketAddr) -> Self {
        let (octets, len) = address::octets(of, &self.transaction);
        self.attribute(attribute::XOR_MAPPED_ADDRESS, &octets[..len])
    }

    /// Code from 300 to 699 (RFC 8489 section 14.8).
    pub fn error_code(self, code: u16, reason: &str) -> Self {
        let head = [0, 0, (code / 100) as u8 & 0x07, (code % 100) as u8];
        self.parts(attribute::ERROR_CODE, &head, reason.as_bytes())
    }

    /// For error 420; more than 16 types are cut, one is enough for a client to give up.
    pub fn unknown_attributes(self, types: impl IntoIterator<Item = u16>) -> Self {
        let mut value = [0; 32];
        let mut len = 0;
        for (place, kind) in value.chunks_exact_mut(2).zip(types) {
            place.copy_from_slice(&kind.to_be_bytes());
            len += 2;
        }
        self.attribute(attribute::UNKNOWN_ATTRIBUTES, &value[..len])
    }

    /// MESSAGE-INTEGRITY with this key: for short-term credentials the password.
    pub fn integrity(self, key: &[u8]) -> Self {
        let Some(mac) = mac(key, self.cursor.written()) else {
            return self.failed();
        };
        let value: [u8; INTEGRITY_LEN] = mac.finalize().into_bytes().into();
        self.attribute(attribute::MESSAGE_INTEGRITY, &value)
    }

    /// FINGERPRINT, the last attribute.
    pub fn fingerprint(mut self) -> Self {
        self.set_len(ATTRIBUTE_HEADER + FINGERPRINT_LEN);
        let crc = crc32::of(self.cursor.written()) ^ FINGERPRINT_XOR;
        self.attribute(attribute::FINGERPRINT, &crc.to_be_bytes())
    }

    /// Octets of the message.
    pub fn finish(mut self) -> Result<usize, BufferFull> {
        self.set_len(0);
        self.outcome.map(|()| self.cursor.len())
    }

    fn parts(mut self, kind: u16, head: &[u8], tail: &[u8]) -> Self {
        self.outcome = self.outcome.and_then(|()| {
            let len = u16::try_from(head.len() + tail.len()).map_err(|_| BufferFull)?;
            self.cursor.u16(kind)?;
            self.cursor.u16(len)?;
            self.cursor.bytes(head)?;
            self.cursor.bytes(tail)?;
            self.cursor.align()
        });
        self
    }

    /// Sets the length field to what is written and `more` octets.
    fn set_len(&mut self, more: usize) {
        let len = (self.cursor.len() + more).saturating_sub(HEADER);
        match u16::try_from(len) {
            Ok(len) => self.cursor.patch(2, &len.to_be_bytes()),
            Err(_) => self.outcome = Err(BufferFull),
        }
    }

    fn failed(mut self) -> Self {
        self.outcome = Err(BufferFull);
        self
    }
}
