//! The reference evaluator against definitions, and against itself where two ways must agree.

mod common;

use common::graphs::{Builder, cut, random_graph, window};
use common::{Random, RandomWeights};
use proptest::prelude::*;
use xcc_compiler::graph::{Activation, Graph, NodeId, Pads, Partition, PoolKind, Shape, WeightId, Window};
use xcc_runtime::reference::{evaluate, evaluate_keeping};

fn run(graph: &Graph, weights: &RandomWeights, input: &[f64]) -> Vec<f64> {
    let batch = input.len() / graph.node(graph.input).shape.elements() as usize;
    evaluate(graph, weights, input, batch).unwrap().take(graph.outputs[0]).unwrap()
}

fn built(shape: Shape, make: impl FnOnce(&mut Builder, NodeId) -> NodeId) -> Graph {
    let mut builder = Builder::new(shape);
    let input = builder.input();
    let output = make(&mut builder, input);
    builder.finish(&[output])
}

fn assert_close(a: &[f64], b: &[f64], tolerance: f64) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance * (1.0 + b.abs()), "element {i}: {a} and {b}");
    }
}

#[test]
fn a_padded_convolution_is_cross_correlation() {
    // One channel, 3x3 kernel 1..9, padding 1, on the map [[1, 2], [3, 4]].
    let graph = built(Shape::map(2, 2, 1), |b, x| b.conv(x, window(3, 1, 1), Partition::whole(1, 1), true));
    let weights = RandomWeights::of(vec![(1..=9).map(|k| k as f32).collect(), vec![0.5]]);
    let expected = [
        5.0 + 12.0 + 24.0 + 36.0,
        4.0 + 10.0 + 21.0 + 32.0,
        2.0 + 6.0 + 15.0 + 24.0,
        1.0 + 4.0 + 12.0 + 20.0,
    ];
    assert_eq!(run(&graph, &weights, &[1.0, 2.0, 3.0, 4.0]), expected.map(|x| x + 0.5));
}

#[test]
fn channels_are_the_last_axis_of_maps_and_kernels() {
    // 1x1 kernel [[1, 2, 3], [10, 20, 30]] (inputs x outputs) on the pixel (1, 2).
    let graph = built(Shape::map(1, 1, 2), |b, x| b.pointwise(x, 3));
    let weights = RandomWeights::of(vec![vec![1.0, 2.0, 3.0, 10.0, 20.0, 30.0]]);
    assert_eq!(run(&graph, &weights, &[1.0, 2.0]), [21.0, 42.0, 63.0]);
}

#[test]
fn depthwise_outputs_are_grouped_by_channel() {
    // Two channels, multiplier 2: kernel 1 x 1 x 2 x 2 = [[1, 2], [3, 4]].
    let graph = built(Shape::map(1, 1, 2), |b, x| b.conv(x, Window::POINT, cut(2, 4, 2), false));
    let weights = RandomWeights::of(vec![vec![1.0, 2.0, 3.0, 4.0]]);
    assert_eq!(run(&graph, &weights, &[10.0, 100.0]), [10.0, 20.0, 300.0, 400.0]);
}

#[test]
fn normalisation_follows_its_formula() {
    let graph = built(Shape::map(1, 1, 1), |b, x| b.norm(x));
    let weights = RandomWeights::of(vec![vec![2.0], vec![-1.0], vec![0.5], vec![4.0]]);
    let expected = 2.0 * (3.0 - 0.5) / 4.001_f64.sqrt() - 1.0;
    assert_close(&run(&graph, &weights, &[3.0]), &[expected], 1e-15);
}

#[test]
fn activations_follow_their_formulas() {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    let hard_sigmoid = |x: f64| (x / 6.0 + 0.5).clamp(0.0, 1.0);
    let formula = |function, x: f64| match function {
        Activation::Linear => x,
        Activation::Relu => x.max(0.0),
        Activation::Relu6 => x.clamp(0.0, 6.0),
        Activation::Elu => {
            if x > 0.0 {
                x
            } else {
                x.exp() - 1.0
            }
        }
        Activation::Sigmoid => sigmoid(x),
        Activation::HardSigmoid => hard_sigmoid(x),
        Activation::Swish => x * sigmoid(x),
        Activation::HardSwish => x * hard_sigmoid(x),
        Activation::LeakyRelu(slope) => {
            if x > 0.0 {
                x
            } else {
                f64::from(slope.value()) * x
            }
        }
        Activation::Tanh => x.sinh() / x.cosh(),
    };
    let x = [-4.0, -2.0, 0.0, 0.5, 7.0];
    for function in Activation::ALL {
        let graph = built(Shape::map(1, 5, 1), |b, x| b.activation(x, function));
        let found = run(&graph, &RandomWeights::of(vec![]), &x);
        assert_close(&found, &x.map(|x| formula(function, x)), 1e-15);
    }
}

