//! The orders in which a file may list the layers of a network, and the one that fits.
//!
//! Keras' order follows from the network but for the order of the operands of sums. A file that
//! lists as many layers as the network has lists them in one of these orders: a walk against the
//! flow of data tries the operands of each sum in every order, and compares each layer that it
//! meets with the file's layer in its place. Two different assignments that fit, and are not the
//! same network, leave the file ambiguous.

use std::collections::{HashMap, HashSet};

use xcc_compiler::graph::{Activation, Graph, LayerId, LayerKind, Node, Op};

use super::isomorphism::{self, Problem};
use super::order::{layer_depths, layer_inputs};
use super::pair::{Pairs, Sides};
use super::topology::{Attribute, of_graph};
use super::{Listing, canonical_class};
use crate::weights::error::Mismatch;

/// Layers that a search may meet before it gives up.
const MOST_STEPS: usize = 2_000_000;

/// What a search found.
pub(super) enum Found {
    /// The only assignment, but for symmetries of the network.
    One(Pairs),
    /// Several assignments fit.
    Several(Mismatch),
    /// No order fits, or the file does not list the same layers.
    None,
}

/// The assignments that are possible for the orders of all sums.
pub(super) fn find(sides: &Sides, pins: &Pairs) -> Found {
    let Some(search) = Search::of(sides, pins) else { return Found::None };
    let mut orders: Vec<Order> = Vec::new();
    let mut steps = 0;
    let mut first: Option<Pairs> = None;
    loop {
        let walk = search.walk(&mut orders);
        steps += walk.steps;
        if let Some(pairs) = walk.pairs {
            match &first {
                None => first = Some(pairs),
                Some(known) if *known == pairs || search.is_same_network(known, &pairs) => {
                    steps += 10 * walk.steps
                }
                Some(known) => return Found::Several(search.difference(known, &pairs)),
            }
        }
        orders.truncate(walk.sums);
        while orders.last_mut().is_some_and(|order| !order.advance()) {
            orders.pop();
        }
        if orders.is_empty() {
            return first.map_or(Found::None, Found::One);
        }
        if steps > MOST_STEPS {
            return Found::None;
        }
    }
}

/// An order of the operands of a sum: a permutation, in lexicographic turn.
struct Order(Vec<usize>);

impl Order {
    fn first(operands: usize) -> Self {
        Self((0..operands).collect())
    }

    /// Goes on to the next permutation, if there is any.
    fn advance(&mut self) -> bool {
        let order = &mut self.0;
        let Some(pivot) = (1..order.len()).rev().find(|&at| order[at - 1] < order[at]) else { return false };
        let next = (pivot..order.len()).rev().find(|&at| order[at] > order[pivot - 1]).unwrap_or(pivot);
        order.swap(pivot - 1, next);
        order[pivot..].reverse();
        true
    }
}

struct Search<'s, 'g, 'a> {
    sides: &'s Sides<'g, 'a>,
    inputs: Vec<Vec<LayerId>>,
    depths: Vec<usize>,
    /// The position of each layer of the network among those with weights.
    ours: HashMap<LayerId, usize>,
    pins: HashSet<(usize, usize)>,
    our_pins: HashSet<usize>,
    their_pins: HashSet<usize>,
    /// Where the layers of each class and depth begin in the file's list.
    starts: HashMap<(&'static str, usize), usize>,
    /// The file's layers by class, or all of them as one.
    lists: HashMap<&'static str, Vec<usize>>,
}

/// How far a walk came.
struct Walk {
    /// The assignment, if every layer fitted.
    pairs: Option<Pairs>,
    /// Sums that were met.
    sums: usize,
    steps: usize,
}

