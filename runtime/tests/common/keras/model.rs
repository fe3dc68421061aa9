//! A drawn network as a model of Keras: layers, names by creation order, and `model.layers`.

use std::collections::HashMap;

use serde_json::{Map, Value, json};
use xcc_compiler::graph::Activation;

use super::drawing::{
    Drawing, Function, Join, JoinKind, Layer as DrawnLayer, NameBook, Naming, Nested, Op, Own, Padding, Part,
    Purpose, Recall, Shape, Style, Window, is_chain, result, result_of,
};

/// Generations of Keras, which name things differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Era {
    /// Keras 2 and tf_keras.
    Two,
    /// Keras 3.
    Three,
}

/// A functional model.
#[derive(Clone, Debug)]
pub struct Model {
    /// Its name.
    pub name: String,
    /// True if all its layers are frozen.
    pub frozen: bool,
    /// Its layers in creation order, the input layer among them.
    pub layers: Vec<Layer>,
    /// Position of the layer that yields its result.
    pub output: usize,
    /// True if it is `Sequential`: `model.layers` lacks the input, the description lacks
    /// references.
    pub is_sequential: bool,
}

/// A layer of a model.
#[derive(Clone, Debug)]
pub struct Layer {
    /// Its class.
    pub class: &'static str,
    /// Its name.
    pub name: String,
    /// Positions of the layers that it reads, in order.
    pub inputs: Vec<usize>,
    /// Shape of its result.
    pub shape: Shape,
    /// The part of its description that belongs to its class.
    pub attributes: Map<String, Value>,
    /// Its weights in Keras' order.
    pub tensors: Vec<Tensor>,
    /// True if it is frozen.
    pub frozen: bool,
    /// Its own layers, if it is a model.
    pub model: Option<Model>,
    /// True if a person gave it its name.
    pub is_named: bool,
    /// Its choices, and the stem of its given names.
    made_by: (Own, &'static str),
}

/// A weight.
#[derive(Clone, Debug)]
pub struct Tensor {
    /// Its word in Keras 2, which is ours.
    pub role: &'static str,
    /// Number of the drawn layer.
    pub layer: usize,
    /// Extents as in Keras.
    pub shape: Vec<usize>,
    /// Its numbers.
    pub values: Vec<f32>,
}

impl Tensor {
    /// True unless it is a statistic of a batch normalisation.
    pub fn is_trainable(&self) -> bool {
        !self.role.starts_with("moving_")
    }
}

impl Model {
    /// The model of a drawing in a process of Keras that made some layers before.
    pub fn of(drawing: &Drawing, era: Era) -> Self {
        let own = Own { id: 0, seed: drawing.style.made_before as u64 };
        let book = NameBook::of(drawing);
        let mut builder = Builder { style: &drawing.style, layers: Vec::new(), frozen: false };
        builder.input(drawing.input, own);
        let (output, _) = builder.parts(&drawing.parts, 0, drawing.input);
        let is_sequential = drawing.style.sequential && is_chain(&drawing.parts);
        let layers = builder.layers;
        let mut model = Model { name: String::new(), frozen: false, layers, output, is_sequential };
        model.create();
        let mut names =
            Names { style: &drawing.style, book, era, made: HashMap::new(), counted: HashMap::new() };
        names.model(&mut model);
        model.name = names.made_up(model.class());
        model
    }

    /// Puts layers into creation order: of the layers whose operands exist, the one that comes
    /// first by its choices.
    fn create(&mut self) {
        let priority = |layer: &Layer| layer.made_by.0.dice(Purpose::Creation).bits();
        let mut order: Vec<usize> = Vec::new();
        let mut exists = vec![false; self.layers.len()];
        while order.len() < self.layers.len() {
            let ready = (0..self.layers.len())
                .filter(|&at| !exists[at] && self.layers[at].inputs.iter().all(|&input| exists[input]));
            let first = ready.min_by_key(|&at| priority(&self.layers[at])).expect("layers have no cycle");
            exists[first] = true;
            order.push(first);
        }
        let place: HashMap<usize, usize> = order.iter().enumerate().map(|(new, &old)| (old, new)).collect();
        self.layers = order.iter().map(|&old| self.layers[old].clone()).collect();
        for layer in &mut self.layers {
            layer.inputs.iter_mut().for_each(|input| *input = place[input]);
            if let Some(model) = &mut layer.model {
                model.create();
            }
        }
        self.output = place[&self.output];
    }

