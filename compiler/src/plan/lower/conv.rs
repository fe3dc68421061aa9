//! Convolutions in vectors: pointwise over runs of pixels, and segmented over blocks of rows.
//! Depthwise ones have a file of their own.

use super::job::Job;
use super::maps::{Maps, one_row, set};
use super::panels::PanelRun;
use super::place::{Surface, Surfaces, Tile, Widths, call_tile, tile_count, walk};
use super::runs::Run;
use super::{Lowering, argument};
use crate::graph::{Activation, Conv, LinearPart, NodeId, Post, Window};
use crate::kernels::conv::{CACHE_LINE, ConvTile};
use crate::kernels::fast_inner::FastInnerTile;
use crate::kernels::sliding::SlidingTile;
use crate::kernels::{Clip, Descriptor, TileSteps};
use crate::layout::View;
use crate::plan::Part;
use crate::plan::emit::Emitter;
use crate::plan::nest::{Index, NestBuilder, Operand};
use crate::plan::pack::Pack;
use crate::schedule::direct::{DirectConv, free_registers};
use crate::schedule::segments::Taps;
use crate::schedule::tiling::{BlockRun, block_runs};
use crate::schedule::{Algorithm, ConvSchedule, Division, InputActivation};
use crate::target::{Isa, Target};

