//! Words of other tools: those that mean something in the language, and those that mean something
//! that it does not have. Nothing is suggested for the latter, however like a word of ours they
//! are: it would be another network.

use super::report::quoted;
use super::schema::{self, Makes};
use super::suggest::Suggestions;
use crate::graph::Activation;

/// What other tools call an attribute, and what it is called here. One name can stand for several
/// attributes, of which a layer has one.
const ATTRIBUTES: &[(&str, &str)] = &[
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
    ("negative_slope", "slope"),
    ("alpha", "slope"),
    ("dropout_ratio", "rate"),
];

/// What other tools call a layer, as [`plain`] makes of it.
const LAYERS: &[(&str, &str)] = &[
    ("convolution", "conv"),
    ("separableconv", "sepconv"),
    ("separableconvolution", "sepconv"),
    ("depthwiseconv", "depthwise"),
    ("depthwiseconvolution", "depthwise"),
    ("dwconv", "depthwise"),
    ("batchnormalization", "bn"),
    ("batchnorm", "bn"),
    ("batchnorm1d", "bn"),
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

/// Functions that the language does not have, as [`plain`] makes of their names.
const FUNCTIONS: &[&str] = &[
    "aconc",
    "acosh",
    "arctan",
    "asinh",
    "arctanh",
    "atan",
    "atanh",
    "celu",
    "cos",
    "cosh",
    "crelu",
    "dyrelu",
    "dynamicrelu",
    "erf",
    "eswish",
    "exp",
    "exponential",
    "fastgelu",
    "frelu",
    "gelu",
    "geglu",
    "glu",
    "gelutanh",
    "gumbelsoftmax",
    "hardelu",
    "hardmish",
    "hardrelu",
    "hardshrink",
    "hardtanh",
    "lisht",
    "log",
    "logsigmoid",
    "logsoftmax",
    "maxout",
    "mish",
    "phish",
    "prelu",
    "quickgelu",
    "randomizedrelu",
    "reglu",
    "relun1to1",
    "rrelu",
    "scaledtanh",
    "selu",
    "serf",
    "shiftedrelu",
    "sin",
    "sine",
    "sinh",
    "smelu",
    "snake",
    "softmin",
    "softplus",
    "softshrink",
    "softsign",
    "sparsemax",
    "sparseplus",
    "sparsesigmoid",
    "sqrt",
    "squareplus",
    "squaredrelu",
    "srelu",
    "stanh",
    "starrelu",
    "swiglu",
    "swishbeta",
    "tanhshrink",
    "tanhexp",
    "threshold",
    "thresholdedrelu",
    "trelu",
];

/// Layers that the language does not have, as [`plain`] makes of their names, and what there is in
/// their stead.
const ABSENT_LAYERS: &[(&[&str], &str)] = &[
    (
        &[
            "upsample",
            "upsampling",
            "upsamplingnearest",
            "upsamplingbilinear",
            "resize",
            "interpolate",
            "resizebilinear",
            "resizenearest",
            "unpool",
            "maxunpool",
            "pixelshuffle",
            "pixelunshuffle",
            "depthtospace",
            "spacetodepth",
            "bilinear",
            "upscale",
            "downsample",
        ],
        "maps are made smaller by `strides`, never larger",
    ),
    (
        &[
            "convtranspose",
            "convtransposed",
            "transposeconv",
            "transposedconv",
            "deconv",
            "deconvolution",
            "upconv",
            "fractionallystridedconv",
            "convolutiontranspose",
            "separableconvtranspose",
            "depthwiseconvtranspose",
        ],
        "maps are made smaller by `strides`, never larger",
    ),
    (
        &[
            "conv1d",
            "conv3d",
            "separableconv1d",
            "depthwiseconv1d",
            "maxpool1d",
            "maxpool3d",
            "maxpooling1d",
            "maxpooling3d",
            "avgpool1d",
            "avgpool3d",
            "averagepooling1d",
            "averagepooling3d",
            "globalaveragepooling1d",
            "globalaveragepooling3d",
            "globalmaxpooling1d",
            "globalmaxpooling3d",
            "convtranspose1d",
            "convtranspose3d",
            "upsampling1d",
            "upsampling3d",
            "adaptiveavgpool1d",
            "adaptiveavgpool3d",
            "batchnorm3d",
            "sepconv1d",
        ],
        "maps have rows and columns; a window of `1xN` or `Nx1` covers one of them",
    ),
    (
        &[
            "layernorm",
            "layernormalization",
            "ln",
            "groupnorm",
            "groupnormalization",
            "gn",
            "instancenorm",
            "instancenormalization",
            "rmsnorm",
            "weightnorm",
            "wn",
            "spectralnorm",
            "spectralnormalization",
            "sn",
            "unitnorm",
            "unitnormalization",
            "l2norm",
            "l2normalize",
            "normalize",
            "normalization",
            "norm",
            "localresponsenorm",
            "localresponsenormalization",
            "lrn",
            "switchablenorm",
            "filterresponsenorm",
            "frn",
            "grn",
            "renorm",
            "batchrenorm",
            "batchrenormalization",
        ],
        "`bn` is the only normalisation",
    ),
    (
        &[
            "multiply",
            "mul",
            "subtract",
            "sub",
            "divide",
            "div",
            "maximum",
            "minimum",
            "average",
            "mean",
            "dot",
            "matmul",
            "einsum",
            "bmm",
            "weightedsum",
            "scale",
            "scalelayer",
            "affine",
            "layerscale",
            "bias",
            "pow",
            "power",
            "abs",
            "clip",
        ],
        "values are joined by `add` and `concat`",
    ),
    (
        &[
            "se",
            "seblock",
            "selayer",
            "squeezeexcite",
            "squeezeexcitation",
            "squeezeandexcitation",
            "cbam",
            "eca",
            "attention",
            "selfattention",
            "multiheadattention",
            "mha",
            "additiveattention",
            "transformer",
            "nonlocal",
            "embedding",
            "patchembed",
            "positionembedding",
        ],
        "values are joined by `add` and `concat`, not multiplied",
    ),
    (
        &[
            "lstm",
            "gru",
            "rnn",
            "simplernn",
            "convlstm",
            "bidirectional",
            "timedistributed",
            "lambda",
            "custom",
        ],
        "a network has one image as its input and no state",
    ),
    (
        &[
            "reshape",
            "view",
            "permute",
            "transpose",
            "squeeze",
            "unsqueeze",
            "expanddims",
            "slice",
            "split",
            "chunk",
            "crop",
            "cropping",
            "centercrop",
            "gather",
            "tile",
            "repeatvector",
            "channelshuffle",
            "shuffle",
            "roll",
            "stack",
        ],
        "the shape of a value changes by `flatten`, pools, strides and filters",
    ),
    (
        &[
            "zeropadding",
            "zeropad",
            "pad",
            "padding",
            "reflectionpad",
            "reflectpad",
            "replicationpad",
            "constantpad",
        ],
        "`conv`, `sepconv`, `depthwise` and the pools take `padding:`, which is zeros",
    ),
    (
        &[
            "minpool",
            "minpooling",
            "lppool",
            "l2pool",
            "sumpool",
            "medianpool",
            "stochasticpool",
            "fractionalmaxpool",
            "fractionalavgpool",
            "roipool",
            "roialign",
            "spatialpyramidpooling",
            "spp",
            "aspp",
            "rmspool",
            "blurpool",
            "globalsumpool",
            "globalminpool",
            "globall2pool",
            "gempool",
            "gem",
            "generalizedmeanpooling",
        ],
        "the pools are `maxpool`, `avgpool`, `globalavgpool` and `globalmaxpool`",
    ),
    (
        &["pool", "pooling", "globalpool", "globalpooling", "adaptivepool", "gp"],
        "say which: the pools are `maxpool`, `avgpool`, `globalavgpool` and `globalmaxpool`",
    ),
    (
        &[
            "rescaling",
            "rescale",
            "resizing",
            "centering",
            "randomflip",
            "randomcrop",
            "randomrotation",
            "randomzoom",
            "randomcontrast",
            "randombrightness",
            "augment",
        ],
        "the input declares its `range` and `mean`",
    ),
    (
        &[
            "gaussiannoise",
            "gaussiandropout",
            "alphadropout",
            "featurealphadropout",
            "droppath",
            "dropconnect",
            "dropblock",
            "stochasticdepth",
            "activityregularization",
            "dropout1d",
            "dropout3d",
        ],
        "layers that do nothing when a network is run can be left out",
    ),
    (&["identity", "noop", "pass", "passthrough", "skip"], "leave it out; an empty branch is the identity"),
    (&["groupconv", "groupedconv", "groupconvolution"], "write `conv` with `segments:`"),
    (&["dilatedconv", "atrousconv", "atrousconvolution"], "write `conv` with `dilation:`"),
    (
        &["pwconv", "pointwise", "pointwiseconv", "pointwiseconvolution", "conv1x1"],
        "write `conv FILTERS, 1x1`",
    ),
    (&["conv3x3", "conv5x5", "conv7x7"], "write the window behind the filters, as in `conv FILTERS, 3x3`"),
    (
        &[
            "deformconv",
            "deformableconv",
            "locallyconnected",
            "involution",
            "dynamicconv",
            "condconv",
            "octconv",
            "partialconv",
            "gatedconv",
            "ghostconv",
            "ghostmodule",
            "hamburger",
            "mbconv",
            "fusedmbconv",
            "inception",
            "bottleneck",
            "invertedresidual",
            "basicblock",
            "resblock",
            "resnetblock",
            "denseblock",
            "transitionblock",
            "shuffleunit",
            "fire",
            "csp",
            "c2f",
            "c3",
        ],
        "define a `block` of `conv`, `sepconv`, `depthwise`, `bn` and activations",
    ),
];

/// Words that attributes of other tools take and ours do not, of which some look like ours.
const ABSENT_WORDS: &[&str] = &[
    "causal",
    "reflect",
    "symmetric",
    "constant",
    "replicate",
    "circular",
    "edge",
    "wrap",
    "samelower",
    "sameupper",
    "notset",
    "rgba",
    "bgra",
    "argb",
    "abgr",
    "hsv",
    "hsl",
    "lab",
    "yuv",
    "ycbcr",
    "cmyk",
    "luma",
    "torch",
    "pytorch",
    "caffe",
    "onnx",
    "tf",
    "tensorflow",
];

/// The attributes that `name` may stand for.
pub fn attributes(name: &str) -> impl Iterator<Item = &'static str> + '_ {
    ATTRIBUTES.iter().filter(move |(other, _)| *other == name).map(|(_, ours)| *ours)
}

/// Words that somebody may misspell so that they look like layers.
const STATEMENTS: &[&str] = &["residual", "concat", "branch", "repeat", "model", "from"];

/// The layer, block or statement that somebody who writes `word` probably means. Nothing when the
/// word is known for something that the language does not have.
pub fn likely_layer<'b>(
    word: &str,
    blocks: impl Iterator<Item = &'b str>,
    suggestions: &Suggestions,
) -> Option<&'b str> {
    if absent(word).is_some() {
        return None;
    }
    let words = schema::layers().iter().map(|l| l.word).chain(STATEMENTS.iter().copied());
    layer(word).or_else(|| suggestions.nearest(word, words.chain(blocks)))
}

