//! The description of a model, as Keras stores it, as a topology.
//!
//! Models that are layers of other models are put in their places. Extents of maps are followed
//! from the input on, so that `same` becomes the same zeros as in a network of ours.

use std::collections::{HashMap, VecDeque};

use xcc_compiler::graph::Pads;

use super::{Attribute, Edge, Kind, Topology, Vertex, window};
use crate::weights::keras::config::{Config, ConfigLayer, Reference};

/// The topology of a model. `tensors` has the extents of the tensors of each layer with weights,
/// by [`ConfigLayer::id`], which [`Vertex::layer`] is, too. `input` has the rows and columns of
/// the operand.
///
/// Nothing where the description cannot be followed: layers that are called more than once,
/// references to layers that there are not.
pub(in crate::weights::keras) fn described(
    config: &Config,
    tensors: &HashMap<usize, Vec<Vec<u64>>>,
    input: [u32; 2],
) -> Option<Topology> {
    let is_before_three = config.is_before_three;
    let mut builder = Builder { tensors, is_before_three, topology: Topology::default() };
    let input = builder.push(Vertex::new(Kind::Input, usize::MAX, "the input"), Some(input))?;
    let results = builder.model(replicated(config, tensors).unwrap_or(config), vec![input])?;
    let results = results.into_iter().map(Tensor::settled).collect();
    builder.topology.push(Vertex::output(results))?;
    Some(builder.topology)
}

/// The model that copies of a model on several GPUs run, each on a part of the batch
/// (`multi_gpu_model`): the only layer with weights, called once for each GPU.
fn replicated<'a>(config: &'a Config, tensors: &HashMap<usize, Vec<Vec<u64>>>) -> Option<&'a Config> {
    let is_stored = |layer: &ConfigLayer| tensors.contains_key(&layer.id);
    let has_weights =
        |layer: &&ConfigLayer| is_stored(layer) || layer.nested.all().into_iter().any(is_stored);
    let mut with_weights = config.layers.iter().filter(has_weights);
    let (only, others) = (with_weights.next()?, with_weights.next());
    let calls = only.calls.as_ref().map_or(0, Vec::len);
    (others.is_none() && calls > 1 && !only.nested.layers.is_empty()).then_some(&only.nested)
}

/// A value of the model, with what later layers need to know of it.
#[derive(Clone)]
pub(super) struct Tensor {
    /// Where it comes from.
    pub edge: Edge,
    /// Rows and columns, while they are known.
    pub extents: Option<[u32; 2]>,
    /// Zeros around it, which the window of the next layer may take for its own.
    pub zeros: Pads,
}

impl Tensor {
    /// The value with the zeros around it as an operation.
    pub fn settled(self) -> Edge {
        match self.zeros == Pads::default() {
            true => self.edge,
            false => self.edge.then(Attribute::Other, format!("zero padding {}", window::zeros(self.zeros))),
        }
    }
}

/// Makes vertices of layers.
pub(super) struct Builder<'a> {
    tensors: &'a HashMap<usize, Vec<Vec<u64>>>,
    /// True if Keras 1 or 2 wrote the description, whose `hard_sigmoid` is another function.
    pub is_before_three: bool,
    topology: Topology,
}

impl<'a> Builder<'a> {
    /// Adds a vertex; its value has these rows and columns.
    pub fn push(&mut self, vertex: Vertex, extents: Option<[u32; 2]>) -> Option<Tensor> {
        let edge = Edge::new(self.topology.push(vertex)?);
        Some(Tensor { edge, extents, zeros: Pads::default() })
    }

