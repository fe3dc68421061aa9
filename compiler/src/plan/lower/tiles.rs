//! Convolutions, dense layers and the pointwise part of separable layers by tiles of bf16 values, or by vectors of pairs of
//! them, which are called tiles here, too: a block of pixels becomes rows of a matrix in scratch memory, then every panel of
//! weights is multiplied with it.

use std::ops::Range;

use super::job::Job;
use super::maps::{Maps, one_row, set};
use super::place::{Surface, Surfaces};
use super::separable::between;
use super::{Operands, Planner, argument};
use crate::graph::{Activation, Conv, NodeId, Post, Separable, Shape, Window};
use crate::kernels::Descriptor;
use crate::kernels::epilogue::{Format, Planes};
use crate::kernels::gather::GatherPixels;
use crate::kernels::matmul::{self, BLOCK, MatmulPanel, SUMS_BYTES, Taps};
use crate::plan::nest::{Index, KernelId, NestBuilder, Offset, Operand};
use crate::plan::pack::{self, Pack, segment_sizes};
use crate::plan::values::View;
use crate::plan::windows::{BlockRun, RowRun, block_count, block_runs, tile_runs};
use crate::plan::{MEMORY_LIMIT, Part, Place, PlanError, STEP_LIMIT};
use crate::target::Bf16Unit;
use crate::vector::{F32, TILE_LANES, TILE_ROWS};

/// Fewest pixels of a block that make it worth while to read all weights for them, where there is a choice.
const FULL_BLOCK: u32 = 8 * BLOCK;

/// The part of a cache that may hold f32 values on their way to a matrix: two rows of 19 pixels of 728 channels.
const SHARE_BETWEEN: u32 = 16;

/// Weights that are so many times a matrix take longer to read than the matrix does from another core's cache.
const HEAVY: u64 = 4;

/// Rows behind a matrix that threads share: panels read whole tiles, and the last block may end with a tile that reaches
/// behind its pixels in another place than one for the whole matrix would.
const BEHIND: u32 = TILE_ROWS;

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
        let words = pack::tile_words(self.conv, self.matrix.planes.count);
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

/// Bytes between rows of `chunks` chunks: an odd number of cache lines, so that the rows of a tile do not
/// compete for the same places of the cache.
pub(super) fn row_step(chunks: u64) -> u64 {
    (chunks | 1) * 64
}

