//! The plan: which kernels run in which loops on which memory.
//!
//! A [`Program`] is all that code generation and the runtime need: kernels by descriptor, drivers (loop nests
//! that several steps may share), steps (a driver and its operands), recipes for packed weights, and views of
//! values in one arena.

pub mod arena;
pub mod bands;
pub mod chains;
pub mod forms;
pub mod interpret;
mod lower;
pub mod methods;
pub mod nest;
pub mod pack;
pub mod precisions;
mod text;
pub mod values;
mod wide;
pub mod windows;

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use crate::graph::verify::{Violation, verify};
use crate::graph::{Conv, Graph, Node, NodeId, Op, entity};
use crate::instruction_times::{Counts, KernelCounts};
use crate::kernels::{Descriptor, crossed, winograd};
use crate::target::{Bf16Unit, Isa, Target};
use chains::Considered;
use forms::{Candidate, Choice, Form, PlaneProducts, cheapest};
use methods::Methods;
use nest::{KernelId, Nest, Operand, for_each_count};
use pack::Pack;
use precisions::{LayerPrecisions, MoreExact};

pub use values::View;

entity!(
    /// A driver of the program; prints as `d7`.
    DriverId, "d"
);

/// The least exact products that a network may have: a layer has f32 products wherever these take
/// no more time ([`precisions`]). Sums, biases, activations and all values between layers are f32
/// in every case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// f32 factors. Where there are matrix instructions, large layers take each factor as the sum of three bf16 values,
    /// which hold all of its 24 bits, and six of the nine products of these: what is left out is below 2^-26 of a
    /// product. Parts of values below 1e-33 are lost, and infinities yield NaN there.
    #[default]
    F32,
    /// Factors rounded to bf16, 8 bits of mantissa, by matrix instructions or products of pairs. Where these are of planes of
    /// Winograd's method, the factors are sums of inputs and of weights, and infinities yield NaN.
    Bf16,
    /// Each factor as the sum of two bf16 values, and three of the four products of these: about 16 bits of
    /// mantissa, by matrix instructions.
    Split,
}

impl Precision {
    /// All of them, the most exact first.
    pub const ALL: [Precision; 3] = [Precision::F32, Precision::Split, Precision::Bf16];

    /// bf16 values that a factor is taken as where tiles multiply, see [`bf16::parts`](crate::vector::bf16::parts).
    pub fn parts(self) -> u32 {
        match self {
            Precision::F32 => 3,
            Precision::Split => 2,
            Precision::Bf16 => 1,
        }
    }

    /// Products of tiles that a multiply-add takes: those of parts that together reach as far as the last part.
    pub fn products(self) -> u32 {
        self.parts() * (self.parts() + 1) / 2
    }

    /// The first instruction set that has it. Products of pairs are twice as fast as those of f32 values, so only with tiles
    /// are several for a multiply-add worth while.
    pub fn needs(self) -> Isa {
        match self {
            Precision::F32 => Isa::Baseline,
            Precision::Bf16 => Isa::Avx512Bf16,
            Precision::Split => Isa::Amx,
        }
    }

    /// Whether `target` has the instructions.
    pub fn is_for(self, target: Target) -> bool {
        target.isa >= self.needs()
    }

    /// Whether `target` takes factors of large layers as bf16 values.
    pub fn is_by_bf16(self, target: Target) -> bool {
        match target.bf16_unit() {
            Some(Bf16Unit::Tiles) => true,
            Some(Bf16Unit::Pairs) => self == Precision::Bf16,
            None => false,
        }
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Split => "split",
        })
    }
}

/// There is no such precision.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no precision `{name}`; there are f32, bf16 and split")]
pub struct UnknownPrecision {
    /// The name.
    name: String,
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(name: &str) -> Result<Self, UnknownPrecision> {
        let known = Self::ALL.into_iter().find(|precision| precision.to_string() == name);
        known.ok_or_else(|| UnknownPrecision { name: name.to_owned() })
    }
}

