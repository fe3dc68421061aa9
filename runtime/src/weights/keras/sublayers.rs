//! The layers of a model that is a layer of another one, where a file lists all their tensors as
//! one layer's.
//!
//! Keras lists all trainable tensors before the others, so the names tell which tensors belong
//! together, and tell the order of layers only where it is certain that all of them can be
//! trained.

use std::collections::HashMap;

use super::config::ConfigLayer;

/// The layers in one entry of a file's list.
pub(super) struct Sublayers<'a> {
    /// The layers.
    pub layers: Vec<Sublayer<'a>>,
    /// True if they are in Keras' order.
    pub is_ordered: bool,
    /// True if the entry is a model, or may be one.
    pub is_nested: bool,
}

/// A layer and its tensors.
pub(super) struct Sublayer<'a> {
    /// The layer's name.
    pub name: String,
    /// What the description says about it.
    pub known: Option<&'a ConfigLayer>,
    /// The names of its tensors, in the file's order.
    pub weights: Vec<&'a str>,
}

/// Groups the tensors `weights` of the entry `entry` by layer. `known` is the entry in the model's
/// description.
pub(super) fn sublayers<'a>(
    entry: &str,
    weights: &'a [String],
    known: Option<&'a ConfigLayer>,
) -> Sublayers<'a> {
    let nested = known.map(|layer| layer.nested.all()).unwrap_or_default();
    let mut groups = grouped(weights);
    if nested.is_empty() && groups.len() <= 1 {
        let (folder, weights) = groups.pop().unwrap_or_default();
        let layers = vec![Sublayer { name: entry.to_owned(), known, weights }];
        return Sublayers { layers, is_ordered: true, is_nested: !is_folder_of(entry, folder) };
    }
    let places = Places::of(&nested);
    let place = |group: &(&str, Vec<&str>)| places.find(group.0);
    let is_ordered = match groups.iter().all(|group| place(group).is_some()) {
        true => {
            groups.sort_by_key(place);
            true
        }
        false => lists_layers_in_order(weights, &groups),
    };
    let layer = |(folder, weights): (&str, Vec<&'a str>)| {
        let known = places.find(folder).map(|place| nested[place]);
        let name = known.map_or(folder, |layer| &layer.name).to_owned();
        Sublayer { name, known, weights }
    };
    Sublayers { layers: groups.into_iter().map(layer).collect(), is_ordered, is_nested: true }
}

/// True if tensors in `folder` are those of the layer `entry` itself. TensorFlow appends a number
/// to a name that is taken; Keras 1 had no folders.
fn is_folder_of(entry: &str, folder: &str) -> bool {
    let is_entry = |path: &str| {
        path.strip_prefix(entry).is_some_and(|rest| {
            rest.is_empty() || rest.strip_prefix('_').is_some_and(|number| number.parse::<u32>().is_ok())
        })
    };
    let starts = std::iter::once(0).chain(folder.match_indices('/').map(|(at, _)| at + 1));
    folder.is_empty() || starts.map(|start| &folder[start..]).any(is_entry)
}

/// Positions of layers by name, for names that only one layer has.
struct Places<'a>(HashMap<&'a str, Option<usize>>);

