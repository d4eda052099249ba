//! What can go wrong, for whoever asked: RFC 9457, from one enum.
//!
//! A problem's `type` is a path of this api, which answers with a paragraph about it. What is said never holds SQL, a
//! host's name or a type's: that is for the log, under the request's id. What the HTTP library refuses before there is a
//! request (a head that cannot be read: 400, one that is too large: 431) has no body.

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;
use utoipa::ToSchema;

use crate::request_id::RequestId;

/// Why a request is not answered with what it asked for.
#[derive(Clone, Debug, PartialEq)]
pub enum Problem {
    /// It cannot be understood.
    Malformed(Vec<Fault>),
    /// There is no such path.
    NoSuchPath,
    /// What it names is not there.
    NotFound(Cow<'static, str>),
    /// The path has no such method.
    MethodNotAllowed,
    /// It can be answered in none of the forms that are asked for.
    NotAcceptable(Cow<'static, str>),
    /// Its body did not arrive in time.
    BodyTooSlow,
    /// It can be understood, and does not fit what is there.
    Conflict(Cow<'static, str>),
    /// One with the same key is at work.
    KeyInUse,
    /// What it was to change has changed.
    Changed,
    /// Its body is too large.
    TooLarge,
    /// Its path or query is too long.
    UriTooLong,
    /// Its body is not what is taken.
    UnsupportedMediaType,
    /// It can be understood, and asks for what makes no sense.
    Invalid(Vec<Fault>),
    /// Something else was asked under its key.
    KeyReused,
    /// It is our fault. The text is for the log alone.
    Internal(String),
    /// All places for its class of work are taken.
    Overloaded(&'static str),
    /// There is no model version yet.
    NoModel,
    /// Workers failed at it as often as they may; which request it was.
    NotValued(String),
    /// The process is about to end.
    Draining,
    /// The store is not there. The text is for the log alone.
    StoreUnavailable(String),
    /// The broker is not there, or takes no more. The text is for the log alone.
    BrokerUnavailable(String),
    /// Somebody holds what it would change. The text is for the log alone.
    Blocked(String),
    /// It took too long.
    TooSlow,
    /// The process cannot do its work.
    NotReady(serde_json::Value),
}

/// Where something that is refused stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Place {
    /// In the path.
    Path,
    /// In the query.
    Query,
    /// In a header.
    Header,
    /// In the body.
    Body,
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Fault {
    /// Where it stands.
    pub r#in: Place,
    /// A JSON pointer into the body, or a slash and the parameter's name; empty for the whole.
    pub pointer: String,
    /// What is wrong.
    pub detail: String,
}

impl Fault {
    /// Names what is wrong, and where.
    pub fn new(place: Place, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { r#in: place, pointer: pointer.into(), detail: detail.into() }
    }
}

/// What is the same for all problems of a type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) status: u16,
    /// Its name in `type` and `code`.
    pub(crate) slug: &'static str,
    pub(crate) title: &'static str,
    /// The paragraph that its page answers with.
    pub(crate) about: &'static str,
}

macro_rules! kinds {
    ($($name:ident: $status:literal $slug:literal $title:literal $about:literal)+) => {
        $(const $name: Kind = Kind { status: $status, slug: $slug, title: $title, about: $about };)+
        /// All there are.
        pub(crate) const KINDS: &[Kind] = &[$($name),+];
    };
}

kinds! {
    MALFORMED: 400 "malformed" "The request cannot be understood"
        "A part of the path, the query, a header or the body is not what the document says it is; `errors` names each, with a pointer. The same request will be refused again."
    NO_SUCH_PATH: 404 "no-such-path" "There is no such path"
        "The api has no such path. /api/ltv/openapi.json lists those that it has."
    NOT_FOUND: 404 "not-found" "It is not there"
        "The path is right, and what it names is not there; `detail` says what."
    METHOD_NOT_ALLOWED: 405 "method-not-allowed" "The path has no such method"
        "The header Allow lists the methods that the path has."
    NOT_ACCEPTABLE: 406 "not-acceptable" "It cannot be answered in that form"
        "The header Accept names none of the forms that the resource has; `detail` lists them."
    BODY_TOO_SLOW: 408 "body-too-slow" "The body did not arrive in time"
        "The whole body has to arrive within ten seconds of the head. Nothing was done."
    CONFLICT: 409 "conflict" "It does not fit what is there"
        "What was asked can be understood, and the state of what it is about does not allow it; `detail` says why."
    KEY_IN_USE: 409 "key-in-use" "A request with this key is at work"
        "A request with the same Idempotency-Key has not ended yet. Ask again after Retry-After: the answer will be that of the first."
    CHANGED: 412 "changed" "It has changed meanwhile"
        "What the request was to change is not in the state any more that the request says it knows."
    TOO_LARGE: 413 "too-large" "The body is too large"
        "A body has at most 1 MiB. Ask for less at a time."
    URI_TOO_LONG: 414 "uri-too-long" "The path or its query is too long"
        "Path and query have at most 2 KiB together."
    UNSUPPORTED_MEDIA_TYPE: 415 "unsupported-media-type" "The body is not JSON"
        "A body is sent with Content-Type: application/json."
    INVALID: 422 "invalid" "The request makes no sense"
        "The request can be understood, and asks for what cannot be; `errors` names each fault, with a pointer. The same request will be refused again."
    KEY_REUSED: 422 "key-reused" "Something else was asked under this key"
        "An Idempotency-Key stands for one request. This one was used for another path, another method or another body."
    INTERNAL: 500 "internal" "The fault is ours"
        "Something went wrong that should not. The log of the api has it under `request_id`."
    OVERLOADED: 503 "overloaded" "There is more to do than can be done"
        "All places for this class of work are taken. Nothing was done. Ask again after Retry-After."
    NOT_VALUED: 500 "not-valued" "It could not be valued"
        "Whoever worked on the request failed at it, or did not come back, as often as may be; `detail` names it. The log has it under its number. Asking anew begins anew."
    NO_MODEL: 503 "no-model" "There is nothing to value with"
        "There is no model version yet. `ltv fit` makes one."
    DRAINING: 503 "draining" "The process is about to end"
        "This api was asked to stop, and takes nothing new. Another one answers."
    STORE_UNAVAILABLE: 503 "store-unavailable" "The database is not there"
        "What was asked cannot be said without the database, which cannot be reached or did not answer in time. What was to be changed may have been changed: ask again with the same Idempotency-Key."
    BROKER_UNAVAILABLE: 503 "broker-unavailable" "The broker is not there"
        "What was asked cannot be done without the broker, which cannot be reached or takes no more. What was recorded stays recorded."
    BLOCKED: 503 "blocked" "Somebody holds what it would change"
        "Somebody reads or changes the same thing in the database and did not make way within a moment. Nothing was done."
    TOO_SLOW: 503 "too-slow" "It took too long"
        "The answer was not there within the limit. What was begun may be done all the same."
    NOT_READY: 503 "not-ready" "The process cannot do its work"
        "A server that the api cannot do without does not answer; `dependencies` says which, and why."
}

impl Problem {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Malformed(_) => MALFORMED,
            Self::NoSuchPath => NO_SUCH_PATH,
            Self::NotFound(_) => NOT_FOUND,
            Self::MethodNotAllowed => METHOD_NOT_ALLOWED,
            Self::NotAcceptable(_) => NOT_ACCEPTABLE,
            Self::BodyTooSlow => BODY_TOO_SLOW,
            Self::Conflict(_) => CONFLICT,
            Self::KeyInUse => KEY_IN_USE,
            Self::Changed => CHANGED,
            Self::TooLarge => TOO_LARGE,
            Self::UriTooLong => URI_TOO_LONG,
            Self::UnsupportedMediaType => UNSUPPORTED_MEDIA_TYPE,
            Self::Invalid(_) => INVALID,
            Self::KeyReused => KEY_REUSED,
            Self::Internal(_) => INTERNAL,
            Self::Overloaded(_) => OVERLOADED,
            Self::NoModel => NO_MODEL,
            Self::NotValued(_) => NOT_VALUED,
            Self::Draining => DRAINING,
            Self::StoreUnavailable(_) => STORE_UNAVAILABLE,
            Self::BrokerUnavailable(_) => BROKER_UNAVAILABLE,
            Self::Blocked(_) => BLOCKED,
            Self::TooSlow => TOO_SLOW,
            Self::NotReady(_) => NOT_READY,
        }
    }

    /// Says that something is not there.
    pub fn not_found(what: impl Into<String>) -> Self {
        Self::NotFound(Cow::Owned(what.into()))
    }

    /// Says that something does not fit what is there.
    pub fn conflict(why: impl Into<String>) -> Self {
        Self::Conflict(Cow::Owned(why.into()))
    }

    /// Says that one thing in the request makes no sense.
    pub fn invalid(place: Place, pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid(vec![Fault::new(place, pointer, detail)])
    }

    /// The problem that a bare status stands for, as the HTTP library answers.
    fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            404 => Self::NoSuchPath,
            405 => Self::MethodNotAllowed,
            406 => Self::NotAcceptable("".into()),
            408 => Self::BodyTooSlow,
            413 => Self::TooLarge,
            414 => Self::UriTooLong,
            415 => Self::UnsupportedMediaType,
            400..=499 => Self::Malformed(Vec::new()),
            _ => Self::Internal(format!("an answer with the bare status {status}")),
        }
    }