impl<'s, 'g, 'a> Search<'s, 'g, 'a> {
    /// Nothing if the file does not list as many layers of each class as the network has.
    fn of(sides: &'s Sides<'g, 'a>, pins: &Pairs) -> Option<Self> {
        let inputs = layer_inputs(sides.graph);
        let (depths, reached) = layer_depths(sides.graph, &inputs);
        let listed = &sides.file.listed;
        let is_complete = reached.len() == sides.graph.layers.len() && listed.len() == reached.len();
        // The layers of a nested model stand together, wherever its depth puts the model.
        let is_open = sides.file.is_nested || depths_are_open(sides.graph);
        if !is_complete || sides.file.listing == Listing::Unordered || is_open {
            return None;
        }
        let mut lists: HashMap<&'static str, Vec<usize>> = HashMap::new();
        for (place, layer) in listed.iter().enumerate() {
            let class = layer.class.as_deref().map_or("", family);
            lists.entry(list_of(sides.file.listing, class)).or_default().push(place);
        }
        let starts = starts(sides, &depths, &lists)?;
        let ours = sides.ours.iter().enumerate().map(|(i, layer)| (layer.id, i)).collect();
        let (our_pins, their_pins) = pins.iter().copied().unzip();
        let pins = pins.iter().copied().collect();
        Some(Self { sides, inputs, depths, ours, pins, our_pins, their_pins, starts, lists })
    }

    /// Walks with sums in `orders`, which grows where a sum is met for the first time, until a
    /// layer does not fit.
    fn walk(&self, orders: &mut Vec<Order>) -> Walk {
        let mut walk = Walk { pairs: Some(Vec::new()), sums: 0, steps: 0 };
        let mut met: HashMap<(&'static str, usize), usize> = HashMap::new();
        let mut seen = HashSet::new();
        let Some(&output) = self.sides.graph.outputs.first() else { return walk };
        let mut stack = vec![self.sides.graph.node(output).layer];
        while let Some(layer) = stack.pop() {
            if !seen.insert(layer) {
                continue;
            }
            walk.steps += 1;
            let list = self.list(layer);
            let met = met.entry((list, self.depths[layer.index()])).or_default();
            let place = self.starts[&(list, self.depths[layer.index()])] + *met;
            *met += 1;
            if !self.fits(layer, self.lists[list][place], &mut walk) {
                walk.pairs = None;
                return walk;
            }
            let inputs = &self.inputs[layer.index()];
            if self.sides.graph.layer(layer).kind != LayerKind::Add {
                stack.extend(inputs.iter().rev());
                continue;
            }
            if orders.len() == walk.sums {
                orders.push(Order::first(inputs.len()));
            }
            stack.extend(orders[walk.sums].0.iter().rev().map(|&operand| inputs[operand]));
            walk.sums += 1;
        }
        walk
    }

    fn list(&self, layer: LayerId) -> &'static str {
        list_of(self.sides.file.listing, family_of(self.sides.graph.layer(layer).kind))
    }

    /// Compares a layer with the one in its place, and notes the pair if both have weights.
    fn fits(&self, layer: LayerId, place: usize, walk: &mut Walk) -> bool {
        let listed = &self.sides.file.listed[place];
        let (Some(&i), Some(j)) = (self.ours.get(&layer), listed.stored) else {
            let class = listed.class.as_deref().map_or("", family);
            let is_same = class.is_empty() || class == family_of(self.sides.graph.layer(layer).kind);
            return listed.stored.is_none() && !self.ours.contains_key(&layer) && is_same;
        };
        let is_pinned = self.our_pins.contains(&i) || self.their_pins.contains(&j);
        if let Some(pairs) = &mut walk.pairs {
            pairs.push((i, j));
        }
        self.sides.may_be_same(i, j) && is_pinned == self.pins.contains(&(i, j))
    }

    /// True if two assignments differ by a symmetry of the network.
    fn is_same_network(&self, first: &Pairs, second: &Pairs) -> bool {
        let Some(topology) = of_graph(self.sides.graph) else { return false };
        let places = topology.by_layer();
        let vertex = |i: usize| places.get(&self.sides.ours[i].id.index()).copied();
        let others: HashMap<usize, usize> = second.iter().map(|&(i, j)| (j, i)).collect();
        let pins = first.iter().map(|(i, j)| Some((vertex(*i)?, vertex(*others.get(j)?)?)));
        let Some(pins) = pins.collect::<Option<Vec<_>>>() else { return false };
        let problem = Problem { sides: [&topology; 2], pins: &pins, kept: &Attribute::ALL };
        isomorphism::find(&problem).is_some()
    }

