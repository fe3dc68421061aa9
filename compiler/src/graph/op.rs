//! What a node computes.

use std::fmt;

use super::{Activation, Partition, Shape, WeightId};

/// An operation of the graph.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// The network's input.
    Input,
    /// A convolution in any segmentation; depthwise and pointwise convolutions are special
    /// partitions of it.
    Conv(Conv),
    /// A spatial convolution and the pointwise one that is its only user, computed block by block
    /// of rows so that the intermediate never goes to memory. Made by a pass.
    Separable(Box<Separable>),
    /// Per-channel normalisation with stored statistics.
    BatchNorm(BatchNorm),
    /// An activation function applied to each element.
    Activation(Activation),
    /// Pooling over windows.
    Pool(Pool),
    /// The mean (or maximum) of each channel over all pixels; yields a vector.
    GlobalPool(PoolKind),
    /// A fully connected layer on a vector: kernel `inputs x units`. Passes may let it read a map,
    /// whose elements count in memory order.
    Dense(LinearPart),
    /// exp(x) / sum(exp(x)) over the channels of each pixel.
    Softmax,
    /// Sum of all inputs, element by element.
    Add,
    /// All inputs behind each other along the channels.
    Concat,
    /// The identity when a network is run; drops elements at this rate in training.
    Dropout {
        /// Share of elements dropped, from 0 up to but not including 1.
        rate: f64,
    },
    /// A map read as a vector in memory order (row, pixel, channel).
    Flatten,
}

impl Op {
    /// The parameter tensors that the operation reads, in the order of its text form.
    pub fn weights(&self) -> Vec<WeightId> {
        match self {
            Op::Conv(conv) => conv.parts.iter().flat_map(LinearPart::weights).collect(),
            Op::Separable(parts) => {
                let all = parts.spatial.parts.iter().chain(&parts.pointwise.parts);
                all.flat_map(LinearPart::weights).collect()
            }
            Op::Dense(part) => part.weights(),
            Op::BatchNorm(norm) => norm.weights(),
            Op::Input
            | Op::Activation(_)
            | Op::Pool(_)
            | Op::GlobalPool(_)
            | Op::Softmax
            | Op::Add
            | Op::Concat
            | Op::Dropout { .. }
            | Op::Flatten => Vec::new(),
        }
    }

    /// The window that moves over the operand: the spatial one of a separable convolution.
    pub fn window(&self) -> Option<&Window> {
        match self {
            Op::Conv(conv) => Some(&conv.window),
            Op::Separable(parts) => Some(&parts.spatial.window),
            Op::Pool(pool) => Some(&pool.window),
            Op::Input
            | Op::BatchNorm(_)
            | Op::Activation(_)
            | Op::GlobalPool(_)
            | Op::Dense(_)
            | Op::Softmax
            | Op::Add
            | Op::Concat
            | Op::Dropout { .. }
            | Op::Flatten => None,
        }
    }

    /// True if an activation function may be applied to the operand while it is loaded
    /// ([`Fusion::load`]).
    pub fn can_load(&self) -> bool {
        match self {
            Op::Conv(_) | Op::Separable(_) => true,
            Op::Input
            | Op::BatchNorm(_)
            | Op::Activation(_)
            | Op::Pool(_)
            | Op::GlobalPool(_)
            | Op::Dense(_)
            | Op::Softmax
            | Op::Add
            | Op::Concat
            | Op::Dropout { .. }
            | Op::Flatten => false,
        }
    }

    /// True if an epilogue may follow ([`Fusion::post`]).
    pub fn has_epilogue(&self) -> bool {
        match self {
            Op::Conv(_) | Op::Separable(_) | Op::Dense(_) | Op::Pool(_) | Op::Add | Op::BatchNorm(_) => true,
            Op::Input
            | Op::Activation(_)
            | Op::GlobalPool(_)
            | Op::Softmax
            | Op::Concat
            | Op::Dropout { .. }
            | Op::Flatten => false,
        }
    }

    /// One word for messages, such as `convolution`.
    pub fn noun(&self) -> &'static str {
        match self {
            Op::Input => "input",
            Op::Conv(_) => "convolution",
            Op::Separable(_) => "separable convolution",
            Op::BatchNorm(_) => "batch normalisation",
            Op::Activation(_) => "activation",
            Op::Pool(_) => "pool",
            Op::GlobalPool(_) => "global pool",
            Op::Dense(_) => "dense layer",
            Op::Softmax => "softmax",
            Op::Add => "sum",
            Op::Concat => "concatenation",
            Op::Dropout { .. } => "dropout",
            Op::Flatten => "flatten",
        }
    }
}

