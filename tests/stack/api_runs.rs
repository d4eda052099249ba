//! Runs over HTTP, on real servers: keys, streams, and an api that is killed.

use std::time::Duration;

use batch::{RunId, RunState};
use futures_util::future::join_all;
use serde_json::{Value, json};
use store::{Archive, ModelVersions, NewPromotion};
use tests::{Fleet, PATIENCE, eventually};

use crate::api::{Answered, Served, exchange, fleet};

const JSON: &str = "content-type: application/json\r\n";

async fn post(api: &Served, path: &str, key: &str, body: &Value) -> Answered {
    let head = format!("{JSON}idempotency-key: {key}\r\n");
    api.ask("POST", path, &head, &body.to_string()).await
}

/// Asks again as long as somebody is at work on it, or there is no place.
async fn post_until_answered(api: &Served, path: &str, key: &str, body: &Value) -> Answered {
    eventually(PATIENCE, "an answer", async || {
        let answered = post(api, path, key, body).await;
        match answered.json()["code"].as_str() {
            Some("key-in-use" | "overloaded" | "store-unavailable") => None,
            _ => Some(answered),
        }
    })
    .await
}

/// The runs there are, the newest first.
async fn runs(fleet: &Fleet) -> Vec<RunId> {
    let runs = fleet.store().runs(99).await.expect("the database answers");
    runs.into_iter().map(|record| record.run).collect()
}

fn whole_base() -> Value {
    json!({"all": true, "as_of": "1998-07-01T00:00:00Z"})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_calls_with_one_key_are_one_run() {
    let fleet = fleet().await;
    let api = Served::start(&fleet, &[]).await;
    let body = json!({"all": true, "as_of": "1998-07-01T00:00:00Z", "again": true});
    let before = runs(&fleet).await;

    let calls = (0..1_000).map(|_| post_until_answered(&api, "/runs", "tonight", &body));
    let answers = join_all(calls).await;

    let first = &answers[0];
    assert_eq!(first.status, 201, "{}", first.body);
    assert!(answers.iter().all(|answer| (answer.status, &answer.body) == (201, &first.body)));
    let new = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_empty());
    assert_eq!(new.count(), 1);
    let runs = runs(&fleet).await;
    assert_eq!(runs.len(), before.len() + 1);
    assert_eq!(first.json()["run"], runs[0].to_string());
    let other = post(&api, "/runs", "tonight", &whole_base()).await;
    assert_eq!((other.status, other.json()["code"].as_str()), (422, Some("key-reused")));
}

