//! What the cache tells the outside: how its calls ended and how long they took. The breaker tells its own state.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_histogram, histogram};

use crate::Error;
use crate::members::Held;

const CALLS: &str = "ltv_cache_calls_total";
const CALL_SECONDS: &str = "ltv_cache_call_seconds";
const LOOKUPS: &str = "ltv_cache_lookups_total";

/// Describes the metrics to the recorder. Called once, after the recorder is installed.
pub fn describe() {
    describe_counter!(CALLS, Unit::Count, "calls to the cache, by how they ended");
    describe_histogram!(CALL_SECONDS, Unit::Seconds, "how long calls to the cache took");
    describe_counter!(LOOKUPS, Unit::Count, "values asked of the cache that answered: hit, miss or damaged");
}

pub(crate) fn call<T>(call: &'static str, result: &Result<T, Error>, took: Duration) {
    let outcome = match result {
        Ok(_) => "ok",
        Err(Error::Unavailable(_)) => "unavailable",
        Err(Error::TimedOut(_)) => "timed_out",
        Err(Error::Malformed(_)) => "malformed",
    };
    counter!(CALLS, "call" => call, "outcome" => outcome).increment(1);
    histogram!(CALL_SECONDS, "call" => call).record(took);
}

pub(crate) fn lookup(found: &Held) {
    let result = match found {
        Held::Value(_) => "hit",
        Held::NoMember | Held::Unknown => "miss",
        Held::Damaged(_) => "damaged",
    };
    counter!(LOOKUPS, "result" => result).increment(1);
}
