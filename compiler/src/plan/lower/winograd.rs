//! Convolutions of 3x3 taps by Winograd's method: patches are transformed into planes, each plane
//! is multiplied by weights like a map of pixels, and the sums are transformed into results.
//!
//! Either a unit of work does all of that for a segment and a block of patches, with planes in
//! scratch memory, or each is a step of its own, so that threads share planes and each weight is
//! read once.

use super::job::Job;
use super::maps::{Maps, one_row};
use super::matmul::{Matrix, Product};
use super::panels::{PanelRun, Start};
use super::place::{Surface, Surfaces};
use super::runs::{Run, WinogradRun};
use super::{Lowering, Operands, argument};
use crate::graph::{Activation, Conv, NodeId, Pads, Partition, Post, Window};
use crate::kernels::Descriptor;
use crate::kernels::epilogue::{self, Format};
use crate::kernels::fast_inner;
use crate::kernels::matmul::{CHUNK, SUMS_BYTES};
use crate::kernels::winograd::{self, INPUTS, InputPatches, OutputPatches, PATCH, PLANES};
use crate::plan::emit::Emitter;
use crate::plan::nest::{Argument, Index, NestBuilder, Offset, Operand};
use crate::plan::{Part, Place};
use crate::schedule::Division;
use crate::schedule::direct::{DirectConv, TileShape};
use crate::schedule::rules::LARGEST_TILE;
use crate::schedule::segments::{PlaneProducts, Taps};
use crate::schedule::tiling::{BlockRun, RowRun, TileRun, block_runs, tile_runs};
use crate::schedule::winograd::plane_bytes;
use crate::target::Target;
use crate::vector::F32;

impl WinogradRun {
    /// How inputs are stored.
    fn format(&self) -> Format {
        match self.planes.products {
            PlaneProducts::Vectors(_) | PlaneProducts::FastInner(_) => Format::F32,
            PlaneProducts::Pairs => Format::Bf16(epilogue::Planes::SINGLE),
        }
    }

    /// Maps, moved to the channels of a segment.
    fn surfaces(&self, surfaces: &Surfaces, segment: Index) -> Surfaces {
        let moved = |surface: &Surface, start: i64, channels: u32| {
            let surface = surface.channel(start);
            let origin = surface.origin.clone().along(segment, i64::from(channels) * i64::from(F32));
            Surface { origin, ..surface }
        };
        let (ic, oc) = (self.planes.ic, self.planes.oc);
        Surfaces {
            input: moved(&surfaces.input, self.at.input, ic),
            out: moved(&surfaces.out, self.at.output, oc),
            add: moved(&surfaces.add, self.at.output, oc),
        }
    }

    /// The panels of the products of a segment's planes, of so many vectors.
    fn panels(
        &self,
        (vectors, taps): (u32, Taps),
        lanes: u32,
        (patches, segment): (&Patches, Index),
    ) -> Vec<PanelRun> {
        let at = Start { input: 0, output: 0, ..self.at };
        let around = (segment, self.planes.constants(lanes));
        let distances = [patches.inputs.plane, patches.sums.plane].map(|bytes| bytes as i64 / i64::from(F32));
        let [_, of_plane] = self.planes.constants_of_plane(lanes);
        PanelRun::of_planes(
            (self.planes.ic, self.planes.oc),
            (vectors, lanes),
            (at, around),
            (distances, taps, of_plane),
        )
    }
}

/// Planes behind each other, a value of each patch in every one. Distances are in bytes.
#[derive(Clone, Copy)]
struct Planes {
    operand: Operand,
    origin: u64,
    /// Between neighbouring patches of a row, and between rows of patches.
    patch: u64,
    row: u64,
    plane: u64,
    /// Between segments; 0 where there are only the planes of one.
    segment: u64,
}

impl Planes {
    /// The planes of so many rows of patches of a segment in scratch memory, with so many bytes
    /// for each patch.
    fn of_block(patch: u64, origin: u64, [rows, columns]: [u32; 2]) -> Self {
        let (row, plane) = (u64::from(columns) * patch, plane_bytes(patch, rows, columns));
        Self { operand: Operand::Scratch, origin, patch, row, plane, segment: 0 }
    }

