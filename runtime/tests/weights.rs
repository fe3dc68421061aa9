//! Files of weights in every layout against the seeded numbers that were written into them, and
//! what is said when a file is not for the network.

mod listing;

use std::collections::{BTreeSet, HashMap};
use std::path::Path;

use hdf5_pure::{AttrValue, FileBuilder};
use listing::{Line, fixture, graph, lines};
use serde_json::{Value, json};
use xcc_compiler::elaborate;
use xcc_compiler::graph::{Graph, WeightId, WeightSource};
use xcc_runtime::weights::{
    self, LoadOptions, Matching, NameMap, Origin, Translation, Weights, WeightsError, keras_order,
};

/// What keras_files.py writes, in every layout.
const KERAS_FILES: [&str; 8] = [
    "keras1_weights.h5",
    "keras2_weights.h5",
    "keras2_model.h5",
    "keras3_model.h5",
    "keras3.weights.h5",
    "keras3_unnamed.weights.h5",
    "keras3.keras",
    "tf_keras.keras",
];

fn tiny() -> Graph {
    graph(&lines("tiny.layers"))
}

/// The network of a file in `specs`.
fn spec(file: &str) -> Graph {
    let source = std::fs::read_to_string(fixture("../../../../specs").join(file)).unwrap();
    let elaborated = elaborate::read(&source, &[]);
    elaborated.graph.unwrap_or_else(|| panic!("{file}: {:?}", elaborated.diagnostics))
}

fn assert_same(graph: &Graph, found: &Weights, expected: &Weights) {
    for (id, weight) in graph.weights.iter().enumerate() {
        let id = WeightId::new(id);
        assert_eq!(found.tensor(id).unwrap(), expected.tensor(id).unwrap(), "{}", weight.name);
        assert_eq!(found.tensor(id).unwrap().len() as u64, weight.elements(), "{}", weight.name);
        assert_eq!(found.length(id), weight.elements(), "{}", weight.name);
    }
}

#[test]
fn numbers_can_be_read_and_drawn_again() {
    let graph = spec("mini_xception.xc");
    let drawn = Weights::random(&graph, 3);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    weights::save_safetensors(&graph, &drawn, &path).unwrap();
    let stored = weights::load(&graph, &path, None).unwrap();
    for weights in [&drawn, &stored, &drawn, &stored] {
        assert_same(&graph, weights, &drawn);
    }
}

fn refusal(graph: &Graph, path: &Path) -> String {
    let text = weights::load(graph, path, None).unwrap_err().to_string();
    text.replace(&format!("{}", path.parent().unwrap().display()), "")
}

#[test]
fn every_layout_of_keras_gives_the_numbers_that_were_saved() {
    let graph = tiny();
    let expected = Weights::random(&graph, 5);
    for file in KERAS_FILES {
        let found = weights::load(&graph, &fixture(file), None).unwrap_or_else(|e| panic!("{e}"));
        let Origin::File { matching, .. } = found.origin() else { panic!("{file}: {:?}", found.origin()) };
        // Where names are stored, all agree but those of the two layers that had none, and those
        // of sep1 and sep2, which only count.
        let confirmed = if file.contains("unnamed") || file.contains("keras1") { 0 } else { 5 };
        let expected_matching = match file.ends_with(".keras") || file.contains("model") {
            true => Matching::Description { layers: 9 },
            false => Matching::Order { confirmed, layers: 9 },
        };
        assert_eq!(*matching, expected_matching, "{file}");
        assert_same(&graph, &found, &expected);
    }
}

#[test]
fn models_in_models_are_read_layer_by_layer() {
    let graph = graph(&lines("nested.layers"));
    let expected = Weights::random(&graph, 5);
    for file in [
        "nested_keras2_weights.h5",
        "nested_frozen_keras2_weights.h5",
        "nested_keras3_model.h5",
        "nested_keras3.weights.h5",
    ] {
        let found = weights::load(&graph, &fixture(file), None).unwrap_or_else(|e| panic!("{e}"));
        assert_same(&graph, &found, &expected);
    }
}

