//! Checks of what callers give: graphs made or changed by hand, and numbers for their weights.

use xcc_compiler::graph::verify::{Violation, verify};
use xcc_compiler::graph::{Graph, WeightId, WeightSource};

/// A parameter tensor has a wrong number of elements.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("weight {name} has {expected} elements, but {found} were given")]
pub struct WrongLength {
    /// Name of the tensor.
    pub name: String,
    /// Elements that its shape asks for.
    pub expected: u64,
    /// Elements given.
    pub found: u64,
}

/// Checks the lengths of all tensors of a graph.
pub(crate) fn lengths(graph: &Graph, weights: &dyn WeightSource) -> Result<(), WrongLength> {
    (0..graph.weights.len()).map(WeightId::new).try_for_each(|id| length(graph, weights, id))
}

/// Checks the length of a tensor of a graph.
pub(crate) fn length(graph: &Graph, weights: &dyn WeightSource, id: WeightId) -> Result<(), WrongLength> {
    let (weight, found) = (graph.weight(id), weights.length(id));
    match weight.elements() {
        expected if expected == found => Ok(()),
        expected => Err(WrongLength { name: weight.name.clone(), expected, found }),
    }
}

/// The first invariant that a graph breaks.
pub(crate) fn violation(graph: &Graph) -> Option<String> {
    verify(graph).err()?.first().map(Violation::to_string)
}
