//! Binds tensors of a file to those of a network by name, checks shapes, and reads the numbers.

use std::collections::HashMap;

use rayon::prelude::*;
use xcc_compiler::graph::{Graph, Role, Weight, WeightId};

use super::Tensor;
use super::error::{Contradiction, Extents, Mismatch, SHOWN, nearest};
use super::file::LoadOptions;
use super::layout::{self, Flattened, Said, Turn};
use super::name_map::Translation;
use super::stored::{Data, Piece, Stored, transpose};
use crate::workers::spread;

/// Names that a name is compared with at most to find a similar one. Only mismatches that are
/// printed are hinted at, so that binding compares at most `2 * SHOWN * COMPARED` pairs of names:
/// a fraction of a second.
const COMPARED: usize = 10_000;

/// A tensor of the network and the tensor of the file that has its numbers.
pub(super) struct Binding<'a> {
    /// The network's tensor.
    pub weight: WeightId,
    /// The file's tensor.
    pub stored: &'a Stored,
    /// What puts the file's numbers into the network's order.
    pub transpose: Option<Turn>,
}

/// A tensor of the file that nothing asks for.
pub(super) struct Surplus<'a> {
    /// The tensor.
    pub stored: &'a Stored,
    /// The name that a map gives it.
    pub translated: Option<String>,
}

impl Surplus<'_> {
    /// The name to look for on the other side.
    fn name(&self) -> &str {
        self.translated.as_deref().unwrap_or(&self.stored.name)
    }

    /// The file's name, with the map's.
    fn names(&self) -> String {
        match &self.translated {
            Some(name) => format!("{}, which the map calls {name}", self.stored.name),
            None => self.stored.name.clone(),
        }
    }
}

impl<'a> From<&'a Stored> for Surplus<'a> {
    fn from(stored: &'a Stored) -> Self {
        Self { stored, translated: None }
    }
}

/// What was bound, and what did not fit.
#[derive(Default)]
pub(super) struct Outcome<'a> {
    /// Fitting tensors.
    pub bindings: Vec<Binding<'a>>,
    /// Everything else.
    pub mismatches: Vec<Mismatch>,
    /// What the file's description says of the network, and says otherwise.
    pub contradictions: Vec<Contradiction>,
}

impl<'a> Outcome<'a> {
    /// Binds a tensor if its shape and elements fit, else notes why not.
    pub fn bind(&mut self, graph: &Graph, binding: Binding<'a>) {
        match misfit(graph.weight(binding.weight), binding.stored) {
            None => self.bindings.push(binding),
            Some(mismatch) => self.mismatches.push(mismatch),
        }
    }

    /// Notes tensors without a partner on the other side, each with the most similar name there.
    pub fn lonely(&mut self, graph: &Graph, missing: &[WeightId], surplus: &[Surplus]) {
        let ours = || missing.iter().map(|&id| graph.weight(id).name.as_str()).take(COMPARED);
        let theirs = || surplus.iter().map(Surplus::name).take(COMPARED);
        let hint = |place: usize, of: &str, names: &mut dyn Iterator<Item = &str>| match place {
            0..SHOWN => nearest(of, names),
            _ => None,
        };
        self.mismatches.extend(missing.iter().enumerate().map(|(place, &id)| {
            let weight = graph.weight(id);
            Mismatch::Missing {
                tensor: weight.name.clone(),
                shape: Extents::from(&weight.shape[..]),
                nearest: hint(place, &weight.name, &mut theirs()).map(|near| surplus[near].names()),
            }
        }));
        self.mismatches.extend(surplus.iter().enumerate().map(|(place, lonely)| Mismatch::Surplus {
            stored: lonely.stored.name.clone(),
            translated: lonely.translated.clone(),
            shape: lonely.stored.extents(),
            nearest:
                hint(place, lonely.name(), &mut ours()).map(|near| graph.weight(missing[near]).name.clone()),
        }));
    }
}

