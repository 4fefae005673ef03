//! STUN messages (RFC 8489) with the attributes of connectivity checks (RFC 8445 section 7.1).

mod address;
mod crc32;
mod write;

use std::net::SocketAddr;

use hmac::{Hmac, Mac};
use sha1::Sha1;

pub use write::Writer;

use crate::cursor::Reader;

/// The only method of connectivity checks (RFC 8489 section 3).
pub const BINDING: u16 = 0x001;

const HEADER: usize = 20;
const MAGIC_COOKIE: u32 = 0x2112_a442;
/// Octets of type and length before an attribute's value.
const ATTRIBUTE_HEADER: usize = 4;
const INTEGRITY_LEN: usize = 20;
const FINGERPRINT_LEN: usize = 4;
/// RFC 8489 section 14.7: the CRC is told with this pattern over it.
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Attribute types (RFC 8489 section 18.3, RFC 8445 section 16.1).
pub mod attribute {
    pub const USERNAME: u16 = 0x0006;
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    pub const ERROR_CODE: u16 = 0x0009;
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    pub const PRIORITY: u16 = 0x0024;
    pub const USE_CANDIDATE: u16 = 0x0025;
    pub const SOFTWARE: u16 = 0x8022;
    pub const FINGERPRINT: u16 = 0x8028;
    pub const ICE_CONTROLLED: u16 = 0x8029;
    pub const ICE_CONTROLLING: u16 = 0x802a;
}

/// Types of which the receiver need not understand any (RFC 8489 section 14).
const OPTIONAL: u16 = 0x8000;

pub type TransactionId = [u8; 12];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    Request,
    Indication,
    Success,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("not a STUN message: its first bits or its magic cookie are wrong")]
    NotStun,
    #[error("the STUN length field is not that of the datagram")]
    Length,
    #[error("a STUN attribute ends outside the message")]
    Attribute,
    #[error("the STUN fingerprint is wrong or not at the end")]
    Fingerprint,
}

/// A message whose attributes are all within it, and whose fingerprint is right if there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    pub class: Class,
    /// 12 bits.
    pub method: u16,
    pub transaction: TransactionId,
    /// Attributes that MESSAGE-INTEGRITY covers, or all of them without it.
    attributes: &'a [u8],
    /// What MESSAGE-INTEGRITY is computed from, and its value.
    integrity: Option<(&'a [u8], &'a [u8; INTEGRITY_LEN])>,
    /// The message ends with FINGERPRINT.
    pub fingerprinted: bool,
}

