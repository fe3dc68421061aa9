//! Convolutions that are multiplied as matrices.

use super::Scheduler;
use crate::graph::{Conv, NodeId, Shape};
use crate::kernels::matmul::BLOCK;
use crate::schedule::options::PlanError;
use crate::schedule::reasons::Reason;
use crate::schedule::{Division, matrix};
use crate::vector::TILE_ROWS;

/// Weights that are this many times a matrix take longer to read than the matrix does from another
/// core's cache.
const HEAVY: u64 = 4;

/// Rows behind a matrix that threads share: panels read whole tiles, and the last block may end
/// with a tile that reaches behind its pixels in another place than one for the whole matrix
/// would.
pub const BEHIND: u32 = TILE_ROWS;

impl Scheduler<'_> {
    /// How a convolution by matrices is cut: blocks of rows, or panels that threads share where
    /// they would have too few rows.
    pub(super) fn matmul_division(&mut self, id: NodeId, conv: &Conv) -> Result<Division, PlanError> {
        let maps = self.maps(id);
        let flat = self.flat_pixels(conv, maps);
        let out = match flat {
            Some(pixels) => Shape::map(pixels, 1, maps.out.shape.c()),
            None => maps.out.shape,
        };
        let images = if flat.is_some() { 1 } else { self.options.batch };
        let planes = self.precision(id).limbs();
        let bytes = matrix::bytes(conv, out.w(), planes).saturating_mul(u64::from(out.h()));
        if images == 1 && self.multiplies_apart(id, conv, out, bytes) {
            let plane = self.matrix_plane(id, conv, out.pixels() as u32 + BEHIND)?;
            self.note(id, Reason::SharesPanels { matrix: bytes, caches: self.caches() });
            let rows = out.h() + matrix::gathered(conv).1 - 1;
            let gathered = self.fewest_units(1).min(rows);
            let blocks = self.shared_panel_blocks(conv, planes, plane, out);
            return Ok(Division::SharedPanels { gathered, is_flat: flat.is_some(), blocks });
        }
        let blocks = self.checked_matrix_blocks(id, conv, out, images)?;
        Ok(if flat.is_some() { Division::Pixels { blocks } } else { Division::rows(blocks) })
    }

    /// Blocks of rows of each of some images, whose matrix is checked.
    pub(super) fn checked_matrix_blocks(
        &self,
        id: NodeId,
        conv: &Conv,
        out: Shape,
        images: u32,
    ) -> Result<u32, PlanError> {
        let row_bytes = matrix::bytes(conv, out.w(), self.precision(id).limbs());
        let blocks = self.matrix_blocks(out, images, row_bytes);
        self.matrix_plane(id, conv, out.h().div_ceil(blocks).saturating_mul(out.w()))?;
        Ok(blocks)
    }

    /// Whether threads share panels of weights rather than rows of a result: there are few of
    /// these, and the whole matrix of `bytes` stays in their caches.
    pub(super) fn multiplies_apart(&self, id: NodeId, conv: &Conv, out: Shape, bytes: u64) -> bool {
        let threads = u64::from(self.options.threads);
        let are_few = out.pixels() < u64::from(2 * BLOCK) * threads;
        let panels = u64::from(conv.partition.oc().div_ceil(BLOCK));
        threads > 1
            && conv.partition.segments() == 1
            && bytes <= self.caches()
            && panels >= threads
            && (are_few || matrix::weigh_more(conv, self.precision(id).limbs(), bytes))
    }

    /// Blocks of pixels of a matrix that threads share, of planes of `plane` bytes: one, or one
    /// for each thread if the matrix leaves too little of a cache, and weights are not so many
    /// that reading all costs more.
    pub(super) fn shared_panel_blocks(&self, conv: &Conv, planes: u32, plane: u64, out: Shape) -> u32 {
        let (matrix, fits) = (u64::from(planes) * plane, u64::from(self.target.cache_bytes) / 4 * 3);
        let reads_weights = matrix::weigh_more(conv, planes, HEAVY.saturating_mul(matrix));
        let is_cut = matrix > if reads_weights { 2 * fits } else { fits };
        let most = if is_cut { self.options.threads } else { 1 };
        (out.pixels() as u32 / BLOCK).clamp(1, most)
    }
}
