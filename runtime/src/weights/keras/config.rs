//! The description of a model that Keras stores beside its weights: layers with their attributes,
//! nesting, and which values each layer reads.
//!
//! Versions 1 to 3 write JSON of slightly different shapes; all of them become the same tree.

use serde_json::{Map, Value};

/// Models nested deeper than this are not followed; JSON itself may be 128 deep.
const MAX_DEPTH: usize = 16;

/// A model: its layers in the order of `model.layers`, and its results.
#[derive(Debug, Default)]
pub(super) struct Config {
    /// The layers; those of a nested model are in [`ConfigLayer::nested`].
    pub layers: Vec<ConfigLayer>,
    /// The values that the model yields; empty for a chain of layers, which yields its last one.
    pub outputs: Vec<Reference>,
    /// The layers that stand for the model's operands, in order.
    pub inputs: Vec<String>,
    /// True if each layer reads the one before it (`Sequential`).
    pub is_chain: bool,
    /// True if Keras 1 or 2 wrote the whole description, as the form of its references or of its
    /// input shapes says.
    pub is_before_three: bool,
}

/// A layer of a model.
#[derive(Debug)]
pub(super) struct ConfigLayer {
    /// Unique among all layers of the description, nested ones included.
    pub id: usize,
    /// Its name.
    pub name: String,
    /// Its class in snake case.
    pub class: String,
    /// Its attributes, as Keras calls them.
    pub attributes: Map<String, Value>,
    /// One list of operands for each call of the layer; unknown where the file does not tell.
    pub calls: Option<Vec<Vec<Reference>>>,
    /// Its own layers, if it is a model; a wrapper such as `TimeDistributed` holds its layer here.
    pub nested: Config,
}

/// A value: a result of a layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// The layer's name in the same model.
    pub layer: String,
    /// Which call of the layer.
    pub call: usize,
    /// Which result of the call.
    pub output: usize,
}

impl Config {
    /// Reads a model's JSON. Whatever is not a description of layers yields none: files need not
    /// have one.
    pub fn from_json(json: &str) -> Self {
        let value: Option<Value> = serde_json::from_str(json).ok();
        let mut reader = Reader { layers: 0, is_before_three: false };
        let model = value.and_then(|value| reader.model(value.as_object()?, 0)).unwrap_or_default();
        Self { is_before_three: reader.is_before_three, ..model }
    }

    /// The layers of this model and of all models nested in it, in order.
    pub fn all(&self) -> Vec<&ConfigLayer> {
        let mut all = Vec::new();
        for layer in &self.layers {
            all.push(layer);
            all.extend(layer.nested.all());
        }
        all
    }

    /// The layer that is number `index`, from 0, of class `class` in this model itself.
    pub fn nth(&self, class: &str, index: usize) -> Option<&ConfigLayer> {
        self.layers.iter().filter(|layer| layer.class == class).nth(index)
    }
}

/// Reads JSON and numbers the layers.
struct Reader {
    layers: usize,
    /// True if a layer has the form of Keras 1 or 2.
    is_before_three: bool,
}

impl Reader {
    /// A model from the JSON of an object with `class_name` and `config`. Keras 1 has the layers
    /// of a `Sequential` model as `config` itself.
    fn model(&mut self, object: &Map<String, Value>, depth: usize) -> Option<Config> {
        let class = object.get("class_name")?.as_str()?;
        let body = object.get("config")?;
        let layers = body.get("layers").unwrap_or(body).as_array()?;
        if depth > MAX_DEPTH {
            return None;
        }
        let layers: Option<Vec<ConfigLayer>> =
            layers.iter().map(|layer| self.layer(layer.as_object()?, depth)).collect();
        let ends = |key: &str| body.get(key).map(references).unwrap_or_default();
        Some(Config {
            layers: layers?,
            outputs: ends("output_layers"),
            inputs: ends("input_layers").into_iter().map(|end| end.layer).collect(),
            is_chain: class == "Sequential",
            is_before_three: false,
        })
    }

    fn layer(&mut self, object: &Map<String, Value>, depth: usize) -> Option<ConfigLayer> {
        let id = self.layers;
        self.layers += 1;
        let attributes = object.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
        self.is_before_three |= attributes.contains_key("batch_input_shape")
            || object.get("inbound_nodes").is_some_and(are_lists);
        let name = [attributes.get("name"), object.get("name")].into_iter().flatten().find_map(Value::as_str);
        let wrapped = attributes.get("layer").and_then(Value::as_object);
        let nested = match wrapped {
            Some(wrapped) if depth < MAX_DEPTH => {
                let layers = self.layer(wrapped, depth + 1).into_iter().collect();
                Config { layers, is_chain: true, ..Config::default() }
            }
            _ => self.model(object, depth + 1).unwrap_or_default(),
        };
        Some(ConfigLayer {
            id,
            name: name.unwrap_or_default().to_owned(),
            class: snake_case(object.get("class_name")?.as_str()?),
            calls: object.get("inbound_nodes").and_then(calls),
            attributes,
            nested,
        })
    }
}

