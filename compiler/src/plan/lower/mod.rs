//! From graph nodes to steps, one file a family of nodes.

mod chain;
mod channelwise;
mod choose;
mod conv;
mod crossed;
mod depthwise;
mod job;
mod maps;
mod panels;
mod place;
mod runs;
mod segments;
mod separable;
mod tiles;
mod winograd;

use std::collections::{BTreeMap, HashMap};

use choose::Question;

use super::chains::{self, Chains};
use super::forms::{Candidate, cheapest, equal_segments};
use super::nest::{Argument, KernelId, NestBuilder, Operand};
use super::pack::Pack;
use super::precisions::LayerPrecisions;
use super::values::{Values, View, lay_out};
use super::windows::fewest_units;
use super::{
    Driver, DriverId, MEMORY_LIMIT, Packed, Part, Place, PlanError, PlanOptions, Precision, Program, Region,
    STEP_LIMIT, Step, arena,
};
use crate::cost::macs;
use crate::graph::{Conv, Graph, LinearPart, Node, NodeId, Op, Post};
use crate::kernels::Descriptor;
use crate::target::Target;

/// More pixels than any tile has.
const LARGEST_TILE: u64 = 32;

/// Most tiles of one window that differ in what of them lies inside the image; each is called for itself.
const CLASS_LIMIT: u64 = 1 << 14;

/// Most such tiles of all runs of equal segments of a convolution, of which each has its own.
const CLASSES_OF_RUNS_LIMIT: u64 = 1 << 16;

/// Most taps in a row of a window; each is code of its own.
const TAP_LIMIT: u64 = 128;

/// Lowers all nodes; `choose` picks one of several forms.
pub fn lower(
    graph: &Graph,
    target: Target,
    options: PlanOptions,
    choose: &dyn Fn(&[Candidate]) -> usize,
) -> Result<Program, PlanError> {
    let precisions = LayerPrecisions::find(graph, target, options.precision);
    let chains = chains::find(graph, target, &options, &precisions);
    let values = lay_out(graph, &chains, target, &options, |node| conv::reads_vectors(graph.node(node)));
    check_memory(values.arena_bytes, options)?;
    let mut planner = Planner::new(graph, target, (options, precisions), (values, &chains), choose);
    for &node in graph.order() {
        planner.node(node)?;
    }
    planner.finish()
}

/// Milliseconds that each layer takes: its instructions by the target's times, or its weights,
/// where these come from memory and take longer. A layer that cannot be lowered has none.
pub type LayerTimes = BTreeMap<NodeId, f64>;

/// The times of all layers in a precision: each by itself, of one image, by one thread. None if
/// the values of all layers have no place in memory.
pub fn layer_times(graph: &Graph, target: Target, precision: Precision) -> Option<LayerTimes> {
    let options = PlanOptions { precision, ..PlanOptions::default() };
    let chains = Chains::default();
    let values = lay_out(graph, &chains, target, &options, |node| conv::reads_vectors(graph.node(node)));
    check_memory(values.arena_bytes, options).ok()?;
    let precisions = LayerPrecisions::all(precision);
    let mut planner = Planner::new(graph, target, (options, precisions), (values, &chains), &cheapest);
    let mut weights = LayerTimes::new();
    for &node in graph.order() {
        let before = planner.program.constant_bytes;
        if planner.node(node).is_ok() {
            weights.insert(node, weights_ms(target, planner.program.constant_bytes - before));
        }
    }
    Some(planner.times(&weights))
}

/// Bytes of weights that a thread reads from memory in a nanosecond, about (benches/LOG.md).
const BYTES_OF_NANOSECOND: f64 = 10.0;

/// Milliseconds that weights take to be read from memory; those that stay in a core's cache take
/// none.
fn weights_ms(target: Target, bytes: u64) -> f64 {
    if bytes <= u64::from(target.cache_bytes) { 0.0 } else { bytes as f64 / BYTES_OF_NANOSECOND * 1e-6 }
}

/// Refuses a plan before anything is enumerated that grows with its memory.
pub fn check_memory(bytes: u64, options: PlanOptions) -> Result<(), PlanError> {
    if bytes <= MEMORY_LIMIT {
        return Ok(());
    }
    Err(PlanError::Memory { bytes, batch: options.batch, limit: MEMORY_LIMIT })
}

