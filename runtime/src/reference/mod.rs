//! The reference evaluator: plain loops over the graph, in `f32` or `f64`, as the oracle of
//! compiled code.
//!
//! It evaluates any verified graph, before or after passes. Values are compact NHWC tensors, one
//! image of the batch behind the other. Products are summed up tap by tap and input channel by
//! input channel in ascending order, in every segmentation, so that rewrites which keep this order
//! (merging branches, fusing parts of separable convolutions) change no bit. Work is spread over
//! rows of the result, which does not change the order either.

mod buffer;
mod float;
mod linear;
mod ops;

use std::collections::HashSet;

use xcc_compiler::graph::verify::verify;
use xcc_compiler::graph::{Activation, Graph, Node, NodeId, Op, Post, Shape, WeightError, WeightSource};

use crate::checked::length;
use crate::{OutOfMemory, WrongLength};
use buffer::copied;
use linear::{convolve, dense, normalise};

pub use buffer::exactly;
pub use float::Float;

/// Why a graph cannot be evaluated.
#[derive(Debug, thiserror::Error)]
pub enum ReferenceError {
    /// The graph breaks an invariant.
    #[error("the graph is broken: {0}")]
    Graph(String),
    /// The input has a wrong number of elements.
    #[error("{batch} inputs of shape {shape} have {expected} elements, but {found} were given")]
    Input {
        /// Images in the batch.
        batch: usize,
        /// Shape of one input.
        shape: Shape,
        /// Elements that there should be.
        expected: u128,
        /// Elements given.
        found: usize,
    },
    /// A parameter tensor has a wrong number of elements.
    #[error(transparent)]
    Weight(#[from] WrongLength),
    /// A value does not fit into this machine's address space.
    #[error("the value {id} of shape {shape} is too large for a batch of {batch}")]
    TooLarge {
        /// The value.
        id: NodeId,
        /// Its shape for one image.
        shape: Shape,
        /// Images in the batch.
        batch: usize,
    },
    /// There is no memory for a value, or for what is computed on the way to it.
    #[error(
        "the value {id} of shape {shape} takes {bytes} bytes at once for a batch of {batch}, which cannot be \
         allocated; a smaller batch or input takes less"
    )]
    Memory {
        /// The value.
        id: NodeId,
        /// Its shape for one image.
        shape: Shape,
        /// Images in the batch.
        batch: usize,
        /// Bytes asked for.
        bytes: u64,
    },
    /// The numbers of a parameter tensor cannot be had.
    #[error(transparent)]
    Unreadable(#[from] WeightError),
}

/// Why a single value cannot be computed.
#[derive(Debug)]
enum Fault {
    Memory(OutOfMemory),
    Weight(WeightError),
}

impl From<OutOfMemory> for Fault {
    fn from(error: OutOfMemory) -> Self {
        Fault::Memory(error)
    }
}

impl From<WeightError> for Fault {
    fn from(error: WeightError) -> Self {
        Fault::Weight(error)
    }
}

impl Fault {
    /// The error of an evaluation in which `node`, one of `batch` images, has this fault.
    fn of(self, id: NodeId, shape: Shape, batch: usize) -> ReferenceError {
        match self {
            Fault::Memory(OutOfMemory { bytes }) => ReferenceError::Memory { id, shape, batch, bytes },
            Fault::Weight(error) => error.into(),
        }
    }
}

/// The values that an evaluation kept.
#[derive(Clone, Debug)]
pub struct Values<F> {
    tensors: Vec<Option<Vec<F>>>,
}

impl<F> Values<F> {
    /// The elements of a value, image by image, each in NHWC order; `None` when it was not kept.
    pub fn get(&self, id: NodeId) -> Option<&[F]> {
        self.tensors.get(id.index())?.as_deref()
    }

    /// Moves a value out.
    pub fn take(&mut self, id: NodeId) -> Option<Vec<F>> {
        self.tensors.get_mut(id.index())?.take()
    }
}

/// Computes every live value of `graph` for `batch` inputs (each compact NHWC) and keeps them all.
pub fn evaluate<F: Float>(
    graph: &Graph,
    weights: &dyn WeightSource,
    input: &[F],
    batch: usize,
) -> Result<Values<F>, ReferenceError> {
    evaluate_keeping(graph, weights, input, batch, graph.order())
}

/// Like [`evaluate`], but keeps only the given values; all others are freed after their last use.
pub fn evaluate_keeping<F: Float>(
    graph: &Graph,
    weights: &dyn WeightSource,
    input: &[F],
    batch: usize,
    keep: &[NodeId],
) -> Result<Values<F>, ReferenceError> {
    check(graph, weights, input, batch)?;
    let keep: HashSet<NodeId> = keep.iter().copied().collect();
    let mut uses = use_counts(graph);
    let mut run = Run { graph, weights, tensors: vec![None; graph.id_bound()] };
    for &id in graph.order() {
        let node = graph.node(id);
        let value = if node.op == Op::Input { copied(input).map_err(Fault::Memory) } else { run.node(node) };
        run.tensors[id.index()] = Some(value.map_err(|fault| fault.of(id, node.shape, batch))?);
        for &operand in &node.inputs {
            uses[operand.index()] -= 1;
        }
        for &done in node.inputs.iter().chain([&id]) {
            if uses[done.index()] == 0 && !keep.contains(&done) {
                run.tensors[done.index()] = None;
            }
        }
    }
    Ok(Values { tensors: run.tensors })
}

