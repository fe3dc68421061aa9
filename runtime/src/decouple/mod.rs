//! Weights of convolutions carried to other segments in closed form, without data.
//!
//! A spatial part and the pointwise part beside it are one linear map of a window: taps x inputs x
//! outputs. Cutting the spatial part into segments bounds the rank of a slice of that map for each
//! segment: of the rows of its inputs, where the spatial part comes first, of the columns of its
//! outputs, where the pointwise part does. The slices have no weights in common, so the best
//! approximation of each, a truncated singular value decomposition (Eckart and Young, 1936), is
//! the best of all. With a segment for each channel this is network decoupling (Guo et al., arXiv
//! 1808.05517), the depth multiplier being its number of terms. A convolution without a pointwise
//! part keeps the weights within segments.

mod factor;
mod layer;
mod linear;
mod map;

use std::borrow::Cow;
use std::collections::HashMap;

use xcc_compiler::graph::{Graph, LayerId, WeightError, WeightId, WeightSource};

use crate::checked::{WrongLength, lengths, violation};
use crate::memory::owned;
use crate::weights::Extents;
use layer::decouple_layer;
use linear::Linear;

/// Weights for a network, made of those of another.
#[derive(Debug)]
pub struct Decoupled {
    /// The layers whose weights changed.
    pub layers: Vec<DecoupledLayer>,
    /// How many tensors were taken as they were.
    pub copied: usize,
    tensors: Vec<Vec<f32>>,
}

impl WeightSource for Decoupled {
    fn tensor(&self, id: WeightId) -> Result<Cow<'_, [f32]>, WeightError> {
        Ok(Cow::Borrowed(&self.tensors[id.index()]))
    }

    fn length(&self, id: WeightId) -> u64 {
        self.tensors[id.index()].len() as u64
    }
}

/// A layer whose weights changed.
#[derive(Clone, Debug, PartialEq)]
pub struct DecoupledLayer {
    /// Its name.
    pub name: String,
    /// Segments that it had, in the text form of partitions.
    pub from: String,
    /// Segments that it has.
    pub to: String,
    /// Distance of the linear maps before and after, relative to the size of the one before, both
    /// in the Frobenius norm: 0 for an exact copy, 1 for nothing in common.
    pub error: f64,
}

/// Why weights cannot be carried over.
#[derive(Debug, thiserror::Error)]
pub enum DecoupleError {
    /// Layers differ in more than segments.
    #[error("{}", listed(.0))]
    Layers(Vec<String>),
    /// A graph breaks an invariant.
    #[error("the graph is broken: {0}")]
    Graph(String),
    /// A parameter tensor has a wrong number of elements.
    #[error(transparent)]
    Weight(#[from] WrongLength),
    /// A layer is too large.
    #[error(
        "layer {layer}: the {rows} x {columns} numbers of a segment are more than the {limit} that are approximated at \
         once; more segments have fewer"
    )]
    TooLarge {
        /// The layer.
        layer: String,
        /// Rows of the matrix.
        rows: u64,
        /// Its columns.
        columns: u64,
        /// The most elements.
        limit: u64,
    },
    /// The numbers of a tensor cannot be had.
    #[error(transparent)]
    Unreadable(#[from] WeightError),
    /// A layer's weights are not finite.
    #[error("layer {layer}: its weights are not all finite numbers")]
    NotFinite {
        /// The layer.
        layer: String,
    },
}

fn listed(layers: &[String]) -> String {
    const SHOWN: usize = 10;
    let mut text =
        "these weights cannot be carried over, the networks differ in more than segments:".to_owned();
    layers.iter().take(SHOWN).for_each(|line| text.push_str(&format!("\n  {line}")));
    if let Some(more) = layers.len().checked_sub(SHOWN + 1) {
        text.push_str(&format!("\n  and {} more", more + 1));
    }
    text
}

