//! What one layer of a description does, in the words of [`Topology`](super::Topology).

use serde_json::{Map, Value};
use xcc_compiler::graph::{Activation, Pads, PoolKind, Slope, Window};

use super::described::{Builder, Tensor};
use super::{Attribute, Kind, Vertex, window};
use crate::weights::keras::config::{ConfigLayer, snake_case};
use crate::weights::keras::{canonical_class, normalization, signature};

/// Classes that change nothing when a network is run.
const IDENTITIES: [&str; 9] = [
    "dropout",
    "spatial_dropout2d",
    "gaussian_noise",
    "gaussian_dropout",
    "alpha_dropout",
    "activity_regularization",
    "identity",
    "input_layer",
    "masking",
];

impl Builder<'_> {
    /// The value that a layer yields.
    pub fn layer(&mut self, layer: &ConfigLayer, mut operands: Vec<Tensor>) -> Option<Tensor> {
        let class = canonical_class(&layer.class);
        if operands.len() != 1 {
            return self.join(layer, class, operands);
        }
        let operand = operands.pop()?;
        match class {
            _ if IDENTITIES.contains(&class) || class.starts_with("random_") => Some(operand),
            "normalization" => Some(operation(operand, Attribute::Other, "normalization".to_owned())),
            "conv2d" | "depthwise_conv2d" | "separable_conv2d" => self.convolution(layer, class, operand),
            _ if self.tensors(layer).is_some() => self.weights(layer, class, operand),
            "zero_padding2d" => Some(padded(layer, operand)),
            "max_pooling2d" => Some(pool(layer, PoolKind::Max, operand)),
            "average_pooling2d" => Some(pool(layer, PoolKind::Average, operand)),
            "global_average_pooling2d" => Some(global_pool(PoolKind::Average, operand)),
            "global_max_pooling2d" => Some(global_pool(PoolKind::Max, operand)),
            "flatten" | "reshape" => Some(flattened(layer, class, operand)),
            _ => Some(self.function(layer, class, operand)),
        }
    }

    /// A layer that reads several values.
    fn join(&mut self, layer: &ConfigLayer, class: &str, operands: Vec<Tensor>) -> Option<Tensor> {
        let mode = text_of(&layer.attributes, "mode").unwrap_or_default();
        let function = text_of(&layer.attributes, "function").unwrap_or_default();
        let kind = match class {
            "add" => Kind::Sum,
            "merge" if mode == "sum" => Kind::Sum,
            "tf_op_lambda" if function.ends_with("add") => Kind::Sum,
            "concatenate" => Kind::Concat,
            "merge" if mode == "concat" => Kind::Concat,
            _ => Kind::Other(class.to_owned()),
        };
        let extents = operands.first().and_then(|operand| operand.extents);
        let mut vertex = Vertex::new(kind, layer.id, &layer.name);
        if vertex.kind == Kind::Concat {
            state_axis(&mut vertex, layer);
        }
        vertex.operands = operands.into_iter().map(Tensor::settled).collect();
        self.push(vertex, extents)
    }

    /// A layer with weights and without a window.
    fn weights(&mut self, layer: &ConfigLayer, class: &str, operand: Tensor) -> Option<Tensor> {
        let extents = operand.extents;
        let tensors = self.tensors(layer).cloned().unwrap_or_default();
        // Keras' default is true for both.
        let has = |part: &str| layer.attributes.get(part).and_then(Value::as_bool).unwrap_or(true);
        let kind = match class {
            "batch_normalization" => normalization(tensors, has("scale"), has("center")),
            _ => signature(class, tensors),
        };
        let mut vertex = Vertex::new(kind, layer.id, &layer.name);
        vertex.operands.push(operand.settled());
        if class == "batch_normalization" {
            let epsilon = layer.attributes.get("epsilon").and_then(Value::as_f64);
            vertex.attributes.extend(epsilon.map(|value| (Attribute::Epsilon, (value as f32).to_string())));
            state_axis(&mut vertex, layer);
        }
        let value = self.push(vertex, extents)?;
        Some(self.activated(&layer.attributes, value))
    }

    /// A convolution of any kind.
    fn convolution(&mut self, layer: &ConfigLayer, class: &str, operand: Tensor) -> Option<Tensor> {
        let kind = signature(class, self.tensors(layer).cloned().unwrap_or_default());
        let mut vertex = Vertex::new(kind, layer.id, &layer.name);
        let mut extents = None;
        match moving(layer, &["kernel_size"], &operand) {
            Some(window) => {
                window::state(&mut vertex, &window);
                extents = outputs(&window, operand.extents);
                vertex.operands.push(operand.edge);
            }
            None => vertex.operands.push(operand.settled()),
        }
        if class == "separable_conv2d" {
            vertex.attributes.push((Attribute::Order, "spatial part first".to_owned()));
        }
        let value = self.push(vertex, extents)?;
        Some(self.activated(&layer.attributes, value))
    }
}

