//! The layers and tensors that a file lists, in each layout there has been.
//!
//! `.h5` files name all layers in Keras' order, and the tensors of each (`add_named_layers`).
//! `.weights.h5` files have a group for each object of a model; layers of a functional model are
//! called after their class, with a number that counts the layers of the class in one model
//! (`add_model`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use hdf5_pure::{AttrValue, Dataset, Group};

use super::config::{Config, ConfigLayer};
use super::hdf5::{reason, strings};
use super::index::Index;
use super::sublayers::{Sublayers, sublayers};
use super::{KerasFile, ListedLayer, Listing, StoredLayer};
use crate::weights::dataset::{self, SecondReader};
use crate::weights::stored::Stored;

/// More tensors than this are no network: a file that lists one group many times must not take
/// long.
const MAX_TENSORS: usize = 100_000;
/// Objects nested deeper than this are not followed.
const MAX_DEPTH: usize = 24;

/// Layers and tensors found so far.
pub(super) struct Listed {
    second: Arc<SecondReader>,
    tensors: Vec<Stored>,
    layers: Vec<StoredLayer>,
    /// All layers, also those without tensors.
    listed: Vec<ListedLayer>,
    /// True once the order of some layers is unknown.
    is_unordered: bool,
    /// True once layers of a model that is a layer were found.
    is_nested: bool,
    /// True once a group `vars` was found: models without weights have empty ones.
    has_variables: bool,
}

/// An object of a `.weights.h5` file: a model, a layer, or a part of one.
struct Object<'a> {
    /// The path of its group.
    path: String,
    /// The class of a layer that is called after it.
    class: Option<String>,
    /// What the model's description says about it.
    known: Option<&'a ConfigLayer>,
    depth: usize,
}

impl Listed {
    /// Nothing yet; `second` reads the datasets that the first reader cannot.
    pub fn new(second: Arc<SecondReader>) -> Self {
        Self {
            second,
            tensors: Vec::new(),
            layers: Vec::new(),
            listed: Vec::new(),
            is_unordered: false,
            is_nested: false,
            has_variables: false,
        }
    }

    /// True if no object of a model was found.
    pub fn is_empty(&self) -> bool {
        self.listed.is_empty() && !self.has_variables
    }

    /// The file; its layers are in the order that `listing` says unless the order of some is
    /// unknown.
    pub fn into_file(self, listing: Listing, config: Config) -> KerasFile {
        let listing = if self.is_unordered { Listing::Unordered } else { listing };
        let Self { tensors, layers, listed, is_nested, .. } = self;
        KerasFile { tensors, layers, listed, listing, is_nested, config }
    }

    /// Reads the layouts that list layers by name: in `base`, which is at `path`, a group a layer,
    /// with the names of its tensors.
    pub fn add_named_layers(
        &mut self,
        base: &Group,
        path: &str,
        names: &[String],
        config: &Config,
    ) -> Result<(), String> {
        let known: HashMap<&str, &ConfigLayer> =
            config.layers.iter().map(|layer| (layer.name.as_str(), layer)).collect();
        let mut groups = Index::new(base.clone());
        for name in names {
            let group = groups.group(name).map_err(|error| format!("layer {name}: {error}"))?;
            let weights = strings(&group, "weight_names")?.unwrap_or_default();
            let layer = known.get(name.as_str()).copied();
            if weights.is_empty() {
                self.listed.push(ListedLayer::without_tensors(name, layer));
                continue;
            }
            let mut datasets = Index::new(group.clone());
            let Sublayers { layers, is_ordered, is_nested } = sublayers(name, &weights, layer);
            self.is_unordered |= !is_ordered;
            self.is_nested |= is_nested;
            for sublayer in layers {
                let mut tensors = Vec::new();
                for weight in sublayer.weights {
                    let dataset =
                        datasets.dataset(weight).map_err(|error| format!("layer {name}: {error}"))?;
                    let path = format!("{path}{name}/{weight}");
                    let short = weight.split(':').next().unwrap_or(weight);
                    tensors.push(self.add_tensor(short, &path, &dataset)?);
                }
                let class = sublayer.known.map(|layer| layer.class.clone());
                let id = sublayer.known.map(|layer| layer.id);
                let name = sublayer.name;
                self.add_layer(StoredLayer { label: name.clone(), name: Some(name), class, id, tensors });
            }
        }
        Ok(())
    }

    /// Reads the layout of `.weights.h5`: `root` is the group of a model's object.
    pub fn add_model(&mut self, root: &Group, config: &Config) -> Result<(), String> {
        for part in root.groups().map_err(reason)? {
            let group = root.group(&part).map_err(reason)?;
            self.has_variables |= part == "vars";
            match part.as_str() {
                // The first release with this layout (2.12) called the group otherwise.
                "layers" | "_layer_checkpoint_dependencies" => self.add_counted(&group, &part, config, 0)?,
                "optimizer" | "_optimizer" => {}
                _ => {
                    let object = Object { path: part, class: None, known: None, depth: 1 };
                    self.add_object(&group, &object)?;
                }
            }
        }
        self.is_unordered |= self.repeats_a_class();
        Ok(())
    }

    /// True if layers of one class belong to different models: their common order is unknown.
    fn repeats_a_class(&self) -> bool {
        let mut folders: HashMap<&str, &str> = HashMap::new();
        self.layers.iter().any(|layer| {
            let path = layer.label.trim_end_matches("/vars");
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let class = layer.class.as_deref().unwrap_or_default();
            *folders.entry(class).or_insert(folder) != folder
        })
    }

