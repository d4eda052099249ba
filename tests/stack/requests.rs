//! Requests on PostgreSQL: what each call costs, what a crash may forget, and many workers at once.

use std::collections::BTreeMap;
use std::time::Duration;

use batch::{CustomerId, RequestId};
use store::postgres::{Postgres, PostgresConfig};
use store::promises::{models, results};
use store::{
    Asked, CommitOutcome, ModelVersions, NewPromotion, NewRequest, RequestAssignment, RequestBegin,
    RequestClaim, Requests, ValueTerms,
};
use tests::{Database, Stack};
use tokio::time::Instant;

use crate::proxy::Proxy;

const CUSTOMER: CustomerId = CustomerId(101);

/// A database with a model version, and the store on it.
async fn fresh() -> (Database, Postgres) {
    let database = Database::create(&Stack::from_env()).await;
    let store = database.store();
    let promotion = NewPromotion::default();
    store.save_model_version(&models(), Some(&promotion)).await.expect("the database answers");
    (database, store)
}

async fn asked(store: &Postgres) -> RequestId {
    let new = NewRequest {
        asked_by: "a test".into(),
        key: None,
        fingerprint: vec![1],
        customers: vec![CUSTOMER],
        lasts: Duration::from_secs(30),
        trace: Vec::new(),
        is_waited_for: true,
    };
    match store.ask(&new).await.expect("the database answers") {
        Asked::New(request) => request,
        other => panic!("there was no key, and not {other:?}"),
    }
}

async fn begin(store: &Postgres, request: RequestId, worker: &str) -> RequestBegin {
    let (lease, terms) = (Duration::from_secs(20), ValueTerms::default());
    let claim = RequestClaim { worker, lease, is_repeat: false, max_failures: 3, terms };
    store.begin_request(request, &claim).await.expect("the database answers")
}

async fn begun(store: &Postgres, request: RequestId, worker: &str) -> RequestAssignment {
    match begin(store, request, worker).await {
        RequestBegin::Assigned(assignment) => *assignment,
        other => panic!("{worker} may begin it, and not {other:?}"),
    }
}

async fn answer(store: &Postgres, assignment: &RequestAssignment) -> CommitOutcome {
    let rows = results(&assignment.customers);
    store.answer_request(assignment.attempt, &rows).await.expect("the database answers")
}

/// From the question to the answer in the reader's hand. Each wait for the server is a part of what an urgent question
/// costs.
#[tokio::test(flavor = "multi_thread")]
async fn a_question_is_asked_begun_and_answered_in_one_round_trip_each() {
    let (database, direct) = fresh().await;
    let (_, server) = database.url().rsplit_once('@').expect("a URL names a user");
    let (server, name) = server.split_once('/').expect("a URL names a database");
    let proxy = Proxy::start(server).await;
    let config = PostgresConfig::new(format!("postgresql://postgres@{}/{name}", proxy.address()), "tests");
    let proxied = Postgres::new(PostgresConfig { connections: 1, ..config }).expect("the URL is one");

    for _ in 0..3 {
        answered(&proxied, &mut |_| {}).await; // prepares the statements
    }
    let mut before = proxy.round_trips();
    let mut counted = Vec::new();
    answered(&proxied, &mut |step| {
        counted.push((step, proxy.round_trips() - before));
        before = proxy.round_trips();
    })
    .await;

    // What follows sends two statements at once, and may be answered to the first before the second has gone out.
    assert_eq!(counted[..3], [("ask", 1), ("begin", 1), ("answer", 1)]);
    measure(&direct).await;
}

/// Asks, begins, answers and looks at what was answered, and says when each is done.
async fn answered(store: &Postgres, done: &mut impl FnMut(&'static str)) {
    let request = asked(store).await;
    done("ask");
    let assignment = begun(store, request, "worker").await;
    done("begin");
    assert_eq!(answer(store, &assignment).await, CommitOutcome::Committed);
    done("answer");
    let answer = store.answer_of(request).await.expect("the database answers").expect("it was asked");
    done("look at the answer");
    let latest = store.latest(&[CUSTOMER]).await.expect("the database answers");
    done("the latest");
    assert_eq!(answer.rows, latest);
}

/// Prints how long each takes, for whoever wants to know.
async fn measure(store: &Postgres) {
    const QUESTIONS: usize = 300;
    let mut took: BTreeMap<&str, Vec<Duration>> = BTreeMap::new();
    for _ in 0..QUESTIONS {
        let mut at = Instant::now();
        answered(store, &mut |step| {
            took.entry(step).or_default().push(at.elapsed());
            at = Instant::now();
        })
        .await;
    }
    for (step, mut took) in took {
        took.sort_unstable();
        println!(
            "{step}: median {:?}, 99 of 100 within {:?}",
            took[QUESTIONS / 2],
            took[QUESTIONS * 99 / 100]
        );
    }
}

/// What a begin says need not be on the disk. Whoever begins after the crash has the same number, and another moment.
#[tokio::test(flavor = "multi_thread")]
async fn of_two_attempts_of_which_a_crash_forgot_the_first_only_the_second_answers() {
    let (database, store) = fresh().await;
    let request = asked(&store).await;
    let forgotten = begun(&store, request, "first").await;
    let forget = "
        update fleet.requests
           set state = 'waiting', attempt = 0, worker = null, leased_until = null, as_of = null,
               model_version = null, terms = null";
    database.client().await.batch_execute(forget).await.expect("the database answers");

    let second = begun(&store, request, "second").await;

    assert_eq!(forgotten.attempt.attempt, second.attempt.attempt);
    assert_eq!(answer(&store, &forgotten).await, CommitOutcome::Refused);
    assert_eq!(answer(&store, &second).await, CommitOutcome::Committed);
    assert_eq!(answer(&store, &forgotten).await, CommitOutcome::Refused);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_workers_that_begin_a_request_at_once_one_does() {
    let (_database, store) = fresh().await;
    for _ in 0..20 {
        let request = asked(&store).await;

        let workers = (0..8).map(|worker| {
            let store = store.clone();
            tokio::spawn(async move { begin(&store, request, &format!("worker {worker}")).await })
        });
        let mut begun = 0;
        for worker in workers.collect::<Vec<_>>() {
            match worker.await.expect("nobody panics") {
                RequestBegin::Assigned(_) => begun += 1,
                other => assert!(matches!(other, RequestBegin::AtWork(left) if !left.is_zero()), "{other:?}"),
            }
        }

        assert_eq!(begun, 1);
    }
}
