//! Weights for Winograd's method: transformed, a plane for each of their values.

use std::ops::Range;

use super::{LANES, Packer, Rows, TilePanel, WeightPanel, copy, fast_inner, write_panels};
use crate::graph::KernelBlock;
use crate::kernels::matmul;
use crate::kernels::winograd::{self, BIAS_PLANE};
use crate::schedule::segments::{PlaneProducts, Segment, panel_widths};

/// Planes of a segment's weights.
const PLANES: usize = winograd::PLANES as usize;

/// Outputs whose weights are transformed together.
const TOGETHER: usize = LANES;

impl<'a> Packer<'a> {
    /// The transformed weights of a segment, plane by plane, and its biases in the plane where
    /// they are added.
    pub(super) fn planes(&mut self, segment: &Segment, products: PlaneProducts) {
        let (inputs, outputs) = (&segment.0, segment.1.start as usize..segment.1.end as usize);
        let above = |block: &KernelBlock, _| (block.inputs.start - inputs.start) as usize;
        match products {
            PlaneProducts::Vectors(vectors) => {
                let (mut panels, _) = self.plane_panels((inputs.len(), outputs), (vectors, products));
                write_panels(&self.elements, &mut panels, 1, above);
            }
            PlaneProducts::FastInner(vectors) => {
                let (mut panels, factors) = self.plane_panels((inputs.len(), outputs), (vectors, products));
                write_panels(&self.elements, &mut panels, 1, above);
                self.pair_planes(panels, factors);
            }
            PlaneProducts::Pairs => {
                let mut panels = self.pair_panels((inputs.len(), outputs));
                write_panels(&self.elements, &mut panels, 1, above);
            }
        }
    }

    /// Makes the panels of all planes ready for the fast inner product.
    fn pair_planes(&self, panels: Vec<PlanesPanel<'a>>, factors: Vec<&mut [f32]>) {
        let mut of_planes: Vec<Vec<_>> = factors.iter().map(|_| Vec::new()).collect();
        for PlanesPanel { planes, constants, .. } in panels {
            let pairs = planes.into_iter().zip(constants);
            of_planes.iter_mut().zip(pairs).for_each(|(plane, pair)| plane.push(pair));
        }
        let planes = of_planes.into_iter().zip(factors);
        planes.for_each(|(panels, factors)| fast_inner::pair_weights(panels, factors, self.lanes));
    }

    /// The next planes for so many inputs: of their weights, and of other constants.
    fn take_planes(
        &mut self,
        (inputs, outputs): (usize, &Range<usize>),
        products: PlaneProducts,
    ) -> [Vec<&'a mut [f32]>; 2] {
        let padded = outputs.len().next_multiple_of(self.lanes);
        let words = products.words(inputs as u32) as usize * padded;
        let others = products.constants((inputs as u32, outputs.len() as u32), self.lanes as u32) as usize;
        let (weights, constants) = self.take(PLANES * words, PLANES * others);
        [weights.chunks_exact_mut(words).collect(), constants.chunks_exact_mut(others).collect()]
    }

    /// The next panels of f32 values, so many vectors wide, with their biases written, and what is
    /// left of the constants of each plane.
    fn plane_panels(
        &mut self,
        (inputs, outputs): (usize, Range<usize>),
        (vectors, products): (u32, PlaneProducts),
    ) -> (Vec<PlanesPanel<'a>>, Vec<&'a mut [f32]>) {
        let [mut planes, mut rest] = self.take_planes((inputs, &outputs), products);
        let mut start = outputs.start;
        let widths = panel_widths(outputs.len().div_ceil(self.lanes) as u32, vectors);
        let panels = widths.into_iter().map(|width| {
            let width = width as usize * self.lanes;
            let held = start..outputs.end.min(start + width);
            start += width;
            let mut constants = next(&mut rest, products.constants_of_output() as usize * width);
            let of_biases = &mut constants[BIAS_PLANE as usize];
            let biases = of_biases.len() - width;
            copy(&self.elements.folded.shift[held.clone()], &mut of_biases[biases..]);
            PlanesPanel { outputs: held, width, planes: next(&mut planes, inputs * width), constants }
        });
        (panels.collect(), rest)
    }

