//! What a network costs: multiply-adds, parameters, bytes; and the summary of its layers as data.
//!
//! A MAC is one multiplication and one addition. Convolutions and dense layers have them, nothing
//! else counts. Padding counts like real elements (every window has all its taps), as is usual:
//! Xception has 8.357 billion.
//!
//! # JSON
//!
//! [`Summary`] serialises as an object with `model`, `input_shape`, `flows` and `totals`. A flow
//! has `name` (null for layers outside flows), `layers` and `totals`. A layer has `name`, `class`
//! (as Keras names it), `output_shape`, `parameters`, `trainable_parameters`, `spatial_macs`,
//! `pointwise_macs`, `activation_bytes` and `connected_to` (names of layers). Totals have
//! `parameters`, `trainable_parameters`, `non_trainable_parameters`, `weight_bytes`,
//! `spatial_macs`, `pointwise_macs`, `macs` and `activation_bytes`. All numbers are for one image;
//! bytes are those of 32-bit floats.

use serde::Serialize;

use crate::graph::{Conv, Graph, LayerId, Node, NodeId, Op, Shape};

/// Bytes of a 32-bit float.
const FLOAT_BYTES: u64 = 4;

/// Multiply-adds of one image, by the kind of convolution that does them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Macs {
    /// Convolutions over windows of several taps, or in several segments.
    pub spatial: u64,
    /// 1x1 convolutions with one segment, and dense layers.
    pub pointwise: u64,
}

impl Macs {
    /// Both kinds.
    pub fn total(self) -> u64 {
        self.spatial.saturating_add(self.pointwise)
    }

    fn add(&mut self, other: Macs) {
        self.spatial = self.spatial.saturating_add(other.spatial);
        self.pointwise = self.pointwise.saturating_add(other.pointwise);
    }
}

/// The multiply-adds of a node, before or after passes.
///
/// # Panics
///
/// When the graph has no node `id`, or does not [verify](crate::graph::verify::verify).
pub fn macs(graph: &Graph, id: NodeId) -> Macs {
    let Node { op, shape, inputs, .. } = graph.node(id);
    match op {
        Op::Conv(conv) => conv_macs(conv, *shape),
        // The pointwise part has stride 1, so the intermediate has the result's pixels.
        Op::Separable(parts) => {
            let mut macs = conv_macs(&parts.spatial, *shape);
            macs.add(conv_macs(&parts.pointwise, *shape));
            macs
        }
        Op::Dense(part) => {
            let inputs: u64 = inputs.first().map_or(0, |&input| graph.node(input).shape.elements());
            Macs { spatial: 0, pointwise: inputs.saturating_mul(u64::from(part.outputs)) }
        }
        Op::Input
        | Op::BatchNorm(_)
        | Op::Activation(_)
        | Op::Pool(_)
        | Op::GlobalPool(_)
        | Op::Softmax
        | Op::Add
        | Op::Concat
        | Op::Dropout { .. }
        | Op::Flatten => Macs::default(),
    }
}

/// The multiply-adds of both parts of a separable convolution; of another node, all and none.
pub fn stage_macs(graph: &Graph, id: NodeId) -> [u64; 2] {
    let Node { op, shape, .. } = graph.node(id);
    match op {
        Op::Separable(parts) => {
            [&parts.spatial, &parts.pointwise].map(|conv| conv_macs(conv, *shape).total())
        }
        _ => [macs(graph, id).total(), 0],
    }
}

/// Multiply-adds of a convolution whose result has the pixels of `result`.
fn conv_macs(conv: &Conv, result: Shape) -> Macs {
    let products = conv.window.taps().saturating_mul(conv.partition.products());
    let all = result.pixels().saturating_mul(products);
    if conv.window.taps() == 1 && conv.partition.segments() == 1 {
        Macs { spatial: 0, pointwise: all }
    } else {
        Macs { spatial: all, pointwise: 0 }
    }
}

/// The multiply-adds of all live nodes.
pub fn total_macs(graph: &Graph) -> Macs {
    let mut total = Macs::default();
    graph.order().iter().for_each(|&id| total.add(macs(graph, id)));
    total
}

/// A network's layers and what they cost, see the module's documentation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Name of the model.
    pub model: String,
    /// Height, width and channels of the input.
    pub input_shape: Vec<u32>,
    /// The layers, neighbours of the same flow together.
    pub flows: Vec<FlowSummary>,
    /// Sums over all layers.
    pub totals: Totals,
}

/// Neighbouring layers of one flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FlowSummary {
    /// Name of the flow; `None` outside flows.
    pub name: Option<String>,
    /// The layers.
    pub layers: Vec<LayerSummary>,
    /// Sums over the layers.
    pub totals: Totals,
}

/// One layer as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LayerSummary {
    /// Its name.
    pub name: String,
    /// The class in Keras that does the same.
    pub class: &'static str,
    /// Height, width and channels of the result, or elements of a vector.
    pub output_shape: Vec<u32>,
    /// Parameters, stored statistics included.
    pub parameters: u64,
    /// Parameters that training by gradients changes.
    pub trainable_parameters: u64,
    /// See [`Macs::spatial`].
    pub spatial_macs: u64,
    /// See [`Macs::pointwise`].
    pub pointwise_macs: u64,
    /// Bytes of the result.
    pub activation_bytes: u64,
    /// The layers whose results are read.
    pub connected_to: Vec<String>,
}

