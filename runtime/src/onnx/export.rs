//! A graph as ONNX's nodes and constants.

use std::fmt::Display;

use xcc_compiler::graph::{
    self as xcc, Activation, BatchNorm, ChannelOrder, Conv, KernelBlock, Labels, LinearPart, NodeId, Op,
    Pool, PoolKind, WeightId, WeightSource, Window,
};

use super::OnnxError;
use super::message::{
    Attribute, AttributeKind, Dimension, Entry, FLOAT, Graph, INT64, Node, Size, Tensor, TensorShape,
    TensorType, Type, ValueInfo,
};
use crate::image::samples_of;
use crate::memory::reserved;

/// Axes of (images, rows, columns, channels) as ONNX's operators want them.
const TO_CHANNELS_FIRST: [i64; 4] = [0, 3, 1, 2];
/// And back.
const TO_CHANNELS_LAST: [i64; 4] = [0, 2, 3, 1];
/// The axis of channels, or of the elements of a vector.
const CHANNELS: i64 = 1;

/// The graph as a message.
pub fn graph(graph: &xcc::Graph, weights: &dyn WeightSource) -> Result<Graph, OnnxError> {
    let mut export = Export { graph, weights, names: names(graph), result: Graph::default() };
    export.result.name = graph.name.clone();
    export.input();
    for &id in graph.order() {
        export.value(id)?;
    }
    for &id in &graph.outputs {
        export.output(id);
    }
    Ok(export.result)
}

/// What the input's images are, for those who have some, and what outputs are called. Inputs of
/// other channels are no images.
pub fn facts(graph: &xcc::Graph) -> Vec<Entry> {
    let image = &graph.image;
    let is_image = graph.node(graph.input).shape.c() == samples_of(image);
    let joined = |numbers: &[f32]| numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(" ");
    let channels = match image.channels {
        ChannelOrder::Rgb => "rgb",
        ChannelOrder::Bgr => "bgr",
        ChannelOrder::Gray => "gray",
    };
    let mut facts = Vec::new();
    if is_image {
        facts.extend([("image_range", joined(&image.range)), ("image_channels", channels.to_owned())]);
    }
    if is_image && !image.mean.is_empty() {
        facts.push(("image_mean", joined(&image.mean)));
    }
    if let Labels::Inline(labels) = &image.labels {
        facts.push(("labels", labels.join("\n")));
    }
    facts.into_iter().map(|(key, value)| Entry { key: key.to_owned(), value }).collect()
}

/// What each value is called: its layer's name, and a number behind that unless it is the layer's
/// last. Names of layers have no slash, so they are not in the way of each other.
fn names(graph: &xcc::Graph) -> Vec<String> {
    let mut names = vec![String::new(); graph.id_bound()];
    let mut last = vec![None; graph.layers.len()];
    graph.order().iter().for_each(|&id| last[graph.node(id).layer.index()] = Some(id));
    for (number, &id) in graph.order().iter().enumerate() {
        let node = graph.node(id);
        let name = &graph.layer(node.layer).name;
        let is_last = last[node.layer.index()] == Some(id);
        let is_map_outside = id == graph.input || (graph.is_output(id) && !node.shape.is_vector());
        names[id.index()] = match () {
            () if is_last && is_map_outside => format!("{name}/channels_first"),
            () if is_last => name.clone(),
            () => format!("{name}/{number}"),
        };
    }
    names
}

struct Export<'a> {
    graph: &'a xcc::Graph,
    weights: &'a dyn WeightSource,
    names: Vec<String>,
    result: Graph,
}

