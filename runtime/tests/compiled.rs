//! Compiled networks against the kernel interpreter (bit for bit) and the reference evaluator (to rounding).

mod common;

use std::collections::HashMap;

use common::graphs::random_graph;
use common::{Random, RandomWeights};
use proptest::prelude::*;
use xcc_compiler::graph::{Graph, NodeId, WeightSource};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, Program, interpret};
use xcc_compiler::target::Target;
use xcc_runtime::Model;
use xcc_runtime::reference::evaluate;

/// Every value of a compiled run.
fn compiled_values(model: &Model, graph: &Graph, input: &[f32]) -> HashMap<NodeId, Vec<f32>> {
    let mut values = HashMap::new();
    model
        .run_and_visit(input, graph.order(), |node, value| {
            values.insert(node, value);
        })
        .unwrap();
    values
}

/// The packed constants, in f32 values.
fn constants(program: &Program, weights: &dyn WeightSource) -> Vec<f32> {
    let mut constants = vec![0.0; program.constant_bytes as usize / 4];
    for packed in &program.constants {
        let (weight_count, bias_count) = packed.pack.sizes();
        let (mut to_weights, mut to_bias) =
            (vec![0.0; weight_count as usize], vec![0.0; bias_count as usize]);
        packed.pack.write(weights, &mut to_weights, &mut to_bias);
        constants[packed.weights as usize / 4..][..to_weights.len()].copy_from_slice(&to_weights);
        constants[packed.bias as usize / 4..][..to_bias.len()].copy_from_slice(&to_bias);
    }
    constants
}

/// Every value of an interpreted run in memory that was poisoned with NaN, so that padding which reaches a result shows.
fn interpreted_values(
    program: &Program,
    graph: &Graph,
    weights: &dyn WeightSource,
    input: &[f32],
    threads: u32,
) -> HashMap<NodeId, Vec<f32>> {
    let mut arena = vec![f32::NAN; program.arena_bytes as usize / 4];
    let images = u64::from(program.options.batch);
    let channels = program.input.shape.c() as usize;
    let pixels = program.input.shape.pixels();
    for (number, pixel) in input.chunks_exact(channels).enumerate() {
        let at = program.input.index(number as u64 / pixels, number as u64 % pixels);
        arena[at..at + channels].copy_from_slice(pixel);
    }
    interpret::run(program, &constants(program, weights), &mut arena, threads).unwrap();
    let read = |node: &NodeId| {
        let view = program.values[node];
        let places = (0..images).flat_map(|image| (0..view.shape.pixels()).map(move |pixel| (image, pixel)));
        let value = places.flat_map(|(image, pixel)| {
            let at = view.index(image, pixel);
            arena[at..at + view.shape.c() as usize].to_vec()
        });
        (*node, value.collect())
    };
    graph.order().iter().map(read).collect()
}

/// The largest error of `found` against `expected`, relative to the largest element of the value.
fn worst_error(expected: &[f64], found: &[f32]) -> f64 {
    let scale = expected.iter().fold(1e-3f64, |scale, e| scale.max(e.abs()));
    let errors = expected.iter().zip(found).map(|(e, f)| {
        let error = (e - f64::from(*f)).abs() / scale;
        if error.is_nan() { f64::INFINITY } else { error }
    });
    errors.fold(0.0, f64::max)
}

fn bits(value: &[f32]) -> Vec<u32> {
    value.iter().map(|v| v.to_bits()).collect()
}

fn check(graph: &Graph, seed: u64, batch: u32) {
    let mut graph = graph.clone();
    optimize(&mut graph, &PassOptions::default());
    let weights = RandomWeights::new(&graph, seed);
    let length = graph.node(graph.input).shape.elements() as usize * batch as usize;
    let exact: Vec<f64> = Random::new(seed).vector(length).iter().map(|&x| f64::from(x as f32)).collect();
    let input: Vec<f32> = exact.iter().map(|&x| x as f32).collect();
    let reference = evaluate(&graph, &weights, &exact, batch as usize).unwrap();
    let options = PlanOptions { batch, threads: 1, keep_all: true };
    let model = Model::compile(&graph, &weights, Target::baseline(), options).unwrap();
    let values = compiled_values(&model, &graph, &input);
    let interpreted = interpreted_values(model.program(), &graph, &weights, &input, 2);
    let text = || xcc_compiler::graph::text::write(&graph);
    for &node in graph.order() {
        let error = worst_error(reference.get(node).unwrap(), &values[&node]);
        assert!(error < 2e-5, "{node}: error {error:e} against the reference\n{}", text());
        assert_eq!(bits(&values[&node]), bits(&interpreted[&node]), "{node} interpreted\n{}", text());
    }
    let outputs: Vec<Vec<u32>> = graph.outputs.iter().map(|output| bits(&values[output])).collect();
    for threads in 1..=4 {
        let options = PlanOptions { batch, threads, keep_all: false };
        let model = Model::compile(&graph, &weights, Target::baseline(), options).unwrap();
        for run in 0..2 {
            let found: Vec<_> = model.run(&input).unwrap().iter().map(|v| bits(v)).collect();
            assert_eq!(found, outputs, "run {run} with {threads} threads\n{}", text());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn random_networks_agree_in_all_executions(
        genes in proptest::collection::vec(any::<u8>(), 0..100),
        seed in any::<u64>(),
        batch in 1u32..4,
    ) {
        check(&random_graph(&genes), seed, batch);
    }
}