#[test]
fn padding_neither_wins_a_maximum_nor_counts_in_a_mean() {
    let x = [-1.0, -2.0, -3.0, -4.0];
    let pooled = |kind| {
        let graph = built(Shape::map(2, 2, 1), |b, x| b.pool(x, kind, window(3, 2, 1)));
        run(&graph, &RandomWeights::of(vec![]), &x)
    };
    assert_eq!(pooled(PoolKind::Max), [-1.0]);
    assert_eq!(pooled(PoolKind::Average), [-2.5]);
}

#[test]
fn heads_follow_their_formulas() {
    let none = RandomWeights::of(vec![]);
    let x = [1.0, -5.0, 3.0, 5.0];
    let mean = built(Shape::map(1, 2, 2), |b, x| b.global_pool(x, PoolKind::Average));
    assert_eq!(run(&mean, &none, &x), [2.0, 0.0]);
    let max = built(Shape::map(1, 2, 2), |b, x| b.global_pool(x, PoolKind::Max));
    assert_eq!(run(&max, &none, &x), [3.0, 5.0]);
    let softmax = built(Shape::map(1, 2, 2), |b, x| b.softmax(x));
    let share = |a: f64, b: f64| a.exp() / (a.exp() + b.exp());
    assert_close(
        &run(&softmax, &none, &x),
        &[share(1.0, -5.0), share(-5.0, 1.0), share(3.0, 5.0), share(5.0, 3.0)],
        1e-15,
    );
    let dense = built(Shape::vector(2), |b, x| b.dense(x, 2));
    let weights = RandomWeights::of(vec![vec![1.0, 2.0, 3.0, 4.0], vec![0.5, 0.25]]);
    assert_eq!(run(&dense, &weights, &[1.0, 10.0]), [31.5, 42.25]);
}

#[test]
fn concatenation_and_sum_keep_the_order_of_operands() {
    let none = RandomWeights::of(vec![]);
    let concat = built(Shape::map(1, 2, 1), |b, x| {
        let relu = b.activation(x, Activation::Relu);
        b.concat(&[x, relu])
    });
    assert_eq!(run(&concat, &none, &[-1.0, 2.0]), [-1.0, 0.0, 2.0, 2.0]);
    let sum = built(Shape::map(1, 2, 1), |b, x| b.add(&[x, x, x]));
    assert_eq!(run(&sum, &none, &[-1.0, 2.0]), [-3.0, 6.0]);
}

#[test]
fn wrong_inputs_and_weights_are_errors() {
    let graph = built(Shape::map(2, 2, 1), |b, x| b.pointwise(x, 3));
    let error = |weights: &RandomWeights, input: &[f64], batch| {
        evaluate(&graph, weights, input, batch).unwrap_err().to_string()
    };
    let good = RandomWeights::new(&graph, 1);
    assert_eq!(error(&good, &[0.0; 5], 1), "1 inputs of shape 2x2x1 have 4 elements, but 5 were given");
    assert_eq!(
        error(&good, &[0.0; 4], usize::MAX),
        format!(
            "{0} inputs of shape 2x2x1 have {1} elements, but 4 were given",
            usize::MAX,
            usize::MAX as u128 * 4
        )
    );
    let bad = RandomWeights::of(vec![vec![0.0; 2]]);
    assert_eq!(error(&bad, &[0.0; 4], 1), "weight conv2d_1/kernel has 3 elements, but 2 were given");
    let mut broken = graph.clone();
    broken.outputs.clear();
    let found = evaluate(&broken, &good, &[0.0; 4], 1).unwrap_err().to_string();
    assert_eq!(found, "the graph is broken: outputs: there are none");
}

