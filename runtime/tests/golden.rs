//! Networks of this repository against outputs that Keras computed (examples/golden/README.md says
//! how).

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use xcc_compiler::elaborate::elaborate;
use xcc_compiler::graph::{Graph, LayerId, Op, Role, Weight, WeightSource};
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::PlanOptions;
use xcc_compiler::target::Target;
use xcc_runtime::Model;
use xcc_runtime::weights::{self, Weights};

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The graph of a spec, with the operand of its last softmax as first output, so that nothing is
/// squeezed before it is compared.
fn spec_with_logits(name: &str, settings: &[(&str, &str)]) -> Graph {
    let source = std::fs::read_to_string(repository().join("specs").join(name)).unwrap();
    let (file, mistakes) = xcc_compiler::syntax::parse(&source);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let settings: Vec<_> = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let mut graph = elaborate(&file, &settings).unwrap();
    let softmax = graph.outputs[0];
    assert_eq!(graph.node(softmax).op, Op::Softmax);
    graph.outputs.insert(0, graph.node(softmax).inputs[0]);
    graph
}

fn array(path: &str) -> Vec<f64> {
    let file = BufReader::new(File::open(repository().join(path)).unwrap());
    npyz::NpyFile::new(file).unwrap().into_vec().unwrap()
}

/// The tensor called `input` of the seeded generator: uniform in -1..1.
fn seeded_input(graph: &Graph) -> Vec<f32> {
    let shape = graph.node(graph.input).shape;
    let mut declaration = graph.clone();
    let id = declaration.push_weight(Weight {
        name: "input".to_owned(),
        shape: vec![1, shape.h(), shape.w(), shape.c()],
        role: Role::Kernel,
        layer: LayerId::new(0),
        fan_in: 6,
    });
    declaration.weights.swap(0, id.index());
    declaration.weights.truncate(1);
    Weights::random(&declaration, 0).tensor(xcc_compiler::graph::WeightId::new(0)).unwrap().to_vec()
}

fn run(mut graph: Graph, weights: &Weights, input: &[f32], batch: u32) -> Vec<f32> {
    optimize(&mut graph, &PassOptions::default());
    let options = PlanOptions { batch, threads: 2, keep_all: false, ..PlanOptions::default() };
    let model = Model::compile(&graph, weights, Target::baseline(), options).unwrap();
    model.run(input).unwrap().swap_remove(0)
}

/// The largest difference relative to the largest expected value.
fn worst(expected: &[f64], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let largest = expected.iter().fold(0.0f64, |largest, e| largest.max(e.abs()));
    let differences = expected.iter().zip(found).map(|(e, f)| (e - f64::from(*f)).abs() / largest);
    differences.fold(0.0, |worst, d| if d.is_nan() { f64::INFINITY } else { worst.max(d) })
}

fn check_xception(size: u32) {
    let graph = spec_with_logits("xception.xc", &[("size", &size.to_string())]);
    let (weights, input) = (Weights::random(&graph, 0), seeded_input(&graph));
    let expected = array(&format!("tests/golden/xception_{size}_logits.npy"));
    let error = worst(&expected, &run(graph, &weights, &input, 1));
    assert!(error < 1e-4, "size {size}: {error:e}");
}

#[test]
fn xception_at_71_agrees_with_keras() {
    check_xception(71);
}

#[test]
fn xception_at_299_agrees_with_keras() {
    check_xception(299);
}

#[test]
fn digits_agree_with_keras_on_all_held_out_images() {
    let mut graph = spec_with_logits("digits.xc", &[]);
    graph.outputs.remove(0);
    let weights = weights::load(&graph, &repository().join("specs/digits.safetensors"), None).unwrap();
    let file = BufReader::new(File::open(repository().join("examples/digits/held_out_images.npy")).unwrap());
    let samples: Vec<u8> = npyz::NpyFile::new(file).unwrap().into_vec().unwrap();
    let input: Vec<f32> = samples.iter().map(|&sample| f32::from(sample) / 255.0).collect();
    let found = run(graph, &weights, &input, 1000);
    let keras =
        BufReader::new(File::open(repository().join("examples/digits/held_out_probabilities.npy")).unwrap());
    let keras: Vec<f32> = npyz::NpyFile::new(keras).unwrap().into_vec().unwrap();
    let expected: Vec<f64> = keras.iter().map(|&p| f64::from(p)).collect();
    assert!(worst(&expected, &found) < 1e-5);
    let labels =
        BufReader::new(File::open(repository().join("examples/digits/held_out_labels.npy")).unwrap());
    let labels: Vec<u8> = npyz::NpyFile::new(labels).unwrap().into_vec().unwrap();
    let best = |row: &[f32]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap();
    let right =
        found.chunks(10).zip(&labels).filter(|(row, label)| best(row) == usize::from(**label)).count();
    assert!(right >= 980, "{right} of 1000");
}
