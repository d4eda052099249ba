//! Documents as answers, and what a client that has one already is told.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;

/// A document that is answered with 200, as JSON.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response<Body> {
        json(StatusCode::OK, &self.0)
    }
}

/// Answers with a document.
pub(crate) fn json(status: StatusCode, document: &impl Serialize) -> Response<Body> {
    let headers = [(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")];
    (status, headers, documents::body(document)).into_response()
}

/// What tells one state of a document from another. Weak: the same state may be written in other bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag(HeaderValue);

impl Tag {
    /// Makes one of letters, digits, dots and hyphens.
    pub(crate) fn new(state: &str) -> Self {
        Self(HeaderValue::from_str(&format!("W/\"{state}\"")).expect("a state is written in plain signs"))
    }

    /// Answers with what `write` gives, or with 304 where the client has that already.
    pub(crate) fn answer<T: Serialize>(
        self,
        headers: &HeaderMap,
        write: impl FnOnce() -> T,
    ) -> Response<Body> {
        let mut response = if self.is_held(headers) {
            StatusCode::NOT_MODIFIED.into_response()
        } else {
            json(StatusCode::OK, &write())
        };
        response.headers_mut().insert(ETAG, self.0);
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        response
    }

    fn is_held(&self, headers: &HeaderMap) -> bool {
        let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
        let own = self.0.to_str().map(opaque).unwrap_or_default();
        let mut given = headers.get_all(IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
        given.any(|value| value.split(',').any(|tag| tag.trim() == "*" || opaque(tag) == own))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_has_the_state_already_gets_no_body() {
        let check = |given: &str, expected: StatusCode| {
            let headers = HeaderMap::from_iter([(IF_NONE_MATCH, given.parse().unwrap())]);
            let response = Tag::new("7.short").answer(&headers, || "document");
            assert_eq!(response.status(), expected, "{given}");
            assert_eq!(response.headers()[ETAG], "W/\"7.short\"");
        };

        check("W/\"7.short\"", StatusCode::NOT_MODIFIED);
        check("\"7.short\"", StatusCode::NOT_MODIFIED);
        check("W/\"6.short\", W/\"7.short\"", StatusCode::NOT_MODIFIED);
        check("*", StatusCode::NOT_MODIFIED);
        check("W/\"7.full\"", StatusCode::OK);
        check("", StatusCode::OK);
    }
}
