//! Memory for values, taken with a check: a map of a large batch may have gigabytes.

use rayon::prelude::*;

use super::Float;
use crate::OutOfMemory;
use crate::workers::spread;

/// Room for `length` numbers.
pub(super) fn reserved<F>(length: usize) -> Result<Vec<F>, OutOfMemory> {
    let mut numbers = Vec::new();
    let bytes = bytes_of::<F>(length);
    numbers.try_reserve_exact(length).map_err(|_| OutOfMemory { bytes })?;
    Ok(numbers)
}

fn bytes_of<F>(length: usize) -> u64 {
    (length as u64).saturating_mul(size_of::<F>() as u64)
}

/// `length` zeros.
pub(super) fn zeros<F: Float>(length: usize) -> Result<Vec<F>, OutOfMemory> {
    let bytes = bytes_of::<F>(length);
    bytemuck::allocation::try_zeroed_vec(length).map_err(|()| OutOfMemory { bytes })
}

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
