use super::ground::{save, with_models};
use super::problems::check_problem;
use super::*;

#[tokio::test(start_paused = true)]
async fn model_versions_are_listed_shown_promoted_and_rolled_back() {
    let store = with_models(2).await;
    let router = api(store, Vec::new()).router();

    let list = get(&router, "/models?limit=1").await.json();
    let promoted =
        post(&router, "/models/1/promote", r#"{"by":"ada","reason":"the first was better"}"#).await;
    let repeated = post(&router, "/models/1/promote", "{}").await.json();
    let shown = get(&router, "/models/1").await.json();
    let back = post(&router, "/models/roll-back", "{}").await.json();

    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!((&list[0]["version"], &list[0]["is_promoted"]), (&"2".into(), &true.into()));
    assert_eq!(promoted.status, 200);
    let promoted = promoted.json();
    assert_eq!((&promoted["model_version"], &promoted["is_new"]), (&"1".into(), &true.into()));
    assert_eq!(repeated["is_new"], false);
    let last = &shown["promotions"][0];
    assert_eq!((&last["promoted_by"], &last["reason"]), (&"ada".into(), &"the first was better".into()));
    assert_eq!(back["model_version"], "2");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_chosen_is_a_problem() {
    let router = api(with_models(1).await, Vec::new()).router();

    check_problem(&get(&router, "/models/7").await, 404, "not-found");
    check_problem(&post(&router, "/models/7/promote", "{}").await, 404, "not-found");
    check_problem(&post(&router, "/models/roll-back", "{}").await, 409, "conflict");
    check_problem(&get(&router, "/models?limit=0").await, 400, "malformed");
    check_problem(&get(&router, "/models?limit=1001").await, 400, "malformed");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_cannot_be_taken_is_a_problem() {
    let router = api(with_models(1).await, Vec::new()).router();
    let check = async |body: &str, status: u16, code: &str, pointer: &str| {
        let answered = post(&router, "/models/1/promote", body).await;
        check_problem(&answered, status, code);
        assert_eq!(answered.json()["errors"][0]["pointer"], pointer, "{body}");
    };

    check(r#"{"by":"#, 400, "malformed", "/by").await;
    check(r#"{"who":"ada"}"#, 422, "invalid", "/who").await;
    check(r#"{"by":7}"#, 422, "invalid", "/by").await;
    check(r#"{"by":"a\u0000b"}"#, 422, "invalid", "/by").await;
    check(&format!(r#"{{"by":"{}"}}"#, "x".repeat(201)), 422, "invalid", "/by").await;
    let large = format!(r#"{{"by":"{}"}}"#, "x".repeat(2 * 1024 * 1024));
    check_problem(&post(&router, "/models/1/promote", &large).await, 413, "too-large");
    let mut text = request(Method::POST, "/models/1/promote");
    text.headers_mut().insert("content-type", "text/plain".parse().unwrap());
    check_problem(&ask(&router, text).await, 415, "unsupported-media-type");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_never_ends_is_a_problem() {
    let router = api(with_models(1).await, Vec::new()).router();
    let began = tokio::time::Instant::now();
    let body = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let mut slow = request(Method::POST, "/models/1/promote");
    slow.headers_mut().insert("content-type", "application/json".parse().unwrap());

    let answered = ask(&router, slow.map(|_| body)).await;

    check_problem(&answered, 408, "body-too-slow");
    assert_eq!(began.elapsed(), crate::extract::BODY_LIMIT);
}

#[tokio::test(start_paused = true)]
async fn a_model_version_that_is_saved_later_is_listed() {
    let store = with_models(1).await;
    let router = api(store.clone(), Vec::new()).router();
    assert_eq!(get(&router, "/models").await.json().as_array().unwrap().len(), 1);

    save(&store).await;

    assert_eq!(get(&router, "/models").await.json().as_array().unwrap().len(), 2);
}