/// The operands of a step under construction.
type Operands = [Option<Place>; Operand::ALL.len()];

/// A program under construction.
struct Planner<'a> {
    graph: &'a Graph,
    chains: &'a Chains,
    values: Values,
    program: Program,
    /// What the node at hand has to do, see [`Planner::work`].
    work: u64,
    kernel_ids: HashMap<Descriptor, KernelId>,
    driver_ids: HashMap<Driver, DriverId>,
    /// Picks one of several forms.
    choose: &'a dyn Fn(&[Candidate]) -> usize,
    /// What there was to choose from.
    candidates: HashMap<Question, Vec<Candidate>>,
    /// Milliseconds that planes of Winograd's method take beyond the instructions of kernels.
    planes_ms: LayerTimes,
}

impl<'a> Planner<'a> {
    fn new(
        graph: &'a Graph,
        target: Target,
        (options, precisions): (PlanOptions, LayerPrecisions),
        (values, chains): (Values, &'a Chains),
        choose: &'a dyn Fn(&[Candidate]) -> usize,
    ) -> Self {
        let whole = values.views.iter().filter(|(node, _)| chains.after(**node).is_none());
        let program = Program {
            target,
            options,
            precisions,
            portions: 1,
            kernels: Vec::new(),
            drivers: Vec::new(),
            steps: Vec::new(),
            constants: Vec::new(),
            choices: Vec::new(),
            saved_macs: HashMap::new(),
            planes_ms: 0.0,
            chains: chains.considered.clone(),
            constant_bytes: 0,
            arena_bytes: values.arena_bytes,
            scratch_bytes: 0,
            input: values.views[&graph.input],
            outputs: graph.outputs.iter().map(|output| values.views[output]).collect(),
            values: whole.map(|(&node, &view)| (node, view)).collect(),
        };
        Self {
            graph,
            chains,
            values,
            program,
            work: 0,
            kernel_ids: HashMap::new(),
            driver_ids: HashMap::new(),
            choose,
            candidates: HashMap::new(),
            planes_ms: LayerTimes::new(),
        }
    }

    fn finish(self) -> Result<Program, PlanError> {
        let mut program = self.program;
        program.saved_macs = program.saved(self.graph);
        program.planes_ms = self.planes_ms.values().sum();
        let largest = program.constant_bytes.max(program.scratch_bytes).max(program.arena_bytes);
        check_memory(largest, program.options)?;
        Ok(program)
    }

    /// The times of the layers that were lowered, which have those of their weights.
    fn times(&self, weights: &LayerTimes) -> LayerTimes {
        let planes_ms = |id: &NodeId| self.planes_ms.get(id).copied().unwrap_or(0.0);
        let mut times: LayerTimes = weights.keys().map(|id| (*id, planes_ms(id))).collect();
        let mut kernels = HashMap::new();
        for step in &self.program.steps {
            let nest = &self.program.drivers[step.driver.index()].nest;
            let counts = self.program.counts_with(nest, &mut kernels);
            if let Some(ms) = times.get_mut(&step.node) {
                *ms += self.program.target.times.ms(&counts);
            }
        }
        times.iter_mut().for_each(|(id, ms)| *ms = ms.max(weights[id]));
        times
    }

    fn node(&mut self, id: NodeId) -> Result<(), PlanError> {
        let graph = self.graph;
        let node = graph.node(id);
        self.check_steps(id)?;
        self.work = self.work(id);
        if self.chains.after(id).is_some() {
            return Ok(());
        }
        match self.chains.ending_with(id) {
            Some(chain) => self.bands(id, chain)?,
            None => self.operation(id, node)?,
        }
        self.rest_of_epilogue(id);
        Ok(())
    }

    fn operation(&mut self, id: NodeId, node: &Node) -> Result<(), PlanError> {
        match &node.op {
            Op::Input => Ok(()),
            Op::Conv(conv) => self.conv(id, conv),
            Op::Separable(parts) => self.separable(id, parts),
            Op::Dense(part) => self.dense(id, part),
            Op::Pool(pool) => self.pool(id, pool),
            Op::GlobalPool(kind) => self.global_pool(id, *kind),
            Op::BatchNorm(norm) => self.affine(id, norm),
            Op::Activation(function) => self.activation(id, *function),
            Op::Softmax => self.softmax(id),
            Op::Add => self.add(id),
            Op::Concat => self.concat(id),
            Op::Dropout { .. } => self.copy_of_operand(id),
            Op::Flatten => self.flatten(id),
        }
    }

    fn dense(&mut self, id: NodeId, part: &LinearPart) -> Result<(), PlanError> {
        let input = self.view(self.graph.node(id).inputs[0]).shape;
        self.conv(id, &Conv::of_dense(input, part))
    }

    fn view(&self, node: NodeId) -> View {
        self.values.views[&node]
    }

    /// Checks that the distances of a node's operands and result fit into kernels, and that its code does not
    /// grow with its window beyond measure.
    fn check_steps(&self, id: NodeId) -> Result<(), PlanError> {
        let node = self.graph.node(id);
        for &value in node.inputs.iter().chain([&id]) {
            let View { pixel, shape, .. } = self.view(value);
            self.limit(node, "the distance of pixels", pixel, STEP_LIMIT)?;
            // Kernels may ask for lines of as many pixels again as a tile has.
            let tiles = 2 * shape.pixels().min(LARGEST_TILE) * pixel;
            self.limit(node, "a tile's row of pixels", tiles, i32::MAX as u64)?;
        }
        let Some(window) = node.op.window() else { return Ok(()) };
        let input = self.view(node.inputs[0]);
        let [kh, kw] = window.kernel.map(u64::from);
        let step = input.pixel * u64::from(window.strides[1]);
        let tap = if kw > 1 { input.pixel * u64::from(window.dilation[1]) } else { 0 };
        let row = if kh > 1 { input.row() * u64::from(window.dilation[0]) } else { 0 };
        self.limit(node, "the distance of rows of taps", row, STEP_LIMIT)?;
        self.limit(node, "the distance of taps", tap, STEP_LIMIT)?;
        self.limit(node, "the distance of windows", step, STEP_LIMIT)?;
        self.limit(node, "a tile's row of windows", LARGEST_TILE * step + kw * tap, i32::MAX as u64)?;
        let (rows, columns) = (2 * kh, 2 * kw);
        let runs = match &node.op {
            Op::Conv(conv) => equal_segments(&conv.partition).len(),
            Op::Separable(parts) => equal_segments(&parts.spatial.partition).len(),
            _ => 1,
        } as u64;
        let classes = rows.min(u64::from(node.shape.h())) * columns.min(u64::from(node.shape.w()));
        self.limit(node, "the number of different tiles", classes, CLASS_LIMIT)?;
        let all = classes.saturating_mul(runs);
        self.limit(node, "the number of different tiles of all segments", all, CLASSES_OF_RUNS_LIMIT)?;
        self.limit(node, "the number of taps in a row", kw, TAP_LIMIT)
    }

    fn limit(&self, node: &Node, what: &str, size: u64, limit: u64) -> Result<(), PlanError> {
        if size <= limit {
            return Ok(());
        }
        let layer = self.graph.layer(node.layer).name.clone();
        Err(PlanError::TooLarge { layer, what: what.to_owned(), size, limit })
    }

    fn kernel(&mut self, descriptor: Descriptor) -> KernelId {
        let kernels = &mut self.program.kernels;
        *self.kernel_ids.entry(descriptor).or_insert_with_key(|descriptor| {
            kernels.push(descriptor.clone());
            KernelId::new(kernels.len() - 1)
        })
    }

    /// Appends a step that runs `nest` on `operands`.
    fn step(&mut self, node: NodeId, nest: NestBuilder, operands: Operands) {
        self.step_of(node, Part::Whole, nest, operands);
    }

    /// Appends a step that computes a part of a node.
    fn step_of(&mut self, node: NodeId, part: Part, nest: NestBuilder, operands: Operands) {
        let drivers = &mut self.program.drivers;
        let driver = Driver { nest: nest.finish() };
        let driver = *self.driver_ids.entry(driver).or_insert_with_key(|driver| {
            drivers.push(driver.clone());
            DriverId::new(drivers.len() - 1)
        });
        let layer = self.graph.layer(self.graph.node(node).layer).name.clone();
        self.program.steps.push(Step { node, before: Vec::new(), part, layer, driver, operands });
    }

    /// The place of a whole value, vectors that start in it included.
    fn value_place(&self, node: NodeId) -> Place {
        let view = self.view(node);
        let slack = u64::from(self.program.target.vector_bytes());
        let used = u64::from(self.program.options.batch - 1) * view.image
            + (view.shape.pixels() - 1) * view.pixel
            + u64::from(view.shape.c()) * 4;
        let bytes = used.next_multiple_of(slack).min(self.values.arena_bytes - view.offset);
        Place { region: Region::Arena, offset: view.offset, bytes }
    }

    /// Operands with the first input, the result, and the added input of a node where it has one. Nodes that
    /// add nothing get the result in its place, which their kernels never read.
    fn operands(&self, node: NodeId, added: Option<NodeId>) -> Operands {
        let mut operands = Operands::default();
        operands[Operand::In.index()] = Some(self.value_place(self.graph.node(node).inputs[0]));
        operands[Operand::Out.index()] = Some(self.value_place(node));
        operands[Operand::Add.index()] = Some(self.value_place(added.unwrap_or(node)));
        operands
    }

    /// The part of a node's epilogue that its kernels run: up to its second addition, since a kernel adds one
    /// operand.
    fn post(&self, id: NodeId) -> &'a [Post] {
        let post = &self.graph.node(id).fusion.post;
        let mut additions = (0..post.len()).filter(|&at| post[at] == Post::Add);
        &post[..additions.nth(1).unwrap_or(post.len())]
    }