/// Sums over layers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// Parameters, stored statistics included.
    pub parameters: u64,
    /// Parameters that training by gradients changes.
    pub trainable_parameters: u64,
    /// The other parameters: statistics of normalisations.
    pub non_trainable_parameters: u64,
    /// Bytes of all parameters.
    pub weight_bytes: u64,
    /// See [`Macs::spatial`].
    pub spatial_macs: u64,
    /// See [`Macs::pointwise`].
    pub pointwise_macs: u64,
    /// Both kinds.
    pub macs: u64,
    /// Bytes of all layers' results, as if none shared memory.
    pub activation_bytes: u64,
}

impl Totals {
    fn add(&mut self, layer: &LayerSummary) {
        let sum = |total: &mut u64, amount: u64| *total = total.saturating_add(amount);
        sum(&mut self.parameters, layer.parameters);
        sum(&mut self.trainable_parameters, layer.trainable_parameters);
        sum(&mut self.non_trainable_parameters, layer.parameters - layer.trainable_parameters);
        sum(&mut self.weight_bytes, layer.parameters.saturating_mul(FLOAT_BYTES));
        sum(&mut self.spatial_macs, layer.spatial_macs);
        sum(&mut self.pointwise_macs, layer.pointwise_macs);
        sum(&mut self.macs, layer.spatial_macs.saturating_add(layer.pointwise_macs));
        sum(&mut self.activation_bytes, layer.activation_bytes);
    }
}

/// Summarises a graph as it was elaborated. After passes, layers that became part of others have
/// no row, and neither have their parameters.
///
/// # Panics
///
/// When the graph does not [verify](crate::graph::verify::verify).
pub fn summarize(graph: &Graph) -> Summary {
    let mut flows: Vec<FlowSummary> = Vec::new();
    let mut totals = Totals::default();
    for (layer, nodes) in nodes_of_layers(graph).iter().enumerate() {
        let layer = LayerId::new(layer);
        let Some(row) = layer_summary(graph, layer, nodes) else { continue };
        let name = graph.layer(layer).path.first().cloned();
        totals.add(&row);
        match flows.last_mut().filter(|flow| flow.name == name) {
            Some(flow) => flow.push(row),
            None => {
                let mut flow = FlowSummary { name, layers: Vec::new(), totals: Totals::default() };
                flow.push(row);
                flows.push(flow);
            }
        }
    }
    let input_shape = extents(graph.node(graph.input).shape);
    Summary { model: graph.name.clone(), input_shape, flows, totals }
}

impl FlowSummary {
    fn push(&mut self, row: LayerSummary) {
        self.totals.add(&row);
        self.layers.push(row);
    }
}

/// The live nodes of each layer, in order.
fn nodes_of_layers(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut nodes = vec![Vec::new(); graph.layers.len()];
    for &id in graph.order() {
        nodes[graph.node(id).layer.index()].push(id);
    }
    nodes
}

fn layer_summary(graph: &Graph, layer: LayerId, nodes: &[NodeId]) -> Option<LayerSummary> {
    let shape = graph.node(*nodes.last()?).shape;
    let mut work = Macs::default();
    nodes.iter().for_each(|&id| work.add(macs(graph, id)));
    let (parameters, trainable_parameters) = parameters(graph, layer);
    Some(LayerSummary {
        name: graph.layer(layer).name.clone(),
        class: graph.layer(layer).kind.keras_class(),
        output_shape: extents(shape),
        parameters,
        trainable_parameters,
        spatial_macs: work.spatial,
        pointwise_macs: work.pointwise,
        activation_bytes: shape.elements().saturating_mul(FLOAT_BYTES),
        connected_to: connected_to(graph, layer, nodes),
    })
}

/// All parameters of a layer, and the trainable ones.
fn parameters(graph: &Graph, layer: LayerId) -> (u64, u64) {
    let of_layer = graph.weights.iter().filter(|weight| weight.layer == layer);
    of_layer.fold((0, 0), |(all, trainable): (u64, u64), weight| {
        let elements = weight.elements();
        let trained = if weight.role.is_trainable() { elements } else { 0 };
        (all.saturating_add(elements), trainable.saturating_add(trained))
    })
}

fn connected_to(graph: &Graph, layer: LayerId, nodes: &[NodeId]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for operand in nodes.iter().flat_map(|&id| &graph.node(id).inputs) {
        let other = graph.node(*operand).layer;
        let name = &graph.layer(other).name;
        if other != layer && !names.contains(name) {
            names.push(name.clone());
        }
    }
    names
}

fn extents(shape: Shape) -> Vec<u32> {
    match shape {
        Shape::Map { h, w, c } => vec![h, w, c],
        Shape::Vector { n } => vec![n],
    }
}