/// How a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanOptions {
    /// Images in a run, at least one.
    pub batch: u32,
    /// Threads that work is divided for; any number can run the program.
    pub threads: u32,
    /// Whether every value that is in memory whole stays there to the end of a run, to be looked at.
    pub keep_all: bool,
    /// What products are computed in.
    pub precision: Precision,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self { batch: 1, threads: 1, keep_all: false, precision: Precision::F32 }
    }
}

impl PlanOptions {
    /// How many portions of whole images a batch is divided into: one for each image where there are as many for every
    /// thread, since threads that run images of their own need not meet between steps, and values of a single image are sooner in a
    /// cache than those of all. Otherwise the batch is one portion, which all threads run together; and where a network has
    /// more weights that an image uses once than values, since these weights are then read once for all images.
    ///
    /// Plans that keep all values are for a look at one portion.
    fn portions(self, graph: &Graph) -> u32 {
        let apart = self.batch.is_multiple_of(self.threads) && !self.keep_all && !reads_weights_once(graph);
        if apart { self.batch } else { 1 }
    }

    /// The options of a portion, of which a batch has `portions`.
    fn of_portion(self, portions: u32) -> Self {
        match portions {
            1 => self,
            _ => Self { batch: self.batch / portions, threads: 1, ..self },
        }
    }
}

/// What calls of a kernel execute. The additions of crossed products run beside the multiply-adds.
fn kernel_counts(descriptor: &Descriptor) -> KernelCounts {
    let counts = KernelCounts::new(&descriptor.generate());
    if let Descriptor::Crossed(_) = descriptor { counts.without_arithmetic() } else { counts }
}

/// Whether a network has more weights that each image uses once than values: those of results of a single pixel.
fn reads_weights_once(graph: &Graph) -> bool {
    let sum = |count: &dyn Fn(&Node) -> u64| {
        graph.order().iter().map(|&id| count(graph.node(id))).fold(0, u64::saturating_add)
    };
    let weights = |node: &Node| match node.shape.pixels() {
        1 => node.op.weights().iter().map(|&id| graph.weight(id).elements()).fold(0, u64::saturating_add),
        _ => 0,
    };
    sum(&weights) > sum(&|node: &Node| node.shape.elements())
}

/// Most threads that a plan is for: more than machines have cores.
pub const THREADS_LIMIT: u32 = 1024;

/// Most images of a run: plans count units of work in 32 bits, and this many images leave room for
/// rows and channels.
pub const BATCH_LIMIT: u32 = 4096;

/// Why a graph cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// The graph breaks an invariant, see [`verify`].
    #[error("the graph is broken: {violation}")]
    Graph {
        /// The first broken invariant.
        violation: String,
    },
    /// The plan would be for more threads or images than plans can be.
    #[error("the plan is to be for {found} {what}; the limit is {limit}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there would be.
        found: u32,
        /// The most.
        limit: u32,
    },
    /// A layer needs larger distances in memory, or more code, than kernels can have.
    #[error(
        "{layer} is too large to be compiled: {what} is {size}, the limit is {limit}; `--backend reference` has none"
    )]
    TooLarge {
        /// The layer.
        layer: String,
        /// What is too large; distances are in bytes.
        what: String,
        /// Its size.
        size: u64,
        /// The largest possible size.
        limit: u64,
    },
    /// The target lacks the instructions of the precision.
    #[error("precision {precision} needs {}, which {} lacks; run with --precision f32", .precision.needs(), lacking(*.precision, *.isa))]
    Precision {
        /// The precision.
        precision: Precision,
        /// The instruction set of the target.
        isa: Isa,
    },
    /// All values together need more memory than can be addressed.
    #[error("the network needs {bytes} bytes for its values at batch {batch}, the limit is {limit}")]
    Memory {
        /// Bytes needed.
        bytes: u64,
        /// Images that these are the values of.
        batch: u32,
        /// The largest possible size.
        limit: u64,
    },
}

/// The machine where that is what lacks something, else the target.
fn lacking(precision: Precision, isa: Isa) -> String {
    match precision.needs().missing() {
        missing if missing.is_empty() => format!("target {isa}"),
        missing => format!("this machine (no {})", missing.join(", ")),
    }
}

