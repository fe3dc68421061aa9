//! Puts the layers of a file of Keras and those of a network side by side.
//!
//! Order decides. Names that a person gave confirm it, or contradict it; names that Keras made up
//! (`conv2d_3`) count layers as they were created and say nothing. When order and names disagree, names
//! decide if the two sides have the same ones, else it is an error: nothing is guessed. Where order follows
//! from that of a sum's operands, the description of the model decides, if the file has one.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use xcc_compiler::graph::{Graph, LayerId, LayerKind, Role, WeightId};

use super::config::snake_case;
use super::order::order_with_sums_reversed;
use super::{KerasFile, Listing, StoredLayer, keras_order, structure};
use crate::weights::Matching;
use crate::weights::bind::{Binding, Outcome, Surplus, fits};
use crate::weights::error::Mismatch;
use crate::weights::stored::Stored;

/// With more layers than this, an error about different numbers of layers lists all of them as missing and
/// surplus.
const ALIGNED: usize = 2000;

/// Layers of the network with weights.
struct Expected<'a> {
    graph: &'a Graph,
    id: LayerId,
    weights: Vec<WeightId>,
}

impl Expected<'_> {
    fn name(&self) -> &str {
        &self.graph.layer(self.id).name
    }

    fn kind(&self) -> LayerKind {
        self.graph.layer(self.id).kind
    }
}

/// Two lists of layers that belong together: all of them, or those of one class.
struct Sides<'g, 'a> {
    graph: &'g Graph,
    file: &'a KerasFile,
    /// The network's, in Keras' order.
    ours: Vec<Expected<'g>>,
    /// The file's, in Keras' order.
    theirs: Vec<&'a StoredLayer>,
}

/// Positions in the two lists of [`Sides`].
type Pairs = Vec<(usize, usize)>;

/// Binds the tensors of a file by Keras' order of layers.
pub(in crate::weights) fn by_order<'a>(graph: &Graph, file: &'a KerasFile) -> (Outcome<'a>, Matching) {
    let mut outcome = Outcome::default();
    let (mut confirmed, mut layers) = (0, 0);
    for sides in lists(graph, file) {
        let (pairs, contradictions) = sides.pair();
        layers += sides.ours.len();
        confirmed += pairs.iter().filter(|&&(i, j)| sides.same_name(i, j)).count();
        outcome.mismatches.extend(contradictions);
        sides.bind(&pairs, &mut outcome);
    }
    (outcome, Matching::Order { confirmed, layers })
}

/// The lists to be paired: one of all layers, or one for each class.
fn lists<'g, 'a>(graph: &'g Graph, file: &'a KerasFile) -> Vec<Sides<'g, 'a>> {
    let sides = |ours, theirs| Sides { graph, file, ours, theirs };
    let ours = weighted_layers(graph);
    if file.listing == Listing::All {
        return vec![sides(ours, file.layers.iter().collect())];
    }
    let mut classes: BTreeMap<String, (Vec<Expected>, Vec<&StoredLayer>)> = BTreeMap::new();
    for layer in ours {
        classes.entry(snake_case(layer.kind().keras_class())).or_default().0.push(layer);
    }
    for layer in &file.layers {
        classes.entry(layer.class.clone().unwrap_or_default()).or_default().1.push(layer);
    }
    classes.into_values().map(|(ours, theirs)| sides(ours, theirs)).collect()
}

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

