//! Transport-wide congestion control feedback (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).

use super::{WriteError, begin_feedback, finish, packet_type};
use crate::cursor::{BufferFull, Reader, Writer};

pub(super) const FORMAT: u8 = 15;

/// Arrival times are told in this unit.
const TICK_MICROS: u64 = 250;
/// The reference time is told in units of 64 ms.
const TICKS_PER_REFERENCE: u64 = 256;
/// Octets before the chunks: shared header, two SSRCs, then [`Feedback`]'s own fields.
const FIXED: usize = 20;
const MAX_STATUSES: usize = 0xffff;
const MAX_RUN: usize = 0x1fff;
/// Symbols in a status vector chunk, of one bit and of two bits each.
const BITS_PER_CHUNK: usize = 14;
const PAIRS_PER_CHUNK: usize = 7;
const VECTOR: u16 = 0x8000;
const VECTOR_OF_PAIRS: u16 = 0x4000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback<'a> {
    pub sender_ssrc: u32,
    pub media_ssrc: u32,
    /// Counts feedback messages.
    pub serial: u8,
    /// Time that arrivals build on, in units of 64 ms; 24 bits that wrap.
    pub reference: u32,
    first: u16,
    /// Statuses, at least one.
    count: u16,
    chunks: &'a [u8],
    deltas: &'a [u8],
}

/// What is told of one packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// Transport-wide sequence number.
    pub sequence: u16,
    /// Microseconds after the feedback's reference time (negative: before it); `None` when it did not arrive.
    pub arrival: Option<i64>,
}

impl<'a> Feedback<'a> {
    /// Refuses feedback whose statuses or deltas are not all there, or that has a reserved symbol.
    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let sender_ssrc = reader.u32()?;
        let media_ssrc = reader.u32()?;
        let first = reader.u16()?;
        let count = reader.u16().filter(|&count| count > 0)?;
        let [r0, r1, r2, serial] = reader.array()?;
        let content = reader.0;
        let mut left = usize::from(count);
        let mut deltas_len = 0;
        while left > 0 {
            let chunk = Chunk(reader.u16()?);
            let used = chunk.len().min(left);
            deltas_len += chunk.deltas_len(used)?;
            left -= used;
        }
        let (chunks, deltas) = content.split_at_checked(content.len() - reader.0.len())?;
        Some(Self {
            sender_ssrc,
            media_ssrc,
            serial,
            reference: u32::from_be_bytes([0, r0, r1, r2]),
            first,
            count,
            chunks,
            deltas: deltas.get(..deltas_len)?,
        })
    }

    /// Of all packets from the first to the last, in order of their numbers.
    pub fn statuses(&self) -> impl Iterator<Item = Status> + use<'a> {
        let mut chunks = Reader(self.chunks);
        let mut symbols = std::iter::from_fn(move || chunks.u16().map(Chunk)).flat_map(Chunk::symbols);
        let mut deltas = Reader(self.deltas);
        let mut ticks = 0_i64;
        let first = self.first;
        (0..self.count).map_while(move |index| {
            let delta = match symbols.next()? {
                Symbol::Lost | Symbol::Reserved => None,
                Symbol::Small => Some(i64::from(deltas.u8()?)),
                Symbol::Large => Some(i64::from(deltas.u16()? as i16)),
            };
            ticks += delta.unwrap_or(0);
            Some(Status {
                sequence: first.wrapping_add(index),
                arrival: delta.map(|_| ticks * TICK_MICROS as i64),
            })
        })
    }
}

/// What [`write()`] got into one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Octets of the message.
    pub len: usize,
    /// Packets it tells of; the others need another message.
    pub told: usize,
}

