//! Requests as a process reaches them: in the store, and over the broker, as the world allows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use batch::{CustomerId, Priority, RequestAttempt, RequestId, RetryPolicy, Verdict};
use jiff::Timestamp;
use queue::memory::{MemoryRequest, MemoryRequester, MemoryServer};
use queue::{
    Acked, Consumer, Delivery, Error, Malformed, OutgoingRequest, Replied, Requester, TraceContext, Waiting,
};
use store::{
    Absorbed, Answer, Asked, CommitOutcome, Known, NewRequest, RequestBegin, RequestClaim, RequestRecord,
    Result, ResultRows, Standing,
};

use super::call::Call;
use super::remote_queue::RemoteQueue;
use super::remote_store::RemoteStore;
use super::rule::Rule;
use super::world::Fate;

impl<S: store::Requests> store::Requests for RemoteStore<S> {
    async fn ask(&self, new: &NewRequest) -> Result<Asked> {
        self.call(Call::AskRequest, self.inner.ask(new)).await
    }

    async fn begin_request(&self, request: RequestId, claim: &RequestClaim<'_>) -> Result<RequestBegin> {
        let begun = self.call(Call::BeginRequest, self.inner.begin_request(request, claim)).await?;
        match &begun {
            RequestBegin::Over(_) | RequestBegin::NotThere => self.process.hears_of_end(request),
            RequestBegin::Assigned(assignment) => {
                self.process.hears_of_begin(request);
                let attempt = assignment.attempt.attempt;
                self.world.tell(format_args!("{} begins request {request}.{attempt}", self.process));
            }
            RequestBegin::AtWork(_) | RequestBegin::NotDue(_) | RequestBegin::NoModel => {}
        }
        Ok(begun)
    }

    async fn answer_request(&self, attempt: RequestAttempt, rows: &ResultRows) -> Result<CommitOutcome> {
        let outcome = self.call(Call::AnswerRequest, self.inner.answer_request(attempt, rows)).await?;
        let RequestAttempt { request, attempt, .. } = attempt;
        if outcome == CommitOutcome::Committed {
            self.process.hears_of_end(request);
        }
        self.world.tell(format_args!("{} answers request {request}.{attempt}: {outcome:?}", self.process));
        Ok(outcome)
    }

    async fn fail_request(
        &self,
        attempt: RequestAttempt,
        reason: &str,
        policy: &RetryPolicy,
    ) -> Result<Option<Verdict>> {
        let verdict = self.call(Call::FailRequest, self.inner.fail_request(attempt, reason, policy)).await?;
        if verdict == Some(Verdict::DeadLetter) {
            self.process.hears_of_end(attempt.request);
        }
        Ok(verdict)
    }

    async fn give_back_request(&self, attempt: RequestAttempt) -> Result<()> {
        self.call(Call::GiveBackRequest, self.inner.give_back_request(attempt)).await
    }

    async fn renew_requests(
        &self,
        worker: &str,
        held: &[RequestAttempt],
        lease: Duration,
    ) -> Result<Vec<Standing>> {
        let renewed = self.inner.renew_requests(worker, held, lease);
        let standings = self.call(Call::RenewRequests, renewed).await?;
        for (attempt, standing) in held.iter().zip(&standings) {
            if *standing == Standing::Committed {
                self.process.hears_of_end(attempt.request);
            }
        }
        Ok(standings)
    }

    async fn abandon(&self, request: RequestId) -> Result<bool> {
        self.call(Call::AbandonRequest, self.inner.abandon(request)).await
    }

    async fn look(&self, requests: &[RequestId]) -> Result<Vec<RequestRecord>> {
        self.call(Call::LookAtRequests, self.inner.look(requests)).await
    }

    async fn answer_of(&self, request: RequestId) -> Result<Option<Answer>> {
        self.call(Call::ReadAnswer, self.inner.answer_of(request)).await
    }

    async fn latest(&self, customers: &[CustomerId]) -> Result<Vec<Known>> {
        self.call(Call::ReadLatest, self.inner.latest(customers)).await
    }

    async fn stale(&self, valued: &[(CustomerId, Timestamp)]) -> Result<Vec<CustomerId>> {
        self.call(Call::ReadLatest, self.inner.stale(valued)).await
    }

    /// Nobody clears away within a night.
    async fn absorb(&self, after: RequestId, retention: Duration, limit: u32) -> Result<Absorbed> {
        self.inner.absorb(after, retention, limit).await
    }
}

impl queue::Requests for RemoteQueue {
    type Requester = RemoteRequester;
    type Server = RemoteServer;

    async fn requester(&self) -> std::result::Result<RemoteRequester, Error> {
        Ok(RemoteRequester { inner: self.inner.requester().await?, queue: self.clone() })
    }

    async fn serve(&self, prefetch: u16) -> std::result::Result<RemoteServer, Error> {
        Ok(RemoteServer { inner: Some(self.inner.serve(prefetch).await?), queue: self.clone() })
    }
}

