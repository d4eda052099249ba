//! Urgent requests beside a night, and workers that die with one in hand.

use std::time::Duration;

use batch::{CustomerId, RequestId, RequestState};
use queue::rabbitmq::RabbitMqRequester;
use queue::{Heard, OutgoingRequest, Requester, Requests as _, TraceContext};
use store::{Asked, NewRequest, Requests as _};
use tests::{Fleet, PATIENCE};
use tokio::time::Instant;

use crate::{SMALL, SOON, fleet};

/// What the first of the base's customers are called.
pub(crate) async fn customers(fleet: &Fleet, count: i64) -> Vec<CustomerId> {
    let query = "select customer_id from source.customers order by customer_id limit $1";
    let rows = fleet.sql().await.query(query, &[&count]).await.unwrap();
    rows.iter().map(|row| CustomerId(row.get(0))).collect()
}

async fn ask(fleet: &Fleet, customers: &[CustomerId]) -> RequestId {
    let new = NewRequest {
        asked_by: "a dashboard".into(),
        key: None,
        fingerprint: Vec::new(),
        customers: customers.to_vec(),
        lasts: PATIENCE,
        trace: Vec::new(),
        is_waited_for: true,
    };
    match fleet.store().ask(&new).await.unwrap() {
        Asked::New(request) => request,
        other => panic!("nobody asked before, and not {other:?}"),
    }
}

/// Asks about somebody and waits for the reply: the request, what was heard, and after how long.
pub(crate) async fn ask_and_wait(
    fleet: &Fleet,
    requester: &RabbitMqRequester,
    customers: &[CustomerId],
) -> (RequestId, Heard, Duration) {
    let began = Instant::now();
    let request = ask(fleet, customers).await;
    let outgoing = OutgoingRequest { request, left: PATIENCE, trace: TraceContext::default() };
    let mut waiting = requester.ask(outgoing).await.unwrap();
    let heard = waiting.heard(PATIENCE).await;
    (request, heard, began.elapsed())
}

async fn assert_answered(fleet: &Fleet, request: RequestId, customers: &[CustomerId], attempt: i32) {
    let answer = fleet.store().answer_of(request).await.unwrap().expect("it was asked");
    assert_eq!(answer.record.state, RequestState::Answered);
    assert!(answer.rows.iter().map(|known| known.customer).eq(customers.iter().copied()));
    let attempts = "select attempt from fleet.requests where request_id = $1";
    let row = fleet.sql().await.query_one(attempts, &[&request.0]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), attempt);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_answered_at_once_while_the_night_holds_every_slot() {
    /// Far below the second for which a slot is held.
    const BOUND: Duration = Duration::from_millis(500);
    let fleet = fleet().await;
    let customers = customers(&fleet, 200).await;
    let run = fleet.dispatch(&SMALL).await;
    let _worker = fleet.worker(&["--slots", "2", "--fault", "slow=1000"]);
    let requester = fleet.queue().await.requester().await.unwrap();
    fleet.reached(run, 2).await;

    let mut times = Vec::new();
    for one in &customers {
        let (request, heard, took) = ask_and_wait(&fleet, &requester, &[*one]).await;
        assert_eq!(heard, Heard::Done);
        assert_answered(&fleet, request, &[*one], 1).await;
        times.push(took);
    }

    times.sort_unstable();
    let [median, late, longest] = [times[100], times[197], times[199]];
    println!("beside a night: p50 {median:?}, p99 {late:?}, longest {longest:?}");
    assert!(late < BOUND, "{late:?}");
    assert!(!fleet.is_finished(run).await, "beside a night");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_slots_for_requests_nobody_is_answered() {
    let fleet = fleet().await;
    let one = customers(&fleet, 1).await;
    let worker = fleet.worker(&["--request-slots", "0"]);
    worker.says("taking work", PATIENCE).await;
    let queue = fleet.queue().await;
    let requester = queue.requester().await.unwrap();

    let request = ask(&fleet, &one).await;
    let outgoing = OutgoingRequest { request, left: SOON, trace: TraceContext::default() };
    // Where nobody serves there may be no queue either.
    if let Ok(mut waiting) = requester.ask(outgoing).await {
        assert_eq!(waiting.heard(Duration::from_secs(2)).await, Heard::Silent);
    }

    let record = fleet.store().look(&[request]).await.unwrap().remove(0);
    assert_eq!(record.state, RequestState::Waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_whose_worker_is_killed_is_answered_by_another_when_its_lease_ends() {
    let fleet = fleet().await;
    let some = customers(&fleet, 1_200).await;
    let requester = fleet.queue().await.requester().await.unwrap();
    let mut dying = fleet.worker(&["--request-lease", "2s", "--fault", "die-asked=1"]);
    dying.says("taking work", PATIENCE).await;

    let healthy = async {
        dying.ended(SOON).await;
        fleet.worker(&["--request-lease", "2s"])
    };
    let (_worker, (request, heard, took)) = tokio::join!(healthy, ask_and_wait(&fleet, &requester, &some));

    assert_eq!(heard, Heard::Done, "after {took:?}");
    assert_answered(&fleet, request, &some, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_worker_is_killed_before_the_reply_is_replied_to_by_another() {
    let fleet = fleet().await;
    let some = customers(&fleet, 3).await;
    let requester = fleet.queue().await.requester().await.unwrap();
    let mut dying = fleet.worker(&["--fault", "die-answered=1"]);
    dying.says("taking work", PATIENCE).await;

    let healthy = async {
        dying.ended(SOON).await;
        fleet.worker(&[])
    };
    let (_worker, (request, heard, took)) = tokio::join!(healthy, ask_and_wait(&fleet, &requester, &some));

    assert_eq!(heard, Heard::Done, "after {took:?}");
    assert_answered(&fleet, request, &some, 1).await;
}
