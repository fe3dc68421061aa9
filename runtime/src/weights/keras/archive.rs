//! `.keras` files: a zip archive of `config.json` and `model.weights.h5`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use xcc_compiler::graph::Graph;
use zip::ZipArchive;
use zip::result::ZipError;

use super::config::Config;
use super::{KerasFile, hdf5};

/// The largest member that is unpacked for `graph`, in bytes.
///
/// Four times the weights covers them and an optimizer's state; the rest is for structure. A member
/// that claims or unpacks to more is no file of weights for this network.
pub(in crate::weights) fn member_limit(graph: &Graph) -> u64 {
    let elements: u64 = graph.weights.iter().map(|weight| weight.elements()).sum();
    (16 << 20) + elements.saturating_mul(4 * 4)
}

/// Opens an archive whose members are no larger than `limit` bytes; the error is a reason in words.
pub(in crate::weights) fn open_archive(path: &Path, limit: u64) -> Result<KerasFile, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(no_directory)?;
    let config = member(&mut archive, "config.json", limit)?;
    let config = config.map(|json| Config::from_json(&String::from_utf8_lossy(&json)));
    let weights = member(&mut archive, "model.weights.h5", limit)?
        .ok_or("a zip archive, but not one of Keras: it has no model.weights.h5")?;
    let weights =
        hdf5_pure::File::from_bytes(weights).map_err(|error| format!("model.weights.h5: {error}"))?;
    hdf5::read(&weights, config)
}

/// An archive lists its members at its end, so that is what misses when it was cut off.
fn no_directory(error: ZipError) -> String {
    format!("the list of members at the end of the archive is missing or damaged; was it cut off? ({error})")
}

/// The bytes of a member, if it exists. Memory grows with what is unpacked, not with what the
/// archive claims.
fn member(
    archive: &mut ZipArchive<BufReader<File>>,
    name: &str,
    limit: u64,
) -> Result<Option<Vec<u8>>, String> {
    let member = match archive.by_name(name) {
        Ok(member) => member,
        Err(ZipError::FileNotFound) => return Ok(None),
        Err(error) => return Err(format!("{name}: {error}")),
    };
    let mut bytes = Vec::new();
    let read = member.take(limit + 1).read_to_end(&mut bytes).map_err(|error| format!("{name}: {error}"))?;
    if read as u64 > limit {
        return Err(format!(
            "{name} is larger than {limit} bytes, more than this network's weights can take"
        ));
    }
    Ok(Some(bytes))
}
