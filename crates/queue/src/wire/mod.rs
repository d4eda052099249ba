//! The wire formats: what a message looks like, byte by byte.
//!
//! | file | what it tells |
//! |---|---|
//! | `chunk` | a chunk to be worked on |
//! | `request` | a request to be worked, and the reply that says that it is done |
//! | `trace` | the trace context that travels beside a message |
//!
//! Strict, because what is not understood must be seen: an unknown version, a missing, doubled or unknown field,
//! a number outside its range and bytes behind the end are all malformed. A later version gets a number of its
//! own; workers that know it are rolled out before those who send it. A message that another installation sent is
//! understood and refused: it is about another database. So is a chunk's of version 1, which did not say who sent it. A
//! message of another kind (a request, a reply) is another [`Message`], in a file of its own here, and goes to a queue of
//! its own.
//!
//! Where a release also raises the version in the queues' names, it is the other way round: coordinators before the
//! workers, or with them (why: the head of `rabbitmq/topology.rs`). Messages of both versions then lie in different
//! queues, and no older worker gets one that it does not know.

mod chunk;
mod request;
mod trace;

use std::fmt::{self, Write as _};

use batch::InstallationId;

use crate::dead_letters::legible;
pub(crate) use chunk::read as read_of_anybody;
pub(crate) use request::{decode_reply, encode_reply};
pub use trace::TraceContext;

/// Is what a message says: identity, never data.
pub trait Message: Clone + fmt::Debug + Send + Sync + Sized + 'static {
    /// Writes it, from this installation.
    fn encode(&self, from: InstallationId) -> Vec<u8>;

    /// Reads it, for this installation: what another one sent is refused.
    fn decode(body: &[u8], to: InstallationId) -> Result<Self, Malformed>;

    /// Names what it is about in errors, as in "chunk 3 of run 7".
    fn name(&self) -> String;
}

/// Is a message that cannot be understood, or is not for us, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} message: {reason}", if *is_foreign { "foreign" } else { "malformed" })]
pub struct Malformed {
    /// What is wrong, and where in the message.
    pub reason: String,
    /// Whether it makes sense to somebody else: another installation sent it.
    pub is_foreign: bool,
}

impl Malformed {
    fn senseless(reason: String) -> Self {
        Self { reason, is_foreign: false }
    }

    /// Refuses what another installation sent.
    fn foreign(reason: String) -> Self {
        Self { reason, is_foreign: true }
    }
}

fn require(holds: bool, field: &str, value: i64) -> Result<(), Malformed> {
    if holds { Ok(()) } else { Err(Malformed::senseless(format!("{field}: {value} is out of range"))) }
}

/// Keeps the parser's words short: they may quote the message, and nobody knows what is in it.
fn malformed(error: &serde_json::Error) -> Malformed {
    const LONGEST: usize = 160;
    let text = error.to_string();
    let mut reason = legible(&text, LONGEST);
    if text.chars().nth(LONGEST).is_some() {
        // It stood at the end.
        let _ = write!(reason, " at line {} column {}", error.line(), error.column());
    }
    Malformed::senseless(reason)
}
