//! Separable layers: the algorithms of both parts, and whether they run together.

use super::matmul::BEHIND;
use super::{Maps, Scheduler};
use crate::graph::{Activation, Conv, NodeId, Post, Separable, Shape};
use crate::kernels::fast_inner;
use crate::schedule::direct::DirectConv;
use crate::schedule::options::{MEMORY_LIMIT, PlanError, PlanOptions, STEP_LIMIT};
use crate::schedule::reasons::Reason;
use crate::schedule::segments::{SegmentAlgorithm, equal_segments};
use crate::schedule::tiling::block_count;
use crate::schedule::units::unit_groups;
use crate::schedule::{Algorithm, Division, SeparableSchedule, Stages, matrix};
use crate::target::Target;
use crate::vector::F32;

/// The smallest units of work of each thread for which stages are steps of their own: some 20
/// times what it takes threads to meet once more.
const FEWEST_SMALLEST_UNITS: u64 = 4;

/// Fewest pixels for which threads read all pointwise weights again, each from the cache that they
/// share: six tiles. A thread that has pixels to itself finds more of them in its own cache
/// (benches/LOG.md).
const PIXELS_OF_BLOCK: u32 = 84;

/// Pointwise weights that stay in the level-1 cache while a few rows pass through it: half of the
/// smallest one that there is.
const NEAR_WEIGHTS: u64 = 4096;

/// Bytes of the rows between the stages that stay there, too: some hundreds of nanoseconds of work.
const BYTES_OF_ROWS: u32 = 2048;