/// The value after an operation.
fn operation(operand: Tensor, attribute: Attribute, text: String) -> Tensor {
    let extents = operand.extents;
    Tensor { edge: operand.settled().then(attribute, text), extents, zeros: Pads::default() }
}

/// An activation function of a description.
enum Function {
    /// One of ours, but for softmax.
    Ours(Activation),
    /// Any other one, in words.
    Other(String),
}

impl Builder<'_> {
    /// A function without weights and windows.
    fn function(&self, layer: &ConfigLayer, class: &str, operand: Tensor) -> Tensor {
        let attributes = &layer.attributes;
        if class == "activation" {
            return self.activated(attributes, operand);
        }
        if let Some(function) = function_of(class, attributes) {
            return after(operand, function);
        }
        let number = |key: &str| attributes.get(key).and_then(Value::as_f64);
        let text = match (class, number("scale"), number("offset")) {
            ("rescaling", Some(scale), Some(offset)) => {
                super::rescaling(offset as f32, (scale * 255.0 + offset) as f32)
            }
            _ => class.to_owned(),
        };
        operation(operand, Attribute::Other, text)
    }

    /// The value after the activation function that a layer's attributes name, if any does.
    /// Instead of a name there may be a layer.
    fn activated(&self, attributes: &Map<String, Value>, operand: Tensor) -> Tensor {
        let object = attributes.get("activation").and_then(Value::as_object);
        let class = object.and_then(|object| object.get("class_name")?.as_str()).map(snake_case);
        let config = object.and_then(|object| object.get("config")?.as_object());
        let layer = class.zip(config).and_then(|(class, config)| function_of(&class, config));
        match layer.or_else(|| Some(self.named(text_of(attributes, "activation")?))) {
            Some(function) => after(operand, function),
            None => operand,
        }
    }

    /// The function of a name. Keras 1 and 2 have another `hard_sigmoid`.
    fn named(&self, name: String) -> Function {
        match Activation::of_keras(&name) {
            Some(Activation::HardSigmoid) if self.is_before_three => {
                Function::Other("hard_sigmoid with slope 0.2".to_owned())
            }
            Some(function) => Function::Ours(function),
            None => Function::Other(name),
        }
    }
}

/// The function that layers of a class apply, for classes of activation functions.
fn function_of(class: &str, attributes: &Map<String, Value>) -> Option<Function> {
    let number = |key: &str| attributes.get(key).and_then(Value::as_f64);
    match class {
        "softmax" => Some(Function::Other("softmax".to_owned())),
        "elu" => Some(match number("alpha") {
            None | Some(1.0) => Function::Ours(Activation::Elu),
            Some(alpha) => Function::Other(format!("elu {alpha}")),
        }),
        // Keras 1 and 2 call the slope `alpha`. The default is the same in all three.
        "leaky_re_lu" => {
            Some(leaky_relu(number("negative_slope").or_else(|| number("alpha")).unwrap_or(0.3)))
        }
        "re_lu" => Some(rectifier(&number)),
        _ => None,
    }
}

/// The function of that slope below zero; ours if it is from 0 to 1.
fn leaky_relu(slope: f64) -> Function {
    match Slope::new(slope as f32) {
        Some(slope) => Function::Ours(Activation::LeakyRelu(slope)),
        None => Function::Other(format!("leaky_relu with slope {slope}")),
    }
}

