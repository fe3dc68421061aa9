//! Lists the layers and tensors of an HDF5 file of Keras, in each layout there has been.

use std::collections::HashMap;
use std::path::Path;

use hdf5_pure::{AttrValue, DType, Dataset, File, Group};

use super::config::Config;
use super::{KerasFile, Listing, StoredLayer};
use crate::weights::stored::{Data, Stored};

/// More tensors than this are no network: a file that lists one group many times must not take long.
const MAX_TENSORS: usize = 100_000;
/// Models nested deeper than this are not followed.
const MAX_DEPTH: usize = 16;

/// Opens an HDF5 file; the error is a reason in words.
///
/// The file is not read whole: of an oversized one only the tensors that are asked for come into memory.
pub(in crate::weights) fn open_hdf5(path: &Path) -> Result<KerasFile, String> {
    let file = File::open_streaming(path).map_err(reason)?;
    read(&file, None)
}

/// Lists the layers of `file`; `config` is the model's description, if it is stored elsewhere.
pub(super) fn read(file: &File, config: Option<Config>) -> Result<KerasFile, String> {
    let root = file.root();
    let groups = root.groups().map_err(reason)?;
    let has = |name: &str| groups.iter().any(|group| group == name);
    let stored_config = root.attrs().map_err(reason)?;
    let stored_config = stored_config.get("model_config").and_then(AttrValue::as_str).map(Config::from_json);
    let config = config.or(stored_config).unwrap_or_default();
    let base = if has("model_weights") { root.group("model_weights").map_err(reason)? } else { file.root() };
    let mut listed = Listed::default();
    if let Some(names) = strings(&base, "layer_names")? {
        listed.add_named_layers(&base, &names, &config)?;
        return Ok(listed.into_file(Listing::All));
    }
    // Keras 3 and the first release with this layout (2.12), which called the group otherwise.
    match ["layers", "_layer_checkpoint_dependencies"].into_iter().find(|name| has(name)) {
        Some(name) => listed.add_counted_layers(&root.group(name).map_err(reason)?, name, &config, 0)?,
        None => {
            let groups = if groups.is_empty() { "no groups".to_owned() } else { groups.join(", ") };
            return Err(format!(
                "an HDF5 file, but not one of Keras: no `layer_names`, no `/layers`; it has {groups}"
            ));
        }
    }
    Ok(listed.into_file(Listing::PerClass))
}

/// Layers and tensors found so far.
#[derive(Default)]
struct Listed {
    tensors: Vec<Stored>,
    layers: Vec<StoredLayer>,
}

impl Listed {
    fn into_file(self, listing: Listing) -> KerasFile {
        KerasFile { tensors: self.tensors, layers: self.layers, listing }
    }

    /// Layouts that list layers by name: a group a layer, with the names of its tensors.
    fn add_named_layers(&mut self, base: &Group, names: &[String], config: &Config) -> Result<(), String> {
        for name in names {
            let group = base.group(name).map_err(|error| format!("layer {name}: {error}"))?;
            let weights = strings(&group, "weight_names")?.unwrap_or_default();
            for (layer, weights) in sublayers(name, &weights, config)? {
                let class = config.find(&layer).map(|layer| layer.class.clone());
                let mut tensors = Vec::new();
                for weight in weights {
                    let dataset = group.dataset(weight).map_err(|error| format!("layer {name}: {error}"))?;
                    tensors.push(self.add_tensor(weight.split(':').next().unwrap_or(weight), &dataset)?);
                }
                self.layers.push(StoredLayer { label: layer.clone(), name: Some(layer), class, tensors });
            }
        }
        Ok(())
    }

