//! What can be wrong with a file of weights, and how it is said: every mismatch at once, with names and
//! shapes.

use std::fmt;
use std::path::PathBuf;

use xcc_compiler::graph::WeightError;

use super::NameMapError;
use crate::machine::Shortage;
use crate::workers::NoThreads;

/// Why weights could not be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be opened, read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The first bytes belong to no format that is read.
    #[error(
        "{}: not a file of weights: it is neither safetensors nor HDF5 (.h5) nor a Keras archive (.keras); {found}",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What the file starts with, in words.
        found: String,
    },
    /// The format is known, but the file contradicts itself, ends too early, or holds what no writer of
    /// weights makes.
    #[error("{}: damaged or not a file of weights: {reason}", path.display())]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The file is sound but is not for this network.
    #[error("{}", describe(path, mismatches))]
    Mismatch {
        /// The file.
        path: PathBuf,
        /// Everything that differs.
        mismatches: Vec<Mismatch>,
    },
    /// The numbers of a tensor cannot be had.
    #[error(transparent)]
    Unreadable(#[from] WeightError),
    /// There is less memory than the tensors take.
    #[error("{}: reading the weights {shortage}", path.display())]
    Shortage {
        /// The file.
        path: PathBuf,
        /// The numbers.
        shortage: Shortage,
    },
    /// There are no threads.
    #[error(transparent)]
    Threads(#[from] NoThreads),
    /// A name map is wrong.
    #[error(transparent)]
    NameMap(#[from] NameMapError),
}

/// One difference between a file and a network. Its text starts with the kind of difference and a colon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The network has a tensor that the file lacks.
    #[error("missing: {tensor} ({shape}){}", hint("the file has ", .nearest))]
    Missing {
        /// The network's tensor.
        tensor: String,
        /// Its shape.
        shape: Extents,
        /// A tensor of the file without use, with a similar name, perhaps one that a map gives it. It is looked for in the
        /// mismatches that are printed.
        nearest: Option<String>,
    },
    /// The file has a tensor that the network lacks.
    #[error(
        "surplus: {}{} ({shape}){}",
        stored.escape_debug(), hint_of_map(.translated), hint("the network has ", .nearest)
    )]
    Surplus {
        /// The file's name for it.
        stored: String,
        /// The name that a map gives it.
        translated: Option<String>,
        /// Its shape.
        shape: Extents,
        /// A tensor of the network with a similar name, that nothing was found for.
        nearest: Option<String>,
    },
    /// A tensor has another shape in the file.
    #[error("shape: {tensor} is {expected}, the file's {stored} is {found}{}", hint_of_axes(.permutation))]
    Shape {
        /// The network's tensor.
        tensor: String,
        /// The file's name for it.
        stored: String,
        /// The shape that the network needs.
        expected: Extents,
        /// The shape in the file, after a transposition that a name map asks for.
        found: Extents,
        /// A permutation of the found axes that gives the expected shape.
        permutation: Option<Vec<usize>>,
    },
    /// Several tensors of the file are meant for one of the network.
    #[error("twice: both {} and {} are meant for {tensor}", .stored[0], .stored[1])]
    Twice {
        /// The network's tensor.
        tensor: String,
        /// The file's names.
        stored: [String; 2],
    },
    /// The elements are not floating-point numbers of a kind that is read.
    #[error("elements: {stored} holds {found}; f16, bf16, f32 and f64 are read")]
    Element {
        /// The file's name for the tensor.
        stored: String,
        /// The file's type of elements.
        found: String,
    },
    /// The axes cannot be transposed as a name map says.
    #[error("axes: {stored} is {shape}; `transpose: {permutation:?}` does not fit it")]
    Transpose {
        /// The file's name for the tensor.
        stored: String,
        /// Its shape.
        shape: Extents,
        /// The permutation asked for.
        permutation: Vec<usize>,
    },
    /// Order says one layer and a name another.
    #[error("order: layer {position} with weights is {stored} in the file, {layer} in the network")]
    Order {
        /// Position among the layers with weights, from 1.
        position: usize,
        /// The file's layer at this position.
        stored: String,
        /// The network's layer at this position.
        layer: String,
    },
    /// Order cannot tell two layers apart: it follows from the order of a sum's operands, which means
    /// nothing.
    #[error(
        "order: {} and {} have the same shapes and meet in a sum: nothing says which of {} and {} is which; a \
         file with their names or a name map would",
        .layers[0], .layers[1], .stored[0], .stored[1]
    )]
    Ambiguous {
        /// The network's layers.
        layers: [String; 2],
        /// What the file has in their places.
        stored: [String; 2],
    },
    /// A layer of the file is of another class.
    #[error("class: {layer} is a {expected}, the file's {stored} a {found}")]
    Class {
        /// The network's layer.
        layer: String,
        /// Its class in Keras.
        expected: String,
        /// The file's layer.
        stored: String,
        /// The file's class.
        found: String,
    },
    /// A layer has another number of tensors, and the file does not say what they are.
    #[error(
        "tensors: {layer} has {} ({}), the file's {stored} has {found}",
        .expected.len(), .expected.join(", ")
    )]
    Count {
        /// The network's layer.
        layer: String,
        /// What its tensors are.
        expected: Vec<String>,
        /// The file's layer.
        stored: String,
        /// How many tensors that has.
        found: usize,
    },
}

