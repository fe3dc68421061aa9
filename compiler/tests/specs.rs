//! The shipped specs: golden numbers, names and shapes.

use std::path::{Path, PathBuf};

use xcc_compiler::diagnostic::render;
use xcc_compiler::elaborate::{Elaborated, read};
use xcc_compiler::graph::Graph;

fn specs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs")
}

fn load(name: &str, settings: &[(&str, &str)]) -> Elaborated {
    let source = std::fs::read_to_string(specs().join(name)).unwrap();
    let settings: Vec<_> = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let elaborated = read(&source, &settings);
    let shown = render(name, &source, &elaborated.diagnostics, false);
    assert!(elaborated.diagnostics.is_empty(), "{name} with {settings:?}\n{shown}");
    elaborated
}

fn graph(name: &str, settings: &[(&str, &str)]) -> Graph {
    load(name, settings).graph.unwrap()
}

fn parameters(graph: &Graph) -> u64 {
    graph.weights.iter().map(|w| w.elements()).sum()
}

fn trainable(graph: &Graph) -> u64 {
    graph.weights.iter().filter(|w| w.role.is_trainable()).map(|w| w.elements()).sum()
}

#[test]
fn xception_has_the_parameters_of_the_paper() {
    let graph = graph("xception.xc", &[]);
    assert_eq!(parameters(&graph), 22_910_480);
    assert_eq!(trainable(&graph), 22_855_952);
}

#[test]
fn mini_xception_has_the_parameters_of_fer() {
    assert_eq!(parameters(&graph("mini_xception.xc", &[])), 58_423);
}
