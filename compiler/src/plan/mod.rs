//! The plan: which kernels run in which loops on which memory.
//!
//! A [`Program`] is all that code generation and the runtime need: kernels by descriptor, drivers
//! (loop nests that several steps may share), steps (a driver and its operands), recipes for
//! packed weights, and views of values in one arena.

mod emit;
pub mod interpret;
mod lower;
mod multiversion;
pub mod nest;
pub mod pack;
mod text;
pub mod verify;

use std::collections::HashMap;
use std::fmt;

use crate::graph::verify::{Violation, verify as verify_graph};
use crate::graph::{Graph, NodeId, entity};
use crate::instruction_times::{Counts, KernelCounts};
use crate::kernels::Descriptor;
use crate::layout::{Layout, lay_out};
use crate::schedule::options::{check_memory, checked};
use crate::schedule::precisions::LayerPrecisions;
use crate::schedule::segments::{Candidate, cheapest};
use crate::schedule::{Facts, Schedule, fusion};
use crate::target::{Bf16Unit, Target};
use nest::{KernelId, Nest, Operand, for_each_count};
use pack::Pack;

pub use crate::layout::View;
pub use crate::schedule::options::{
    BATCH_LIMIT, MEMORY_LIMIT, PlanError, PlanOptions, Precision, THREADS_LIMIT, UnknownPrecision,
};

entity!(
    /// A driver of the program; prints as `d7`.
    DriverId, "d"
);

/// What calls of a kernel execute. The additions by the fast inner product run beside the
/// multiply-adds.
fn kernel_counts(descriptor: &Descriptor) -> KernelCounts {
    let counts = KernelCounts::new(&descriptor.generate());
    if let Descriptor::FastInner(_) = descriptor { counts.without_arithmetic() } else { counts }
}

/// What all calls of a nest execute; `known` has the kernels that were counted before.
fn counts_of(kernels: &[Descriptor], nest: &[Nest], known: &mut HashMap<KernelId, KernelCounts>) -> Counts {
    let mut counts = Counts::default();
    for_each_count(nest, 1, &mut |kernel, rows, times| {
        let of_kernel = known.entry(kernel).or_insert_with(|| kernel_counts(&kernels[kernel.index()]));
        counts = counts.plus(times, &of_kernel.of_call(rows.unwrap_or(0)));
    });
    counts
}

/// Memory that steps work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Region {
    /// Values of a shard while it runs.
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
    /// The inputs of a pointwise convolution, prescaled for the fast inner product.
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
    /// The nodes before it that the step computes, too, strip by strip: their values never exist
    /// whole.
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
    /// How each layer is computed, and why.
    pub schedule: Schedule,
    /// Shards that a batch consists of. If there are several, each is run by one thread, in the
    /// thread's arena; else all threads run the batch together.
    pub shards: u32,
    /// Kernels, by [`nest::KernelId`].
    pub kernels: Vec<Descriptor>,
    /// Drivers, by [`DriverId`].
    pub drivers: Vec<Driver>,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// Packed constants.
    pub constants: Vec<Packed>,
    /// Multiply-adds of an image that need no multiplication, of the stages of nodes that save
    /// some: by Winograd's method, or since products are fast inner products.
    pub saved_macs: HashMap<NodeId, [u64; 2]>,
    /// Size of the packed constants in bytes.
    pub constant_bytes: u64,
    /// Size of an arena, which holds the values of a shard, in bytes.
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
    /// Images of a shard.
    pub fn images(&self) -> u32 {
        self.options.batch / self.shards
    }

    /// Worker groups: threads that run a shard together: one of all threads, or each thread by
    /// itself. Each group has an arena.
    pub fn worker_groups(&self) -> u32 {
        if self.shards == 1 { 1 } else { self.options.threads }
    }

    /// Bytes of all values in a run: of all arenas, and of inputs and outputs as they are given
    /// and returned.
    fn value_bytes(&self) -> u64 {
        let given =
            self.outputs.iter().chain([&self.input]).map(|view| view.shape.elements().saturating_mul(4));
        let given = given.fold(0, u64::saturating_add).saturating_mul(u64::from(self.options.batch));
        self.arena_bytes.saturating_mul(u64::from(self.worker_groups())).saturating_add(given)
    }

    /// Bytes of all values in a run, and of the scratch memory of all threads.
    pub fn memory_bytes(&self) -> u64 {
        let scratch = self.scratch_bytes.saturating_mul(u64::from(self.options.threads));
        self.value_bytes().saturating_add(scratch)
    }

    /// What all threads together execute in a run.
    pub fn counts(&self) -> Counts {
        let nests = self.steps.iter().map(|step| &self.drivers[step.driver.index()].nest);
        let times = u64::from(self.shards);
        nests.fold(Counts::default(), |counts, nest| {
            counts.plus(times, &counts_of(&self.kernels, nest, &mut HashMap::new()))
        })
    }

    /// Milliseconds of one thread that a run takes by the target's times, without waiting for
    /// memory but for planes of Winograd's method.
    pub fn predicted_ms(&self) -> f64 {
        self.target.times.ms(&self.counts()) + self.schedule.planes_ms() * f64::from(self.options.batch)
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

/// Plans `graph` for `target`, with the algorithms of segments that take the least time.
///
/// A graph that does not verify is refused; a batch or a number of threads of 0 counts as 1.
pub fn plan(graph: &Graph, target: Target, options: PlanOptions) -> Result<Program, PlanError> {
    plan_with(graph, target, options, &cheapest)
}

/// Plans `graph` as [`plan`] does, but for the algorithms of segments, of which `choose` picks one
/// by its index. One that there is not counts as the last. Any choice gives the same results, to
/// rounding.
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
    verify_graph(graph).map_err(|violations| PlanError::Graph {
        violation: violations.first().map_or_else(String::new, Violation::to_string),
    })?;
    let shards = options.shards(graph);
    let of_shard = options.of_shard(shards);
    let program = lower::lower(graph, &schedule(graph, target, of_shard, choose)?)?;
    let program = Program { options, shards, ..program };
    check_memory(program.value_bytes(), options)?;
    debug_assert!(check(&program), "lowering made a wrong program");
    Ok(program)
}

/// Whether a program verifies; prints it with what is wrong if it does not.
fn check(program: &Program) -> bool {
    match verify::verify(program) {
        Ok(()) => true,
        Err(violation) => {
            eprintln!("{}", verify::Annotated { program, violation: &violation });
            false
        }
    }
}

/// A schedule with the layout that it was made for.
struct Scheduled {
    schedule: Schedule,
    layout: Layout,
}

/// The decisions for the images and threads that run together.
fn schedule(
    graph: &Graph,
    target: Target,
    options: PlanOptions,
    choose: &dyn Fn(&[Candidate]) -> usize,
) -> Result<Scheduled, PlanError> {
    let times = |precision| lower::layer_times(graph, target, precision);
    let precisions = LayerPrecisions::find(graph, target, options.precision, &times);
    let fused_groups = fusion::find(graph, target, &options, &precisions);
    let layout = lay_out(graph, &fused_groups, target, &options)?;
    let facts = Facts { graph, target, options, layout: &layout };
    let costs = lower::Costs::new(facts);
    let schedule = crate::schedule::build(facts, precisions, fused_groups, &costs, choose)?;
    Ok(Scheduled { schedule, layout })
}
