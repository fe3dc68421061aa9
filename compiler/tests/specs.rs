//! The shipped specs: golden numbers, names, shapes, and every choice of their parameters.

use std::path::{Path, PathBuf};

use xcc_compiler::diagnostic::render;
use xcc_compiler::elaborate::{Elaborated, Param, Value, read};
use xcc_compiler::graph::{ChannelOrder, Graph, Labels, LayerKind, NodeId, Op, Shape};

fn specs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs")
}

fn source(name: &str) -> String {
    std::fs::read_to_string(specs().join(name)).unwrap()
}

fn load(name: &str, settings: &[(&str, &str)]) -> Elaborated {
    let source = source(name);
    let settings: Vec<_> = settings.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
    let elaborated = read(&source, &settings);
    let shown = render(name, &source, &elaborated.diagnostics, false);
    assert!(elaborated.diagnostics.is_empty(), "{name} with {settings:?}\n{shown}");
    elaborated
}

fn graph(name: &str, settings: &[(&str, &str)]) -> Graph {
    load(name, settings).graph.unwrap()
}

fn parameters(graph: &Graph) -> u64 {
    graph.weights.iter().map(|w| w.elements()).sum()
}

fn trainable(graph: &Graph) -> u64 {
    graph.weights.iter().filter(|w| w.role.is_trainable()).map(|w| w.elements()).sum()
}

/// Multiply-adds of all convolutions and dense layers.
fn macs(graph: &Graph) -> u64 {
    let node_macs = |id: &NodeId| {
        let node = graph.node(*id);
        match &node.op {
            Op::Conv(conv) => node.shape.pixels() * conv.window.taps() * conv.partition.products(),
            Op::Dense(part) => u64::from(graph.node(node.inputs[0]).shape.c()) * u64::from(part.outputs),
            _ => 0,
        }
    };
    graph.order().iter().map(node_macs).sum()
}

/// The last node of a layer.
fn value_of(graph: &Graph, layer: &str) -> NodeId {
    let of_layer = |id: &&NodeId| graph.layer(graph.node(**id).layer).name == layer;
    *graph.order().iter().rfind(of_layer).unwrap_or_else(|| panic!("no layer {layer}"))
}

#[test]
fn parameters_are_those_of_keras() {
    let golden = [
        ("xception.xc", 22_910_480),
        ("mini_xception.xc", 58_423),
        ("inception_v3.xc", 23_851_784),
        ("vgg16.xc", 138_357_544),
        ("resnet50.xc", 25_636_712),
        ("resnet152.xc", 60_419_944),
        ("mobilenet.xc", 4_253_864),
    ];
    for (name, expected) in golden {
        assert_eq!(parameters(&graph(name, &[])), expected, "{name}");
    }
}

#[test]
fn xception_has_the_numbers_of_the_paper() {
    let graph = graph("xception.xc", &[]);
    assert_eq!(trainable(&graph), 22_855_952);
    assert_eq!(parameters(&graph) - trainable(&graph), 54_528);
    assert_eq!(macs(&graph) / 1_000_000, 8_357);
    let is_main = |name: &str| name.starts_with("block");
    let convolutions = graph
        .layers
        .iter()
        .filter(|l| matches!(l.kind, LayerKind::Conv | LayerKind::SepConv) && is_main(&l.name));
    assert_eq!(convolutions.count(), 36);
    assert!(source("xception.xc").lines().count() <= 40);
}

/// Fewer segments cost more, and a count above the channels of a layer means full there. From 91
/// segments of 8 channels up the middle flow makes the whole network less than 5 % more expensive.
#[test]
fn segments_move_the_cost_of_xception() {
    let cost = |flow, segments| macs(&graph("xception.xc", &[(flow, segments)]));
    let full = cost("segments", "full");
    assert_eq!(cost("segments", "100000"), full);
    let costs = ["1", "2", "3", "4", "7", "28", "91", "182", "364", "728"].map(|s| cost("segments", s));
    assert!(costs.is_sorted_by(|a, b| a > b), "{costs:?}");
    assert!(cost("middle_segments", "91") < full + full / 20);
}

/// A layer of Keras' listing: class, name, shape, inputs and weights.
struct Listed {
    class: String,
    name: String,
    shape: String,
    inputs: Vec<String>,
    weights: Vec<(String, String)>,
}

