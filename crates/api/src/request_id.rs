//! What tells one request from all others, in the answer and in the logs.

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The header that it comes in and goes out in.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// A request's name: the client's own, if it is one, or a number drawn at random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(String);

impl RequestId {
    /// Takes it from a request.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let given = headers.get(&HEADER).and_then(|value| value.to_str().ok());
        match given {
            Some(given) if is_name(given) => Self(given.to_owned()),
            _ => Self(format!("{:032x}", rand::random::<u128>())),
        }
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).expect("a name has letters, digits, and three signs")
    }
}

fn is_name(text: &str) -> bool {
    let is_sign = |c: u8| c.is_ascii_alphanumeric() || matches!(c, b'.' | b'_' | b'-');
    (1..=128).contains(&text.len()) && text.bytes().all(is_sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_taken_and_anything_else_replaced() {
        let check = |given: &str, is_taken: bool| {
            let headers = HeaderMap::from_iter([(HEADER, given.parse().unwrap())]);
            let id = RequestId::of(&headers);
            assert_eq!(id.as_str() == given, is_taken, "{given:?}");
            assert!(is_name(id.as_str()), "{id:?}");
        };

        check("a.B-9_c", true);
        check("", false);
        check("a b", false);
        check("a\"b", false);
        check(&"x".repeat(128), true);
        check(&"x".repeat(129), false);
    }
}
