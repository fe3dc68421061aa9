//! Tuning of processors: constants that were measured on a microarchitecture, which CPUID tells by
//! vendor, family and model.

use crate::instruction_times::InstructionTimes;
use crate::isa::Isa;

/// A microarchitecture, or how much is known of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Microarchitecture {
    /// Golden Cove as in Sapphire and Emerald Rapids, with AMX, measured where another thread
    /// shares the core.
    GoldenCove,
    /// Zen 5.
    Zen5,
    /// A processor of AMD's that was not measured: f32 as on Zen 5, products of bf16 pairs as slow
    /// as on any.
    OtherAmd,
    /// A processor that was not measured: all as on Golden Cove, whose products of bf16 pairs are
    /// the slowest.
    Other,
}

/// Multiply-adds that a product of bf16 pairs takes the time of, where it was not measured: as
/// many as on Golden Cove.
const SLOW_PAIR: u32 = 4;

impl Microarchitecture {
    /// Those that were measured.
    pub const MEASURED: [Microarchitecture; 2] = [Microarchitecture::GoldenCove, Microarchitecture::Zen5];

    /// That of this machine's processor.
    pub fn of_this_machine() -> Self {
        identify().map_or(Microarchitecture::Other, |processor| Self::of(&processor))
    }

    /// That of a processor. Models of a family that came after the measurements count as not
    /// measured.
    fn of(processor: &Identity) -> Self {
        match (&processor.vendor, processor.family, processor.model) {
            (b"GenuineIntel", 6, 0x8f | 0xcf) => Microarchitecture::GoldenCove,
            (b"AuthenticAMD", 0x1a, 0x00..=0x4f | 0x60..=0x7f) => Microarchitecture::Zen5,
            (b"AuthenticAMD", ..) => Microarchitecture::OtherAmd,
            _ => Microarchitecture::Other,
        }
    }

    /// The times of instructions. The measurements are in `instruction_times_intel.json` (Golden
    /// Cove) and `instruction_times_amd.json` (Zen 5).
    pub fn times(self, isa: Isa) -> InstructionTimes {
        use Microarchitecture::{GoldenCove, Other, OtherAmd, Zen5};
        let times = InstructionTimes::of(match (self, isa) {
            (GoldenCove | Other, Isa::Baseline) => [1933, 257, 0, 142, 0, 0, 162, 1009, 0, 0, 0],
            (GoldenCove | Other, Isa::Avx2) => [2219, 188, 0, 201, 62, 35, 76, 916, 0, 0, 0],
            (GoldenCove | Other, _) => [0, 206, 222, 149, 45, 134, 91, 1384, 873, 7200, 6000],
            (Zen5 | OtherAmd, Isa::Baseline) => [1053, 166, 0, 121, 0, 0, 0, 485, 0, 0, 0],
            (Zen5 | OtherAmd, Isa::Avx2) => [3848, 95, 0, 158, 55, 25, 0, 84, 0, 0, 0],
            (Zen5 | OtherAmd, _) => [2195, 133, 161, 36, 0, 28, 108, 585, 138, 0, 0],
        });
        let pair = if self == OtherAmd { SLOW_PAIR * times.multiply_add } else { times.pair };
        InstructionTimes { pair, ..times }
    }

    /// True for processors with pipes for additions beside those for multiply-adds.
    fn adds_beside(self) -> bool {
        matches!(self, Microarchitecture::Zen5 | Microarchitecture::OtherAmd)
    }

    /// Which products are fast inner products in vectors of an instruction set, if any: Zen 5 adds
    /// in pipes of their own, as many vectors in a cycle as it multiplies (benches/LOG.md); Golden
    /// Cove does both in the same. Tiles need many registers.
    pub fn fast_inner_products(self, isa: Isa) -> Option<FastInnerProducts> {
        let has = self.adds_beside() && isa >= Isa::Avx512;
        has.then_some(FastInnerProducts {
            fewest_channels: 128,
            fewest_products: 128 * 256,
            fewest_pixels: 16,
            most_bytes: 5 << 20,
            vectors: 2,
            pixels: 9,
        })
    }

    /// What wide tiles of convolutions wait for (benches/LOG.md): on Golden Cove the number of
    /// instructions, on Zen 5 that of loads; and there, long loops leave the memory for decoded
    /// instructions.
    pub fn wide_tiles(self) -> WideTiles {
        if self.adds_beside() {
            WideTiles { vectors: 3, reads_memory: false, at_once: 2 }
        } else {
            WideTiles { vectors: 2, reads_memory: true, at_once: 8 }
        }
    }
}