/// Writes feedback on consecutive packets, the first of which has the number `first`.
///
/// `arrivals` are microseconds of any clock, `None` for packets that did not arrive; at least one must have arrived.
/// The message ends early where the buffer does, or where two arrivals are more than 8 s apart.
pub fn write(
    out: &mut [u8],
    sender_ssrc: u32,
    media_ssrc: u32,
    serial: u8,
    first: u16,
    arrivals: impl Iterator<Item = Option<u64>> + Clone,
) -> Result<Written, WriteError> {
    let earliest = arrivals.clone().flatten().next().ok_or(WriteError::Nothing)?;
    let reference = earliest / TICK_MICROS / TICKS_PER_REFERENCE;
    // Differences of rounded times, not rounded differences: errors don't add up.
    let deltas = arrivals.scan(reference * TICKS_PER_REFERENCE, |before, arrival| {
        let Some(arrival) = arrival else { return Some(None) };
        let ticks = arrival / TICK_MICROS;
        let delta = i16::try_from(ticks as i64 - *before as i64).ok()?;
        *before = ticks;
        Some(Some(delta))
    });
    let told = fitting(out.len(), deltas.clone().map(Symbol::of));
    if told == 0 {
        return Err(WriteError::BufferFull);
    }
    let deltas = deltas.take(told);
    let mut writer = begin_feedback(out, FORMAT, packet_type::TRANSPORT_FEEDBACK, sender_ssrc, media_ssrc)?;
    writer.u16(first)?;
    writer.u16(told as u16)?;
    writer.u32((reference as u32) << 8 | u32::from(serial))?;
    write_chunks(&mut writer, told, deltas.clone().map(Symbol::of))?;
    for delta in deltas.flatten() {
        match u8::try_from(delta) {
            Ok(small) => writer.u8(small)?,
            Err(_) => writer.u16(delta as u16)?,
        }
    }
    // Zeros rather than RTCP padding, which only the last packet of a compound may have.
    writer.align()?;
    Ok(Written {
        len: finish(writer)?,
        told,
    })
}

/// How many symbols surely fit into a message of `room` octets.
fn fitting(room: usize, symbols: impl Iterator<Item = Symbol>) -> usize {
    let mut deltas_len = 0;
    symbols
        .take(MAX_STATUSES)
        .enumerate()
        .take_while(|&(index, symbol)| {
            deltas_len += symbol.delta_len();
            // Every chunk but the last holds at least as many symbols as a vector of pairs.
            let chunks_len = (index / PAIRS_PER_CHUNK + 1) * 2;
            (FIXED + chunks_len + deltas_len).next_multiple_of(4) <= room
        })
        .count()
}

