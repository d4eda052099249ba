//! What cannot be done, and those who look at it.

use std::fmt;

use batch::{AttemptId, RequestId};

use crate::{Error, Malformed, Message as _, TraceContext};

/// Shows the dead letters, and throws them away: for people and their tools.
pub trait DeadLetters {
    /// Looks at up to `limit` dead letters, the oldest first, and leaves them where they are.
    ///
    /// While one caller looks, another may see the rest only.
    fn dead_letters(&self, limit: usize) -> impl Future<Output = Result<Vec<DeadMessage>, Error>> + Send;

    /// Throws the dead letters away; returns how many there were.
    fn discard_dead_letters(&self) -> impl Future<Output = Result<u32, Error>> + Send;
}

/// Is a message among the dead letters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadMessage {
    /// The chunk that it is about, or what is wrong with it: of one from the queue of requests always that.
    pub message: Result<AttemptId, Malformed>,
    /// Why it is here: what [`Delivery::dead_letter`](crate::Delivery::dead_letter) was told, or the broker's own
    /// word.
    pub reason: String,
    /// The queue it came from, where that is known; its name ends with the priority's, or with `requests`.
    pub origin: Option<String>,
    /// The trace it belongs to.
    pub trace: TraceContext,
}

impl fmt::Display for DeadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.message {
            Ok(message) => write!(f, "{}", message.chunk)?,
            Err(malformed) => write!(f, "{malformed}")?,
        }
        write!(f, ": {}", self.reason)
    }
}

/// What a message from the queue of requests is among the dead letters: what is wrong with it, since none that is right is put
/// there.
pub(crate) fn no_chunk(request: Result<RequestId, Malformed>) -> Result<AttemptId, Malformed> {
    let request = request?;
    Err(Malformed { reason: format!("{} is no chunk", request.name()), is_foreign: false })
}

/// The part of a reason that is kept, cut at the end of a character.
pub(crate) fn shortened(reason: &str) -> &str {
    const LONGEST: usize = 1_000;
    &reason[..reason.floor_char_boundary(LONGEST)]
}

/// What others wrote, as a line of a log or of a terminal can show it: so many characters, and none that moves a cursor.
pub(crate) fn legible(text: &str, longest: usize) -> String {
    let harmless = |c: char| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c };
    let shown: String = text.chars().take(longest).map(harmless).collect();
    if text.chars().nth(longest).is_some() { shown + " …" } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_reason_is_cut_between_characters() {
        let reason = "€".repeat(1_000);

        assert_eq!(shortened(&reason).len(), 999);
        assert_eq!(shortened("poison"), "poison");
    }

    #[test]
    fn what_others_wrote_fits_a_line_and_moves_no_cursor() {
        assert_eq!(legible("no sense", 8), "no sense");
        assert_eq!(legible("no sense at all", 8), "no sense …");
        assert_eq!(legible("a\u{1b}[2Jb\nc", 99), "a\u{fffd}[2Jb\u{fffd}c");
    }
}
