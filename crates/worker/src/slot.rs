//! One message, from begin to ack.
//!
//! # Failure by failure
//!
//! * **The message makes no sense.** It goes to the dead letters with the reason. Nothing was begun.
//! * **The chunk is settled, leased, not due, or its run is over.** The message has nothing left to do: ack.
//! * **The store goes away, at any step.** The attempt waits for it, asks where it stands, and goes on with the
//!   same attempt: the chunk loses none. A commit whose answer was lost may turn out to have happened.
//! * **A relation or a right is missing in the store.** No chunk is to blame: the attempt says so as an error and
//!   waits, like for a store that is away.
//! * **The broker goes away.** The attempt goes on. Its ack is not sent; the message comes again and finds the
//!   chunk settled, or leased to us.
//! * **The cache is away.** Noted by its breaker, and left at that: the store has the values.
//! * **The attempt is superseded** (we were stopped for longer than our lease). What it did is dropped; the
//!   fence would refuse it. Another attempt is at work.
//! * **The chunk's own fault** (its mathematics panic, its rows make no sense to the store, its model version is
//!   missing). The failure is recorded with a verdict, then ack: the coordinator publishes the retry when it is
//!   due. A single customer that cannot be valued is a rejection and fails nothing.
//! * **The chunk kills its worker.** Every chunk that is at work here is lost with it and charged for it, the
//!   innocent ones too. A chunk that was lost more than once is a suspect: it works alone, so that the one that
//!   kills dies alone from then on, and its neighbours go through.
//! * **We are killed.** Before the commit the lease runs out and the chunk is rescued. Between commit and cache,
//!   or between commit and ack, the message comes again and finds the chunk done.
//! * **We must stop and the grace period is over.** The chunk is given back, and the message too.

use std::sync::Arc;

use batch::{AttemptId, Priority};
use cache::Cache;
use model::Valuer;
use queue::{Acked, Delivery};
use resilience::Delays;
use store::{
    Assignment, Attempts, Begin, CommitOutcome, History, Reading, Rejected, ResultRows, Standing, Valued,
    Values,
};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::compute::Compute;
use crate::faults::{FaultPlan, Point};
use crate::held::{Held, Holding};
use crate::valuers::Valuers;
use crate::{WorkerConfig, metrics};

/// Customers computed before a more urgent chunk may step in.
const SUB_BATCH: usize = 500;

/// Lost attempts after which a chunk is suspected of killing its workers.
const SUSPICIOUS_LOSSES: u32 = 2;

/// What all slots of a worker share.
pub(crate) struct Slot<S, C> {
    pub(crate) store: S,
    pub(crate) cache: C,
    pub(crate) valuers: Valuers,
    pub(crate) compute: Compute,
    pub(crate) held: Held,
    /// Held for reading by attempts that may work side by side, for writing by a suspect, which works alone.
    pub(crate) company: RwLock<()>,
    /// Resolves when the grace period is over.
    pub(crate) gave_up: CancellationToken,
    pub(crate) config: WorkerConfig,
}

/// With whom an attempt works, for as long as it is held.
#[expect(dead_code, reason = "held, never read")]
enum Company<'a> {
    WithOthers(RwLockReadGuard<'a, ()>),
    Alone(RwLockWriteGuard<'a, ()>),
}

/// How an attempt ended.
enum Ended {
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
        match error {
            store::Error::Unavailable { .. } | store::Error::Broken { .. } => Self::Away(error),
            store::Error::Invalid { .. } => Self::Chunk(error.to_string()),
        }
    }
}

impl<S: Attempts + Values, C: Cache> Slot<S, C> {
    /// Does what a message asks for, and settles it.
    pub(crate) async fn take<D: Delivery<Message = AttemptId>>(&self, delivery: D) {
        let message = match delivery.message() {
            Ok(message) => *message,
            Err(malformed) => {
                let reason = malformed.to_string();
                tracing::warn!(%reason, "a message makes no sense");
                metrics::settled("malformed");
                if let Err(error) = delivery.dead_letter(&reason).await {
                    tracing::warn!(%error, "a message that makes no sense was given back");
                }
                return;
            }
        };
        let span = tracing::info_span!(
            "attempt",
            run.id = %message.chunk.run,
            chunk.id = %message.chunk.chunk,
            attempt = tracing::field::Empty
        );
        (self.config.link)(&span, &delivery.trace().0);
        self.take_chunk(delivery, message).instrument(span).await;
    }

