//! Resizing of samples, along one axis and then the other, in 32-bit floats, without rounding or
//! clamping.

use std::ops::Range;

use rayon::prelude::*;

use crate::workers::spread;

/// Samples of an image, row by row, pixel by pixel.
#[derive(Clone, Debug, PartialEq)]
pub struct Samples {
    /// Rows.
    pub height: u32,
    /// Pixels in a row.
    pub width: u32,
    /// Samples of a pixel.
    pub channels: usize,
    /// `height * width * channels` samples.
    pub values: Vec<f32>,
}

/// The samples that one new sample is made of, and the weight of each.
struct Taps {
    range: Range<usize>,
    weights: Vec<f32>,
}

/// Stretches an image to `height` rows and `width` columns with a triangle filter.
///
/// The new pixel `i` of `n` has its centre at `(i + 1/2) * old / n` on the scale of old pixels,
/// whose centres are at `j + 1/2`. Old pixels weigh `1 - distance / radius`, normalised, where the
/// radius is 1 for enlargements (bilinear interpolation) and `old / n` for reductions (so that
/// every old pixel counts).
///
/// Columns come first, unless that made an image that is larger than the old and the new one.
pub fn resize(samples: Samples, height: u32, width: u32) -> Samples {
    match () {
        () if (samples.height, samples.width) == (height, width) => samples,
        () if width > samples.width && height < samples.height => {
            resize_columns(&resize_rows(&samples, height), width)
        }
        () => resize_rows(&resize_columns(&samples, width), height),
    }
}

/// To so many columns.
fn resize_columns(samples: &Samples, width: u32) -> Samples {
    let Samples { height, channels, .. } = *samples;
    let taps = taps(samples.width, width);
    let [old_row, new_row] = [samples.width, width].map(|pixels| pixels as usize * channels);
    let mut values = vec![0.0; height as usize * new_row];
    spread(|| {
        let old_rows = samples.values.par_chunks_exact(old_row.max(1));
        let rows = values.par_chunks_exact_mut(new_row.max(1)).zip(old_rows);
        rows.for_each(|(new, old)| resize_row(old, new, &taps, channels));
    });
    Samples { height, width, channels, values }
}

/// To so many rows.
fn resize_rows(samples: &Samples, height: u32) -> Samples {
    let Samples { width, channels, .. } = *samples;
    let row = width as usize * channels;
    let mut values = vec![0.0; height as usize * row];
    let taps = taps(samples.height, height);
    let sum = |(new, taps): (&mut [f32], &Taps)| {
        let old = samples.values[taps.range.start * row..taps.range.end * row].chunks_exact(row.max(1));
        for (old, &weight) in old.zip(&taps.weights) {
            new.iter_mut().zip(old).for_each(|(new, old)| *new += weight * old);
        }
    };
    spread(|| values.par_chunks_exact_mut(row.max(1)).zip(&taps).for_each(sum));
    Samples { height, width, channels, values }
}

fn resize_row(old: &[f32], new: &mut [f32], taps: &[Taps], channels: usize) {
    for (new, taps) in new.chunks_exact_mut(channels).zip(taps) {
        let old = old[taps.range.start * channels..taps.range.end * channels].chunks_exact(channels);
        for (old, &weight) in old.zip(&taps.weights) {
            new.iter_mut().zip(old).for_each(|(new, old)| *new += weight * old);
        }
    }
}

/// The taps of each of `new` samples over `old` ones, at least one each.
fn taps(old: u32, new: u32) -> Vec<Taps> {
    let step = f64::from(old) / f64::from(new);
    let radius = step.max(1.0);
    let taps = |index| {
        let centre = (f64::from(index) + 0.5) * step;
        // Old sample j has weight where |j + 1/2 - centre| < radius.
        let start = (centre - radius - 0.5).ceil().max(0.0) as usize;
        let end = ((centre + radius - 0.5).floor() as usize + 1).min(old as usize);
        let weights: Vec<f64> =
            (start..end).map(|j| (1.0 - (j as f64 + 0.5 - centre).abs() / radius).max(0.0)).collect();
        let sum: f64 = weights.iter().sum();
        Taps { range: start..end, weights: weights.iter().map(|weight| (weight / sum) as f32).collect() }
    };
    (0..new).map(taps).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::imageops::{self, FilterType};
    use image::{ImageBuffer, Rgb};
    use proptest::prelude::*;

    fn noise(height: u32, width: u32, seed: u64) -> Samples {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 24) as f32
        };
        let values = (0..height * width * 3).map(|_| next()).collect();
        Samples { height, width, channels: 3, values }
    }

    #[test]
    fn doubling_interpolates_between_centres() {
        let row = Samples { height: 1, width: 2, channels: 1, values: vec![0.0, 1.0] };
        assert_eq!(resize(row, 1, 4).values, [0.0, 0.25, 0.75, 1.0]);
    }

    #[test]
    fn halving_weighs_four_pixels() {
        let row = Samples { height: 4, width: 1, channels: 1, values: vec![0.0, 0.0, 1.0, 0.0] };
        assert_eq!(resize(row, 2, 1).values, [1.0 / 7.0, 3.0 / 7.0]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

        #[test]
        fn agrees_with_the_triangle_filter_of_another_library(
            old in (1u32..40, 1u32..40),
            new in (1u32..40, 1u32..40),
            seed in any::<u64>(),
        ) {
            let samples = noise(old.0, old.1, seed);
            let other = ImageBuffer::<Rgb<f32>, _>::from_raw(old.1, old.0, samples.values.clone()).unwrap();
            let other = imageops::resize(&other, new.1, new.0, FilterType::Triangle);
            let resized = resize(samples, new.0, new.1);
            for (found, expected) in resized.values.iter().zip(other.as_raw()) {
                prop_assert!((found - expected).abs() < 1e-5, "{found} and {expected}");
            }
        }
    }
}
