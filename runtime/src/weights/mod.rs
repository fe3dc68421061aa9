//! The numbers of a network's parameter tensors: random ones from a seed, and the files of several tools.
//!
//! A file is read in three steps: its list of tensors (`stored`), the binding of each to a tensor of the
//! network (by name in `bind`, by Keras' order in `keras`), and the numbers. The second step ends with every
//! mismatch there is, so that nothing is read from a file that is not for the network.

mod bind;
mod dataset;
mod error;
mod file;
mod keras;
mod layout;
mod name_map;
pub(crate) mod random;
mod safetensors;
mod stored;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;
#[cfg(unix)]
use memmap2::UncheckedAdvice;
use xcc_compiler::graph::{Graph, WeightId, WeightSource};

pub use error::{Contradiction, Extents, Mismatch, WeightsError};
pub use file::{Format, LoadOptions, load, load_with};
pub use keras::keras_order;
pub use name_map::{Axis, FlattenOrder, NameMap, NameMapError, RuleLayout, Translation};
use random::Stream;
pub use safetensors::save_safetensors;

/// Numbers for every parameter tensor of a graph.
///
/// Tensors of a safetensors file stay in the file, which is mapped: it must not be changed while the weights
/// are in use (replacing it by another file of the same name is harmless). Random numbers are drawn each time that
/// they are asked for. Both take memory only while a tensor is read.
#[derive(Debug)]
pub struct Weights {
    tensors: Vec<Tensor>,
    map: Option<Mmap>,
    origin: Origin,
    contradictions: Vec<Contradiction>,
}

/// Where the numbers of a tensor are.
#[derive(Clone, Debug)]
enum Tensor {
    /// In memory of its own.
    Owned(Vec<f32>),
    /// In these bytes of the mapped file, which were found to be aligned and to lie inside it.
    Mapped(Range<usize>),
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
    /// By shapes and the order of layers; `confirmed` of `layers` layers with weights have the same name in the file.
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
    /// Random numbers, the same on every machine for the same names, roles, fan-ins and `seed`, of a size
    /// that keeps the activations of deep networks within a few orders of magnitude of the input's.
    pub fn random(graph: &Graph, seed: u64) -> Weights {
        let stream = |weight| Tensor::Random(Stream::new(weight, seed));
        let tensors = graph.weights.iter().map(stream).collect();
        Weights { tensors, map: None, origin: Origin::Seed(seed), contradictions: Vec::new() }
    }

    /// Where the numbers come from.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// What the file's description says of the network, and says otherwise: results may differ from those of
    /// the model that was saved.
    pub fn contradictions(&self) -> &[Contradiction] {
        &self.contradictions
    }
}

impl WeightSource for Weights {
    /// The numbers of tensor `id` of the graph that these weights were made or loaded for; none
    /// where that has no such tensor.
    fn tensor(&self, id: WeightId) -> Cow<'_, [f32]> {
        match (self.tensors.get(id.index()), &self.map) {
            (Some(Tensor::Owned(values)), _) => Cow::Borrowed(values),
            (Some(Tensor::Mapped(bytes)), Some(map)) => {
                Cow::Borrowed(bytemuck::cast_slice(&map[bytes.clone()]))
            }
            (Some(Tensor::Random(stream)), _) => Cow::Owned(stream.draw()),
            (Some(Tensor::Mapped(_)), None) | (None, _) => Cow::Borrowed(&[]),
        }
    }

    fn length(&self, id: WeightId) -> u64 {
        match self.tensors.get(id.index()) {
            Some(Tensor::Random(stream)) => stream.elements,
            _ => self.tensor(id).len() as u64,
        }
    }

    fn release(&self, id: WeightId) {
        if let (Some(Tensor::Mapped(bytes)), Some(map)) = (self.tensors.get(id.index()), &self.map) {
            forget(map, bytes);
        }
    }
}

/// Gives back the memory that holds a part of a mapped file. What is read of it later comes from the file again.
#[cfg(unix)]
fn forget(map: &Mmap, bytes: &Range<usize>) {
    // SAFETY: pages of a mapping of a file that nobody writes to are copies of the file; whoever reads them gets
    // the same bytes before and after.
    let advised = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, bytes.start, bytes.len()) };
    // A system that does not take the advice keeps the memory until the weights are dropped.
    let _ = advised;
}

/// Other systems decide by themselves what they keep of a mapped file.
#[cfg(not(unix))]
fn forget(_map: &Mmap, _bytes: &Range<usize>) {}

/// Reads the weights of `graph` from `input` in any format and writes them to `output` as safetensors.
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
