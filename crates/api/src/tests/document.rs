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

#[test]
fn no_two_operations_have_one_name_and_links_lead_to_those_there_are() {
    let document = crate::document();
    let operations = || {
        document["paths"].as_object().unwrap().values().flat_map(|item| item.as_object().unwrap().values())
    };
    let mut names: Vec<&str> =
        operations().map(|operation| operation["operationId"].as_str().unwrap()).collect();
    let number = names.len();
    names.sort_unstable();
    names.dedup();

    assert_eq!(names.len(), number, "{names:?}");
    for operation in operations() {
        for link in
            operation["responses"]["200"]["links"].as_object().into_iter().flat_map(|links| links.values())
        {
            let to = link["operationId"].as_str().unwrap();
            assert!(names.contains(&to), "{to}");
            let from = operation["operationId"].as_str();
            assert!(from.is_some_and(|from| names.contains(&from)), "{operation}");
        }
    }
}