impl Scheduler<'_> {
    /// A fused separable convolution that runs by itself.
    pub(super) fn separable(
        &mut self,
        id: NodeId,
        parts: &Separable,
    ) -> Result<SeparableSchedule, PlanError> {
        let (node, rules) = (self.node(id), self.rules(id));
        if rules.takes_matmul_twice(node) {
            return self.matmul_twice(id, parts);
        }
        if rules.pointwise_takes_matmul(node, parts) {
            return self.matmul_pointwise(id, parts);
        }
        self.note_matrix_limit(id, &parts.pointwise);
        let maps = self.maps(id);
        let of_maps = u32::try_from(maps.out.shape.pixels()).is_ok();
        let (pointwise, pixel) = self.pointwise_in_vectors(id, parts)?;
        let spatial = self.spatial(id, parts, of_maps)?;
        let row = u64::from(maps.out.shape.w()) * pixel;
        let bytes = row * u64::from(maps.out.shape.h());
        let needs_maps =
            spatial.segments().iter().any(|algorithm| matches!(algorithm, SegmentAlgorithm::Winograd(_)));
        let verdict = if needs_maps { None } else { self.stages_apart(parts, maps, bytes) };
        verdict.into_iter().for_each(|reason| self.note(id, reason));
        let stages = match needs_maps || verdict.is_some_and(Reason::is_apart) {
            true => Stages::Apart {
                spatial: self.spatial_division(id, &parts.spatial, &spatial, maps),
                pointwise: self.pointwise_division(maps, pixel),
            },
            false => Stages::Together(Division::rows(self.blocks_together(parts, &pointwise, maps, row))),
        };
        Ok(SeparableSchedule { spatial, pointwise, stages })
    }

    /// The pointwise part in vectors, and the bytes between pixels of the map that it reads.
    pub(super) fn pointwise_in_vectors(
        &self,
        id: NodeId,
        parts: &Separable,
    ) -> Result<(Algorithm, u64), PlanError> {
        let (target, out) = (self.target, self.view(id).shape);
        let fast = self.rules(id).fast_inner(&parts.pointwise, out);
        let pixel = pixel_between(target, parts, fast.is_some());
        self.limit(id, "a row of the intermediate map", u64::from(out.w()) * pixel, STEP_LIMIT)?;
        let post = self.node(id).kernel_post();
        let direct = self.direct(id, &parts.pointwise, Activation::Linear, post, u32::MAX)?;
        Ok((pointwise_algorithm(target, &direct, fast), pixel))
    }

    /// Blocks of rows that both parts of a separable layer compute together.
    pub(super) fn blocks_together(
        &self,
        parts: &Separable,
        pointwise: &Algorithm,
        maps: Maps,
        row: u64,
    ) -> u32 {
        let bytes = match pointwise {
            _ if parts.pointwise.partition.products() <= NEAR_WEIGHTS => BYTES_OF_ROWS,
            Algorithm::FastInnerProduct { .. } => self.target.cache_bytes / 2,
            _ => self.target.cache_bytes,
        };
        block_count(maps.out.shape.h(), row, bytes, self.fewest_units(self.options.batch))
    }

    /// The spatial part.
    pub(super) fn spatial(
        &mut self,
        id: NodeId,
        parts: &Separable,
        of_maps: bool,
    ) -> Result<Algorithm, PlanError> {
        let node = self.node(id);
        let [input, out] = [node.inputs[0], id].map(|node| self.view(node).shape);
        let between = between(parts);
        let direct = self.direct(id, &parts.spatial, node.fusion.load, &between, out.w())?;
        if parts.spatial.partition.is_one_to_one() {
            return Ok(Algorithm::Depthwise);
        }
        Ok(self.choose_algorithms(id, direct, [input, out], of_maps))
    }

    /// How a spatial part in vectors is cut that is a step of its own.
    pub(super) fn spatial_division(
        &mut self,
        id: NodeId,
        conv: &Conv,
        algorithm: &Algorithm,
        maps: Maps,
    ) -> Division {
        if *algorithm == Algorithm::Depthwise {
            return Division::rows(maps.out.shape.h());
        }
        let shared = self.shared_planes(id, conv, algorithm.segments(), maps);
        shared.unwrap_or_else(|| self.direct_rows(conv, algorithm.segments(), algorithm.units(), maps))
    }

    /// How a pointwise part in vectors is cut that is a step of its own, with `pixel` bytes
    /// between pixels of its input.
    pub(super) fn pointwise_division(&self, maps: Maps, pixel: u64) -> Division {
        let pixels = maps.out.shape.pixels() as u32;
        let fewest = (pixels / PIXELS_OF_BLOCK).clamp(1, self.options.threads.saturating_mul(2));
        Division::Pixels { blocks: block_count(pixels, pixel, self.target.cache_bytes, fewest) }
    }

    /// Whether both stages are steps of their own, because `bytes` of the map between them stay in
    /// the caches of the threads for all images, and threads share panels of weights more evenly
    /// than rows. None for a single thread.
    pub(super) fn stages_apart(&self, parts: &Separable, maps: Maps, bytes: u64) -> Option<Reason> {
        let PlanOptions { threads, batch, .. } = self.options;
        let macs = parts.pointwise.partition.products().saturating_mul(maps.out.shape.pixels());
        let fewest = (FEWEST_SMALLEST_UNITS * u64::from(threads)).saturating_mul(self.target.unit_macs);
        let (bytes, caches) = (bytes.saturating_mul(u64::from(batch)), self.caches());
        match () {
            () if threads == 1 => None,
            () if macs < fewest => Some(Reason::LittleWork { macs, fewest }),
            () if bytes > caches => Some(Reason::LeavesCaches { bytes, caches }),
            () => Some(Reason::FitsCaches { bytes, caches }),
        }
    }

    /// Bytes of the level-2 caches of all threads.
    pub(super) fn caches(&self) -> u64 {
        u64::from(self.target.cache_bytes) * u64::from(self.options.threads)
    }

    /// A separable convolution of which both parts run by matrices, as steps of their own.
    pub(super) fn matmul_twice(
        &mut self,
        id: NodeId,
        parts: &Separable,
    ) -> Result<SeparableSchedule, PlanError> {
        let (maps, batch) = (self.maps(id), self.options.batch);
        let out = maps.out.shape;
        let image = out.pixels().saturating_mul(self.target.pixel_bytes(parts.spatial.partition.oc()));
        let bytes = image.saturating_mul(u64::from(batch));
        self.limit(id, "the map between the two parts", bytes, MEMORY_LIMIT)?;
        let (spatial, division) = match self.takes_planes_of_pairs(id) {
            true => {
                let spatial = self.spatial(id, parts, true)?;
                let division = self.spatial_division(id, &parts.spatial, &spatial, maps);
                (spatial, division)
            }
            false => {
                let blocks = self.checked_matrix_blocks(id, &parts.spatial, out, batch)?;
                (Algorithm::Matmul, Division::rows(blocks))
            }
        };
        let pointwise = Division::rows(self.checked_matrix_blocks(id, &parts.pointwise, out, batch)?);
        let stages = Stages::Apart { spatial: division, pointwise };
        Ok(SeparableSchedule { spatial, pointwise: Algorithm::Matmul, stages })
    }

    /// A separable convolution whose pointwise part runs by matrices.
    pub(super) fn matmul_pointwise(
        &mut self,
        id: NodeId,
        parts: &Separable,
    ) -> Result<SeparableSchedule, PlanError> {
        let (maps, batch, conv) = (self.maps(id), self.options.batch, &parts.pointwise);
        let (out, planes) = (maps.out.shape, self.precision(id).limbs());
        let row = matrix::bytes(conv, out.w(), planes);
        let with_between = row.saturating_add(bytes_between(self.target, parts, out));
        self.limit(id, "a row of the intermediate map", with_between, STEP_LIMIT)?;
        let matrix_bytes = row.saturating_mul(u64::from(out.h()));
        let is_depthwise = parts.spatial.partition.is_one_to_one();
        let may_be_apart = matrix::weigh_more(conv, planes, matrix_bytes) && batch == 1 && is_depthwise;
        let verdict = self.stages_apart(parts, maps, matrix_bytes).filter(|_| may_be_apart);
        verdict.into_iter().for_each(|reason| self.note(id, reason));
        let is_apart = verdict.is_some_and(Reason::is_apart);
        let stages = match is_apart {
            true => {
                let plane = self.matrix_plane(id, conv, out.pixels() as u32 + BEHIND)?;
                let blocks = self.shared_panel_blocks(conv, planes, plane, out);
                let spatial = Division::rows(out.h());
                let pointwise = Division::SharedPanels { gathered: out.h(), is_flat: false, blocks };
                Stages::Apart { spatial, pointwise }
            }
            false => Stages::Together(Division::rows(self.checked_matrix_blocks(id, conv, out, batch)?)),
        };
        let spatial = self.spatial(id, parts, false)?;
        Ok(SeparableSchedule { spatial, pointwise: Algorithm::Matmul, stages })
    }
}

