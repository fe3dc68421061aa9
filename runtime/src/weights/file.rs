//! Opens a file of weights, whatever its format: content decides, not the name.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use xcc_compiler::graph::{Graph, WeightError, WeightId};

use super::bind::{self, Outcome};
use super::error::{Contradiction, Mismatch, WeightsError};
use super::source::Source;
use super::{Matching, NameMap, Origin, Weights, keras, safetensors};
use crate::content::{self, Wanted};
use crate::machine::Needs;
use crate::stamp::Stamp;

/// Formats of files of weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// safetensors.
    Safetensors,
    /// HDF5, as Keras writes it: `.h5` or `.weights.h5`.
    Hdf5,
    /// A zip archive with a configuration and an HDF5 file, as Keras 3 writes it: `.keras`.
    KerasArchive,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Safetensors => "safetensors",
            Format::Hdf5 => "HDF5",
            Format::KerasArchive => "Keras archive",
        })
    }
}

/// Reads the weights of `graph`, which is one that was elaborated, from a file in any format.
///
/// Without `map`, safetensors are bound by name. Keras' files are bound by the graph of the model
/// where they describe it, else by names that a person gave, shapes and the order of layers, as
/// far as these leave no choice. With `map`, every tensor of the file is bound by its translated
/// name; in HDF5 files that is what Keras lists (`stem/kernel` without the `:0`), or the path of
/// the dataset where it lists nothing (`layers/conv2d/vars/0`).
pub fn load(graph: &Graph, path: &Path, map: Option<&NameMap>) -> Result<Weights, WeightsError> {
    load_with(graph, path, &LoadOptions { map, ..LoadOptions::default() })
}

/// How a file of weights is read.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoadOptions<'a> {
    /// Names that the file uses. A map without rules only leaves tensors out.
    pub map: Option<&'a NameMap>,
    /// Leaves out tensors that the network does not have; otherwise they are a mismatch.
    pub ignore_unexpected: bool,
    /// Makes a [`Mismatch`](super::Mismatch) of each [`Contradiction`](super::Contradiction).
    pub strict: bool,
}

/// Reads weights as [`load`] does, with more to choose.
pub fn load_with(graph: &Graph, path: &Path, options: &LoadOptions) -> Result<Weights, WeightsError> {
    match format_of(path)? {
        Format::Safetensors => load_safetensors(graph, path, options),
        format => load_keras(graph, path, format, options),
    }
}

fn load_safetensors(graph: &Graph, path: &Path, options: &LoadOptions) -> Result<Weights, WeightsError> {
    let corrupt = |reason| WeightsError::Corrupt { path: path.to_owned(), reason };
    let source = Source::open(path).map_err(|source| io(path, source))?;
    let stored = safetensors::tensors(&source).map_err(corrupt)?;
    let (bindings, _) = accept(graph, path, bind::by_name(graph, &stored, options), options)?;
    let tensors = bind::read(graph, bindings).map_err(corrupt)?;
    let origin = Origin::File { format: Format::Safetensors, matching: Matching::Names };
    Ok(Weights { tensors, source: Some(source), origin, contradictions: Vec::new() })
}

fn load_keras(
    graph: &Graph,
    path: &Path,
    format: Format,
    options: &LoadOptions,
) -> Result<Weights, WeightsError> {
    let corrupt = |reason| WeightsError::Corrupt { path: path.to_owned(), reason };
    let before = Stamp::at(path).map_err(|source| io(path, source))?;
    let file = match format {
        Format::KerasArchive => keras::open_archive(path, keras::member_limit(graph)),
        _ => keras::open_hdf5(path),
    };
    let mut file = file.map_err(corrupt)?;
    let (outcome, matching) = match options.map {
        Some(map) if map.has_rules() => (bind::by_name(graph, &file.tensors, options), Matching::Names),
        map => {
            map.into_iter().for_each(|map| file.leave_out(|name| map.ignores(name)));
            keras::bind(graph, &file, options.ignore_unexpected)
        }
    };
    let (bindings, contradictions) = accept(graph, path, outcome, options)?;
    let weights = bind::bytes_to_read(&bindings);
    let shortage = |shortage| WeightsError::Shortage { path: path.to_owned(), shortage };
    Needs { weights, ..Needs::default() }.check().map_err(shortage)?;
    let tensors = bind::read(graph, bindings).map_err(corrupt)?;
    unchanged(path, before)?;
    Ok(Weights { tensors, source: None, origin: Origin::File { format, matching }, contradictions })
}

/// The bindings and the contradictions, if nothing is amiss: each tensor of the network has one.
fn accept<'a>(
    graph: &Graph,
    path: &Path,
    outcome: Outcome<'a>,
    options: &LoadOptions,
) -> Result<(Vec<bind::Binding<'a>>, Vec<Contradiction>), WeightsError> {
    let Outcome { bindings, mut mismatches, contradictions } = outcome;
    if options.strict {
        mismatches.extend(contradictions.iter().cloned().map(Mismatch::from));
    }
    if !mismatches.is_empty() {
        return Err(WeightsError::Mismatch { path: path.to_owned(), mismatches });
    }
    let bound: HashSet<WeightId> = bindings.iter().map(|binding| binding.weight).collect();
    match bound.len() == graph.weights.len() && bindings.len() == bound.len() {
        true => Ok((bindings, contradictions)),
        false => {
            let reason = format!("it gives {} of the network's {} tensors", bound.len(), graph.weights.len());
            Err(WeightsError::Corrupt { path: path.to_owned(), reason })
        }
    }
}

/// Refuses a file that was cut or written to since `before`.
fn unchanged(path: &Path, before: Stamp) -> Result<(), WeightsError> {
    let now = Stamp::at(path).map_err(|source| io(path, source))?;
    match before.change(now) {
        Some(reason) => Err(WeightError::File { file: path.display().to_string(), reason }.into()),
        None => Ok(()),
    }
}

fn format_of(path: &Path) -> Result<Format, WeightsError> {
    if let Some(what) = content::mistaken(path, Wanted::Weights) {
        return Err(WeightsError::OtherKind { path: path.to_owned(), what });
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(|source| io(path, source))?;
    file.take(16).read_to_end(&mut start).map_err(|source| io(path, source))?;
    if start.starts_with(b"\x89HDF\r\n\x1a\n") {
        Ok(Format::Hdf5)
    } else if start.starts_with(b"PK\x03\x04") {
        Ok(Format::KerasArchive)
    } else if start.get(8) == Some(&b'{') {
        // Eight bytes of length, then JSON.
        Ok(Format::Safetensors)
    } else {
        Err(WeightsError::UnknownFormat { path: path.to_owned(), found: describe_start(&start) })
    }
}

fn describe_start(start: &[u8]) -> String {
    if start.is_empty() {
        return "the file is empty".to_owned();
    }
    let hex: Vec<String> = start.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("it starts with the bytes {}", hex.join(" "))
}

fn io(path: &Path, source: std::io::Error) -> WeightsError {
    WeightsError::Io { path: path.to_owned(), source }
}
