//! Servers in memory, a process that asks, and what goes wrong on purpose.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use batch::{AttemptId, CustomerId, RequestAttempt, RequestId, RetryPolicy, Verdict};
use jiff::Timestamp;
use model::{Account, Rejection};
use queue::memory::{Broker, Faults, MemoryRequester, OnPublish, OnReply};
use queue::{Asked as _, Consumer as _, Delivery as _, OutgoingRequest, Requests as _};
use store::memory::{Accounts, Base, Customer, Memory};
use store::{
    Absorbed, Answer, Asked, CommitOutcome, Error, History, Known, ModelVersion, ModelVersionId,
    ModelVersions as _, NewRequest, Reading, RequestBegin, RequestClaim, RequestRecord, Requests as _,
    Result, ResultRows, Standing, Values,
};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use valuation::ComputeOn;

use super::super::itself::{Itself, ItselfConfig};
use super::super::{Asking, Outcome, Question};
use super::{WAIT, WORK, question};

/// Does the same to every reply.
pub(super) struct EachReply(pub(super) OnReply);

impl Faults for EachReply {
    fn on_reply(&mut self, _: RequestId) -> OnReply {
        self.0
    }
}

/// Does something to the first message.
pub(super) struct FirstMessage(pub(super) Option<OnPublish>);

impl Faults for FirstMessage {
    fn on_request(&mut self, _: &OutgoingRequest) -> OnPublish {
        self.0.take().unwrap_or(OnPublish::Keep)
    }
}

/// Counts messages.
#[derive(Clone, Default)]
pub(super) struct Counts(Arc<AtomicU32>);

impl Counts {
    pub(super) fn messages(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Faults for Counts {
    fn on_request(&mut self, _: &OutgoingRequest) -> OnPublish {
        self.0.fetch_add(1, Ordering::Relaxed);
        OnPublish::Keep
    }
}

/// Servers in memory, and a process that asks.
#[derive(Clone)]
pub(super) struct Scene {
    pub(super) store: Watched,
    pub(super) broker: Broker,
    pub(super) requester: MemoryRequester,
    pub(super) asking: Asking<Watched, MemoryRequester>,
}

impl Scene {
    pub(super) async fn new(faults: impl Faults) -> Self {
        let scene = Self::without_models(faults).await;
        scene.store.inner.save_model_version(&store::promises::models(), None).await.unwrap();
        scene
    }

    pub(super) async fn without_models(faults: impl Faults) -> Self {
        let store = Watched {
            inner: store(),
            looks: Arc::default(),
            looks_away: Arc::default(),
            forgets: Arc::default(),
        };
        let broker = Broker::with_faults(faults);
        let requester = broker.connect().requester().await.unwrap();
        let asking = Asking::new(store.clone(), requester.clone(), config("an api"));
        Self { store, broker, requester, asking }
    }

    pub(super) fn worker(&self) -> JoinHandle<()> {
        worker(&self.broker, &self.store.inner)
    }

    pub(super) async fn asks(&self, customers: &[i64]) -> (Outcome, Duration) {
        let began = Instant::now();
        let outcome = self.asks_for(&question(customers, None, WAIT)).await;
        (outcome, began.elapsed())
    }

    pub(super) async fn asks_for(&self, question: &Question) -> Outcome {
        self.asking.ask(question).await
    }

    pub(super) async fn record(&self, number: i64) -> RequestRecord {
        self.store.inner.look(&[RequestId(number)]).await.unwrap().remove(0)
    }

    pub(super) fn looks(&self) -> u32 {
        self.store.looks.load(Ordering::Relaxed)
    }
}

/// A store of customers of whom the same is known at any time.
pub(crate) fn store() -> Memory {
    Memory::new(AtAnyTime(store::promises::accounts()), Timestamp::from_second(1_900_000_000).unwrap())
}

/// Answers requests, each in its time.
pub(crate) fn worker(broker: &Broker, store: &Memory) -> JoinHandle<()> {
    let (broker, store) = (broker.clone(), store.clone());
    tokio::spawn(async move {
        let itself = Itself::new(config("a worker"));
        let mut server = broker.connect().serve(4).await.unwrap();
        while let Some(delivery) = server.next().await {
            let request = *delivery.message().unwrap();
            sleep(WORK).await;
            itself.value(&store, request).await.unwrap();
            delivery.reply().await;
            let _ = delivery.ack().await;
        }
    })
}

fn config(name: &str) -> ItselfConfig {
    ItselfConfig::new(name.into(), ComputeOn::TheCaller)
}

/// The promises' customers, of whom the same is known at any time.
struct AtAnyTime(Accounts);

impl Base for AtAnyTime {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn id(&self, place: usize) -> CustomerId {
        self.0.id(place)
    }

    fn customer(&self, place: usize) -> Customer<'_> {
        self.0.customer(place)
    }

    fn account(&self, place: usize) -> std::result::Result<Account, Rejection> {
        self.0.account(place)
    }
}

/// A store that counts the looks, and fails or forgets on request.
#[derive(Clone)]
pub(super) struct Watched {
    pub(super) inner: Memory,
    looks: Arc<AtomicU32>,
    pub(super) looks_away: Arc<AtomicBool>,
    /// The next look finds nothing.
    pub(super) forgets: Arc<AtomicBool>,
}

impl Values for Watched {
    async fn read_histories(&self, reading: &Reading<'_>) -> Result<Vec<History>> {
        self.inner.read_histories(reading).await
    }