/// A segmented kernel as the kernel of a regular convolution: zero where segments do not meet.
fn spread(partition: &Partition, taps: usize, kernel: &[f32]) -> Vec<f32> {
    let (ic, oc) = (partition.ic() as usize, partition.oc() as usize);
    let mut whole = vec![0.0; taps * ic * oc];
    let mut flat = kernel.iter();
    for tap in 0..taps {
        for (inputs, outputs) in partition.ranges() {
            for i in inputs {
                for o in outputs.clone() {
                    whole[(tap * ic + i as usize) * oc + o as usize] = *flat.next().unwrap();
                }
            }
        }
    }
    whole
}

/// The same numbers in Keras' layout, where the outputs of equal segments share a row.
fn interleaved(partition: &Partition, taps: usize, kernel: &[f32]) -> Vec<f32> {
    let (ic, oc, segments) =
        (partition.inputs()[0] as usize, partition.outputs()[0] as usize, partition.segments());
    let at = |tap, i, segment, o| ((tap * segments + segment) * ic + i) * oc + o;
    let mut result = Vec::with_capacity(kernel.len());
    for tap in 0..taps {
        for i in 0..ic {
            for segment in 0..segments {
                result.extend((0..oc).map(|o| kernel[at(tap, i, segment, o)]));
            }
        }
    }
    result
}

/// Values that no machine can hold: a padded map of 40,001 x 40,001 for each of 131,072 pixels.
#[test]
fn values_without_memory_are_an_error_with_the_bytes() {
    let far = 40_000;
    let pads = Pads { top: far, bottom: far, left: far, right: far };
    let spread = Window { kernel: [2; 2], strides: [1; 2], dilation: [far; 2], pads };
    let graph = built(Shape::map(1, 1, 1), |b, x| b.conv(x, spread, Partition::whole(1, 1), false));
    let weights = RandomWeights::new(&graph, 1);
    let error = evaluate(&graph, &weights, &vec![0.0; 1 << 17], 1 << 17).unwrap_err().to_string();
    let bytes = 8 * (1u64 << 17) * 40_001 * 40_001;
    let expected =
        format!("the value v1 of shape 40001x40001x1 takes {bytes} bytes at once for a batch of 131072");
    assert!(error.starts_with(&expected), "{error}");
}

