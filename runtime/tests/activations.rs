//! Seeded weights keep the activations of deep networks in range: never a thousand times larger or
//! smaller than the input.

use xcc_compiler::elaborate;
use xcc_compiler::graph::{Graph, NodeId, Op};
use xcc_runtime::reference;
use xcc_runtime::weights::Weights;

fn network(source: &str, settings: &[(&str, &str)]) -> Graph {
    let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
    let settings: Vec<_> = settings.iter().map(owned).collect();
    let elaborated = elaborate::read(source, &settings);
    elaborated.graph.unwrap_or_else(|| panic!("{settings:?}: {:?}", elaborated.diagnostics))
}

/// The standard deviation of each value of the network for a noisy input in `range`, as a multiple
/// of the input's.
fn deviations(graph: &Graph, range: [f32; 2], seed: u64) -> Vec<(NodeId, f64)> {
    let elements = graph.node(graph.input).shape.elements();
    let noise = |n: u64| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f32 / (1u32 << 24) as f32;
    let input: Vec<f32> = (0..elements).map(|n| range[0] + (range[1] - range[0]) * noise(n)).collect();
    let values = reference::evaluate(graph, &Weights::random(graph, seed), &input, 1).unwrap();
    let live = graph.order().iter().filter(|&&id| !matches!(graph.node(id).op, Op::Input | Op::Softmax));
    live.map(|&id| (id, deviation(values.get(id).unwrap()) / deviation(&input))).collect()
}

fn deviation(values: &[f32]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
    (values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / count).sqrt()
}

fn assert_sane(what: &str, graph: &Graph, range: [f32; 2]) {
    let deviations = deviations(graph, range, 0);
    let least = deviations.iter().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let most = deviations.iter().max_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    println!("{what}: {:.2e} ({}) to {:.2e} ({})", least.1, least.0, most.1, most.0);
    assert!(least.1 > 1e-3 && most.1 < 1e3, "{what}: {least:?} to {most:?}");
}

#[test]
fn shipped_specs() {
    let xception = include_str!("../../specs/xception.xc");
    for settings in [
        &[][..],
        &[("segments", "7"), ("order", "pointwise_first")],
        &[("residuals", "no"), ("between", "relu")],
    ] {
        let settings = [&[("size", "71"), ("classes", "10")], settings].concat();
        assert_sane(&format!("xception {settings:?}"), &network(xception, &settings), [-1.0, 1.0]);
    }
    let mini = include_str!("../../specs/mini_xception.xc");
    assert_sane("mini_xception", &network(mini, &[]), [-1.0, 1.0]);
}

/// Fifty bottleneck blocks as in ResNet-152 (He et al., arXiv 1512.03385), narrow, with its input
/// in -128..127.
#[test]
fn fifty_residual_blocks() {
    let source = "\
model deep
input image 16 x 16 x 3, range: 0..255
default conv { padding: same }
block unit(width, size) { conv width, [size, size]; bn; relu }
block body(width) { unit(width, 1); unit(width, 3); conv 4 * width, 1x1; bn }
unit(16, 7)
residual { body(16) } shortcut { conv 64, 1x1; bn }
relu
repeat 49 { residual { body(16) }; relu }
globalavgpool
dense 10
";
    assert_sane("fifty blocks", &network(source, &[]), [-128.0, 127.0]);
}

#[test]
fn ninety_layers_in_a_row() {
    let source = "\
model straight
param kind = conv in [conv, sepconv]
input image 16 x 16 x 3, range: -1..1
default conv, sepconv { padding: same, bias: no }
repeat 90 { if kind == conv { conv 32, 3x3 } else { sepconv 32, 3x3 }; bn; relu }
globalavgpool
dense 10
";
    assert_sane("ninety convolutions", &network(source, &[]), [-1.0, 1.0]);
    assert_sane("ninety separable ones", &network(source, &[("kind", "sepconv")]), [-1.0, 1.0]);
}

/// Layers without batch norm have nothing but biases against dying (VGG-16, Simonyan and
/// Zisserman, arXiv 1409.1556).
#[test]
fn sixteen_layers_without_batch_norm() {
    let source = "\
model plain
input image 32 x 32 x 3, range: 0..255
default conv { padding: same, activation: relu }
for width in [16, 32, 64, 128, 128] { conv width, 3x3; conv width, 3x3; conv width, 3x3; maxpool 2x2 }
flatten
dense 64, activation: relu
dense 10
";
    assert_sane("without batch norm", &network(source, &[]), [-128.0, 127.0]);
}