/// The end of a process that asks.
#[derive(Clone)]
pub(super) struct RemoteRequester {
    inner: MemoryRequester,
    queue: RemoteQueue,
}

impl Requester for RemoteRequester {
    async fn ask(&self, request: OutgoingRequest) -> std::result::Result<Waiting, Error> {
        let fate = self.queue.before(Call::SendRequest).await?;
        let asked = self.inner.ask(request).await;
        match self.queue.world.after(&self.queue.process, fate).await {
            Ok(()) => asked,
            Err(reason) => Err(Error::Unconfirmed { what: Call::SendRequest.to_string(), reason }),
        }
    }

    fn is_listening(&self) -> bool {
        self.inner.is_listening()
    }

    fn waiting(&self) -> usize {
        self.inner.waiting()
    }
}

/// A process's end that takes requests.
pub(super) struct RemoteServer {
    /// Gone with the process.
    inner: Option<MemoryServer>,
    queue: RemoteQueue,
}

impl Consumer for RemoteServer {
    type Delivery = RemoteRequest;

    async fn next(&mut self) -> Option<RemoteRequest> {
        let process = self.queue.process.clone();
        let taken = match &mut self.inner {
            None => std::future::pending().await,
            Some(inner) => tokio::select! {
                biased;
                () = process.died().cancelled() => Err(()),
                taken = inner.next() => Ok(taken),
            },
        };
        let Ok(taken) = taken else {
            self.inner = None;
            return std::future::pending().await;
        };
        let inner = taken?;
        let message = inner.message().copied().map_err(Clone::clone);
        let (redelivered, trace) = (inner.redelivered(), inner.trace().clone());
        let held = Arc::new(Mutex::new(Some(inner)));
        // With its process dies its connection, and the broker takes back what had not been settled.
        process.at_death({
            let held = Arc::clone(&held);
            move || drop(held.lock().unwrap_or_else(PoisonError::into_inner).take())
        });
        Some(RemoteRequest { held, message, redelivered, trace, queue: self.queue.clone() })
    }

    async fn stop(self) {
        if let Some(inner) = self.inner {
            inner.stop().await;
        }
    }
}

/// A request that a process holds.
pub(super) struct RemoteRequest {
    held: Arc<Mutex<Option<MemoryRequest>>>,
    message: std::result::Result<RequestId, Malformed>,
    redelivered: bool,
    trace: TraceContext,
    queue: RemoteQueue,
}

impl RemoteRequest {
    /// Takes it for settling; none if the broker cannot be reached, which gives it to somebody else then.
    async fn take(&self, call: Call) -> Option<(MemoryRequest, Fate)> {
        let fate = self.queue.before(call).await;
        let inner = self.held.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        Some((inner, fate.ok()?))
    }
}

impl Delivery for RemoteRequest {
    type Message = RequestId;

    fn message(&self) -> std::result::Result<&RequestId, &Malformed> {
        self.message.as_ref()
    }

    fn priority(&self) -> Priority {
        Priority::Critical
    }

    fn redelivered(&self) -> bool {
        self.redelivered
    }

    fn trace(&self) -> &TraceContext {
        &self.trace
    }

    async fn ack(self) -> Acked {
        let Some((inner, fate)) = self.take(Call::Ack).await else { return Acked::NotSent };
        let acked = inner.ack().await;
        let _ = self.queue.world.after(&self.queue.process, fate).await;
        acked
    }

    async fn requeue(self) -> Acked {
        let Some((inner, fate)) = self.take(Call::Requeue).await else { return Acked::NotSent };
        let acked = inner.requeue().await;
        let _ = self.queue.world.after(&self.queue.process, fate).await;
        acked
    }

    async fn dead_letter(self, reason: &str) -> std::result::Result<Acked, Error> {
        let Some((inner, fate)) = self.take(Call::DeadLetter).await else { return Ok(Acked::NotSent) };
        let acked = inner.dead_letter(reason).await;
        let _ = self.queue.world.after(&self.queue.process, fate).await;
        acked
    }
}

impl queue::Asked for RemoteRequest {
    /// A process says that a request is done only once the store has told it so.
    async fn reply(&self) -> Replied {
        let RemoteQueue { process, world, .. } = &self.queue;
        // What it knows when it sends. One that expired may be asked again, and be at work again, while this is on its way.
        let knows = self.message.as_ref().is_ok_and(|&request| process.knows_of_end(request));
        let Ok(fate) = self.queue.before(Call::Reply).await else { return Replied::NotSent };
        if let Ok(request) = &self.message
            && !knows
        {
            let what =
                format_args!("{process} replies to request {request}, and does not know that it is over");
            world.violation(Rule::Reply, what);
        }
        let inner = self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(inner) = inner else { return Replied::NotSent };
        let replied = inner.reply().await;
        if !process.died().is_cancelled() {
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(inner);
        }
        match world.after(process, fate).await {
            Ok(()) => replied,
            Err(_) => Replied::NotSent,
        }
    }
}
