//! Graphs made of a listing of layers, for tests that look at names, order and weights only.
//!
//! A line is `name | class | inputs | weights`. Nodes are placeholders without meaningful shapes.
//! Layers are pushed in an order of their own, shortcuts before main paths, so that order in the
//! graph is not the listing's.

#![allow(dead_code, reason = "each test binary uses a part")]

use std::collections::HashMap;
use std::path::PathBuf;

use xcc_compiler::diagnostic::Span;
use xcc_compiler::graph::{Graph, ImageSpec, Layer, LayerId, LayerKind, NodeId, Op, Role, Shape, Weight};

/// A layer of a listing.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its name.
    pub name: String,
    /// Its class in Keras.
    pub class: String,
    /// Names of the layers it reads.
    pub inputs: Vec<String>,
    /// Roles and shapes of its weights.
    pub weights: Vec<(String, Vec<u32>)>,
}

/// The path of a file in `tests/fixtures/weights`.
pub fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/weights").join(name)
}

/// Reads a listing of the fixtures.
pub fn lines(file: &str) -> Vec<Line> {
    let text = std::fs::read_to_string(fixture(file)).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(line).collect()
}

fn line(text: &str) -> Line {
    let fields: Vec<&str> = text.split('|').map(str::trim).collect();
    let list = |field: &str, separator| -> Vec<String> {
        field.split(separator).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
    };
    let weight = |item: String| {
        let (role, shape) = item.split_once(' ').unwrap();
        (role.to_owned(), shape.split('x').map(|extent| extent.parse().unwrap()).collect())
    };
    Line {
        name: fields[0].to_owned(),
        class: fields[1].to_owned(),
        inputs: list(fields[2], ','),
        weights: list(fields[3], ';').into_iter().map(weight).collect(),
    }
}

/// The graph of a listing.
pub fn graph(lines: &[Line]) -> Graph {
    let by_name: HashMap<&str, &Line> = lines.iter().map(|line| (line.name.as_str(), line)).collect();
    let mut order = Vec::new();
    visit(&lines[lines.len() - 1], &by_name, &mut order);
    let shape = Shape::vector(1);
    let mut graph = Graph::new("listing", ImageSpec::default(), layer(order[0]), shape);
    let mut nodes: HashMap<&str, NodeId> = HashMap::from([(order[0].name.as_str(), graph.input)]);
    for line in &order[1..] {
        let id = graph.push_layer(layer(line));
        push_weights(&mut graph, id, line);
        let inputs = line.inputs.iter().map(|input| nodes[input.as_str()]).collect();
        nodes.insert(&line.name, graph.push(Op::Add, inputs, shape, id));
    }
    graph.outputs = vec![nodes[lines[lines.len() - 1].name.as_str()]];
    graph
}

/// Inputs before users, later inputs first.
fn visit<'a>(line: &'a Line, by_name: &HashMap<&str, &'a Line>, order: &mut Vec<&'a Line>) {
    if order.iter().any(|seen| seen.name == line.name) {
        return;
    }
    for input in line.inputs.iter().rev() {
        visit(by_name[input.as_str()], by_name, order);
    }
    order.push(line);
}

fn layer(line: &Line) -> Layer {
    let kind = match line.class.as_str() {
        "InputLayer" => LayerKind::Input,
        "Conv2D" => LayerKind::Conv,
        "SeparableConv2D" => LayerKind::SepConv,
        "BatchNormalization" => LayerKind::BatchNorm,
        "Activation" => LayerKind::Activation,
        "MaxPooling2D" => LayerKind::MaxPool,
        "GlobalAveragePooling2D" => LayerKind::GlobalAveragePool,
        "Dense" => LayerKind::Dense,
        "Add" => LayerKind::Add,
        other => panic!("{other} in a listing"),
    };
    Layer { name: line.name.clone(), kind, path: Vec::new(), span: Span::default() }
}

fn push_weights(graph: &mut Graph, layer: LayerId, line: &Line) {
    for (word, shape) in &line.weights {
        let role = role(word);
        let fan_in = match (role, shape.as_slice()) {
            (Role::Kernel, [kh, kw, ic, _]) => kh * kw * ic,
            (Role::Kernel, [inputs, _]) => *inputs,
            (Role::DepthwiseKernel, [kh, kw, ..]) => kh * kw,
            (Role::PointwiseKernel, [_, _, ic, _]) => *ic,
            _ => 1,
        };
        let name = format!("{}/{word}", line.name);
        graph.push_weight(Weight { name, shape: shape.clone(), role, layer, fan_in });
    }
}

fn role(word: &str) -> Role {
    let roles = [
        Role::Kernel,
        Role::DepthwiseKernel,
        Role::PointwiseKernel,
        Role::Bias,
        Role::Gamma,
        Role::Beta,
        Role::MovingMean,
        Role::MovingVariance,
    ];
    roles.into_iter().find(|role| role.to_string() == word).unwrap()
}
