//! Generated code runs in memory between pages that fault, so that an access out of bounds cannot
//! go unseen.

#![cfg(unix)]

mod common;

use std::ffi::c_void;
use std::sync::Barrier;

use common::compiled::{bits, constants, precisions, read_values, targets, with_some_cache, write_input};
use common::graphs::random_graph;
use common::{Random, RandomWeights};
use proptest::prelude::*;
use xcc_compiler::codegen::jit::NativeProgram;
use xcc_compiler::codegen::{Context, Taken};
use xcc_compiler::graph::Graph;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, Program, plan};

/// f32 values that end where a page that faults begins, or begin where one ends.
struct Guarded {
    mapping: *mut c_void,
    mapped: usize,
    start: *mut f32,
    values: usize,
}

impl Guarded {
    fn new(bytes: u64, at_end: bool) -> Self {
        let page = 4096;
        let bytes = (bytes as usize).next_multiple_of(64);
        let inner = bytes.next_multiple_of(page);
        let mapped = inner + 2 * page;
        // SAFETY: a new anonymous mapping, of which the pages between the first and the last become
        // accessible.
        let mapping = unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let mapping = libc::mmap(std::ptr::null_mut(), mapped, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(mapping, libc::MAP_FAILED);
            let inside = mapping.byte_add(page);
            assert_eq!(libc::mprotect(inside, inner.max(1), libc::PROT_READ | libc::PROT_WRITE), 0);
            mapping
        };
        let skipped = page + if at_end { inner - bytes } else { 0 };
        Self { mapping, mapped, start: mapping.wrapping_byte_add(skipped).cast(), values: bytes / 4 }
    }

    fn values_mut(&mut self) -> &mut [f32] {
        // SAFETY: the accessible part of the mapping holds so many values, and zero bytes are
        // numbers.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.values) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping was made in `new` and is used through `self` only.
        unsafe { libc::munmap(self.mapping, self.mapped) };
    }
}

extern "C" fn meet(barrier: *const c_void, _: u64, _: u64) {
    // SAFETY: the context points at a barrier that lives as long as the run.
    unsafe { &*barrier.cast::<Barrier>() }.wait();
}

struct SharedContext(Context);

// SAFETY: the buffers outlive the run, and code lets no two threads write the same bytes within a
// step.
unsafe impl Sync for SharedContext {}

/// Runs a program between guard pages and returns the arena.
fn run_guarded(program: &Program, constants: &[f32], input: &[f32], at_end: bool) -> Vec<f32> {
    let native = NativeProgram::compile(program, false).unwrap();
    let threads = program.options.threads;
    let scratch_bytes = program.scratch_bytes * u64::from(threads);
    let [mut arena, mut packed, mut scratch] =
        [program.arena_bytes, program.constant_bytes, scratch_bytes].map(|bytes| Guarded::new(bytes, at_end));
    packed.values_mut()[..constants.len()].copy_from_slice(constants);
    arena.values_mut().fill(f32::NAN);
    scratch.values_mut().fill(f32::NAN);
    write_input(program, input, arena.values_mut());
    let shares = program.steps.len() * threads as usize;
    let taken: Vec<Taken> = (0..shares).map(|_| Taken::default()).collect();
    let barrier = Barrier::new(threads as usize);
    let context = SharedContext(Context {
        taken: taken.as_ptr(),
        arena: arena.start,
        constants: packed.start,
        scratch: scratch.start,
        wait: meet,
        waiter: std::ptr::from_ref(&barrier).cast(),
    });
    std::thread::scope(|scope| {
        for thread in 0..u64::from(threads) {
            let (native, context) = (&native, &context);
            // SAFETY: the buffers have the sizes that the program states, and so many threads meet.
            scope.spawn(move || unsafe { native.run(&context.0, thread, u64::from(threads)) });
        }
    });
    arena.values_mut().to_vec()
}

fn check(mut graph: Graph, seed: u64) {
    optimize(&mut graph, &PassOptions::default());
    let weights = RandomWeights::new(&graph, seed);
    let length = graph.node(graph.input).shape.elements() as usize;
    let input: Vec<f32> = Random::new(seed).vector(length).iter().map(|&x| x as f32).collect();
    let cases = targets().into_iter().flat_map(|target| precisions(target).map(move |p| (target, p)));
    for (target, precision) in cases {
        let threads = 1 + (seed % 3) as u32;
        let options = PlanOptions { keep_all: true, precision, threads, ..PlanOptions::default() };
        let program = plan(&graph, with_some_cache(target, seed), options).unwrap();
        let constants = constants(&program, &weights);
        let [first, second] = [true, false].map(|at_end| {
            let arena = run_guarded(&program, &constants, &input, at_end);
            read_values(&program, &arena)
        });
        for (node, value) in first {
            assert_eq!(
                bits(&value),
                bits(&second[&node]),
                "{node} for {target} depends on where memory lies"
            );
            assert!(value.iter().all(|v| v.is_finite()), "{node} for {target} read what was never written");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn random_networks_stay_in_bounds(
        genes in proptest::collection::vec(any::<u8>(), 0..100),
        seed in any::<u64>(),
    ) {
        check(random_graph(&genes), seed);
    }
}
