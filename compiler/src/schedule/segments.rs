//! The algorithms by which the segments of a convolution are computed, and how one is chosen: by
//! the time that its instructions take.

use std::fmt;
use std::ops::Range;

use crate::graph::{Conv, NodeId, Partition, Window};
use crate::kernels::fast_inner;
use crate::kernels::matmul::CHUNK;
use crate::kernels::winograd::PLANES;

/// How equal segments next to each other are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SegmentAlgorithm {
    /// Side by side in vectors: channels are spread over the lanes of their segment by
    /// permutations.
    SideBySide {
        /// Segments in a vector.
        packed: u32,
    },
    /// A single segment with neighbouring inputs side by side in a vector: each share of the
    /// inputs makes all outputs, of which those of all shares are summed.
    InputsSideBySide {
        /// Shares of the inputs, a power of two.
        shares: u32,
    },
    /// A single segment with a single input, of which neighbouring pixels lie side by side in a
    /// vector, each with all outputs.
    PixelsSideBySide {
        /// Pixels in a vector, a power of two.
        pixels: u32,
    },
    /// As dense blocks, each with panels of its own.
    Panels(Panels),
    /// By Winograd's method, F(2x2, 3x3): 16 products take the place of 36 (see
    /// [`kernels::winograd`](crate::kernels::winograd)). Infinities reach results as NaN.
    Winograd(PlaneProducts),
}

/// How planes of Winograd's method are multiplied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PlaneProducts {
    /// In vectors of f32 values, with panels of so many, as for [`Panels::vectors`].
    Vectors(u32),
    /// The same by the fast inner product (kernel `fast_inner`).
    FastInner(u32),
    /// In vectors of pairs of bf16 values.
    Pairs,
}

impl PlaneProducts {
    /// Words of the packed weights of an output in a plane, from so many inputs.
    pub fn words(self, inputs: u32) -> u32 {
        match self {
            PlaneProducts::Vectors(_) | PlaneProducts::FastInner(_) => inputs,
            PlaneProducts::Pairs => inputs.next_multiple_of(CHUNK) / 2,
        }
    }

    /// Packed constants of an output in a plane beside its weights.
    pub fn constants_of_output(self) -> u32 {
        match self {
            PlaneProducts::FastInner(_) => fast_inner::CONSTANTS,
            PlaneProducts::Vectors(_) | PlaneProducts::Pairs => 1,
        }
    }

    /// Words of the packed constants of a plane, but for weights, of so many inputs and outputs.
    pub fn constants(self, channels: (u32, u32), lanes: u32) -> u64 {
        match self {
            PlaneProducts::FastInner(_) => fast_inner::constants(channels, lanes),
            PlaneProducts::Vectors(_) | PlaneProducts::Pairs => u64::from(channels.1.next_multiple_of(lanes)),
        }
    }
}

/// The panels, in vectors, that `vectors` vectors of outputs are cut into.
///
/// All are `widest` but the last ones. No panel is a single vector where there are more: a vector
/// alone is loaded for one multiply-add at a time. Where panels are two vectors, it makes the one
/// before three vectors wide; wider ones are halved with it.
pub fn panel_widths(vectors: u32, widest: u32) -> Vec<u32> {
    let (whole, rest) = (vectors / widest, vectors % widest);
    let mut widths = vec![widest; whole as usize];
    match (rest, widths.pop()) {
        (1, Some(2)) => widths.push(3),
        (1, Some(last)) if widest > 2 => widths.extend([(last + 1).div_ceil(2), last.div_ceil(2)]),
        (rest, last) => widths.extend(last.into_iter().chain([rest])),
    }
    widths.retain(|&width| width > 0);
    widths
}

/// Dense blocks of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Panels {
    /// Neighbouring segments in a block, with weights of zero between one's inputs and another's
    /// outputs. With more than one, infinities and NaN of one segment reach the others.
    pub merged: u32,
    /// Vectors of a panel, but for the last ones ([`panel_widths`]).
    pub vectors: u32,
    /// How taps read inputs.
    pub taps: Taps,
}

/// How the taps of a row read their inputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taps {
    /// Each tap for itself (kernel `conv`).
    Apart,
    /// All taps of a row together, so that each input is read once (kernel `sliding`).
    Together,
    /// There is one tap, whose inputs were prescaled for the fast inner product (kernel
    /// `fast_inner`).
    Prescaled,
}

impl Taps {
    /// Packed constants of an output beside its weights.
    pub fn constants_of_output(self) -> u32 {
        if self == Taps::Prescaled { fast_inner::CONSTANTS } else { 1 }
    }
}

impl SegmentAlgorithm {
    /// Panels of `vectors` vectors, which any segments can have.
    pub fn plain(vectors: u32) -> Self {
        SegmentAlgorithm::Panels(Panels { merged: 1, vectors, taps: Taps::Apart })
    }

