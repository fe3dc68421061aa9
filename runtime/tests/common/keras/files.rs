//! Writes a model's files as the versions of Keras do.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use hdf5_pure::{AttrValue, FileBuilder, FinishedGroup, GroupBuilder};
use serde_json::json;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::config::{Form, description};
use super::model::{Era, Layer, Model, Tensor, snake_case};

/// The files that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// `model.save("x.h5")` of Keras 2.
    WholeTwo,
    /// `model.save("x.h5")` of Keras 3.
    WholeThree,
    /// `model.save_weights("x.h5")` of Keras 2.
    WeightsTwo,
    /// `model.save_weights("x.weights.h5")` of Keras 3.15: groups say the names of layers.
    WeightsThree,
    /// The same of Keras 3.3, without names.
    NamelessThree,
    /// `model.save("x.keras")` of tf_keras 2.21.
    ArchiveTwo,
    /// `model.save("x.keras")` of Keras 3.15.
    ArchiveThree,
    /// The same of Keras 3.3, without names of layers beside the weights.
    NamelessArchiveThree,
    /// An unpacked `.keras`: `model.weights.h5` with `config.json` beside it.
    UnpackedThree,
}

impl Format {
    /// Every format.
    pub const ALL: [Format; 9] = [
        Format::WholeTwo,
        Format::WholeThree,
        Format::WeightsTwo,
        Format::WeightsThree,
        Format::NamelessThree,
        Format::ArchiveTwo,
        Format::ArchiveThree,
        Format::NamelessArchiveThree,
        Format::UnpackedThree,
    ];

    /// True if the file describes its model.
    pub fn is_described(self) -> bool {
        !matches!(self, Format::WeightsTwo | Format::WeightsThree | Format::NamelessThree)
    }

    /// The generation that writes it.
    pub fn era(self) -> Era {
        match self {
            Format::WholeTwo | Format::WeightsTwo | Format::ArchiveTwo => Era::Two,
            _ => Era::Three,
        }
    }

    /// Writes the file of a model of this era into an empty folder.
    pub fn write(self, model: &Model, folder: &Path) -> PathBuf {
        let (name, bytes) = match self {
            Format::WholeTwo => ("model.h5", whole(model, Form::Two)),
            Format::WholeThree => ("model.h5", whole(model, Form::Three)),
            Format::WeightsTwo => ("weights.h5", listed(model, Era::Two).file()),
            Format::WeightsThree => ("model.weights.h5", counted(model, true).file()),
            Format::NamelessThree => ("model.weights.h5", counted(model, false).file()),
            Format::ArchiveTwo => ("model.keras", archive(model, Form::TwoArchive, false)),
            Format::ArchiveThree => ("model.keras", archive(model, Form::ThreeArchive, true)),
            Format::NamelessArchiveThree => ("model.keras", archive(model, Form::ThreeArchive, false)),
            Format::UnpackedThree => {
                let config = description(model, Form::ThreeArchive).to_string();
                std::fs::write(folder.join("config.json"), config).unwrap();
                ("model.weights.h5", counted(model, true).file())
            }
        };
        let path = folder.join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Format::WholeTwo => "2: model.h5",
            Format::WholeThree => "3: model.h5",
            Format::WeightsTwo => "2: weights in .h5",
            Format::WeightsThree => "3: .weights.h5",
            Format::NamelessThree => "3: .weights.h5, no names",
            Format::ArchiveTwo => "2: .keras",
            Format::ArchiveThree => "3: .keras",
            Format::NamelessArchiveThree => "3: .keras, no names",
            Format::UnpackedThree => "3: .keras, unpacked",
        })
    }
}

/// A group of an HDF5 file.
#[derive(Default)]
struct Group<'a> {
    groups: BTreeMap<String, Group<'a>>,
    tensors: BTreeMap<String, &'a Tensor>,
    attributes: Vec<(&'static str, AttrValue)>,
}

impl<'a> Group<'a> {
    /// The group at a path, made if it is missing.
    fn at(&mut self, path: &str) -> &mut Self {
        path.split('/').fold(self, |group, part| group.groups.entry(part.to_owned()).or_default())
    }

    /// Adds a tensor at a path.
    fn add(&mut self, path: &str, tensor: &'a Tensor) {
        match path.rsplit_once('/') {
            Some((folder, name)) => self.at(folder).add(name, tensor),
            None => {
                let before = self.tensors.insert(path.to_owned(), tensor);
                assert!(before.is_none(), "{path} is there twice");
            }
        }
    }

    /// The bytes of a file with this group as its root.
    fn file(self) -> Vec<u8> {
        let mut builder = FileBuilder::new();
        for (name, group) in self.groups {
            let inner = builder.create_group(&name);
            builder.add_group(group.into_builder(inner));
        }
        for (name, value) in self.attributes {
            builder.set_attr(name, value);
        }
        builder.finish().unwrap()
    }