impl<'a> Message<'a> {
    /// Of a datagram that is one whole message.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Error> {
        let mut reader = Reader(datagram);
        let (kind, len) = reader.u16().zip(reader.u16()).ok_or(Error::NotStun)?;
        let cookie = reader.u32().ok_or(Error::NotStun)?;
        let transaction = reader.array().ok_or(Error::NotStun)?;
        if kind & 0xc000 != 0 || cookie != MAGIC_COOKIE {
            return Err(Error::NotStun);
        }
        let content = reader.0;
        if usize::from(len) != content.len() || !len.is_multiple_of(4) {
            return Err(Error::Length);
        }
        let mut message = Self {
            class: class_of(kind),
            method: method_of(kind),
            transaction,
            attributes: content,
            integrity: None,
            fingerprinted: false,
        };
        let mut rest = Attributes(Reader(content));
        while !rest.0.0.is_empty() {
            let at = content.len() - rest.0.0.len();
            let (kind, value) = rest.next().ok_or(Error::Attribute)?;
            match kind {
                // Only the first counts; nothing behind it but the fingerprint is looked at (RFC 8489 section 14.5).
                attribute::MESSAGE_INTEGRITY if message.integrity.is_none() => {
                    let value = value.try_into().map_err(|_| Error::Attribute)?;
                    message.attributes = &content[..at];
                    message.integrity = Some((&datagram[..HEADER + at], value));
                }
                attribute::FINGERPRINT => {
                    let covered = &datagram[..HEADER + at];
                    let last = rest.0.0.is_empty();
                    if !last || value != (crc32::of(covered) ^ FINGERPRINT_XOR).to_be_bytes() {
                        return Err(Error::Fingerprint);
                    }
                    message.fingerprinted = true;
                }
                _ => {}
            }
        }
        Ok(message)
    }

    pub fn has_integrity(&self) -> bool {
        self.integrity.is_some()
    }

    /// Whether MESSAGE-INTEGRITY is there and was made with this key: for short-term credentials the password
    /// (RFC 8489 section 9.1.1). Compares in constant time.
    pub fn verify(&self, key: &[u8]) -> bool {
        let Some((covered, value)) = self.integrity else {
            return false;
        };
        mac(key, covered).is_some_and(|mac| mac.verify_slice(value).is_ok())
    }

    /// Types and values, up to MESSAGE-INTEGRITY.
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        Attributes(Reader(self.attributes))
    }

    /// Value of the first attribute of a type.
    pub fn attribute(&self, kind: u16) -> Option<&'a [u8]> {
        self.attributes()
            .find_map(|(found, value)| (found == kind).then_some(value))
    }

    /// In checks "receiver's fragment:sender's fragment" (RFC 8445 section 7.2.2).
    pub fn username(&self) -> Option<&'a str> {
        str::from_utf8(self.attribute(attribute::USERNAME)?).ok()
    }

    /// Of the peer-reflexive candidate that a check may reveal (RFC 8445 section 7.1.1).
    pub fn priority(&self) -> Option<u32> {
        let value = self.attribute(attribute::PRIORITY)?;
        Some(u32::from_be_bytes(value.try_into().ok()?))
    }

    pub fn use_candidate(&self) -> bool {
        self.attribute(attribute::USE_CANDIDATE).is_some()
    }

    /// Tiebreaker of a sender that has the controlling role.
    pub fn ice_controlling(&self) -> Option<u64> {
        let value = self.attribute(attribute::ICE_CONTROLLING)?;
        Some(u64::from_be_bytes(value.try_into().ok()?))
    }

    /// Tiebreaker of a sender that has the controlled role.
    pub fn ice_controlled(&self) -> Option<u64> {
        let value = self.attribute(attribute::ICE_CONTROLLED)?;
        Some(u64::from_be_bytes(value.try_into().ok()?))
    }

    pub fn xor_mapped_address(&self) -> Option<SocketAddr> {
        address::parse(self.attribute(attribute::XOR_MAPPED_ADDRESS)?, &self.transaction)
    }

    /// Code from 300 to 699 and reason (RFC 8489 section 14.8).
    pub fn error_code(&self) -> Option<(u16, &'a str)> {
        let (&[_, _, class, number], reason) = self.attribute(attribute::ERROR_CODE)?.split_first_chunk()?;
        let (class, number) = (u16::from(class & 0x07), u16::from(number));
        let valid = matches!(class, 3..=6) && number < 100;
        Some((valid.then_some(class * 100 + number)?, str::from_utf8(reason).ok()?))
    }

    /// Types that the sender of an error response 420 was told not to be understood.
    pub fn unknown_attributes(&self) -> impl Iterator<Item = u16> + use<'a> {
        let mut types = Reader(self.attribute(attribute::UNKNOWN_ATTRIBUTES).unwrap_or_default());
        std::iter::from_fn(move || types.u16())
    }

    /// Types that must be understood and are not: a request with any is answered with 420 (RFC 8489 section 6.3.1).
    pub fn not_understood(&self) -> impl Iterator<Item = u16> + use<'a> {
        use attribute::*;
        let understood = [
            USERNAME,
            MESSAGE_INTEGRITY,
            ERROR_CODE,
            UNKNOWN_ATTRIBUTES,
            XOR_MAPPED_ADDRESS,
            PRIORITY,
            USE_CANDIDATE,
        ];
        self.attributes()
            .map(|(kind, _)| kind)
            .filter(move |kind| kind & OPTIONAL == 0 && !understood.contains(kind))
    }
}

/// Ends before the first attribute that reaches beyond the end.
struct Attributes<'a>(Reader<'a>);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = self.0.u16()?;
        let len = usize::from(self.0.u16()?);
        let value = self.0.bytes(len)?;
        // Values are padded to 32 bits with anything (RFC 8489 section 14).
        self.0.bytes(len.next_multiple_of(4) - len)?;
        Some((kind, value))
    }
}

/// HMAC-SHA1 of a message up to MESSAGE-INTEGRITY, whose length field counts that attribute (RFC 8489 section 14.5).
fn mac(key: &[u8], covered: &[u8]) -> Option<Hmac<Sha1>> {
    let len = (covered.len() + ATTRIBUTE_HEADER + INTEGRITY_LEN).checked_sub(HEADER)?;
    let mut mac = Hmac::<Sha1>::new_from_slice(key).ok()?;
    mac.update(covered.get(..2)?);
    mac.update(&u16::try_from(len).ok()?.to_be_bytes());
    mac.update(covered.get(4..)?);
    Some(mac)
}

/// RFC 8489 section 5: the two bits of the class lie between those of the method.
fn class_of(kind: u16) -> Class {
    match (kind & 0x0100 != 0, kind & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::Success,
        (true, true) => Class::Error,
    }
}

fn method_of(kind: u16) -> u16 {
    kind & 0x000f | (kind & 0x00e0) >> 1 | (kind & 0x3e00) >> 2
}

fn kind_of(class: Class, method: u16) -> u16 {
    let class = match class {
        Class::Request => 0,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    class | method & 0x000f | (method & 0x0070) << 1 | (method & 0x0f80) << 2
}

#[cfg(test)]
mod tests;
