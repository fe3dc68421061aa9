//! Memory whose size follows from what users give, taken with a check: buffers that start at a
//! page, and vectors.

use std::borrow::Cow;

use memmap2::MmapMut;
use xcc_compiler::graph::WeightError;

use crate::exhaustion::checked;

/// A buffer of f32 values that starts at a page, and lies in huge pages where the system has them:
/// maps and weights are megabytes, and looking up thousands of small pages takes longer than
/// reading them.
pub struct AlignedBuffer(MmapMut);

/// There is no memory for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot allocate {bytes} bytes")]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub bytes: u64,
}

/// Bytes of a huge page; smaller buffers would only waste one.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

impl AlignedBuffer {
    /// A buffer of at least `bytes` bytes, all zero.
    pub fn zeroed(bytes: u64) -> Result<Self, OutOfMemory> {
        let length = bytes.max(1).checked_next_multiple_of(64).and_then(|bytes| usize::try_from(bytes).ok());
        let length = length.filter(|&length| length <= isize::MAX as usize).ok_or(OutOfMemory { bytes })?;
        let memory = MmapMut::map_anon(length).map_err(|_| OutOfMemory { bytes })?;
        #[cfg(target_os = "linux")]
        if length >= HUGE_PAGE {
            // A system without huge pages refuses, and small pages serve.
            let _ = memory.advise(memmap2::Advice::HugePage);
        }
        Ok(Self(memory))
    }

    /// The values.
    pub fn values(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }

    /// The values.
    pub fn values_mut(&mut self) -> &mut [f32] {
        bytemuck::cast_slice_mut(&mut self.0)
    }
}

/// Room for `length` values.
pub fn reserved<T>(length: usize) -> Result<Vec<T>, OutOfMemory> {
    let mut values = Vec::new();
    checked(|| values.try_reserve_exact(length)).map_err(|_| missing::<T>(length))?;
    Ok(values)
}

/// `length` zeros.
pub fn zeros<T: bytemuck::Zeroable>(length: usize) -> Result<Vec<T>, OutOfMemory> {
    checked(|| bytemuck::allocation::try_zeroed_vec(length)).map_err(|()| missing::<T>(length))
}

/// The values in a vector of their own.
pub fn owned(values: Cow<'_, [f32]>) -> Result<Vec<f32>, WeightError> {
    match values {
        Cow::Owned(values) => Ok(values),
        Cow::Borrowed(values) => {
            let mut copy = reserved(values.len())?;
            copy.extend_from_slice(values);
            Ok(copy)
        }
    }
}

fn missing<T>(length: usize) -> OutOfMemory {
    OutOfMemory { bytes: (length as u64).saturating_mul(size_of::<T>() as u64) }
}

impl From<OutOfMemory> for WeightError {
    fn from(OutOfMemory { bytes }: OutOfMemory) -> Self {
        WeightError::Memory { bytes }
    }
}
