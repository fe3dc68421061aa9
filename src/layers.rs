//! A layer in words: what kind it is, its filters, window and segments. Pictures and comparisons
//! speak of layers so.

use serde::Serialize;
use xcc_compiler::graph::{
    Activation, Conv, Graph, LayerId, LayerKind, Node, NodeId, Op, Partition, Pool, Shape, Window,
};

/// Where a layer stands in the spectrum between regular and depthwise separable convolution, or
/// beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// A convolution over windows of all channels.
    Regular,
    /// A convolution in several segments of several channels.
    Segmented,
    /// A segment for each channel.
    Depthwise,
    /// A convolution of single pixels, all channels.
    Pointwise,
    /// Fully connected.
    Dense,
    /// A pool.
    Pool,
    /// Anything else.
    Other,
}

impl Form {
    /// Every form, as legends list them.
    pub const ALL: [Form; 7] = [
        Form::Regular,
        Form::Segmented,
        Form::Depthwise,
        Form::Pointwise,
        Form::Dense,
        Form::Pool,
        Form::Other,
    ];

    /// As it is printed.
    pub fn name(self) -> &'static str {
        match self {
            Form::Regular => "regular",
            Form::Segmented => "segmented",
            Form::Depthwise => "depthwise",
            Form::Pointwise => "pointwise",
            Form::Dense => "dense",
            Form::Pool => "pool",
            Form::Other => "other",
        }
    }

    fn of_conv(conv: &Conv) -> Self {
        match (&conv.partition, conv.window.taps()) {
            (partition, 1) if partition.segments() == 1 => Form::Pointwise,
            (partition, _) if partition.segments() == 1 => Form::Regular,
            (partition, _) if partition.is_depthwise() => Form::Depthwise,
            _ => Form::Segmented,
        }
    }
}

/// A layer in words.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: LayerKind,
    /// Where it stands in the spectrum.
    pub form: Form,
    /// Kind, filters and window: `SeparableConv 728, 3x3`.
    pub title: String,
    /// What else distinguishes it, such as `pointwise first` or `bias`; never the name.
    pub remarks: Vec<String>,
    /// How the spatial part cuts the channels.
    pub partition: Option<Partition>,
    /// The shape of its result.
    pub shape: Shape,
}

/// The live nodes of each layer, in order.
pub fn nodes_of_layers(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut nodes = vec![Vec::new(); graph.layers.len()];
    for &id in graph.order() {
        nodes[graph.node(id).layer.index()].push(id);
    }
    nodes
}

/// Describes a layer of a graph as it was elaborated by its nodes; `None` when it has none.
pub fn describe(graph: &Graph, layer: LayerId, nodes: &[NodeId]) -> Option<Description> {
    let nodes: Vec<&Node> = nodes.iter().map(|&id| graph.node(id)).collect();
    let shape = nodes.last()?.shape;
    let spatial = spatial_part(&nodes);
    let kind = graph.layer(layer).kind;
    let form = match (kind, spatial) {
        (LayerKind::Dense, _) => Form::Dense,
        (_, Some(conv)) => Form::of_conv(conv),
        _ if nodes.iter().any(|node| matches!(node.op, Op::Pool(_) | Op::GlobalPool(_))) => Form::Pool,
        _ => Form::Other,
    };
    Some(Description {
        name: graph.layer(layer).name.clone(),
        kind,
        form,
        title: title(kind, &nodes, shape),
        remarks: remarks(kind, &nodes),
        partition: spatial.map(|conv| conv.partition.clone()),
        shape,
    })
}

/// The convolution of a layer that is not the pointwise part of a separable one.
fn spatial_part<'a>(nodes: &[&'a Node]) -> Option<&'a Conv> {
    let convs = || nodes.iter().filter_map(|node| as_conv(node));
    let is_spatial = |conv: &&Conv| Form::of_conv(conv) != Form::Pointwise;
    convs().find(is_spatial).or_else(|| convs().next())
}

fn as_conv(node: &Node) -> Option<&Conv> {
    match &node.op {
        Op::Conv(conv) => Some(conv),
        _ => None,
    }
}

fn title(kind: LayerKind, nodes: &[&Node], shape: Shape) -> String {
    let pool = nodes.iter().find_map(|node| match &node.op {
        Op::Pool(Pool { window, .. }) => Some(window),
        _ => None,
    });
    let window = spatial_part(nodes).map(|conv| &conv.window).or(pool).map(window_text);
    let filters = match kind {
        LayerKind::Conv | LayerKind::SepConv | LayerKind::Dense => Some(shape.c().to_string()),
        _ => None,
    };
    let facts: Vec<String> = filters.into_iter().chain(window).collect();
    let word = word(kind, nodes);
    if facts.is_empty() { word } else { format!("{word} {}", facts.join(", ")) }
}

/// Kernel, strides and dilation: `3x3, stride 2`.
fn window_text(window: &Window) -> String {
    let side = |[a, b]: [u32; 2]| if a == b { a.to_string() } else { format!("{a}x{b}") };
    let mut text = format!("{}x{}", window.kernel[0], window.kernel[1]);
    if window.strides != [1, 1] {
        text += &format!(", stride {}", side(window.strides));
    }
    if window.dilation != [1, 1] {
        text += &format!(", dilation {}", side(window.dilation));
    }
    text
}