/// Zero rows and columns around a map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Pads {
    /// Rows above.
    pub top: u32,
    /// Rows below.
    pub bottom: u32,
    /// Columns to the left.
    pub left: u32,
    /// Columns to the right.
    pub right: u32,
}

/// How a window moves over a map. Pairs are (vertical, horizontal).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Window {
    /// Taps.
    pub kernel: [u32; 2],
    /// Distance between windows.
    pub strides: [u32; 2],
    /// Distance between the taps of a window.
    pub dilation: [u32; 2],
    /// Padding; never as large as the dilated kernel.
    pub pads: Pads,
}

impl Window {
    /// A 1x1 window with stride 1.
    pub const POINT: Window = Window {
        kernel: [1, 1],
        strides: [1, 1],
        dilation: [1, 1],
        pads: Pads { top: 0, bottom: 0, left: 0, right: 0 },
    };

    /// The extent of the dilated kernel, vertically and horizontally.
    pub fn extent(&self) -> [u32; 2] {
        [0, 1].map(|axis| (self.kernel[axis] - 1) * self.dilation[axis] + 1)
    }

    /// Padding before and after, vertically (axis 0) or horizontally (axis 1).
    pub fn pads_of(&self, axis: usize) -> (u32, u32) {
        match axis {
            0 => (self.pads.top, self.pads.bottom),
            _ => (self.pads.left, self.pads.right),
        }
    }

    /// How many windows fit along an axis of `size`, or `None` when not even one does.
    pub fn output(&self, axis: usize, size: u32) -> Option<u32> {
        let (before, after) = self.pads_of(axis);
        let padded = u64::from(size) + u64::from(before) + u64::from(after);
        let room = padded.checked_sub(u64::from(self.extent()[axis]))?;
        u32::try_from(room / u64::from(self.strides[axis]) + 1).ok()
    }

    /// The taps of window `at` along an axis that lie inside `0..size`, as a range of tap indices
    /// (maybe empty).
    pub fn valid_taps(&self, axis: usize, at: u32, size: u32) -> std::ops::Range<u32> {
        let start = i64::from(at) * i64::from(self.strides[axis]) - i64::from(self.pads_of(axis).0);
        // The first tap at or behind a place of the image, and at most one behind the last.
        let tap_at = |place: i64| {
            let taps = (place - start).max(0).unsigned_abs().div_ceil(u64::from(self.dilation[axis].max(1)));
            taps.min(u64::from(self.kernel[axis])) as u32
        };
        let (first, end) = (tap_at(0), tap_at(i64::from(size)));
        if first < end { first..end } else { 0..0 }
    }

    /// The windows along an axis that have all taps inside `0..size`.
    pub fn whole(&self, axis: usize, size: u32) -> std::ops::Range<u32> {
        let (before, stride) = (u64::from(self.pads_of(axis).0), u64::from(self.strides[axis].max(1)));
        let first = before.div_ceil(stride);
        let room = (u64::from(size) + before).checked_sub(u64::from(self.extent()[axis]));
        let end = room.map_or(0, |room| room / stride + 1).max(first);
        let bounded = |at: u64| u32::try_from(at).unwrap_or(u32::MAX);
        bounded(first)..bounded(end)
    }

    /// Whether every output pixel reads exactly the input pixel at the same place.
    pub fn is_point(&self) -> bool {
        *self == Window { dilation: self.dilation, ..Window::POINT }
    }

    /// Taps in all.
    pub fn taps(&self) -> u64 {
        u64::from(self.kernel[0]) * u64::from(self.kernel[1])
    }
}

/// Prints `3x3 stride 2x2 dilate 2x2 pads 1,1,1,1` (top, bottom, left, right) without what does
/// nothing.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window { kernel, strides, dilation, pads } = self;
        write!(f, "{}x{}", kernel[0], kernel[1])?;
        if *strides != [1, 1] {
            write!(f, " stride {}x{}", strides[0], strides[1])?;
        }
        if *dilation != [1, 1] {
            write!(f, " dilate {}x{}", dilation[0], dilation[1])?;
        }
        if *pads != Pads::default() {
            write!(f, " pads {},{},{},{}", pads.top, pads.bottom, pads.left, pads.right)?;
        }
        Ok(())
    }
}

/// A convolution: a window, a cut of the channels, and the parameters of its output channels.
#[derive(Clone, Debug, PartialEq)]
pub struct Conv {
    /// The window.
    pub window: Window,
    /// The segments.
    pub partition: Partition,
    /// Parameters; together they cover the output channels in order. A layer has one part; merging
    /// parallel convolutions makes more.
    pub parts: Vec<LinearPart>,
}

