//! How work is cut: blocks, units, and planes that threads share.

use super::{Maps, Scheduler};
use crate::cost::macs;
use crate::graph::{Conv, NodeId, Shape};
use crate::kernels::matmul::BLOCK;
use crate::kernels::winograd::{PLANES, patches};
use crate::schedule::options::STEP_LIMIT;
use crate::schedule::reasons::Reason;
use crate::schedule::segments::{SegmentAlgorithm, all_runs};
use crate::schedule::tiling::{block_count, fewest_units};
use crate::schedule::units::UnitGroup;
use crate::schedule::winograd::{PlaneSegments, plane_bytes};
use crate::schedule::{Algorithm, Division};

/// Fewest pixels of a block that make it worth while to read all weights for them, where there is
/// a choice.
const FULL_BLOCK: u32 = 8 * BLOCK;

impl Scheduler<'_> {
    /// What a node has to do for all images, in multiply-adds or values, whichever are more.
    pub(super) fn work(&self, id: NodeId) -> u64 {
        let inputs = self.node(id).inputs.first();
        let values = inputs.map_or(0, |&input| self.graph.node(input).shape.elements());
        let image = macs(self.graph, id).total().max(values);
        image.saturating_mul(u64::from(self.options.batch))
    }

    /// How many units of work a step of the node at hand should at least make of each of some
    /// images.
    pub(super) fn fewest_units(&self, images: u32) -> u32 {
        let smallest = self.work / self.target.unit_macs.max(1);
        fewest_units(self.options.threads, smallest).div_ceil(images.max(1))
    }

    /// How many blocks each of some images should at least be cut into, of which `units` are made:
    /// enough units, and blocks for every thread where all weights stay in its cache, so that it
    /// reads only its part of the input.
    pub(super) fn fewest_blocks(&self, conv: &Conv, units: &[UnitGroup], images: u32) -> u32 {
        let of_block: u32 = units.iter().map(|group| group.parts.unwrap_or(1)).sum();
        let enough = self.fewest_units(images).div_ceil(of_block.max(1));
        let weights = conv.partition.products().saturating_mul(conv.window.taps() * 4);
        let stay = weights <= u64::from(self.target.cache_bytes) / 2;
        let threads = self.options.threads.div_ceil(images);
        let for_all = enough.checked_next_multiple_of(threads).filter(|_| stay);
        for_all.unwrap_or(enough)
    }

    /// How many blocks the rows of each of some maps are cut into, whose matrix has `row_bytes`
    /// for each of them.
    pub(super) fn matrix_blocks(&self, out: Shape, images: u32, row_bytes: u64) -> u32 {
        let full = u32::try_from(out.pixels() / u64::from(FULL_BLOCK)).unwrap_or(u32::MAX);
        let threads = self.options.threads.div_ceil(images);
        let fewest = full.clamp(1, self.fewest_units(images));
        let fewest = fewest.checked_next_multiple_of(threads).unwrap_or(fewest);
        block_count(out.h(), row_bytes, self.target.cache_bytes, fewest)
    }

    /// Blocks of the rows of each image of a convolution in vectors, and of its patches.
    pub(super) fn direct_rows(
        &self,
        conv: &Conv,
        algorithms: &[SegmentAlgorithm],
        units: &[UnitGroup],
        maps: Maps,
    ) -> Division {
        let row = maps.input.row() * u64::from(conv.window.strides[0]);
        let (cache_bytes, batch) = (self.target.cache_bytes, self.options.batch);
        let fewest = self.fewest_blocks(conv, units, batch);
        let blocks = block_count(maps.out.shape.h(), row, cache_bytes / 2, fewest);
        let patches = self.plane_runs(conv, algorithms).into_iter().map(|run| self.patch_blocks(&run, maps));
        Division::Rows { blocks, patches: patches.collect() }
    }

    /// The runs by Winograd's method.
    pub(super) fn plane_runs(&self, conv: &Conv, algorithms: &[SegmentAlgorithm]) -> Vec<PlaneSegments> {
        let runs = all_runs(conv, algorithms, self.target.lanes);
        let planes = runs.iter().filter_map(|run| match run.algorithm {
            SegmentAlgorithm::Winograd(products) => Some(PlaneSegments::of(run, products)),
            _ => None,
        });
        planes.collect()
    }

    pub(super) fn patch_blocks(&self, run: &PlaneSegments, maps: Maps) -> u32 {
        let (threads, images) = (self.options.threads, self.options.batch);
        run.blocks(self.target, maps.extents(), self.fewest_units(images), threads.div_ceil(images))
    }

    /// The division of a convolution whose only run is by Winograd's method, if threads should
    /// share its planes: if each thread had patches of its own, all would read the same weights,
    /// which takes longer than to pass planes on.
    pub(super) fn shared_planes(
        &mut self,
        id: NodeId,
        conv: &Conv,
        algorithms: &[SegmentAlgorithm],
        maps: Maps,
    ) -> Option<Division> {
        let is_only = all_runs(conv, algorithms, self.target.lanes).len() == 1;
        let run = self.plane_runs(conv, algorithms).pop().filter(|_| is_only)?;
        let [rows, columns] = patches(maps.extents());
        let planes = run.patch_bytes(self.target).map(|patch| plane_bytes(patch, rows, columns));
        let passed = u64::from(PLANES) * planes.iter().sum::<u64>();
        let blocks = self.patch_blocks(&run, maps);
        let read_again = run.constants(self.target.lanes)[0] as u64 * 4 * u64::from(blocks - 1);
        let is_shared = self.options.threads > 1
            && self.options.batch == 1
            && passed * u64::from(run.segments) <= STEP_LIMIT
            && read_again > 2 * passed;
        if !is_shared {
            return None;
        }
        self.note(id, Reason::SharesPlanes { weights: read_again, planes: passed });
        Some(Division::SharedPlanes { blocks: self.fewest_units(1).div_ceil(run.segments).min(rows) })
    }

    /// The pixels of all images, if a convolution can take them as if they were one row.
    pub(super) fn flat_pixels(&self, conv: &Conv, maps: Maps) -> Option<u32> {
        let pixels = maps.out.shape.pixels() * u64::from(self.options.batch);
        u32::try_from(pixels).ok().filter(|_| conv.window.is_point() && maps.is_one_run())
    }

    /// How a convolution in vectors of whole maps is cut.
    pub(super) fn direct_division(&self, conv: &Conv, algorithm: &Algorithm, maps: Maps) -> Division {
        let (algorithms, units) = (algorithm.segments(), algorithm.units());
        if let Some(pixels) = self.flat_pixels(conv, maps) {
            let fewest = self.fewest_blocks(conv, units, 1);
            let blocks = block_count(pixels, maps.input.pixel, self.target.cache_bytes / 2, fewest);
            return Division::Pixels { blocks };
        }
        self.direct_rows(conv, algorithms, units, maps)
    }
}
