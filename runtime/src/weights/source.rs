//! A file of weights that stays open: numbers are read when they are asked for, and never from a
//! file that has changed.
//!
//! Reading costs one copy of a tensor, which lives while the tensor is packed. A mapping would
//! save it, but a mapped file that somebody cuts ends the process by a signal, and one that
//! somebody writes yields numbers of two files.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use xcc_compiler::graph::WeightError;

use crate::memory::zeros;
use crate::stamp::Stamp;

/// An open file of weights.
#[derive(Debug)]
pub(super) struct Source {
    path: PathBuf,
    file: File,
    stamp: Stamp,
}

impl Source {
    /// Opens a file; from here on it must not change.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let stamp = Stamp::of(&file)?;
        Ok(Self { path: path.to_owned(), file, stamp })
    }

    /// Bytes of the file.
    pub fn length(&self) -> u64 {
        self.stamp.length()
    }

    /// Bytes of the file as values of a type that any bytes are a value of; a rest shorter than a
    /// value is left out.
    pub fn read<T: bytemuck::Pod>(&self, range: &Range<u64>) -> Result<Vec<T>, WeightError> {
        let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
        let mut values = zeros::<T>(length / size_of::<T>())?;
        let read = read_at(&self.file, bytemuck::cast_slice_mut(&mut values), range.start);
        // The stamp is looked at afterwards: what was written before the bytes were read shows.
        self.check()?;
        read.map_err(|error| self.error(error.to_string()))?;
        Ok(values)
    }

    /// Refuses a file that is not as it was when it was opened.
    fn check(&self) -> Result<(), WeightError> {
        let now = Stamp::of(&self.file).map_err(|error| self.error(error.to_string()))?;
        match self.stamp.change(now) {
            Some(change) => Err(self.error(change)),
            None => Ok(()),
        }
    }

    fn error(&self, reason: String) -> WeightError {
        WeightError::File { file: self.path.display().to_string(), reason }
    }
}

#[cfg(unix)]
fn read_at(file: &File, to: &mut [u8], start: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, to, start)
}

/// Systems without reads at a place: threads take turns, since an open file has one place.
#[cfg(not(unix))]
fn read_at(mut file: &File, to: &mut [u8], start: u64) -> io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
    let _turn = crate::team::lock(&TURN);
    file.seek(SeekFrom::Start(start))?;
    file.read_exact(to)
}