impl Conv {
    /// A dense layer as a convolution: its window is the whole map, taken as a single column of
    /// pixels.
    pub fn of_dense(input: Shape, part: &LinearPart) -> Self {
        let kernel = [input.pixels() as u32, 1];
        Self {
            window: Window { kernel, ..Window::POINT },
            partition: Partition::whole(input.c(), part.outputs),
            parts: vec![part.clone()],
        }
    }
}

/// Parameters of consecutive output channels of a linear operation, and the normalisations folded
/// into them.
///
/// The layout of `kernel` for a part that covers whole segments with equal sizes, or output
/// channels of the only segment, is Keras': `kh x kw x (input channels of a segment) x outputs`.
/// For segments of unequal sizes it is one axis: tap by tap, segment by segment, inputs x outputs
/// of the segment, row by row.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearPart {
    /// Output channels covered.
    pub outputs: u32,
    /// The kernel.
    pub kernel: WeightId,
    /// Added to the result, one element for each output channel.
    pub bias: Option<WeightId>,
    /// Normalisations of the result, first to last, to be folded into kernel and bias when weights
    /// are packed.
    pub norms: Vec<BatchNorm>,
}

impl LinearPart {
    /// A part with a kernel and nothing else.
    pub fn new(outputs: u32, kernel: WeightId) -> Self {
        Self { outputs, kernel, bias: None, norms: Vec::new() }
    }

    /// Kernel, bias and the tensors of the normalisations.
    pub fn weights(&self) -> Vec<WeightId> {
        let norms = self.norms.iter().flat_map(BatchNorm::weights);
        [self.kernel].into_iter().chain(self.bias).chain(norms).collect()
    }
}

/// gamma * (x - mean) / sqrt(variance + epsilon) + beta, channel by channel (Ioffe and Szegedy,
/// arXiv 1502.03167).
#[derive(Clone, Debug, PartialEq)]
pub struct BatchNorm {
    /// Added to the variance.
    pub epsilon: f64,
    /// Scale; 1 when absent.
    pub gamma: Option<WeightId>,
    /// Shift; 0 when absent.
    pub beta: Option<WeightId>,
    /// Stored means.
    pub mean: WeightId,
    /// Stored variances.
    pub variance: WeightId,
}

impl BatchNorm {
    /// Mean, variance, gamma and beta as far as they exist.
    pub fn weights(&self) -> Vec<WeightId> {
        [self.mean, self.variance].into_iter().chain(self.gamma).chain(self.beta).collect()
    }
}

/// The two parts of a fused separable convolution.
#[derive(Clone, Debug, PartialEq)]
pub struct Separable {
    /// The spatial part.
    pub spatial: Conv,
    /// Applied to the result of the spatial part.
    pub between: Activation,
    /// The pointwise part: a 1x1 window with stride 1.
    pub pointwise: Conv,
}

/// What a pool takes of its window or map.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PoolKind {
    /// The largest element.
    Max,
    /// The mean of the elements; padding does not count.
    Average,
}

impl fmt::Display for PoolKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PoolKind::Max => "max",
            PoolKind::Average => "average",
        })
    }
}

/// Pooling over windows; padding neither wins a maximum nor counts in a mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// Maximum or mean.
    pub kind: PoolKind,
    /// The window.
    pub window: Window,
}

/// What passes moved into a node: an activation on the way in, and a chain of operations on the
/// way out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Fusion {
    /// Applied to each element of the first input as it is loaded (padding stays zero).
    pub load: Activation,
    /// Applied to each element of the result, first to last.
    pub post: Vec<Post>,
}

impl Fusion {
    /// Whether nothing was fused.
    pub fn is_empty(&self) -> bool {
        self.load == Activation::Linear && self.post.is_empty()
    }

    /// How many operands of the node belong to `post`.
    pub fn added_inputs(&self) -> usize {
        self.post.iter().filter(|p| **p == Post::Add).count()
    }
}

/// One operation of an epilogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Post {
    /// An activation function.
    Activation(Activation),
    /// Adds the next operand of the node, which has the shape of the result.
    Add,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn valid_taps_are_those_inside(
            (kernel, stride, dilation, pad) in (1u32..12, 1u32..5, 1u32..5, 0u32..30),
            (at, size) in (0u32..40, 1u32..40),
        ) {
            let pads = Pads { top: pad, ..Pads::default() };
            let window =
                Window { kernel: [kernel, 1], strides: [stride, 1], dilation: [dilation, 1], pads };
            let place = |tap: u32| i64::from(at * stride + tap * dilation) - i64::from(pad);
            let inside = (0..kernel).filter(|&tap| (0..i64::from(size)).contains(&place(tap)));
            let inside = inside.collect::<Vec<_>>();
            prop_assert_eq!(window.whole(0, size).contains(&at), inside.len() == kernel as usize);
            prop_assert_eq!(window.valid_taps(0, at, size).collect::<Vec<_>>(), inside);
        }
    }
}
