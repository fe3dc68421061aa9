//! Channel segments: how a convolution cuts its channels into independent parts.

use std::fmt;
use std::iter::repeat_n;
use std::ops::Range;

/// Cuts input and output channels into segments; output segment `i` reads input segment `i` only.
///
/// One segment is a regular convolution, a segment for each channel a depthwise one (F. Chollet,
/// "Xception", arXiv 1610.02357, section 1.2: the spectrum between them).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Partition {
    inputs: Vec<u32>,
    outputs: Vec<u32>,
}

/// Why channels cannot be cut as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionError {
    /// A segment would be empty.
    #[error("{segments} segments of {channels} channels: there can be at most {channels}")]
    TooMany {
        /// Segments asked for.
        segments: u32,
        /// Channels there are.
        channels: u32,
    },
    /// No segments at all.
    #[error("there must be at least one segment")]
    Zero,
    /// Given sizes do not add up.
    #[error("the segments sum up to {sum} channels, not {channels}")]
    Sum {
        /// Sum of the sizes given.
        sum: u64,
        /// Channels there are.
        channels: u32,
    },
    /// A given size is zero.
    #[error("segment {index} has no channels")]
    Empty {
        /// Position of the empty segment, from 0.
        index: usize,
    },
}

/// So many things cut into `parts` as evenly as possible, larger parts first: the sizes of parts,
/// and how many there are of each. No part is empty, so there are fewer of fewer things.
pub fn even_parts(count: u32, parts: u32) -> impl Iterator<Item = (u32, u32)> {
    let parts = parts.clamp(1, count.max(1));
    let (size, larger) = (count / parts, count % parts);
    [(size + 1, larger), (size, parts - larger)].into_iter().filter(|&(size, parts)| size * parts > 0)
}

impl Partition {
    /// One segment: a regular convolution.
    pub fn whole(inputs: u32, outputs: u32) -> Self {
        Self { inputs: vec![inputs], outputs: vec![outputs] }
    }

    /// Segments with the given sizes; both lists have the same length and no zero.
    pub fn new(inputs: Vec<u32>, outputs: Vec<u32>) -> Self {
        assert_eq!(inputs.len(), outputs.len(), "as many output segments as input segments");
        Self { inputs, outputs }
    }

    /// Sizes of `channels` cut into `segments` as evenly as possible, larger ones first: 728 in 3
    /// is 243 + 243 + 242.
    pub fn even(channels: u32, segments: u32) -> Result<Vec<u32>, PartitionError> {
        if segments == 0 {
            return Err(PartitionError::Zero);
        }
        if segments > channels {
            return Err(PartitionError::TooMany { segments, channels });
        }
        Ok(even_parts(channels, segments).flat_map(|(size, count)| repeat_n(size, count as usize)).collect())
    }

    /// Checks that given sizes are not zero and sum up to `channels`.
    pub fn check_sizes(sizes: &[u32], channels: u32) -> Result<(), PartitionError> {
        if sizes.is_empty() {
            return Err(PartitionError::Zero);
        }
        if let Some(index) = sizes.iter().position(|&s| s == 0) {
            return Err(PartitionError::Empty { index });
        }
        let sum: u64 = sizes.iter().map(|&s| u64::from(s)).sum();
        if sum == u64::from(channels) { Ok(()) } else { Err(PartitionError::Sum { sum, channels }) }
    }

    /// Number of segments.
    pub fn segments(&self) -> usize {
        self.inputs.len()
    }

    /// Input channels of each segment.
    pub fn inputs(&self) -> &[u32] {
        &self.inputs
    }

    /// Output channels of each segment.
    pub fn outputs(&self) -> &[u32] {
        &self.outputs
    }

    /// All input channels.
    pub fn ic(&self) -> u32 {
        self.inputs.iter().sum()
    }

    /// All output channels.
    pub fn oc(&self) -> u32 {
        self.outputs.iter().sum()
    }

    /// Whether all segments have the same number of inputs and of outputs.
    pub fn is_even(&self) -> bool {
        let same = |sizes: &[u32]| sizes.iter().all(|s| *s == sizes[0]);
        same(&self.inputs) && same(&self.outputs)
    }

    /// The inputs and outputs of every segment, where all have the same numbers.
    pub fn equal_sizes(&self) -> Option<[u32; 2]> {
        self.is_even().then(|| [self.inputs[0], self.outputs[0]])
    }

    /// Whether every segment reads one channel.
    pub fn is_depthwise(&self) -> bool {
        self.inputs.iter().all(|&i| i == 1)
    }

    /// Whether each output is made of the input at the same place alone.
    pub fn is_one_to_one(&self) -> bool {
        self.is_depthwise() && self.outputs().iter().all(|&outputs| outputs == 1)
    }

    /// For each segment its ranges of input and output channels.
    pub fn ranges(&self) -> impl Iterator<Item = (Range<u32>, Range<u32>)> + '_ {
        let (mut i, mut o) = (0, 0);
        self.inputs.iter().zip(&self.outputs).map(move |(&inputs, &outputs)| {
            let ranges = (i..i + inputs, o..o + outputs);
            (i, o) = (ranges.0.end, ranges.1.end);
            ranges
        })
    }

    /// Sum over segments of inputs x outputs: multiply-adds of one pixel and one tap.
    pub fn products(&self) -> u64 {
        self.inputs.iter().zip(&self.outputs).map(|(&i, &o)| u64::from(i) * u64::from(o)).sum()
    }
}

/// Prints runs of equal segments: `28x26->26` when even, `2x243->243,1x242->242` otherwise.
impl fmt::Display for Partition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments: Vec<_> = self.inputs.iter().zip(&self.outputs).collect();
        for (n, run) in segments.chunk_by(|a, b| a == b).enumerate() {
            let comma = if n == 0 { "" } else { "," };
            let (inputs, outputs) = run[0];
            write!(f, "{comma}{}x{inputs}->{outputs}", run.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_partitions_differ_by_at_most_one_and_sum_up() {
        for channels in 1..=97 {
            for segments in 1..=channels {
                let sizes = Partition::even(channels, segments).unwrap();
                assert_eq!(sizes.len() as u32, segments);
                Partition::check_sizes(&sizes, channels).unwrap();
                assert!(sizes[0] - sizes[sizes.len() - 1] <= 1);
            }
        }
        assert_eq!(Partition::even(728, 3).unwrap(), [243, 243, 242]);
    }

    #[test]
    fn prints_runs_of_equal_segments() {
        assert_eq!(Partition::whole(3, 32).to_string(), "1x3->32");
        assert_eq!(Partition::new(vec![26; 28], vec![26; 28]).to_string(), "28x26->26");
        assert_eq!(Partition::new(vec![3, 3, 2], vec![6, 6, 4]).to_string(), "2x3->6,1x2->4");
    }

    #[test]
    fn impossible_cuts_say_the_numbers() {
        let text = |e: PartitionError| e.to_string();
        assert_eq!(
            text(Partition::even(8, 9).unwrap_err()),
            "9 segments of 8 channels: there can be at most 8"
        );
        assert_eq!(text(Partition::even(8, 0).unwrap_err()), "there must be at least one segment");
        assert_eq!(
            text(Partition::check_sizes(&[4, 3], 8).unwrap_err()),
            "the segments sum up to 7 channels, not 8"
        );
        assert_eq!(text(Partition::check_sizes(&[8, 0], 8).unwrap_err()), "segment 1 has no channels");
    }
}
