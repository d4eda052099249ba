//! How long whoever asks would wait: `Prefer: wait=N`, `Prefer: respond-async` (RFC 7240), or `?wait=30s`.
//!
//! A preference is no demand: one that makes no sense, or is not known here, is as if it were not there, and what was
//! done instead is said (`Preference-Applied`). A query that makes no sense is refused, as any other is. Nobody waits for
//! longer than [`LONGEST_WAIT`]. Where both are said the query wins, which is plainer to see.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};

/// The longest that anybody is let wait.
pub(crate) const LONGEST_WAIT: Duration = Duration::from_secs(30);

const PREFER: HeaderName = HeaderName::from_static("prefer");
const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");

/// What was preferred, and what is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Waits {
    /// How long to wait.
    pub(crate) wait: Duration,
    /// Which of the preferences are honoured.
    pub(crate) applied: Option<String>,
}

impl Waits {
    /// Reads the preferences of a request, and a wait from its query, for something that is waited for so long otherwise.
    pub(crate) fn of(headers: &HeaderMap, query: Option<Duration>, otherwise: Duration) -> Self {
        let asked = Preferred::of(headers);
        if let Some(wait) = query {
            return Self { wait: wait.min(LONGEST_WAIT), applied: None };
        }
        match (asked.wait, asked.is_async) {
            (Some(wait), is_async) => {
                let wait = wait.min(LONGEST_WAIT);
                let also = if is_async { "respond-async, " } else { "" };
                Self { wait, applied: Some(format!("{also}wait={}", wait.as_secs())) }
            }
            (None, true) => Self { wait: Duration::ZERO, applied: Some("respond-async".into()) },
            (None, false) => Self { wait: otherwise, applied: None },
        }
    }

    /// Says in an answer's head what was honoured, and that the answer depends on it.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        headers.append(axum::http::header::VARY, HeaderValue::from_static("Prefer"));
        let applied = self.applied.as_deref().and_then(|applied| HeaderValue::from_str(applied).ok());
        if let Some(applied) = applied {
            headers.insert(PREFERENCE_APPLIED, applied);
        }
    }
}

/// What the heads say.
#[derive(Default)]
struct Preferred {
    wait: Option<Duration>,
    is_async: bool,
}

impl Preferred {
    fn of(headers: &HeaderMap) -> Self {
        let texts = headers.get_all(PREFER).iter().filter_map(|value| value.to_str().ok());
        let mut preferred = Self::default();
        // Of several of one name the first is meant (RFC 7240, 2).
        for preference in texts.flat_map(|text| text.split(',')) {
            // What follows a semicolon are parameters, of which none is known.
            let preference = preference.split(';').next().unwrap_or_default();
            let (name, value) = preference.split_once('=').unwrap_or((preference, ""));
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "wait" if preferred.wait.is_none() => {
                    preferred.wait = value.parse().ok().map(Duration::from_secs);
                }
                "respond-async" => preferred.is_async = true,
                _ => {}
            }
        }
        preferred
    }
}

/// Reads how long something lasts: `30s`, `500ms`, or a number of seconds.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().ok()?;
    match unit {
        "" | "s" => Some(Duration::from_secs(number)),
        "ms" => Some(Duration::from_millis(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHERWISE: Duration = Duration::from_secs(2);

    fn headers(prefer: &[&'static str]) -> HeaderMap {
        prefer.iter().map(|prefer| (PREFER, HeaderValue::from_static(prefer))).collect()
    }

    #[test]
    fn what_is_preferred_is_honoured_within_the_limit_and_said() {
        let check = |prefer: &[&'static str], wait: u64, applied: Option<&str>| {
            let expected = Waits { wait: Duration::from_secs(wait), applied: applied.map(str::to_owned) };
            assert_eq!(Waits::of(&headers(prefer), None, OTHERWISE), expected, "{prefer:?}");
        };

        check(&[], 2, None);
        check(&["wait=10"], 10, Some("wait=10"));
        check(&["WAIT = \"10\" ; foo=bar"], 10, Some("wait=10"));
        check(&["wait=0"], 0, Some("wait=0"));
        check(&["wait=3600"], 30, Some("wait=30"));
        check(&["respond-async"], 0, Some("respond-async"));
        check(&["return=minimal, respond-async", "wait=5, wait=9"], 5, Some("respond-async, wait=5"));
        check(&["wait=soon"], 2, None);
        check(&["wait=-1, handling=lenient"], 2, None);
        check(&["wait=99999999999999999999"], 2, None);
    }

    #[test]
    fn a_query_wins_and_has_the_same_limit() {
        let waits = |query| Waits::of(&headers(&["wait=10"]), Some(query), OTHERWISE);

        let short = Duration::from_millis(100);
        assert_eq!(waits(short), Waits { wait: short, applied: None });
        assert_eq!(waits(LONGEST_WAIT * 2).wait, LONGEST_WAIT);
    }

    #[test]
    fn a_duration_has_a_unit_or_is_in_seconds() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(duration(text), expected.map(Duration::from_millis), "{text:?}");
        };

        check("30s", Some(30_000));
        check("30", Some(30_000));
        check("500ms", Some(500));
        check("2m", Some(120_000));
        check("0", Some(0));
        for text in ["", "s", "-1s", "1 s", "1.5s", "1h", "99999999999999999999", "18446744073709551615m"] {
            check(text, None);
        }
    }
}
