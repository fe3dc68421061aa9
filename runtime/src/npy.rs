//! NumPy's array files (`.npy`): inputs are taken as they are, results are written whole or not at
//! all.
//!
//! The format is that of NumPy's `numpy.lib.format`, versions 1 to 3. Read are arrays of `f4`,
//! `f8` and `u1` in C order; nothing is scaled. No more memory is taken than five times the size
//! of the file, whatever its header says.

mod header;

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use xcc_compiler::graph::Shape;

use crate::content::{self, Wanted};
use crate::memory::{reserved, zeros};
use crate::replace::replace;
use crate::shown::{self, Shown};
use crate::stamp::Stamp;
use header::{Element, Header, HeaderError};

/// Why an array cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum NpyError {
    /// The file cannot be opened, read or written.
    #[error("{}: {source}", shown::path(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is no `.npy` file, a damaged one, or one of a kind that is not read.
    #[error("{}: {}", shown::path(path), Shown(reason))]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// The array is no input of the network.
    #[error(
        "{}: the array has shape ({}), the network reads {input}: give (images, {}) or, for one image, ({})",
        shown::path(path), list(found), list(&extents(*input)), list(&extents(*input))
    )]
    Shape {
        /// The file.
        path: PathBuf,
        /// Shape of the array.
        found: Vec<u64>,
        /// Shape of one input.
        input: Shape,
    },
}

/// An array of numbers, in C order: the last axis varies fastest.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extents.
    pub shape: Vec<u64>,
    /// As many elements as the extents say.
    pub values: Vec<f32>,
}

/// Inputs of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Inputs {
    /// How many there are, at least one.
    pub count: u64,
    /// Their elements, one input behind the other.
    pub values: Vec<f32>,
    /// Whether the file holds bytes, which became 0 to 255.
    pub are_bytes: bool,
}

/// Reads an array; elements of 64 bits are rounded to 32, bytes become 0 to 255.
pub fn read(path: &Path) -> Result<Array, NpyError> {
    Ok(read_typed(path, |_| Ok(()))?.0)
}

/// Reads an array whose shape `check` admits, and says what its elements are in the file.
fn read_typed(
    path: &Path,
    check: impl FnOnce(&[u64]) -> Result<(), NpyError>,
) -> Result<(Array, Element), NpyError> {
    let io = |source| NpyError::Io { path: path.to_owned(), source };
    let format = |reason| NpyError::Format { path: path.to_owned(), reason };
    let mut file = File::open(path).map_err(io)?;
    let length = regular_length(&file).map_err(io)?;
    if let Some(what) = content::mistaken(path, Wanted::Array) {
        return Err(format(format!("this is {what}")));
    }
    let before = Stamp::of(&file).map_err(io)?;
    let header = match Header::read(&mut file) {
        Ok(header) => header,
        Err(HeaderError::Io(source)) if source.kind() == io::ErrorKind::UnexpectedEof => {
            return Err(format("the file ends within the header of an array".to_owned()));
        }
        Err(HeaderError::Io(source)) => return Err(io(source)),
        Err(HeaderError::Format(reason)) => return Err(format(reason)),
    };
    check(&header.shape)?;
    let bytes = data_bytes(&header, length).map_err(format)?;
    let no_memory = |_| format(format!("no memory for its {bytes} bytes"));
    let mut data = zeros::<u8>(bytes).map_err(no_memory)?;
    let read = file.read_exact(&mut data);
    let changed = before.change(Stamp::of(&file).map_err(io)?);
    changed.map_or(Ok(()), |change| Err(format(change)))?;
    read.map_err(io)?;
    let Header { element, big_endian, shape, .. } = header;
    let mut values = reserved(bytes / element.bytes() as usize).map_err(no_memory)?;
    element.decode(&data, big_endian, &mut values);
    Ok((Array { values, shape }, element))
}

/// Reads an array of inputs of shape `input`: NHWC, or HWC for a single one.
pub fn read_inputs(path: &Path, input: Shape) -> Result<Inputs, NpyError> {
    let expected = extents(input);
    let mut count = 1;
    let check = |shape: &[u64]| match shape.split_first() {
        _ if shape == expected => Ok(()),
        Some((&images, rest)) if images > 0 && rest == expected => {
            count = images;
            Ok(())
        }
        _ => Err(NpyError::Shape { path: path.to_owned(), found: shape.to_vec(), input }),
    };
    let (array, element) = read_typed(path, check)?;
    Ok(Inputs { count, values: array.values, are_bytes: element == Element::U8 })
}

/// Writes an array of 32-bit floats, whole or not at all. Refuses a `shape` of other than
/// `values.len()` elements.
pub fn write(path: &Path, shape: &[u64], values: &[f32]) -> Result<(), NpyError> {
    let elements = shape.iter().try_fold(1_u64, |all, &extent| all.checked_mul(extent));
    if elements != Some(values.len() as u64) {
        let reason = format!("an array of shape {shape:?} does not have {} elements", values.len());
        return Err(NpyError::Io { path: path.to_owned(), source: io::Error::other(reason) });
    }
    let fill = |file: &mut dyn Write| {
        file.write_all(&header::bytes(shape))?;
        values.iter().try_for_each(|value| file.write_all(&value.to_le_bytes()))
    };
    replace(path, fill).map_err(|source| NpyError::Io { path: path.to_owned(), source })
}

/// Extents of a value of the network, without images.
pub fn extents(shape: Shape) -> Vec<u64> {
    match shape {
        Shape::Map { h, w, c } => [h, w, c].map(u64::from).to_vec(),
        Shape::Vector { n } => vec![u64::from(n)],
    }
}

/// The size of a regular file; others have none that could be relied on.
fn regular_length(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    match metadata.is_file() {
        true => Ok(metadata.len()),
        false => Err(io::Error::other("not a regular file")),
    }
}

/// Bytes of the elements, if the file of `length` bytes has exactly as many behind its header.
fn data_bytes(header: &Header, length: u64) -> Result<usize, String> {
    let elements = header.shape.iter().try_fold(1u64, |product, &extent| product.checked_mul(extent));
    let bytes = elements.and_then(|count| count.checked_mul(header.element.bytes()));
    let found = length.saturating_sub(header.length);
    match bytes {
        Some(bytes) if bytes == found => {
            usize::try_from(bytes).map_err(|_| format!("{bytes} bytes are more than can be addressed"))
        }
        Some(bytes) => Err(format!(
            "an array of shape ({}) has {bytes} bytes of elements, but {found} follow the header",
            list(&header.shape)
        )),
        None => Err(format!("an array of shape ({}) is too large", list(&header.shape))),
    }
}

fn list(extents: &[u64]) -> String {
    let extents: Vec<String> = extents.iter().map(u64::to_string).collect();
    extents.join(", ")
}
