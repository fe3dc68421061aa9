//! The native format: safetensors, whose header is read at once and tensors on request, and which
//! is written whole or not at all.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::io;
use std::path::Path;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use xcc_compiler::graph::{Graph, WeightId, WeightSource};

use super::error::WeightsError;
use super::source::Source;
use super::stored::{Data, Element, Stored};
use crate::checked::lengths;
use crate::memory::reserved;
use crate::replace::replace;

/// Bytes before the header, which say how long that is.
const LENGTH: u64 = size_of::<u64>() as u64;

/// The longest header, that of the format's own library.
const LONGEST_HEADER: u64 = 100_000_000;

/// The tensors of a safetensors file; the error is a reason in words.
pub(super) fn tensors(file: &Source) -> Result<Vec<Stored>, String> {
    let (data, metadata) = header(file)?;
    let infos = metadata.tensors();
    let mut stored: Vec<Stored> = infos
        .into_iter()
        .map(|(name, info)| {
            let (start, end) = info.data_offsets;
            let shape = info.shape.iter().map(|&extent| extent as u64).collect();
            let data = match element(info.dtype) {
                Some(element) => Data::Bytes { element, bytes: data + start as u64..data + end as u64 },
                None => Data::Unreadable(format!("{:?}", info.dtype)),
            };
            Stored { name, shape, data }
        })
        .collect();
    stored.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(stored)
}

/// The header, checked against the length of the file, and where it ends.
fn header(file: &Source) -> Result<(u64, Metadata), String> {
    let read = |range| file.read::<u8>(&range).map_err(|error| error.to_string());
    let rest = file.length().saturating_sub(LENGTH);
    let length: [u8; LENGTH as usize] =
        read(0..LENGTH)?.try_into().map_err(|_| "it ends before its header".to_owned())?;
    let length = u64::from_le_bytes(length);
    if length > rest {
        return Err(format!("it ends within its header, after {rest} of {length} bytes"));
    }
    if length > LONGEST_HEADER {
        return Err(format!("its header has {length} bytes, more than the {LONGEST_HEADER} that are read"));
    }
    // Extents, types and offsets of tensors are checked against each other here.
    let described = read(LENGTH..LENGTH + length)?;
    let metadata: Metadata =
        serde_json::from_slice(&described).map_err(|error| format!("its header: {error}"))?;
    let (found, expected) = (rest - length, metadata.data_len() as u64);
    match found.cmp(&expected) {
        Ordering::Less => Err(format!("it ends within its tensors, after {found} of {expected} bytes")),
        Ordering::Equal => Ok((LENGTH + length, metadata)),
        Ordering::Greater => Err(format!("its tensors have {expected} bytes, but {found} follow its header")),
    }
}

fn element(dtype: Dtype) -> Option<Element> {
    match dtype {
        Dtype::F16 => Some(Element::F16),
        Dtype::BF16 => Some(Element::BF16),
        Dtype::F32 => Some(Element::F32),
        Dtype::F64 => Some(Element::F64),
        _ => None,
    }
}

/// Writes every tensor of `graph` as f32 under its name, one after the other: one tensor is in
/// memory at a time.
///
/// The file appears whole or not at all: it is written beside its place and then renamed.
pub fn save_safetensors(graph: &Graph, weights: &dyn WeightSource, path: &Path) -> Result<(), WeightsError> {
    let io = |source| WeightsError::Io { path: path.to_owned(), source };
    lengths(graph, weights).map_err(|error| io(io::Error::other(error)))?;
    let header = header_of(graph, weights).map_err(|error| io(io::Error::other(error)))?;
    let mut lost = None;
    let written = replace(path, |file| {
        file.write_all(&header)?;
        for id in by_name(graph) {
            match weights.tensor(id) {
                Ok(values) => file.write_all(&bytes(&values)?)?,
                Err(error) => {
                    let stop = io::Error::other(error.to_string());
                    lost = Some(error);
                    return Err(stop);
                }
            }
        }
        Ok(())
    });
    match lost {
        Some(error) => Err(error.into()),
        None => written.map_err(io),
    }
}

/// The tensors in the order of their names, in which the file has them.
fn by_name(graph: &Graph) -> Vec<WeightId> {
    let mut ids: Vec<WeightId> = (0..graph.weights.len()).map(WeightId::new).collect();
    ids.sort_by_key(|&id| &graph.weight(id).name);
    ids
}

/// The length of the header and the header, which is padded so that tensors lie on multiples of
/// eight bytes.
fn header_of(graph: &Graph, weights: &dyn WeightSource) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let mut end = 0;
    let info = |id: WeightId| {
        let weight = graph.weight(id);
        let start = end;
        end += weights.length(id) as usize * size_of::<f32>();
        let shape = weight.shape.iter().map(|&extent| extent as usize).collect();
        (weight.name.clone(), TensorInfo { dtype: Dtype::F32, shape, data_offsets: (start, end) })
    };
    let metadata = Metadata::new(None, by_name(graph).into_iter().map(info).collect())?;
    let mut text = serde_json::to_vec(&metadata)?;
    text.resize(text.len().next_multiple_of(LENGTH as usize), b' ');
    let mut header = (text.len() as u64).to_le_bytes().to_vec();
    header.append(&mut text);
    Ok(header)
}

/// Little-endian bytes of some numbers.
fn bytes(values: &[f32]) -> io::Result<Cow<'_, [u8]>> {
    if cfg!(target_endian = "little") {
        return Ok(Cow::Borrowed(bytemuck::cast_slice(values)));
    }
    let mut bytes = reserved(size_of_val(values)).map_err(io::Error::other)?;
    bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
    Ok(Cow::Owned(bytes))
}
