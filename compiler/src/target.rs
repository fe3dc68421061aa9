//! What code is generated for.

use std::fmt;

/// The machine features that plans and kernels depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// f32 values in a vector.
    pub lanes: u32,
    /// Vector registers.
    pub registers: usize,
    /// Whether multiply-adds round once.
    pub fused: bool,
    /// Bytes of level-2 cache of one core that a block of work may fill.
    pub cache_bytes: u32,
}

impl Target {
    /// 128-bit vectors, which every Cranelift target has; fused multiply-add as this machine has it.
    pub fn baseline() -> Self {
        Self { lanes: 4, registers: 16, fused: fused_multiply_add(), cache_bytes: 1 << 20 }
    }

    /// Bytes of a vector.
    pub fn vector_bytes(self) -> u32 {
        self.lanes * 4
    }

    /// Channels rounded up to whole vectors.
    pub fn padded(self, channels: u32) -> u32 {
        channels.next_multiple_of(self.lanes)
    }
}

/// Prints `v4` or `v4-fma`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}{}", self.lanes, if self.fused { "-fma" } else { "" })
    }
}

#[cfg(target_arch = "x86_64")]
fn fused_multiply_add() -> bool {
    std::arch::is_x86_feature_detected!("fma")
}

/// Architectures other than x86 have fused multiply-add wherever Cranelift has vectors.
#[cfg(not(target_arch = "x86_64"))]
fn fused_multiply_add() -> bool {
    true
}
