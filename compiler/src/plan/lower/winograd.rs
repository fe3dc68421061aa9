//! Convolutions of 3x3 taps by Winograd's method: a block of patches is transformed into planes in scratch memory, each plane is
//! multiplied by weights like a map of pixels, and the sums are transformed into results.

use super::conv::{Job, PanelRun, Run, Start, TileShape, one_row};
use super::place::{Surface, Surfaces};
use super::{LARGEST_TILE, Planner, STEP_LIMIT};
use crate::graph::{Activation, Conv, Pads, Partition, Post, Window};
use crate::kernels::Descriptor;
use crate::kernels::winograd::{INPUTS, InputPatches, OutputPatches, PATCH, PLANES, TAPS};
use crate::plan::Place;
use crate::plan::forms::{self, FormRun};
use crate::plan::nest::{Index, NestBuilder, Offset, Operand};
use crate::plan::windows::{BlockRun, TileRun, block_count, block_runs, tile_runs};
use crate::target::Target;
use crate::vector::F32;

/// Fewest patches of a block that make it worth while to read all weights of a segment for them, where there is a choice.
const FEWEST_PATCHES: u32 = 36;

/// Bytes by which planes are more than a multiple of 4096 apart, so that a patch's values in all of them do not compete for the
/// same places of the cache.
const SHIFT: u64 = 256;

/// Equal segments that are computed by Winograd's method.
pub(super) struct WinogradRun {
    segments: u32,
    /// Input and output channels of each.
    channels: (u32, u32),
    /// Vectors of a panel of products.
    vectors: u32,
    /// Lanes that each stores of its last vector of outputs.
    last_lanes: u32,
    at: Start,
}

impl WinogradRun {
    /// Segments that begin at some place; `is_only` tells that there are no others beside them.
    pub fn new(run: &FormRun, (vectors, lanes): (u32, u32), (at, is_only): (Start, bool)) -> Self {
        let channels = forms::sizes(&run.segments);
        let last_lanes = if is_only { lanes } else { (channels.1 - 1) % lanes + 1 };
        Self { segments: run.segments.len() as u32, channels, vectors, last_lanes, at }
    }

    /// Packed weights and biases of a segment, in values.
    fn constants(&self, lanes: u32) -> [i64; 2] {
        let biases = i64::from(PLANES) * i64::from(self.channels.1.next_multiple_of(lanes));
        [biases * i64::from(self.channels.0), biases]
    }
}

/// Planes of a block of patches, behind each other. Distances are in bytes.
#[derive(Clone, Copy)]
struct PlaneSet {
    origin: u64,
    patch: u64,
    plane: u64,
}

impl PlaneSet {
    fn new(target: Target, channels: u32, (origin, patches): (u64, u64)) -> Self {
        let patch = target.pixel_bytes(channels);
        Self { origin, patch, plane: (patches * patch).next_multiple_of(4096) + SHIFT }
    }

    fn end(&self) -> u64 {
        self.origin + u64::from(PLANES) * self.plane
    }

    /// The first plane as a row of pixels.
    fn surface(&self) -> Surface {
        let (origin, pixel) = (Offset::bytes(self.origin as i64), self.patch as i64);
        Surface { operand: Operand::Scratch, origin, pixel, row: pixel }
    }
}

/// The patches of a map, and how their blocks lie in scratch memory.
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
    inputs: PlaneSet,
    sums: PlaneSet,
}

/// Whether a window is one of those that Winograd's method is for.
pub(super) fn fits(window: &Window) -> bool {
    let Window { kernel, strides, dilation, .. } = *window;
    (kernel, strides, dilation) == ([TAPS; 2], [1; 2], [1; 2])
}

impl Patches {
    /// Bytes of scratch memory for a block.
    fn end(&self, target: Target) -> u64 {
        self.sums.end() + u64::from(target.vector_bytes())
    }

    /// Results of a patch along an axis, for the patches that begin with number `first`: of an odd number of results the last
    /// patch has one. No other patch has the same inputs inside the image, so those that are treated alike have as many.
    fn inside(&self, axis: usize, first: u32) -> u32 {
        PATCH.min(self.out[axis] - PATCH * first)
    }
}

