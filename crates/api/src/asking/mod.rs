//! Asking the fleet: from a question to an outcome, over a row of the store's and a message that names it.
//!
//! **Terms.** A *question* says who asks about whom, under which key, and how long he waits. It is recorded as a request,
//! a message is sent for it, and a worker answers it in the store. The reply only says that it is worth looking. Whoever
//! waits hears one [`Outcome`]; where his time is up first, it is that the request is *pending*, and he may ask for it by
//! its number ([`Asking::follow`]).
//!
//! A request outlives the wait ([`LASTS`]): who was told that it is pending finds its answer later. Its message does not
//! live that long ([`queue::REQUEST_TTL`]). Who follows a request that is open has it sent again, if this process has not
//! sent it within that time: so what nobody asks for any more is not worked either.
//!
//! # Failure by failure
//!
//! What is done next is [`course`]'s to say, which knows no server.
//!
//! * **A reply is lost, or late.** The store is asked at half of the wait and at its end.
//! * **A reply comes twice,** or is that to an earlier message. A look; if there is nothing yet, the message is sent once
//!   more, so that somebody replies to it.
//! * **The way back is lost** while somebody waits. A look, and the message is sent once more.
//! * **Nobody knows whether the message was taken.** The same.
//! * **As many messages wait as may.** The question is shed, and its request abandoned.
//! * **No message can be sent:** the broker is away, its breaker is open, or it refuses. A question about one customer is
//!   answered here ([`itself`]). One about many is pending, and sent when somebody follows it.
//! * **The workers are gone.** Pending.
//! * **The store is away.** Asked again until the time is up.
//! * **The store crashed and forgot the question.** It is recorded once more.
//! * **Whoever asked leaves.** Nothing is undone, since what he asked for may be asked for again; but where many wait, his
//!   request is abandoned, so that a worker need not look at it.
//! * **We are killed.** Asked again under its key, the question finds the same request, whatever became of it.

mod course;
mod itself;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use batch::{CustomerId, Fingerprint, RequestId};
use queue::{Heard, OutgoingRequest, Requester, TraceContext, Waiting};
use store::{Answer, Asked, NewRequest, RequestRecord, Requests, Values};
use tokio::time::Instant;

use crate::metrics;
use course::{Course, End, Event, Refusal, Stand, Step, Worked};
use itself::Itself;
pub(crate) use itself::ItselfConfig;

/// How long a request is worth answering. What is beyond the wait is for who comes back for it.
pub(crate) const LASTS: Duration = Duration::from_mins(5);

/// Where more than so many wait, what somebody has left is not worked any more.
const MANY_WAIT: usize = 16;

/// A question about customers.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    /// Who asks.
    pub(crate) asked_by: String,
    /// What makes a repeat find the same request.
    pub(crate) key: Option<String>,
    /// About whom: ascending, each once, at least one.
    pub(crate) customers: Vec<CustomerId>,
    /// How long he waits.
    pub(crate) wait: Duration,
    /// The trace that it is asked in, as pairs.
    pub(crate) trace: Vec<(String, String)>,
}

/// What whoever asked is told.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is answered.
    Answered(Box<Answer>),
    /// It has failed, has expired, or was abandoned.
    Over(Box<RequestRecord>),
    /// It is still good, and not answered yet.
    Pending(Box<RequestRecord>),
    /// Too many wait.
    Full,
    /// Its key was used for another question.
    KeyReused,
    /// There is no model version to answer with.
    NoModel,
    /// There is no such request.
    NotThere,
    /// The store cannot be asked.
    Away(store::Error),
}

/// What questions are asked with. A clone is another handle to the same.
pub(crate) struct Asking<S, R>(Arc<Shared<S, R>>);

impl<S, R> Clone for Asking<S, R> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

struct Shared<S, R> {
    store: S,
    requester: R,
    itself: Itself,
    sent: Sent,
}

/// When this process last sent a message for a request, for as long as the message lives.
#[derive(Default)]
struct Sent(Mutex<BTreeMap<RequestId, Instant>>);

impl Sent {
    fn note(&self, request: RequestId) {
        let mut sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.retain(|_, at| at.elapsed() < queue::REQUEST_TTL);
        sent.insert(request, Instant::now());
    }

    fn is_out(&self, request: RequestId) -> bool {
        let sent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sent.get(&request).is_some_and(|at| at.elapsed() < queue::REQUEST_TTL)
    }
}

