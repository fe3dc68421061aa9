//! Where buffers lie in the arena: buffers that are never alive at the same step share memory.

use std::ops::RangeInclusive;

/// Alignment of every buffer: a cache line.
pub const ALIGNMENT: u64 = 64;

/// Memory that must exist from one step to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Size.
    pub bytes: u64,
    /// The steps at which it must keep its contents.
    pub steps: RangeInclusive<usize>,
}

/// Byte offsets of the buffers, and the size of the arena.
///
/// Largest first, each at the lowest offset where it overlaps no buffer that lives at the same
/// time (Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference", arXiv
/// 2001.03288, greedy by size).
pub fn place(buffers: &[Lifetime]) -> (Vec<u64>, u64) {
    let mut by_size: Vec<usize> = (0..buffers.len()).collect();
    by_size.sort_by_key(|&b| (std::cmp::Reverse(buffers[b].bytes), b));
    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    for buffer in by_size {
        offsets[buffer] = lowest_gap(buffers, &offsets, &placed, buffer);
        placed.push(buffer);
    }
    let size = (0..buffers.len()).map(|b| offsets[b] + padded(buffers[b].bytes)).max();
    (offsets, size.unwrap_or(0))
}

fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALIGNMENT)
}

fn overlap(a: &RangeInclusive<usize>, b: &RangeInclusive<usize>) -> bool {
    a.start() <= b.end() && b.start() <= a.end()
}

fn lowest_gap(buffers: &[Lifetime], offsets: &[u64], placed: &[usize], buffer: usize) -> u64 {
    let mut occupied: Vec<(u64, u64)> = placed
        .iter()
        .filter(|&&other| overlap(&buffers[other].steps, &buffers[buffer].steps))
        .map(|&other| (offsets[other], offsets[other] + padded(buffers[other].bytes)))
        .collect();
    occupied.sort_unstable();
    let mut offset = 0;
    for (start, end) in occupied {
        if offset + padded(buffers[buffer].bytes) <= start {
            break;
        }
        offset = offset.max(end);
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn buffers_alive_together_do_not_overlap(
            rows in proptest::collection::vec((1u64..500, 0usize..10, 0usize..4), 1..30),
        ) {
            let buffers: Vec<Lifetime> = rows
                .iter()
                .map(|&(bytes, start, length)| Lifetime { bytes, steps: start..=start + length })
                .collect();
            let (offsets, size) = place(&buffers);
            for a in 0..buffers.len() {
                prop_assert_eq!(offsets[a] % ALIGNMENT, 0);
                prop_assert!(offsets[a] + buffers[a].bytes <= size);
                for b in 0..a {
                    let apart = offsets[a] + buffers[a].bytes <= offsets[b]
                        || offsets[b] + buffers[b].bytes <= offsets[a];
                    prop_assert!(apart || !overlap(&buffers[a].steps, &buffers[b].steps));
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<_> = (0..10).map(|step| Lifetime { bytes: 64, steps: step..=step + 1 }).collect();
        assert_eq!(place(&chain).1, 128);
    }
}