impl Planner<'_> {
    /// The patches of a convolution between maps of so many rows and columns, in blocks for segments of some channels; none
    /// where a row of them is too large.
    pub(super) fn patches(
        &self,
        conv: &Conv,
        (segments, (ic, oc)): (u32, (u32, u32)),
        [input, out]: [[u32; 2]; 2],
    ) -> Option<Patches> {
        let target = self.program.target;
        let [rows, columns] = out.map(|results| results.div_ceil(PATCH));
        let patch = u64::from(PLANES) * (target.pixel_bytes(ic) + target.pixel_bytes(oc));
        let row = patch * u64::from(columns);
        if row > STEP_LIMIT / 2 {
            return None;
        }
        let blocks = self.patch_blocks(segments, (rows, columns), row);
        let patches = u64::from(rows.div_ceil(blocks)) * u64::from(columns);
        let inputs = PlaneSet::new(target, ic, (0, patches));
        let sums = PlaneSet::new(target, oc, (inputs.end(), patches));
        let Pads { top, left, .. } = conv.window.pads;
        let window = Window {
            kernel: [INPUTS; 2],
            strides: [PATCH; 2],
            pads: Pads { top, left, ..Pads::default() },
            ..Window::POINT
        };
        let patches = Patches { window, input, out, rows, columns, blocks, inputs, sums };
        (patches.end(target) <= STEP_LIMIT).then_some(patches)
    }

    /// How many blocks the rows of patches are cut into: as many as fit into the cache, unless they had too few patches, and
    /// enough for all threads.
    fn patch_blocks(&self, segments: u32, (rows, columns): (u32, u32), row_bytes: u64) -> u32 {
        let fitting = block_count(rows, row_bytes, self.program.target.cache_bytes, 1);
        let most = (rows.saturating_mul(columns) / FEWEST_PATCHES).max(1);
        let limit = u32::try_from(STEP_LIMIT / 2 / row_bytes.max(1)).unwrap_or(u32::MAX).max(1);
        let images = self.program.options.batch;
        let enough = self.fewest_units(images).div_ceil(segments.max(1));
        fitting.min(most).max(enough).max(rows.div_ceil(limit)).min(rows)
    }

    /// The scratch memory that the runs of a convolution by Winograd's method take, if there are any.
    pub(super) fn winograd_scratch(&mut self, job: &Job<'_>, sizes: [[u32; 2]; 2]) -> Option<Place> {
        let target = self.program.target;
        let runs = job.all_runs(target.lanes);
        let patches = runs.iter().filter_map(|run| match run {
            Run::Winograd(run) => self.patches(job.conv, (run.segments, run.channels), sizes),
            _ => None,
        });
        let bytes = patches.map(|patches| patches.end(target)).max()?;
        Some(self.scratch(bytes))
    }

    /// Segments by Winograd's method: a unit for each of them in each block of patches.
    pub(super) fn winograd_units(
        &mut self,
        b: &mut NestBuilder,
        (job, run): (&Job<'_>, &WinogradRun),
        sizes: [[u32; 2]; 2],
        surfaces: &Surfaces,
    ) {
        let Some(patches) = self.patches(job.conv, (run.segments, run.channels), sizes) else { return };
        let two_rows = |surface: &Surface| Surface { row: i64::from(PATCH) * surface.row, ..surface.clone() };
        for block in block_runs(&patches.window, patches.input[0], patches.rows, patches.blocks) {
            b.units(block.blocks.clone(), run.segments, |b, [number, segment]| {
                let moved = |surface: &Surface, start: i64, channels: u32| {
                    let surface = two_rows(&surface.channel(start)).block(&block, number, 1);
                    let origin = surface.origin.along(segment, i64::from(channels) * i64::from(F32));
                    Surface { origin, row: surface.row / i64::from(PATCH), ..surface }
                };
                let (ic, oc) = run.channels;
                let here = Surfaces {
                    input: moved(&surfaces.input, run.at.input, ic),
                    out: moved(&surfaces.out, run.at.output, oc),
                    add: moved(&surfaces.add, run.at.output, oc),
                };
                self.transform_inputs(b, (job, run), (&patches, &block), &here.input);
                self.multiply_planes(b, (job, run), (&patches, &block), segment);
                self.transform_sums(b, (job, run), (&patches, &block), &here);
            });
        }
    }

    fn transform_inputs(
        &mut self,
        b: &mut NestBuilder,
        (job, run): (&Job<'_>, &WinogradRun),
        (patches, block): (&Patches, &BlockRun),
        input: &Surface,
    ) {
        let Pads { top, left, .. } = patches.window.pads;
        let to = patches.inputs.surface();
        for rows in &block.runs {
            for tiles in patches.in_row() {
                let descriptor = InputPatches {
                    lanes: self.program.target.lanes,
                    channels: run.channels.0,
                    rows: rows.taps.clone(),
                    columns: tiles.clip.0[0].clone(),
                    pixel: input.pixel as i32,
                    row: input.row as i32,
                    patch: patches.inputs.patch as i32,
                    plane: patches.inputs.plane as i32,
                    load: job.load,
                };
                let kernel = self.kernel(Descriptor::WinogradInput(descriptor));
                let first_row = i64::from(PATCH * rows.first + rows.taps.start) - i64::from(top);
                let first_pixel = i64::from(PATCH * tiles.first) - i64::from(left);
                let first_patch = i64::from(rows.first * patches.columns + tiles.first) * to.pixel;
                b.repeat(0..rows.count, |b, row| {
                    let from = input.at(|origin| {
                        let start = origin.plus(first_row * input.row + first_pixel * input.pixel);
                        start.along(row, i64::from(PATCH) * input.row)
                    });
                    let to = to.at(|origin| {
                        origin.plus(first_patch).along(row, i64::from(patches.columns) * to.pixel)
                    });
                    b.call(kernel, vec![from, to], Some(tiles.count));
                });
            }
        }
    }

    /// The products of all planes of a block with a segment's weights.
    fn multiply_planes(
        &mut self,
        b: &mut NestBuilder,
        (job, run): (&Job<'_>, &WinogradRun),
        (patches, block): (&Patches, &BlockRun),
        segment: Index,
    ) {
        let (ic, oc) = run.channels;
        let planes = PLANES as usize;
        let partition = Partition::new(vec![ic; planes], vec![oc; planes]);
        let conv = Conv { window: Window::POINT, partition, parts: Vec::new() };
        let products = Job {
            conv: &conv,
            load: Activation::Linear,
            post: &[],
            forms: Vec::new(),
            shape: TileShape { row: LARGEST_TILE as u32, vectors: run.vectors },
            ..*job
        };
        let lanes = self.program.target.lanes;
        let [weights, biases] = run.constants(lanes);
        let at = Start { input: 0, output: 0, ..run.at };
        let moved = (segment, [weights, biases]);
        let distances = [patches.inputs.plane, patches.sums.plane].map(|bytes| bytes as i64 / i64::from(F32));
        let (widths, pixels) = one_row(block.rows * patches.columns);
        let sums = patches.sums.surface();
        let surfaces = Surfaces { input: patches.inputs.surface(), out: sums.clone(), add: sums };
        for run in PanelRun::of_planes((ic, oc), (products.shape.vectors, lanes), (at, moved), distances) {
            products.run(self, b, &Run::Panels(run), (widths, &pixels, &surfaces));
        }
    }

    fn transform_sums(
        &mut self,
        b: &mut NestBuilder,
        (job, run): (&Job<'_>, &WinogradRun),
        (patches, block): (&Patches, &BlockRun),
        Surfaces { out, add, .. }: &Surfaces,
    ) {
        let sums = patches.sums.surface();
        let adds = job.post.contains(&Post::Add);
        for rows in &block.runs {
            for tiles in patches.in_row() {
                let first_row = block.first_row + rows.first;
                let descriptor = OutputPatches {
                    lanes: self.program.target.lanes,
                    channels: run.channels.1,
                    last_lanes: run.last_lanes,
                    inside: [patches.inside(0, first_row), patches.inside(1, tiles.first)],
                    patch: patches.sums.patch as i32,
                    plane: patches.sums.plane as i32,
                    out: [out.row as i32, out.pixel as i32],
                    add: if adds { [add.row as i32, add.pixel as i32] } else { [0; 2] },
                    post: job.post.to_vec(),
                };
                let kernel = self.kernel(Descriptor::WinogradOutput(descriptor));
                let first_patch = i64::from(rows.first * patches.columns + tiles.first) * sums.pixel;
                b.repeat(0..rows.count, |b, row| {
                    let from = sums.at(|origin| {
                        origin.plus(first_patch).along(row, i64::from(patches.columns) * sums.pixel)
                    });
                    let results = |surface: &Surface| {
                        let first = [rows.first, tiles.first].map(|first| i64::from(PATCH * first));
                        surface.at(|origin| {
                            let start = origin.plus(first[0] * surface.row + first[1] * surface.pixel);
                            start.along(row, i64::from(PATCH) * surface.row)
                        })
                    };
                    b.call(kernel, vec![from, results(out), results(add)], Some(tiles.count));
                });
            }
        }
    }
}

impl Patches {
    /// The patches of a row, those with the same columns inside the image together.
    fn in_row(&self) -> Vec<TileRun> {
        tile_runs(&self.window, self.input[1], self.columns, 1)
    }
}
