//! The watchdog of a main loop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// A watchdog: the main loop ticks it, `/healthz` asks it. Clones share it.
#[derive(Clone, Debug)]
pub struct Alive(Arc<Watched>);

#[derive(Debug)]
struct Watched {
    what: &'static str,
    limit: Duration,
    started: Instant,
    /// When the last tick was, since `started`.
    ticked_ms: AtomicU64,
}

impl Alive {
    /// Creates a watchdog that lets `what` stand still for `limit`. Creation is the first tick.
    pub fn new(what: &'static str, limit: Duration) -> Self {
        Self(Arc::new(Watched { what, limit, started: Instant::now(), ticked_ms: AtomicU64::new(0) }))
    }

    /// Notes that the loop made progress.
    pub fn tick(&self) {
        let now_ms = self.0.started.elapsed().as_millis() as u64;
        self.0.ticked_ms.fetch_max(now_ms, Ordering::Relaxed);
    }

    /// Returns the tick as a function, for a role that does not know this type.
    pub fn ticker(&self) -> Arc<dyn Fn() + Send + Sync> {
        let alive = self.clone();
        Arc::new(move || alive.tick())
    }

    /// Tells whether the loop made progress within the limit.
    pub fn check(&self) -> Result<(), Stalled> {
        let ticked = Duration::from_millis(self.0.ticked_ms.load(Ordering::Relaxed));
        let still = self.0.started.elapsed().saturating_sub(ticked);
        if still <= self.0.limit {
            return Ok(());
        }
        Err(Stalled { what: self.0.what, still, limit: self.0.limit })
    }
}

/// Reports that a loop stood still for longer than its limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stalled {
    what: &'static str,
    still: Duration,
    limit: Duration,
}

impl fmt::Display for Stalled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, still, limit } = self;
        write!(f, "{what}: no progress for {} s, the limit is {} s", still.as_secs(), limit.as_secs())
    }
}

impl std::error::Error for Stalled {}
