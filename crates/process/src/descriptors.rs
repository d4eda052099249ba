//! How many files, and so connections, a process may have open.

use rustix::process::{Resource, getrlimit};

/// What a process opens beside its connections: three standard streams, the event queue, the operations port and those
/// who ask it, files of the kernel that are read for the metrics.
const BESIDE: u64 = 24;

/// Warns at the start if the limit is below what so many connections may need: at the limit a server that is well cannot
/// be reached, and looks like one that is away.
pub fn check_descriptors(connections: usize) {
    let needed = connections as u64 + BESIDE;
    if let Some(allowed) = getrlimit(Resource::Nofile).current
        && allowed < needed
    {
        tracing::warn!(
            allowed,
            needed,
            "fewer files may be open than this process may need: raise the limit (`ulimit -n`), or take fewer slots"
        );
    }
}
