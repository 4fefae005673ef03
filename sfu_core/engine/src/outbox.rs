//! RTCP that waits to be protected and sent. Buffers are recycled.

use std::collections::VecDeque;

use wire::rtcp::WriteError;

/// Octets of one compound packet at most: with SRTCP's trailer it fits every path.
const MAX_COMPOUND: usize = 1_200;
/// Compound packets waiting at most; the engine sends them all in its next flush, so only a fault gets near.
const MAX_WAITING: usize = 65_536;
/// Buffers kept for reuse.
const MAX_SPARE: usize = 256;

/// Messages to one peer, in as few datagrams as they fit.
#[derive(Default)]
pub(crate) struct Outbox {
    waiting: VecDeque<(usize, Vec<u8>)>,
    spare: Vec<Vec<u8>>,
}

impl Outbox {
    /// Adds a message to the last datagram if that goes to the same peer and has room, else to a new one.
    /// `write` gets the room there is and returns what it used. False when the message can be sent in no way.
    pub(crate) fn add(&mut self, peer: usize, mut write: impl FnMut(&mut [u8]) -> Result<usize, WriteError>) -> bool {
        if let Some((last, buffer)) = self.waiting.back_mut()
            && *last == peer
        {
            match append(buffer, &mut write) {
                Ok(()) => return true,
                Err(WriteError::BufferFull) => {}
                Err(_) => return false,
            }
        }
        if self.waiting.len() >= MAX_WAITING {
            return false;
        }
        let mut buffer = self.spare.pop().unwrap_or_default();
        let written = append(&mut buffer, &mut write).is_ok();
        if written {
            self.waiting.push_back((peer, buffer));
        } else {
            self.recycle(buffer);
        }
        written
    }

    pub(crate) fn front(&self) -> Option<(usize, &[u8])> {
        self.waiting.front().map(|(peer, buffer)| (*peer, buffer.as_slice()))
    }

    pub(crate) fn pop(&mut self) {
        if let Some((_, buffer)) = self.waiting.pop_front() {
            self.recycle(buffer);
        }
    }

    /// The peer is gone.
    pub(crate) fn forget(&mut self, peer: usize) {
        self.waiting.retain(|(to, _)| *to != peer);
    }

    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if self.spare.len() < MAX_SPARE {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

fn append(
    buffer: &mut Vec<u8>,
    write: &mut impl FnMut(&mut [u8]) -> Result<usize, WriteError>,
) -> Result<(), WriteError> {
    let start = buffer.len();
    buffer.resize(MAX_COMPOUND, 0);
    let written = write(&mut buffer[start..]);
    buffer.truncate(start + written.unwrap_or(0));
    written.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> impl FnMut(&mut [u8]) -> Result<usize, WriteError> {
        move |out| {
            if len <= out.len() {
                Ok(len)
            } else {
                Err(WriteError::BufferFull)
            }
        }
    }

    #[test]
    fn joins_messages_to_one_peer() {
        let mut outbox = Outbox::default();
        for (peer, len, sent) in [
            (1, 700, true),
            (1, 500, true),
            (1, 1, true),
            (2, 8, true),
            (2, 1_201, false),
        ] {
            assert_eq!(outbox.add(peer, message(len)), sent);
        }
        outbox.add(2, message(8));
        let mut got = Vec::new();
        while let Some((peer, bytes)) = outbox.front() {
            got.push((peer, bytes.len()));
            outbox.pop();
        }
        assert_eq!(got, [(1, 1_200), (1, 1), (2, 16)]);
    }

    #[test]
    fn forgets_a_peer() {
        let mut outbox = Outbox::default();
        outbox.add(1, message(8));
        outbox.add(2, message(8));
        outbox.forget(1);
        assert_eq!(outbox.front().map(|(peer, _)| peer), Some(2));
    }
}
