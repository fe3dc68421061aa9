//! The layers with weights of a network and of a file, and the tensors of two that belong
//! together.

use std::collections::{BTreeMap, HashMap, HashSet};

use xcc_compiler::graph::{Graph, LayerId, LayerKind, Role, WeightId};

use super::config::snake_case;
use super::names::same_names;
use super::{KerasFile, Listing, StoredLayer, canonical_class, keras_order};
use crate::weights::bind::{Binding, Outcome, Surplus, fits};
use crate::weights::error::Mismatch;
use crate::weights::stored::Stored;

/// With more layers than this, an error about different numbers of layers lists all of them as
/// missing and surplus.
const ALIGNED: usize = 2000;

/// Layers of the network with weights.
pub(super) struct Expected<'a> {
    graph: &'a Graph,
    /// The layer.
    pub id: LayerId,
    /// Its tensors in Keras' order.
    pub weights: Vec<WeightId>,
}

impl Expected<'_> {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.graph.layer(self.id).name
    }

    /// Its kind.
    pub fn kind(&self) -> LayerKind {
        self.graph.layer(self.id).kind
    }
}

/// The two lists of layers.
pub(super) struct Sides<'g, 'a> {
    /// The network.
    pub graph: &'g Graph,
    /// The file.
    pub file: &'a KerasFile,
    /// The network's layers with weights, in Keras' order.
    pub ours: Vec<Expected<'g>>,
    /// The file's layers with weights, in its order.
    pub theirs: &'a [StoredLayer],
    /// True if layers and tensors that only the file has are no mismatch.
    pub ignores_surplus: bool,
    /// The numbers of elements of the tensors of each layer: layers that may be the same have the
    /// same.
    sizes: [Vec<Vec<u64>>; 2],
}

/// Positions in the two lists of [`Sides`].
pub(super) type Pairs = Vec<(usize, usize)>;

/// The network's layers with weights, in Keras' order; the weights of each in Keras' order.
fn weighted_layers(graph: &Graph) -> Vec<Expected<'_>> {
    let mut weights: Vec<Vec<WeightId>> = vec![Vec::new(); graph.layers.len()];
    for (id, weight) in graph.weights.iter().enumerate() {
        weights[weight.layer.index()].push(WeightId::new(id));
    }
    let mut layers = Vec::new();
    for id in keras_order(graph) {
        let mut weights = std::mem::take(&mut weights[id.index()]);
        weights.sort_by_key(|&weight| rank(graph.weight(weight).role));
        if !weights.is_empty() {
            layers.push(Expected { graph, id, weights });
        }
    }
    layers
}

/// The place of a tensor among those of its layer.
fn rank(role: Role) -> usize {
    match role {
        Role::Kernel | Role::DepthwiseKernel | Role::Gamma => 0,
        Role::PointwiseKernel | Role::Beta => 1,
        Role::Bias | Role::MovingMean => 2,
        Role::MovingVariance => 3,
    }
}

impl<'g, 'a> Sides<'g, 'a> {
    /// The lists.
    pub fn of(graph: &'g Graph, file: &'a KerasFile, ignores_surplus: bool) -> Self {
        let ours = weighted_layers(graph);
        let sorted = |mut sizes: Vec<u64>| {
            sizes.sort_unstable();
            sizes
        };
        let our_size = |weight: &WeightId| graph.weight(*weight).elements();
        let our_sizes = ours.iter().map(|layer| sorted(layer.weights.iter().map(our_size).collect()));
        let their_size = |&tensor: &usize| {
            let shape = &file.tensors[tensor].shape;
            shape.iter().fold(1u64, |product, &extent| product.saturating_mul(extent))
        };
        let their_sizes =
            file.layers.iter().map(|layer| sorted(layer.tensors.iter().map(their_size).collect()));
        let sizes = [our_sizes.collect(), their_sizes.collect()];
        Self { graph, file, ours, theirs: &file.layers, ignores_surplus, sizes }
    }

    /// The layers of [`Sides::by_sizes`] that may be the same as a layer of ours.
    pub fn with_sizes_of(&self, i: usize, theirs: &HashMap<&[u64], Vec<usize>>) -> Vec<usize> {
        let alike = theirs.get(self.sizes[0][i].as_slice()).into_iter().flatten().copied();
        alike.filter(|&j| self.may_be_same(i, j)).collect()
    }

    /// Layers of the file by the numbers of elements of their tensors.
    pub fn by_sizes(&self, theirs: impl Iterator<Item = usize>) -> HashMap<&[u64], Vec<usize>> {
        let mut places: HashMap<&[u64], Vec<usize>> = HashMap::new();
        theirs.for_each(|j| places.entry(&self.sizes[1][j]).or_default().push(j));
        places
    }

