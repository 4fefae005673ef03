//! The ClientHello ahead of the DTLS handshake: bounded whatever comes, and read right whatever its fragments.

use crate::engine_hello::{HelloBuffer, MAX_BUFFERED, Version};
use crate::input::Input;

/// Datagrams as they come from the wire.
pub(crate) fn datagrams(data: &[u8]) {
    let mut input = Input::new(data);
    let mut buffer = HelloBuffer::default();
    let mut given: Vec<&[u8]> = Vec::new();
    while !input.is_empty() {
        let len = usize::from(input.u16()) % 1_500;
        let datagram = input.bytes(len);
        given.push(datagram);
        if let Some((_, kept)) = buffer.push(datagram) {
            assert!(kept.iter().map(Vec::len).sum::<usize>() <= MAX_BUFFERED);
            // A part of what came, in its order, the last of them included.
            let mut from = given.iter();
            assert!(kept.iter().all(|kept| from.any(|given| given == kept)));
            assert_eq!(kept.last().map(Vec::as_slice), Some(datagram));
            buffer = HelloBuffer::default();
            given.clear();
        }
    }
}

/// A hello with these SRTP profiles, in fragments that come in any order, some of them twice, among others.
pub(crate) fn fragments(data: &[u8]) {
    let mut input = Input::new(data);
    let profiles: Vec<_> = (0..input.u8() % 12).map(|_| u16::from(input.u8() % 12)).collect();
    let before = input.some().to_vec();
    let hello = hello(&profiles, &before);
    let mut cuts: Vec<_> = (0..input.u8() % 12)
        .map(|_| usize::from(input.u16()) % (hello.len() + 1))
        .chain([0, hello.len()])
        .collect();
    cuts.sort_unstable();
    let mut left: Vec<_> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
    let mut buffer = HelloBuffer::default();
    let (mut is_done, mut rounds) = (vec![false; hello.len()], 0);
    while let Some(&(from, to)) = left.get(usize::from(input.u8()) % left.len().max(1)) {
        rounds += 1;
        if rounds % 3 != 0 || input.is_empty() {
            left.retain(|&part| part != (from, to));
        }
        if input.bool() {
            assert_eq!(buffer.push(b"\x16 not a whole record"), None);
        }
        is_done[from..to].fill(true);
        let found = buffer.push(&record(&hello, from, to));
        assert_eq!(found.is_some(), is_done.iter().all(|&done| done));
        if let Some((version, _)) = found {
            let known: Vec<_> = profiles.iter().filter(|id| matches!(id, 1 | 7 | 8)).collect();
            let wants_old = known.first() == Some(&&1) && known.iter().any(|&&id| id > 1);
            assert_eq!(version == Version::Dtls12, wants_old, "{profiles:?}");
            return;
        }
    }
}

fn hello(profiles: &[u16], other: &[u8]) -> Vec<u8> {
    let mut extensions = vec![0, 10];
    extensions.extend((other.len() as u16).to_be_bytes());
    extensions.extend(other);
    let list: Vec<_> = profiles.iter().flat_map(|id| id.to_be_bytes()).collect();
    extensions.extend([0, 14]);
    extensions.extend((list.len() as u16 + 3).to_be_bytes());
    extensions.extend((list.len() as u16).to_be_bytes());
    extensions.extend(list);
    extensions.push(0);
    let mut hello = vec![0xfe, 0xfd];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0, 2, 0x13, 1, 1, 0]);
    hello.extend((extensions.len() as u16).to_be_bytes());
    hello.extend(extensions);
    hello
}

fn record(hello: &[u8], from: usize, to: usize) -> Vec<u8> {
    let three = |number: usize| (number as u32).to_be_bytes()[1..].to_vec();
    let len = (to - from + 12) as u16;
    let mut record = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend(len.to_be_bytes());
    record.push(1);
    record.extend([three(hello.len()), vec![0, 0], three(from), three(to - from)].concat());
    record.extend(&hello[from..to]);
    record
}
