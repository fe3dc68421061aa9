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

    /// The attributes that the shape of the result depends on.
    pub fn shaping(&self) -> impl Iterator<Item = &'static str> + '_ {
        let shaping = ["strides", "padding", "dilation", "multiplier"];
        self.required.iter().chain(self.optional.iter().filter(move |a| shaping.contains(a))).copied()
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

/// What other tools call a layer, as [`plain`] makes of it.
const FOREIGN_LAYERS: &[(&str, &str)] = &[
    ("convolution", "conv"),
    ("separableconv", "sepconv"),
    ("separableconvolution", "sepconv"),
    ("depthwiseconv", "depthwise"),
    ("depthwiseconvolution", "depthwise"),
    ("dwconv", "depthwise"),
    ("batchnormalization", "bn"),
    ("batchnorm", "bn"),
    ("activation", "relu"),
    ("leakyrelu", "relu"),
    ("maxpooling", "maxpool"),
    ("averagepooling", "avgpool"),
    ("averagepool", "avgpool"),
    ("globalaveragepooling", "globalavgpool"),
    ("globalaveragepool", "globalavgpool"),
    ("gap", "globalavgpool"),
    ("adaptiveavgpool", "globalavgpool"),
    ("globalmaxpooling", "globalmaxpool"),
    ("adaptivemaxpool", "globalmaxpool"),
    ("linear", "dense"),
    ("fc", "dense"),
    ("fullyconnected", "dense"),
    ("innerproduct", "dense"),
    ("spatialdropout", "dropout"),
    ("concatenate", "concat"),
    ("cat", "concat"),
];

/// Words that somebody may misspell so that they look like layers.
const STATEMENTS: &[&str] = &["residual", "concat", "branch", "repeat", "model", "from"];

/// The layer, block or statement that somebody who writes `word` probably means.
pub fn likely_layer<'b>(word: &str, blocks: impl Iterator<Item = &'b str>) -> Option<&'b str> {
    let words = LAYERS.iter().map(|l| l.word).chain(STATEMENTS.iter().copied());
    foreign_layer(word).or_else(|| nearest(word, words.chain(blocks)))
}

/// The layer or statement that is called `word` elsewhere.
pub fn foreign_layer(word: &str) -> Option<&'static str> {
    let plain = plain(word);
    let known = FOREIGN_LAYERS.iter().find(|(other, _)| *other == plain).map(|(_, ours)| *ours);
    known.or_else(|| find(&plain).map(|layer| layer.word))
}

/// A name in small letters, without underscores and without `2d` at the end: `separableconv` for
/// `SeparableConv2D` and `separable_conv`.
fn plain(word: &str) -> String {
    let plain = word.to_lowercase().replace('_', "");
    plain.strip_suffix("2d").map(str::to_owned).unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_names_stand_for_layers_of_the_language() {
        for (_, ours) in FOREIGN_LAYERS {
            assert!(find(ours).is_some() || *ours == "concat", "{ours}");
        }
        for (word, ours) in [
            ("ReLU", "relu"),
            ("separable_conv", "sepconv"),
            ("SeparableConv2D", "sepconv"),
            ("conv2d", "conv"),
            ("batch_normalization", "bn"),
            ("BatchNormalization", "bn"),
            ("depthwise_conv2d", "depthwise"),
            ("global_average_pooling2d", "globalavgpool"),
            ("max_pooling2d", "maxpool"),
            ("MaxPool2d", "maxpool"),
            ("Dense", "dense"),
        ] {
            assert_eq!(foreign_layer(word), Some(ours), "{word}");
        }
        assert_eq!(foreign_layer("unit"), None);
    }
}
