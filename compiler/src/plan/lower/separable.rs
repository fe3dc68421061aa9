//! Separable convolutions in two stages: the spatial part of a block of rows into scratch memory, the pointwise part
//! from there while it is in the cache.

use super::job::Job;
use super::maps::{Fusion, Maps, one_row, set};
use super::place::{Surface, Surfaces, Widths};
use super::{Operands, Planner, STEP_LIMIT};
use crate::graph::{Activation, NodeId, Post, Separable, Shape};
use crate::kernels::crossed;
use crate::kernels::epilogue::Format;
use crate::plan::forms::Form;
use crate::plan::nest::{Index, NestBuilder, Offset, Operand};
use crate::plan::pack::Pack;
use crate::plan::values::View;
use crate::plan::windows::{BlockRun, block_count, block_runs};
use crate::plan::{Part, Place, PlanError, PlanOptions};

/// The two convolutions, the map between them, and how many blocks of rows the result is cut into.
pub(super) struct Stages<'a> {
    pub spatial: Job<'a>,
    pub pointwise: Job<'a>,
    pub scratch: Surface,
    blocks: u32,
}

/// The smallest units of work of each thread for which stages are steps of their own: some 20 times what it takes threads
/// to meet once more.
const FEWEST_SMALLEST_UNITS: u64 = 4;

/// Fewest pixels for which threads read all pointwise weights again, each from the cache that they share: six tiles.
/// A thread that has pixels to itself finds more of them in its own cache (benches/LOG.md).
const PIXELS_OF_BLOCK: u32 = 84;

/// Pointwise weights that stay in the level-1 cache while a few rows pass through it: half of the smallest one that there is.
const NEAR_WEIGHTS: u64 = 4096;
/// Bytes of the rows between the stages that stay there, too: some hundreds of nanoseconds of work.
const BYTES_OF_ROWS: u32 = 2048;

