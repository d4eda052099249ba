//! What the code of a rejection means to a person.

use model::Rejection;
use store::DEAD_CHUNK;

/// What a rejection's code means.
pub(crate) fn meaning(code: &str) -> String {
    match Rejection::from_code(code) {
        Some(rejection) => rejection.to_string(),
        None if code == DEAD_CHUNK => "its chunk used up its attempts; `ltv dead-letters list`".into(),
        None => code.to_owned(),
    }
}
