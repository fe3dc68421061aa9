//! Panels for the fast inner product: weights scaled and in order, and what sums begin and end
//! with.

use crate::kernels::fast_inner::{CONSTANTS, order, pairs};
use crate::plan::multiversion::{Work, widest};

/// The root of the mean square that scaled weights of an output have, but for a factor of up to
/// the root of two: inputs, whose largest is 1, are about as large.
const TYPICAL: f64 = 0.25;

/// Largest exponent of a scale.
const MOST: f64 = 120.0;

/// Makes the panels of a layer, of weights with a row for each input and of constants, ones for
/// the fast inner product. The last row of the constants of a panel are biases, which stay; those
/// before them become what sums begin with, and what undoes the scaling. The factors of inputs are
/// written.
pub(super) fn pair_weights<'p>(
    mut panels: Vec<(&'p mut [f32], &'p mut [f32])>,
    factors: &mut [f32],
    lanes: usize,
) {
    widest(Balance { panels: &mut panels, factors });
    for (values, constants) in panels {
        widest(PairWeights { values, constants, factors, lanes });
    }
}

/// Finds the factors of inputs: the powers of two next to the root of the mean square of their
/// weights.
struct Balance<'a, 'p> {
    panels: &'a mut [(&'p mut [f32], &'p mut [f32])],
    factors: &'a mut [f32],
}

impl Work for Balance<'_, '_> {
    #[inline(always)]
    fn run(self) {
        let outputs: usize = self.panels.iter().map(|(_, constants)| width(constants)).sum();
        for (input, factor) in self.factors.iter_mut().enumerate() {
            let row = |(values, constants): &(&mut [f32], &mut [f32])| {
                let width = width(constants);
                let weights = values.get(input * width..(input + 1) * width).unwrap_or_default();
                squares(weights)
            };
            let square: f64 = self.panels.iter().map(row).sum();
            *factor = power_of_two((square / outputs.max(1) as f64).sqrt()).unwrap_or(1.0);
        }
    }
}

/// Outputs of a panel with these constants, padding included.
#[inline(always)]
fn width(constants: &[f32]) -> usize {
    constants.len() / CONSTANTS as usize
}

/// The sum of squares; several sums side by side fill vectors.
#[inline(always)]
fn squares(weights: &[f32]) -> f64 {
    let mut sums = [0.0; 16];
    for chunk in weights.chunks(sums.len()) {
        for (sum, &weight) in sums.iter_mut().zip(chunk) {
            *sum += f64::from(weight) * f64::from(weight);
        }
    }
    sums.iter().sum()
}

/// The power of two next to a positive number, within bounds.
#[inline(always)]
fn power_of_two(number: f64) -> Option<f32> {
    (number > 0.0).then(|| number.log2().round().clamp(-MOST, MOST).exp2() as f32)
}

struct PairWeights<'a> {
    values: &'a mut [f32],
    constants: &'a mut [f32],
    factors: &'a [f32],
    lanes: usize,
}

impl Work for PairWeights<'_> {
    #[inline(always)]
    fn run(self) {
        let width = width(self.constants);
        let (inputs, lanes) = ((self.values.len() / width) as u32, self.lanes as u32);
        let mut plain = self.values.to_vec();
        for (row, factor) in plain.chunks_exact_mut(width).zip(self.factors) {
            row.iter_mut().for_each(|weight| *weight /= factor);
        }
        let scales = scales(&plain, width);
        for (row, input) in self.values.chunks_exact_mut(width).zip(order(inputs, lanes)) {
            let weights = &plain[input as usize * width..][..width];
            for ((to, &weight), &[scale, _]) in row.iter_mut().zip(weights).zip(&scales) {
                *to = weight * scale;
            }
        }
        let mut starts = vec![0.0; width];
        for (row, sign) in pairs(inputs, lanes) {
            let (first, second) = self.values[row as usize * width..][..2 * width].split_at(width);
            for ((start, &first), &second) in starts.iter_mut().zip(first).zip(second) {
                *start += sign * f64::from(first) * f64::from(second);
            }
        }
        for (to, start) in self.constants.iter_mut().zip(starts) {
            *to = start as f32;
        }
        for (to, [_, inverse]) in self.constants[width..].iter_mut().zip(scales) {
            *to = inverse;
        }
    }
}

/// The power of two by which the weights of each output are multiplied, and its inverse; zeros for
/// an output without weights, whose sum is then lost.
#[inline(always)]
fn scales(values: &[f32], width: usize) -> Vec<[f32; 2]> {
    let mut squares = vec![0.0; width];
    for row in values.chunks_exact(width) {
        for (square, &weight) in squares.iter_mut().zip(row) {
            *square += f64::from(weight) * f64::from(weight);
        }
    }
    let typical = |square: f64| (square / (values.len() / width) as f64).sqrt();
    let scale = |square: f64| power_of_two(TYPICAL / typical(square)).filter(|_| square > 0.0);
    let both = |scale: f32| [scale, 1.0 / scale];
    squares.into_iter().map(|square| scale(square).map_or([0.0; 2], both)).collect()
}