    async fn take_chunk<D: Delivery<Message = AttemptId>>(&self, delivery: D, message: AttemptId) {
        let Some(holding) = self.held.hold(message.chunk) else {
            return settle(delivery.ack().await, "held");
        };
        // Nothing is begun while a suspect works: what it kills must not be charged to anybody else.
        let company = self.company.read().await;
        let Some(begun) = self.begin(message).await else {
            return settle(delivery.requeue().await, "given_back");
        };
        let assignment = match begun {
            Begin::Assigned(assignment) => assignment,
            Begin::Settled => return settle(delivery.ack().await, "settled"),
            Begin::Leased => return settle(delivery.ack().await, "leased"),
            Begin::NotDue => return settle(delivery.ack().await, "not_due"),
            Begin::NoRun => return settle(delivery.ack().await, "no_run"),
        };
        tracing::Span::current().record("attempt", assignment.attempt.attempt.0);
        holding.begun(assignment.attempt.attempt);
        let _company = if assignment.losses >= SUSPICIOUS_LOSSES {
            drop(company);
            tracing::info!(losses = assignment.losses, "a chunk that was lost before works alone");
            Company::Alone(self.company.write().await)
        } else {
            Company::WithOthers(company)
        };

        if self.config.faults.acks_first() {
            let priority = delivery.priority();
            settle(delivery.ack().await, "acked_first");
            self.attempt(&assignment, priority, &holding).await;
            return;
        }
        metrics::busy(1.0);
        let ended = self.attempt(&assignment, delivery.priority(), &holding).await;
        metrics::busy(-1.0);
        match ended {
            // Ack only after the commit: a lost ack repeats a settled chunk, which costs one query; a lost
            // commit would lose a night's values.
            Ended::Committed => settle(delivery.ack().await, "committed"),
            Ended::Superseded => settle(delivery.ack().await, "superseded"),
            Ended::Failed => settle(delivery.ack().await, "failed"),
            Ended::GaveUp => settle(delivery.requeue().await, "given_back"),
        }
    }

    /// Begins an attempt, however long the store is away; `None` if the grace period was over first.
    async fn begin(&self, message: AttemptId) -> Option<Begin> {
        let mut delays = (self.config.delays)();
        let mut is_repeat = false;
        loop {
            let (name, lease) = (&self.config.name, self.config.lease);
            let begin = self.store.begin_attempt(message.chunk, name, lease, is_repeat).await;
            is_repeat = true;
            match begin {
                Ok(begun) => return Some(begun),
                Err(error) if error.is_transient() => {
                    tracing::debug!(%error, "waiting to begin");
                    self.wait(&mut delays).await?;
                }
                Err(error @ store::Error::Broken { .. }) => {
                    tracing::error!(%error, "an attempt waits to begin until somebody mends this");
                    self.wait(&mut delays).await?;
                }
                Err(error) => {
                    // It may have begun, but what it is about cannot be understood. Nobody keeps its lease, so it
                    // is lost, tried elsewhere, and dead in the end: with others of its kind it must not hold
                    // every slot of the fleet.
                    tracing::error!(%error, "an attempt makes no sense and is left to its lease");
                    return Some(Begin::Settled);
                }
            }
        }
    }

    /// Makes one attempt at a chunk, to whichever end.
    async fn attempt(&self, assignment: &Assignment, priority: Priority, holding: &Holding) -> Ended {
        let attempt = assignment.attempt;
        let gave_up = self.gave_up.clone();
        let ended = tokio::select! {
            biased;
            () = holding.superseded.cancelled() => Ended::Superseded,
            () = gave_up.cancelled() => Ended::GaveUp,
            ended = self.work(assignment, priority, holding) => ended,
        };
        match &ended {
            Ended::Superseded => {
                tracing::info!("superseded");
                // Says that we did come back, however long that takes: the chunk is not charged for us.
                let _ = self.stand(attempt, &mut (self.config.delays)()).await;
            }
            Ended::GaveUp => self.give_back(attempt).await,
            Ended::Committed | Ended::Failed => {}
        }
        ended
    }

