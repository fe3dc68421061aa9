//! Convolutions, dense layers and the pointwise part of separable layers by tiles of bf16 values,
//! or by vectors of pairs of them, which are called tiles here, too: a block of pixels becomes
//! rows of a matrix in scratch memory, then every panel of weights is multiplied with it.

use std::ops::Range;

use super::job::Job;
use super::maps::{Maps, one_row, set};
use super::place::{Surface, Surfaces};
use super::{Lowering, Operands, argument};
use crate::graph::{Activation, Conv, NodeId, Post, Separable, Shape, Window};
use crate::kernels::Descriptor;
use crate::kernels::epilogue::{Format, Planes};
use crate::kernels::gather::GatherPixels;
use crate::kernels::matmul::{self, BLOCK, MatmulPanel, SUMS_BYTES, Taps};
use crate::layout::View;
use crate::plan::emit::Emitter;
use crate::plan::nest::{Index, KernelId, NestBuilder, Offset, Operand};
use crate::plan::pack::Pack;
use crate::plan::{Part, Place};
use crate::schedule::matrix::{self, row_step, segment_sizes};
use crate::schedule::tiling::{BlockRun, RowRun, block_runs, tile_runs};
use crate::schedule::{Algorithm, BEHIND, Division, SeparableSchedule, Stages, between, bytes_between};
use crate::target::{Bf16Unit, Target};
use crate::vector::{F32, TILE_LANES};

/// The part of a cache that may hold f32 values on their way to a matrix: two rows of 19 pixels of
/// 728 channels.
const SHARE_BETWEEN: u32 = 16;

/// A matrix of bf16 values. Distances are in bytes.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    operand: Operand,
    /// The first row: in scratch memory, behind the sums of a block.
    origin: u64,
    /// Between rows.
    step: u64,
    /// Of all rows of a plane.
    plane: u64,
    planes: Planes,
    chunks: u64,
}

/// The multiplication of a matrix by all panels of a convolution.
#[derive(Clone)]
pub(super) struct Product<'a> {
    pub conv: &'a Conv,
    /// Applied to what the matrix is gathered from.
    load: Activation,
    post: &'a [Post],
    pub weights: [Operand; 2],
    pub matrix: Matrix,
    /// Where the weights and biases of the segment begin that is multiplied.
    constants: [Offset; 2],
    /// What a row of the matrix holds of a window.
    gathered: Window,
    /// Rows that a sum is over.
    taps: Taps,
}

impl<'a> Product<'a> {
    /// Products of rows that are made already, without an epilogue.
    pub fn of_points(
        conv: &'a Conv,
        weights: [Operand; 2],
        (matrix, constants): (Matrix, [Offset; 2]),
    ) -> Self {
        let (load, gathered, taps) = (Activation::Linear, Window::POINT, Taps { count: 1, distance: 0 });
        Self { conv, load, post: &[], weights, matrix, constants, gathered, taps }
    }

    /// The recipe of the weights and biases, in the parts that the matrix has.
    pub fn constants_pack(&self) -> Pack {
        Pack::Tiles { conv: self.conv.clone(), parts: self.matrix.planes.count }
    }

    fn segments(&self) -> u32 {
        self.conv.partition.segments() as u32
    }

    /// The rows of the matrix for a block of rows of the result: zeros above and below the image.
    fn gathered_rows(&self, block: &BlockRun) -> BlockRun {
        let (Some(first), Some(last)) = (block.runs.first(), block.runs.last()) else { return block.clone() };
        if self.taps.count == 1 {
            return block.clone();
        }
        let rows = block.rows + self.taps.count - 1;
        let above = first.taps.start;
        let below = self.taps.count - last.taps.end;
        let inside = rows - above - below;
        let runs = [(0, above, 0..0), (above, inside, 0..1), (above + inside, below, 0..0)];
        let runs = runs.into_iter().filter(|run| run.1 > 0);
        let runs = runs.map(|(first, count, taps)| RowRun { first, count, taps }).collect();
        BlockRun { rows, runs, ..block.clone() }
    }

    /// The same product for a segment.
    fn of(&self, segment: Index) -> Self {
        let words = matrix::tile_words(self.conv, self.matrix.planes.count);
        let constants = words.map(|words| Offset::default().along(segment, 4 * words as i64));
        Self { constants, ..self.clone() }
    }
}

