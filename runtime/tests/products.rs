//! How far sums of products are from exact ones, element by element, against bounds that follow
//! from how factors are rounded: in bf16, to 8 significant bits, and denormal values to zero where
//! bf16 values are multiplied.

mod common;

use common::compiled::{precisions, targets};
use common::graphs::{Builder, cut, window, with_fast_pairs};
use common::{Random, RandomWeights};
use xcc_compiler::graph::{Activation, Graph, PoolKind, Shape, WeightId, WeightSource};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, Precision};
use xcc_compiler::target::{Bf16Unit, ExactTiles, Target};
use xcc_runtime::Model;
use xcc_runtime::reference::evaluate;
use xcc_runtime::verify::verify;

/// A layer whose result is a sum of products, or two such layers behind each other, in a network
/// of its own.
fn layer(random: &mut Random) -> Graph {
    let mut below = |bound: u32| ((random.next() + 1.0) / 2.0 * f64::from(bound)) as u32 % bound;
    let size = 2 + below(9);
    let (kind, segments) = (below(6), 1 + below(3));
    let (inputs, outputs) = (segments * (1 + below(40)), segments * (1 + below(40)));
    let strides = 1 + below(2);
    let mut builder = Builder::new(Shape::map(size, size, inputs));
    let input = builder.input();
    let whole = cut(inputs, outputs, 1);
    let result = match kind {
        0 => builder.pointwise(input, outputs),
        1 => builder.conv(input, window(3, 1, 1), whole, true),
        2 => builder.conv(input, window(3, strides, 1), cut(inputs, outputs, segments), true),
        3 => builder.conv(input, window(2, 1, 2), whole, false),
        4 => {
            let depthwise = cut(inputs, inputs, inputs);
            builder.separable(input, window(3, 1, 1), depthwise, Activation::Linear, outputs)
        }
        _ => {
            let vector = builder.flatten(input);
            builder.dense(vector, outputs)
        }
    };
    let mut graph = builder.finish(&[result]);
    optimize(&mut graph, &PassOptions::default());
    graph
}

/// The same tensors without signs.
fn absolute(graph: &Graph, weights: &RandomWeights) -> RandomWeights {
    let tensor = |index: usize| {
        weights.tensor(WeightId::new(index)).unwrap().iter().map(|value| value.abs()).collect()
    };
    RandomWeights::of((0..graph.weights.len()).map(tensor).collect())
}

/// The only output in 64-bit floats.
fn exact(graph: &Graph, weights: &RandomWeights, input: &[f32]) -> Vec<f64> {
    let input: Vec<f64> = input.iter().map(|&value| f64::from(value)).collect();
    let values = evaluate(graph, weights, &input, 1).unwrap();
    values.get(graph.outputs[0]).unwrap().to_vec()
}

/// Each channel's largest element, without its sign, at all pixels.
fn largest_of_channels(shape: Shape, input: &[f32]) -> Vec<f32> {
    let channels = shape.c() as usize;
    let mut largest = vec![0.0f32; channels];
    for pixel in input.chunks_exact(channels) {
        largest.iter_mut().zip(pixel).for_each(|(largest, value)| *largest = largest.max(value.abs()));
    }
    largest.repeat(input.len() / channels)
}

/// Error of a product of two factors in bf16, relative to the product: each has 8 significant
/// bits, and is wrong by up to 2^-8 / (1 + 2^-8) = 1 / 257 of itself.
const BF16_PRODUCT: f64 = 2.0 / 257.0 + 1.0 / (257.0 * 257.0);
/// The same in two parts, which lack up to 2^-17 of a factor, without the product of the second
/// parts, up to 2^-16.
const SPLIT_PRODUCT: f64 = 2.0 / 131_072.0 + 1.0 / 65_536.0 + 1e-9;
/// Rounding of an f32 sum, relative to the sum of absolute products.
const ROUNDING: f64 = 1.0 / 16_777_216.0;
/// Roundings of a result beside those of its sum: of parts, of the bias, of the epilogue.
const OTHER_ROUNDINGS: f64 = 8.0;
/// Winograd's method, F(2x2, 3x3), adds up to 16 times the largest inputs times the absolute
/// weights of a window: in each of both directions, results are sums of 2 inputs x (2 |w0| + 2
/// (|w0| + |w1| + |w2|) / 2) at most.
const WINOGRAD: f64 = 16.0;

/// The targets of this machine, each as it is and so that bf16 values are multiplied wherever that
/// is possible: in products of pairs, and in f32 by tiles.
fn eager_targets() -> impl Iterator<Item = Target> {
    let exact_tiles = ExactTiles {
        fewest_outputs: 1,
        fewest_inputs: 1,
        most_inputs: u64::MAX,
        most_inputs_by_rows: u64::MAX,
        fewest_pixels: 1,
    };
    let all = targets().into_iter();
    all.flat_map(move |target| match target.bf16_unit() {
        Some(Bf16Unit::Pairs) => vec![target, with_fast_pairs(target)],
        Some(Bf16Unit::Tiles) => vec![target, Target { exact_tiles, ..target }],
        None => vec![target],
    })
}