    /// Adds the layers of a model: groups called after classes, with numbers.
    fn add_counted(
        &mut self,
        layers: &Group,
        path: &str,
        config: &Config,
        depth: usize,
    ) -> Result<(), String> {
        self.is_nested |= depth > 0;
        let mut groups: Vec<_> = layers.groups().map_err(reason)?.into_iter().map(counted).collect();
        groups.sort();
        let mut groups_by_name = Index::new(layers.clone());
        let mut next: HashMap<String, usize> = HashMap::new();
        for (class, index, name) in groups {
            let expected = next.entry(class.clone()).or_default();
            if *expected != index {
                return Err(format!(
                    "{path}/{name}: number {index} of its class where number {expected} was expected; groups are \
                     missing"
                ));
            }
            *expected += 1;
            let known = config.nth(&class, index);
            let object =
                Object { path: format!("{path}/{name}"), class: Some(class), known, depth: depth + 1 };
            let before = self.layers.len();
            self.add_object(&groups_by_name.group(&name).map_err(reason)?, &object)?;
            if self.layers.len() == before {
                let class = object.class.as_deref().unwrap_or_default();
                self.listed.push(ListedLayer { class: Some(class.to_owned()), stored: None });
            }
        }
        Ok(())
    }

    /// Adds the tensors of an object, then those of the objects in it.
    fn add_object(&mut self, group: &Group, object: &Object) -> Result<(), String> {
        if object.depth > MAX_DEPTH {
            return Err(format!("{}: objects are nested more than {MAX_DEPTH} deep", object.path));
        }
        let parts = group.groups().map_err(reason)?;
        for part in &parts {
            let path = format!("{}/{part}", object.path);
            let inner = group.group(part).map_err(reason)?;
            match part.as_str() {
                "vars" => {
                    self.has_variables = true;
                    self.add_variables(&inner, &path, object)?;
                }
                "layers" | "_layer_checkpoint_dependencies" => {
                    let none = Config::default();
                    let config = object.known.map_or(&none, |layer| &layer.nested);
                    self.add_counted(&inner, &path, config, object.depth)?;
                }
                _ => {
                    let wrapped = |layer: &'_ ConfigLayer| part == "layer" && !layer.nested.layers.is_empty();
                    let known = object.known.filter(|layer| wrapped(layer));
                    let known = known.and_then(|layer| layer.nested.layers.first());
                    let class = known.map(|layer| layer.class.clone());
                    self.add_object(&inner, &Object { path, class, known, depth: object.depth + 1 })?;
                }
            }
        }
        Ok(())
    }

    /// Adds the tensors of a layer: the datasets `0`, `1`, ... of its group `vars`. An object that
    /// is called by its own name, as in a subclass of `Model`, is the layer of this name.
    fn add_variables(&mut self, vars: &Group, path: &str, object: &Object) -> Result<(), String> {
        let datasets: HashSet<String> = vars.datasets().map_err(reason)?.into_iter().collect();
        if datasets.is_empty() {
            return Ok(());
        }
        let (mut tensors, mut index) = (Vec::new(), Index::new(vars.clone()));
        for number in 0..datasets.len() {
            let dataset = index.dataset(&number.to_string()).map_err(|error| format!("{path}: {error}"))?;
            let path = format!("{path}/{number}");
            tensors.push(self.add_tensor(&path, &path, &dataset)?);
        }
        let attrs = vars.attrs().map_err(reason)?;
        let known = object.known.map(|layer| layer.name.as_str());
        let name = match &object.class {
            Some(_) => attrs.get("name").and_then(AttrValue::as_str).or(known),
            None => Some(object.path.as_str()),
        };
        self.is_unordered |= object.class.is_none();
        let (name, id) = (name.map(str::to_owned), object.known.map(|layer| layer.id));
        let class = object.class.clone();
        self.add_layer(StoredLayer { label: path.to_owned(), name, class, id, tensors });
        Ok(())
    }

    fn add_layer(&mut self, layer: StoredLayer) {
        let stored = Some(self.layers.len());
        self.listed.push(ListedLayer { class: layer.class.clone(), stored });
        self.layers.push(layer);
    }

    /// Adds the tensor `name`, which lies at `path` of the file.
    fn add_tensor(&mut self, name: &str, path: &str, dataset: &Dataset) -> Result<usize, String> {
        if self.tensors.len() == MAX_TENSORS {
            return Err(format!("more than {MAX_TENSORS} tensors are listed"));
        }
        let of_tensor = |error| format!("tensor {name}: {error}");
        let shape = dataset.shape().map_err(of_tensor)?;
        let data = dataset::Dataset::data(dataset, &self.second, path).map_err(of_tensor)?;
        self.tensors.push(Stored { name: name.to_owned(), shape, data });
        Ok(self.tensors.len() - 1)
    }
}

/// The class, the number and the name of a group such as `conv2d_3`.
fn counted(name: String) -> (String, usize, String) {
    let number = name.rsplit_once('_').and_then(|(class, digits)| {
        let number: usize = digits.parse().ok()?;
        (number > 0 && number.to_string() == digits).then(|| (class.to_owned(), number))
    });
    let (class, index) = number.unwrap_or_else(|| (name.clone(), 0));
    (class, index, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_counted_from_zero() {
        let split = |name: &str| {
            let (class, number, _) = counted(name.to_owned());
            (class, number)
        };
        assert_eq!(split("conv2d"), ("conv2d".into(), 0));
        assert_eq!(split("conv2d_12"), ("conv2d".into(), 12));
        assert_eq!(split("batch_normalization"), ("batch_normalization".into(), 0));
        assert_eq!(split("conv2d_01"), ("conv2d_01".into(), 0));
    }
}
