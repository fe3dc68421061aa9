//! Passes keep the values: the reference evaluator runs graphs before and after.

mod common;

use std::borrow::Cow;

use common::graphs::{Builder, cut, random_graph, window};
use common::{Random, RandomWeights};
use proptest::prelude::*;
use xcc_compiler::graph::text::write;
use xcc_compiler::graph::{
    Activation, Graph, NodeId, Op, Partition, PoolKind, Shape, WeightId, WeightSource, Window,
};
use xcc_compiler::passes::{PassOptions, Report, optimize};
use xcc_runtime::reference::{Values, evaluate, evaluate_keeping};

fn values(graph: &Graph, seed: u64) -> Values<f64> {
    let weights = RandomWeights::new(graph, seed);
    let elements = graph.node(graph.input).shape.elements() as usize;
    evaluate(graph, &weights, &Random::new(seed).vector(2 * elements), 2).unwrap()
}

/// Every value that both graphs have, compared within `tolerance` of the largest element.
fn compare(before: &Graph, after: &Graph, seed: u64, tolerance: f64) -> Result<(), String> {
    let (expected, found) = (values(before, seed), values(after, seed));
    for &id in after.order() {
        let (Some(expected), Some(found)) = (expected.get(id), found.get(id)) else { continue };
        let scale = expected.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        for (at, (a, b)) in found.iter().zip(expected).enumerate() {
            if (a - b).abs() > tolerance * scale || a.is_nan() {
                return Err(format!("{id}, element {at}: {a}, not {b}\n{}\n{}", write(before), write(after)));
            }
        }
        if found.len() != expected.len() {
            return Err(format!("{id} has {} elements, not {}", found.len(), expected.len()));
        }
    }
    Ok(())
}