    /// The layout of `.weights.h5`: groups called after classes, with a number that counts the layers of the class.
    fn add_counted_layers(
        &mut self,
        base: &Group,
        path: &str,
        config: &Config,
        depth: usize,
    ) -> Result<(), String> {
        if depth > MAX_DEPTH {
            return Err(format!("{path}: models are nested more than {MAX_DEPTH} deep"));
        }
        let mut groups: Vec<_> = base.groups().map_err(reason)?.into_iter().map(counted).collect();
        groups.sort();
        for (class, index, name) in groups {
            let group = base.group(&name).map_err(reason)?;
            let known = config.nth(&class, index);
            for part in group.groups().map_err(reason)? {
                let path = format!("{path}/{name}/{part}");
                let inner = group.group(&part).map_err(reason)?;
                match part.as_str() {
                    "vars" => self.add_counted_layer(
                        &inner,
                        &path,
                        &class,
                        index,
                        known.map(|layer| &layer.name[..]),
                    )?,
                    "layers" | "_layer_checkpoint_dependencies" => {
                        let none = Config::default();
                        self.add_counted_layers(
                            &inner,
                            &path,
                            known.map_or(&none, |layer| &layer.nested),
                            depth + 1,
                        )?;
                    }
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Adds layer number `index` of `class`, whose tensors are the datasets `0`, `1`, ... of `vars`.
    fn add_counted_layer(
        &mut self,
        vars: &Group,
        path: &str,
        class: &str,
        index: usize,
        name: Option<&str>,
    ) -> Result<(), String> {
        let count = vars.datasets().map_err(reason)?.len();
        if count == 0 {
            return Ok(());
        }
        let same_class = self.layers.iter().filter(|layer| layer.class.as_deref() == Some(class)).count();
        if same_class != index {
            return Err(format!(
                "{path}: number {index} of its class where number {same_class} was expected; the order of layers \
                 cannot be told (several models in one file have this class, or groups are missing)"
            ));
        }
        let attrs = vars.attrs().map_err(reason)?;
        let name = attrs.get("name").and_then(AttrValue::as_str).or(name).map(str::to_owned);
        let mut tensors = Vec::new();
        for number in 0..count {
            let dataset = vars.dataset(&number.to_string()).map_err(|error| format!("{path}: {error}"))?;
            tensors.push(self.add_tensor(&format!("{path}/{number}"), &dataset)?);
        }
        self.layers.push(StoredLayer {
            label: path.to_owned(),
            name,
            class: Some(class.to_owned()),
            tensors,
        });
        Ok(())
    }

    fn add_tensor(&mut self, name: &str, dataset: &Dataset) -> Result<usize, String> {
        if self.tensors.len() == MAX_TENSORS {
            return Err(format!("more than {MAX_TENSORS} tensors are listed"));
        }
        let shape = dataset.shape().map_err(|error| format!("tensor {name}: {error}"))?;
        let data = match dataset.dtype().map_err(|error| format!("tensor {name}: {error}"))? {
            DType::F32 | DType::F64 => Data::Hdf5(Box::new(dataset.clone())),
            other => Data::Unreadable(other.to_string()),
        };
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

/// The tensors of a layer; those of a nested model are grouped by the layers in it.
///
/// The names of a nested model's tensors start with those of its layers. The model's description, if it is there, tells the
/// order of these. Otherwise: Keras lists all trainable tensors before the others, so layers come in order by their
/// first tensors if all of them or none can be trained.
fn sublayers<'a>(
    layer: &str,
    weights: &'a [String],
    config: &Config,
) -> Result<Vec<(String, Vec<&'a str>)>, String> {
    let mut groups = grouped(weights);
    if groups.len() <= 1 {
        return Ok(groups.into_iter().map(|(_, weights)| (layer.to_owned(), weights)).collect());
    }
    let order = config.find(layer).map(|layer| layer.nested.names()).unwrap_or_default();
    let place = |name: &str| order.iter().position(|known| *known == name);
    if groups.iter().all(|(name, _)| place(name).is_some()) {
        groups.sort_by_key(|(name, _)| place(name));
    } else if !lists_layers_in_order(weights, groups.len()) {
        return Err(format!(
            "layer {layer} is a model of which only a part can be trained: the order of its layers cannot be told; save \
             it as .keras, or save the inner model's weights"
        ));
    }
    Ok(groups.into_iter().map(|(name, weights)| (name.to_owned(), weights)).collect())
}

/// The names of tensors by layer, layers in the order of their first tensors.
fn grouped(weights: &[String]) -> Vec<(&str, Vec<&str>)> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for weight in weights {
        let layer = layer_of(weight);
        let place = *places.entry(layer).or_insert(groups.len());
        if place == groups.len() {
            groups.push((layer, Vec::new()));
        }
        groups[place].1.push(weight);
    }
    groups
}

/// `stem_bn` of `inner/stem_bn/gamma:0`; nothing if the name has only one part.
fn layer_of(weight: &str) -> &str {
    let path = weight.rsplit_once('/').map_or("", |(path, _)| path);
    path.rsplit('/').next().unwrap_or(path)
}

/// Whether the tensors of each layer are together (no layer, or all, can be trained), or all stored statistics come last.
fn lists_layers_in_order(weights: &[String], layers: usize) -> bool {
    let runs = weights.chunk_by(|a, b| layer_of(a) == layer_of(b)).count();
    let is_statistic = |weight: &&String| weight.contains("/moving_") || weight.contains("/running_");
    runs == layers
        || weights.iter().skip_while(|weight| !is_statistic(weight)).all(|weight| is_statistic(&weight))
}

/// The list of strings in an attribute, which Keras splits over `name0`, `name1`, ... when it is long.
fn strings(group: &Group, name: &str) -> Result<Option<Vec<String>>, String> {
    let attrs = group.attrs().map_err(reason)?;
    if let Some(value) = attrs.get(name) {
        // A layer without weights has an empty list of numbers here.
        return Ok(Some(value.as_strings().unwrap_or_default().to_vec()));
    }
    let mut all = None;
    while let Some(part) = attrs.get(&format!("{name}{}", all.as_ref().map_or(0, |(count, _)| *count))) {
        let (count, strings): &mut (usize, Vec<String>) = all.get_or_insert_default();
        *count += 1;
        strings.extend_from_slice(part.as_strings().unwrap_or_default());
    }
    Ok(all.map(|(_, strings)| strings))
}

fn reason(error: hdf5_pure::Error) -> String {
    error.to_string()
}
