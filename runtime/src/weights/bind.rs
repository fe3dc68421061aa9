//! Binds tensors of a file to those of a network by name, checks shapes, and reads the numbers.

use std::collections::HashMap;

use rayon::prelude::*;
use xcc_compiler::graph::{Graph, Role, Weight, WeightId};

use super::Tensor;
use super::error::{Extents, Mismatch, SHOWN, nearest};
use super::name_map::{NameMap, Translation};
use super::stored::{Data, Piece, Stored, transpose};

/// Names that a name is compared with at most to find a similar one. Only mismatches that are printed are hinted at, so
/// that binding compares at most `2 * SHOWN * COMPARED` pairs of names: a fraction of a second.
const COMPARED: usize = 10_000;

/// A tensor of the network and the tensor of the file that has its numbers.
pub(super) struct Binding<'a> {
    /// The network's tensor.
    pub weight: WeightId,
    /// The file's tensor.
    pub stored: &'a Stored,
    /// Permutation of the file's axes that gives the network's.
    pub transpose: Option<Vec<usize>>,
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
}

impl<'a> Outcome<'a> {
    /// Binds a tensor if its shape and elements fit, else notes why not.
    pub fn bind(&mut self, graph: &Graph, binding: Binding<'a>) {
        match misfit(graph.weight(binding.weight), binding.stored, binding.transpose.as_deref()) {
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

/// Binds by name, after translation by `map`.
pub(super) fn by_name<'a>(graph: &Graph, stored: &'a [Stored], map: Option<&NameMap>) -> Outcome<'a> {
    let ids: HashMap<&str, usize> =
        graph.weights.iter().enumerate().map(|(id, weight)| (weight.name.as_str(), id)).collect();
    let mut outcome = Outcome::default();
    let mut found: Vec<Option<&Stored>> = vec![None; graph.weights.len()];
    let mut surplus = Vec::new();
    for stored in stored {
        let (name, transpose) = match map.map_or(Translation::Unchanged, |map| map.translate(&stored.name)) {
            Translation::Ignored => continue,
            Translation::Unchanged => (stored.name.clone(), None),
            Translation::Renamed { name, transpose } => (name, transpose.map(<[usize]>::to_vec)),
        };
        let Some(&id) = ids.get(name.as_str()) else {
            let translated = (name != stored.name).then_some(name);
            surplus.push(Surplus { stored, translated });
            continue;
        };
        if let Some(first) = found[id].replace(stored) {
            let stored = [first.name.clone(), stored.name.clone()];
            outcome.mismatches.push(Mismatch::Twice { tensor: name, stored });
            continue;
        }
        outcome.bind(graph, Binding { weight: WeightId::new(id), stored, transpose });
    }
    let missing: Vec<_> = (0..found.len()).filter(|&id| found[id].is_none()).map(WeightId::new).collect();
    outcome.lonely(graph, &missing, &surplus);
    outcome
}

/// Why a tensor of a file cannot be `weight`, if it cannot.
fn misfit(weight: &Weight, stored: &Stored, transpose: Option<&[usize]>) -> Option<Mismatch> {
    if let Data::Unreadable(found) = &stored.data {
        return Some(Mismatch::Element { stored: stored.name.clone(), found: found.clone() });
    }
    let shape = match transpose {
        None => stored.shape.clone(),
        Some(axes) if axes.len() == stored.shape.len() => {
            axes.iter().map(|&axis| stored.shape[axis]).collect()
        }
        Some(axes) => {
            return Some(Mismatch::Transpose {
                stored: stored.name.clone(),
                shape: stored.extents(),
                permutation: axes.to_vec(),
            });
        }
    };
    if fits(weight, &shape) {
        return None;
    }
    let permutation = if transpose.is_none() { fitting_permutation(weight, &shape) } else { None };
    Some(Mismatch::Shape {
        tensor: weight.name.clone(),
        stored: stored.name.clone(),
        expected: Extents::from(&weight.shape[..]),
        found: Extents(shape),
        permutation,
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

/// The permutation of axes that turns `shape` into the weight's, the usual ones of other tools first.
fn fitting_permutation(weight: &Weight, shape: &[u64]) -> Option<Vec<usize>> {
    // Kernels as output x input x rows x columns (PyTorch, ONNX), depthwise ones, dense ones.
    const USUAL: [&[usize]; 4] = [&[2, 3, 1, 0], &[2, 3, 0, 1], &[3, 2, 1, 0], &[1, 0]];
    let turns = |axes: &&[usize]| {
        let moved: Option<Vec<u64>> = axes.iter().map(|&axis| shape.get(axis).copied()).collect();
        axes.len() == shape.len() && moved.is_some_and(|moved| fits(weight, &moved))
    };
    USUAL.into_iter().find(turns).map(<[usize]>::to_vec)
}

/// Bytes of the numbers that [`read`] brings into memory.
pub(super) fn bytes_to_read(bindings: &[Binding]) -> u64 {
    let elements = bindings.iter().filter_map(|binding| match binding.stored.data {
        Data::Hdf5(_) => Some(binding.stored.shape.iter().fold(1, |n: u64, &d| n.saturating_mul(d))),
        Data::Bytes { .. } | Data::Unreadable(_) => None,
    });
    elements.fold(0, u64::saturating_add).saturating_mul(size_of::<f32>() as u64)
}

/// The numbers of every binding, in the order of the network's weight table: those of datasets are read, those in plain
/// bytes stay in the file. The error says which tensor is damaged and how.
pub(super) fn read(graph: &Graph, mut bindings: Vec<Binding>) -> Result<Vec<Tensor>, String> {
    bindings.sort_by_key(|binding| binding.weight);
    bindings.par_iter().map(|binding| read_one(graph, binding)).collect()
}

fn read_one(graph: &Graph, binding: &Binding) -> Result<Tensor, String> {
    let stored = binding.stored;
    if let Data::Bytes { element, bytes } = &stored.data {
        let turned = binding.transpose.as_ref().map(|axes| (stored.shape.clone(), axes.clone()));
        return Ok(Tensor::Stored(Piece { element: *element, bytes: bytes.clone(), turned }));
    }
    let expected = graph.weight(binding.weight).elements();
    let values = stored.read().map_err(|reason| format!("tensor {}: {reason}", stored.name))?;
    if values.len() as u64 != expected {
        let found = values.len();
        return Err(format!("tensor {}: {found} numbers where its shape says {expected}", stored.name));
    }
    Ok(Tensor::Owned(match &binding.transpose {
        Some(axes) => transpose(&values, &stored.shape, axes).map_err(|error| error.to_string())?,
        None => values,
    }))
}
