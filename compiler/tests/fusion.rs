//! Which layers run together, strip by strip, and which do not.

mod common;

use std::collections::HashSet;

use common::{Builder, cut, shipped, window};
use xcc_compiler::graph::{Activation, Graph, NodeId, Partition, PoolKind, Shape};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, plan};
use xcc_compiler::schedule::fusion::Verdict;
use xcc_compiler::target::{Isa, Target};

/// The layers of each fused group, by the names of the layers that the nodes end with.
fn chains(graph: &Graph, cache_bytes: u32, threads: u32) -> Vec<Vec<String>> {
    let mut graph = graph.clone();
    optimize(&mut graph, &PassOptions::default());
    let target = Target { cache_bytes, ..Target::of(Isa::Avx512) };
    let program = plan(&graph, target, PlanOptions { threads, ..PlanOptions::default() }).unwrap();
    let name = |node: &NodeId| graph.layer(graph.node(*node).layer).name.clone();
    let chained = program.steps.iter().filter(|step| !step.before.is_empty());
    chained.map(|step| step.before.iter().chain([&step.node]).map(name).collect()).collect()
}

/// Where maps are large and weights small, as in the first blocks of Xception. Its fourth block
/// has 2.1 MB of weights.
#[test]
fn the_first_blocks_of_xception_are_chains() {
    let xception = shipped("xception.xc", &[]);
    for threads in [1, 2] {
        let expected = [
            ["block2_sepconv2_act", "block2_sepconv2_bn", "block2_pool"],
            ["block3_sepconv2_act", "block3_sepconv2_bn", "block3_pool"],
        ];
        assert_eq!(chains(&xception, 1 << 20, threads), expected, "{threads} threads");
    }
    assert!(chains(&xception, 1 << 30, 1).is_empty(), "maps that fit into the cache cost nothing");
}

/// A plan says what it weighed: fused groups, and layers that come closest where maps are larger
/// than a cache.
#[test]
fn what_was_weighed_is_told() {
    let mut xception = shipped("xception.xc", &[]);
    optimize(&mut xception, &PassOptions::default());
    let weighed = |cache_bytes| {
        let target = Target { cache_bytes, ..Target::of(Isa::Avx512) };
        plan(&xception, target, PlanOptions::default()).unwrap().schedule.fused_groups.considered
    };
    let considered = weighed(1 << 20);
    let chosen: Vec<_> =
        considered.iter().filter(|one| matches!(one.verdict, Verdict::Chosen { height: 1 })).collect();
    assert_eq!(chosen.iter().map(|one| one.nodes.len()).collect::<Vec<_>>(), [3, 3]);
    assert!(chosen.iter().all(|one| one.saved > one.cost));
    let costly = considered.iter().filter(|one| one.verdict == Verdict::Costly && one.cost >= one.saved);
    assert_eq!(costly.count(), considered.len() - 2);
    let firsts: HashSet<NodeId> = considered.iter().map(|one| one.nodes[0]).collect();
    assert_eq!(firsts.len(), considered.len(), "a layer begins one at most");
    assert_eq!(weighed(1 << 30), []);
}

/// A separable layer and a pool, with what `more` adds to the layer's result and the outputs.
fn layer_and_pool(more: impl Fn(&mut Builder, NodeId) -> (NodeId, Vec<NodeId>)) -> Graph {
    let mut builder = Builder::new(Shape::map(40, 40, 8));
    let layer = builder.separable(builder.input(), window(3, 1, 1), cut(8, 8, 8), Activation::Linear, 8);
    let (layer, mut outputs) = more(&mut builder, layer);
    outputs.insert(0, builder.pool(layer, PoolKind::Max, window(3, 2, 1)));
    builder.finish(&outputs)
}

#[test]
fn values_that_others_read_are_whole() {
    let cases: [(&str, usize, Graph); 4] = [
        ("read by the pool alone", 1, layer_and_pool(|_, layer| (layer, vec![]))),
        ("an output", 0, layer_and_pool(|_, layer| (layer, vec![layer]))),
        ("read by two", 0, {
            layer_and_pool(|builder, layer| {
                let other = builder.conv(layer, window(3, 2, 1), Partition::whole(8, 8), false);
                (layer, vec![other])
            })
        }),
        ("the sum of two", 0, {
            layer_and_pool(|builder, layer| {
                let shortcut = builder.pool(builder.input(), PoolKind::Average, window(3, 1, 1));
                (builder.add(&[shortcut, layer]), vec![])
            })
        }),
    ];
    for (case, expected, graph) in cases {
        assert_eq!(chains(&graph, 16 << 10, 1).len(), expected, "{case}");
    }
}

/// With as many threads as the pool has rows, each would compute three rows before it instead of
/// two.
#[test]
fn rows_are_not_computed_twice_by_many_threads() {
    let mut builder = Builder::new(Shape::map(40, 320, 128));
    let layer = builder.pointwise(builder.input(), 16);
    let pool = builder.pool(layer, PoolKind::Max, window(3, 2, 1));
    let graph = builder.finish(&[pool]);
    assert_eq!([1, 2, 20].map(|threads| chains(&graph, 17 << 10, threads).len()), [1, 1, 0]);
}
