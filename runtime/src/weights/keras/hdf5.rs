//! Lists the layers and tensors of an HDF5 file of Keras, in each layout there has been.

use std::collections::HashMap;
use std::io::Read;
use std::path::Path;

use hdf5_pure::{AttrValue, DType, Dataset, File, Group};

use super::config::{Config, ConfigLayer};
use super::index::Index;
use super::{KerasFile, Listing, StoredLayer};
use crate::weights::stored::{Data, Stored};

/// More tensors than this are no network: a file that lists one group many times must not take long.
const MAX_TENSORS: usize = 100_000;
/// More bytes than a superblock's end-of-file address lies behind.
const SUPERBLOCK: u64 = 64;
/// Models nested deeper than this are not followed.
const MAX_DEPTH: usize = 16;

/// Opens an HDF5 file; the error is a reason in words.
///
/// The file is not read whole: of an oversized one only the tensors that are asked for come into memory.
pub(in crate::weights) fn open_hdf5(path: &Path) -> Result<KerasFile, String> {
    check_length(path)?;
    let file = File::open_streaming(path).map_err(reason)?;
    read(&file, None)
}

/// Refuses a file that is shorter than its superblock says.
fn check_length(path: &Path) -> Result<(), String> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    file.take(SUPERBLOCK).read_to_end(&mut start).map_err(|error| error.to_string())?;
    match stated_length(&start) {
        Some(stated) if length < stated => Err(format!("it was cut off, after {length} of {stated} bytes")),
        _ => Ok(()),
    }
}

/// The end-of-file address in a superblock with addresses of 8 bytes (HDF5 File Format Specification 3.0,
/// II.A).
fn stated_length(superblock: &[u8]) -> Option<u64> {
    let (size_of_offsets, end_of_file) = match superblock.get(8)? {
        0 => (13, 40),
        1 => (13, 44),
        2 | 3 => (9, 28),
        _ => return None,
    };
    let bytes = superblock.get(end_of_file..)?.first_chunk().filter(|_| superblock[size_of_offsets] == 8);
    bytes.map(|bytes| u64::from_le_bytes(*bytes))
}

/// Lists the layers of `file`; `config` is the model's description, if it is stored elsewhere.
pub(super) fn read(file: &File, config: Option<Config>) -> Result<KerasFile, String> {
    let root = file.root();
    let groups = root.groups().map_err(reason)?;
    let has = |name: &str| groups.iter().any(|group| group == name);
    let attrs = root.attrs().map_err(reason)?;
    let described = attrs.get("model_config").and_then(AttrValue::as_str).map(Config::from_json);
    let config = config.or(described).unwrap_or_default();
    let base = if has("model_weights") { root.group("model_weights").map_err(reason)? } else { file.root() };
    let mut listed = Listed::default();
    if let Some(names) = strings(&base, "layer_names")? {
        listed.add_named_layers(&base, &names, &config)?;
        return Ok(listed.into_file(Listing::All, config));
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
    Ok(listed.into_file(Listing::PerClass, config))
}

/// Layers and tensors found so far.
#[derive(Default)]
struct Listed {
    tensors: Vec<Stored>,
    layers: Vec<StoredLayer>,
    /// Layers of each class that are told by class and number.
    of_class: HashMap<String, usize>,
}

/// A layer that is told by its class and number.
struct Counted<'a> {
    /// Where its group is.
    path: String,
    /// Its class in snake case.
    class: String,
    /// How many layers of the class come before it.
    index: usize,
    /// What the model's description says about it.
    known: Option<&'a ConfigLayer>,
}

impl Listed {
    fn into_file(self, listing: Listing, config: Config) -> KerasFile {
        KerasFile { tensors: self.tensors, layers: self.layers, listing, config }
    }

