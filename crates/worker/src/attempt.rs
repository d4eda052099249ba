//! One attempt, from where it was begun to whichever end. Its failures are told in `slot.rs`.

use std::sync::Arc;

use batch::{AttemptId, Priority};
use cache::Cache;
use resilience::trouble::Party;
use store::{Assignment, Attempts, CommitOutcome, ResultRows, Standing, Values};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use valuation::{Question, Unvalued, Urgency, Valuation};

use crate::WorkerConfig;
use crate::faults::Point;
use crate::held::Holding;
use crate::metrics::{self, Work};
use crate::patience::{Patience, is_worth_waiting_for};

/// What attempts are made with.
pub(crate) struct Workbench<S, C> {
    pub(crate) store: S,
    pub(crate) cache: C,
    pub(crate) valuation: Arc<Valuation>,
    /// Resolves when the grace period is over.
    pub(crate) gave_up: CancellationToken,
    pub(crate) config: WorkerConfig,
}

/// How an attempt ended.
pub(crate) enum Ended {
    /// Its values are committed.
    Committed,
    /// Another attempt is the latest, or the run is over.
    Superseded,
    /// The chunk's own fault, recorded.
    Failed,
    /// The grace period was over first.
    GaveUp,
}

/// Why an attempt cannot go on.
enum Failure {
    /// The store is away, or refuses everybody.
    Away(store::Error),
    /// The chunk's own fault.
    Chunk(String),
    /// It was superseded.
    Superseded,
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        if is_worth_waiting_for(&error) { Self::Away(error) } else { Self::Chunk(error.to_string()) }
    }
}

impl From<Unvalued> for Failure {
    fn from(unvalued: Unvalued) -> Self {
        match unvalued {
            Unvalued::Store(error) => error.into(),
            Unvalued::NoModel(_) | Unvalued::Panicked(_) => Self::Chunk(unvalued.to_string()),
        }
    }
}

impl<S: Attempts + Values, C: Cache> Workbench<S, C> {
    /// Makes one attempt at a chunk, to whichever end.
    pub(crate) async fn attempt(
        &self,
        assignment: &Assignment,
        priority: Priority,
        holding: &Holding,
    ) -> Ended {
        let attempt = assignment.attempt;
        let gave_up = self.gave_up.clone();
        let way = self.config.troubles.work.party();
        let ended = tokio::select! {
            biased;
            () = holding.superseded.cancelled() => Ended::Superseded,
            () = gave_up.cancelled() => Ended::GaveUp,
            ended = self.work(assignment, priority, holding, &way) => ended,
        };
        match &ended {
            Ended::Superseded => {
                tracing::info!("superseded");
                // Says that we did come back, however long that takes: the chunk is not charged for us.
                let _ = self.stand(attempt, &mut self.patience(&way)).await;
            }
            Ended::GaveUp => self.give_back(attempt).await,
            // No other end says that the way is free: the store may answer while the server that histories are read
            // from does not.
            Ended::Committed | Ended::Failed => way.over(),
        }
        ended
    }

    /// Reads, computes, commits; waits for the store as often as it is away.
    async fn work(
        &self,
        assignment: &Assignment,
        priority: Priority,
        holding: &Holding,
        way: &Party,
    ) -> Ended {
        self.config.faults.reach(Point::Begun).await;
        let mut patience = self.patience(way);
        let mut rows: Option<ResultRows> = None;
        loop {
            let failure = match self.go_on(assignment, priority, holding, &mut rows).await {
                Ok(()) => break,
                Err(failure) => failure,
            };
            match failure {
                Failure::Superseded => return Ended::Superseded,
                Failure::Chunk(reason) => return self.fail(assignment.attempt, &reason, way).await,
                Failure::Away(error) => {
                    metrics::waited();
                    patience.met(&error);
                    match self.stand(assignment.attempt, &mut patience).await {
                        Some(Standing::Held) => {}
                        Some(Standing::Committed) => break,
                        Some(Standing::Superseded) => return Ended::Superseded,
                        None => return Ended::GaveUp,
                    }
                }
            }
        }
        let rows = rows.expect("only computed rows are committed");
        self.config.faults.reach(Point::Committed).await;
        metrics::committed(rows.values.len(), rows.rejections.len());
        self.cache_values(assignment, &rows).await;
        self.config.faults.reach(Point::Cached).await;
        Ended::Committed
    }

    /// Takes the attempt from where it is to the commit. Rows that are computed are kept for a repeat.
    async fn go_on(
        &self,
        assignment: &Assignment,
        priority: Priority,
        holding: &Holding,
        rows: &mut Option<ResultRows>,
    ) -> Result<(), Failure> {
        let computed = if let Some(computed) = rows.take() {
            computed
        } else {
            let worked = self.valuation.rows(&self.store, &question(assignment, priority)).await?;
            metrics::worked(Work::Chunk, worked)
        };
        let computed = rows.insert(computed);
        holding.committing();
        let began = Instant::now();
        let committed = self.store.commit_attempt(assignment.attempt, computed).await?;
        metrics::stage(Work::Chunk, "commit", began.elapsed());
        match committed {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::Refused => Err(Failure::Superseded),
        }
    }

    /// Puts committed values near the reader, if the cache is well. What is lost costs a query, never a value.
    async fn cache_values(&self, assignment: &Assignment, rows: &ResultRows) {
        let began = Instant::now();
        let values: Vec<_> =
            rows.values.iter().map(|valued| cache::Valued::of(valued.customer, &valued.value)).collect();
        if let Err(error) = self.cache.put_values(assignment.attempt.chunk.run, &values).await {
            tracing::debug!(%error, "values not cached");
        }
        metrics::stage(Work::Chunk, "cache", began.elapsed());
    }

    /// Records that the chunk itself is at fault.
    async fn fail(&self, attempt: AttemptId, reason: &str, way: &Party) -> Ended {
        let record = || self.store.fail_attempt(attempt, reason, &self.config.retry);
        match self.patience(way).ask(record).await {
            Some(Ok(Some(verdict))) => {
                tracing::warn!(reason, ?verdict, "the attempt failed");
                Ended::Failed
            }
            Some(Ok(None)) => Ended::Superseded,
            Some(Err(error)) => {
                // Its lease runs out, and the coordinator counts it as lost.
                tracing::error!(%error, reason, "a failed attempt could not be recorded");
                Ended::Failed
            }
            None => Ended::GaveUp,
        }
    }

    /// Waits for the store and asks where the attempt stands; `None` if the grace period was over first.
    async fn stand(&self, attempt: AttemptId, patience: &mut Patience<'_, S>) -> Option<Standing> {
        loop {
            patience.wait().await?;
            match self.store.resume_attempt(attempt, self.config.lease).await {
                Ok(standing) => return Some(standing),
                Err(error) => patience.met(&error),
            }
        }
    }

    async fn give_back(&self, attempt: AttemptId) {
        if let Err(error) = self.store.give_back(attempt).await {
            tracing::warn!(%error, lease = ?self.config.lease, "a chunk could not be given back; its lease runs out");
        }
    }

    /// Patience that is not used up yet.
    fn patience<'a>(&'a self, way: &'a Party) -> Patience<'a, S> {
        Patience::new(&self.store, &self.gave_up, way, (self.config.delays)())
    }
}

fn question(assignment: &Assignment, priority: Priority) -> Question<'_> {
    Question {
        customers: &assignment.customers,
        run: Some(assignment.attempt.chunk.run),
        is_whole: assignment.is_whole,
        as_of: assignment.as_of,
        model_version: assignment.model_version,
        terms: assignment.terms,
        urgency: Urgency::now(priority),
    }
}