/// The layer or statement that is called `word` elsewhere.
pub fn layer(word: &str) -> Option<&'static str> {
    let wanted = plain(word);
    let known = LAYERS.iter().find(|(other, _)| *other == wanted).map(|(_, ours)| *ours);
    let ours = || schema::layers().iter().map(|layer| layer.word).find(|word| plain(word) == wanted);
    known.or_else(ours).or_else(|| function(word))
}

/// The activation function that is called `word` elsewhere.
pub fn function(word: &str) -> Option<&'static str> {
    let wanted = plain(word);
    let is_meant = |function: &Activation| function.traits().elsewhere.contains(&&*wanted);
    let is_function = |makes| matches!(makes, Makes::Activation(_) | Makes::Softmax);
    let mut ours = schema::layers().iter().filter(|layer| is_function(layer.makes)).map(|layer| layer.word);
    let elsewhere = || Activation::ALL.into_iter().find(is_meant).map(|function| function.traits().word);
    ours.find(|word| plain(word) == wanted).or_else(elsewhere)
}

/// The words for the functions that there are.
fn functions() -> impl Iterator<Item = &'static str> {
    let functions = Activation::ALL.into_iter().filter(|function| *function != Activation::Linear);
    functions.map(|function| function.traits().word).chain(["softmax"])
}

