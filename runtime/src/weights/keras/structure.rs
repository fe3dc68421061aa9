//! Tells layers apart by what they read and by what reads them.
//!
//! A network and the description of a model that Keras stored beside its weights become two graphs
//! of the layers that have weights or join several values. All others pass their operand on: specs
//! and Keras differ in where such layers are. Vertices get colours, by their labels first, which
//! are refined by the colours of neighbours until no more vertices are told apart (B. Weisfeiler
//! and A. Leman, 1968). Operands of a sum have no order.

use std::collections::HashMap;

use xcc_compiler::graph::{Graph, LayerId, LayerKind};

use super::KerasFile;
use super::config::{ConfigLayer, snake_case};
use super::order::layer_inputs;

/// Larger graphs are not compared: refinement may take as many rounds as there are vertices.
const MOST_VERTICES: usize = 2000;
/// Longer runs of layers that only pass their operand on are not followed.
const LONGEST_RUN: usize = 100;

/// The colours of the layers with weights: of those of a network, and of those of a file by name.
/// Two layers of different colours have different places, whatever the order of the operands of
/// sums.
pub(super) struct Colors {
    /// The network's layers.
    pub ours: HashMap<LayerId, usize>,
    /// The file's layers.
    pub theirs: HashMap<String, usize>,
}

/// The colours of both sides; nothing if the file has no description of its model, or one of
/// another graph.
pub(super) fn colors(graph: &Graph, file: &KerasFile) -> Option<Colors> {
    let ours = our_layers(graph);
    let theirs = their_layers(file)?;
    let (our_side, their_side) = (Side::of(&ours)?, Side::of(&theirs)?);
    if our_side.size() != their_side.size() {
        return None;
    }
    let [our_colors, their_colors] = refined([&our_side, &their_side]);
    let of_ours = our_side.layers.iter().map(|&layer| LayerId::new(layer)).zip(our_colors);
    let name = |layer: usize| file.config.layers[layer].name.clone();
    let of_theirs: HashMap<String, usize> =
        their_side.layers.iter().map(|&layer| name(layer)).zip(their_colors).collect();
    let distinct = of_theirs.len() == their_side.layers.len();
    distinct.then(|| Colors { ours: of_ours.collect(), theirs: of_theirs })
}

/// What tells a vertex from others without a look at its neighbours.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Label {
    /// It reads nothing.
    Source,
    /// Numbers of elements of its weights, in ascending order.
    Weights(Vec<u64>),
    /// It joins values as this class of layers does.
    Joint(String),
}

/// A layer of either side.
struct Layer {
    /// Nothing if it passes its operand on.
    label: Option<Label>,
    /// The layers that it reads.
    inputs: Vec<usize>,
}

impl Layer {
    fn new(class: &str, mut weights: Vec<u64>, inputs: Vec<usize>) -> Self {
        weights.sort_unstable();
        let label = match inputs.len() {
            _ if !weights.is_empty() => Some(Label::Weights(weights)),
            0 => Some(Label::Source),
            1 => None,
            _ => Some(Label::Joint(snake_case(class))),
        };
        Self { label, inputs }
    }
}

fn our_layers(graph: &Graph) -> Vec<Layer> {
    let mut weights = vec![Vec::new(); graph.layers.len()];
    for weight in &graph.weights {
        weights[weight.layer.index()].push(weight.elements());
    }
    let inputs =
        layer_inputs(graph).into_iter().map(|inputs| inputs.into_iter().map(LayerId::index).collect());
    let layers = graph.layers.iter().zip(weights).zip(inputs);
    layers.map(|((layer, weights), inputs)| Layer::new(layer.kind.keras_class(), weights, inputs)).collect()
}

fn their_layers(file: &KerasFile) -> Option<Vec<Layer>> {
    let layers = &file.config.layers;
    let places: HashMap<&str, usize> =
        layers.iter().enumerate().map(|(place, layer)| (layer.name.as_str(), place)).collect();
    let mut weights = vec![Vec::new(); layers.len()];
    for layer in &file.layers {
        let elements = |&tensor: &usize| {
            let shape = &file.tensors[tensor].shape;
            shape.iter().fold(1u64, |product, &extent| product.saturating_mul(extent))
        };
        let place = *places.get(layer.name.as_deref()?)?;
        weights[place].extend(layer.tensors.iter().map(elements));
    }
    let layer = |(layer, weights): (&ConfigLayer, Vec<u64>)| {
        let inputs = layer.inputs.as_ref()?.iter().map(|input| places.get(input.as_str()).copied());
        Some(Layer::new(&layer.class, weights, inputs.collect::<Option<_>>()?))
    };
    layers.iter().zip(weights).map(layer).collect()
}