/// Memory that steps work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Region {
    /// Values of a portion while it runs.
    Arena,
    /// Packed constants, shared by all runs.
    Constants,
    /// Memory of one thread in one run.
    Scratch,
}

/// A place in a region.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The region.
    pub region: Region,
    /// Bytes from its start.
    pub offset: u64,
    /// Bytes from there that belong to the operand.
    pub bytes: u64,
}

/// A loop nest that one or more steps run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Driver {
    /// The loops and calls.
    pub nest: Vec<Nest>,
}

/// What a step computes of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it, or what is left of its epilogue.
    Whole,
    /// The input of a convolution, activated.
    Activation,
    /// The inputs of a pointwise convolution, made ready for crossed products.
    Inputs,
    /// The spatial part of a separable convolution.
    Spatial,
    /// The pointwise part of a separable convolution.
    Pointwise,
    /// The windows of a convolution, as rows of a matrix.
    Windows,
    /// What a convolution is but for its input, which a step before has prepared.
    Products,
    /// The inputs of a convolution by Winograd's method, transformed.
    Patches,
    /// The products of the planes of such a convolution.
    Planes,
    /// The results of such a convolution.
    Results,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Whole => "whole",
            Part::Activation => "activation",
            Part::Inputs => "inputs",
            Part::Spatial => "spatial",
            Part::Pointwise => "pointwise",
            Part::Windows => "windows",
            Part::Products => "products",
            Part::Patches => "patches",
            Part::Planes => "planes",
            Part::Results => "results",
        })
    }
}

/// One step of a run: when all threads have ended it, the next one begins.
#[derive(Clone, Debug)]
pub struct Step {
    /// The node whose value it computes (or a part of it).
    pub node: NodeId,
    /// The nodes before it that the step computes, too, band by band of rows: their values never exist whole.
    pub before: Vec<NodeId>,
    /// What of the node it computes.
    pub part: Part,
    /// The layer's name.
    pub layer: String,
    /// What runs.
    pub driver: DriverId,
    /// On what, by [`Operand::index`].
    pub operands: [Option<Place>; Operand::ALL.len()],
}

/// Packed constants of a step: where they lie, in bytes from the start of the constants.
#[derive(Clone, Debug)]
pub struct Packed {
    /// How they are made.
    pub pack: Pack,
    /// Start of the weights.
    pub weights: u64,
    /// Start of the biases.
    pub bias: u64,
}

/// A planned network.
#[derive(Clone, Debug)]
pub struct Program {
    /// What it is planned for.
    pub target: Target,
    /// How it was planned.
    pub options: PlanOptions,
    /// The precision of each layer, which may be more exact than that of the options.
    pub precisions: LayerPrecisions,
    /// Portions that a batch consists of. If there are several, each is run by one thread, in the thread's arena; else all
    /// threads run the batch together.
    pub portions: u32,
    /// Kernels, by [`nest::KernelId`].
    pub kernels: Vec<Descriptor>,
    /// Drivers, by [`DriverId`].
    pub drivers: Vec<Driver>,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Packed constants.
    pub constants: Vec<Packed>,
    /// The forms chosen for segments, where there were several to choose from.
    pub choices: Vec<Choice>,
    /// Multiply-adds of an image that need no multiplication, of the stages of nodes that save some: by Winograd's method, or since
    /// products are crossed.
    pub saved_macs: HashMap<NodeId, [u64; 2]>,
    /// Milliseconds that the planes of Winograd's method take for an image beyond the instructions
    /// of kernels.
    pub planes_ms: f64,
    /// The chains of layers, and those that did not pay.
    pub chains: Vec<Considered>,
    /// Size of the packed constants in bytes.
    pub constant_bytes: u64,
    /// Size of an arena, which holds the values of a portion, in bytes.
    pub arena_bytes: u64,
    /// Size of each thread's scratch memory in bytes.
    pub scratch_bytes: u64,
    /// Where the input is to be put.
    pub input: View,
    /// Where results are found, in the order of [`Graph::outputs`].
    pub outputs: Vec<View>,
    /// Where every value is found that is in memory whole; after a run they still hold only with
    /// [`PlanOptions::keep_all`].
    pub values: HashMap<NodeId, View>,
}