/// What there is instead of a layer or function that the language does not have, if `word` is
/// known for one.
pub fn absent(word: &str) -> Option<String> {
    if is_absent_function(word) || is_activation(word) {
        return Some(format!("activations are {}", quoted(functions())));
    }
    if layer(word).is_some() {
        return None;
    }
    let plain = plain(word).replace("2d", "");
    let listed = ABSENT_LAYERS.iter().find(|(words, _)| words.contains(&&*plain));
    listed.map(|(_, instead)| (*instead).to_owned()).or_else(|| sequence(&plain))
}

/// Whether `word` is a layer of other tools that is told its function.
pub fn is_activation(word: &str) -> bool {
    ["activation", "act", "nonlinearity"].contains(&&*plain(word))
}

/// Whether `word` is a function that the language does not have.
pub fn is_absent_function(word: &str) -> bool {
    let plain = plain(word);
    let clipped = plain.strip_prefix("relu").and_then(|most| most.parse::<u32>().ok());
    FUNCTIONS.contains(&&*plain) || clipped.is_some_and(|most| most != 6)
}

/// Whether `word` is known for something that no attribute of the language takes.
pub fn is_absent_word(word: &str) -> bool {
    is_absent_function(word) || ABSENT_WORDS.contains(&&*plain(word))
}