    /// Two layers that the assignments exchange.
    fn difference(&self, first: &Pairs, second: &Pairs) -> Mismatch {
        let by_ours = |pairs: &Pairs| pairs.iter().copied().collect::<HashMap<usize, usize>>();
        let (first, second) = (by_ours(first), by_ours(second));
        let theirs: HashMap<usize, usize> = second.iter().map(|(&i, &j)| (j, i)).collect();
        let moved = (0..self.sides.ours.len()).find(|i| first.get(i) != second.get(i)).unwrap_or(0);
        let other = first.get(&moved).and_then(|j| theirs.get(j)).copied().unwrap_or(moved);
        let stored = [moved, other].map(|i| first.get(&i).copied().unwrap_or(0));
        self.sides.ambiguity([moved, other], stored)
    }
}

/// True if a model with as many layers of each class may have them at other depths: it may have
/// the activation of one layer as a layer, and a layer that follows another one as that one's
/// activation.
fn depths_are_open(graph: &Graph) -> bool {
    let is_linear = |kind| {
        use LayerKind::{Conv, Dense, DepthwiseConv, SepConv};
        matches!(kind, Conv | DepthwiseConv | SepConv | Dense)
    };
    let kind = |layer| graph.layer(layer).kind;
    let functions = || {
        let nodes = graph.order().iter().map(|&id| graph.node(id));
        nodes.filter(|node| matches!(node.op, Op::Activation(_) | Op::Softmax))
    };
    let reads_linear =
        |node: &Node| node.inputs.iter().any(|&input| is_linear(kind(graph.node(input).layer)));
    functions().any(|node| is_linear(kind(node.layer)))
        && functions().any(|node| !is_linear(kind(node.layer)) && reads_linear(node))
}

/// Where the layers of each list and depth begin; nothing if lists have other lengths than the
/// network's.
fn starts(
    sides: &Sides,
    depths: &[usize],
    lists: &HashMap<&'static str, Vec<usize>>,
) -> Option<HashMap<(&'static str, usize), usize>> {
    let mut counts: HashMap<&'static str, Vec<usize>> = HashMap::new();
    for (layer, &depth) in sides.graph.layers.iter().zip(depths) {
        let list = list_of(sides.file.listing, family_of(layer.kind));
        let levels = counts.entry(list).or_default();
        levels.resize(levels.len().max(depth + 1), 0);
        levels[depth] += 1;
    }
    let mut starts = HashMap::new();
    for (&list, levels) in &counts {
        let mut start = 0;
        for (depth, count) in levels.iter().enumerate().rev().filter(|(_, count)| **count > 0) {
            starts.insert((list, depth), start);
            start += count;
        }
        if lists.get(list).map_or(0, Vec::len) != start {
            return None;
        }
    }
    Some(starts)
}

/// The list in which a file has a layer of a family.
fn list_of(listing: Listing, family: &'static str) -> &'static str {
    if listing == Listing::All { "" } else { family }
}

/// Classes that a spec does not tell apart, as one: the names of Keras 1 to 3. Nothing for others.
fn family(class: &str) -> &'static str {
    match canonical_class(class) {
        "conv2d" => "conv2d",
        "separable_conv2d" | "separableconvolution2d" => "separable_conv2d",
        "depthwise_conv2d" => "depthwise_conv2d",
        "batch_normalization" | "batchnormalization" => "batch_normalization",
        "dense" => "dense",
        "activation" | "softmax" => "activation",
        "max_pooling2d" | "maxpooling2d" => "max_pooling2d",
        "average_pooling2d" | "averagepooling2d" => "average_pooling2d",
        "global_average_pooling2d" | "globalaveragepooling2d" => "global_average_pooling2d",
        "global_max_pooling2d" | "globalmaxpooling2d" => "global_max_pooling2d",
        "dropout" | "spatial_dropout2d" => "dropout",
        "flatten" => "flatten",
        "input_layer" | "input" => "input_layer",
        "add" => "add",
        "concatenate" => "concatenate",
        class if is_function(class) => "activation",
        _ => "",
    }
}

/// True for a class of layers that apply an activation function of ours.
fn is_function(class: &str) -> bool {
    Activation::ALL.iter().any(|function| function.traits().keras_class == Some(class))
}

fn family_of(kind: LayerKind) -> &'static str {
    family(&super::config::snake_case(kind.keras_class()))
}