    /// The extents of the tensors that are stored for a layer.
    pub fn tensors(&self, layer: &ConfigLayer) -> Option<&'a Vec<Vec<u64>>> {
        self.tensors.get(&layer.id)
    }

    /// The results of a model.
    fn model(&mut self, config: &Config, operands: Vec<Tensor>) -> Option<Vec<Tensor>> {
        if config.is_chain {
            return config.layers.iter().try_fold(operands, |values, layer| self.results(layer, values));
        }
        let mut scope = Scope::of(config)?;
        let mut values: HashMap<&str, Vec<Tensor>> = HashMap::new();
        while let Some(place) = scope.ready.pop_front() {
            let layer = &config.layers[place];
            let results = match scope.reads[place] {
                [] => vec![operands.get(input_number(config, layer)?)?.clone()],
                references => self.results(layer, operands_of(references, &values)?)?,
            };
            values.insert(&layer.name, results);
            scope.finish(place);
        }
        match config.outputs.is_empty() {
            true => {
                scope.unread().map(|place| values.remove(config.layers[place].name.as_str())?.pop()).collect()
            }
            false => operands_of(&config.outputs, &values),
        }
    }

    /// The results of a layer, or of a model that is a layer.
    fn results(&mut self, layer: &ConfigLayer, operands: Vec<Tensor>) -> Option<Vec<Tensor>> {
        match layer.nested.layers.is_empty() {
            true => Some(vec![self.layer(layer, operands)?]),
            false => self.model(&layer.nested, operands),
        }
    }
}

/// The values that references name.
fn operands_of(references: &[Reference], values: &HashMap<&str, Vec<Tensor>>) -> Option<Vec<Tensor>> {
    let value = |reference: &Reference| values.get(reference.layer.as_str())?.get(reference.output).cloned();
    references.iter().map(value).collect()
}

/// Which operand of its model an input layer stands for.
fn input_number(config: &Config, layer: &ConfigLayer) -> Option<usize> {
    match config.inputs.is_empty() {
        true => config
            .layers
            .iter()
            .filter(|other| other.class == "input_layer")
            .position(|other| other.id == layer.id),
        false => config.inputs.iter().position(|name| *name == layer.name),
    }
}

/// The layers of a model in an order in which operands come first (Kahn, 1962).
struct Scope<'a> {
    /// What each layer reads.
    reads: Vec<&'a [Reference]>,
    /// The layers that read each layer.
    readers: Vec<Vec<usize>>,
    /// How many operands of each layer are missing.
    missing: Vec<usize>,
    /// Layers whose operands all exist.
    ready: VecDeque<usize>,
}

impl<'a> Scope<'a> {
    /// Nothing if a layer is called more than once, or reads what there is not.
    fn of(config: &'a Config) -> Option<Self> {
        let places: HashMap<&str, usize> =
            config.layers.iter().enumerate().map(|(place, layer)| (layer.name.as_str(), place)).collect();
        let reads: Vec<&[Reference]> = config.layers.iter().map(only_call).collect::<Option<_>>()?;
        let mut readers = vec![Vec::new(); reads.len()];
        for (reader, references) in reads.iter().enumerate() {
            for reference in *references {
                readers[*places.get(reference.layer.as_str())?].push(reader);
            }
        }
        let missing: Vec<usize> = reads.iter().map(|references| references.len()).collect();
        let ready = (0..missing.len()).filter(|&place| missing[place] == 0).collect();
        Some(Self { reads, readers, missing, ready })
    }

    /// The layers that no layer reads.
    fn unread(&self) -> impl Iterator<Item = usize> {
        (0..self.readers.len()).filter(|&place| self.readers[place].is_empty())
    }

    /// Notes that the value of a layer exists.
    fn finish(&mut self, place: usize) {
        for &reader in &self.readers[place] {
            self.missing[reader] -= 1;
            if self.missing[reader] == 0 {
                self.ready.push_back(reader);
            }
        }
    }
}

/// What a layer's only call reads; an input layer reads nothing.
fn only_call(layer: &ConfigLayer) -> Option<&[Reference]> {
    match layer.calls.as_ref()?.as_slice() {
        [] if layer.class == "input_layer" => Some(&[]),
        [references] if !references.is_empty() => Some(references),
        _ => None,
    }
}
