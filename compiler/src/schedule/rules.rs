//! What multiplies the weights of a convolution: vectors of f32 values, by some algorithm,
//! matrices of bf16 values, or the planes of Winograd's method.
//!
//! The answers decide how results are rounded. So they depend on the layer, the precision and the
//! target, but neither on threads nor on how many images there are.

use super::matrix;
use super::options::{Precision, STEP_LIMIT};
use super::reasons::MatrixLimit;
use crate::cost::stage_macs;
use crate::graph::{Conv, Graph, Node, NodeId, Op, Pads, Separable, Shape, Window};
use crate::kernels::fast_inner;
use crate::kernels::matmul::{self, BLOCK, CHUNK};
use crate::kernels::winograd::{self, PLANES, TAPS};
use crate::target::{Bf16Unit, Target};
use crate::vector::{F32, TILE_LANES};

/// Fewest inputs of a sum that are worth a tile: those of one row.
const FEWEST_INPUTS: u64 = 32;
/// Fewest input channels, since each tap is padded to a vector of them.
const FEWEST_CHANNELS: u32 = 4;

/// Most bytes between pixels of a result: kernels hold distances of two blocks of them in 32 bits.
const FARTHEST_PIXEL: u64 = i32::MAX as u64 / (2 * BLOCK as u64);

/// Most inputs of a row of a matrix in split precision: of more, rows and a panel leave the
/// level-2 cache, and vectors are faster. Segments narrower than a panel are, too.
const MOST_SPLIT_INPUTS: u64 = 3456;

/// More pixels than any tile has.
pub const LARGEST_TILE: u64 = 32;

/// Most tiles of one window that differ in what of them lies inside the image; each is called for
/// itself.
pub const CLASS_LIMIT: u64 = 1 << 14;

/// Most such tiles of all runs of equal segments of a convolution, of which each has its own.
pub const CLASSES_OF_RUNS_LIMIT: u64 = 1 << 16;

/// Most taps in a row of a window; each is code of its own.
pub const TAP_LIMIT: u64 = 128;

/// Fewest patches of a block that make it worth while to read all weights of a segment for them,
/// where there is a choice.
pub(super) const FEWEST_PATCHES: u32 = 36;

/// Most bytes of the planes of a row of patches.
pub(super) const ROW_LIMIT: u64 = STEP_LIMIT / 2;

/// About as many multiply-adds of 16 lanes as the transformations of a patch take time for each
/// input and each output channel. Pairs take half the time for a multiply-add, but their planes of
/// inputs have half the bytes, and what they leave is as much of a gain (benches/LOG.md).
const TRANSFORMATIONS: u64 = 200;

/// The methods of a precision on a target. Vectors of pairs of bf16 values are called tiles here,
/// too.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    precision: Precision,
    target: Target,
}

impl Rules {
    /// Those of a precision on a target, which [has](Precision::is_for) it.
    pub fn new(precision: Precision, target: Target) -> Self {
        Self { precision, target }
    }

    /// Whether a convolution of `node`, which yields its value or has its pixels, runs by tiles.
    pub fn takes_matmul(self, node: &Node, conv: &Conv) -> bool {
        self.precision.is_by_bf16(self.target) && self.matrix_limit(node, conv).is_none()
    }

    /// What keeps a convolution of `node` from running by tiles, if there are any.
    pub fn matrix_limit(self, node: &Node, conv: &Conv) -> Option<MatrixLimit> {
        let Some([ic, oc]) = conv.partition.equal_sizes() else { return Some(MatrixLimit::UnequalSegments) };
        let inputs = u64::from(ic) * conv.window.taps();
        let fewest = |found: u64, fewest: u64| (found < fewest).then_some((found, fewest));
        if let Some((found, fewest)) = fewest(oc.into(), TILE_LANES.into()) {
            return Some(MatrixLimit::Outputs { found, fewest });
        }
        if let Some((found, fewest)) = fewest(ic.into(), FEWEST_CHANNELS.into()) {
            return Some(MatrixLimit::Channels { found, fewest });
        }
        if let Some((found, fewest)) = fewest(inputs, FEWEST_INPUTS) {
            return Some(MatrixLimit::Inputs { found, fewest });
        }
        if !self.tiles_pay(node, conv, [ic, oc]) {
            return Some(MatrixLimit::Gain);
        }
        let panel = matmul::panel_bytes(matrix::chunks(conv), 2, u64::from(self.precision.limbs()));
        let reaches = panel <= STEP_LIMIT && self.target.pixel_bytes(conv.partition.oc()) <= FARTHEST_PIXEL;
        (!reaches).then_some(MatrixLimit::Reach)
    }

