//! Values that have to be fresh, over HTTP on real servers: an api, a worker, and what goes wrong between them.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use batch::{CustomerId, RequestId, RunId};
use serde_json::{Value, json};
use store::{Archive, Explained, Known, Requests as _, Values as _};
use tests::{Fleet, PATIENCE, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::api::{Answered, Served};
use crate::proxy::Proxy;
use crate::store::program;

const CUSTOMER: i64 = 1_000_001;

/// One whose history cannot be valued.
const FOREIGN: i64 = 1_000_011;

/// What is answered is what is committed, and what a run over the same customers for the same moment says, bit by bit.
#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_answer_is_what_a_run_for_the_same_moment_says_to_the_bit() {
    let fleet = Fleet::new(&program()).await;
    let (worker, api) = (fleet.worker(&[]), Served::start(&fleet, &[]).await);
    worker.says("taking work", PATIENCE).await;

    let body = json!({ "customers": [CUSTOMER.to_string(), FOREIGN.to_string(), "7"], "fresh": true });
    let answered = api.post("/batches?view=full&wait=10s", None, &body).await;

    assert_eq!(answered.status, 200, "{}", answered.body);
    let answer = answered.json();
    let outcomes: Vec<&Value> = (0..3).map(|place| &answer["results"][place]["outcome"]).collect();
    assert_eq!(outcomes, ["valued", "rejected", "unknown"]);
    let rows = committed(&fleet, &answer["request"]).await;
    let model = fleet.store().model_version(rows[0].model_version).await.unwrap().unwrap();
    for (place, known) in rows.iter().enumerate() {
        let told = documents::body(&documents::KnownInFull::new(known, &model));
        let told: Value = serde_json::from_str(&told).unwrap();
        assert_eq!(answer["results"][place]["known"], told);
    }
    let run = run_for(&fleet, &rows[0]).await;
    for known in &rows {
        let said = match fleet.store().explain(run, known.customer).await.unwrap() {
            Explained::Valued(valued) => Ok(valued),
            Explained::Rejected(reason) => Err(reason),
            Explained::Absent => panic!("customer {} was planned", known.customer),
        };
        // Values have no equality of their own; this shows every bit of their numbers.
        assert_eq!(format!("{said:?}"), format!("{:?}", known.outcome));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_workers_the_answer_is_a_place_that_answers_later() {
    let fleet = Fleet::new(&program()).await;
    let api = Served::start(&fleet, &[]).await;
    let fresh = format!("/customers/{CUSTOMER}?fresh=true");

    let pending = api.prefer(&fresh, "wait=1").await;

    assert_eq!(pending.status, 202, "{}", pending.body);
    assert_eq!((pending.header("preference-applied"), pending.header("retry-after")), ("wait=1", "1"));
    let location = below(pending.header("location")).to_owned();
    assert_eq!(api.get(&location).await.status, 202);
    let _worker = fleet.worker(&[]);
    let answered = eventually(PATIENCE, "the answer", async || {
        let answered = api.prefer(&location, "wait=1").await;
        (answered.status == 200).then_some(answered)
    })
    .await;
    assert_eq!(answered.json()["state"], "answered");
    assert_eq!(answered.json()["results"][0]["customer"], CUSTOMER.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_the_api_values_a_customer_itself_behind_the_same_fence() {
    let fleet = Fleet::new(&program()).await;
    let (user, server) = fleet.stack().amqp_url().rsplit_once('@').expect("a URL names a user");
    let proxy = Proxy::start(server).await;
    let url = format!("{user}@{}", proxy.address());
    let (worker, api) =
        (fleet.worker(&[]), Served::start(&fleet, &["--instance", "api", "--amqp-url", &url]).await);
    worker.says("taking work", PATIENCE).await;
    let fresh = format!("/customers/{CUSTOMER}?fresh=true");
    let by_worker = api.get(&fresh).await;
    proxy.refuse();

    let by_api = api.get(&fresh).await;

    assert_eq!((by_worker.status, by_api.status), (200, 200), "{} {}", by_worker.body, by_api.body);
    assert_eq!(by_api.json()["value"], by_worker.json()["value"]);
    assert!(who_answered(&fleet, &by_worker.json()["request"]).await.starts_with("worker"));
    assert!(who_answered(&fleet, &by_api.json()["request"]).await.starts_with("api"));
    let many = json!({ "customers": [CUSTOMER.to_string(), FOREIGN.to_string()], "fresh": true });
    let pending = api.post("/batches", None, &many).await;
    assert_eq!(pending.status, 202, "{}", pending.body);
    proxy.pass();
    let location = below(pending.header("location")).to_owned();
    eventually(PATIENCE, "the answer", async || {
        (api.prefer(&location, "wait=1").await.status == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_killed_leaves_a_question_that_another_finds_under_its_key() {
    let fleet = Fleet::new(&program()).await;
    let mut first = Served::start(&fleet, &[]).await;
    let body = json!({ "customers": [CUSTOMER.to_string(), FOREIGN.to_string()], "fresh": true });
    let mut waits = TcpStream::connect(&first.address).await.unwrap();
    let asks = format!(
        "POST /api/ltv/batches?wait=30s HTTP/1.1\r\nhost: api\r\nidempotency-key: k-1\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.to_string().len()
    );
    waits.write_all(asks.as_bytes()).await.unwrap();
    eventually(PATIENCE, "the question", async || (questions(&fleet).await == 1).then_some(())).await;

    first.process.kill();

    let mut heard = Vec::new();
    let _ = waits.read_to_end(&mut heard).await;
    assert!(heard.is_empty(), "nobody answers: {}", String::from_utf8_lossy(&heard));
    let second = Served::start(&fleet, &[]).await;
    let _worker = fleet.worker(&[]);
    let answered = second.post("/batches?wait=30s", Some("k-1"), &body).await;
    let again = second.post("/batches?wait=30s", Some("k-1"), &body).await;

    assert_eq!(answered.status, 200, "{}", answered.body);
    assert_eq!((again.status, &again.body), (200, &answered.body));
    assert_eq!(questions(&fleet).await, 1);
    assert_eq!(committed(&fleet, &answered.json()["request"]).await.len(), 2);
}

async fn questions(fleet: &Fleet) -> i64 {
    fleet.sql().await.query_one("select count(*) from fleet.requests", &[]).await.unwrap().get(0)
}

async fn who_answered(fleet: &Fleet, request: &Value) -> String {
    let query = "select worker from fleet.requests where request_id = $1 and state = 'answered'";
    fleet.sql().await.query_one(query, &[&number(request)]).await.unwrap().get(0)
}

async fn committed(fleet: &Fleet, request: &Value) -> Vec<Known> {
    fleet.store().answer_of(RequestId(number(request))).await.unwrap().expect("it was asked").rows
}

fn number(text: &Value) -> i64 {
    text.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{text} is a number"))
}

/// A run over the customers for the moment of an answer.
async fn run_for(fleet: &Fleet, known: &Known) -> RunId {
    let _coordinator = fleet.coordinator(&[]);
    let customers = [CUSTOMER, FOREIGN].map(CustomerId);
    let run = fleet.dispatch_customers(&customers, &["--as-of", &known.as_of.to_string()]).await;
    fleet.finished(run).await;
    run
}

fn below(location: &str) -> &str {
    location.strip_prefix("/api/ltv").expect("it is below the api")
}

impl Served {
    async fn prefer(&self, path: &str, prefer: &str) -> Answered {
        self.ask("GET", path, &format!("prefer: {prefer}\r\n"), "").await
    }

    async fn post(&self, path: &str, key: Option<&str>, body: &Value) -> Answered {
        let key = key.map(|key| format!("idempotency-key: {key}\r\n")).unwrap_or_default();
        let head = format!("content-type: application/json\r\n{key}");
        self.ask("POST", path, &head, &body.to_string()).await
    }
}
