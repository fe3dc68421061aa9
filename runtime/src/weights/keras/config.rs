//! The description of a model that Keras stores beside its weights: names, classes, nesting, and which layers
//! read which.

use serde::Deserialize;
use serde_json::Value;

/// The layers of a model, in the order of `model.layers`.
#[derive(Debug, Default)]
pub(super) struct Config {
    /// The layers, without those of models nested in it.
    pub layers: Vec<ConfigLayer>,
}

/// A layer of a model.
#[derive(Debug)]
pub(super) struct ConfigLayer {
    /// Its name.
    pub name: String,
    /// Its class in snake case.
    pub class: String,
    /// The layers that it reads, in order; unknown if it is called more than once.
    pub inputs: Option<Vec<String>>,
    /// Its own layers, if it is a model.
    pub nested: Config,
}

/// JSON of a layer or model; everything else in it is skipped.
#[derive(Deserialize)]
struct Object {
    class_name: String,
    name: Option<String>,
    #[serde(default)]
    config: Body,
    /// A list of calls, each with references to its operands.
    #[serde(default)]
    inbound_nodes: Value,
}

/// The part of a layer's or model's JSON that depends on its class.
#[derive(Default, Deserialize)]
struct Body {
    name: Option<String>,
    #[serde(default)]
    layers: Vec<Object>,
}

impl Config {
    /// Reads a model's JSON. Whatever is not a description of layers yields none: files need not have one.
    pub fn from_json(json: &str) -> Self {
        let model: Option<Object> = serde_json::from_str(json).ok();
        model.map(|model| Config::from(model.config)).unwrap_or_default()
    }

    /// The layer called `name`, in this model or one nested in it.
    pub fn find(&self, name: &str) -> Option<&ConfigLayer> {
        let nested = || self.layers.iter().find_map(|layer| layer.nested.find(name));
        self.layers.iter().find(|layer| layer.name == name).or_else(nested)
    }

    /// The names of all layers, those of a nested model in its place.
    pub fn names(&self) -> Vec<&str> {
        let names = self.layers.iter().map(|layer| match layer.nested.names() {
            nested if nested.is_empty() => vec![layer.name.as_str()],
            nested => nested,
        });
        names.flatten().collect()
    }

    /// The layer that is number `index`, from 0, of class `class` in this model itself.
    pub fn nth(&self, class: &str, index: usize) -> Option<&ConfigLayer> {
        self.layers.iter().filter(|layer| layer.class == class).nth(index)
    }
}

impl From<Body> for Config {
    fn from(body: Body) -> Self {
        let layer = |object: Object| ConfigLayer {
            class: snake_case(&object.class_name),
            name: object.config.name.clone().or(object.name).unwrap_or_default(),
            inputs: inputs(&object.inbound_nodes),
            nested: Config::from(object.config),
        };
        Config { layers: body.layers.into_iter().map(layer).collect() }
    }
}

/// The layers whose values are operands of a layer's only call; an input layer has no call.
fn inputs(calls: &Value) -> Option<Vec<String>> {
    let mut names = Vec::new();
    match calls.as_array()?.as_slice() {
        [] => {}
        [call] => collect_references(call, &mut names),
        _ => return None,
    }
    Some(names)
}

/// Finds references to values: a layer's name, the number of its call and the number of its result, in a list
/// of their own (Keras 1 and 2) or as `keras_history` of a tensor (Keras 3). JSON is at most 128 deep.
fn collect_references(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::Array(items) => match items.as_slice() {
            [Value::String(name), Value::Number(_), Value::Number(_), rest @ ..] => {
                names.push(name.clone());
                rest.iter().for_each(|item| collect_references(item, names));
            }
            items => items.iter().for_each(|item| collect_references(item, names)),
        },
        Value::Object(fields) => fields.values().for_each(|field| collect_references(field, names)),
        _ => {}
    }
}

/// `SeparableConv2D` as `separable_conv2d`: what Keras makes of the name of a class.
pub(super) fn snake_case(class: &str) -> String {
    let mut text = String::new();
    let mut before = None;
    let mut letters = class.chars().peekable();
    while let Some(letter) = letters.next() {
        let starts_word = letter.is_ascii_uppercase()
            && (before.is_some_and(|b: char| b.is_ascii_lowercase())
                || before.is_some() && letters.peek().is_some_and(char::is_ascii_lowercase));
        if starts_word {
            text.push('_');
        }
        text.push(letter.to_ascii_lowercase());
        before = Some(letter);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_become_the_names_of_groups() {
        for (class, group) in [
            ("Conv2D", "conv2d"),
            ("SeparableConv2D", "separable_conv2d"),
            ("DepthwiseConv2D", "depthwise_conv2d"),
            ("BatchNormalization", "batch_normalization"),
            ("MaxPooling2D", "max_pooling2d"),
            ("GlobalAveragePooling2D", "global_average_pooling2d"),
            ("ReLU", "re_lu"),
            ("Dense", "dense"),
        ] {
            assert_eq!(snake_case(class), group);
        }
    }

    #[test]
    fn references_are_found_in_the_forms_of_all_versions() {
        let keras2 = r#"[[["pool", 0, 0, {}], ["conv2d", 0, 0, {"training": false}]]]"#;
        let tensor = |name: &str| {
            format!(
                r#"{{"class_name": "__keras_tensor__", "config":
                    {{"shape": [null, 4, 4, 6], "dtype": "float32", "keras_history": ["{name}", 0, 0]}}}}"#
            )
        };
        let keras3 = format!(
            r#"[{{"args": [[{}, {}]], "kwargs": {{"mask": null}}}}]"#,
            tensor("pool"),
            tensor("conv2d")
        );
        let read = |json: &str| inputs(&serde_json::from_str(json).unwrap());
        let expected = Some(vec!["pool".to_owned(), "conv2d".to_owned()]);
        assert_eq!((read(keras2), read(&keras3)), (expected.clone(), expected));
        assert_eq!(read("[]"), Some(Vec::new()));
        let shared = r#"[[["a", 0, 0, {}]], [["b", 0, 0, {}]]]"#;
        assert_eq!((read(shared), read("null"), read(r#""a""#)), (None, None, None));
    }

    #[test]
    fn nested_models_keep_their_layers() {
        let json = r#"{"class_name": "Functional", "config": {"name": "outer", "layers": [
            {"class_name": "InputLayer", "config": {"name": "image", "batch_shape": [null, 8, 8, 3]}},
            {"class_name": "Functional", "name": "inner", "config": {"name": "inner", "layers": [
                {"class_name": "Conv2D", "config": {"name": "stem"}}]}},
            {"class_name": "Dense", "config": {"name": "head", "units": 3}}]}}"#;
        let config = Config::from_json(json);
        assert_eq!(config.find("stem").map(|layer| layer.class.as_str()), Some("conv2d"));
        assert_eq!(config.nth("dense", 0).map(|layer| layer.name.as_str()), Some("head"));
        assert!(config.nth("conv2d", 0).is_none());
        assert!(Config::from_json("[1, 2]").layers.is_empty());
    }
}