    /// Whether tiles are faster than vectors for segments of `ic` to `oc` channels.
    fn tiles_pay(self, node: &Node, conv: &Conv, [ic, oc]: [u32; 2]) -> bool {
        let inputs = u64::from(ic) * conv.window.taps();
        let (segments, (_, rows)) = (conv.partition.segments(), matrix::gathered(conv));
        match self.precision {
            Precision::F32 => {
                self.target.exact_tiles.include(segments, (oc, inputs, rows), node.shape.pixels())
            }
            Precision::Split => {
                inputs / u64::from(rows) <= MOST_SPLIT_INPUTS && (segments == 1 || oc >= BLOCK)
            }
            Precision::Bf16 => true,
        }
    }

    /// The vectors of a panel by the fast inner product of 1968, if `ic` to `oc` channels and
    /// `pixels` pixels of an image suit it.
    pub fn fast_inner_of(self, (ic, oc): (u32, u32), pixels: u64) -> Option<u32> {
        let rule = self.target.fast_inner_products?;
        let pays = ic.min(oc) >= rule.fewest_channels
            && u64::from(ic) * u64::from(oc) >= rule.fewest_products
            && pixels >= rule.fewest_pixels;
        pays.then_some(rule.vectors)
    }

    /// The same for a pointwise convolution with a result of this shape.
    pub fn fast_inner(self, conv: &Conv, out: Shape) -> Option<u32> {
        let Window { kernel, pads, .. } = conv.window;
        let is_whole = conv.partition.segments() == 1 && !conv.partition.is_one_to_one();
        let is_pointwise = kernel == [1; 2] && pads == Pads::default() && is_whole;
        let reached = self.target.pixel_bytes(fast_inner::room(conv.partition.ic(), self.target.lanes));
        let is_near = reached <= FARTHEST_PIXEL;
        self.fast_inner_of((conv.partition.ic(), conv.partition.oc()), out.pixels())
            .filter(|_| is_pointwise && is_near)
    }

    /// The same for one whose input no other part of a layer makes, so that a step makes its
    /// pixels ready.
    pub fn fast_inner_layer(self, conv: &Conv, out: Shape) -> Option<u32> {
        let most = self.target.fast_inner_products?.most_bytes;
        let pixel = self.target.pixel_bytes(fast_inner::room(conv.partition.ic(), self.target.lanes));
        self.fast_inner(conv, out).filter(|_| out.pixels().saturating_mul(pixel) <= most)
    }

    /// Which stages of a node have fast inner products.
    pub fn fast_inner_stages(self, node: &Node) -> [bool; 2] {
        let suits = |conv: &Conv| self.fast_inner(conv, node.shape).is_some();
        match &node.op {
            Op::Conv(conv) => {
                [!self.takes_matmul(node, conv) && self.fast_inner_layer(conv, node.shape).is_some(), false]
            }
            Op::Separable(parts) => {
                [false, !self.pointwise_takes_matmul(node, parts) && suits(&parts.pointwise)]
            }
            _ => [false; 2],
        }
    }

    /// Whether both parts of a separable layer run by tiles.
    pub fn takes_matmul_twice(self, node: &Node) -> bool {
        match &node.op {
            Op::Separable(parts) => {
                [&parts.spatial, &parts.pointwise].into_iter().all(|conv| self.takes_matmul(node, conv))
            }
            _ => false,
        }
    }

    /// Whether the pointwise part of a separable convolution runs by tiles: it has one segment, or
    /// the spatial part does, too.
    pub fn pointwise_takes_matmul(self, node: &Node, parts: &Separable) -> bool {
        let is_whole = parts.pointwise.partition.segments() == 1;
        is_whole && self.takes_matmul(node, &parts.pointwise) || self.takes_matmul_twice(node)
    }

    /// Whether a convolution, or the spatial part of a separable one, that would run by tiles runs
    /// by planes of pairs of bf16 values instead: where tiles are vectors of pairs. Tiles
    /// themselves are so fast that the transformations would take longer than what they save.
    pub fn takes_planes_of_pairs(self, node: &Node) -> bool {
        let conv = match &node.op {
            Op::Conv(conv) if self.takes_matmul(node, conv) => conv,
            Op::Separable(parts) if self.takes_matmul_twice(node) => &parts.spatial,
            _ => return false,
        };
        self.target.bf16_unit() == Some(Bf16Unit::Pairs) && self.suits_winograd(conv, node.shape, true)
    }

