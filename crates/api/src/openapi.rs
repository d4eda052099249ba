//! The document of the api: OpenAPI 3.1, written from the code.
//!
//! What the handlers say of themselves is completed here by what holds for all of them: which refusals there are. And
//! it is kept to: a query key that it does not name is refused.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::Method;
use bytes::Bytes;
use serde_json::{Value, json};
use utoipa::OpenApi;

use crate::problem::{Body9457, Fault, KINDS, Place, Problem};
use crate::rest;
use crate::seams::Seams;
use crate::urls::BELOW;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "ltv-fleet",
        description = "What customers are worth, the runs that said so, and what people decide about them.\n\n\
            Numbers of customers, runs, requests and model versions are strings of digits. Money is in integer minor \
            units of the currency beside it. Moments are RFC 3339 in UTC. What is not known is `null`.\n\n\
            Every answer that is no success is a problem (RFC 9457), but for what is refused before there is a request: \
            a head that cannot be read (400) or is too large (431). A name that is sent as `X-Request-Id` comes back.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    components(schemas(Body9457<'_>, Fault, Place)),
    tags(
        (name = "customers", description = "What is known of customers"),
        (name = "requests", description = "Urgent questions, and what became of them"),
        (name = "runs", description = "Executions over a set of customers"),
        (name = "segments", description = "What runs come to by segment"),
        (name = "models", description = "Model versions, and which one runs pin"),
        (name = "movements", description = "What moved since the run before, and why"),
        (name = "dead-letters", description = "What could not be done"),
        (name = "operations", description = "The api itself"),
    )
)]
struct Base;

/// The document, and what of it every request is held to.
pub(crate) struct Document {
    bytes: Bytes,
    etag: String,
    queries: BTreeMap<(String, String), BTreeSet<String>>,
}

/// The document without what only its backends differ in, which is nothing.
pub fn document() -> Value {
    complete(rest::documented())
}

/// Writes the document of an api over these seams.
pub(crate) fn written<S: Seams>() -> Document {
    let (_, document) = rest::routes::<S>().split_for_parts();
    Document::new(&complete(document))
}

/// What the operations of `rest` are added to.
pub(crate) fn base() -> utoipa::openapi::OpenApi {
    let mut base = Base::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut base.info.version);
    base
}

/// Adds what holds for all operations.
fn complete(document: utoipa::openapi::OpenApi) -> Value {
    let mut document = serde_json::to_value(document).expect("a document is always JSON");
    document["components"]["responses"] = problems();
    let paths = document["paths"].as_object_mut().expect("a document has paths");
    for (path, item) in paths {
        for (method, operation) in item.as_object_mut().expect("a path has operations") {
            operation["operationId"] = json!(operation_id(method, path));
            let responses = &mut operation["responses"];
            for status in refusals(method, path) {
                let reference = json!({ "$ref": format!("#/components/responses/Problem{status}") });
                responses.as_object_mut().expect("there are some").entry(status).or_insert(reference);
            }
        }
    }
    link(&mut document);
    document
}

/// An operation's name, which no other has: a handler's is its own within its file alone.
fn operation_id(method: &str, path: &str) -> String {
    let words = path.trim_start_matches(BELOW).replace(['{', '}'], "").replace(['/', '-', '.'], "_");
    format!("{method}{words}")
}

/// What an answer says that another operation needs, so that a program finds its way from one to the other: from a `get`,
/// the place in its answer, to which method and path, as which parameter.
const LINKS: [(&str, &str, &str, &str, &str); 9] = [
    ("/models", "/0/version", "get", "/models/{version}", "version"),
    ("/models", "/0/version", "post", "/models/{version}/promote", "version"),
    ("/segments", "/segments/0/segment", "get", "/segments/{name}", "name"),
    ("/segments", "/segments/0/segment", "get", "/segments/{name}/history", "name"),
    ("/dead-letters", "/chunks/0/run", "post", "/dead-letters/{run}/redrive", "run"),
    ("/runs", "/runs/0/run", "get", "/runs/{run}", "run"),
    ("/runs", "/runs/0/run", "get", "/runs/{run}/values", "run"),
    ("/runs", "/runs/0/run", "get", "/runs/{run}/events", "run"),
    ("/runs", "/runs/0/run", "post", "/runs/{run}/cancel", "run"),
];

