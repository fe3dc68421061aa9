//! What is known of processors by their makers: constants that were measured on a machine of each.

use crate::instruction_times::InstructionTimes;
use crate::isa::Isa;

/// Whose processors constants were measured on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Maker {
    /// Intel's: a Xeon with AMX, whose cores are shared with another thread. Stands for all others, too.
    Intel,
    /// AMD's: Zen 5.
    Amd,
}

impl Maker {
    /// All of them.
    pub const ALL: [Maker; 2] = [Maker::Intel, Maker::Amd];

    /// The maker of this machine's processor.
    pub fn of_this_machine() -> Self {
        if is_of_amd() { Maker::Amd } else { Maker::Intel }
    }

    /// The times of instructions. The measurements are in `instruction_times_intel.json` and `instruction_times_amd.json`.
    pub fn times(self, isa: Isa) -> InstructionTimes {
        InstructionTimes::of(match (self, isa) {
            (Maker::Intel, Isa::Baseline) => [1933, 257, 0, 142, 0, 0, 162, 1009],
            (Maker::Intel, Isa::Avx2) => [2219, 188, 0, 201, 62, 35, 76, 916],
            (Maker::Intel, _) => [0, 206, 222, 149, 45, 134, 91, 1384],
            (Maker::Amd, Isa::Baseline) => [1053, 166, 0, 121, 0, 0, 0, 485],
            (Maker::Amd, Isa::Avx2) => [3848, 95, 0, 158, 55, 25, 0, 84],
            (Maker::Amd, _) => [2195, 133, 161, 36, 0, 28, 108, 585],
        })
    }

    /// Which products are crossed in vectors of an instruction set, if any: Zen 5 adds in pipes of their own, as many vectors in a cycle as
    /// it multiplies (benches/LOG.md); Intel's processors do both in the same. Tiles need many registers.
    pub fn crossed_products(self, isa: Isa) -> Option<CrossedProducts> {
        let has = self == Maker::Amd && isa >= Isa::Avx512;
        has.then_some(CrossedProducts {
            fewest_channels: 128,
            fewest_products: 128 * 256,
            fewest_pixels: 16,
            most_bytes: 5 << 20,
            vectors: 2,
            pixels: 9,
        })
    }

    /// What wide tiles of convolutions wait for (benches/LOG.md): on Intel's processors the number of instructions, on AMD's
    /// that of loads; and there, long loops leave the memory for decoded instructions.
    pub fn wide_tiles(self) -> WideTiles {
        match self {
            Maker::Intel => WideTiles { vectors: 2, reads_memory: true, at_once: 8 },
            Maker::Amd => WideTiles { vectors: 3, reads_memory: false, at_once: 2 },
        }
    }
}

/// Which pointwise products are crossed ([`kernels::crossed`](crate::kernels::crossed)), where a processor adds beside its
/// multiply-adds. What it takes to make pixels ready, and tiles of fewer pixels, must be less than what the products save (benches/LOG.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CrossedProducts {
    /// Fewest inputs, and fewest outputs.
    pub fewest_channels: u32,
    /// Fewest products of a pixel.
    pub fewest_products: u64,
    /// Fewest pixels of an image.
    pub fewest_pixels: u64,
    /// Most bytes of the pixels of an image, where a step makes them ready that then reads them from the cache that cores share.
    pub most_bytes: u64,
    /// Vectors of the widest panel of weights.
    pub vectors: u32,
    /// Most pixels of a tile: with as many as there are registers for, loads are late more often.
    pub pixels: u32,
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

/// Whether the processor says that it is AMD's (AMD64 Architecture Programmer's Manual, volume 3, "CPUID Fn0000_0000").
#[cfg(target_arch = "x86_64")]
fn is_of_amd() -> bool {
    let leaf = std::arch::x86_64::__cpuid(0);
    let words = [leaf.ebx, leaf.edx, leaf.ecx].map(u32::to_le_bytes);
    words.as_flattened() == b"AuthenticAMD"
}

/// Other architectures have no such processors.
#[cfg(not(target_arch = "x86_64"))]
fn is_of_amd() -> bool {
    false
}
