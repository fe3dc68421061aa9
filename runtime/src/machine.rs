//! What is known of the machine and of this process: for reports of measurements.

mod memory;

use xcc_compiler::target::Isa;

pub use memory::{Headroom, Limit, Needs, Shortage, available_memory, headroom, peak_memory};

/// The processor's name as the system gives it, or the architecture where it gives none.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

/// The cores that this process may use.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// The vector extensions of the processor that kernels can use.
#[cfg(target_arch = "x86_64")]
pub fn features() -> Vec<&'static str> {
    use std::arch::is_x86_feature_detected as detected;
    let features = [
        ("sse4.1", detected!("sse4.1")),
        ("avx", detected!("avx")),
        ("avx2", detected!("avx2")),
        ("fma", detected!("fma")),
        ("avx512f", detected!("avx512f")),
        ("avx512bw", detected!("avx512bw")),
        ("avx512vl", detected!("avx512vl")),
        ("avx512bf16", detected!("avx512bf16")),
    ];
    let features = features.into_iter().filter(|(_, has)| *has).map(|(name, _)| name);
    let amx = Isa::Amx.missing().is_empty().then_some("amx");
    features.chain(amx).collect()
}

/// The vector extensions of the processor that kernels can use.
#[cfg(not(target_arch = "x86_64"))]
pub fn features() -> Vec<&'static str> {
    Vec::new()
}

/// Why kernels may not use tile registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the system does not permit this process the use of amx (error {code}); run with --target avx512bf16, in f32 or bf16"
)]
pub struct NoTiles {
    /// The error of the system call.
    code: i32,
}

/// Asks the system, once for the whole process, for the use of tile registers.
pub fn permit_tiles() -> Result<(), NoTiles> {
    xcc_compiler::target::permit_tiles().map_err(|code| NoTiles { code })
}
