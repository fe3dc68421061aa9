//! `xcc convert` on real files of Keras, and what it says about files that do not fit.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use xcc_compiler::graph::{Graph, WeightId, WeightSource};
use xcc_runtime::weights::{Weights, load};

use crate::harness::{Ran, TINY, output, run};

fn fixture(name: &str) -> String {
    format!("runtime/tests/fixtures/weights/{name}")
}

fn tiny() -> Graph {
    let source = std::fs::read_to_string(TINY).unwrap();
    xcc_compiler::elaborate::read(&source, &[]).graph.unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// A folder for output, and a file in it.
fn target(name: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    (folder, path)
}

/// All these files hold the seeded numbers of seed 5, each in a layout of its own.
#[test]
fn keras_files_become_safetensors_with_their_numbers() {
    let graph = tiny();
    let expected = Weights::random(&graph, 5);
    let mut contents = Vec::new();
    for name in ["keras1_weights.h5", "keras3.weights.h5", "keras3.keras", "tf_keras.keras"] {
        let (_folder, path) = target("tiny.safetensors");
        let said = output(&["convert", &fixture(name), text(&path), "--spec", TINY]);
        let start = format!("wrote {}: 23 tensors, 385 numbers (1.50 KiB) from ", path.display());
        assert!(said.starts_with(&start), "{said}");
        let converted = load(&graph, &path, None).unwrap();
        for (id, weight) in graph.weights.iter().enumerate() {
            let id = WeightId::new(id);
            assert_eq!(
                converted.tensor(id).unwrap(),
                expected.tensor(id).unwrap(),
                "{name}: {}",
                weight.name
            );
        }
        contents.push(std::fs::read(&path).unwrap());
    }
    assert!(contents.windows(2).all(|pair| pair[0] == pair[1]), "the files written are the same");
}

#[test]
fn the_spec_beside_the_output_is_used() {
    let (folder, path) = target("mine.safetensors");
    let missing = run(&["convert", &fixture("keras3.keras"), text(&path)]);
    assert_eq!(missing.status, 2);
    assert!(missing.stderr.contains("mine.xc; name the network by `--spec SPEC`"), "{}", missing.stderr);
    std::fs::copy(TINY, folder.path().join("mine.xc")).unwrap();
    output(&["convert", &fixture("keras3.keras"), text(&path)]);
    assert!(path.is_file());
}

#[test]
fn a_file_can_be_converted_in_place() {
    let (_folder, path) = target("tiny.safetensors");
    output(&["convert", &fixture("keras3.keras"), text(&path), "--spec", TINY]);
    let first = std::fs::read(&path).unwrap();
    let said = output(&["convert", text(&path), text(&path), "--spec", TINY]);
    assert!(said.contains("from safetensors, by name"), "{said}");
    assert_eq!(std::fs::read(&path).unwrap(), first);
}

#[test]
fn names_of_other_tools_are_mapped_and_notes_shown() {
    let (folder, path) = target("out.safetensors");
    let map = folder.path().join("map.yaml");
    let rules = "notes: [epsilon differs]\nignore: [\"*\"]\n";
    std::fs::write(&map, rules).unwrap();
    let arguments = ["convert", &fixture("keras3.keras"), text(&path), "--spec", TINY, "--map", text(&map)];
    let Ran { status, stderr, .. } = run(&arguments);
    assert_eq!(status, 2);
    assert!(stderr.contains("map.yaml: epsilon differs\n"), "{stderr}");
    assert!(stderr.contains("missing: stem/kernel (3x3x3x4)"), "everything was ignored: {stderr}");
    assert!(!path.exists());
}

/// Each case: arguments behind `convert`, and what standard error says.
#[test]
fn files_that_do_not_fit_leave_nothing_behind() {
    let (folder, path) = target("out.safetensors");
    let (out, keras) = (text(&path), fixture("keras3.keras"));
    let bad_map = folder.path().join("bad.yaml");
    std::fs::write(&bad_map, "ruls: []\n").unwrap();
    let wrong_name = folder.path().join("out.h5");
    let cases: [(&[&str], &str); 7] = [
        (&["nowhere.h5", out, "--spec", TINY], "error: nowhere.h5: No such file or directory"),
        (&[TINY, out, "--spec", TINY], "this is a spec, not weights"),
        (&[&keras, out, "--spec", "specs/mini_xception.xc"], "these weights are not for this network"),
        (&[&keras, out, "--spec", TINY, "--set", "segments=2"], "shape: sep1/depthwise_kernel is"),
        (&[&keras, out, "--spec", TINY, "--map", text(&bad_map)], "unknown field `ruls`"),
        (&[&keras, text(&wrong_name), "--spec", TINY], "only safetensors are written; call it "),
        (&[&keras, "no/such/folder/out.safetensors", "--spec", TINY], "there is no folder no/such/folder"),
    ];
    for (arguments, expected) in cases {
        let Ran { status, stdout, stderr } = run(&[&["convert"], arguments].concat());
        assert_eq!((status, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(expected), "{arguments:?}: {stderr}");
        assert!(!path.exists() && !wrong_name.exists());
    }
}
