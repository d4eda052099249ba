//! What a request says, as types: what cannot be one is refused, with a pointer to it.

use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::time::Duration;

use axum::body::{Body as HttpBody, to_bytes};
use axum::extract::path::ErrorKind;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, FromRequestParts, MatchedPath, Path as AxumPath};
use axum::http::Request;
use axum::http::header::CONTENT_TYPE;
use axum::http::request::Parts;
use serde::de::{DeserializeOwned, Error as _, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::time::timeout;

use crate::problem::{Fault, Place, Problem};

/// How large a body may be. Ten thousand numbers are a fifth of it.
pub(crate) const MOST_BODY_BYTES: usize = 1024 * 1024;

/// How long a body may take, from the head on.
pub(crate) const BODY_LIMIT: Duration = Duration::from_secs(10);

/// What stands in the path.
pub struct Path<T>(pub T);

/// What stands in the query. That it names nothing else is seen to before (`openapi.rs`).
pub struct Query<T>(pub T);

/// What stands in the body, as JSON. Have it `deny_unknown_fields`.
pub struct Body<T>(pub T);

/// A number of the store's, as digits: a browser's own numbers end at 2^53. In the document it is `documents::Digits`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id<T>(pub T);

/// A text of at most so many characters.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Text<const MOST: usize>(pub String);

impl<const MOST: usize> TryFrom<String> for Text<MOST> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.chars().nth(MOST).is_some() {
            return Err(format!("longer than {MOST} characters"));
        }
        Ok(Self(text))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match AxumPath::from_request_parts(parts, state).await {
            Ok(AxumPath(value)) => Ok(Self(value)),
            Err(rejection) => Err(refused_path(&rejection, parts.extensions.get::<MatchedPath>())),
        }
    }
}

fn refused_path(rejection: &PathRejection, path: Option<&MatchedPath>) -> Problem {
    let only = path.map(MatchedPath::as_str).and_then(|path| path.split_once('{')?.1.split_once('}'));
    let only = only.map_or("", |(name, _)| name).to_owned();
    let (key, detail) = match rejection {
        PathRejection::FailedToDeserializePathParams(error) => match error.kind() {
            ErrorKind::ParseErrorAtKey { key, expected_type, .. } => {
                (key.clone(), format!("not a {expected_type}"))
            }
            ErrorKind::DeserializeError { key, message, .. } => (key.clone(), message.clone()),
            ErrorKind::InvalidUtf8InPathParam { key } => (key.clone(), "not UTF-8".to_owned()),
            ErrorKind::Message(message) => (only, message.clone()),
            _ => (only, "not what the document says it is".to_owned()),
        },
        _ => return Problem::Internal("a handler takes what its path does not name".into()),
    };
    Problem::Malformed(vec![Fault::new(Place::Path, format!("/{key}"), detail)])
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        let pairs = serde_urlencoded::Deserializer::new(form_urlencoded::parse(query.as_bytes()));
        serde_path_to_error::deserialize(pairs).map(Self).map_err(|error| {
            let fault = Fault::new(Place::Query, pointer(error.path()), error.inner().to_string());
            Problem::Malformed(vec![fault])
        })
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request<HttpBody>, _: &S) -> Result<Self, Problem> {
        let is_json =
            request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).is_some_and(is_json);
        if !is_json {
            return Err(Problem::UnsupportedMediaType);
        }
        let read = timeout(BODY_LIMIT, to_bytes(request.into_body(), MOST_BODY_BYTES)).await;
        let bytes = read.map_err(|_| Problem::BodyTooSlow)?.map_err(|error| unread(&error))?;
        parsed(&bytes).map(Self)
    }
}

fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json"
}

