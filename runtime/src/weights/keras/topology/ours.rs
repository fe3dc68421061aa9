//! A network of ours as a topology.

use std::collections::HashMap;

use xcc_compiler::graph::{Activation, Conv, Graph, LayerId, LayerKind, Node, Op, Role};

use super::{Attribute, Edge, Kind, Topology, Vertex, window};
use crate::weights::keras::config::snake_case;
use crate::weights::keras::{normalization, signature};

/// The topology of `graph`, which is one that was elaborated: passes merge layers.
/// [`Vertex::layer`] is the position in [`Graph::layers`]. Nothing if there are too many layers.
pub(in crate::weights::keras) fn of_graph(graph: &Graph) -> Option<Topology> {
    let mut extents = vec![Vec::new(); graph.layers.len()];
    let mut affine = vec![[false; 2]; graph.layers.len()];
    for weight in &graph.weights {
        let [scales, centers] = &mut affine[weight.layer.index()];
        *scales |= weight.role == Role::Gamma;
        *centers |= weight.role == Role::Beta;
        let shape = weight.shape.iter().map(|&extent| u64::from(extent)).collect();
        extents[weight.layer.index()].push(shape);
    }
    let mut builder =
        Builder { graph, extents, affine, topology: Topology::default(), values: HashMap::new() };
    for &id in graph.order() {
        let value = builder.value(graph.node(id))?;
        builder.values.insert(id.index(), value);
    }
    let output = graph.outputs.first()?;
    let result = builder.values.get(&output.index())?.clone();
    builder.topology.push(Vertex::output(vec![result]))?;
    Some(builder.topology)
}

struct Builder<'a> {
    graph: &'a Graph,
    /// The extents of the tensors of each layer.
    extents: Vec<Vec<Vec<u64>>>,
    /// Whether each layer has a scale (gamma), and whether it has an offset (beta).
    affine: Vec<[bool; 2]>,
    topology: Topology,
    /// The value of each node so far.
    values: HashMap<usize, Edge>,
}

impl Builder<'_> {
    /// The value of a node whose operands have values.
    fn value(&mut self, node: &Node) -> Option<Edge> {
        let operands: Option<Vec<Edge>> =
            node.inputs.iter().map(|input| self.values.get(&input.index()).cloned()).collect();
        let operands = operands?;
        match &node.op {
            // A listing of layers that says nothing about what they compute.
            Op::Add if !self.extents[node.layer.index()].is_empty() => {
                self.push(self.weights(node.layer, operands))
            }
            Op::Add if operands.len() == 1 => operands.into_iter().next(),
            Op::Conv(conv) => self.convolution(node, conv, operands),
            Op::BatchNorm(norm) => {
                let mut vertex = self.weights(node.layer, operands);
                vertex.attributes.push((Attribute::Epsilon, (norm.epsilon as f32).to_string()));
                self.push(vertex)
            }
            Op::Input => self.push(self.vertex(Kind::Input, node.layer, operands)),
            Op::Add => self.push(self.vertex(Kind::Sum, node.layer, operands)),
            Op::Concat => self.push(self.vertex(Kind::Concat, node.layer, operands)),
            Op::Dense(_) | Op::Separable(_) => self.push(self.weights(node.layer, operands)),
            op => Some(operation(op, operands.into_iter().next()?)),
        }
    }

    fn push(&mut self, vertex: Vertex) -> Option<Edge> {
        self.topology.push(vertex).map(Edge::new)
    }

    fn vertex(&self, kind: Kind, layer: LayerId, operands: Vec<Edge>) -> Vertex {
        let name = &self.graph.layer(layer).name;
        Vertex { operands, ..Vertex::new(kind, layer.index(), name) }
    }

    /// A layer with weights.
    fn weights(&self, layer: LayerId, operands: Vec<Edge>) -> Vertex {
        let (class, extents) = (self.graph.layer(layer).kind, self.extents[layer.index()].clone());
        let kind = match class {
            LayerKind::BatchNorm => {
                let [scales, centers] = self.affine[layer.index()];
                normalization(extents, scales, centers)
            }
            _ => signature(&snake_case(class.keras_class()), extents),
        };
        self.vertex(kind, layer, operands)
    }

    /// A convolution, or the second part of a separable one, which joins the first part's vertex.
    fn convolution(&mut self, node: &Node, conv: &Conv, operands: Vec<Edge>) -> Option<Edge> {
        let role = |conv: &Conv| conv.parts.first().map(|part| self.graph.weight(part.kernel).role);
        let is_pointwise = role(conv) == Some(Role::PointwiseKernel);
        let from = operands.first()?.from;
        if self.topology.vertices[from].layer == node.layer.index() {
            let between = operands[0].of(Attribute::Activation).join(", ");
            let vertex = &mut self.topology.vertices[from];
            if !is_pointwise {
                window::state(vertex, &conv.window);
            }
            let first = if is_pointwise { "spatial part first" } else { "pointwise part first" };
            let between = if between.is_empty() { between } else { format!(", {between} between") };
            vertex.attributes.push((Attribute::Order, format!("{first}{between}")));
            return Some(Edge::new(from));
        }
        let mut vertex = self.weights(node.layer, operands);
        if !is_pointwise {
            window::state(&mut vertex, &conv.window);
        }
        self.push(vertex)
    }
}

/// A value after an operation without weights. What changes nothing in a run leaves no trace.
fn operation(op: &Op, value: Edge) -> Edge {
    match op {
        Op::Activation(Activation::Linear) => value,
        Op::Activation(function) => value.then(Attribute::Activation, super::function(*function)),
        Op::Softmax => value.then(Attribute::Activation, "softmax"),
        Op::Pool(pool) => value.then(Attribute::Pool, window::pool(pool.kind, &pool.window)),
        Op::GlobalPool(kind) => value.then(Attribute::Pool, window::global_pool(*kind)),
        Op::Dropout { .. } | Op::Flatten => value,
        // Vertices.
        Op::Input
        | Op::Conv(_)
        | Op::Separable(_)
        | Op::BatchNorm(_)
        | Op::Dense(_)
        | Op::Add
        | Op::Concat => value,
    }
}
