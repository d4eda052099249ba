//! The lane of requests: urgent questions, from the message to the reply, beside the night and with what the night cannot
//! take: slots, a connection to the broker, and connections to the store that are kept for them.
//!
//! # How long a request waits
//!
//! A worker has a few requests **in hand** for each slot ([`IN_HAND`]), each begun as soon as it is taken. They are
//! valued a **part** at a time (some customers, read at once and computed at once), and a slot goes to whichever request's
//! turn it is (`turns`). So a question for one customer waits for one part of each question for many that is at work, and
//! then for those that came before it; not until a large question has ended. In which parts a request is valued is
//! [`batch::order`]'s to say: neighbours are read together. Among themselves the customers of one request are alike
//! there: since an answer is committed all at once, no part of it is there sooner for being valued sooner.
//!
//! # Failure by failure
//!
//! * **The message makes no sense, or another installation sent it.** As with chunks: to the dead letters.
//! * **The request is answered, failed, expired or abandoned, or is not there.** No work: a reply at once, which says that
//!   the store knows.
//! * **The same request comes twice,** because whoever waits asked again, or the broker lost sight of us. The second
//!   message waits for the first here, finds the request settled, and is replied to: whoever sent it may listen elsewhere.
//! * **Another worker is at work on it,** or is dead with its lease not over yet; **or it is not due again yet** after it
//!   failed. The message is kept here, and the store asked again from time to time: so a request whose worker was killed
//!   is taken over when the lease ends, and nobody has to ask anew. But half of the hands stay free of such: what is
//!   beyond that is acknowledged without a reply, and whoever waits looks and asks again ([`store::Requests`]).
//! * **There is no model version yet.** The same, until there is one or the request expires. Told as a trouble.
//! * **The store goes away, at any step.** Nothing more is taken. What is in hand waits, asks where it stands, and goes on
//!   with the same attempt from the part that it had come to. An answer whose commit was not answered may turn out to be
//!   there.
//! * **A relation or a right is missing in the store.** As with chunks: told as an error, waited for.
//! * **The broker goes away.** The attempt goes on. What cannot be replied or acknowledged comes again and is found
//!   settled.
//! * **The attempt is superseded** (we stood still for longer than the lease). What it did is dropped; the fence would
//!   refuse it. The store hears that we are there, and is asked what became of the request.
//! * **The request's own fault** (the mathematics panic, its rows make no sense to the store, its model version is gone).
//!   Recorded, with a verdict. What is to be tried again is tried again here when it is due; what is not is replied to. A
//!   customer who cannot be valued is a rejection and fails nothing.
//! * **The request kills its worker.** It was counted at its begin, so it fails after as many losses as are allowed. A
//!   suspect works alone, as a chunk does, so that it kills nobody else; while one is at work here requests wait too.
//! * **We are killed.** Before the commit the lease runs out. Between commit and reply, or reply and ack, the message
//!   comes again and is replied to (again): a reply may come twice, an answer never.
//! * **Whoever asked has left.** The reply finds nobody, which harms nothing. The answer is kept.
//! * **We must stop.** What waits for something is given back at once, what is at work is finished; when the grace period
//!   is over it is given back to the store and to the broker.

mod answering;
mod at_work;
#[cfg(test)]
mod tests;
mod times;

use std::sync::Arc;
use std::time::Duration;

