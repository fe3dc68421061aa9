//! Whether a file has changed while it was read.

use std::fs::{File, Metadata};
use std::io;
use std::path::Path;
use std::time::SystemTime;

/// What tells a file from the same file after a change: a write sets the time before it sets any
/// byte, a cut sets both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn new(metadata: &Metadata) -> Self {
        Self { length: metadata.len(), modified: metadata.modified().ok() }
    }

    /// That of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::new(&file.metadata()?))
    }

    /// That of the file at `path`.
    pub fn at(path: &Path) -> io::Result<Self> {
        Ok(Self::new(&std::fs::metadata(path)?))
    }

    /// Bytes of the file.
    pub fn length(self) -> u64 {
        self.length
    }

    /// What has changed until `now`, and the way out; nothing where nothing has.
    pub fn change(self, now: Self) -> Option<String> {
        let what = match now {
            _ if self == now => return None,
            Self { length, .. } if length != self.length => {
                format!("it had {} bytes and now has {length}", self.length)
            }
            _ => "it was written to".to_owned(),
        };
        Some(format!("the file changed while it was in use: {what}; start again when nobody writes it"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn cuts_and_writes_are_told_apart() {
        let before = Stamp { length: 10, modified: Some(SystemTime::UNIX_EPOCH) };
        let later = Some(SystemTime::UNIX_EPOCH + Duration::from_nanos(1));
        assert_eq!(before.change(before), None);
        let change = |length| before.change(Stamp { length, modified: later }).unwrap();
        assert!(change(9).contains("it had 10 bytes and now has 9; start again"), "{}", change(9));
        assert!(change(10).contains("it was written to; start again"), "{}", change(10));
    }
}
