//! Separable convolutions in two stages: the spatial part of a block of rows into scratch memory,
//! the pointwise part from there while it is in the cache; or each as a step of its own.

use super::fast_inner::factors;
use super::job::Job;
use super::maps::{Fusion, Maps, one_row, set};
use super::place::{Surface, Surfaces, Widths};
use super::{Lowering, Operands};
use crate::graph::{Activation, NodeId, Post, Separable, Shape};
use crate::kernels::epilogue::Format;
use crate::layout::View;
use crate::plan::Part;
use crate::plan::emit::Emitter;
use crate::plan::nest::{Index, NestBuilder, Offset, Operand};
use crate::plan::pack::Pack;
use crate::schedule::direct::DirectConv;
use crate::schedule::tiling::{BlockRun, block_runs};
use crate::schedule::{Algorithm, Division, SeparableSchedule, Stages, between, pixel_between};

/// The two convolutions in vectors, and the map between them.
pub(super) struct Parts<'a> {
    pub spatial: Job<'a>,
    pub pointwise: Job<'a>,
    pub scratch: Surface,
}

impl Lowering<'_> {
    /// A fused separable convolution.
    pub(super) fn separable(&mut self, id: NodeId, parts: &Separable, schedule: &SeparableSchedule) {
        if schedule.pointwise == Algorithm::Matmul {
            return self.matmul_separable(id, parts, schedule);
        }
        let between = between(parts);
        let both = self.parts(id, parts, &between, schedule);
        match &schedule.stages {
            Stages::Together(division) => self.parts_together(id, &both, division.blocks()),
            Stages::Apart { spatial, pointwise } => self.parts_apart(id, both, [spatial, pointwise]),
        }
    }

    /// Both parts of blocks of rows, as a step.
    fn parts_together(&mut self, id: NodeId, parts: &Parts<'_>, blocks: u32) {
        let maps = self.maps(id);
        let mut b = NestBuilder::new();
        b.divide(self.batch, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            self.emit.parts_of_image(b, parts, (blocks, maps), &surfaces);
        });
        let mut operands = self.operands(id, self.added(id));
        let [first, second] = parts.packs(self.target);
        set(&mut operands, [Operand::Weights, Operand::Bias], self.emit.pack(first));
        set(&mut operands, [Operand::PointwiseWeights, Operand::PointwiseBias], self.emit.pack(second));
        let rows = u64::from(maps.out.shape.h().div_ceil(blocks));
        let bytes = rows * parts.scratch.row as u64 + u64::from(self.target.vector_bytes());
        operands[Operand::Scratch.index()] = Some(self.emit.scratch(bytes));
        self.step(id, b, operands);
    }

    /// Both parts, as a step each.
    fn parts_apart(&mut self, id: NodeId, parts: Parts<'_>, [spatial, pointwise]: [&Division; 2]) {
        let maps = self.maps(id);
        let (batch, row, out) = (self.batch, parts.scratch.row, maps.out.shape);
        let image_bytes = row as u64 * u64::from(out.h());
        let slack = u64::from(self.target.vector_bytes());
        let between = self.emit.between_steps(u64::from(batch) * image_bytes + slack);
        let pixel = parts.scratch.pixel as u64;
        let shape = Shape::map(out.h(), out.w(), parts.spatial.direct.conv.partition.oc());
        let of_between = View { offset: between.offset, pixel, image: image_bytes, shape };
        let of_spatial = Maps { out: of_between, add: of_between, ..maps };
        let constants = self.emit.pack(parts.pointwise.pack(self.target));
        let mut first = self.operands_of_first(id, between);
        let is_depthwise = parts.spatial.direct.conv.partition.is_one_to_one();
        let ready = parts.spatial.ready.clone().map(|factors| (factors, constants[1]));
        if let (true, Some((factors, biases))) = (is_depthwise, &ready) {
            first[factors.operand.index()] = Some(*biases);
        }
        self.spatial_step(id, (&parts.spatial, spatial), of_spatial, first);
        // Units of other spatial parts have some of the channels only.
        if let (false, Some(ready)) = (is_depthwise, ready) {
            self.ready_between(id, (of_between, between), ready);
        }

        let pixels = out.pixels() as u32;
        let mut b = NestBuilder::new();
        b.divide(batch, |b, image| {
            let maps = Maps { input: of_between, ..maps };
            let surfaces = maps.surfaces().image(image, maps.images());
            self.emit.runs_of_pixels(b, &parts.pointwise, (pixels, pointwise.blocks()), &surfaces);
        });
        let mut operands = self.operands(id, self.added(id));
        operands[Operand::In.index()] = Some(between);
        set(&mut operands, [Operand::PointwiseWeights, Operand::PointwiseBias], constants);
        self.step_of(id, Part::Pointwise, b, operands);
    }

    /// A spatial part as a step, or as the steps of Winograd's method.
    pub(super) fn spatial_step(
        &mut self,
        id: NodeId,
        (job, division): (&Job<'_>, &Division),
        maps: Maps,
        mut operands: Operands,
    ) {
        let constants = self.emit.pack(job.pack(self.target));
        set(&mut operands, [Operand::Weights, Operand::Bias], constants);
        if let Division::SharedPlanes { blocks } = *division {
            let surfaces = maps.surfaces().image(Index::Constant(0), maps.images());
            return self.winograd_steps(id, (job, blocks), (maps, &surfaces), operands);
        }
        let mut b = NestBuilder::new();
        b.divide(self.batch, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            self.emit.spatial_units(b, (job, division), (maps, Format::F32), &surfaces);
        });
        operands[Operand::Scratch.index()] = self.emit.winograd_scratch(job, division, maps.extents());
        self.step_of(id, Part::Spatial, b, operands);
    }

    /// Both parts in vectors.
    pub(super) fn parts<'p>(
        &self,
        id: NodeId,
        parts: &'p Separable,
        between: &'p [Post],
        schedule: &SeparableSchedule,
    ) -> Parts<'p>
    where
        Self: 'p,
    {
        let (target, width) = (self.target, self.view(id).shape.w());
        let is_prescaled = matches!(schedule.pointwise, Algorithm::FastInnerProduct { .. });
        let pixel = pixel_between(target, parts, is_prescaled) as i64;
        let post = self.graph.node(id).kernel_post();
        let direct = DirectConv::new(target, &parts.pointwise, Activation::Linear, post, u32::MAX);
        let pointwise = Job::new(direct, &schedule.pointwise, target.lanes);
        let spatial = self.spatial(id, parts, between, &schedule.spatial);
        let ready = is_prescaled.then(|| factors(target, &parts.pointwise, Operand::PointwiseBias));
        let (operand, origin, row) = (Operand::Scratch, Offset::default(), i64::from(width) * pixel);
        Parts {
            spatial: Job { ready, ..spatial },
            pointwise: Job { weights: Operand::PointwiseWeights, bias: Operand::PointwiseBias, ..pointwise },
            scratch: Surface { operand, origin, pixel, row },
        }
    }

    /// The spatial part, with what follows it before the pointwise part.
    pub(super) fn spatial<'p>(
        &self,
        id: NodeId,
        parts: &'p Separable,
        between: &'p [Post],
        algorithm: &Algorithm,
    ) -> Job<'p> {
        let (node, width) = (self.graph.node(id), self.view(id).shape.w());
        let direct = DirectConv::new(self.target, &parts.spatial, node.fusion.load, between, width);
        Job::new(direct, algorithm, self.target.lanes)
    }
}

