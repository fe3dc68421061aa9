//! Memory for values, taken with a check: a map of a large batch may have gigabytes.

use rayon::prelude::*;

use super::Float;
use crate::OutOfMemory;
pub(super) use crate::memory::{reserved, zeros};
use crate::workers::spread;

/// The numbers once more.
pub(super) fn copied<F: Float>(numbers: &[F]) -> Result<Vec<F>, OutOfMemory> {
    let mut copy = reserved(numbers.len())?;
    copy.extend_from_slice(numbers);
    Ok(copy)
}

/// Exactly these numbers in the format of an evaluation.
pub fn exactly<F: Float>(numbers: &[f32]) -> Result<Vec<F>, OutOfMemory> {
    let mut exact = reserved(numbers.len())?;
    spread(|| exact.par_extend(numbers.par_iter().map(|&number| F::from_f32(number))));
    Ok(exact)
}
