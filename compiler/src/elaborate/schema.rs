//! The layers of the language: their words, their kinds and the attributes they take.

use super::foreign;
use super::suggest::Suggestions;
use crate::graph::LayerKind;

/// A layer of the language.
pub struct LayerSchema {
    /// Its word.
    pub word: &'static str,
    /// The kind of the layer that it makes.
    pub kind: LayerKind,
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
    kind: LayerKind,
    required: &'static [&'static str],
    optional: &'static [&'static str],
) -> LayerSchema {
    LayerSchema { word, kind, required, optional }
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

/// Every layer.
pub const LAYERS: &[LayerSchema] = &[
    layer("conv", LayerKind::Conv, &["filters", "kernel"], CONV),
    layer("depthwise", LayerKind::DepthwiseConv, &["kernel"], DEPTHWISE),
    layer("sepconv", LayerKind::SepConv, &["filters", "kernel"], SEPCONV),
    layer("bn", LayerKind::BatchNorm, &[], &["epsilon", "scale", "center"]),
    layer("relu", LayerKind::Activation, &[], &[]),
    layer("relu6", LayerKind::Activation, &[], &[]),
    layer("elu", LayerKind::Activation, &[], &[]),
    layer("sigmoid", LayerKind::Activation, &[], &[]),
    layer("softmax", LayerKind::Softmax, &[], &[]),
    layer("maxpool", LayerKind::MaxPool, &["window"], &["strides", "padding"]),
    layer("avgpool", LayerKind::AveragePool, &["window"], &["strides", "padding"]),
    layer("globalavgpool", LayerKind::GlobalAveragePool, &[], &[]),
    layer("globalmaxpool", LayerKind::GlobalMaxPool, &[], &[]),
    layer("dense", LayerKind::Dense, &["units"], &["bias", "activation"]),
    layer("dropout", LayerKind::Dropout, &["rate"], &[]),
    layer("flatten", LayerKind::Flatten, &[], &[]),
];

/// The layer of that word.
pub fn find(word: &str) -> Option<&'static LayerSchema> {
    LAYERS.iter().find(|l| l.word == word)
}
