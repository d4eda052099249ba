//! Values that have to be fresh, batches and requests, with a worker that answers them.

use std::time::Duration;

use axum::http::header::CONTENT_TYPE;
use queue::memory::{Broker, Health};
use serde_json::json;
use store::ModelVersions as _;
use tokio::time::{Instant, sleep};

use super::*;
use crate::asking::tests::scene;

/// An api over a store of the promises' customers, with models.
async fn scene() -> (Router, Broker, Memory) {
    let (store, broker) = (scene::store(), Broker::new());
    store.save_model_version(&store::promises::models(), None).await.unwrap();
    let api = api_over(store.clone(), broker.connect(), Vec::new());
    (api.router(), broker, store)
}

async fn prefer(router: &Router, path: &str, prefer: &str) -> Answered {
    let mut request = request(Method::GET, path);
    request.headers_mut().insert("prefer", prefer.parse().unwrap());
    ask(router, request).await
}

async fn post(router: &Router, path: &str, key: Option<&str>, body: &Value) -> Answered {
    let mut request = request(Method::POST, path).map(|_| Body::from(body.to_string()));
    request.headers_mut().insert(CONTENT_TYPE, "application/json".parse().unwrap());
    if let Some(key) = key {
        request.headers_mut().insert("idempotency-key", key.parse().unwrap());
    }
    ask(router, request).await
}

