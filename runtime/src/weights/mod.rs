//! The numbers of a network's parameter tensors: random ones from a seed, and the files of several
//! tools.
//!
//! A file is read in three steps: its list of tensors (`stored`), the binding of each to a tensor
//! of the network (by name in `bind`, by Keras' order in `keras`), and the numbers. The second
//! step ends with every mismatch there is, so that nothing is read from a file that is not for the
//! network.

mod bind;
mod dataset;
mod error;
mod file;
mod keras;
mod layout;
mod name_map;
pub(crate) mod random;
mod safetensors;
mod source;
mod stored;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

use xcc_compiler::graph::{Graph, WeightError, WeightId, WeightSource};

pub use error::{Contradiction, Extents, Mismatch, WeightsError};
pub use file::{Format, LoadOptions, load, load_with};
pub use keras::keras_order;
pub use name_map::{Axis, FlattenOrder, NameMap, NameMapError, RuleLayout, Translation};
use random::Stream;
pub use safetensors::save_safetensors;
use source::Source;
use stored::Piece;

/// Numbers for every parameter tensor of a graph.
///
/// Tensors of a safetensors file stay in the file, which stays open, and are read each time that
/// they are asked for: a file that was cut or written to meanwhile is an error (replacing it by
/// another file of the same name is harmless). Random numbers are drawn each time that they are
/// asked for. Both take memory only while a tensor is read. Tensors of Keras' files are read when
/// they are loaded.
#[derive(Debug)]
pub struct Weights {
    tensors: Vec<Tensor>,
    source: Option<Source>,
    origin: Origin,
    contradictions: Vec<Contradiction>,
}

/// Where the numbers of a tensor are.
#[derive(Clone, Debug)]
enum Tensor {
    /// In memory of its own.
    Owned(Vec<f32>),
    /// In the open file.
    Stored(Piece),
    /// Nowhere: they are drawn when they are asked for.
    Random(Stream),
}

/// Where weights come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Drawn at random.
    Seed(u64),
    /// Read from a file.
    File {
        /// Its format.
        format: Format,
        /// How tensors of the file were told apart.
        matching: Matching,
    },
}

/// How tensors of a file were bound to those of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    /// By their names, perhaps translated by a map.
    Names,
    /// By the graph of the model that the file describes.
    Description {
        /// Layers with weights.
        layers: usize,
    },
    /// By shapes and the order of layers; `confirmed` of `layers` layers with weights have the
    /// same name in the file.
    Order {
        /// Layers with the same name on both sides.
        confirmed: usize,
        /// Layers with weights.
        layers: usize,
    },
}

/// Prints as `HDF5, by the order of layers (29 of 29 names agree)` or `random, seed 7`.
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Seed(seed) => write!(f, "random, seed {seed}"),
            Origin::File { format, matching: Matching::Names } => write!(f, "{format}, by name"),
            Origin::File { format, matching: Matching::Description { layers } } => {
                write!(f, "{format}, by the graph that it describes ({layers} layers)")
            }
            Origin::File { format, matching: Matching::Order { confirmed, layers } } => {
                write!(f, "{format}, by the order of layers ({confirmed} of {layers} names agree)")
            }
        }
    }
}

/// What a conversion wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Converted {
    /// Tensors written.
    pub tensors: usize,
    /// Numbers written.
    pub elements: u64,
    /// Where they came from.
    pub origin: Origin,
    /// What the file's description says of the network, and says otherwise.
    pub contradictions: Vec<Contradiction>,
}

impl Weights {
    /// Random numbers, the same on every machine for the same names, roles, fan-ins and `seed`, of
    /// a size that keeps the activations of deep networks within a few orders of magnitude of the
    /// input's.
    pub fn random(graph: &Graph, seed: u64) -> Weights {
        let stream = |weight| Tensor::Random(Stream::new(weight, seed));
        let tensors = graph.weights.iter().map(stream).collect();
        Weights { tensors, source: None, origin: Origin::Seed(seed), contradictions: Vec::new() }
    }

    /// Where the numbers come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the file's description says of the network, and says otherwise: results may differ
    /// from those of the model that was saved.
    pub fn contradictions(&self) -> &[Contradiction] {
        &self.contradictions
    }
}

impl WeightSource for Weights {
    /// The numbers of tensor `id` of the graph that these weights were made or loaded for; none
    /// where that has no such tensor.
    fn tensor(&self, id: WeightId) -> Result<Cow<'_, [f32]>, WeightError> {
        match (self.tensors.get(id.index()), &self.source) {
            (Some(Tensor::Owned(values)), _) => Ok(Cow::Borrowed(values)),
            (Some(Tensor::Stored(piece)), Some(source)) => piece.read(source).map(Cow::Owned),
            (Some(Tensor::Random(stream)), _) => Ok(Cow::Owned(stream.draw()?)),
            // Weights with such tensors are made with their file.
            (Some(Tensor::Stored(_)), None) | (None, _) => Ok(Cow::Borrowed(&[])),
        }
    }

    fn length(&self, id: WeightId) -> u64 {
        match self.tensors.get(id.index()) {
            Some(Tensor::Owned(values)) => values.len() as u64,
            Some(Tensor::Stored(piece)) => piece.length(),
            Some(Tensor::Random(stream)) => stream.elements,
            None => 0,
        }
    }
}

/// Reads the weights of `graph` from `input` in any format and writes them to `output` as
/// safetensors.
///
/// `output` is written whole or not at all; it may be `input`.
pub fn convert(
    graph: &Graph,
    input: &Path,
    options: &LoadOptions,
    output: &Path,
) -> Result<Converted, WeightsError> {
    let weights = load_with(graph, input, options)?;
    save_safetensors(graph, &weights, output)?;
    Ok(Converted {
        contradictions: weights.contradictions,
        tensors: graph.weights.len(),
        elements: graph.weights.iter().map(|weight| weight.elements()).sum(),
        origin: weights.origin,
    })
}
