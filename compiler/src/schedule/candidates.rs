//! The algorithms that equal segments of a convolution can take, what each costs, and the choice
//! between them.

use super::direct::DirectConv;
use super::rules::LARGEST_TILE;
use super::segments::{
    Candidate, Panels, PlaneProducts, Segment, SegmentAlgorithm, Taps, panel_widths, sizes,
};
use crate::graph::{Activation, Post, Shape, Window};
use crate::kernels::sliding::Beside;
use crate::kernels::{segments as segments_kernel, sliding};
use crate::target::{Isa, Target};
use crate::vector::F32;

/// Most vectors of a panel whose taps share inputs: with more, few pixels fit into the registers
/// beside the weights of a row of taps.
const MOST_VECTORS: u32 = 3;

/// What candidates cost: found by lowering them.
pub trait CostModel {
    /// Milliseconds that the instructions of equal segments take one thread, on all pixels of one
    /// image.
    fn segments_ms(&self, candidate: &SegmentCandidate<'_>) -> f64;
}

/// Equal segments in an algorithm, on maps by themselves.
pub struct SegmentCandidate<'a> {
    /// The convolution that they belong to.
    pub direct: &'a DirectConv<'a>,
    /// The segments.
    pub segments: &'a [Segment],
    /// The algorithm.
    pub algorithm: SegmentAlgorithm,
    /// The shape of the input.
    pub input: Shape,
    /// Bytes between pixels of the input.
    pub input_pixel: u64,
    /// The shape of the result.
    pub out: Shape,
}

/// All that the times of the algorithms of equal segments depend on.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Question {
    segments: u32,
    channels: (u32, u32),
    /// All segments of the convolution.
    of: usize,
    window: Window,
    load: Activation,
    post: Vec<Post>,
    /// Of the input and the result.
    shapes: [Shape; 2],
    /// Bytes between pixels of the input.
    pixel: u64,
    /// How planes would be multiplied, if Winograd's method is possible.
    winograd: Option<PlaneProducts>,
}

/// A convolution whose segments' algorithms are to be chosen.
pub(super) struct Choosing<'a> {
    pub direct: DirectConv<'a>,
    /// Shapes of the input and the result.
    pub shapes: [Shape; 2],
    /// Bytes between pixels of the input.
    pub input_pixel: u64,
    pub target: Target,
}

impl<'a> Choosing<'a> {
    /// What the times of `segments` depend on.
    pub fn question(&self, segments: &[Segment], winograd: Option<PlaneProducts>) -> Question {
        let DirectConv { conv, load, post, .. } = self.direct;
        Question {
            segments: segments.len() as u32,
            channels: sizes(segments),
            of: conv.partition.segments(),
            window: conv.window,
            load,
            post: post.to_vec(),
            shapes: self.shapes,
            pixel: self.input_pixel,
            winograd,
        }
    }

