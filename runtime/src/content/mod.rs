//! Recognises files by content: what a file is that was given where another kind is read, and the
//! way out.
//!
//! Content decides. A file's name helps only where a format has no mark of its own.

mod table;

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use table::{ARCHIVE, ARCHIVES, FOLDER, FOLDERS, KINDS, SAFETENSORS};

/// Bytes of a file that are looked at; a tar archive has its mark at 257.
const START: u64 = 512;
/// Members of an archive, or entries of a folder, that are looked at.
const MOST_ENTRIES: usize = 1000;

/// A kind of file.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// What it is, with an article, such as `a PyTorch file`.
    pub name: &'static str,
    role: Role,
    /// It is of this kind if all marks of one of these lists fit.
    marks: &'static [&'static [Mark]],
    way_out: &'static str,
}

/// What is done with files of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// Weights that are read.
    Weights,
    /// Weights, or what else belongs to a network, of another tool.
    OtherWeights,
    /// Images that are read.
    Image,
    /// Images, documents and videos that are not.
    OtherImage,
    /// Arrays that are read.
    Array,
    /// Specs.
    Spec,
    /// Name maps.
    Map,
    /// Files that stand for another one: packed, linked, or an answer of a server.
    Wrapper,
}

/// Something that files of a kind have in common.
#[derive(Clone, Copy, Debug)]
enum Mark {
    /// These bytes at this place.
    At(usize, &'static [u8]),
    /// The byte at the first number is from the second to the third.
    Within(usize, u8, u8),
    /// Text that begins so, after spaces and comments (`#`), in upper or lower case.
    Text(&'static str),
    /// The name ends so; before an asterisk, it has this in it.
    Name(&'static str),
}

/// What a file was given as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Weights.
    Weights,
    /// An image.
    Image,
    /// An array of inputs.
    Array,
}

impl Wanted {
    const fn noun(self) -> &'static str {
        match self {
            Wanted::Weights => "weights",
            Wanted::Image => "an image",
            Wanted::Array => "an array",
        }
    }

    /// The formats that are read.
    const fn read(self) -> &'static str {
        match self {
            Wanted::Weights => "weights are read from safetensors, HDF5 (.h5) and .keras",
            Wanted::Image => "images are read from PNG and JPEG",
            Wanted::Array => "arrays are read from .npy: save the inputs with `numpy.save`",
        }
    }
}

/// The sentence that says what the file at `path` is, if it is known and is not what it was given
/// as: `a WebP image, which is not read: convert it to PNG, ...`.
pub fn mistaken(path: &Path, wanted: Wanted) -> Option<String> {
    recognise(path).and_then(|kind| kind.instead_of(wanted))
}

/// The kind of the file or folder at `path`; none if it cannot be read or is not known.
pub fn recognise(path: &Path) -> Option<Kind> {
    if path.is_dir() {
        return Some(folder(path));
    }
    let mut start = Vec::new();
    let file = File::open(path).ok()?;
    (&file).take(START).read_to_end(&mut start).ok()?;
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    match start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
        true => archive(file, &start),
        false => of_content(&start, &name),
    }
}

/// The kind of a file that starts with `start` and is called `name`, in lower case; zip archives
/// aside.
fn of_content(start: &[u8], name: &str) -> Option<Kind> {
    if start.get(8) == Some(&b'{') && start[4..8] == [0; 4] {
        return Some(SAFETENSORS);
    }
    let text = text_of(start);
    let fits = |mark: &Mark| mark.fits(start, &text, name);
    KINDS.iter().find(|kind| kind.marks.iter().any(|marks| marks.iter().all(fits))).copied()
}

impl Mark {
    fn fits(&self, start: &[u8], text: &str, name: &str) -> bool {
        match *self {
            Mark::At(place, bytes) => start.get(place..).is_some_and(|rest| rest.starts_with(bytes)),
            Mark::Within(place, low, high) => {
                start.get(place).is_some_and(|byte| (low..=high).contains(byte))
            }
            Mark::Text(beginning) => text.starts_with(beginning),
            Mark::Name(ending) => match ending.strip_suffix('*') {
                Some(part) => name.contains(part),
                None => name.ends_with(ending),
            },
        }
    }
}

/// The text in lower case, from the first line on that is not empty and no comment.
fn text_of(start: &[u8]) -> String {
    let text = String::from_utf8_lossy(start).to_lowercase();
    let mut rest = text.trim_start_matches('\u{feff}').trim_start();
    while rest.starts_with('#') {
        rest = rest.split_once('\n').map_or("", |(_, rest)| rest).trim_start();
    }
    rest.to_owned()
}

/// The kind of a zip archive, by its members. Of one that was cut off, only the first is known.
fn archive(file: File, start: &[u8]) -> Option<Kind> {
    let Ok(archive) = zip::ZipArchive::new(BufReader::new(file)) else {
        return by_entry(ARCHIVES, &first_member(start).into_iter().collect::<Vec<_>>());
    };
    let names: Vec<String> =
        archive.file_names().take(MOST_ENTRIES).flatten().map(|name| name.into_owned()).collect();
    Some(by_entry(ARCHIVES, &names).unwrap_or(ARCHIVE))
}

/// The name of the first member of a zip archive, from its local header (APPNOTE 4.3.7).
fn first_member(start: &[u8]) -> Option<String> {
    let length = u16::from_le_bytes(*start.get(26..)?.first_chunk()?);
    let name = start.get(30..)?.get(..usize::from(length))?;
    Some(String::from_utf8_lossy(name).into_owned())
}

/// The kind of a folder, by what is in it.
fn folder(path: &Path) -> Kind {
    let entries = std::fs::read_dir(path).into_iter().flatten().flatten().take(MOST_ENTRIES);
    let names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    by_entry(FOLDERS, &names).unwrap_or(FOLDER)
}

/// The first kind of the table that one of the names fits.
fn by_entry(table: &[(&str, Kind)], names: &[String]) -> Option<Kind> {
    let fits = |pattern: &str, name: &str| match pattern.strip_prefix('*') {
        Some(ending) => name.ends_with(ending),
        None => name == pattern,
    };
    table.iter().find(|(pattern, _)| names.iter().any(|name| fits(pattern, name))).map(|(_, kind)| *kind)
}

impl Kind {
    /// The sentence for somebody who gave a file of this kind as `wanted`; none if that is right.
    fn instead_of(self, wanted: Wanted) -> Option<String> {
        let Kind { name, way_out, .. } = self;
        let not = format!("{name}, not {}", wanted.noun());
        Some(match (self.role, wanted) {
            (Role::Weights, Wanted::Weights)
            | (Role::Image, Wanted::Image)
            | (Role::Array, Wanted::Array) => {
                return None;
            }
            (Role::OtherWeights, Wanted::Weights) | (Role::OtherImage, Wanted::Image) => {
                format!("{name}, which is not read: {way_out}")
            }
            (Role::Wrapper, _) => format!("{not}: {way_out}"),
            (Role::Weights | Role::OtherWeights, _) => {
                format!("{not}: weights are given with `--weights`; {}", wanted.read())
            }
            (Role::Image | Role::OtherImage, _) => {
                format!("{not}: images are given after the spec, without an option; {}", wanted.read())
            }
            (Role::Array, _) => format!("{not}: arrays are given with `--input`; {}", wanted.read()),
            (Role::Spec, _) => format!("{not}: a spec is given first, without an option; {}", wanted.read()),
            (Role::Map, _) => format!("{not}: a name map is given with `--map`; {}", wanted.read()),
        })
    }
}

#[cfg(test)]
mod tests;