impl Export<'_> {
    fn name(&self, id: NodeId) -> String {
        self.names[id.index()].clone()
    }

    /// The name of the layer that a value belongs to.
    fn layer(&self, id: NodeId) -> String {
        self.graph.layer(self.graph.node(id).layer).name.clone()
    }

    fn input(&mut self) {
        let id = self.graph.input;
        self.result.input.push(value_info(self.layer(id), self.graph.node(id).shape));
        let attribute = ints("perm", TO_CHANNELS_FIRST);
        self.node("Transpose", vec![self.layer(id)], self.name(id), vec![attribute]);
    }

    fn output(&mut self, id: NodeId) {
        let shape = self.graph.node(id).shape;
        let name = if shape.is_vector() { self.name(id) } else { self.layer(id) };
        if !shape.is_vector() {
            let attribute = ints("perm", TO_CHANNELS_LAST);
            self.node("Transpose", vec![self.name(id)], name.clone(), vec![attribute]);
        }
        self.result.output.push(value_info(name, shape));
    }

    /// Adds an operation called after what it yields.
    fn node(&mut self, operator: &str, input: Vec<String>, output: String, attribute: Vec<Attribute>) {
        let (name, op_type) = (output.clone(), operator.to_owned());
        self.result.node.push(Node { input, output: vec![output], name, op_type, attribute });
    }

    /// Adds a constant and gives its name.
    fn constant(
        &mut self,
        name: String,
        dims: Vec<i64>,
        values: impl Iterator<Item = f32>,
    ) -> Result<String, OnnxError> {
        // Extents are those of a graph that was found to fit into a file.
        let elements = dims.iter().product::<i64>() as usize;
        let mut raw_data = reserved(elements * size_of::<f32>())?;
        raw_data.extend(values.flat_map(f32::to_le_bytes));
        self.result.initializer.push(Tensor { name: name.clone(), dims, data_type: FLOAT, raw_data });
        Ok(name)
    }

    /// Adds a parameter tensor of one axis as it is.
    fn vector(&mut self, id: WeightId) -> Result<String, OnnxError> {
        let weights = self.weights;
        let values = weights.tensor(id)?;
        self.constant(self.graph.weight(id).name.clone(), vec![values.len() as i64], values.iter().copied())
    }

    /// Adds what a node of the graph computes.
    fn value(&mut self, id: NodeId) -> Result<(), OnnxError> {
        let graph = self.graph;
        let node = graph.node(id);
        if !node.fusion.is_empty() {
            return Err(self.fused(id, "an activation or a sum within another operation"));
        }
        let inputs: Vec<String> = node.inputs.iter().map(|&input| self.name(input)).collect();
        match &node.op {
            Op::Input => {}
            Op::Conv(conv) => self.convolution(id, conv, inputs)?,
            Op::Separable(_) => return Err(self.fused(id, "a fused separable convolution")),
            Op::BatchNorm(norm) => self.normalisation(id, norm, inputs)?,
            Op::Activation(activation) => self.activation(id, *activation, inputs)?,
            Op::Pool(pool) => self.pool(id, pool, inputs),
            Op::GlobalPool(kind) => self.global_pool(id, *kind, inputs),
            Op::Dense(part) => self.dense(id, part, inputs)?,
            Op::Softmax => self.node("Softmax", inputs, self.name(id), vec![int("axis", CHANNELS)]),
            Op::Add if inputs.len() == 2 => self.node("Add", inputs, self.name(id), Vec::new()),
            Op::Add => self.node("Sum", inputs, self.name(id), Vec::new()),
            Op::Concat => self.node("Concat", inputs, self.name(id), vec![int("axis", CHANNELS)]),
            Op::Dropout { .. } => self.node("Identity", inputs, self.name(id), Vec::new()),
            Op::Flatten => self.flatten(id, inputs),
        }
        Ok(())
    }

    fn fused(&self, id: NodeId, what: &'static str) -> OnnxError {
        OnnxError::Fused { layer: self.layer(id), what }
    }

    /// The only part of a linear operation before passes.
    fn only_part<'a>(&self, id: NodeId, parts: &'a [LinearPart]) -> Result<&'a LinearPart, OnnxError> {
        match parts {
            [part] if part.norms.is_empty() => Ok(part),
            _ => Err(self.fused(id, "a convolution with others or with normalisations in it")),
        }
    }

    /// A convolution for each run of equal segments; several read slices of the input, and their
    /// results are put behind each other.
    fn convolution(&mut self, id: NodeId, conv: &Conv, inputs: Vec<String>) -> Result<(), OnnxError> {
        let part = self.only_part(id, &conv.parts)?;
        let blocks = conv.kernel_blocks();
        let runs: Vec<&[KernelBlock]> = blocks.chunk_by(|a, b| size(a) == size(b)).collect();
        if let [run] = runs[..] {
            return self.group(conv, part, run, inputs, (self.name(id), ""));
        }
        let name = self.name(id);
        let pieces = |what: &str| (0..runs.len()).map(|n| format!("{name}/{what}{n}")).collect::<Vec<_>>();
        let (slices, results) = (pieces("slice"), pieces("run"));
        let sizes = runs.iter().map(|run| size(&run[0]).0 * run.len() as i64);
        self.split(inputs, sizes.collect(), &name, slices.clone());
        for (number, run) in runs.iter().enumerate() {
            let suffix = format!("/{number}");
            self.group(conv, part, run, vec![slices[number].clone()], (results[number].clone(), &suffix))?;
        }
        self.node("Concat", results, name, vec![int("axis", CHANNELS)]);
        Ok(())
    }

    fn split(&mut self, mut inputs: Vec<String>, sizes: Vec<i64>, name: &str, output: Vec<String>) {
        let constant = format!("{name}/sizes");
        let raw_data = sizes.iter().flat_map(|size| size.to_le_bytes()).collect();
        let (dims, data_type) = (vec![sizes.len() as i64], INT64);
        self.result.initializer.push(Tensor { name: constant.clone(), dims, data_type, raw_data });
        inputs.push(constant);
        let (name, op_type) = (format!("{name}/split"), "Split".to_owned());
        let attribute = vec![int("axis", CHANNELS)];
        self.result.node.push(Node { input: inputs, output, name, op_type, attribute });
    }

    /// A convolution of equal segments. `suffix` tells its constants from those of the layer's
    /// other runs.
    fn group(
        &mut self,
        conv: &Conv,
        part: &LinearPart,
        run: &[KernelBlock],
        mut inputs: Vec<String>,
        (output, suffix): (String, &str),
    ) -> Result<(), OnnxError> {
        let weights = self.weights;
        let (ic, oc) = size(&run[0]);
        let [kh, kw] = conv.window.kernel.map(i64::from);
        let kernel = weights.tensor(part.kernel)?;
        let values = run.iter().flat_map(|block| block_values(block, &kernel, conv.window.taps() as usize));
        let name = format!("{}{suffix}", self.graph.weight(part.kernel).name);
        inputs.push(self.constant(name, vec![oc * run.len() as i64, ic, kh, kw], values)?);
        if let Some(bias) = part.bias {
            let outputs = run[0].outputs.start as usize..run[run.len() - 1].outputs.end as usize;
            let bias_values = weights.tensor(bias)?;
            let values = bias_values[outputs].iter().copied();
            let name = format!("{}{suffix}", self.graph.weight(bias).name);
            inputs.push(self.constant(name, vec![values.len() as i64], values)?);
        }
        let mut attributes = window(&conv.window);
        attributes.push(int("group", run.len() as i64));
        self.node("Conv", inputs, output, attributes);
        Ok(())
    }

    fn normalisation(
        &mut self,
        id: NodeId,
        norm: &BatchNorm,
        mut inputs: Vec<String>,
    ) -> Result<(), OnnxError> {
        let channels = self.graph.node(id).shape.c() as usize;
        let all = |export: &mut Self, what: &str, value: f32| {
            let name = format!("{}/{what}", export.layer(id));
            export.constant(name, vec![channels as i64], std::iter::repeat_n(value, channels))
        };
        inputs.push(match norm.gamma {
            Some(gamma) => self.vector(gamma)?,
            None => all(self, "gamma", 1.0)?,
        });
        inputs.push(match norm.beta {
            Some(beta) => self.vector(beta)?,
            None => all(self, "beta", 0.0)?,
        });
        inputs.extend([self.vector(norm.mean)?, self.vector(norm.variance)?]);
        let epsilon = float("epsilon", norm.epsilon as f32);
        self.node("BatchNormalization", inputs, self.name(id), vec![epsilon]);
        Ok(())
    }

    fn activation(
        &mut self,
        id: NodeId,
        activation: Activation,
        inputs: Vec<String>,
    ) -> Result<(), OnnxError> {
        let name = self.name(id);
        match activation {
            Activation::Linear => self.node("Identity", inputs, name, Vec::new()),
            Activation::Relu => self.node("Relu", inputs, name, Vec::new()),
            Activation::Relu6 => self.clip(inputs, name, [0.0, 6.0])?,
            Activation::Elu => self.node("Elu", inputs, name, Vec::new()),
            Activation::Sigmoid => self.node("Sigmoid", inputs, name, Vec::new()),
            Activation::HardSigmoid => {
                let attributes = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
                self.node("HardSigmoid", inputs, name, attributes);
            }
            Activation::Swish => self.swish(inputs, name),
            Activation::HardSwish => self.node("HardSwish", inputs, name, Vec::new()),
            Activation::LeakyRelu(slope) => {
                self.node("LeakyRelu", inputs, name, vec![float("alpha", slope.value())]);
            }
            Activation::Tanh => self.node("Tanh", inputs, name, Vec::new()),
        }
        Ok(())
    }

    fn clip(&mut self, mut inputs: Vec<String>, name: String, bounds: [f32; 2]) -> Result<(), OnnxError> {
        for (what, bound) in ["lowest", "highest"].into_iter().zip(bounds) {
            let name = format!("{name}/{what}");
            inputs.push(self.constant(name, Vec::new(), std::iter::once(bound))?);
        }
        self.node("Clip", inputs, name, Vec::new());
        Ok(())
    }

    /// x * sigmoid(x): operator sets before 24 have no `Swish`.
    fn swish(&mut self, mut inputs: Vec<String>, name: String) {
        let gate = format!("{name}/gate");
        self.node("Sigmoid", inputs.clone(), gate.clone(), Vec::new());
        inputs.push(gate);
        self.node("Mul", inputs, name, Vec::new());
    }

    fn pool(&mut self, id: NodeId, pool: &Pool, inputs: Vec<String>) {
        let mut attributes = window(&pool.window);
        let operator = match pool.kind {
            PoolKind::Max => "MaxPool",
            // Pools are not dilated; these operators do not know the attribute.
            PoolKind::Average => {
                attributes.retain(|attribute| attribute.name != "dilations");
                attributes.push(int("count_include_pad", 0));
                "AveragePool"
            }
        };
        self.node(operator, inputs, self.name(id), attributes);
    }

    fn global_pool(&mut self, id: NodeId, kind: PoolKind, inputs: Vec<String>) {
        let operator = match kind {
            PoolKind::Max => "GlobalMaxPool",
            PoolKind::Average => "GlobalAveragePool",
        };
        let pooled = format!("{}/pooled", self.name(id));
        self.node(operator, inputs, pooled.clone(), Vec::new());
        self.node("Flatten", vec![pooled], self.name(id), vec![int("axis", 1)]);
    }

    fn dense(&mut self, id: NodeId, part: &LinearPart, mut inputs: Vec<String>) -> Result<(), OnnxError> {
        let part = self.only_part(id, std::slice::from_ref(part))?;
        let (graph, weights) = (self.graph, self.weights);
        let kernel = graph.weight(part.kernel);
        let dims = kernel.shape.iter().map(|&extent| i64::from(extent)).collect();
        let values = weights.tensor(part.kernel)?;
        inputs.push(self.constant(kernel.name.clone(), dims, values.iter().copied())?);
        inputs.extend(part.bias.map(|bias| self.vector(bias)).transpose()?);
        self.node("Gemm", inputs, self.name(id), Vec::new());
        Ok(())
    }

    /// Elements in the order row, column, channel.
    fn flatten(&mut self, id: NodeId, inputs: Vec<String>) {
        let last = format!("{}/channels_last", self.name(id));
        self.node("Transpose", inputs, last.clone(), vec![ints("perm", TO_CHANNELS_LAST)]);
        self.node("Flatten", vec![last], self.name(id), vec![int("axis", 1)]);
    }
}

