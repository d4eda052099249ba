//! Questions over the backends in memory, with a worker that answers them and a broker that fails on purpose.

pub(crate) mod scene;

use std::sync::atomic::Ordering;

use batch::RequestState;
use queue::Requester as _;
use queue::memory::{Health, NoFaults, OnPublish, OnReply};
use store::{RequestBegin, RequestClaim, Requests as _, ValueTerms};
use tokio::time::sleep;

use super::*;
use scene::{Counts, EachReply, FirstMessage, Scene};

const WAIT: Duration = Duration::from_secs(2);

/// How long a worker takes for a request.
const WORK: Duration = Duration::from_millis(10);

const FULL: fn() -> queue::Error = || queue::Error::Full { what: String::new() };

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_as_soon_as_it_is_worked_and_read_once() {
    let scene = Scene::new(NoFaults).await;
    let _worker = scene.worker();

    let (outcome, took) = scene.asks(&[101, 102, 4_000]).await;

    let answer = answered(outcome);
    let who: Vec<i64> = answer.rows.iter().map(|known| known.customer.0).collect();
    assert_eq!(who, [101, 102, 4_000]);
    assert_eq!((took, scene.looks()), (WORK, 1));
    assert_eq!(scene.requester.waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_lost_costs_a_look_at_half_of_the_wait() {
    let scene = Scene::new(EachReply(OnReply::Lose)).await;
    let _worker = scene.worker();

    let (outcome, took) = scene.asks(&[101]).await;

    answered(outcome);
    assert_eq!((took, scene.looks()), (WAIT / 2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_reply_that_is_late_or_doubled_costs_no_more_than_a_look() {
    let late = OnReply::Delay(WAIT * 5 / 8);
    for (reply, expected) in [(late, (WAIT / 2, 1)), (OnReply::Double, (WORK, 1))] {
        let scene = Scene::new(EachReply(reply)).await;
        let _worker = scene.worker();

        let (outcome, took) = scene.asks(&[101]).await;

        answered(outcome);
        assert_eq!((took, scene.looks()), expected, "{reply:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn with_the_way_back_the_message_is_sent_once_more() {
    let scene = Scene::new(NoFaults).await;
    let asking = tokio::spawn({
        let scene = scene.clone();
        async move { scene.asks(&[101]).await }
    });
    sleep(WORK).await;
    scene.broker.cut();
    // Nobody listens for a moment: the question is not sent, and valued here.
    let (outcome, took) = asking.await.unwrap();

    answered(outcome);
    assert!(took < WAIT / 4, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn what_nobody_confirmed_is_answered_once_whether_or_not_it_was_sent() {
    for is_kept in [true, false] {
        let scene = Scene::new(FirstMessage(Some(OnPublish::Unconfirmed { is_kept }))).await;
        let _worker = scene.worker();

        let (outcome, took) = scene.asks(&[101]).await;

        let answer = answered(outcome);
        assert_eq!(answer.record.failures, 0);
        assert!(took < WAIT / 4, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_sheds_at_once_and_leaves_nothing_to_work() {
    let scene = Scene::new(FirstMessage(Some(OnPublish::Refuse(FULL())))).await;

    let (outcome, took) = scene.asks(&[101]).await;

    assert!(matches!(outcome, Outcome::Full), "{outcome:?}");
    assert_eq!(took, Duration::ZERO);
    assert_eq!(scene.record(1).await.state, RequestState::Abandoned);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_to_a_full_queue_leaves_the_request_as_it_is() {
    let scene = Scene::new(NoFaults).await;
    scene.broker.set_health(Health::Away);
    let request = pending(scene.asks(&[101, 102]).await.0);
    scene.broker.set_health(Health::Up);
    sleep(WORK * 100).await;
    for number in 0..queue::MOST_REQUESTS {
        drop(scene.requester.ask(outgoing(RequestId(1_000 + i64::from(number)))).await.unwrap());
    }

    let outcome = scene.asking.follow(request, Duration::ZERO).await;

    assert_eq!(pending(outcome), request);
    assert_eq!(scene.record(request.0).await.state, RequestState::Waiting);
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_one_customer_is_valued_here_to_the_same_bits() {
    let scene = Scene::new(NoFaults).await;
    let worker = scene.worker();
    let by_worker = answered(scene.asks(&[101]).await.0);
    worker.abort();
    scene.broker.set_health(Health::Away);

    let (outcome, took) = scene.asks(&[101]).await;

    let here = answered(outcome);
    assert_eq!(took, Duration::ZERO);
    assert_ne!(here.record.request, by_worker.record.request);
    assert_eq!(here.rows[0].outcome, by_worker.rows[0].outcome);
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_many_are_pending_and_answered_when_somebody_comes_back_for_them() {
    let scene = Scene::new(NoFaults).await;
    scene.broker.set_health(Health::Away);
    let (outcome, took) = scene.asks(&[101, 102]).await;
    let request = pending(outcome);
    assert_eq!(took, WAIT);
    scene.broker.set_health(Health::Up);
    let _worker = scene.worker();
    sleep(WORK * 100).await;

    pending(scene.asking.follow(request, Duration::ZERO).await);
    sleep(WORK * 2).await;

    answered(scene.asking.follow(request, Duration::ZERO).await);
}

#[tokio::test(start_paused = true)]
async fn what_killed_a_worker_is_not_valued_here() {
    let scene = Scene::new(NoFaults).await;
    let first = scene.asks_for(&question(&[101], Some("a key"), Duration::ZERO)).await;
    let request = pending(first);
    let lease = Duration::from_millis(100);
    let terms = ValueTerms::default();
    let claim = RequestClaim { worker: "killed", lease, is_repeat: false, max_failures: 5, terms };
    let begun = scene.store.begin_request(request, &claim).await.unwrap();
    assert!(matches!(begun, RequestBegin::Assigned(_)), "{begun:?}");
    sleep(lease * 2).await;
    scene.broker.set_health(Health::Away);

    let outcome = scene.asks_for(&question(&[101], Some("a key"), WAIT)).await;

    assert_eq!(pending(outcome), request);
    let record = scene.record(1).await;
    assert_eq!((record.state, record.failures), (RequestState::Waiting, 1));
}

#[tokio::test(start_paused = true)]
async fn without_workers_a_question_is_pending_and_found_later() {
    let scene = Scene::new(NoFaults).await;
    let (outcome, took) = scene.asks(&[101]).await;
    let request = pending(outcome);
    assert_eq!((took, scene.looks()), (WAIT, 2));
    // The message is gone by then.
    sleep(queue::REQUEST_TTL).await;
    let _worker = scene.worker();

    pending(scene.asking.follow(request, Duration::ZERO).await);
    sleep(WORK * 2).await;

    let answer = answered(scene.asking.follow(request, Duration::ZERO).await);
    assert_eq!(answer.record.request, request);
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_again_and_again_has_one_message_sent() {
    let counts = Counts::default();
    let scene = Scene::new(counts.clone()).await;
    let request = pending(scene.asks_for(&question(&[101], None, Duration::ZERO)).await);
    for _ in 0..9 {
        pending(scene.asking.follow(request, Duration::ZERO).await);
    }

    assert_eq!(counts.messages(), 1);
    assert!(matches!(scene.asking.follow(RequestId(4_711), WAIT).await, Outcome::NotThere));
}

#[tokio::test(start_paused = true)]
async fn a_key_finds_the_same_request_and_refuses_another_question() {
    let scene = Scene::new(NoFaults).await;
    let _worker = scene.worker();

    let first = answered(scene.asks_for(&question(&[101], Some("a key"), WAIT)).await);
    let again = answered(scene.asks_for(&question(&[101], Some("a key"), WAIT)).await);
    let reused = scene.asks_for(&question(&[102], Some("a key"), WAIT)).await;

    assert_eq!(first, again);
    assert!(matches!(reused, Outcome::KeyReused), "{reused:?}");
}

#[tokio::test(start_paused = true)]
async fn who_leaves_takes_nothing_back_unless_many_wait() {
    let counts = Counts::default();
    let scene = Scene::new(counts.clone()).await;
    let leave = async |number: i64| {
        let question = question(&[101], None, WAIT);
        let asks = scene.asks_for(&question);
        assert!(tokio::time::timeout(WORK, asks).await.is_err());
        sleep(WORK).await;
        scene.record(number).await.state
    };

    assert_eq!(leave(1).await, RequestState::Waiting);
    let mut others = Vec::new();
    for _ in 0..=MANY_WAIT {
        others.push(scene.requester.ask(outgoing(RequestId(1))).await.unwrap());
    }
    assert_eq!(leave(2).await, RequestState::Abandoned);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_for_a_moment_costs_a_moment() {
    let scene = Scene::new(NoFaults).await;
    let _worker = scene.worker();
    let asking = tokio::spawn({
        let scene = scene.clone();
        async move { scene.asks(&[101]).await }
    });
    sleep(WORK / 2).await;
    scene.store.looks_away.store(true, Ordering::Relaxed);
    sleep(WAIT / 4).await;
    scene.store.looks_away.store(false, Ordering::Relaxed);

    let (outcome, took) = asking.await.unwrap();

    answered(outcome);
    assert!(took < WAIT / 2, "{took:?}");
    scene.store.looks_away.store(true, Ordering::Relaxed);
    let (outcome, took) = scene.asks(&[101]).await;
    assert!(matches!(outcome, Outcome::Away(_)), "{outcome:?}");
    assert_eq!(took, WAIT);
}

#[tokio::test(start_paused = true)]
async fn a_question_that_the_store_forgot_is_asked_once_more() {
    let scene = Scene::new(NoFaults).await;
    let _worker = scene.worker();
    scene.store.forgets.store(true, Ordering::Relaxed);

    let (outcome, _) = scene.asks(&[101]).await;

    let answer = answered(outcome);
    assert_eq!(answer.record.request, RequestId(2));
}

#[tokio::test(start_paused = true)]
async fn without_a_model_version_it_is_told() {
    let scene = Scene::without_models(NoFaults).await;
    scene.broker.set_health(Health::Away);

    let (outcome, _) = scene.asks(&[101]).await;

    assert!(matches!(outcome, Outcome::NoModel), "{outcome:?}");
}

fn answered(outcome: Outcome) -> Answer {
    match outcome {
        Outcome::Answered(answer) => {
            assert_eq!(answer.record.state, RequestState::Answered);
            *answer
        }
        other => panic!("not answered: {other:?}"),
    }
}

fn pending(outcome: Outcome) -> RequestId {
    match outcome {
        Outcome::Pending(record) => record.request,
        other => panic!("not pending: {other:?}"),
    }
}

fn question(customers: &[i64], key: Option<&str>, wait: Duration) -> Question {
    Question {
        asked_by: "a dashboard".into(),
        key: key.map(str::to_owned),
        customers: customers.iter().copied().map(CustomerId).collect(),
        wait,
        trace: Vec::new(),
    }
}

fn outgoing(request: RequestId) -> OutgoingRequest {
    OutgoingRequest { request, left: WAIT, trace: TraceContext::default() }
}
