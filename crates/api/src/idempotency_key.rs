//! The key under which a request may be sent again, and is then the same one.
//!
//! Bare, as most send it, or in quotation marks, as the draft for `Idempotency-Key` has it (a string of a structured
//! field): both are the same key.

use axum::http::{HeaderMap, HeaderName};

use crate::problem::{Fault, Place, Problem};

const HEADER: HeaderName = HeaderName::from_static("idempotency-key");

/// How long a key may be.
const LONGEST: usize = 255;

/// Reads the key of a request, if it has one.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut given = headers.get_all(HEADER).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().ok().and_then(unquoted);
    let key = text.filter(|text| is_key(text) && given.next().is_none()).ok_or_else(|| {
        let detail = "a key has 1 to 255 visible characters of ASCII, and stands once";
        Problem::Malformed(vec![Fault::new(Place::Header, "/Idempotency-Key", detail)])
    })?;
    Ok(Some(key.to_owned()))
}

/// Without its quotation marks, if it has both.
fn unquoted(text: &str) -> Option<&str> {
    let text = text.trim();
    match text.strip_prefix('"') {
        Some(rest) => rest.strip_suffix('"').filter(|key| !key.contains(['"', '\\'])),
        None => Some(text),
    }
}

fn is_key(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_bare_or_quoted_and_stands_once() {
        let check = |given: &[&str], expected: Option<Option<&str>>| {
            let headers = given.iter().map(|value| (HEADER, value.parse().unwrap())).collect();
            let key = key(&headers).ok();
            assert_eq!(key.as_ref().map(Option::as_deref), expected, "{given:?}");
        };

        check(&[], Some(None));
        check(&["8e03978e-40d5"], Some(Some("8e03978e-40d5")));
        check(&["\"8e03978e-40d5\""], Some(Some("8e03978e-40d5")));
        check(&[&"x".repeat(255)], Some(Some(&"x".repeat(255))));
        for refused in ["", "\"\"", "\"a", "a b", "\"a\\\"b\"", "é", &"x".repeat(256)] {
            check(&[refused], None);
        }
        check(&["a", "a"], None);
    }
}
