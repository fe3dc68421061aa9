//! Nodes that treat every channel by itself, softmax, and copies.

use super::place::{Surface, Surfaces, Tile, Widths, call_tile, walk};
use super::{Lowering, Operands, argument};
use crate::graph::{Activation, BatchNorm, NodeId, Op, Pool, PoolKind, Post};
use crate::kernels::elementwise::ElementwiseRun;
use crate::kernels::pool::{GlobalPoolTile, PoolTile};
use crate::kernels::softmax::SoftmaxPixel;
use crate::kernels::{Descriptor, pool};
use crate::layout::{ConcatPlace, View};
use crate::plan::nest::{NestBuilder, Offset, Operand};
use crate::plan::pack::Pack;
use crate::plan::{Part, Place};
use crate::schedule::tiling::{BlockRun, block_runs, even_tiles};

impl Lowering<'_> {
    /// A pool over windows, in blocks of rows of all images.
    pub(super) fn pool(&mut self, id: NodeId, pool: &Pool, blocks: u32) {
        let node = self.graph.node(id);
        let (input, out) = (self.view(node.inputs[0]), self.view(id));
        let added = self.added(id);
        let add = added.map_or(out, |added| self.view(added));
        let window = &pool.window;
        let surfaces = Surfaces {
            input: Surface::of(Operand::In, input),
            out: Surface::of(Operand::Out, out),
            add: Surface::of(Operand::Add, add),
        };
        let mut b = NestBuilder::new();
        b.divide(self.batch, |b, image| {
            let surfaces = surfaces.image(image, [input.image, out.image, add.image]);
            for run in block_runs(window, input.shape.h(), out.shape.h(), blocks) {
                b.units(run.blocks.clone(), 1, |b, [block, _]| {
                    let surfaces = surfaces.block(&run, block, window.strides[0]);
                    self.pool_rows(b, id, pool, &run, &surfaces);
                });
            }
        });
        self.step(id, b, self.operands(id, added));
    }

    /// The tiles of a pool in a block of rows, which `surfaces` are moved to.
    pub(super) fn pool_rows(
        &mut self,
        b: &mut NestBuilder,
        id: NodeId,
        pool: &Pool,
        block: &BlockRun,
        surfaces: &Surfaces,
    ) {
        let (input, out) = (self.view(self.graph.node(id).inputs[0]).shape, self.view(id).shape);
        let post = self.post(id);
        let fits = |pixels: &u32| pool::slots(*pixels, post) < self.target.registers;
        let tile = (1..=out.w().min(8)).take_while(fits).last().unwrap_or(1);
        let widths = Widths { input: input.w(), output: out.w(), tile };
        walk(b, &pool.window, widths, block, surfaces, |b, tile| {
            self.pool_tile(b, (pool, post), out.c(), surfaces, tile);
        });
    }

    fn pool_tile(
        &mut self,
        b: &mut NestBuilder,
        (pool, post): (&Pool, &[Post]),
        channels: u32,
        surfaces: &Surfaces,
        tile: Tile<'_>,
    ) {
        let rows = tile.taps.len() as u32;
        let descriptor = PoolTile {
            kind: pool.kind,
            lanes: self.target.lanes,
            vectors: channels.div_ceil(self.target.lanes),
            kw: pool.window.kernel[1],
            steps: surfaces.steps(&pool.window, post.contains(&Post::Add)),
            clip: tile.clip.clone(),
            post: post.to_vec(),
        };
        let kernel = self.emit.kernel(Descriptor::Pool(descriptor));
        call_tile(b, kernel, tile, Vec::new(), Some(rows), None);
    }

    /// A pool over all pixels, shared out by groups of channels.
    pub(super) fn global_pool(&mut self, id: NodeId, kind: PoolKind) {
        let node = self.graph.node(id);
        let (input, out) = (self.view(node.inputs[0]), self.view(id));
        let added = self.added(id);
        let add_image = added.map_or(0, |added| self.view(added).image);
        let target = self.target;
        let pixels = input.shape.pixels() as u32;
        let most = if kind == PoolKind::Average && pixels > pool::SUMMED { 4 } else { 8 };
        let groups = || even_tiles(input.shape.c().div_ceil(target.lanes), most);
        let mut b = NestBuilder::new();
        b.divide(self.batch, |b, image| {
            let mut vectors = 0;
            for (of_group, count) in groups() {
                let descriptor = GlobalPoolTile {
                    kind,
                    lanes: target.lanes,
                    vectors: of_group,
                    pixels,
                    step: input.pixel as i32,
                    post: self.post(id).to_vec(),
                };
                let kernel = self.emit.kernel(Descriptor::GlobalPool(descriptor));
                let [start, bytes] = [vectors, of_group].map(|v| i64::from(v * target.vector_bytes()));
                vectors += count * of_group;
                b.units(0..count, 1, |b, [group, _]| {
                    let at = |operand, image_bytes: u64| {
                        let offset = Offset::bytes(start).along(group, bytes);
                        argument(operand, offset.along(image, image_bytes as i64))
                    };
                    let pointers = vec![
                        at(Operand::In, input.image),
                        at(Operand::Out, out.image),
                        at(Operand::Add, add_image),
                    ];
                    b.call(kernel, pointers, None);
                });
            }
        });
        self.step(id, b, self.operands(id, added));
    }

    /// A normalisation that was not folded.
    pub(super) fn affine(&mut self, id: NodeId, norm: &BatchNorm) {
        let node = self.graph.node(id);
        let channels = node.shape.c();
        let [scale, shift] = self.emit.pack(Pack::Affine { norm: norm.clone(), channels });
        let mut operands = self.operands(id, self.added(id));
        operands[Operand::Weights.index()] = Some(scale);
        operands[Operand::Bias.index()] = Some(shift);
        let run = Run { affine: true, ..self.run(id, node.inputs[0], self.added(id), self.post(id)) };
        self.elementwise(id, run, operands);
    }

    /// An activation function that was not fused, and the chain fused into it.
    pub(super) fn activation(&mut self, id: NodeId, function: Activation) {
        let mut post = vec![Post::Activation(function)];
        post.extend(self.post(id));
        self.apply_to_operand(id, &post);
    }

    /// The first operand, unchanged but for the chain fused into the node.
    pub(super) fn copy_of_operand(&mut self, id: NodeId) {
        self.apply_to_operand(id, self.post(id));
    }

    fn apply_to_operand(&mut self, id: NodeId, post: &[Post]) {
        let (from, added) = (self.graph.node(id).inputs[0], self.added(id));
        self.elementwise(id, self.run(id, from, added, post), self.operands(id, added));
    }

    /// A sum, one operand after the other; the chain fused into it runs with the last.
    pub(super) fn add(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        let Some((&first, others)) = node.inputs.split_first() else { return };
        let own = node.inputs.len() - node.fusion.added_inputs();
        let mut chain = vec![Post::Add; own - 1];
        chain.extend(&node.fusion.post);
        if chain.is_empty() {
            return self.copy_of_operand(id);
        }
        self.chain(id, first, &chain, others);
    }

    /// What [`Lowering::post`] leaves of a node's epilogue, over the value that its kernels wrote.
    pub(super) fn rest_of_epilogue(&mut self, id: NodeId) {
        let node = self.graph.node(id);
        if node.op == Op::Add {
            return;
        }
        let rest = &node.fusion.post[self.post(id).len()..];
        let added = rest.iter().filter(|operation| **operation == Post::Add).count();
        self.chain(id, id, rest, &node.inputs[node.inputs.len() - added..]);
    }

    /// Runs a chain over `from` and leaves the result in the value of `id`, with a step for each
    /// addition.
    fn chain(&mut self, id: NodeId, from: NodeId, chain: &[Post], added: &[NodeId]) {
        let (mut from, mut added) = (from, added.iter().copied());
        for post in chain.chunk_by(|_, next| *next != Post::Add) {
            let operand = if post[0] == Post::Add { added.next() } else { None };
            let mut operands = self.operands(id, operand);
            operands[Operand::In.index()] = Some(self.value_place(from));
            self.elementwise(id, self.run(id, from, operand, post), operands);
            from = id;
        }
    }

    /// Copies those operands of a concatenation that were not written in place.
    pub(super) fn concat(&mut self, id: NodeId) {
        let graph = self.graph;
        let mut channel = 0;
        for &from in &graph.node(id).inputs {
            if self.layout.in_place.get(&from) != Some(&ConcatPlace { concat: id, channel }) {
                let mut operands = self.operands(id, None);
                operands[Operand::In.index()] = Some(self.value_place(from));
                let run = Run { channel, ..self.run(id, from, None, &[]) };
                self.elementwise(id, run, operands);
            }
            channel += graph.node(from).shape.c();
        }
    }

    /// Copies a map's pixels behind each other, unless its memory already is the vector.
    pub(super) fn flatten(&mut self, id: NodeId) {
        if self.layout.is_view_of_operand(self.graph, id) {
            return;
        }
        let from = self.graph.node(id).inputs[0];
        let run = self.run(id, from, None, &[]);
        let pixel = u64::from(run.input.shape.c()) * 4;
        let out = View { pixel, shape: run.input.shape, ..run.out };
        self.elementwise(id, Run { out, ..run }, self.operands(id, None));
    }

    /// Softmax, shared out by rows of pixels.
    pub(super) fn softmax(&mut self, id: NodeId) {
        let (input, out) = (self.view(self.graph.node(id).inputs[0]), self.view(id));
        let lanes = self.target.lanes;
        let kernel = self.emit.kernel(Descriptor::Softmax(SoftmaxPixel { lanes, channels: out.shape.c() }));
        let mut b = NestBuilder::new();
        b.divide(self.batch, |b, image| {
            b.units(0..out.shape.h(), 1, |b, [row, _]| {
                b.repeat(0..out.shape.w(), |b, pixel| {
                    let at = |operand, view: View| {
                        let offset = Offset::default().along(image, view.image as i64);
                        let offset = offset.along(row, view.row() as i64);
                        argument(operand, offset.along(pixel, view.pixel as i64))
                    };
                    let scratch = argument(Operand::Scratch, Offset::default());
                    b.call(kernel, vec![at(Operand::In, input), at(Operand::Out, out), scratch], None);
                });
            });
        });
        let mut operands = self.operands(id, None);
        operands[Operand::Scratch.index()] = Some(self.emit.scratch(u64::from(lanes) * 4));
        self.step(id, b, operands);
    }

    /// A pass from `from` to the value of `id`.
    fn run<'p>(&self, id: NodeId, from: NodeId, added: Option<NodeId>, post: &'p [Post]) -> Run<'p> {
        let out = self.view(id);
        let add = added.map_or(out, |added| self.view(added));
        Run { input: self.view(from), out, add, channel: 0, affine: false, post }
    }

    /// The input of a convolution with an activation applied, as a step that leaves it in memory
    /// between steps.
    pub(super) fn activate_input(&mut self, id: NodeId, function: Activation) -> (Place, View) {
        let from = self.graph.node(id).inputs[0];
        let input = self.view(from);
        let slack = u64::from(self.target.vector_bytes());
        let image = input.shape.pixels() * input.pixel;
        let memory = self.emit.between_steps(u64::from(self.batch) * image + slack);
        let activated = View { offset: memory.offset, image, ..input };
        let post = [Post::Activation(function)];
        let run = Run { input, out: activated, add: activated, channel: 0, affine: false, post: &post };
        let nest = self.elementwise_nest(run);
        self.step_of(id, Part::Activation, nest, self.operands_of_first(id, memory));
        (memory, activated)
    }

    /// One step over all pixels.
    fn elementwise(&mut self, id: NodeId, run: Run<'_>, operands: Operands) {
        let nest = self.elementwise_nest(run);
        self.step(id, nest, operands);
    }

    /// A pass over all pixels, shared out in rows.
    fn elementwise_nest(&mut self, run: Run<'_>) -> NestBuilder {
        let Run { input, out, add, .. } = run;
        let descriptor = ElementwiseRun {
            lanes: self.target.lanes,
            channels: input.shape.c(),
            in_step: input.pixel as i32,
            out_step: out.pixel as i32,
            add_step: if run.post.contains(&Post::Add) { add.pixel as i32 } else { 0 },
            affine: run.affine,
            post: run.post.to_vec(),
        };
        let kernel = self.emit.kernel(Descriptor::Elementwise(descriptor));
        let (rows, width) = (input.shape.h(), input.shape.w());
        let mut b = NestBuilder::new();
        b.divide(self.batch, |b, image| {
            b.units(0..rows, 1, |b, [row, _]| {
                let at = |operand, view: View, channel: u32| {
                    let start = Offset::bytes(i64::from(channel) * 4).along(image, view.image as i64);
                    argument(operand, start.along(row, view.row() as i64))
                };
                let target = at(Operand::Out, out, run.channel);
                let constant = |operand| match run.affine {
                    true => argument(operand, Offset::default()),
                    false => target.clone(),
                };
                let pointers = vec![
                    at(Operand::In, input, 0),
                    target.clone(),
                    at(Operand::Add, add, 0),
                    constant(Operand::Weights),
                    constant(Operand::Bias),
                ];
                b.call(kernel, pointers, Some(width));
            });
        });
        b
    }
}

/// An elementwise pass over a map, into the channels of a result from `channel` on.
struct Run<'a> {
    input: View,
    out: View,
    add: View,
    channel: u32,
    affine: bool,
    post: &'a [Post],
}
