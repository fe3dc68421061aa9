//! Binds tensors of a file to those of a network by name, checks shapes, and reads the numbers.

use std::collections::HashMap;

use memmap2::Mmap;
use rayon::prelude::*;
use xcc_compiler::graph::{Graph, Role, Weight, WeightId};

use super::Tensor;
use super::error::{Contradiction, Extents, Mismatch, nearest};
use super::file::LoadOptions;
use super::layout::{self, Flattened, Said, Turn};
use super::name_map::Translation;
use super::stored::{Data, Stored, transpose};
use crate::workers::spread;

/// Files with more tensors than this get no hints about similar names: comparing all of them would take
/// minutes.
const HINTED: usize = 5000;

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
        let hinted = missing.len().max(surplus.len()) <= HINTED;
        let ours = || missing.iter().map(|&id| graph.weight(id).name.as_str()).filter(|_| hinted);
        let theirs = || surplus.iter().map(Surplus::name).filter(|_| hinted);
        self.mismatches.extend(missing.iter().map(|&id| {
            let weight = graph.weight(id);
            Mismatch::Missing {
                tensor: weight.name.clone(),
                shape: Extents::from(&weight.shape[..]),
                nearest: nearest(&weight.name, theirs()).map(|place| surplus[place].names()),
            }
        }));
        self.mismatches.extend(surplus.iter().map(|lonely| Mismatch::Surplus {
            stored: lonely.stored.name.clone(),
            translated: lonely.translated.clone(),
            shape: lonely.stored.extents(),
            nearest: nearest(lonely.name(), ours()).map(|place| graph.weight(missing[place]).name.clone()),
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

/// Reads the numbers of every binding, in the order of the network's weight table. The error says which
/// tensor is damaged and how.
pub(super) fn read(
    graph: &Graph,
    mut bindings: Vec<Binding>,
    map: Option<&Mmap>,
) -> Result<Vec<Tensor>, String> {
    bindings.sort_by_key(|binding| binding.weight);
    spread(|| bindings.par_iter().map(|binding| read_one(graph, binding, map)).collect())
}

fn read_one(graph: &Graph, binding: &Binding, map: Option<&Mmap>) -> Result<Tensor, String> {
    let stored = binding.stored;
    if let (None, Some(bytes)) = (&binding.transpose, map.and_then(|map| stored.in_place(map))) {
        return Ok(Tensor::Mapped(bytes));
    }
    let expected = graph.weight(binding.weight).elements();
    let values = stored.read(map).map_err(|reason| format!("tensor {}: {reason}", stored.name))?;
    if values.len() as u64 != expected {
        let found = values.len();
        return Err(format!("tensor {}: {found} numbers where its shape says {expected}", stored.name));
    }
    Ok(Tensor::Owned(match &binding.transpose {
        Some(turn) => transpose(&values, &turn.shape, &turn.axes),
        None => values,
    }))
}