impl Matrix {
    /// Rows of bf16 values so many bytes apart, wherever they lie.
    pub fn of_rows(step: u64, chunks: u64) -> Self {
        Self { operand: Operand::Scratch, origin: 0, step, plane: 0, planes: Planes::SINGLE, chunks }
    }

    fn format(&self) -> Format {
        Format::Bf16(self.planes)
    }

    /// First byte behind the matrix.
    pub fn end(&self) -> u64 {
        self.origin + u64::from(self.planes.count) * self.plane
    }

    /// The same matrix at the start of an operand.
    fn whole(self, operand: Operand) -> Self {
        Self { operand, origin: 0, ..self }
    }

    /// The matrix as a map of rows of `width` pixels.
    fn surface(&self, width: u32) -> Surface {
        let pixel = self.step as i64;
        let origin = Offset::bytes(self.origin as i64);
        Surface { operand: self.operand, origin, pixel, row: i64::from(width) * pixel }
    }
}

impl Lowering<'_> {
    /// The matrix for `pixels` pixels of a convolution.
    fn matrix(&self, id: NodeId, conv: &Conv, pixels: u32) -> Matrix {
        let chunks = matrix::row_chunks(conv);
        let plane = matrix::plane_bytes(conv, pixels, self.view(id).shape.w());
        let count = self.schedule.precision(id).limbs();
        let planes = Planes { count, distance: if count > 1 { plane as i32 } else { 0 } };
        let (operand, step) = (Operand::Scratch, row_step(chunks));
        Matrix { operand, origin: SUMS_BYTES, step, plane, planes, chunks }
    }

    /// A convolution by matrices that runs by itself.
    pub(super) fn matmul_conv(&mut self, id: NodeId, conv: &Conv, division: &Division) {
        let maps = self.maps(id);
        // The pixels of all images as if they were one row.
        let flat = || maps.as_row(maps.out.shape.pixels() as u32 * self.batch);
        match *division {
            Division::SharedPanels { gathered, is_flat, blocks } => {
                let maps = if is_flat { flat() } else { maps };
                self.matmul_apart(id, conv, maps, [gathered, blocks]);
            }
            Division::Pixels { blocks } => self.matmul_of_images(id, conv, (1, flat()), blocks),
            _ => self.matmul_of_images(id, conv, (self.batch, maps), division.blocks()),
        }
    }

    /// A convolution of some images, in blocks of rows.
    fn matmul_of_images(&mut self, id: NodeId, conv: &Conv, images: (u32, Maps), blocks: u32) {
        let operands = self.operands(id, self.added(id));
        let layer = (conv, self.graph.node(id).fusion.load, self.post(id));
        self.matmul_step(id, layer, (images, blocks), (Part::Whole, operands));
    }

    /// A convolution of some images with its activation on the way in and its epilogue, as a step:
    /// units are segments of blocks of rows.
    fn matmul_step(
        &mut self,
        id: NodeId,
        (conv, load, post): (&Conv, Activation, &[Post]),
        ((images, maps), blocks): ((u32, Maps), u32),
        (part, mut operands): (Part, Operands),
    ) {
        let (input, out) = (maps.input.shape, maps.out.shape);
        let matrix = self.matrix(id, conv, out.h().div_ceil(blocks).saturating_mul(out.w()));
        let product = Product { post, ..self.product(id, conv, (load, matrix)) };
        let weights = product.weights;
        let mut b = NestBuilder::new();
        b.divide(images, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            for run in block_runs(&conv.window, input.h(), out.h(), blocks) {
                b.units(run.blocks.clone(), product.segments(), |b, [block, segment]| {
                    let surfaces = surfaces.block(&run, block, conv.window.strides[0]);
                    self.emit.segment(b, (&product, segment), ((input.w(), out.w()), &run), &surfaces);
                });
            }
        });
        set(&mut operands, weights, self.emit.pack(product.constants_pack()));
        operands[Operand::Scratch.index()] = Some(self.emit.scratch(matrix.end()));
        self.step_of(id, part, b, operands);
    }

    /// A convolution of an image as two steps: one gathers windows in blocks of rows, one
    /// multiplies them in blocks of pixels.
    fn matmul_apart(&mut self, id: NodeId, conv: &Conv, maps: Maps, [gathered, blocks]: [u32; 2]) {
        let (input, out) = (maps.input.shape, maps.out.shape);
        let matrix = self.matrix(id, conv, out.pixels() as u32 + BEHIND).whole(Operand::Out);
        let product = self.product(id, conv, (self.graph.node(id).fusion.load, matrix));
        let mut b = NestBuilder::new();
        b.divide(1, |b, _| {
            let rows = out.h() + product.taps.count - 1;
            for run in block_runs(&product.gathered, input.h(), rows, gathered) {
                b.units(run.blocks.clone(), 1, |b, [block, _]| {
                    let surface = maps.surfaces().input.block(&run, block, conv.window.strides[0]);
                    let to = matrix.surface(out.w()).block(&run, block, 1);
                    self.emit.gather_into(b, &product, (input.w(), out.w()), &run, [&surface, &to]);
                });
            }
        });
        let between = self.emit.between_steps(matrix.end());
        let operands = self.operands_of_first(id, between);
        self.step_of(id, Part::Windows, b, operands);
        let constants = self.emit.pack(product.constants_pack());
        self.multiply_shared(id, (&product, blocks), maps, (Part::Products, between, constants));
    }

    /// The step that multiplies a matrix which the step before it left in `between`: a unit for
    /// each panel of each block of pixels.
    fn multiply_shared(
        &mut self,
        id: NodeId,
        (product, blocks): (&Product<'_>, u32),
        maps: Maps,
        (part, between, constants): (Part, Place, [Place; 2]),
    ) {
        let product = Product { matrix: product.matrix.whole(Operand::In), ..product.clone() };
        let pixels = maps.out.shape.pixels() as u32;
        let Surfaces { out, add, .. } = maps.surfaces();
        let column = |surface: Surface| Surface { row: surface.pixel, ..surface };
        let all = Surfaces { input: product.matrix.surface(1), out: column(out), add: column(add) };
        let mut b = NestBuilder::new();
        b.divide(1, |b, _| {
            for run in block_runs(&Window::POINT, pixels, pixels, blocks) {
                for (panels, columns) in panels_by_width(product.conv) {
                    let count = panels.len() as u32;
                    b.units(run.blocks.clone(), count, |b, [block, part]| {
                        let surfaces = all.block(&run, block, 1);
                        let kernel = self.emit.panel(&product, (run.rows, columns), &surfaces);
                        call_panel(b, kernel, &product, &surfaces, (panels.start, part));
                    });
                }
            }
        });
        let mut operands = self.operands(id, self.added(id));
        operands[Operand::In.index()] = Some(between);
        set(&mut operands, product.weights, constants);
        operands[Operand::Scratch.index()] = Some(self.emit.scratch(SUMS_BYTES));
        self.step_of(id, part, b, operands);
    }

    fn product<'p>(&self, id: NodeId, conv: &'p Conv, (load, matrix): (Activation, Matrix)) -> Product<'p>
    where
        Self: 'p,
    {
        let weights = [Operand::Weights, Operand::Bias];
        let (gathered, count) = matrix::gathered(conv);
        let distance = if count > 1 { self.view(id).shape.w() as i32 * matrix.step as i32 } else { 0 };
        let (post, constants, taps) = (self.post(id), Default::default(), Taps { count, distance });
        Product { conv, load, post, weights, matrix, constants, gathered, taps }
    }

    /// The product of a convolution of `rows` rows at a time.
    pub(super) fn product_of_rows<'p>(&self, id: NodeId, conv: &'p Conv, rows: u32) -> Product<'p>
    where
        Self: 'p,
    {
        let pixels = rows.saturating_mul(self.view(id).shape.w());
        let load = self.graph.node(id).fusion.load;
        self.product(id, conv, (load, self.matrix(id, conv, pixels)))
    }

    /// A separable convolution whose pointwise part runs by matrices.
    pub(super) fn matmul_separable(&mut self, id: NodeId, parts: &Separable, schedule: &SeparableSchedule) {
        let between = between(parts);
        match &schedule.stages {
            Stages::Together(division) => self.matmul_together(id, parts, &between, (schedule, division)),
            Stages::Apart { spatial, pointwise: Division::SharedPanels { blocks, .. } } => {
                let spatial = (&schedule.spatial, spatial);
                self.matmul_stages_apart(id, parts, &between, (spatial, *blocks));
            }
            Stages::Apart { spatial, pointwise } => {
                let spatial = (&schedule.spatial, spatial);
                self.matmul_twice(id, parts, &between, (spatial, pointwise.blocks()));
            }
        }
    }

    /// A spatial part, by matrices or by planes of pairs, and a pointwise part by matrices, as
    /// steps of their own.
    fn matmul_twice(
        &mut self,
        id: NodeId,
        parts: &Separable,
        between: &[Post],
        ((algorithm, division), blocks): ((&Algorithm, &Division), u32),
    ) {
        let (maps, batch) = (self.maps(id), self.batch);
        let shape = Shape::map(maps.out.shape.h(), maps.out.shape.w(), parts.spatial.partition.oc());
        let pixel = self.target.pixel_bytes(shape.c());
        let image = shape.pixels().saturating_mul(pixel);
        let bytes = image.saturating_mul(u64::from(batch));
        let memory = self.emit.between_steps(bytes + u64::from(self.target.vector_bytes()));
        let map = View { offset: memory.offset, pixel, image, shape };
        let operands = self.operands_of_first(id, memory);
        let of_spatial = Maps { out: map, add: map, ..maps };
        if *algorithm == Algorithm::Matmul {
            let layer = (&parts.spatial, self.graph.node(id).fusion.load, between);
            let images = (batch, of_spatial);
            self.matmul_step(id, layer, (images, division.blocks()), (Part::Spatial, operands));
        } else {
            let job = self.spatial(id, parts, between, algorithm);
            self.spatial_step(id, (&job, division), of_spatial, operands);
        }
        let mut operands = self.operands(id, self.added(id));
        operands[Operand::In.index()] = Some(memory);
        let layer = (&parts.pointwise, Activation::Linear, self.post(id));
        let images = (batch, Maps { input: map, ..maps });
        self.matmul_step(id, layer, (images, blocks), (Part::Pointwise, operands));
    }

    /// Both parts of blocks of rows, as a step.
    fn matmul_together(
        &mut self,
        id: NodeId,
        parts: &Separable,
        between: &[Post],
        (schedule, division): (&SeparableSchedule, &Division),
    ) {
        let (maps, blocks) = (self.maps(id), division.blocks());
        let out = maps.out.shape;
        let both = self.matrix_parts(id, parts, between, (&schedule.spatial, out.h().div_ceil(blocks)));
        let MatrixParts { spatial, product, scratch_bytes } = both;
        let mut b = NestBuilder::new();
        b.divide(self.batch, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            for run in block_runs(&parts.spatial.window, maps.input.shape.h(), out.h(), blocks) {
                b.units(run.blocks.clone(), 1, |b, [block, _]| {
                    let here = surfaces.block(&run, block, parts.spatial.window.strides[0]);
                    self.emit.spatial_matrix(b, &spatial, &product, (maps, &run, &here));
                    self.emit.panels(b, &product, run.rows * out.w(), &here);
                });
            }
        });
        let mut operands = self.operands(id, self.added(id));
        let first = self.emit.pack(spatial.pack(self.target));
        let second = self.emit.pack(product.constants_pack());
        set(&mut operands, [Operand::Weights, Operand::Bias], first);
        set(&mut operands, product.weights, second);
        operands[Operand::Scratch.index()] = Some(self.emit.scratch(scratch_bytes));
        self.step(id, b, operands);
    }

    /// A depthwise part, and a pointwise part by matrices, as a step each.
    fn matmul_stages_apart(
        &mut self,
        id: NodeId,
        parts: &Separable,
        between: &[Post],
        ((algorithm, division), blocks): ((&Algorithm, &Division), u32),
    ) {
        let maps = self.maps(id);
        let out = maps.out.shape;
        let spatial = self.spatial(id, parts, between, algorithm);
        let matrix = self.matrix(id, &parts.pointwise, out.pixels() as u32 + BEHIND).whole(Operand::Out);
        let weights = [Operand::PointwiseWeights, Operand::PointwiseBias];
        let product = Product { weights, ..self.product(id, &parts.pointwise, (Activation::Linear, matrix)) };
        let mut b = NestBuilder::new();
        b.divide(1, |b, _| {
            let to = matrix.surface(out.w());
            let surfaces = Surfaces { input: maps.surfaces().input, out: to.clone(), add: to };
            self.emit.spatial_units(b, (&spatial, division), (maps, matrix.format()), &surfaces);
        });
        let memory = self.emit.between_steps(matrix.end());
        let mut operands = self.operands_of_first(id, memory);
        let constants = self.emit.pack(spatial.pack(self.target));
        set(&mut operands, [Operand::Weights, Operand::Bias], constants);
        self.step_of(id, Part::Spatial, b, operands);
        let constants = self.emit.pack(product.constants_pack());
        self.multiply_shared(id, (&product, blocks), maps, (Part::Pointwise, memory, constants));
    }

    /// The parts of a separable convolution in blocks of up to `rows` rows.
    pub(super) fn matrix_parts<'p>(
        &self,
        id: NodeId,
        parts: &'p Separable,
        between: &'p [Post],
        (algorithm, rows): (&Algorithm, u32),
    ) -> MatrixParts<'p>
    where
        Self: 'p,
    {
        let out = self.view(id).shape;
        let matrix = self.matrix(id, &parts.pointwise, rows.saturating_mul(out.w()));
        let product = self.product(id, &parts.pointwise, (Activation::Linear, matrix));
        let weights = [Operand::PointwiseWeights, Operand::PointwiseBias];
        // The last pixel's vectors may end behind its channels.
        let slack = u64::from(self.target.vector_bytes());
        let row = bytes_between(self.target, parts, out);
        let scratch_bytes = matrix.end() + u64::from(rows.min(rows_between(self.target, row))) * row + slack;
        let spatial = self.spatial(id, parts, between, algorithm);
        MatrixParts { spatial, product: Product { weights, ..product }, scratch_bytes }
    }
}

