//! Compiled networks: packed constants, machine code, and the memory and threads of each run.

use std::cmp::Reverse;
use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rayon::prelude::*;
use xcc_compiler::codegen::jit::{NativeProgram, Symbol};
use xcc_compiler::codegen::{CodegenError, Context, Taken};
use xcc_compiler::graph::{Graph, NodeId, Shape, WeightError, WeightSource};
use xcc_compiler::plan::pack::Pack;
use xcc_compiler::plan::{Packed, PlanError, PlanOptions, Program, View, plan, plan_with};
use xcc_compiler::schedule::segments::Candidate;
use xcc_compiler::target::Target;

use crate::checked::{WrongLength, lengths};
use crate::machine::{Needs, NoTiles, Shortage, permit_tiles};
use crate::memory::{AlignedBuffer, OutOfMemory, zeros};
use crate::process::{PerProcess, count_forks};
use crate::team::{Barrier, Job, Team, lock};
use crate::workers::spread;

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
    /// There is less memory than the network takes.
    #[error("the network {0}")]
    Shortage(#[from] Shortage),
    /// The numbers of a tensor cannot be had.
    #[error(transparent)]
    Weights(#[from] WeightError),
    /// There are no threads.
    #[error("cannot start threads: {0}; fewer (`--threads`) may do")]
    Threads(#[from] std::io::Error),
    /// The system keeps the precision's instructions from this process.
    #[error(transparent)]
    Tiles(#[from] NoTiles),
    /// A parameter tensor has a wrong number of elements.
    #[error(transparent)]
    Weight(#[from] WrongLength),
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

/// A network that is ready to run. It can be shared by threads: each run takes memory and workers
/// of its own from a pool.
///
/// A child made by `fork` can run the parent's models and compile others: each process has memory
/// and workers of its own, and a model in the child costs only these. The fork may come at any
/// moment but within work of rayon.
pub struct Model {
    compiled: Arc<Compiled>,
    /// How long packing took.
    pack: Duration,
    idle: PerProcess<Mutex<Vec<Slot>>>,
}

struct Compiled {
    program: Program,
    native: NativeProgram,
    constants: AlignedBuffer,
}

/// What one run needs.
struct Slot {
    /// One for each group.
    arenas: AlignedBuffer,
    scratch: AlignedBuffer,
    team: Team,
    /// For each group, step and thread of a group.
    taken: Arc<[Taken]>,
    /// For each group: threads that run shards together. All are one, or each is its own.
    waiters: Arc<[Waiter]>,
}

/// What the threads of a group meet at between steps, and, if that is asked for, when they did.
struct Waiter {
    barrier: Barrier,
    is_timed: AtomicBool,
    /// When the shard began and when each step ended, in nanoseconds since `epoch`.
    times: Vec<AtomicU64>,
    /// Nanoseconds that each step took in all shards of the run.
    sums: Vec<AtomicU64>,
    epoch: Instant,
}

/// Called by generated code at the end of each step.
extern "C" fn wait(waiter: *const c_void, _thread: u64, step: u64) {
    // SAFETY: the context of every run points at the waiter of its slot, which lives as long as
    // the run.
    let waiter = unsafe { &*waiter.cast::<Waiter>() };
    waiter.end_step(step as usize);
}

impl Waiter {
    fn new(threads: u32, steps: usize) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU64::new(0)).collect();
        Self {
            barrier: Barrier::new(threads),
            is_timed: AtomicBool::new(false),
            times: zeros(steps + 1),
            sums: zeros(steps),
            epoch: Instant::now(),
        }
    }

    /// Prepares for a run whose steps are timed or not.
    fn begin_run(&self, is_timed: bool) {
        self.is_timed.store(is_timed, Ordering::Relaxed);
        self.sums.iter().for_each(|sum| sum.store(0, Ordering::Relaxed));
        self.times[0].store(u64::MAX, Ordering::Relaxed);
    }

    fn is_timed(&self) -> bool {
        self.is_timed.load(Ordering::Relaxed)
    }

    /// Lets the first thread that comes say when the shard begins.
    fn begin_portion(&self) {
        if self.is_timed() {
            self.times[0].fetch_min(self.now(), Ordering::Relaxed);
        }
    }

    /// Returns when all threads have ended the step. The last of them to come says when that was:
    /// any other may only find out when the next steps are done.
    fn end_step(&self, step: usize) {
        match self.is_timed() {
            true => self.barrier.wait_then(|| self.times[step + 1].store(self.now(), Ordering::Relaxed)),
            false => self.barrier.wait(),
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_nanos() as u64
    }

    /// Adds the times of a shard's steps to those of the run, and prepares for another one.
    fn end_portion(&self) {
        if !self.is_timed() {
            return;
        }
        for (sum, pair) in self.sums.iter().zip(self.times.windows(2)) {
            let [began, ended] = [0, 1].map(|at: usize| pair[at].load(Ordering::Relaxed));
            sum.fetch_add(ended - began, Ordering::Relaxed);
        }
        self.times[0].store(u64::MAX, Ordering::Relaxed);
    }
}

impl Model {
    /// Plans, compiles and packs a network for runs of `options.batch` images with
    /// `options.threads` threads.
    ///
    /// Refuses a graph that does not verify (an output that passes have removed, say) and tensors
    /// of other lengths than the graph declares.
    ///
    /// ```
    /// use xcc_compiler::passes::{PassOptions, optimize};
    /// use xcc_compiler::{elaborate, plan::PlanOptions, target::Target};
    /// use xcc_runtime::{Model, weights::Weights};
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let spec = "model m
    ///     input image 8 x 8 x 3
    ///     conv 4, 3x3 as stem
    ///     relu
    ///     globalavgpool
    ///     dense 2";
    /// let mut graph = elaborate::read(spec, &[]).graph.ok_or("mistakes in the spec")?;
    /// let stem = graph.value("stem").ok_or("no such layer")?;
    /// graph.outputs.push(stem);
    /// let weights = Weights::random(&graph, 0);
    /// optimize(&mut graph, &PassOptions::default());
    /// let model = Model::compile(&graph, &weights, Target::native(), PlanOptions::default())?;
    /// let outputs = model.run(&[0.5; 8 * 8 * 3])?;
    /// assert_eq!(outputs.iter().map(Vec::len).collect::<Vec<_>>(), [2, 6 * 6 * 4]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn compile(
        graph: &Graph,
        weights: &(dyn WeightSource + Sync),
        target: Target,
        options: PlanOptions,
    ) -> Result<Self, ModelError> {
        let program = plan(graph, target, options)?;
        lengths(graph, weights)?;
        Self::of_program(program, weights)
    }

    /// The same, with algorithms of segments that `choose` picks, as for [`plan_with`].
    pub fn compile_choosing(
        graph: &Graph,
        weights: &(dyn WeightSource + Sync),
        (target, options): (Target, PlanOptions),
        choose: &dyn Fn(&[Candidate]) -> usize,
    ) -> Result<Self, ModelError> {
        let program = plan_with(graph, target, options, choose)?;
        lengths(graph, weights)?;
        Self::of_program(program, weights)
    }

    /// Compiles a program and packs the weights of the graph that it was planned for. Its sizes
    /// are trusted: it must be as it was planned.
    pub(crate) fn of_program(
        program: Program,
        weights: &(dyn WeightSource + Sync),
    ) -> Result<Self, ModelError> {
        count_forks()?;
        if program.uses_tiles() {
            permit_tiles()?;
        }
        needs(&program, weights).check()?;
        // One after the other: both use all threads, and code that cannot be made needs no
        // constants.
        let native = NativeProgram::compile_with(&program, false, &side_by_side)?;
        let (constants, pack) = timed(|| pack_constants(&program, weights));
        let compiled = Compiled { native, constants: constants?, program };
        Ok(Self { compiled: Arc::new(compiled), pack, idle: PerProcess::new() })
    }

    /// The plan that is run.
    pub fn program(&self) -> &Program {
        &self.compiled.program
    }

    /// How long it took to pack the weights, which was a part of making the model.
    pub fn pack_time(&self) -> Duration {
        self.pack
    }

    /// Where the functions of its machine code lie, in the order of addresses.
    pub fn symbols(&self) -> &[Symbol] {
        self.compiled.native.symbols()
    }

    /// Runs the network on a batch of inputs, each in compact NHWC order, and returns the outputs
    /// likewise.
    pub fn run(&self, input: &[f32]) -> Result<Vec<Vec<f32>>, ModelError> {
        self.with_slot((input, false), |_, outputs| outputs)
    }

    /// Runs the network as [`Model::run`] does and returns the outputs and how long each step
    /// took. The steps' sum is less than the whole run by the copying of input and output and the
    /// waking of threads. Where threads run shards of the batch, a step's time is the sum over
    /// these divided by the threads.
    pub fn run_timed(&self, input: &[f32]) -> Result<(Vec<Vec<f32>>, Vec<Duration>), ModelError> {
        self.with_slot((input, true), |slot, outputs| (outputs, slot.durations()))
    }

    /// Runs the network and gives `visit` each value that the plan keeps to the end, in compact
    /// NHWC order.
    ///
    /// Meant for plans that keep all values, whose batch is one shard; others have overwritten
    /// most of them.
    pub fn run_and_visit(
        &self,
        input: &[f32],
        nodes: &[NodeId],
        mut visit: impl FnMut(NodeId, Vec<f32>),
    ) -> Result<(), ModelError> {
        let program = self.program();
        self.with_slot((input, false), |slot, _| {
            for &node in nodes {
                if let Some(view) = program.values.get(&node) {
                    let mut value = zeros(program.images() as usize * view.shape.elements() as usize)?;
                    read(view, slot.arenas.values(), &mut value);
                    visit(node, value);
                }
            }
            Ok(())
        })?
    }

    fn with_slot<T>(
        &self,
        (input, is_timed): (&[f32], bool),
        use_slot: impl FnOnce(&Slot, Vec<Vec<f32>>) -> T,
    ) -> Result<T, ModelError> {
        self.check_input(input)?;
        let idle = lock(self.idle.get()).pop();
        let mut slot = match idle {
            Some(slot) => slot,
            None => self.new_slot()?,
        };
        let mut outputs = self.new_outputs()?;
        slot.waiters.iter().for_each(|waiter| waiter.begin_run(is_timed));
        self.run_slot(&mut slot, input, &mut outputs);
        let result = use_slot(&slot, outputs);
        // `use_slot` may have forked.
        if slot.team.is_of_this_process() {
            lock(self.idle.get()).push(slot);
        }
        Ok(result)
    }

    /// Memory for the outputs of all images.
    fn new_outputs(&self) -> Result<Vec<Vec<f32>>, OutOfMemory> {
        let program = self.program();
        let of_output = |view: &View| {
            let elements = view.shape.elements().saturating_mul(u64::from(program.options.batch));
            zeros(usize::try_from(elements).unwrap_or(usize::MAX))
        };
        program.outputs.iter().map(of_output).collect()
    }

    fn check_input(&self, input: &[f32]) -> Result<(), ModelError> {
        let program = self.program();
        let (batch, shape) = (program.options.batch, program.input.shape);
        let expected = shape.elements().saturating_mul(u64::from(batch));
        if input.len() as u64 == expected {
            return Ok(());
        }
        Err(ModelError::Input { batch, shape, expected, found: input.len() })
    }

    fn new_slot(&self) -> Result<Slot, ModelError> {
        let program = self.program();
        let (threads, steps, groups) =
            (program.options.threads, program.steps.len(), program.worker_groups());
        let arenas = program.arena_bytes.saturating_mul(u64::from(groups));
        Ok(Slot {
            arenas: AlignedBuffer::zeroed(arenas)?,
            scratch: AlignedBuffer::zeroed(program.scratch_bytes.saturating_mul(u64::from(threads)))?,
            team: Team::new(threads)?,
            taken: (0..steps * threads as usize).map(|_| Taken::default()).collect(),
            waiters: (0..groups).map(|_| Waiter::new(threads / groups, steps)).collect(),
        })
    }

    fn run_slot(&self, slot: &mut Slot, input: &[f32], outputs: &mut [Vec<f32>]) {
        slot.taken.iter().for_each(|taken| taken.0.store(0, Ordering::Relaxed));
        let program = self.program();
        let together = program.shards == 1;
        if together {
            write_input(&program.input, input, slot.arenas.values_mut());
        }
        let run = SharedRun {
            compiled: self.compiled.clone(),
            input: input.as_ptr(),
            outputs: outputs.iter_mut().map(|output| output.as_mut_ptr()).collect(),
            arenas: slot.arenas.values_mut().as_mut_ptr(),
            scratch: slot.scratch.values_mut().as_mut_ptr(),
            taken: slot.taken.clone(),
            waiters: slot.waiters.clone(),
            begun: AtomicU32::new(0),
        };
        let job: Job = match together {
            true => Arc::new(move |thread| run.together(thread)),
            false => Arc::new(move |thread| run.shards(thread)),
        };
        slot.team.run(&job);
        if together {
            let views = program.outputs.iter().zip(outputs);
            views.for_each(|(view, output)| read(view, slot.arenas.values(), output));
        }
    }
}

impl Slot {
    /// How long each step of the last run took, all threads having been busy.
    fn durations(&self) -> Vec<Duration> {
        let groups = self.waiters.len() as u64;
        let steps = self.waiters.first().map_or(0, |waiter| waiter.sums.len());
        let sum = |step: usize| -> u64 {
            self.waiters.iter().map(|waiter| waiter.sums[step].load(Ordering::Relaxed)).sum()
        };
        (0..steps).map(|step| Duration::from_nanos(sum(step) / groups)).collect()
    }
}

/// What the threads of a run share.
struct SharedRun {
    compiled: Arc<Compiled>,
    /// Those of all images, in compact order.
    input: *const f32,
    outputs: Vec<*mut f32>,
    arenas: *mut f32,
    scratch: *mut f32,
    taken: Arc<[Taken]>,
    waiters: Arc<[Waiter]>,
    /// Shards that threads have begun.
    begun: AtomicU32,
}

// SAFETY: the pointers are to memory of the slot and of the caller, which outlives the run;
// generated code lets no two threads write the same bytes of an arena within a step, groups have
// arenas of their own, shards inputs and outputs, and threads scratch memory.
unsafe impl Send for SharedRun {}
// SAFETY: as above; all else is only read, or atomic.
unsafe impl Sync for SharedRun {}

impl SharedRun {
    /// The work of `thread` where all threads run the batch together.
    fn together(&self, thread: u32) {
        let waiter = &self.waiters[0];
        waiter.begin_portion();
        let threads = self.compiled.program.options.threads;
        // SAFETY: all threads of the team call this with numbers of their own, and the barrier has
        // as many threads.
        unsafe { self.run(0, waiter, &self.taken, (thread, threads)) };
        if thread == 0 {
            waiter.end_portion();
        }
    }

    /// Shards as long as there are any that no thread has begun; `thread` is a group of its own.
    fn shards(&self, thread: u32) {
        let program = &self.compiled.program;
        let steps = program.steps.len();
        let (waiter, at) = (&self.waiters[thread as usize], thread as usize * steps);
        let taken = &self.taken[at..at + steps];
        loop {
            let shard = self.begun.fetch_add(1, Ordering::Relaxed);
            if shard >= program.shards {
                return;
            }
            taken.iter().for_each(|taken| taken.0.store(0, Ordering::Relaxed));
            // SAFETY: the group is this thread, and nobody else begins this shard.
            unsafe { self.write_shard(thread, shard) };
            waiter.begin_portion();
            // SAFETY: the waiter and the counts are this thread's own.
            unsafe { self.run(thread, waiter, taken, (0, 1)) };
            waiter.end_portion();
            // SAFETY: as before.
            unsafe { self.read_shard(thread, shard) };
        }
    }

    /// The arena of a group.
    ///
    /// # Safety
    ///
    /// The group is there, and nobody else uses its arena meanwhile.
    #[expect(clippy::mut_from_ref, reason = "the memory is not that of `self`, and the caller's alone")]
    unsafe fn arena(&self, group: u32) -> &mut [f32] {
        let length = (self.compiled.program.arena_bytes / 4) as usize;
        let start = self.arenas.wrapping_add(group as usize * length);
        // SAFETY: arenas of this length lie behind each other, one for each group; the rest is the
        // caller's promise.
        unsafe { std::slice::from_raw_parts_mut(start, length) }
    }

    /// How many elements a value has for all images before those of a shard, and for those of the
    /// shard.
    fn elements(&self, view: &View, shard: u32) -> (usize, usize) {
        let length = self.compiled.program.images() as usize * view.shape.elements() as usize;
        (shard as usize * length, length)
    }

    /// Puts the input of a shard into the arena of a group.
    ///
    /// # Safety
    ///
    /// Group and shard are there, and nobody else uses the group's arena meanwhile.
    unsafe fn write_shard(&self, group: u32, shard: u32) {
        let view = &self.compiled.program.input;
        let (start, length) = self.elements(view, shard);
        // SAFETY: the input was found to have as many elements for each image, and is only read in
        // a run.
        let input = unsafe { std::slice::from_raw_parts(self.input.wrapping_add(start), length) };
        // SAFETY: the caller's promise.
        write_input(view, input, unsafe { self.arena(group) });
    }

    /// Takes the outputs of a shard from the arena of a group.
    ///
    /// # Safety
    ///
    /// Group and shard are there, and nobody else uses the group's arena or reads these outputs
    /// meanwhile.
    unsafe fn read_shard(&self, group: u32, shard: u32) {
        for (view, &output) in self.compiled.program.outputs.iter().zip(&self.outputs) {
            let (start, length) = self.elements(view, shard);
            // SAFETY: outputs were made with as many elements for each image; the rest is the
            // caller's promise.
            let output = unsafe { std::slice::from_raw_parts_mut(output.wrapping_add(start), length) };
            // SAFETY: the caller's promise.
            read(view, unsafe { self.arena(group) }, output);
        }
    }

    /// Runs the share of a thread of a group, of so many threads, in the group's arena, with the
    /// first of its scratch memories.
    ///
    /// # Safety
    ///
    /// The group is there; all its threads call this with the same `waiter`, whose barrier is for
    /// as many, and the same `taken`, which has an entry of 0 for each step and thread, and nobody
    /// else uses its arena and scratch memory meanwhile.
    unsafe fn run(&self, group: u32, waiter: &Waiter, taken: &[Taken], (thread, threads): (u32, u32)) {
        let Compiled { program, native, constants } = &*self.compiled;
        let context = Context {
            taken: taken.as_ptr(),
            arena: self.arenas.wrapping_add(group as usize * (program.arena_bytes / 4) as usize),
            constants: constants.values().as_ptr(),
            scratch: self.scratch.wrapping_add(group as usize * (program.scratch_bytes / 4) as usize),
            wait,
            waiter: std::ptr::from_ref(waiter).cast(),
        };
        // SAFETY: arena, constants and scratch have the sizes that the program states, in cache
        // lines, and belong to this group until it has run the shard; the rest is the caller's
        // promise.
        unsafe { native.run(&context, u64::from(thread), u64::from(threads)) };
    }
}

/// Calls a function for every number below `count` on this process's threads.
fn side_by_side(count: usize, call: &(dyn Fn(usize) + Sync)) {
    spread(|| (0..count).into_par_iter().with_max_len(1).for_each(call));
}

/// A result and how long it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = work();
    (result, began.elapsed())
}

/// Memory that a program takes until it has run once, beyond code. As many recipes are packed at a
/// time as there are threads, and each has all its tensors in memory.
fn needs(program: &Program, weights: &(dyn WeightSource + Sync)) -> Needs {
    let of_pack = |packed: &Packed| -> u64 {
        let elements = packed.pack.sources().into_iter().map(|tensor| weights.length(tensor));
        elements.fold(0, u64::saturating_add).saturating_mul(size_of::<f32>() as u64)
    };
    let mut of_packs: Vec<u64> = program.constants.iter().map(of_pack).collect();
    of_packs.sort_unstable_by_key(|&bytes| Reverse(bytes));
    let together = of_packs.into_iter().take(rayon::current_num_threads());
    Needs {
        weights: together.fold(0, u64::saturating_add),
        constants: program.constant_bytes,
        activations: program.memory_bytes(),
    }
}

/// Writes all packed constants, several recipes at a time: no more tensors than are being packed
/// take memory.
fn pack_constants(
    program: &Program,
    weights: &(dyn WeightSource + Sync),
) -> Result<AlignedBuffer, ModelError> {
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
    // The largest first, each by itself: what is left for the end is small, so that no thread
    // waits for another.
    jobs.sort_by_key(|(_, weights, _)| Reverse(weights.len()));
    let write = |(pack, to_weights, to_bias): (&Pack, _, _)| pack.write(weights, to_weights, to_bias);
    spread(|| jobs.into_par_iter().with_max_len(1).try_for_each(write))?;
    Ok(buffer)
}

/// Spreads compact inputs over an arena.
fn write_input(view: &View, input: &[f32], arena: &mut [f32]) {
    let (run, pixels) = runs(view);
    for (number, values) in (0..).zip(input.chunks_exact(run)) {
        let at = view.index(number / pixels, number % pixels);
        arena[at..at + run].copy_from_slice(values);
    }
}

/// Collects a value from an arena in compact order, image by image.
fn read(view: &View, arena: &[f32], values: &mut [f32]) {
    let (run, pixels) = runs(view);
    for (number, values) in (0..).zip(values.chunks_exact_mut(run)) {
        let at = view.index(number / pixels, number % pixels);
        values.copy_from_slice(&arena[at..at + run]);
    }
}

/// How many values of an image lie behind each other, and how many such runs it has: all of them
/// in one where there is no padding, else a run for each pixel.
fn runs(view: &View) -> (usize, u64) {
    let channels = view.shape.c() as usize;
    match view.pixel == channels as u64 * 4 {
        true => (view.shape.elements() as usize, 1),
        false => (channels, view.shape.pixels()),
    }
}
