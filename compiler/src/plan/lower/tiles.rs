//! Convolutions, dense layers and the pointwise part of separable layers by tiles of bf16 values: a block of
//! pixels becomes rows of a matrix in scratch memory, then every panel of weights is multiplied with it.

use super::conv::{Job, Maps, is_depthwise, one_row, set};
use super::place::{Surface, Surfaces};
use super::separable::between;
use super::{Operands, Planner, STEP_LIMIT, argument};
use crate::graph::{Activation, Conv, NodeId, Post, Separable, Window};
use crate::kernels::Descriptor;
use crate::kernels::epilogue::Format;
use crate::kernels::gather::GatherPixels;
use crate::kernels::matmul::{self, BLOCK, MatmulPanel, SUMS_BYTES};
use crate::plan::nest::{Index, KernelId, NestBuilder, Offset, Operand};
use crate::plan::pack::{self, Pack};
use crate::plan::windows::{BlockRun, block_count, block_runs, tile_runs};
use crate::plan::{PlanError, Precision};
use crate::target::Target;
use crate::vector::{F32, TILE_LANES, TILE_ROWS};

/// Fewest inputs of a sum that are worth a tile: those of one row.
const FEWEST_INPUTS: u64 = 32;
/// Fewest input channels, since each tap is padded to a vector of them.
const FEWEST_CHANNELS: u32 = 4;

/// A matrix of bf16 values in scratch memory, behind the sums of a block. Distances are in bytes.
#[derive(Clone, Copy)]
pub(super) struct Matrix {
    /// Between rows.
    step: u64,
    /// Of all rows of a plane.
    plane: u64,
    format: Format,
    chunks: u64,
}

/// The multiplication of a matrix by all panels of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Product<'a> {
    pub conv: &'a Conv,
    /// Applied to what the matrix is gathered from.
    load: Activation,
    post: &'a [Post],
    pub weights: [Operand; 2],
    pub matrix: Matrix,
}

impl Matrix {
    fn planes(&self) -> u64 {
        if matches!(self.format, Format::Split { .. }) { 2 } else { 1 }
    }

    /// First byte behind the matrix in scratch memory.
    pub fn end(&self) -> u64 {
        SUMS_BYTES + self.planes() * self.plane
    }

    /// The matrix as a map of rows of `width` pixels.
    fn surface(&self, width: u32) -> Surface {
        let pixel = self.step as i64;
        let origin = Offset::bytes(SUMS_BYTES as i64);
        Surface { operand: Operand::Scratch, origin, pixel, row: i64::from(width) * pixel }
    }
}

/// Bytes between rows of `chunks` chunks: an odd number of cache lines, so that the rows of a tile do not
/// compete for the same places of the cache.
fn row_step(chunks: u64) -> u64 {
    (chunks | 1) * 64
}

