//! The user's view: layers with names, and what the input declaration says about images.

use std::fmt;

use crate::diagnostic::Span;

/// A layer as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Unique name; weights are called `name/kernel` and so on.
    pub name: String,
    /// Which kind of layer it is.
    pub kind: LayerKind,
    /// Flows, repeats and blocks around it, outermost first.
    pub path: Vec<String>,
    /// Where it was written.
    pub span: Span,
}

/// Kinds of layers, named as Keras names its classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LayerKind {
    /// The input.
    Input,
    /// A convolution with one segment or with groups.
    Conv,
    /// A spatial convolution in segments without a pointwise part.
    DepthwiseConv,
    /// A spatial convolution in segments and a pointwise one, in either order.
    SepConv,
    /// Batch normalisation.
    BatchNorm,
    /// An activation function.
    Activation,
    /// Softmax as a layer of its own.
    Softmax,
    /// Max pooling.
    MaxPool,
    /// Average pooling.
    AveragePool,
    /// Global average pooling.
    GlobalAveragePool,
    /// Global max pooling.
    GlobalMaxPool,
    /// Fully connected.
    Dense,
    /// Dropout.
    Dropout,
    /// Flatten.
    Flatten,
    /// Sum of branches, or of a residual and its shortcut.
    Add,
    /// Concatenation of branches.
    Concat,
}

impl LayerKind {
    /// Every kind.
    pub const ALL: [LayerKind; 16] = [
        LayerKind::Input,
        LayerKind::Conv,
        LayerKind::DepthwiseConv,
        LayerKind::SepConv,
        LayerKind::BatchNorm,
        LayerKind::Activation,
        LayerKind::Softmax,
        LayerKind::MaxPool,
        LayerKind::AveragePool,
        LayerKind::GlobalAveragePool,
        LayerKind::GlobalMaxPool,
        LayerKind::Dense,
        LayerKind::Dropout,
        LayerKind::Flatten,
        LayerKind::Add,
        LayerKind::Concat,
    ];

    /// The class in Keras that does the same.
    pub fn keras_class(self) -> &'static str {
        match self {
            LayerKind::Input => "InputLayer",
            LayerKind::Conv => "Conv2D",
            LayerKind::DepthwiseConv => "DepthwiseConv2D",
            LayerKind::SepConv => "SeparableConv2D",
            LayerKind::BatchNorm => "BatchNormalization",
            LayerKind::Activation => "Activation",
            LayerKind::Softmax => "Softmax",
            LayerKind::MaxPool => "MaxPooling2D",
            LayerKind::AveragePool => "AveragePooling2D",
            LayerKind::GlobalAveragePool => "GlobalAveragePooling2D",
            LayerKind::GlobalMaxPool => "GlobalMaxPooling2D",
            LayerKind::Dense => "Dense",
            LayerKind::Dropout => "Dropout",
            LayerKind::Flatten => "Flatten",
            LayerKind::Add => "Add",
            LayerKind::Concat => "Concatenate",
        }
    }
}

impl fmt::Display for LayerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.keras_class())
    }
}

/// How an image becomes the network's input.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageSpec {
    /// The values that the darkest (0) and the brightest (255) sample become, linearly.
    pub range: [f32; 2],
    /// Which sample comes first.
    pub channels: ChannelOrder,
    /// Subtracted from each channel after scaling, in the order of `channels`; empty for nothing.
    pub mean: Vec<f32>,
    /// Names of the classes.
    pub labels: Labels,
}

impl Default for ImageSpec {
    fn default() -> Self {
        Self { range: [0.0, 1.0], channels: ChannelOrder::Rgb, mean: Vec::new(), labels: Labels::None }
    }
}

/// Order of the samples of a pixel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelOrder {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// One sample of luminance.
    Gray,
}

/// Where names of classes come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Labels {
    /// There are none; classes are numbered.
    None,
    /// Written in the spec.
    Inline(Vec<String>),
    /// A text file, one name a line; a relative path is relative to the spec.
    File(String),
}