fn link(document: &mut Value) {
    for (from, place, method, to, parameter) in LINKS {
        let name = document["paths"][format!("{BELOW}{to}")][method]["operationId"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        let parameters = json!({ parameter: format!("$response.body#{place}") });
        let answer = &mut document["paths"][format!("{BELOW}{from}")]["get"]["responses"]["200"];
        answer["links"][&name] = json!({ "operationId": name, "parameters": parameters });
    }
}

/// With which statuses an operation may be refused.
fn refusals(method: &str, path: &str) -> Vec<&'static str> {
    let mut statuses = vec!["400", "404", "405", "406", "414", "500", "503"];
    if method != "get" {
        statuses.extend(["408", "409", "412", "413", "415", "422"]);
    }
    // A run that is not finished is no bad request, and its values are not shown.
    if path.ends_with("/values") {
        statuses.push("409");
    }
    if path.ends_with("/metrics") || path.ends_with("/openapi.json") {
        statuses.retain(|status| !["404", "406"].contains(status));
    }
    statuses
}

/// A response for each status that there is a problem with.
fn problems() -> Value {
    let mut slugs: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for kind in KINDS {
        slugs.entry(kind.status).or_default().push(kind.slug);
    }
    let response = |(status, slugs): (u16, Vec<&str>)| {
        let schema = json!({ "$ref": "#/components/schemas/Problem" });
        let mut response = json!({
            "description": format!("Refused: {}", slugs.join(", ")),
            "content": { "application/problem+json": { "schema": schema } },
        });
        if status == 503 {
            let seconds = json!({ "type": "integer", "minimum": 1 });
            response["headers"] =
                json!({ "Retry-After": { "description": "In seconds", "schema": seconds } });
        }
        if status == 405 {
            let methods = json!({ "type": "string" });
            response["headers"] =
                json!({ "Allow": { "description": "What the path has", "schema": methods } });
        }
        (format!("Problem{status}"), response)
    };
    slugs.into_iter().map(response).collect::<serde_json::Map<_, _>>().into()
}

impl Document {
    fn new(document: &Value) -> Self {
        let bytes = Bytes::from(document.to_string());
        let etag = format!("{:x}", crc32fast::hash(&bytes));
        Self { bytes, etag, queries: queries(document) }
    }

    /// Its bytes, and what tells them from those of another version.
    pub(crate) fn parts(&self) -> (Bytes, &str) {
        (self.bytes.clone(), &self.etag)
    }

    /// Refuses a query key that the operation does not name, or that stands twice.
    pub(crate) fn check_query(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> Result<(), Problem> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        let operation = (path.to_owned(), method.as_str().to_ascii_lowercase());
        let Some(named) = self.queries.get(&operation) else { return Ok(()) };
        let mut seen = BTreeSet::new();
        let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let faults: Vec<_> = pairs
            .filter_map(|(key, _)| {
                let detail = match (named.contains(&*key), seen.insert(key.to_string())) {
                    (false, _) => "the document names no such key",
                    (true, false) => "it stands twice",
                    (true, true) => return None,
                };
                Some(Fault::new(Place::Query, format!("/{key}"), detail))
            })
            .collect();
        if faults.is_empty() { Ok(()) } else { Err(Problem::Malformed(faults)) }
    }
}

/// The query keys of each operation.
fn queries(document: &Value) -> BTreeMap<(String, String), BTreeSet<String>> {
    let mut queries = BTreeMap::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten() {
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let named = parameters.filter(|parameter| parameter["in"] == "query");
            let named = named.filter_map(|parameter| parameter["name"].as_str().map(str::to_owned)).collect();
            queries.insert((path.clone(), method.clone()), named);
        }
    }
    queries
}
