//! What HDF5 files may hold: filters, growing datasets, byte orders and numbers of 16 bits.

mod listing;

use listing::{fixture, graph, lines};
use xcc_compiler::graph::{Graph, WeightId, WeightSource};
use xcc_runtime::weights::{self, Weights};

/// The greatest difference of each tensor of the file to the numbers that it was made from,
/// relative to the number.
fn differences(graph: &Graph, file: &str) -> Vec<(String, f32)> {
    let (exact, found) = (Weights::random(graph, 5), weights::load(graph, &fixture(file), None).unwrap());
    let difference = |(id, weight): (usize, &xcc_compiler::graph::Weight)| {
        let [exact, found] = [&exact, &found].map(|weights| weights.tensor(WeightId::new(id)).unwrap());
        assert_eq!(exact.len(), found.len(), "{}", weight.name);
        let relative =
            exact.iter().zip(found.iter()).map(|(&exact, &found)| (exact - found).abs() / exact.abs());
        (weight.name.clone(), relative.filter(|x| !x.is_nan()).fold(0.0, f32::max))
    };
    graph.weights.iter().enumerate().map(difference).collect()
}

/// gzip, shuffle, fletcher32 and lzf; chunks listed by arrays and B-trees of both versions;
/// big-endian; f64.
#[test]
fn numbers_are_the_same_however_they_are_stored() {
    let graph = graph(&lines("tiny.layers"));
    for file in ["exact.h5", "exact_v200.h5"] {
        for (name, difference) in differences(&graph, file) {
            assert_eq!(difference, 0.0, "{file}: {name}");
        }
    }
}

/// Each number is rounded to nearest when it is written: to 11 bits or, as bfloat16, to 8.
#[test]
fn numbers_of_16_bits_are_read_to_their_last_bit() {
    let graph = graph(&lines("tiny.layers"));
    let differences = differences(&graph, "sixteen.h5");
    for (name, difference) in &differences {
        assert!(*difference <= 1.0 / 256.0, "{name}: {difference}");
    }
    let halves = differences.iter().filter(|(_, difference)| *difference <= 1.0 / 2048.0).count();
    assert!(halves >= differences.len() / 3, "{differences:?}");
}