/// True for calls whose operands are in lists, as Keras 1 and 2 write them; Keras 3 has objects.
fn are_lists(nodes: &Value) -> bool {
    nodes.as_array().and_then(|calls| calls.first()).is_some_and(Value::is_array)
}

/// The operands of each call of a layer; an input layer has no call.
fn calls(nodes: &Value) -> Option<Vec<Vec<Reference>>> {
    Some(nodes.as_array()?.iter().map(references).collect())
}

/// All references in a value, in the order in which they stand.
fn references(value: &Value) -> Vec<Reference> {
    let mut found = Vec::new();
    collect_references(value, &mut found);
    found
}

/// Finds references to values: a layer's name, the number of its call and the number of its
/// result, in a list of their own (Keras 1 and 2) or as `keras_history` of a tensor (Keras 3).
/// JSON is at most 128 deep.
fn collect_references(value: &Value, found: &mut Vec<Reference>) {
    match value {
        Value::Array(items) => match items.as_slice() {
            [Value::String(layer), Value::Number(call), Value::Number(output), rest @ ..] => {
                let number = |number: &serde_json::Number| number.as_u64().unwrap_or_default() as usize;
                found.push(Reference { layer: layer.clone(), call: number(call), output: number(output) });
                rest.iter().for_each(|item| collect_references(item, found));
            }
            items => items.iter().for_each(|item| collect_references(item, found)),
        },
        Value::Object(fields) => fields.values().for_each(|field| collect_references(field, found)),
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
        let keras2 = r#"[[["pool", 0, 0, {}], ["conv2d", 0, 1, {"training": false}]]]"#;
        let tensor = |name: &str, output: usize| {
            format!(
                r#"{{"class_name": "__keras_tensor__", "config":
                    {{"shape": [null, 4, 4, 6], "dtype": "float32", "keras_history": ["{name}", 0, {output}]}}}}"#
            )
        };
        let keras3 = format!(
            r#"[{{"args": [[{}, {}]], "kwargs": {{"mask": null}}}}]"#,
            tensor("pool", 0),
            tensor("conv2d", 1)
        );
        let read = |json: &str| calls(&serde_json::from_str(json).unwrap());
        let value = |layer: &str, output| Reference { layer: layer.to_owned(), call: 0, output };
        let expected = Some(vec![vec![value("pool", 0), value("conv2d", 1)]]);
        assert_eq!((read(keras2), read(&keras3)), (expected.clone(), expected));
        assert_eq!(read("[]"), Some(Vec::new()));
        let shared = read(r#"[[["a", 0, 0, {}]], [["b", 0, 0, {}]]]"#);
        assert_eq!(shared.map(|calls| calls.len()), Some(2));
        assert_eq!((read("null"), read(r#""a""#)), (None, None));
    }

    #[test]
    fn nested_models_and_wrapped_layers_keep_their_layers() {
        let json = r#"{"class_name": "Functional", "config": {"name": "outer", "layers": [
            {"class_name": "InputLayer", "config": {"name": "image", "batch_shape": [null, 8, 8, 3]}},
            {"class_name": "Functional", "name": "inner", "config": {"name": "inner", "layers": [
                {"class_name": "Conv2D", "config": {"name": "stem"}}], "output_layers": ["stem", 0, 0]}},
            {"class_name": "TimeDistributed", "config": {"name": "each", "layer":
                {"class_name": "Dense", "config": {"name": "wrapped", "units": 3}}}},
            {"class_name": "Dense", "config": {"name": "head", "units": 3}}]}}"#;
        let config = Config::from_json(json);
        let all: Vec<(usize, &str)> = config.all().iter().map(|layer| (layer.id, &*layer.name)).collect();
        assert_eq!(all, [(0, "image"), (1, "inner"), (2, "stem"), (3, "each"), (4, "wrapped"), (5, "head")]);
        assert_eq!(config.layers[1].nested.outputs.len(), 1);
        assert_eq!(config.nth("dense", 0).map(|layer| layer.name.as_str()), Some("head"));
        assert!(config.nth("conv2d", 0).is_none());
        assert!(Config::from_json("[1, 2]").layers.is_empty());
    }

    #[test]
    fn the_generation_shows_in_references_and_input_shapes() {
        let is_before_three = |layer: &str| {
            let json = format!(r#"{{"class_name": "Functional", "config": {{"layers": [{layer}]}}}}"#);
            Config::from_json(&json).is_before_three
        };
        let layer = |config: &str, calls: &str| {
            format!(r#"{{"class_name": "Dense", "config": {{{config}}}, "inbound_nodes": {calls}}}"#)
        };
        assert!(is_before_three(&layer("", r#"[[["a", 0, 0, {}]]]"#)));
        assert!(is_before_three(&layer(r#""batch_input_shape": [null, 4]"#, "[]")));
        assert!(!is_before_three(&layer(r#""batch_shape": [null, 4]"#, "[]")));
        assert!(!is_before_three(&layer("", r#"[{"args": [], "kwargs": {}}]"#)));
    }
}
