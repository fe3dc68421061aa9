//! The numbers of an HDF5 dataset: their type and byte order, and what reads their bytes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use hdf5_pure::{AttrValue, ChunkIndex, Datatype, DatatypeByteOrder, FloatingPointLayout, Layout};
use hdf5_reader::{FileStorage, Hdf5File, OpenOptions};

use super::stored::{Data, Element};

/// A dataset of floating-point numbers; they are not read yet.
pub(super) struct Dataset {
    element: Element,
    big_endian: bool,
    /// Bytes of all elements.
    bytes: u64,
    file: Arc<SecondReader>,
    storage: Storage,
}

/// Bytes that a chunk may have in memory, if the dataset has fewer: chunks of datasets that may
/// grow are larger than these, and writers choose 1 MiB at most by themselves.
const LARGEST_CHUNK: u64 = 16 << 20;

/// What reads the bytes.
enum Storage {
    /// The reader of everything else in the file.
    Plain(Box<hdf5_pure::Dataset>),
    /// Another reader, for layouts that the first does not know.
    Second { path: String },
}

impl Dataset {
    /// The numbers of `dataset`, which lies at `path` of `file`; its type in words if it has no
    /// numbers that are read. The error is a reason in words.
    pub fn data(
        dataset: &hdf5_pure::Dataset,
        file: &Arc<SecondReader>,
        path: &str,
    ) -> Result<Data, hdf5_pure::Error> {
        let Some((element, big_endian)) = element(dataset)? else {
            return Ok(Data::Unreadable(dataset.dtype()?.to_string()));
        };
        // HDF5 2.0 writes a layout message of version 5, which the first reader refuses.
        let second =
            matches!(dataset.layout(), Ok(Layout::Chunked { index: ChunkIndex::BTreeV2, .. }) | Err(_));
        let elements =
            dataset.shape()?.iter().fold(1, |product: u64, &extent| product.saturating_mul(extent));
        let bytes = elements.saturating_mul(element.bytes());
        let storage = match second {
            true => Storage::Second { path: path.to_owned() },
            false => Storage::Plain(Box::new(dataset.clone())),
        };
        let file = Arc::clone(file);
        Ok(Data::Hdf5(Box::new(Dataset { element, big_endian, bytes, file, storage })))
    }

    /// Reads the numbers, widened exactly or rounded from 64 bits. The error says why not in
    /// words.
    pub fn read(&self) -> Result<Vec<f32>, String> {
        if let Storage::Plain(dataset) = &self.storage {
            self.check_chunks(dataset)?;
        }
        let mut bytes = match &self.storage {
            Storage::Plain(dataset) if self.element == Element::F32 && !self.big_endian => {
                return dataset.read_f32().map_err(|error| error.to_string());
            }
            Storage::Plain(dataset) => dataset.read_raw().map_err(|error| error.to_string())?,
            Storage::Second { path } => self.file.read(path, self.bytes)?,
        };
        if self.big_endian {
            bytes.chunks_exact_mut(self.element.bytes() as usize).for_each(<[u8]>::reverse);
        }
        self.element.decode(&bytes).map_err(|error| error.to_string())
    }
}

impl Dataset {
    /// Refuses chunks that are larger than the file, lie outside of it, or unpack to far more than
    /// the dataset: the library takes memory for what the file says they have.
    fn check_chunks(&self, dataset: &hdf5_pure::Dataset) -> Result<(), String> {
        if !dataset.is_chunked() {
            return Ok(());
        }
        let shape = dataset.chunk_shape().map_err(|error| error.to_string())?.unwrap_or_default();
        let unpacked = shape.iter().fold(self.element.bytes(), |bytes, &extent| bytes.saturating_mul(extent));
        let most = LARGEST_CHUNK.max(self.bytes.saturating_mul(2));
        if unpacked > most {
            return Err(format!("its chunks have {unpacked} bytes each, more than {most}"));
        }
        let length = self.file.length()?;
        for chunk in dataset.chunks().map_err(|error| error.to_string())? {
            if chunk.address.saturating_add(chunk.storage_size) > length {
                return Err(format!(
                    "a chunk of {} bytes at {} lies outside of the file, which has {length}",
                    chunk.storage_size, chunk.address
                ));
            }
        }
        Ok(())
    }
}