impl Program {
    /// The precision of a layer's products.
    pub fn precision(&self, id: NodeId) -> Precision {
        self.precisions.of(id)
    }

    /// The methods that a layer is computed by.
    pub fn methods(&self, id: NodeId) -> Methods {
        Methods::new(self.precision(id), self.target)
    }

    /// The layers that have more exact products than the options ask for, if there are any.
    pub fn more_exact(&self) -> Option<MoreExact> {
        self.precisions.more_exact(self.target)
    }

    /// Images of a portion.
    pub fn images(&self) -> u32 {
        self.options.batch / self.portions
    }

    /// Crews, which are threads that run a portion together: one of all threads, or each thread by itself. Each crew has an arena.
    pub fn crews(&self) -> u32 {
        if self.portions == 1 { 1 } else { self.options.threads }
    }

    /// Bytes of all values in a run: of all arenas, and of inputs and outputs as they are given and returned.
    fn value_bytes(&self) -> u64 {
        let given =
            self.outputs.iter().chain([&self.input]).map(|view| view.shape.elements().saturating_mul(4));
        let given = given.fold(0, u64::saturating_add).saturating_mul(u64::from(self.options.batch));
        self.arena_bytes.saturating_mul(u64::from(self.crews())).saturating_add(given)
    }

    /// Bytes of all values in a run, and of the scratch memory of all threads.
    pub fn memory_bytes(&self) -> u64 {
        let scratch = self.scratch_bytes.saturating_mul(u64::from(self.options.threads));
        self.value_bytes().saturating_add(scratch)
    }

    /// What all threads together execute in a run.
    pub fn counts(&self) -> Counts {
        let nests = self.steps.iter().map(|step| &self.drivers[step.driver.index()].nest);
        let times = u64::from(self.portions);
        nests.fold(Counts::default(), |counts, nest| counts.plus(times, &self.counts_of(nest)))
    }

    /// Milliseconds of one thread that a run takes by the target's times, without waiting for
    /// memory but for planes of Winograd's method.
    pub fn predicted_ms(&self) -> f64 {
        self.target.times.ms(&self.counts()) + self.planes_ms * f64::from(self.options.batch)
    }

    /// What all calls of a nest execute.
    fn counts_of(&self, nest: &[Nest]) -> Counts {
        self.counts_with(nest, &mut HashMap::new())
    }

    /// What all calls of a nest execute; `kernels` are those of the program that were counted
    /// before.
    fn counts_with(&self, nest: &[Nest], kernels: &mut HashMap<KernelId, KernelCounts>) -> Counts {
        let mut counts = Counts::default();
        for_each_count(nest, 1, &mut |kernel, rows, times| {
            let descriptor = &self.kernels[kernel.index()];
            let of_kernel = kernels.entry(kernel).or_insert_with(|| kernel_counts(descriptor));
            counts = counts.plus(times, &of_kernel.of_call(rows.unwrap_or(0)));
        });
        counts
    }

    /// What [`Program::saved_macs`] has.
    fn saved(&self, graph: &Graph) -> HashMap<NodeId, [u64; 2]> {
        let mut by_planes: HashMap<NodeId, u64> = HashMap::new();
        for choice in &self.choices {
            *by_planes.entry(choice.node).or_default() += self.saved_by_planes(choice);
        }
        let of_node = |&id: &NodeId| {
            let by_planes = by_planes.get(&id).copied().unwrap_or(0);
            (id, self.saved_by(graph, id, by_planes))
        };
        graph.order().iter().map(of_node).filter(|(_, saved)| *saved != [0; 2]).collect()
    }