/// Which pointwise products are fast inner products
/// ([`kernels::fast_inner`](crate::kernels::fast_inner)), where a processor adds beside its
/// multiply-adds. What it takes to make pixels ready, and tiles of fewer pixels, must be less than
/// what the products save (benches/LOG.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FastInnerProducts {
    /// Fewest inputs, and fewest outputs.
    pub fewest_channels: u32,
    /// Fewest products of a pixel.
    pub fewest_products: u64,
    /// Fewest pixels of an image.
    pub fewest_pixels: u64,
    /// Most bytes of the pixels of an image, where a step makes them ready that then reads them
    /// from the cache that cores share.
    pub most_bytes: u64,
    /// Vectors of the widest panel of weights.
    pub vectors: u32,
    /// Most pixels of a tile: with as many as there are registers for, loads are late more often.
    pub pixels: u32,
}

/// Tiles of pixels by vectors of outputs in 32 registers. Two vectors make many pixels, so that
/// weights are read from the level-2 cache as seldom as possible; three need fewer loads for a
/// multiply-add.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WideTiles {
    /// Vectors of the widest panel of weights.
    pub vectors: u32,
    /// Whether multiply-adds read the values of most pixels from memory themselves: fewer
    /// instructions, but a load for each vector instead of one for all.
    pub reads_memory: bool,
    /// Input channels that one trip of a tile's inner loop covers, at least one.
    pub at_once: u32,
}

/// Convolutions for which tiles are faster than vectors although an f32 product takes six of
/// theirs. On cores that are shared with another thread the gain is small, and these are the
/// limits of it there (benches/LOG.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExactTiles {
    /// Fewest outputs: the parts of a pixel's inputs are made once for all of them.
    pub fewest_outputs: u32,
    /// Fewest inputs of a sum: shorter products do not hide what becomes of sums.
    pub fewest_inputs: u64,
    /// Most inputs of a sum: of more, the parts of a block and of a panel leave the level-2 cache.
    /// Half as many where there are several segments.
    pub most_inputs: u64,
    /// The same where a row of a matrix holds a row of taps only, for any number of segments: a
    /// block is smaller.
    pub most_inputs_by_rows: u64,
    /// Fewest pixels of an image: weights are half as large again as f32. Those of a whole batch
    /// do not count, so that an image has the same bits in any batch.
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
    /// Whether a convolution of `segments` with `outputs` by sums of `inputs` each, over so many
    /// rows of a matrix, is one, for so many pixels.
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

/// What CPUID says of a processor.
struct Identity {
    vendor: [u8; 12],
    family: u32,
    model: u32,
}

/// This machine's processor (AMD64 Architecture Programmer's Manual, volume 3, "CPUID Fn0000_0000"
/// and "Fn0000_0001"; Intel's has the same registers).
#[cfg(target_arch = "x86_64")]
fn identify() -> Option<Identity> {
    use std::arch::x86_64::__cpuid;
    let (first, signature) = (__cpuid(0), __cpuid(1).eax);
    let words = [first.ebx, first.edx, first.ecx].map(u32::to_le_bytes);
    let field = |shift: u32, mask: u32| signature >> shift & mask;
    // The extended family counts from base family 15 on, the extended model in families 6 and 15.
    let base = field(8, 0xf);
    let family = if base == 0xf { base + field(20, 0xff) } else { base };
    let extended = if matches!(base, 6 | 0xf) { field(16, 0xf) << 4 } else { 0 };
    let vendor = words.as_flattened().try_into().ok()?;
    Some(Identity { vendor, family, model: extended | field(4, 0xf) })
}

/// Other architectures have no such processors.
#[cfg(not(target_arch = "x86_64"))]
fn identify() -> Option<Identity> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn microarchitectures_are_told_by_family_and_model() {
        use Microarchitecture::{GoldenCove, Other, OtherAmd, Zen5};
        let of = |vendor: &[u8; 12], family, model| {
            Microarchitecture::of(&Identity { vendor: *vendor, family, model })
        };
        let (intel, amd) = (b"GenuineIntel", b"AuthenticAMD");
        // Sapphire, Emerald, Granite Rapids, Cooper Lake.
        assert_eq!(
            [0x8f, 0xcf, 0xad, 0x55].map(|model| of(intel, 6, model)),
            [GoldenCove, GoldenCove, Other, Other]
        );
        // Turin, Granite Ridge, a later one; Genoa.
        assert_eq!([0x02, 0x44, 0x50].map(|model| of(amd, 0x1a, model)), [Zen5, Zen5, OtherAmd]);
        assert_eq!(of(amd, 0x19, 0x11), OtherAmd);
        assert_eq!(of(b"HygonGenuine", 0x18, 0), Other);
    }

    #[test]
    fn processors_that_were_not_measured_have_slow_products_of_pairs() {
        for processor in [Microarchitecture::Other, Microarchitecture::OtherAmd] {
            let times = processor.times(Isa::Avx512Bf16);
            assert!(times.pair >= SLOW_PAIR * times.multiply_add, "{processor:?}");
        }
    }
}
