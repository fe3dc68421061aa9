//! Panels for crossed products: weights scaled and in order, and what sums begin and end with.

use crate::kernels::crossed::{CONSTANTS, order, pairs};
use crate::plan::wide::{Work, widest};

/// The root of the mean square that scaled weights of an output have, but for a factor of up to the root of two: inputs, whose largest
/// is 1, are about as large.
const TYPICAL: f64 = 0.25;

/// Largest exponent of a scale.
const MOST: f64 = 100.0;

/// Makes a panel of weights, a row for each input, one for crossed products. The last row of its constants are biases, which stay;
/// those before them become what sums begin with, and what undoes the scaling.
pub(super) fn cross(values: &mut [f32], constants: &mut [f32], lanes: usize) {
    widest(Cross { values, constants, lanes });
}

struct Cross<'a> {
    values: &'a mut [f32],
    constants: &'a mut [f32],
    lanes: usize,
}

impl Work for Cross<'_> {
    #[inline(always)]
    fn run(self) {
        let width = self.constants.len() / CONSTANTS as usize;
        let (inputs, lanes) = ((self.values.len() / width) as u32, self.lanes as u32);
        let scales = scales(self.values, width);
        let plain = self.values.to_vec();
        for (row, input) in self.values.chunks_exact_mut(width).zip(order(inputs, lanes)) {
            let weights = &plain[input as usize * width..][..width];
            for ((to, &weight), &scale) in row.iter_mut().zip(weights).zip(&scales) {
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
        for (to, scale) in self.constants[width..].iter_mut().zip(scales) {
            *to = 1.0 / scale;
        }
    }
}

/// The power of two by which the weights of each output are multiplied.
#[inline(always)]
fn scales(values: &[f32], width: usize) -> Vec<f32> {
    let mut squares = vec![0.0; width];
    for row in values.chunks_exact(width) {
        for (square, &weight) in squares.iter_mut().zip(row) {
            *square += f64::from(weight) * f64::from(weight);
        }
    }
    let mean = |square: f64| square / (values.len() / width) as f64;
    let exponent = |square: f64| (TYPICAL / mean(square).sqrt()).log2().round().clamp(-MOST, MOST);
    let scale = |square: f64| if square > 0.0 { exponent(square).exp2() as f32 } else { 1.0 };
    squares.into_iter().map(scale).collect()
}
