//! Losses that follow each other: how long to pause after one, and whether it is news.
//!
//! **Failure by failure.**
//!
//! - *Each try to mend it fails in the same way*: that is told once, and the pauses grow.
//! - *It works for [`PROVEN_AFTER`] and is lost in the same way*: that is another loss. It is told, and the next pause is
//!   the shortest.

use std::time::Duration;

use resilience::Delays;

use super::PROVEN_AFTER;
use crate::Error;

#[derive(Debug)]
pub(super) struct Losses {
    pub(super) delays: Delays,
    told: Option<Error>,
}

impl Losses {
    pub(super) fn new() -> Self {
        Self { delays: Delays::reconnect(), told: None }
    }

    /// It worked for so long.
    pub(super) fn lasted(&mut self, so_long: Duration) {
        if so_long >= PROVEN_AFTER {
            self.delays.reset();
            self.told = None;
        }
    }

    /// Whether the last loss was the same; this one counts as told from now on.
    pub(super) fn is_known(&mut self, error: &Error) -> bool {
        self.told.replace(error.clone()).as_ref() == Some(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_loss_is_told_once_until_something_has_lasted() {
        let mut losses = Losses::new();
        let lost = Error::Unavailable { what: "consume".into(), reason: "the connection ended".into() };
        let refused = Error::Refused { what: "consume".into(), reason: "login refused".into() };

        assert!(!losses.is_known(&lost));
        losses.lasted(PROVEN_AFTER / 2);
        assert!(losses.is_known(&lost));
        assert!(!losses.is_known(&refused));
        assert!(!losses.is_known(&lost));
        losses.lasted(PROVEN_AFTER);
        assert!(!losses.is_known(&lost), "it worked, and was lost again");
    }
}
