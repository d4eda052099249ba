//! Runs over HTTP.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, Request, StatusCode};
use batch::{RunId, RunState};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::{Value, json};
use store::memory::Memory;
use store::promises::{Ground, Happening, accounts, as_of, chunk, done, models, part, published};
use store::{Archive, EXPORTED_COLUMNS, ModelVersions, Supervision};
use tower::ServiceExt as _;

use super::{Answered, InMemory, api, ask, get, request};

/// The store over the promises' base; time passes by tokio's clock, which is paused.
struct Paused(Memory);

impl Ground for Paused {
    type Store = Memory;

    fn store(&self) -> &Memory {
        &self.0
    }

    async fn pass(&self, time: Duration) {
        tokio::time::advance(time).await;
    }

    async fn set_back(&self, time: Duration) {
        self.0.set_back(time);
    }

    async fn happens(&self, Happening { customer, at, .. }: Happening) {
        self.0.happens(customer, at);
    }
}

fn fresh() -> (Paused, InMemory, Router) {
    let store = Memory::new(accounts(), as_of());
    let api = api(store.clone(), Vec::new());
    (Paused(store), api.clone(), api.router())
}

async fn finished(ground: &Paused) -> RunId {
    let run = published(ground).await;
    for number in 1..=3 {
        done(ground, chunk(run, number)).await;
    }
    finish(ground, run).await;
    run
}

async fn finish(ground: &Paused, run: RunId) {
    let term = ground.0.lead("a test", Duration::from_hours(1)).await.unwrap().unwrap();
    ground.0.finish_run(term, run).await.unwrap().unwrap();
}

async fn post(router: &Router, path: &str, key: &str, body: Option<&Value>) -> Answered {
    let mut call = Request::builder().method(Method::POST).uri(format!("/api/ltv{path}"));
    if !key.is_empty() {
        call = call.header("Idempotency-Key", key);
    }
    let body = match body {
        Some(body) => {
            call = call.header(CONTENT_TYPE, "application/json");
            Body::from(body.to_string())
        }
        None => Body::empty(),
    };
    ask(router, call.body(body).unwrap()).await
}

