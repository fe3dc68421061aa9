//! Convolutions in vectors: pointwise over runs of pixels, and segmented over blocks of rows. Depthwise ones have a file of their own.

use super::job::{Job, free_registers, tile_shape};
use super::maps::{Maps, one_row, set};
use super::panels::PanelRun;
use super::place::{Surface, Surfaces, Tile, Widths, call_tile, tile_count, walk};
use super::runs::Run;
use super::{Planner, argument};
use crate::graph::{Activation, Conv, Node, NodeId, Op, Post, Window};
use crate::kernels::conv::{CACHE_LINE, ConvTile};
use crate::kernels::crossed::CrossedTile;
use crate::kernels::sliding::SlidingTile;
use crate::kernels::{Clip, Descriptor, TileSteps};
use crate::plan::forms::Taps;
use crate::plan::nest::{Index, NestBuilder, Operand};
use crate::plan::pack::Pack;
use crate::plan::values::View;
use crate::plan::windows::{BlockRun, block_count, block_runs};
use crate::plan::{Part, PlanError};
use crate::target::{Isa, Target};

/// Whether kernels for this node read their first input by whole vectors rather than value by value.
pub(super) fn reads_vectors(node: &Node) -> bool {
    match &node.op {
        Op::Conv(conv) => conv.partition.is_one_to_one(),
        Op::Separable(parts) => parts.spatial.partition.is_one_to_one(),
        Op::Dense(_) => false,
        _ => true,
    }
}

/// Loads of a value that cost more than to activate the value beforehand: each takes two instructions more than a
/// multiply-add that reads memory, or one more where none does, a pass takes three for a vector of values and the way to
/// memory and back.
const LOADS_OF_PASS: u64 = 8;

/// How many pixels of a tile of `pixels` x `vectors` are read by multiply-adds rather than broadcast first.
///
/// What a narrow tile waits for is the number of instructions, which this lowers, and then that of loads, which it
/// raises; the shares balance them (benches/LOG.md), unless the target says that loads are the limit. A single vector loads each
/// value once in any case. Only AVX-512 has such a multiply-add, and an activation of the input needs the value in a register.
fn direct_pixels(target: Target, load: Activation, (pixels, vectors): (u32, u32)) -> u32 {
    match vectors {
        _ if target.isa < Isa::Avx512 || load != Activation::Linear || pixels == 1 => 0,
        1 => pixels,
        _ if !target.wide_tiles.reads_memory => 0,
        2 => pixels * 5 / 7,
        3 => pixels * 5 / 9,
        _ => 0,
    }
}

