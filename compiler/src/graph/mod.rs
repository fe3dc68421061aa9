//! The tensor graph: what a spec says once parameters, loops and blocks are gone.
//!
//! A graph is a list of nodes in topological order. Each node yields one NHWC tensor (the batch
//! dimension belongs to the run and is not in the graph), so a [`NodeId`] names both the node and
//! its value.
//!
//! **A value keeps its id through every pass.** When a pass fuses a chain of nodes, the fused node
//! takes the place of the *last* of them and the others become dead. The value named `v7` in the
//! fused graph is therefore the value named `v7` in the graph that was elaborated, and the two can
//! be compared.
//!
//! What the user wrote as one layer can be several nodes (a separable convolution is a spatial
//! node, perhaps an activation, and a pointwise node); the [`Layer`] table keeps the user's view,
//! with names and source spans.

mod activation;
mod infer;
mod kernel;
mod layer;
mod op;
mod partition;
mod shape;
pub mod text;
pub mod verify;
mod weight;

use std::collections::HashMap;

pub use activation::{Activation, Slope, Traits, UnknownActivation};
pub use infer::infer_shape;
pub use kernel::KernelBlock;
pub use layer::{ChannelOrder, ImageSpec, Labels, Layer, LayerKind};
pub use op::{BatchNorm, Conv, Fusion, LinearPart, Op, Pads, Pool, PoolKind, Post, Separable, Window};
pub use partition::{Partition, PartitionError, even_parts};
pub use shape::Shape;
pub use weight::{Role, Weight, WeightError, WeightSource};

/// Declares a typed index into one of the graph's tables, printed with a one-letter prefix.
macro_rules! entity {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(u32);

        impl $name {
            /// The entity at position `index` of its table.
            pub fn new(index: usize) -> Self {
                Self(u32::try_from(index).expect("tables are limited to far fewer than 2^32 rows"))
            }

            /// The position in its table.
            pub fn index(self) -> usize {
                self.0 as usize
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{self}")
            }
        }
    };
}
pub(crate) use entity;

entity!(
    /// A node of the graph and the tensor it yields; prints as `v7`.
    NodeId, "v"
);
entity!(
    /// A tensor of parameters; prints as `w7`.
    WeightId, "w"
);
entity!(
    /// A layer as the user wrote it; prints as `l7`.
    LayerId, "l"
);

/// One operation, its operands and the shape of its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// What is computed.
    pub op: Op,
    /// Operands: first those of `op`, then one for each [`Post::Add`] of `fusion`, in order.
    pub inputs: Vec<NodeId>,
    /// Shape of the result, after `fusion`.
    pub shape: Shape,
    /// The layer that this node is, or is the last part of.
    pub layer: LayerId,
    /// What passes moved into this node.
    pub fusion: Fusion,
}

/// A network with static shapes.
#[derive(Clone, Debug)]
pub struct Graph {
    /// The model's name.
    pub name: String,
    /// How images become the input tensor.
    pub image: ImageSpec,
    /// Layers in the order of the source.
    pub layers: Vec<Layer>,
    /// Every parameter tensor, in the order in which layers declare them.
    pub weights: Vec<Weight>,
    /// The network's input.
    pub input: NodeId,
    /// Values that must exist after a run: the network's result first, then taps.
    pub outputs: Vec<NodeId>,
    nodes: Vec<Node>,
    order: Vec<NodeId>,
    /// The node pushed last of each layer, dead or alive. Nodes that passes insert compute no
    /// layer's value.
    last_of_layer: HashMap<LayerId, NodeId>,
}

impl Node {
    /// The part of the epilogue that the node's kernels run: up to its second addition, since a
    /// kernel adds one operand.
    pub fn kernel_post(&self) -> &[Post] {
        let post = &self.fusion.post;
        let mut additions = (0..post.len()).filter(|&at| post[at] == Post::Add);
        &post[..additions.nth(1).unwrap_or(post.len())]
    }

    /// The operand that [`Node::kernel_post`] adds.
    pub fn added(&self) -> Option<NodeId> {
        let own = self.inputs.len() - self.fusion.added_inputs();
        self.inputs.get(own).copied()
    }
}

impl Graph {
    /// A graph that consists of its input layer only; the input is also its output.
    pub fn new(name: &str, image: ImageSpec, input: Layer, shape: Shape) -> Self {
        let id = NodeId::new(0);
        let node = Node {
            op: Op::Input,
            inputs: Vec::new(),
            shape,
            layer: LayerId::new(0),
            fusion: Fusion::default(),
        };
        Self {
            name: name.to_owned(),
            image,
            layers: vec![input],
            weights: Vec::new(),
            input: id,
            outputs: vec![id],
            nodes: vec![node],
            order: vec![id],
            last_of_layer: HashMap::from([(LayerId::new(0), id)]),
        }
    }