/// The graph of one side.
struct Side {
    /// Which layer each vertex is.
    layers: Vec<usize>,
    vertices: Vec<Vertex>,
}

struct Vertex {
    label: Label,
    /// Vertices that it reads.
    operands: Vec<usize>,
    /// Vertices that read it, each with the place of the operand, zero in sums.
    users: Vec<(usize, usize)>,
}

impl Vertex {
    fn is_sum(&self) -> bool {
        self.label == Label::Joint(snake_case(LayerKind::Add.keras_class()))
    }
}

impl Side {
    /// Nothing if there are too many layers, or layers that read themselves.
    fn of(all: &[Layer]) -> Option<Self> {
        let layers: Vec<usize> = (0..all.len()).filter(|&layer| all[layer].label.is_some()).collect();
        if layers.len() > MOST_VERTICES {
            return None;
        }
        let places: HashMap<usize, usize> =
            layers.iter().enumerate().map(|(vertex, &layer)| (layer, vertex)).collect();
        let vertex = |&layer: &usize| {
            let operands = all[layer].inputs.iter().map(|&input| places.get(&origin(all, input)?).copied());
            let label = all[layer].label.clone()?;
            Some(Vertex { label, operands: operands.collect::<Option<_>>()?, users: Vec::new() })
        };
        let vertices = layers.iter().map(vertex).collect::<Option<_>>()?;
        let mut side = Self { layers, vertices };
        side.note_users();
        Some(side)
    }

    fn note_users(&mut self) {
        for user in 0..self.vertices.len() {
            let is_sum = self.vertices[user].is_sum();
            for (place, operand) in self.vertices[user].operands.clone().into_iter().enumerate() {
                self.vertices[operand].users.push((if is_sum { 0 } else { place }, user));
            }
        }
    }

    /// Vertices and edges.
    fn size(&self) -> (usize, usize) {
        (self.vertices.len(), self.vertices.iter().map(|vertex| vertex.operands.len()).sum())
    }
}

/// The layer whose value `layer` passes on, which may be its own.
fn origin(all: &[Layer], mut layer: usize) -> Option<usize> {
    for _ in 0..LONGEST_RUN {
        if all[layer].label.is_some() {
            return Some(layer);
        }
        layer = *all[layer].inputs.first()?;
    }
    None
}

/// What refinement tells vertices apart by: their own colour and those of what they read and what
/// reads them.
type Surroundings = (usize, Vec<usize>, Vec<(usize, usize)>);

/// The colours of both sides, the same ones for the same places.
fn refined(sides: [&Side; 2]) -> [Vec<usize>; 2] {
    let mut labels: HashMap<&Label, usize> = HashMap::new();
    let mut colors =
        sides.map(|side| side.vertices.iter().map(|vertex| number_of(&mut labels, &vertex.label)).collect());
    let mut count = labels.len();
    loop {
        let mut numbers: HashMap<Surroundings, usize> = HashMap::new();
        let [ours, theirs] = [0, 1].map(|side| {
            let colors: &Vec<usize> = &colors[side];
            let around = (0..colors.len()).map(|vertex| surroundings(sides[side], colors, vertex));
            around.map(|around| number_of(&mut numbers, around)).collect()
        });
        colors = [ours, theirs];
        // Each round tells all those apart that were told before.
        if numbers.len() == count {
            return colors;
        }
        count = numbers.len();
    }
}

fn surroundings(side: &Side, colors: &[usize], at: usize) -> Surroundings {
    let vertex = &side.vertices[at];
    let mut operands: Vec<usize> = vertex.operands.iter().map(|&operand| colors[operand]).collect();
    if vertex.is_sum() {
        operands.sort_unstable();
    }
    let mut users: Vec<(usize, usize)> =
        vertex.users.iter().map(|&(place, user)| (place, colors[user])).collect();
    users.sort_unstable();
    (colors[at], operands, users)
}

/// The number of a key, the next one for a new key.
fn number_of<K: Eq + std::hash::Hash>(numbers: &mut HashMap<K, usize>, key: K) -> usize {
    let next = numbers.len();
    *numbers.entry(key).or_insert(next)
}
