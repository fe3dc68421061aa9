//! What can be wrong with a file of weights, and how it is said: every mismatch at once, with names and
//! shapes.

use std::fmt;
use std::path::PathBuf;

use super::NameMapError;

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
    /// A name map is wrong.
    #[error(transparent)]
    NameMap(#[from] NameMapError),
}

/// One difference between a file and a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// The network has a tensor that the file lacks.
    Missing {
        /// The network's tensor.
        tensor: String,
        /// Its shape.
        shape: Extents,
        /// A tensor of the file without use, with a similar name.
        nearest: Option<String>,
    },
    /// The file has a tensor that the network lacks.
    Surplus {
        /// The file's name for it.
        stored: String,
        /// Its shape.
        shape: Extents,
        /// A tensor of the network with a similar name, that nothing was found for.
        nearest: Option<String>,
    },
    /// A tensor has another shape in the file.
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
    Twice {
        /// The network's tensor.
        tensor: String,
        /// The file's names.
        stored: [String; 2],
    },
    /// The elements are not floating-point numbers of a kind that is read.
    Element {
        /// The file's name for the tensor.
        stored: String,
        /// The file's type of elements.
        found: String,
    },
    /// The axes cannot be transposed as a name map says.
    Transpose {
        /// The file's name for the tensor.
        stored: String,
        /// Its shape.
        shape: Extents,
        /// The permutation asked for.
        permutation: Vec<usize>,
    },
    /// Order says one layer and a name another.
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
    Ambiguous {
        /// The network's layers.
        layers: [String; 2],
        /// What the file has in their places.
        stored: [String; 2],
    },
    /// A layer of the file is of another class.
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

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mismatch::Missing { tensor, shape, nearest } => {
                write!(f, "missing: {tensor} ({shape}){}", Hint("the file has ", nearest.as_deref()))
            }
            Mismatch::Surplus { stored, shape, nearest } => {
                write!(f, "surplus: {stored} ({shape}){}", Hint("the network has ", nearest.as_deref()))
            }
            Mismatch::Shape { tensor, stored, expected, found, permutation } => {
                write!(f, "shape: {tensor} is {expected}, the file's {stored} is {found}")?;
                match permutation {
                    Some(axes) => {
                        write!(f, "; other order of axes? a name map can say `transpose: {axes:?}`")
                    }
                    None => Ok(()),
                }
            }
            Mismatch::Twice { tensor, stored: [first, second] } => {
                write!(f, "twice: both {first} and {second} are meant for {tensor}")
            }
            Mismatch::Element { stored, found } => {
                write!(f, "elements: {stored} holds {found}; f16, bf16, f32 and f64 are read")
            }
            Mismatch::Transpose { stored, shape, permutation } => {
                write!(f, "axes: {stored} is {shape}; `transpose: {permutation:?}` does not fit it")
            }
            Mismatch::Order { position, stored, layer } => {
                write!(
                    f,
                    "order: layer {position} with weights is {stored} in the file, {layer} in the network"
                )
            }
            Mismatch::Ambiguous { layers: [first, second], stored: [one, other] } => write!(
                f,
                "order: {first} and {second} have the same shapes and meet in a sum: nothing says which of \
                 {one} and {other} is which; a file with their names or a name map would"
            ),
            Mismatch::Class { layer, expected, stored, found } => {
                write!(f, "class: {layer} is a {expected}, the file's {stored} a {found}")
            }
            Mismatch::Count { layer, expected, stored, found } => write!(
                f,
                "tensors: {layer} has {} ({}), the file's {stored} has {found}",
                expected.len(),
                expected.join(", ")
            ),
        }
    }
}

/// Tail of a line that names something similar.
struct Hint<'a>(&'static str, Option<&'a str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(name) => write!(f, "; {}{name}", self.0),
            None => Ok(()),
        }
    }
}

fn describe(path: &std::path::Path, mismatches: &[Mismatch]) -> String {
    let count = match mismatches.len() {
        1 => "1 mismatch".to_owned(),
        n => format!("{n} mismatches"),
    };
    let mut text = format!("{}: these weights are not for this network: {count}", path.display());
    for mismatch in mismatches {
        text.push_str(&format!("\n  {mismatch}"));
    }
    let count = |pick: fn(&Mismatch) -> bool| mismatches.iter().filter(|mismatch| pick(mismatch)).count();
    let missing = count(|mismatch| matches!(mismatch, Mismatch::Missing { .. }));
    let surplus = count(|mismatch| matches!(mismatch, Mismatch::Surplus { .. }));
    if missing > 0 && surplus > 0 && missing + surplus == mismatches.len() {
        text.push_str(
            "\nIf these are the names of another tool, a name map can translate them (see specs/maps).",
        );
    }
    text
}

/// The candidate most like `name` (Jaro-Winkler), if any is close.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<String> {
    // Below this the suggestion is more often noise than help; longer names are not worth comparing.
    const CLOSE: f64 = 0.85;
    const LONGEST: usize = 200;
    if name.len() > LONGEST {
        return None;
    }
    candidates
        .filter(|candidate| candidate.len() <= LONGEST)
        .map(|candidate| (strsim::jaro_winkler(name, candidate), candidate))
        .filter(|(likeness, _)| *likeness >= CLOSE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.to_owned())
}
