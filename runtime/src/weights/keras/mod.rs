//! Files that Keras writes: what they hold, and which of their layers is which of a network's.
//!
//! Keras identifies layers by order, not by name: files of Keras 1, 2 and the `.h5` files of Keras
//! 3 list the layers in the order of `model.layers`; `.weights.h5` files of Keras 3 number the
//! layers of each class in that order ([`listed`]). That order depends on the order of a sum's
//! operands, which means nothing. So layers are matched by what is certain: the graph of the model
//! where the file describes it ([`description`]), else names that a person gave, shapes, and order
//! where it leaves no choice ([`undescribed`]). Nothing is guessed.

mod archive;
mod config;
mod description;
mod hdf5;
mod index;
mod isomorphism;
mod listed;
mod names;
mod order;
mod orders;
mod pair;
mod sublayers;
mod topology;
mod undescribed;

pub(super) use archive::{member_limit, open_archive};
pub(super) use hdf5::open_hdf5;
pub use order::keras_order;

use std::collections::HashMap;

use xcc_compiler::graph::Graph;

use super::Matching;
use super::bind::Outcome;
use super::stored::Stored;
use config::{Config, ConfigLayer};
use pair::Sides;
use topology::Kind;

/// A file of Keras: its tensors, and the layers that they belong to.
pub(super) struct KerasFile {
    /// All tensors, in the order of layers.
    pub tensors: Vec<Stored>,
    /// Layers that have tensors.
    pub layers: Vec<StoredLayer>,
    /// All layers, as far as the file lists them.
    listed: Vec<ListedLayer>,
    /// What the order of `layers` means.
    listing: Listing,
    /// True if a model may be a layer of the model: its layers have an order of their own.
    is_nested: bool,
    /// The description of the model; it has no layers where there is none.
    config: Config,
}

/// What the order of a file's layers means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Listing {
    /// It is Keras' order of all layers.
    All,
    /// It is Keras' order for the layers of one class; classes are known.
    PerClass,
    /// Nothing, for some layers at least.
    Unordered,
}

/// A layer with weights in a file of Keras.
#[derive(Debug)]
pub(super) struct StoredLayer {
    /// The file's name for its place, to be printed.
    pub label: String,
    /// The layer's name in the model that was saved, where the file tells.
    pub name: Option<String>,
    /// The name of its class in snake case, where the file tells.
    pub class: Option<String>,
    /// The layer in the description ([`ConfigLayer::id`]), where there is one.
    pub id: Option<usize>,
    /// Its tensors, as positions in [`KerasFile::tensors`].
    pub tensors: Vec<usize>,
}

/// Any layer that a file lists.
#[derive(Debug)]
struct ListedLayer {
    /// The name of its class in snake case, where the file tells.
    class: Option<String>,
    /// Its position in [`KerasFile::layers`], if it has tensors.
    stored: Option<usize>,
}

impl ListedLayer {
    /// A layer without tensors: its class from the description, or from a name that Keras made up.
    fn without_tensors(name: &str, known: Option<&ConfigLayer>) -> Self {
        let stem = || name.rsplit_once('_').filter(|(_, number)| number.parse::<u32>().is_ok());
        let stem = || stem().map_or(name, |(stem, _)| stem).to_owned();
        Self { class: Some(known.map_or_else(stem, |layer| layer.class.clone())), stored: None }
    }
}

impl KerasFile {
    /// Leaves out tensors by name, and layers that have no others.
    pub fn leave_out(&mut self, is_ignored: impl Fn(&str) -> bool) {
        let tensors = &self.tensors;
        let mut places = Vec::with_capacity(self.layers.len());
        let mut kept = 0;
        self.layers.retain_mut(|layer| {
            layer.tensors.retain(|&tensor| !is_ignored(&tensors[tensor].name));
            let is_kept = !layer.tensors.is_empty();
            places.push(is_kept.then_some(kept));
            kept += usize::from(is_kept);
            is_kept
        });
        self.listed.retain_mut(|listed| match listed.stored {
            None => true,
            Some(place) => {
                listed.stored = places[place];
                listed.stored.is_some()
            }
        });
    }
}

/// Binds the tensors of a file to the layers of `graph`. Tensors that it does not need are no
/// mismatch if `ignores_surplus`.
pub(super) fn bind<'a>(graph: &Graph, file: &'a KerasFile, ignores_surplus: bool) -> (Outcome<'a>, Matching) {
    let sides = Sides::of(graph, file, ignores_surplus);
    description::bind(&sides).unwrap_or_else(|| undescribed::bind(&sides))
}

/// The class that does the same under the name of today; Keras 1 had longer ones.
fn canonical_class(class: &str) -> &str {
    match class {
        "convolution2d" => "conv2d",
        "separable_convolution2d" => "separable_conv2d",
        "max_pool2d" => "max_pooling2d",
        "avg_pool2d" => "average_pooling2d",
        other => other,
    }
}

/// The signature of a normalisation. One with a scale alone has the extents of one with an offset
/// alone.
fn normalization(tensors: Vec<Vec<u64>>, scales: bool, centers: bool) -> Kind {
    let without = match (scales, centers) {
        (false, true) => " without scale",
        (true, false) => " without offset",
        _ => "",
    };
    signature(&format!("batch_normalization{without}"), tensors)
}

/// What a layer with weights must be equal in to be matched: its class and the extents of its
/// tensors. Kernels of depthwise convolutions have the same numbers in the same order whether
/// channels and multiplier are one axis or two.
fn signature(class: &str, mut tensors: Vec<Vec<u64>>) -> Kind {
    if class == "depthwise_conv2d" || class == "separable_conv2d" {
        for extents in tensors.iter_mut().filter(|extents| extents.len() == 4) {
            let channels = extents[2].saturating_mul(extents[3]);
            extents.truncate(2);
            extents.push(channels);
        }
    }
    tensors.sort_unstable();
    Kind::Weights(class.to_owned(), tensors)
}

/// Positions of a list of keys that only one element has.
fn unique<K: Eq + std::hash::Hash>(keys: impl Iterator<Item = K>) -> HashMap<K, usize> {
    let mut places: HashMap<K, Option<usize>> = HashMap::new();
    for (place, key) in keys.enumerate() {
        places.entry(key).and_modify(|known| *known = None).or_insert(Some(place));
    }
    places.into_iter().filter_map(|(key, place)| Some((key, place?))).collect()
}