/// A spatial part in vectors and a pointwise part by matrices, and the scratch memory that a block
/// takes.
pub(super) struct MatrixParts<'a> {
    pub spatial: Job<'a>,
    pub product: Product<'a>,
    pub scratch_bytes: u64,
}

/// How many rows other spatial parts than depthwise ones do at a time, of which each leaves
/// `bytes` of f32 values before they become bf16: as many as leave most of the cache to the
/// matrix.
fn rows_between(target: Target, bytes: u64) -> u32 {
    let share = u64::from(target.cache_bytes / SHARE_BETWEEN);
    u32::try_from(share / bytes.max(1)).unwrap_or(u32::MAX).max(1)
}

impl Emitter {
    /// All segments of a block of rows.
    pub(super) fn segments(
        &mut self,
        b: &mut NestBuilder,
        product: &Product<'_>,
        (widths, block): ((u32, u32), &BlockRun),
        surfaces: &Surfaces,
    ) {
        b.repeat(0..product.segments(), |b, segment| {
            self.segment(b, (product, segment), (widths, block), surfaces);
        });
    }

    /// The product's segment of a block of rows, which `surfaces` are moved to; `widths` are those
    /// of input and output.
    fn segment(
        &mut self,
        b: &mut NestBuilder,
        (product, segment): (&Product<'_>, Index),
        (widths, block): ((u32, u32), &BlockRun),
        surfaces: &Surfaces,
    ) {
        let product = &product.of(segment);
        let [inputs, outputs] =
            segment_sizes(product.conv).map(|channels| i64::from(channels) * i64::from(F32));
        let moved = |surface: &Surface, bytes: i64| Surface {
            origin: surface.origin.clone().along(segment, bytes),
            ..surface.clone()
        };
        self.gather_rows(b, product, widths, block, &moved(&surfaces.input, inputs));
        let [out, add] = [&surfaces.out, &surfaces.add].map(|surface| moved(surface, outputs));
        self.panels(b, product, block.rows * widths.1, &Surfaces { out, add, ..surfaces.clone() });
    }

    /// The windows of a block of rows as rows of the matrix; `widths` are those of input and
    /// output.
    pub(super) fn gather_rows(
        &mut self,
        b: &mut NestBuilder,
        product: &Product<'_>,
        (w, ow): (u32, u32),
        block: &BlockRun,
        input: &Surface,
    ) {
        let rows = product.gathered_rows(block);
        self.gather_into(b, product, (w, ow), &rows, [input, &product.matrix.surface(ow)]);
    }

    /// As [`Emitter::gather_rows`], into the rows of `matrix`, for a block of these.
    fn gather_into(
        &mut self,
        b: &mut NestBuilder,
        product: &Product<'_>,
        (w, ow): (u32, u32),
        block: &BlockRun,
        [input, matrix]: [&Surface; 2],
    ) {
        let window = &product.gathered;
        let [stride_rows, stride_pixels] = window.strides.map(i64::from);
        if window.is_point() && w == 1 && block.rows > 1 {
            // A column of points is gathered like a row.
            let (widths, row) = one_row(block.rows);
            return self.gather_into(b, product, (widths.input, widths.output), &row, [input, matrix]);
        }
        for rows in &block.runs {
            let first_row = i64::from(rows.first) * stride_rows - i64::from(window.pads.top)
                + i64::from(rows.taps.start) * i64::from(window.dilation[0]);
            for run in tile_runs(window, w, ow, 1) {
                let first_pixel = i64::from(run.first) * stride_pixels - i64::from(window.pads.left);
                let above = [rows.taps.start, rows.taps.len() as u32];
                let kernel = self.gather(product, (above, run.clip.0[0].clone()), input);
                b.repeat(0..rows.count, |b, row| {
                    let from = input.at(|origin| {
                        let start = origin.plus(first_row * input.row + first_pixel * input.pixel);
                        start.along(row, stride_rows * input.row)
                    });
                    let to = matrix.at(|origin| {
                        let (first_row, first_pixel) = (i64::from(rows.first), i64::from(run.first));
                        origin
                            .plus(first_row * matrix.row + first_pixel * matrix.pixel)
                            .along(row, matrix.row)
                    });
                    b.call(kernel, vec![from, to], Some(run.count));
                });
            }
        }
    }

    /// The kernel that gathers equal pixels: `rows` are the rows of taps above the image and
    /// inside it, `taps` those of a row inside.
    fn gather(
        &mut self,
        product: &Product<'_>,
        ([above, inside], taps): ([u32; 2], Range<u32>),
        input: &Surface,
    ) -> KernelId {
        let window = &product.gathered;
        let [kh, kw] = window.kernel;
        let [dilation_rows, dilation_pixels] = window.dilation.map(i64::from);
        let descriptor = GatherPixels {
            ic: segment_sizes(product.conv)[0],
            kw,
            rows: [above, inside, kh - above - inside],
            taps,
            pixel: (input.pixel * i64::from(window.strides[1])) as i32,
            tap: if kw > 1 { (input.pixel * dilation_pixels) as i32 } else { 0 },
            row: if kh > 1 { (input.row * dilation_rows) as i32 } else { 0 },
            out: product.matrix.step as i32,
            load: product.load,
            planes: product.matrix.planes,
        };
        self.kernel(Descriptor::Gather(descriptor))
    }

    /// Multiplies the first `pixels` rows of the matrix by every panel of weights.
    pub(super) fn panels(
        &mut self,
        b: &mut NestBuilder,
        product: &Product<'_>,
        pixels: u32,
        surfaces: &Surfaces,
    ) {
        let surfaces = Surfaces { input: product.matrix.surface(1), ..surfaces.clone() };
        self.panels_of_rows(b, product, pixels, &surfaces);
    }

    /// Multiplies `pixels` rows of a matrix, which are the input, by every panel of weights.
    pub(super) fn panels_of_rows(
        &mut self,
        b: &mut NestBuilder,
        product: &Product<'_>,
        pixels: u32,
        surfaces: &Surfaces,
    ) {
        for (panels, columns) in panels_by_width(product.conv) {
            if panels.is_empty() {
                continue;
            }
            let kernel = self.panel(product, (pixels, columns), surfaces);
            b.repeat(0..panels.len() as u32, |b, panel| {
                call_panel(b, kernel, product, surfaces, (panels.start, panel));
            });
        }
    }

    fn panel(
        &mut self,
        product: &Product<'_>,
        (pixels, columns): (u32, u32),
        surfaces: &Surfaces,
    ) -> KernelId {
        let adds = product.post.contains(&Post::Add);
        let target = self.target;
        let unit = target.bf16_unit().unwrap_or(Bf16Unit::Tiles);
        let descriptor = MatmulPanel {
            unit,
            direct: unit == Bf16Unit::Pairs && target.wide_tiles.reads_memory,
            pixels,
            columns,
            chunks: product.matrix.chunks as u32,
            step: product.matrix.step as i32,
            taps: product.taps,
            planes: product.matrix.planes,
            out: surfaces.out.pixel as i32,
            add: if adds { surfaces.add.pixel as i32 } else { 0 },
            post: product.post.to_vec(),
        };
        self.kernel(Descriptor::Matmul(descriptor))
    }

    /// The spatial part of a block of rows, as rows of the matrix.
    pub(super) fn spatial_matrix(
        &mut self,
        b: &mut NestBuilder,
        spatial: &Job<'_>,
        product: &Product<'_>,
        (maps, run, here): (Maps, &BlockRun, &Surfaces),
    ) {
        let (w, ow) = (maps.input.shape.w(), maps.out.shape.w());
        if spatial.direct.conv.partition.is_one_to_one() {
            let matrix = product.matrix.surface(ow);
            let surfaces = Surfaces { out: matrix.clone(), add: matrix, ..here.clone() };
            self.spatial_rows(b, spatial, ((w, ow), product.matrix.format()), run, &surfaces);
            return;
        }
        let pixel = i64::from(self.target.padded(spatial.direct.conv.partition.oc())) * i64::from(F32);
        let origin = Offset::bytes(product.matrix.end() as i64);
        let between = Surface { operand: Operand::Scratch, origin, pixel, row: i64::from(ow) * pixel };
        for part in run.parts(rows_between(self.target, between.row as u64)) {
            b.repeat(part.blocks.clone(), |b, index| {
                let here = here.block(&part, index, spatial.direct.conv.window.strides[0]);
                let surfaces = Surfaces { out: between.clone(), add: between.clone(), ..here };
                self.spatial_rows(b, spatial, ((w, ow), Format::F32), &part, &surfaces);
                let (pixels, (_, row)) = (part.rows * ow, one_row(part.rows * ow));
                let matrix = product.matrix.surface(ow).block(&part, index, 1);
                self.gather_into(b, product, (pixels, pixels), &row, [&between, &matrix]);
            });
        }
    }
}

/// Panels of a segment of equal width, and their columns: whole tiles, but behind the last column
/// of a segment there may be the next one.
fn panels_by_width(conv: &Conv) -> [(Range<u32>, u32); 2] {
    let [_, oc] = segment_sizes(conv);
    let (whole, all) = (oc / BLOCK, oc.div_ceil(BLOCK));
    let is_alone = conv.partition.segments() == 1;
    let rest = if is_alone { (oc % BLOCK).next_multiple_of(TILE_LANES) } else { oc % BLOCK };
    [(0..whole, BLOCK), (whole..all, rest)]
}

/// Calls the kernel of panel `first + panel`; panels before it have 32 columns. The input is the
/// matrix.
fn call_panel(
    b: &mut NestBuilder,
    kernel: KernelId,
    product: &Product<'_>,
    surfaces: &Surfaces,
    (first, panel): (u32, Index),
) {
    let matrix = &product.matrix;
    let columns = i64::from(BLOCK) * i64::from(F32);
    let weights = matmul::panel_bytes(matrix::chunks(product.conv), 2, u64::from(matrix.planes.count)) as i64;
    let move_to = |origin: Offset, bytes: i64| origin.plus(i64::from(first) * bytes).along(panel, bytes);
    let constant = |which: usize, bytes| {
        argument(product.weights[which], move_to(product.constants[which].clone(), bytes))
    };
    let arguments = vec![
        surfaces.input.at(|origin| origin),
        constant(0, weights),
        constant(1, columns),
        surfaces.out.at(|origin| move_to(origin, columns)),
        surfaces.add.at(|origin| move_to(origin, columns)),
        argument(Operand::Scratch, Offset::default()),
    ];
    b.call(kernel, arguments, None);
}