/// What to write for several layers in one word, such as `convbnrelu`.
fn sequence(plain: &str) -> Option<String> {
    let (mut rest, mut layers) = (plain, Vec::new());
    while !rest.is_empty() {
        let short = [("act", "relu"), ("batchnorm", "bn"), ("dw", "depthwise"), ("separableconv", "sepconv")];
        let short = short.into_iter().map(|(word, layer)| (word.to_owned(), layer));
        let words = schema::layers().iter().map(|layer| (self::plain(layer.word), layer.word)).chain(short);
        let fits = words.filter(|(word, _)| rest.starts_with(&**word));
        let (word, layer) = fits.max_by_key(|(word, _)| word.len())?;
        layers.push(layer);
        rest = &rest[word.len()..];
    }
    (layers.len() > 1).then(|| format!("write the layers one by one: `{}`", layers.join("; ")))
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
        for (_, ours) in LAYERS {
            assert!(schema::find(ours).is_some() || *ours == "concat", "{ours}");
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
            ("LeakyReLU", "leaky_relu"),
            ("lrelu", "leaky_relu"),
            ("SiLU", "silu"),
            ("hard_silu", "hard_swish"),
            ("HSwish", "hard_swish"),
            ("HardSigmoid", "hard_sigmoid"),
            ("Tanh", "tanh"),
        ] {
            assert_eq!(layer(word), Some(ours), "{word}");
        }
        assert_eq!(layer("unit"), None);
    }

    #[test]
    fn nothing_is_suggested_for_what_the_language_does_not_have() {
        let listed = ABSENT_LAYERS.iter().flat_map(|(words, _)| words.iter()).chain(FUNCTIONS);
        let others = ["GELU", "PReLU", "Conv2DTranspose", "relu1", "relu_8", "ConvBNReLU", "conv_bn"];
        for word in listed.chain(&others) {
            let suggested = likely_layer(word, std::iter::empty(), &Suggestions::default());
            assert_eq!((suggested, layer(word)), (None, None), "{word}");
            assert!(absent(word).is_some(), "{word}");
        }
        for layer in schema::layers() {
            assert_eq!(absent(layer.word), None, "{}", layer.word);
        }
        for (word, _) in LAYERS {
            assert_eq!(absent(word), None, "{word}");
        }
    }

    #[test]
    fn misspelt_layers_are_suggested() {
        for (word, ours) in [
            ("rellu", "relu"),
            ("con", "conv"),
            ("sepcnov", "sepconv"),
            ("maxpol", "maxpool"),
            ("drpout", "dropout"),
            ("flaten", "flatten"),
            ("sigmiod", "sigmoid"),
            ("concta", "concat"),
        ] {
            assert_eq!(likely_layer(word, std::iter::empty(), &Suggestions::default()), Some(ours), "{word}");
        }
    }
}