/// The function of a layer of class `ReLU`.
fn rectifier(number: &dyn Fn(&str) -> Option<f64>) -> Function {
    let slope = number("negative_slope").filter(|slope| *slope != 0.0);
    let threshold = number("threshold").filter(|threshold| *threshold != 0.0);
    let name = match (number("max_value"), slope, threshold) {
        (None, None, None) => return Function::Ours(Activation::Relu),
        (Some(6.0), None, None) => return Function::Ours(Activation::Relu6),
        (None, Some(slope), None) => return leaky_relu(slope),
        (Some(6.0), ..) => "relu6".to_owned(),
        (Some(most), ..) => format!("relu up to {most}"),
        (None, ..) => "relu".to_owned(),
    };
    let tail =
        |word: &str, value: Option<f64>| value.map(|value| format!(" {word} {value}")).unwrap_or_default();
    Function::Other(format!("{name}{}{}", tail("with slope", slope), tail("from", threshold)))
}

/// The value after an activation function. Functions that keep zeros leave the zeros around a map
/// as they are.
fn after(mut operand: Tensor, function: Function) -> Tensor {
    match function {
        Function::Ours(Activation::Linear) => operand,
        Function::Ours(function) if function.traits().keeps_zero => {
            operand.edge = operand.edge.then(Attribute::Activation, super::function(function));
            operand
        }
        Function::Ours(function) => operation(operand, Attribute::Activation, super::function(function)),
        Function::Other(text) => operation(operand, Attribute::Activation, text),
    }
}

/// A name in the attributes: itself, or that of an object which Keras 3 serialised.
fn text_of(attributes: &Map<String, Value>, key: &str) -> Option<String> {
    match attributes.get(key)? {
        Value::String(name) => Some(name.clone()),
        Value::Object(object) => match object.get("config") {
            Some(Value::String(name)) => Some(name.clone()),
            _ => Some(object.get("class_name")?.as_str()?.to_lowercase()),
        },
        _ => None,
    }
}

/// States an axis that is not that of the channels.
fn state_axis(vertex: &mut Vertex, layer: &ConfigLayer) {
    let axis = layer.attributes.get("axis").or_else(|| layer.attributes.get("concat_axis"));
    let number = axis.and_then(|axis| axis.as_array().and_then(|axes| axes.first()).unwrap_or(axis).as_i64());
    if let Some(axis) = number.filter(|axis| ![-1, 3].contains(axis)) {
        vertex.attributes.push((Attribute::Axis, axis.to_string()));
    }
}

/// A map read as a vector; one of several pixels is read in the order of its axes.
fn flattened(layer: &ConfigLayer, class: &str, operand: Tensor) -> Tensor {
    let is_channels_first = text_of(&layer.attributes, "data_format").as_deref() == Some("channels_first");
    let is_one_pixel = operand.extents == Some([1, 1]);
    let value = match is_channels_first && !is_one_pixel {
        true => operation(operand, Attribute::Other, format!("{class} of channels first")),
        false => operand,
    };
    Tensor { extents: Some([1, 1]), ..value }
}

/// More zeros around the value.
fn padded(layer: &ConfigLayer, mut operand: Tensor) -> Tensor {
    let numbers = |value: &Value| -> Vec<u32> {
        let number = |value: &Value| value.as_u64().map(|number| number.min(1 << 20) as u32);
        match value.as_array() {
            Some(items) => items.iter().filter_map(number).collect(),
            None => number(value).into_iter().collect(),
        }
    };
    let padding = layer.attributes.get("padding").cloned().unwrap_or(Value::Null);
    let both = |pad: &[u32]| match *pad {
        [before, after] => [before, after],
        [same] => [same, same],
        _ => [0, 0],
    };
    let [rows, columns] = match padding.as_array().map(Vec::as_slice) {
        Some([rows, columns]) => [both(&numbers(rows)), both(&numbers(columns))],
        _ => [both(&numbers(&padding)); 2],
    };
    operand.zeros = more_zeros(operand.zeros, rows, columns);
    operand
}

/// A pool over windows. Zeros around a map count in its means, so they are no part of the window
/// there.
fn pool(layer: &ConfigLayer, kind: PoolKind, mut operand: Tensor) -> Tensor {
    if kind == PoolKind::Average && operand.zeros != Pads::default() {
        let extents = operand.extents.map(|extents| widened(extents, operand.zeros));
        operand = Tensor { edge: operand.settled(), extents, zeros: Pads::default() };
    }
    match moving(layer, &["pool_size"], &operand) {
        Some(window) => Tensor {
            extents: outputs(&window, operand.extents),
            edge: operand.edge.then(Attribute::Pool, window::pool(kind, &window)),
            zeros: Pads::default(),
        },
        None => operation(operand, Attribute::Pool, kind.to_string()),
    }
}

