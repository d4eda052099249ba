//! What processes cost, with their children: CPU seconds and memory, from `/proc`. See proc(5).

use std::collections::HashMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

/// Clock ticks in a second, as the kernel tells times to programs on every architecture that Linux runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// The processes that are accounted for.
pub(super) struct Accounts {
    roots: Vec<(String, u32)>,
    peaks: Arc<Mutex<Vec<u64>>>,
}

/// CPU seconds by process, in the order of the accounts.
#[derive(Clone, Debug)]
pub(super) struct Spent(Vec<f64>);

/// Samples memory until it is stopped.
pub(super) struct Sampler {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Accounts {
    pub(super) fn new(servers: &[(String, u32)]) -> Self {
        let mut accounts = Self { roots: Vec::new(), peaks: Arc::default() };
        for (name, pid) in servers {
            accounts.add(name, *pid);
        }
        accounts
    }

    pub(super) fn add(&mut self, name: &str, pid: u32) {
        self.roots.push((name.to_owned(), pid));
        self.peaks.lock().unwrap_or_else(PoisonError::into_inner).push(0);
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.roots.iter().map(|(name, _)| name.as_str())
    }

    pub(super) fn peak_memory(&self, index: usize) -> u64 {
        self.peaks.lock().unwrap_or_else(PoisonError::into_inner)[index]
    }

    /// CPU seconds spent by now.
    pub(super) fn spent(&self) -> Spent {
        let processes = all_processes();
        Spent(self.roots.iter().map(|&(_, root)| cpu_of_tree(&processes, root)).collect())
    }

    /// Begins to sample memory; a process with children counts as one, its shared memory once.
    pub(super) fn sample_memory(&self, every: Duration) -> Sampler {
        let (roots, peaks, stop) = (self.roots.clone(), Arc::clone(&self.peaks), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            let mut tick = interval(every);
            while stopped.run_until_cancelled(tick.tick()).await.is_some() {
                let processes = all_processes();
                let mut peaks = peaks.lock().unwrap_or_else(PoisonError::into_inner);
                for (peak, &(_, root)) in peaks.iter_mut().zip(&roots) {
                    *peak = (*peak).max(memory_of_tree(&processes, root));
                }
            }
        });
        Sampler { stop, task }
    }
}

impl Spent {
    pub(super) fn since(&self, before: &Self) -> Self {
        Self(self.0.iter().zip(&before.0).map(|(now, then)| now - then).collect())
    }

    pub(super) fn cpu_seconds(&self, index: usize) -> f64 {
        self.0[index]
    }
}

impl Sampler {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        let _ = self.task.await;
    }
}

/// A process as `/proc/PID/stat` has it. Its time includes that of children which have ended.
struct Process {
    parent: u32,
    ticks: u64,
}

fn all_processes() -> HashMap<u32, Process> {
    let Ok(entries) = fs::read_dir("/proc") else { return HashMap::new() };
    entries
        .filter_map(|entry| {
            let pid: u32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            Some((pid, parse_stat(&stat)?))
        })
        .collect()
}

fn parse_stat(stat: &str) -> Option<Process> {
    // The second field is a name in parentheses that may itself hold spaces and parentheses.
    let fields: Vec<&str> = stat[stat.rfind(')')? + 1..].split_whitespace().collect();
    let ticks = (11..=14).map(|index| fields.get(index)?.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Process { parent: fields.get(1)?.parse().ok()?, ticks })
}

fn tree(processes: &HashMap<u32, Process>, root: u32) -> Vec<u32> {
    let mut members = vec![root];
    let mut next = 0;
    while next < members.len() {
        let parent = members[next];
        members.extend(processes.iter().filter(|(_, process)| process.parent == parent).map(|(&pid, _)| pid));
        next += 1;
    }
    members
}

fn cpu_of_tree(processes: &HashMap<u32, Process>, root: u32) -> f64 {
    // This very process is the parent of the workers, which have accounts of their own.
    let members = if root == std::process::id() { vec![root] } else { tree(processes, root) };
    let ticks: u64 = members.iter().filter_map(|pid| processes.get(pid)).map(|process| process.ticks).sum();
    ticks as f64 / TICKS_PER_SECOND
}

fn memory_of_tree(processes: &HashMap<u32, Process>, root: u32) -> u64 {
    let members = if root == std::process::id() { vec![root] } else { tree(processes, root) };
    let statuses: Vec<String> =
        members.iter().filter_map(|pid| fs::read_to_string(format!("/proc/{pid}/status")).ok()).collect();
    if let [single] = &statuses[..] {
        return field(single, "VmHWM:").unwrap_or(0); // The kernel's own peak: nothing is missed between samples.
    }
    let private: u64 = statuses.iter().filter_map(|status| field(status, "RssAnon:")).sum();
    let shared = statuses.iter().filter_map(|status| field(status, "RssShmem:")).max().unwrap_or(0);
    private + shared
}

/// A field of `/proc/PID/status` that is given in kB, in bytes.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_confuse_the_fields() {
        let stat = "42 (a (b) c) S 7 42 42 0 -1 0 0 0 0 0 100 20 3 4 20 0 1 0 0 0 0";

        let process = parse_stat(stat).unwrap();

        assert_eq!((process.parent, process.ticks), (7, 127));
    }

    #[test]
    fn a_tree_is_a_process_with_its_children_and_theirs() {
        let process = |parent| Process { parent, ticks: 1 };
        let processes = HashMap::from([(1, process(0)), (2, process(1)), (3, process(2)), (4, process(0))]);

        let mut members = tree(&processes, 1);

        members.sort_unstable();
        assert_eq!(members, [1, 2, 3]);
    }

    #[test]
    fn memory_is_read_in_bytes() {
        assert_eq!(field("Name:\tx\nVmHWM:\t    2048 kB\n", "VmHWM:"), Some(2 << 20));
    }
}
