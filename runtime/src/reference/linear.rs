//! Convolutions, dense layers and the normalisations that were folded into them.

use std::borrow::Cow;
use std::ops::Range;

use rayon::prelude::*;
use xcc_compiler::graph::{BatchNorm, Conv, KernelBlock, LinearPart, WeightId, WeightSource, Window};

use super::buffer::zeros;
use super::ops::{CHUNK, element_read};
use super::{Fault, Float, Tensor};
use crate::OutOfMemory;
use crate::workers::spread;

/// A convolution with bias and normalisations; padding is zero.
pub(super) fn convolve<F: Float>(
    conv: &Conv,
    weights: &dyn WeightSource,
    x: Tensor<'_, F>,
) -> Result<Vec<F>, Fault> {
    let size = |axis, extent| conv.window.output(axis, extent).expect("the window fits") as usize;
    let (oh, ow) = (size(0, x.shape.h()), size(1, x.shape.w()));
    let taps = 0..conv.window.kernel[1] as usize;
    let job = Convolution {
        conv,
        oc: conv.partition.oc() as usize,
        x,
        blocks: conv.kernel_blocks(),
        kernels: conv.parts.iter().map(|part| weights.tensor(part.kernel)).collect::<Result<_, _>>()?,
        columns: taps.map(|tap| columns(&conv.window, x.shape.w(), tap, ow)).collect(),
    };
    let rows = Rows { count: x.batch() * oh, length: ow * job.oc, piece: ow * job.oc };
    let result = rows.sum_up(|row, _, pixels| job.row(row / oh, row % oh, pixels))?;
    finished(&conv.parts, weights, result, job.oc)
}

/// A fully connected layer with bias and normalisations, on the elements of each image in memory
/// order.
pub(super) fn dense<F: Float>(
    part: &LinearPart,
    weights: &dyn WeightSource,
    x: Tensor<'_, F>,
) -> Result<Vec<F>, Fault> {
    const PIECE: usize = 256;
    let (inputs, units) = (x.shape.elements() as usize, part.outputs as usize);
    let kernel = weights.tensor(part.kernel)?;
    let rows = Rows { count: x.batch(), length: units, piece: PIECE };
    let result = rows.sum_up(|image, start, sums| {
        for (i, &value) in x.data[image * inputs..(image + 1) * inputs].iter().enumerate() {
            let at = i * units + start;
            add_products(sums, value, &kernel[at..at + sums.len()]);
        }
    })?;
    finished(std::slice::from_ref(part), weights, result, units)
}

/// Rows of a result, in pieces that are summed up apart from each other.
struct Rows {
    count: usize,
    /// Elements of a row.
    length: usize,
    /// Elements of a piece; the last one of a row may have fewer.
    piece: usize,
}

impl Rows {
    /// Zeros, to which `sum` adds what belongs there: it gets the row, the piece's first element
    /// in it, and the piece.
    fn sum_up<F: Float>(&self, sum: impl Fn(usize, usize, &mut [F]) + Sync) -> Result<Vec<F>, OutOfMemory> {
        let mut result = zeros(self.count * self.length)?;
        let sum_row = |(row, elements): (usize, &mut [F])| {
            let pieces = elements.par_chunks_mut(self.piece).enumerate();
            pieces.for_each(|(number, piece)| sum(row, number * self.piece, piece));
        };
        spread(|| result.par_chunks_mut(self.length).enumerate().for_each(sum_row));
        Ok(result)
    }
}

/// The output columns that a horizontal tap connects with input columns: an interval, since input
/// columns rise with them.
fn columns(window: &Window, width: u32, tap: usize, ow: usize) -> Range<usize> {
    let (before, stride) = (window.pads_of(1).0 as usize, window.strides[1] as usize);
    let offset = tap * window.dilation[1] as usize;
    let first = before.saturating_sub(offset).div_ceil(stride);
    let end = (width as usize + before).saturating_sub(offset).div_ceil(stride);
    first.min(ow)..end.clamp(first.min(ow), ow)
}

struct Convolution<'a, F> {
    conv: &'a Conv,
    oc: usize,
    x: Tensor<'a, F>,
    blocks: Vec<KernelBlock>,
    kernels: Vec<Cow<'a, [f32]>>,
    /// For each horizontal tap, see [`columns`].
    columns: Vec<Range<usize>>,
}

