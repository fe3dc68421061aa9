//! A network as what its weights are matched by: layers with weights and joins are vertices;
//! layers without weights that read one value are operations on the edges between them.
//!
//! A network of ours ([`ours`]) and the description of a model that Keras stored ([`described`])
//! become the same kind of graph, with the same words for the same arithmetic.

mod described;
mod layer;
mod ours;
#[cfg(test)]
mod tests;
mod window;

pub(super) use described::described;
pub(super) use ours::of_graph;

use std::collections::HashMap;

use xcc_compiler::graph::Activation;

/// Larger descriptions are not matched: time grows with vertices times symmetries.
const MOST_VERTICES: usize = 20_000;

/// A network. Operands come before the vertices that read them; the last vertex is
/// [`Kind::Output`].
#[derive(Debug, Default)]
pub(super) struct Topology {
    /// The vertices.
    pub vertices: Vec<Vertex>,
}

/// A layer with weights, a join, the input or the output.
#[derive(Clone, Debug)]
pub(super) struct Vertex {
    /// What must be equal on both sides of a match.
    pub kind: Kind,
    /// Where the layer is in its own list: a network's layers, or a description's ids.
    pub layer: usize,
    /// Its name, to be printed.
    pub name: String,
    /// The values that it reads.
    pub operands: Vec<Edge>,
    /// Properties that both sides state, and may state differently.
    pub attributes: Vec<(Attribute, String)>,
}

/// What a vertex is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The network's operand.
    Input,
    /// A layer with weights: its class in snake case and the extents of its tensors, in ascending
    /// order.
    Weights(String, Vec<Vec<u64>>),
    /// A sum; its operands have no order.
    Sum,
    /// Values behind each other along the channels.
    Concat,
    /// Another function of several values, or of none: its class.
    Other(String),
    /// The network's results.
    Output,
}

/// A value on its way from one vertex to another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Edge {
    /// The vertex that yields it.
    pub from: usize,
    /// What is done to it on the way, in order.
    pub operations: Vec<Operation>,
}

/// A function without weights of one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Operation {
    /// Its kind.
    pub attribute: Attribute,
    /// What it does, as both sides write it: `relu`, `max 3x3 stride 2x2`.
    pub text: String,
}

/// Kinds of properties that may differ between sides of a match, the most telling ones first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Attribute {
    /// Distance between windows.
    Strides,
    /// Distance between the taps of a window.
    Dilation,
    /// Zeros around the operand: before and after rows, before and after columns.
    Padding,
    /// Pooling on the way.
    Pool,
    /// Activation functions on the way.
    Activation,
    /// Which part of a separable layer comes first, and what lies between the parts.
    Order,
    /// The constant added to a variance.
    Epsilon,
    /// The axis that is normalised or joined along, if it is not that of the channels.
    Axis,
    /// Anything else on the way.
    Other,
}

/// The words for an activation function.
pub(super) fn function(function: Activation) -> String {
    let word = function.traits().word;
    function.slope().map_or_else(|| word.to_owned(), |slope| format!("{word} with slope {slope}"))
}

/// The words for a function that maps bytes to numbers from `low` to `high`, linearly.
pub(super) fn rescaling(low: f32, high: f32) -> String {
    format!("rescaling of 0..255 to {low}..{high}")
}

impl Attribute {
    /// Every kind.
    pub const ALL: [Attribute; 9] = [
        Attribute::Strides,
        Attribute::Dilation,
        Attribute::Padding,
        Attribute::Pool,
        Attribute::Activation,
        Attribute::Order,
        Attribute::Epsilon,
        Attribute::Axis,
        Attribute::Other,
    ];

    /// The word for it in messages.
    pub fn word(self) -> &'static str {
        match self {
            Attribute::Strides => "strides",
            Attribute::Dilation => "dilation",
            Attribute::Padding => "padding",
            Attribute::Pool => "pool",
            Attribute::Activation => "activation",
            Attribute::Order => "order of parts",
            Attribute::Epsilon => "epsilon",
            Attribute::Axis => "axis",
            Attribute::Other => "operation",
        }
    }
}

impl Vertex {
    /// A vertex without operands and attributes.
    pub fn new(kind: Kind, layer: usize, name: &str) -> Self {
        Self { kind, layer, name: name.to_owned(), operands: Vec::new(), attributes: Vec::new() }
    }

    /// The network's result.
    fn output(operands: Vec<Edge>) -> Self {
        Self { operands, ..Self::new(Kind::Output, usize::MAX, "the result") }
    }

    /// The vertex where operands have other positions: `places[old]`.
    fn moved(mut self, places: &[usize]) -> Self {
        self.operands.iter_mut().for_each(|edge| edge.from = places[edge.from]);
        self
    }

    /// True if the layer has weights.
    pub fn has_weights(&self) -> bool {
        matches!(self.kind, Kind::Weights(..))
    }

    /// The value of an attribute.
    pub fn attribute(&self, attribute: Attribute) -> Option<&str> {
        self.attributes.iter().find(|(other, _)| *other == attribute).map(|(_, text)| text.as_str())
    }
}

impl Edge {
    /// The value of `from` as it is.
    pub fn new(from: usize) -> Self {
        Self { from, operations: Vec::new() }
    }

    /// The value after one more operation.
    pub fn then(mut self, attribute: Attribute, text: impl Into<String>) -> Self {
        self.operations.push(Operation { attribute, text: text.into() });
        self
    }

    /// The operations of one kind, in order.
    pub fn of(&self, attribute: Attribute) -> Vec<&str> {
        let is_such = |operation: &&Operation| operation.attribute == attribute;
        self.operations.iter().filter(is_such).map(|operation| operation.text.as_str()).collect()
    }
}

impl Topology {
    /// Adds a vertex and returns its position; nothing if there are too many.
    fn push(&mut self, vertex: Vertex) -> Option<usize> {
        self.vertices.push(vertex);
        (self.vertices.len() <= MOST_VERTICES).then(|| self.vertices.len() - 1)
    }

    /// The vertex of each layer, by [`Vertex::layer`].
    pub fn by_layer(&self) -> HashMap<usize, usize> {
        let of_layer =
            |(place, vertex): (usize, &Vertex)| vertex.has_weights().then_some((vertex.layer, place));
        self.vertices.iter().enumerate().filter_map(of_layer).collect()
    }

    /// The part of the network that computes `result`, and yields it.
    pub fn up_to(&self, result: Edge) -> Topology {
        let mut needed = vec![false; self.vertices.len()];
        needed[result.from] = true;
        for place in (0..=result.from).rev() {
            if needed[place] {
                self.vertices[place].operands.iter().for_each(|edge| needed[edge.from] = true);
            }
        }
        let mut places = vec![0; self.vertices.len()];
        let mut part = Topology::default();
        for place in (0..=result.from).filter(|&place| needed[place]) {
            places[place] = part.vertices.len();
            part.vertices.push(self.vertices[place].clone().moved(&places));
        }
        part.vertices.push(Vertex::output(vec![result]).moved(&places));
        part
    }
}