/// Inputs and outputs of a segment.
fn size(block: &KernelBlock) -> (i64, i64) {
    (block.inputs.len() as i64, block.outputs.len() as i64)
}

/// The kernel of a segment: outputs, inputs, taps.
fn block_values<'a>(
    block: &'a KernelBlock,
    kernel: &'a [f32],
    taps: usize,
) -> impl Iterator<Item = f32> + use<'a> {
    let element = |o: usize, i: usize, tap: usize| {
        kernel[block.offset + tap * block.tap_stride + i * block.input_stride + o]
    };
    let inputs = block.inputs.len();
    (0..block.outputs.len())
        .flat_map(move |o| (0..inputs).flat_map(move |i| (0..taps).map(move |tap| element(o, i, tap))))
}

fn window(window: &Window) -> Vec<Attribute> {
    let pads = window.pads;
    vec![
        ints("kernel_shape", window.kernel.map(i64::from)),
        ints("strides", window.strides.map(i64::from)),
        ints("dilations", window.dilation.map(i64::from)),
        ints("pads", [pads.top, pads.left, pads.bottom, pads.right].map(i64::from)),
    ]
}

fn int(name: impl Display, value: i64) -> Attribute {
    let kind = AttributeKind::Int as i32;
    Attribute { name: name.to_string(), i: Some(value), kind, ..Attribute::default() }
}

