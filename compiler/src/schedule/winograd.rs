//! Segments by Winograd's method: the sizes of their planes, and how patches are cut into blocks.

use super::matrix::row_step;
use super::rules::{FEWEST_PATCHES, ROW_LIMIT};
use super::segments::{PlaneProducts, SegmentRun, sizes};
use super::tiling::block_count;
use crate::kernels::conv::CACHE_LINE;
use crate::kernels::fast_inner;
use crate::kernels::matmul::CHUNK;
use crate::kernels::winograd::{PLANES, patches};
use crate::target::Target;

/// Nanoseconds that a cache line of planes takes beyond the instructions that write or read it,
/// since it lies in the level-2 cache (benches/LOG.md).
const LINE_NS: f64 = 0.6;

/// Equal segments that are computed by Winograd's method.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaneSegments {
    /// Segments.
    pub segments: u32,
    /// Input channels of each.
    pub ic: u32,
    /// Output channels of each.
    pub oc: u32,
    /// How their planes are multiplied.
    pub products: PlaneProducts,
}

impl PlaneSegments {
    /// The segments of a run.
    pub fn of(run: &SegmentRun, products: PlaneProducts) -> Self {
        let (ic, oc) = sizes(&run.segments);
        Self { segments: run.segments.len() as u32, ic, oc, products }
    }

    /// Words of the packed weights and biases of a plane of a segment.
    pub fn constants_of_plane(&self, lanes: u32) -> [i64; 2] {
        let outputs = i64::from(self.oc.next_multiple_of(lanes));
        let words = self.products.words(self.ic);
        [outputs * i64::from(words), self.products.constants((self.ic, self.oc), lanes) as i64]
    }

    /// Words of the packed weights and biases of a segment.
    pub fn constants(&self, lanes: u32) -> [i64; 2] {
        self.constants_of_plane(lanes).map(|words| i64::from(PLANES) * words)
    }

    /// Bytes of a patch in a plane of inputs, and in one of sums.
    pub fn patch_bytes(&self, target: Target) -> [u64; 2] {
        let inputs = match self.products {
            PlaneProducts::Vectors(_) => target.pixel_bytes(self.ic),
            PlaneProducts::FastInner(_) => target.pixel_bytes(fast_inner::room(self.ic, target.lanes)),
            PlaneProducts::Pairs => row_step(u64::from(self.ic.div_ceil(CHUNK))),
        };
        [inputs, target.pixel_bytes(self.oc)]
    }

    /// Bytes of the planes of a row of patches, for a result of `out` rows and columns.
    fn row_bytes(&self, target: Target, out: [u32; 2]) -> u64 {
        let [inputs, sums] = self.patch_bytes(target);
        u64::from(PLANES) * (inputs + sums) * u64::from(patches(out)[1])
    }

    /// Milliseconds that planes take beyond the instructions of kernels.
    pub fn planes_ms(&self, target: Target, out: [u32; 2]) -> f64 {
        let [rows, columns] = patches(out).map(f64::from);
        let [inputs, sums] = self.patch_bytes(target);
        let values = rows * columns * f64::from(PLANES * self.segments);
        values * (inputs + sums) as f64 / f64::from(CACHE_LINE) * LINE_NS * 1e-6
    }

    /// The fewest blocks of rows of patches whose planes kernels can reach.
    pub fn fewest_blocks(&self, target: Target, out: [u32; 2]) -> u32 {
        block_count(patches(out)[0], self.row_bytes(target, out), ROW_LIMIT as u32, 1)
    }

    /// Blocks of rows of patches: as many as leave half of the cache to all else and make `units`
    /// units of work, unless their patches would be too few for the weights that each reads. But
    /// there are `threads` units, one for each thread, and no block has more bytes than kernels
    /// can reach.
    pub fn blocks(&self, target: Target, out: [u32; 2], units: u32, threads: u32) -> u32 {
        let ([rows, columns], row_bytes) = (patches(out), self.row_bytes(target, out));
        let of_units = |units: u32| units.div_ceil(self.segments.max(1));
        let wanted = block_count(rows, row_bytes, target.cache_bytes / 2, of_units(units));
        let worth = (rows.saturating_mul(columns) / FEWEST_PATCHES).max(1);
        let reached = block_count(rows, row_bytes, ROW_LIMIT as u32, of_units(threads));
        wanted.min(worth).max(reached).min(rows)
    }
}

/// Bytes by which planes are more than a multiple of 4096 apart, so that a patch's values in all
/// of them do not compete for the same places of the cache.
const SHIFT: u64 = 256;

/// Bytes of a plane of `rows` rows of `columns` patches.
pub fn plane_bytes(patch: u64, rows: u32, columns: u32) -> u64 {
    (u64::from(rows) * u64::from(columns) * patch).next_multiple_of(4096) + SHIFT
}