    /// The same for a node, of which `by_planes` are saved by Winograd's method.
    fn saved_by(&self, graph: &Graph, id: NodeId, by_planes: u64) -> [u64; 2] {
        let node = graph.node(id);
        let crossed = |conv: &Conv| {
            let [ic, oc] = [conv.partition.ic(), conv.partition.oc()];
            let of_output = u64::from(crossed::products_saved(ic, self.target.lanes));
            (of_output * u64::from(oc)).saturating_mul(node.shape.pixels())
        };
        match (&node.op, self.methods(id).stages_crossed(node)) {
            (Op::Conv(conv), [true, _]) => [by_planes + crossed(conv), 0],
            (Op::Separable(parts), [_, true]) => [by_planes, crossed(&parts.pointwise)],
            _ => [by_planes, 0],
        }
    }

    /// Multiply-adds of an image that segments by Winograd's method save.
    fn saved_by_planes(&self, choice: &Choice) -> u64 {
        // Only whole maps are computed so.
        let (Form::Winograd(products), Some(view)) = (choice.form(), self.values.get(&choice.node)) else {
            return 0;
        };
        let out = [view.shape.h(), view.shape.w()];
        let pairs = u64::from(choice.segments) * u64::from(choice.ic) * u64::from(choice.oc);
        let saved = pairs * winograd::products_saved(out, [1; 2]);
        let PlaneProducts::Crossed(_) = products else { return saved };
        let [rows, columns] = winograd::patches(out).map(u64::from);
        let outputs = rows * columns * u64::from(winograd::PLANES * choice.segments) * u64::from(choice.oc);
        saved + outputs * u64::from(crossed::products_saved(choice.ic, self.target.lanes))
    }

    /// What multiplies bf16 values in kernels; none where all products are in vectors of f32.
    pub fn bf16_unit(&self) -> Option<Bf16Unit> {
        self.kernels.iter().find_map(|kernel| match kernel {
            Descriptor::Matmul(panel) => Some(panel.unit),
            _ => None,
        })
    }

    /// True if kernels use tile registers, which some systems permit only on request.
    pub fn uses_tiles(&self) -> bool {
        self.bf16_unit() == Some(Bf16Unit::Tiles)
    }
}

/// Largest distance in bytes that a kernel moves at once.
const STEP_LIMIT: u64 = 1 << 27;

/// Largest arena, constants or scratch, in bytes: more than machines have, far below what 64-bit addresses
/// span.
pub const MEMORY_LIMIT: u64 = 1 << 38;

/// Plans `graph` for `target`, with the forms of segments that take the least time.
///
/// A graph that does not verify is refused; a batch or a number of threads of 0 counts as 1.
pub fn plan(graph: &Graph, target: Target, options: PlanOptions) -> Result<Program, PlanError> {
    plan_with(graph, target, options, &cheapest)
}

/// Plans `graph` as [`plan`] does, but for the forms of segments, of which `choose` picks one by its index. One that
/// there is not counts as the last. Any choice gives the same results, to rounding.
pub fn plan_with(
    graph: &Graph,
    target: Target,
    options: PlanOptions,
    choose: &dyn Fn(&[Candidate]) -> usize,
) -> Result<Program, PlanError> {
    if !options.precision.is_for(target) {
        return Err(PlanError::Precision { precision: options.precision, isa: target.isa });
    }
    let options = checked(options)?;
    verify(graph).map_err(|violations| PlanError::Graph {
        violation: violations.first().map_or_else(String::new, Violation::to_string),
    })?;
    let portions = options.portions(graph);
    let program = lower::lower(graph, target, options.of_portion(portions), choose)?;
    let program = Program { options, portions, ..program };
    lower::check_memory(program.value_bytes(), options)?;
    Ok(program)
}

/// Options with at least one image and thread, unless there are too many.
fn checked(options: PlanOptions) -> Result<PlanOptions, PlanError> {
    let limits = [("threads", options.threads, THREADS_LIMIT), ("images", options.batch, BATCH_LIMIT)];
    match limits.into_iter().find(|(_, found, limit)| found > limit) {
        Some((what, found, limit)) => Err(PlanError::TooMany { what, found, limit }),
        None => Ok(PlanOptions { batch: options.batch.max(1), threads: options.threads.max(1), ..options }),
    }
}
