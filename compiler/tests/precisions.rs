//! Layers take more exact products than a precision permits wherever these are as fast, by the
//! times of the target.

mod common;

use std::collections::HashSet;

use common::{Builder, cut, shipped, window, with_fast_pairs};
use proptest::prelude::*;
use xcc_compiler::graph::{Activation, Graph, NodeId, PoolKind, Shape};
use xcc_compiler::instruction_times::InstructionTimes;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, Precision, Program, plan};
use xcc_compiler::processor::Microarchitecture;
use xcc_compiler::schedule::Algorithm;
use xcc_compiler::target::{Bf16Unit, Isa, Target};

const NETWORKS: [&str; 6] =
    ["digits.xc", "mini_xception.xc", "mobilenet.xc", "xception.xc", "resnet50.xc", "inception_v3.xc"];

fn program(graph: &Graph, target: Target, precision: Precision, threads: u32) -> Program {
    let options = PlanOptions { precision, threads, ..PlanOptions::default() };
    plan(graph, target, options).unwrap()
}

fn network(name: &str) -> Graph {
    let mut graph = shipped(name, &[]);
    optimize(&mut graph, &PassOptions::default());
    graph
}

/// The target with a product of bf16 pairs that takes the time of so many thousandths of a
/// multiply-add.
fn with_pairs(target: Target, thousandths: u32) -> Target {
    let pair = target.times.multiply_add * thousandths / 1000;
    Target { times: InstructionTimes { pair, ..target.times }, ..target }
}

