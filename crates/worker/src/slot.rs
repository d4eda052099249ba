//! One message, from begin to ack.
//!
//! # Failure by failure
//!
//! * **The message makes no sense, or another installation sent it.** It goes to the dead letters with the reason.
//!   Nothing was begun. What it may have been about is published again, by whoever sent it.
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
//!   innocent ones and requests too. A chunk that was lost more than once is a suspect: it works alone, so that the
//!   one that kills dies alone from then on, and its neighbours go through.
//! * **We are killed.** Before the commit the lease runs out and the chunk is rescued. Between commit and cache,
//!   or between commit and ack, the message comes again and finds the chunk done.
//! * **We must stop and the grace period is over.** The chunk is given back, and the message too.

use std::sync::Arc;

use batch::AttemptId;
use cache::Cache;
use queue::{Acked, Delivery};
use store::{Attempts, Begin, Values};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, Semaphore};
use tracing::Instrument;

use crate::attempt::{Ended, Workbench};
use crate::held::Held;
use crate::metrics;
use crate::patience::Patience;
use crate::requests::{AtWork, RequestLane};
use crate::turns::Turns;
use crate::{End, RequestConfig};

/// Lost attempts after which a chunk or a request is suspected of killing its workers.
pub(crate) const SUSPICIOUS_LOSSES: u32 = 2;

/// What all slots of a worker share.
pub(crate) struct Slot<S, C> {
    pub(crate) bench: Workbench<S, C>,
    pub(crate) held: Held,
    /// Held for reading by attempts that may work side by side, for writing by a suspect, which works alone.
    pub(crate) company: Arc<RwLock<()>>,
}

/// With whom an attempt works, for as long as it is held.
#[expect(dead_code, reason = "held, never read")]
enum Company<'a> {
    WithOthers(RwLockReadGuard<'a, ()>),
    Alone(RwLockWriteGuard<'a, ()>),
}

impl<S, C> Slot<S, C> {
    /// Makes the lane of requests beside it, which shares what computes, and the company of suspects.
    pub(crate) fn lane_of_requests<R>(
        &self,
        store: R,
        requests: RequestConfig,
        end: &End,
        shared_slots: Option<Arc<Semaphore>>,
    ) -> RequestLane<R> {
        RequestLane {
            store,
            valuation: Arc::clone(&self.bench.valuation),
            config: self.bench.config.clone(),
            at_work: AtWork::default(),
            turns: Turns::new(usize::from(requests.slots)),
            shared_slots,
            company: Arc::clone(&self.company),
            room: Semaphore::new(usize::from(requests.in_hand() / 2)),
            draining: end.draining.clone(),
            gave_up: end.gave_up.clone(),
            requests,
        }
    }
}

impl<S: Attempts + Values, C: Cache> Slot<S, C> {
    /// Does what a message asks for, and settles it.
    pub(crate) async fn take<D: Delivery<Message = AttemptId>>(&self, delivery: D) {
        let message = match delivery.message() {
            Ok(message) => *message,
            Err(malformed) => {
                let (priority, reason) = (delivery.priority(), malformed.to_string());
                if malformed.is_foreign {
                    tracing::warn!(%priority, %reason, "a message of another installation, `ltv dead-letters list` tells of it");
                    metrics::settled("foreign");
                } else {
                    tracing::warn!(%priority, %reason, "a message makes no sense, `ltv dead-letters list` tells of it");
                    metrics::settled("malformed");
                }
                if let Err(error) = delivery.dead_letter(&reason).await {
                    tracing::warn!(%error, "a message that is not ours was given back");
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
        (self.bench.config.link)(&span, &delivery.trace().0);
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

        if self.bench.config.faults.acks_first() {
            let priority = delivery.priority();
            settle(delivery.ack().await, "acked_first");
            self.bench.attempt(&assignment, priority, &holding).await;
            return;
        }
        metrics::busy(1.0);
        let ended = self.bench.attempt(&assignment, delivery.priority(), &holding).await;
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
        let Workbench { store, config, .. } = &self.bench;
        let mut is_repeat = false;
        let begin = || {
            let was_asked = std::mem::replace(&mut is_repeat, true);
            store.begin_attempt(message.chunk, &config.name, config.lease, was_asked)
        };
        let way = config.troubles.begin.party();
        let mut patience = Patience::new(store, &self.bench.gave_up, &way, (config.delays)());
        match patience.ask(begin).await? {
            Ok(begun) => Some(begun),
            Err(error) => {
                // It may have begun, but what it is about cannot be understood. Nobody keeps its lease, so it is
                // lost, tried elsewhere, and dead in the end: with others of its kind it must not hold every slot
                // of the fleet.
                tracing::error!(%error, "an attempt makes no sense and is left to its lease");
                Some(Begin::Settled)
            }
        }
    }
}

fn settle(acked: Acked, outcome: &'static str) {
    metrics::settled(outcome);
    if acked == Acked::NotSent {
        tracing::debug!(outcome, "the message comes again");
    }
}
