//! Files that Keras writes: what they hold, and how their layers are told apart.
//!
//! Keras identifies layers by order, not by name. Files of Keras 1, 2 and the `.h5` files of Keras 3 list the
//! layers in the order of `model.layers`; `.weights.h5` files of Keras 3 number the layers of each class in
//! that order. [`order`] finds the same order for a network of ours, [`pair`] puts the two lists side by
//! side. Where that leaves a choice, [`structure`] decides by the description that whole models have.

mod archive;
mod config;
mod hdf5;
mod index;
mod order;
mod pair;
mod structure;

pub(super) use archive::{member_limit, open_archive};
pub(super) use hdf5::open_hdf5;
pub use order::keras_order;
pub(super) use pair::by_order;

use super::stored::Stored;
use config::Config;

/// A file of Keras: its tensors, and the layers that they belong to.
pub(super) struct KerasFile {
    /// All tensors, in the order of layers.
    pub tensors: Vec<Stored>,
    /// Layers that have tensors.
    pub layers: Vec<StoredLayer>,
    /// What the order of `layers` means.
    pub listing: Listing,
    /// The description of the model; it has no layers where there is none.
    config: Config,
}

/// What the order of a file's layers means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Listing {
    /// It is Keras' order of all layers.
    All,
    /// It is Keras' order for the layers of one class; classes are known.
    PerClass,
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
    /// Its tensors, as positions in [`KerasFile::tensors`].
    pub tensors: Vec<usize>,
}
