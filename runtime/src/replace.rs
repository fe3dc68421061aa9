//! Writes files whole or not at all.

use std::io::{self, Write};
use std::path::Path;

/// Puts what `fill` writes in the place of `path`: into a temporary file beside it first, which then takes
/// its name. `path` is unchanged when there is an error. What is no regular file (a pipe, a terminal) is written as it is.
pub fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return fill(&mut std::fs::OpenOptions::new().write(true).open(path)?);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let reason = format!("there is no folder {}", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What a file that is simply created would have; the system takes away what the user's mask says.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file =
        builder.prefix(".xcc").tempfile_in(folder).map_err(|error| io::Error::from(error.kind()))?;
    let mut buffered = io::BufWriter::new(&mut file);
    fill(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.npy");
        replace(&path, |file| file.write_all(b"old")).unwrap();
        let failing = |file: &mut dyn Write| {
            file.write_all(&[0; 100_000])?;
            Err(io::Error::other("no more"))
        };
        assert_eq!(replace(&path, failing).unwrap_err().to_string(), "no more");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        replace(&path, |file| file.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }
}