impl<S: Requests + Values, R: Requester> Asking<S, R> {
    pub(crate) fn new(store: S, requester: R, config: ItselfConfig) -> Self {
        let itself = Itself::new(config);
        Self(Arc::new(Shared { store, requester, itself, sent: Sent::default() }))
    }

    /// Asks a question, and waits as long as whoever asked does.
    pub(crate) async fn ask(&self, question: &Question) -> Outcome {
        let mut course = Course::default();
        let first = course.record();
        Trail::new(self, question.wait, Some(question)).walk(course, first).await
    }

    /// Waits for a request that was asked before.
    pub(crate) async fn follow(&self, request: RequestId, wait: Duration) -> Outcome {
        let is_out = wait.is_zero() && self.0.sent.is_out(request);
        let course = if is_out { Course::of_one_that_was_sent() } else { Course::default() };
        let mut trail = Trail::new(self, wait, None);
        trail.request = Some(request);
        trail.walk(course, Step::Look).await
    }
}

/// One question on its way.
struct Trail<'a, S: Requests + Values, R: Requester> {
    asking: &'a Asking<S, R>,
    /// What is asked; none where a request is followed that was asked before.
    question: Option<&'a Question>,
    began: Instant,
    wait: Duration,
    request: Option<RequestId>,
    waiting: Option<Waiting>,
    /// What the last look showed.
    seen: Option<Answer>,
    error: Option<store::Error>,
    is_over: bool,
}

impl<'a, S: Requests + Values, R: Requester> Trail<'a, S, R> {
    fn new(asking: &'a Asking<S, R>, wait: Duration, question: Option<&'a Question>) -> Self {
        Self {
            asking,
            question,
            began: Instant::now(),
            wait,
            request: None,
            waiting: None,
            seen: None,
            error: None,
            is_over: false,
        }
    }

    async fn walk(mut self, mut course: Course, first: Step) -> Outcome {
        let mut step = first;
        loop {
            let event = match step {
                Step::Record => self.record().await,
                Step::Send => self.send().await,
                Step::Value => self.value().await,
                Step::Wait(limit) => self.hear(limit).await,
                Step::Look => self.look().await,
                Step::End(end) => return self.end(end).await,
            };
            let left = self.wait.saturating_sub(self.began.elapsed());
            step = course.after(event, left);
        }
    }

