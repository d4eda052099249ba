//! Plans a run, records its chunks, publishes them.
//!
//! Look first at [`Dispatcher::dispatch`].
//!
//! # Failure by failure
//!
//! * **Two dispatchers for one night.** The night's name is unique in the store: the second finds the first
//!   one's run, publishes what of it is not published yet, and reports the same run.
//! * **The dispatcher dies before the run is recorded.** Nothing happened: run and chunks are one transaction.
//! * **It dies while it publishes, or the broker goes away.** The chunks that were not confirmed stay pending,
//!   and the coordinator publishes them. A message that did arrive becomes a duplicate, which costs a query.
//! * **The store goes away.** An error; dispatching again is always right.

mod metrics;

use std::time::Duration;

use batch::{
    Attempt, AttemptId, ChunkRef, CustomerId, Fingerprint, Limits, PlanError, PlanPolicy, Priority, RunId,
    WorkSample, plan,
};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use publishing::{Messages, Published, publish};
use queue::Chunks;
use store::{CreatedRun, ModelVersionId, NewRun, Planning, Publishing, Selection, ValueTerms};
use tokio::time::Instant;

pub use metrics::describe as describe_metrics;

/// What somebody wants valued.
#[derive(Clone, Debug)]
pub struct Order {
    /// Whom.
    pub selection: Selection,
    /// How urgently.
    pub priority: Priority,
    /// For which moment; the store's present one unless said.
    pub as_of: Option<Timestamp>,
    /// How long it may take.
    pub deadline: Duration,
    /// With which model; the promoted one unless said.
    pub model_version: Option<ModelVersionId>,
    /// Discount, take rate, refund rate, margin.
    pub terms: ValueTerms,
    /// Whether a night that has a run already gets one more.
    pub again: bool,
    /// How far it may lie from the run before.
    pub limits: Limits,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct Dispatched {
    /// The run.
    pub run: RunId,
    /// Whether this order made it, or the night had it already.
    pub is_new: bool,
    /// Its customers, if this order made it.
    pub customers: u64,
    /// Its chunks that this order published.
    pub published: u64,
    /// Its chunks whose messages were not confirmed; the coordinator publishes them.
    pub unconfirmed: u64,
    /// Why the first of them was not.
    pub failure: Option<String>,
    /// How long the plan took, recording included.
    pub plan_took: Duration,
    /// How long publishing took, confirms included.
    pub publish_took: Duration,
}

/// Why nothing was dispatched.
#[derive(Debug, thiserror::Error)]
pub enum DispatchError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// No plan can be made.
    #[error("{selection}: {source}")]
    Plan {
        /// Whom it was for.
        selection: String,
        /// What is wrong.
        source: PlanError,
    },
    /// There is nothing to value with.
    #[error("there is no model version yet: run `ltv fit` first")]
    NoModel,
    /// The model version that was named is not there.
    #[error("there is no model version {0}: `ltv models list` lists those there are")]
    UnknownModel(ModelVersionId),
    /// Some of the customers named do not exist.
    #[error(
        "{missing} of the named customers are not in source.customers at {as_of}, the first is {first}: \
         take them out, or load them"
    )]
    UnknownCustomers {
        /// How many.
        missing: usize,
        /// One of them.
        first: CustomerId,
        /// When they were looked for.
        as_of: Timestamp,
    },
}

/// A dispatcher with its seams.
#[derive(Clone, Debug)]
pub struct Dispatcher<S, Q> {
    /// Where runs are recorded.
    pub store: S,
    /// Where chunks are published.
    pub queue: Q,
    /// How runs are cut.
    pub policy: PlanPolicy,
    /// The trace that the chunks belong to, as pairs for their messages.
    pub trace_context: fn() -> Vec<(String, String)>,
}

impl<S: Planning + Publishing, Q: Chunks> Dispatcher<S, Q> {
    /// Plans and publishes what is ordered; finds the run if the night has one already.
    pub async fn dispatch(&self, order: &Order) -> Result<Dispatched, DispatchError> {
        let began = Instant::now();
        let as_of = match order.as_of {
            Some(as_of) => as_of,
            None => self.store.now().await?,
        };
        let night = (!order.again).then(|| night(&order.selection, as_of));
        let found = match &night {
            Some(night) => self.store.run_of_night(night).await?,
            None => None,
        };
        let (created, customers) = match found {
            Some(found) => (found, 0),
            None => self.plan(order, as_of, night).await?,
        };
        let plan_took = began.elapsed();
        metrics::planned(created.is_new, plan_took);

        let began = Instant::now();
        let (published, failure) = self.publish(&created).await?;
        let publish_took = began.elapsed();
        metrics::published(publish_took);
        let dispatched = Dispatched {
            run: created.run,
            is_new: created.is_new,
            customers,
            published,
            unconfirmed: created.unpublished.len() as u64 - published,
            failure,
            plan_took,
            publish_took,
        };
        tracing::info!(
            run.id = %dispatched.run,
            is_new = dispatched.is_new,
            customers,
            published,
            unconfirmed = dispatched.unconfirmed,
            ?plan_took,
            ?publish_took,
            "dispatched"
        );
        Ok(dispatched)
    }