    /// Positions of the layers in the order of Keras' `map_graph`: by decreasing depth, then as a
    /// depth-first walk from the output meets them.
    pub fn order(&self) -> Vec<usize> {
        let mut walk = Walk { layers: &self.layers, met: Vec::new(), left: Vec::new() };
        walk.visit(self.output);
        let mut depths = vec![0; self.layers.len()];
        for &at in walk.left.iter().rev() {
            for &input in &self.layers[at].inputs {
                depths[input] = depths[input].max(depths[at] + 1);
            }
        }
        let mut order = walk.met;
        order.sort_by_key(|&at| std::cmp::Reverse(depths[at]));
        order
    }

    /// `model.layers`.
    pub fn ordered(&self) -> impl Iterator<Item = &Layer> {
        self.described().filter(|layer| !(self.is_sequential && layer.class == "InputLayer"))
    }

    /// The layers in the order of the description.
    pub fn described(&self) -> impl Iterator<Item = &Layer> {
        self.order().into_iter().map(|at| &self.layers[at])
    }

    /// Its class.
    pub fn class(&self) -> &'static str {
        if self.is_sequential { "Sequential" } else { "Functional" }
    }

    /// All weights of this model and of models in it, each with its layer, in the order of
    /// `model.layers`.
    pub fn tensors(&self) -> Vec<(&Layer, &Tensor)> {
        self.ordered().flat_map(Layer::all_tensors).collect()
    }
}

impl Model {
    /// What another program needs to make the same model.
    pub fn dump(&self) -> Value {
        let layers: Vec<Value> = self.layers.iter().map(Layer::dump).collect();
        json!({
            "name": self.name, "layers": layers, "output": self.output, "sequential": self.is_sequential,
        })
    }
}

impl Layer {
    fn dump(&self) -> Value {
        let tensors =
            self.tensors.iter().map(|tensor| json!({"shape": tensor.shape, "values": tensor.values}));
        let shape = match self.shape.side {
            Some(side) => vec![side, side, self.shape.channels],
            None => vec![self.shape.channels],
        };
        json!({
            "class": self.class, "name": self.name, "given": self.is_named, "inputs": self.inputs,
            "shape": shape, "attributes": self.attributes, "frozen": self.frozen,
            "tensors": tensors.collect::<Vec<_>>(), "model": self.model.as_ref().map(Model::dump),
        })
    }

    /// The weights of the layer and of layers in it, each with its layer.
    pub fn all_tensors(&self) -> Vec<(&Layer, &Tensor)> {
        match &self.model {
            Some(model) => model.tensors(),
            None => self.tensors.iter().map(|tensor| (self, tensor)).collect(),
        }
    }
}

struct Walk<'a> {
    layers: &'a [Layer],
    met: Vec<usize>,
    left: Vec<usize>,
}

impl Walk<'_> {
    fn visit(&mut self, at: usize) {
        if self.met.contains(&at) {
            return;
        }
        self.met.push(at);
        for &input in &self.layers[at].inputs {
            self.visit(input);
        }
        self.left.push(at);
    }
}

/// Gives names in creation order.
struct Names<'a> {
    style: &'a Style,
    book: NameBook,
    era: Era,
    /// Names made up by Keras so far, by stem.
    made: HashMap<String, usize>,
    /// Names counted by the author so far, by word.
    counted: HashMap<&'static str, usize>,
}

impl Names<'_> {
    fn model(&mut self, model: &mut Model) {
        for layer in &mut model.layers {
            if let Some(inner) = &mut layer.model {
                self.model(inner);
            }
            let given = self.given(layer);
            layer.is_named = given.is_some();
            layer.name = given.unwrap_or_else(|| self.made_up(layer.class));
            if let Some(inner) = &mut layer.model {
                inner.name.clone_from(&layer.name);
            }
        }
    }

    /// The name that a person gives to the layer.
    fn given(&mut self, layer: &Layer) -> Option<String> {
        let (own, word) = &layer.made_by;
        match self.style.naming {
            _ if word.is_empty() => None,
            Naming::Counters => {
                let count = self.counted.entry(word).or_default();
                *count += 1;
                Some(format!("{word}_{count}"))
            }
            _ => self.book.names(own, word).file,
        }
    }

    /// The name that Keras makes up for a layer of a class.
    fn made_up(&mut self, class: &str) -> String {
        let two = self.era == Era::Two;
        let stem = match class {
            "InputLayer" if two => "input",
            "Functional" if two => "model",
            class => &snake_case(class),
        };
        let made = self.made.entry(stem.to_owned()).or_insert(self.style.made_before);
        *made += 1;
        match *made - 1 {
            before if stem == "input" => format!("input_{}", before + 1),
            0 => stem.to_owned(),
            before => format!("{stem}_{before}"),
        }
    }
}