    /// Whether segments of a node may be computed by Winograd's method, so that whole maps must be.
    pub fn may_take_winograd(self, node: &Node) -> bool {
        let in_vectors = match &node.op {
            Op::Conv(conv) if !self.takes_matmul(node, conv) => conv,
            Op::Separable(parts) if !self.pointwise_takes_matmul(node, parts) => &parts.spatial,
            _ => return self.takes_planes_of_pairs(node),
        };
        self.suits_winograd(in_vectors, node.shape, false)
    }

    /// Whether Winograd's method is for a convolution with a result of this shape, by products of
    /// pairs or of f32 values: for its windows; for its segments, if the narrowest has a vector of
    /// channels and all save more products than transformations take; and for its weights, which
    /// are 16 for 9: of few patches it would wait for them unless they stay in a cache.
    pub fn suits_winograd(self, conv: &Conv, out: Shape, is_by_pairs: bool) -> bool {
        let (target, out) = (self.target, [out.h(), out.w()]);
        let Window { kernel, strides, dilation, .. } = conv.window;
        let channels = || conv.partition.inputs().iter().chain(conv.partition.outputs()).copied();
        let words = if is_by_pairs { PLANES / 2 } else { PLANES };
        let weights = conv.partition.products().saturating_mul(u64::from(words) * F32 as u64);
        let [rows, columns] = winograd::patches(out).map(u64::from);
        let patches = rows.saturating_mul(columns);
        let transformation = TRANSFORMATIONS * u64::from(target.lanes) / u64::from(TILE_LANES);
        let all = u64::from(conv.partition.ic()).saturating_add(u64::from(conv.partition.oc()));
        let transformations = patches.saturating_mul(transformation).saturating_mul(all);
        let widest = target.pixel_bytes(channels().max().unwrap_or(0));
        (kernel, strides, dilation) == ([TAPS; 2], [1; 2], [1; 2])
            && channels().all(|channels| channels >= target.lanes)
            && products_saved(conv, out, is_by_pairs) > transformations
            && columns.saturating_mul(2 * u64::from(PLANES) * widest) <= ROW_LIMIT
            && (patches >= u64::from(FEWEST_PATCHES) || weights <= u64::from(target.cache_bytes / 2))
    }

    /// Which stages of a node, of which all but separable convolutions have one, run by tiles.
    pub fn matmul_stages(self, graph: &Graph, id: NodeId) -> [bool; 2] {
        let node = graph.node(id);
        match &node.op {
            Op::Conv(conv) => [self.takes_matmul(node, conv), false],
            Op::Dense(part) => {
                let conv = Conv::of_dense(graph.node(node.inputs[0]).shape, part);
                [self.takes_matmul(node, &conv), false]
            }
            Op::Separable(parts) => [self.takes_matmul_twice(node), self.pointwise_takes_matmul(node, parts)],
            _ => [false; 2],
        }
    }

    /// Multiply-adds of the stages of a node, of one image, that are products of bf16 values,
    /// those that Winograd's method saves included.
    pub fn tile_macs(self, graph: &Graph, id: NodeId) -> [u64; 2] {
        let [first, second] = stage_macs(graph, id);
        let by_tiles = self.matmul_stages(graph, id);
        [(first, by_tiles[0]), (second, by_tiles[1])].map(|(macs, by_tiles)| if by_tiles { macs } else { 0 })
    }
}

/// The products that Winograd's method saves in a convolution with a map of so many rows and
/// columns as its result. Of pairs, planes are padded to chunks of inputs, and windows to vectors
/// of them.
fn products_saved(conv: &Conv, out: [u32; 2], is_by_pairs: bool) -> u64 {
    let units = if is_by_pairs { [TILE_LANES, CHUNK] } else { [1; 2] };
    let saved = |(&inputs, &outputs): (&u32, &u32)| {
        let padded = units.map(|unit| inputs.next_multiple_of(unit));
        winograd::products_saved(out, padded).saturating_mul(u64::from(outputs))
    };
    conv.partition.inputs().iter().zip(conv.partition.outputs()).map(saved).fold(0, u64::saturating_add)
}
