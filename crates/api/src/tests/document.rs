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

/// Else the document is none, and links lead nowhere.
#[test]
fn operations_have_names_of_their_own_and_links_lead_to_some() {
    let document = crate::document();
    let operations = || {
        let paths = document["paths"].as_object().unwrap().values();
        paths.flat_map(|item| item.as_object().unwrap().values())
    };

    let mut names: Vec<&str> =
        operations().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    names.sort_unstable();
    let links = operations().flat_map(|operation| operation["responses"].as_object().unwrap().values());
    let links = links.flat_map(|response| response["links"].as_object().into_iter().flatten());
    let links: Vec<&str> = links.map(|(_, link)| link["operationId"].as_str().unwrap()).collect();

    let twice = names.array_windows().find(|[left, right]| left == right);
    assert_eq!(twice, None);
    assert!(!links.is_empty() && links.iter().all(|link| names.contains(link)), "{links:?}");
}
