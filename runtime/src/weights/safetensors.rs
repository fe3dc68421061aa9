//! The native format: safetensors, read through a mapping and written whole or not at all.

use std::borrow::Cow;
use std::path::Path;

use memmap2::Mmap;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, View};
use xcc_compiler::graph::{Graph, WeightId, WeightSource};

use super::error::WeightsError;
use super::stored::{Data, Element, Stored};
use crate::checked::lengths;
use crate::replace::replace;

/// The tensors of a mapped safetensors file; the error is a reason in words.
pub(super) fn tensors(map: &Mmap) -> Result<Vec<Stored>, String> {
    let (header, metadata) =
        SafeTensors::read_metadata(map).map_err(|error| cut_off(map).unwrap_or_else(|| error.to_string()))?;
    let data = header + size_of::<u64>();
    let infos = metadata.tensors();
    let mut stored: Vec<Stored> = infos
        .into_iter()
        .map(|(name, info)| {
            let (start, end) = info.data_offsets;
            let shape = info.shape.iter().map(|&extent| extent as u64).collect();
            let data = match element(info.dtype) {
                Some(element) => Data::Mapped { element, bytes: data + start..data + end },
                None => Data::Unreadable(format!("{:?}", info.dtype)),
            };
            Stored { name, shape, data }
        })
        .collect();
    stored.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(stored)
}

/// What is missing from a file that is shorter than its beginning says.
fn cut_off(file: &[u8]) -> Option<String> {
    let (length, rest) = file.split_first_chunk()?;
    let header = u64::from_le_bytes(*length);
    let described = usize::try_from(header).ok().and_then(|header| rest.get(..header));
    let Some(described) = described else {
        return Some(format!("it ends within its header, after {} of {header} bytes", rest.len()));
    };
    let expected = serde_json::from_slice::<Metadata>(described).ok()?.data_len();
    let found = rest.len() - described.len();
    (found < expected).then(|| format!("it ends within its tensors, after {found} of {expected} bytes"))
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

/// Writes every tensor of `graph` as f32 under its name.
///
/// The file appears whole or not at all: it is written beside its place and then renamed.
pub fn save_safetensors(graph: &Graph, weights: &dyn WeightSource, path: &Path) -> Result<(), WeightsError> {
    let views: Vec<(&str, TensorView)> = graph
        .weights
        .iter()
        .enumerate()
        .map(|(id, weight)| {
            let shape = weight.shape.iter().map(|&extent| extent as usize).collect();
            (weight.name.as_str(), TensorView { shape, weights, id: WeightId::new(id) })
        })
        .collect();
    let io = |source| WeightsError::Io { path: path.to_owned(), source };
    lengths(graph, weights).map_err(|error| io(std::io::Error::other(error)))?;
    let bytes = safetensors::serialize(views, None).map_err(|error| io(std::io::Error::other(error)))?;
    replace(path, |file| file.write_all(&bytes)).map_err(io)
}

/// A tensor as the library that writes files wants to see it.
struct TensorView<'a> {
    shape: Vec<usize>,
    weights: &'a dyn WeightSource,
    id: WeightId,
}

impl View for TensorView<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        match self.weights.tensor(self.id) {
            Cow::Borrowed(values) if cfg!(target_endian = "little") => {
                Cow::Borrowed(bytemuck::cast_slice(values))
            }
            values => Cow::Owned(values.iter().flat_map(|value| value.to_le_bytes()).collect()),
        }
    }

    fn data_len(&self) -> usize {
        self.weights.length(self.id) as usize * size_of::<f32>()
    }
}