use batch::RequestId;
use queue::{Acked, Asked, Consumer, Replied};
use resilience::trouble::Kind;
use store::{Attempts, RequestAssignment, RequestBegin, RequestClaim, Requests, Values};
use tokio::sync::{RwLock, Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use valuation::Valuation;

use crate::faults::Point;
use crate::patience::Patience;
use crate::slot::SUSPICIOUS_LOSSES;
use crate::turns::Turns;
use crate::{RequestConfig, WorkerConfig, metrics};

use answering::Ended;
pub(crate) use at_work::AtWork;
use at_work::Holding;
use times::Times;

/// How many requests are with a worker and not settled, for each slot of the lane.
pub(crate) const IN_HAND: u16 = 4;

/// How soon the store is asked again about a request that there is nothing to do for now, at the latest.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// And at the soonest.
const LOOK_AFTER: Duration = Duration::from_millis(10);

/// What all requests of a worker share.
pub(crate) struct RequestLane<S> {
    /// A way to the store of their own.
    pub(crate) store: S,
    pub(crate) valuation: Arc<Valuation>,
    pub(crate) config: WorkerConfig,
    pub(crate) requests: RequestConfig,
    pub(crate) at_work: AtWork,
    /// The slots.
    pub(crate) turns: Turns,
    /// For a test without a lane: the slots of chunks, of which each part takes one as a chunk does.
    pub(crate) shared_slots: Option<Arc<Semaphore>>,
    /// With those who work on chunks, as `slot` tells.
    pub(crate) company: Arc<RwLock<()>>,
    /// For those that wait for something else than their turn.
    pub(crate) room: Semaphore,
    /// Resolves when the worker is asked to stop.
    pub(crate) draining: CancellationToken,
    /// Resolves when the grace period is over.
    pub(crate) gave_up: CancellationToken,
}

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The store knows how it ended: reply and ack.
    Known(&'static str),
    /// There is nothing that can be done for it here now: ack, and no reply.
    Left(&'static str),
    /// We stop first.
    GivenBack,
}

impl<S: Attempts + Values + Requests> RequestLane<S> {
    /// Takes requests until the worker is asked to stop or the queue was closed, and then sees those through that are in
    /// hand.
    pub(crate) async fn serve<C: Consumer<Delivery: Asked>>(self: Arc<Self>, mut server: C) {
        let heartbeat = tokio::spawn(self.at_work.keep_alive(
            self.store.clone(),
            self.config.name.clone(),
            self.requests.lease,
        ));
        let tasks = TaskTracker::new();
        loop {
            tokio::select! {
                biased;
                () = self.draining.cancelled() => break,
                taken = self.next(&mut server) => {
                    let Some(delivery) = taken else { break };
                    let lane = Arc::clone(&self);
                    tasks.spawn(async move { lane.take(delivery).await });
                }
            }
        }
        tasks.close();
        server.stop().await;
        tasks.wait().await;
        heartbeat.abort();
    }

    async fn next<C: Consumer>(&self, server: &mut C) -> Option<C::Delivery> {
        // With its breaker open the store would only make us hold what others could do.
        self.store.wait_until_available().await;
        server.next().await
    }

    /// Does what a message asks for, and settles it.
    async fn take<D: Asked>(&self, delivery: D) {
        let request = match delivery.message() {
            Ok(request) => *request,
            Err(malformed) => {
                let (is_foreign, reason) = (malformed.is_foreign, malformed.to_string());
                tracing::warn!(is_foreign, %reason, "a request makes no sense here, `ltv dead-letters list` tells of it");
                metrics::request_settled(if is_foreign { "foreign" } else { "malformed" });
                if let Err(error) = delivery.dead_letter(&reason).await {
                    tracing::warn!(%error, "a request that is not ours was given back");
                }
                return;
            }
        };
        let span = tracing::info_span!("request", request.id = %request, attempt = tracing::field::Empty);
        (self.config.link)(&span, &delivery.trace().0);
        metrics::requests_in_hand(1.0);
        self.take_request(delivery, request).instrument(span).await;
        metrics::requests_in_hand(-1.0);
    }

    async fn take_request<D: Asked>(&self, delivery: D, request: RequestId) {
        let times = Times::new();
        if self.config.faults.replies_first() {
            let _ = delivery.reply().await;
        }
        match self.see_through(request, &times).await {
            // The reply only after the commit: whoever hears it looks into the store. The ack only after the reply: a
            // message that comes again costs a query, a reply that is not sent costs somebody all his time.
            Outcome::Known(outcome) => {
                let began = Instant::now();
                if delivery.reply().await == Replied::NotSent {
                    tracing::debug!("nobody hears the reply");
                }
                times.replied(outcome, began.elapsed());
                settle(delivery.ack().await, outcome);
            }
            Outcome::Left(outcome) => settle(delivery.ack().await, outcome),
            Outcome::GivenBack => settle(delivery.requeue().await, "given_back"),
        }
    }

    /// Begins, and begins again, until the request is settled or there is nothing that can be done for it here.
    async fn see_through(&self, request: RequestId, times: &Times) -> Outcome {
        let holding = match self.hold(request).await {
            Ok(holding) => holding,
            Err(outcome) => return outcome,
        };
        // Two ways: each answer to a begin says that the first is free.
        let (way, to_a_model) =
            (self.config.troubles.requests.party(), self.config.troubles.requests.party());
        loop {
            // Nothing is begun while a suspect works: what it kills must not be charged to anybody else.
            let company = self.company.read().await;
            let mut patience = Patience::new(&self.store, &self.gave_up, &way, (self.config.delays)());
            let began = Instant::now();
            let Some(begun) = self.begin(request, &mut patience).await else { return Outcome::GivenBack };
            times.began(began.elapsed());
            let wait = match begun {
                RequestBegin::Assigned(assignment) => {
                    to_a_model.over();
                    let ended = self.in_company(&assignment, &holding, times, company).await;
                    match ended {
                        Ended::Answered => return Outcome::Known("answered"),
                        Ended::Failed => return Outcome::Known("failed"),
                        Ended::Unrecorded => return Outcome::Left("unrecorded"),
                        Ended::GaveUp => return Outcome::GivenBack,
                        Ended::Superseded | Ended::ToBeTriedAgain => Duration::ZERO,
                    }
                }
                RequestBegin::Over(state) => return Outcome::Known(state.as_str()),
                RequestBegin::NotThere => return Outcome::Known("not_there"),
                RequestBegin::AtWork(left) | RequestBegin::NotDue(left) => {
                    drop(company);
                    left
                }
                RequestBegin::NoModel => {
                    drop(company);
                    to_a_model.met("there is no model version, `ltv fit` makes one", Kind::Lasting);
                    LOOK_EVERY
                }
            };
            if let Err(outcome) = self.wait(sleep(wait.clamp(LOOK_AFTER, LOOK_EVERY))).await {
                return outcome;
            }
        }
    }

    /// Has the request for this process alone; a second message for it waits until the first is done with.
    async fn hold(&self, request: RequestId) -> Result<Holding, Outcome> {
        loop {
            match self.at_work.hold(request) {
                Ok(holding) => return Ok(holding),
                Err(ended) => self.wait(ended.cancelled()).await?,
            }
        }
    }

    /// Waits for something else than a turn, if there is room for that and the worker goes on.
    async fn wait(&self, event: impl Future<Output = ()>) -> Result<(), Outcome> {
        let _room: SemaphorePermit<'_> = self.room.try_acquire().map_err(|_| Outcome::Left("at_work"))?;
        tokio::select! {
            biased;
            () = self.draining.cancelled() => Err(Outcome::GivenBack),
            () = event => Ok(()),
        }
    }

    /// Begins an attempt, however long the store is away; `None` if the grace period was over first.
    async fn begin(&self, request: RequestId, patience: &mut Patience<'_, S>) -> Option<RequestBegin> {
        let mut is_repeat = false;
        let begin = || {
            let claim = RequestClaim {
                worker: &self.config.name,
                lease: self.requests.lease,
                is_repeat: std::mem::replace(&mut is_repeat, true),
                max_failures: self.config.retry.max_failures,
                terms: self.requests.terms,
            };
            async move { self.store.begin_request(request, &claim).await }
        };
        match patience.ask(begin).await? {
            Ok(begun) => Some(begun),
            Err(error) => {
                // It may have begun, but what it is about cannot be understood. Whoever asked is told to look, and
                // finds it neither answered nor failed until it expires.
                tracing::error!(%error, "a request makes no sense to the store and is left to its lease");
                Some(RequestBegin::NotThere)
            }
        }
    }

    /// Makes an attempt beside others, or alone if it is suspected of killing its workers.
    async fn in_company(
        &self,
        assignment: &RequestAssignment,
        holding: &Holding,
        times: &Times,
        company: tokio::sync::RwLockReadGuard<'_, ()>,
    ) -> Ended {
        tracing::Span::current().record("attempt", assignment.attempt.attempt.0);
        let superseded = holding.begun(assignment.attempt);
        self.config.faults.reach(Point::Asked).await;
        let ended = if assignment.losses >= SUSPICIOUS_LOSSES {
            drop(company);
            tracing::info!(losses = assignment.losses, "a request that was lost before works alone");
            let _alone = self.company.write().await;
            self.attempt(assignment, holding, &superseded, times).await
        } else {
            let _with_others = company;
            self.attempt(assignment, holding, &superseded, times).await
        };
        holding.rests();
        if matches!(ended, Ended::Answered) {
            self.config.faults.reach(Point::Answered).await;
        }
        ended
    }
}

fn settle(acked: Acked, outcome: &'static str) {
    metrics::request_settled(outcome);
    if acked == Acked::NotSent {
        tracing::debug!(outcome, "the request comes again");
    }
}
