//! Tells of processes that were given one name and live at a time.
//!
//! They are told apart all the same: each name has a random part. So this is a warning, once for each name, and nothing is
//! refused. Workers are looked for in the story of the open runs' attempts, now and then and when a run is settled; a
//! coordinator that waits to lead sees whom it waits for, for longer than a dead one's lease lasts.
//!
//! # Failure by failure
//!
//! * **The store does not answer.** It is looked again some seconds later, also if that was the look at a settled run.
//! * **They never work at a time.** Then nobody notices, nor is anybody misled.

use std::collections::HashSet;
use std::time::Duration;

use batch::{RunId, namesakes};
use store::Supervision;
use tokio::time::Instant;

/// How often it is looked for them while a run goes on.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The pause after a look in vain: a pass waits for each.
const TRY_EVERY: Duration = Duration::from_secs(5);

/// When it was last looked for them, and who was told of.
#[derive(Debug, Default)]
pub(crate) struct Namesakes {
    looked_at: Option<Instant>,
    /// When it was last looked in vain.
    in_vain_at: Option<Instant>,
    /// The settled runs that were looked at.
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
        if open.is_empty() || !self.is_due(open, settled) {
            return Vec::new();
        }
        let Ok(presences) = store.presences(open).await else {
            self.in_vain_at = Some(Instant::now());
            return Vec::new();
        };
        self.has_looked(settled);
        let found = namesakes(&presences).into_iter().map(str::to_owned);
        found.filter(|name| self.told.insert(name.clone())).collect()
    }

    fn is_due(&mut self, open: &[RunId], settled: &[RunId]) -> bool {
        self.settled.retain(|run| open.contains(run));
        let is_time = self.looked_at.get_or_insert_with(Instant::now).elapsed() >= LOOK_EVERY;
        let has_settled = settled.iter().any(|run| !self.settled.contains(run));
        let is_early = self.in_vain_at.is_some_and(|at| at.elapsed() < TRY_EVERY);
        (is_time || has_settled) && !is_early
    }

    fn has_looked(&mut self, settled: &[RunId]) {
        self.looked_at = Some(Instant::now());
        self.in_vain_at = None;
        self.settled.extend(settled);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_look_in_vain_is_none_and_is_tried_again_not_too_soon() {
        let (runs, mut namesakes) = ([RunId(7)], Namesakes::default());
        let mut is_due_after = async |seconds: u64, answered: bool, settled: &[RunId]| {
            tokio::time::advance(Duration::from_secs(seconds)).await;
            let is_due = namesakes.is_due(&runs, settled);
            match (is_due, answered) {
                (true, true) => namesakes.has_looked(settled),
                (true, false) => namesakes.in_vain_at = Some(Instant::now()),
                (false, _) => {}
            }
            is_due
        };

        assert!(!is_due_after(0, true, &[]).await);
        assert!(is_due_after(0, false, &runs).await, "it is settled");
        assert!(!is_due_after(1, true, &runs).await, "too soon");
        assert!(is_due_after(4, true, &runs).await, "nobody has answered");
        assert!(!is_due_after(5, true, &runs).await, "it was looked at");
        assert!(is_due_after(30, false, &[]).await);
        assert!(is_due_after(5, true, &[]).await);
        assert!(!is_due_after(5, true, &[]).await);
    }
}
