//! What is known of the machine and of this process: for reports of measurements.

use xcc_compiler::target::Isa;

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

/// The most memory that this process has had at a time, in bytes; `None` where the system does not tell.
#[cfg(unix)]
pub fn peak_memory() -> Option<u64> {
    // SAFETY: the structure holds integers only, for which all zeros are a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a structure of the type that the system fills.
    let status = unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) };
    // Apple's systems count bytes, others units of 1024.
    let unit = if cfg!(target_vendor = "apple") { 1 } else { 1024 };
    u64::try_from(usage.ru_maxrss).ok().filter(|_| status == 0).map(|size| size * unit)
}

/// The most memory that this process has had at a time, in bytes; `None` where the system does not tell.
#[cfg(not(unix))]
pub fn peak_memory() -> Option<u64> {
    None
}

/// Memory that this process may still take without others being moved out, in bytes: what the system or the control
/// group around the process has left, whichever is less. `None` where the system does not tell.
#[cfg(target_os = "linux")]
pub fn available_memory() -> Option<u64> {
    let system = available_of_system(&std::fs::read_to_string("/proc/meminfo").ok()?)?;
    let number = |name: &str| {
        let text = std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    // The root group has no such files, and a group without a limit says `max`.
    let group = number("memory.max").zip(number("memory.current"));
    let files = std::fs::read_to_string("/sys/fs/cgroup/memory.stat").ok().and_then(|stat| idle_files(&stat));
    let left = |(most, now): (u64, u64)| most.saturating_sub(now.saturating_sub(files.unwrap_or(0)));
    Some(group.map_or(system, |group| system.min(left(group))))
}

/// The line of a control group's `memory.stat` that says how many bytes are parts of files that have not been used for long: the system
/// takes them back where memory is wanted.
#[cfg(target_os = "linux")]
fn idle_files(stat: &str) -> Option<u64> {
    stat.lines().find_map(|line| line.strip_prefix("inactive_file "))?.trim().parse().ok()
}

/// The line of `/proc/meminfo` that says how much memory there is for new work.
#[cfg(target_os = "linux")]
fn available_of_system(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Memory that this process may still take, in bytes; `None` where the system does not tell.
#[cfg(not(target_os = "linux"))]
pub fn available_memory() -> Option<u64> {
    None
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn available_memory_is_read_from_the_system() {
        let text = "MemTotal:       16 kB\nMemAvailable:   12345678 kB\nCached: 3 kB\n";
        assert_eq!(available_of_system(text), Some(12_345_678 << 10));
        assert_eq!(available_of_system("MemTotal: 16 kB"), None);
        assert!(available_memory().is_some_and(|bytes| bytes > 0));
        assert_eq!(idle_files("anon 1\ninactive_file 4096\nactive_file 7\n"), Some(4096));
        assert_eq!(idle_files("anon 1\n"), None);
    }

    #[test]
    #[cfg(unix)]
    fn peak_memory_grows_by_what_is_touched() {
        let before = peak_memory().unwrap();
        let touched = vec![1u8; 256 << 20];
        let after = peak_memory().unwrap();
        assert!(after >= (touched.iter().step_by(4096).count() as u64) * 4096, "{before} and {after}");
    }
}
