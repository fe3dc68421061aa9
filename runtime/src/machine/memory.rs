//! Memory that this process has had and may still take, by everything that limits it: the machine,
//! control groups and limits of the process.

use std::fmt;

/// What keeps a process from taking more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// The machine has no more.
    Machine,
    /// A control group around the process.
    Group,
    /// The limit of the process's addresses (`ulimit -v`).
    Addresses,
    /// The limit of the process's data (`ulimit -d`).
    Data,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Limit::Machine => "on this machine",
            Limit::Group => "in this control group",
            Limit::Addresses => "under the limit of addresses (`ulimit -v`)",
            Limit::Data => "under the limit of data (`ulimit -d`)",
        })
    }
}

/// Memory that can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Headroom {
    /// Bytes.
    pub bytes: u64,
    /// What keeps them from being more.
    pub limit: Limit,
}

/// Memory that a piece of work takes, in bytes, and the memory that can be had for it, which is
/// less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "needs {} MB of memory (weights {}, packed constants {}, activations {}), but {} MB can be had {}",
    mb(self.needs.sum()), mb(self.needs.weights), mb(self.needs.constants), mb(self.needs.activations),
    mb(self.headroom.bytes), self.headroom.limit
)]
pub struct Shortage {
    /// What is needed.
    pub needs: Needs,
    /// What can be had.
    pub headroom: Headroom,
}

/// Memory that a piece of work takes, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Tensors of weights as they are read or drawn.
    pub weights: u64,
    /// Weights as kernels read them.
    pub constants: u64,
    /// Inputs, outputs, values between layers and scratch memory.
    pub activations: u64,
}

impl Needs {
    /// All together; 2^64 - 1 for all that 64 bits cannot count.
    pub fn sum(&self) -> u64 {
        self.weights.saturating_add(self.constants).saturating_add(self.activations)
    }

    /// Refuses work that takes more than can be had. Where the system does not tell, all can be
    /// had.
    pub fn check(self) -> Result<(), Shortage> {
        self.check_against(headroom())
    }

    fn check_against(self, headroom: Option<Headroom>) -> Result<(), Shortage> {
        match headroom {
            Some(headroom) if headroom.bytes < self.sum() => Err(Shortage { needs: self, headroom }),
            _ => Ok(()),
        }
    }
}

/// Millions of bytes, rounded up: a need that is refused is then never printed as less than it is.
fn mb(bytes: u64) -> u64 {
    bytes.div_ceil(1_000_000)
}

/// The most memory that this process has had at a time, in bytes; `None` where the system does not
/// tell.
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

/// The most memory that this process has had at a time, in bytes; `None` where the system does not
/// tell.
#[cfg(not(unix))]
pub fn peak_memory() -> Option<u64> {
    None
}

/// Memory that this process may still take without others being moved out, in bytes; `None` where
/// the system does not tell.
pub fn available_memory() -> Option<u64> {
    least(false).map(|headroom| headroom.bytes)
}

/// Memory that this process may still take, swap space included; `None` where the system does not
/// tell.
pub fn headroom() -> Option<Headroom> {
    least(true)
}

#[cfg(not(target_os = "linux"))]
fn least(_with_swap: bool) -> Option<Headroom> {
    None
}

/// The tightest limit. Swap space counts for the machine and, since groups can be denied it, at
/// most, for groups.
#[cfg(target_os = "linux")]
fn least(with_swap: bool) -> Option<Headroom> {
    use linux::{addresses, data, groups, meminfo};
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let swap = if with_swap { meminfo(&text, "SwapFree:").unwrap_or(0) } else { 0 };
    let machine = meminfo(&text, "MemAvailable:");
    let limits = [
        (Limit::Machine, machine.map(|bytes| bytes.saturating_add(swap))),
        (Limit::Group, groups().map(|bytes| bytes.saturating_add(swap))),
        (Limit::Addresses, addresses()),
        (Limit::Data, data()),
    ];
    let known = limits.into_iter().filter_map(|(limit, bytes)| Some(Headroom { bytes: bytes?, limit }));
    known.min_by_key(|headroom| headroom.bytes)
}

/// Where Linux tells of memory.
#[cfg(target_os = "linux")]
mod linux {
    use std::fs::read_to_string;
    use std::path::Path;

