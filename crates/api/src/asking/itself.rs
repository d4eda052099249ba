//! Valuing here, where no message can be sent: one customer, through the same valuation and the same fence as a worker.
//!
//! * **Somebody is at work on it,** or was: it is left to the workers. So is one that a worker was lost with: this
//!   process answers many, and must not be what it kills next.
//! * **As many are valued here as may be:** it is left, too. Whoever waits looks again, and nobody queues.
//! * **The store fails.** The lease runs out, and whoever begins next takes over.
//! * **Its mathematics panic, or its rows make no sense to the store.** Recorded, with a verdict, as a worker does.
//! * **Whoever asked leaves.** What was begun is finished: it is a task of its own.

use std::time::Duration;

use batch::{Priority, RequestId, RetryPolicy};
use store::{RequestAssignment, RequestBegin, RequestClaim, Requests, ResultRows, ValueTerms, Values};
use tokio::sync::Semaphore;
use valuation::{ComputeOn, Question, Unvalued, Urgency, Valuation};

use super::course::Worked;
use crate::metrics;

/// How this process values itself.
#[derive(Clone, Debug)]
pub(crate) struct ItselfConfig {
    /// Its name in the store; unique for each process that ever lived.
    pub(crate) name: String,
    /// How many are valued here at a time.
    pub(crate) slots: usize,
    /// How long it is believed to be at work without a sign of life. It gives none: one customer takes no time.
    pub(crate) lease: Duration,
    /// How often and how soon what failed is tried again.
    pub(crate) retry: RetryPolicy,
    /// Where it computes.
    pub(crate) compute_on: ComputeOn,
    /// Discount, take rate, refund rate and margin for a fleet that has shown no run yet.
    pub(crate) terms: ValueTerms,
}

impl ItselfConfig {
    /// That of a process of this name.
    pub(crate) fn new(name: String, compute_on: ComputeOn) -> Self {
        Self {
            name,
            slots: 4,
            lease: Duration::from_secs(5),
            retry: RetryPolicy::default(),
            compute_on,
            terms: ValueTerms::default(),
        }
    }
}

/// What values customers in this process.
pub(super) struct Itself {
    config: ItselfConfig,
    valuation: Valuation,
    slots: Semaphore,
}

impl Itself {
    pub(super) fn new(config: ItselfConfig) -> Self {
        let valuation = Valuation::start(config.compute_on, None);
        Self { slots: Semaphore::new(config.slots), valuation, config }
    }

    /// Makes one attempt at a request, to whichever end.
    pub(super) async fn value<S: Requests + Values>(
        &self,
        store: &S,
        request: RequestId,
    ) -> store::Result<Worked> {
        let Ok(_slot) = self.slots.try_acquire() else { return Ok(Worked::Left) };
        let claim = RequestClaim {
            worker: &self.config.name,
            lease: self.config.lease,
            is_repeat: false,
            max_failures: self.config.retry.max_failures,
            terms: self.config.terms,
        };
        match store.begin_request(request, &claim).await? {
            RequestBegin::Assigned(assignment) => {
                let worked = self.attempt(store, &assignment).await;
                metrics::valued(match worked {
                    Ok(Worked::Settled) => "settled",
                    Ok(Worked::Left | Worked::NoModel) => "left",
                    Err(_) => "store_failed",
                });
                worked
            }
            RequestBegin::Over(_) | RequestBegin::NotThere => Ok(Worked::Settled),
            RequestBegin::AtWork(_) | RequestBegin::NotDue(_) => Ok(Worked::Left),
            RequestBegin::NoModel => Ok(Worked::NoModel),
        }
    }

    async fn attempt<S: Requests + Values>(
        &self,
        store: &S,
        assignment: &RequestAssignment,
    ) -> store::Result<Worked> {
        if assignment.losses > 0 {
            store.give_back_request(assignment.attempt).await?;
            return Ok(Worked::Left);
        }
        let answered = match self.rows(store, assignment).await {
            Ok(rows) => store.answer_request(assignment.attempt, &rows).await.map(|_| ()),
            Err(Unvalued::Store(error)) => Err(error),
            Err(error @ (Unvalued::NoModel(_) | Unvalued::Panicked(_))) => {
                Err(store::Error::Invalid { what: "value a request".into(), reason: error.to_string() })
            }
        };
        match answered {
            // Refused or not, the store knows.
            Ok(()) => Ok(Worked::Settled),
            Err(store::Error::Invalid { what, reason }) => {
                tracing::warn!(request.id = %assignment.attempt.request, reason, "{what}: the attempt failed");
                store.fail_request(assignment.attempt, &reason, &self.config.retry).await?;
                Ok(Worked::Settled)
            }
            Err(error) => Err(error),
        }
    }

    async fn rows<S: Values>(
        &self,
        store: &S,
        assignment: &RequestAssignment,
    ) -> Result<ResultRows, Unvalued> {
        let question = Question {
            customers: &assignment.customers,
            run: None,
            is_whole: false,
            as_of: assignment.attempt.as_of,
            model_version: assignment.model_version,
            terms: assignment.terms,
            urgency: Urgency::now(Priority::Critical),
        };
        Ok(self.valuation.rows(store, &question).await?.rows)
    }
}