    /// Panels of `vectors` vectors whose inputs are prescaled.
    pub fn fast_inner_product(vectors: u32) -> Self {
        SegmentAlgorithm::Panels(Panels { merged: 1, vectors, taps: Taps::Prescaled })
    }
}

/// What the algorithm is in a few words.
impl fmt::Display for SegmentAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Panels { merged, vectors, taps } = match self {
            SegmentAlgorithm::SideBySide { packed } => {
                return write!(f, "{packed} segments side by side in a vector");
            }
            SegmentAlgorithm::InputsSideBySide { shares } => {
                return write!(f, "inputs in {shares} shares side by side in a vector");
            }
            SegmentAlgorithm::PixelsSideBySide { pixels } => {
                return write!(f, "{pixels} pixels side by side in a vector");
            }
            SegmentAlgorithm::Winograd(products) => {
                f.write_str("patches of 2x2 results by Winograd's method")?;
                return f.write_str(match products {
                    PlaneProducts::Vectors(_) => "",
                    PlaneProducts::FastInner(_) => ", fast inner product",
                    PlaneProducts::Pairs => ", in bf16",
                });
            }
            SegmentAlgorithm::Panels(panels) => *panels,
        };
        let plural = if vectors == 1 { "" } else { "s" };
        write!(f, "panels of {vectors} vector{plural}, ")?;
        f.write_str(match taps {
            Taps::Apart => "taps apart",
            Taps::Together => "taps together",
            Taps::Prescaled => "fast inner product",
        })?;
        if merged > 1 { write!(f, ", {merged} segments merged") } else { Ok(()) }
    }
}

/// An algorithm that a run of equal segments can take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// The algorithm.
    pub algorithm: SegmentAlgorithm,
    /// Milliseconds of one thread that the instructions take on all pixels of one image, by the
    /// target's [times](crate::target::Target::times).
    pub ms: f64,
}

/// Relative difference of two algorithms' times that is not told from none: algorithms of one
/// layer are wrong alike, but for about this much (benches/LOG.md).
pub const TOLERANCE: f64 = 0.03;

/// The first of the candidates that take the least time, up to [`TOLERANCE`]. Simpler algorithms
/// come first.
pub fn cheapest(candidates: &[Candidate]) -> usize {
    let least = candidates.iter().fold(f64::INFINITY, |least, candidate| least.min(candidate.ms));
    candidates.iter().position(|candidate| candidate.ms <= least * (1.0 + TOLERANCE)).unwrap_or(0)
}

/// A choice between several algorithms that was made for some equal segments.
#[derive(Clone, Debug, PartialEq)]
pub struct Choice {
    /// The convolution, or the separable layer whose spatial part it is.
    pub node: NodeId,
    /// Segments.
    pub segments: u32,
    /// Input channels of each.
    pub ic: u32,
    /// Output channels of each.
    pub oc: u32,
    /// The algorithms that there were to choose from.
    pub candidates: Vec<Candidate>,
    /// Which of them was chosen.
    pub chosen: usize,
}

impl Choice {
    /// The algorithm that was chosen.
    pub fn algorithm(&self) -> SegmentAlgorithm {
        self.candidates[self.chosen].algorithm
    }
}

/// Input and output channels of a segment.
pub type Segment = (Range<u32>, Range<u32>);

/// Input and output channels of some equal segments.
pub fn sizes(equal: &[Segment]) -> (u32, u32) {
    equal.first().map_or((0, 0), |(inputs, outputs)| (inputs.len() as u32, outputs.len() as u32))
}

/// The segments of a partition, equal ones that lie next to each other together.
pub fn equal_segments(partition: &Partition) -> Vec<Vec<Segment>> {
    let segments: Vec<Segment> = partition.ranges().collect();
    let size = |(inputs, outputs): &Segment| (inputs.len(), outputs.len());
    segments.chunk_by(|a, b| size(a) == size(b)).map(<[Segment]>::to_vec).collect()
}

/// Equal segments next to each other by an algorithm that fits them without a rest.
pub struct SegmentRun {
    /// The segments.
    pub segments: Vec<Segment>,
    /// Their algorithm.
    pub algorithm: SegmentAlgorithm,
    /// Dense blocks that they make; segments side by side count each for itself.
    pub blocks: u32,
    /// Input channels of a block, or of a share of the inputs.
    pub ic: u32,
    /// Output channels of a block.
    pub oc: u32,
    /// Vectors of outputs of the whole run.
    pub vectors: u32,
}

