//! One attempt at a request, from where it was begun to whichever end. Its failures are told in `requests/mod.rs`.

use std::collections::VecDeque;
use std::sync::Arc;

use batch::{CustomerId, OrderPolicy, Priority, RequestAttempt, Stake, Verdict, order};
use resilience::trouble::Party;
use store::{Attempts, CommitOutcome, RequestAssignment, Requests, ResultRows, Standing, Values};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use valuation::{Question, Unvalued, Urgency};

use super::RequestLane;
use super::at_work::Holding;
use super::times::Times;
use crate::metrics::{self, Work};
use crate::patience::{Patience, is_worth_waiting_for};
use crate::turns::Place;

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Its answer is committed.
    Answered,
    /// Another attempt is the latest, or the request is over.
    Superseded,
    /// The request's own fault, recorded, and for the last time.
    Failed,
    /// The same, and not for the last time.
    ToBeTriedAgain,
    /// The request's own fault, which could not be recorded.
    Unrecorded,
    /// The grace period was over first.
    GaveUp,
}

/// Why an attempt cannot go on.
enum Failure {
    /// The store is away, or refuses everybody.
    Away(store::Error),
    /// The request's own fault.
    Request(String),
    /// It was superseded.
    Superseded,
}

impl From<store::Error> for Failure {
    fn from(error: store::Error) -> Self {
        if is_worth_waiting_for(&error) { Self::Away(error) } else { Self::Request(error.to_string()) }
    }
}

impl From<Unvalued> for Failure {
    fn from(unvalued: Unvalued) -> Self {
        match unvalued {
            Unvalued::Store(error) => error.into(),
            Unvalued::NoModel(_) | Unvalued::Panicked(_) => Self::Request(unvalued.to_string()),
        }
    }
}

/// How far an attempt has come.
struct Progress {
    since: Instant,
    /// What is still to be valued.
    parts: VecDeque<Vec<CustomerId>>,
    rows: ResultRows,
}

impl Progress {
    fn new(customers: &[CustomerId], since: Instant) -> Self {
        let alike = |&customer| Stake { customer, value_minor: None, age: None, urgency: 0 };
        let stakes: Vec<Stake> = customers.iter().map(alike).collect();
        let parts = order(&stakes, &OrderPolicy::default()).into();
        Self { since, parts, rows: ResultRows::default() }
    }

    fn urgency(&self) -> Urgency {
        let valued = self.rows.values.len() + self.rows.rejections.len();
        Urgency { priority: Priority::Critical, since: self.since, valued }
    }

    fn add(&mut self, rows: ResultRows) {
        self.rows.values.extend(rows.values);
        self.rows.rejections.extend(rows.rejections);
        self.rows.transactions += rows.transactions;
    }
}

impl<S: Attempts + Values + Requests> RequestLane<S> {
    /// Makes one attempt at a request, to whichever end.
    pub(super) async fn attempt(
        &self,
        assignment: &RequestAssignment,
        holding: &Holding,
        superseded: &CancellationToken,
        times: &Times,
    ) -> Ended {
        let attempt = assignment.attempt;
        let way = self.config.troubles.requests.party();
        let ended = tokio::select! {
            biased;
            () = superseded.cancelled() => Ended::Superseded,
            () = self.gave_up.cancelled() => Ended::GaveUp,
            ended = self.work(assignment, holding, times, &way) => ended,
        };
        match ended {
            Ended::Superseded => {
                tracing::info!("superseded");
                // Says that we did come back, however long that takes: the request is not charged for us.
                let _ = self.stand(attempt, &mut self.patience(&way)).await;
            }
            Ended::GaveUp => {
                if let Err(error) = self.store.give_back_request(attempt).await {
                    let lease = self.requests.lease;
                    tracing::warn!(%error, ?lease, "a request could not be given back; its lease runs out");
                }
            }
            Ended::Answered | Ended::Failed | Ended::ToBeTriedAgain | Ended::Unrecorded => way.over(),
        }
        ended
    }