fn float(name: impl Display, value: f32) -> Attribute {
    let kind = AttributeKind::Float as i32;
    Attribute { name: name.to_string(), f: Some(value), kind, ..Attribute::default() }
}

fn ints<const N: usize>(name: impl Display, values: [i64; N]) -> Attribute {
    let kind = AttributeKind::Ints as i32;
    Attribute { name: name.to_string(), ints: values.to_vec(), kind, ..Attribute::default() }
}

/// An input or output of any number of images.
fn value_info(name: String, shape: xcc::Shape) -> ValueInfo {
    let extents = match shape {
        xcc::Shape::Map { h, w, c } => vec![h, w, c],
        xcc::Shape::Vector { n } => vec![n],
    };
    let images = Size::Name("images".to_owned());
    let sizes = [images].into_iter().chain(extents.into_iter().map(|extent| Size::Value(extent.into())));
    let dim = sizes.map(|size| Dimension { value: Some(size) }).collect();
    let tensor_type = Some(TensorType { elem_type: FLOAT, shape: Some(TensorShape { dim }) });
    ValueInfo { name, r#type: Some(Type { tensor_type }) }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;

    use xcc_compiler::elaborate;

    use super::*;
    use crate::weights::Weights;

    /// Operators and their float attributes between input and output.
    fn nodes(statement: &str) -> String {
        let source = format!("model m\ninput x 2 x 2 x 1\n{statement}");
        let network = elaborate::read(&source, &[]).graph.unwrap();
        let exported = graph(&network, &Weights::random(&network, 0)).unwrap();
        let own = exported.node.iter().filter(|node| node.op_type != "Transpose");
        own.fold(String::new(), |mut text, node| {
            write!(text, " {}", node.op_type).unwrap();
            let floats = node.attribute.iter().filter_map(|attribute| Some((&attribute.name, attribute.f?)));
            floats.for_each(|(name, value)| write!(text, " {name} {value}").unwrap());
            text
        })
    }

    #[test]
    fn activations_are_standard_operators() {
        let mut text = String::new();
        for function in Activation::ALL.into_iter().filter(|function| *function != Activation::Linear) {
            let word = function.traits().word;
            writeln!(text, "{word}:{}", nodes(word)).unwrap();
        }
        writeln!(text, "slope:{}", nodes("leaky_relu slope: 0.01")).unwrap();
        snapbox::assert_data_eq!(
            text,
            snapbox::str![[r#"
relu: Relu
relu6: Clip
elu: Elu
sigmoid: Sigmoid
hard_sigmoid: HardSigmoid alpha 0.16666667 beta 0.5
swish: Sigmoid Mul
hard_swish: HardSwish
leaky_relu: LeakyRelu alpha 0.2
tanh: Tanh
slope: LeakyRelu alpha 0.01

"#]]
        );
    }
}
