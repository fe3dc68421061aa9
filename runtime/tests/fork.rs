//! Children made by `fork`: they run the parent's models and compile others, whatever threads the
//! parent had.
#![cfg(unix)]

mod common;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::compiled::bits;
use common::graphs::{Builder, cut, window};
use common::{Random, RandomWeights};
use xcc_compiler::graph::{Activation, Graph, PoolKind, Shape};
use xcc_compiler::plan::PlanOptions;
use xcc_compiler::target::Target;
use xcc_runtime::Model;
use xcc_runtime::reference::evaluate_keeping;

/// Longest time that a child may take: some thousand times what it needs.
const PATIENCE: Duration = Duration::from_secs(60);
/// What a child exits with.
const GOOD: i32 = 0;
const BAD: i32 = 1;
const PANICKED: i32 = 2;

/// Runs `work` in a child and returns once that has exited; it must return true in time.
fn in_child(what: &str, work: impl FnOnce() -> bool) {
    // SAFETY: the child ends by `_exit`, and until then uses what a process forked from one with
    // threads may use: memory, which the system's allocator keeps in order, threads of its own,
    // and the code under test.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "{what}: no child");
    if child == 0 {
        exit(work);
    }
    assert_eq!(status(child), Some(GOOD), "{what}: none means that the child hangs or was killed");
}

/// Ends a child without the parent's destructors and buffers.
fn exit(work: impl FnOnce() -> bool) -> ! {
    let code = match catch_unwind(AssertUnwindSafe(work)) {
        Ok(true) => GOOD,
        Ok(false) => BAD,
        Err(_) => PANICKED,
    };
    // SAFETY: ends the process, whatever state it is in.
    unsafe { libc::_exit(code) }
}

/// The exit status of a child; `None` where it was killed by a signal or, having outlived
/// [`PATIENCE`], here.
fn status(child: libc::pid_t) -> Option<i32> {
    let began = Instant::now();
    let mut status = 0;
    loop {
        // SAFETY: the pointer is to an integer that the system writes.
        let ended = unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) };
        if ended == child {
            return libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status));
        }
        if began.elapsed() > PATIENCE {
            // SAFETY: the child is this process's and has not been waited for, so that the number
            // is its.
            unsafe { (libc::kill(child, libc::SIGKILL), libc::waitpid(child, &mut status, 0)) };
            return None;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Some layers of several steps, with scratch memory.
fn network() -> Graph {
    let mut builder = Builder::new(Shape::map(15, 13, 24));
    let stem = builder.pointwise(builder.input(), 40);
    let separable = builder.separable(stem, window(3, 1, 1), cut(40, 40, 40), Activation::Relu, 56);
    let segments = builder.conv(separable, window(3, 1, 1), cut(56, 56, 7), true);
    let pool = builder.global_pool(segments, PoolKind::Average);
    let dense = builder.dense(pool, 30);
    builder.finish(&[dense, segments])
}

/// A network with an input, and how its models are made.
struct Case {
    graph: Graph,
    weights: RandomWeights,
    input: Vec<f32>,
    options: PlanOptions,
}

impl Case {
    fn new(threads: u32, batch: u32) -> Self {
        let graph = network();
        let weights = RandomWeights::new(&graph, 1);
        let length = graph.node(graph.input).shape.elements() as usize * batch as usize;
        let input = Random::new(2).vector(length).into_iter().map(|x| x as f32).collect();
        Self { graph, weights, input, options: PlanOptions { batch, threads, ..PlanOptions::default() } }
    }

    fn compile(&self) -> Model {
        Model::compile(&self.graph, &self.weights, Target::native(), self.options).unwrap()
    }

    /// The bits of all outputs.
    fn run(&self, model: &Model) -> Vec<Vec<u32>> {
        model.run(&self.input).unwrap().iter().map(|output| bits(output)).collect()
    }
}

/// Batches that all threads run together, and that they divide.
fn cases() -> impl Iterator<Item = Case> {
    [(1, 1), (2, 1), (3, 1), (2, 4), (3, 3)].into_iter().map(|(threads, batch)| Case::new(threads, batch))
}

#[test]
fn a_child_runs_its_parent_s_model_to_the_same_bits() {
    for case in cases() {
        let what = format!("{:?}", case.options);
        let model = case.compile();
        in_child(&format!("{what} before a run"), || case.run(&model) == case.run(&model));
        let expected = case.run(&model);
        in_child(&what, || (0..3).all(|_| case.run(&model) == expected));
        in_child(&format!("{what}, a grandchild"), || {
            let runs = case.run(&model) == expected;
            in_child("in it", || case.run(&model) == expected);
            runs && case.run(&model) == expected
        });
        assert!(case.run(&model) == expected, "{what}: the parent goes on");
    }
}

#[test]
fn a_child_can_drop_its_parent_s_model() {
    let case = Case::new(3, 1);
    let model = Cell::new(Some(case.compile()));
    let held = model.take().unwrap();
    case.run(&held);
    model.set(Some(held));
    in_child("after a run of its own", || {
        let model = model.take().unwrap();
        case.run(&model);
        drop(model);
        true
    });
    in_child("without one", || {
        drop(model.take());
        true
    });
}

#[test]
fn a_child_compiles_and_evaluates() {
    let case = Case::new(2, 1);
    let expected = case.run(&case.compile());
    let evaluate = || {
        let outputs = &case.graph.outputs;
        let values = evaluate_keeping(&case.graph, &case.weights, &case.input, 1, outputs).unwrap();
        outputs.iter().map(|&id| bits(values.get(id).unwrap())).collect::<Vec<_>>()
    };
    let reference = evaluate();
    in_child("all of it", || case.run(&case.compile()) == expected && evaluate() == reference);
    in_child("again", || evaluate() == reference && case.run(&case.compile()) == expected);
}

#[test]
fn a_fork_may_come_while_other_threads_run() {
    let case = Case::new(2, 1);
    let model = case.compile();
    let expected = case.run(&model);
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !ends.load(Ordering::Relaxed) {
                    assert!(case.run(&model) == expected);
                }
            });
        }
        let children = catch_unwind(AssertUnwindSafe(|| {
            for number in 0..40 {
                in_child(&format!("child {number}"), || case.run(&model) == expected);
            }
        }));
        ends.store(true, Ordering::Relaxed);
        children.unwrap();
    });
}

#[test]
fn a_fork_may_come_within_a_visit() {
    let case = Case::new(2, 1);
    let model = case.compile();
    let expected = case.run(&model);
    let mut child = -1;
    let mut visits = 0;
    let outputs = &case.graph.outputs;
    model
        .run_and_visit(&case.input, outputs, |_, _| {
            visits += 1;
            if visits == 1 {
                // SAFETY: as in `in_child`.
                child = unsafe { libc::fork() };
            }
        })
        .unwrap();
    if child == 0 {
        // The memory and the workers of that run were the parent's.
        exit(|| visits == outputs.len() && case.run(&model) == expected);
    }
    assert_eq!(status(child), Some(GOOD));
    assert!(case.run(&model) == expected);
}