/// How many pixels of a tile of `pixels` x `vectors` are read by multiply-adds rather than
/// broadcast first.
///
/// What a narrow tile waits for is the number of instructions, which this lowers, and then that of
/// loads, which it raises; the shares balance them (benches/LOG.md), unless the target says that
/// loads are the limit. A single vector loads each value once in any case. Only AVX-512 has such a
/// multiply-add, and an activation of the input needs the value in a register.
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
        emit: &mut Emitter,
        b: &mut NestBuilder,
        run: &PanelRun,
        at: (Index, Index),
        (widths, block, surfaces): (Widths, &BlockRun, &Surfaces),
    ) {
        let (window, target) = (&self.direct.conv.window, emit.target);
        let surfaces = run.surfaces(surfaces, at);
        let row_of_taps =
            i64::from(window.kernel[1]) * i64::from(run.ic) * i64::from(run.vectors * target.lanes);
        let widths = Widths { tile: self.direct.panel_pixels(target, run.tile_panel()), ..widths };
        let ahead = self.lines_ahead(target, run, tile_count(window, widths, block));
        let far = emit.is_far(&surfaces.out);
        walk(b, window, widths, block, &surfaces, |b, tile: Tile<'_>| {
            let [weights, bias] = run.constants(at);
            let skipped = i64::from(tile.taps.start) * row_of_taps * 4;
            let next = weights.clone().plus(run.weights.2 * 4);
            let constants = vec![argument(self.weights, weights.plus(skipped)), argument(self.bias, bias)];
            let steps = surfaces.steps(window, self.direct.post.contains(&Post::Add));
            let kernel = emit.kernel(match run.taps {
                Taps::Apart => {
                    Descriptor::Conv(ConvTile { ahead, far, ..self.tile(target, run, steps, tile.clip) })
                }
                Taps::Prescaled => Descriptor::FastInner(FastInnerTile {
                    lanes: target.lanes,
                    pixels: tile.clip.pixels() as u32,
                    vectors: run.vectors,
                    last_lanes: run.last_lanes,
                    ic: run.ic,
                    steps,
                    post: self.direct.post.to_vec(),
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
            kw: self.direct.conv.window.kernel[1],
            tall: self.direct.conv.window.kernel[0] > 1,
            steps,
            clip: clip.clone(),
            load: self.direct.load,
            post: self.direct.post.to_vec(),
            at_once: if target.isa < Isa::Avx512 { 8 } else { target.wide_tiles.at_once },
            direct: direct_pixels(target, self.direct.load, (clip.pixels() as u32, run.vectors)),
            ahead: 0,
            far: false,
        }
    }

    fn sliding_tile(&self, target: Target, run: &PanelRun, steps: TileSteps, clip: &Clip) -> SlidingTile {
        // How many pixels there are in a tile of points follows from the number of threads, and
        // rounding must not.
        let may_take_halves = run.ic > 1 && self.direct.conv.window.taps() > 1;
        let tile = SlidingTile {
            lanes: target.lanes,
            vectors: run.vectors,
            last_lanes: run.last_lanes,
            ic: run.ic * run.beside.shares(),
            beside: run.beside,
            kw: self.direct.conv.window.kernel[1],
            tall: self.direct.conv.window.kernel[0] > 1,
            steps,
            clip: clip.clone(),
            load: self.direct.load,
            post: self.direct.post.to_vec(),
            far: false,
            halves: false,
        };
        let halves = may_take_halves && tile.takes_halves(free_registers(target));
        SlidingTile { halves, ..tile }
    }

    /// How many cache lines of the next panel each tile of a block brings near.
    ///
    /// Weights that fit into the cache together with a block of pixels stay there. Only
    /// convolution tiles can ask for lines; a kernel over rows of taps has no parameter left for
    /// this, and tiles so few that each had to ask for more than a line with a product would wait
    /// for them.
    fn lines_ahead(&self, target: Target, run: &PanelRun, tiles: u32) -> u32 {
        let window = &self.direct.conv.window;
        let (panel, products) = (run.weights.2 as u64 * 4, window.taps() * u64::from(run.ic));
        let all = self.direct.conv.partition.products() * window.taps() * 4;
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
        emit: &mut Emitter,
        b: &mut NestBuilder,
        place: (Widths, &BlockRun, &Surfaces),
    ) {
        let lanes = emit.target.lanes;
        for run in self.all_runs(lanes) {
            self.run(emit, b, &run, place);
        }
    }

    /// All panels of a run in a block of rows.
    pub(super) fn run(
        &self,
        emit: &mut Emitter,
        b: &mut NestBuilder,
        run: &Run,
        place: (Widths, &BlockRun, &Surfaces),
    ) {
        match run {
            Run::Winograd(_) => {}
            Run::Packed(run) => self.packed_run(emit, b, run, place),
            Run::Panels(run) => b.repeat(0..run.blocks, |b, segments| {
                self.panels_of_block(emit, b, (run, segments), place);
            }),
        }
    }

    /// All panels of a run in one of its blocks of segments.
    pub(super) fn panels_of_block(
        &self,
        emit: &mut Emitter,
        b: &mut NestBuilder,
        (run, segments): (&PanelRun, Index),
        place: (Widths, &BlockRun, &Surfaces),
    ) {
        b.repeat(0..run.panels, |b, panel| self.panel(emit, b, run, (segments, panel), place));
    }

    /// Blocks of rows as units of work: a unit for each part of each of its groups in each block.
    pub(super) fn units(
        &self,
        emit: &mut Emitter,
        b: &mut NestBuilder,
        (widths, block_run): (Widths, &BlockRun),
        place: impl Fn(Index) -> Surfaces,
    ) {
        let runs = self.all_runs(emit.target.lanes);
        for group in &self.units {
            b.units(block_run.blocks.clone(), group.parts.unwrap_or(1), |b, [block, part]| {
                let surfaces = place(block);
                let place = (widths, block_run, &surfaces);
                for run in group.pieces.iter().map(|&piece| &runs[piece]) {
                    match group.parts {
                        None => self.run(emit, b, run, place),
                        Some(_) => self.part(emit, b, (run, part), place),
                    }
                }
            });
        }
    }

    /// A panel of the only block, or all panels of one of several blocks.
    fn part(
        &self,
        emit: &mut Emitter,
        b: &mut NestBuilder,
        (run, part): (&Run, Index),
        place: (Widths, &BlockRun, &Surfaces),
    ) {
        match run {
            Run::Winograd(_) => {}
            Run::Packed(run) => self.packed_run(emit, b, run, place),
            Run::Panels(run) if run.blocks == 1 => {
                self.panel(emit, b, run, (Index::Constant(0), part), place);
            }
            Run::Panels(run) => self.panels_of_block(emit, b, (run, part), place),
        }
    }
}

impl Emitter {
    /// Whether kernels should ask for lines of results before they write them, unless they go to
    /// scratch memory, which has just been read.
    fn is_far(&self, out: &Surface) -> bool {
        self.prefetches_results && out.operand != Operand::Scratch
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

    /// Any convolution in vectors but a depthwise one as units of work.
    pub(super) fn panel_blocks(
        &mut self,
        b: &mut NestBuilder,
        job: &Job<'_>,
        division: &Division,
        maps: Maps,
    ) {
        match division {
            Division::Pixels { blocks } => {
                let pixels = maps.out.shape.pixels() as u32 * self.batch;
                b.divide(1, |b, _| self.runs_of_pixels(b, job, (pixels, *blocks), &maps.surfaces()));
            }
            _ => b.divide(self.batch, |b, image| {
                let surfaces = maps.surfaces().image(image, maps.images());
                self.blocks_of_rows(b, job, division, (maps, &surfaces));
            }),
        }
    }

    /// A convolution over blocks of rows of one image, which `surfaces` are moved to.
    pub(super) fn blocks_of_rows(
        &mut self,
        b: &mut NestBuilder,
        job: &Job<'_>,
        division: &Division,
        (maps, surfaces): (Maps, &Surfaces),
    ) {
        let window = &job.direct.conv.window;
        let (input, out) = (maps.input.shape, maps.out.shape);
        let widths = Widths { input: input.w(), output: out.w(), tile: out.w() };
        for (run, patches) in self.patches(job, division, maps.extents()) {
            self.winograd_units(b, (job, &run), &patches, surfaces);
        }
        for run in block_runs(window, input.h(), out.h(), division.blocks()) {
            job.units(self, b, (widths, &run), |block| surfaces.block(&run, block, window.strides[0]));
        }
    }
}

impl<'a> Lowering<'a> {
    /// A dense layer, which is a convolution of all pixels of its input.
    pub(super) fn dense(&mut self, id: NodeId, part: &LinearPart, schedule: &ConvSchedule) {
        let input = self.view(self.graph.node(id).inputs[0]).shape;
        self.conv(id, &Conv::of_dense(input, part), schedule);
    }

    /// A convolution that runs by itself.
    pub(super) fn conv(&mut self, id: NodeId, conv: &Conv, schedule: &ConvSchedule) {
        let (load, maps) = (self.graph.node(id).fusion.load, self.maps(id));
        match &schedule.algorithm {
            Algorithm::Matmul => self.matmul_conv(id, conv, &schedule.division),
            Algorithm::FastInnerProduct { .. } => self.fast_inner_conv(id, conv, schedule),
            Algorithm::Depthwise => {
                let mut b = NestBuilder::new();
                let blocks = schedule.division.blocks();
                self.emit.depthwise_blocks(&mut b, conv, (load, self.post(id)), (blocks, maps));
                let mut operands = self.operands(id, self.added(id));
                let pack = Pack::Depthwise { conv: conv.clone(), lanes: self.target.lanes };
                set(&mut operands, [Operand::Weights, Operand::Bias], self.emit.pack(pack));
                self.step(id, b, operands);
            }
            Algorithm::Segments { .. } => self.segments_conv(id, conv, schedule),
        }
    }

    /// A convolution of whole maps in the algorithms of its segments, behind the step that
    /// activates its input, if there is one.
    fn segments_conv(&mut self, id: NodeId, conv: &Conv, schedule: &ConvSchedule) {
        let (mut load, mut part) = (self.graph.node(id).fusion.load, Part::Whole);
        let (mut maps, mut operands) = (self.maps(id), self.operands(id, self.added(id)));
        if schedule.activation == InputActivation::Apart {
            let (memory, activated) = self.activate_input(id, load);
            let input = View { shape: maps.input.shape, ..activated };
            (load, part, maps) = (Activation::Linear, Part::Products, Maps { input, ..maps });
            operands[Operand::In.index()] = Some(memory);
        }
        let row = match schedule.division {
            Division::Pixels { .. } => maps.out.shape.pixels() as u32 * self.batch,
            _ => maps.out.shape.w(),
        };
        let direct = DirectConv::new(self.target, conv, load, self.post(id), row);
        let job = Job::new(direct, &schedule.algorithm, self.target.lanes);
        let constants = self.emit.pack(job.pack(self.target));
        set(&mut operands, [Operand::Weights, Operand::Bias], constants);
        if let Division::SharedPlanes { blocks } = schedule.division {
            return self.winograd_steps(id, (&job, blocks), (maps, &maps.surfaces()), operands);
        }
        operands[Operand::Scratch.index()] =
            self.emit.winograd_scratch(&job, &schedule.division, maps.extents());
        let mut b = NestBuilder::new();
        self.emit.panel_blocks(&mut b, &job, &schedule.division, maps);
        self.step_of(id, part, b, operands);
    }
}