/// The run is recorded and its first message waits for a confirm when the process dies.
#[tokio::test(flavor = "multi_thread")]
async fn an_api_that_is_killed_between_commit_and_answer_is_asked_again_and_says_what_came_of_it() {
    let fleet = fleet().await;
    let mut first = Served::start(&fleet, &[]).await;
    let second = Served::start(&fleet, &[]).await;
    let alarm = fleet.stack().alarm();
    let before = runs(&fleet).await;

    let address = first.address.clone();
    let head = format!("{JSON}idempotency-key: tonight\r\n");
    let asked =
        tokio::spawn(
            async move { exchange(&address, "POST", "/runs", &head, &whole_base().to_string()).await },
        );
    let recorded = eventually(PATIENCE, "the run is recorded", async || {
        let runs = runs(&fleet).await;
        (runs.len() > before.len()).then(|| runs[0])
    })
    .await;
    first.process.kill();
    assert_eq!(asked.await.expect("nobody panics"), "", "it was killed before it answered");
    let again = post_until_answered(&second, "/runs", "tonight", &whole_base()).await;
    drop(alarm);
    let (_worker, _coordinator) = (fleet.worker(&[]), fleet.coordinator(&[]));
    fleet.finished(recorded).await;
    let once_more = post(&second, "/runs", "tonight", &whole_base()).await;

    assert_eq!((again.status, again.header("idempotency-replayed")), (201, "true"), "{}", again.body);
    assert_eq!(again.json()["run"], recorded.to_string());
    assert_eq!((once_more.status, &once_more.body), (again.status, &again.body));
    assert_eq!(runs(&fleet).await.len(), before.len() + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_night_is_started_followed_and_handed_out_over_http() {
    let fleet = fleet().await;
    let api = Served::start(&fleet, &[]).await;
    let started = post(&api, "/runs", "tonight", &whole_base()).await;
    let run = started.json()["run"].as_str().expect("it is named").to_owned();
    let (_worker, _coordinator) = (fleet.worker(&[]), fleet.coordinator(&[]));

    // The stream ends with the run, so that it can be read to its end.
    let events = api.get(&format!("/runs/{run}/events")).await;
    let lines = api.get("/runs/latest/values").await;
    let file = api.get(&format!("/runs/{run}/values?format=csv")).await;
    let top = api.get("/top?limit=3").await.json();
    let cancelled = post(&api, &format!("/runs/{run}/cancel"), "no", &Value::Null).await;

    assert!(
        events.body.contains("event: progress") && events.body.contains("retry: 2000"),
        "{}",
        events.body
    );
    assert_eq!(events.body.matches("event: end").count(), 1, "{}", events.body);
    assert!(events.body.contains(r#""state":"finished""#), "{}", events.body);
    let record = fleet.store().runs(1).await.expect("the database answers").remove(0);
    assert_eq!(record.state, RunState::Finished);
    let values = record.progress.values;
    assert_eq!(lines.header("ltv-customers"), values.to_string());
    let lines: Vec<Value> = unchunked(&lines.body)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line is JSON"))
        .collect();
    let (end, lines) = lines.split_last().expect("there is a last line");
    assert_eq!(end, &json!({"end": true, "customers": values, "run_id": run}));
    assert_eq!(lines.len() as u64, values);
    let sum: i64 = lines.iter().filter_map(|line| line["value_minor"].as_i64()).sum();
    let query = "select sum(value_minor)::bigint from fleet.values where run_id = $1";
    assert_eq!(sum, fleet.ask::<i64>(query, record.run).await);
    let file = unchunked(&file.body);
    assert_eq!(file.lines().count() as u64, values + 1);
    let sum_of_file: i64 = file
        .lines()
        .skip(1)
        .map(|line| line.split(',').nth(2).and_then(|value| value.parse::<i64>().ok()).expect("a number"))
        .sum();
    assert_eq!(sum_of_file, sum);
    assert_eq!(top["customers"].as_array().map(Vec::len), Some(3));
    let best = lines.iter().filter_map(|line| line["value_minor"].as_i64()).max();
    assert_eq!(top["customers"][0]["value_minor"].as_i64(), best);
    assert_eq!(cancelled.status, 400, "it has a body: {}", cancelled.body);
}

/// What was sent in chunks, in one piece.
fn unchunked(body: &str) -> String {
    let mut rest = body;
    let mut whole = String::new();
    while let Some((length, after)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length.trim(), 16).expect("a chunk has a length");
        if length == 0 {
            return whole;
        }
        whole.push_str(&after[..length]);
        rest = &after[length + 2..];
    }
    panic!("the stream was cut: {} bytes came", whole.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_follows_a_run_is_told_when_the_api_ends_and_does_not_hold_it_up() {
    let fleet = fleet().await;
    let mut api = Served::start(&fleet, &[]).await;
    let started = post(&api, "/runs", "tonight", &whole_base()).await;
    let path = format!("/runs/{}/events", started.json()["run"].as_str().expect("it is named"));

    let listeners: Vec<_> = (0..20)
        .map(|_| {
            let (address, path) = (api.address.clone(), path.clone());
            tokio::spawn(async move { exchange(&address, "GET", &path, "", "").await })
        })
        .collect();
    let places = async || {
        let metrics = api.get("/metrics").await.body;
        metrics.contains("ltv_api_places_in_use{class=\"stream\"} 20").then_some(())
    };
    eventually(PATIENCE, "all listen", places).await;
    let began = tokio::time::Instant::now();
    api.process.terminate();
    let ended = api.process.ended(PATIENCE).await;

    assert!(ended.success(), "{ended}");
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    for listener in listeners {
        let events = listener.await.expect("nobody panics");
        assert!(events.contains("event: bye"), "{events}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_version_is_promoted_once_under_a_key() {
    let fleet = fleet().await;
    let api = Served::start(&fleet, &[]).await;
    let models = store::promises::models();
    let version = fleet.store().save_model_version(&models, None).await.expect("the database answers");
    let path = format!("/models/{version}/promote");

    let first = post(&api, &path, "a key", &json!({"by": "ada"})).await;
    let back = fleet.store().roll_back(&NewPromotion::default()).await.expect("the database answers");
    let replayed = post(&api, &path, "a key", &json!({"by": "ada"})).await;

    assert_eq!(first.json(), json!({"model_version": version.to_string(), "is_new": true}));
    assert_eq!((&replayed.body, replayed.header("idempotency-replayed")), (&first.body, "true"));
    let history = fleet.store().promotions_of(version, 9).await.expect("the database answers");
    assert_eq!(history.len(), 1, "it was rolled back to {back:?}, and not promoted again");
}