impl Emitter {
    /// The spatial part of an image as units of work; other formats than f32 are for depthwise
    /// parts.
    pub(super) fn spatial_units(
        &mut self,
        b: &mut NestBuilder,
        (job, division): (&Job<'_>, &Division),
        (maps, format): (Maps, Format),
        surfaces: &Surfaces,
    ) {
        let (input, out) = (maps.input.shape, maps.out.shape);
        if !job.direct.conv.partition.is_one_to_one() {
            return self.blocks_of_rows(b, job, division, (maps, surfaces));
        }
        let window = &job.direct.conv.window;
        for run in block_runs(window, input.h(), out.h(), division.blocks()) {
            b.units(run.blocks.clone(), 1, |b, [block, _]| {
                let here = surfaces.block(&run, block, window.strides[0]);
                self.spatial_rows(b, job, ((input.w(), out.w()), format), &run, &here);
            });
        }
    }

    /// Both parts of every block of rows of one image.
    fn parts_of_image(
        &mut self,
        b: &mut NestBuilder,
        parts: &Parts<'_>,
        (blocks, maps): (u32, Maps),
        surfaces: &Surfaces,
    ) {
        let (input, out) = (maps.input.shape, maps.out.shape);
        let window = &parts.spatial.direct.conv.window;
        for run in block_runs(window, input.h(), out.h(), blocks) {
            b.units(run.blocks.clone(), 1, |b, [block, _]| {
                let here = surfaces.block(&run, block, window.strides[0]);
                self.parts_of_rows(b, parts, (input.w(), out.w()), &run, &here);
            });
        }
    }

    /// Both parts of a block of rows, which `here` is moved to; `widths` are those of input and
    /// output.
    pub(super) fn parts_of_rows(
        &mut self,
        b: &mut NestBuilder,
        parts: &Parts<'_>,
        widths: (u32, u32),
        run: &BlockRun,
        here: &Surfaces,
    ) {
        let scratch = || parts.scratch.clone();
        let first = Surfaces { out: scratch(), add: scratch(), ..here.clone() };
        self.spatial_rows(b, &parts.spatial, (widths, Format::F32), run, &first);
        let second = Surfaces { input: scratch(), ..here.clone() };
        let (widths, pixels) = one_row(run.rows * widths.1);
        parts.pointwise.block(self, b, (widths, &pixels, &second));
    }

    /// The spatial part of a block of rows, all of it; other formats than f32 are for depthwise
    /// parts.
    pub(super) fn spatial_rows(
        &mut self,
        b: &mut NestBuilder,
        job: &Job<'_>,
        (widths @ (_, output), format): ((u32, u32), Format),
        run: &BlockRun,
        surfaces: &Surfaces,
    ) {
        let DirectConv { conv, load, post, .. } = job.direct;
        if conv.partition.is_one_to_one() {
            let fusion = Fusion { load, post, format, constants: [job.weights, job.bias] };
            self.depthwise_rows(b, conv, fusion, widths, run, surfaces);
        } else {
            let widths = Widths { input: widths.0, output: widths.1, tile: widths.1 };
            job.block(self, b, (widths, run, surfaces));
        }
        if let Some(factors) = &job.ready {
            let made = (conv.partition.oc(), Activation::Linear, factors.clone());
            self.ready_pixels(b, made, [&surfaces.out; 2], run.rows * output);
        }
    }
}

impl Parts<'_> {
    /// The recipes of the constants of both parts.
    pub(super) fn packs(&self, target: crate::target::Target) -> [Pack; 2] {
        [self.spatial.pack(target), self.pointwise.pack(target)]
    }
}