impl Planner<'_> {
    /// Whether a convolution runs by tiles.
    pub(super) fn takes_tiles(&self, id: NodeId, conv: &Conv) -> bool {
        self.program.methods(id).takes_tiles(self.graph.node(id), conv)
    }

    /// Whether it would, but planes of pairs take the place of its windows.
    pub(super) fn takes_planes_of_pairs(&self, id: NodeId) -> bool {
        self.program.methods(id).takes_planes_of_pairs(self.graph.node(id)) && self.rows_are_near(id)
    }

    /// The matrix for `pixels` pixels of a convolution.
    pub(super) fn matrix(&self, id: NodeId, conv: &Conv, pixels: u32) -> Result<Matrix, PlanError> {
        let chunks = pack::row_chunks(conv);
        let step = row_step(chunks);
        let shared = u64::from(pack::gathered(conv).1 - 1) * u64::from(self.view(id).shape.w());
        let plane = (u64::from(pixels.next_multiple_of(TILE_ROWS)) + shared) * step;
        self.limit(self.graph.node(id), "a matrix of bf16 values", plane, STEP_LIMIT)?;
        let count = self.program.precision(id).parts();
        let planes = Planes { count, distance: if count > 1 { plane as i32 } else { 0 } };
        Ok(Matrix { operand: Operand::Scratch, origin: SUMS_BYTES, step, plane, planes, chunks })
    }

    /// Bytes of a matrix of `pixels` rows, all planes.
    fn matrix_bytes(&self, id: NodeId, conv: &Conv, pixels: u32) -> u64 {
        let planes = self.program.precision(id).parts();
        u64::from(pixels) * row_step(pack::row_chunks(conv)) * u64::from(planes)
    }

    /// A convolution that is not fused with another.
    pub(super) fn tiles_conv(&mut self, id: NodeId, conv: &Conv) -> Result<(), PlanError> {
        let maps = self.maps(id);
        let (batch, image) = (self.program.options.batch, maps.out.shape.pixels());
        let pixels = u32::try_from(image * u64::from(batch)).ok();
        // The pixels of all images as if they were one row.
        if let Some(pixels) = pixels.filter(|_| conv.window.is_point() && maps.is_one_run()) {
            let along =
                |view: View| View { pixel: view.pixel, shape: Shape::map(pixels, 1, view.shape.c()), ..view };
            let maps = Maps { input: along(maps.input), out: along(maps.out), add: along(maps.add) };
            return self.tiles_of_images(id, conv, 1, maps);
        }
        self.tiles_of_images(id, conv, batch, maps)
    }

    /// A convolution of some images, in blocks of rows: as a step, or as one that gathers windows and one that
    /// multiplies where threads would have too few rows to share.
    fn tiles_of_images(&mut self, id: NodeId, conv: &Conv, images: u32, maps: Maps) -> Result<(), PlanError> {
        let out = maps.out.shape;
        let bytes = self.matrix_bytes(id, conv, out.w()).saturating_mul(u64::from(out.h()));
        if images == 1 && self.multiplies_apart(id, conv, (out, bytes)) {
            return self.tiles_apart(id, conv, maps);
        }
        let operands = self.operands(id, self.added(id));
        let layer = (conv, self.graph.node(id).fusion.load, self.post(id));
        self.tiles_step(id, layer, (images, maps), (Part::Whole, operands))
    }

    /// A convolution of some images with its activation on the way in and its epilogue, as a step: units are segments of
    /// blocks of rows.
    fn tiles_step(
        &mut self,
        id: NodeId,
        (conv, load, post): (&Conv, Activation, &[Post]),
        (images, maps): (u32, Maps),
        (part, mut operands): (Part, Operands),
    ) -> Result<(), PlanError> {
        let (input, out) = (maps.input.shape, maps.out.shape);
        let blocks = self.tile_blocks((out, images), self.matrix_bytes(id, conv, out.w()));
        let matrix = self.matrix(id, conv, out.h().div_ceil(blocks).saturating_mul(out.w()))?;
        let product = Product { post, ..self.product(id, conv, (load, matrix)) };
        let weights = product.weights;
        let mut b = NestBuilder::new();
        b.divide(images, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            for run in block_runs(&conv.window, input.h(), out.h(), blocks) {
                b.units(run.blocks.clone(), product.segments(), |b, [block, segment]| {
                    let surfaces = surfaces.block(&run, block, conv.window.strides[0]);
                    self.segment(b, (&product, segment), ((input.w(), out.w()), &run), &surfaces);
                });
            }
        });
        let constants = self.tile_constants(&product);
        set(&mut operands, weights, constants);
        operands[Operand::Scratch.index()] = Some(self.scratch(matrix.end()));
        self.step_of(id, part, b, operands);
        Ok(())
    }

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

    /// The product's segment of a block of rows, which `surfaces` are moved to; `widths` are those of input and output.
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

    /// How many blocks the rows of each of some maps are cut into, whose matrix has `row_bytes` for each of them.
    fn tile_blocks(&self, (out, images): (Shape, u32), row_bytes: u64) -> u32 {
        let full = u32::try_from(out.pixels() / u64::from(FULL_BLOCK)).unwrap_or(u32::MAX);
        let threads = self.program.options.threads.div_ceil(images);
        let fewest = full.clamp(1, self.fewest_units(images));
        let fewest = fewest.checked_next_multiple_of(threads).unwrap_or(fewest);
        block_count(out.h(), row_bytes, self.program.target.cache_bytes, fewest)
    }

    /// Whether threads share panels of weights rather than rows of a result: there are few of these, and the whole
    /// matrix of `bytes` stays in their caches.
    fn multiplies_apart(&self, id: NodeId, conv: &Conv, (out, bytes): (Shape, u64)) -> bool {
        let threads = u64::from(self.program.options.threads);
        let caches = u64::from(self.program.target.cache_bytes) * threads;
        let are_few = out.pixels() < u64::from(2 * BLOCK) * threads;
        let panels = u64::from(conv.partition.oc().div_ceil(BLOCK));
        threads > 1
            && conv.partition.segments() == 1
            && bytes <= caches
            && panels >= threads
            && (are_few || weigh_more(conv, self.program.precision(id).parts(), bytes))
    }

    /// A convolution of an image as two steps.
    fn tiles_apart(&mut self, id: NodeId, conv: &Conv, maps: Maps) -> Result<(), PlanError> {
        let (input, out) = (maps.input.shape, maps.out.shape);
        let matrix = self.matrix(id, conv, out.pixels() as u32 + BEHIND)?.whole(Operand::Out);
        let product = self.product(id, conv, (self.graph.node(id).fusion.load, matrix));
        let mut b = NestBuilder::new();
        b.divide(1, |b, _| {
            let rows = out.h() + product.taps.count - 1;
            let blocks = self.fewest_units(1).min(rows);
            for run in block_runs(&product.gathered, input.h(), rows, blocks) {
                b.units(run.blocks.clone(), 1, |b, [block, _]| {
                    let surface = maps.surfaces().input.block(&run, block, conv.window.strides[0]);
                    let to = matrix.surface(out.w()).block(&run, block, 1);
                    self.gather_into(b, &product, (input.w(), out.w()), &run, [&surface, &to]);
                });
            }
        });
        let between = self.between_steps(matrix.end());
        let operands = self.operands_of_first(id, between);
        self.step_of(id, Part::Windows, b, operands);
        let constants = self.tile_constants(&product);
        self.multiply_shared(id, &product, maps, (Part::Products, between, constants));
        Ok(())
    }

    /// The step that multiplies a matrix which the step before it left in `between`: a unit for each panel, and where the
    /// matrix is cut, for each thread's part of the pixels.
    fn multiply_shared(
        &mut self,
        id: NodeId,
        product: &Product<'_>,
        maps: Maps,
        (part, between, constants): (Part, Place, [Place; 2]),
    ) {
        let product = Product { matrix: product.matrix.whole(Operand::In), ..product.clone() };
        let pixels = maps.out.shape.pixels() as u32;
        let most = if self.is_cut(&product) { self.program.options.threads } else { 1 };
        let blocks = (pixels / BLOCK).clamp(1, most);
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
                        let kernel = self.panel(&product, (run.rows, columns), &surfaces);
                        call_panel(b, kernel, &product, &surfaces, (panels.start, part));
                    });
                }
            }
        });
        let mut operands = self.operands(id, self.added(id));
        operands[Operand::In.index()] = Some(between);
        set(&mut operands, product.weights, constants);
        operands[Operand::Scratch.index()] = Some(self.scratch(SUMS_BYTES));
        self.step_of(id, part, b, operands);
    }

    /// Whether each thread multiplies its part of the pixels with all weights, rather than all pixels with its part of the
    /// weights: the matrix leaves too little of a cache, and weights are not so many that reading all costs more.
    fn is_cut(&self, product: &Product<'_>) -> bool {
        let (matrix, fits) = (product.matrix.end(), u64::from(self.program.target.cache_bytes) / 4 * 3);
        let planes = product.matrix.planes.count;
        let reads_weights = weigh_more(product.conv, planes, HEAVY.saturating_mul(matrix));
        matrix > if reads_weights { 2 * fits } else { fits }
    }

    fn tile_constants(&mut self, product: &Product<'_>) -> [Place; 2] {
        self.pack(product.constants_pack())
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
        let weights = [Operand::Weights, Operand::Bias];
        let (gathered, count) = pack::gathered(conv);
        let distance = if count > 1 { self.view(id).shape.w() as i32 * matrix.step as i32 } else { 0 };
        let (post, constants, taps) = (self.post(id), Default::default(), Taps { count, distance });
        Product { conv, load, post, weights, matrix, constants, gathered, taps }
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
        let rows = product.gathered_rows(block);
        self.gather_into(b, product, (w, ow), &rows, [input, &product.matrix.surface(ow)]);
    }

    /// As [`Planner::gather_rows`], into the rows of `matrix`, for a block of these.
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

    /// The kernel that gathers equal pixels: `rows` are the rows of taps above the image and inside it, `taps`
    /// those of a row inside.
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
        let target = self.program.target;
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

    /// A separable convolution of which both parts run by tiles, as a step each.
    fn tiles_twice(&mut self, id: NodeId, parts: &Separable) -> Result<(), PlanError> {
        let (maps, batch) = (self.maps(id), self.program.options.batch);
        let shape = Shape::map(maps.out.shape.h(), maps.out.shape.w(), parts.spatial.partition.oc());
        let pixel = self.program.target.pixel_bytes(shape.c());
        let image = shape.pixels().saturating_mul(pixel);
        let bytes = image.saturating_mul(u64::from(batch));
        self.limit(self.graph.node(id), "the map between the two parts", bytes, MEMORY_LIMIT)?;
        let memory = self.between_steps(bytes + u64::from(self.program.target.vector_bytes()));
        let map = View { offset: memory.offset, pixel, image, shape };
        let between = between(parts);
        let spatial = (&parts.spatial, self.graph.node(id).fusion.load, &between[..]);
        let operands = self.operands_of_first(id, memory);
        let of_spatial = Maps { out: map, add: map, ..maps };
        if self.takes_planes_of_pairs(id) {
            let job = self.spatial(id, parts, (&between, true))?;
            self.spatial_step(id, &job, of_spatial, operands);
        } else {
            self.tiles_step(id, spatial, (batch, of_spatial), (Part::Spatial, operands))?;
        }
        let mut operands = self.operands(id, self.added(id));
        operands[Operand::In.index()] = Some(memory);
        let pointwise = (&parts.pointwise, Activation::Linear, self.post(id));
        self.tiles_step(id, pointwise, (batch, Maps { input: map, ..maps }), (Part::Pointwise, operands))
    }

    /// A separable convolution whose pointwise part runs by tiles.
    pub(super) fn tiles_separable(&mut self, id: NodeId, parts: &Separable) -> Result<(), PlanError> {
        if self.program.methods(id).takes_tiles_twice(self.graph.node(id)) {
            return self.tiles_twice(id, parts);
        }
        let maps = self.maps(id);
        let out = maps.out.shape;
        let row = self.matrix_bytes(id, &parts.pointwise, out.w());
        let with_between = row.saturating_add(self.between_bytes(id, parts));
        self.limit(self.graph.node(id), "a row of the intermediate map", with_between, STEP_LIMIT)?;
        let between = between(parts);
        let matrix_bytes = row.saturating_mul(u64::from(out.h()));
        let (batch, planes) = (self.program.options.batch, self.program.precision(id).parts());
        let apart =
            self.runs_apart(parts, maps, matrix_bytes) && weigh_more(&parts.pointwise, planes, matrix_bytes);
        if apart && batch == 1 && parts.spatial.partition.is_one_to_one() {
            return self.tiles_stages_apart(id, parts, &between, maps);
        }
        let blocks = self.tile_blocks((out, batch), row);
        let (spatial, product, bytes) =
            self.separable_product(id, parts, &between, out.h().div_ceil(blocks))?;
        let mut b = NestBuilder::new();
        b.divide(batch, |b, image| {
            let surfaces = maps.surfaces().image(image, maps.images());
            for run in block_runs(&parts.spatial.window, maps.input.shape.h(), out.h(), blocks) {
                b.units(run.blocks.clone(), 1, |b, [block, _]| {
                    let here = surfaces.block(&run, block, parts.spatial.window.strides[0]);
                    self.spatial_matrix(b, &spatial, &product, (maps, &run, &here));
                    self.panels(b, &product, run.rows * out.w(), &here);
                });
            }
        });
        let mut operands = self.operands(id, self.added(id));
        let first = self.pack(self.spatial_pack(&spatial));
        let second = self.tile_constants(&product);
        set(&mut operands, [Operand::Weights, Operand::Bias], first);
        set(&mut operands, product.weights, second);
        operands[Operand::Scratch.index()] = Some(self.scratch(bytes));
        self.step(id, b, operands);
        Ok(())
    }

    /// A depthwise part, and a pointwise part by tiles, as a step each.
    fn tiles_stages_apart(
        &mut self,
        id: NodeId,
        parts: &Separable,
        between: &[Post],
        maps: Maps,
    ) -> Result<(), PlanError> {
        let (input, out) = (maps.input.shape, maps.out.shape);
        let spatial = self.spatial(id, parts, (between, false))?;
        let matrix = self.matrix(id, &parts.pointwise, out.pixels() as u32 + BEHIND)?.whole(Operand::Out);
        let weights = [Operand::PointwiseWeights, Operand::PointwiseBias];
        let product = Product { weights, ..self.product(id, &parts.pointwise, (Activation::Linear, matrix)) };
        let mut b = NestBuilder::new();
        b.divide(1, |b, _| {
            let to = matrix.surface(out.w());
            let surfaces = Surfaces { input: maps.surfaces().input, out: to.clone(), add: to };
            self.spatial_units(b, &spatial, ((input, out), matrix.format()), &surfaces);
        });
        let memory = self.between_steps(matrix.end());
        let mut operands = self.operands_of_first(id, memory);
        let constants = self.pack(self.spatial_pack(&spatial));
        set(&mut operands, [Operand::Weights, Operand::Bias], constants);
        self.step_of(id, Part::Spatial, b, operands);
        let constants = self.tile_constants(&product);
        self.multiply_shared(id, &product, maps, (Part::Pointwise, memory, constants));
        Ok(())
    }

    /// How many rows other spatial parts than depthwise ones do at a time, of which each leaves `bytes` of f32 values before
    /// they become bf16: as many as leave most of the cache to the matrix.
    fn rows_between(&self, bytes: u64) -> u32 {
        let share = u64::from(self.program.target.cache_bytes / SHARE_BETWEEN);
        u32::try_from(share / bytes.max(1)).unwrap_or(u32::MAX).max(1)
    }

    /// Bytes of f32 values that other spatial parts than depthwise ones leave for a row, before they become bf16.
    fn between_bytes(&self, id: NodeId, parts: &Separable) -> u64 {
        let channels = self.program.target.padded(parts.spatial.partition.oc());
        let row = u64::from(channels) * u64::from(self.view(id).shape.w()) * F32 as u64;
        if parts.spatial.partition.is_one_to_one() { 0 } else { row }
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
        let row = self.between_bytes(id, parts);
        let bytes = matrix.end() + u64::from(rows.min(self.rows_between(row))) * row + slack;
        Ok((self.spatial(id, parts, (between, false))?, Product { weights, ..product }, bytes))
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
        if spatial.conv.partition.is_one_to_one() {
            let matrix = product.matrix.surface(ow);
            let surfaces = Surfaces { out: matrix.clone(), add: matrix, ..here.clone() };
            self.spatial_rows(b, spatial, ((w, ow), product.matrix.format()), run, &surfaces);
            return;
        }
        let pixel = i64::from(self.program.target.padded(spatial.conv.partition.oc())) * i64::from(F32);
        let origin = Offset::bytes(product.matrix.end() as i64);
        let between = Surface { operand: Operand::Scratch, origin, pixel, row: i64::from(ow) * pixel };
        for part in run.parts(self.rows_between(between.row as u64)) {
            b.repeat(part.blocks.clone(), |b, index| {
                let here = here.block(&part, index, spatial.conv.window.strides[0]);
                let surfaces = Surfaces { out: between.clone(), add: between.clone(), ..here };
                self.spatial_rows(b, spatial, ((w, ow), Format::F32), &part, &surfaces);
                let (pixels, (_, row)) = (part.rows * ow, one_row(part.rows * ow));
                let matrix = product.matrix.surface(ow).block(&part, index, 1);
                self.gather_into(b, product, (pixels, pixels), &row, [&between, &matrix]);
            });
        }
    }
}

