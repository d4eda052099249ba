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
use resilience::trouble::Kind;
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
        let (mut published, mut failure) = (0, None);
        for run in snapshot.runs.iter().map(|run| &run.recorded) {
            let due = to_publish.iter().map(|(due, _)| *due).filter(|due| due.chunk.run == run.run);
            let due: Vec<AttemptId> = due.collect();
            if !due.is_empty() {
                let (confirmed, failed) = self.publish_of(run, &due, &causes).await?;
                published += confirmed;
                failure = failure.or(failed);
            }
        }
        // Where nothing is to be published nothing is in the way.
        match failure {
            Some(failure) => self.config.troubles.publishing.met(failure, Kind::Passing),
            None => self.config.troubles.publishing.over(),
        }
        Ok(published)
    }

    /// Publishes chunks of one run; how many were confirmed, and why the others were not.
    async fn publish_of(
        &self,
        run: &OpenRun,
        due: &[AttemptId],
        causes: &HashMap<AttemptId, PublishCause>,
    ) -> Result<(usize, Option<String>), store::Error> {
        let trace = self.store.trace_of(run.run).await?;
        let messages = Messages { run: run.run, priority: run.priority, chunks: due, trace };
        let Published { confirmed, unconfirmed, failure, recorded } =
            publish(&self.store, &self.queue, messages).await;
        for chunk in &confirmed {
            metrics::republished(causes[chunk]);
        }
        let failure = failure.map(|error| format!("run {}: {unconfirmed} not confirmed: {error}", run.run));
        recorded?;
        Ok((confirmed.len(), failure))
    }
}