/// The algorithm of a pointwise part in vectors: panels, or the fast inner product in panels of
/// `fast` vectors.
fn pointwise_algorithm(target: Target, direct: &DirectConv<'_>, fast: Option<u32>) -> Algorithm {
    match fast {
        Some(vectors) => Algorithm::FastInnerProduct { vectors },
        None => {
            let runs = equal_segments(&direct.conv.partition).len();
            let algorithms = vec![SegmentAlgorithm::plain(direct.shape.vectors); runs];
            let units = unit_groups(direct.conv, &algorithms, target.lanes);
            Algorithm::Segments { algorithms, units }
        }
    }
}

/// What follows the spatial part of a separable layer before the pointwise part.
pub fn between(parts: &Separable) -> Vec<Post> {
    match parts.between {
        Activation::Linear => Vec::new(),
        function => vec![Post::Activation(function)],
    }
}

/// Bytes between pixels of the map between the parts of a separable layer in vectors.
pub fn pixel_between(target: Target, parts: &Separable, is_prescaled: bool) -> u64 {
    let partition = &parts.spatial.partition;
    let channels = match is_prescaled {
        true => fast_inner::room(partition.oc(), target.lanes),
        false => partition.oc(),
    };
    match partition.is_one_to_one() {
        true => target.depthwise_pixel_bytes(channels),
        false => target.pixel_bytes(channels),
    }
}

/// Bytes of f32 values that other spatial parts than depthwise ones leave for a row, before they
/// become bf16.
pub fn bytes_between(target: Target, parts: &Separable, out: Shape) -> u64 {
    let channels = target.padded(parts.spatial.partition.oc());
    let row = u64::from(channels) * u64::from(out.w()) * F32 as u64;
    if parts.spatial.partition.is_one_to_one() { 0 } else { row }
}