    fn store(&self) -> &'a S {
        &self.asking.0.store
    }

    fn number(&self) -> RequestId {
        self.request.expect("a question is recorded before anything else is done for it")
    }

    fn is_single(&self) -> bool {
        match (self.question, &self.seen) {
            (Some(question), _) => question.customers.len() == 1,
            (None, Some(answer)) => answer.record.customers == 1,
            (None, None) => false,
        }
    }

    async fn record(&mut self) -> Event {
        let question = self.question.expect("only a question is recorded");
        let new = NewRequest {
            asked_by: question.asked_by.clone(),
            key: question.key.clone(),
            fingerprint: fingerprint(&question.customers),
            customers: question.customers.clone(),
            lasts: LASTS.max(question.wait),
            trace: question.trace.clone(),
            is_waited_for: !question.wait.is_zero(),
        };
        match self.store().ask(&new).await {
            Ok(Asked::New(request)) => {
                self.request = Some(request);
                Event::Stands(Stand::Open)
            }
            Ok(Asked::Known(record)) => {
                self.request = Some(record.request);
                // One that is over is looked at for its answer.
                if record.state.is_open() { Event::Stands(Stand::Open) } else { self.look().await }
            }
            Ok(Asked::KeyReused) => Event::Stands(Stand::KeyReused),
            Err(error) => {
                self.error = Some(error);
                // Nothing was recorded that could be looked at.
                self.wait = Duration::ZERO;
                Event::Unknown
            }
        }
    }

    async fn send(&mut self) -> Event {
        let request = self.number();
        let trace = TraceContext(self.question.map(|question| question.trace.clone()).unwrap_or_default());
        match self.asking.0.requester.ask(OutgoingRequest { request, left: LASTS, trace }).await {
            Ok(waiting) => {
                self.asking.0.sent.note(request);
                self.waiting = Some(waiting);
                Event::Sent
            }
            Err(error) => {
                tracing::debug!(request.id = %request, %error, "a request was not sent");
                Event::Refused(Refusal::new(&error, self.is_single()))
            }
        }
    }

    /// In a task of its own, which goes on when whoever asked has left.
    async fn value(&mut self) -> Event {
        let (shared, request) = (Arc::clone(&self.asking.0), self.number());
        let work = tokio::spawn(async move { shared.itself.value(&shared.store, request).await });
        let left = self.wait.saturating_sub(self.began.elapsed());
        match tokio::time::timeout(left, work).await {
            Ok(Ok(Ok(worked))) => Event::Worked(worked),
            Ok(Ok(Err(error))) => {
                self.error = Some(error);
                Event::Unknown
            }
            Ok(Err(_)) | Err(_) => Event::Worked(Worked::Left),
        }
    }

    async fn hear(&mut self, limit: Duration) -> Event {
        let heard = if let Some(waiting) = &mut self.waiting {
            waiting.heard(limit).await
        } else {
            tokio::time::sleep(limit).await;
            Heard::Silent
        };
        if heard != Heard::Silent {
            // It would only say the same again.
            self.waiting = None;
        }
        Event::Heard(heard)
    }

    async fn look(&mut self) -> Event {
        match self.store().answer_of(self.number()).await {
            Ok(Some(answer)) if self.question.is_none_or(|question| is_about(&answer, question)) => {
                let stand = Stand::from(answer.record.state);
                self.seen = Some(answer);
                Event::Stands(stand)
            }
            Ok(_) => Event::Stands(Stand::NotThere),
            Err(error) => {
                self.error = Some(error);
                Event::Unknown
            }
        }
    }

    async fn end(mut self, end: End) -> Outcome {
        self.is_over = true;
        metrics::question(end.as_str());
        match (end, self.seen.take()) {
            (End::Answered, Some(answer)) => Outcome::Answered(Box::new(answer)),
            (End::Failed | End::Over, Some(answer)) => Outcome::Over(Box::new(answer.record)),
            (End::Pending, Some(answer)) => Outcome::Pending(Box::new(answer.record)),
            // It is not the question of who only comes back for it, and there may be a message for it.
            (End::Full, Some(answer)) if self.question.is_none() => Outcome::Pending(Box::new(answer.record)),
            (End::Pending, None) => self.pending().await,
            (End::Full, _) => {
                // It expires all the same.
                let _ = self.store().abandon(self.number()).await;
                Outcome::Full
            }
            (End::KeyReused, _) => Outcome::KeyReused,
            (End::NoModel, _) => Outcome::NoModel,
            (End::Away, _) => {
                Outcome::Away(self.error.take().expect("a store that is away has said so with an error"))
            }
            (End::NotThere | End::Answered | End::Failed | End::Over, _) => Outcome::NotThere,
        }
    }

    async fn pending(&self) -> Outcome {
        match self.store().look(&[self.number()]).await.map(|mut records| records.pop()) {
            Ok(Some(record)) => Outcome::Pending(Box::new(record)),
            Ok(None) => Outcome::NotThere,
            Err(error) => Outcome::Away(error),
        }
    }
}

impl<S: Requests + Values, R: Requester> Drop for Trail<'_, S, R> {
    /// Whoever asked has left before the end. What has a key may be asked again.
    fn drop(&mut self) {
        let is_ours = self.question.is_some_and(|question| question.key.is_none());
        let Some(request) = self.request.filter(|_| is_ours && !self.is_over) else { return };
        let many_wait = self.asking.0.requester.waiting() > MANY_WAIT;
        if let (true, Ok(runtime)) = (many_wait, tokio::runtime::Handle::try_current()) {
            let shared = Arc::clone(&self.asking.0);
            // It expires all the same.
            runtime.spawn(async move { drop(shared.store.abandon(request).await) });
        }
    }
}

/// Whether an answer is that to a question: a store that crashed may have given its number to another.
fn is_about(answer: &Answer, question: &Question) -> bool {
    let asked = &question.customers;
    answer.record.customers == asked.len() as u64
        && answer.rows.iter().all(|known| asked.binary_search(&known.customer).is_ok())
}

/// What a key stands for: the customers whom it was used for.
fn fingerprint(customers: &[CustomerId]) -> Vec<u8> {
    let fingerprint: Fingerprint = customers.iter().map(|customer| customer.0).collect();
    fingerprint.to_string().into_bytes()
}