/// The stems of Keras' names, by class.
pub fn snake_case(class: &str) -> String {
    match class {
        "InputLayer" => "input_layer",
        "Conv2D" => "conv2d",
        "DepthwiseConv2D" => "depthwise_conv2d",
        "SeparableConv2D" => "separable_conv2d",
        "BatchNormalization" => "batch_normalization",
        "Activation" => "activation",
        "ReLU" => "re_lu",
        "ELU" => "elu",
        "LeakyReLU" => "leaky_re_lu",
        "Softmax" => "softmax",
        "MaxPooling2D" => "max_pooling2d",
        "AveragePooling2D" => "average_pooling2d",
        "GlobalAveragePooling2D" => "global_average_pooling2d",
        "GlobalMaxPooling2D" => "global_max_pooling2d",
        "ZeroPadding2D" => "zero_padding2d",
        "Dense" => "dense",
        "Dropout" => "dropout",
        "Flatten" => "flatten",
        "Add" => "add",
        "Concatenate" => "concatenate",
        "Functional" => "functional",
        "Sequential" => "sequential",
        other => panic!("the class {other} is not drawn"),
    }
    .to_owned()
}

/// Makes the layers of one model, in the order of the drawing.
struct Builder<'a> {
    style: &'a Style,
    layers: Vec<Layer>,
    /// True if all layers are frozen.
    frozen: bool,
}

/// A layer to be made.
struct Blueprint<'a> {
    class: &'static str,
    attributes: Value,
    own: &'a Own,
    /// Stem of its given names; empty for layers that the spec does not have.
    word: &'static str,
    /// The shape of its result.
    shape: Shape,
}

impl Builder<'_> {
    fn push(&mut self, blueprint: Blueprint, inputs: Vec<usize>) -> usize {
        let Blueprint { class, attributes, own, word, shape } = blueprint;
        let Value::Object(attributes) = attributes else { panic!("attributes of {class}: {attributes}") };
        let frozen = self.frozen || own.dice(Purpose::Frozen).chance(self.style.frozen);
        self.layers.push(Layer {
            class,
            name: String::new(),
            inputs,
            shape,
            attributes,
            tensors: Vec::new(),
            frozen: frozen && class != "InputLayer",
            model: None,
            is_named: false,
            made_by: (own.clone(), word),
        });
        self.layers.len() - 1
    }

    fn input(&mut self, shape: Shape, own: Own) {
        let blueprint = Blueprint { class: "InputLayer", attributes: json!({}), own: &own, word: "", shape };
        self.push(blueprint, Vec::new());
    }

    /// Makes the layers of `parts`, which read layer `from`; the last one, and its shape.
    fn parts(&mut self, parts: &[Part], from: usize, shape: Shape) -> (usize, Shape) {
        let mut shapes = HashMap::new();
        let mut marks = HashMap::new();
        parts.iter().fold((from, shape), |(from, shape), part| {
            let after = result_of(part, shape, &mut shapes).expect("drawings are valid");
            let last = match part {
                Part::Layer(layer) => self.layer(layer, from, shape),
                Part::Join(join) => self.join(join, from, shape),
                Part::Nested(nested) => self.nested(nested, from, [shape, after]),
                Part::Mark(mark) => {
                    marks.insert(*mark, from);
                    from
                }
                Part::Recall(recall) => self.recall(recall, [from, marks[&recall.mark]], after),
            };
            (last, after)
        })
    }

    /// Makes a model as a layer; `shapes` are the shapes before and behind it.
    fn nested(&mut self, nested: &Nested, from: usize, shapes: [Shape; 2]) -> usize {
        let Nested { parts, own } = nested;
        let frozen = own.dice(Purpose::Frozen).chance(self.style.frozen) || self.frozen;
        let mut inner = Builder { style: self.style, layers: Vec::new(), frozen };
        inner.input(shapes[0], Own { id: own.id, seed: !own.seed });
        let (output, _) = inner.parts(parts, 0, shapes[0]);
        let is_sequential = self.style.sequential && is_chain(parts);
        let layers = inner.layers;
        let model = Model { name: String::new(), frozen, layers, output, is_sequential };
        let (class, attributes) = (model.class(), json!({}));
        let at = self.push(Blueprint { class, attributes, own, word: "", shape: shapes[1] }, vec![from]);
        self.layers[at].model = Some(model);
        at
    }

    fn recall(&mut self, recall: &Recall, mut ends: [usize; 2], shape: Shape) -> usize {
        let own = &recall.own;
        let (class, word, attributes) = match recall.concat {
            true => ("Concatenate", "concat", json!({"axis": -1})),
            false => ("Add", "add", json!({})),
        };
        if !recall.concat && own.dice(Purpose::Operands).chance(50) {
            ends.reverse();
        }
        self.push(Blueprint { class, attributes, own, word, shape }, ends.to_vec())
    }

    fn join(&mut self, join: &Join, from: usize, shape: Shape) -> usize {
        let after = result(&[Part::Join(join.clone())], shape).expect("drawings are valid");
        let ends: Vec<usize> = join.paths.iter().map(|path| self.parts(path, from, shape).0).collect();
        let (class, attributes, ends) = match join.kind {
            JoinKind::Concat => ("Concatenate", json!({"axis": -1}), ends),
            _ => ("Add", json!({}), join.own.dice(Purpose::Operands).shuffled(ends)),
        };
        let word = join.kind.word();
        self.push(Blueprint { class, attributes, own: &join.own, word, shape: after }, ends)
    }

    fn layer(&mut self, layer: &DrawnLayer, from: usize, shape: Shape) -> usize {
        let DrawnLayer { op, own } = layer;
        let after = op.result(shape).expect("drawings are valid");
        let mut from = from;
        if let Some(window) = window(op)
            && let Padding::Explicit(pixels) = window.padding
        {
            let padded = Shape { side: shape.side.map(|side| side + 2 * pixels), ..shape };
            let attributes =
                json!({"padding": [[pixels, pixels], [pixels, pixels]], "data_format": "channels_last"});
            let blueprint = Blueprint { class: "ZeroPadding2D", attributes, own, word: "", shape: padded };
            from = self.push(blueprint, vec![from]);
        }
        let (class, attributes) = class_of(op, own);
        let blueprint = Blueprint { class, attributes, own, word: op.word(), shape: after };
        let mut at = self.push(blueprint, vec![from]);
        self.layers[at].tensors = tensors(layer, shape);
        if let Some(activated) = op.activation().filter(|activated| !activated.file_attribute) {
            let (class, attributes) = activation_class(activated.function, own);
            at = self.push(Blueprint { class, attributes, own, word: "", shape: after }, vec![at]);
        }
        at
    }
}