impl Planner<'_> {
    /// Whether a convolution runs by tiles.
    pub(super) fn takes_tiles(&self, conv: &Conv) -> bool {
        let (ic, oc) = (conv.partition.ic(), conv.partition.oc());
        let chunks = pack::chunks(conv);
        self.program.options.precision != Precision::F32
            && conv.partition.segments() == 1
            && oc >= TILE_LANES
            && ic >= FEWEST_CHANNELS
            && u64::from(ic) * conv.window.taps() >= FEWEST_INPUTS
            && matmul::panel_bytes(chunks, 2, 2) <= STEP_LIMIT
    }

    /// The matrix of `pixels` rows for a convolution.
    pub(super) fn matrix(&self, id: NodeId, conv: &Conv, pixels: u32) -> Result<Matrix, PlanError> {
        let chunks = pack::chunks(conv);
        let step = row_step(chunks);
        let plane = u64::from(pixels.next_multiple_of(TILE_ROWS)) * step;
        self.limit(self.graph.node(id), "a matrix of bf16 values", plane, STEP_LIMIT)?;
        let format = match self.program.options.precision {
            Precision::Split => Format::Split { plane: plane as i32 },
            _ => Format::Bf16,
        };
        Ok(Matrix { step, plane, format, chunks })
    }

    /// Bytes of a matrix of `pixels` rows, all planes.
    fn matrix_bytes(&self, conv: &Conv, pixels: u32) -> u64 {
        let planes = if self.program.options.precision == Precision::Split { 2 } else { 1 };
        u64::from(pixels) * row_step(pack::chunks(conv)) * planes
    }

    /// A convolution that is not fused with another.
    pub(super) fn tiles_conv(&mut self, id: NodeId, conv: &Conv) -> Result<(), PlanError> {
        let maps = self.maps(id);
        let mut b = NestBuilder::new();
        let batch = self.program.options.batch;
        let pixels = u32::try_from(maps.out.shape.pixels() * u64::from(batch)).ok();
        let end = match pixels.filter(|_| conv.window.is_point() && maps.is_one_run()) {
            Some(pixels) => self.tiles_of_pixels(id, &mut b, conv, pixels, &maps.surfaces())?,
            None => self.tiles_of_rows(id, &mut b, conv, maps)?,
        };
        let split = self.program.options.precision == Precision::Split;
        let constants = self.pack(Pack::Tiles { conv: conv.clone(), split });
        let mut operands = self.operands(id, self.added(id));
        set(&mut operands, [Operand::Weights, Operand::Bias], constants);
        operands[Operand::Scratch.index()] = Some(self.scratch(end));
        self.step(id, b, operands);
        Ok(())
    }

    /// How many blocks `rows` of `width` pixels each are cut into; one where threads share panels instead, since
    /// there are too few pixels for them to share.
    fn tile_blocks(&self, conv: &Conv, rows: u32, width: u32) -> (u32, bool) {
        let threads = self.program.options.threads;
        let by_panels = u64::from(rows) * u64::from(width) < u64::from(2 * BLOCK) * u64::from(threads);
        let row = self.matrix_bytes(conv, width);
        let blocks = block_count(rows, row, self.program.target.cache_bytes, threads);
        if by_panels { (1, true) } else { (blocks, false) }
    }

    /// A pointwise convolution over all pixels as if they were one row.
    fn tiles_of_pixels(
        &mut self,
        id: NodeId,
        b: &mut NestBuilder,
        conv: &Conv,
        pixels: u32,
        surfaces: &Surfaces,
    ) -> Result<u64, PlanError> {
        let along = |surface: &Surface| Surface { row: surface.pixel, ..surface.clone() };
        let Surfaces { input, out, add } = surfaces;
        let surfaces = Surfaces { input: along(input), out: along(out), add: along(add) };
        let (blocks, by_panels) = self.tile_blocks(conv, pixels, 1);
        let matrix = self.matrix(id, conv, pixels.div_ceil(blocks))?;
        let product = self.product(id, conv, (self.graph.node(id).fusion.load, matrix));
        for run in block_runs(&Window::POINT, pixels, pixels, blocks) {
            let block = |this: &mut Self, b: &mut NestBuilder, block: Index| {
                let surfaces = surfaces.block(&run, block, 1);
                let (_, inner) = one_row(run.rows);
                this.gather_rows(b, &product, (run.rows, run.rows), &inner, &surfaces.input);
                this.panels(b, &product, run.rows, &surfaces, by_panels);
            };
            self.blocks(b, &run, (blocks, by_panels), block);
        }
        Ok(matrix.end())
    }

    /// A convolution over blocks of rows of each image.
    fn tiles_of_rows(
        &mut self,
        id: NodeId,
        b: &mut NestBuilder,
        conv: &Conv,
        maps: Maps,
    ) -> Result<u64, PlanError> {
        let (input, out) = (maps.input.shape, maps.out.shape);
        let window = &conv.window;
        let (blocks, by_panels) = self.tile_blocks(conv, out.h(), out.w());
        let matrix = self.matrix(id, conv, out.h().div_ceil(blocks) * out.w())?;
        let product = self.product(id, conv, (self.graph.node(id).fusion.load, matrix));
        b.repeat(0..self.program.options.batch, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            for run in block_runs(window, input.h(), out.h(), blocks) {
                let block = |this: &mut Self, b: &mut NestBuilder, block: Index| {
                    let surfaces = surfaces.block(&run, block, window.strides[0]);
                    this.gather_rows(b, &product, (input.w(), out.w()), &run, &surfaces.input);
                    this.panels(b, &product, run.rows * out.w(), &surfaces, by_panels);
                };
                self.blocks(b, &run, (blocks, by_panels), block);
            }
        });
        Ok(matrix.end())
    }

    /// Runs `body` for each block: every thread for its own, or each for the only one.
    fn blocks(
        &mut self,
        b: &mut NestBuilder,
        run: &BlockRun,
        (blocks, by_panels): (u32, bool),
        body: impl FnOnce(&mut Self, &mut NestBuilder, Index),
    ) {
        if by_panels {
            b.repeat(run.blocks.clone(), |b, block| body(self, b, block));
        } else {
            b.share(run.blocks.clone(), blocks, |b, block| body(self, b, block));
        }
    }

    pub(super) fn product<'p>(
        &self,
        id: NodeId,
        conv: &'p Conv,
        (load, matrix): (Activation, Matrix),
    ) -> Product<'p>
    where
        Self: 'p,
    {
        Product { conv, load, post: self.post(id), weights: [Operand::Weights, Operand::Bias], matrix }
    }

    /// The windows of a block of rows as rows of the matrix; `widths` are those of input and output.
    pub(super) fn gather_rows(
        &mut self,
        b: &mut NestBuilder,
        product: &Product<'_>,
        (w, ow): (u32, u32),
        block: &BlockRun,
        input: &Surface,
    ) {
        let window = &product.conv.window;
        let matrix = product.matrix.surface(ow);
        let [stride_rows, stride_pixels] = window.strides.map(i64::from);
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

    /// The kernel that gathers equal pixels: `rows` are the rows of taps above the image and inside it, `taps`
    /// those of a row inside.
    fn gather(
        &mut self,
        product: &Product<'_>,
        ([above, inside], taps): ([u32; 2], std::ops::Range<u32>),
        input: &Surface,
    ) -> KernelId {
        let window = &product.conv.window;
        let [kh, kw] = window.kernel;
        let [dilation_rows, dilation_pixels] = window.dilation.map(i64::from);
        let descriptor = GatherPixels {
            ic: product.conv.partition.ic(),
            kw,
            rows: [above, inside, kh - above - inside],
            taps,
            pixel: (input.pixel * i64::from(window.strides[1])) as i32,
            tap: if kw > 1 { (input.pixel * dilation_pixels) as i32 } else { 0 },
            row: if kh > 1 { (input.row * dilation_rows) as i32 } else { 0 },
            out: product.matrix.step as i32,
            load: product.load,
            format: product.matrix.format,
        };
        self.kernel(Descriptor::Gather(descriptor))
    }

    /// Multiplies a block of `pixels` rows by every panel of weights; threads share the panels if `by_panels`.
    pub(super) fn panels(
        &mut self,
        b: &mut NestBuilder,
        product: &Product<'_>,
        pixels: u32,
        surfaces: &Surfaces,
        by_panels: bool,
    ) {
        let oc = product.conv.partition.oc();
        let (whole, rest) = (oc / BLOCK, oc % BLOCK);
        let units = oc.div_ceil(BLOCK);
        for (range, columns) in [(0..whole, BLOCK), (whole..units, rest)] {
            if range.is_empty() {
                continue;
            }
            let kernel = self.panel(product, (pixels, columns), surfaces);
            let call = |b: &mut NestBuilder, panel: Index| call_panel(b, kernel, product, surfaces, panel);
            if by_panels {
                b.share(range, units, call);
            } else {
                b.repeat(range, call);
            }
        }
    }

    fn panel(
        &mut self,
        product: &Product<'_>,
        (pixels, columns): (u32, u32),
        surfaces: &Surfaces,
    ) -> KernelId {
        let adds = product.post.contains(&Post::Add);
        let descriptor = MatmulPanel {
            pixels,
            tiles: columns.div_ceil(TILE_LANES),
            chunks: product.matrix.chunks as u32,
            step: product.matrix.step as i32,
            plane: match product.matrix.format {
                Format::Split { plane } => Some(plane),
                _ => None,
            },
            out: surfaces.out.pixel as i32,
            add: if adds { surfaces.add.pixel as i32 } else { 0 },
            post: product.post.to_vec(),
        };
        self.kernel(Descriptor::Matmul(descriptor))
    }

    /// A separable convolution whose pointwise part runs by tiles.
    pub(super) fn tiles_separable(&mut self, id: NodeId, parts: &Separable) -> Result<(), PlanError> {
        let maps = self.maps(id);
        let out = maps.out.shape;
        let row = self.matrix_bytes(&parts.pointwise, out.w()) + self.between_bytes(id, parts);
        self.limit(self.graph.node(id), "a row of the intermediate map", row, STEP_LIMIT)?;
        let Target { cache_bytes, .. } = self.program.target;
        let blocks = block_count(out.h(), row, cache_bytes, self.program.options.threads);
        let between = between(parts);
        let (spatial, product, bytes) =
            self.separable_product(id, parts, &between, out.h().div_ceil(blocks))?;
        let mut b = NestBuilder::new();
        b.repeat(0..self.program.options.batch, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            for run in block_runs(&parts.spatial.window, maps.input.shape.h(), out.h(), blocks) {
                b.share(run.blocks.clone(), blocks, |b, block| {
                    let here = surfaces.block(&run, block, parts.spatial.window.strides[0]);
                    self.spatial_matrix(b, &spatial, &product, (maps, &run, &here));
                    self.panels(b, &product, run.rows * out.w(), &here, false);
                });
            }
        });
        let operands = self.separable_operands(id, &spatial, &product, bytes);
        self.step(id, b, operands);
        Ok(())
    }

    /// Bytes of f32 values that other spatial parts than depthwise ones leave for a row, before they become bf16.
    fn between_bytes(&self, id: NodeId, parts: &Separable) -> u64 {
        let channels = self.program.target.padded(parts.spatial.partition.oc());
        let row = u64::from(channels) * u64::from(self.view(id).shape.w()) * F32 as u64;
        if is_depthwise(&parts.spatial) { 0 } else { row }
    }

    /// The parts of a separable convolution in blocks of up to `rows` rows, and the scratch memory that a block takes.
    pub(super) fn separable_product<'p>(
        &mut self,
        id: NodeId,
        parts: &'p Separable,
        between: &'p [Post],
        rows: u32,
    ) -> Result<(Job<'p>, Product<'p>, u64), PlanError>
    where
        Self: 'p,
    {
        let pixels = rows.saturating_mul(self.view(id).shape.w());
        let matrix = self.matrix(id, &parts.pointwise, pixels)?;
        let product = self.product(id, &parts.pointwise, (Activation::Linear, matrix));
        let weights = [Operand::PointwiseWeights, Operand::PointwiseBias];
        // The last pixel's vectors may end behind its channels.
        let slack = u64::from(self.program.target.vector_bytes());
        let bytes = matrix.end() + u64::from(rows) * self.between_bytes(id, parts) + slack;
        Ok((self.spatial(id, parts, between)?, Product { weights, ..product }, bytes))
    }

    /// The operands of a separable convolution with `bytes` of scratch memory; packs its constants.
    fn separable_operands(
        &mut self,
        id: NodeId,
        spatial: &Job<'_>,
        product: &Product<'_>,
        bytes: u64,
    ) -> Operands {
        let mut operands = self.operands(id, self.added(id));
        let first = self.pack(self.spatial_pack(spatial));
        let split = self.program.options.precision == Precision::Split;
        let second = self.pack(Pack::Tiles { conv: product.conv.clone(), split });
        set(&mut operands, [Operand::Weights, Operand::Bias], first);
        set(&mut operands, product.weights, second);
        operands[Operand::Scratch.index()] = Some(self.scratch(bytes));
        operands
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
        if is_depthwise(spatial.conv) {
            let matrix = product.matrix.surface(ow);
            let surfaces = Surfaces { out: matrix.clone(), add: matrix, ..here.clone() };
            self.spatial_rows(b, spatial, ((w, ow), product.matrix.format), run, &surfaces);
            return;
        }
        let pixel = i64::from(self.program.target.padded(spatial.conv.partition.oc())) * i64::from(F32);
        let origin = Offset::bytes(product.matrix.end() as i64);
        let between = Surface { operand: Operand::Scratch, origin, pixel, row: i64::from(ow) * pixel };
        let surfaces = Surfaces { out: between.clone(), add: between.clone(), ..here.clone() };
        self.spatial_rows(b, spatial, ((w, ow), Format::F32), run, &surfaces);
        let pixels = run.rows * ow;
        let (_, row) = one_row(pixels);
        self.gather_rows(b, product, (pixels, pixels), &row, &between);
    }
}

/// Calls a panel's kernel; panels before it have 32 columns.
fn call_panel(
    b: &mut NestBuilder,
    kernel: KernelId,
    product: &Product<'_>,
    surfaces: &Surfaces,
    panel: Index,
) {
    let matrix = &product.matrix;
    let columns = i64::from(BLOCK) * i64::from(F32);
    let weights = matmul::panel_bytes(matrix.chunks, 2, matrix.planes()) as i64;
    let [first, second] = product.weights;
    let arguments = vec![
        matrix.surface(1).at(|origin| origin),
        argument(first, Offset::default().along(panel, weights)),
        argument(second, Offset::default().along(panel, columns)),
        surfaces.out.at(|origin| origin.along(panel, columns)),
        surfaces.add.at(|origin| origin.along(panel, columns)),
        argument(Operand::Scratch, Offset::default()),
    ];
    b.call(kernel, arguments, None);
}
