//! Opens an HDF5 file of Keras and tells its layout; `listed` reads the layouts.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use hdf5_pure::{AttrValue, File, Group};

use super::config::Config;
use super::listed::Listed;
use super::{KerasFile, Listing};
use crate::weights::dataset::SecondReader;

/// More bytes than a superblock's end-of-file address lies behind.
const SUPERBLOCK: u64 = 64;
/// Bytes of the longest description beside a file; that of Xception has 140,000.
const LONGEST_CONFIG: u64 = 64 << 20;
/// Bytes of the shortest superblock, that of version 2.
const SMALLEST: u64 = 48;

/// Opens an HDF5 file; the error is a reason in words.
///
/// The file is not read whole: of an oversized one only the tensors that are asked for come into
/// memory.
pub(in crate::weights) fn open_hdf5(path: &Path) -> Result<KerasFile, String> {
    check_length(path)?;
    let file = File::open_streaming(path).map_err(reason)?;
    read_with(&file, SecondReader::of_file(path), beside(path))
}

/// The description in `config.json` beside a file, as an unpacked `.keras` archive has it.
fn beside(path: &Path) -> Option<Config> {
    let file = std::fs::File::open(path.with_file_name("config.json")).ok()?;
    let mut json = String::new();
    let read = file.take(LONGEST_CONFIG + 1).read_to_string(&mut json).ok()?;
    let config = (read as u64 <= LONGEST_CONFIG).then(|| Config::from_json(&json))?;
    (!config.layers.is_empty()).then_some(config)
}

/// Refuses a file that is shorter than its superblock says.
fn check_length(path: &Path) -> Result<(), String> {
    let mut start = Vec::new();
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    file.take(SUPERBLOCK).read_to_end(&mut start).map_err(|error| error.to_string())?;
    match stated_length(&start) {
        _ if length < SMALLEST => Err(format!("it was cut off within its first block, after {length} bytes")),
        Some(stated) if length < stated => Err(format!("it was cut off, after {length} of {stated} bytes")),
        _ => Ok(()),
    }
}

/// The end-of-file address in a superblock with addresses of 8 bytes (HDF5 File Format
/// Specification 3.0, II.A).
fn stated_length(superblock: &[u8]) -> Option<u64> {
    let (size_of_offsets, end_of_file) = match superblock.get(8)? {
        0 => (13, 40),
        1 => (13, 44),
        2 | 3 => (9, 28),
        _ => return None,
    };
    let bytes = superblock.get(end_of_file..)?.first_chunk().filter(|_| superblock[size_of_offsets] == 8);
    bytes.map(|bytes| u64::from_le_bytes(*bytes))
}

/// Lists the layers of `file`, which is in memory; `config` is the model's description, if it is
/// stored elsewhere.
pub(super) fn read(file: &File, config: Option<Config>) -> Result<KerasFile, String> {
    read_with(file, SecondReader::of_bytes(file.as_bytes()), config)
}

fn read_with(file: &File, second: Arc<SecondReader>, config: Option<Config>) -> Result<KerasFile, String> {
    let root = file.root();
    let groups = root.groups().map_err(reason)?;
    let has = |name: &str| groups.iter().any(|group| group == name);
    let attrs = root.attrs().map_err(reason)?;
    let described = attrs.get("model_config").and_then(AttrValue::as_str).map(Config::from_json);
    let config = described.filter(|config| !config.layers.is_empty()).or(config).unwrap_or_default();
    let base = if has("model_weights") { root.group("model_weights").map_err(reason)? } else { file.root() };
    let mut listed = Listed::new(second);
    if let Some(names) = strings(&base, "layer_names")? {
        let path = if has("model_weights") { "model_weights/" } else { "" };
        listed.add_named_layers(&base, path, &names, &config)?;
        return Ok(listed.into_file(Listing::All, config));
    }
    listed.add_model(&root, &config)?;
    if listed.is_empty() {
        let groups = if groups.is_empty() { "no groups".to_owned() } else { groups.join(", ") };
        return Err(format!(
            "an HDF5 file, but not one of Keras: no `layer_names`, no `/layers`, no group `vars`; it has {groups}"
        ));
    }
    Ok(listed.into_file(Listing::PerClass, config))
}

/// The list of strings in an attribute, which Keras splits over `name0`, `name1`, ... when it is
/// long.
pub(super) fn strings(group: &Group, name: &str) -> Result<Option<Vec<String>>, String> {
    let attrs = group.attrs().map_err(reason)?;
    if let Some(value) = attrs.get(name) {
        // A layer without weights has an empty list of numbers here.
        return Ok(Some(value.as_strings().unwrap_or_default().to_vec()));
    }
    let mut all = None;
    while let Some(part) = attrs.get(&format!("{name}{}", all.as_ref().map_or(0, |(count, _)| *count))) {
        let (count, strings): &mut (usize, Vec<String>) = all.get_or_insert_default();
        *count += 1;
        strings.extend_from_slice(part.as_strings().unwrap_or_default());
    }
    Ok(all.map(|(_, strings)| strings))
}

pub(super) fn reason(error: hdf5_pure::Error) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdf5_pure::FileBuilder;

    fn owned(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn names(file: &KerasFile) -> Vec<&str> {
        file.tensors.iter().map(|tensor| tensor.name.as_str()).collect()
    }

    #[test]
    fn long_lists_are_put_together_and_scalars_of_integers_are_refused_by_type() {
        let mut builder = FileBuilder::new();
        for (part, layers) in [("layer_names0", ["b"]), ("layer_names1", ["a"])] {
            builder.set_attr(part, AttrValue::AsciiStringArray(owned(&layers)));
        }
        for layer in ["a", "b"] {
            let mut group = builder.create_group(layer);
            group.set_attr("weight_names", AttrValue::VarLenStringArray(vec![format!("{layer}_W:0")]));
            match layer {
                "a" => group.create_dataset("a_W:0").with_f32_data(&[1.0, 2.0]),
                _ => group.create_dataset("b_W:0").with_i64_data(&[1]),
            };
            builder.add_group(group.finish());
        }
        let file = read(&File::from_bytes(builder.finish().unwrap()).unwrap(), None).unwrap();
        assert_eq!(names(&file), ["b_W", "a_W"]);
        assert_eq!(file.tensors[0].read(), Err("it holds i64".to_owned()));
        assert_eq!(file.tensors[1].read(), Ok(vec![1.0, 2.0]));
    }

    #[test]
    fn other_files_are_refused_with_what_they_hold() {
        let mut builder = FileBuilder::new();
        let group = builder.create_group("measurements");
        builder.add_group(group.finish());
        let file = File::from_bytes(builder.finish().unwrap()).unwrap();
        let error = read(&file, None).err().unwrap();
        assert!(error.ends_with("no `/layers`, no group `vars`; it has measurements"), "{error}");
    }
}
