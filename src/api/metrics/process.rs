//! What the system says of this process, under the names that Prometheus's client libraries have. What it does not say is
//! left out.

use rustix::process::{Resource, getrlimit};

use super::{Page, bare};

/// The kernel tells times of processes in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// Writes all of it.
pub(super) fn render(page: &mut Page, started_s: f64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    if let Some(seconds) = cpu_seconds(&stat) {
        page.counter("process_cpu_seconds_total", "User and system time of the process, in seconds.", &[bare(seconds)]);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    for (name, help, key, scale) in [
        ("process_resident_memory_bytes", "Memory of the process that is in RAM.", "VmRSS:", 1024.0),
        ("process_virtual_memory_bytes", "Memory of the process, with what is not in RAM.", "VmSize:", 1024.0),
        ("process_threads", "Threads of the process.", "Threads:", 1.0),
    ] {
        if let Some(number) = number_of(&status, key) {
            page.gauge(name, help, &[bare(number * scale)]);
        }
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder that is being read.
        let count = open.count().saturating_sub(1);
        page.gauge("process_open_fds", "Files and sockets that are open.", &[bare(count as f64)]);
    }
    if let Some(most) = getrlimit(Resource::Nofile).current {
        page.gauge("process_max_fds", "Files and sockets that may be open.", &[bare(most as f64)]);
    }
    page.gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", &[bare(started_s)]);
}

/// Fields 14 and 15 of the file; the second one, the name, is in parentheses and may hold anything.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let (_, behind_name) = stat.rsplit_once(')')?;
    let mut fields = behind_name.split_ascii_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn number_of(status: &str, key: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_the_kernel_are_read() {
        let stat = "12 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0 100";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(cpu_seconds("12 (a"), None);
        let status = "Name:\tfarol\nVmSize:\t  2048 kB\nVmRSS:\t    1024 kB\nThreads:\t7\n";
        assert_eq!((number_of(status, "VmRSS:"), number_of(status, "Threads:")), (Some(1024.0), Some(7.0)));
        assert_eq!(number_of(status, "VmSwap:"), None);
    }
}