/// Reads a table of `class | name | shape | inputs | attributes | weights` lines.
fn listing(name: &str) -> Vec<Listed> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras").join(name);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().filter(|l| !l.starts_with('#') && !l.is_empty());
    lines.map(|line| listed(&line.split('|').map(str::trim).collect::<Vec<_>>())).collect()
}

fn listed(columns: &[&str]) -> Listed {
    let pairs = columns[5].split(';').filter_map(|w| w.trim().split_once(' '));
    Listed {
        class: columns[0].to_owned(),
        name: columns[1].to_owned(),
        shape: columns[2].to_owned(),
        inputs: columns[3].split(',').filter(|i| !i.is_empty()).map(str::to_owned).collect(),
        weights: pairs.map(|(role, shape)| (role.to_owned(), shape.to_owned())).collect(),
    }
}

/// Compares a graph with Keras' listing of the same network, layer by layer. The input's name may
/// differ.
fn check_listing(graph: &Graph, listing: &[Listed]) {
    assert_eq!(graph.layers.len(), listing.len());
    let input = &graph.layers[0].name;
    for layer in listing {
        let name = if layer.class == "InputLayer" { input } else { &layer.name };
        let node = graph.node(value_of(graph, name));
        let kind = graph.layer(node.layer).kind;
        let is_softmax = kind == LayerKind::Softmax && layer.class == "Activation";
        assert!(kind.keras_class() == layer.class || is_softmax, "{name} is {kind}");
        assert_eq!(node.shape.to_string(), layer.shape, "{name}");
        let weights = graph.weights.iter().filter(|w| w.layer == node.layer);
        let weights: Vec<_> = weights.map(|w| (w.role.to_string(), extents(&w.shape))).collect();
        assert_eq!(weights, layer.weights, "{name}");
        assert!(
            weights.iter().all(|(role, _)| graph.weights.iter().any(|w| w.name == format!("{name}/{role}")))
        );
        check_inputs(graph, name, layer, &listing[0].name);
    }
}

fn check_inputs(graph: &Graph, name: &str, layer: &Listed, keras_input: &str) {
    let first = graph.order().iter().find(|id| graph.layer(graph.node(**id).layer).name == name).unwrap();
    let inputs = graph.node(*first).inputs.iter().map(|i| graph.layer(graph.node(*i).layer).name.clone());
    let rename = |i: &String| if i == keras_input { graph.layers[0].name.clone() } else { i.clone() };
    assert_eq!(inputs.collect::<Vec<_>>(), layer.inputs.iter().map(rename).collect::<Vec<_>>(), "{name}");
}

fn extents(shape: &[u32]) -> String {
    shape.iter().map(u32::to_string).collect::<Vec<_>>().join("x")
}

#[test]
fn xception_is_keras_layer_by_layer() {
    check_listing(&graph("xception.xc", &[]), &listing("xception.txt"));
}

#[test]
fn mini_xception_is_keras_layer_by_layer() {
    let graph = graph("mini_xception.xc", &[]);
    check_listing(&graph, &listing("mini_xception.txt"));
    assert_eq!(graph.image.channels, ChannelOrder::Gray);
    assert_eq!(graph.image.range, [-1.0, 1.0]);
    let Labels::Inline(labels) = &graph.image.labels else { panic!("labels are in the spec") };
    assert_eq!(labels.join(" "), "angry disgust fear happy sad surprise neutral");
}

#[test]
fn inception_v3_has_the_blocks_of_keras() {
    let graph = graph("inception_v3.xc", &[]);
    let shape = |layer: &str| graph.node(value_of(&graph, layer)).shape;
    assert_eq!(shape("mixed0"), Shape::map(35, 35, 256));
    assert_eq!(shape("mixed2"), Shape::map(35, 35, 288));
    assert_eq!(shape("mixed7"), Shape::map(17, 17, 768));
    assert_eq!(shape("mixed10"), Shape::map(8, 8, 2048));
    // Keras numbers its 94 convolutions from `conv2d` to `conv2d_93`.
    assert_eq!(shape("conv2d_93"), Shape::map(8, 8, 192));
    let convolutions = graph.layers.iter().filter(|l| l.kind == LayerKind::Conv);
    assert_eq!(convolutions.count(), 94);
}