fn ids(page: &Value) -> Vec<&str> {
    page["runs"].as_array().unwrap().iter().map(|run| run["run"].as_str().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn runs_are_listed_page_by_page_and_a_new_one_tears_none() {
    let (ground, _, router) = fresh();
    ground.0.save_model_version(&models(), None).await.unwrap();
    for _ in 0..3 {
        assert_eq!(post(&router, "/runs", "", Some(&json!({"all": true, "again": true}))).await.status, 201);
    }

    let first = get(&router, "/runs?limit=2").await;
    post(&router, "/runs", "", Some(&json!({"all": true, "again": true}))).await;
    let next = first.json()["next"].as_str().unwrap().to_owned();
    let second = get(&router, &format!("/runs?limit=2&cursor={next}")).await;

    assert_eq!(ids(&first.json()), ["3", "2"]);
    assert_eq!(first.header("link"), format!("</api/ltv/runs?limit=2&cursor={next}>; rel=\"next\""));
    assert_eq!((ids(&second.json()), &second.json()["next"]), (vec!["1"], &Value::Null));
    assert_eq!(second.header("link"), "");
    for (query, pointer) in [("limit=0", "/limit"), ("limit=1001", "/limit"), ("cursor=x", "/cursor")] {
        let refused = get(&router, &format!("/runs?{query}")).await;
        assert_eq!(
            (refused.status.as_u16(), &refused.json()["errors"][0]["pointer"]),
            (400, &json!(pointer))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_is_shown_by_its_number_and_the_newest_by_its_name() {
    let (ground, _, router) = fresh();
    assert_eq!(get(&router, "/runs/latest").await.status, 404);
    let run = published(&ground).await;

    let shown = get(&router, &format!("/runs/{run}")).await;
    let mut again = request(Method::GET, "/runs/latest");
    again.headers_mut().insert("if-none-match", shown.headers["etag"].clone());

    assert_eq!((shown.json()["run"].as_str(), shown.json()["state"].as_str()), (Some("1"), Some("running")));
    assert_eq!(ask(&router, again).await.status, StatusCode::NOT_MODIFIED);
    assert_eq!(get(&router, "/runs/99").await.status, 404);
    assert_eq!(get(&router, "/runs/newest").await.status, 400);
}

/// All of them get the same answer, and one run is there.
#[tokio::test(start_paused = true)]
async fn a_thousand_calls_with_one_key_are_one_run() {
    let (ground, _, router) = fresh();
    ground.0.save_model_version(&models(), None).await.unwrap();
    let body = json!({"all": true, "again": true, "priority": "high"});

    let call = async || loop {
        let answered = post(&router, "/runs", "tonight", Some(&body)).await;
        let seconds = match answered.json()["code"].as_str() {
            None => return answered,
            Some("key-in-use" | "overloaded") => answered.header("retry-after").parse().unwrap(),
            Some(other) => panic!("{other}"),
        };
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    };
    let answers = join_all((0..1_000).map(|_| call())).await;

    let expected = json!({"run": "1", "is_new": true, "customers": 11, "chunks": 1});
    for answer in &answers {
        assert_eq!((answer.status.as_u16(), answer.json()), (201, expected.clone()));
    }
    assert!(answers.iter().all(|answer| answer.header("location") == "/api/ltv/runs/1"));
    let first = answers.iter().filter(|answer| answer.header("idempotency-replayed").is_empty());
    assert_eq!(first.count(), 1);
    assert_eq!(ground.0.runs(9).await.unwrap().len(), 1);

    let other = post(&router, "/runs", "tonight", Some(&json!({"all": true}))).await;
    assert_eq!((other.status.as_u16(), other.json()["code"].as_str()), (422, Some("key-reused")));
    let elsewhere = post(&router, "/runs/1/cancel", "tonight", None).await;
    assert_eq!(elsewhere.json()["code"], "key-reused");
}

#[tokio::test(start_paused = true)]
async fn a_night_is_started_once_also_without_a_key() {
    let (ground, _, router) = fresh();
    let none = post(&router, "/runs", "a key", Some(&json!({"all": true}))).await;
    assert_eq!((none.status.as_u16(), none.json()["code"].as_str()), (409, Some("conflict")));
    ground.0.save_model_version(&models(), None).await.unwrap();

    let first = post(&router, "/runs", "a key", Some(&json!({"all": true}))).await;
    let second = post(&router, "/runs", "another", Some(&json!({"all": true}))).await;
    let replayed = post(&router, "/runs", "another", Some(&json!({"all": true}))).await;

    assert_eq!(first.status, 201, "what failed has let go of its key");
    assert_eq!((second.status.as_u16(), &second.json()["run"]), (200, &first.json()["run"]));
    assert_eq!((replayed.status, replayed.json()), (second.status, second.json()));
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_with_a_pointer() {
    let (ground, _, router) = fresh();
    ground.0.save_model_version(&models(), None).await.unwrap();
    let many: Vec<_> = (0..10_001).map(|number| number.to_string()).collect();

    for (body, pointer) in [
        (json!({}), ""),
        (json!({"all": true, "segment": "venues"}), ""),
        (json!({"customers": []}), "/customers"),
        (json!({"customers": ["101", "x"]}), "/customers/1"),
        (json!({"customers": ["101", "9"]}), "/customers"),
        (json!({"customers": many}), "/customers"),
        (json!({"all": true, "deadline_seconds": 0}), "/deadline_seconds"),
        (json!({"all": true, "priority": "soon"}), "/priority"),
        (json!({"all": true, "model_version": "9"}), "/model_version"),
        (json!({"all": true, "limits": {"max_change": 2}}), "/limits/max_change"),
        (json!({"all": true, "whole": true}), "/whole"),
        (json!({"segment": "nobody's"}), ""),
    ] {
        let refused = post(&router, "/runs", "a key", Some(&body)).await;
        let problem = refused.json();
        assert_eq!(
            (refused.status.as_u16(), &problem["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{problem}"
        );
    }
    assert_eq!(ground.0.runs(9).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_run_is_cancelled_once() {
    let (ground, _, router) = fresh();
    let over = finished(&ground).await;
    let run = part(&ground).await;
    let path = format!("/runs/{run}/cancel");

    let first = post(&router, &path, "a key", None).await;
    let replayed = post(&router, &path, "a key", None).await;
    let again = post(&router, &path, "another", None).await;

    assert_eq!((first.status.as_u16(), first.json()), (200, json!({"run": "2", "is_new": true})));
    assert_eq!((replayed.json(), replayed.header("idempotency-replayed")), (first.json(), "true"));
    assert_eq!((again.status.as_u16(), again.json()), (200, json!({"run": "2", "is_new": false})));
    assert_eq!(ground.0.run(run).await.unwrap().unwrap().state, RunState::Cancelled);
    assert_eq!(post(&router, &format!("/runs/{over}/cancel"), "", None).await.json()["code"], "conflict");
    assert_eq!(post(&router, "/runs/99/cancel", "", None).await.status, 404);
    assert_eq!(post(&router, &path, "", Some(&json!({}))).await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn only_a_run_that_is_held_is_released_or_rejected() {
    let (ground, _, router) = fresh();
    let run = published(&ground).await;
    for number in 1..=3 {
        done(&ground, chunk(run, number)).await;
    }
    let saying = json!({"reason": "it is as it should be", "by": "ada"});
    let release = format!("/runs/{run}/release");

    let too_early = post(&router, &release, "a key", Some(&saying)).await;
    let term = ground.0.lead("a test", Duration::from_hours(1)).await.unwrap().unwrap();
    let hold = store::Hold { compared_with: None, deviations: Vec::new() };
    assert!(ground.0.hold_run(term, run, &hold).await.unwrap());
    let released = post(&router, &release, "a key", Some(&saying)).await;
    let again = post(&router, &release, "another", Some(&saying)).await;
    let rejected = post(&router, &format!("/runs/{run}/reject"), "third", Some(&saying)).await;

    assert_eq!(too_early.json()["code"], "conflict");
    assert_eq!(released.json(), json!({"run": "1", "decision": "release", "is_new": true}));
    assert_eq!(again.json(), json!({"run": "1", "decision": "release", "is_new": false}));
    assert_eq!(rejected.json()["code"], "conflict");
    let silent = post(&router, &release, "", Some(&json!({"reason": " "}))).await;
    assert_eq!(
        (silent.status.as_u16(), silent.json()["errors"][0]["pointer"].as_str()),
        (422, Some("/reason"))
    );
}

#[tokio::test(start_paused = true)]
async fn all_values_of_a_finished_run_are_handed_out_and_of_no_other() {
    let (ground, _, router) = fresh();
    let open = published(&ground).await;
    let values = format!("/runs/{open}/values");
    assert_eq!(get(&router, &values).await.json()["code"], "conflict");
    assert_eq!(get(&router, "/runs/latest/values").await.status, 404);
    for number in 1..=3 {
        done(&ground, chunk(open, number)).await;
    }
    finish(&ground, open).await;

    let lines = get(&router, "/runs/latest/values").await;
    let file = get(&router, &format!("{values}?format=csv")).await;

    assert_eq!((lines.header("content-type"), lines.header("ltv-customers")), ("application/x-ndjson", "8"));
    let text = String::from_utf8(lines.body.clone()).unwrap();
    let documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (end, values_of) = documents.split_last().unwrap();
    assert_eq!(end, &json!({"end": true, "customers": 8, "run_id": "1"}));
    let customers: BTreeSet<_> = values_of.iter().map(|value| value["customer"].as_str().unwrap()).collect();
    assert_eq!((customers.len(), values_of.len()), (8, 8));
    assert_eq!(values_of[0]["value_minor"].as_i64().unwrap(), 101 + 7);
    assert!(file.header("content-type").starts_with("text/csv"));
    let text = String::from_utf8(file.body).unwrap();
    assert_eq!((text.lines().next(), text.lines().count()), (Some(EXPORTED_COLUMNS.join(",").as_str()), 9));

    let head = ask(&router, request(Method::HEAD, &values)).await;
    assert_eq!((head.header("ltv-customers"), head.body.len()), ("8", 0));
    let mut known = request(Method::GET, &values);
    known.headers_mut().insert("if-none-match", lines.headers["etag"].clone());
    assert_eq!(ask(&router, known).await.status, StatusCode::NOT_MODIFIED);
    let mut picture = request(Method::GET, &values);
    picture.headers_mut().insert("accept", "image/png".parse().unwrap());
    assert_eq!(ask(&router, picture).await.status, StatusCode::NOT_ACCEPTABLE);
}

#[tokio::test(start_paused = true)]
async fn the_most_valuable_are_ranked_in_one_run_whatever_is_published_meanwhile() {
    let (ground, _, router) = fresh();
    assert_eq!(get(&router, "/top").await.status, 404);
    let run = finished(&ground).await;

    let first = get(&router, "/top?limit=3").await.json();
    let again = post(&router, "/runs", "", Some(&json!({"all": true, "again": true}))).await;
    assert_eq!(again.json()["run"], "2");
    done(&ground, chunk(RunId(2), 1)).await;
    finish(&ground, RunId(2)).await;
    let next = first["next"].as_str().unwrap();
    let second = get(&router, &format!("/top?limit=9&cursor={next}")).await.json();
    let newest = get(&router, "/top?limit=1").await.json();

    let customers = |page: &Value| -> Vec<String> {
        let customers = page["customers"].as_array().unwrap().iter();
        customers.map(|ranked| ranked["external_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!((&first["run"], &second["run"]), (&json!(run.to_string()), &json!(run.to_string())));
    assert_eq!(customers(&first), ["c-111", "c-110", "c-109"]);
    assert_eq!(customers(&second), ["c-108", "c-107", "c-106", "c-102", "c-101"]);
    assert_eq!((&second["next"], first["currency"].as_str()), (&Value::Null, Some("USD")));
    assert_eq!(newest["run"], "2");
}

/// The next event of a stream: its lines.
async fn event(events: &mut axum::body::BodyDataStream) -> String {
    loop {
        let frame = events.next().await.expect("the stream goes on").unwrap();
        let text = String::from_utf8(frame.to_vec()).unwrap();
        // A line that begins with a colon only says that somebody is there.
        if !text.starts_with(':') {
            return text;
        }
    }
}

async fn listen(router: &Router, path: &str, last: &str) -> axum::response::Response {
    let mut call = request(Method::GET, path);
    if !last.is_empty() {
        call.headers_mut().insert("last-event-id", last.parse().unwrap());
    }
    router.clone().oneshot(call).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_run_is_followed_to_its_end_and_one_who_has_seen_that_is_told_so() {
    let (ground, api, router) = fresh();
    let run = published(&ground).await;
    let path = format!("/runs/{run}/events");

    let first = listen(&router, &path, "").await;
    assert_eq!(first.headers()["content-type"], "text/event-stream");
    assert_eq!(first.headers()["x-accel-buffering"], "no");
    let mut first = first.into_body().into_data_stream();
    let begin = event(&mut first).await;
    assert!(begin.contains("event: progress") && begin.contains("retry: 2000"), "{begin}");
    assert!(begin.contains("id: running.0.0.0") && begin.contains(r#""run":"1""#), "{begin}");
    let mut second = listen(&router, &path, "running.0.0.0").await.into_body().into_data_stream();
    assert_eq!(api.followed.len(), 1);
    done(&ground, chunk(run, 1)).await;
    for events in [&mut first, &mut second] {
        let next = event(events).await;
        assert!(next.contains("event: progress") && next.contains("id: running.1.0.4"), "{next}");
    }
    ground.0.cancel_run(run).await.unwrap();
    let end = event(&mut first).await;

    assert!(end.contains("event: end") && end.contains("id: cancelled.1.0.4"), "{end}");
    assert!(first.next().await.is_none(), "it has ended");
    assert_eq!(api.followed.len(), 0);
    let late = listen(&router, &path, "running.1.0.4").await.into_body();
    assert!(event(&mut late.into_data_stream()).await.contains("event: end"));
    assert_eq!(listen(&router, &path, "cancelled.1.0.4").await.status(), StatusCode::NO_CONTENT);
    assert_eq!(listen(&router, "/runs/99/events", "").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn who_follows_is_told_when_the_process_ends_and_nothing_looks_for_nobody() {
    let (ground, api, router) = fresh();
    let run = published(&ground).await;
    let path = format!("/runs/{run}/events");

    drop(listen(&router, &path, "").await);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(api.followed.len(), 0);
    let head = ask(&router, request(Method::HEAD, &path)).await;
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    let mut events = listen(&router, &path, "running.0.0.0").await.into_body().into_data_stream();
    api.config.draining.cancel();

    let bye = event(&mut events).await;

    assert!(bye.contains("event: bye") && bye.contains("retry: "), "{bye}");
    assert!(events.next().await.is_none());
}
