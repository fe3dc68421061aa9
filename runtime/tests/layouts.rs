//! Files in PyTorch's layouts against the numbers that they were made from, and maps that say too
//! little.

use std::collections::HashMap;
use std::path::PathBuf;

use proptest::prelude::*;
use safetensors::tensor::{Dtype, TensorView};
use xcc_compiler::elaborate;
use xcc_compiler::graph::{Graph, Op, Shape, WeightId, WeightSource};
use xcc_runtime::weights::{self, NameMap, Weights};

/// A separable layer, a flatten, a normalisation and a dense layer.
fn network(rows: u32, columns: u32, channels: u32, filters: u32, units: u32) -> Graph {
    let spec = format!(
        "model m\ninput x {rows} x {columns} x {channels}\nsepconv {filters}, 3x3, bias: no as s\nrelu\nflatten\n\
         bn as n\ndense {units} as fc\n"
    );
    let elaborated = elaborate::read(&spec, &[]);
    elaborated.graph.unwrap_or_else(|| panic!("{:?}", elaborated.diagnostics))
}

/// Rows, columns and channels of the map that is flattened.
fn flattened(graph: &Graph) -> [usize; 3] {
    let is_flatten = |id: &&xcc_compiler::graph::NodeId| graph.node(**id).op == Op::Flatten;
    let flat = graph.node(*graph.order().iter().find(is_flatten).unwrap());
    match graph.node(flat.inputs[0]).shape {
        Shape::Map { h, w, c } => [h, w, c].map(|extent| extent as usize),
        Shape::Vector { .. } => panic!("a vector is flattened"),
    }
}

type Tensors = Vec<(String, Vec<usize>, Vec<f32>)>;

/// The tensors of `weights` as PyTorch would save them, in names of `torch.nn.DataParallel`.
/// Written from the definition of each layout, element by element; axes of extent 1 are left out
/// if `short`.
fn pytorch(graph: &Graph, weights: &Weights, short: bool) -> Tensors {
    let ours: HashMap<&str, (Vec<usize>, Vec<f32>)> = (graph.weights.iter().enumerate())
        .map(|(id, weight)| {
            let shape = weight.shape.iter().map(|&extent| extent as usize).collect();
            (weight.name.as_str(), (shape, weights.tensor(WeightId::new(id)).unwrap().into_owned()))
        })
        .collect();
    let [h, w, c] = flattened(graph);
    let place = |torch: usize| {
        let (channel, y, x) = (torch / (h * w), torch / w % h, torch % w);
        (y * w + x) * c + channel
    };
    let mut file = Tensors::new();
    let (shape, kernel) = &ours["s/depthwise_kernel"];
    let channels = shape[2];
    let values = (0..channels * 9).map(|at| kernel[at % 9 * channels + at / 9]).collect();
    let one: &[usize] = if short { &[] } else { &[1] };
    file.push(("module.s.conv1.weight".into(), [&[channels], one, &[3, 3]].concat(), values));
    let (shape, kernel) = &ours["s/pointwise_kernel"];
    let filters = shape[3];
    let values = (0..channels * filters).map(|at| kernel[at % channels * filters + at / channels]).collect();
    let ones: &[usize] = if short { &[] } else { &[1, 1] };
    file.push(("module.s.pointwise.weight".into(), [&[filters, channels], ones].concat(), values));
    for (role, name) in [
        ("gamma", "weight"),
        ("beta", "bias"),
        ("moving_mean", "running_mean"),
        ("moving_variance", "running_var"),
    ] {
        let Some((_, vector)) = ours.get(format!("n/{role}").as_str()) else { continue };
        let values = (0..h * w * c).map(|at| vector[place(at)]).collect();
        file.push((format!("module.n.{name}"), vec![h * w * c], values));
    }
    let (shape, kernel) = &ours["fc/kernel"];
    let units = shape[1];
    let values = (0..units * h * w * c).map(|at| kernel[place(at % (h * w * c)) * units + at / (h * w * c)]);
    file.push(("module.fc.weight".into(), vec![units, h * w * c], values.collect()));
    file.push(("module.fc.bias".into(), vec![units], ours["fc/bias"].1.clone()));
    file
}

fn saved(tensors: &Tensors) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    let bytes: Vec<Vec<u8>> = (tensors.iter())
        .map(|(_, _, values)| values.iter().flat_map(|value| value.to_le_bytes()).collect())
        .collect();
    let views = tensors.iter().zip(&bytes).map(|((name, shape, _), bytes)| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    (folder, path)
}

const VECTORS: &str = "
  - {from: n.weight, to: n/gamma}
  - {from: n.bias, to: n/beta}
  - {from: n.running_mean, to: n/moving_mean}
  - {from: n.running_var, to: n/moving_variance}
  - {from: fc.bias, to: fc/bias}
";

