//! The lane of requests on the backends in memory, over a store that takes its time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use batch::{AttemptId, ChunkRef, CustomerId, RequestAttempt, RequestState, RetryPolicy, Verdict};
use jiff::Timestamp;
use queue::memory::{Broker, MemoryRequester};
use queue::{Connection as _, Heard, OutgoingRequest, Requester as _, Requests as _, TraceContext, Waiting};
use resilience::Delays;
use store::memory::Memory;
use store::{
    Absorbed, Answer, Asked as Question, Begin, CommitOutcome, History, Known, ModelVersion, ModelVersionId,
    ModelVersions, NewRequest, Reading, RequestRecord, Requests as _, Result, ResultRows, Standing,
    ValueTerms,
};
use tokio::task::JoinHandle;

use super::*;
use crate::{ComputeOn, FaultPlan, Lane, Troubles, Worker};

const LEASE: Duration = Duration::from_secs(5);

/// How long each read takes.
const READ: Duration = Duration::from_millis(100);

const MINUTE: Duration = Duration::from_mins(1);

#[tokio::test(start_paused = true)]
async fn a_request_is_answered_and_whoever_asked_hears_of_it() {
    let scene = Scene::with_models().await;
    let _worker = scene.worker(1);

    let request = scene.asks(&[101, 102, 4_000]).await;
    let heard = scene.sends(request).await.heard(MINUTE).await;

    assert_eq!(heard, Heard::Done);
    let answer = scene.store.answer_of(request).await.unwrap().unwrap();
    assert_eq!(answer.record.state, RequestState::Answered);
    let who: Vec<i64> = answer.rows.iter().map(|known| known.customer.0).collect();
    assert_eq!(who, [101, 102, 4_000]);
    assert!(answer.rows[0].outcome.is_ok() && answer.rows[2].outcome.is_err(), "{:?}", answer.rows);
}