/// The extents of a tensor; prints as `3x3x64x1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extents(pub Vec<u64>);

impl From<&[u32]> for Extents {
    fn from(shape: &[u32]) -> Self {
        Self(shape.iter().map(|&extent| u64::from(extent)).collect())
    }
}

impl fmt::Display for Extents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("a scalar");
        }
        let extents: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&extents.join("x"))
    }
}

/// Tail of a line that names something similar.
fn hint(whose: &str, name: &Option<String>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!("; {whose}{name}"))
}

/// Behind the name of a tensor, what a map makes of it.
fn hint_of_map(translated: &Option<String>) -> String {
    translated.as_ref().map_or_else(String::new, |name| format!(", which the map calls {name},"))
}

/// Tail of a line about axes in another order.
fn hint_of_axes(permutation: &Option<Vec<usize>>) -> String {
    let hint = |axes| format!("; other order of axes? a name map can say `transpose: {axes:?}`");
    permutation.as_ref().map_or_else(String::new, hint)
}

fn describe(path: &std::path::Path, mismatches: &[Mismatch]) -> String {
    let count = match mismatches.len() {
        1 => "1 mismatch".to_owned(),
        n => format!("{n} mismatches"),
    };
    let mut text = format!("{}: these weights are not for this network: {count}", path.display());
    listed(mismatches).iter().for_each(|line| text.push_str(&format!("\n  {line}")));
    let is_name = |mismatch: &Mismatch| {
        matches!(mismatch, Mismatch::Missing { .. } | Mismatch::Surplus { translated: None, .. })
    };
    let is_surplus = |mismatch: &Mismatch| matches!(mismatch, Mismatch::Surplus { .. });
    let surplus = mismatches.iter().filter(|mismatch| is_surplus(mismatch)).count();
    if (1..mismatches.len()).contains(&surplus) && mismatches.iter().all(is_name) {
        text.push_str(
            "\nIf these are the names of another tool, a name map can translate them (see specs/maps).",
        );
    }
    text
}

/// A line for each mismatch, by kind; of each kind the first ones, and how many more there are.
fn listed(mismatches: &[Mismatch]) -> Vec<String> {
    let mut kinds: Vec<(String, Vec<String>)> = Vec::new();
    for line in mismatches.iter().map(ToString::to_string) {
        let kind = line.split(':').next().unwrap_or_default();
        match kinds.iter_mut().find(|(other, _)| other == kind) {
            Some((_, lines)) => lines.push(line),
            None => kinds.push((kind.to_owned(), vec![line])),
        }
    }
    for (kind, lines) in &mut kinds {
        let more = lines.len().saturating_sub(SHOWN);
        lines.truncate(SHOWN);
        lines.extend((more > 0).then(|| format!("{kind}: {more} more")));
    }
    kinds.into_iter().flat_map(|(_, lines)| lines).collect()
}

/// Mismatches of a kind that are printed; more are counted.
pub(super) const SHOWN: usize = 10;

/// The place of the candidate most like `name` (Jaro-Winkler), if any is close.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<usize> {
    // Below this the suggestion is more often noise than help; longer names are not worth comparing.
    const CLOSE: f64 = 0.85;
    const LONGEST: usize = 200;
    if name.len() > LONGEST {
        return None;
    }
    candidates
        .enumerate()
        .filter(|(_, candidate)| candidate.len() <= LONGEST)
        .map(|(place, candidate)| (strsim::jaro_winkler(name, candidate), place))
        .filter(|(likeness, _)| *likeness >= CLOSE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, place)| place)
}