    /// Reads, computes, commits; waits for the store as often as it is away.
    async fn work(
        &self,
        assignment: &RequestAssignment,
        holding: &Holding,
        times: &Times,
        way: &Party,
    ) -> Ended {
        let mut patience = self.patience(way);
        let mut progress = Progress::new(&assignment.customers, times.taken);
        loop {
            let failure = match self.go_on(assignment, holding, times, &mut progress).await {
                Ok(()) => break,
                Err(failure) => failure,
            };
            match failure {
                Failure::Superseded => return Ended::Superseded,
                Failure::Request(reason) => return self.fail(assignment.attempt, &reason, way).await,
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
        metrics::committed(progress.rows.values.len(), progress.rows.rejections.len());
        Ended::Answered
    }

    /// Takes the attempt from where it is to the commit. Parts that were valued are kept for a repeat.
    async fn go_on(
        &self,
        assignment: &RequestAssignment,
        holding: &Holding,
        times: &Times,
        progress: &mut Progress,
    ) -> Result<(), Failure> {
        while let Some(part) = progress.parts.front() {
            let urgency = progress.urgency();
            let waits = Instant::now();
            let slot = self.slot(&urgency).await;
            times.had_its_turn(waits.elapsed());
            let has_slot = Instant::now();
            let question = Question {
                customers: part,
                run: None,
                is_whole: false,
                as_of: assignment.attempt.as_of,
                model_version: assignment.model_version,
                terms: assignment.terms,
                urgency,
            };
            let worked = self.valuation.rows(&self.store, &question).await?;
            drop(slot);
            times.valued_a_part(has_slot.elapsed());
            progress.add(metrics::worked(Work::Request, worked));
            progress.parts.pop_front();
        }
        holding.committing();
        let began = Instant::now();
        let answered = self.store.answer_request(assignment.attempt, &progress.rows).await?;
        times.committed(began.elapsed());
        match answered {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::Refused => Err(Failure::Superseded),
        }
    }

    /// Waits for a slot; where a test has none for requests, for one of the chunks' instead.
    async fn slot(&self, urgency: &Urgency) -> (Option<Place>, Option<OwnedSemaphorePermit>) {
        match &self.shared_slots {
            None => (Some(self.turns.take(urgency).await), None),
            Some(slots) => (None, Arc::clone(slots).acquire_owned().await.ok()),
        }
    }

    /// Records that the request itself is at fault.
    async fn fail(&self, attempt: RequestAttempt, reason: &str, way: &Party) -> Ended {
        let record = || self.store.fail_request(attempt, reason, &self.config.retry);
        match self.patience(way).ask(record).await {
            Some(Ok(Some(verdict))) => {
                tracing::warn!(reason, ?verdict, "the attempt at a request failed");
                match verdict {
                    Verdict::RetryAt(_) => Ended::ToBeTriedAgain,
                    Verdict::DeadLetter => Ended::Failed,
                }
            }
            Some(Ok(None)) => Ended::Superseded,
            Some(Err(error)) => {
                // Its lease runs out, and whoever begins it next counts it as lost.
                tracing::error!(%error, reason, "a failed attempt at a request could not be recorded");
                Ended::Unrecorded
            }
            None => Ended::GaveUp,
        }
    }

    /// Waits for the store and asks where the attempt stands; `None` if the grace period was over first.
    async fn stand(&self, attempt: RequestAttempt, patience: &mut Patience<'_, S>) -> Option<Standing> {
        loop {
            patience.wait().await?;
            match self.store.renew_requests(&self.config.name, &[attempt], self.requests.lease).await {
                Ok(standings) => return standings.first().copied(),
                Err(error) => patience.met(&error),
            }
        }
    }

    /// Patience that is not used up yet.
    fn patience<'a>(&'a self, way: &'a Party) -> Patience<'a, S> {
        Patience::new(&self.store, &self.gave_up, way, (self.config.delays)())
    }
}