    /// A line of `/proc/meminfo` in bytes.
    pub fn meminfo(text: &str, name: &str) -> Option<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kibibytes.checked_mul(1024)
    }

    /// What is left of the limit of addresses.
    pub fn addresses() -> Option<u64> {
        left(libc::RLIMIT_AS, 0)
    }

    /// What is left of the limit of data.
    pub fn data() -> Option<u64> {
        left(libc::RLIMIT_DATA, 5)
    }

    /// What is left of a limit of the process that counts a field of `/proc/self/statm`; nothing
    /// where there is no limit.
    fn left(resource: libc::__rlimit_resource_t, field: usize) -> Option<u64> {
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer is to a structure of the type that the system fills.
        let status = unsafe { libc::getrlimit(resource, &mut limit) };
        if status != 0 || limit.rlim_cur == libc::RLIM_INFINITY {
            return None;
        }
        // SAFETY: the call takes an integer and touches no memory of the process.
        let page = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).ok()?;
        let pages: u64 =
            read_to_string("/proc/self/statm").ok()?.split(' ').nth(field)?.trim().parse().ok()?;
        Some(limit.rlim_cur.saturating_sub(pages.saturating_mul(page)))
    }

    /// What is left in the control groups around the process, in the one that has least.
    pub fn groups() -> Option<u64> {
        let groups = read_to_string("/proc/self/cgroup").ok()?;
        groups.lines().filter_map(of_line).min()
    }

    /// What is left in a group that `/proc/self/cgroup` names, and in those around it.
    fn of_line(line: &str) -> Option<u64> {
        let (controllers, group) = line.split_once(':')?.1.split_once(':')?;
        let (root, files) = match controllers {
            "" => ("/sys/fs/cgroup", VERSION_2),
            _ if controllers.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", VERSION_1),
            _ => return None,
        };
        // Within a container, the path may be that outside of it: then the root of what is mounted
        // is the group.
        let group = Path::new(root).join(group.trim_start_matches('/'));
        let around = group.ancestors().take_while(|folder| folder.starts_with(root));
        around.filter_map(|folder| of_group(folder, files)).min()
    }

    /// Names of the limit, of the use, and of the statistic of files that have not been used for
    /// long, which the system takes back where memory is wanted.
    pub const VERSION_1: [&str; 3] =
        ["memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "];
    /// Limit and use of memory in the unified hierarchy.
    pub const VERSION_2: [&str; 3] = ["memory.max", "memory.current", "inactive_file "];

    /// What is left in a group; nothing where it has no limit, which reads `max` or has no file.
    pub fn of_group(folder: &Path, [most, now, idle]: [&str; 3]) -> Option<u64> {
        let number = |name: &str| read_to_string(folder.join(name)).ok()?.trim().parse::<u64>().ok();
        let (most, now) = (number(most)?, number(now)?);
        let statistics = read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let idle =
            statistics.lines().find_map(|line| line.strip_prefix(idle)?.trim().parse().ok()).unwrap_or(0);
        Some(most.saturating_sub(now.saturating_sub(idle)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_can_be_had_is_refused_with_the_numbers() {
        let needs = Needs { weights: 1, constants: 90_000_000, activations: 30_000_000 };
        let headroom = |bytes| Some(Headroom { bytes, limit: Limit::Addresses });
        assert!(needs.check_against(None).is_ok());
        assert!(needs.check_against(headroom(120_000_001)).is_ok());
        assert_eq!(
            needs.check_against(headroom(120_000_000)).unwrap_err().to_string(),
            "needs 121 MB of memory (weights 1, packed constants 90, activations 30), but 120 MB can be had under the \
             limit of addresses (`ulimit -v`)"
        );
        assert!(Needs { constants: u64::MAX, ..needs }.check().is_err() || headroom(0).is_none());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn available_memory_is_read_from_the_system() {
        let text = "MemTotal:       16 kB\nMemAvailable:   12345678 kB\nCached: 3 kB\n";
        assert_eq!(linux::meminfo(text, "MemAvailable:"), Some(12_345_678 << 10));
        assert_eq!(linux::meminfo("MemTotal: 16 kB", "MemAvailable:"), None);
        assert!(available_memory().is_some_and(|bytes| bytes > 0));
        assert!(headroom().is_some_and(|headroom| headroom.bytes >= available_memory().unwrap() / 2));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn control_groups_of_both_versions_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        assert_eq!(linux::of_group(folder.path(), linux::VERSION_2), None);
        write("memory.max", "max\n");
        write("memory.current", "700\n");
        assert_eq!(linux::of_group(folder.path(), linux::VERSION_2), None);
        write("memory.max", "1000\n");
        assert_eq!(linux::of_group(folder.path(), linux::VERSION_2), Some(300));
        write("memory.stat", "anon 1\ninactive_file 200\nactive_file 7\ntotal_inactive_file 100\n");
        assert_eq!(linux::of_group(folder.path(), linux::VERSION_2), Some(500));
        write("memory.limit_in_bytes", "600\n");
        write("memory.usage_in_bytes", "900\n");
        assert_eq!(linux::of_group(folder.path(), linux::VERSION_1), Some(0));
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
