//! What code is generated for.

use std::fmt;
use std::str::FromStr;

use crate::instruction_times::InstructionTimes;
use crate::processor::Maker;

/// The instruction sets that there is code for, each including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// 128-bit vectors by Cranelift, on every machine that it knows.
    Baseline,
    /// x86-64 with AVX2 and FMA: 256-bit vectors.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, DQ, VL): 512-bit vectors.
    Avx512,
    /// x86-64 with AVX-512 and its BF16 extension: 512-bit vectors, and products of pairs of bf16 values.
    Avx512Bf16,
    /// x86-64 with all of this and AMX: matrices of bf16 values.
    Amx,
}

impl Isa {
    /// All of them, the narrowest first.
    pub const ALL: [Isa; 5] = [Isa::Baseline, Isa::Avx2, Isa::Avx512, Isa::Avx512Bf16, Isa::Amx];

    /// The widest that this machine has.
    pub fn native() -> Self {
        Self::ALL.into_iter().rev().find(|isa| isa.missing().is_empty()).unwrap_or(Isa::Baseline)
    }

    /// The processor features that this instruction set needs and this machine lacks.
    pub fn missing(self) -> Vec<&'static str> {
        if self == Isa::Baseline {
            return Vec::new();
        }
        let needed = Self::needed().into_iter().filter(|(isa, ..)| *isa <= self);
        needed.filter(|(.., present)| !present).map(|(_, name, _)| name).collect()
    }

    /// Each feature with the first instruction set that needs it and whether this machine has it.
    #[cfg(all(target_arch = "x86_64", unix))]
    fn needed() -> Vec<(Isa, &'static str, bool)> {
        use std::arch::is_x86_feature_detected as detected;
        vec![
            (Isa::Avx2, "avx2", detected!("avx2")),
            (Isa::Avx2, "fma", detected!("fma")),
            (Isa::Avx512, "avx512f", detected!("avx512f")),
            (Isa::Avx512, "avx512bw", detected!("avx512bw")),
            (Isa::Avx512, "avx512dq", detected!("avx512dq")),
            (Isa::Avx512, "avx512vl", detected!("avx512vl")),
            (Isa::Avx512Bf16, "avx512_bf16", detected!("avx512bf16")),
            (Isa::Amx, "amx_tile", tiles::unit()),
            (Isa::Amx, "amx_bf16", tiles::bf16()),
            (Isa::Amx, "amx state kept by the system", tiles::kept_by_system()),
        ]
    }

    /// Wide kernels are x86-64 code that follows the System V calling convention.
    #[cfg(not(all(target_arch = "x86_64", unix)))]
    fn needed() -> Vec<(Isa, &'static str, bool)> {
        vec![(Isa::Avx2, "an x86-64 processor under a Unix system", false)]
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Isa::Baseline => "baseline",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Bf16 => "avx512bf16",
            Isa::Amx => "amx",
        })
    }
}

/// Detection of AMX, for which the standard library has no stable names.
#[cfg(all(target_arch = "x86_64", unix))]
mod tiles {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    /// The register EDX of leaf 7, or 0 where there is no such leaf (Intel, Software Developer's Manual,
    /// volume 2, "CPUID").
    fn features() -> u32 {
        if __cpuid(0).eax < 7 { 0 } else { __cpuid_count(7, 0).edx }
    }

    /// Whether there are tile registers.
    pub fn unit() -> bool {
        features() & (1 << 24) != 0
    }

    /// Whether there are products of bf16 tiles.
    pub fn bf16() -> bool {
        features() & (1 << 22) != 0
    }

    /// Whether the system saves configuration and data of tiles when it switches between threads.
    pub fn kept_by_system() -> bool {
        let readable = __cpuid(1).ecx & (1 << 27) != 0;
        // SAFETY: the bit says that the system has enabled this instruction.
        readable && unsafe { xgetbv() } & (0b11 << 17) == 0b11 << 17
    }

    /// Which states the system keeps.
    #[target_feature(enable = "xsave")]
    fn xgetbv() -> u64 {
        // SAFETY: register 0 exists wherever the instruction does.
        unsafe { _xgetbv(0) }
    }
}