impl Job<'_> {
    /// Calls the tiles of one panel in a block of rows.
    fn panel(
        &self,
        planner: &mut Planner<'_>,
        b: &mut NestBuilder,
        run: &PanelRun,
        at: (Index, Index),
        (widths, block, surfaces): (Widths, &BlockRun, &Surfaces),
    ) {
        let (window, target) = (&self.conv.window, planner.program.target);
        let surfaces = run.surfaces(surfaces, at);
        let row_of_taps =
            i64::from(window.kernel[1]) * i64::from(run.ic) * i64::from(run.vectors * target.lanes);
        let widths = Widths { tile: self.panel_pixels(target, run), ..widths };
        let ahead = self.lines_ahead(target, run, tile_count(window, widths, block));
        let far = planner.is_far(&surfaces.out);
        walk(b, window, widths, block, &surfaces, |b, tile: Tile<'_>| {
            let [weights, bias] = run.constants(at);
            let skipped = i64::from(tile.taps.start) * row_of_taps * 4;
            let next = weights.clone().plus(run.weights.2 * 4);
            let constants = vec![argument(self.weights, weights.plus(skipped)), argument(self.bias, bias)];
            let steps = surfaces.steps(window, self.post.contains(&Post::Add));
            let kernel = planner.kernel(match run.taps {
                Taps::Apart => {
                    Descriptor::Conv(ConvTile { ahead, far, ..self.tile(target, run, steps, tile.clip) })
                }
                Taps::Crossed => Descriptor::Crossed(CrossedTile {
                    lanes: target.lanes,
                    pixels: tile.clip.pixels() as u32,
                    vectors: run.vectors,
                    last_lanes: run.last_lanes,
                    ic: run.ic,
                    steps,
                    post: self.post.to_vec(),
                    ahead,
                    far,
                }),
                Taps::Together => Descriptor::Sliding(SlidingTile {
                    far,
                    ..self.sliding_tile(target, run, steps, tile.clip)
                }),
            });
            let rows = (window.kernel[0] > 1).then_some(tile.taps.len() as u32);
            let lines = i64::from(ahead) * i64::from(CACHE_LINE);
            let ahead = (ahead > 0).then(|| argument(self.weights, tile.number.along(next, lines)));
            call_tile(b, kernel, tile, constants, rows, ahead);
        });
    }

    fn tile(&self, target: Target, run: &PanelRun, steps: TileSteps, clip: &Clip) -> ConvTile {
        ConvTile {
            lanes: target.lanes,
            vectors: run.vectors,
            last_lanes: run.last_lanes,
            ic: run.ic,
            kw: self.conv.window.kernel[1],
            tall: self.conv.window.kernel[0] > 1,
            steps,
            clip: clip.clone(),
            load: self.load,
            post: self.post.to_vec(),
            at_once: if target.isa < Isa::Avx512 { 8 } else { target.wide_tiles.at_once },
            direct: direct_pixels(target, self.load, (clip.pixels() as u32, run.vectors)),
            ahead: 0,
            far: false,
        }
    }

    fn sliding_tile(&self, target: Target, run: &PanelRun, steps: TileSteps, clip: &Clip) -> SlidingTile {
        // How many pixels there are in a tile of points follows from the number of threads, and rounding must not.
        let may_take_halves = run.ic > 1 && self.conv.window.taps() > 1;
        let tile = SlidingTile {
            lanes: target.lanes,
            vectors: run.vectors,
            last_lanes: run.last_lanes,
            ic: run.ic * run.beside.shares(),
            beside: run.beside,
            kw: self.conv.window.kernel[1],
            tall: self.conv.window.kernel[0] > 1,
            steps,
            clip: clip.clone(),
            load: self.load,
            post: self.post.to_vec(),
            far: false,
            halves: false,
        };
        let halves = may_take_halves && tile.takes_halves(free_registers(target));
        SlidingTile { halves, ..tile }
    }

    /// How many cache lines of the next panel each tile of a block brings near.
    ///
    /// Weights that fit into the cache together with a block of pixels stay there. Only convolution tiles can ask for
    /// lines; a kernel over rows of taps has no parameter left for this, and tiles so few that each had to ask for more than a line
    /// with a product would wait for them.
    fn lines_ahead(&self, target: Target, run: &PanelRun, tiles: u32) -> u32 {
        let window = &self.conv.window;
        let (panel, products) = (run.weights.2 as u64 * 4, window.taps() * u64::from(run.ic));
        let all = self.conv.partition.products() * window.taps() * 4;
        let is_for_tiles = run.taps != Taps::Together && window.kernel[0] == 1;
        if target.isa == Isa::Baseline || !is_for_tiles || all < u64::from(target.cache_bytes) / 2 {
            return 0;
        }
        let lines = panel.div_ceil(CACHE_LINE as u64 * u64::from(tiles.max(1)));
        if lines <= products { lines as u32 } else { 0 }
    }

    /// All panels of a block of rows.
    pub(super) fn block(
        &self,
        planner: &mut Planner<'_>,
        b: &mut NestBuilder,
        place: (Widths, &BlockRun, &Surfaces),
    ) {
        let lanes = planner.program.target.lanes;
        for run in self.all_runs(lanes) {
            self.run(planner, b, &run, place);
        }
    }

    /// All panels of a run in a block of rows.
    pub(super) fn run(
        &self,
        planner: &mut Planner<'_>,
        b: &mut NestBuilder,
        run: &Run,
        place: (Widths, &BlockRun, &Surfaces),
    ) {
        match run {
            Run::Winograd(_) => {}
            Run::Packed(run) => self.packed_run(planner, b, run, place),
            Run::Panels(run) => b.repeat(0..run.blocks, |b, segments| {
                self.panels_of_block(planner, b, (run, segments), place);
            }),
        }
    }

    /// All panels of a run in one of its blocks of segments.
    pub(super) fn panels_of_block(
        &self,
        planner: &mut Planner<'_>,
        b: &mut NestBuilder,
        (run, segments): (&PanelRun, Index),
        place: (Widths, &BlockRun, &Surfaces),
    ) {
        b.repeat(0..run.panels, |b, panel| self.panel(planner, b, run, (segments, panel), place));
    }

    /// Blocks of rows as units of work: a unit for each panel of each block, or for each segment where there are several, or for all of
    /// many runs.
    pub(super) fn units(
        &self,
        planner: &mut Planner<'_>,
        b: &mut NestBuilder,
        (widths, block_run): (Widths, &BlockRun),
        place: impl Fn(Index) -> Surfaces,
    ) {
        for UnitRuns { runs, parts } in self.runs_of_units(planner.program.target.lanes) {
            b.units(block_run.blocks.clone(), parts.unwrap_or(1), |b, [block, part]| {
                let surfaces = place(block);
                let place = (widths, block_run, &surfaces);
                for run in &runs {
                    match run {
                        run if parts.is_none() => self.run(planner, b, run, place),
                        Run::Winograd(_) => {}
                        Run::Packed(run) => self.packed_run(planner, b, run, place),
                        Run::Panels(run) if run.blocks == 1 => {
                            self.panel(planner, b, run, (Index::Constant(0), part), place);
                        }
                        Run::Panels(run) => self.panels_of_block(planner, b, (run, part), place),
                    }
                }
            });
        }
    }

    /// Runs that are cut into units together: all panels of equal segments; or, where these are many, as many neighbours as make
    /// [`MOST_GROUPS`] groups of about equal work.
    fn runs_of_units(&self, lanes: u32) -> Vec<UnitRuns> {
        let groups = self.equal_runs(lanes);
        if groups.len() <= MOST_GROUPS {
            return groups.into_iter().map(|runs| UnitRuns { parts: Some(parts(&runs)), runs }).collect();
        }
        let all = groups.iter().flatten().map(Run::multiply_adds).sum::<u64>().max(1);
        let mut found: Vec<UnitRuns> = Vec::new();
        let (mut done, mut last) = (0, None);
        for runs in groups {
            let group = u128::from(done) * MOST_GROUPS as u128 / u128::from(all);
            done += runs.iter().map(Run::multiply_adds).sum::<u64>();
            match found.last_mut().filter(|_| last == Some(group)) {
                Some(before) => before.runs.extend(runs),
                None => found.push(UnitRuns { runs, parts: None }),
            }
            last = Some(group);
        }
        found
    }

    /// Runs by the segments that they are of.
    fn equal_runs(&self, lanes: u32) -> Vec<Vec<Run>> {
        let mut found: Vec<Vec<Run>> = Vec::new();
        for run in self.all_runs(lanes) {
            match found.last_mut() {
                _ if matches!(run, Run::Winograd(_)) => {}
                Some(last) if last.last().is_some_and(|before| before.has_segments_of(&run)) => {
                    last.push(run)
                }
                _ => found.push(vec![run]),
            }
        }
        found
    }

    /// The units that [`Job::units`] makes of each block.
    pub(super) fn units_of_block(&self, lanes: u32) -> u32 {
        self.runs_of_units(lanes).iter().map(|group| group.parts.unwrap_or(1)).sum()
    }
}

