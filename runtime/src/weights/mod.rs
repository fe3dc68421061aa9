//! The numbers of a network's parameter tensors: random ones from a seed, and files of several tools.

mod random;

use xcc_compiler::graph::{Graph, WeightId, WeightSource};

/// Numbers for every parameter tensor of a graph.
#[derive(Clone, Debug)]
pub struct Weights {
    tensors: Vec<Vec<f32>>,
}

impl Weights {
    /// Random numbers, the same on every machine for the same names, roles, fan-ins and `seed`, of a size that keeps
    /// the activations of deep networks within a few orders of magnitude of the input's.
    pub fn random(graph: &Graph, seed: u64) -> Weights {
        Weights { tensors: random::tensors(graph, seed) }
    }
}

impl WeightSource for Weights {
    fn tensor(&self, id: WeightId) -> &[f32] {
        &self.tensors[id.index()]
    }
}