/// Thousands of layers: an element is wrong by at most 2^-7 of the sum of its absolute products in
/// bf16, and by that of the largest inputs, 16 times, where Winograd's method computes planes in
/// bf16.
#[test]
fn less_exact_sums_are_wrong_by_a_share_of_their_absolute_products() {
    let mut worst = [0.0f64; 2];
    for seed in 0..1500 {
        let graph = layer(&mut Random::new(seed));
        let weights = RandomWeights::new(&graph, seed);
        let shape = graph.node(graph.input).shape;
        let input: Vec<f32> =
            Random::new(seed + 1).vector(shape.elements() as usize).iter().map(|&x| x as f32).collect();
        let expected = exact(&graph, &weights, &input);
        let without_signs = absolute(&graph, &weights);
        let sizes = exact(&graph, &without_signs, &input.iter().map(|x| x.abs()).collect::<Vec<_>>());
        // All factors are 1: the number of products of each element.
        let ones = RandomWeights::of(
            graph.weights.iter().map(|weight| vec![1.0; weight.elements() as usize]).collect(),
        );
        let numbers = exact(&graph, &ones, &vec![1.0; input.len()]);
        let largest = exact(&graph, &without_signs, &largest_of_channels(shape, &input));
        for target in eager_targets() {
            for precision in precisions(target).filter(|precision| *precision != Precision::F32) {
                let model = Model::compile(
                    &graph,
                    &weights,
                    target,
                    PlanOptions { precision, ..PlanOptions::default() },
                )
                .unwrap();
                let of_planes = model.program().schedule.planes_ms() > 0.0;
                let (product, which) = match precision {
                    Precision::Bf16 => (BF16_PRODUCT, 0),
                    _ => (SPLIT_PRODUCT, 1),
                };
                let found = model.run(&input).unwrap().remove(0);
                for (at, (expected, found)) in expected.iter().zip(&found).enumerate() {
                    let scale = if of_planes { WINOGRAD * largest[at] } else { sizes[at] };
                    let sums = (f64::from(precision.products()) * numbers[at] + OTHER_ROUNDINGS) * ROUNDING;
                    let error = (expected - f64::from(*found)).abs();
                    let allowed = (product + sums) * scale + 1e-30;
                    assert!(
                        error <= allowed,
                        "{seed}, {target} in {precision}: {error:e} of {scale:e} at {at}"
                    );
                    if !of_planes {
                        worst[which] = worst[which].max(error / allowed);
                    }
                }
            }
        }
    }
    // Bounds that are far from what happens would show nothing.
    let are_there =
        [Precision::Bf16, Precision::Split].map(|p| Target::available().iter().any(|t| p.is_for(*t)));
    for (worst, is_there) in worst.into_iter().zip(are_there) {
        assert!(!is_there || worst > 0.2, "{worst}");
    }
}

/// A few layers without biases, so that values keep the size of the input.
fn unbiased(random: &mut Random) -> Graph {
    let mut below = |bound: u32| ((random.next() + 1.0) / 2.0 * f64::from(bound)) as u32 % bound;
    let channels = 4 + below(60);
    let mut builder = Builder::new(Shape::map(3 + below(8), 3 + below(8), channels));
    let mut x = builder.input();
    for _ in 0..1 + below(4) {
        let (inputs, outputs) = (builder.shape(x).c(), 1 + below(64));
        x = match below(6) {
            0 => builder.conv(x, window(1, 1, 1), cut(inputs, outputs, 1), false),
            1 => builder.conv(x, window(3, 1, 1), cut(inputs, outputs, 1), false),
            2 => builder.conv(x, window(3, 1, 1), cut(inputs, inputs, inputs), false),
            3 => builder.pool(
                x,
                if below(2) == 0 { PoolKind::Max } else { PoolKind::Average },
                window(2, 1, 1),
            ),
            4 => {
                let y = builder.activation(x, Activation::Relu);
                builder.add(&[x, y])
            }
            _ => builder.activation(x, Activation::Relu),
        };
    }
    builder.finish(&[x])
}

/// Inputs from the smallest denormal value to a million times the smallest normal one: what
/// `verify` allows is what denormal values may do, and not more than they do.
#[test]
fn denormal_values_may_be_zero_and_no_more() {
    let mut are_lost = 0;
    for seed in 0..400 {
        let graph = unbiased(&mut Random::new(seed));
        let weights = RandomWeights::new(&graph, seed);
        let size = 2f64.powi(-149 + (seed % 44) as i32);
        let length = graph.node(graph.input).shape.elements() as usize;
        let input: Vec<f32> =
            Random::new(seed + 7).vector(length).iter().map(|&x| (x * size) as f32).collect();
        for target in eager_targets() {
            for precision in precisions(target) {
                let options = PlanOptions { precision, ..PlanOptions::default() };
                for value in verify::<f64>(&graph, &weights, target, options, &input).unwrap() {
                    let case = format!("{seed}, {target} in {precision}: {value:?}");
                    assert!(value.passes(precision), "{case}");
                    let is_lost = value.worst.found == 0.0 && value.worst.expected != 0.0;
                    are_lost += usize::from(is_lost);
                }
            }
        }
    }
    let loses = Target::available().iter().any(|target| target.bf16_unit().is_some());
    assert!(!loses || are_lost > 0, "no case has lost denormal values");
}
