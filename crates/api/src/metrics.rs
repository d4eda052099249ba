//! The api's metrics, in one place.

use std::time::Duration;

use axum::http::Method;
use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};

use crate::shed::Class;

const REQUESTS: &str = "ltv_api_requests_total";
const SECONDS: &str = "ltv_api_request_seconds";
const SHED: &str = "ltv_api_shed_total";
const IN_USE: &str = "ltv_api_places_in_use";
const CONNECTIONS: &str = "ltv_api_connections";

/// Tells the recorder what the api's metrics mean.
pub fn describe() {
    describe_counter!(
        REQUESTS,
        Unit::Count,
        "Requests over HTTP, by path of the document, method and status"
    );
    describe_histogram!(SECONDS, Unit::Seconds, "Time from a request's head to its answer's, by path");
    describe_counter!(SHED, Unit::Count, "Requests that found no place, by class of work");
    describe_gauge!(IN_USE, "Places that are taken, by class of work");
    describe_gauge!(CONNECTIONS, "Connections that are open");
}

/// `path` is the document's, so that there are few.
pub(crate) fn answered(path: &str, method: &Method, status: u16, took: Duration) {
    let method = match *method {
        Method::GET | Method::HEAD => "get",
        Method::POST => "post",
        Method::DELETE => "delete",
        Method::PUT => "put",
        Method::PATCH => "patch",
        _ => "other",
    };
    let status = status.to_string();
    counter!(REQUESTS, "path" => path.to_owned(), "method" => method, "status" => status).increment(1);
    histogram!(SECONDS, "path" => path.to_owned()).record(took.as_secs_f64());
}

pub(crate) fn shed(class: Class) {
    counter!(SHED, "class" => class.name()).increment(1);
}

pub(crate) fn in_use(class: Class, places: usize) {
    gauge!(IN_USE, "class" => class.name()).set(places as f64);
}

pub(crate) fn connections(open: usize) {
    gauge!(CONNECTIONS).set(open as f64);
}
