//! Each `passes/*.graph` is rewritten by the passes that its first line names; the `.out` beside
//! it holds the report and the nodes that are left. `SNAPSHOTS=overwrite` blesses.

mod common;

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use snapbox::{Assert, Data};
use xcc_compiler::graph::Graph;
use xcc_compiler::graph::text::{parse, write};
use xcc_compiler::graph::verify::verify;
use xcc_compiler::passes::{Outcome, PASSES, PassOptions, Report, optimize};

fn graphs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passes");
    let entries = folder.read_dir().unwrap().map(|entry| entry.unwrap().path());
    let mut graphs: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|e| e == "graph")).collect();
    graphs.sort();
    graphs
}

/// The passes after `; passes:`, in the order in which they are named; `all` for the usual list.
fn run_named(header: &str, graph: &mut Graph) -> Report {
    let names = header.strip_prefix("; passes:").expect("a file starts with `; passes: NAMES`");
    if names.trim() == "all" {
        return optimize(graph, &PassOptions::default());
    }
    let mut report = Report::default();
    for name in names.split_whitespace() {
        let pass = PASSES.iter().find(|pass| pass.name == name).expect(name);
        pass.apply(graph, &mut report);
    }
    report
}

fn nodes(graph: &Graph) -> String {
    let text = write(graph);
    let kept = text.lines().filter(|line| line.starts_with('v') || line.starts_with("output"));
    kept.map(|line| format!("{line}\n")).collect()
}

#[test]
fn rewrites_and_reports_are_as_blessed() {
    let files = graphs();
    assert!(!files.is_empty());
    for path in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut graph = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        verify(&graph).unwrap();
        let report = run_named(text.lines().next().unwrap_or_default(), &mut graph);
        verify(&graph).unwrap();
        let found = format!("{report}\n{}", nodes(&graph));
        Assert::new().action_env("SNAPSHOTS").eq(found, Data::read_from(&path.with_extension("out"), None));
    }
}

/// What becomes of Xception's layers: which fusions apply, and which cannot.
#[test]
fn xception_fuses_as_blessed() {
    let mut graph = common::shipped("xception.xc", &[]);
    let report = optimize(&mut graph, &PassOptions::default());
    let found = format!("{report}\n{}", nodes(&graph));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/passes/xception.out");
    Assert::new().action_env("SNAPSHOTS").eq(found, Data::read_from(&path, None));
}

#[test]
fn every_pass_has_a_time() {
    let report = optimize(&mut common::shipped("digits.xc", &[]), &PassOptions::default());
    let timed: Vec<&str> = report.times.iter().map(|(pass, _)| *pass).collect();
    assert_eq!(timed, PASSES.map(|pass| pass.name));
}

/// In debug builds the graph is verified after each pass.
#[test]
fn every_shipped_spec_goes_through_all_passes() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs");
    for entry in folder.read_dir().unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".xc") {
            // Figure 1, the default, is bare convolutions of different windows: there is nothing
            // to rewrite.
            let settings: &[_] = if name == "inception_module.xc" { &[("figure", "2")] } else { &[] };
            let mut graph = common::shipped(&name, settings);
            assert_eq!(verify(&graph), Ok(()), "{name}");
            assert!(optimize(&mut graph, &PassOptions::default()).applied() > 0, "{name}");
        }
    }
}

#[test]
fn the_file_of_each_pass_exists() {
    let names: Vec<String> =
        graphs().iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    for pass in &PASSES {
        assert!(names.iter().any(|name| name.starts_with(pass.name)), "{} has no file", pass.name);
    }
}

#[test]
fn reports_serialise_with_their_documented_fields() {
    let mut builder = common::Builder::new(xcc_compiler::graph::Shape::map(2, 2, 1));
    let (x, y) = (builder.input(), builder.pointwise(builder.input(), 2));
    let (norm, lonely) = (builder.norm(y), builder.norm(x));
    let mut graph = builder.finish(&[norm, lonely]);
    let report = optimize(&mut graph, &PassOptions::default());
    let json = serde_json::to_string(&report).unwrap();
    let expected = r#"{"rows":[{"pass":"fold_batch_norm","node":"v2","layer":"batchnormalization_2","span":[20,28],"outcome":"applied","what":"into convolution v1"},{"pass":"fold_batch_norm","node":"v3","layer":"batchnormalization_3","span":[30,38],"outcome":"refused","reason":"input v0 has no parameters to fold into"}]}"#;
    assert_eq!(json, expected);
}

proptest! {
    #[test]
    fn optimised_graphs_verify_keep_their_outputs_and_are_finished(genes in prop::collection::vec(any::<u8>(), 0..150)) {
        let mut graph = common::random_graph(&genes);
        let outputs = graph.outputs.clone();
        let report = optimize(&mut graph, &PassOptions::default());
        prop_assert_eq!(verify(&graph), Ok(()));
        prop_assert_eq!(&graph.outputs, &outputs);
        for row in report.rows.iter().filter(|row| matches!(row.outcome, Outcome::Refused { .. })) {
            prop_assert!(graph.id_bound() > row.node.index());
        }
    }

    #[test]
    fn a_limit_stops_after_so_many_rewrites(genes in prop::collection::vec(any::<u8>(), 0..150), limit in 0..12usize) {
        let mut graph = common::random_graph(&genes);
        let all = optimize(&mut graph.clone(), &PassOptions::default()).applied();
        let report = optimize(&mut graph, &PassOptions { stop_after: Some(limit) });
        prop_assert_eq!(report.applied(), all.min(limit));
        prop_assert_eq!(verify(&graph), Ok(()));
    }
}