#[test]
fn layers_come_in_keras_order() {
    for (file, layers) in [("xception.layers", 134), ("mini_xception.layers", 46), ("tiny.layers", 16)] {
        let lines = lines(file);
        let graph = graph(&lines);
        let names: Vec<&str> = keras_order(&graph).iter().map(|&id| graph.layer(id).name.as_str()).collect();
        let expected: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names.len(), layers);
        assert_eq!(names, expected);
        let pushed: Vec<&str> = graph.layers.iter().map(|layer| layer.name.as_str()).collect();
        assert_ne!(pushed, expected, "the graph must be in another order for this to test anything");
    }
}

#[test]
fn specs_have_the_order_and_tensors_of_keras() {
    for (file, listing) in [("xception.xc", "xception.layers"), ("mini_xception.xc", "mini_xception.layers")]
    {
        let graph = spec(file);
        let mut tensors = graph.weights.iter().map(|weight| (weight.layer, weight)).collect::<Vec<_>>();
        let order = keras_order(&graph);
        tensors.sort_by_key(|(layer, _)| order.iter().position(|id| id == layer));
        let found = tensors.iter().map(|(_, weight)| (weight.name.clone(), weight.shape.clone()));
        let expected = lines(listing).into_iter().flat_map(|line| {
            line.weights.into_iter().map(move |(role, shape)| (format!("{}/{role}", line.name), shape))
        });
        assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{file}");
    }
}

#[test]
fn layers_that_lead_nowhere_come_last() {
    let mut graph = tiny();
    let stem = graph.order()[1];
    let layer = graph.push_layer(graph.layer(graph.node(stem).layer).clone());
    graph.push(graph.node(stem).op.clone(), vec![stem], graph.node(stem).shape, layer);
    let order = keras_order(&graph);
    assert_eq!(order.len(), 17);
    assert_eq!(order.last(), Some(&layer));
}

/// The listing with the operands of its first sum in the other order, which is another order of
/// layers in Keras.
fn other_order() -> Vec<Line> {
    let mut lines = lines("tiny.layers");
    let add = lines.iter_mut().find(|line| line.name == "add").unwrap();
    add.inputs.reverse();
    lines
}

fn rename(lines: &mut [Line], names: &[(&str, &str)]) {
    for line in lines {
        for name in std::iter::once(&mut line.name).chain(&mut line.inputs) {
            if let Some((_, new)) = names.iter().find(|(old, _)| old == name) {
                *name = (*new).to_owned();
            }
        }
    }
}

#[test]
fn names_that_are_the_same_on_both_sides_overrule_order() {
    let mut lines = other_order();
    let expected = Weights::random(&tiny(), 5);
    // As in the file: the shortcut's layers have names that Keras made up.
    rename(&mut lines, &[("shortcut", "conv2d"), ("shortcut_bn", "batch_normalization")]);
    let graph = graph(&lines);
    for file in ["keras2_weights.h5", "keras3.weights.h5", "keras3.keras"] {
        let found = weights::load(&graph, &fixture(file), None).unwrap_or_else(|e| panic!("{e}"));
        for (id, weight) in graph.weights.iter().enumerate() {
            let name =
                weight.name.replace("conv2d/", "shortcut/").replace("batch_normalization/", "shortcut_bn/");
            let same = tiny().weights.iter().position(|weight| weight.name == name).unwrap();
            assert_eq!(
                found.tensor(WeightId::new(id)).unwrap(),
                expected.tensor(WeightId::new(same)).unwrap(),
                "{file} {name}"
            );
        }
    }
}

