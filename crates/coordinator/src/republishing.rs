//! Messages for chunks that have none: the dispatcher did not come to it, the message was lost, or a retry is due.
//!
//! # Failure by failure
//!
//! * **The broker is away, or confirms only some.** What was not confirmed stays as it is, for the next pass.
//! * **The store does not hear what was confirmed.** The pass fails. The messages are out, and what nobody has taken by
//!   the next pass is published once more: a duplicate costs its receiver a query.

use std::collections::HashMap;

use batch::{AttemptId, OpenRun, PublishCause, Snapshot};
use cache::Cache;
use publishing::{Messages, Published, publish};
use queue::Chunks;
use store::{Publishing, Supervision};

use crate::{Coordinator, metrics};

impl<S: Publishing + Supervision, Q: Chunks, C: Cache> Coordinator<S, Q, C> {
    /// Publishes chunks and records what was confirmed, run by run; returns how many that were.
    pub(crate) async fn publish(
        &self,
        snapshot: &Snapshot,
        to_publish: &[(AttemptId, PublishCause)],
    ) -> Result<usize, store::Error> {
        let causes: HashMap<AttemptId, PublishCause> = to_publish.iter().copied().collect();
        let mut published = 0;
        for run in snapshot.runs.iter().map(|run| &run.recorded) {
            let due = to_publish.iter().map(|(due, _)| *due).filter(|due| due.chunk.run == run.run);
            let due: Vec<AttemptId> = due.collect();
            if !due.is_empty() {
                published += self.publish_of(run, &due, &causes).await?;
            }
        }
        Ok(published)
    }

    async fn publish_of(
        &self,
        run: &OpenRun,
        due: &[AttemptId],
        causes: &HashMap<AttemptId, PublishCause>,
    ) -> Result<usize, store::Error> {
        let trace = self.store.trace_of(run.run).await?;
        let messages = Messages { run: run.run, priority: run.priority, chunks: due, trace };
        let Published { confirmed, unconfirmed, failure, recorded } =
            publish(&self.store, &self.queue, messages).await;
        for chunk in &confirmed {
            metrics::republished(causes[chunk]);
        }
        if let Some(error) = failure {
            tracing::warn!(run.id = %run.run, unconfirmed, %error, "chunks not published, trying again");
        }
        recorded?;
        Ok(confirmed.len())
    }
}
