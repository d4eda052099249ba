use super::*;

/// Every answer that is no success says what it is, in one form, with the request's name.
pub(crate) fn check_problem(answered: &Answered, status: u16, code: &str) {
    assert_eq!(answered.status, status, "{}", String::from_utf8_lossy(&answered.body));
    assert_eq!(answered.header("content-type"), "application/problem+json");
    let problem = answered.json();
    assert_eq!(problem["code"], code, "{problem}");
    assert_eq!(problem["type"], format!("/api/ltv/problems/{code}"));
    assert_eq!(problem["status"], status);
    assert_eq!(problem["request_id"], answered.header("x-request-id"));
    if status == 503 {
        let seconds: u32 = answered.header("retry-after").parse().unwrap();
        assert!((1..=3).contains(&seconds));
    }
}

#[tokio::test]
async fn what_the_router_refuses_is_a_problem() {
    let router = api(nobody(), Vec::new()).router();

    check_problem(&get(&router, "/nowhere").await, 404, "no-such-path");
    check_problem(&get(&router, "/customers/").await, 404, "no-such-path");
    let deleted = ask(&router, request(Method::DELETE, "/customers/7")).await;
    check_problem(&deleted, 405, "method-not-allowed");
    assert_eq!(deleted.header("allow"), "GET,HEAD");
    let outside = Request::builder().uri("/").body(Body::empty()).unwrap();
    check_problem(&ask(&router, outside).await, 404, "no-such-path");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_a_pointer() {
    let router = api(nobody(), Vec::new()).router();
    let check = async |path: &str, place: &str, pointer: &str| {
        let answered = get(&router, path).await;
        check_problem(&answered, 400, "malformed");
        let errors = &answered.json()["errors"][0];
        assert_eq!(
            (errors["in"].as_str(), errors["pointer"].as_str()),
            (Some(place), Some(pointer)),
            "{path}"
        );
    };

    check("/customers/four", "path", "/customer_id").await;
    check("/customers/9223372036854775808", "path", "/customer_id").await;
    check("/customers/+7", "path", "/customer_id").await;
    check("/customers/by-external-id/a%00b", "path", "").await;
    check("/customers/by-external-id/%ff", "path", "").await;
    check("/customers/7?view=all", "query", "/view").await;
    check("/customers/7?views=full", "query", "/views").await;
    check("/customers/7?view=full&view=full", "query", "/view").await;
    check("/health?x=1", "query", "/x").await;
    let long = format!("/customers/by-external-id/{}", "x".repeat(3_000));
    check_problem(&get(&router, &long).await, 414, "uri-too-long");
}

#[tokio::test]
async fn what_is_not_there_is_a_problem() {
    let router = api(nobody(), Vec::new()).router();

    check_problem(&get(&router, "/customers/7").await, 404, "not-found");
    check_problem(&get(&router, "/customers/by-external-id/a%2Fb").await, 404, "not-found");
    check_problem(&get(&router, "/problems/none").await, 404, "not-found");
    check_problem(&get(&router, "/movements").await, 404, "not-found");
    check_problem(&get(&router, "/movements?run=7").await, 404, "not-found");
    check_problem(&get(&router, "/movements?run=seven").await, 400, "malformed");
}

#[tokio::test]
async fn every_type_of_problem_has_a_page() {
    let router = api(nobody(), Vec::new()).router();

    for kind in crate::problem::KINDS {
        let page = get(&router, &format!("/problems/{}", kind.slug)).await;

        assert_eq!(page.status, 200);
        assert!(String::from_utf8(page.body).unwrap().starts_with(kind.title));
    }
}

#[tokio::test]
async fn a_server_that_is_away_makes_it_unready_and_is_named() {
    let away = Check::required("postgres", || std::future::ready(Err("refused".to_owned())));
    let router = api(nobody(), vec![away]).router();

    let health = get(&router, "/health").await;

    check_problem(&health, 503, "not-ready");
    assert_eq!(health.json()["dependencies"][0]["reason"], "refused");
    assert_eq!(get(&super::api(nobody(), Vec::new()).router(), "/health").await.status, 200);
}

#[tokio::test]
async fn a_request_keeps_the_name_that_it_came_with() {
    let router = api(nobody(), Vec::new()).router();
    let mut asked = request(Method::GET, "/nowhere");
    asked.headers_mut().insert("x-request-id", "mine-1".parse().unwrap());

    let answered = ask(&router, asked).await;

    assert_eq!(answered.header("x-request-id"), "mine-1");
    assert_eq!(answered.json()["request_id"], "mine-1");
}

#[tokio::test]
async fn what_finds_no_place_is_shed_and_health_is_not() {
    let api = api(nobody(), Vec::new());
    let router = api.clone().router();
    let class = crate::shed::Class::Read;
    let places: Vec<_> = (0..class.places()).map(|_| api.gates.admit(class).unwrap()).collect();

    check_problem(&get(&router, "/customers/7").await, 503, "overloaded");
    assert_eq!(get(&router, "/health").await.status, 200);

    drop(places);
    check_problem(&get(&router, "/customers/7").await, 404, "not-found");
}
