//! A panel of a matrix multiplication: rows of bf16 values times a panel of bf16 weights, by tiles
//! (`tiles.rs`) or by vectors of pairs (`pairs.rs`).
//!
//! Rows are pixels, columns are output channels. A sum may be over several rows: those of the rows
//! of taps of a window, which lie as far apart in the matrix as the rows of an image do.
//!
//! Weights are packed row of taps by row of taps, chunk by chunk of 32 inputs; in a chunk plane by
//! plane, in a plane one tile for every 16 columns. Rows past the last one are read, up to the
//! next multiple of 16, but not stored.

use std::fmt;

use super::epilogue::Planes;
use super::name_fusion;
use crate::graph::{Activation, Post};
use crate::target::Bf16Unit;
use crate::vector::{TILE_BYTES, TILE_LANES, TILE_ROWS};

/// Rows and columns of a block.
pub const BLOCK: u32 = 32;
/// Bytes of a tile.
pub const TILE_SIZE: i32 = TILE_ROWS as i32 * TILE_BYTES;
/// Inputs of a chunk: a row of a tile.
pub const CHUNK: u32 = 32;
/// Bytes of the memory for the sums of a block.
pub const SUMS_BYTES: u64 = 4 * TILE_SIZE as u64;

/// Bytes of a cache line.
pub(super) const LINE: i32 = 64;

/// What a panel depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MatmulPanel {
    /// What multiplies.
    pub unit: Bf16Unit,
    /// Whether products of pairs read the values of most pixels from memory themselves; tiles have
    /// no use for it.
    pub direct: bool,
    /// Rows.
    pub pixels: u32,
    /// Columns, up to [`BLOCK`]: in one tile or two.
    pub columns: u32,
    /// Chunks of inputs in a row.
    pub chunks: u32,
    /// Bytes between rows.
    pub step: i32,
    /// Rows that a sum is over: rows of taps.
    pub taps: Taps,
    /// The parts that factors are taken as, and where those of rows lie.
    pub planes: Planes,
    /// Bytes between neighbouring pixels, in the output.
    pub out: i32,
    /// Bytes between neighbouring pixels, in the added operand.
    pub add: i32,
    /// Applied to the result; at most one operand is added.
    pub post: Vec<Post>,
}

/// Rows of the matrix that a sum is over, each with weights of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Taps {
    /// How many, at least one.
    pub count: u32,
    /// Bytes from one to the next.
    pub distance: i32,
}

impl fmt::Display for MatmulPanel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.unit == Bf16Unit::Tiles { "matmul" } else { "pairs" };
        write!(f, "{name}_{}x{}x{}", self.pixels, self.columns, self.chunks * CHUNK)?;
        if self.taps.count > 1 {
            write!(f, "x{}_r{}", self.taps.count, self.taps.distance)?;
        }
        write!(f, "_i{}{}_o{}", self.step, self.planes, self.out)?;
        if self.add != 0 {
            write!(f, ".{}", self.add)?;
        }
        f.write_str(if self.direct { "_direct" } else { "" })?;
        name_fusion(Activation::Linear, &self.post, f)
    }
}

/// Bytes of a panel's weights.
pub fn panel_bytes(chunks: u64, tiles: u64, planes: u64) -> u64 {
    chunks * tiles * planes * TILE_SIZE as u64
}

impl MatmulPanel {
    /// Tiles, or vectors, beside each other.
    pub(super) fn tiles(&self) -> u32 {
        self.columns.div_ceil(TILE_LANES)
    }

    /// Bytes of the panel's weights in one chunk.
    pub(super) fn chunk_bytes(&self) -> i32 {
        (self.planes.count * self.tiles()) as i32 * TILE_SIZE
    }

    /// Bytes of the panel's weights.
    pub(super) fn bytes(&self) -> i32 {
        (self.taps.count * self.chunks) as i32 * self.chunk_bytes()
    }

    /// Bytes from where the inputs of a sum begin to where they end.
    pub(super) fn input_bytes(&self) -> i32 {
        (self.taps.count - 1) as i32 * self.taps.distance + self.row_bytes()
    }

    /// Bytes of the inputs in a row.
    pub(super) fn row_bytes(&self) -> i32 {
        self.chunks as i32 * TILE_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::Descriptor;
    use crate::plan::Precision;
    use crate::vector::{Inst, Times};

    /// Products of tiles, or of pairs in vectors, that some instructions do.
    fn dots(body: &[Inst]) -> u32 {
        let of = |inst: &Inst| match inst {
            Inst::TileDot { .. } | Inst::Dot { .. } | Inst::DotBroadcast { .. } => 1,
            Inst::Loop { times: Times::Exactly(times), body } => times * dots(body),
            _ => 0,
        };
        body.iter().map(of).sum()
    }

    fn panel(unit: Bf16Unit, precision: Precision, rows_of_taps: u32) -> MatmulPanel {
        MatmulPanel {
            unit,
            direct: false,
            pixels: 32,
            columns: 32,
            chunks: 3,
            step: 192,
            taps: Taps { count: rows_of_taps, distance: 1920 },
            planes: Planes { count: precision.limbs(), distance: 9600 },
            out: 128,
            add: 0,
            post: Vec::new(),
        }
    }

    #[test]
    fn a_multiply_add_takes_the_products_of_its_precision() {
        for (precision, count) in
            Precision::ALL.into_iter().flat_map(|precision| [(precision, 1), (precision, 3)])
        {
            let panel = panel(Bf16Unit::Tiles, precision, count);
            let products =
                dots(&Descriptor::Matmul(panel.clone()).generate().body) * TILE_ROWS * TILE_LANES * CHUNK;
            let sums = panel.pixels * panel.columns;
            assert_eq!(products, precision.products() * sums * count * panel.chunks * CHUNK);
        }
    }

    #[test]
    fn pairs_take_a_product_for_each_multiply_add_however_pixels_are_cut() {
        for (pixels, columns, rows_of_taps) in [(1, 32, 1), (14, 16, 3), (29, 32, 1), (61, 17, 3)] {
            for direct in [false, true] {
                let panel = MatmulPanel {
                    direct,
                    pixels,
                    columns,
                    ..panel(Bf16Unit::Pairs, Precision::Bf16, rows_of_taps)
                };
                let products = dots(&Descriptor::Matmul(panel.clone()).generate().body) * 2 * TILE_LANES;
                let sums = pixels * columns.next_multiple_of(TILE_LANES);
                assert_eq!(products, sums * rows_of_taps * panel.chunks * CHUNK, "{panel}");
            }
        }
    }
}
