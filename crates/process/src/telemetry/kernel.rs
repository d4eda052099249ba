//! What the kernel knows about this process, under the names that Prometheus gives it everywhere.
//!
//! Read from `/proc` at every scrape, so that nothing has to keep it up to date. See proc(5).

use std::fmt::Write as _;
use std::fs;

/// Clock ticks in a second, as the kernel tells times to programs: 100 on every architecture that Linux runs the
/// fleet on. (Asking `sysconf` would need unsafe code.)
const TICKS_PER_SECOND: f64 = 100.0;

/// One look at the process.
#[derive(Debug, PartialEq)]
pub(super) struct Process {
    cpu_seconds: f64,
    /// Since the epoch.
    start_time_seconds: f64,
    resident_bytes: u64,
    open_fds: u64,
    /// Nothing if unlimited.
    max_fds: Option<u64>,
}

/// Looks at this process. Nothing where there is no `/proc`.
pub(super) fn read() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let (cpu_seconds, start_after_boot) = times(&stat)?;
    Some(Process {
        cpu_seconds,
        start_time_seconds: boot_time(&fs::read_to_string("/proc/stat").ok()?)? + start_after_boot,
        resident_bytes: resident_bytes(&fs::read_to_string("/proc/self/status").ok()?)?,
        open_fds: fs::read_dir("/proc/self/fd").ok()?.count() as u64,
        max_fds: max_fds(&fs::read_to_string("/proc/self/limits").ok()?),
    })
}

impl Process {
    /// Appends the metrics in Prometheus's text format.
    pub(super) fn write(&self, text: &mut String) {
        let mut metric = |name: &str, kind: &str, help: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n")
                .expect("writing to a string does not fail");
        };
        metric("process_cpu_seconds_total", "counter", "user and system CPU time spent", &self.cpu_seconds);
        metric("process_resident_memory_bytes", "gauge", "resident memory", &self.resident_bytes);
        metric("process_open_fds", "gauge", "open file descriptors", &self.open_fds);
        if let Some(max_fds) = self.max_fds {
            metric("process_max_fds", "gauge", "most file descriptors that may be open", &max_fds);
        }
        metric(
            "process_start_time_seconds",
            "gauge",
            "when the process started, since the epoch",
            &self.start_time_seconds,
        );
    }
}

/// Reads CPU time, and start time since boot, from `/proc/self/stat`, in seconds.
fn times(stat: &str) -> Option<(f64, f64)> {
    // The second field is the program's name in parentheses and may itself hold spaces and parentheses, so
    // counting starts behind the last one, at the third field.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let seconds = |number: usize| Some(fields.get(number - 3)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
    let (user, system, start) = (seconds(14)?, seconds(15)?, seconds(22)?);
    Some((user + system, start))
}

/// Reads from `/proc/stat` when the machine was started, since the epoch.
fn boot_time(stat: &str) -> Option<f64> {
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn resident_bytes(status: &str) -> Option<u64> {
    let kibibytes =
        status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().strip_suffix(" kB")?;
    Some(kibibytes.trim().parse::<u64>().ok()? * 1024)
}

fn max_fds(limits: &str) -> Option<u64> {
    let limit = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    limit.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_a_name_with_spaces_and_parentheses() {
        let stat = "4711 (ltv (a) b) S 1 4711 4711 0 -1 4194304 1 0 0 0 250 75 0 0 20 0 9 0 123456 99 88 0";

        assert_eq!(times(stat), Some((3.25, 1234.56)));
    }

    #[test]
    fn what_cannot_be_read_is_nothing_not_zero() {
        assert_eq!(times(""), None);
        assert_eq!(times("1 (ltv) S 1 2 3"), None);
        assert_eq!(boot_time("cpu 1 2 3\n"), None);
        assert_eq!(resident_bytes("VmRSS: many kB\n"), None);
        assert_eq!(
            max_fds("Max open files            unlimited            unlimited            files\n"),
            None
        );
    }

    #[test]
    fn memory_boot_time_and_limit_are_found_among_other_lines() {
        assert_eq!(resident_bytes("VmHWM:\t    9000 kB\nVmRSS:\t    1234 kB\n"), Some(1234 * 1024));
        assert_eq!(boot_time("intr 5\nbtime 1763899200\nprocesses 9\n"), Some(1_763_899_200.0));
        assert_eq!(
            max_fds("Max processes  5 5 processes\nMax open files            1024  524288   files\n"),
            Some(1024)
        );
    }

    #[test]
    fn metrics_have_prometheuss_names_and_types() {
        let process = Process {
            cpu_seconds: 3.25,
            start_time_seconds: 1_763_899_200.56,
            resident_bytes: 4096,
            open_fds: 12,
            max_fds: None,
        };

        let mut text = String::new();
        process.write(&mut text);

        assert!(text.contains("# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 3.25\n"));
        assert!(
            text.contains("# TYPE process_resident_memory_bytes gauge\nprocess_resident_memory_bytes 4096\n")
        );
        assert!(text.contains("process_open_fds 12\n"));
        assert!(text.contains("process_start_time_seconds 1763899200.56\n"));
        assert!(!text.contains("process_max_fds"));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_has_memory_files_and_a_past() {
        let process = read().unwrap();

        assert!(process.resident_bytes > 100_000, "{process:?}");
        assert!(process.open_fds >= 3, "{process:?}");
        assert!(process.start_time_seconds > 1.7e9, "{process:?}");
    }
}
