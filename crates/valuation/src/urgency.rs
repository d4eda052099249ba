//! What makes somebody's turn, wherever several wait for one place.

use batch::{Priority, Turn, TurnPolicy, Waits};
use tokio::time::Instant;

/// What makes somebody's turn.
#[derive(Clone, Copy, Debug)]
pub struct Urgency {
    /// How urgent it is.
    pub priority: Priority,
    /// When the question came.
    pub since: Instant,
    /// How many of its customers were valued already.
    pub valued: usize,
}

impl Urgency {
    /// One that comes now.
    pub fn now(priority: Priority) -> Self {
        Self { priority, since: Instant::now(), valued: 0 }
    }

    /// When it is its turn, on a clock that begins then.
    pub fn turn(&self, epoch: Instant) -> Turn {
        let since = self.since.saturating_duration_since(epoch);
        let waits = Waits { priority: self.priority, since, valued: self.valued as u64 };
        TurnPolicy::default().turn(&waits)
    }
}
