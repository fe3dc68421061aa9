//! Compiled networks: packed constants, machine code, and the memory and threads of each run.

use std::cmp::Reverse;
use std::ffi::c_void;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use xcc_compiler::codegen::jit::{NativeProgram, Symbol};
use xcc_compiler::codegen::{CodegenError, Context, Taken};
use xcc_compiler::graph::{Graph, NodeId, Shape, WeightSource};
use xcc_compiler::plan::pack::Pack;
use xcc_compiler::plan::{PlanError, PlanOptions, Program, View, plan};
use xcc_compiler::target::Target;

use crate::machine::{NoTiles, permit_tiles};
use crate::memory::{AlignedBuffer, OutOfMemory};
use crate::team::{Barrier, Job, Team, lock};

/// Why a network cannot be compiled or run.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// The graph cannot be planned.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// No machine code can be made.
    #[error(transparent)]
    Codegen(#[from] CodegenError),
    /// There is no memory.
    #[error(transparent)]
    Memory(#[from] OutOfMemory),
    /// There are no threads.
    #[error("cannot start threads: {0}")]
    Threads(#[from] std::io::Error),
    /// The system keeps the precision's instructions from this process.
    #[error(transparent)]
    Tiles(#[from] NoTiles),
    /// The input has a wrong number of elements.
    #[error("{batch} inputs of shape {shape} have {expected} elements, but {found} were given")]
    Input {
        /// Images in a run.
        batch: u32,
        /// Shape of one input.
        shape: Shape,
        /// Elements that there should be.
        expected: u64,
        /// Elements given.
        found: usize,
    },
}

/// A network that is ready to run. It can be shared by threads: each run takes memory and workers of its own
/// from a pool.
pub struct Model {
    compiled: Arc<Compiled>,
    threads: u32,
    times: BuildTimes,
    idle: Mutex<Vec<Slot>>,
}

/// How long the parts of making a model took that run side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildTimes {
    /// Making machine code.
    pub code: Duration,
    /// Packing weights.
    pub pack: Duration,
    /// Both together.
    pub both: Duration,
}

struct Compiled {
    program: Program,
    native: NativeProgram,
    constants: AlignedBuffer,
}

/// What one run needs.
struct Slot {
    arena: AlignedBuffer,
    scratch: AlignedBuffer,
    team: Team,
    /// For each step and thread.
    taken: Arc<[Taken]>,
    waiter: Arc<Waiter>,
}

/// What threads meet at between steps, and when they did.
struct Waiter {
    barrier: Barrier,
    /// When the run began and when each step ended, in nanoseconds since `epoch`.
    times: Vec<AtomicU64>,
    epoch: Instant,
}

/// Called by generated code at the end of each step.
extern "C" fn wait(waiter: *const c_void, thread: u64, step: u64) {
    // SAFETY: the context of every run points at the waiter of its slot, which lives as long as the run.
    let waiter = unsafe { &*waiter.cast::<Waiter>() };
    waiter.barrier.wait();
    if thread == 0 {
        waiter.stamp(step as usize + 1);
    }
}

impl Waiter {
    fn stamp(&self, at: usize) {
        self.times[at].store(self.epoch.elapsed().as_nanos() as u64, Ordering::Relaxed);
    }

    /// How long each step of the last run took.
    fn durations(&self) -> Vec<Duration> {
        let times: Vec<u64> = self.times.iter().map(|time| time.load(Ordering::Relaxed)).collect();
        times.windows(2).map(|pair| Duration::from_nanos(pair[1] - pair[0])).collect()
    }
}

/// A context that may be sent to the workers of a run.
struct SharedContext(Context);

// SAFETY: the pointers are to memory of the slot and the constants, both of which outlive the run; generated
// code lets no two threads write the same bytes within a step.
unsafe impl Send for SharedContext {}
// SAFETY: as above; the context itself is only read.
unsafe impl Sync for SharedContext {}

impl Model {
    /// Plans, compiles and packs a network for runs of `options.batch` images with `options.threads` threads.
    ///
    /// `graph` must be verified, and the lengths of the tensors that `weights` gives must be those it
    /// declares.
    pub fn compile(
        graph: &Graph,
        weights: &(dyn WeightSource + Sync),
        target: Target,
        options: PlanOptions,
    ) -> Result<Self, ModelError> {
        Self::of_program(plan(graph, target, options)?, weights)
    }

    /// Compiles a program and packs the weights of the graph that it was planned for.
    pub fn of_program(program: Program, weights: &(dyn WeightSource + Sync)) -> Result<Self, ModelError> {
        let threads = program.options.threads;
        if program.uses_tiles() {
            permit_tiles()?;
        }
        let (((native, code), (constants, pack)), both) = timed(|| {
            rayon::join(
                || timed(|| NativeProgram::compile_with(&program, false, &side_by_side)),
                || timed(|| pack_constants(&program, weights)),
            )
        });
        let compiled = Compiled { native: native?, constants: constants?, program };
        Ok(Self {
            compiled: Arc::new(compiled),
            threads,
            times: BuildTimes { code, pack, both },
            idle: Mutex::new(Vec::new()),
        })
    }

    /// The plan that is run.
    pub fn program(&self) -> &Program {
        &self.compiled.program
    }

    /// How long making the model took.
    pub fn build_times(&self) -> BuildTimes {
        self.times
    }

    /// Where the functions of its machine code lie, in the order of addresses.
    pub fn symbols(&self) -> &[Symbol] {
        self.compiled.native.symbols()
    }

    /// Runs the network on a batch of inputs, each in compact NHWC order, and returns the outputs likewise.
    pub fn run(&self, input: &[f32]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.with_slot(input, |slot| self.outputs(slot))
    }

    /// Runs the network as [`Model::run`] does and returns the outputs and how long each step took. The steps'
    /// sum is less than the whole run by the copying of input and output and the waking of threads.
    pub fn run_timed(&self, input: &[f32]) -> Result<(Vec<Vec<f32>>, Vec<Duration>), ModelError> {
        self.with_slot(input, |slot| (self.outputs(slot), slot.waiter.durations()))
    }

    fn outputs(&self, slot: &Slot) -> Vec<Vec<f32>> {
        let program = self.program();
        program.outputs.iter().map(|view| read(program, view, slot.arena.values())).collect()
    }

    /// Runs the network and gives `visit` each value that the plan keeps to the end, in compact NHWC order.
    ///
    /// Meant for plans that keep all values; others have overwritten most of them.
    pub fn run_and_visit(
        &self,
        input: &[f32],
        nodes: &[NodeId],
        mut visit: impl FnMut(NodeId, Vec<f32>),
    ) -> Result<(), ModelError> {
        let program = self.program();
        self.with_slot(input, |slot| {
            for &node in nodes {
                if let Some(view) = program.values.get(&node) {
                    visit(node, read(program, view, slot.arena.values()));
                }
            }
        })
    }

    fn with_slot<T>(&self, input: &[f32], use_slot: impl FnOnce(&Slot) -> T) -> Result<T, ModelError> {
        self.check_input(input)?;
        let idle = lock(&self.idle).pop();
        let mut slot = match idle {
            Some(slot) => slot,
            None => self.new_slot()?,
        };
        write_input(self.program(), input, slot.arena.values_mut());
        self.run_slot(&mut slot);
        let result = use_slot(&slot);
        lock(&self.idle).push(slot);
        Ok(result)
    }

    fn check_input(&self, input: &[f32]) -> Result<(), ModelError> {
        let program = self.program();
        let (batch, shape) = (program.options.batch, program.input.shape);
        let expected = u64::from(batch) * shape.elements();
        if input.len() as u64 == expected {
            return Ok(());
        }
        Err(ModelError::Input { batch, shape, expected, found: input.len() })
    }

    fn new_slot(&self) -> Result<Slot, ModelError> {
        let program = self.program();
        let waiter = Waiter {
            barrier: Barrier::new(self.threads),
            times: (0..=program.steps.len()).map(|_| AtomicU64::new(0)).collect(),
            epoch: Instant::now(),
        };
        let shares = program.steps.len() * self.threads as usize;
        Ok(Slot {
            taken: (0..shares).map(|_| Taken::default()).collect(),
            arena: AlignedBuffer::zeroed(program.arena_bytes)?,
            scratch: AlignedBuffer::zeroed(program.scratch_bytes.saturating_mul(u64::from(self.threads)))?,
            team: Team::new(self.threads)?,
            waiter: Arc::new(waiter),
        })
    }

    fn run_slot(&self, slot: &mut Slot) {
        slot.taken.iter().for_each(|taken| taken.0.store(0, Ordering::Relaxed));
        let context = SharedContext(Context {
            taken: slot.taken.as_ptr(),
            arena: slot.arena.values_mut().as_mut_ptr(),
            constants: self.compiled.constants.values().as_ptr(),
            scratch: slot.scratch.values_mut().as_mut_ptr(),
            wait,
            waiter: Arc::as_ptr(&slot.waiter).cast(),
        });
        let (compiled, threads) = (self.compiled.clone(), u64::from(self.threads));
        let job: Job = Arc::new(move |thread| {
            let context = &context;
            // SAFETY: arena, constants and scratch have the sizes that the program states, in cache lines,
            // and belong to this run alone until the team has ended the job; the barrier has as many threads
            // as the team.
            unsafe { compiled.native.run(&context.0, u64::from(thread), threads) };
        });
        slot.waiter.stamp(0);
        slot.team.run(&job);
    }
}

/// Calls a function for every number below `count` on all of rayon's threads.
fn side_by_side(count: usize, call: &(dyn Fn(usize) + Sync)) {
    (0..count).into_par_iter().with_max_len(1).for_each(call);
}

/// A result and how long it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = work();
    (result, began.elapsed())
}

/// Writes all packed constants, several recipes at a time, and releases the tensors that they are made of: no more
/// of these than are being packed take memory.
fn pack_constants(
    program: &Program,
    weights: &(dyn WeightSource + Sync),
) -> Result<AlignedBuffer, OutOfMemory> {
    let mut buffer = AlignedBuffer::zeroed(program.constant_bytes)?;
    let mut rest = buffer.values_mut();
    let mut start = 0;
    let mut take = |offset: u64, length: u64| {
        let skipped = (offset / 4 - start) as usize;
        let (taken, after) = std::mem::take(&mut rest)[skipped..].split_at_mut(length as usize);
        (rest, start) = (after, offset / 4 + length);
        taken
    };
    let mut jobs: Vec<(&Pack, &mut [f32], &mut [f32])> = Vec::with_capacity(program.constants.len());
    for packed in &program.constants {
        let (weights, bias) = packed.pack.sizes();
        jobs.push((&packed.pack, take(packed.weights, weights), take(packed.bias, bias)));
    }
    // The largest first, each by itself: what is left for the end is small, so that no thread waits for another.
    jobs.sort_by_key(|(_, weights, _)| Reverse(weights.len()));
    jobs.into_par_iter().with_max_len(1).for_each(|(pack, to_weights, to_bias)| {
        pack.write(weights, to_weights, to_bias);
        pack.sources().into_iter().for_each(|tensor| weights.release(tensor));
    });
    Ok(buffer)
}

/// Spreads compact inputs over the arena.
fn write_input(program: &Program, input: &[f32], arena: &mut [f32]) {
    let view = &program.input;
    let (run, pixels) = runs(view);
    for (number, values) in (0..).zip(input.chunks_exact(run)) {
        let at = view.index(number / pixels, number % pixels);
        arena[at..at + run].copy_from_slice(values);
    }
}

/// Collects a value from the arena in compact order, image by image.
fn read(program: &Program, view: &View, arena: &[f32]) -> Vec<f32> {
    let (run, pixels) = runs(view);
    let count = u64::from(program.options.batch) * pixels;
    let mut values = Vec::with_capacity(count as usize * run);
    for number in 0..count {
        let at = view.index(number / pixels, number % pixels);
        values.extend_from_slice(&arena[at..at + run]);
    }
    values
}

/// How many values of an image lie behind each other, and how many such runs it has: all of them in one where there
/// is no padding, else a run for each pixel.
fn runs(view: &View) -> (usize, u64) {
    let channels = view.shape.c() as usize;
    match view.pixel == channels as u64 * 4 {
        true => (view.shape.elements() as usize, 1),
        false => (channels, view.shape.pixels()),
    }
}