    /// Reads, computes, commits; waits for the store as often as it is away.
    async fn work(&self, assignment: &Assignment, priority: Priority, holding: &Holding) -> Ended {
        self.config.faults.reach(Point::Begun).await;
        let mut delays = (self.config.delays)();
        let mut rows: Option<ResultRows> = None;
        loop {
            let failure = match self.go_on(assignment, priority, holding, &mut rows).await {
                Ok(()) => break,
                Err(failure) => failure,
            };
            match failure {
                Failure::Superseded => return Ended::Superseded,
                Failure::Chunk(reason) => return self.fail(assignment.attempt, &reason).await,
                Failure::Away(error) => {
                    metrics::waited();
                    if error.is_transient() {
                        tracing::warn!(%error, "the attempt waits for the store");
                    } else {
                        tracing::error!(%error, "the attempt waits until somebody mends this");
                    }
                    match self.stand(assignment.attempt, &mut delays).await {
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
        let computed = match rows.take() {
            Some(computed) => computed,
            None => self.compute_rows(assignment, priority).await?,
        };
        let computed = rows.insert(computed);
        holding.committing();
        let began = Instant::now();
        let committed = self.store.commit_attempt(assignment.attempt, computed).await?;
        metrics::stage("commit", began.elapsed());
        match committed {
            CommitOutcome::Committed => Ok(()),
            CommitOutcome::Refused => Err(Failure::Superseded),
        }
    }

    async fn compute_rows(&self, assignment: &Assignment, priority: Priority) -> Result<ResultRows, Failure> {
        let pinned = self.valuers.get(&self.store, assignment).await?;
        let Some(pinned) = pinned else {
            return Err(Failure::Chunk(format!("model version {} is missing", assignment.model_version)));
        };
        let began = Instant::now();
        let reading = Reading {
            customers: &assignment.customers,
            is_whole: assignment.is_whole,
            as_of: assignment.as_of,
            currency: pinned.currency,
            contracts: &pinned.valuer.models().contracts,
        };
        let histories = self.store.read_histories(&reading).await?;
        metrics::stage("read", began.elapsed());

        let began = Instant::now();
        let mut valuing = Valuing::new(histories, pinned.valuer, self.config.faults);
        while !valuing.is_complete() {
            let part = move || {
                valuing.advance(SUB_BATCH);
                valuing
            };
            valuing = self
                .compute
                .run(priority, part)
                .await
                .map_err(|panicked| Failure::Chunk(panicked.to_string()))?;
        }
        metrics::stage("compute", began.elapsed());
        Ok(valuing.rows)
    }

    /// Puts committed values near the reader, if the cache is well. What is lost costs a query, never a value.
    async fn cache_values(&self, assignment: &Assignment, rows: &ResultRows) {
        let began = Instant::now();
        let values: Vec<_> =
            rows.values.iter().map(|valued| cache::Valued::of(valued.customer, &valued.value)).collect();
        if let Err(error) = self.cache.put_values(assignment.attempt.chunk.run, &values).await {
            tracing::debug!(%error, "values not cached");
        }
        metrics::stage("cache", began.elapsed());
    }

    /// Records that the chunk itself is at fault.
    async fn fail(&self, attempt: AttemptId, reason: &str) -> Ended {
        let mut delays = (self.config.delays)();
        loop {
            match self.store.fail_attempt(attempt, reason, &self.config.retry).await {
                Ok(Some(verdict)) => {
                    tracing::warn!(reason, ?verdict, "the attempt failed");
                    return Ended::Failed;
                }
                Ok(None) => return Ended::Superseded,
                Err(error) if error.is_transient() => {
                    if self.wait(&mut delays).await.is_none() {
                        return Ended::GaveUp;
                    }
                }
                Err(error @ store::Error::Broken { .. }) => {
                    tracing::error!(%error, reason, "a failed attempt waits to be recorded until somebody mends this");
                    if self.wait(&mut delays).await.is_none() {
                        return Ended::GaveUp;
                    }
                }
                Err(error) => {
                    // Its lease runs out, and the coordinator counts it as lost.
                    tracing::error!(%error, reason, "a failed attempt could not be recorded");
                    return Ended::Failed;
                }
            }
        }
    }

    /// Waits for the store and asks where the attempt stands; `None` if the grace period was over first.
    async fn stand(&self, attempt: AttemptId, delays: &mut Delays) -> Option<Standing> {
        loop {
            self.wait(delays).await?;
            match self.store.resume_attempt(attempt, self.config.lease).await {
                Ok(standing) => return Some(standing),
                Err(error) => tracing::debug!(%error, "the store is still away"),
            }
        }
    }

    /// Waits until another call to the store makes sense; `None` if the grace period was over first.
    async fn wait(&self, delays: &mut Delays) -> Option<()> {
        let better = async {
            delays.pause().await;
            self.store.wait_until_available().await;
        };
        tokio::select! {
            biased;
            () = self.gave_up.cancelled() => None,
            () = better => Some(()),
        }
    }

    async fn give_back(&self, attempt: AttemptId) {
        if let Err(error) = self.store.give_back(attempt).await {
            tracing::warn!(%error, lease = ?self.config.lease, "a chunk could not be given back; its lease runs out");
        }
    }
}

fn settle(acked: Acked, outcome: &'static str) {
    metrics::settled(outcome);
    if acked == Acked::NotSent {
        tracing::debug!(outcome, "the message comes again");
    }
}

/// A chunk being valued: customer by customer, a part at a time.
struct Valuing {
    histories: std::vec::IntoIter<History>,
    valuer: Arc<Valuer>,
    rows: ResultRows,
    faults: FaultPlan,
}

impl Valuing {
    fn new(histories: Vec<History>, valuer: Arc<Valuer>, faults: FaultPlan) -> Self {
        let rows = ResultRows { values: Vec::with_capacity(histories.len()), rejections: Vec::new() };
        Self { histories: histories.into_iter(), valuer, rows, faults }
    }

    fn is_complete(&self) -> bool {
        self.histories.as_slice().is_empty()
    }

    fn advance(&mut self, customers: usize) {
        for History { customer, account } in self.histories.by_ref().take(customers) {
            self.faults.compute(customer);
            match account.and_then(|account| Ok((self.valuer.value(&account)?, account))) {
                Ok((value, account)) => self.rows.values.push(Valued { customer, value, account }),
                Err(reason) => self.rows.rejections.push(Rejected { customer, reason }),
            }
        }
    }
}
