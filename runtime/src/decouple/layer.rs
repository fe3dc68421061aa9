//! The approximation of a layer's linear map in other segments.

use nalgebra::DMatrix;
use rayon::prelude::*;
use xcc_compiler::graph::{KernelBlock, WeightId, WeightSource};

use super::DecoupleError;
use super::factor::{Factors, factor};
use super::linear::Linear;
use super::map::{LinearMap, tall_to_wide, wide_to_tall};
use crate::workers::spread;

/// The most elements of a matrix that is approximated: 2 GiB of 64-bit floats.
const LARGEST: u64 = 1 << 28;

/// The new tensors of a layer.
pub struct Done {
    /// The kernels.
    pub tensors: Vec<(WeightId, Vec<f32>)>,
    /// See [`super::DecoupledLayer::error`].
    pub error: f64,
}

/// What a segment became.
struct Segment {
    /// The spatial part, as (taps x inputs) x outputs of the segment; rows are tap by tap.
    spatial: DMatrix<f64>,
    /// The pointwise part of the segment's channels, if there is one.
    pointwise: Option<DMatrix<f64>>,
    /// Squared Frobenius norm of the difference.
    difference: f64,
    /// Squared Frobenius norm of the map's slice.
    size: f64,
}

/// The tensors of `to` that approximate `from`.
pub fn decouple_layer(
    to: &Linear<'_>,
    from: &Linear<'_>,
    weights: &(dyn WeightSource + Sync),
) -> Result<Done, DecoupleError> {
    if let Some(pointwise) = from.pointwise {
        let [inputs, outputs] = [pointwise.partition.ic(), pointwise.partition.oc()].map(u64::from);
        check_size(from.name, inputs, outputs)?;
    }
    let map = LinearMap::new(from, weights)?;
    let blocks = to.spatial.kernel_blocks();
    let segments: Vec<Segment> =
        spread(|| blocks.par_iter().map(|block| segment(to, block, &map)).collect::<Result<_, _>>())?;
    let sum = |part: fn(&Segment) -> f64| segments.iter().map(part).sum::<f64>();
    let (difference, size) = (sum(|segment| segment.difference), sum(|segment| segment.size));
    let error = if size > 0.0 { (difference / size).sqrt() } else { 0.0 };
    Ok(Done { tensors: tensors(to, &blocks, &segments), error })
}

/// Approximates the slice of the map that a segment can say.
fn segment(to: &Linear<'_>, block: &KernelBlock, map: &LinearMap<'_>) -> Result<Segment, DecoupleError> {
    let (ic, oc) = to.channels();
    let is_spatial_first = to.pointwise.is_some() && !to.is_pointwise_first;
    let (inputs, outputs) =
        if is_spatial_first { (block.inputs.clone(), 0..oc) } else { (0..ic, block.outputs.clone()) };
    let taps = to.spatial.window.taps();
    check_size(to.name, taps.saturating_mul(inputs.len() as u64), outputs.len() as u64)?;
    let slice = map.slice(inputs, outputs);
    let size = slice.norm_squared();
    if !size.is_finite() {
        return Err(DecoupleError::NotFinite { layer: to.name.to_owned() });
    }
    let taps = taps as usize;
    Ok(match to.pointwise {
        None => {
            let ic = ic as usize;
            let is_kept = |row: &usize| block.inputs.contains(&((row % ic) as u32));
            let rows: Vec<usize> = (0..slice.nrows()).filter(is_kept).collect();
            let spatial = slice.select_rows(&rows);
            let difference = (size - spatial.norm_squared()).max(0.0);
            Segment { spatial, pointwise: None, difference, size }
        }
        Some(_) if is_spatial_first => {
            let Factors { left, right, difference } = factor(&slice, block.outputs.len());
            Segment { spatial: left, pointwise: Some(right), difference, size }
        }
        Some(_) => {
            let wide = tall_to_wide(&slice, taps);
            let Factors { left, right, difference } = factor(&wide, block.inputs.len());
            Segment { spatial: wide_to_tall(&right, taps), pointwise: Some(left), difference, size }
        }
    })
}

fn check_size(layer: &str, rows: u64, columns: u64) -> Result<(), DecoupleError> {
    if rows.checked_mul(columns).is_some_and(|elements| elements <= LARGEST) {
        return Ok(());
    }
    Err(DecoupleError::TooLarge { layer: layer.to_owned(), rows, columns, limit: LARGEST })
}

/// The kernels in the layout of the layer's tensors.
fn tensors(to: &Linear<'_>, blocks: &[KernelBlock], segments: &[Segment]) -> Vec<(WeightId, Vec<f32>)> {
    let mut kernel = vec![0.0; to.spatial.partition.products() as usize * to.spatial.window.taps() as usize];
    for (block, segment) in blocks.iter().zip(segments) {
        let inputs = block.inputs.len();
        for (row, values) in segment.spatial.row_iter().enumerate() {
            let (tap, i) = (row / inputs, row % inputs);
            let start = block.offset + tap * block.tap_stride + i * block.input_stride;
            kernel[start..]
                .iter_mut()
                .zip(values.iter())
                .for_each(|(element, value)| *element = *value as f32);
        }
    }
    let mut tensors: Vec<(WeightId, Vec<f32>)> =
        to.spatial.parts.iter().take(1).map(|part| (part.kernel, std::mem::take(&mut kernel))).collect();
    if let Some(part) = to.pointwise.and_then(|pointwise| pointwise.parts.first()) {
        tensors.push((part.kernel, pointwise_kernel(to, segments)));
    }
    tensors
}

/// Inputs x outputs: segments follow each other in rows where the spatial part is first, in
/// columns otherwise.
fn pointwise_kernel(to: &Linear<'_>, segments: &[Segment]) -> Vec<f32> {
    let parts = || segments.iter().filter_map(|segment| segment.pointwise.as_ref());
    if !to.is_pointwise_first {
        let rows = parts().flat_map(|part| part.row_iter());
        return rows.flat_map(|row| row.iter().map(|&value| value as f32).collect::<Vec<_>>()).collect();
    }
    let inputs = to.channels().0 as usize;
    let row = |i: usize| {
        parts().flat_map(move |part| part.row(i).iter().map(|&value| value as f32).collect::<Vec<_>>())
    };
    (0..inputs).flat_map(row).collect()
}
