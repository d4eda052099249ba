//! What tells a process from every other, its own predecessors included.

/// The process's name: as given, or made of host and process. The random part keeps a restarted container,
/// which has the same host name and process id again, from being taken for the one before.
pub fn instance(given: Option<&str>) -> String {
    given.map_or_else(
        || {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            let host = host.trim();
            let host = if host.is_empty() { "localhost" } else { host };
            format!("{host}-{}-{:06x}", std::process::id(), rand::random::<u32>() & 0xFF_FFFF)
        },
        str::to_owned,
    )
}
