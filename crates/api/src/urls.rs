//! What may stand in a URL, whatever it asks for.

use axum::http::Uri;
use percent_encoding::percent_decode_str;

use crate::problem::{Fault, Place, Problem};

/// What all paths begin with.
pub(crate) const BELOW: &str = "/api/ltv";

/// How long path and query may be.
const MOST_BYTES: usize = 2 * 1024;

/// Refuses what no resource could make sense of: too long, no text, or with a NUL, which PostgreSQL has no text for.
pub(crate) fn check(uri: &Uri) -> Result<(), Problem> {
    let (path, query) = (uri.path(), uri.query().unwrap_or_default());
    if path.len() + query.len() > MOST_BYTES {
        return Err(Problem::UriTooLong);
    }
    check_text(Place::Path, path)?;
    check_text(Place::Query, query)
}

fn check_text(place: Place, encoded: &str) -> Result<(), Problem> {
    let refused = |detail: &str| Problem::Malformed(vec![Fault::new(place, "", detail)]);
    let decoded = percent_decode_str(encoded).decode_utf8().map_err(|_| refused("not UTF-8"))?;
    if decoded.contains('\0') {
        return Err(refused("a NUL is no text"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_refused_wherever_it_stands() {
        let check = |uri: &str, is_taken: bool| {
            assert_eq!(check(&uri.parse().unwrap()).is_ok(), is_taken, "{uri}");
        };

        check("/a/b%20c?d=%C3%A9", true);
        check("/a%00", false);
        check("/a?b=%00", false);
        check("/a?%00=b", false);
        check("/%ff", false);
        check(&format!("/{}", "a".repeat(MOST_BYTES - 1)), true);
        check(&format!("/{}", "a".repeat(MOST_BYTES)), false);
    }
}
