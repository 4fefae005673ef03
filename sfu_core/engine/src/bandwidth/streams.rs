//! Which transport-wide number a stream's packet had: RFC 8888 tells of packets by SSRC and RTP sequence number.

/// Packets remembered, a power of two. More finds packets told of later, at 8 bytes each.
const COUNT: usize = 2_048;
/// Places that a packet can be in: streams whose numbers meet in one place don't push each other out at once.
const WAYS: usize = 2;

#[derive(Clone, Copy, Debug, Default)]
struct Entry {
    ssrc: u32,
    sequence: u16,
    transport: u16,
}

/// Made when the first packet is remembered: most receivers send transport-wide feedback and need none.
#[derive(Debug, Default)]
pub(super) struct Streams {
    entries: Option<Box<[Entry]>>,
    /// Takes the ways in turn.
    turn: usize,
}

impl Streams {
    pub(super) fn push(&mut self, ssrc: u32, sequence: u16, transport: u16) {
        let entries = self
            .entries
            .get_or_insert_with(|| vec![Entry::default(); COUNT].into_boxed_slice());
        self.turn = (self.turn + 1) % WAYS;
        entries[place(ssrc, sequence) + self.turn] = Entry {
            ssrc,
            sequence,
            transport,
        };
    }

    pub(super) fn find(&self, ssrc: u32, sequence: u16) -> Option<u16> {
        let start = place(ssrc, sequence);
        let ways = self.entries.as_ref()?.get(start..start + WAYS)?;
        ways.iter()
            .find(|entry| entry.ssrc == ssrc && entry.sequence == sequence)
            .map(|entry| entry.transport)
    }
}

/// Consecutive numbers of a stream lie side by side, and each stream begins elsewhere (multiplicative hashing).
fn place(ssrc: u32, sequence: u16) -> usize {
    let start = ssrc.wrapping_mul(0x9e37_79b1) >> 16;
    (start as usize).wrapping_add(usize::from(sequence)) % (COUNT / WAYS) * WAYS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_of_many_streams_are_found() {
        let mut streams = Streams::default();
        assert_eq!(streams.find(0, 0), None);
        for index in 0..600_u16 {
            streams.push(u32::from(index % 6) * 77_777, index / 6, 1_000 + index);
        }
        let found = (0..600_u16)
            .filter(|index| streams.find(u32::from(index % 6) * 77_777, index / 6) == Some(1_000 + index))
            .count();
        assert!(found >= 590, "{found}");
        assert_eq!(streams.find(77_777, 60_000), None);
        streams.push(5, 9, 1);
        streams.push(5, 9, 2);
        streams.push(5, 9, 3);
        assert!(streams.find(5, 9).is_some());
    }
}