#[test]
fn resnet_50_has_the_stages_of_keras() {
    let graph = graph("resnet50.xc", &[]);
    for (layer, shape) in [
        ("conv1_conv", Shape::map(112, 112, 64)),
        ("pool1_pool", Shape::map(56, 56, 64)),
        ("conv2_block3_out", Shape::map(56, 56, 256)),
        ("conv3_block1_1_conv", Shape::map(28, 28, 128)),
        ("conv5_block3_out", Shape::map(7, 7, 2048)),
    ] {
        assert_eq!(graph.node(value_of(&graph, layer)).shape, shape, "{layer}");
    }
}

#[test]
fn inception_modules_of_figures_2_and_3_have_the_same_parameters() {
    let module = |figure| graph("inception_module.xc", &[("figure", figure)]);
    assert_eq!(parameters(&module("2")), parameters(&module("3")));
    assert_eq!(macs(&module("2")), macs(&module("3")));
    assert!(parameters(&module("4")) < parameters(&module("3")));
    let shape = |graph: &Graph| graph.node(graph.outputs[0]).shape;
    assert_eq!(shape(&module("2")), shape(&module("4")));
}

#[test]
fn the_ablations_of_the_paper_are_settings_of_xception() {
    let plain = graph("xception.xc", &[("residuals", "no")]);
    assert!(plain.layers.iter().all(|l| l.kind != LayerKind::Add));
    assert_eq!(parameters(&plain), 22_910_480 - (64 * 128 + 128 * 256 + 256 * 728 + 728 * 1024) - 4 * 2136);

    let between = graph("xception.xc", &[("between", "elu")]);
    let sepconvs = between.layers.iter().filter(|l| l.kind == LayerKind::SepConv).count();
    let elus = between
        .order()
        .iter()
        .filter(|id| matches!(between.node(**id).op, Op::Activation(xcc_compiler::graph::Activation::Elu)));
    assert_eq!(elus.count(), sepconvs);

    let dense = graph("xception.xc", &[("hidden", "2")]);
    let expected = 22_910_480 - 2049 * 1000 + 2049 * 4096 + 4097 * 4096 + 4097 * 1000;
    assert_eq!(parameters(&dense), expected);

    let jft = graph("xception.xc", &[("classes", "17000"), ("head", "sigmoid")]);
    let last = jft.node(jft.outputs[0]);
    assert_eq!(last.shape, Shape::vector(17_000));
    assert_eq!(last.op, Op::Activation(xcc_compiler::graph::Activation::Sigmoid));
}

/// Values to try for a parameter: every choice, or both ends of its range within reason.
fn candidates(param: &Param) -> Vec<String> {
    let list = |text: &str| -> Vec<String> {
        text.trim_matches(['[', ']']).split(", ").map(str::to_owned).collect()
    };
    match (&param.domain, &param.value) {
        (Some(domain), _) if domain.starts_with('[') => list(domain),
        (Some(domain), _) => domain.split("..").map(str::to_owned).collect(),
        (None, Some(Value::Boolean(_))) => vec!["yes".to_owned(), "no".to_owned()],
        (None, _) => vec!["1".to_owned(), "full".to_owned()],
    }
}

#[test]
fn every_spec_elaborates_with_every_choice() {
    for entry in std::fs::read_dir(specs()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if !name.ends_with(".xc") {
            continue;
        }
        for param in load(name, &[]).params {
            for value in candidates(&param) {
                assert!(load(name, &[(&param.name, &value)]).graph.is_some());
            }
        }
    }
}

#[test]
fn uneven_segments_are_even_to_one_channel() {
    let graph = graph("xception.xc", &[("middle_segments", "3")]);
    let node = graph.order().iter().find(|id| graph.layer(graph.node(**id).layer).name == "block5_sepconv1");
    let Op::Conv(conv) = &graph.node(*node.unwrap()).op else { panic!("a convolution") };
    assert_eq!(conv.partition.inputs(), [243, 243, 242]);
    let kernel = graph.weight(conv.parts[0].kernel);
    assert_eq!(kernel.shape, [9 * (243 * 243 * 2 + 242 * 242)]);
}