#[test]
fn a_contradiction_between_order_and_names_is_an_error() {
    let mut lines = lines("tiny.layers");
    rename(&mut lines, &[("sep1_bn", "sep2_bn"), ("sep2_bn", "other_bn")]);
    snapbox::assert_data_eq!(
        refusal(&graph(&lines), &fixture("keras2_weights.h5")),
        snapbox::str![[r#"
/keras2_weights.h5: these weights are not for this network: 1 mismatch
  order: layer 8 with weights is sep2_bn in the file, other_bn in the network
"#]]
    );
}

/// The last convolutions of a residual block's two branches, of the same shape, as in ResNet.
#[test]
fn layers_that_only_the_operands_of_a_sum_put_in_order_need_names() {
    let mut lines = lines("tiny.layers");
    lines.retain(|line| line.name != "pool");
    let add = lines.iter_mut().find(|line| line.name == "add").unwrap();
    add.inputs = vec!["sep1_bn".into(), "shortcut_bn".into()];
    let graph = graph(&lines);
    for file in ["keras3_unnamed.weights.h5", "keras1_weights.h5"] {
        let text = refusal(&graph, &fixture(file));
        assert!(
            text.contains("order: sep1_bn and shortcut_bn have the same shapes, and nothing says which"),
            "{text}"
        );
    }
    // One of the two has a name here, which tells both.
    let named = weights::load(&graph, &fixture("keras3.weights.h5"), None).unwrap();
    assert_same(&graph, &named, &Weights::random(&graph, 5));
}

/// A residual block whose two branches end in layers of the same shapes; `side` reads `from`.
fn residual(operands: [&str; 2], from: &str) -> Vec<Line> {
    let line = |name: &str, class: &str, inputs: &[&str], weights: &[(&str, &[u32])]| Line {
        name: name.to_owned(),
        class: class.to_owned(),
        inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
        weights: weights.iter().map(|&(word, shape)| (word.to_owned(), shape.to_vec())).collect(),
    };
    let conv = |name, from, channels| {
        line(name, "Conv2D", &[from], &[("kernel", &[1, 1, 4, channels]), ("bias", &[channels])])
    };
    let norm =
        |name, from| line(name, "BatchNormalization", &[from], &[("beta", &[6]), ("moving_mean", &[6])]);
    vec![
        line("image", "InputLayer", &[], &[]),
        conv("stem", "image", 4),
        conv("first", "stem", 4),
        line("first_act", "Activation", &["first"], &[]),
        conv("deep", "first_act", 6),
        norm("deep_bn", "deep"),
        conv("side", from, 6),
        norm("side_bn", "side"),
        line("sum", "Add", &operands, &[]),
        line("predictions", "Dense", &["sum"], &[("kernel", &[6, 3])]),
    ]
}

/// How a description refers to the layers that a layer reads.
#[derive(Clone, Copy, Debug, PartialEq)]
enum References {
    None,
    Keras2,
    Keras3,
}

impl References {
    fn to(self, inputs: &[String]) -> Value {
        let tensor =
            |name| json!({"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}});
        match self {
            _ if inputs.is_empty() => json!([]),
            References::None => Value::Null,
            References::Keras2 => {
                json!([inputs.iter().map(|name| json!([name, 0, 0, {}])).collect::<Vec<_>>()])
            }
            References::Keras3 => {
                json!([{"args": [inputs.iter().map(tensor).collect::<Vec<_>>()], "kwargs": {}}])
            }
        }
    }
}

/// A whole model as an HDF5 file: the layers in Keras' order, all with names that Keras makes up,
/// with the numbers that `weights` has for the layers of `network` under their names in `lines`.
fn whole_model(lines: &[Line], network: &Graph, weights: &Weights, references: References) -> Vec<u8> {
    let graph = graph(lines);
    let mut made_up: HashMap<&str, String> = HashMap::new();
    let mut layers = Vec::new();
    let mut builder = FileBuilder::new();
    for id in keras_order(&graph) {
        let line = lines.iter().find(|line| line.name == graph.layer(id).name).unwrap();
        let class = match line.class.as_str() {
            "Conv2D" => "conv2d",
            "BatchNormalization" => "batch_normalization",
            "Dense" => "dense",
            other => other,
        };
        let name = format!("{class}_{}", made_up.len());
        let inputs: Vec<String> = line.inputs.iter().map(|input| made_up[input.as_str()].clone()).collect();
        let has = |role: &str| line.weights.iter().any(|(name, _)| name == role);
        let mut config = json!({"name": name});
        if class == "batch_normalization" {
            (config["scale"], config["center"]) = (has("gamma").into(), has("beta").into());
        }
        layers.push(json!({
            "class_name": line.class, "config": config, "inbound_nodes": references.to(&inputs),
        }));
        let mut group = builder.create_group(&name);
        let mut names = Vec::new();
        for (id, weight) in network.weights.iter().enumerate() {
            let Some(role) = weight.name.strip_prefix(&format!("{}/", line.name)) else { continue };
            let shape: Vec<u64> = weight.shape.iter().map(|&extent| u64::from(extent)).collect();
            names.push(format!("{role}:0"));
            let dataset = group.create_dataset(&names[names.len() - 1]);
            dataset.with_f32_data(&weights.tensor(WeightId::new(id)).unwrap()).with_shape(&shape);
        }
        group.set_attr("weight_names", AttrValue::VarLenStringArray(names));
        builder.add_group(group.finish());
        made_up.insert(&line.name, name);
    }
    let listed = layers.iter().map(|layer| layer["config"]["name"].as_str().unwrap().to_owned());
    builder.set_attr("layer_names", AttrValue::VarLenStringArray(listed.collect()));
    let model = json!({"class_name": "Functional", "config": {"name": "model", "layers": layers}});
    builder.set_attr("model_config", AttrValue::String(model.to_string()));
    builder.finish().unwrap()
}

fn load_whole_model(
    network: &Graph,
    lines: &[Line],
    references: References,
) -> Result<Weights, WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.h5");
    let bytes = whole_model(lines, network, &Weights::random(network, 5), references);
    std::fs::write(&path, bytes).unwrap();
    weights::load(network, &path, None)
}

#[test]
fn a_description_tells_layers_apart_that_only_the_operands_of_a_sum_put_in_order() {
    let orders = [["deep_bn", "side_bn"], ["side_bn", "deep_bn"]];
    let network = graph(&residual(orders[0], "stem"));
    for operands in orders {
        let lines = residual(operands, "stem");
        for references in [References::Keras2, References::Keras3] {
            let found = load_whole_model(&network, &lines, references)
                .unwrap_or_else(|error| panic!("{operands:?}, {references:?}: {error}"));
            assert_same(&network, &found, &Weights::random(&network, 5));
        }
        let error = load_whole_model(&network, &lines, References::None).unwrap_err().to_string();
        assert!(
            error.contains("order: deep and side have the same shapes, and nothing says which"),
            "{error}"
        );
    }
}

/// Branches that are the same in all respects make the same network in either order; a model that
/// is wired in another way is refused.
#[test]
fn twins_are_the_same_in_either_order_and_another_wiring_is_refused() {
    let twins = |operands| residual(operands, "first_act");
    let network = graph(&twins(["deep_bn", "side_bn"]));
    let drawn = Weights::random(&network, 5);
    let found = load_whole_model(&network, &twins(["side_bn", "deep_bn"]), References::Keras2).unwrap();
    let kernel = |weights: &Weights, name: &str| {
        let id = network.weights.iter().position(|weight| weight.name == name).unwrap();
        weights.tensor(WeightId::new(id)).unwrap().into_owned()
    };
    let both = |weights: &Weights| {
        let mut kernels = ["deep/kernel", "side/kernel"].map(|name| kernel(weights, name));
        kernels.sort_by(|a, b| a.partial_cmp(b).unwrap());
        kernels
    };
    assert_eq!(both(&found), both(&drawn));
    let operands = ["deep_bn", "side_bn"];
    let network = graph(&residual(operands, "stem"));
    let mut other = residual(operands, "stem");
    other.iter_mut().find(|line| line.name == "deep").unwrap().inputs = vec!["stem".into()];
    other.iter_mut().find(|line| line.name == "stem").unwrap().inputs = vec!["first_act".into()];
    other.iter_mut().find(|line| line.name == "first").unwrap().inputs = vec!["image".into()];
    let error = load_whole_model(&network, &other, References::Keras3).unwrap_err().to_string();
    assert!(error.contains("structure: the network has"), "{error}");
}

#[test]
fn every_mismatch_is_reported_at_once() {
    let mut lines = lines("tiny.layers");
    for line in &mut lines {
        match line.name.as_str() {
            "predictions" => line.weights = vec![("kernel".into(), vec![6, 10]), ("bias".into(), vec![10])],
            "sep2_bn" => line.weights.insert(0, ("gamma".into(), vec![6])),
            "stem" => line.weights = vec![("kernel".into(), vec![3, 3, 3, 4]), ("bias".into(), vec![4])],
            _ => {}
        }
    }
    let graph = graph(&lines);
    let named = refusal(&graph, &fixture("keras2_weights.h5"));
    snapbox::assert_data_eq!(
        named,
        snapbox::str![[r#"
/keras2_weights.h5: these weights are not for this network: 4 mismatches
  shape: predictions/kernel is 6x10, the file's predictions/kernel is 6x3
  shape: predictions/bias is 10, the file's predictions/bias is 3
  missing: stem/bias (4)
  missing: sep2_bn/gamma (6)
"#]]
    );
    let numbered = refusal(&graph, &fixture("keras3.weights.h5"));
    snapbox::assert_data_eq!(
        numbered,
        snapbox::str![[r#"
/keras3.weights.h5: these weights are not for this network: 4 mismatches
  tensors: stem has 2 (kernel, bias), the file's layers/conv2d/vars has 1
  tensors: sep2_bn has 4 (gamma, beta, moving_mean, moving_variance), the file's layers/batch_normalization_3/vars has 3
  shape: predictions/kernel is 6x10, the file's layers/dense/vars/0 is 6x3
  shape: predictions/bias is 10, the file's layers/dense/vars/1 is 3
"#]]
    );
}

#[test]
fn missing_and_surplus_layers_are_found_among_the_others() {
    let mut shorter = lines("tiny.layers");
    shorter.retain(|line| !line.name.starts_with("sep2") && line.name != "add_1");
    rename(&mut shorter, &[("add_1", "add")]);
    snapbox::assert_data_eq!(
        refusal(&graph(&shorter), &fixture("keras2_weights.h5")),
        snapbox::str![[r#"
/keras2_weights.h5: these weights are not for this network: 5 mismatches
  surplus: sep2/depthwise_kernel (3x3x6x1)
  surplus: sep2/pointwise_kernel (1x1x6x6)
  surplus: sep2_bn/beta (6)
  surplus: sep2_bn/moving_mean (6)
  surplus: sep2_bn/moving_variance (6)
To leave out what the network does not have, use `--ignore-unexpected`, or list it in a name map's `ignore`.
"#]]
    );
    let mut longer = lines("tiny.layers");
    let head = longer.len() - 1;
    longer[head].inputs = vec!["hidden".into()];
    let hidden = Line {
        name: "hidden".into(),
        class: "Dense".into(),
        inputs: vec!["avg_pool".into()],
        weights: vec![("kernel".into(), vec![6, 6]), ("bias".into(), vec![6])],
    };
    longer.insert(head, hidden);
    snapbox::assert_data_eq!(
        refusal(&graph(&longer), &fixture("keras3.weights.h5")),
        snapbox::str![[r#"
/keras3.weights.h5: these weights are not for this network: 2 mismatches
  missing: hidden/kernel (6x6)
  missing: hidden/bias (6)
"#]]
    );
}

/// A network without the head of the model that was saved, from files with and without a
/// description.
#[test]
fn what_the_network_does_not_have_is_left_out_on_request() {
    let mut backbone = lines("tiny.layers");
    backbone.retain(|line| line.name != "predictions");
    let graph = graph(&backbone);
    let expected = Weights::random(&graph, 5);
    let all = LoadOptions { ignore_unexpected: true, ..LoadOptions::default() };
    for (file, ignored) in [
        ("keras2_weights.h5", "predictions/*"),
        ("keras3.weights.h5", "layers/dense/*"),
        ("keras3.keras", "layers/dense/*"),
    ] {
        let text = refusal(&graph, &fixture(file));
        assert!(text.contains("  surplus: ") && text.contains("use `--ignore-unexpected`"), "{text}");
        let found = weights::load_with(&graph, &fixture(file), &all).unwrap_or_else(|e| panic!("{e}"));
        assert_same(&graph, &found, &expected);
        let map = NameMap::from_yaml(&format!("ignore: ['{ignored}']")).unwrap();
        let found = weights::load(&graph, &fixture(file), Some(&map)).unwrap_or_else(|e| panic!("{e}"));
        assert_same(&graph, &found, &expected);
        let says_so = found.contradictions().iter().any(|one| one.theirs == "dense");
        assert_eq!(says_so, file == "keras3.keras", "{:?}", found.contradictions());
    }
}

#[test]
fn long_lists_of_mismatches_end_in_their_number() {
    let graph = spec("xception.xc");
    let file = safetensors(&[("other", "F32", vec![1], vec![0; 4])], 0);
    let text = refusal(&graph, file.path());
    let lines: Vec<&str> = text.lines().collect();
    let missing = graph.weights.len();
    assert!(lines[0].ends_with(&format!(": {} mismatches", missing + 1)), "{text}");
    assert!(lines[1..11].iter().all(|line| line.starts_with("  missing: ")), "{text}");
    assert_eq!(lines[11], format!("  missing: {} more", missing - 10));
    assert_eq!((lines[12], lines.len()), ("  surplus: other (1)", 14));
}

#[test]
fn files_that_were_cut_off_say_what_is_missing() {
    let graph = tiny();
    let folder = tempfile::tempdir().unwrap();
    let whole = folder.path().join("tiny.safetensors");
    weights::save_safetensors(&graph, &Weights::random(&graph, 1), &whole).unwrap();
    let length = |path: &Path| std::fs::metadata(path).unwrap().len();
    let cases = [
        (
            fixture("keras2_model.h5"),
            30_000,
            format!("after 30000 of {} bytes", length(&fixture("keras2_model.h5"))),
        ),
        (
            fixture("keras3.weights.h5"),
            9000,
            format!("after 9000 of {} bytes", length(&fixture("keras3.weights.h5"))),
        ),
        (
            fixture("keras3.keras"),
            9000,
            "the list of members at the end of the archive is missing".to_owned(),
        ),
        (whole.clone(), 100, "it ends within its header, after 92 of ".to_owned()),
        (
            whole.clone(),
            length(&whole) - 40,
            "it ends within its tensors, after 1500 of 1540 bytes".to_owned(),
        ),
    ];
    for (file, kept, expected) in cases {
        let path = folder.path().join("cut.file");
        std::fs::write(&path, &std::fs::read(&file).unwrap()[..kept as usize]).unwrap();
        let text = refusal(&graph, &path);
        assert!(text.starts_with("/cut.file: ") && text.contains(&expected), "{}: {text}", file.display());
    }
}

#[test]
fn conversion_keeps_every_bit() {
    let graph = tiny();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.safetensors");
    let converted =
        weights::convert(&graph, &fixture("keras3.keras"), &LoadOptions::default(), &path).unwrap();
    assert_eq!((converted.tensors, converted.elements), (23, 385));
    let found = weights::load(&graph, &path, None).unwrap();
    assert_same(&graph, &found, &Weights::random(&graph, 5));
    assert!(matches!(found.origin(), Origin::File { matching: Matching::Names, .. }));
    // Onto itself, while it is open.
    weights::save_safetensors(&graph, &found, &path).unwrap();
    assert_same(&graph, &found, &Weights::random(&graph, 5));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    let nowhere = folder.path().join("no such folder/tiny.safetensors");
    assert!(matches!(weights::save_safetensors(&graph, &found, &nowhere), Err(WeightsError::Io { .. })));
}

#[test]
fn weights_are_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<Weights>();
}

/// A safetensors file of these tensors, `padding` spaces behind its header.
fn safetensors(tensors: &[(&str, &str, Vec<u32>, Vec<u8>)], padding: usize) -> tempfile::NamedTempFile {
    use std::io::Write;
    let mut entries = Vec::new();
    let mut data = Vec::new();
    for (name, dtype, shape, bytes) in tensors {
        let end = data.len() + bytes.len();
        entries.push(format!(
            r#""{name}": {{"dtype": "{dtype}", "shape": {shape:?}, "data_offsets": [{}, {end}]}}"#,
            data.len()
        ));
        data.extend(bytes);
    }
    let header = format!("{{{}}}{}", entries.join(", "), " ".repeat(padding));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.write_all(&data).unwrap();
    file
}

#[test]
fn names_of_another_tool_ask_for_a_map() {
    let graph = single("kernel", &[1, 1, 2, 2]);
    let file = safetensors(&[("a.weight", "F32", vec![2, 2, 1, 1], vec![0; 16])], 0);
    let text = refusal(&graph, file.path());
    let lines: Vec<&str> = text.lines().skip(1).collect();
    snapbox::assert_data_eq!(
        lines.join("\n"),
        snapbox::str![[r#"
  missing: a/kernel (1x1x2x2)
  surplus: a.weight (2x2x1x1)
If these are the names of another tool, a name map can translate them (see specs/maps).
"#]]
    );
}

/// A map with a slip in one of its rules.
#[test]
fn names_that_a_map_makes_are_compared_with_the_networks() {
    let graph = single("kernel", &[1, 1, 2, 2]);
    let file = safetensors(&[("blocks.0.weight", "F32", vec![1, 1, 2, 2], vec![0; 16])], 0);
    let map = NameMap::from_yaml("rules: [{from: blocks.0.weight, to: a/kernle}]").unwrap();
    let text = weights::load(&graph, file.path(), Some(&map)).unwrap_err().to_string();
    let lines: Vec<&str> = text.lines().skip(1).collect();
    snapbox::assert_data_eq!(
        lines.join("\n"),
        snapbox::str![[r#"
  missing: a/kernel (1x1x2x2); the file has blocks.0.weight, which the map calls a/kernle
  surplus: blocks.0.weight, which the map calls a/kernle, (1x1x2x2); the network has a/kernel
"#]]
    );
}

fn single(word: &str, shape: &[u32]) -> Graph {
    let weights = vec![(word.to_owned(), shape.to_vec())];
    let input =
        Line { name: "x".into(), class: "InputLayer".into(), inputs: Vec::new(), weights: Vec::new() };
    graph(&[input, Line { name: "a".into(), class: "Conv2D".into(), inputs: vec!["x".into()], weights }])
}

#[test]
fn other_elements_and_alignments_are_converted() {
    let graph = single("bias", &[3]);
    let values = [1.0f32, -2.5, 0.15625];
    let bytes = |width: usize| -> Vec<u8> {
        let one = |&value: &f32| match width {
            4 => value.to_le_bytes().to_vec(),
            8 => f64::from(value).to_le_bytes().to_vec(),
            _ => value.to_le_bytes()[2..].to_vec(),
        };
        values.iter().flat_map(one).collect()
    };
    let halves: Vec<u8> = [0x3c00u16, 0xc100, 0x3100].iter().flat_map(|half| half.to_le_bytes()).collect();
    for (dtype, bytes) in [("F32", bytes(4)), ("F64", bytes(8)), ("BF16", bytes(2)), ("F16", halves)] {
        for padding in 0..8 {
            let file = safetensors(&[("a/bias", dtype, vec![3], bytes.clone())], padding);
            let found = weights::load(&graph, file.path(), None).unwrap();
            assert_eq!(found.tensor(WeightId::new(0)).unwrap().as_ref(), values, "{dtype}, {padding} spaces");
        }
    }
    let file = safetensors(&[("a/bias", "I32", vec![3], vec![0; 12])], 0);
    assert!(
        refusal(&graph, file.path()).contains("elements: a/bias holds I32; f16, bf16, f32 and f64 are read")
    );
}

#[test]
fn kernels_in_another_layout_are_recognised_and_can_be_mapped() {
    let graph = single("kernel", &[3, 3, 5, 7]);
    // PyTorch's order: output, input, row, column; each element says where it belongs.
    let place = |o: u32, i: u32, h: u32, w: u32| (((h * 3 + w) * 5 + i) * 7 + o) as f32;
    let mut bytes = Vec::new();
    for (o, i) in (0..7).flat_map(|o| (0..5).map(move |i| (o, i))) {
        for (h, w) in (0..3).flat_map(|h| (0..3).map(move |w| (h, w))) {
            bytes.extend(place(o, i, h, w).to_le_bytes());
        }
    }
    let file = safetensors(&[("a/kernel", "F32", vec![7, 5, 3, 3], bytes.clone())], 0);
    let text = refusal(&graph, file.path());
    let hint = "a/kernel is 3x3x5x7, the file's a/kernel is 7x5x3x3; other order of axes? a name map can say `transpose: [2, 3, 1, 0]`";
    assert!(text.contains(hint), "{text}");
    let map =
        NameMap::from_yaml("rules: [{from: '{l=*}.weight', to: '{l}/kernel', transpose: [2, 3, 1, 0]}]")
            .unwrap();
    let file = safetensors(&[("a.weight", "F32", vec![7, 5, 3, 3], bytes)], 0);
    let found = weights::load(&graph, file.path(), Some(&map)).unwrap();
    let expected: Vec<f32> = (0..3 * 3 * 5 * 7).map(|place| place as f32).collect();
    assert_eq!(found.tensor(WeightId::new(0)).unwrap(), expected);
}

#[test]
fn what_is_no_file_of_weights_is_refused_in_words() {
    let graph = tiny();
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    for (bytes, expected) in [
        (&b""[..], "the file is empty"),
        (b"solver { base_lr: 0.1 }", "it starts with the bytes 73 6f 6c 76 65 72 20 7b"),
        (b"\x89HDF\r\n\x1a\n", "it was cut off within its first block, after 8 bytes"),
        (
            b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.",
            "this is a PyTorch file, which is not read: save safetensors",
        ),
        (
            b"version https://git-lfs.github.com/spec/v1",
            "this is a Git LFS pointer, not weights: the file itself",
        ),
        (b"\x89PNG\r\n\x1a\n", "this is a PNG image, not weights: images are given after the spec"),
        (b"model m\ninput x 4", "this is a spec, not weights: a spec is given first"),
        (b"PK\x03\x04 and no directory", "damaged or not a file of weights"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f{\"a\": 1}", "damaged or not a file of weights"),
    ] {
        let text = refusal(&graph, &write("some.file", bytes));
        assert!(text.contains(expected), "{text}");
    }
    assert!(matches!(
        weights::load(&graph, &folder.path().join("none.h5"), None),
        Err(WeightsError::Io { .. })
    ));
    assert!(matches!(weights::load(&graph, folder.path(), None), Err(WeightsError::OtherKind { .. })));
}

#[test]
fn the_map_of_timm_reaches_every_tensor_of_xception_once() {
    let map = std::fs::read_to_string(fixture("../../../../specs/maps/timm_xception.yaml")).unwrap();
    let map = NameMap::from_yaml(&map).unwrap();
    let graph = spec("xception.xc");
    let shapes: HashMap<&str, &[u32]> =
        graph.weights.iter().map(|weight| (weight.name.as_str(), &weight.shape[..])).collect();
    let keys = std::fs::read_to_string(fixture("timm_xception.keys")).unwrap();
    let mut reached = BTreeSet::new();
    let mut ignored = 0;
    for key in keys.lines().filter(|line| !line.starts_with('#')) {
        let (name, shape) = key.split_once(' ').unwrap();
        match map.translate(name) {
            Translation::Ignored => ignored += 1,
            Translation::Unchanged => panic!("no rule fits {name}"),
            Translation::Renamed { name: ours, layout } => {
                let shape: Vec<u32> = shape.split('x').map(|extent| extent.parse().unwrap()).collect();
                let transpose = layout.and_then(|layout| layout.transpose.as_ref());
                let axes: Vec<usize> = transpose.map_or((0..shape.len()).collect(), |axes| {
                    axes.iter().filter_map(|axis| axis.of_file()).collect()
                });
                let moved: Vec<u32> = axes.iter().map(|&axis| shape[axis]).collect();
                assert_eq!(Some(&moved[..]), shapes.get(ours.as_str()).copied(), "{name} -> {ours}");
                assert!(reached.insert(ours), "{name} is the second for its tensor");
            }
        }
    }
    assert_eq!((reached.len(), ignored), (shapes.len(), 40));
    assert!(!map.notes().is_empty());
}
