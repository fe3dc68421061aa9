//! Graphs for tests: a builder, and random networks drawn from a string of bytes.

#![allow(dead_code, unused_imports, reason = "each test file uses some of it")]

mod builder;
mod random;

pub use builder::{Builder, cut, window};
pub use random::random_graph;

use proptest::prelude::*;
use xcc_compiler::graph::{Activation, Graph, Slope};
use xcc_compiler::instruction_times::InstructionTimes;
use xcc_compiler::target::Target;
use xcc_compiler::{elaborate::elaborate, syntax};

/// The graph of a shipped spec with the given settings.
pub fn shipped(spec: &str, settings: &[(&str, &str)]) -> Graph {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs").join(spec);
    let source = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (file, mistakes) = syntax::parse(&source);
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let settings: Vec<_> = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    elaborate(&file, &settings).unwrap_or_else(|mistakes| panic!("{spec}: {mistakes:?}"))
}

/// Every activation function, those with a slope with any.
pub fn activations() -> impl Strategy<Value = Activation> {
    let slopes = (0.0_f32..=1.0).prop_map(|slope| Slope::new(slope).unwrap());
    (proptest::sample::select(&Activation::ALL[..]), slopes)
        .prop_map(|(function, slope)| function.with_slope(slope))
}

/// The target with products of bf16 pairs that take no time, so that bf16 has them wherever they
/// fit.
pub fn with_fast_pairs(target: Target) -> Target {
    let times = InstructionTimes { pair: 0, ..target.times };
    Target { times, ..target }
}
