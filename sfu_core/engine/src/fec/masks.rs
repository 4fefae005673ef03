//! Which repairs cover which packets.
//!
//! Receivers solve parity by substitution alone: a repair that misses one packet yields it. So take the repairs as the vertices of
//! a graph, and one vertex more, the ground; each packet is an edge, covered by the repairs at its ends. Lost packets are
//! recovered exactly when their edges form no cycle; a repair that is lost counts as ground.
//!
//! With few repairs each covers many packets anyway. Then every packet is in one repair, in turn (all edges at the ground):
//! a burst no longer than the number of repairs is recovered wherever it begins, and little else can be hoped for. With many
//! repairs, edges go all over the complete graph: scattered losses and lost repairs must be many before they close a
//! cycle. Successive packets are successive edges of a path through all vertices, for bursts; then come paths of other steps, so
//! that few edges are equal.

/// From so many packets per repair each is in one alone. Higher favours scattered losses, lower bursts.
const SPARSE: usize = 6;

/// The number of repairs, at most `repairs`, for so many packets in `buckets`: where packets take turns, the turns of
/// buckets must be theirs.
pub(super) fn fitting(repairs: usize, packets: usize, buckets: usize) -> usize {
    let fits = |repairs: &usize| packets < SPARSE * repairs || buckets.is_multiple_of(*repairs);
    (1..=repairs).rev().find(fits).unwrap_or(0)
}

/// Up to two of the `repairs`, for the packet of this index of so many. A number out of range is the ground.
pub(super) fn covering(index: usize, repairs: usize, packets: usize) -> [usize; 2] {
    if packets >= SPARSE * repairs {
        return [index % repairs.max(1), repairs];
    }
    let vertices = repairs + 1;
    // Those that lead through all vertices before they come back.
    let steps = || (1..=(repairs / 2).max(1)).filter(|&step| common_divisor(vertices, step) == 1);
    let round = index / vertices % steps().count().max(1);
    let step = steps().nth(round).unwrap_or(1);
    let from = index % vertices * step % vertices;
    [from, (from + step) % vertices]
}

fn common_divisor(a: usize, b: usize) -> usize {
    match b {
        0 => a,
        _ => common_divisor(b, a % b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fec::tests::path::Random;

    /// Whether substitution finds all of the lost packets.
    fn solved(lost: &[usize], repairs: usize, packets: usize, is_lost: impl Fn(usize) -> bool) -> bool {
        let covers = |repair: usize, packet: &usize| covering(*packet, repairs, packets).contains(&repair);
        let mut lost = lost.to_vec();
        while !lost.is_empty() {
            let only = |repair: usize| lost.iter().filter(|packet| covers(repair, packet)).count() == 1;
            let Some(repair) = (0..repairs).find(|&repair| !is_lost(repair) && only(repair)) else {
                return false;
            };
            lost.retain(|packet| !covers(repair, packet));
        }
        true
    }

    #[test]
    fn a_burst_as_long_as_the_repairs_is_recovered() {
        let (mut bursts, mut failed) = (0, 0);
        for repairs in 1..=24 {
            for start in 0..24 {
                let burst: Vec<_> = (start..start + repairs).collect();
                assert!(solved(&burst, repairs, 1_000, |_| false), "{repairs} at {start}");
                // Where edges go all over: within the first path, and half as long nearly anywhere.
                assert!(
                    start > 1 || solved(&burst, repairs, 0, |_| false),
                    "{repairs} at {start}"
                );
                let half = &burst[..repairs.div_ceil(2)];
                bursts += 1;
                failed += u32::from(!solved(half, repairs, 0, |_| false));
            }
        }
        assert!(10 * failed < bursts, "{failed} of {bursts}");
    }

    #[test]
    fn turns_of_packets_are_turns_of_buckets() {
        for (repairs, packets, expected) in [(0, 10, 0), (1, 40, 1), (4, 40, 4), (5, 29, 5), (5, 30, 4), (7, 48, 6)] {
            assert_eq!(fitting(repairs, packets, 24), expected, "{repairs} {packets}");
        }
    }

    #[test]
    fn one_loss_outlives_the_loss_of_a_repair() {
        for repairs in 2..=24 {
            for packet in 0..48 {
                let ends = covering(packet, repairs, 48.min(SPARSE * repairs - 1));
                let twice = ends.iter().all(|&end| end < repairs);
                for gone in ends.into_iter().filter(|&end| end < repairs) {
                    assert_eq!(
                        solved(&[packet], repairs, 48.min(SPARSE * repairs - 1), |repair| repair
                            == gone),
                        twice
                    );
                }
            }
        }
    }

    #[test]
    fn scattered_losses_are_recovered_far_more_often_than_by_interleaving() {
        let mut random = Random::new(3);
        for (packets, repairs, losses) in [(15, 4, 2), (15, 8, 3), (20, 10, 4), (20, 4, 2), (12, 6, 3)] {
            let (mut failed, mut interleaved) = (0, 0);
            for _ in 0..1_000 {
                let mut lost = Vec::new();
                while lost.len() < losses {
                    let packet = random.below(packets) as usize;
                    if !lost.contains(&packet) {
                        lost.push(packet);
                    }
                }
                failed += u32::from(!solved(&lost, repairs, packets as usize, |_| false));
                let mut residues: Vec<_> = lost.iter().map(|packet| packet % repairs).collect();
                residues.sort();
                residues.dedup();
                interleaved += u32::from(residues.len() < lost.len());
            }
            assert!(
                2 * failed < interleaved,
                "{packets} {repairs} {losses}: {failed}, {interleaved}"
            );
        }
    }
}
