//! Where the elements of convolution kernels are.

use std::ops::Range;

use super::Conv;

/// A rectangle of a convolution's kernel: some input channels times some consecutive output
/// channels, for every tap. The blocks of a convolution cover each product of the convolution
/// once.
///
/// The element for tap `t` (row by row), input `i` of `inputs` and output `o` of `outputs` (both
/// counted from the start of their range) is at `offset + t * tap_stride + i * input_stride + o`
/// of the part's kernel tensor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelBlock {
    /// Position in [`Conv::parts`] of the part that holds the kernel.
    pub part: usize,
    /// Input channels read.
    pub inputs: Range<u32>,
    /// Output channels written.
    pub outputs: Range<u32>,
    /// Element of the first tap, input and output.
    pub offset: usize,
    /// Elements between taps.
    pub tap_stride: usize,
    /// Elements between inputs.
    pub input_stride: usize,
}

/// Input and output channels of one segment.
type Segment = (Range<u32>, Range<u32>);

impl Conv {
    /// The segments that each part covers, or `None` when a part covers a piece of one of several
    /// segments.
    ///
    /// Parts that share the only segment each get a segment with all its inputs and the part's
    /// outputs.
    pub fn part_segments(&self) -> Option<Vec<Vec<Segment>>> {
        let mut segments = self.partition.ranges().peekable();
        let mut start = 0u32;
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in &self.parts {
            let end = start.checked_add(part.outputs)?;
            if self.partition.segments() == 1 {
                parts.push(vec![(0..self.partition.ic(), start..end)]);
            } else {
                let covered: Vec<_> = std::iter::from_fn(|| segments.next_if(|s| s.1.end <= end)).collect();
                if covered.last()?.1.end != end {
                    return None;
                }
                parts.push(covered);
            }
            start = end;
        }
        (start == self.partition.oc()).then_some(parts)
    }

    /// The blocks of the kernel in the order of the output channels.
    ///
    /// # Panics
    ///
    /// When the parts do not cover whole segments, which a verified graph rules out.
    pub fn kernel_blocks(&self) -> Vec<KernelBlock> {
        let parts = self.part_segments().expect("parts of a verified convolution cover whole segments");
        parts.iter().enumerate().flat_map(|(part, segments)| part_blocks(part, segments)).collect()
    }
}

/// Whether all segments have as many inputs and outputs as the first.
pub(super) fn are_even(segments: &[Segment]) -> bool {
    let size = |s: &Segment| (s.0.len(), s.1.len());
    segments.windows(2).all(|pair| size(&pair[0]) == size(&pair[1]))
}

/// Equal segments share Keras' layout, where a row of outputs spans all segments; unequal ones lie
/// behind each other (see [`super::LinearPart`]).
fn part_blocks(part: usize, segments: &[Segment]) -> Vec<KernelBlock> {
    let even = are_even(segments);
    let all_outputs: usize = segments.iter().map(|s| s.1.len()).sum();
    let products: usize = segments.iter().map(|s| s.0.len() * s.1.len()).sum();
    let mut offset = 0;
    let block = |(inputs, outputs): &Segment| {
        let (ic, oc) = (inputs.len(), outputs.len());
        let block = KernelBlock {
            part,
            inputs: inputs.clone(),
            outputs: outputs.clone(),
            offset,
            tap_stride: products,
            input_stride: if even { all_outputs } else { oc },
        };
        offset += if even { oc } else { ic * oc };
        block
    };
    segments.iter().map(block).collect()
}
