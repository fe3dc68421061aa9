//! Operations without parameters.

use rayon::prelude::*;
use xcc_compiler::graph::{Activation, Pool, PoolKind, Shape, Window};

use super::buffer::{copied, reserved, zeros};
use super::{Float, Tensor};
use crate::OutOfMemory;
use crate::workers::spread;

/// Elements that one task works on where every element stands for itself.
pub(super) const CHUNK: usize = 1 << 14;

/// The element of an axis of `size` that tap `tap` of window `at` reads; `None` in the padding.
pub(super) fn element_read(window: &Window, axis: usize, at: usize, tap: usize, size: u32) -> Option<usize> {
    let padded = at * window.strides[axis] as usize + tap * window.dilation[axis] as usize;
    padded.checked_sub(window.pads_of(axis).0 as usize).filter(|&element| element < size as usize)
}

fn apply<F: Float>(activation: Activation, x: F) -> F {
    let (zero, one) = (F::from_f32(0.0), F::from_f32(1.0));
    let relu6 = |x| smaller(larger(x, zero), F::from_f32(6.0));
    let hard_sigmoid = |x| relu6(x + F::from_f32(3.0)) / F::from_f32(6.0);
    match activation {
        Activation::Linear => x,
        Activation::Relu => larger(x, zero),
        Activation::Relu6 => relu6(x),
        Activation::Elu if x > zero => x,
        Activation::Elu => x.exp_m1(),
        Activation::Sigmoid => one / (one + (zero - x).exp()),
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::Swish => x / (one + (zero - x).exp()),
        Activation::HardSwish => x * hard_sigmoid(x),
        Activation::LeakyRelu(_) if x > zero => x,
        Activation::LeakyRelu(slope) => F::from_f32(slope.value()) * x,
        Activation::Tanh => x.tanh(),
    }
}

fn larger<F: Float>(a: F, b: F) -> F {
    if b > a { b } else { a }
}

fn smaller<F: Float>(a: F, b: F) -> F {
    if b < a { b } else { a }
}

/// Applies the function to each element.
pub(super) fn activate<F: Float>(activation: Activation, data: &mut [F]) {
    if activation != Activation::Linear {
        spread(|| data.par_iter_mut().with_min_len(CHUNK).for_each(|x| *x = apply(activation, *x)));
    }
}

/// Adds element by element.
pub(super) fn add<F: Float>(sums: &mut [F], operand: &[F]) {
    sums.iter_mut().zip(operand).for_each(|(sum, &x)| *sum += x);
}

/// The sum of all operands, first to last.
pub(super) fn sum<F: Float>(operands: &[Tensor<'_, F>]) -> Result<Vec<F>, OutOfMemory> {
    let mut result = copied(operands[0].data)?;
    operands[1..].iter().for_each(|operand| add(&mut result, operand.data));
    Ok(result)
}

/// The operands' pixels behind each other; a vector is one pixel.
pub(super) fn concat<F: Float>(operands: &[Tensor<'_, F>]) -> Result<Vec<F>, OutOfMemory> {
    let pixels = operands[0].batch() * operands[0].shape.pixels() as usize;
    let channels = |tensor: &Tensor<'_, F>| tensor.shape.c() as usize;
    let mut result = reserved(operands.iter().map(|operand| operand.data.len()).sum())?;
    for pixel in 0..pixels {
        for operand in operands {
            let c = channels(operand);
            result.extend_from_slice(&operand.data[pixel * c..(pixel + 1) * c]);
        }
    }
    Ok(result)
}

/// exp(x) / sum(exp(x)) over the channels of each pixel; the largest x is subtracted first, which
/// changes nothing but keeps the exponentials finite.
pub(super) fn softmax<F: Float>(x: Tensor<'_, F>) -> Result<Vec<F>, OutOfMemory> {
    let mut result = copied(x.data)?;
    for pixel in result.chunks_mut(x.shape.c() as usize) {
        let top = pixel.iter().copied().fold(pixel[0], larger);
        let mut sum = F::from_f32(0.0);
        for x in pixel.iter_mut() {
            *x = (*x - top).exp();
            sum += *x;
        }
        pixel.iter_mut().for_each(|x| *x = *x / sum);
    }
    Ok(result)
}

/// The maximum or mean of some elements. A maximum takes no notice of NaN.
fn reduce<F: Float>(kind: PoolKind, elements: impl Iterator<Item = F>) -> F {
    let smallest = match kind {
        PoolKind::Max => F::from_f64(f64::NEG_INFINITY),
        PoolKind::Average => F::from_f64(0.0),
    };
    let (mut result, mut count) = (smallest, 0);
    for x in elements {
        count += 1;
        match kind {
            PoolKind::Max => result = if x > result { x } else { result },
            PoolKind::Average => result += x,
        }
    }
    match kind {
        PoolKind::Max => result,
        PoolKind::Average => result / F::from_f64(f64::from(count)),
    }
}

/// Pools windows over the real elements in them.
pub(super) fn pool<F: Float>(pool: &Pool, x: Tensor<'_, F>, result: Shape) -> Result<Vec<F>, OutOfMemory> {
    let (h, w, c) = (x.shape.h(), x.shape.w(), x.shape.c() as usize);
    let (oh, row) = (result.h() as usize, result.w() as usize * c);
    let read = |axis: usize, at, size| {
        let taps = 0..pool.window.kernel[axis] as usize;
        taps.filter_map(move |tap| element_read(&pool.window, axis, at, tap, size))
    };
    let mut values = zeros(x.batch() * oh * row)?;
    let reduce_row = |(n, values): (usize, &mut [F])| {
        let image = &x.data[n / oh * x.shape.elements() as usize..];
        for (at, value) in values.iter_mut().enumerate() {
            let (ox, channel) = (at / c, at % c);
            let ys = read(0, n % oh, h);
            let element = |iy, ix| image[(iy * w as usize + ix) * c + channel];
            let elements = ys.flat_map(|iy| read(1, ox, w).map(move |ix| element(iy, ix)));
            *value = reduce(pool.kind, elements);
        }
    };
    spread(|| values.par_chunks_mut(row).enumerate().for_each(reduce_row));
    Ok(values)
}

/// Pools each channel of an image over all pixels.
pub(super) fn global_pool<F: Float>(kind: PoolKind, x: Tensor<'_, F>) -> Result<Vec<F>, OutOfMemory> {
    let c = x.shape.c() as usize;
    let images = x.data.chunks(x.shape.elements() as usize);
    let pooled = |image: &[F], channel| reduce(kind, image.iter().skip(channel).step_by(c).copied());
    let mut values = reserved(x.batch() * c)?;
    values.extend(images.flat_map(|image| (0..c).map(move |channel| pooled(image, channel))));
    Ok(values)
}
