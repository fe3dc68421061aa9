//! Kernel generators, one file a family.
//!
//! A [`Descriptor`] says all that a kernel depends on. It prints as the kernel's name, which is
//! the name everywhere: in plans, dumps, profiles, tests and caches. [`Descriptor::generate`]
//! writes the kernel in the vector kernel IR.
//!
//! Kernels see bytes and strides only: all steps in a descriptor are distances in bytes.

pub mod conv;
pub mod depthwise;
pub mod elementwise;
pub mod epilogue;
pub mod fast_inner;
pub mod gather;
pub mod matmul;
mod pairs;
pub mod pool;
pub mod segments;
pub mod sliding;
pub mod softmax;
mod tiles;
pub mod winograd;

use std::fmt;
use std::ops::Range;

use crate::graph::{Activation, Post};
use crate::target::Bf16Unit;
use crate::vector::{Builder, Kernel, TILE_LANES};
use matmul::MatmulPanel;

/// What a kernel is asked for by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Descriptor {
    /// A tile of a convolution.
    Conv(conv::ConvTile),
    /// Pixels that are prescaled for the fast inner product.
    PrescaledPixels(fast_inner::PrescaledPixels),
    /// A tile of a pointwise convolution by the fast inner product.
    FastInner(fast_inner::FastInnerTile),
    /// A tile of a convolution whose taps share their inputs.
    Sliding(sliding::SlidingTile),
    /// A tile of a depthwise convolution.
    Depthwise(depthwise::DepthwiseTile),
    /// A tile of a convolution in narrow segments.
    Segments(segments::SegmentsTile),
    /// Rows of a matrix of bf16 values for a convolution.
    Gather(gather::GatherPixels),
    /// A panel of a multiplication of bf16 matrices.
    Matmul(MatmulPanel),
    /// Inputs of a convolution by Winograd's method, transformed.
    WinogradInput(winograd::InputPatches),
    /// Results of a convolution by Winograd's method.
    WinogradOutput(winograd::OutputPatches),
    /// A tile of a pool.
    Pool(pool::PoolTile),
    /// Channels of a global pool.
    GlobalPool(pool::GlobalPoolTile),
    /// Pixels that are scaled, shifted, activated, added to or copied.
    Elementwise(elementwise::ElementwiseRun),
    /// Softmax over the channels of one pixel.
    Softmax(softmax::SoftmaxPixel),
}

impl Descriptor {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        match self {
            Descriptor::Conv(tile) => tile.generate(),
            Descriptor::PrescaledPixels(pixels) => pixels.generate(),
            Descriptor::FastInner(tile) => tile.generate(),
            Descriptor::Sliding(tile) => tile.generate(),
            Descriptor::Depthwise(tile) => tile.generate(),
            Descriptor::Segments(tile) => tile.generate(),
            Descriptor::Gather(pixels) => pixels.generate(),
            Descriptor::Matmul(panel) => multiplication(panel),
            Descriptor::WinogradInput(patches) => patches.generate(),
            Descriptor::WinogradOutput(patches) => patches.generate(),
            Descriptor::Pool(tile) => tile.generate(),
            Descriptor::GlobalPool(tile) => tile.generate(),
            Descriptor::Elementwise(run) => run.generate(),
            Descriptor::Softmax(pixel) => pixel.generate(),
        }
    }
}

/// The kernel of a panel of a multiplication, by what multiplies.
fn multiplication(panel: &MatmulPanel) -> Kernel {
    let pointers = ["in", "weights", "bias", "out", "add", "sums"];
    let mut b = Builder::new(TILE_LANES, &pointers, false);
    match panel.unit {
        Bf16Unit::Tiles => panel.by_tiles(&mut b),
        Bf16Unit::Pairs => pairs::write(panel, &mut b),
    }
    b.finish(panel.to_string())
}

impl fmt::Display for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Descriptor::Conv(tile) => tile.fmt(f),
            Descriptor::PrescaledPixels(pixels) => pixels.fmt(f),
            Descriptor::FastInner(tile) => tile.fmt(f),
            Descriptor::Sliding(tile) => tile.fmt(f),
            Descriptor::Depthwise(tile) => tile.fmt(f),
            Descriptor::Segments(tile) => tile.fmt(f),
            Descriptor::Gather(pixels) => pixels.fmt(f),
            Descriptor::Matmul(panel) => panel.fmt(f),
            Descriptor::WinogradInput(patches) => patches.fmt(f),
            Descriptor::WinogradOutput(patches) => patches.fmt(f),
            Descriptor::Pool(tile) => tile.fmt(f),
            Descriptor::GlobalPool(tile) => tile.fmt(f),
            Descriptor::Elementwise(run) => run.fmt(f),
            Descriptor::Softmax(pixel) => pixel.fmt(f),
        }
    }
}

/// How the pixels of a tile lie in memory. All distances are in bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TileSteps {
    /// Between the windows of neighbouring output pixels, in the input.
    pub pixel: i32,
    /// Between neighbouring taps of a row, in the input.
    pub tap: i32,
    /// Between neighbouring rows of taps, in the input.
    pub row: i32,
    /// Between neighbouring pixels, in the output.
    pub out: i32,
    /// Between neighbouring pixels, in the added operand.
    pub add: i32,
}

impl fmt::Display for TileSteps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "_i{}.{}.{}_o{}", self.pixel, self.tap, self.row, self.out)?;
        if self.add != 0 { write!(f, ".{}", self.add) } else { Ok(()) }
    }
}

/// For each pixel of a tile, which taps of a row lie inside the image.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Clip(pub Vec<Range<u32>>);

impl Clip {
    /// All `taps` are valid for all `pixels`.
    pub fn none(pixels: u32, taps: u32) -> Self {
        Clip(vec![0..taps; pixels as usize])
    }

    /// Number of pixels.
    pub fn pixels(&self) -> usize {
        self.0.len()
    }

    /// The pixels for which `tap` is valid.
    pub fn pixels_with(&self, tap: u32) -> Vec<usize> {
        (0..self.0.len()).filter(|&pixel| self.0[pixel].contains(&tap)).collect()
    }

    /// Writes nothing when all `taps` are valid everywhere, else the range of each pixel that
    /// lacks some.
    fn name(&self, taps: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (pixel, range) in self.0.iter().enumerate() {
            if *range != (0..taps) {
                write!(f, "_x{pixel}t{}to{}", range.start, range.end)?;
            }
        }
        Ok(())
    }
}

/// Appends the activation on the way in and the chain on the way out to a kernel's name.
fn name_fusion(load: Activation, post: &[Post], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if load != Activation::Linear {
        write!(f, "_load_{load}")?;
    }
    for operation in post {
        match operation {
            Post::Add => f.write_str("_add")?,
            Post::Activation(function) => write!(f, "_{function}")?,
        }
    }
    Ok(())
}
