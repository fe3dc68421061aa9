//! Files of weights that are cut or written to while they are in use: errors that name the file,
//! never mixed numbers and never a signal.

use std::fs::{self, OpenOptions};
use std::path::Path;
use std::time::{Duration, SystemTime};

use xcc_compiler::elaborate;
use xcc_compiler::graph::{Graph, WeightId, WeightSource};
use xcc_compiler::plan::PlanOptions;
use xcc_compiler::target::Target;
use xcc_runtime::reference::evaluate;
use xcc_runtime::weights::{self, Weights, save_safetensors};
use xcc_runtime::{Model, onnx};

fn network() -> Graph {
    let source =
        "model m\ninput image 12 x 12 x 3\nconv 40, 3x3\nbn\nsepconv 24, 3x3\nglobalavgpool\ndense 10";
    elaborate::read(source, &[]).graph.unwrap()
}

/// Weights of seed 3 in a file.
fn stored(graph: &Graph, path: &Path) -> Weights {
    save_safetensors(graph, &Weights::random(graph, 3), path).unwrap();
    // Older than whatever a test does to it, however coarse the clock of the file system is.
    touch(path, SystemTime::now() - Duration::from_secs(60));
    weights::load(graph, path, None).unwrap()
}

fn touch(path: &Path, time: SystemTime) {
    OpenOptions::new().write(true).open(path).unwrap().set_modified(time).unwrap();
}

/// All that reads weights says the same; each error names the file.
fn assert_refused(graph: &Graph, weights: &Weights, path: &Path, reason: &str) {
    let input = vec![0.5f32; 12 * 12 * 3];
    let other = path.with_extension("copy");
    let errors = [
        Model::compile(graph, weights, Target::native(), PlanOptions::default()).err().unwrap().to_string(),
        evaluate::<f32>(graph, weights, &input, 1).unwrap_err().to_string(),
        onnx::bytes(graph, weights).unwrap_err().to_string(),
        save_safetensors(graph, weights, &other).unwrap_err().to_string(),
    ];
    for error in errors {
        assert!(error.starts_with(&format!("{}: {reason}", path.display())), "{error}");
    }
    assert!(!other.exists());
}

#[test]
fn a_file_that_is_cut_after_it_was_loaded_is_an_error() {
    let (graph, folder) = (network(), tempfile::tempdir().unwrap());
    let path = folder.path().join("weights.safetensors");
    let weights = stored(&graph, &path);
    let length = fs::metadata(&path).unwrap().len();
    for left in [length - 1, length / 2, 4096, 10, 0] {
        OpenOptions::new().write(true).open(&path).unwrap().set_len(left).unwrap();
        let reason =
            format!("the file changed while it was in use: it had {length} bytes and now has {left}");
        assert_refused(&graph, &weights, &path, &reason);
    }
}

/// As long as before: without a check, some layers would have the numbers of one file and some of
/// another.
#[test]
fn a_file_that_is_written_to_after_it_was_loaded_is_an_error() {
    let (graph, folder) = (network(), tempfile::tempdir().unwrap());
    let path = folder.path().join("weights.safetensors");
    let weights = stored(&graph, &path);
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[length - 100..].fill(0);
    fs::write(&path, &bytes).unwrap();
    assert_refused(&graph, &weights, &path, "the file changed while it was in use: it was written to");
}

#[test]
fn a_file_that_another_takes_the_place_of_is_read_as_it_was() {
    let (graph, folder) = (network(), tempfile::tempdir().unwrap());
    let path = folder.path().join("weights.safetensors");
    let weights = stored(&graph, &path);
    save_safetensors(&graph, &Weights::random(&graph, 4), &path).unwrap();
    let expected = Weights::random(&graph, 3);
    for id in (0..graph.weights.len()).map(WeightId::new) {
        assert_eq!(weights.tensor(id), expected.tensor(id));
    }
}

/// The numbers of types that are not f32 stay in the file, too.
#[test]
fn halves_are_read_on_request() {
    let graph =
        elaborate::read("model m\ninput image 1 x 1 x 2\nconv 1, 1x1, bias: no as a", &[]).graph.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let header = br#"{"a/kernel":{"dtype":"F16","shape":[1,1,2,1],"data_offsets":[0,4]}}  "#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header);
    bytes.extend([0x00, 0x3c, 0x00, 0xc1]);
    fs::write(&path, &bytes).unwrap();
    let weights = weights::load(&graph, &path, None).unwrap();
    assert_eq!(weights.tensor(WeightId::new(0)).unwrap().as_ref(), [1.0, -2.5]);
    assert_eq!(weights.length(WeightId::new(0)), 2);
    OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes.len() as u64 - 1).unwrap();
    assert!(weights.tensor(WeightId::new(0)).is_err());
}
