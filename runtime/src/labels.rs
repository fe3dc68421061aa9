//! Names of the classes: in the spec, in a file that it names, or in a file given instead.

use std::path::{Path, PathBuf};

use xcc_compiler::graph::Labels;

use crate::bounded::read_at_most;

/// Most bytes of a file of labels.
pub const FILE_LIMIT: u64 = 16 << 20;

/// Why there are no labels.
#[derive(Debug, thiserror::Error)]
pub enum LabelsError {
    /// The file cannot be opened or read.
    #[error("labels {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no text, or too large for a list of names.
    #[error("labels {}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// There are not as many labels as classes.
    #[error("{found} labels in {origin}, but the network has {classes} classes")]
    Count {
        /// Where the labels are from.
        origin: String,
        /// How many there are.
        found: u64,
        /// Elements of the network's output.
        classes: u64,
    },
}

/// The labels of a network with `classes` outputs, `None` where classes are only numbered.
///
/// A file in `given` stands in for what the spec says. Names of files in the spec are relative to
/// `folder`, the spec's.
pub fn labels(
    spec: &Labels,
    folder: &Path,
    given: Option<&Path>,
    classes: u64,
) -> Result<Option<Vec<String>>, LabelsError> {
    let (labels, origin) = match (given, spec) {
        (Some(path), _) => (read(path)?, path.display().to_string()),
        (None, Labels::None) => return Ok(None),
        (None, Labels::Inline(labels)) => (labels.clone(), "the spec".to_owned()),
        (None, Labels::File(name)) => {
            let path = folder.join(name);
            (read(&path)?, path.display().to_string())
        }
    };
    match labels.len() as u64 {
        found if found == classes => Ok(Some(labels)),
        found => Err(LabelsError::Count { origin, found, classes }),
    }
}

/// The lines of a file, without white space around them and without empty ones at the end.
fn read(path: &Path) -> Result<Vec<String>, LabelsError> {
    let io = |source| LabelsError::Io { path: path.to_owned(), source };
    let format = |reason: String| LabelsError::Format { path: path.to_owned(), reason };
    let text = String::from_utf8(read_at_most(path, FILE_LIMIT).map_err(io)?)
        .map_err(|error| format(format!("not UTF-8 text (at byte {})", error.utf8_error().valid_up_to())))?;
    Ok(text.trim_end().lines().map(|line| line.trim().to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names.txt");
        std::fs::write(&path, bytes).unwrap();
        (folder, path)
    }

    #[test]
    fn a_given_file_goes_before_the_spec() {
        let (folder, path) = file("cat\r\n Käse \n\n\n".as_bytes());
        let inline = Labels::Inline(vec!["a".into(), "b".into()]);
        let names = Some(vec!["cat".to_owned(), "Käse".to_owned()]);
        assert_eq!(labels(&inline, Path::new(""), Some(&path), 2).unwrap(), names);
        assert_eq!(labels(&Labels::File("names.txt".into()), folder.path(), None, 2).unwrap(), names);
        assert_eq!(labels(&inline, Path::new(""), None, 2).unwrap().unwrap(), ["a", "b"]);
        assert_eq!(labels(&Labels::None, Path::new(""), None, 2).unwrap(), None);
    }

    #[test]
    fn errors_name_the_file_and_the_numbers() {
        let (_folder, path) = file(b"cat\ndog\n");
        let error = |classes| labels(&Labels::None, Path::new(""), Some(&path), classes).unwrap_err();
        assert_eq!(
            error(3).to_string(),
            format!("2 labels in {}, but the network has 3 classes", path.display())
        );
        let (_folder, path) = file(b"cat\n\xff\n");
        let error = labels(&Labels::None, Path::new(""), Some(&path), 2).unwrap_err().to_string();
        assert!(error.ends_with("not UTF-8 text (at byte 4)"), "{error}");
    }
}