impl<'a> Places<'a> {
    fn of(layers: &[&'a ConfigLayer]) -> Self {
        let mut places = HashMap::new();
        for (place, layer) in layers.iter().enumerate() {
            let known = places.entry(layer.name.as_str()).or_insert(Some(place));
            if *known != Some(place) {
                *known = None;
            }
        }
        Self(places)
    }

    /// The layer whose name ends a path: names may hold `/`, so the longest one counts.
    fn find(&self, path: &str) -> Option<usize> {
        let starts = std::iter::once(0).chain(path.match_indices('/').map(|(at, _)| at + 1));
        starts.map(|start| self.0.get(&path[start..]).copied()).find_map(|place| place)?
    }
}

/// The names of tensors by the path before the last `/`, in the order of their first tensors.
fn grouped(weights: &[String]) -> Vec<(&str, Vec<&str>)> {
    let mut places: HashMap<&str, usize> = HashMap::new();
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for weight in weights {
        let folder = folder_of(weight);
        let place = *places.entry(folder).or_insert(groups.len());
        if place == groups.len() {
            groups.push((folder, Vec::new()));
        }
        groups[place].1.push(weight);
    }
    groups
}

/// `inner/stem_bn` of `inner/stem_bn/gamma:0`; nothing if the name has only one part.
fn folder_of(weight: &str) -> &str {
    weight.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// True if the names in `weights`, grouped as `groups`, are certain to tell the order of layers:
/// all stored statistics come last, in the order of their layers, and the layer just before them
/// has some among them. That one can be trained, so nothing before it is a layer that cannot be
/// trained and came first in the model.
fn lists_layers_in_order(weights: &[String], groups: &[(&str, Vec<&str>)]) -> bool {
    let places: HashMap<&str, usize> =
        groups.iter().enumerate().map(|(place, (folder, _))| (*folder, place)).collect();
    let is_statistic = |weight: &String| weight.contains("/moving_") || weight.contains("/running_");
    let first = weights.iter().position(is_statistic).unwrap_or(weights.len());
    let (trained, statistics) = weights.split_at(first);
    let place = |weight: &String| places.get(folder_of(weight)).copied();
    let last = trained.last().map(|weight| folder_of(weight));
    statistics.iter().all(is_statistic)
        && statistics.iter().map(place).is_sorted()
        && statistics.iter().any(|weight| Some(folder_of(weight)) == last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::keras::config::Config;

    /// The names of the layers, and whether they are in order. Names are numbered as Keras does
    /// it, so they cannot help.
    fn order(weights: &[&str], config: &Config) -> (Vec<String>, bool) {
        let weights: Vec<String> = weights.iter().map(|&name| name.to_owned()).collect();
        let found = sublayers("inner", &weights, config.layers.first());
        (found.layers.into_iter().map(|layer| layer.name).collect(), found.is_ordered)
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn only_models_that_are_certain_to_train_whole_keep_their_order() {
        let none = Config::default();
        let trained = ["conv2d/kernel", "conv2d_1/kernel", "bn/gamma", "bn/beta", "bn/moving_mean"];
        assert_eq!(order(&trained, &none), (names(&["conv2d", "conv2d_1", "bn"]), true));
        // conv2d_1 may be a layer before bn that cannot be trained.
        let perhaps = ["conv2d/kernel", "bn/gamma", "bn/beta", "conv2d_1/kernel", "bn/moving_mean"];
        assert_eq!(order(&perhaps, &none), (names(&["conv2d", "bn", "conv2d_1"]), false));
        // conv2d may be the only layer that can be trained, and stand anywhere.
        let frozen = ["conv2d/kernel", "bn/gamma", "bn/moving_mean", "conv2d_1/kernel"];
        assert_eq!(order(&frozen, &none), (names(&["conv2d", "bn", "conv2d_1"]), false));
        // conv2d and bn are frozen: they come behind what can be trained.
        let partly = [
            "conv2d_1/kernel",
            "bn_1/gamma",
            "conv2d/kernel",
            "bn/gamma",
            "bn/moving_mean",
            "bn_1/moving_mean",
        ];
        assert_eq!(order(&partly, &none), (names(&["conv2d_1", "bn_1", "conv2d", "bn"]), false));
        let described = r#"{"class_name": "Functional", "config": {"layers": [{"class_name": "Functional", "name": "inner",
            "config": {"name": "inner", "layers": [
                {"class_name": "Conv2D", "config": {"name": "conv2d"}},
                {"class_name": "BatchNormalization", "config": {"name": "bn"}},
                {"class_name": "Conv2D", "config": {"name": "conv2d_1"}},
                {"class_name": "BatchNormalization", "config": {"name": "bn_1"}}]}}]}}"#;
        let config = Config::from_json(described);
        assert_eq!(order(&partly, &config), (names(&["conv2d", "bn", "conv2d_1", "bn_1"]), true));
    }

    #[test]
    fn an_entry_with_the_tensors_of_another_layer_is_a_model() {
        let is_nested = |weight: &str| sublayers("conv2d_1", &[weight.to_owned()], None).is_nested;
        let own = ["conv2d_1/kernel:0", "conv2d_1_1/kernel:0", "model/conv2d_1/kernel:0", "conv2d_1_W"];
        assert_eq!(own.map(is_nested), [false; 4]);
        assert_eq!(
            ["conv2d/kernel:0", "conv2d_1/conv2d/kernel:0", "conv2d_12/kernel"].map(is_nested),
            [true; 3]
        );
    }

    #[test]
    fn names_of_layers_may_hold_slashes() {
        let weights = ["inner/block/conv/kernel", "inner/other/conv/kernel"];
        let none = Config::default();
        assert_eq!(order(&weights, &none).0, names(&["inner/block/conv", "inner/other/conv"]));
        let described = r#"{"class_name": "Functional", "config": {"layers": [{"class_name": "Functional", "name": "inner",
            "config": {"name": "inner", "layers": [
                {"class_name": "Conv2D", "config": {"name": "other/conv"}},
                {"class_name": "Conv2D", "config": {"name": "block/conv"}}]}}]}}"#;
        let config = Config::from_json(described);
        assert_eq!(order(&weights, &config).0, names(&["other/conv", "block/conv"]));
    }
}