/// A body is cut off where it is too large, or where its client has left.
fn unread(error: &axum::Error) -> Problem {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return Problem::TooLarge;
        }
        cause = error.source();
    }
    Problem::Malformed(vec![Fault::new(Place::Body, "", "the body ends too early")])
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    // PostgreSQL has no text with a NUL in it. In JSON it can only stand as an escape.
    if bytes.windows(6).any(|six| six == br"\u0000")
        && let Ok(value) = serde_json::from_slice::<Value>(bytes)
        && let Some(pointer) = nul(&value, String::new())
    {
        return Err(Problem::invalid(Place::Body, pointer, "a NUL is no text"));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let detail = error.inner().to_string();
        let fault = Fault::new(Place::Body, pointer(error.path()), detail);
        if error.inner().is_data() { Problem::Invalid(vec![fault]) } else { Problem::Malformed(vec![fault]) }
    })?;
    json.end().map_err(|error| Problem::Malformed(vec![Fault::new(Place::Body, "", error.to_string())]))?;
    Ok(value)
}

/// Where a text with a NUL stands.
fn nul(value: &Value, pointer: String) -> Option<String> {
    match value {
        Value::String(text) => text.contains('\0').then_some(pointer),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(place, item)| nul(item, format!("{pointer}/{place}")))
        }
        Value::Object(fields) => fields.iter().find_map(|(name, field)| {
            if name.contains('\0') {
                Some(pointer.clone())
            } else {
                nul(field, format!("{pointer}/{}", escaped(name)))
            }
        }),
        _ => None,
    }
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;

    path.iter().fold(String::new(), |pointer, segment| match segment {
        Segment::Seq { index } => format!("{pointer}/{index}"),
        Segment::Map { key } => format!("{pointer}/{}", escaped(key)),
        Segment::Enum { variant } => format!("{pointer}/{}", escaped(variant)),
        Segment::Unknown => pointer,
    })
}

fn escaped(name: &str) -> String {
    name.replace('~', "~0").replace('/', "~1")
}

impl<'de, T: FromStr> Deserialize<'de> for Id<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Digits<T>(PhantomData<T>);

        impl<T: FromStr> Visitor<'_> for Digits<T> {
            type Value = Id<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number as a string of digits")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Id<T>, E> {
                let digits = text.strip_prefix('-').unwrap_or(text);
                let is_plain = !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit());
                let is_plain = is_plain
                    && (digits == text || digits != "0")
                    && (digits == "0" || !digits.starts_with('0'));
                if !is_plain {
                    return Err(E::custom("not a number in digits"));
                }
                text.parse().map(Id).map_err(|_| E::custom("beyond 64 bits"))
            }
        }

        deserializer.deserialize_str(Digits(PhantomData)).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use batch::CustomerId;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Asked {
        customers: Vec<Id<CustomerId>>,
        note: Option<String>,
    }

    #[test]
    fn what_cannot_be_taken_is_refused_with_a_pointer() {
        let check = |body: &str, status: u16, pointer: &str| {
            let problem = parsed::<Asked>(body.as_bytes()).unwrap_err();
            assert_eq!(problem.kind().status, status, "{body} {problem:?}");
            let (Problem::Malformed(faults) | Problem::Invalid(faults)) = problem else { panic!("{body}") };
            assert_eq!(faults[0].pointer, pointer, "{body} {faults:?}");
        };

        assert!(parsed::<Asked>(br#"{"customers":["1","-7"],"note":"x"}"#).is_ok());
        check("{", 400, "");
        check(r#"{"customers":[]} x"#, 400, "");
        check(r#"{"customers":["1","x"]}"#, 422, "/customers/1");
        check(r#"{"customers":[7]}"#, 422, "/customers/0");
        check(r#"{"customers":["9223372036854775808"]}"#, 422, "/customers/0");
        check(r#"{"customers":["007"]}"#, 422, "/customers/0");
        check(r#"{"customers":["-0"]}"#, 422, "/customers/0");
        check(r#"{"customers":[],"more":1}"#, 422, "/more");
        check(r#"{"customers":[],"note":"a\u0000"}"#, 422, "/note");
        check("{}", 422, "");
    }

    #[test]
    fn only_json_is_taken_for_json() {
        assert!(is_json("application/json"));
        assert!(is_json("Application/JSON; charset=utf-8"));
        assert!(!is_json("text/json"));
        assert!(!is_json("application/jsonx"));
    }
}