fn global_pool(kind: PoolKind, operand: Tensor) -> Tensor {
    let value = operation(operand, Attribute::Pool, window::global_pool(kind));
    Tensor { extents: Some([1, 1]), ..value }
}

/// The window of a layer over an operand of known extents; nothing if anything is not known.
fn moving(layer: &ConfigLayer, kernel: &[&str], operand: &Tensor) -> Option<Window> {
    let attributes = &layer.attributes;
    let kernel = kernel.iter().find_map(|key| pair(attributes.get(*key)?)).or_else(|| {
        let extent = |key: &str| Some(attributes.get(key)?.as_u64()?.min(1 << 20) as u32);
        Some([extent("nb_row")?, extent("nb_col")?])
    })?;
    let is_pool = attributes.contains_key("pool_size");
    let strides = ["strides", "subsample"].iter().find_map(|key| pair(attributes.get(*key)?));
    let strides = strides.unwrap_or(if is_pool { kernel } else { [1, 1] });
    let dilation = attributes.get("dilation_rate").and_then(pair).unwrap_or([1, 1]);
    let mut window = Window { kernel, strides, dilation, pads: operand.zeros };
    let padding = text_of(attributes, "padding").or_else(|| text_of(attributes, "border_mode"))?;
    let extents = operand.extents?;
    if padding == "same" {
        let extent = [0, 1].map(|axis| extent_of(&window, axis));
        let wide = widened(extents, operand.zeros);
        let [rows, columns] = [0, 1].map(|axis| same(wide[axis], extent[axis], strides[axis]));
        window.pads = more_zeros(window.pads, rows, columns);
    }
    Some(window)
}

/// The extent of the dilated kernel along an axis.
fn extent_of(window: &Window, axis: usize) -> u32 {
    (window.kernel[axis].max(1) - 1).saturating_mul(window.dilation[axis]).saturating_add(1)
}

/// The zeros before and after that TensorFlow's `same` asks for: the output has `ceil(size /
/// stride)` pixels, an odd zero goes behind.
fn same(size: u32, extent: u32, stride: u32) -> [u32; 2] {
    let stride = u64::from(stride.max(1));
    let outputs = u64::from(size).div_ceil(stride);
    let needed = (outputs.max(1) - 1) * stride + u64::from(extent);
    let zeros = u32::try_from(needed.saturating_sub(u64::from(size))).unwrap_or(u32::MAX / 4);
    [zeros / 2, zeros - zeros / 2]
}

/// Rows and columns with zeros around.
fn widened([rows, columns]: [u32; 2], zeros: Pads) -> [u32; 2] {
    let add = |size: u32, before: u32, after: u32| size.saturating_add(before).saturating_add(after);
    [add(rows, zeros.top, zeros.bottom), add(columns, zeros.left, zeros.right)]
}

/// More zeros before and after rows and columns.
fn more_zeros(zeros: Pads, rows: [u32; 2], columns: [u32; 2]) -> Pads {
    Pads {
        top: zeros.top.saturating_add(rows[0]),
        bottom: zeros.bottom.saturating_add(rows[1]),
        left: zeros.left.saturating_add(columns[0]),
        right: zeros.right.saturating_add(columns[1]),
    }
}

/// Rows and columns of the results of a window.
fn outputs(window: &Window, extents: Option<[u32; 2]>) -> Option<[u32; 2]> {
    let extents = extents?;
    if (0..2).any(|axis| {
        extent_of(window, axis) > 1 << 24 || window.strides[axis] == 0 || window.kernel[axis] == 0
    }) {
        return None;
    }
    Some([window.output(0, extents[0])?, window.output(1, extents[1])?])
}

/// Two numbers, or one for both.
fn pair(value: &Value) -> Option<[u32; 2]> {
    let number = |value: &Value| Some(value.as_u64()?.min(1 << 20) as u32);
    match value.as_array().map(Vec::as_slice) {
        Some([rows, columns]) => Some([number(rows)?, number(columns)?]),
        Some([both]) => Some([number(both)?; 2]),
        Some(_) => None,
        None => Some([number(value)?; 2]),
    }
}
