//! The layers of the language: their words, their kinds and the attributes they take.

use super::report::nearest;
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

    /// The attribute that somebody who writes `name` probably means.
    pub fn likely_attribute(&self, name: &str) -> Option<&'static str> {
        let foreign = FOREIGN_ATTRIBUTES.iter().filter(|(other, _)| *other == name);
        let known = foreign.filter_map(|(_, ours)| self.attribute(ours)).next();
        known.or_else(|| nearest(name, self.attributes()))
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

/// What other tools call an attribute, and what it is called here. One name can stand for several attributes,
/// of which a layer has one.
const FOREIGN_ATTRIBUTES: &[(&str, &str)] = &[
    ("num_output", "filters"),
    ("num_output", "units"),
    ("out_channels", "filters"),
    ("num_filters", "filters"),
    ("out_features", "units"),
    ("kernel_size", "kernel"),
    ("kernel_size", "window"),
    ("size", "kernel"),
    ("pool_size", "window"),
    ("kernel", "window"),
    ("window", "kernel"),
    ("stride", "strides"),
    ("pad", "padding"),
    ("pads", "padding"),
    ("border_mode", "padding"),
    ("subsample", "strides"),
    ("group", "groups"),
    ("group", "segments"),
    ("groups", "segments"),
    ("num_group", "groups"),
    ("dilation_rate", "dilation"),
    ("dilations", "dilation"),
    ("use_bias", "bias"),
    ("bias_term", "bias"),
    ("eps", "epsilon"),
    ("gamma", "scale"),
    ("beta", "center"),
    ("depth_multiplier", "multiplier"),
    ("p", "rate"),
    ("dropout_ratio", "rate"),
];

/// What other tools call a layer.
const FOREIGN_LAYERS: &[(&str, &str)] = &[
    ("conv2d", "conv"),
    ("convolution", "conv"),
    ("convolution2d", "conv"),
    ("separableconv2d", "sepconv"),
    ("separable_conv2d", "sepconv"),
    ("depthwiseconv2d", "depthwise"),
    ("dwconv", "depthwise"),
    ("batchnormalization", "bn"),
    ("batchnorm2d", "bn"),
    ("batchnorm", "bn"),
    ("batch_norm", "bn"),
    ("activation", "relu"),
    ("maxpooling2d", "maxpool"),
    ("maxpool2d", "maxpool"),
    ("averagepooling2d", "avgpool"),
    ("avgpool2d", "avgpool"),
    ("globalaveragepooling2d", "globalavgpool"),
    ("gap", "globalavgpool"),
    ("adaptiveavgpool2d", "globalavgpool"),
    ("globalmaxpooling2d", "globalmaxpool"),
    ("linear", "dense"),
    ("fc", "dense"),
    ("innerproduct", "dense"),
    ("concatenate", "concat"),
    ("cat", "concat"),
];

/// The layer, block or statement that somebody who writes `word` probably means.
pub fn likely_layer<'b>(word: &str, blocks: impl Iterator<Item = &'b str>) -> Option<&'b str> {
    let lower = word.to_lowercase();
    let known = FOREIGN_LAYERS.iter().find(|(other, _)| *other == lower).map(|(_, ours)| *ours);
    let words = LAYERS.iter().map(|l| l.word).chain(["residual", "concat", "branch", "repeat"]);
    known.or_else(|| nearest(word, words.chain(blocks)))
}
