//! Limits of a schedule: distances that kernels can hold, and code that does not grow beyond
//! measure.

use super::Scheduler;
use crate::graph::{Activation, Conv, NodeId, Op, Post, Window};
use crate::layout::View;
use crate::schedule::direct::DirectConv;
use crate::schedule::matrix;
use crate::schedule::options::{PlanError, STEP_LIMIT};
use crate::schedule::rules::{CLASS_LIMIT, CLASSES_OF_RUNS_LIMIT, LARGEST_TILE, TAP_LIMIT};
use crate::schedule::segments::equal_segments;

impl Scheduler<'_> {
    /// Checks that the distances of a node's operands and result fit into kernels, and that its
    /// code does not grow with its window beyond measure.
    pub(super) fn check_steps(&self, id: NodeId) -> Result<(), PlanError> {
        let node = self.node(id);
        for &value in node.inputs.iter().chain([&id]) {
            let View { pixel, shape, .. } = self.view(value);
            self.limit(id, "the distance of pixels", pixel, STEP_LIMIT)?;
            // Kernels may ask for lines of as many pixels again as a tile has.
            let tiles = 2 * shape.pixels().min(LARGEST_TILE) * pixel;
            self.limit(id, "a tile's row of pixels", tiles, i32::MAX as u64)?;
        }
        let Some(window) = node.op.window() else { return Ok(()) };
        self.check_window(id, window)?;
        let (rows, columns) = (2 * u64::from(window.kernel[0]), 2 * u64::from(window.kernel[1]));
        let runs = match &node.op {
            Op::Conv(conv) => equal_segments(&conv.partition).len(),
            Op::Separable(parts) => equal_segments(&parts.spatial.partition).len(),
            _ => 1,
        } as u64;
        let classes = rows.min(u64::from(node.shape.h())) * columns.min(u64::from(node.shape.w()));
        self.limit(id, "the number of different tiles", classes, CLASS_LIMIT)?;
        let all = classes.saturating_mul(runs);
        self.limit(id, "the number of different tiles of all segments", all, CLASSES_OF_RUNS_LIMIT)?;
        self.limit(id, "the number of taps in a row", u64::from(window.kernel[1]), TAP_LIMIT)
    }

    /// Checks the distances between the taps of a window and between windows.
    pub(super) fn check_window(&self, id: NodeId, window: &Window) -> Result<(), PlanError> {
        let input = self.view(self.node(id).inputs[0]);
        let [kh, kw] = window.kernel.map(u64::from);
        let step = input.pixel * u64::from(window.strides[1]);
        let tap = if kw > 1 { input.pixel * u64::from(window.dilation[1]) } else { 0 };
        let row = if kh > 1 { input.row() * u64::from(window.dilation[0]) } else { 0 };
        self.limit(id, "the distance of rows of taps", row, STEP_LIMIT)?;
        self.limit(id, "the distance of taps", tap, STEP_LIMIT)?;
        self.limit(id, "the distance of windows", step, STEP_LIMIT)?;
        self.limit(id, "a tile's row of windows", LARGEST_TILE * step + kw * tap, i32::MAX as u64)
    }

    pub(super) fn limit(&self, id: NodeId, what: &str, size: u64, limit: u64) -> Result<(), PlanError> {
        if size <= limit {
            return Ok(());
        }
        let layer = self.graph.layer(self.node(id).layer).name.clone();
        Err(PlanError::TooLarge { layer, what: what.to_owned(), size, limit })
    }

    /// Checks a matrix of `pixels` pixels, and returns the bytes of a plane of it.
    pub(super) fn matrix_plane(&self, id: NodeId, conv: &Conv, pixels: u32) -> Result<u64, PlanError> {
        let plane = matrix::plane_bytes(conv, pixels, self.view(id).shape.w());
        self.limit(id, "a matrix of bf16 values", plane, STEP_LIMIT)?;
        Ok(plane)
    }

    /// A convolution in vectors in rows of `row` pixels, with its panels checked.
    pub(super) fn direct<'c>(
        &self,
        id: NodeId,
        conv: &'c Conv,
        load: Activation,
        post: &'c [Post],
        row: u32,
    ) -> Result<DirectConv<'c>, PlanError> {
        let direct = DirectConv::new(self.target, conv, load, post, row);
        self.limit(id, "a panel of weights", direct.panel_bytes(self.target), STEP_LIMIT)?;
        Ok(direct)
    }
}