impl Planner<'_> {
    /// A fused separable convolution.
    pub(super) fn separable(&mut self, id: NodeId, parts: &Separable) -> Result<(), PlanError> {
        if self.program.methods(id).pointwise_takes_tiles(self.graph.node(id), parts) {
            return self.tiles_separable(id, parts);
        }
        let maps = self.maps(id);
        let between = between(parts);
        let of_maps = u32::try_from(maps.out.shape.pixels()).is_ok();
        let stages = self.stages(id, parts, &between, (maps, of_maps))?;
        let bytes = stages.scratch.row as u64 * u64::from(maps.out.shape.h());
        let needs_maps = stages.spatial.forms.iter().any(|form| matches!(form, Form::Winograd(_)));
        if needs_maps || self.runs_apart(parts, maps, bytes) {
            self.stages_apart(id, stages, maps);
            return Ok(());
        }
        let mut b = NestBuilder::new();
        b.divide(self.program.options.batch, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            self.stages_of_image(b, &stages, maps, &surfaces);
        });
        let mut operands = self.operands(id, self.added(id));
        let [first, second] = self.packs(&stages);
        set(&mut operands, [Operand::Weights, Operand::Bias], self.pack(first));
        set(&mut operands, [Operand::PointwiseWeights, Operand::PointwiseBias], self.pack(second));
        let rows = u64::from(maps.out.shape.h().div_ceil(stages.blocks));
        let bytes = rows * stages.scratch.row as u64 + u64::from(self.program.target.vector_bytes());
        operands[Operand::Scratch.index()] = Some(self.scratch(bytes));
        self.step(id, b, operands);
        Ok(())
    }

    /// Whether both stages are steps of their own, because `bytes` of the map between them stay in the caches of the
    /// threads for all images, and threads share panels of weights more evenly than rows.
    pub(super) fn runs_apart(&self, parts: &Separable, maps: Maps, bytes: u64) -> bool {
        let PlanOptions { threads, batch, .. } = self.program.options;
        let products = parts.pointwise.partition.products().saturating_mul(maps.out.shape.pixels());
        let target = self.program.target;
        let caches = u64::from(target.cache_bytes) * u64::from(threads);
        threads > 1
            && products >= (FEWEST_SMALLEST_UNITS * u64::from(threads)).saturating_mul(target.unit_macs)
            && bytes.saturating_mul(u64::from(batch)) <= caches
    }

    /// Both stages, as a step each.
    fn stages_apart(&mut self, id: NodeId, stages: Stages<'_>, maps: Maps) {
        let (batch, row, out) = (self.program.options.batch, stages.scratch.row, maps.out.shape);
        let image_bytes = row as u64 * u64::from(out.h());
        let slack = u64::from(self.program.target.vector_bytes());
        let between = self.between_steps(u64::from(batch) * image_bytes + slack);
        let pixel = stages.scratch.pixel as u64;
        let shape = Shape::map(out.h(), out.w(), stages.spatial.conv.partition.oc());
        let of_between = View { offset: between.offset, pixel, image: image_bytes, shape };
        let of_spatial = Maps { out: of_between, add: of_between, ..maps };
        let pack = stages.pointwise.pack(self.program.target.lanes);
        let constants = self.pack(pack);
        let mut first = self.operands_of_first(id, between);
        let is_depthwise = stages.spatial.conv.partition.is_one_to_one();
        let ready = stages.spatial.ready.clone().map(|factors| (factors, constants[1]));
        if let (true, Some((factors, biases))) = (is_depthwise, &ready) {
            first[factors.operand.index()] = Some(*biases);
        }
        self.spatial_step(id, &stages.spatial, of_spatial, first);
        // Units of other spatial parts have some of the channels only.
        if let (false, Some(ready)) = (is_depthwise, ready) {
            self.ready_between(id, (of_between, between), ready);
        }

        let pixels = out.pixels() as u32;
        let fewest = (pixels / PIXELS_OF_BLOCK).clamp(1, self.program.options.threads.saturating_mul(2));
        let blocks = block_count(pixels, pixel, self.program.target.cache_bytes, fewest);
        let mut b = NestBuilder::new();
        b.divide(batch, |b, image| {
            let maps = Maps { input: of_between, ..maps };
            let surfaces = maps.surfaces().image(image, maps.images());
            self.runs_of_pixels(b, &stages.pointwise, (pixels, blocks), &surfaces);
        });
        let mut operands = self.operands(id, self.added(id));
        operands[Operand::In.index()] = Some(between);
        set(&mut operands, [Operand::PointwiseWeights, Operand::PointwiseBias], constants);
        self.step_of(id, Part::Pointwise, b, operands);
    }

    /// A spatial part as a step, or as the steps of Winograd's method.
    pub(super) fn spatial_step(&mut self, id: NodeId, job: &Job<'_>, maps: Maps, mut operands: Operands) {
        let constants = self.pack(self.spatial_pack(job));
        set(&mut operands, [Operand::Weights, Operand::Bias], constants);
        let (input, out) = (maps.input.shape, maps.out.shape);
        let sizes = [input, out].map(|shape| [shape.h(), shape.w()]);
        if let Some((run, patches)) = self.shared_planes(job, sizes) {
            let surfaces = maps.surfaces().image(Index::Constant(0), maps.images());
            return self.winograd_steps(id, (job, &run), (&patches, &surfaces), operands);
        }
        let mut b = NestBuilder::new();
        b.divide(self.program.options.batch, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            self.spatial_units(b, job, ((input, out), Format::F32), &surfaces);
        });
        operands[Operand::Scratch.index()] = self.winograd_scratch(job, sizes);
        self.step_of(id, Part::Spatial, b, operands);
    }

    /// The operands of the first of two steps of a layer, which leaves what it computes in `memory`.
    pub(super) fn operands_of_first(&self, id: NodeId, memory: Place) -> Operands {
        let mut operands = self.operands(id, None);
        operands[Operand::Out.index()] = Some(memory);
        operands[Operand::Add.index()] = Some(memory);
        operands
    }

    /// The spatial part of an image as units of work; other formats than f32 are for depthwise parts.
    pub(super) fn spatial_units(
        &mut self,
        b: &mut NestBuilder,
        job: &Job<'_>,
        ((input, out), format): ((Shape, Shape), Format),
        surfaces: &Surfaces,
    ) {
        if !job.conv.partition.is_one_to_one() {
            return self.blocks_of_rows(b, job, (input.h(), out.h()), (input.w(), out.w()), surfaces);
        }
        let window = &job.conv.window;
        for run in block_runs(window, input.h(), out.h(), out.h()) {
            b.units(run.blocks.clone(), 1, |b, [block, _]| {
                let here = surfaces.block(&run, block, window.strides[0]);
                self.spatial_rows(b, job, ((input.w(), out.w()), format), &run, &here);
            });
        }
    }

    /// Both stages, of whole maps or of some rows at a time.
    pub(super) fn stages<'p>(
        &mut self,
        id: NodeId,
        parts: &'p Separable,
        between: &'p [Post],
        (maps, of_maps): (Maps, bool),
    ) -> Result<Stages<'p>, PlanError>
    where
        Self: 'p,
    {
        let node = self.graph.node(id);
        let out = maps.out.shape;
        let target = self.program.target;
        let between_parts = &parts.spatial.partition;
        let crossed = self.program.methods(id).crosses(&parts.pointwise, out);
        let channels = match crossed {
            Some(_) => crossed::room(between_parts.oc(), target.lanes),
            None => between_parts.oc(),
        };
        let pixel = match between_parts.is_one_to_one() {
            true => target.depthwise_pixel_bytes(channels),
            false => target.pixel_bytes(channels),
        };
        let row = u64::from(out.w()) * pixel;
        self.limit(node, "a row of the intermediate map", row, STEP_LIMIT)?;
        let mut pointwise = self.job(id, &parts.pointwise, (Activation::Linear, self.post(id)), u32::MAX)?;
        crossed.into_iter().for_each(|vectors| pointwise.cross(vectors));
        let (pixel, row_bytes) = (pixel as i64, row as i64);
        let products = parts.pointwise.partition.products();
        let bytes = match crossed {
            _ if products <= NEAR_WEIGHTS => BYTES_OF_ROWS,
            Some(_) => target.cache_bytes / 2,
            None => target.cache_bytes,
        };
        let blocks = block_count(out.h(), row, bytes, self.fewest_units(self.program.options.batch));
        let spatial = self.spatial(id, parts, (between, of_maps))?;
        let ready = crossed.map(|_| self.factors(&parts.pointwise, Operand::PointwiseBias));
        Ok(Stages {
            spatial: Job { ready, ..spatial },
            pointwise: Job { weights: Operand::PointwiseWeights, bias: Operand::PointwiseBias, ..pointwise },
            scratch: Surface { operand: Operand::Scratch, origin: Offset::default(), pixel, row: row_bytes },
            blocks,
        })
    }

    /// The spatial part, with what follows it before the pointwise part.
    pub(super) fn spatial<'p>(
        &mut self,
        id: NodeId,
        parts: &'p Separable,
        (between, of_maps): (&'p [Post], bool),
    ) -> Result<Job<'p>, PlanError> {
        let node = self.graph.node(id);
        let [input, out] = [node.inputs[0], id].map(|node| self.view(node).shape);
        let job = self.job(id, &parts.spatial, (node.fusion.load, between), out.w())?;
        let mut job = Job { winograd: of_maps, ..job };
        if !job.conv.partition.is_one_to_one() {
            self.choose_forms(id, &mut job, (input, out));
        }
        Ok(job)
    }

    /// Both stages of every block of rows of one image.
    fn stages_of_image(&mut self, b: &mut NestBuilder, stages: &Stages<'_>, maps: Maps, surfaces: &Surfaces) {
        let (input, out) = (maps.input.shape, maps.out.shape);
        let window = &stages.spatial.conv.window;
        for run in block_runs(window, input.h(), out.h(), stages.blocks) {
            b.units(run.blocks.clone(), 1, |b, [block, _]| {
                let here = surfaces.block(&run, block, window.strides[0]);
                self.stages_of_rows(b, stages, (input.w(), out.w()), &run, &here);
            });
        }
    }

    /// Both stages of a block of rows, which `here` is moved to; `widths` are those of input and output.
    pub(super) fn stages_of_rows(
        &mut self,
        b: &mut NestBuilder,
        stages: &Stages<'_>,
        widths: (u32, u32),
        run: &BlockRun,
        here: &Surfaces,
    ) {
        let scratch = || stages.scratch.clone();
        let first = Surfaces { out: scratch(), add: scratch(), ..here.clone() };
        self.spatial_rows(b, &stages.spatial, (widths, Format::F32), run, &first);
        let second = Surfaces { input: scratch(), ..here.clone() };
        let (widths, pixels) = one_row(run.rows * widths.1);
        stages.pointwise.block(self, b, (widths, &pixels, &second));
    }

    /// The spatial part of a block of rows, all of it; other formats than f32 are for depthwise parts.
    pub(super) fn spatial_rows(
        &mut self,
        b: &mut NestBuilder,
        job: &Job<'_>,
        (widths @ (_, output), format): ((u32, u32), Format),
        run: &BlockRun,
        surfaces: &Surfaces,
    ) {
        if job.conv.partition.is_one_to_one() {
            let fusion =
                Fusion { load: job.load, post: job.post, format, constants: [job.weights, job.bias] };
            self.depthwise_rows(b, job.conv, fusion, widths, run, surfaces);
        } else {
            let widths = Widths { input: widths.0, output: widths.1, tile: widths.1 };
            job.block(self, b, (widths, run, surfaces));
        }
        if let Some(factors) = &job.ready {
            let made = (job.conv.partition.oc(), Activation::Linear, factors.clone());
            self.ready_pixels(b, made, [&surfaces.out; 2], run.rows * output);
        }
    }

    pub(super) fn packs(&self, stages: &Stages<'_>) -> [Pack; 2] {
        [self.spatial_pack(&stages.spatial), stages.pointwise.pack(self.program.target.lanes)]
    }

    /// The constants of a spatial part.
    pub(super) fn spatial_pack(&self, job: &Job<'_>) -> Pack {
        match job.conv.partition.is_one_to_one() {
            true => Pack::Depthwise { conv: job.conv.clone(), lanes: self.program.target.lanes },
            false => job.pack(self.program.target.lanes),
        }
    }
}

/// What follows the spatial part.
pub(super) fn between(parts: &Separable) -> Vec<Post> {
    match parts.between {
        Activation::Linear => Vec::new(),
        function => vec![Post::Activation(function)],
    }
}
