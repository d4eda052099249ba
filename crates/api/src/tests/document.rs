use super::*;

#[test]
fn the_document_is_the_one_that_was_looked_at_last() {
    let document = crate::document();

    insta::assert_snapshot!("openapi", format!("{document:#}\n"));
}

#[tokio::test]
async fn the_document_is_served_and_a_client_that_has_it_is_told_so() {
    let router = api(nobody(), Vec::new()).router();

    let served = get(&router, "/openapi.json").await;
    let mut again = request(Method::GET, "/openapi.json");
    again.headers_mut().insert("if-none-match", served.headers["etag"].clone());
    let again = ask(&router, again).await;

    assert_eq!(served.status, 200);
    assert_eq!(served.json()["openapi"], "3.1.0");
    assert_eq!((again.status.as_u16(), again.body.len()), (304, 0));
}
