//! Weights carried to other segments, against linear maps composed product by product.

mod common;

use common::{Random, RandomWeights};
use proptest::prelude::*;
use xcc_compiler::elaborate;
use xcc_compiler::graph::{Conv, Graph, Op, WeightSource};
use xcc_runtime::decouple::{Decoupled, decouple};
use xcc_runtime::reference;

/// A network of one separable convolution.
fn network(segments: &str, order: &str, multiplier: u32) -> Graph {
    let source = format!(
        "model m\ninput image 6 x 5 x 7\nsepconv 9, 3x2, segments: {segments}, order: {order}, multiplier: {multiplier} as a"
    );
    let elaborated = elaborate::read(&source, &[]);
    elaborated.graph.unwrap_or_else(|| panic!("{:?}", elaborated.diagnostics))
}

fn convs(graph: &Graph) -> Vec<&Conv> {
    let ops = graph.order().iter().map(|&id| &graph.node(id).op);
    ops.filter_map(|op| if let Op::Conv(conv) = op { Some(conv) } else { None }).collect()
}

/// taps x inputs x outputs of a convolution.
fn kernel(conv: &Conv, weights: &dyn WeightSource) -> Vec<Vec<Vec<f64>>> {
    let [ic, oc] = [conv.partition.ic(), conv.partition.oc()].map(|channels| channels as usize);
    let mut dense = vec![vec![vec![0.0; oc]; ic]; conv.window.taps() as usize];
    for block in conv.kernel_blocks() {
        let values = weights.tensor(conv.parts[block.part].kernel).unwrap();
        for (tap, map) in dense.iter_mut().enumerate() {
            for (i, input) in block.inputs.clone().enumerate() {
                for (o, output) in block.outputs.clone().enumerate() {
                    let at = block.offset + tap * block.tap_stride + i * block.input_stride + o;
                    map[input as usize][output as usize] = f64::from(values[at]);
                }
            }
        }
    }
    dense
}

/// The map of both convolutions, one after the other: one of them has one tap.
fn composed(graph: &Graph, weights: &dyn WeightSource) -> Vec<f64> {
    let [first, second] = convs(graph)[..] else { panic!("two convolutions") };
    let (first, second) = (kernel(first, weights), kernel(second, weights));
    let mut map = Vec::new();
    for a in &first {
        for b in &second {
            for row in a {
                for o in 0..b[0].len() {
                    map.push(row.iter().zip(b).map(|(x, next)| x * next[o]).sum());
                }
            }
        }
    }
    map
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// The distance of two maps relative to the first.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    norm(a.iter().zip(b).map(|(a, b)| a - b)) / norm(a.iter().copied())
}

/// The weights of `graph` as weights of `dense`, which has the same layers in fewer segments:
/// zeros between segments.
fn embedded(graph: &Graph, dense: &Graph, weights: &RandomWeights) -> RandomWeights {
    let mut tensors: Vec<Vec<f32>> = (0..graph.weights.len())
        .map(|id| weights.tensor(xcc_compiler::graph::WeightId::new(id)).unwrap().to_vec())
        .collect();
    for (conv, wide) in convs(graph).into_iter().zip(convs(dense)) {
        let maps = kernel(conv, weights);
        let [block] = &wide.kernel_blocks()[..] else { panic!("one segment") };
        let flat = maps.iter().flatten().flatten().map(|&value| value as f32).collect();
        assert_eq!(
            (block.input_stride, block.tap_stride),
            (maps[0][0].len(), maps[0].len() * maps[0][0].len())
        );
        tensors[wide.parts[0].kernel.index()] = flat;
    }
    RandomWeights::of(tensors)
}

fn carried(target: &Graph, dense: &Graph, weights: &RandomWeights) -> (Decoupled, f64) {
    let done = decouple(target, dense, weights).unwrap_or_else(|error| panic!("{error}"));
    let error = done.layers.first().map_or(0.0, |layer| layer.error);
    (done, error)
}

const ORDERS: [&str; 2] = ["spatial_first", "pointwise_first"];

fn segments() -> impl Strategy<Value = String> {
    prop_oneof![
        (1..=7_u32).prop_map(|count| count.to_string()),
        Just("[3, 1, 1, 2]".to_owned()),
        Just("[2, 2, 3]".to_owned()),
        Just("[1, 6]".to_owned()),
    ]
}

