//! How much memory is free.

use std::fs;

/// Bytes that this process may still take: what the system has available, or less where its control group is bounded;
/// `None` where the system does not tell.
pub fn available_memory() -> Option<u64> {
    let free = fs::read_to_string("/proc/meminfo").ok()?;
    let line = free.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    let system = kib * 1024;
    Some(group().map_or(system, |left| left.min(system)))
}

/// What the control group has left, if it is bounded.
fn group() -> Option<u64> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = own.lines().find_map(|l| l.strip_prefix("0::"))?;
    let read = |name: &str| fs::read_to_string(format!("/sys/fs/cgroup{path}/{name}")).ok();
    let most: u64 = read("memory.max")?.trim().parse().ok()?;
    let used: u64 = read("memory.current")?.trim().parse().ok()?;
    Some(most.saturating_sub(used))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn some_memory_is_free() {
        assert!(available_memory().is_some_and(|bytes| bytes > 1 << 20));
    }
}