    /// First byte behind the planes of a segment.
    fn end(&self) -> u64 {
        self.origin + u64::from(PLANES) * self.plane
    }

    /// The planes of all segments at the start of an operand.
    fn of_segments(self, operand: Operand) -> Self {
        Self { operand, origin: 0, segment: u64::from(PLANES) * self.plane, ..self }
    }

    /// The first plane of a segment as a map of patches.
    fn surface(&self, segment: Index) -> Surface {
        let origin = Offset::bytes(self.origin as i64).along(segment, self.segment as i64);
        Surface { operand: self.operand, origin, pixel: self.patch as i64, row: self.row as i64 }
    }
}

/// The patches of a map, and planes of them.
#[derive(Clone)]
pub(super) struct Patches {
    /// What a patch is of the input.
    window: Window,
    /// Rows and columns of the input, and of the result.
    input: [u32; 2],
    out: [u32; 2],
    /// Rows of patches, and patches in a row.
    rows: u32,
    columns: u32,
    /// Blocks of rows of patches.
    blocks: u32,
    inputs: Planes,
    sums: Planes,
}

impl Patches {
    /// The patches of a run of a convolution between maps of these rows and columns, in `blocks`
    /// blocks.
    pub fn new(
        target: Target,
        job: &Job<'_>,
        run: &WinogradRun,
        [input, out]: [[u32; 2]; 2],
        blocks: u32,
    ) -> Self {
        let [rows, columns] = winograd::patches(out);
        let of_block = [rows.div_ceil(blocks), columns];
        let [input_bytes, sum_bytes] = run.planes.patch_bytes(target);
        let inputs = Planes::of_block(input_bytes, 0, of_block);
        let sums = Planes::of_block(sum_bytes, inputs.end(), of_block);
        let Pads { top, left, .. } = job.direct.conv.window.pads;
        let window = Window {
            kernel: [INPUTS; 2],
            strides: [PATCH; 2],
            pads: Pads { top, left, ..Pads::default() },
            ..Window::POINT
        };
        Self { window, input, out, rows, columns, blocks, inputs, sums }
    }

    /// The same patches in planes of whole maps, which steps pass on.
    fn shared(self, target: Target, run: &WinogradRun) -> Self {
        let whole = [self.rows, self.columns];
        let [input_bytes, sum_bytes] = run.planes.patch_bytes(target);
        let [inputs, sums] = [(input_bytes, Operand::In), (sum_bytes, Operand::Out)]
            .map(|(patch, operand)| Planes::of_block(patch, 0, whole).of_segments(operand));
        Self { inputs, sums, ..self }
    }

    /// Bytes of scratch memory for a block.
    fn end(&self, target: Target) -> u64 {
        self.sums.end() + u64::from(target.vector_bytes())
    }

    /// Results of a patch along an axis, for the patches that begin with number `first`: of an odd
    /// number of results the last patch has one. No other patch has the same inputs inside the
    /// image, so those that are treated alike have as many.
    fn inside(&self, axis: usize, first: u32) -> u32 {
        PATCH.min(self.out[axis] - PATCH * first)
    }

    /// The patches of a row, those with the same columns inside the image together.
    fn in_row(&self) -> Vec<TileRun> {
        tile_runs(&self.window, self.input[1], self.columns, 1)
    }

    /// The patches of a block that have the same rows and columns inside the image, by rows and
    /// then within each.
    fn alike<'b>(&self, block: &'b BlockRun) -> impl Iterator<Item = (&'b RowRun, TileRun)> {
        let in_row = self.in_row();
        block.runs.iter().flat_map(move |rows| in_row.clone().into_iter().map(move |tiles| (rows, tiles)))
    }

    /// The rows of patches in so many blocks.
    fn blocks(&self, blocks: u32) -> Vec<BlockRun> {
        block_runs(&self.window, self.input[0], self.rows, blocks)
    }
}