impl SegmentRun {
    fn new(segments: &[Segment], algorithm: SegmentAlgorithm, lanes: u32) -> Self {
        let ((ic, oc), count) = (sizes(segments), segments.len() as u32);
        let (merged, vectors) = match algorithm {
            SegmentAlgorithm::SideBySide { packed } => (1, count.div_ceil(packed)),
            SegmentAlgorithm::InputsSideBySide { .. } | SegmentAlgorithm::PixelsSideBySide { .. } => {
                (1, count)
            }
            SegmentAlgorithm::Winograd(_) => (1, count * oc.div_ceil(lanes)),
            SegmentAlgorithm::Panels(Panels { merged, .. }) => {
                (merged, count / merged * (merged * oc).div_ceil(lanes))
            }
        };
        let shares = if let SegmentAlgorithm::InputsSideBySide { shares } = algorithm { shares } else { 1 };
        let (ic, oc) = (merged * ic / shares, merged * oc);
        Self { segments: segments.to_vec(), algorithm, blocks: count / merged, ic, oc, vectors }
    }

    /// Words of packed weights and biases.
    pub fn constants(&self, window: &Window, lanes: u32) -> [u64; 2] {
        let outputs = u64::from(self.vectors) * u64::from(lanes);
        match self.algorithm {
            SegmentAlgorithm::Winograd(products) => {
                let segments = self.segments.len() as u64;
                let biases = segments * products.constants((self.ic, self.oc), lanes);
                [outputs * u64::from(products.words(self.ic)), biases].map(|words| words * u64::from(PLANES))
            }
            SegmentAlgorithm::Panels(Panels { taps: Taps::Prescaled, .. }) => {
                [outputs * u64::from(self.ic), fast_inner::constants((self.ic, self.oc), lanes)]
            }
            _ => [outputs * u64::from(self.ic) * window.taps(), outputs],
        }
    }
}

/// Equal segments by an algorithm; those that are too few for another merged block are a smaller
/// block of their own.
pub fn segment_runs(segments: &[Segment], algorithm: SegmentAlgorithm, lanes: u32) -> Vec<SegmentRun> {
    let SegmentAlgorithm::Panels(panels) = algorithm else {
        return vec![SegmentRun::new(segments, algorithm, lanes)];
    };
    let rest = segments.len() % panels.merged as usize;
    let (whole, rest) = segments.split_at(segments.len() - rest);
    let last = SegmentAlgorithm::Panels(Panels { merged: rest.len() as u32, ..panels });
    let runs = [(whole, algorithm), (rest, last)].into_iter().filter(|(segments, _)| !segments.is_empty());
    runs.map(|(segments, algorithm)| SegmentRun::new(segments, algorithm, lanes)).collect()
}

/// All segments of a convolution, whose equal ones take the `algorithms` in order.
pub fn all_runs(conv: &Conv, algorithms: &[SegmentAlgorithm], lanes: u32) -> Vec<SegmentRun> {
    let runs = equal_segments(&conv.partition).into_iter().zip(algorithms);
    runs.flat_map(|(segments, &algorithm)| segment_runs(&segments, algorithm, lanes)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_hold_all_segments_in_order() {
        let segments = &equal_segments(&Partition::new(vec![3; 7], vec![2; 7]))[0];
        for merged in 1..=7 {
            let algorithm = SegmentAlgorithm::Panels(Panels { merged, vectors: 2, taps: Taps::Apart });
            let runs = segment_runs(segments, algorithm, 4);
            let held: Vec<Segment> = runs.iter().flat_map(|run| run.segments.clone()).collect();
            assert_eq!(held, *segments);
            for run in runs {
                assert_eq!((run.blocks * run.ic, run.blocks * run.oc), sum(&run.segments));
                assert_eq!(run.vectors, run.blocks * run.oc.div_ceil(4));
            }
        }
    }

    fn sum(segments: &[Segment]) -> (u32, u32) {
        let count = segments.len() as u32;
        (3 * count, 2 * count)
    }

    #[test]
    fn of_times_that_are_about_equal_the_first_is_chosen() {
        let choice = |times: [f64; 3]| {
            cheapest(&times.map(|ms| Candidate { algorithm: SegmentAlgorithm::SideBySide { packed: 2 }, ms }))
        };
        assert_eq!(choice([2.0, 1.0, 1.0]), 1);
        assert_eq!(choice([2.0, 1.02, 1.0]), 1);
        assert_eq!(choice([2.0, 1.04, 1.0]), 2);
    }

    #[test]
    fn panels_cover_all_vectors_and_none_is_alone() {
        for widest in 1..9 {
            for vectors in 1..60 {
                let widths = panel_widths(vectors, widest);
                assert_eq!(widths.iter().sum::<u32>(), vectors);
                let limit = if widest == 2 { 3 } else { widest };
                assert!(widths.iter().all(|&w| w <= limit));
                assert!(
                    widths.iter().all(|&w| w > 1) || vectors == 1 || widest == 1,
                    "{vectors} by {widest}"
                );
            }
        }
        assert_eq!(panel_widths(46, 4)[10..], [4, 2]);
        assert_eq!(panel_widths(5, 4), [3, 2]);
        assert_eq!(panel_widths(3, 2), [3]);
        assert_eq!(panel_widths(5, 2), [2, 3]);
    }
}
