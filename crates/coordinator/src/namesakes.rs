//! Tells of processes that were given one name and live at a time.
//!
//! They are told apart all the same: each name has a random part. So this is a warning, once for each name, and nothing is
//! refused. Workers are looked for in the story of the open runs' attempts, now and then and when a run is settled; a
//! coordinator that waits to lead sees whom it waits for, for longer than a dead one's lease lasts.
//!
//! # Failure by failure
//!
//! * **The store does not answer.** The next look tells.
//! * **They never work at a time.** Then nobody notices, nor is anybody misled.

use std::collections::HashSet;
use std::time::Duration;

use batch::{RunId, namesakes};
use store::Supervision;
use tokio::time::Instant;

/// How often it is looked for them while a run goes on.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// When it was last looked for them, and who was told of.
#[derive(Debug, Default)]
pub(crate) struct Namesakes {
    looked_at: Option<Instant>,
    settled: HashSet<RunId>,
    told: HashSet<String>,
}

impl Namesakes {
    /// Looks for them among those who worked on the open runs, if it is time or a run was settled since; the names that
    /// were not told of yet.
    pub(crate) async fn look<S: Supervision>(
        &mut self,
        store: &S,
        open: &[RunId],
        settled: &[RunId],
    ) -> Vec<String> {
        self.settled.retain(|run| open.contains(run));
        let is_due = self.looked_at.get_or_insert_with(Instant::now).elapsed() >= LOOK_EVERY;
        let has_settled = settled.iter().filter(|run| self.settled.insert(**run)).count() > 0;
        if open.is_empty() || !is_due && !has_settled {
            return Vec::new();
        }
        self.looked_at = Some(Instant::now());
        let Ok(presences) = store.presences(open).await else { return Vec::new() };
        let found = namesakes(&presences).into_iter().map(str::to_owned);
        found.filter(|name| self.told.insert(name.clone())).collect()
    }
}

/// Says that two living processes have one name.
pub(crate) fn tell(name: &str) {
    tracing::warn!(
        name,
        "two living processes were given one name: logs and dashboards cannot tell them apart, but for the random part; \
         give each its own (LTV_INSTANCE), or leave it out"
    );
}