proptest! {
    #[test]
    fn a_segmented_convolution_is_a_regular_one_with_zeros(
        ic in 1..9u32, oc in 1..9u32, segments in 1..9u32, kernel in 1..4u32, stride in 1..3u32, seed: u64,
    ) {
        let partition = cut(ic, oc, segments.min(ic).min(oc));
        let shape = Shape::map(5, 4, ic);
        let window = window(kernel, stride, 1);
        let taps = (kernel * kernel) as usize;
        let cut_graph = built(shape, |b, x| b.conv(x, window, partition.clone(), false));
        let whole_graph = built(shape, |b, x| b.conv(x, window, Partition::whole(ic, oc), false));
        let mut random = Random::new(seed);
        let flat: Vec<f32> =
            random.vector(taps * partition.products() as usize).into_iter().map(|x| x as f32).collect();
        let whole = RandomWeights::of(vec![spread(&partition, taps, &flat)]);
        let stored = if partition.is_even() { interleaved(&partition, taps, &flat) } else { flat };
        let input = random.vector(2 * shape.elements() as usize);
        prop_assert_eq!(
            run(&cut_graph, &RandomWeights::of(vec![stored]), &input),
            run(&whole_graph, &whole, &input)
        );
    }

    #[test]
    fn strides_keep_every_other_window(kernel in 1..4u32, dilation in 1..3u32, h in 3..8u32, seed: u64) {
        let (shape, partition) = (Shape::map(h, 6, 2), Partition::whole(2, 3));
        let dense = built(shape, |b, x| b.conv(x, window(kernel, 1, dilation), partition.clone(), false));
        let strided = built(shape, |b, x| b.conv(x, window(kernel, 2, dilation), partition.clone(), false));
        let weights = RandomWeights::new(&dense, seed);
        let input = Random::new(seed).vector(shape.elements() as usize);
        let all = run(&dense, &weights, &input);
        let pixel = |y: usize, x: usize| all[(y * 6 + x) * 3..][..3].to_vec();
        let kept: Vec<f64> =
            (0..h as usize).step_by(2).flat_map(|y| (0..6).step_by(2).flat_map(move |x| pixel(y, x))).collect();
        prop_assert_eq!(run(&strided, &weights, &input), kept);
    }

    #[test]
    fn dilation_puts_zeros_between_taps(seed: u64, dilation in 1..4u32) {
        let shape = Shape::map(7, 6, 1);
        let extent = 2 * dilation + 1;
        let dilated = built(shape, |b, x| b.conv(x, window(3, 1, dilation), Partition::whole(1, 1), false));
        let large = built(shape, |b, x| b.conv(x, window(extent, 1, 1), Partition::whole(1, 1), false));
        let weights = RandomWeights::new(&dilated, seed);
        let mut sparse = vec![0.0; (extent * extent) as usize];
        for (tap, &k) in xcc_compiler::graph::WeightSource::tensor(&weights, WeightId::new(0)).unwrap().iter().enumerate() {
            let (y, x) = (tap / 3, tap % 3);
            sparse[(y * extent as usize + x) * dilation as usize] = k;
        }
        let input = Random::new(seed).vector(42);
        let expected = run(&large, &RandomWeights::of(vec![sparse]), &input);
        prop_assert_eq!(run(&dilated, &weights, &input), expected);
    }

    #[test]
    fn uneven_padding_is_a_shifted_window(top in 0..3u32, left in 0..3u32, seed: u64) {
        let shape = Shape::map(4, 5, 1);
        let pads = Pads { top, bottom: 2 - top, left, right: 2 - left };
        let padded = Window { pads, ..window(3, 1, 1) };
        let graph = built(shape, |b, x| b.conv(x, padded, Partition::whole(1, 1), false));
        let bare = Window { pads: Pads::default(), ..padded };
        let outside = built(Shape::map(6, 7, 1), |b, x| b.conv(x, bare, Partition::whole(1, 1), false));
        let weights = RandomWeights::new(&graph, seed);
        let input = Random::new(seed).vector(20);
        let mut framed = vec![0.0; 42];
        for (at, &x) in input.iter().enumerate() {
            framed[(at / 5 + top as usize) * 7 + at % 5 + left as usize] = x;
        }
        prop_assert_eq!(run(&graph, &weights, &input), run(&outside, &weights, &framed));
    }

    #[test]
    fn images_of_a_batch_and_freed_values_do_not_matter(genes in prop::collection::vec(any::<u8>(), 0..80), seed: u64) {
        let graph = random_graph(&genes);
        let weights = RandomWeights::new(&graph, seed);
        let elements = graph.node(graph.input).shape.elements() as usize;
        let input = Random::new(seed).vector(3 * elements);
        let together = evaluate_keeping(&graph, &weights, &input, 3, &graph.outputs).unwrap();
        for (image, x) in input.chunks(elements).enumerate() {
            let alone = evaluate(&graph, &weights, x, 1).unwrap();
            for &output in &graph.outputs {
                let expected = alone.get(output).unwrap();
                let found = &together.get(output).unwrap()[image * expected.len()..][..expected.len()];
                prop_assert_eq!(found, expected);
            }
        }
        for &id in graph.order() {
            prop_assert_eq!(together.get(id).is_some(), graph.is_output(id));
        }
    }

    #[test]
    fn single_precision_is_near_double(genes in prop::collection::vec(any::<u8>(), 0..60), seed: u64) {
        let graph = random_graph(&genes);
        let weights = RandomWeights::new(&graph, seed);
        let input = Random::new(seed).vector(graph.node(graph.input).shape.elements() as usize);
        let single: Vec<f32> = input.iter().map(|&x| x as f32).collect();
        let exact: Vec<f64> = single.iter().map(|&x| f64::from(x)).collect();
        let found = evaluate(&graph, &weights, &single, 1).unwrap();
        let expected = evaluate(&graph, &weights, &exact, 1).unwrap();
        for &id in graph.order() {
            let expected = expected.get(id).unwrap();
            let scale = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            for (a, b) in found.get(id).unwrap().iter().zip(expected) {
                prop_assert!((f64::from(*a) - b).abs() <= 1e-4 * (scale + 1e-3), "{}: {} and {}", id, a, b);
            }
        }
    }
}