/// The word of the Xception paper's figures for a kind.
fn word(kind: LayerKind, nodes: &[&Node]) -> String {
    match kind {
        LayerKind::Conv => "Conv".to_owned(),
        LayerKind::DepthwiseConv => "DepthwiseConv".to_owned(),
        LayerKind::SepConv => "SeparableConv".to_owned(),
        LayerKind::BatchNorm => "BatchNorm".to_owned(),
        LayerKind::MaxPool => "MaxPooling".to_owned(),
        LayerKind::AveragePool => "AveragePooling".to_owned(),
        LayerKind::GlobalAveragePool => "GlobalAveragePooling".to_owned(),
        LayerKind::GlobalMaxPool => "GlobalMaxPooling".to_owned(),
        LayerKind::Activation => {
            activations(nodes).next().map_or_else(|| "Activation".to_owned(), Activation::title)
        }
        LayerKind::Input
        | LayerKind::Softmax
        | LayerKind::Dense
        | LayerKind::Dropout
        | LayerKind::Flatten
        | LayerKind::Add
        | LayerKind::Concat => kind.keras_class().trim_end_matches("Layer").to_owned(),
    }
}

fn activations<'a>(nodes: &[&'a Node]) -> impl Iterator<Item = Activation> + use<'a> {
    let found: Vec<Activation> = nodes.iter().filter_map(|node| as_activation(&node.op)).collect();
    found.into_iter()
}

fn as_activation(op: &Op) -> Option<Activation> {
    match op {
        Op::Activation(activation) => Some(*activation),
        _ => None,
    }
}

fn remarks(kind: LayerKind, nodes: &[&Node]) -> Vec<String> {
    if kind == LayerKind::Activation {
        return Vec::new();
    }
    let mut remarks = Vec::new();
    let convs: Vec<usize> = (0..nodes.len()).filter(|&n| as_conv(nodes[n]).is_some()).collect();
    if let [first, second] = convs[..] {
        let is_pointwise = |n: usize| as_conv(nodes[n]).map(Form::of_conv) == Some(Form::Pointwise);
        if is_pointwise(first) && !is_pointwise(second) {
            remarks.push("1x1 first".to_owned());
        }
        let between = activations(&nodes[first..second]).next();
        remarks.extend(between.map(|function| format!("{} between", function.title())));
    }
    let last = convs.last().copied().unwrap_or(0);
    remarks.extend(activations(&nodes[last..]).map(Activation::title));
    if kind != LayerKind::Softmax && nodes.iter().any(|node| node.op == Op::Softmax) {
        remarks.push("Softmax".to_owned());
    }
    remarks
}

impl Description {
    /// How the channels are cut, in words: `728 segments`, `28 segments of 26`, `3 segments of
    /// 243, 243, 242`; `None` for layers without a spatial part.
    pub fn segments(&self) -> Option<String> {
        /// Sizes of this many segments are listed.
        const LISTED: usize = 4;
        let partition = self.partition.as_ref().filter(|_| self.form != Form::Pointwise)?;
        let (count, inputs) = (partition.segments(), partition.inputs());
        let [least, most] = [inputs.iter().min(), inputs.iter().max()].map(|size| size.copied().unwrap_or(0));
        let list = || inputs.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        Some(match () {
            () if count == 1 => "1 segment".to_owned(),
            () if most == 1 => format!("{count} segments"),
            () if least == most => format!("{count} segments of {most}"),
            () if count <= LISTED => format!("{count} segments of {}", list()),
            () => format!("{count} segments of {least} to {most}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use xcc_compiler::elaborate::read;

    use super::*;

    fn described(statements: &str) -> Vec<Description> {
        let source = format!("model m\ninput image 32 x 32 x 8\n{statements}");
        let graph = read(&source, &[]).graph.unwrap();
        let nodes = nodes_of_layers(&graph);
        let layers = (0..graph.layers.len()).map(LayerId::new);
        layers.filter_map(|layer| describe(&graph, layer, &nodes[layer.index()])).skip(1).collect()
    }

    #[test]
    fn forms_follow_segments_and_window() {
        let forms = |text| described(text).iter().map(|layer| layer.form).collect::<Vec<_>>();
        let spectrum = "sepconv 8, 3x3, segments: 1\nsepconv 8, 3x3, segments: 3\nsepconv 8, 3x3";
        assert_eq!(forms(spectrum), [Form::Regular, Form::Segmented, Form::Depthwise]);
        assert_eq!(
            forms("conv 8, 1x1\nconv 8, 3x3\nmaxpool 2x2"),
            [Form::Pointwise, Form::Regular, Form::Pool]
        );
    }

    #[test]
    fn titles_and_segments_are_in_words() {
        let layers = described(
            "sepconv 16, 3x3, strides: 2, segments: 3, order: spatial_first, activation_between: elu\n\
             sepconv 32, 5x3, segments: 8, order: pointwise_first, activation: relu\nglobalavgpool\n\
             dense 10, activation: softmax",
        );
        let titles: Vec<&str> = layers.iter().map(|layer| layer.title.as_str()).collect();
        let expected =
            ["SeparableConv 16, 3x3, stride 2", "SeparableConv 32, 5x3", "GlobalAveragePooling", "Dense 10"];
        assert_eq!(titles, expected);
        let segments: Vec<Option<String>> = layers.iter().map(Description::segments).collect();
        let [uneven, even] = ["3 segments of 3, 3, 2", "8 segments of 4"].map(|s| Some(s.to_owned()));
        assert_eq!(segments, [uneven, even, None, None]);
        let remarks: Vec<String> = layers.iter().map(|layer| layer.remarks.join(", ")).collect();
        assert_eq!(remarks, ["ELU between", "1x1 first, ReLU", "", "Softmax"]);
    }
}