    async fn plan(
        &self,
        order: &Order,
        as_of: Timestamp,
        night: Option<String>,
    ) -> Result<(CreatedRun, u64), DispatchError> {
        let missing = || order.model_version.map_or(DispatchError::NoModel, DispatchError::UnknownModel);
        let model_version =
            self.store.model_version_to_pin(order.model_version).await?.ok_or_else(missing)?;
        let (customers, sample) = self.look(&order.selection, as_of).await?;
        let plan = plan(&customers, &sample, &self.policy)
            .map_err(|source| DispatchError::Plan { selection: order.selection.to_string(), source })?;
        let new = NewRun {
            night,
            selection: order.selection.clone(),
            priority: order.priority,
            as_of,
            deadline: order.deadline,
            model_version,
            terms: order.terms,
            plan,
            trace: (self.trace_context)(),
            limits: limits(order),
        };
        let created = self.store.create_run(&new).await?;
        // Another dispatcher may have been faster: then the plan was for nothing.
        let customers = if created.is_new { customers.len() as u64 } else { 0 };
        Ok((created, customers))
    }

    /// Whom a run is for, and a sample of where the work is.
    async fn look(
        &self,
        selection: &Selection,
        as_of: Timestamp,
    ) -> Result<(Vec<CustomerId>, WorkSample), DispatchError> {
        if *selection == Selection::All {
            // A night's deadline runs already, and the two have nothing to do with each other.
            return Ok(tokio::try_join!(self.store.selected(selection, as_of), self.store.work_sample())?);
        }
        let customers = self.store.selected(selection, as_of).await?;
        all_found(selection, &customers, as_of)?;
        // What fits one chunk needs no knowledge of where the work is.
        let sample = if customers.len() > self.policy.chunk_customers as usize {
            self.store.work_sample().await?
        } else {
            WorkSample::none()
        };
        Ok((customers, sample))
    }

    /// Publishes what is left to publish and records what was confirmed; returns how many that were, and what kept the
    /// others from it.
    async fn publish(&self, created: &CreatedRun) -> Result<(u64, Option<String>), DispatchError> {
        let untried = |&chunk| AttemptId { chunk: ChunkRef { run: created.run, chunk }, attempt: Attempt(0) };
        let chunks: Vec<AttemptId> = created.unpublished.iter().map(untried).collect();
        let trace = (self.trace_context)();
        let messages = Messages { run: created.run, priority: created.priority, chunks: &chunks, trace };
        let Published { confirmed, unconfirmed, failure, recorded } =
            publish(&self.store, &self.queue, messages).await;
        if let Some(error) = &failure {
            tracing::warn!(run.id = %created.run, unconfirmed, %error, "the coordinator publishes the rest");
        }
        recorded?;
        Ok((confirmed.len() as u64, failure.map(|error| error.to_string())))
    }
}

/// The limits that a run is held to. Customers whom somebody named are like no other selection, and somebody waits for
/// them: such a run is compared with none.
fn limits(order: &Order) -> Option<Limits> {
    (!matches!(order.selection, Selection::Customers(_))).then_some(order.limits)
}

/// The night's name: one for each selection and day.
fn night(selection: &Selection, as_of: Timestamp) -> String {
    let day = as_of.to_zoned(TimeZone::UTC).date();
    match selection {
        // Two sets of the same size are not the same set.
        Selection::Customers(customers) => {
            let fingerprint: Fingerprint = customers.iter().map(|customer| customer.0).collect();
            format!("{day} {selection} {fingerprint}")
        }
        Selection::All | Selection::Segment(_) => format!("{day} {selection}"),
    }
}

fn all_found(selection: &Selection, found: &[CustomerId], as_of: Timestamp) -> Result<(), DispatchError> {
    let Selection::Customers(named) = selection else { return Ok(()) };
    let mut missing = named.iter().filter(|customer| found.binary_search(customer).is_err());
    match missing.next() {
        None => Ok(()),
        Some(&first) => Err(DispatchError::UnknownCustomers { missing: 1 + missing.count(), first, as_of }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_night_is_one_selection_on_one_day() {
        let late = at("2026-11-23T23:59:59Z");
        let named = |ids: &[i64]| Selection::Customers(ids.iter().copied().map(CustomerId).collect());

        assert_eq!(night(&Selection::All, late), night(&Selection::All, at("2026-11-23T00:00:00Z")));
        assert_ne!(night(&Selection::All, late), night(&Selection::All, at("2026-11-24T00:00:00Z")));
        assert_ne!(night(&Selection::All, late), night(&Selection::Segment("venue".into()), late));
        assert_ne!(night(&named(&[1, 2]), late), night(&named(&[1, 3]), late));
    }

    #[test]
    fn a_named_customer_who_is_missing_is_named() {
        let named = Selection::Customers([1, 5, 9].map(CustomerId).into());

        let error = all_found(&named, &[CustomerId(1)], at("2026-11-23T00:00:00Z")).unwrap_err();

        assert!(error.to_string().starts_with("2 of the named customers"), "{error}");
        assert!(error.to_string().contains("the first is 5"), "{error}");
    }
}