/// A surface of pixels, moved to those of a block of patches.
fn pixels(surface: &Surface, block: &BlockRun, number: Index) -> Surface {
    let two_rows = Surface { row: i64::from(PATCH) * surface.row, ..surface.clone() };
    Surface { row: surface.row, ..two_rows.block(block, number, 1) }
}

impl Emitter {
    /// The runs of a convolution by Winograd's method, with their patches.
    pub(super) fn patches(
        &self,
        job: &Job<'_>,
        division: &Division,
        sizes: [[u32; 2]; 2],
    ) -> Vec<(WinogradRun, Patches)> {
        let blocks = if let Division::Rows { patches, .. } = division { patches.as_slice() } else { &[] };
        let planes = job.all_runs(self.target.lanes).into_iter().filter_map(|run| match run {
            Run::Winograd(run) => Some(run),
            Run::Packed(_) | Run::Panels(_) => None,
        });
        let patches = planes.zip(blocks).map(|(run, &blocks)| {
            let patches = Patches::new(self.target, job, &run, sizes, blocks);
            (run, patches)
        });
        patches.collect()
    }

    /// The scratch memory that the runs of a convolution by Winograd's method take, if there are
    /// any.
    pub(super) fn winograd_scratch(
        &mut self,
        job: &Job<'_>,
        division: &Division,
        sizes: [[u32; 2]; 2],
    ) -> Option<Place> {
        let patches = self.patches(job, division, sizes);
        let bytes = patches.iter().map(|(_, patches)| patches.end(self.target)).max()?;
        Some(self.scratch(bytes))
    }

