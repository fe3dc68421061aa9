//! Pools: tiles over windows, and whole maps. A maximum takes no notice of NaN.

use std::fmt;

use super::depthwise::{columns, finish_pixels};
use super::epilogue::{self, Format};
use super::{Clip, TileSteps, name_fusion};
use crate::graph::{Activation, PoolKind, Post};
use crate::vector::{BinaryOp, Builder, Kernel, Slot, Times};

/// What a pool tile depends on: some pixels of a row, all channels. `in` points as that of a
/// convolution tile does.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PoolTile {
    /// Maximum or mean.
    pub kind: PoolKind,
    /// f32 values in a vector.
    pub lanes: u32,
    /// Vectors of channels.
    pub vectors: u32,
    /// Taps of a row.
    pub kw: u32,
    /// Distances in memory.
    pub steps: TileSteps,
    /// Pixels, and which taps each has.
    pub clip: Clip,
    /// Applied to the result; at most one operand is added.
    pub post: Vec<Post>,
}

/// Slots that a tile of `pixels` takes: an accumulator for each pixel, the input, the number of
/// rows of a mean, and temporaries.
pub fn slots(pixels: u32, post: &[Post]) -> usize {
    pixels as usize + 2 + temporaries(post)
}

/// At least one, for the factor that turns a sum into a mean.
fn temporaries(post: &[Post]) -> usize {
    epilogue::slots(post).max(1)
}

impl fmt::Display for PoolTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}pool_nx{}_v{}x{}", self.kind, self.kw, self.lanes, self.vectors)?;
        write!(f, "_{}", self.clip.pixels())?;
        self.steps.fmt(f)?;
        self.clip.name(self.kw, f)?;
        name_fusion(Activation::Linear, &self.post, f)
    }
}

/// The neutral element and the operation that joins two values.
fn reduction(kind: PoolKind) -> (f32, BinaryOp) {
    match kind {
        PoolKind::Max => (f32::NEG_INFINITY, BinaryOp::Max),
        PoolKind::Average => (0.0, BinaryOp::Add),
    }
}

impl PoolTile {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &["in", "out", "add"], true);
        let accumulators = b.slots(self.clip.pixels());
        let column = b.slot();
        let rows = (self.kind == PoolKind::Average).then(|| b.slot());
        let temporaries = b.slots(temporaries(&self.post));
        let row = b.pointer();
        b.repeat(Times::Exactly(self.vectors), |b| {
            let (neutral, op) = reduction(self.kind);
            for &accumulator in &accumulators {
                b.constant(accumulator, neutral);
            }
            rows.iter().for_each(|&rows| b.constant(rows, 0.0));
            b.point(row, b.parameter("in"), 0);
            b.repeat(Times::Rows, |b| {
                // Counted here, not in the descriptor: tiles at borders then share a kernel
                // whatever rows they have.
                if let Some(rows) = rows {
                    b.constant(column, 1.0);
                    b.binary(BinaryOp::Add, rows, column, rows);
                }
                for (offset, uses) in columns(&self.clip, self.kw, &self.steps) {
                    b.load(column, row, offset);
                    for (pixel, _) in uses {
                        b.binary(op, accumulators[pixel], column, accumulators[pixel]);
                    }
                }
                b.advance(row, self.steps.row);
            });
            if let Some(rows) = rows {
                self.divide(b, &accumulators, rows, [column, temporaries[0]]);
            }
            finish_pixels(b, (&self.post, Format::F32), &accumulators, &self.steps, &temporaries);
            for name in ["in", "out", "add"] {
                b.advance(b.parameter(name), b.vector_bytes());
            }
        });
        b.finish(self.to_string())
    }

    /// Turns sums into means: multiplies each by 1 / (rows x taps of a row), which pixels with as
    /// many taps share. The product of both counts is exact.
    fn divide(&self, b: &mut Builder, sums: &[Slot], rows: Slot, [one, factor]: [Slot; 2]) {
        b.constant(one, 1.0);
        let mut known = None;
        for (&sum, taps) in sums.iter().zip(&self.clip.0) {
            if known.replace(taps.len()) != Some(taps.len()) {
                b.constant(factor, taps.len() as f32);
                b.binary(BinaryOp::Mul, factor, rows, factor);
                b.binary(BinaryOp::Div, factor, one, factor);
            }
            b.binary(BinaryOp::Mul, sum, sum, factor);
        }
    }
}

