//! Schedules as text: what computes each layer, what it was chosen from, and why.
//!
//! Targets are fixed, so the texts are the same on every machine. `SNAPSHOTS=overwrite` blesses
//! them.

mod common;

use std::path::Path;

use snapbox::data::DataFormat;
use snapbox::{Assert, Data};
use xcc_compiler::elaborate;
use xcc_compiler::graph::{Graph, Op};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::{PlanOptions, Precision, Program, plan};
use xcc_compiler::schedule::{Algorithm, NodeSchedule};
use xcc_compiler::target::{Isa, Target};

const PRECISIONS: [(Isa, &[Precision]); 4] = [
    (Isa::Avx2, &[Precision::F32]),
    (Isa::Avx512, &[Precision::F32]),
    (Isa::Avx512Bf16, &[Precision::Bf16]),
    (Isa::Amx, &Precision::ALL),
];

/// The graph of a spec after the passes; `path` begins at the crate.
fn graph(path: &str) -> Graph {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let elaborated = elaborate::read(&std::fs::read_to_string(path).unwrap(), &[]);
    let mut graph = elaborated.graph.unwrap_or_else(|| panic!("{:?}", elaborated.diagnostics));
    optimize(&mut graph, &PassOptions::default());
    graph
}

fn program(graph: &Graph, isa: Isa, threads: u32, precision: Precision) -> Program {
    plan(graph, Target::of(isa), PlanOptions { threads, precision, ..PlanOptions::default() }).unwrap()
}

fn check(name: &str, program: &Program, graph: &Graph) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/schedules/{name}.schedule"));
    let expected = Data::read_from(&path, Some(DataFormat::Text)).raw();
    Assert::new().action_env("SNAPSHOTS").eq(program.schedule.listing(graph).to_string(), expected);
}

#[test]
fn schedules_of_networks() {
    let xception = graph("../specs/xception.xc");
    for (name, isa, threads, precision) in [
        ("xception.avx512.1", Isa::Avx512, 1, Precision::F32),
        ("xception.avx512.2", Isa::Avx512, 2, Precision::F32),
        ("xception.amx.bf16.2", Isa::Amx, 2, Precision::Bf16),
    ] {
        check(name, &program(&xception, isa, threads, precision), &xception);
    }
    let digits = graph("../specs/digits.xc");
    check("digits.avx2.1", &program(&digits, Isa::Avx2, 1, Precision::F32), &digits);
    let resnet = graph("../specs/resnet50.xc");
    check("resnet50.avx512.2", &program(&resnet, Isa::Avx512, 2, Precision::F32), &resnet);
}

/// The schedule of each node is of its kind, and segments have an algorithm for each run of equal
/// ones.
#[test]
fn every_layer_has_a_schedule_of_its_kind() {
    for spec in ["xception", "inception_v3", "mini_xception", "mobilenet", "vgg_separable"] {
        let graph = graph(&format!("../specs/{spec}.xc"));
        for (isa, precisions) in PRECISIONS {
            for (threads, &precision) in
                [1, 2].into_iter().flat_map(|n| precisions.iter().map(move |p| (n, p)))
            {
                let program = program(&graph, isa, threads, precision);
                for &id in graph.order() {
                    let case = format!("{spec} {isa} {precision} {threads} {id}");
                    let node = program.schedule.node(id).unwrap_or_else(|| panic!("{case} has none"));
                    let is_of_kind = match graph.node(id).op {
                        Op::Conv(_) | Op::Dense(_) => matches!(node, NodeSchedule::Conv(_)),
                        Op::Separable(_) => matches!(node, NodeSchedule::Separable(_)),
                        Op::Pool(_) => matches!(node, NodeSchedule::Pool(_)),
                        _ => *node == NodeSchedule::Other,
                    };
                    assert!(is_of_kind, "{case}: {node}");
                    let has_units = |algorithm: &Algorithm| {
                        algorithm.segments().is_empty()
                            || !algorithm.units().is_empty()
                            || algorithm.is_by_planes()
                    };
                    assert!(node.algorithms().into_iter().flatten().all(has_units), "{case}: {node}");
                }
            }
        }
    }
}

/// More threads change how work is cut, and never what computes a layer.
#[test]
fn algorithms_do_not_depend_on_threads() {
    for spec in ["xception", "resnet50", "mini_xception"] {
        let graph = graph(&format!("../specs/{spec}.xc"));
        for (isa, precisions) in PRECISIONS {
            for &precision in precisions {
                let of_threads = |threads| {
                    let schedule = program(&graph, isa, threads, precision).schedule;
                    let algorithms = |&id| {
                        let algorithms = schedule.node(id).unwrap().algorithms();
                        algorithms.map(|algorithm| algorithm.map(ToString::to_string))
                    };
                    graph.order().iter().map(algorithms).collect::<Vec<_>>()
                };
                assert_eq!(of_threads(1), of_threads(2), "{spec} {isa} {precision}");
            }
        }
    }
}
