//! Memory that starts at a cache line.

use bytemuck::{Pod, Zeroable};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct CacheLine([f32; 16]);

/// A buffer of f32 values that starts at a cache line.
pub struct AlignedBuffer(Vec<CacheLine>);

/// There is no memory for a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot allocate {bytes} bytes")]
pub struct OutOfMemory {
    /// Bytes asked for.
    pub bytes: u64,
}

impl AlignedBuffer {
    /// A buffer of at least `bytes` bytes, all zero.
    pub fn zeroed(bytes: u64) -> Result<Self, OutOfMemory> {
        let lines = usize::try_from(bytes.div_ceil(64)).map_err(|_| OutOfMemory { bytes })?;
        bytemuck::allocation::try_zeroed_vec(lines).map(Self).map_err(|()| OutOfMemory { bytes })
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
