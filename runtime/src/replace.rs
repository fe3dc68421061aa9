//! Writes files whole or not at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use tempfile::NamedTempFile;

/// What the names of temporary files begin and end with.
const PREFIX: &str = ".xcc-";
const SUFFIX: &str = ".partial";

/// Puts what `fill` writes in the place of `path`: into a temporary file beside it first, which
/// then takes its name. `path` is unchanged when there is an error. What is no regular file (a
/// pipe, a terminal) is written as it is.
///
/// A process that is killed while it writes leaves its temporary file; the next one that writes
/// into the folder removes it.
pub fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return fill(&mut std::fs::OpenOptions::new().write(true).open(path)?);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if !folder.is_dir() {
        let reason = format!("there is no folder {}", folder.display());
        return Err(io::Error::new(io::ErrorKind::NotFound, reason));
    }
    remove_abandoned(folder);
    let mut file = temporary(folder)?;
    let mut buffered = io::BufWriter::new(&mut file);
    fill(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    file.persist(path).map_err(|error| error.error)?;
    Ok(())
}

/// A new file that is locked, which says that somebody writes it.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // What a file that is simply created would have; the system takes away what the user's
        // mask says.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.prefix(PREFIX).suffix(SUFFIX);
    loop {
        let file = builder.tempfile_in(folder).map_err(|error| io::Error::from(error.kind()))?;
        // Without locks (some network folders have none) nobody takes it for abandoned.
        let is_locked = file.as_file().lock().is_ok();
        if !is_locked || file.path().exists() {
            return Ok(file);
        }
        // Another process has removed it before it was locked.
    }
}

/// Removes temporary files that nobody has locked. What cannot be removed stays: it is in nobody's
/// way.
fn remove_abandoned(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_ours = name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if !is_ours || !entry.file_type().is_ok_and(|kind| kind.is_file()) {
            continue;
        }
        // Locked until it is removed, so that who has just made it waits, and then finds that it
        // is gone.
        if let Some(_locked) = File::open(entry.path()).ok().filter(|file| file.try_lock().is_ok()) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
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

    #[test]
    fn what_a_killed_process_left_is_removed_and_what_is_being_written_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let names = [".xcc-gone.partial", ".xcc-busy.partial", ".xcc-notes", "xcc-a.partial"];
        let files = names.map(|name| File::create(folder.path().join(name)).unwrap());
        files[1].lock().unwrap();
        std::fs::create_dir(folder.path().join(".xcc-folder.partial")).unwrap();
        let nested = |_: &mut dyn Write| replace(&folder.path().join("b"), |file| file.write_all(b"b"));
        replace(&folder.path().join("a"), nested).unwrap();
        let mut found: Vec<_> = std::fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(
            found,
            [".xcc-busy.partial", ".xcc-folder.partial", ".xcc-notes", "a", "b", "xcc-a.partial"]
        );
    }
}