fn window(op: &Op) -> Option<Window> {
    match op {
        Op::Conv { window, .. } | Op::Depthwise { window, .. } | Op::Separable { window, .. } => {
            Some(*window)
        }
        _ => None,
    }
}

/// The class of a layer, and its attributes.
fn class_of(op: &Op, own: &Own) -> (&'static str, Value) {
    match op {
        Op::Conv { filters, window, .. } => {
            ("Conv2D", merged(json!({"filters": filters, "groups": 1}), linear(*window, op)))
        }
        Op::Depthwise { window, .. } => {
            ("DepthwiseConv2D", merged(json!({"depth_multiplier": 1}), linear(*window, op)))
        }
        Op::Separable { filters, window, .. } => {
            let own = json!({"depth_multiplier": 1, "filters": filters});
            ("SeparableConv2D", merged(own, linear(*window, op)))
        }
        Op::BatchNorm { epsilon, scale, center } => (
            "BatchNormalization",
            json!({"axis": -1, "momentum": 0.99, "epsilon": epsilon, "center": center, "scale": scale}),
        ),
        Op::Activation(function) => activation_class(*function, own),
        Op::Pool { max, window: Window { size, stride, .. } } => (
            if *max { "MaxPooling2D" } else { "AveragePooling2D" },
            json!({
                "pool_size": [size, size], "padding": "same", "strides": [stride, stride],
                "data_format": "channels_last",
            }),
        ),
        Op::Dropout { .. } => ("Dropout", json!({"rate": 0.5, "seed": null, "noise_shape": null})),
        Op::GlobalPool { max } => (
            if *max { "GlobalMaxPooling2D" } else { "GlobalAveragePooling2D" },
            json!({"data_format": "channels_last", "keepdims": false}),
        ),
        Op::Flatten => ("Flatten", json!({"data_format": "channels_last"})),
        Op::Dense { units, bias, .. } => {
            ("Dense", json!({"units": units, "activation": activation_attribute(op), "use_bias": bias}))
        }
    }
}

/// Attributes of all convolutions.
fn linear(window: Window, op: &Op) -> Value {
    let Window { size, stride, dilation, padding } = window;
    let bias = match op {
        Op::Conv { bias, .. } | Op::Depthwise { bias, .. } | Op::Separable { bias, .. } => *bias,
        _ => false,
    };
    json!({
        "kernel_size": [size, size], "strides": [stride, stride], "dilation_rate": [dilation, dilation],
        "padding": if padding == Padding::Same { "same" } else { "valid" },
        "data_format": "channels_last", "activation": activation_attribute(op), "use_bias": bias,
    })
}

