//! Prints graphs.

use std::fmt::{self, Display};

use crate::graph::{
    Activation, BatchNorm, ChannelOrder, Conv, Fusion, Graph, ImageSpec, Labels, Layer, LayerId, LinearPart,
    Node, NodeId, Op, Post, Weight, WeightId,
};

/// What a line of the text describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::graph) enum Place {
    Model,
    Outputs,
    Node(NodeId),
    Layer(LayerId),
    Weight(WeightId),
}

/// The text form of `graph`, see [`super`].
pub fn write(graph: &Graph) -> String {
    lines(graph).into_iter().map(|(_, line)| line + "\n").collect()
}

/// The lines of the text form, each with what it describes.
pub(in crate::graph) fn lines(graph: &Graph) -> Vec<(Place, String)> {
    let mut lines = vec![
        (Place::Model, format!("model {}", quoted(&graph.name))),
        (Place::Model, format!("image {}", ImageText(&graph.image))),
    ];
    let mut add = |place, line: String| lines.push((place, line));
    for &id in &graph.order {
        let node = graph.node(id);
        let layer = graph.layers.get(node.layer.index()).map_or("", |l| &l.name);
        add(Place::Node(id), format!("{id} = {} ; {}", NodeText(node), layer.escape_debug()));
    }
    for id in &graph.outputs {
        add(Place::Outputs, format!("output {id}"));
    }
    for (i, layer) in graph.layers.iter().enumerate() {
        let id = LayerId::new(i);
        add(Place::Layer(id), format!("layer {id} {}", LayerText(layer)));
    }
    for (i, weight) in graph.weights.iter().enumerate() {
        let id = WeightId::new(i);
        add(Place::Weight(id), format!("weight {id} {}", WeightText(weight)));
    }
    lines
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

struct ImageText<'a>(&'a ImageSpec);

impl Display for ImageText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ImageSpec { range: [dark, bright], channels, mean, labels } = self.0;
        write!(f, "range {dark:?} {bright:?} channels {}", channel_order(*channels))?;
        if !mean.is_empty() {
            f.write_str(" mean")?;
            mean.iter().try_for_each(|m| write!(f, " {m:?}"))?;
        }
        match labels {
            Labels::None => Ok(()),
            Labels::File(path) => write!(f, " labels-file {}", quoted(path)),
            Labels::Inline(names) => {
                f.write_str(" labels")?;
                names.iter().try_for_each(|n| write!(f, " {}", quoted(n)))
            }
        }
    }
}

/// The word for an order of channels.
pub(super) fn channel_order(order: ChannelOrder) -> &'static str {
    match order {
        ChannelOrder::Rgb => "rgb",
        ChannelOrder::Bgr => "bgr",
        ChannelOrder::Gray => "gray",
    }
}

struct LayerText<'a>(&'a Layer);

impl Display for LayerText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Layer { name, kind, path, span } = self.0;
        write!(f, "{kind} {} at {}..{}", quoted(name), span.start, span.end)?;
        if !path.is_empty() {
            f.write_str(" path")?;
        }
        path.iter().try_for_each(|p| write!(f, " {}", quoted(p)))
    }
}

struct WeightText<'a>(&'a Weight);

impl Display for WeightText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Weight { name, shape, role, layer, fan_in } = self.0;
        let extents: Vec<_> = shape.iter().map(u32::to_string).collect();
        let shape = if shape.is_empty() { "scalar".to_owned() } else { extents.join("x") };
        write!(f, "{role} {shape} fan-in {fan_in} of {layer} {}", quoted(name))
    }
}

struct NodeText<'a>(&'a Node);

impl Display for NodeText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Node { op, inputs, shape, layer, fusion } = self.0;
        let own = inputs.len().saturating_sub(fusion.added_inputs());
        write!(f, "{}", OpWord(op))?;
        inputs[..own].iter().try_for_each(|i| write!(f, " {i}"))?;
        if fusion.load != Activation::Linear {
            write!(f, " load {}", fusion.load)?;
        }
        write!(f, "{}{}", Attributes(op), Epilogue(fusion, &inputs[own..]))?;
        write!(f, " : {}{shape} in {layer}", if shape.is_vector() { "vector " } else { "" })
    }
}

/// The word that names an operation.
struct OpWord<'a>(&'a Op);

impl Display for OpWord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Op::Input => "input",
            Op::Conv(_) => "conv",
            Op::Separable(_) => "separable",
            Op::BatchNorm(_) => "batch-norm",
            Op::Activation(function) => return write!(f, "{function}"),
            Op::Pool(_) => "pool",
            Op::GlobalPool(_) => "global-pool",
            Op::Dense(_) => "dense",
            Op::Softmax => "softmax",
            Op::Add => "add",
            Op::Concat => "concat",
            Op::Dropout { .. } => "dropout",
            Op::Flatten => "flatten",
        })
    }
}

/// What belongs to an operation besides its operands.
struct Attributes<'a>(&'a Op);

impl Display for Attributes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Op::Conv(conv) => write!(f, " {}", ConvText(conv)),
            Op::Separable(parts) => {
                write!(f, " spatial {} between {}", ConvText(&parts.spatial), parts.between)?;
                write!(f, " pointwise {}", ConvText(&parts.pointwise))
            }
            Op::BatchNorm(norm) => write!(f, " {}", NormText(norm)),
            Op::Pool(pool) => write!(f, " {} {}", pool.kind, pool.window),
            Op::GlobalPool(kind) => write!(f, " {kind}"),
            Op::Dense(part) => write!(f, " {}", PartText(part)),
            Op::Dropout { rate } => write!(f, " rate {rate:?}"),
            Op::Input | Op::Activation(_) | Op::Softmax | Op::Add | Op::Concat | Op::Flatten => Ok(()),
        }
    }
}

/// An epilogue and the operands it adds; a missing operand prints as `?`.
struct Epilogue<'a>(&'a Fusion, &'a [NodeId]);

impl Display for Epilogue<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut operands = self.1.iter();
        let step = |post: &Post| match post {
            Post::Activation(activation) => activation.to_string(),
            Post::Add => match operands.next() {
                Some(operand) => format!("add {operand}"),
                None => "add ?".to_owned(),
            },
        };
        let steps: Vec<_> = self.0.post.iter().map(step).collect();
        if steps.is_empty() { Ok(()) } else { write!(f, " post [{}]", steps.join(", ")) }
    }
}

struct ConvText<'a>(&'a Conv);

impl Display for ConvText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Conv { window, partition, parts } = self.0;
        write!(f, "{window} segments {partition}")?;
        parts.iter().try_for_each(|part| write!(f, " {}", PartText(part)))
    }
}

struct PartText<'a>(&'a LinearPart);

impl Display for PartText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LinearPart { outputs, kernel, bias, norms } = self.0;
        write!(f, "{{{outputs} kernel {kernel}")?;
        if let Some(bias) = bias {
            write!(f, " bias {bias}")?;
        }
        norms.iter().try_for_each(|norm| write!(f, " {}", NormText(norm)))?;
        f.write_str("}")
    }
}

struct NormText<'a>(&'a BatchNorm);

impl Display for NormText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BatchNorm { epsilon, gamma, beta, mean, variance } = self.0;
        write!(f, "norm(mean {mean} variance {variance}")?;
        if let Some(gamma) = gamma {
            write!(f, " gamma {gamma}")?;
        }
        if let Some(beta) = beta {
            write!(f, " beta {beta}")?;
        }
        write!(f, " eps {epsilon:?})")
    }
}
