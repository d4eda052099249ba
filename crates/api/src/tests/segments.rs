//! Figures of segments: nothing in memory has any.

use super::*;

#[tokio::test]
async fn figures_that_are_not_there_are_told_as_such_and_a_history_may_be_empty() {
    let router = api(nobody(), Vec::new()).router();

    for path in ["/segments", "/segments?run=7", "/segments/venue", "/segments/venue/history"] {
        let answered = get(&router, path).await;
        assert_eq!(
            (answered.status.as_u16(), answered.json()["code"].as_str()),
            (404, Some("not-found")),
            "{path}"
        );
    }
    let history = get(&router, "/history?without_segment=true&limit=3&partial=true").await;
    let expected = serde_json::json!({ "of": "without_segment", "segment": null, "runs": [] });
    assert_eq!((history.status.as_u16(), history.json()), (200, expected));
}

#[tokio::test]
async fn a_history_of_too_many_runs_is_refused() {
    let router = api(nobody(), Vec::new()).router();

    for path in
        ["/history?limit=0", "/history?limit=1001", "/segments/venue/history?limit=x", "/history?run=7"]
    {
        assert_eq!(get(&router, path).await.status, 400, "{path}");
    }
}