/// Segments of seven inputs, or of nine filters where the pointwise part is first.
fn fitting(segments: &str, order: &str) -> String {
    if order == "pointwise_first" { segments.replace(']', ", 2]") } else { segments.to_owned() }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// What other segments can say exactly is found, and the networks compute the same.
    #[test]
    fn maps_within_reach_are_found(seed: u64, cut in segments(), order in 0..2_usize, multiplier in 1..3_u32) {
        let order = ORDERS[order];
        let multiplier = if order == "pointwise_first" { 1 } else { multiplier };
        let target = network(&fitting(&cut, order), order, multiplier);
        let dense = network("1", order, multiplier);
        let weights = embedded(&target, &dense, &RandomWeights::new(&target, seed));
        let (done, error) = carried(&target, &dense, &weights);
        prop_assert!(error < 1e-6, "{error}");
        let input = Random::new(seed).vector(6 * 5 * 7);
        let run = |graph: &Graph, weights: &(dyn WeightSource + Sync)| {
            let values = reference::evaluate_keeping(graph, weights, &input, 1, &graph.outputs).unwrap();
            values.get(graph.outputs[0]).unwrap().to_vec()
        };
        let difference = distance(&run(&dense, &weights), &run(&target, &done));
        prop_assert!(difference < 1e-5, "{difference}");
    }

    /// The error that is told is that of the maps composed product by product, from any segments
    /// and order to any.
    #[test]
    fn errors_told_are_those_of_the_maps(
        seed: u64, from in segments(), to in segments(), orders in (0..2_usize, 0..2_usize),
    ) {
        let [from, to] = [(from, orders.0), (to, orders.1)].map(|(segments, order)| {
            network(&fitting(&segments, ORDERS[order]), ORDERS[order], 1)
        });
        let weights = RandomWeights::new(&from, seed);
        let (done, error) = carried(&to, &from, &weights);
        let expected = distance(&composed(&from, &weights), &composed(&to, &done));
        prop_assert!((error - expected).abs() < 1e-6, "{error} {expected}");
        prop_assert!(error <= 1.0);
    }

    /// No weights drawn at random are nearer.
    #[test]
    fn random_weights_are_never_nearer(seed: u64, to in segments(), order in 0..2_usize) {
        let order = ORDERS[order];
        let (dense, target) = (network("1", order, 1), network(&fitting(&to, order), order, 1));
        let weights = RandomWeights::new(&dense, seed);
        let (done, error) = carried(&target, &dense, &weights);
        let map = composed(&dense, &weights);
        for trial in 0..10 {
            let mut other = RandomWeights::new(&target, seed.wrapping_add(trial));
            // Near the best ones, too.
            for id in (0..target.weights.len()).map(xcc_compiler::graph::WeightId::new).filter(|_| trial % 2 == 0) {
                let best = done.tensor(id).unwrap().to_vec();
                other.tensor_mut(id).iter_mut().zip(best).for_each(|(value, best)| *value = best + 0.01 * *value);
            }
            prop_assert!(error <= distance(&map, &composed(&target, &other)) + 1e-6);
        }
    }

    /// Fewer segments, each whole ones of the finer cut, and more terms never say less.
    #[test]
    fn fewer_segments_and_more_terms_are_never_worse(seed: u64, from in segments()) {
        let dense = network(&from, "spatial_first", 1);
        let weights = RandomWeights::new(&dense, seed);
        let error = |segments: &str, multiplier| {
            carried(&network(segments, "spatial_first", multiplier), &dense, &weights).1
        };
        let cuts = ["full", "[1, 1, 1, 2, 2]", "[3, 4]", "1"].map(|cut| error(cut, 1));
        prop_assert!(cuts.windows(2).all(|pair| pair[1] <= pair[0] + 1e-6), "{cuts:?}");
        let terms = [1, 2, 3, 6].map(|terms| error("full", terms));
        prop_assert!(terms.windows(2).all(|pair| pair[1] <= pair[0] + 1e-6), "{terms:?}");
        prop_assert!(terms[3] < 1e-6, "as many terms as taps are exact: {terms:?}");
    }
}

#[test]
fn differences_that_are_none_of_segments_are_named() {
    let read = |statements: &str| {
        let source = format!("model m\ninput image 8 x 8 x 4\n{statements}");
        elaborate::read(&source, &[]).graph.unwrap()
    };
    let target =
        read("sepconv 8, 3x3 as a\nsepconv 8, 3x3, activation_between: relu as b\nbn as c\nconv 8, 1x1 as d");
    let refused = |dense: &str| {
        let dense = read(dense);
        decouple(&target, &dense, &RandomWeights::new(&dense, 1)).unwrap_err().to_string()
    };
    let text = refused(
        "sepconv 8, 5x5, segments: 1 as a\nsepconv 8, 3x3, segments: 2, activation_between: relu as b\nconv 4, 1x1 as d",
    );
    for expected in [
        "a: its window is 3x3 here and 5x5 in the weights",
        "b: an activation lies between its parts",
        "c: the network that the weights are for has no such layer",
        "d: it has 8 inputs and 8 outputs here, 8 and 4 in the weights",
    ] {
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let (target, dense) = (network("7", "spatial_first", 1), network("1", "spatial_first", 1));
    let mut weights = RandomWeights::new(&dense, 1);
    weights.tensor_mut(xcc_compiler::graph::WeightId::new(0))[5] = f32::NAN;
    let error = decouple(&target, &dense, &weights).unwrap_err().to_string();
    assert_eq!(error, "layer a: its weights are not all finite numbers");
}

/// A convolution without a pointwise part keeps what lies within segments: the rest is the error.
#[test]
fn plain_convolutions_keep_the_weights_within_segments() {
    let read = |segments: u32| {
        let source = format!("model m\ninput image 8 x 8 x 4\nconv 8, 3x3, segments: {segments} as a");
        elaborate::read(&source, &[]).graph.unwrap()
    };
    let (dense, target) = (read(1), read(2));
    let weights = RandomWeights::new(&dense, 3);
    let (done, error) = carried(&target, &dense, &weights);
    let flat = |graph: &Graph, weights: &dyn WeightSource| -> Vec<f64> {
        kernel(convs(graph)[0], weights).into_iter().flatten().flatten().collect()
    };
    let (before, after) = (flat(&dense, &weights), flat(&target, &done));
    assert!(before.iter().zip(&after).all(|(before, after)| *after == 0.0 || before == after));
    assert!((error - distance(&before, &after)).abs() < 1e-6);
    assert_eq!(after.iter().filter(|value| **value != 0.0).count(), before.len() / 2);
}