/// True if all panels of weights, each in `parts` parts, are larger than a matrix of `bytes`.
fn weigh_more(conv: &Conv, parts: u32, bytes: u64) -> bool {
    let tiles = u64::from(conv.partition.oc().div_ceil(TILE_LANES));
    matmul::panel_bytes(pack::chunks(conv), tiles, u64::from(parts)) > bytes
}

/// Panels of a segment of equal width, and their columns: whole tiles, but behind the last column of a segment there
/// may be the next one.
fn panels_by_width(conv: &Conv) -> [(Range<u32>, u32); 2] {
    let [_, oc] = segment_sizes(conv);
    let (whole, all) = (oc / BLOCK, oc.div_ceil(BLOCK));
    let is_alone = conv.partition.segments() == 1;
    let rest = if is_alone { (oc % BLOCK).next_multiple_of(TILE_LANES) } else { oc % BLOCK };
    [(0..whole, BLOCK), (whole..all, rest)]
}

/// Calls the kernel of panel `first + panel`; panels before it have 32 columns. The input is the matrix.
fn call_panel(
    b: &mut NestBuilder,
    kernel: KernelId,
    product: &Product<'_>,
    surfaces: &Surfaces,
    (first, panel): (u32, Index),
) {
    let matrix = &product.matrix;
    let columns = i64::from(BLOCK) * i64::from(F32);
    let weights = matmul::panel_bytes(pack::chunks(product.conv), 2, u64::from(matrix.planes.count)) as i64;
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