/// The type of a dataset's elements, and whether the most significant byte comes first; none if it
/// is not read.
fn element(dataset: &hdf5_pure::Dataset) -> Result<Option<(Element, bool)>, hdf5_pure::Error> {
    Ok(match dataset.datatype()? {
        Datatype::FloatingPoint { size, byte_order, layout } => {
            let big_endian = match byte_order {
                DatatypeByteOrder::LittleEndian => false,
                DatatypeByteOrder::BigEndian => true,
                _ => return Ok(None),
            };
            float(size, &layout).map(|element| (element, big_endian))
        }
        // NumPy has no bfloat16, so Keras writes opaque elements, and says in an attribute what
        // they are.
        Datatype::Opaque { size: 2, .. } => {
            let attrs = dataset.attrs()?;
            let said = attrs.get("dtype").and_then(AttrValue::as_str);
            said.is_none_or(|dtype| dtype == "bfloat16").then_some((Element::BF16, false))
        }
        _ => None,
    })
}

/// The number format with this layout of bits, if it is one that is read: sign, exponent and
/// fraction side by side.
fn float(size: u32, layout: &FloatingPointLayout) -> Option<Element> {
    let FloatingPointLayout { bit_offset, exponent_location, mantissa_location, mantissa_size, .. } = *layout;
    if bit_offset != 0 || mantissa_location != 0 || exponent_location != mantissa_size {
        return None;
    }
    match (size, layout.exponent_size, mantissa_size, layout.exponent_bias) {
        (2, 5, 10, 15) => Some(Element::F16),
        (2, 8, 7, 127) => Some(Element::BF16),
        (4, 8, 23, 127) => Some(Element::F32),
        (8, 11, 52, 1023) => Some(Element::F64),
        _ => None,
    }
}

/// A reader of the same file that knows version 2 B-trees of chunks and layouts of version 5. It
/// opens the file when it is first needed.
pub(super) struct SecondReader {
    source: Source,
    file: OnceLock<Result<Hdf5File, String>>,
}

/// Where the file is.
enum Source {
    Path(PathBuf),
    Bytes(Arc<[u8]>),
}

impl SecondReader {
    /// A reader of the file at `path`.
    pub fn of_file(path: &Path) -> Arc<Self> {
        Arc::new(Self { source: Source::Path(path.to_owned()), file: OnceLock::new() })
    }

    /// A reader of a file in memory.
    pub fn of_bytes(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self { source: Source::Bytes(Arc::from(bytes)), file: OnceLock::new() })
    }

    /// Bytes of the file.
    fn length(&self) -> Result<u64, String> {
        match &self.source {
            Source::Path(path) => {
                std::fs::metadata(path).map(|file| file.len()).map_err(|error| error.to_string())
            }
            Source::Bytes(bytes) => Ok(bytes.len() as u64),
        }
    }

    /// The elements of the dataset at `path`, `bytes` bytes in the file's byte order.
    fn read(&self, path: &str, bytes: u64) -> Result<Vec<u8>, String> {
        let file = self.file.get_or_init(|| self.open()).as_ref().map_err(String::clone)?;
        let dataset = file.dataset(path).map_err(|error| error.to_string())?;
        let found = dataset.raw_byte_len().map_err(|error| error.to_string())? as u64;
        if found != bytes {
            return Err(format!("{found} bytes where its shape says {bytes}"));
        }
        dataset.read_raw_bytes().map_err(|error| error.to_string())
    }

    fn open(&self) -> Result<Hdf5File, String> {
        let opened = match &self.source {
            // Not mapped: a file that shrinks meanwhile is an error, not a signal.
            Source::Path(path) => FileStorage::open(path)
                .and_then(|file| Hdf5File::from_storage_with_options(Arc::new(file), OpenOptions::default())),
            Source::Bytes(bytes) => Hdf5File::from_shared_bytes(Arc::clone(bytes)),
        };
        opened.map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(exponent: u8, mantissa: u8, bias: u32) -> FloatingPointLayout {
        FloatingPointLayout {
            bit_offset: 0,
            bit_precision: 1 + u16::from(exponent) + u16::from(mantissa),
            exponent_location: mantissa,
            exponent_size: exponent,
            mantissa_location: 0,
            mantissa_size: mantissa,
            exponent_bias: bias,
        }
    }

    #[test]
    fn formats_are_told_by_their_bits() {
        assert_eq!(float(2, &layout(5, 10, 15)), Some(Element::F16));
        assert_eq!(float(2, &layout(8, 7, 127)), Some(Element::BF16));
        assert_eq!(float(4, &FloatingPointLayout::IEEE754_BINARY32), Some(Element::F32));
        assert_eq!(float(8, &FloatingPointLayout::IEEE754_BINARY64), Some(Element::F64));
        for other in
            [layout(5, 10, 16), layout(4, 11, 7), FloatingPointLayout { bit_offset: 1, ..layout(5, 10, 15) }]
        {
            assert_eq!(float(2, &other), None, "{other:?}");
        }
        assert_eq!(float(1, &layout(4, 3, 7)), None);
    }
}