    async fn commit_attempt(&self, attempt: AttemptId, rows: &ResultRows) -> Result<CommitOutcome> {
        self.inner.commit_attempt(attempt, rows).await
    }

    async fn model_version(&self, version: ModelVersionId) -> Result<Option<ModelVersion>> {
        self.inner.model_version(version).await
    }
}

impl store::Requests for Watched {
    async fn ask(&self, new: &NewRequest) -> Result<Asked> {
        self.inner.ask(new).await
    }

    async fn begin_request(&self, request: RequestId, claim: &RequestClaim<'_>) -> Result<RequestBegin> {
        self.inner.begin_request(request, claim).await
    }

    async fn answer_request(&self, attempt: RequestAttempt, rows: &ResultRows) -> Result<CommitOutcome> {
        self.inner.answer_request(attempt, rows).await
    }

    async fn fail_request(
        &self,
        attempt: RequestAttempt,
        reason: &str,
        policy: &RetryPolicy,
    ) -> Result<Option<Verdict>> {
        self.inner.fail_request(attempt, reason, policy).await
    }

    async fn give_back_request(&self, attempt: RequestAttempt) -> Result<()> {
        self.inner.give_back_request(attempt).await
    }

    async fn renew_requests(
        &self,
        worker: &str,
        held: &[RequestAttempt],
        lease: Duration,
    ) -> Result<Vec<Standing>> {
        self.inner.renew_requests(worker, held, lease).await
    }

    async fn abandon(&self, request: RequestId) -> Result<bool> {
        self.inner.abandon(request).await
    }

    async fn look(&self, requests: &[RequestId]) -> Result<Vec<RequestRecord>> {
        self.inner.look(requests).await
    }

    async fn answer_of(&self, request: RequestId) -> Result<Option<Answer>> {
        self.looks.fetch_add(1, Ordering::Relaxed);
        if self.looks_away.load(Ordering::Relaxed) {
            return Err(Error::Unavailable { what: "look".into(), reason: "it is away".into() });
        }
        if self.forgets.swap(false, Ordering::Relaxed) {
            return Ok(None);
        }
        self.inner.answer_of(request).await
    }

    async fn stale(&self, valued: &[(CustomerId, Timestamp)]) -> Result<Vec<CustomerId>> {
        self.inner.stale(valued).await
    }

    async fn latest(&self, customers: &[CustomerId]) -> Result<Vec<Known>> {
        self.inner.latest(customers).await
    }

    async fn absorb(&self, after: RequestId, retention: Duration, limit: u32) -> Result<Absorbed> {
        self.inner.absorb(after, retention, limit).await
    }
}
