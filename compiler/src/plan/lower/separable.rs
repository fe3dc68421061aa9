//! Separable convolutions in two stages: the spatial part of a block of rows into scratch memory, the pointwise part
//! from there while it is in the cache.

use super::conv::{Fusion, Job, Maps, is_depthwise, one_row, set};
use super::place::{Surface, Surfaces, Widths};
use super::{Planner, STEP_LIMIT};
use crate::graph::{Activation, Conv, NodeId, Partition, Post, Separable};
use crate::kernels::epilogue::Format;
use crate::plan::PlanError;
use crate::plan::nest::{Index, NestBuilder, Offset, Operand};
use crate::plan::pack::Pack;
use crate::plan::windows::{BlockRun, block_count, block_runs, row_runs};

/// The two convolutions, the map between them, and how many blocks of rows the result is cut into.
pub(super) struct Stages<'a> {
    pub spatial: Job<'a>,
    pub pointwise: Job<'a>,
    pub scratch: Surface,
    blocks: u32,
    /// Whether blocks are cut between pixels rather than between rows.
    by_pixels: bool,
}

impl Stages<'_> {
    /// Whether threads share the work of `rows` rows so much better when blocks are cut between pixels that it is worth
    /// while to compute the intermediate row at each cut twice.
    fn prefers_pixels(&self, rows: u32, threads: u32) -> bool {
        let (blocks, of_thread) = (self.blocks, self.blocks / threads);
        if blocks == 1 || blocks > MOST_PIXEL_BLOCKS || !blocks.is_multiple_of(threads) {
            return false;
        }
        // Larger blocks come first, so the first thread has the most rows.
        let most = rows / blocks * of_thread + (rows % blocks).min(of_thread);
        let idle = f64::from(most * threads) / f64::from(rows) - 1.0;
        let products = |conv: &Conv| (conv.window.taps() * conv.partition.products()) as f64;
        let [first, second] = [self.spatial.conv, self.pointwise.conv].map(products);
        let twice = first / (first + second) * f64::from(blocks - 1) / f64::from(rows);
        idle > 2.0 * twice
    }
}

/// Blocks that are cut between pixels are each code of their own.
const MOST_PIXEL_BLOCKS: u32 = 8;

