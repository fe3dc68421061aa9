//! What code is generated for.

use std::fmt;
use std::str::FromStr;

use crate::instruction_times::InstructionTimes;
use crate::processor::Microarchitecture;

pub use crate::isa::{Bf16Unit, Isa, permit_tiles};
pub use crate::processor::{ExactTiles, FastInnerProducts, WideTiles};

/// Why there is no such target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// No target has this name.
    #[error("there is no target `{name}`; there are {}", known())]
    Unknown {
        /// The name.
        name: String,
    },
    /// The machine lacks features.
    #[error("target {isa} needs {}, which this machine lacks; it has {}", missing.join(", "), Isa::native())]
    Missing {
        /// The instruction set.
        isa: Isa,
        /// Features that the machine lacks.
        missing: Vec<&'static str>,
    },
}

fn known() -> String {
    let names: Vec<String> = Isa::ALL.iter().map(ToString::to_string).collect();
    format!("{} and native", names.join(", "))
}

/// The machine features that plans and kernels depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The instruction set.
    pub isa: Isa,
    /// f32 values in a vector.
    pub lanes: u32,
    /// Vector registers.
    pub registers: usize,
    /// Whether multiply-adds round once.
    pub fused: bool,
    /// Bytes of level-2 cache of one core that a block of work may fill.
    pub cache_bytes: u32,
    /// Multiply-adds, or values, of the smallest unit of work that threads should take by itself:
    /// some 10 microseconds.
    pub unit_macs: u64,
    /// What instructions cost, by which plans choose between kernels.
    pub times: InstructionTimes,
    /// Which convolutions have f32 products by tiles, where there are tiles.
    pub exact_tiles: ExactTiles,
    /// What tiles of convolutions in vectors of AVX-512 are made of.
    pub wide_tiles: WideTiles,
    /// Which pointwise products are fast inner products.
    pub fast_inner_products: Option<FastInnerProducts>,
}

impl Target {
    /// An instruction set, whether this machine has it or not, with what suits Golden Cove: code
    /// is the same on every machine.
    pub fn of(isa: Isa) -> Self {
        Self::tuned(Microarchitecture::GoldenCove, isa)
    }

    /// An instruction set with what suits this machine.
    fn here(isa: Isa) -> Self {
        Self::tuned(Microarchitecture::of_this_machine(), isa)
    }

    /// An instruction set with what suits a microarchitecture.
    pub fn tuned(processor: Microarchitecture, isa: Isa) -> Self {
        let (lanes, registers) = match isa {
            Isa::Baseline => (4, 16),
            Isa::Avx2 => (8, 16),
            Isa::Avx512 | Isa::Avx512Bf16 | Isa::Amx => (16, 32),
        };
        let fused = isa > Isa::Baseline || fused_multiply_add();
        Self {
            isa,
            lanes,
            registers,
            fused,
            cache_bytes: 1 << 20,
            unit_macs: 1 << 19,
            times: processor.times(isa),
            exact_tiles: ExactTiles::default(),
            wide_tiles: processor.wide_tiles(),
            fast_inner_products: processor.fast_inner_products(isa),
        }
    }

    /// 128-bit vectors, which every Cranelift target has; fused multiply-add as this machine has
    /// it.
    pub fn baseline() -> Self {
        Self::of(Isa::Baseline)
    }

    /// The widest vectors that this machine has.
    pub fn native() -> Self {
        Self::here(Isa::native())
    }

    /// Every target that this machine can run, the narrowest first.
    pub fn available() -> Vec<Self> {
        Isa::ALL.into_iter().filter(|isa| isa.missing().is_empty()).map(Self::here).collect()
    }

    /// What multiplies bf16 values, if anything does.
    pub fn bf16_unit(self) -> Option<Bf16Unit> {
        match self.isa {
            Isa::Amx => Some(Bf16Unit::Tiles),
            Isa::Avx512Bf16 => Some(Bf16Unit::Pairs),
            Isa::Baseline | Isa::Avx2 | Isa::Avx512 => None,
        }
    }

    /// Bytes of a vector.
    pub fn vector_bytes(self) -> u32 {
        self.lanes * 4
    }

    /// Bytes between pixels of maps with `channels` channels, whole vectors.
    ///
    /// Pixels a multiple of 4096 bytes apart would share the few cache lines that have the same
    /// low address bits, so wide code puts a cache line between them.
    pub fn pixel_bytes(self, channels: u32) -> u64 {
        self.pixel_bytes_but(channels, 4096)
    }

    /// The same for maps that depthwise convolutions read or write a vector of channels at a time:
    /// where pixels are a multiple of 1024 bytes apart, the windows of a row share few sets of the
    /// level-1 cache (benches/LOG.md).
    pub fn depthwise_pixel_bytes(self, channels: u32) -> u64 {
        self.pixel_bytes_but(channels, 1024)
    }

    /// Bytes between pixels, but no multiple of `colliding`.
    fn pixel_bytes_but(self, channels: u32, colliding: u64) -> u64 {
        let bytes = u64::from(self.padded(channels)) * 4;
        let collides = self.isa > Isa::Baseline && bytes.is_multiple_of(colliding);
        if collides { bytes + 64 } else { bytes }
    }

    /// Channels rounded up to whole vectors.
    pub fn padded(self, channels: u32) -> u32 {
        channels.next_multiple_of(self.lanes)
    }
}

/// `native`, or the name of an instruction set that this machine has.
impl FromStr for Target {
    type Err = TargetError;

    fn from_str(name: &str) -> Result<Self, TargetError> {
        if name == "native" {
            return Ok(Self::native());
        }
        let isa = Isa::ALL.into_iter().find(|isa| isa.to_string() == name);
        let isa = isa.ok_or_else(|| TargetError::Unknown { name: name.to_owned() })?;
        match isa.missing() {
            missing if missing.is_empty() => Ok(Self::here(isa)),
            missing => Err(TargetError::Missing { isa, missing }),
        }
    }
}

/// Prints the instruction set; `baseline` is `baseline-unfused` without fused multiply-add.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.isa, if self.fused { "" } else { "-unfused" })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_found_by_name() {
        assert_eq!("native".parse::<Target>(), Ok(Target::native()));
        for target in Target::available() {
            assert_eq!(target.isa.to_string().parse::<Target>(), Ok(target));
        }
        let error = "avx1024".parse::<Target>().unwrap_err().to_string();
        assert_eq!(
            error,
            "there is no target `avx1024`; there are baseline, avx2, avx512, avx512bf16, amx and native"
        );
    }

    #[test]
    fn a_target_that_the_machine_lacks_says_what_is_missing() {
        for isa in Isa::ALL.into_iter().filter(|isa| !isa.missing().is_empty()) {
            let error = isa.to_string().parse::<Target>().unwrap_err().to_string();
            assert!(isa.missing().iter().all(|feature| error.contains(feature)), "{error}");
        }
    }
}