    /// What is said of the case at hand.
    fn detail(&self) -> Option<&str> {
        let text = match self {
            Self::NotFound(text) | Self::NotAcceptable(text) | Self::Conflict(text) => &**text,
            Self::NotValued(request) => request,
            _ => return None,
        };
        Some(text).filter(|text| !text.is_empty())
    }

    fn faults(&self) -> Option<&[Fault]> {
        match self {
            Self::Malformed(faults) | Self::Invalid(faults) => Some(faults),
            _ => None,
        }
    }

    /// After how many seconds asking again makes sense. Drawn, so that not all come back at once.
    fn retry_after(&self) -> Option<u8> {
        match self {
            Self::KeyInUse => Some(1),
            Self::Draining
            | Self::NoModel
            | Self::Overloaded(_)
            | Self::StoreUnavailable(_)
            | Self::BrokerUnavailable(_)
            | Self::Blocked(_)
            | Self::TooSlow
            | Self::NotReady(_) => Some(rand::random_range(1..=3)),
            _ => None,
        }
    }

    fn log(&self, path: &str) {
        let problem = self.kind().slug;
        match self {
            Self::Internal(error) => tracing::error!(problem, path, %error, "a request failed"),
            Self::StoreUnavailable(error) | Self::BrokerUnavailable(error) | Self::Blocked(error) => {
                tracing::debug!(problem, path, %error, "a request failed");
            }
            _ => {}
        }
    }
}