/// How many operands each value is.
fn use_counts(graph: &Graph) -> Vec<usize> {
    let mut uses = vec![0; graph.id_bound()];
    for &id in graph.order() {
        graph.node(id).inputs.iter().for_each(|operand| uses[operand.index()] += 1);
    }
    uses
}

/// Everything that evaluation relies on: a valid graph, sizes that can be counted, tensors of the
/// right length.
fn check<F>(
    graph: &Graph,
    weights: &dyn WeightSource,
    input: &[F],
    batch: usize,
) -> Result<(), ReferenceError> {
    verify(graph).map_err(|violations| {
        let lines: Vec<String> = violations.iter().map(ToString::to_string).collect();
        ReferenceError::Graph(lines.join("; "))
    })?;
    let shape = graph.node(graph.input).shape;
    let expected = batch as u128 * u128::from(shape.elements());
    if expected != input.len() as u128 {
        return Err(ReferenceError::Input { batch, shape, expected, found: input.len() });
    }
    for &id in graph.order() {
        let node = graph.node(id);
        let bytes = batch as u128 * u128::from(node.shape.elements()) * size_of::<F>() as u128;
        if bytes > isize::MAX as u128 {
            return Err(ReferenceError::TooLarge { id, shape: node.shape, batch });
        }
        node.op.weights().into_iter().try_for_each(|weight| length(graph, weights, weight))?;
    }
    Ok(())
}

struct Run<'a, F> {
    graph: &'a Graph,
    weights: &'a dyn WeightSource,
    tensors: Vec<Option<Vec<F>>>,
}

/// One value for the whole batch.
#[derive(Clone, Copy)]
struct Tensor<'a, F> {
    shape: Shape,
    data: &'a [F],
}

impl<F> Tensor<'_, F> {
    /// Images in the batch.
    fn batch(&self) -> usize {
        self.data.len() / self.shape.elements().max(1) as usize
    }
}

impl<F: Float> Run<'_, F> {
    fn tensor(&self, id: NodeId) -> Tensor<'_, F> {
        let data = self.tensors[id.index()].as_deref();
        Tensor {
            shape: self.graph.node(id).shape,
            data: data.expect("values are freed after their last use only"),
        }
    }

    /// The value of a node: its operation on loaded operands, then the epilogue.
    fn node(&self, node: &Node) -> Result<Vec<F>, Fault> {
        let (own, added) = node.inputs.split_at(node.inputs.len() - node.fusion.added_inputs());
        let mut result = self.operation(node, own)?;
        let mut added = added.iter();
        for post in &node.fusion.post {
            match post {
                Post::Activation(activation) => ops::activate(*activation, &mut result),
                Post::Add => {
                    let operand = added.next().expect("as many operands as additions");
                    ops::add(&mut result, self.tensor(*operand).data);
                }
            }
        }
        Ok(result)
    }

    fn operation(&self, node: &Node, operands: &[NodeId]) -> Result<Vec<F>, Fault> {
        let operands: Vec<_> = operands.iter().map(|&id| self.tensor(id)).collect();
        let mut x = operands[0];
        let mut loaded;
        if node.op.can_load() && node.fusion.load != Activation::Linear {
            loaded = copied(x.data)?;
            ops::activate(node.fusion.load, &mut loaded);
            x.data = &loaded;
        }
        let value = match &node.op {
            Op::Conv(conv) => return convolve(conv, self.weights, x),
            Op::Separable(parts) => {
                let mut data = convolve(&parts.spatial, self.weights, x)?;
                ops::activate(parts.between, &mut data);
                // A point window reads the map pixel by pixel, so the intermediate has the
                // result's extent.
                let shape = node.shape.with_channels(parts.spatial.partition.oc());
                return convolve(&parts.pointwise, self.weights, Tensor { shape, data: &data });
            }
            Op::Dense(part) => return dense(part, self.weights, x),
            Op::BatchNorm(norm) => {
                let mut result = copied(x.data)?;
                normalise(norm, self.weights, &mut result, x.shape.c() as usize)?;
                Ok(result)
            }
            Op::Activation(activation) => {
                let mut result = copied(x.data)?;
                ops::activate(*activation, &mut result);
                Ok(result)
            }
            Op::Pool(pool) => ops::pool(pool, x, node.shape),
            Op::GlobalPool(kind) => ops::global_pool(*kind, x),
            Op::Softmax => ops::softmax(x),
            Op::Add => ops::sum(&operands),
            Op::Concat => ops::concat(&operands),
            Op::Input | Op::Dropout { .. } | Op::Flatten => copied(x.data),
        };
        value.map_err(Fault::Memory)
    }
}