    /// Layouts that list layers by name: a group a layer, with the names of its tensors.
    fn add_named_layers(&mut self, base: &Group, names: &[String], config: &Config) -> Result<(), String> {
        let mut groups = Index::new(base.clone());
        for name in names {
            let group = groups.group(name).map_err(|error| format!("layer {name}: {error}"))?;
            let mut datasets = Index::new(group.clone());
            let weights = strings(&group, "weight_names")?.unwrap_or_default();
            for (layer, weights) in sublayers(name, &weights, config)? {
                let class = config.find(&layer).map(|layer| layer.class.clone());
                let mut tensors = Vec::new();
                for weight in weights {
                    let dataset =
                        datasets.dataset(weight).map_err(|error| format!("layer {name}: {error}"))?;
                    tensors.push(self.add_tensor(weight.split(':').next().unwrap_or(weight), &dataset)?);
                }
                self.layers.push(StoredLayer { label: layer.clone(), name: Some(layer), class, tensors });
            }
        }
        Ok(())
    }

    /// The layout of `.weights.h5`: groups called after classes, with a number that counts the layers of the
    /// class.
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
        let mut inner = Index::new(base.clone());
        let mut groups: Vec<_> = base.groups().map_err(reason)?.into_iter().map(counted).collect();
        groups.sort();
        for (class, index, name) in groups {
            let group = inner.group(&name).map_err(reason)?;
            let known = config.nth(&class, index);
            let path = format!("{path}/{name}");
            self.add_counted_layer(&group, &Counted { path, class, index, known }, depth)?;
        }
        Ok(())
    }

    /// Adds a layer, and the layers of a model nested in it.
    fn add_counted_layer(&mut self, group: &Group, layer: &Counted, depth: usize) -> Result<(), String> {
        for part in group.groups().map_err(reason)? {
            let path = format!("{}/{part}", layer.path);
            let inner = group.group(&part).map_err(reason)?;
            match part.as_str() {
                "vars" => self.add_counted_tensors(&inner, &path, layer)?,
                "layers" | "_layer_checkpoint_dependencies" => {
                    let none = Config::default();
                    let config = layer.known.map_or(&none, |layer| &layer.nested);
                    self.add_counted_layers(&inner, &path, config, depth + 1)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds the tensors of a layer: the datasets `0`, `1`, ... of its group `vars`.
    fn add_counted_tensors(&mut self, vars: &Group, path: &str, layer: &Counted) -> Result<(), String> {
        let count = vars.datasets().map_err(reason)?.len();
        if count == 0 {
            return Ok(());
        }
        let before = self.of_class.entry(layer.class.clone()).or_insert(0);
        if *before != layer.index {
            return Err(format!(
                "{path}: number {} of its class where number {before} was expected; the order of layers cannot \
                 be told (several models in one file have this class, or groups are missing)",
                layer.index
            ));
        }
        *before += 1;
        let class = Some(layer.class.clone());
        let attrs = vars.attrs().map_err(reason)?;
        let known = layer.known.map(|layer| layer.name.as_str());
        let name = attrs.get("name").and_then(AttrValue::as_str).or(known).map(str::to_owned);
        let (mut tensors, mut datasets) = (Vec::new(), Index::new(vars.clone()));
        for number in 0..count {
            let dataset =
                datasets.dataset(&number.to_string()).map_err(|error| format!("{path}: {error}"))?;
            tensors.push(self.add_tensor(&format!("{path}/{number}"), &dataset)?);
        }
        self.layers.push(StoredLayer { label: path.to_owned(), name, class, tensors });
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
/// The names of a nested model's tensors start with those of its layers. The model's description, if it is
/// there, tells the order of these. Otherwise: Keras lists all trainable tensors before the others, so layers
/// come in order by their first tensors if all of them or none can be trained.
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
    } else if !lists_layers_in_order(weights, &groups) {
        return Err(format!(
            "layer {layer} is a model of which only a part can be trained: the order of its layers cannot be \
             told; save it as .keras, or save the inner model's weights"
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

/// Whether the names in `weights`, grouped as `groups`, tell the order of layers: either the tensors of each
/// layer are together (no layer, or all, can be trained), or all stored statistics come last, layers in the
/// same order as before.
fn lists_layers_in_order(weights: &[String], groups: &[(&str, Vec<&str>)]) -> bool {
    let runs = weights.chunk_by(|a, b| layer_of(a) == layer_of(b)).count();
    let is_statistic = |weight: &String| weight.contains("/moving_") || weight.contains("/running_");
    let first = weights.iter().position(is_statistic).unwrap_or(weights.len());
    let statistics = &weights[first..];
    let place = |weight: &String| groups.iter().position(|(layer, _)| *layer == layer_of(weight));
    runs == groups.len() || statistics.iter().all(is_statistic) && statistics.iter().map(place).is_sorted()
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

#[cfg(test)]
mod tests {
    use super::*;
    use hdf5_pure::FileBuilder;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn names(file: &KerasFile) -> Vec<&str> {
        file.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
    }

    #[test]
    fn long_lists_are_put_together_and_scalars_of_integers_are_refused_by_type() {
        let mut builder = FileBuilder::new();
        for (part, layers) in [("layer_names0", ["b"]), ("layer_names1", ["a"])] {
            builder.set_attr(part, AttrValue::AsciiStringArray(owned(&layers)));
        }
        for layer in ["a", "b"] {
            let mut group = builder.create_group(layer);
            group.set_attr("weight_names", AttrValue::VarLenStringArray(vec![format!("{layer}_W:0")]));
            match layer {
                "a" => group.create_dataset("a_W:0").with_f32_data(&[1.0, 2.0]),
                _ => group.create_dataset("b_W:0").with_i64_data(&[1]),
            };
            builder.add_group(group.finish());
        }
        let file = read(&File::from_bytes(builder.finish().unwrap()).unwrap(), None).unwrap();
        assert_eq!(names(&file), ["b_W", "a_W"]);
        assert_eq!(file.tensors[0].read(), Err("it holds i64".to_owned()));
        assert_eq!(file.tensors[1].read(), Ok(vec![1.0, 2.0]));
    }

    #[test]
    fn other_files_are_refused_with_what_they_hold() {
        let mut builder = FileBuilder::new();
        let group = builder.create_group("measurements");
        builder.add_group(group.finish());
        let file = File::from_bytes(builder.finish().unwrap()).unwrap();
        let error = read(&file, None).err().unwrap();
        assert!(error.ends_with("no `layer_names`, no `/layers`; it has measurements"), "{error}");
    }

    /// The layers of the listings below are numbered as Keras does it, so names cannot help.
    fn order(weights: &[&str]) -> Result<Vec<String>, String> {
        let weights = owned(weights);
        let layers = sublayers("inner", &weights, &Config::default())?;
        Ok(layers.into_iter().map(|(name, _)| name).collect())
    }

    #[test]
    fn nested_models_that_train_in_part_are_refused() {
        let trained = [
            "conv2d/kernel",
            "bn/gamma",
            "bn/beta",
            "conv2d_1/kernel",
            "bn/moving_mean",
            "bn/moving_variance",
        ];
        assert_eq!(order(&trained).unwrap(), ["conv2d", "bn", "conv2d_1"]);
        let frozen = ["conv2d/kernel", "bn/gamma", "bn/moving_mean", "conv2d_1/kernel"];
        assert_eq!(order(&frozen).unwrap(), ["conv2d", "bn", "conv2d_1"]);
        // conv2d and bn are frozen: they come behind what can be trained.
        let partly = [
            "conv2d_1/kernel",
            "bn_1/gamma",
            "conv2d/kernel",
            "bn/gamma",
            "bn/moving_mean",
            "bn_1/moving_mean",
        ];
        let error = order(&partly).unwrap_err();
        assert!(error.contains("only a part can be trained"), "{error}");
        let described = r#"{"class_name": "Functional", "config": {"layers": [{"class_name": "Functional", "name": "inner",
            "config": {"name": "inner", "layers": [
                {"class_name": "Conv2D", "config": {"name": "conv2d"}},
                {"class_name": "BatchNormalization", "config": {"name": "bn"}},
                {"class_name": "Conv2D", "config": {"name": "conv2d_1"}},
                {"class_name": "BatchNormalization", "config": {"name": "bn_1"}}]}}]}}"#;
        let weights = owned(&partly);
        let layers = sublayers("inner", &weights, &Config::from_json(described)).unwrap();
        assert_eq!(
            layers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(),
            ["conv2d", "bn", "conv2d_1", "bn_1"]
        );
    }

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