    /// Pairs of layers with the same name, given by a person.
    pub fn same_names(&self) -> Pairs {
        let theirs = self.theirs.iter().map(|layer| layer.name.as_deref());
        same_names(self.ours.iter().map(Expected::name), theirs)
    }

    /// True if the tensors of two layers may be each other's by class and shapes.
    pub fn may_be_same(&self, i: usize, j: usize) -> bool {
        if self.sizes[0][i] != self.sizes[1][j] {
            return false;
        }
        let is_other_class = other_class(&self.ours[i], &self.theirs[j]).is_some();
        !is_other_class && self.same_shapes(i, j)
    }

    fn same_shapes(&self, i: usize, j: usize) -> bool {
        let Ok(matched) = self.match_tensors(i, j) else { return false };
        let weights = self.ours[i].weights.iter().map(|&weight| self.graph.weight(weight));
        let fit = |(weight, stored): (_, &Option<&Stored>)| {
            stored.is_some_and(|stored| fits(weight, &stored.shape))
        };
        matched.surplus.is_empty() && weights.zip(&matched.stored).all(fit)
    }

    /// Pairs in the order of both sides, to tell what is amiss: where the sides have different
    /// numbers of layers, those of the longest common subsequence.
    pub fn aligned(&self) -> Pairs {
        let mut classes: BTreeMap<&str, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        let classes_count = self.file.listing == Listing::PerClass;
        let our_classes: Vec<String> =
            self.ours.iter().map(|layer| snake_case(layer.kind().keras_class())).collect();
        for (i, class) in our_classes.iter().enumerate() {
            classes.entry(if classes_count { class } else { "" }).or_default().0.push(i);
        }
        for (j, layer) in self.theirs.iter().enumerate() {
            let class = layer.class.as_deref().map_or("", canonical_class);
            classes.entry(if classes_count { class } else { "" }).or_default().1.push(j);
        }
        classes.into_values().flat_map(|(ours, theirs)| self.aligned_lists(&ours, &theirs)).collect()
    }

    fn aligned_lists(&self, ours: &[usize], theirs: &[usize]) -> Pairs {
        if ours.len() == theirs.len() {
            return ours.iter().copied().zip(theirs.iter().copied()).collect();
        }
        if ours.len().max(theirs.len()) > ALIGNED {
            return Vec::new();
        }
        let pins: HashSet<(usize, usize)> = self.same_names().into_iter().collect();
        let (our_pins, their_pins): (HashSet<usize>, HashSet<usize>) = pins.iter().copied().unzip();
        let alike = |i: usize, j: usize| match our_pins.contains(&ours[i]) || their_pins.contains(&theirs[j])
        {
            true => pins.contains(&(ours[i], theirs[j])),
            false => self.may_be_same(ours[i], theirs[j]),
        };
        let pairs = longest_common(ours.len(), theirs.len(), &alike);
        pairs.into_iter().map(|(i, j)| (ours[i], theirs[j])).collect()
    }

    /// Binds the tensors of paired layers and notes those of all others.
    pub fn bind(&self, pairs: &Pairs) -> Outcome<'a> {
        let mut outcome = Outcome::default();
        let mut missing = Vec::new();
        let mut surplus = Vec::new();
        for &(i, j) in pairs {
            outcome.mismatches.extend(other_class(&self.ours[i], &self.theirs[j]));
            let matched = match self.match_tensors(i, j) {
                Ok(matched) => matched,
                Err(mismatch) => {
                    outcome.mismatches.push(mismatch);
                    continue;
                }
            };
            for (&weight, stored) in self.ours[i].weights.iter().zip(matched.stored) {
                match stored {
                    Some(stored) => outcome.bind(self.graph, Binding { weight, stored, transpose: None }),
                    None => missing.push(weight),
                }
            }
            surplus.extend(matched.surplus);
        }
        let (ours, theirs): (HashSet<usize>, HashSet<usize>) = pairs.iter().copied().unzip();
        let alone = (0..self.ours.len()).filter(|i| !ours.contains(i));
        missing.extend(alone.flat_map(|i| self.ours[i].weights.iter().copied()));
        let alone = (0..self.theirs.len()).filter(|j| !theirs.contains(j));
        surplus.extend(alone.flat_map(|j| self.tensors(j)));
        let surplus: Vec<Surplus> = surplus.into_iter().map(Surplus::from).collect();
        match self.ignores_surplus {
            true => outcome.lonely(self.graph, &missing, &[]),
            false => outcome.lonely(self.graph, &missing, &surplus),
        }
        outcome
    }

    /// The mismatch of two layers that nothing tells apart; `theirs` are the layers that either
    /// may be.
    pub fn ambiguity(&self, ours: [usize; 2], theirs: [usize; 2]) -> Mismatch {
        Mismatch::Ambiguous {
            layers: ours.map(|i| self.ours[i].name().to_owned()),
            stored: theirs.map(|j| self.theirs[j].label.clone()),
        }
    }

    fn tensors(&self, j: usize) -> impl Iterator<Item = &'a Stored> {
        self.theirs[j].tensors.iter().map(|&tensor| &self.file.tensors[tensor])
    }

    /// Matches the tensors of a pair by what their names say they are, if all names do, else by
    /// position.
    fn match_tensors(&self, i: usize, j: usize) -> Result<Matched<'a>, Mismatch> {
        let stored: Vec<&Stored> = self.tensors(j).collect();
        let ours: Vec<Role> =
            self.ours[i].weights.iter().map(|&weight| self.graph.weight(weight).role).collect();
        let label = &self.theirs[j].label;
        let theirs: Vec<&[Role]> = stored.iter().map(|stored| roles(&stored.name, label)).collect();
        if !theirs.iter().any(|roles| roles.is_empty()) {
            return Ok(match_roles(&ours, &theirs, &stored));
        }
        if ours.len() == stored.len() {
            return Ok(Matched { stored: stored.into_iter().map(Some).collect(), surplus: Vec::new() });
        }
        Err(Mismatch::Count {
            layer: self.ours[i].name().to_owned(),
            expected: ours.iter().map(Role::to_string).collect(),
            stored: label.clone(),
            found: stored.len(),
        })
    }
}