    /// Adds a layer to the table; its nodes follow through [`Graph::push`].
    pub fn push_layer(&mut self, layer: Layer) -> LayerId {
        self.layers.push(layer);
        LayerId::new(self.layers.len() - 1)
    }

    /// Declares a parameter tensor.
    pub fn push_weight(&mut self, weight: Weight) -> WeightId {
        self.weights.push(weight);
        WeightId::new(self.weights.len() - 1)
    }

    /// Appends a node at the end of the order. Its inputs must already be in the graph.
    pub fn push(&mut self, op: Op, inputs: Vec<NodeId>, shape: Shape, layer: LayerId) -> NodeId {
        let id = self.add(op, inputs, shape, layer);
        self.order.push(id);
        self.last_of_layer.insert(layer, id);
        id
    }

    /// Adds a node just before `before` in the order.
    pub fn insert(
        &mut self,
        before: NodeId,
        op: Op,
        inputs: Vec<NodeId>,
        shape: Shape,
        layer: LayerId,
    ) -> NodeId {
        let id = self.add(op, inputs, shape, layer);
        let position = self.order.iter().position(|&n| n == before).unwrap_or(self.order.len());
        self.order.insert(position, id);
        id
    }

    fn add(&mut self, op: Op, inputs: Vec<NodeId>, shape: Shape, layer: LayerId) -> NodeId {
        self.nodes.push(Node { op, inputs, shape, layer, fusion: Fusion::default() });
        NodeId::new(self.nodes.len() - 1)
    }

    /// Takes a node out of the order. Nothing live may use it.
    pub fn remove(&mut self, id: NodeId) {
        self.order.retain(|&n| n != id);
    }

    /// Makes every user of `from`, and the outputs, use `to` instead.
    pub fn replace_uses(&mut self, from: NodeId, to: NodeId) {
        for id in self.order.clone() {
            for input in &mut self.nodes[id.index()].inputs {
                if *input == from {
                    *input = to;
                }
            }
        }
        for output in &mut self.outputs {
            if *output == from {
                *output = to;
            }
        }
    }

    /// The live nodes, inputs before users.
    pub fn order(&self) -> &[NodeId] {
        &self.order
    }

    /// The value of the layer called `name`: that of the layer's last node.
    ///
    /// `None` where the graph has no such layer, or where a pass has fused its value into another:
    /// outputs are best chosen before passes run. A graph read from text in which numbers of nodes
    /// are missing does not tell the values of layers.
    ///
    /// ```
    /// let spec = "model m
    ///     input image 8 x 8 x 3
    ///     conv 4, 3x3 as stem
    ///     relu
    ///     globalavgpool
    ///     dense 2";
    /// let mut graph = xcc_compiler::elaborate::read(spec, &[]).graph.expect("no mistakes");
    /// let stem = graph.value("stem").expect("a layer of the spec");
    /// graph.outputs.push(stem);
    /// assert_eq!(graph.node(stem).shape.to_string(), "6x6x4");
    /// assert_eq!(graph.value("steam"), None);
    /// ```
    pub fn value(&self, name: &str) -> Option<NodeId> {
        let layer = LayerId::new(self.layers.iter().position(|layer| layer.name == name)?);
        self.last_of_layer.get(&layer).copied().filter(|id| self.order.contains(id))
    }

    /// The node that yields `id`.
    ///
    /// # Panics
    ///
    /// When the graph has no node `id`. An id of this graph is never lost: passes only take nodes
    /// out of the order.
    pub fn node(&self, id: NodeId) -> &Node {
        &self.nodes[id.index()]
    }

    /// The node that yields `id`, to be rewritten in place.
    ///
    /// # Panics
    ///
    /// When the graph has no node `id`.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        &mut self.nodes[id.index()]
    }

    /// The layer `id`.
    ///
    /// # Panics
    ///
    /// When the graph has no layer `id`.
    pub fn layer(&self, id: LayerId) -> &Layer {
        &self.layers[id.index()]
    }

    /// The parameter tensor `id`.
    ///
    /// # Panics
    ///
    /// When the graph has no tensor `id`.
    pub fn weight(&self, id: WeightId) -> &Weight {
        &self.weights[id.index()]
    }

    /// How many node ids exist, dead ones included: the length of a table indexed by [`NodeId`].
    pub fn id_bound(&self) -> usize {
        self.nodes.len()
    }

    /// The live nodes that read `id`, once for each operand that does.
    pub fn users(&self, id: NodeId) -> Vec<NodeId> {
        let reads = |&&n: &&NodeId| self.node(n).inputs.contains(&id);
        self.order.iter().filter(reads).copied().collect()
    }

    /// Whether `id` must exist as a tensor after a run.
    pub fn is_output(&self, id: NodeId) -> bool {
        self.outputs.contains(&id)
    }
}
