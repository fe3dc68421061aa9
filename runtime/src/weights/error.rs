//! What can be wrong with a file of weights, and how it is said: every mismatch at once, with
//! names and shapes.

use std::fmt;
use std::path::PathBuf;

use xcc_compiler::graph::WeightError;

use super::{Axis, NameMapError};
use crate::machine::Shortage;
use crate::shown::{self, Shown};

/// Why weights could not be loaded or saved.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The file cannot be opened, read or written.
    #[error("{}: {source}", shown::path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The first bytes belong to no format that is read.
    #[error(
        "{}: not a file of weights: it is neither safetensors nor HDF5 (.h5) nor a Keras archive (.keras); {found}",
        shown::path(path)
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What the file starts with, in words.
        found: String,
    },
    /// The file is of another kind.
    #[error("{}: this is {what}", shown::path(path))]
    OtherKind {
        /// The file.
        path: PathBuf,
        /// What it is and the way out, in words.
        what: String,
    },
    /// The format is known, but the file contradicts itself, ends too early, or holds what no
    /// writer of weights makes.
    #[error("{}: damaged or not a file of weights: {}", shown::path(path), Shown(reason))]
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
    /// A name map is wrong.
    #[error(transparent)]
    NameMap(#[from] NameMapError),
}

/// One difference between a file and a network. Its text starts with the kind of difference and a
/// colon.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// The network has a tensor that the file lacks.
    #[error("missing: {tensor} ({shape}){}", hint("the file has ", .nearest))]
    Missing {
        /// The network's tensor.
        tensor: String,
        /// Its shape.
        shape: Extents,
        /// A tensor of the file without use, with a similar name, perhaps one that a map gives it.
        /// It is looked for in the mismatches that are printed.
        nearest: Option<String>,
    },
    /// The file has a tensor that the network lacks.
    #[error(
        "surplus: {}{} ({shape}){}",
        Shown(stored), hint_of_map(.translated), hint("the network has ", .nearest)
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
    #[error("shape: {tensor} is {expected}, the file's {} is {found}{}", Shown(stored), hint_of_axes(.permutation))]
    Shape {
        /// The network's tensor.
        tensor: String,
        /// The file's name for it.
        stored: String,
        /// The shape that the network needs.
        expected: Extents,
        /// The shape in the file, after a transposition that a name map asks for.
        found: Extents,
        /// An order of the found axes that gives the expected shape.
        permutation: Option<Vec<Axis>>,
    },
    /// Several tensors of the file are meant for one of the network.
    #[error("twice: both {} and {} are meant for {}", Shown(&.stored[0]), Shown(&.stored[1]), Shown(tensor))]
    Twice {
        /// The network's tensor.
        tensor: String,
        /// The file's names.
        stored: [String; 2],
    },
    /// The elements are not floating-point numbers of a kind that is read.
    #[error("elements: {} holds {}; f16, bf16, f32 and f64 are read", Shown(stored), Shown(found))]
    Element {
        /// The file's name for the tensor.
        stored: String,
        /// The file's type of elements.
        found: String,
    },
    /// The axes cannot be transposed as a name map says.
    #[error("axes: {} is {shape}; `transpose: {}` does not fit it", Shown(stored), axes(permutation))]
    Transpose {
        /// The file's name for the tensor.
        stored: String,
        /// Its shape.
        shape: Extents,
        /// The axes asked for.
        permutation: Vec<Axis>,
    },
    /// Axes of one extent may be meant either way.
    #[error(
        "axes: {} is {found} for {tensor}, which is {expected}: several orders of axes fit; a name map says \
         which, for example `transpose: {}`",
        Shown(stored),
        axes(example)
    )]
    AnyOrder {
        /// The network's tensor.
        tensor: String,
        /// The file's name for it.
        stored: String,
        /// The shape that the network needs.
        expected: Extents,
        /// The shape in the file.
        found: Extents,
        /// An order that fits.
        example: Vec<Axis>,
    },
    /// A map that transposes does not say in which order a tensor behind a flatten counts.
    #[error(
        "flatten: {tensor} counts the elements of a flattened {}, and {} fits in any order; the name map \
         transposes, so it must say `flatten: channels first` (PyTorch, ONNX) or `flatten: channels last` (Keras), \
         for all tensors or in the rule",
        flattened(map),
        Shown(stored)
    )]
    FlattenOrder {
        /// The network's tensor.
        tensor: String,
        /// The file's name for it.
        stored: String,
        /// Rows, columns and channels of the map that is flattened; none if there are several.
        map: Option<Extents>,
    },
    /// Channels come first in several flattened maps that are joined.
    #[error(
        "flatten: {tensor} counts the elements of several vectors that are joined, one of which is flattened; \
         `flatten: channels first` cannot put {} in order: do so in Python, then say `flatten: channels last`",
        Shown(stored)
    )]
    FlattenJoined {
        /// The network's tensor.
        tensor: String,
        /// The file's name for it.
        stored: String,
    },
    /// A rule speaks of a flatten where there is none.
    #[error(
        "flatten: {tensor}, for which {} is meant, counts no pixels of a flatten; drop the word",
        Shown(stored)
    )]
    NoFlatten {
        /// The network's tensor.
        tensor: String,
        /// The file's name for it.
        stored: String,
    },
    /// Order says one layer and a name another.
    #[error("order: layer {position} with weights is {} in the file, {layer} in the network", Shown(stored))]
    Order {
        /// Position among the layers with weights, from 1.
        position: usize,
        /// The file's layer at this position.
        stored: String,
        /// The network's layer at this position.
        layer: String,
    },
    /// Nothing tells two layers apart: order follows from the order of a sum's operands, which
    /// means nothing.
    #[error(
        "order: {} and {} have the same shapes, and nothing says which of {} and {} is which; save the whole \
         model (.keras), name the layers alike, or use a name map",
        .layers[0], .layers[1], Shown(&.stored[0]), Shown(&.stored[1])
    )]
    Ambiguous {
        /// The network's layers.
        layers: [String; 2],
        /// What the file has in their places.
        stored: [String; 2],
    },
    /// Several layers of the file, or none, fit a layer of the network.
    #[error(
        "order: {layer} may be {}, and nothing says which; save the whole model (.keras), name the layers \
         alike, or use a name map",
        shown_list(.candidates)
    )]
    Candidates {
        /// The network's layer.
        layer: String,
        /// The layers of the file that have its class and shapes.
        candidates: Vec<String>,
    },
    /// The file lists another number of layers with weights.
    #[error("layers: the network has {ours} with weights, the file {theirs}")]
    Layers {
        /// Layers with weights of the network.
        ours: usize,
        /// Layers with weights of the file.
        theirs: usize,
    },
    /// The file lists layers before layers that they read.
    #[error("order: the file lists its layers in an order in which the network cannot be computed")]
    Disorder,
    /// The file describes another network.
    #[error("structure: {}", describe_structure(.ours, .theirs))]
    Structure {
        /// The first layer of the network that the description lacks, and what it reads.
        ours: Option<String>,
        /// The first layer of the description that the network lacks, and what it reads.
        theirs: Option<String>,
    },
    /// A name says another layer than the description does.
    #[error(
        "name: {layer} has the place of {} in the file's description, but the file calls another layer {}",
        Shown(stored),
        Shown(namesake)
    )]
    Name {
        /// The network's layer.
        layer: String,
        /// The layer in its place in the description.
        stored: String,
        /// The layer with its name in the file.
        namesake: String,
    },
    /// The file and the network state a property of a layer differently (with `--strict`).
    #[error(transparent)]
    Contradiction(#[from] Contradiction),
    /// A layer of the file is of another class.
    #[error("class: {layer} is a {expected}, the file's {} a {}", Shown(stored), Shown(found))]
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
        "tensors: {layer} has {} ({}), the file's {} has {found}",
        .expected.len(), .expected.join(", "), Shown(stored)
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

/// A property that a network and the description in its file of weights state differently. Weights
/// that were trained with one value give other results with the other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{attribute}: {place}, the network has {ours}, the file's description {}", Shown(theirs))]
pub struct Contradiction {
    /// Which property: `epsilon`, `strides`, `activation`, ...
    pub attribute: &'static str,
    /// Where: a layer, or between two layers, by the network's names.
    pub place: String,
    /// What the network has.
    pub ours: String,
    /// What the file says.
    pub theirs: String,
}

impl Contradiction {
    /// A structure that differs, where names nevertheless tell the layers.
    pub(super) fn of_structure(mismatch: &Mismatch) -> Option<Self> {
        let Mismatch::Structure { ours, theirs } = mismatch else { return None };
        let words = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing else".to_owned());
        let place = "where the networks begin to differ".to_owned();
        Some(Self { attribute: "structure", place, ours: words(ours), theirs: words(theirs) })
    }
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

/// The first few of some layers of a file.
fn shown_list(layers: &[String]) -> String {
    let shown: Vec<String> = layers.iter().take(SHOWN).map(|layer| Shown(layer).to_string()).collect();
    match shown.is_empty() {
        true => "no layer of the file".to_owned(),
        false => shown.join(" or "),
    }
}

/// Where two networks begin to differ.
fn describe_structure(ours: &Option<String>, theirs: &Option<String>) -> String {
    match (ours, theirs) {
        (Some(ours), Some(theirs)) => {
            format!("the network has {ours} where the file's description has {}", Shown(theirs))
        }
        (Some(ours), None) => format!("the network has {ours}, which the file's description lacks"),
        (None, Some(theirs)) => {
            format!("the file's description has {}, which the network lacks", Shown(theirs))
        }
        (None, None) => "the file describes another network".to_owned(),
    }
}

/// Tail of a line that names something similar.
fn hint(whose: &str, name: &Option<String>) -> String {
    name.as_ref().map_or_else(String::new, |name| format!("; {whose}{}", Shown(name)))
}

/// Behind the name of a tensor, what a map makes of it.
fn hint_of_map(translated: &Option<String>) -> String {
    translated.as_ref().map_or_else(String::new, |name| format!(", which the map calls {},", Shown(name)))
}

/// Tail of a line about axes in another order.
fn hint_of_axes(permutation: &Option<Vec<Axis>>) -> String {
    let hint =
        |list: &Vec<Axis>| format!("; other order of axes? a name map can say `transpose: {}`", axes(list));
    permutation.as_ref().map_or_else(String::new, hint)
}

/// The map that is flattened.
fn flattened(map: &Option<Extents>) -> String {
    map.as_ref().map_or_else(|| "maps".to_owned(), |map| format!("{map} map"))
}

/// Axes as a map lists them.
fn axes(list: &[Axis]) -> String {
    let axes: Vec<String> = list.iter().map(Axis::to_string).collect();
    format!("[{}]", axes.join(", "))
}

fn describe(path: &std::path::Path, mismatches: &[Mismatch]) -> String {
    let count = match mismatches.len() {
        1 => "1 mismatch".to_owned(),
        n => format!("{n} mismatches"),
    };
    let mut text = format!("{}: these weights are not for this network: {count}", shown::path(path));
    listed(mismatches).iter().for_each(|line| text.push_str(&format!("\n  {line}")));
    let is_name = |mismatch: &Mismatch| {
        matches!(mismatch, Mismatch::Missing { .. } | Mismatch::Surplus { translated: None, .. })
    };
    let is_surplus = |mismatch: &Mismatch| matches!(mismatch, Mismatch::Surplus { .. });
    let surplus = mismatches.iter().filter(|mismatch| is_surplus(mismatch)).count();
    if surplus == mismatches.len() {
        text.push_str(
            "\nTo leave out what the network does not have, use `--ignore-unexpected`, or list it in a name map's `ignore`.",
        );
    }
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
    // Below this the suggestion is more often noise than help; longer names are not worth
    // comparing.
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
