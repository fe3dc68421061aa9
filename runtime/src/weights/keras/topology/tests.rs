//! Activation functions of descriptions, and those of specs, in the same words.

use std::collections::HashMap;

use serde_json::{Value, json};
use xcc_compiler::elaborate;
use xcc_compiler::graph::Activation;

use super::{Attribute, Topology, described, of_graph};
use crate::weights::keras::config::Config;

/// The activation functions before the output.
fn functions(topology: &Topology) -> Vec<String> {
    let output = topology.vertices.last().unwrap();
    output.operands[0].of(Attribute::Activation).into_iter().map(str::to_owned).collect()
}

fn ours(statement: &str) -> Vec<String> {
    let source = format!("model m\ninput x 4 x 4 x 3\n{statement}");
    functions(&of_graph(&elaborate::read(&source, &[]).graph.unwrap()).unwrap())
}

/// Those of a model with one layer, in the form of Keras 2 or 3.
fn theirs(class: &str, config: Value, generation: u32) -> Vec<String> {
    let key = if generation == 2 { "batch_input_shape" } else { "batch_shape" };
    let input = json!({"class_name": "InputLayer", "config": {"name": "x", key: [null, 4, 4, 3]}});
    let layer = json!({"class_name": class, "config": config});
    let model = json!({"class_name": "Sequential", "config": {"name": "m", "layers": [input, layer]}});
    let config = Config::from_json(&model.to_string());
    functions(&described(&config, &HashMap::new(), [4, 4]).unwrap())
}

#[test]
fn every_function_is_known_by_its_names() {
    for function in Activation::ALL.into_iter().filter(|function| *function != Activation::Linear) {
        for name in function.traits().keras {
            let found = theirs("Activation", json!({"activation": name}), 3);
            assert_eq!(found, ours(function.traits().word), "{name}");
        }
        assert!(function.words().all(|word| ours(word) == ours(function.traits().word)));
    }
    assert!(theirs("Activation", json!({"activation": "linear"}), 3).is_empty());
}

#[test]
fn classes_and_slopes_are_those_of_statements() {
    for (class, config, statement) in [
        ("ReLU", json!({"max_value": null, "negative_slope": 0.0, "threshold": 0.0}), "relu"),
        ("ReLU", json!({"max_value": 6.0}), "relu6"),
        ("ReLU", json!({"negative_slope": 0.1}), "leaky_relu slope: 0.1"),
        ("ELU", json!({"alpha": 1.0}), "elu"),
        ("LeakyReLU", json!({"negative_slope": 0.01}), "leaky_relu slope: 0.01"),
        // As an f32 that became an f64.
        ("LeakyReLU", json!({"alpha": 0.30000001192092896}), "leaky_relu slope: 0.3"),
        ("LeakyReLU", json!({}), "leaky_relu slope: 0.3"),
        (
            "Activation",
            json!({"activation": {"class_name": "LeakyReLU", "config": {"negative_slope": 0.1}}}),
            "leaky_relu slope: 0.1",
        ),
        ("Activation", json!({"activation": {"class_name": "function", "config": "silu"}}), "swish"),
    ] {
        assert_eq!(theirs(class, config, 3), ours(statement), "{statement}");
    }
}

#[test]
fn other_functions_are_told_apart() {
    let hard = |generation| theirs("Activation", json!({"activation": "hard_sigmoid"}), generation);
    assert_eq!([hard(2), hard(3)], [["hard_sigmoid with slope 0.2"], ["hard_sigmoid"]]);
    for (class, config, text) in [
        ("LeakyReLU", json!({"alpha": 0.3}), "leaky_relu with slope 0.3"),
        ("LeakyReLU", json!({"negative_slope": 1.5}), "leaky_relu with slope 1.5"),
        ("ReLU", json!({"max_value": 6.0, "negative_slope": 0.1}), "relu6 with slope 0.1"),
        ("ReLU", json!({"max_value": 1.0}), "relu up to 1"),
        ("ReLU", json!({"threshold": 1.0}), "relu from 1"),
        ("ELU", json!({"alpha": 0.5}), "elu 0.5"),
        ("Activation", json!({"activation": "gelu"}), "gelu"),
    ] {
        assert_eq!(theirs(class, config, 2), [text]);
    }
    assert_eq!(ours("leaky_relu"), ["leaky_relu with slope 0.2"]);
}
