//! What the machine has.

use std::fs;

/// Memory of the machine, or of the container when that has less, in bytes. Where neither can be read, 4 GiB.
pub(crate) fn memory_total_bytes() -> u64 {
    let container = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"]
        .iter()
        .find_map(|path| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok());
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| machine_bytes(&text));
    match (machine, container) {
        (Some(machine), Some(container)) => machine.min(container),
        (Some(bytes), None) | (None, Some(bytes)) => bytes,
        (None, None) => 4 << 30,
    }
}

/// Reads `MemTotal:  24655800 kB`.
fn machine_bytes(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo_is_read() {
        assert_eq!(machine_bytes("MemTotal:       24655800 kB\nMemFree: 1 kB\n"), Some(24_655_800 * 1024));
        assert_eq!(machine_bytes("nothing"), None);
    }
}