    /// The operand that [`Planner::post`] adds.
    fn added(&self, id: NodeId) -> Option<NodeId> {
        let node = self.graph.node(id);
        let own = node.inputs.len() - node.fusion.added_inputs();
        node.inputs.get(own).copied()
    }

    /// Reserves packed constants and returns the places of weights and biases.
    fn pack(&mut self, pack: Pack) -> [Place; 2] {
        let (weights, bias) = pack.sizes();
        let [weights, bias] = [weights, bias].map(|values| {
            let offset = self.program.constant_bytes;
            self.program.constant_bytes += (values * 4).next_multiple_of(arena::ALIGNMENT);
            Place { region: Region::Constants, offset, bytes: values * 4 }
        });
        self.program.constants.push(Packed { pack, weights: weights.offset, bias: bias.offset });
        [weights, bias]
    }

    /// Reserves scratch memory of every thread.
    fn scratch(&mut self, bytes: u64) -> Place {
        let bytes = bytes.next_multiple_of(arena::ALIGNMENT);
        self.program.scratch_bytes = self.program.scratch_bytes.max(bytes);
        Place { region: Region::Scratch, offset: 0, bytes }
    }

    /// Memory for what one step leaves to the next: behind all values.
    fn between_steps(&mut self, bytes: u64) -> Place {
        let bytes = bytes.next_multiple_of(arena::ALIGNMENT);
        let offset = self.values.arena_bytes;
        self.program.arena_bytes = self.program.arena_bytes.max(offset.saturating_add(bytes));
        Place { region: Region::Arena, offset, bytes }
    }

    /// How many units of work a step of the node at hand should at least make of each of some images.
    fn fewest_units(&self, images: u32) -> u32 {
        let smallest = self.work / self.program.target.unit_macs.max(1);
        fewest_units(self.program.options.threads, smallest).div_ceil(images.max(1))
    }

    /// What a node has to do for all images, in multiply-adds or values, whichever are more.
    fn work(&self, id: NodeId) -> u64 {
        let inputs = self.graph.node(id).inputs.first();
        let values = inputs.map_or(0, |&input| self.graph.node(input).shape.elements());
        let image = macs(self.graph, id).total().max(values);
        image.saturating_mul(u64::from(self.program.options.batch))
    }
}

/// Shorthand for an argument.
fn argument(operand: Operand, offset: super::nest::Offset) -> Argument {
    Argument { operand, offset }
}
