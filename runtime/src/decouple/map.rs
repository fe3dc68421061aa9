//! The linear map that a layer is, slice by slice: the whole of it can be far larger than its
//! weights.

use std::borrow::Cow;
use std::ops::Range;

use nalgebra::{DMatrix, DMatrixView};
use xcc_compiler::graph::{Conv, KernelBlock, WeightError, WeightSource};

use super::linear::Linear;

/// The map of a layer: taps x inputs x outputs.
pub struct LinearMap<'a> {
    spatial: Cow<'a, [f32]>,
    blocks: Vec<KernelBlock>,
    taps: usize,
    pointwise: Option<Pointwise>,
}

/// The pointwise part.
struct Pointwise {
    /// Inputs x outputs.
    kernel: DMatrix<f64>,
    is_first: bool,
}

impl<'a> LinearMap<'a> {
    /// The map of `linear` with the numbers of `weights`.
    pub fn new(linear: &Linear<'_>, weights: &'a (dyn WeightSource + Sync)) -> Result<Self, WeightError> {
        let kernel = |conv: &Conv| match conv.parts.first() {
            Some(part) => weights.tensor(part.kernel),
            None => Ok(Cow::default()),
        };
        let pointwise = |conv: &Conv| -> Result<Pointwise, WeightError> {
            let (inputs, outputs) = (conv.partition.ic() as usize, conv.partition.oc() as usize);
            let values = kernel(conv)?;
            let values = values.iter().map(|&value| f64::from(value));
            let kernel = DMatrix::from_row_iterator(inputs, outputs, values);
            Ok(Pointwise { kernel, is_first: linear.is_pointwise_first })
        };
        let pointwise = linear.pointwise.map(pointwise).transpose()?;
        Ok(Self {
            spatial: kernel(linear.spatial)?,
            blocks: linear.spatial.kernel_blocks(),
            taps: linear.spatial.window.taps() as usize,
            pointwise,
        })
    }

    /// The map of some inputs to some outputs as (taps x inputs) x outputs; rows are tap by tap.
    pub fn slice(&self, inputs: Range<u32>, outputs: Range<u32>) -> DMatrix<f64> {
        let mut slice = DMatrix::zeros(self.taps * inputs.len(), outputs.len());
        for block in &self.blocks {
            match &self.pointwise {
                None => {
                    let (rows, columns) = (common(&block.inputs, &inputs), common(&block.outputs, &outputs));
                    let product = self.kernel(block, &rows, &columns);
                    self.place(&mut slice, &product, [&rows, &columns], [&inputs, &outputs]);
                }
                Some(pointwise) if pointwise.is_first => {
                    let columns = common(&block.outputs, &outputs);
                    let kernel = tall_to_wide(&self.kernel(block, &block.inputs, &columns), self.taps);
                    let product = wide_to_tall(&(pointwise.part(&inputs, &block.inputs) * kernel), self.taps);
                    self.place(&mut slice, &product, [&inputs, &columns], [&inputs, &outputs]);
                }
                Some(pointwise) => {
                    let rows = common(&block.inputs, &inputs);
                    let kernel = self.kernel(block, &rows, &block.outputs);
                    let product = kernel * pointwise.part(&block.outputs, &outputs);
                    self.place(&mut slice, &product, [&rows, &outputs], [&inputs, &outputs]);
                }
            }
        }
        slice
    }

    /// The kernel of a segment for some of its inputs and outputs, tap by tap.
    fn kernel(&self, block: &KernelBlock, inputs: &Range<u32>, outputs: &Range<u32>) -> DMatrix<f64> {
        let (rows, i0, o0) = (inputs.len(), offset(inputs, &block.inputs), offset(outputs, &block.outputs));
        let element = |row: usize, o: usize| {
            let (tap, i) = (row / rows, row % rows);
            self.spatial[block.offset + tap * block.tap_stride + (i0 + i) * block.input_stride + o0 + o]
        };
        DMatrix::from_fn(self.taps * rows, outputs.len(), |row, o| f64::from(element(row, o)))
    }

    /// Copies what a segment contributes to its place; no other segment contributes there.
    fn place(
        &self,
        slice: &mut DMatrix<f64>,
        product: &DMatrix<f64>,
        [rows, columns]: [&Range<u32>; 2],
        [inputs, outputs]: [&Range<u32>; 2],
    ) {
        let (count, i0, o0) = (rows.len(), offset(rows, inputs), offset(columns, outputs));
        for tap in 0..self.taps {
            let at = (tap * inputs.len() + i0, o0);
            slice.view_mut(at, (count, columns.len())).copy_from(&product.rows(tap * count, count));
        }
    }
}

impl Pointwise {
    fn part(&self, inputs: &Range<u32>, outputs: &Range<u32>) -> DMatrixView<'_, f64> {
        let at = (inputs.start as usize, outputs.start as usize);
        self.kernel.view(at, (inputs.len(), outputs.len()))
    }
}

/// From (taps x rows) x columns to rows x (taps x columns).
pub fn tall_to_wide(tall: &DMatrix<f64>, taps: usize) -> DMatrix<f64> {
    let (rows, columns) = (tall.nrows() / taps, tall.ncols());
    let mut wide = DMatrix::zeros(rows, taps * columns);
    for tap in 0..taps {
        wide.columns_mut(tap * columns, columns).copy_from(&tall.rows(tap * rows, rows));
    }
    wide
}

/// From rows x (taps x columns) to (taps x rows) x columns.
pub fn wide_to_tall(wide: &DMatrix<f64>, taps: usize) -> DMatrix<f64> {
    let (rows, columns) = (wide.nrows(), wide.ncols() / taps);
    let mut tall = DMatrix::zeros(taps * rows, columns);
    for tap in 0..taps {
        tall.rows_mut(tap * rows, rows).copy_from(&wide.columns(tap * columns, columns));
    }
    tall
}

/// Where two ranges overlap; an empty range at the start of `a` where they do not.
fn common(a: &Range<u32>, b: &Range<u32>) -> Range<u32> {
    let (start, end) = (a.start.max(b.start), a.end.min(b.end));
    if start < end { start..end } else { a.start..a.start }
}

/// How far behind the start of `whole` a part of it starts; 0 for an empty one.
fn offset(part: &Range<u32>, whole: &Range<u32>) -> usize {
    if part.is_empty() { 0 } else { (part.start - whole.start) as usize }
}
