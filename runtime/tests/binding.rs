//! Binding named tensors compares few names, however many do not fit.

use xcc_compiler::elaborate;
use xcc_compiler::graph::Graph;
use xcc_runtime::weights::{self, Mismatch, Weights, WeightsError, save_safetensors};

/// A network of so many layers whose names begin with a word.
fn network(layers: u32, word: &str) -> Graph {
    let source = format!(
        "model m\ninput x 1 x 1 x 1\nflow f repeat {layers} as i {{ conv 1, 1x1 as \"{word}_{{i}}\" }}"
    );
    elaborate::read(&source, &[]).graph.unwrap()
}

#[test]
fn only_mismatches_that_are_printed_have_hints() {
    const LAYERS: u32 = 4000;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    let (ours, theirs) = (network(LAYERS, "layer"), network(LAYERS, "layre"));
    save_safetensors(&theirs, &Weights::random(&theirs, 0), &path).unwrap();
    let Err(WeightsError::Mismatch { mismatches, .. }) = weights::load(&ours, &path, None) else {
        panic!("the names differ");
    };
    // A kernel and a bias of each layer on both sides.
    assert_eq!(mismatches.len(), 4 * LAYERS as usize);
    let hinted = mismatches.iter().filter(|mismatch| {
        matches!(
            mismatch,
            Mismatch::Missing { nearest: Some(_), .. } | Mismatch::Surplus { nearest: Some(_), .. }
        )
    });
    assert_eq!(hinted.count(), 20);
}