/// Weights for `target` made of those of `dense`; layers are paired by name. Both graphs are as
/// they were elaborated.
pub fn decouple(
    target: &Graph,
    dense: &Graph,
    weights: &(dyn WeightSource + Sync),
) -> Result<Decoupled, DecoupleError> {
    let broken = violation(target).or_else(|| violation(dense));
    broken.map_or(Ok(()), |violation| Err(DecoupleError::Graph(violation)))?;
    lengths(dense, weights)?;
    let pairs = pairs(target, dense)?;
    let (mut layers, mut copied) = (Vec::new(), 0);
    let mut tensors = vec![Vec::new(); target.weights.len()];
    for pair in pairs {
        copied += pair.copies.len();
        for (to, from) in pair.copies {
            tensors[to.index()] = owned(weights.tensor(from)?)?;
        }
        if let Some((to, from)) = pair.change {
            let done = decouple_layer(&to, &from, weights)?;
            done.tensors.into_iter().for_each(|(id, values)| tensors[id.index()] = values);
            layers.push(DecoupledLayer {
                name: to.name.to_owned(),
                from: from.spatial.partition.to_string(),
                to: to.spatial.partition.to_string(),
                error: done.error,
            });
        }
    }
    Ok(Decoupled { layers, copied, tensors })
}

/// What becomes of a layer's weights.
#[derive(Default)]
struct Pair<'a> {
    /// Tensors taken as they are: the network's, and where from.
    copies: Vec<(WeightId, WeightId)>,
    /// The layer, and the one that it is made of, if they differ in segments.
    change: Option<(Linear<'a>, Linear<'a>)>,
}

/// Pairs the layers that have weights; every difference that is no difference of segments is an
/// error.
fn pairs<'a>(target: &'a Graph, dense: &'a Graph) -> Result<Vec<Pair<'a>>, DecoupleError> {
    let by_name: HashMap<&str, LayerId> =
        dense.layers.iter().enumerate().map(|(n, layer)| (layer.name.as_str(), LayerId::new(n))).collect();
    let (mut pairs, mut differences) = (Vec::new(), Vec::new());
    let with_weights = (0..target.layers.len()).map(LayerId::new);
    for layer in with_weights.filter(|&layer| target.weights.iter().any(|weight| weight.layer == layer)) {
        let name = target.layer(layer).name.as_str();
        let found = match by_name.get(name) {
            Some(&other) => pair(target, layer, dense, other),
            None => Err("the network that the weights are for has no such layer".to_owned()),
        };
        match found {
            Ok(pair) => pairs.push(pair),
            Err(difference) => differences.push(format!("{name}: {difference}")),
        }
    }
    if differences.is_empty() { Ok(pairs) } else { Err(DecoupleError::Layers(differences)) }
}

fn pair<'a>(target: &'a Graph, layer: LayerId, dense: &'a Graph, other: LayerId) -> Result<Pair<'a>, String> {
    let linear = Linear::of(target, layer).zip(Linear::of(dense, other));
    let Some((to, from)) = linear.filter(|(to, from)| to.is_cut_otherwise(from)) else {
        let copies = ids(target, layer).map(|id| Ok((id, counterpart(target, id, dense, other)?)));
        return Ok(Pair { copies: copies.collect::<Result<_, String>>()?, change: None });
    };
    to.check(&from)?;
    let bias = match (to.bias, from.bias) {
        (Some(to), Some(from)) => vec![(to, from)],
        (None, None) => Vec::new(),
        _ => return Err("one of both has a bias".to_owned()),
    };
    Ok(Pair { copies: bias, change: Some((to, from)) })
}

fn ids(graph: &Graph, layer: LayerId) -> impl Iterator<Item = WeightId> {
    (0..graph.weights.len()).map(WeightId::new).filter(move |&id| graph.weight(id).layer == layer)
}

/// The tensor of another network's layer with the same role and shape.
fn counterpart(target: &Graph, id: WeightId, dense: &Graph, layer: LayerId) -> Result<WeightId, String> {
    let weight = target.weight(id);
    let found = ids(dense, layer).find(|&other| dense.weight(other).role == weight.role);
    let other = found.ok_or_else(|| format!("the weights have no {} for it", weight.role))?;
    let shape = &dense.weight(other).shape;
    if *shape != weight.shape {
        let [ours, theirs] = [&weight.shape, shape].map(|shape| Extents::from(&shape[..]));
        return Err(format!("{} is {ours} here and {theirs} in the weights", weight.role));
    }
    Ok(other)
}
