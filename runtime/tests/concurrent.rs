//! Models that several threads run at once, with more threads than the machine has cores: results
//! do not depend on what else runs.

mod common;

use std::sync::Barrier;

use common::compiled::bits;
use common::graphs::{Builder, cut, window};
use common::{Random, RandomWeights};
use xcc_compiler::graph::{Activation, Graph, PoolKind, Shape};
use xcc_compiler::plan::PlanOptions;
use xcc_compiler::target::Target;
use xcc_runtime::Model;

/// Threads that run one model at the same time, each several times.
const CALLERS: u64 = 4;
const RUNS: usize = 5;

/// Some layers of several steps, with scratch memory and a result of each kind of kernel.
fn network() -> Graph {
    let mut builder = Builder::new(Shape::map(19, 17, 24));
    let stem = builder.pointwise(builder.input(), 40);
    let separable = builder.separable(stem, window(3, 1, 1), cut(40, 40, 40), Activation::Relu, 56);
    let segments = builder.conv(separable, window(3, 1, 1), cut(56, 56, 7), true);
    let pool = builder.global_pool(segments, PoolKind::Average);
    let dense = builder.dense(pool, 30);
    builder.finish(&[dense, segments])
}

/// The bits of all outputs.
fn outputs(model: &Model, input: &[f32]) -> Vec<Vec<u32>> {
    model.run(input).unwrap().iter().map(|output| bits(output)).collect()
}

#[test]
fn runs_at_the_same_time_do_not_disturb_each_other() {
    check_runs(1);
}

#[test]
fn runs_at_the_same_time_may_divide_batches() {
    check_runs(4);
}

fn check_runs(batch: u32) {
    let graph = network();
    let weights = RandomWeights::new(&graph, 1);
    let length = graph.node(graph.input).shape.elements() as usize * batch as usize;
    let inputs: Vec<Vec<f32>> = (0..CALLERS)
        .map(|seed| Random::new(seed + 1).vector(length).into_iter().map(|x| x as f32).collect())
        .collect();
    let compile = |threads| {
        let options = PlanOptions { batch, threads, ..PlanOptions::default() };
        Model::compile(&graph, &weights, Target::native(), options).unwrap()
    };
    let alone = compile(1);
    let expected: Vec<_> = inputs.iter().map(|input| outputs(&alone, input)).collect();
    assert!(expected.windows(2).all(|pair| pair[0] != pair[1]), "inputs that give the same tell nothing");
    let cores = xcc_runtime::machine::cores();
    for threads in [1, 2, 4 * cores + 1] {
        let model = compile(threads);
        let start = Barrier::new(inputs.len());
        std::thread::scope(|scope| {
            for (input, expected) in inputs.iter().zip(&expected) {
                let (model, start) = (&model, &start);
                scope.spawn(move || {
                    start.wait();
                    for run in 0..RUNS {
                        assert!(outputs(model, input) == *expected, "{threads} threads, run {run}");
                    }
                });
            }
        });
    }
}