impl Planner<'_> {
    /// A fused separable convolution.
    pub(super) fn separable(&mut self, id: NodeId, parts: &Separable) -> Result<(), PlanError> {
        if self.takes_tiles(&parts.pointwise) {
            return self.tiles_separable(id, parts);
        }
        let maps = self.maps(id);
        let between = between(parts);
        let stages = self.stages(id, parts, &between, maps)?;
        let mut b = NestBuilder::new();
        b.repeat(0..self.program.options.batch, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            self.stages_of_image(b, &stages, maps, &surfaces);
        });
        let mut operands = self.operands(id, self.added(id));
        let [first, second] = self.packs(&stages);
        set(&mut operands, [Operand::Weights, Operand::Bias], self.pack(first));
        set(&mut operands, [Operand::PointwiseWeights, Operand::PointwiseBias], self.pack(second));
        let rows = u64::from(maps.out.shape.h().div_ceil(stages.blocks)) + u64::from(stages.by_pixels);
        let bytes = rows * stages.scratch.row as u64 + u64::from(self.program.target.vector_bytes());
        operands[Operand::Scratch.index()] = Some(self.scratch(bytes));
        self.step(id, b, operands);
        Ok(())
    }

    pub(super) fn stages<'p>(
        &mut self,
        id: NodeId,
        parts: &'p Separable,
        between: &'p [Post],
        maps: Maps,
    ) -> Result<Stages<'p>, PlanError>
    where
        Self: 'p,
    {
        let node = self.graph.node(id);
        let out = maps.out.shape;
        let target = self.program.target;
        let pixel = target.pixel_bytes(parts.spatial.partition.oc());
        let row = u64::from(out.w()) * pixel;
        self.limit(node, "a row of the intermediate map", row, STEP_LIMIT)?;
        let pointwise = self.job(id, &parts.pointwise, (Activation::Linear, self.post(id)), u32::MAX)?;
        let (pixel, row_bytes) = (pixel as i64, row as i64);
        let threads = self.program.options.threads;
        let mut stages = Stages {
            spatial: self.spatial(id, parts, between)?,
            pointwise: Job { weights: Operand::PointwiseWeights, bias: Operand::PointwiseBias, ..pointwise },
            scratch: Surface { operand: Operand::Scratch, origin: Offset::default(), pixel, row: row_bytes },
            blocks: block_count(out.h(), row, target.cache_bytes, threads),
            by_pixels: false,
        };
        stages.by_pixels = threads > 1 && stages.prefers_pixels(out.h(), threads);
        Ok(stages)
    }

    /// The spatial part, with what follows it before the pointwise part.
    pub(super) fn spatial<'p>(
        &mut self,
        id: NodeId,
        parts: &'p Separable,
        between: &'p [Post],
    ) -> Result<Job<'p>, PlanError> {
        let node = self.graph.node(id);
        let [input, out] = [node.inputs[0], id].map(|node| self.view(node).shape);
        let mut job = self.job(id, &parts.spatial, (node.fusion.load, between), out.w())?;
        if !is_depthwise(job.conv) {
            self.choose_forms(id, &mut job, (input, out));
        }
        Ok(job)
    }

    /// Both stages of every block of rows of one image.
    fn stages_of_image(&mut self, b: &mut NestBuilder, stages: &Stages<'_>, maps: Maps, surfaces: &Surfaces) {
        if stages.by_pixels {
            return self.pixels_of_image(b, stages, maps, surfaces);
        }
        let (input, out) = (maps.input.shape, maps.out.shape);
        let window = &stages.spatial.conv.window;
        for run in block_runs(window, input.h(), out.h(), stages.blocks) {
            b.share(run.blocks.clone(), stages.blocks, |b, block| {
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

    /// Both stages of every block of pixels of one image: the rows of the intermediate map that the block touches, and
    /// its pixels of the result.
    fn pixels_of_image(&mut self, b: &mut NestBuilder, stages: &Stages<'_>, maps: Maps, surfaces: &Surfaces) {
        let (input, out) = (maps.input.shape, maps.out.shape);
        let (window, ow) = (&stages.spatial.conv.window, out.w());
        let mut first = 0;
        for (block, pixels) in (0..).zip(Partition::even(out.h() * ow, stages.blocks).unwrap_or_default()) {
            let rows = first / ow..(first + pixels).div_ceil(ow);
            let run = BlockRun {
                blocks: block..block + 1,
                first_row: rows.start,
                rows: rows.len() as u32,
                runs: row_runs(window, input.h(), rows.clone()),
            };
            b.share(block..block + 1, stages.blocks, |b, _| {
                let only = Index::Constant(block);
                let here = surfaces.block(&run, only, window.strides[0]);
                let scratch = || stages.scratch.clone();
                let spatial = Surfaces { out: scratch(), add: scratch(), ..here };
                self.spatial_rows(b, &stages.spatial, ((input.w(), ow), Format::F32), &run, &spatial);
                let moved = |surface: &Surface, pixel: u32| Surface {
                    origin: surface.origin.clone().plus(i64::from(pixel) * surface.pixel),
                    ..surface.clone()
                };
                let pointwise = Surfaces {
                    input: moved(&stages.scratch, first - rows.start * ow),
                    out: moved(&surfaces.out, first),
                    add: moved(&surfaces.add, first),
                };
                let (widths, inner) = one_row(pixels);
                stages.pointwise.block(self, b, (widths, &inner, &pointwise));
            });
            first += pixels;
        }
    }

    /// The spatial part of a block of rows; other formats than f32 are for depthwise parts.
    pub(super) fn spatial_rows(
        &mut self,
        b: &mut NestBuilder,
        job: &Job<'_>,
        (widths, format): ((u32, u32), Format),
        run: &BlockRun,
        surfaces: &Surfaces,
    ) {
        if is_depthwise(job.conv) {
            let fusion =
                Fusion { load: job.load, post: job.post, format, constants: [job.weights, job.bias] };
            self.depthwise_rows(b, job.conv, fusion, widths, run, surfaces);
        } else {
            let widths = Widths { input: widths.0, output: widths.1, tile: widths.1 };
            job.block(self, b, (widths, run, surfaces));
        }
    }

    pub(super) fn packs(&self, stages: &Stages<'_>) -> [Pack; 2] {
        [self.spatial_pack(&stages.spatial), stages.pointwise.pack(self.program.target.lanes)]
    }

    /// The constants of a spatial part.
    pub(super) fn spatial_pack(&self, job: &Job<'_>) -> Pack {
        match is_depthwise(job.conv) {
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