    fn into_builder(self, mut builder: GroupBuilder) -> FinishedGroup {
        for (name, tensor) in self.tensors {
            let shape: Vec<u64> = tensor.shape.iter().map(|&extent| extent as u64).collect();
            builder.create_dataset(&name).with_f32_data(&tensor.values).with_shape(&shape);
        }
        for (name, group) in self.groups {
            let inner = builder.create_group(&name);
            builder.add_group(group.into_builder(inner));
        }
        for (name, value) in self.attributes {
            builder.set_attr(name, value);
        }
        builder.finish()
    }
}

/// A whole model: its description and its weights.
fn whole(model: &Model, form: Form) -> Vec<u8> {
    let mut root = Group::default();
    root.groups.insert("model_weights".to_owned(), listed(model, form.era()));
    let config = description(model, form).to_string();
    root.attributes.push(("model_config", AttrValue::VarLenString(config)));
    root.attributes.push(("keras_version", AttrValue::String(version(form.era()).to_owned())));
    root.attributes.push(("backend", AttrValue::String("tensorflow".to_owned())));
    root.file()
}

fn version(era: Era) -> &'static str {
    match era {
        Era::Two => "2.15.0",
        Era::Three => "3.15.1",
    }
}

/// Weights by name: a group for each layer, whose tensors are listed.
fn listed(model: &Model, era: Era) -> Group<'_> {
    let mut root = Group::default();
    let names: Vec<String> = model.ordered().map(|layer| layer.name.clone()).collect();
    root.attributes.push(("layer_names", AttrValue::VarLenStringArray(names)));
    root.attributes.push(("keras_version", AttrValue::String(version(era).to_owned())));
    root.attributes.push(("backend", AttrValue::String("tensorflow".to_owned())));
    for layer in model.ordered() {
        let group = root.at(&layer.name);
        let tensors = trainable_first(layer);
        let names: Vec<String> =
            tensors.iter().map(|(layer, tensor)| weight_name(layer, tensor, era)).collect();
        for (name, &(_, tensor)) in names.iter().zip(&tensors) {
            group.add(name, tensor);
        }
        group.attributes.push(("weight_names", list(names)));
    }
    root.at("top_level_model_weights").attributes.push(("weight_names", list(Vec::new())));
    root
}

/// The name of a weight. A depthwise convolution's kernel is a plain kernel in Keras 3.
fn weight_name(layer: &Layer, tensor: &Tensor, era: Era) -> String {
    let role = match layer.class {
        "DepthwiseConv2D" if era == Era::Three => tensor.role.trim_start_matches("depthwise_"),
        _ => tensor.role,
    };
    format!("{}/{role}{}", layer.name, if era == Era::Two { ":0" } else { "" })
}

/// A list of strings; an empty one is a list of numbers, as h5py makes it.
fn list(names: Vec<String>) -> AttrValue {
    match names.is_empty() {
        true => AttrValue::F64Array(Vec::new()),
        false => AttrValue::VarLenStringArray(names),
    }
}

/// The weights of a layer, or of the layers in it: what can be trained, then all others.
fn trainable_first(layer: &Layer) -> Vec<(&Layer, &Tensor)> {
    let trainable = |(layer, tensor): &(&Layer, &Tensor)| !layer.frozen && tensor.is_trainable();
    let (mut first, last): (Vec<_>, Vec<_>) = layer.all_tensors().into_iter().partition(trainable);
    first.extend(last);
    first
}

/// Weights by class and number.
fn counted(model: &Model, named: bool) -> Group<'_> {
    let mut root = Group::default();
    counted_layers(model, named, &mut root);
    if named {
        let name = AttrValue::String(model.name.clone());
        root.at("vars").attributes.push(("name", name));
    }
    root
}

fn counted_layers<'a>(model: &'a Model, named: bool, group: &mut Group<'a>) {
    let layers = group.at("layers");
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for layer in model.ordered() {
        let count = counts.entry(layer.class).or_default();
        let class = snake_case(layer.class);
        let path = if *count == 0 { class } else { format!("{class}_{count}") };
        *count += 1;
        let group = layers.at(&path);
        let vars = group.at("vars");
        for (number, tensor) in layer.tensors.iter().enumerate() {
            vars.add(&number.to_string(), tensor);
        }
        if named {
            vars.attributes.push(("name", AttrValue::String(layer.name.clone())));
        }
        if let Some(inner) = &layer.model {
            counted_layers(inner, named, group);
        }
    }
}

/// A `.keras` file, its members stored.
fn archive(model: &Model, form: Form, named: bool) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let stored = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let metadata = json!({"keras_version": version(form.era()), "date_saved": "2025-01-01@00:00:00"});
    let members = [
        ("metadata.json", metadata.to_string().into_bytes()),
        ("config.json", description(model, form).to_string().into_bytes()),
        ("model.weights.h5", counted(model, named).file()),
    ];
    for (name, bytes) in members {
        zip.start_file(name, stored).unwrap();
        zip.write_all(&bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}