    /// The next panels of pairs of bf16 values.
    fn pair_panels(&mut self, (inputs, outputs): (usize, Range<usize>)) -> Vec<PairPlanesPanel<'a>> {
        let words = PlaneProducts::Pairs.words(inputs as u32) as usize;
        let [mut planes, mut biases] = self.take_planes((inputs, &outputs), PlaneProducts::Pairs);
        copy(&self.elements.folded.shift[outputs.clone()], biases[BIAS_PLANE as usize]);
        let block = matmul::BLOCK as usize;
        let panels = outputs.clone().step_by(block).map(|start| {
            let held = start..outputs.end.min(start + block);
            let tiles = held.len().div_ceil(LANES);
            let of_plane = |values| TilePanel { outputs: held.clone(), tiles, planes: 1, values };
            let planes = next(&mut planes, words * tiles * LANES).into_iter().map(of_plane).collect();
            PairPlanesPanel { outputs: held, planes }
        });
        panels.collect()
    }
}

/// The next values of each plane.
fn next<'a>(planes: &mut [&'a mut [f32]], values: usize) -> Vec<&'a mut [f32]> {
    planes.iter_mut().filter_map(|plane| plane.split_off_mut(..values)).collect()
}

/// A panel of transformed weights that is being written, a plane for each of their values.
struct PlanesPanel<'a> {
    /// The outputs that it has columns for.
    outputs: Range<usize>,
    /// Columns, padding included.
    width: usize,
    /// A row for each input.
    planes: Vec<&'a mut [f32]>,
    /// Rows of constants of its outputs, the last one of biases.
    constants: Vec<&'a mut [f32]>,
}

impl WeightPanel for PlanesPanel<'_> {
    fn outputs(&self) -> Range<usize> {
        self.outputs.clone()
    }

    /// Writes the weights of all taps.
    #[inline(always)]
    fn write(&mut self, rows: Rows<'_>) {
        let outputs = &rows.outputs;
        let first = outputs.start - self.outputs.start;
        for input in rows.inputs.clone() {
            let row = (rows.above + input) * self.width + first;
            for start in outputs.clone().step_by(TOGETHER) {
                let held = start..outputs.end.min(start + TOGETHER);
                let at = row + start - outputs.start;
                let planes = transformed(&rows, input, (held.clone(), 0));
                for (plane, weights) in self.planes.iter_mut().zip(&planes) {
                    plane[at..at + held.len()].copy_from_slice(&weights[..held.len()]);
                }
            }
        }
    }
}

/// The same for products of pairs of bf16 values.
struct PairPlanesPanel<'a> {
    /// The outputs that it has columns for.
    outputs: Range<usize>,
    planes: Vec<TilePanel<'a>>,
}

impl WeightPanel for PairPlanesPanel<'_> {
    fn outputs(&self) -> Range<usize> {
        self.outputs.clone()
    }

    /// Writes the weights of all taps. Inputs begin with an even one.
    #[inline(always)]
    fn write(&mut self, rows: Rows<'_>) {
        let columns = rows.outputs.start - self.outputs.start..rows.outputs.end - self.outputs.start;
        for input in rows.inputs.clone().step_by(2) {
            for tile in columns.start / LANES..columns.end.div_ceil(LANES) {
                let held = columns.start.max(tile * LANES)..columns.end.min((tile + 1) * LANES);
                let outputs = self.outputs.start + held.start..self.outputs.start + held.end;
                let lane = held.start - tile * LANES;
                let [even, odd] = [input, input + 1].map(|input| match rows.inputs.contains(&input) {
                    true => transformed(&rows, input, (outputs.clone(), lane)),
                    false => Default::default(),
                });
                for (plane, pair) in self.planes.iter_mut().zip(even.iter().zip(&odd)) {
                    plane.write_pair(rows.above + input, (tile, held.clone()), [pair.0, pair.1]);
                }
            }
        }
    }
}

/// The weights from an input to some outputs, transformed by Winograd's method: see
/// [`mod@winograd`]. They begin at a lane.
#[inline(always)]
fn transformed(
    rows: &Rows<'_>,
    input: usize,
    (outputs, lane): (Range<usize>, usize),
) -> [[f32; TOGETHER]; PLANES] {
    let mut taps = [[0.0; TOGETHER]; 9];
    for (tap, weights) in taps.iter_mut().enumerate() {
        let to = &mut weights[lane..lane + outputs.len()];
        rows.elements.write(rows.block, (tap, input), outputs.clone(), to);
    }
    let planes = winograd::transform_weights(&taps.map(|weights| weights.map(f64::from)));
    planes.map(|weights| weights.map(|weight| weight as f32))
}