/// Binds by name, after translation by the map of `options`.
pub(super) fn by_name<'a>(graph: &Graph, stored: &'a [Stored], options: &LoadOptions) -> Outcome<'a> {
    let ids: HashMap<&str, usize> =
        graph.weights.iter().enumerate().map(|(id, weight)| (weight.name.as_str(), id)).collect();
    let mut outcome = Outcome::default();
    let mut found: Vec<Option<&Stored>> = vec![None; graph.weights.len()];
    let mut surplus = Vec::new();
    let flattened = Flattened::of(graph);
    for stored in stored {
        let (name, said) = match options.map.map_or(Translation::Unchanged, |map| map.translate(&stored.name))
        {
            Translation::Ignored => continue,
            Translation::Unchanged => (stored.name.clone(), None),
            Translation::Renamed { name, layout } => (name, layout),
        };
        let Some(&id) = ids.get(name.as_str()) else {
            let translated = (name != stored.name).then_some(name);
            if options.ignore_unexpected {
                continue;
            }
            surplus.push(Surplus { stored, translated });
            continue;
        };
        if let Some(first) = found[id].replace(stored) {
            let stored = [first.name.clone(), stored.name.clone()];
            outcome.mismatches.push(Mismatch::Twice { tensor: name, stored });
            continue;
        }
        let weight = WeightId::new(id);
        let said = Said::of(options.map, said);
        match layout::fit(graph, &flattened, weight, stored, &said) {
            Ok(transpose) => outcome.bindings.push(Binding { weight, stored, transpose }),
            Err(mismatch) => outcome.mismatches.push(mismatch),
        }
    }
    let missing: Vec<_> = (0..found.len()).filter(|&id| found[id].is_none()).map(WeightId::new).collect();
    outcome.lonely(graph, &missing, &surplus);
    outcome
}

/// Why a tensor of a file, as it is, cannot be `weight`, if it cannot.
fn misfit(weight: &Weight, stored: &Stored) -> Option<Mismatch> {
    if let Data::Unreadable(found) = &stored.data {
        return Some(Mismatch::Element { stored: stored.name.clone(), found: found.clone() });
    }
    (!fits(weight, &stored.shape)).then(|| Mismatch::Shape {
        tensor: weight.name.clone(),
        stored: stored.name.clone(),
        expected: Extents::from(&weight.shape[..]),
        found: stored.extents(),
        permutation: layout::fitting_order(weight, &stored.shape),
    })
}

/// Whether numbers of this shape are the weight's numbers in its order.
///
/// A depthwise kernel is `kh x kw x channels x multiplier` in Keras and `kh x kw x 1 x (channels *
/// multiplier)` as a grouped convolution: the same numbers in the same order.
pub(super) fn fits(weight: &Weight, shape: &[u64]) -> bool {
    let expected: Vec<u64> = weight.shape.iter().map(|&extent| u64::from(extent)).collect();
    if expected == shape {
        return true;
    }
    let outputs = |shape: &[u64]| shape[2].checked_mul(shape[3]);
    weight.role == Role::DepthwiseKernel
        && expected.len() == 4
        && shape.len() == 4
        && expected[..2] == shape[..2]
        && (expected[2] == 1 || shape[2] == 1)
        && outputs(&expected) == outputs(shape)
}

/// Bytes of the numbers that [`read`] brings into memory.
pub(super) fn bytes_to_read(bindings: &[Binding]) -> u64 {
    let elements = bindings.iter().filter_map(|binding| match binding.stored.data {
        Data::Hdf5(_) => Some(binding.stored.shape.iter().fold(1, |n: u64, &d| n.saturating_mul(d))),
        Data::Bytes { .. } | Data::Unreadable(_) => None,
    });
    elements.fold(0, u64::saturating_add).saturating_mul(size_of::<f32>() as u64)
}

/// The numbers of every binding, in the order of the network's weight table: those of datasets are
/// read, those in plain bytes stay in the file. The error says which tensor is damaged and how.
pub(super) fn read(graph: &Graph, mut bindings: Vec<Binding>) -> Result<Vec<Tensor>, String> {
    bindings.sort_by_key(|binding| binding.weight);
    spread(|| bindings.par_iter().map(|binding| read_one(graph, binding)).collect())
}

fn read_one(graph: &Graph, binding: &Binding) -> Result<Tensor, String> {
    let stored = binding.stored;
    if let Data::Bytes { element, bytes } = &stored.data {
        let turned = binding.transpose.clone().map(|turn| (turn.shape, turn.axes));
        return Ok(Tensor::Stored(Piece { element: *element, bytes: bytes.clone(), turned }));
    }
    let expected = graph.weight(binding.weight).elements();
    let values = stored.read().map_err(|reason| format!("tensor {}: {reason}", stored.name))?;
    if values.len() as u64 != expected {
        let found = values.len();
        return Err(format!("tensor {}: {found} numbers where its shape says {expected}", stored.name));
    }
    Ok(Tensor::Owned(match &binding.transpose {
        Some(turn) => transpose(&values, &turn.shape, &turn.axes).map_err(|error| error.to_string())?,
        None => values,
    }))
}
