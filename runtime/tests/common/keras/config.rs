//! The JSON that Keras stores of a model, in the forms that there have been.

use serde_json::{Map, Value, json};

use super::drawing::Shape;
use super::model::{Era, Layer, Model};

/// Forms of the description.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `model_config` of Keras 2: references are lists.
    Two,
    /// `config.json` of tf_keras: objects have modules, references are lists.
    TwoArchive,
    /// `model_config` of Keras 3: references are tensors with a history.
    Three,
    /// `config.json` of Keras 3: objects have modules, too.
    ThreeArchive,
}

impl Form {
    /// The generation that writes it.
    pub fn era(self) -> Era {
        match self {
            Form::Two | Form::TwoArchive => Era::Two,
            Form::Three | Form::ThreeArchive => Era::Three,
        }
    }

    fn has_modules(self) -> bool {
        matches!(self, Form::TwoArchive | Form::ThreeArchive)
    }
}

/// The description of a model.
pub fn description(model: &Model, form: Form) -> Value {
    object(model.class(), body(model, form), form)
}

/// A model's `config`.
fn body(model: &Model, form: Form) -> Value {
    let layers: Vec<Value> = model.described().map(|layer| described(model, layer, form)).collect();
    if model.is_sequential {
        return json!({"name": model.name, "layers": layers});
    }
    let output = &model.layers[model.output];
    let index = usize::from(output.model.is_some());
    json!({
        "name": model.name,
        "trainable": !model.frozen,
        "layers": layers,
        "input_layers": [[model.layers[0].name, 0, 0]],
        "output_layers": [[output.name, index, 0]],
    })
}

fn object(class: &str, config: Value, form: Form) -> Value {
    let mut fields = Map::new();
    if form.has_modules() {
        let module = match (class, form) {
            ("Functional", Form::ThreeArchive) => "keras.src.models.functional",
            ("Functional", _) => "keras.src.engine.functional",
            _ => "keras.layers",
        };
        fields.insert("module".into(), module.into());
        fields.insert("registered_name".into(), Value::Null);
    }
    fields.insert("class_name".into(), class.into());
    fields.insert("config".into(), config);
    Value::Object(fields)
}

fn described(model: &Model, layer: &Layer, form: Form) -> Value {
    let config = match &layer.model {
        Some(inner) => body(inner, form),
        None => layer_config(layer, form),
    };
    let mut value = object(layer.class, config, form);
    if model.is_sequential {
        return value;
    }
    value["name"] = layer.name.as_str().into();
    value["inbound_nodes"] = references(model, layer, form);
    value
}

fn layer_config(layer: &Layer, form: Form) -> Value {
    let mut config = Map::new();
    config.insert("name".into(), layer.name.as_str().into());
    let era = form.era();
    if layer.class == "InputLayer" {
        let key = if era == Era::Two { "batch_input_shape" } else { "batch_shape" };
        config.insert(key.into(), extents(layer.shape));
        config.insert("dtype".into(), "float32".into());
        config.insert("sparse".into(), false.into());
        return Value::Object(config);
    }
    config.insert("trainable".into(), (!layer.frozen).into());
    let policy = json!({
        "module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"},
        "registered_name": null,
    });
    config.insert("dtype".into(), if era == Era::Two { "float32".into() } else { policy });
    config.extend(layer.attributes.clone());
    if era == Era::Two && layer.class == "LeakyReLU" {
        let slope = config.remove("negative_slope");
        config.insert("alpha".into(), slope.unwrap_or_default());
    }
    if era == Era::Two && layer.class == "BatchNormalization" {
        config.insert("axis".into(), json!([if layer.shape.side.is_some() { 3 } else { 1 }]));
    }
    Value::Object(config)
}

/// `[null, rows, columns, channels]`, or `[null, elements]`.
fn extents(shape: Shape) -> Value {
    match shape.side {
        Some(side) => json!([null, side, side, shape.channels]),
        None => json!([null, shape.channels]),
    }
}

/// `inbound_nodes`: one call, or none for an input.
fn references(model: &Model, layer: &Layer, form: Form) -> Value {
    if layer.inputs.is_empty() {
        return json!([]);
    }
    let read: Vec<Value> =
        layer.inputs.iter().map(|&input| reference(&model.layers[input], form.era())).collect();
    if form.era() == Era::Two {
        return json!([read]);
    }
    let joins = matches!(layer.class, "Add" | "Concatenate");
    let argument = if joins { Value::Array(read) } else { read[0].clone() };
    let named = match layer.class {
        "BatchNormalization" | "Functional" | "Sequential" => json!({"mask": null}),
        "Dropout" => json!({"training": false}),
        _ => json!({}),
    };
    json!([{"args": [argument], "kwargs": named}])
}

/// A reference to the result of a layer. A model's call number 0 was made when it was created.
fn reference(layer: &Layer, era: Era) -> Value {
    if era == Era::Two {
        return json!([layer.name, usize::from(layer.model.is_some()), 0, {}]);
    }
    json!({
        "class_name": "__keras_tensor__",
        "config": {
            "shape": extents(layer.shape), "dtype": "float32", "keras_history": [layer.name, 0, 0],
        },
    })
}
