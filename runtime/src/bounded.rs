//! Reads files of which it is known how long they can be.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// What a file holds, if that is at most `most` bytes. No more is read of a longer one, or of a
/// device without an end.
pub fn read_at_most(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        return Err(io::Error::other(format!(
            "has more than {most} bytes, the most that such a file can have"
        )));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_as_many_bytes_are_read_and_longer_ones_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, b"12345").unwrap();
        assert_eq!(read_at_most(&path, 5).unwrap(), b"12345");
        assert!(read_at_most(&path, 4).unwrap_err().to_string().contains("more than 4 bytes"));
    }

    #[test]
    #[cfg(unix)]
    fn what_has_no_end_is_refused() {
        assert!(read_at_most(Path::new("/dev/zero"), 1 << 16).is_err());
    }
}