    /// Segments by Winograd's method: a unit for each of them in each block of patches.
    pub(super) fn winograd_units(
        &mut self,
        b: &mut NestBuilder,
        (job, run): (&Job<'_>, &WinogradRun),
        patches: &Patches,
        surfaces: &Surfaces,
    ) {
        for block in patches.blocks(patches.blocks) {
            b.units(block.blocks.clone(), run.planes.segments, |b, [number, segment]| {
                let here = run.surfaces(surfaces, segment);
                let here = Surfaces {
                    input: pixels(&here.input, &block, number),
                    out: pixels(&here.out, &block, number),
                    add: pixels(&here.add, &block, number),
                };
                let [inputs, sums] = [patches.inputs, patches.sums].map(|planes| planes.surface(segment));
                self.transform_inputs(b, (job, run, segment), (patches, &block), [&here.input, &inputs]);
                let count = block.rows * patches.columns;
                b.repeat(0..PLANES, |b, plane| {
                    self.multiply(b, (job, run), (patches, segment, plane), (count, [&inputs, &sums]));
                });
                self.transform_sums(b, (job, run), (patches, &block), (&sums, &here));
            });
        }
    }

    fn nest_of_inputs(
        &mut self,
        (job, run): (&Job<'_>, &WinogradRun),
        patches: &Patches,
        surfaces: &Surfaces,
    ) -> NestBuilder {
        let planes = Planes { operand: Operand::Out, ..patches.inputs };
        let mut b = NestBuilder::new();
        b.divide(1, |b, _| {
            for block in patches.blocks(patches.blocks) {
                b.units(block.blocks.clone(), run.planes.segments, |b, [number, segment]| {
                    let from = pixels(&run.surfaces(surfaces, segment).input, &block, number);
                    let to = planes.surface(segment).block(&block, number, 1);
                    self.transform_inputs(b, (job, run, segment), (patches, &block), [&from, &to]);
                });
            }
        });
        b
    }

    /// The products: a unit for each plane of each segment.
    fn nest_of_products(&mut self, (job, run): (&Job<'_>, &WinogradRun), patches: &Patches) -> NestBuilder {
        let mut b = NestBuilder::new();
        b.divide(1, |b, _| {
            b.units(0..run.planes.segments, PLANES, |b, [segment, plane]| {
                let [inputs, sums] = [patches.inputs, patches.sums].map(|planes| planes.surface(segment));
                let count = patches.rows * patches.columns;
                self.multiply(b, (job, run), (patches, segment, plane), (count, [&inputs, &sums]));
            });
        });
        b
    }

    fn nest_of_results(
        &mut self,
        (job, run): (&Job<'_>, &WinogradRun),
        patches: &Patches,
        surfaces: &Surfaces,
    ) -> NestBuilder {
        let planes = Planes { operand: Operand::In, ..patches.sums };
        let mut b = NestBuilder::new();
        b.divide(1, |b, _| {
            for block in patches.blocks(patches.blocks) {
                b.units(block.blocks.clone(), run.planes.segments, |b, [number, segment]| {
                    let from = planes.surface(segment).block(&block, number, 1);
                    let Surfaces { input, out, add } = run.surfaces(surfaces, segment);
                    let [out, add] = [out, add].map(|surface| pixels(&surface, &block, number));
                    self.transform_sums(
                        b,
                        (job, run),
                        (patches, &block),
                        (&from, &Surfaces { input, out, add }),
                    );
                });
            }
        });
        b
    }

    /// The inputs of a block of patches into planes, ready for their products.
    fn transform_inputs(
        &mut self,
        b: &mut NestBuilder,
        (job, run, segment): (&Job<'_>, &WinogradRun, Index),
        (patches, block): (&Patches, &BlockRun),
        [input, planes]: [&Surface; 2],
    ) {
        let Pads { top, left, .. } = patches.window.pads;
        for (rows, tiles) in patches.alike(block) {
            let descriptor = InputPatches {
                lanes: self.target.lanes,
                channels: run.planes.ic,
                rows: rows.taps.clone(),
                columns: tiles.clip.0[0].clone(),
                pixel: input.pixel as i32,
                row: input.row as i32,
                patch: planes.pixel as i32,
                plane: patches.inputs.plane as i32,
                load: job.direct.load,
                format: run.format(),
            };
            let kernel = self.kernel(Descriptor::WinogradInput(descriptor));
            let first_row = i64::from(PATCH * rows.first + rows.taps.start) - i64::from(top);
            let first_pixel = i64::from(PATCH * tiles.first) - i64::from(left);
            b.repeat(0..rows.count, |b, row| {
                let from = input.at(|origin| {
                    let start = origin.plus(first_row * input.row + first_pixel * input.pixel);
                    start.along(row, i64::from(PATCH) * input.row)
                });
                let to = first_patch(planes, [rows.first, tiles.first], row);
                b.call(kernel, vec![from, to], Some(tiles.count));
            });
        }
        if let PlaneProducts::FastInner(_) = run.planes.products {
            let count = block.rows * patches.columns;
            b.repeat(0..PLANES, |b, plane| {
                let made =
                    (run.planes.ic, Activation::Linear, self.factors_of_plane((job, run), segment, plane));
                let plane = moved(planes, plane, patches.inputs.plane as i64);
                self.ready_pixels(b, made, [&plane; 2], count);
            });
        }
    }

    /// Where the factors of inputs of a segment's plane lie among its packed biases.
    fn factors_of_plane(
        &self,
        (job, run): (&Job<'_>, &WinogradRun),
        segment: Index,
        plane: Index,
    ) -> Argument {
        let lanes = self.target.lanes;
        let [[_, of_segment], [_, of_plane]] =
            [run.planes.constants(lanes), run.planes.constants_of_plane(lanes)];
        let first = run.at.bias + fast_inner::factors(run.planes.oc, lanes) as i64;
        let word = i64::from(F32);
        let offset =
            Offset::bytes(word * first).along(segment, word * of_segment).along(plane, word * of_plane);
        argument(job.bias, offset)
    }

    /// The products of `count` patches of a plane with a segment's weights; `inputs` and `sums`
    /// are the segment's first plane.
    fn multiply(
        &mut self,
        b: &mut NestBuilder,
        (job, run): (&Job<'_>, &WinogradRun),
        (patches, segment, plane): (&Patches, Index, Index),
        (count, [inputs, sums]): (u32, [&Surface; 2]),
    ) {
        let lanes = self.target.lanes;
        match run.planes.products {
            PlaneProducts::Vectors(vectors) => {
                let panels = run.panels((vectors, Taps::Apart), lanes, (patches, segment));
                self.multiply_vectors(b, (job, run), (&panels, plane), (count, [inputs, sums]));
            }
            PlaneProducts::FastInner(vectors) => {
                let panels = run.panels((vectors, Taps::Prescaled), lanes, (patches, segment));
                self.multiply_vectors(b, (job, run), (&panels, plane), (count, [inputs, sums]));
            }
            PlaneProducts::Pairs => {
                let distances = [patches.inputs.plane, patches.sums.plane].map(|bytes| bytes as i64);
                let [inputs, sums] = [(inputs, distances[0]), (sums, distances[1])]
                    .map(|(surface, distance)| moved(surface, plane, distance));
                self.multiply_pairs(b, (job, run), (segment, plane), (count, [inputs, sums]));
            }
        }
    }

    /// Products in vectors. They are those of a pointwise convolution with a segment for each
    /// plane.
    fn multiply_vectors(
        &mut self,
        b: &mut NestBuilder,
        (job, run): (&Job<'_>, &WinogradRun),
        (panels, plane): (&[PanelRun], Index),
        (count, [inputs, sums]): (u32, [&Surface; 2]),
    ) {
        let planes = PLANES as usize;
        let partition = Partition::new(vec![run.planes.ic; planes], vec![run.planes.oc; planes]);
        let conv = Conv { window: Window::POINT, partition, parts: Vec::new() };
        let shape = TileShape { row: LARGEST_TILE as u32, ..job.direct.shape };
        let direct = DirectConv { conv: &conv, load: Activation::Linear, post: &[], shape };
        let (algorithms, units) = (Vec::new(), Vec::new());
        let products = Job { direct, weights: job.weights, bias: job.bias, algorithms, units, ready: None };
        let (widths, column) = one_row(count);
        let surfaces = Surfaces { input: inputs.clone(), out: sums.clone(), add: sums.clone() };
        for panels in panels {
            products.panels_of_block(self, b, (panels, plane), (widths, &column, &surfaces));
        }
    }

    /// Products of pairs of bf16 values. They are those of a matrix for each plane, which `inputs`
    /// and `sums` are moved to.
    fn multiply_pairs(
        &mut self,
        b: &mut NestBuilder,
        (job, run): (&Job<'_>, &WinogradRun),
        (segment, plane): (Index, Index),
        (count, [inputs, sums]): (u32, [Surface; 2]),
    ) {
        let lanes = self.target.lanes;
        let (ic, oc) = (run.planes.ic, run.planes.oc);
        let partition = Partition::new(vec![ic], vec![oc]);
        let conv = Conv { window: Window::POINT, partition, parts: Vec::new() };
        let (of_segment, of_plane) = (run.planes.constants(lanes), run.planes.constants_of_plane(lanes));
        let constant = |which: usize| {
            let first = [run.at.weights, run.at.bias][which];
            Offset::bytes(4 * first).along(segment, 4 * of_segment[which]).along(plane, 4 * of_plane[which])
        };
        let constants = [constant(0), constant(1)];
        let matrix = Matrix::of_rows(inputs.pixel as u64, u64::from(ic.div_ceil(CHUNK)));
        let product = Product::of_points(&conv, [job.weights, job.bias], (matrix, constants));
        let surfaces = Surfaces { input: inputs, add: sums.clone(), out: sums };
        self.panels_of_rows(b, &product, count, &surfaces);
    }

    /// The sums of a block of patches into results.
    fn transform_sums(
        &mut self,
        b: &mut NestBuilder,
        (job, run): (&Job<'_>, &WinogradRun),
        (patches, block): (&Patches, &BlockRun),
        (planes, Surfaces { out, add, .. }): (&Surface, &Surfaces),
    ) {
        let adds = job.direct.post.contains(&Post::Add);
        for (rows, tiles) in patches.alike(block) {
            let first_row = block.first_row + rows.first;
            let descriptor = OutputPatches {
                lanes: self.target.lanes,
                channels: run.planes.oc,
                last_lanes: run.last_lanes,
                inside: [patches.inside(0, first_row), patches.inside(1, tiles.first)],
                patch: planes.pixel as i32,
                plane: patches.sums.plane as i32,
                out: [out.row as i32, out.pixel as i32],
                add: if adds { [add.row as i32, add.pixel as i32] } else { [0; 2] },
                post: job.direct.post.to_vec(),
            };
            let kernel = self.kernel(Descriptor::WinogradOutput(descriptor));
            let first = [rows.first, tiles.first].map(|first| i64::from(PATCH * first));
            b.repeat(0..rows.count, |b, row| {
                let results = |surface: &Surface| {
                    surface.at(|origin| {
                        let start = origin.plus(first[0] * surface.row + first[1] * surface.pixel);
                        start.along(row, i64::from(PATCH) * surface.row)
                    })
                };
                let from = first_patch(planes, [rows.first, tiles.first], row);
                b.call(kernel, vec![from, results(out), results(add)], Some(tiles.count));
            });
        }
    }
}

impl Lowering<'_> {
    /// A convolution whose only run is by Winograd's method as three steps, with operands of all
    /// of it: patches are transformed in `blocks` blocks of rows.
    pub(super) fn winograd_steps(
        &mut self,
        id: NodeId,
        (job, blocks): (&Job<'_>, u32),
        (maps, surfaces): (Maps, &Surfaces),
        operands: Operands,
    ) {
        let Some(Run::Winograd(run)) = job.all_runs(self.target.lanes).pop() else { return };
        let patches = Patches::new(self.target, job, &run, maps.extents(), blocks);
        let patches = &patches.shared(self.target, &run);
        let slack = u64::from(self.target.vector_bytes());
        let [inputs, sums] = [patches.inputs, patches.sums]
            .map(|planes| (planes.segment * u64::from(run.planes.segments) + slack).next_multiple_of(4096));
        // Input and result may themselves be what one step leaves to the next.
        let taken = self.emit.behind(&operands);
        let memory = self.emit.between_steps(taken + inputs + sums);
        let offset = memory.offset + taken;
        let (inputs, sums) = (
            Place { offset, bytes: inputs, ..memory },
            Place { offset: offset + inputs, bytes: sums, ..memory },
        );
        let [weights, bias] = [job.weights, job.bias].map(|name| (name, operands[name.index()]));
        let with = |changed: &[(Operand, Option<Place>)]| {
            let mut operands = operands;
            [job.weights, job.bias].iter().for_each(|name| operands[name.index()] = None);
            changed.iter().for_each(|&(name, place)| operands[name.index()] = place);
            operands
        };
        let (inputs, sums) = (Some(inputs), Some(sums));
        let nest = self.emit.nest_of_inputs((job, &run), patches, surfaces);
        let mut of_inputs = with(&[(Operand::Out, inputs), (Operand::Add, inputs)]);
        if let PlaneProducts::FastInner(_) = run.planes.products {
            of_inputs[bias.0.index()] = bias.1;
        }
        self.step_of(id, Part::Patches, nest, of_inputs);
        let nest = self.emit.nest_of_products((job, &run), patches);
        let unused = (Operand::Scratch, Some(self.emit.scratch(SUMS_BYTES)));
        let of_products =
            with(&[(Operand::In, inputs), (Operand::Out, sums), (Operand::Add, sums), weights, bias, unused]);
        self.step_of(id, Part::Planes, nest, of_products);
        let nest = self.emit.nest_of_results((job, &run), patches, surfaces);
        self.step_of(id, Part::Results, nest, with(&[(Operand::In, sums)]));
    }
}

/// A surface that moves along an index by so many bytes.
fn moved(surface: &Surface, index: Index, bytes: i64) -> Surface {
    Surface { origin: surface.origin.clone().along(index, bytes), ..surface.clone() }
}

/// The first of some patches next to each other in the first plane, `row` rows behind the first of
/// theirs.
fn first_patch(planes: &Surface, [first_row, first]: [u32; 2], row: Index) -> Argument {
    planes.at(|origin| {
        let start = origin.plus(i64::from(first_row) * planes.row + i64::from(first) * planes.pixel);
        start.along(row, planes.row)
    })
}
