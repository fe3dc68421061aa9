//! Checks what every graph must satisfy, after elaboration and after each pass.
//!
//! # Tables
//! - Every id names a row of its table.
//! - Layers have names, and no two the same; so do weights.
//! - No extent of a weight or of a value is zero; a value has at most 2^32 - 1 elements.
//!
//! # Order
//! - A node is in the order at most once, and operands come before their users.
//! - The input is the first node that is [`Op::Input`], and the only one.
//! - There is an output, and all outputs are in the order.
//!
//! # Operands and shapes
//! - Every operation has as many operands as it takes, and one more for each addition of its epilogue.
//! - The shape of a value is the one inferred from operation and operands: windows fit in the padded map,
//!   segments
//!   read all channels, summands agree, concatenated maps agree in rows and columns.
//! - Added operands have the shape of the result.
//!
//! # Windows
//! - Kernel, strides and dilation are at least 1; padding is smaller than the extent of the dilated kernel.
//! - Pools are not dilated, so that every window has a real element.
//!
//! # Convolutions and dense layers
//! - Segments are not empty.
//! - Parts cover the output channels, each part whole segments or a piece of the only one; no part is empty.
//! - Kernels have the shape that the covered segments say, vectors one element for each output of the part.
//! - Epsilon is a finite number and not negative.
//! - In a separable node the pointwise part has a 1x1 window with stride 1 and one segment.
//!
//! # Fusion
//! - Only convolutions and separable nodes apply an activation on load, under padding one that keeps zero.
//! - Only convolutions, separable and dense nodes, pools, sums and normalisations have an epilogue, and no
//!   step of it
//!   is the identity.
//!
//! # Dropout
//! - The rate is at least 0 and less than 1.

use std::collections::HashSet;
use std::fmt;

use super::infer::{check_partition, check_window};
use super::kernel::are_even;
use super::text::{Place, lines};
use super::{
    Activation, BatchNorm, Conv, Graph, LayerId, LinearPart, Node, NodeId, Op, Post, Separable, Shape,
    WeightId, infer_shape,
};

/// One broken invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    place: Place,
    message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Place::Model => write!(f, "graph: {}", self.message),
            Place::Outputs => write!(f, "outputs: {}", self.message),
            Place::Node(id) => write!(f, "{id}: {}", self.message),
            Place::Layer(id) => write!(f, "{id}: {}", self.message),
            Place::Weight(id) => write!(f, "{id}: {}", self.message),
        }
    }
}

/// Checks all invariants; the broken ones come in the order of the graph.
pub fn verify(graph: &Graph) -> Result<(), Vec<Violation>> {
    let mut verifier = Verifier { graph, at: Place::Model, violations: Vec::new() };
    verifier.tables();
    verifier.order();
    if verifier.violations.is_empty() {
        graph.order().iter().for_each(|&id| verifier.node(id));
    }
    if verifier.violations.is_empty() { Ok(()) } else { Err(verifier.violations) }
}

/// The text of the graph with each violation in a comment under the line at fault.
pub fn annotate(graph: &Graph, violations: &[Violation]) -> String {
    let lines = lines(graph);
    let mut text = String::new();
    for (n, (place, line)) in lines.iter().enumerate() {
        text.push_str(&format!("{line}\n"));
        let last_of_place = lines.get(n + 1).is_none_or(|next| next.0 != *place);
        for violation in violations.iter().filter(|v| last_of_place && v.place == *place) {
            text.push_str(&format!(";   ^ {}\n", violation.message));
        }
    }
    for violation in violations.iter().filter(|v| lines.iter().all(|l| l.0 != v.place)) {
        text.push_str(&format!("; {violation}\n"));
    }
    text
}

struct Verifier<'a> {
    graph: &'a Graph,
    at: Place,
    violations: Vec<Violation>,
}