impl<'a> Sides<'_, 'a> {
    /// Which layers belong together, and where names contradict that.
    fn pair(&self) -> (Pairs, Vec<Mismatch>) {
        if self.ours.len() != self.theirs.len() {
            return (self.align(), Vec::new());
        }
        let in_order: Pairs = (0..self.ours.len()).map(|position| (position, position)).collect();
        let contradictions = self.contradictions(&in_order);
        if !contradictions.is_empty() {
            return match self.pair_by_name() {
                Some(pairs) => (pairs, Vec::new()),
                None => (in_order, contradictions),
            };
        }
        let ambiguous = self.ambiguous();
        if ambiguous.is_empty() {
            return (in_order, Vec::new());
        }
        match self.pair_by_structure(&ambiguous) {
            Some(pairs) => (pairs, Vec::new()),
            None => (in_order, self.ambiguities(&ambiguous)),
        }
    }

    fn our_names(&self) -> HashSet<&str> {
        self.ours.iter().map(Expected::name).collect()
    }

    /// Where a given name says another layer than `pairs` do.
    fn contradictions(&self, pairs: &Pairs) -> Vec<Mismatch> {
        let names = self.our_names();
        let wrong = pairs.iter().filter_map(|&(i, j)| {
            let layer = self.ours[i].name();
            let name = given_name(self.theirs[j]).filter(|name| *name != layer && names.contains(name))?;
            Some(Mismatch::Order { position: i + 1, stored: name.to_owned(), layer: layer.to_owned() })
        });
        wrong.collect()
    }

    /// Positions of two layers of the same shapes and without names in common, whose order changes with that
    /// of a sum's operands.
    fn ambiguous(&self) -> Pairs {
        let other = order_with_sums_reversed(self.graph);
        let places: HashMap<LayerId, usize> =
            other.into_iter().enumerate().map(|(place, id)| (id, place)).collect();
        let mut alike: HashMap<Vec<&[u32]>, Vec<usize>> = HashMap::new();
        for (position, layer) in self.ours.iter().enumerate() {
            let shapes = layer.weights.iter().map(|&weight| &self.graph.weight(weight).shape[..]);
            alike.entry(shapes.collect()).or_default().push(position);
        }
        let mut swapped: Vec<(usize, usize)> = alike
            .values()
            .flat_map(|positions| positions.iter().copied().zip(positions.iter().copied().skip(1)))
            .filter(|&(i, j)| places.get(&self.ours[i].id) > places.get(&self.ours[j].id))
            .filter(|&(i, j)| !self.same_name(i, i) && !self.same_name(j, j))
            .collect();
        swapped.sort_unstable();
        swapped
    }

    fn ambiguities(&self, swapped: &Pairs) -> Vec<Mismatch> {
        let ours = |i: usize| self.ours[i].name().to_owned();
        let theirs = |j: usize| self.theirs[j].label.clone();
        let ambiguity =
            |&(i, j): &_| Mismatch::Ambiguous { layers: [ours(i), ours(j)], stored: [theirs(i), theirs(j)] };
        swapped.iter().map(ambiguity).collect()
    }

    /// Pairs by the places that layers have in the two models, if these tell the `ambiguous` ones apart and no
    /// name contradicts.
    fn pair_by_structure(&self, ambiguous: &Pairs) -> Option<Pairs> {
        let colors = structure::colors(self.graph, self.file)?;
        let ours: Vec<usize> =
            self.ours.iter().map(|layer| colors.ours.get(&layer.id).copied()).collect::<Option<_>>()?;
        let mut theirs: HashMap<usize, VecDeque<usize>> = HashMap::new();
        for (j, layer) in self.theirs.iter().enumerate() {
            theirs.entry(*colors.theirs.get(layer.name.as_deref()?)?).or_default().push_back(j);
        }
        let mut partner = |color| theirs.get_mut(color)?.pop_front();
        let pairs: Pairs =
            ours.iter().enumerate().map(|(i, color)| Some((i, partner(color)?))).collect::<Option<_>>()?;
        let decided = ambiguous.iter().all(|&(i, j)| ours[i] != ours[j]);
        (decided && self.contradictions(&pairs).is_empty()).then_some(pairs)
    }

    /// Pairs by given names, if both sides have the same ones and each once; layers with made-up names keep
    /// their order.
    fn pair_by_name(&self) -> Option<Pairs> {
        let ours: HashMap<&str, usize> = (0..self.ours.len())
            .map(|position| (self.ours[position].name(), position))
            .filter(|(name, _)| !is_made_up(name))
            .collect();
        let named = self.theirs.iter().enumerate().filter_map(|(j, stored)| Some((given_name(stored)?, j)));
        let mut pairs: Pairs = named.map(|(name, j)| Some((*ours.get(name)?, j))).collect::<Option<_>>()?;
        let distinct: HashSet<usize> = pairs.iter().map(|&(i, _)| i).collect();
        if distinct.len() != ours.len() || distinct.len() != pairs.len() {
            return None;
        }
        let our_rest = (0..self.ours.len()).filter(|i| !distinct.contains(i));
        let their_rest = (0..self.theirs.len()).filter(|&j| given_name(self.theirs[j]).is_none());
        pairs.extend(our_rest.zip(their_rest));
        Some(pairs)
    }

    /// The longest common subsequence of lists of different lengths: what is left over is what to report.
    fn align(&self) -> Pairs {
        if self.ours.len().max(self.theirs.len()) > ALIGNED {
            return Vec::new();
        }
        let names = self.our_names();
        let alike = |i: usize, j: usize| match given_name(self.theirs[j]) {
            Some(name) if names.contains(name) => name == self.ours[i].name(),
            _ => self.same_shapes(i, j),
        };
        longest_common(self.ours.len(), self.theirs.len(), &alike)
    }

    fn same_shapes(&self, i: usize, j: usize) -> bool {
        let (weights, tensors) = (&self.ours[i].weights, &self.theirs[j].tensors);
        let fit = |(&weight, &tensor): (&WeightId, &usize)| {
            fits(self.graph.weight(weight), &self.file.tensors[tensor].shape)
        };
        weights.len() == tensors.len() && weights.iter().zip(tensors).all(fit)
    }

    fn same_name(&self, i: usize, j: usize) -> bool {
        self.theirs[j].name.as_deref() == Some(self.ours[i].name())
    }

    /// Binds the tensors of paired layers and notes those of all others.
    fn bind(&self, pairs: &Pairs, outcome: &mut Outcome<'a>) {
        let mut missing = Vec::new();
        let mut surplus = Vec::new();
        for &(i, j) in pairs {
            outcome.mismatches.extend(other_class(&self.ours[i], self.theirs[j]));
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
        outcome.lonely(self.graph, &missing, &surplus);
    }

    fn tensors(&self, j: usize) -> impl Iterator<Item = &'a Stored> {
        self.theirs[j].tensors.iter().map(|&tensor| &self.file.tensors[tensor])
    }

    /// Matches the tensors of a pair by what their names say they are, if all names do, else by position.
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
/// The words of Keras 1 are among them; its `running_std` holds the variance. A depthwise convolution's
/// kernel is a plain `kernel` in Keras 3.
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
    (*found != expected).then(|| Mismatch::Class {
        layer: layer.name().to_owned(),
        expected,
        stored: stored.label.clone(),
        found: found.clone(),
    })
}

/// The name that a person gave to a layer of a file.
fn given_name(stored: &StoredLayer) -> Option<&str> {
    stored.name.as_deref().filter(|name| !is_made_up(name))
}

/// Whether Keras makes up such names: a class, perhaps followed by a number.
fn is_made_up(name: &str) -> bool {
    const CLASSES: [&str; 8] = [
        "conv2d",
        "separable_conv2d",
        "depthwise_conv2d",
        "batch_normalization",
        "dense",
        // Keras 1
        "convolution2d",
        "separableconvolution2d",
        "batchnormalization",
    ];
    let class = name.trim_end_matches(|c: char| c.is_ascii_digit());
    CLASSES.contains(&name) || class.strip_suffix('_').is_some_and(|class| CLASSES.contains(&class))
}