fn activation_attribute(op: &Op) -> &'static str {
    let attribute = op.activation().filter(|activated| activated.file_attribute);
    attribute.map_or("linear", |activated| activated.function.keras())
}

/// An activation as a layer: `Activation`, or a class of its own.
fn activation_class(function: Function, own: &Own) -> (&'static str, Value) {
    let relu = |max_value: Value| json!({"max_value": max_value, "negative_slope": 0.0, "threshold": 0.0});
    let own_class = match function {
        _ if own.dice(Purpose::Class).chance(60) => None,
        Function::Elementwise(function) => match function {
            Activation::Relu => Some(("ReLU", relu(Value::Null))),
            Activation::Relu6 => Some(("ReLU", relu(json!(6.0)))),
            Activation::Elu => Some(("ELU", json!({"alpha": 1.0}))),
            Activation::LeakyRelu(slope) => Some(("LeakyReLU", json!({"negative_slope": slope.value()}))),
            Activation::Linear
            | Activation::Sigmoid
            | Activation::HardSigmoid
            | Activation::Swish
            | Activation::HardSwish
            | Activation::Tanh => None,
        },
        Function::Softmax => Some(("Softmax", json!({"axis": -1}))),
    };
    own_class.unwrap_or_else(|| ("Activation", json!({"activation": function.keras()})))
}

fn merged(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(mut first), Value::Object(second)) => {
            first.extend(second);
            Value::Object(first)
        }
        (first, _) => first,
    }
}

/// The weights of a layer that reads a value of shape `operand`, in Keras' order.
fn tensors(layer: &DrawnLayer, operand: Shape) -> Vec<Tensor> {
    let inputs = operand.channels;
    let bias = |bias: bool, outputs| bias.then(|| ("bias", vec![outputs]));
    let shapes: Vec<(&'static str, Vec<usize>)> = match &layer.op {
        Op::Conv { filters, window: Window { size, .. }, bias: has_bias, .. } => {
            let kernel = ("kernel", vec![*size, *size, inputs, *filters]);
            [kernel].into_iter().chain(bias(*has_bias, *filters)).collect()
        }
        Op::Depthwise { window: Window { size, .. }, bias: has_bias, .. } => {
            let kernel = ("depthwise_kernel", vec![*size, *size, inputs, 1]);
            [kernel].into_iter().chain(bias(*has_bias, inputs)).collect()
        }
        Op::Separable { filters, window: Window { size, .. }, bias: has_bias, .. } => {
            let spatial = ("depthwise_kernel", vec![*size, *size, inputs, 1]);
            let pointwise = ("pointwise_kernel", vec![1, 1, inputs, *filters]);
            [spatial, pointwise].into_iter().chain(bias(*has_bias, *filters)).collect()
        }
        Op::BatchNorm { scale, center, .. } => {
            let mut roles = vec!["moving_mean", "moving_variance"];
            if *center {
                roles.insert(0, "beta");
            }
            if *scale {
                roles.insert(0, "gamma");
            }
            roles.into_iter().map(|role| (role, vec![inputs])).collect()
        }
        Op::Dense { units, bias: has_bias, .. } => {
            [("kernel", vec![inputs, *units])].into_iter().chain(bias(*has_bias, *units)).collect()
        }
        _ => Vec::new(),
    };
    shapes.into_iter().map(|(role, shape)| tensor(&layer.own, role, shape)).collect()
}

/// A weight with numbers that keep values of moderate size.
fn tensor(own: &Own, role: &'static str, shape: Vec<usize>) -> Tensor {
    let mut dice = own.dice(Purpose::Weights);
    dice.0 ^= role.bytes().fold(0, |hash: u64, byte| hash.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let inputs: usize = match role {
        "depthwise_kernel" => shape[0] * shape[1],
        _ => shape.iter().rev().skip(1).product(),
    };
    let scale = (3.0 / inputs.max(1) as f32).sqrt();
    let value = |_| match role {
        "moving_variance" => 1.0 + 0.5 * dice.signed(),
        "gamma" => 1.0 + 0.25 * dice.signed(),
        "bias" | "beta" | "moving_mean" => 0.25 * dice.signed(),
        _ => scale * dice.signed(),
    };
    let values = (0..shape.iter().product()).map(value).collect();
    Tensor { role, layer: own.id, shape, values }
}