    /// The candidate for `segments`.
    pub fn candidate<'c>(
        &'c self,
        segments: &'c [Segment],
        algorithm: SegmentAlgorithm,
    ) -> SegmentCandidate<'c> {
        let [input, out] = self.shapes;
        SegmentCandidate {
            direct: &self.direct,
            segments,
            algorithm,
            input,
            input_pixel: self.input_pixel,
            out,
        }
    }

    /// The panels that always fit.
    pub fn plain(&self) -> Panels {
        Panels { merged: 1, vectors: self.direct.shape.vectors, taps: Taps::Apart }
    }

    /// The algorithms in vectors of f32 that `segments` can take, the one that always fits first.
    pub fn algorithms(&self, segments: &[Segment]) -> Vec<SegmentAlgorithm> {
        let (plain, target) = (self.plain(), self.target);
        let ((ic, oc), count) = (sizes(segments), segments.len() as u32);
        let mut algorithms = vec![SegmentAlgorithm::Panels(plain)];
        if !self.tile_spans_32_bits() {
            return algorithms;
        }
        algorithms.extend(self.packed(segments));
        algorithms.extend(self.beside(ic, oc));
        algorithms.extend(self.shared_taps(plain, ic, oc));
        // A block multiplies as often for each vector of outputs as it has inputs, so blocks of
        // more than a vector would take more multiply-adds than segments by themselves.
        let merged = (target.lanes / oc).min(count);
        if merged > 1 {
            let block = Panels { merged, vectors: 1, ..plain };
            algorithms.push(SegmentAlgorithm::Panels(block));
            algorithms.extend(self.shared_taps(block, merged * ic, merged * oc));
        }
        algorithms
    }

    /// Segments side by side in vectors.
    fn packed(&self, segments: &[Segment]) -> Option<SegmentAlgorithm> {
        let DirectConv { conv, load, post, shape } = self.direct;
        let packed = segments_kernel::packed(self.target.lanes, sizes(segments), segments.len() as u32)?;
        packed_pixels(self.target, &conv.window, shape.row, load, post)?;
        Some(SegmentAlgorithm::SideBySide { packed })
    }

    /// Inputs, or pixels, of the only segment side by side in vectors.
    fn beside(&self, ic: u32, oc: u32) -> Vec<SegmentAlgorithm> {
        let (target, is_only) = (self.target, self.direct.conv.partition.segments() == 1);
        let fits = |beside: Beside| is_only && self.direct.sliding_pixels(target, 1, beside).is_some();
        let shares = sliding::shares(target.lanes, (ic, oc)).filter(|&shares| fits(Beside::Inputs(shares)));
        let pixels = sliding::pixels_beside(target.lanes, oc)
            .filter(|&pixels| self.has_one_value_a_pixel() && fits(Beside::Pixels(pixels)));
        let shares = shares.map(|shares| SegmentAlgorithm::InputsSideBySide { shares });
        shares.into_iter().chain(pixels.map(|pixels| SegmentAlgorithm::PixelsSideBySide { pixels })).collect()
    }

    /// Whether windows of neighbouring pixels begin at neighbouring values.
    fn has_one_value_a_pixel(&self) -> bool {
        self.direct.conv.window.strides[1] == 1 && self.input_pixel == F32 as u64
    }

    /// Panels like these, but with taps that share inputs, for blocks of `ic` to `oc` channels.
    fn shared_taps(&self, panels: Panels, ic: u32, oc: u32) -> Vec<SegmentAlgorithm> {
        let target = self.target;
        let (taps, all) = (u64::from(self.direct.conv.window.kernel[1]), oc.div_ceil(target.lanes));
        // Cranelift's code broadcasts the factor of every multiply-add anew, and a vector alone
        // shares a value only between taps.
        if taps == 1 || target.isa == Isa::Baseline {
            return Vec::new();
        }
        let fits = |&vectors: &u32| {
            panel_widths(all, vectors).into_iter().all(|width| {
                let bytes = u64::from(ic) * taps * u64::from(width * target.vector_bytes());
                let pixels = self.direct.sliding_pixels(target, width, Beside::Outputs);
                bytes <= i32::MAX as u64 && pixels.is_some()
            })
        };
        let widths = all.min(2)..=all.min(MOST_VECTORS);
        let algorithms =
            widths.filter(fits).map(|vectors| Panels { vectors, taps: Taps::Together, ..panels });
        algorithms.map(SegmentAlgorithm::Panels).collect()
    }

    /// Whether all distances in a tile are numbers of 32 bits.
    fn tile_spans_32_bits(&self) -> bool {
        let window = &self.direct.conv.window;
        let pixel = self.target.pixel_bytes(self.shapes[0].c());
        let windows = LARGEST_TILE * u64::from(window.strides[1]);
        let taps = u64::from(window.kernel[1]) * u64::from(window.dilation[1]);
        (windows + taps + 1) * pixel <= i32::MAX as u64
    }
}

/// The most pixels of a tile of packed segments; with more, rows are cut less evenly.
const MOST_PIXELS: u32 = 12;

/// The most pixels of a tile of packed segments in rows of `row` pixels; none when not even two
/// pixels, or all, fit into the registers.
pub fn packed_pixels(
    target: Target,
    window: &Window,
    row: u32,
    load: Activation,
    post: &[Post],
) -> Option<u32> {
    use crate::kernels::{Clip, TileSteps};
    let available = super::direct::free_registers(target);
    let kw = window.kernel[1];
    // Only which columns are the same matters here, so distances count pixels.
    let [pixel, tap] = [window.strides[1], window.dilation[1]].map(|step| step.min(1 << 16) as i32);
    let steps = TileSteps { pixel, tap, row: 0, out: 0, add: 0 };
    let fits = |&pixels: &u32| {
        let slots = segments_kernel::slots(&Clip::none(pixels, kw), kw, &steps, load, post);
        slots.is_some_and(|slots| slots <= available)
    };
    let most = (1..=row.min(MOST_PIXELS)).take_while(fits).last()?;
    Some(most).filter(|&most| most >= row.min(2))
}

/// The candidates with their times, for the algorithms `algorithms`. Without an alternative the
/// time is not computed.
pub(super) fn timed(
    algorithms: Vec<SegmentAlgorithm>,
    is_told: bool,
    ms: impl Fn(SegmentAlgorithm) -> f64,
) -> Vec<Candidate> {
    let ms = |algorithm| if is_told { ms(algorithm) } else { 0.0 };
    algorithms.into_iter().map(|algorithm| Candidate { algorithm, ms: ms(algorithm) }).collect()
}
