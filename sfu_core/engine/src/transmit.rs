//! The transmit arena: outgoing datagrams laid out for UDP GSO.

use std::net::SocketAddr;

use crate::ids::SocketId;

/// One or more datagrams to one destination, contiguous in [`TransmitArena::bytes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transmit {
    pub socket: SocketId,
    pub to: SocketAddr,
    pub start: u32,
    pub len: u32,
    /// Every datagram has this length but the last, which may be shorter. Equal to `len` for one datagram.
    pub segment: u16,
}

/// Filled by the engine, sent by `io` with one `sendmmsg` of GSO messages, then cleared.
pub struct TransmitArena {
    bytes: Box<[u8]>,
    used: usize,
    messages: Vec<Transmit>,
    max_messages: usize,
    /// Datagrams since the arena was cleared, and in the last message.
    datagrams: u64,
    segments: u32,
    /// The last message ends with a shorter datagram: nothing can follow.
    ended: bool,
}

/// Kernel limits on one GSO message: `UDP_MAX_SEGMENTS` is 64 on older kernels, and its bytes fit one IP datagram.
pub const MAX_SEGMENTS: u32 = 64;
const MAX_GSO_BYTES: u32 = 65_000;

impl TransmitArena {
    /// `capacity` in bytes; `messages` is the most [`Transmit`]s held before a flush.
    pub fn new(capacity: usize, messages: usize) -> Self {
        Self {
            bytes: vec![0; capacity].into_boxed_slice(),
            used: 0,
            messages: Vec::with_capacity(messages),
            max_messages: messages,
            datagrams: 0,
            segments: 0,
            ended: false,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub fn messages(&self) -> &[Transmit] {
        &self.messages
    }

    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Datagrams and bytes since the arena was cleared.
    pub fn volume(&self) -> (u64, u64) {
        (self.datagrams, self.used as u64)
    }

    pub fn clear(&mut self) {
        self.used = 0;
        self.datagrams = 0;
        self.messages.clear();
    }

    /// Room to write one datagram of at most `max_len` bytes, or `None` when the arena must be flushed first.
    /// Call [`commit`](Self::commit) with the length written; without a commit nothing is sent.
    pub fn reserve(&mut self, max_len: usize) -> Option<&mut [u8]> {
        if self.messages.len() >= self.max_messages {
            return None;
        }
        self.bytes.get_mut(self.used..self.used + max_len)
    }

    /// Appends the `len` bytes just written, to the previous message when destination and stride allow.
    pub fn commit(&mut self, socket: SocketId, to: SocketAddr, len: usize) {
        let start = self.used as u32;
        let len = len as u32;
        self.used += len as usize;
        self.datagrams += 1;
        if let Some(last) = self.messages.last_mut() {
            let joins = !self.ended
                && last.to == to
                && last.socket == socket
                && len <= u32::from(last.segment)
                && self.segments < MAX_SEGMENTS
                && last.len + len <= MAX_GSO_BYTES;
            if joins {
                last.len += len;
                self.segments += 1;
                self.ended = len < u32::from(last.segment);
                return;
            }
        }
        self.segments = 1;
        self.ended = false;
        self.messages.push(Transmit {
            socket,
            to,
            start,
            len,
            segment: len as u16,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(arena: &mut TransmitArena, to: SocketAddr, len: usize) {
        arena.reserve(len).unwrap();
        arena.commit(SocketId(0), to, len);
    }

    #[test]
    fn joins_equal_strides_and_one_shorter_tail() {
        let (a, b): (SocketAddr, SocketAddr) = ("127.0.0.1:1".parse().unwrap(), "127.0.0.1:2".parse().unwrap());
        let mut arena = TransmitArena::new(100_000, 16);
        for (to, len) in [(a, 100), (a, 100), (a, 40), (a, 40), (b, 40), (b, 41)] {
            commit(&mut arena, to, len);
        }
        let got: Vec<_> = arena.messages().iter().map(|m| (m.to, m.len, m.segment)).collect();
        assert_eq!(got, [(a, 240, 100), (a, 40, 40), (b, 40, 40), (b, 41, 41)]);
    }

    #[test]
    fn refuses_when_full() {
        let mut arena = TransmitArena::new(64, 2);
        assert!(arena.reserve(65).is_none());
        commit(&mut arena, "127.0.0.1:1".parse().unwrap(), 10);
        commit(&mut arena, "127.0.0.1:2".parse().unwrap(), 10);
        assert!(arena.reserve(1).is_none());
        arena.clear();
        assert!(arena.reserve(64).is_some());
    }
}