fn optimized(graph: &Graph) -> (Graph, Report) {
    let mut after = graph.clone();
    let report = optimize(&mut after, &PassOptions::default());
    (after, report)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn passes_keep_every_surviving_value(genes in prop::collection::vec(any::<u8>(), 0..150), seed: u64) {
        let before = random_graph(&genes);
        let (after, _) = optimized(&before);
        prop_assert!(after.outputs.iter().all(|id| before.outputs.contains(id)));
        compare(&before, &after, seed, 1e-9).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn every_single_rewrite_keeps_the_values(genes in prop::collection::vec(any::<u8>(), 0..80), limit in 0..10usize, seed: u64) {
        let before = random_graph(&genes);
        let mut after = before.clone();
        optimize(&mut after, &PassOptions { stop_after: Some(limit) });
        compare(&before, &after, seed, 1e-9).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn a_second_run_keeps_the_values_too(genes in prop::collection::vec(any::<u8>(), 0..80), seed: u64) {
        let before = random_graph(&genes);
        let (once, _) = optimized(&before);
        let (twice, _) = optimized(&once);
        compare(&before, &twice, seed, 1e-9).map_err(TestCaseError::fail)?;
    }
}

/// Random graphs exercise every pass, in both directions.
#[test]
fn random_graphs_reach_every_pass() {
    let mut random = Random::new(7);
    let mut text = String::new();
    for _ in 0..400 {
        let genes: Vec<u8> = random.vector(120).iter().map(|x| (x * 128.0 + 128.0) as u8).collect();
        text += &optimized(&random_graph(&genes)).1.to_string();
    }
    for pass in xcc_compiler::passes::PASSES {
        let mut rows = text.lines().filter(|line| line.starts_with(pass.name));
        // Random graphs have no unused values.
        let applied = rows.any(|row| row.contains("  applied  "));
        assert!(applied || pass.name == "drop_unused", "{} was never applied", pass.name);
    }
    for refused in ["fold_batch_norm", "merge_branches", "fuse_activation", "fuse_residual", "fuse_separable"]
    {
        let mut rows = text.lines().filter(|line| line.starts_with(refused));
        assert!(rows.any(|row| row.contains("  refused  ")), "{refused} was never refused");
    }
}

/// Figure 2 of the paper: parallel 1x1 convolutions, each followed by a 3x3 one, concatenated.
fn figure_2(widths: &[(u32, u32)], normed: bool, between: Activation) -> Graph {
    let mut builder = Builder::new(Shape::map(6, 5, 7));
    let input = builder.input();
    let mut branch = |&(inner, outer): &(u32, u32)| {
        let mut y = builder.pointwise(input, inner);
        if normed {
            y = builder.norm(y);
        }
        if between != Activation::Linear {
            y = builder.activation(y, between);
        }
        builder.conv(y, window(3, 1, 1), Partition::whole(inner, outer), true)
    };
    let branches: Vec<NodeId> = widths.iter().map(&mut branch).collect();
    let concat = builder.concat(&branches);
    builder.finish(&[concat])
}

#[test]
fn figure_2_is_figure_3_bit_for_bit() {
    let cases = [
        (vec![(4, 5), (4, 5), (4, 5)], false, Activation::Linear),
        (vec![(4, 5), (4, 5), (4, 5)], true, Activation::Relu),
        (vec![(3, 1), (1, 6), (5, 2), (2, 2)], true, Activation::Elu),
    ];
    for (widths, normed, between) in cases {
        let before = figure_2(&widths, normed, between);
        let (after, report) = optimized(&before);
        let convs: Vec<usize> = after
            .order()
            .iter()
            .filter_map(|&id| match &after.node(id).op {
                Op::Conv(conv) => Some(conv.partition.segments()),
                _ => None,
            })
            .collect();
        assert_eq!(convs, [1, widths.len()], "one 1x1 convolution, one in a segment a branch\n{report}");
        assert_eq!(after.order().len(), 3);
        for seed in 0..20 {
            compare(&before, &after, seed, 0.0).unwrap();
        }
    }
}

/// Tensors of equal shape side by side along their last axis, which has `width` elements.
fn side_by_side(tensors: &[Cow<[f32]>], width: usize) -> Vec<f32> {
    let rows = tensors[0].len() / width;
    let row = |at: usize| tensors.iter().flat_map(move |tensor| &tensor[at * width..][..width]);
    (0..rows).flat_map(row).copied().collect()
}

/// The shipped spec states both figures: rewritten figure 2 is figure 3, and both give the same
/// bits.
#[test]
fn the_spec_of_figure_2_becomes_that_of_figure_3() {
    let (towers, width) = (3, 8);
    let figure = |number| {
        let settings = [("figure", number), ("size", "9"), ("depth", "12"), ("width", "8")];
        common::graphs::shipped("inception_module.xc", &settings)
    };
    let (figure_2, figure_3) = (figure("2"), figure("3"));
    let (rewritten, report) = optimized(&figure_2);
    let partitions = |graph: &Graph| -> Vec<Partition> {
        let partition = |&id: &NodeId| match &graph.node(id).op {
            Op::Conv(conv) => Some(conv.partition.clone()),
            _ => None,
        };
        graph.order().iter().filter_map(partition).collect()
    };
    assert_eq!(partitions(&rewritten), partitions(&figure_3), "{report}");

    let weights_2 = RandomWeights::new(&figure_2, 1);
    // The weights of figure 2 are declared tower by tower: 1x1, then 3x3.
    let tensors = |first: usize| -> Vec<Cow<[f32]>> {
        (0..towers).map(|tower| weights_2.tensor(WeightId::new(2 * tower + first)).unwrap()).collect()
    };
    let weights_3 =
        RandomWeights::of(vec![side_by_side(&tensors(0), width), side_by_side(&tensors(1), width)]);
    let input = Random::new(1).vector(figure_2.node(figure_2.input).shape.elements() as usize);
    let result = |graph: &Graph, weights: &RandomWeights| {
        evaluate(graph, weights, &input, 1).unwrap().take(graph.outputs[0]).unwrap()
    };
    let expected = result(&figure_3, &weights_3);
    assert_eq!(result(&figure_2, &weights_2), expected);
    assert_eq!(result(&rewritten, &weights_2), expected);
}

/// A block of Xception's entry flow and one of its middle flow: everything in them fuses.
#[test]
fn xception_blocks_become_separable_convolutions_with_residuals() {
    let mut builder = Builder::new(Shape::map(9, 9, 4));
    let unit = |b: &mut Builder, x, width: u32| {
        let channels = b.shape(x).c();
        let relu = b.activation(x, Activation::Relu);
        let y =
            b.separable(relu, window(3, 1, 1), cut(channels, channels, channels), Activation::Linear, width);
        b.norm(y)
    };
    let input = builder.input();
    let stem = builder.pointwise(input, 6);
    let y = unit(&mut builder, stem, 8);
    let y = unit(&mut builder, y, 8);
    let pool = builder.pool(y, PoolKind::Max, window(3, 2, 1));
    let point = Window { strides: [2, 2], ..Window::POINT };
    let shortcut = builder.conv(stem, point, Partition::whole(6, 8), false);
    let shortcut = builder.norm(shortcut);
    let entry = builder.add(&[pool, shortcut]);
    let mut y = entry;
    for _ in 0..3 {
        y = unit(&mut builder, y, 8);
    }
    let middle = builder.add(&[y, entry]);
    let before = builder.finish(&[middle]);
    let (after, report) = optimized(&before);
    let kinds: Vec<&str> = after.order().iter().map(|&id| after.node(id).op.noun()).collect();
    let separable = "separable convolution";
    let expected = [
        "input",
        "convolution",
        separable,
        separable,
        "pool",
        "convolution",
        separable,
        separable,
        separable,
    ];
    assert_eq!(kinds, expected, "{report}");
    compare(&before, &after, 3, 0.0).unwrap();
}

/// Xception in the paper's variants, small: what passes leave computes the same, bit for bit.
#[test]
fn variants_of_xception_keep_their_results() {
    let variants: [&[(&str, &str)]; 7] = [
        &[],
        &[("segments", "1")],
        &[("segments", "3"), ("between", "elu")],
        &[("segments", "28"), ("order", "pointwise_first")],
        &[("order", "pointwise_first"), ("between", "relu")],
        &[("residuals", "no"), ("between", "relu")],
        &[("hidden", "2"), ("head", "sigmoid")],
    ];
    for variant in variants {
        let settings = [&[("size", "71"), ("repeats", "1"), ("classes", "10")], variant].concat();
        let before = common::graphs::shipped("xception.xc", &settings);
        let (after, report) = optimized(&before);
        assert!(report.applied() > 40, "{variant:?}\n{report}");
        let weights = RandomWeights::new(&before, 5);
        let input = Random::new(5).vector(before.node(before.input).shape.elements() as usize);
        let result = |graph: &Graph| {
            let outputs = &graph.outputs;
            evaluate_keeping(graph, &weights, &input, 1, outputs).unwrap().take(outputs[0]).unwrap()
        };
        let (expected, found) = (result(&before), result(&after));
        assert!(expected.iter().all(|x| x.is_finite()));
        assert_eq!(found, expected, "{variant:?}");
    }
}