fn write_chunks(
    writer: &mut Writer<'_>,
    mut left: usize,
    mut symbols: impl Iterator<Item = Symbol> + Clone,
) -> Result<(), BufferFull> {
    while left > 0 {
        let (chunk, used) = Chunk::pack(symbols.clone());
        writer.u16(chunk.0)?;
        left -= used.min(left);
        symbols.nth(used - 1);
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    Lost,
    /// Delta of one octet, without sign.
    Small,
    /// Delta of two octets, with sign.
    Large,
    Reserved,
}

impl Symbol {
    fn of(delta: Option<i16>) -> Self {
        match delta {
            None => Self::Lost,
            Some(0..=0xff) => Self::Small,
            Some(_) => Self::Large,
        }
    }

    fn from_bits(bits: u16) -> Self {
        match bits & 0x03 {
            0 => Self::Lost,
            1 => Self::Small,
            2 => Self::Large,
            _ => Self::Reserved,
        }
    }

    fn delta_len(self) -> usize {
        match self {
            Self::Lost | Self::Reserved => 0,
            Self::Small => 1,
            Self::Large => 2,
        }
    }
}

/// Packet status chunk: a run of one symbol (section 3.1.3) or a vector of them (section 3.1.4).
#[derive(Clone, Copy)]
struct Chunk(u16);

impl Chunk {
    /// Symbols in it; a run may be empty.
    fn len(self) -> usize {
        match self.0 & (VECTOR | VECTOR_OF_PAIRS) {
            VECTOR => BITS_PER_CHUNK,
            bits if bits & VECTOR != 0 => PAIRS_PER_CHUNK,
            _ => usize::from(self.0) & MAX_RUN,
        }
    }

    fn symbol(self, index: usize) -> Symbol {
        match self.0 & (VECTOR | VECTOR_OF_PAIRS) {
            VECTOR => Symbol::from_bits(self.0 >> (BITS_PER_CHUNK - 1).saturating_sub(index) & 1),
            bits if bits & VECTOR != 0 => {
                Symbol::from_bits(self.0 >> ((PAIRS_PER_CHUNK - 1).saturating_sub(index) * 2))
            }
            _ => Symbol::from_bits(self.0 >> 13),
        }
    }

    fn symbols(self) -> impl Iterator<Item = Symbol> {
        (0..self.len()).map(move |index| self.symbol(index))
    }

    /// Octets of deltas that the first `used` symbols need; `None` with a reserved symbol among them.
    fn deltas_len(self, used: usize) -> Option<usize> {
        if self.0 & VECTOR == 0 {
            let symbol = self.symbol(0);
            return (symbol != Symbol::Reserved).then(|| symbol.delta_len() * used);
        }
        let mut len = 0;
        for symbol in self.symbols().take(used) {
            if symbol == Symbol::Reserved {
                return None;
            }
            len += symbol.delta_len();
        }
        Some(len)
    }

    /// The chunk that tells most of what comes next, and how many symbols that is: one at least.
    fn pack(symbols: impl Iterator<Item = Symbol> + Clone) -> (Self, usize) {
        let first = symbols.clone().next().unwrap_or(Symbol::Lost);
        let run = symbols
            .clone()
            .take(MAX_RUN)
            .take_while(|&symbol| symbol == first)
            .count();
        let bits = symbols
            .clone()
            .take(BITS_PER_CHUNK)
            .take_while(|&symbol| symbol != Symbol::Large)
            .count();
        let ahead = symbols.clone().take(BITS_PER_CHUNK).count();
        let as_bits = bits == ahead;
        let vector = if as_bits { BITS_PER_CHUNK } else { PAIRS_PER_CHUNK };
        if run >= vector || run == ahead {
            return (Self((first as u16) << 13 | run as u16), run.max(1));
        }
        let mut packed = if as_bits { VECTOR } else { VECTOR | VECTOR_OF_PAIRS };
        let width = BITS_PER_CHUNK / vector;
        for (index, symbol) in symbols.take(vector).enumerate() {
            packed |= (symbol as u16) << ((vector - 1 - index) * width);
        }
        (Self(packed), vector.min(ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{only, packet};
    use super::super::{Error, Packet};
    use super::*;

    fn feedback(compound: &[u8]) -> Result<Feedback<'_>, Error> {
        match only(compound)? {
            Packet::TransportWide(feedback) => Ok(feedback),
            other => panic!("{other:?}"),
        }
    }

    fn body(count: u16, content: &[u8]) -> Vec<u8> {
        let mut body = vec![0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0xff];
        body.extend(count.to_be_bytes());
        body.extend([0, 0, 3, 9]);
        body.extend(content);
        body.resize(body.len().next_multiple_of(4), 0);
        packet(15, 205, &body)
    }

    fn arrivals(compound: &[u8]) -> Result<Vec<Option<i64>>, Error> {
        Ok(feedback(compound)?.statuses().map(|status| status.arrival).collect())
    }

    #[test]
    fn fields_and_sequence_numbers() {
        let compound = body(3, &[0x20, 3, 1, 2, 3]);
        let feedback = feedback(&compound).unwrap();
        assert_eq!(
            (
                feedback.sender_ssrc,
                feedback.media_ssrc,
                feedback.reference,
                feedback.serial
            ),
            (1, 2, 3, 9)
        );
        let sequences: Vec<_> = feedback.statuses().map(|status| status.sequence).collect();
        assert_eq!(sequences, [65_535, 0, 1]);
    }

    #[test]
    fn chunks_of_every_kind() {
        assert_eq!(
            arrivals(&body(2, &[0x20, 2, 4, 0xff])),
            Ok(vec![Some(1_000), Some(1_000 + 255 * 250)])
        );
        assert_eq!(arrivals(&body(2, &[0xa0, 0, 1])), Ok(vec![Some(250), None]));
        assert_eq!(
            arrivals(&body(3, &[0xe0, 0, 0xff, 0xfc])),
            Ok(vec![Some(-1_000), None, None])
        );
        // Pairs 01 10 00 01.
        assert_eq!(
            arrivals(&body(4, &[0xd8, 0x40, 4, 4, 0, 4])),
            Ok(vec![
                Some(1_000),
                Some(1_000 + 1_024 * 250),
                None,
                Some(2_000 + 1_024 * 250)
            ])
        );
        assert_eq!(arrivals(&body(70, &[0, 60, 0, 10])), Ok(vec![None; 70]));
    }

    /// Symbols and counts that once read past the end of the message, or never ended.
    #[test]
    fn malformed() {
        for (count, content) in [
            // No statuses, no chunks, too few of them, empty runs.
            (0, &[0x20, 1, 4, 0][..]),
            (1, &[]),
            (9, &[0x20, 8]),
            (1, &[0, 0, 0, 0]),
            // Reserved symbol in a run and in a vector.
            (1, &[0x60, 1, 0, 0]),
            (2, &[0xdc, 0, 1, 1]),
            // Deltas missing.
            (8_191, &[0x3f, 0xff, 1, 1]),
            (8_191, &[0x5f, 0xff, 1, 1]),
            (3, &[0x20, 3]),
            (14, &[0xbf, 0xff, 1, 1]),
            (7, &[0xea, 0xaa, 1, 1]),
        ] {
            assert_eq!(
                arrivals(&body(count, content)),
                Err(Error::TransportWide),
                "{count} {content:?}"
            );
        }
        // What lies beyond the count is no symbol.
        assert_eq!(arrivals(&body(1, &[0xdf, 0xff, 1, 0])), Ok(vec![Some(250)]));
        for len in [0, 4, 8, 12] {
            assert_eq!(feedback(&packet(15, 205, &vec![0; len])), Err(Error::TransportWide));
        }
    }

    fn round_trip(first: u16, list: &[Option<u64>], room: usize) -> Result<Written, WriteError> {
        let mut out = vec![0xee; room];
        let written = write(&mut out, 7, 8, 9, first, list.iter().copied())?;
        let feedback = feedback(&out[..written.len]).unwrap();
        assert_eq!((feedback.sender_ssrc, feedback.media_ssrc, feedback.serial), (7, 8, 9));
        let statuses: Vec<_> = feedback.statuses().collect();
        assert_eq!(statuses.len(), written.told);
        let reference = i64::from(feedback.reference) * 64_000;
        for (index, (status, &arrival)) in statuses.iter().zip(list).enumerate() {
            assert_eq!(status.sequence, first.wrapping_add(index as u16));
            let expected = arrival.map(|at| at as i64 / 250 * 250);
            assert_eq!(status.arrival.map(|at| at + reference), expected, "{index}");
        }
        Ok(written)
    }

    #[test]
    fn octets_of_a_message() {
        let mut out = [0; 64];
        let list = [Some(64_250), None, Some(65_000), Some(200_000)];
        let written = write(&mut out, 1, 2, 5, 10, list.into_iter()).unwrap();
        assert_eq!((written.len, written.told), (28, 4));
        assert_eq!(
            out[..28],
            [
                0x8f, 205, 0, 6, 0, 0, 0, 1, 0, 0, 0, 2, 0, 10, 0, 4, 0, 0, 1, 5, 0xd1, 0x80, 1, 3, 0x02, 0x1c, 0, 0
            ]
        );
    }

    #[test]
    fn any_arrivals_come_back() {
        let mut state = 77_u64;
        let mut random = move |below: u64| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for round in 0..2_000 {
            let mut clock = 10_000_000 + random(100_000_000);
            let losses = [1, 2, 5, 12][round % 4];
            let jump = [1_000, 20_000, 200_000][round % 3];
            let list: Vec<_> = (0..1 + random(200))
                .map(|_| {
                    clock = clock + random(jump) - random(500);
                    (random(losses) == 0).then_some(clock)
                })
                .collect();
            match round_trip(random(65_536) as u16, &list, 1_200) {
                Ok(written) => assert_eq!(written.told, list.len()),
                Err(error) => assert_eq!((error, list.iter().flatten().next()), (WriteError::Nothing, None)),
            }
        }
    }

    #[test]
    fn long_runs_are_short() {
        let steady: Vec<_> = (0..9_000).map(|index| Some(1_000_000 + index * 500)).collect();
        let written = round_trip(0, &steady, 20_000).unwrap();
        assert_eq!((written.told, written.len), (9_000, 20 + 4 + 9_000));
        let mut lost = vec![None; 20_000];
        lost[0] = Some(5);
        lost[19_999] = Some(9);
        let written = round_trip(0, &lost, 20_000).unwrap();
        assert_eq!(written.told, 20_000);
        assert!(written.len < 40);
    }

    #[test]
    fn ends_where_the_buffer_does() {
        let list: Vec<_> = (0..100).map(|index| Some(1_000_000 + index * 100_000)).collect();
        let mut before = 0;
        for room in 0..300 {
            match round_trip(0, &list, room) {
                Ok(written) => {
                    assert!(written.len <= room && written.told >= before);
                    before = written.told;
                }
                Err(error) => assert_eq!((error, before), (WriteError::BufferFull, 0)),
            }
        }
        assert_eq!(before, 100);
    }

    #[test]
    fn ends_where_a_delta_is_too_far() {
        let list = [Some(1_000_000), None, Some(10_000_000), Some(10_000_100)];
        assert_eq!(round_trip(0, &list, 100).unwrap().told, 2);
        let back = [Some(20_000_000), Some(1_000_000)];
        assert_eq!(round_trip(0, &back, 100).unwrap().told, 1);
        assert_eq!(round_trip(0, &[None, None], 100), Err(WriteError::Nothing));
        assert_eq!(round_trip(0, &[], 100), Err(WriteError::Nothing));
    }

    #[test]
    fn reference_wraps() {
        let mut out = [0; 32];
        let at = (1_u64 << 24) * 64_000 + 64_000 * 5;
        let written = write(&mut out, 1, 2, 0, 0, [Some(at)].into_iter()).unwrap();
        assert_eq!(feedback(&out[..written.len]).unwrap().reference, 5);
        assert_eq!(arrivals(&out[..written.len]), Ok(vec![Some(0)]));
    }
}