/// What stands in the body of every answer that is no success: RFC 9457.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(crate) struct Body9457<'a> {
    /// The path of the page about problems of this type.
    #[schema(example = "/api/ltv/problems/not-found")]
    r#type: String,
    /// The same for all problems of a type.
    title: &'a str,
    /// The status of the answer.
    status: u16,
    /// What is said of the case at hand.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
    /// The last part of `type`, for a program.
    #[schema(example = "not-found")]
    code: &'a str,
    /// What the logs know the request by.
    request_id: &'a str,
    /// What is wrong with the request, one by one.
    #[serde(skip_serializing_if = "Option::is_none")]
    errors: Option<&'a [Fault]>,
    /// How each server stands, where the process is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    dependencies: Option<&'a serde_json::Value>,
}

impl IntoResponse for Problem {
    /// The body is written by `written`, which knows the request's id.
    fn into_response(self) -> Response<Body> {
        let status = StatusCode::from_u16(self.kind().status).expect("the table has only statuses");
        let mut response = status.into_response();
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(u16::from(seconds)));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// Gives an answer that is no success the body of its problem, whoever made it.
pub(crate) fn written(response: Response<Body>, id: &RequestId, path: &str) -> Response<Body> {
    let status = response.status();
    if !status.is_client_error() && !status.is_server_error() {
        return response;
    }
    let (mut parts, _) = response.into_parts();
    let problem = parts.extensions.remove::<Arc<Problem>>();
    let problem = problem.unwrap_or_else(|| Arc::new(Problem::of_status(status)));
    let kind = problem.kind();
    problem.log(path);
    let body = Body9457 {
        r#type: format!("/api/ltv/problems/{}", kind.slug),
        title: kind.title,
        status: kind.status,
        detail: problem.detail(),
        code: kind.slug,
        request_id: id.as_str(),
        errors: problem.faults(),
        dependencies: match &*problem {
            Problem::NotReady(dependencies) => Some(dependencies),
            _ => None,
        },
    };
    let body = serde_json::to_vec(&body).expect("texts and numbers are always JSON");
    parts.status = StatusCode::from_u16(kind.status).expect("the table has only statuses");
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Response::from_parts(parts, Body::from(body))
}

impl From<store::Error> for Problem {
    fn from(error: store::Error) -> Self {
        match error {
            store::Error::Unavailable { .. } => Self::StoreUnavailable(error.to_string()),
            store::Error::Blocked { .. } => Self::Blocked(error.to_string()),
            store::Error::Superseded { .. } => Self::KeyInUse,
            store::Error::Broken { .. } | store::Error::Invalid { .. } => Self::Internal(error.to_string()),
        }
    }
}

impl From<queue::Error> for Problem {
    fn from(error: queue::Error) -> Self {
        Self::BrokerUnavailable(error.to_string())
    }
}