/// What multiplies bf16 values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bf16Unit {
    /// Vector registers, two products for each of their f32 values: twice as fast as f32.
    Pairs,
    /// Tile registers: sixteen times as fast as f32.
    Tiles,
}

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
    /// Multiply-adds, or values, of the smallest unit of work that threads should take by itself: some 10 microseconds.
    pub unit_macs: u64,
    /// What instructions cost, by which plans choose between kernels.
    pub times: InstructionTimes,
    /// Which convolutions have f32 products by tiles, where there are tiles.
    pub exact_tiles: ExactTiles,
    /// What tiles of convolutions in vectors of AVX-512 are made of.
    pub wide_tiles: WideTiles,
}

/// Tiles of pixels by vectors of outputs in 32 registers. Two vectors make many pixels, so that weights are read from
/// the level-2 cache as seldom as possible; three need fewer loads for a multiply-add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WideTiles {
    /// Vectors of the widest panel of weights.
    pub vectors: u32,
    /// Whether multiply-adds read the values of most pixels from memory themselves: fewer instructions, but a load for
    /// each vector instead of one for all.
    pub reads_memory: bool,
    /// Input channels that one trip of a tile's inner loop covers, at least one.
    pub at_once: u32,
}

/// Convolutions for which tiles are faster than vectors although an f32 product takes six of theirs. On cores that are
/// shared with another thread the gain is small, and these are the limits of it there (benches/LOG.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExactTiles {
    /// Fewest outputs: the parts of a pixel's inputs are made once for all of them.
    pub fewest_outputs: u32,
    /// Fewest inputs of a sum: shorter products do not hide what becomes of sums.
    pub fewest_inputs: u64,
    /// Most inputs of a sum: of more, the parts of a block and of a panel leave the level-2 cache. Half as many where
    /// there are several segments.
    pub most_inputs: u64,
    /// The same where a row of a matrix holds a row of taps only, for any number of segments: a block is smaller.
    pub most_inputs_by_rows: u64,
    /// Fewest pixels of an image: weights are half as large again as f32. Those of a whole batch do not count, so that an
    /// image has the same bits in any batch.
    pub fewest_pixels: u64,
}

impl Default for ExactTiles {
    fn default() -> Self {
        Self {
            fewest_outputs: 88,
            fewest_inputs: 128,
            most_inputs: 2304,
            most_inputs_by_rows: 3456,
            fewest_pixels: 64,
        }
    }
}

impl ExactTiles {
    /// Whether a convolution of `segments` with `outputs` by sums of `inputs` each, over so many rows of a matrix, is one, for
    /// so many pixels.
    pub fn include(self, segments: usize, (outputs, inputs, rows): (u32, u64, u32), pixels: u64) -> bool {
        let most_inputs = match (rows, segments) {
            (1, 1) => self.most_inputs,
            (1, _) => self.most_inputs / 2,
            _ => self.most_inputs_by_rows,
        };
        outputs >= self.fewest_outputs
            && (self.fewest_inputs..=most_inputs).contains(&inputs)
            && pixels >= self.fewest_pixels
    }
}

impl Target {
    /// An instruction set, whether this machine has it or not, with what suits Intel's processors: code is the same on every
    /// machine.
    pub fn of(isa: Isa) -> Self {
        Self::made_by(Maker::Intel, isa)
    }

    /// An instruction set with what suits this machine.
    fn here(isa: Isa) -> Self {
        Self::made_by(Maker::of_this_machine(), isa)
    }

    /// An instruction set with what suits a maker's processors.
    pub fn made_by(maker: Maker, isa: Isa) -> Self {
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
            times: maker.times(isa),
            exact_tiles: ExactTiles::default(),
            wide_tiles: maker.wide_tiles(),
        }
    }

    /// 128-bit vectors, which every Cranelift target has; fused multiply-add as this machine has it.
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
    /// Pixels a multiple of 4096 bytes apart would share the few cache lines that have the same low address bits,
    /// so wide code puts a cache line between them.
    pub fn pixel_bytes(self, channels: u32) -> u64 {
        let bytes = u64::from(self.padded(channels)) * 4;
        let collides = self.isa > Isa::Baseline && bytes.is_multiple_of(4096);
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