/// The plan as text without its first line, which has the precision.
fn steps(program: &Program) -> String {
    let text = program.to_string();
    text.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn where_products_of_pairs_are_slow_bf16_layers_are_those_of_f32() {
    for processor in [Microarchitecture::GoldenCove, Microarchitecture::Other, Microarchitecture::OtherAmd] {
        let target = Target::tuned(processor, Isa::Avx512Bf16);
        for name in NETWORKS {
            let graph = network(name);
            for threads in [1, 2] {
                let [f32, bf16] = [Precision::F32, Precision::Bf16]
                    .map(|precision| program(&graph, target, precision, threads));
                let case = format!("{name} for {processor:?}, {threads} threads");
                let exact = bf16.schedule.more_exact().unwrap();
                assert_eq!((exact.asked, f32.schedule.more_exact()), (Precision::Bf16, None), "{case}");
                // Weights of a single pixel come from memory, where those of bf16 are half of the
                // bytes.
                let waits = |id: &NodeId| {
                    bf16.schedule.precision(*id) != Precision::F32 && {
                        bf16.schedule.stages(*id, Algorithm::is_bf16) != [false; 2]
                    }
                };
                let waiting: Vec<NodeId> = graph.order().iter().copied().filter(waits).collect();
                assert!(waiting.iter().all(|id| graph.node(*id).shape.pixels() == 1), "{case}: {waiting:?}");
                assert_eq!(exact.layers + waiting.len(), exact.of, "{case}");
                if waiting.is_empty() {
                    assert_eq!(bf16.bf16_unit(), None, "{case}");
                    assert_eq!(steps(&bf16), steps(&f32), "{case}");
                }
            }
        }
    }
}

#[test]
fn where_products_of_pairs_are_fast_large_layers_have_them() {
    let zen5 = Target::tuned(Microarchitecture::Zen5, Isa::Avx512Bf16);
    for target in [zen5, with_fast_pairs(Target::of(Isa::Avx512Bf16))] {
        for name in ["mobilenet.xc", "xception.xc", "resnet50.xc", "inception_v3.xc"] {
            let bf16 = program(&network(name), target, Precision::Bf16, 1);
            assert_eq!(bf16.bf16_unit(), Some(Bf16Unit::Pairs), "{name}");
            let exact = bf16.schedule.more_exact().map_or((0, 1), |exact| (exact.layers, exact.of));
            assert!(10 * exact.0 <= exact.1, "{name}: {} of {} layers in f32", exact.0, exact.1);
        }
    }
}

/// A layer of a single pixel waits for its weights, of which bf16 has half as many bytes, however
/// slow its products are.
#[test]
fn layers_that_wait_for_their_weights_are_bf16() {
    let layer = |inputs| {
        let mut builder = Builder::new(Shape::vector(inputs));
        let result = builder.dense(builder.input(), 1024);
        let mut graph = builder.finish(&[result]);
        optimize(&mut graph, &PassOptions::default());
        program(&graph, Target::of(Isa::Avx512Bf16), Precision::Bf16, 1).bf16_unit()
    };
    assert_eq!([layer(128), layer(2048)], [None, Some(Bf16Unit::Pairs)]);
}

/// Times alone decide: the same instruction set with slower and slower products has fewer and
/// fewer of them.
#[test]
fn the_slower_products_are_the_fewer_layers_have_them() {
    let graph = network("inception_v3.xc");
    let exact = |thousandths| {
        let target = with_pairs(Target::of(Isa::Avx512Bf16), thousandths);
        program(&graph, target, Precision::Bf16, 1).schedule.more_exact().map_or(0, |exact| exact.layers)
    };
    let counts = [0, 1000, 1600, 2000, 2400, 4000].map(exact);
    assert!(counts.is_sorted(), "{counts:?}");
    let different: HashSet<usize> = counts.into_iter().collect();
    assert!(different.len() >= 3 && counts[0] == 0, "{counts:?}");
}

#[test]
fn the_reason_has_the_ratio_of_the_times() {
    let target = with_pairs(Target::of(Isa::Avx512Bf16), 4000);
    let exact = program(&network("digits.xc"), target, Precision::Bf16, 1).schedule.more_exact().unwrap();
    let text = exact.to_string();
    assert!(text.starts_with("bf16: ") && text.contains(" layers use f32 products: "), "{text}");
    assert!(
        text.ends_with("vdpbf16ps takes 2.0 times as long as the 2 multiply-adds that it replaces"),
        "{text}"
    );
}

/// On the machine that these plans were measured on, tiles pay in every layer of the networks but
/// narrow ones.
#[test]
fn with_tiles_large_networks_stay_in_their_precision() {
    for precision in [Precision::Bf16, Precision::Split] {
        for name in ["mobilenet.xc", "xception.xc", "resnet50.xc"] {
            let found = program(&network(name), Target::of(Isa::Amx), precision, 1);
            assert!(found.uses_tiles(), "{name} in {precision}");
            let exact = found.schedule.more_exact().map_or((0, 1), |exact| (exact.layers, exact.of));
            assert!(4 * exact.0 <= exact.1, "{name} in {precision}: {} of {}", exact.0, exact.1);
        }
    }
}

/// A layer whose matrix of bf16 values kernels cannot reach has f32 products, which can be
/// compiled.
#[test]
fn a_layer_that_only_f32_can_compile_is_compiled() {
    let mut builder = Builder::new(Shape::map(2, 14_000, 1200));
    let layer = builder.conv(builder.input(), window(3, 2, 1), cut(1200, 16, 1), false);
    let graph = builder.finish(&[layer]);
    let target = with_pairs(Target::of(Isa::Avx512Bf16), 0);
    let bf16 = program(&graph, target, Precision::Bf16, 1);
    assert_eq!(bf16.schedule.more_exact().map(|exact| exact.layers), Some(1));
}

/// Layers of a random network, each by a number: widths around vectors and tiles, all kinds that
/// are multiplied.
fn random_network(size: u32, layers: &[(u8, u8)]) -> Graph {
    let mut builder = Builder::new(Shape::map(size, size, 3));
    let mut x = builder.input();
    for &(kind, width) in layers {
        let outputs = 8 * (1 + u32::from(width) % 16);
        x = layer(&mut builder, x, (kind, outputs));
    }
    let x = builder.global_pool(x, PoolKind::Average);
    let result = builder.dense(x, 40);
    let mut graph = builder.finish(&[result]);
    optimize(&mut graph, &PassOptions::default());
    graph
}

fn layer(builder: &mut Builder, x: NodeId, (kind, outputs): (u8, u32)) -> NodeId {
    let inputs = builder.shape(x).c();
    let y = match kind % 6 {
        0 => builder.pointwise(x, outputs),
        1 => builder.conv(x, window(3, 1, 1), cut(inputs, outputs, 1), true),
        2 => builder.conv(x, window(3, 1 + u32::from(kind) % 2, 1), cut(inputs, outputs, 1), true),
        3 => builder.conv(x, window(3, 1, 1), cut(inputs, outputs, 1 + inputs.min(outputs) / 24), true),
        4 => builder.separable(x, window(3, 1, 1), cut(inputs, inputs, inputs), Activation::Linear, outputs),
        _ => {
            let y = builder.pointwise(x, inputs);
            builder.add(&[x, y])
        }
    };
    builder.activation(y, Activation::Relu)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Less exact products are never predicted to take longer, whatever the times of the processor
    /// are.
    #[test]
    fn a_less_exact_plan_is_predicted_to_be_as_fast(
        layers in prop::collection::vec(any::<(u8, u8)>(), 1..5),
        (size, threads) in (4u32..24, 1u32..3),
        (pair, tile, tile_move) in (0u32..1200, 0u32..40_000, 0u32..40_000),
        zen5 in any::<bool>(),
    ) {
        let graph = random_network(size, &layers);
        let processor = Microarchitecture::MEASURED[usize::from(zen5)];
        for (isa, precisions) in [
            (Isa::Avx512Bf16, &[Precision::F32, Precision::Bf16][..]),
            (Isa::Amx, &[Precision::F32, Precision::Split, Precision::Bf16]),
        ] {
            let target = Target::tuned(processor, isa);
            let target = Target { times: InstructionTimes { pair, tile, tile_move, ..target.times }, ..target };
            let times: Vec<f64> = precisions
                .iter()
                .map(|&precision| program(&graph, target, precision, 1).predicted_ms())
                .collect();
            // Layers are lowered with the same neighbours, but bytes between pixels may differ.
            prop_assert!(times.windows(2).all(|pair| pair[1] <= pair[0] * 1.0001), "{isa}: {times:?}");
            // Neither threads nor images decide.
            let exact = |threads, batch| {
                let options = PlanOptions { precision: Precision::Bf16, threads, batch, ..PlanOptions::default() };
                plan(&graph, target, options).unwrap().schedule.precisions
            };
            prop_assert_eq!(exact(1, 1), exact(threads, 3));
        }
    }
}
