//! What is known of the machine and of this process: for reports of measurements.

/// The processor's name as the system gives it, or the architecture where it gives none.
pub fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
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
    features.into_iter().filter(|(_, has)| *has).map(|(name, _)| name).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn peak_memory_grows_by_what_is_touched() {
        let before = peak_memory().unwrap();
        let touched = vec![1u8; 256 << 20];
        let after = peak_memory().unwrap();
        assert!(after >= (touched.iter().step_by(4096).count() as u64) * 4096, "{before} and {after}");
    }
}