impl<F: Float> Convolution<'_, F> {
    /// Sums up one row of the result. Pixels are the innermost loop but one, so that a row of the
    /// kernel serves all of them while it is in the cache.
    fn row(&self, image: usize, oy: usize, pixels: &mut [F]) {
        let (h, w, ic) = (self.x.shape.h(), self.x.shape.w() as usize, self.x.shape.c() as usize);
        let [kh, kw] = self.conv.window.kernel.map(|k| k as usize);
        for ky in 0..kh {
            let Some(iy) = element_read(&self.conv.window, 0, oy, ky, h) else { continue };
            let start = (image * h as usize + iy) * w * ic;
            let row = &self.x.data[start..start + w * ic];
            for kx in 0..kw {
                self.blocks.iter().for_each(|block| self.block(block, ky * kw + kx, row, kx, pixels));
            }
        }
    }

    /// Adds the products of one tap and one block of the kernel to a row of pixels.
    fn block(&self, block: &KernelBlock, tap: usize, row: &[F], kx: usize, pixels: &mut [F]) {
        let (ic, oc, window) = (self.x.shape.c() as usize, self.oc, &self.conv.window);
        let outputs = block.outputs.start as usize..block.outputs.end as usize;
        for (i, channel) in (block.inputs.start as usize..block.inputs.end as usize).enumerate() {
            let at = block.offset + tap * block.tap_stride + i * block.input_stride;
            let kernel = &self.kernels[block.part][at..at + outputs.len()];
            let columns = self.columns[kx].clone();
            let Some(first) = element_read(window, 1, columns.start, kx, self.x.shape.w()) else { continue };
            for (n, ox) in columns.enumerate() {
                let ix = first + n * window.strides[1] as usize;
                let sums = &mut pixels[ox * oc + outputs.start..ox * oc + outputs.end];
                add_products(sums, row[ix * ic + channel], kernel);
            }
        }
    }
}

/// sums[o] += x * kernel[o]
fn add_products<F: Float>(sums: &mut [F], x: F, kernel: &[f32]) {
    for (sum, &k) in sums.iter_mut().zip(kernel) {
        *sum += x * F::from_f32(k);
    }
}

/// Sums of pixels of `channels` elements, with the biases and normalisations of all parts.
fn finished<F: Float>(
    parts: &[LinearPart],
    weights: &dyn WeightSource,
    mut result: Vec<F>,
    channels: usize,
) -> Result<Vec<F>, Fault> {
    let mut start = 0;
    for part in parts {
        let covered = start..start + part.outputs as usize;
        if let Some(bias) = part.bias {
            let bias = weights.tensor(bias)?;
            for pixel in result.chunks_mut(channels) {
                add_products(&mut pixel[covered.clone()], F::from_f32(1.0), &bias);
            }
        }
        for norm in &part.norms {
            normalise_channels(norm, weights, &mut result, channels, covered.start)?;
        }
        start = covered.end;
    }
    Ok(result)
}

/// Normalises pixels of `channels` elements.
pub(super) fn normalise<F: Float>(
    norm: &BatchNorm,
    weights: &dyn WeightSource,
    data: &mut [F],
    channels: usize,
) -> Result<(), Fault> {
    normalise_channels(norm, weights, data, channels, 0)
}

/// Normalises the channels of each pixel from `first` on, as many as the normalisation has
/// statistics.
fn normalise_channels<F: Float>(
    norm: &BatchNorm,
    weights: &dyn WeightSource,
    data: &mut [F],
    channels: usize,
    first: usize,
) -> Result<(), Fault> {
    let numbers = |id: WeightId| -> Result<Vec<F>, Fault> {
        Ok(weights.tensor(id)?.iter().map(|&v| F::from_f32(v)).collect())
    };
    let mean = numbers(norm.mean)?;
    let mut deviation = numbers(norm.variance)?;
    deviation.iter_mut().for_each(|v| *v = (*v + F::from_f64(norm.epsilon)).sqrt());
    let or_else = |id: Option<WeightId>, default| {
        id.map_or_else(|| Ok(vec![F::from_f32(default); mean.len()]), numbers)
    };
    let (gamma, beta) = (or_else(norm.gamma, 1.0)?, or_else(norm.beta, 0.0)?);
    let whole_pixels = (CHUNK / channels).max(1) * channels;
    let scale = |pixel: &mut [F]| {
        for (c, x) in pixel[first..first + mean.len()].iter_mut().enumerate() {
            *x = gamma[c] * (*x - mean[c]) / deviation[c] + beta[c];
        }
    };
    spread(|| {
        data.par_chunks_mut(whole_pixels).for_each(|pixels| pixels.chunks_mut(channels).for_each(scale))
    });
    Ok(())
}