#[tokio::test(start_paused = true)]
async fn what_is_over_is_replied_to_without_work() {
    let scene = Scene::with_models().await;
    let _worker = scene.worker(1);
    let (abandoned, expired) = (scene.asks(&[101]).await, scene.asks(&[101]).await);
    assert!(scene.store.abandon(abandoned).await.unwrap());
    sleep(2 * MINUTE).await;

    for request in [abandoned, expired, RequestId(4_711)] {
        let heard = scene.sends(request).await.heard(Duration::from_millis(10)).await;

        assert_eq!(heard, Heard::Done, "{request}");
    }
    assert_eq!(scene.reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn two_messages_for_a_request_are_both_replied_to_and_it_is_answered_once() {
    let scene = Scene::with_models().await;
    let _worker = scene.worker(1);
    let request = scene.asks(&[101]).await;
    let other = scene.broker.connect().requester().await.unwrap();

    let mut first = scene.sends(request).await;
    let mut second = send(&other, request).await;

    assert_eq!((first.heard(MINUTE).await, second.heard(MINUTE).await), (Heard::Done, Heard::Done));
    assert_eq!(scene.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_request_whose_worker_was_killed_is_taken_over_when_its_lease_ends() {
    let scene = Scene::with_models().await;
    let request = scene.asks(&[101]).await;
    scene.is_begun_by_who_is_killed(request).await;
    let _worker = scene.worker(1);

    let began = Instant::now();
    let heard = scene.sends(request).await.heard(MINUTE).await;

    assert_eq!(heard, Heard::Done);
    assert!((LEASE..LEASE + 2 * LOOK_EVERY).contains(&began.elapsed()), "{:?}", began.elapsed());
    assert_eq!(scene.record(request).await.state, RequestState::Answered);
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_worker_that_was_killed_leave_hands_free() {
    let scene = Scene::with_models().await;
    let mut waiting = Vec::new();
    for _ in 0..IN_HAND {
        let request = scene.asks(&[101]).await;
        scene.is_begun_by_who_is_killed(request).await;
        waiting.push(scene.sends(request).await);
    }
    let _worker = scene.worker(1);

    let request = scene.asks(&[102]).await;
    let heard = scene.sends(request).await.heard(Duration::from_secs(1)).await;

    assert_eq!(heard, Heard::Done);
    for (number, waits) in (1..).zip(&mut waiting) {
        let kept = if number <= IN_HAND / 2 { Heard::Done } else { Heard::Silent };
        assert_eq!(waits.heard(2 * LEASE).await, kept, "request {number}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_question_for_one_customer_waits_for_one_part_of_questions_for_many() {
    let scene = Scene::with_models().await;
    let _worker = scene.worker(1);
    let many: Vec<i64> = (1..=2_000).collect();
    let mut large = scene.sends(scene.asks(&many).await).await;
    let mut another = scene.sends(scene.asks(&many).await).await;
    // One part of each, and half of the next.
    sleep(2 * READ + READ / 2).await;

    let began = Instant::now();
    let heard = scene.sends(scene.asks(&[101]).await).await.heard(MINUTE).await;
    let waited = began.elapsed();

    assert_eq!(heard, Heard::Done);
    assert!(waited <= READ / 2 + READ, "{waited:?}");
    assert_eq!(large.heard(Duration::ZERO).await, Heard::Silent);
    assert_eq!((large.heard(MINUTE).await, another.heard(MINUTE).await), (Heard::Done, Heard::Done));
    assert_eq!(scene.reads(), 4 + 4 + 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_model_version_a_request_waits_for_one() {
    let scene = Scene::new().await;
    let worker = scene.worker(1);
    let mut waits = scene.sends(scene.asks(&[101]).await).await;
    assert_eq!(waits.heard(Duration::from_secs(3)).await, Heard::Silent);
    let reason = worker.troubles.requests.reason();

    scene.store.inner.save_model_version(&store::promises::models(), None).await.unwrap();
    let heard = waits.heard(2 * LOOK_EVERY).await;

    assert_eq!(reason.as_deref(), Some("answer a request: there is no model version, `ltv fit` makes one"));
    assert_eq!(heard, Heard::Done);
    assert_eq!(worker.troubles.requests.reason(), None);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_asked_to_stop_finishes_what_is_at_work_and_gives_back_what_waits() {
    let scene = Scene::with_models().await;
    let worker = scene.worker(1);
    let elsewhere = scene.asks(&[101]).await;
    scene.is_begun_by_who_is_killed(elsewhere).await;
    let mut given_back = scene.sends(elsewhere).await;
    let mut at_work = scene.sends(scene.asks(&[102]).await).await;
    sleep(READ / 2).await;

    worker.stop.cancel();
    worker.ended.await.unwrap();

    assert_eq!(at_work.heard(Duration::ZERO).await, Heard::Done);
    assert_eq!(given_back.heard(Duration::ZERO).await, Heard::Silent);
    let _next = scene.worker(2);
    assert_eq!(given_back.heard(2 * LEASE).await, Heard::Done);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_finished_within_the_grace_period_is_given_back_and_costs_nothing() {
    let scene = Scene::with_models().await;
    let worker = scene.worker(1);
    let many: Vec<i64> = (1..=500 * 100).collect();
    let request = scene.asks(&many).await;
    let mut waits = scene.sends(request).await;
    sleep(READ).await;

    worker.stop.cancel();
    worker.ended.await.unwrap();

    assert_eq!(waits.heard(Duration::ZERO).await, Heard::Silent);
    let record = scene.record(request).await;
    assert_eq!((record.state, record.failures), (RequestState::Waiting, 0));
    let _next = scene.worker(2);
    assert_eq!(waits.heard(MINUTE).await, Heard::Done);
}

#[tokio::test(start_paused = true)]
async fn a_long_attempt_keeps_its_lease() {
    let scene = Scene::with_models().await;
    let _worker = scene.worker(1);
    let many: Vec<i64> = (1..=500 * 100).collect();
    let request = scene.asks(&many).await;
    let mut waits = scene.sends(request).await;
    sleep(LEASE + LEASE / 2).await;

    let record = scene.record(request).await;

    assert_eq!(record.state, RequestState::Leased);
    assert!(record.leased_for.is_some());
    assert_eq!(waits.heard(MINUTE).await, Heard::Done);
    assert_eq!(scene.reads(), 100);
}

#[tokio::test(start_paused = true)]
async fn a_closed_queue_ends_the_worker() {
    let scene = Scene::with_models().await;
    let worker = scene.worker(1);

    sleep(READ).await;
    worker.queue.close().await;

    worker.ended.await.unwrap();
}

/// Servers in memory, and somebody who asks.
struct Scene {
    store: Slow,
    broker: Broker,
    requester: MemoryRequester,
}

/// A worker that has a slot for requests and one for chunks.
struct AtIt {
    queue: queue::Memory,
    troubles: Troubles,
    stop: CancellationToken,
    ended: JoinHandle<()>,
}

impl Scene {
    async fn new() -> Self {
        // What the promises' customers bought was before.
        let now = Timestamp::from_second(1_900_000_000).unwrap();
        let inner = Memory::new(store::promises::accounts(), now);
        let broker = Broker::new();
        let requester = broker.connect().requester().await.unwrap();
        Self { store: Slow { inner, reads: Arc::default() }, broker, requester }
    }

    async fn with_models() -> Self {
        let scene = Self::new().await;
        scene.store.inner.save_model_version(&store::promises::models(), None).await.unwrap();
        scene
    }

    fn worker(&self, number: u32) -> AtIt {
        let (queue, troubles) = (self.broker.connect(), Troubles::default());
        let config = WorkerConfig {
            name: format!("worker {number}"),
            lanes: vec![Lane::of_all_priorities(1)],
            requests: Some(RequestConfig { slots: 1, lease: LEASE, terms: ValueTerms::default() }),
            lease: Duration::from_secs(20),
            retry: RetryPolicy::default(),
            compute_on: ComputeOn::TheCaller,
            troubles: troubles.clone(),
            delays: Delays::reconnect,
            grace_period: Duration::from_secs(1),
            alive: Arc::new(|| {}),
            link: |_, _| {},
            faults: FaultPlan::default(),
        };
        let (store, store_for_requests) = (self.store.clone(), self.store.clone());
        let worker =
            Worker { store, store_for_requests, queue: queue.clone(), cache: cache::Nothing, config };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let ended = tokio::spawn(async move { worker.run(stopped).await.unwrap() });
        AtIt { queue, troubles, stop, ended }
    }

    async fn asks(&self, customers: &[i64]) -> RequestId {
        let new = NewRequest {
            asked_by: "a dashboard".into(),
            key: None,
            fingerprint: Vec::new(),
            customers: customers.iter().copied().map(CustomerId).collect(),
            lasts: MINUTE,
            trace: Vec::new(),
            is_waited_for: true,
        };
        match self.store.ask(&new).await.unwrap() {
            Question::New(request) => request,
            other => panic!("nobody asked before, and not {other:?}"),
        }
    }

    async fn sends(&self, request: RequestId) -> Waiting {
        send(&self.requester, request).await
    }

    async fn is_begun_by_who_is_killed(&self, request: RequestId) {
        let terms = ValueTerms::default();
        let claim = RequestClaim { worker: "killed", lease: LEASE, is_repeat: false, max_failures: 5, terms };
        let begun = self.store.begin_request(request, &claim).await.unwrap();
        assert!(matches!(begun, RequestBegin::Assigned(_)), "{begun:?}");
    }

    async fn record(&self, request: RequestId) -> RequestRecord {
        self.store.look(&[request]).await.unwrap().remove(0)
    }

    fn reads(&self) -> u32 {
        self.store.reads.load(Ordering::Relaxed)
    }
}

async fn send(requester: &MemoryRequester, request: RequestId) -> Waiting {
    let left = Duration::from_secs(30);
    requester.ask(OutgoingRequest { request, left, trace: TraceContext::default() }).await.unwrap()
}

/// A store in which a read takes its time.
#[derive(Clone)]
struct Slow {
    inner: Memory,
    reads: Arc<AtomicU32>,
}

impl Values for Slow {
    async fn read_histories(&self, reading: &Reading<'_>) -> Result<Vec<History>> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        sleep(READ).await;
        // What is known of the promises' customers is known for one moment.
        self.inner.read_histories(&Reading { as_of: store::promises::as_of(), ..*reading }).await
    }

    async fn commit_attempt(&self, attempt: AttemptId, rows: &ResultRows) -> Result<CommitOutcome> {
        self.inner.commit_attempt(attempt, rows).await
    }

    async fn model_version(&self, version: ModelVersionId) -> Result<Option<ModelVersion>> {
        self.inner.model_version(version).await
    }
}

impl Attempts for Slow {
    async fn begin_attempt(
        &self,
        chunk: ChunkRef,
        worker: &str,
        lease: Duration,
        again: bool,
    ) -> Result<Begin> {
        self.inner.begin_attempt(chunk, worker, lease, again).await
    }

    async fn renew_leases(&self, held: &[AttemptId], lease: Duration) -> Result<Vec<AttemptId>> {
        self.inner.renew_leases(held, lease).await
    }

    async fn resume_attempt(&self, attempt: AttemptId, lease: Duration) -> Result<Standing> {
        self.inner.resume_attempt(attempt, lease).await
    }

    async fn fail_attempt(
        &self,
        it: AttemptId,
        reason: &str,
        policy: &RetryPolicy,
    ) -> Result<Option<Verdict>> {
        self.inner.fail_attempt(it, reason, policy).await
    }

    async fn give_back(&self, attempt: AttemptId) -> Result<()> {
        self.inner.give_back(attempt).await
    }

    async fn wait_until_available(&self) {
        self.inner.wait_until_available().await;
    }
}

impl store::Requests for Slow {
    async fn ask(&self, new: &NewRequest) -> Result<Question> {
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
        self.inner.answer_of(request).await
    }

    async fn latest(&self, customers: &[CustomerId]) -> Result<Vec<Known>> {
        self.inner.latest(customers).await
    }

    async fn stale(&self, valued: &[(CustomerId, Timestamp)]) -> Result<Vec<CustomerId>> {
        self.inner.stale(valued).await
    }

    async fn absorb(&self, after: RequestId, retention: Duration, limit: u32) -> Result<Absorbed> {
        self.inner.absorb(after, retention, limit).await
    }
}
