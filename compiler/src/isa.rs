//! Instruction sets, and whether this machine has them.

use std::fmt;

/// The instruction sets that there is code for, each including those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// 128-bit vectors by Cranelift, on every machine that it knows.
    Baseline,
    /// x86-64 with AVX2 and FMA: 256-bit vectors.
    Avx2,
    /// x86-64 with AVX-512 (F, BW, DQ, VL): 512-bit vectors.
    Avx512,
    /// x86-64 with AVX-512 and its BF16 extension: 512-bit vectors, and products of pairs of bf16
    /// values.
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
            (Isa::Amx, "the system's permission to use amx", tiles::permitted()),
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

/// Asks the system, once for the whole process, to keep tile registers when it switches between
/// threads: it reserves no memory for them before. The error is that of the system call: sandboxes
/// and small signal stacks refuse it.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub fn permit_tiles() -> Result<(), i32> {
    static PERMITTED: std::sync::OnceLock<Result<(), i32>> = std::sync::OnceLock::new();
    /// `ARCH_REQ_XCOMP_PERM` of Linux (Documentation/arch/x86/xstate.rst).
    const REQUEST: libc::c_long = 0x1023;
    /// The number of the tile data among the states of a thread.
    const TILE_DATA: libc::c_long = 18;
    *PERMITTED.get_or_init(|| {
        // SAFETY: the call takes two integers and touches no memory of the process.
        match unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST, TILE_DATA) } {
            0 => Ok(()),
            _ => Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(0)),
        }
    })
}

/// Other systems than Linux grant tile registers without being asked.
#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
pub fn permit_tiles() -> Result<(), i32> {
    Ok(())
}

/// Detection of AMX, for which the standard library has no stable names.
#[cfg(all(target_arch = "x86_64", unix))]
mod tiles {
    use std::arch::x86_64::{__cpuid, __cpuid_count, _xgetbv};

    /// The register EDX of leaf 7, or 0 where there is no such leaf (Intel, Software Developer's
    /// Manual, volume 2, "CPUID").
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

    /// Whether the system permits this process the use of tiles, which it is asked for where there
    /// are any.
    pub fn permitted() -> bool {
        unit() && super::permit_tiles().is_ok()
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
