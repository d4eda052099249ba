use super::ground::{answered, with_models};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_customer_is_told_by_number_and_by_external_id_alike() {
    let store = with_models(1).await;
    let request = answered(&store, &[101, 104]).await;
    let router = api(store, Vec::new()).router();

    let by_number = get(&router, "/customers/101").await;
    let by_name = get(&router, "/customers/by-external-id/c-101").await;

    assert_eq!((by_number.status, by_name.status), (StatusCode::OK, StatusCode::OK));
    let known = by_number.json();
    assert_eq!(known, by_name.json());
    assert_eq!((&known["customer"], &known["outcome"]), (&"101".into(), &"valued".into()));
    assert_eq!((&known["run"], &known["request"]), (&Value::Null, &request.to_string().into()));
    assert_eq!((&known["model_version"], &known["currency"]), (&"1".into(), &"USD".into()));
    // What `store::promises::results` has thought of.
    let value = &known["value"];
    assert_eq!((&value["value_minor"], &value["historic_minor"]), (&108.into(), &2_525.into()));
    assert_eq!((&value["value_36_minor"], &value["grade"]), (&312.into(), &"D".into()));
}

#[tokio::test(start_paused = true)]
async fn the_full_view_has_every_field_of_the_short_one_and_the_inputs() {
    let store = with_models(1).await;
    answered(&store, &[101]).await;
    let router = api(store, Vec::new()).router();

    let short = get(&router, "/customers/101").await.json();
    let full = get(&router, "/customers/101?view=full").await.json();

    for (field, value) in short.as_object().unwrap() {
        assert_eq!(&full[field], value, "{field}");
    }
    assert_eq!(full["full"]["future_minor"]["months_36"], 312);
    assert_eq!(full["inputs"]["frequency"], 1);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_an_answer() {
    let store = with_models(1).await;
    answered(&store, &[104]).await;
    let router = api(store, Vec::new()).router();

    let rejected = get(&router, "/customers/104").await;

    assert_eq!(rejected.status, 200);
    let known = rejected.json();
    assert_eq!((&known["outcome"], &known["value"]), (&"rejected".into(), &Value::Null));
    assert!(known["reason"].is_string(), "{known}");
}

#[tokio::test(start_paused = true)]
async fn a_client_is_told_that_nothing_newer_is_known_until_something_is() {
    let store = with_models(1).await;
    answered(&store, &[101]).await;
    let router = api(store.clone(), Vec::new()).router();
    let first = get(&router, "/customers/101").await;
    let again = async |path: &str| {
        let mut request = request(Method::GET, path);
        request.headers_mut().insert("if-none-match", first.headers["etag"].clone());
        ask(&router, request).await
    };

    let held = again("/customers/101").await;
    let other_view = again("/customers/101?view=full").await;
    tokio::time::advance(Duration::from_secs(1)).await;
    answered(&store, &[101]).await;
    let newer = again("/customers/101").await;

    assert_eq!((held.status.as_u16(), held.body.len()), (304, 0));
    assert_eq!(held.headers["etag"], first.headers["etag"]);
    assert_eq!(other_view.status, 200);
    assert_eq!(newer.status, 200);
    assert_ne!(newer.headers["etag"], first.headers["etag"]);
}

#[tokio::test(start_paused = true)]
async fn a_head_is_told_of_without_a_body() {
    let store = with_models(1).await;
    answered(&store, &[101]).await;
    let router = api(store, Vec::new()).router();

    let head = ask(&router, request(Method::HEAD, "/customers/101")).await;

    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert!(!head.header("etag").is_empty());
}
