//! The layers of the language: their words, their kinds and the attributes they take.

use std::sync::LazyLock;

use super::foreign;
use super::suggest::Suggestions;
use crate::graph::{Activation, PoolKind};

/// What a layer's word makes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Makes {
    /// A convolution.
    Conv,
    /// A convolution in segments without a pointwise part.
    Depthwise,
    /// A separable convolution.
    SepConv,
    /// A fully connected layer.
    Dense,
    /// A batch normalisation.
    BatchNorm,
    /// An activation function, with its parameter's default.
    Activation(Activation),
    /// Softmax.
    Softmax,
    /// A pool over windows.
    Pool(PoolKind),
    /// A pool over all pixels.
    GlobalPool(PoolKind),
    /// A dropout.
    Dropout,
    /// A map as a vector.
    Flatten,
}

/// A layer of the language.
pub struct LayerSchema {
    /// Its word.
    pub word: &'static str,
    /// What it makes.
    pub makes: Makes,
    /// Attributes that must be given, in the order in which they may be given without their names.
    pub required: &'static [&'static str],
    /// Attributes that may be given.
    pub optional: &'static [&'static str],
}

impl LayerSchema {
    /// All attributes.
    pub fn attributes(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.required.iter().chain(self.optional).copied()
    }

    /// The attribute of that name.
    pub fn attribute(&self, name: &str) -> Option<&'static str> {
        self.attributes().find(|a| *a == name)
    }

    /// The attributes that the shape of the result depends on.
    pub fn shaping(&self) -> impl Iterator<Item = &'static str> + '_ {
        let shaping = ["strides", "padding", "dilation", "multiplier"];
        self.required.iter().chain(self.optional.iter().filter(move |a| shaping.contains(a))).copied()
    }

    /// The attribute that somebody who writes `name` probably means.
    pub fn likely_attribute(&self, name: &str, suggestions: &Suggestions) -> Option<&'static str> {
        let known = foreign::attributes(name).filter_map(|ours| self.attribute(ours)).next();
        known.or_else(|| suggestions.nearest(name, self.attributes()))
    }
}

const fn layer(
    word: &'static str,
    makes: Makes,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> LayerSchema {
    LayerSchema { word, makes, required, optional }
}

const CONV: &[&str] = &["strides", "padding", "dilation", "segments", "groups", "bias", "activation"];
const DEPTHWISE: &[&str] =
    &["strides", "padding", "dilation", "multiplier", "segments", "bias", "activation"];
const SEPCONV: &[&str] = &[
    "strides",
    "padding",
    "dilation",
    "multiplier",
    "segments",
    "order",
    "activation_between",
    "bias",
    "activation",
];

/// The layers that lists have before the activation functions.
const BEFORE_FUNCTIONS: [LayerSchema; 4] = [
    layer("conv", Makes::Conv, &["filters", "kernel"], CONV),
    layer("depthwise", Makes::Depthwise, &["kernel"], DEPTHWISE),
    layer("sepconv", Makes::SepConv, &["filters", "kernel"], SEPCONV),
    layer("bn", Makes::BatchNorm, &[], &["epsilon", "scale", "center"]),
];

/// The layers that lists have behind the activation functions.
const BEHIND_FUNCTIONS: [LayerSchema; 8] = [
    layer("softmax", Makes::Softmax, &[], &[]),
    layer("maxpool", Makes::Pool(PoolKind::Max), &["window"], &["strides", "padding"]),
    layer("avgpool", Makes::Pool(PoolKind::Average), &["window"], &["strides", "padding"]),
    layer("globalavgpool", Makes::GlobalPool(PoolKind::Average), &[], &[]),
    layer("globalmaxpool", Makes::GlobalPool(PoolKind::Max), &[], &[]),
    layer("dense", Makes::Dense, &["units"], &["bias", "activation"]),
    layer("dropout", Makes::Dropout, &["rate"], &[]),
    layer("flatten", Makes::Flatten, &[], &[]),
];

static LAYERS: LazyLock<Vec<LayerSchema>> =
    LazyLock::new(|| BEFORE_FUNCTIONS.into_iter().chain(functions()).chain(BEHIND_FUNCTIONS).collect());

/// The activation functions as layers, each under all of its words.
fn functions() -> impl Iterator<Item = LayerSchema> {
    let attributes = |function: Activation| -> &'static [&'static str] {
        if function.slope().is_some() { &["slope"] } else { &[] }
    };
    let layers = move |function: Activation| {
        function.words().map(move |word| layer(word, Makes::Activation(function), &[], attributes(function)))
    };
    Activation::ALL.into_iter().filter(|function| *function != Activation::Linear).flat_map(layers)
}

/// Every layer.
pub fn layers() -> &'static [LayerSchema] {
    &LAYERS
}

/// The layer of that word.
pub fn find(word: &str) -> Option<&'static LayerSchema> {
    layers().iter().find(|layer| layer.word == word)
}
