//! Redundancy of audio (RFC 2198): former frames of the track travel again in front of the newest, as many and as far apart as
//! a subscriber's losses ask for. A frame of Opus is small beside its headers, so this costs little and repairs without asking.

use arrayvec::ArrayVec;
use wire::BufferFull;
use wire::red::{self, BLOCK_HEADER, Block, MAX_LEN, MAX_OFFSET, PRIMARY_HEADER, Primary, Redundant};

use super::burst::Loss;

/// Former frames in one packet at most.
pub const MAX_BLOCKS: usize = 4;
/// How far back a frame may lie, packets. Further outlives longer bursts, and comes later than a receiver likes to wait.
const MAX_DISTANCE: u8 = 7;
/// Loss from which frames are repeated. Lower costs more subscribers bandwidth; concealment hides this much.
const MIN_LOSS: f32 = 0.01;
/// Share of frames that may stay lost.
const RESIDUAL: f32 = 0.004;
/// Octets that RED may fill, headers of blocks included: the packet stays well below any path's limit.
pub(crate) const MAX_PAYLOAD: usize = 1_100;

/// Which former frames a packet carries, counted back in packets; the nearest first.
pub type Distances = ArrayVec<u8, MAX_BLOCKS>;

/// Share of the estimate that audio with its redundancy may take.
const MOST_AUDIO: f64 = 0.85;
/// Redundancy that goes in any case while no queue builds up, bits per second: losses that are the path's own may have made the
/// estimate small. More repairs more voices on such paths, and harms more where a policer drops what is beyond its rate.
const ALWAYS: f64 = 100_000.0;
/// Loss at which redundancy that is on ends. Closer to `MIN_LOSS` switches more often.
const END_LOSS: f32 = 0.005;

/// What decides on redundancy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chance {
    /// Of packets of the track.
    pub(crate) loss: Loss,
    /// Redundancy is on.
    pub(crate) on: bool,
    /// Former frames per packet for which the path has room, and that are allowed.
    pub(crate) room: usize,
    pub(crate) most: usize,
}

/// How many former frames per packet a path has room for. Rates in bits per second: the estimate, audio without redundancy, its
/// frames alone.
pub(crate) fn room(target: f64, queues: bool, plain: f64, frames: f64) -> usize {
    let least = if queues { 0.0 } else { ALWAYS };
    ((target * MOST_AUDIO - plain).max(least) / frames.max(1.0)) as usize
}

/// The redundancy that a subscriber gets.
pub(crate) fn choose(chance: &Chance) -> Distances {
    let Chance { loss, on, room, most } = *chance;
    let share = if on && loss.share >= END_LOSS {
        loss.share.max(MIN_LOSS)
    } else {
        loss.share
    };
    distances(Loss { share, ..loss }, room.min(most))
}

/// Losses of the packets of one stream that is each `nth` packet of a path with these: in between, the memory of a burst fades.
pub(crate) fn of_every(loss: Loss, nth: f32) -> Loss {
    let share = loss.share.clamp(0.0, 0.9);
    Loss {
        share,
        burst: 1.0 / (1.0 - lost_again(loss, share, nth.clamp(1.0, 100.0))),
    }
}

/// What suits such losses, with at most so many former frames.
///
/// After a lost packet the next one is lost with probability `1 - 1/burst`, and the memory of that fades by the
/// packet. Blocks further apart than a burst are lost nearly independently, so there the number of blocks counts. Among
/// choices that reach the goal one with the fewest blocks is taken, and of these the one that repairs soonest.
pub fn distances(loss: Loss, most: usize) -> Distances {
    let share = loss.share.clamp(0.0, 0.9);
    if share < MIN_LOSS {
        return Distances::new();
    }
    let mut best = (f32::MAX, Distances::new());
    for count in 1..=most.min(MAX_BLOCKS) as u8 {
        // The nearest a packet back repairs sooner, a stride back more surely.
        let strides = (1..=MAX_DISTANCE).flat_map(|stride| [(1, stride), (stride, stride)]);
        for (first, stride) in strides.filter(|(first, stride)| first + (count - 1) * stride <= MAX_DISTANCE) {
            let choice: Distances = (0..count).map(|index| first + index * stride).collect();
            let again = |gap: u8| lost_again(loss, share, f32::from(gap));
            let residual = share * again(first) * again(stride).powi(i32::from(count) - 1);
            if residual <= RESIDUAL {
                return choice;
            }
            // What repairs later must be worth it.
            if residual < best.0 * 0.95 {
                best = (residual, choice);
            }
        }
    }
    best.1
}

/// Probability that the packet `distance` after a lost one is lost, in Gilbert's model.
fn lost_again(loss: Loss, share: f32, distance: f32) -> f32 {
    // Below this length packets would be lost less in a row than by chance.
    let burst = loss.burst.max(1.0 / (1.0 - share));
    let stays = 1.0 - 1.0 / burst;
    let memory = ((stays - share) / (1.0 - share)).max(0.0);
    share + (1.0 - share) * memory.powf(distance)
}

/// Writes the payload of RED: `primary` with timestamp `timestamp` and `former` frames, each with its timestamp, the
/// nearest first. Frames that are empty, too long, too far back or too much are left out.
pub fn add<'a>(
    out: &mut [u8],
    primary: Primary<'_>,
    timestamp: u32,
    former: impl Iterator<Item = (u32, &'a [u8])>,
) -> Result<usize, BufferFull> {
    let mut blocks = ArrayVec::<Block<'a>, MAX_BLOCKS>::new();
    let mut len = PRIMARY_HEADER + primary.data.len();
    for (at, data) in former {
        let offset = timestamp.wrapping_sub(at);
        let fits = (1..=MAX_OFFSET).contains(&offset) && (1..=MAX_LEN).contains(&data.len());
        if !fits || len + BLOCK_HEADER + data.len() > MAX_PAYLOAD || blocks.is_full() {
            continue;
        }
        len += BLOCK_HEADER + data.len();
        blocks.push(Block {
            payload_type: primary.payload_type,
            timestamp_offset: offset as u16,
            data,
        });
    }
    // The oldest comes first.
    blocks.reverse();
    red::write(out, primary, &blocks)
}

/// A frame that a packet carries beside its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovered<'a> {
    pub sequence: u64,
    pub timestamp: u32,
    pub payload_type: u8,
    pub payload: &'a [u8],
}

/// The frames among `missing` that a packet numbered `sequence` brings again.
///
/// RED tells times, not numbers: the number follows from `duration`, that of a packet in the timestamp's clock. Across silence that was not
/// sent this goes wrong, so `missing` is asked for number and timestamp: the first must be missing, the second lie
/// between those of its neighbours.
pub fn recover<'a>(
    packet: &Redundant<'a>,
    sequence: u64,
    timestamp: u32,
    duration: u32,
    missing: impl Fn(u64, u32) -> bool,
) -> impl Iterator<Item = Recovered<'a>> {
    packet.blocks().filter_map(move |block| {
        let offset = u32::from(block.timestamp_offset);
        let distance = offset.checked_div(duration).filter(|_| offset % duration == 0)?;
        let number = sequence.checked_sub(u64::from(distance))?;
        let time = timestamp.wrapping_sub(offset);
        (distance > 0 && !block.data.is_empty() && missing(number, time)).then_some(Recovered {
            sequence: number,
            timestamp: time,
            payload_type: block.payload_type,
            payload: block.data,
        })
    })
}

#[cfg(test)]
mod tests;
