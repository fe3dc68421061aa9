//! What is known of processors by their makers: constants that were measured on a machine of each.

use crate::instruction_times::InstructionTimes;
use crate::target::{Isa, WideTiles};

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

    /// What wide tiles of convolutions wait for (benches/LOG.md): on Intel's processors the number of instructions, on AMD's
    /// that of loads; and there, long loops leave the memory for decoded instructions.
    pub fn wide_tiles(self) -> WideTiles {
        match self {
            Maker::Intel => WideTiles { vectors: 2, reads_memory: true, at_once: 8 },
            Maker::Amd => WideTiles { vectors: 3, reads_memory: false, at_once: 2 },
        }
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