/// The most pixels of a global mean whose values are all added one after the other. A sum of more
/// would lose digits of each, so it is one of sums, of about as many pixels as there are sums.
pub const SUMMED: u32 = 256;

/// Pools neighbouring vectors of channels over all pixels of a map.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GlobalPoolTile {
    /// Maximum or mean.
    pub kind: PoolKind,
    /// f32 values in a vector.
    pub lanes: u32,
    /// Vectors of channels, each in a slot of its own; in two for a mean of more than [`SUMMED`]
    /// pixels.
    pub vectors: u32,
    /// Pixels.
    pub pixels: u32,
    /// Bytes between pixels.
    pub step: i32,
    /// Applied to the result; at most one operand is added.
    pub post: Vec<Post>,
}

impl fmt::Display for GlobalPoolTile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "global_{}pool_v{}x{}", self.kind, self.lanes, self.vectors)?;
        write!(f, "_{}_i{}", self.pixels, self.step)?;
        name_fusion(Activation::Linear, &self.post, f)
    }
}

impl GlobalPoolTile {
    /// Writes the kernel.
    pub fn generate(&self) -> Kernel {
        let mut b = Builder::new(self.lanes, &["in", "out", "add"], false);
        let accumulators = b.slots(self.vectors as usize);
        let temporaries = b.slots(temporaries(&self.post));
        let block = self.pixels.isqrt();
        let (blocks, rest) = (self.pixels / block, self.pixels % block);
        if self.kind == PoolKind::Max || self.pixels <= SUMMED {
            self.reduce(&mut b, &accumulators, temporaries[0], self.pixels);
        } else {
            self.reduce(&mut b, &accumulators, temporaries[0], rest);
            let sums = b.slots(self.vectors as usize);
            b.repeat(Times::Exactly(blocks), |b| {
                self.reduce(b, &sums, temporaries[0], block);
                for (&all, &sum) in accumulators.iter().zip(&sums) {
                    b.binary(BinaryOp::Add, all, all, sum);
                }
            });
        }
        if self.kind == PoolKind::Average {
            b.constant(temporaries[0], 1.0 / self.pixels as f32);
            for &sum in &accumulators {
                b.binary(BinaryOp::Mul, sum, sum, temporaries[0]);
            }
        }
        let bytes = b.vector_bytes();
        let steps = TileSteps { pixel: 0, tap: 0, row: 0, out: bytes, add: bytes };
        finish_pixels(&mut b, (&self.post, Format::F32), &accumulators, &steps, &temporaries);
        b.finish(self.to_string())
    }

    /// The maximum or the sum of the next pixels; leaves `in` behind them.
    fn reduce(&self, b: &mut Builder, results: &[Slot], temporary: Slot, pixels: u32) {
        let (neutral, op) = reduction(self.kind);
        results.iter().for_each(|&result| b.constant(result, neutral));
        b.repeat(Times::Exactly(pixels), |b| {
            for (vector, &result) in results.iter().enumerate() {
                b.load(temporary, b.parameter("in"), vector as i32 * b.vector_bytes());
                b.binary(op, result, temporary, result);
            }
            b.advance(b.parameter("in"), self.step);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::interpret::{Location, run};

    /// Of 0.1, one after the other, a sum of as many as the last is wrong by a hundredth.
    #[test]
    fn means_of_many_pixels_are_exact_to_rounding() {
        for pixels in [SUMMED - 1, SUMMED, SUMMED + 1, (1 << 20) + 3] {
            let tile = GlobalPoolTile {
                kind: PoolKind::Average,
                lanes: 4,
                vectors: 1,
                pixels,
                step: 0,
                post: Vec::new(),
            };
            let kernel = tile.generate();
            crate::vector::verify(&kernel, 16).unwrap();
            let mut memory = vec![vec![0.1; 4], vec![0.0; 4]];
            let pointers = [0, 1, 1].map(Location::start_of);
            run(&kernel, &pointers, 0, true, &mut memory).unwrap();
            assert!((memory[1][3] - 0.1).abs() < 2e-6, "{pixels}: {}", memory[1][3]);
        }
    }
}