/// For each of `ours` the first tensor that may have this role and has no other.
fn match_roles<'a>(ours: &[Role], theirs: &[&[Role]], stored: &[&'a Stored]) -> Matched<'a> {
    let mut left: Vec<usize> = (0..stored.len()).collect();
    let mut take = |role: &Role| {
        let at = left.iter().position(|&tensor| theirs[tensor].contains(role))?;
        Some(stored[left.remove(at)])
    };
    let matched = ours.iter().map(&mut take).collect();
    Matched { stored: matched, surplus: left.into_iter().map(|tensor| stored[tensor]).collect() }
}

/// The longest common subsequence of two lists, as pairs of positions.
fn longest_common(ours: usize, theirs: usize, alike: &dyn Fn(usize, usize) -> bool) -> Pairs {
    // longest[i][j]: pairs that can be made of ours[i..] and theirs[j..].
    let mut longest = vec![vec![0u32; theirs + 1]; ours + 1];
    for i in (0..ours).rev() {
        for j in (0..theirs).rev() {
            let skipped = longest[i + 1][j].max(longest[i][j + 1]);
            longest[i][j] = if alike(i, j) { skipped.max(longest[i + 1][j + 1] + 1) } else { skipped };
        }
    }
    let (mut i, mut j, mut pairs) = (0, 0, Vec::new());
    while i < ours && j < theirs {
        if longest[i][j] == longest[i + 1][j] {
            i += 1;
        } else if longest[i][j] == longest[i][j + 1] {
            j += 1;
        } else {
            pairs.push((i, j));
            (i, j) = (i + 1, j + 1);
        }
    }
    pairs
}

/// The tensors of one layer.
struct Matched<'a> {
    /// For each tensor of the network's layer the file's.
    stored: Vec<Option<&'a Stored>>,
    /// The rest of the file's.
    surplus: Vec<&'a Stored>,
}

/// What a tensor may be by the last part of its name; nothing if the name does not tell.
///
/// The words of Keras 1 are among them; its `running_std` holds the variance. A depthwise
/// convolution's kernel is a plain `kernel` in Keras 3.
fn roles(name: &str, layer: &str) -> &'static [Role] {
    let tail = name.rsplit('/').next().unwrap_or(name);
    let tail = tail.strip_prefix(layer).and_then(|tail| tail.strip_prefix('_')).unwrap_or(tail);
    match tail {
        "kernel" | "W" => &[Role::Kernel, Role::DepthwiseKernel],
        "depthwise_kernel" => &[Role::DepthwiseKernel],
        "pointwise_kernel" => &[Role::PointwiseKernel],
        "bias" | "b" => &[Role::Bias],
        "gamma" => &[Role::Gamma],
        "beta" => &[Role::Beta],
        "moving_mean" | "running_mean" => &[Role::MovingMean],
        "moving_variance" | "running_std" | "running_var" => &[Role::MovingVariance],
        _ => &[],
    }
}

fn other_class(layer: &Expected, stored: &StoredLayer) -> Option<Mismatch> {
    let found = stored.class.as_ref()?;
    let expected = snake_case(layer.kind().keras_class());
    (canonical_class(found) != expected).then(|| Mismatch::Class {
        layer: layer.name().to_owned(),
        expected,
        stored: stored.label.clone(),
        found: found.clone(),
    })
}