impl Verifier<'_> {
    fn fail(&mut self, message: String) {
        self.violations.push(Violation { place: self.at, message });
    }

    fn require(&mut self, holds: bool, message: impl FnOnce() -> String) {
        if !holds {
            self.fail(message());
        }
    }

    fn tables(&mut self) {
        let mut names = HashSet::new();
        for (i, layer) in self.graph.layers.iter().enumerate() {
            self.at = Place::Layer(LayerId::new(i));
            self.require(!layer.name.is_empty(), || "the layer has no name".to_owned());
            self.require(names.insert(&layer.name), || format!("another layer is named {:?}", layer.name));
        }
        let mut names = HashSet::new();
        for (i, weight) in self.graph.weights.iter().enumerate() {
            self.at = Place::Weight(WeightId::new(i));
            self.require(names.insert(&weight.name), || format!("another weight is named {:?}", weight.name));
            self.require(!weight.shape.contains(&0), || format!("{:?} has an extent of zero", weight.shape));
            self.layer_exists(weight.layer);
        }
    }

    fn layer_exists(&mut self, layer: LayerId) {
        let layers = self.graph.layers.len();
        self.require(layer.index() < layers, || format!("{layer} does not exist: there are {layers} layers"));
    }

    /// Everything that must hold before tables may be indexed by what nodes contain.
    fn order(&mut self) {
        let graph = self.graph;
        let mut seen = vec![false; graph.id_bound()];
        for &id in graph.order() {
            self.at = Place::Node(id);
            let node = graph.node(id);
            for input in &node.inputs {
                let earlier = seen.get(input.index()).copied().unwrap_or(false);
                self.require(earlier, || format!("operand {input} does not come earlier"));
            }
            self.require(!seen[id.index()], || "the node is twice in the order".to_owned());
            seen[id.index()] = true;
            self.layer_exists(node.layer);
            self.sized(node.shape);
            let is_input = node.op == Op::Input;
            self.require(is_input == (id == graph.input), || match is_input {
                true => format!("the input is {}, there can be no other", graph.input),
                false => "the graph's input is another operation".to_owned(),
            });
            self.weights_exist(&node.op);
        }
        self.at = Place::Outputs;
        self.require(!graph.outputs.is_empty(), || "there are none".to_owned());
        for output in &graph.outputs {
            match seen.get(output.index()) {
                Some(true) => {}
                Some(false) => self.fail(format!(
                    "{output} is not a live node; passes remove and fuse what is no output, so that outputs are chosen before they run"
                )),
                None => self.fail(format!("the graph has no node {output}")),
            }
        }
    }

    fn sized(&mut self, shape: Shape) {
        let sized = shape.elements_checked().is_some_and(|n| (1..=u64::from(u32::MAX)).contains(&n));
        self.require(sized, || format!("a value of shape {shape} is empty or too large"));
    }

    fn weights_exist(&mut self, op: &Op) {
        let weights = self.graph.weights.len();
        for id in op.weights() {
            self.require(id.index() < weights, || {
                format!("{id} does not exist: there are {weights} weights")
            });
        }
    }

    fn node(&mut self, id: NodeId) {
        let graph = self.graph;
        let node = graph.node(id);
        self.at = Place::Node(id);
        self.shapes(node);
        self.fusion(node);
        match &node.op {
            Op::Conv(conv) => self.conv(conv),
            Op::Separable(parts) => self.separable(parts),
            Op::Dense(part) => {
                let operand = node.inputs.first().map(|&id| graph.node(id).shape);
                self.dense(part, operand);
            }
            Op::BatchNorm(norm) => self.norm(norm, node.shape.c()),
            Op::Pool(pool) => {
                let dilation = pool.window.dilation;
                self.require(dilation == [1, 1], || {
                    format!("pools are not dilated, this one by {dilation:?}")
                });
            }
            Op::Dropout { rate } => {
                self.require((0.0..1.0).contains(rate), || format!("a rate of {rate} is not in 0..1"));
            }
            Op::Input
            | Op::Activation(_)
            | Op::GlobalPool(_)
            | Op::Softmax
            | Op::Add
            | Op::Concat
            | Op::Flatten => {}
        }
    }

    fn shapes(&mut self, node: &Node) {
        let shape = node.shape;
        if node.op == Op::Input {
            return self.require(node.inputs.is_empty(), || "the input has operands".to_owned());
        }
        let added = node.fusion.added_inputs();
        let Some(own) = node.inputs.len().checked_sub(added) else {
            let operands = node.inputs.len();
            return self.fail(format!("the epilogue adds {added} operands, but the node has {operands}"));
        };
        let shape_of = |id: &NodeId| self.graph.node(*id).shape;
        let operands: Vec<Shape> = node.inputs[..own].iter().map(shape_of).collect();
        match infer_shape(&node.op, &operands) {
            Ok(inferred) => {
                self.require(inferred == shape, || format!("the result is {inferred}, not {shape}"));
            }
            Err(message) => self.fail(message),
        }
        for operand in &node.inputs[own..] {
            let other = self.graph.node(*operand).shape;
            self.require(other == shape, || format!("adds {operand} of {other} to a result of {shape}"));
        }
    }

    fn fusion(&mut self, node: &Node) {
        let load = node.fusion.load;
        if load != Activation::Linear {
            self.require(node.op.can_load(), || format!("the operation cannot apply {load} on load"));
            let padded = node.op.window().is_some_and(|w| w.pads != Default::default());
            self.require(load.traits().keeps_zero || !padded, || {
                format!("{load} on load does not keep padding zero")
            });
        }
        let post = &node.fusion.post;
        self.require(post.is_empty() || node.op.has_epilogue(), || {
            "the operation has no epilogue".to_owned()
        });
        let identity = post.contains(&Post::Activation(Activation::Linear));
        self.require(!identity, || "the epilogue contains the identity".to_owned());
    }

    fn separable(&mut self, parts: &Separable) {
        self.conv(&parts.spatial);
        self.conv(&parts.pointwise);
        let window = parts.pointwise.window;
        self.require(window.is_point(), || {
            format!("the pointwise part has kernel {:?} and strides {:?}", window.kernel, window.strides)
        });
        let segments = parts.pointwise.partition.segments();
        self.require(segments == 1, || format!("the pointwise part has {segments} segments"));
    }

    fn conv(&mut self, conv: &Conv) {
        let checked = check_window(&conv.window).and_then(|()| check_partition(&conv.partition));
        if let Err(message) = checked {
            return self.fail(message);
        }
        let outputs: Vec<_> = conv.parts.iter().map(|p| p.outputs).collect();
        let Some(segments) = conv.part_segments().filter(|_| !outputs.contains(&0)) else {
            return self
                .fail(format!("parts of {outputs:?} outputs do not cover segments {}", conv.partition));
        };
        for (part, covered) in conv.parts.iter().zip(&segments) {
            let sizes: Vec<_> = covered.iter().map(|s| (s.0.len() as u64, s.1.len() as u64)).collect();
            let [kh, kw] = conv.window.kernel.map(u64::from);
            let products: u64 = sizes.iter().map(|s| s.0 * s.1).sum();
            let outputs = u64::from(part.outputs);
            let legal = match sizes[0] {
                (1, multiplier) if are_even(covered) => {
                    vec![vec![kh, kw, sizes.len() as u64, multiplier], vec![kh, kw, 1, outputs]]
                }
                (inputs, _) if are_even(covered) => vec![vec![kh, kw, inputs, outputs]],
                _ => vec![vec![kh.saturating_mul(kw).saturating_mul(products)]],
            };
            self.weight(part.kernel, "kernel", &legal);
            self.vectors(part);
        }
    }

    fn dense(&mut self, part: &LinearPart, operand: Option<Shape>) {
        if let Some(operand) = operand {
            self.weight(part.kernel, "kernel", &[vec![operand.elements(), u64::from(part.outputs)]]);
        }
        self.vectors(part);
    }

    fn vectors(&mut self, part: &LinearPart) {
        if let Some(bias) = part.bias {
            self.weight(bias, "bias", &[vec![u64::from(part.outputs)]]);
        }
        part.norms.iter().for_each(|norm| self.norm(norm, part.outputs));
    }

    fn norm(&mut self, norm: &BatchNorm, channels: u32) {
        let epsilon = norm.epsilon;
        self.require(epsilon.is_finite() && epsilon >= 0.0, || format!("epsilon is {epsilon}"));
        for id in norm.weights() {
            self.weight(id, "normalisation", &[vec![u64::from(channels)]]);
        }
    }

    fn weight(&mut self, id: WeightId, what: &str, legal: &[Vec<u64>]) {
        let shape = &self.graph.weight(id).shape;
        let found: Vec<u64> = shape.iter().map(|&d| u64::from(d)).collect();
        self.require(legal.contains(&found), || {
            let legal: Vec<_> = legal.iter().map(|shape| format!("{shape:?}")).collect();
            format!("{what} {id} has shape {found:?}, not {}", legal.join(" or "))
        });
    }
}

/// Breaks that the text form cannot express; the others are in `tests/graph_verify.rs`.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::text::{parse, write};

    fn broken(change: impl FnOnce(&mut Graph)) -> Vec<String> {
        let text = "model \"m\"\nimage range 0.0 1.0 channels gray\nv0 = input : 2x2x1 in l0\n\
                    v1 = add v0 v0 : 2x2x1 in l0\noutput v1\nlayer l0 Add \"x\" at 0..0";
        let mut graph = parse(text).unwrap();
        assert_eq!(verify(&graph), Ok(()));
        change(&mut graph);
        verify(&graph).unwrap_err().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_node_is_in_the_order_once() {
        assert_eq!(broken(|g| g.order.push(NodeId::new(1))), ["v1: the node is twice in the order"]);
    }

    #[test]
    fn added_operands_are_counted() {
        let change = |g: &mut Graph| {
            g.node_mut(NodeId::new(1)).fusion.post = vec![Post::Add; 3];
            assert!(write(g).contains("post [add v0, add v0, add ?]"));
        };
        assert_eq!(broken(change), ["v1: the epilogue adds 3 operands, but the node has 2"]);
    }
}