/// A map with `head`, the order of axes of the two kernels of the separable layer, and `word` in
/// the dense rule.
fn map(head: &str, [depthwise, pointwise]: [&str; 2], word: &str) -> NameMap {
    let yaml = format!(
        "prefix: module.\n{head}\nrules:\n  - {{from: s.conv1.weight, to: s/depthwise_kernel{depthwise}}}\n  \
         - {{from: s.pointwise.weight, to: s/pointwise_kernel{pointwise}}}\n  \
         - {{from: fc.weight, to: fc/kernel, transpose: [1, 0]{word}}}{VECTORS}"
    );
    NameMap::from_yaml(&yaml).unwrap_or_else(|error| panic!("{error}\n{yaml}"))
}

const FULL: [&str; 2] = [", transpose: [2, 3, 0, 1]", ", transpose: [2, 3, 1, 0]"];
const SHORT: [&str; 2] = [", transpose: [1, 2, 0]", ", transpose: [1, 0]"];
const SHORT_SAID: [&str; 2] = [", transpose: [1, 2, 0, new]", ", transpose: [new, new, 1, 0]"];

fn refusal(graph: &Graph, tensors: &Tensors, map: &NameMap) -> String {
    let (_folder, path) = saved(tensors);
    weights::load(graph, &path, Some(map)).unwrap_err().to_string()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_number_reaches_its_place(
        (rows, columns, channels) in (3u32..6, 3u32..6, 1u32..5),
        (filters, units) in (1u32..6, 1u32..9),
    ) {
        let graph = network(rows, columns, channels, filters, units);
        let expected = Weights::random(&graph, 9);
        let head = "flatten: channels first";
        for (short, orders) in [(false, FULL), (true, SHORT), (true, SHORT_SAID)] {
            let (_folder, path) = saved(&pytorch(&graph, &expected, short));
            let found = weights::load(&graph, &path, Some(&map(head, orders, ""))).unwrap();
            for (id, weight) in graph.weights.iter().enumerate() {
                let id = WeightId::new(id);
                prop_assert_eq!(found.tensor(id), expected.tensor(id), "{} {}", weight.name, orders[0]);
            }
        }
    }
}

#[test]
fn a_map_that_transposes_says_how_a_flatten_counts() {
    let graph = network(4, 5, 3, 4, 2);
    let file = pytorch(&graph, &Weights::random(&graph, 9), false);
    let text = refusal(&graph, &file, &map("", FULL, ""));
    let [h, w, c] = flattened(&graph);
    let expected = format!(
        "flatten: fc/kernel counts the elements of a flattened {h}x{w}x{c} map, and module.fc.weight fits in any \
         order; the name map transposes, so it must say `flatten: channels first` (PyTorch, ONNX)"
    );
    assert!(text.contains(&expected), "{text}");
    assert!(text.contains("flatten: n/moving_mean counts"), "{text}");
    // The word in one rule is not one for all.
    let text = refusal(&graph, &file, &map("", FULL, ", flatten: channels first"));
    assert!(!text.contains("flatten: fc/kernel") && text.contains("flatten: n/moving_mean"), "{text}");
    let (_folder, path) = saved(&file);
    assert!(weights::load(&graph, &path, Some(&map("flatten: channels last", FULL, ""))).is_ok());
    let word = [", transpose: [2, 3, 0, 1], flatten: channels first", FULL[1]];
    let text = refusal(&graph, &file, &map("flatten: channels first", word, ""));
    assert!(
        text.contains("flatten: s/depthwise_kernel, for which module.s.conv1.weight is meant, counts no"),
        "{text}"
    );
}

/// Three channels and a 3x3 window, four channels and four filters: without a word, several orders
/// fit.
#[test]
fn axes_of_equal_extents_are_never_guessed() {
    let graph = network(4, 5, 3, 3, 2);
    let file = pytorch(&graph, &Weights::random(&graph, 9), true);
    let text = refusal(&graph, &file, &map("flatten: channels first", ["", ""], ""));
    for (tensor, example) in
        [("s/depthwise_kernel", "[0, 1, 2, new]"), ("s/pointwise_kernel", "[new, new, 0, 1]")]
    {
        let line = text.lines().find(|line| line.contains(&format!("for {tensor}"))).unwrap_or_default();
        assert!(line.contains("several orders of axes fit"), "{text}");
        assert!(line.ends_with(&format!("for example `transpose: {example}`")), "{text}");
    }
    // Other extents: what fits is hinted at, in one order.
    let graph = network(4, 5, 3, 4, 2);
    let file = pytorch(&graph, &Weights::random(&graph, 9), true);
    let text = refusal(&graph, &file, &map("flatten: channels first", [SHORT[0], ""], ""));
    assert!(text.contains("a name map can say `transpose: [new, new, 1, 0]`"), "{text}");
}

#[test]
fn names_in_files_cannot_write_to_the_terminal() {
    let graph = network(4, 5, 3, 4, 2);
    let mut file = pytorch(&graph, &Weights::random(&graph, 9), false);
    file[0].0 = "module.\u{1b}[2Jevil\u{7}\nname".into();
    let text = refusal(&graph, &file, &map("flatten: channels first", FULL, ""));
    assert!(text.contains("\\u{1b}[2Jevil\\u{7}\\nname"), "{text}");
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text}");
}
