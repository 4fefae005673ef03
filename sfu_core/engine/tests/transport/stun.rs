//! Binding requests of a client and the answers to them.

use hmac::{Hmac, Mac};
use pysfu_engine::command::IceCredentials;
use sha1::Sha1;

/// What a check carries beyond credentials.
#[derive(Clone, Debug)]
pub(crate) struct Flags {
    pub(crate) nominate: bool,
    pub(crate) priority: u32,
    pub(crate) controlled: bool,
    /// An unknown comprehension-required attribute.
    pub(crate) unknown: Option<u16>,
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            nominate: false,
            priority: 1_000,
            controlled: false,
            unknown: None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) success: bool,
    pub(crate) error: Option<u16>,
    pub(crate) authentic: bool,
    pub(crate) transaction: [u8; 12],
}

pub(crate) const TRANSACTION: [u8; 12] = *b"transaction1";

pub(crate) fn request(client: &IceCredentials, server: &IceCredentials, flags: &Flags) -> Vec<u8> {
    let mut message = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    message.extend(TRANSACTION);
    attribute(
        &mut message,
        0x0006,
        format!("{}:{}", server.ufrag, client.ufrag).as_bytes(),
    );
    // Network cost, as Chromium sends it.
    attribute(&mut message, 0xc057, &[0, 1, 0, 10]);
    attribute(&mut message, if flags.controlled { 0x8029 } else { 0x802a }, &[7; 8]);
    attribute(&mut message, 0x0024, &flags.priority.to_be_bytes());
    if flags.nominate {
        attribute(&mut message, 0x0025, &[]);
    }
    if let Some(unknown) = flags.unknown {
        attribute(&mut message, unknown, &[1, 2, 3]);
    }
    let tag = integrity(&message, &server.pwd);
    attribute(&mut message, 0x0008, &tag);
    let len = message.len() + 8 - 20;
    message[2..4].copy_from_slice(&(len as u16).to_be_bytes());
    let crc = crc32(&message) ^ 0x5354_554e;
    attribute(&mut message, 0x8028, &crc.to_be_bytes());
    message
}

pub(crate) fn read_answer(message: &[u8], password: &str) -> Answer {
    let kind = u16::from_be_bytes([message[0], message[1]]);
    let mut answer = Answer {
        success: kind == 0x0101,
        error: None,
        authentic: false,
        transaction: message[8..20].try_into().unwrap(),
    };
    let mut at = 20;
    while at < message.len() {
        let kind = u16::from_be_bytes([message[at], message[at + 1]]);
        let len = usize::from(u16::from_be_bytes([message[at + 2], message[at + 3]]));
        let value = &message[at + 4..at + 4 + len];
        match kind {
            0x0009 => answer.error = Some(u16::from(value[2]) * 100 + u16::from(value[3])),
            0x0008 => answer.authentic = value == integrity(&message[..at], password),
            0x8028 => assert_eq!(value, (crc32(&message[..at]) ^ 0x5354_554e).to_be_bytes()),
            _ => {}
        }
        at += 4 + len.next_multiple_of(4);
    }
    answer
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend(kind.to_be_bytes());
    message.extend((value.len() as u16).to_be_bytes());
    message.extend(value);
    message.resize(message.len().next_multiple_of(4), 0);
    let len = (message.len() - 20) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
}

fn integrity(before: &[u8], password: &str) -> Vec<u8> {
    let mut message = before.to_vec();
    let len = (before.len() + 24 - 20) as u16;
    message[2..4].copy_from_slice(&len.to_be_bytes());
    let mac = <Hmac<Sha1> as Mac>::new_from_slice(password.as_bytes()).unwrap();
    mac.chain_update(&message).finalize().into_bytes().to_vec()
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            };
        }
    }
    !crc
}