/// The most groups of runs that have units of their own: threads look for theirs among all of a step.
const MOST_GROUPS: usize = 32;

/// Runs that units are made of.
struct UnitRuns {
    runs: Vec<Run>,
    /// Units of a block of rows, for runs of the same segments; of other runs a unit does all.
    parts: Option<u32>,
}

/// The units that a block of rows is cut into for runs of the same segments.
fn parts(runs: &[Run]) -> u32 {
    match runs.first() {
        Some(Run::Panels(run)) if run.blocks == 1 => run.panels,
        Some(Run::Panels(run)) => run.blocks,
        Some(Run::Packed(_) | Run::Winograd(_)) | None => 1,
    }
}

impl Planner<'_> {
    /// Whether kernels should ask for lines of results before they write them: those of a network whose values are more
    /// than a cache holds, unless they go to scratch memory, which has just been read.
    fn is_far(&self, out: &Surface) -> bool {
        let Target { isa, cache_bytes, .. } = self.program.target;
        isa != Isa::Baseline
            && out.operand != Operand::Scratch
            && self.values.arena_bytes > u64::from(cache_bytes)
    }

    /// A convolution that is not fused with another.
    pub(super) fn conv(&mut self, id: NodeId, conv: &Conv) -> Result<(), PlanError> {
        let of_pairs = self.takes_planes_of_pairs(id);
        if self.takes_tiles(id, conv) && !of_pairs {
            return self.tiles_conv(id, conv);
        }
        let (mut load, post) = (self.graph.node(id).fusion.load, self.post(id));
        let (mut maps, mut operands) = (self.maps(id), self.operands(id, self.added(id)));
        if let Some(vectors) = self.program.methods(id).crosses_layer(conv, maps.out.shape) {
            return self.crossed_conv(id, (conv, vectors), maps);
        }
        let mut part = Part::Whole;
        if load != Activation::Linear && !of_pairs && self.loads_often(conv, maps) {
            let (memory, activated) = self.activate_input(id, load);
            let input = View { shape: maps.input.shape, ..activated };
            (load, part, maps) = (Activation::Linear, Part::Products, Maps { input, ..maps });
            operands[Operand::In.index()] = Some(memory);
        }
        let mut b = NestBuilder::new();
        if conv.partition.is_one_to_one() {
            self.depthwise_blocks(&mut b, conv, load, post, maps);
            let pack = Pack::Depthwise { conv: conv.clone(), lanes: self.program.target.lanes };
            set(&mut operands, [Operand::Weights, Operand::Bias], self.pack(pack));
        } else {
            let job = self.chosen_job(id, conv, (load, post), maps)?;
            set(
                &mut operands,
                [Operand::Weights, Operand::Bias],
                self.pack(job.pack(self.program.target.lanes)),
            );
            let sizes = [maps.input, maps.out].map(|view| [view.shape.h(), view.shape.w()]);
            if let Some((run, patches)) = self.shared_planes(&job, sizes) {
                self.winograd_steps(id, (&job, &run), (&patches, &maps.surfaces()), operands);
                return Ok(());
            }
            operands[Operand::Scratch.index()] = self.winograd_scratch(&job, sizes);
            self.panel_blocks(&mut b, &job, maps);
        }
        self.step_of(id, part, b, operands);
        Ok(())
    }

    /// Whether panels would load, and activate, each value of the input so often that a pass over the map costs less.
    fn loads_often(&self, conv: &Conv, maps: Maps) -> bool {
        let widest = conv.partition.outputs().iter().max().copied().unwrap_or(1);
        let target = self.program.target;
        let panel = tile_shape(target, widest, 2).vectors * target.lanes;
        let panels = u64::from(widest.div_ceil(panel.max(1)));
        let [from, to] = [maps.input, maps.out].map(|view| view.shape.pixels());
        let loads = to.saturating_mul(panels).saturating_mul(conv.window.taps());
        !conv.partition.is_one_to_one() && loads >= from.saturating_mul(LOADS_OF_PASS)
    }

    /// The pixels of all images, if a convolution can take them as if they were one row.
    fn flat_pixels(&self, conv: &Conv, maps: Maps) -> Option<u32> {
        let pixels = maps.out.shape.pixels() * u64::from(self.program.options.batch);
        u32::try_from(pixels).ok().filter(|_| conv.window.is_point() && maps.is_one_run())
    }

    /// A convolution of whole maps in the forms chosen for it.
    fn chosen_job<'a>(
        &mut self,
        id: NodeId,
        conv: &'a Conv,
        fusion: (Activation, &'a [Post]),
        maps: Maps,
    ) -> Result<Job<'a>, PlanError> {
        let row = self.flat_pixels(conv, maps).unwrap_or(maps.out.shape.w());
        let mut job = Job { winograd: true, ..self.job(id, conv, fusion, row)? };
        self.choose_forms(id, &mut job, (maps.input.shape, maps.out.shape));
        Ok(job)
    }

    /// Any convolution but a depthwise one as units of work.
    pub(super) fn panel_blocks(&mut self, b: &mut NestBuilder, job: &Job<'_>, maps: Maps) {
        let (input, out) = (maps.input.shape, maps.out.shape);
        if let Some(pixels) = self.flat_pixels(job.conv, maps) {
            let cache_bytes = self.program.target.cache_bytes;
            let fewest = self.fewest_blocks(job, 1);
            let blocks = block_count(pixels, maps.input.pixel, cache_bytes / 2, fewest);
            b.divide(1, |b, _| self.runs_of_pixels(b, job, (pixels, blocks), &maps.surfaces()));
        } else {
            b.divide(self.program.options.batch, |b, image| {
                let surfaces = maps.surfaces().image(image, maps.images());
                self.blocks_of_rows(b, job, (input.h(), out.h()), (input.w(), out.w()), &surfaces);
            });
        }
    }

    /// A pointwise convolution over pixels as if they were one row, cut into blocks.
    pub(super) fn runs_of_pixels(
        &mut self,
        b: &mut NestBuilder,
        job: &Job<'_>,
        (pixels, blocks): (u32, u32),
        surfaces: &Surfaces,
    ) {
        for run in block_runs(&Window::POINT, pixels, pixels, blocks) {
            let place = |block: Index| {
                let along = |surface: &Surface| {
                    Surface { row: surface.pixel, ..surface.clone() }.block(&run, block, 1)
                };
                let Surfaces { input, out, add } = surfaces;
                Surfaces { input: along(input), out: along(out), add: along(add) }
            };
            let (widths, inner) = one_row(run.rows);
            let inner = BlockRun { blocks: run.blocks.clone(), ..inner };
            job.units(self, b, (widths, &inner), place);
        }
    }

    /// How many blocks each of some images should at least be cut into, of which [`Job::units`] makes units: enough units,
    /// and blocks for every thread where all weights stay in its cache, so that it reads only its part of the input.
    fn fewest_blocks(&self, job: &Job<'_>, images: u32) -> u32 {
        let enough = self.fewest_units(images).div_ceil(job.units_of_block(self.program.target.lanes).max(1));
        let weights = job.conv.partition.products().saturating_mul(job.conv.window.taps() * 4);
        let stay = weights <= u64::from(self.program.target.cache_bytes) / 2;
        let threads = self.program.options.threads.div_ceil(images);
        let for_all = enough.checked_next_multiple_of(threads).filter(|_| stay);
        for_all.unwrap_or(enough)
    }

    /// A convolution over blocks of rows of one image.
    pub(super) fn blocks_of_rows(
        &mut self,
        b: &mut NestBuilder,
        job: &Job<'_>,
        (h, oh): (u32, u32),
        (w, ow): (u32, u32),
        surfaces: &Surfaces,
    ) {
        let window = &job.conv.window;
        let widths = Widths { input: w, output: ow, tile: ow };
        let row = surfaces.input.row as u64 * u64::from(window.strides[0]);
        let cache_bytes = self.program.target.cache_bytes;
        let fewest = self.fewest_blocks(job, self.program.options.batch);
        let blocks = block_count(oh, row, cache_bytes / 2, fewest);
        for run in job.all_runs(self.program.target.lanes) {
            if let Run::Winograd(run) = run {
                let patches = self.patches((job, &run), [[h, w], [oh, ow]]);
                self.winograd_units(b, (job, &run), &patches, surfaces);
            }
        }
        for run in block_runs(window, h, oh, blocks) {
            job.units(self, b, (widths, &run), |block| surfaces.block(&run, block, window.strides[0]));
        }
    }
}