fn location(answered: &Answered) -> String {
    assert_eq!(answered.status, StatusCode::ACCEPTED, "{}", String::from_utf8_lossy(&answered.body));
    assert_eq!(answered.header("retry-after"), "1");
    answered.header("location").strip_prefix("/api/ltv").unwrap().to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_fresh_value_is_what_the_store_knows_from_then_on() {
    let (router, broker, store) = scene().await;
    let _worker = scene::worker(&broker, &store);

    let fresh = get(&router, "/customers/101?fresh=true").await;
    let by_name = get(&router, "/customers/by-external-id/c-101?fresh=true&view=full").await;

    assert_eq!(fresh.status, StatusCode::OK, "{}", String::from_utf8_lossy(&fresh.body));
    let told = fresh.json();
    assert_eq!(
        (&told["customer"], &told["outcome"], &told["stale"]),
        (&json!("101"), &json!("valued"), &json!(false))
    );
    assert_eq!(told["served"], json!({ "from": "computed", "age_seconds": 0 }));
    assert_eq!(fresh.header("vary"), "Prefer");
    let full = by_name.json();
    assert_eq!(full["value"], told["value"]);
    assert!(full["inputs"].is_object() && told.get("inputs").is_none());
    let known = get(&router, "/customers/101").await.json();
    assert_eq!((&known["value"], &known["request"]), (&told["value"], &full["request"]));
}

#[tokio::test(start_paused = true)]
async fn who_is_not_there_is_not_valued() {
    let (router, _broker, _store) = scene().await;

    let unknown = get(&router, "/customers/4000?fresh=true").await;

    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(get(&router, "/requests/1").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(start_paused = true)]
async fn without_workers_there_is_a_place_where_the_answer_will_be() {
    let (router, broker, store) = scene().await;
    let began = Instant::now();
    let pending = prefer(&router, "/customers/101?fresh=true", "wait=1").await;
    assert_eq!(began.elapsed(), Duration::from_secs(1));
    assert_eq!(pending.header("preference-applied"), "wait=1");
    assert_eq!(pending.json()["state"], "waiting");
    let location = location(&pending);
    let at_once = prefer(&router, "/customers/102?fresh=true", "respond-async").await;
    assert_eq!((at_once.status, began.elapsed()), (StatusCode::ACCEPTED, Duration::from_secs(1)));
    assert_eq!(get(&router, &location).await.status, StatusCode::ACCEPTED);
    sleep(queue::REQUEST_TTL).await;
    let _worker = scene::worker(&broker, &store);

    let answered = get(&router, &format!("{location}?wait=2s")).await;

    assert_eq!(answered.status, StatusCode::OK);
    let told = answered.json();
    assert_eq!((&told["state"], &told["results"][0]["customer"]), (&json!("answered"), &json!("101")));
}

#[tokio::test(start_paused = true)]
async fn without_a_broker_a_customer_is_valued_by_the_api() {
    let (router, broker, _store) = scene().await;
    let first = get(&router, "/customers/101?fresh=true").await;
    assert_eq!(first.status, StatusCode::ACCEPTED, "nobody works");
    broker.set_health(Health::Away);

    let fresh = get(&router, "/customers/102?fresh=true").await;

    assert_eq!(fresh.status, StatusCode::OK, "{}", String::from_utf8_lossy(&fresh.body));
    assert_eq!(fresh.json()["outcome"], "valued");
}

#[tokio::test(start_paused = true)]
async fn a_batch_has_a_result_for_each_in_the_order_asked() {
    let (router, broker, store) = scene().await;
    let _worker = scene::worker(&broker, &store);
    let warm =
        post(&router, "/batches?wait=2s", None, &json!({ "customers": ["103", "101"], "fresh": true })).await;
    assert_eq!(warm.status, StatusCode::OK, "{}", String::from_utf8_lossy(&warm.body));
    let outcomes = |answered: &Answered| -> Vec<String> {
        let told = answered.json();
        let results = told["results"].as_array().unwrap();
        results.iter().map(|result| result["outcome"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(outcomes(&warm), ["rejected", "valued"]);
    assert_eq!(warm.json()["request"], "1");

    let asked = json!({ "external_ids": ["c-102", "c-101", "nobody", "c-101", "c-103", "nobody"] });
    let committed = post(&router, "/batches", None, &asked).await;

    let expected = ["unvalued", "valued", "unknown", "duplicate_of", "rejected", "duplicate_of"];
    assert_eq!(outcomes(&committed), expected);
    let told = committed.json();
    assert_eq!((&told["request"], &told["served"]["from"]), (&Value::Null, &json!("store")));
    assert_eq!(
        (&told["results"][3]["duplicate_of"], &told["results"][5]["duplicate_of"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(told["results"][1]["known"], warm.json()["results"][1]["known"]);
    assert_eq!(
        told["counts"],
        json!({ "valued": 1, "rejected": 1, "unvalued": 1, "unknown": 1, "duplicate_of": 2 })
    );
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_asked_again_with_its_key_is_the_same_request() {
    let (router, broker, store) = scene().await;
    let body = json!({ "customers": ["101", "102"], "fresh": true });
    let first = post(&router, "/batches", Some("a-key"), &body).await;
    let again = post(&router, "/batches", Some("\"a-key\""), &body).await;
    let other = post(&router, "/batches", Some("another"), &body).await;
    assert_eq!(location(&first), location(&again));
    assert_ne!(location(&first), location(&other));

    let reused =
        post(&router, "/batches", Some("a-key"), &json!({ "customers": ["101"], "fresh": true })).await;
    let _worker = scene::worker(&broker, &store);
    let answered = post(&router, "/batches?wait=2s", Some("a-key"), &body).await;

    assert_eq!(
        (reused.status, &reused.json()["code"]),
        (StatusCode::UNPROCESSABLE_ENTITY, &json!("key-reused"))
    );
    assert_eq!((answered.status, &answered.json()["request"]), (StatusCode::OK, &first.json()["request"]));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_makes_no_sense_is_refused_with_a_pointer() {
    let (router, _broker, _store) = scene().await;
    let check = async |path: &str, body: Value, status: u16, pointer: &str| {
        let refused = post(&router, path, None, &body).await;
        assert_eq!(refused.status.as_u16(), status, "{path} {body}");
        assert_eq!(refused.json()["errors"][0]["pointer"], pointer, "{path} {body}");
    };

    let many: Vec<String> = (0..=10_000).map(|number: u32| number.to_string()).collect();
    check("/batches", json!({ "customers": many }), 422, "/customers").await;
    check("/batches", json!({ "external_ids": [] }), 422, "/external_ids").await;
    check("/batches", json!({}), 422, "").await;
    check("/batches", json!({ "customers": ["1"], "external_ids": ["x"] }), 422, "").await;
    check("/batches", json!({ "customers": ["1", "one"] }), 422, "/customers/1").await;
    check("/batches?wait=soon", json!({ "customers": ["1"] }), 400, "/wait").await;
}

#[tokio::test(start_paused = true)]
async fn a_request_is_abandoned_unless_somebody_works_or_it_is_over() {
    let (router, broker, store) = scene().await;
    let open = location(&prefer(&router, "/customers/101?fresh=true", "respond-async").await);
    let abandon = async |request: &str| ask(&router, request_to(&format!("{request}/abandon"))).await;

    let abandoned = abandon(&open).await;
    let again = abandon(&open).await;
    let _worker = scene::worker(&broker, &store);
    let answered = get(&router, "/customers/102?fresh=true").await;
    assert_eq!(answered.status, StatusCode::OK);
    let over = abandon("/requests/2").await;

    assert_eq!((abandoned.status, again.status), (StatusCode::OK, StatusCode::OK));
    assert_eq!(abandoned.json()["state"], "abandoned");
    assert_eq!(get(&router, &open).await.json()["results"], Value::Null);
    assert_eq!((over.status, &over.json()["detail"]), (StatusCode::CONFLICT, &json!("it is answered")));
    assert_eq!(abandon("/requests/4711").await.status, StatusCode::NOT_FOUND);
}

fn request_to(path: &str) -> Request<Body> {
    request(Method::POST, path)
}
