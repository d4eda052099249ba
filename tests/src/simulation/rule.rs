//! What every night is held to.

use std::fmt;

/// A promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Each customer of a run has exactly one value, to the bit that of an undisturbed valuation, or one rejection.
    OneOutcome,
    /// What is shown of progress is the sum of what is committed, and never goes back.
    Progress,
    /// Attempts are numbered from 1 without a gap, by the store alone.
    Numbering,
    /// A chunk is done once, by its latest attempt, from which it had not been taken.
    Fence,
    /// A chunk is taken only from a worker that died or was silent for a lease.
    Lease,
    /// A chunk is charged for its own fault, and for workers that never came back; it is dead after as many of them as
    /// the policy says, and an attempt ends as what happened to it.
    Charge,
    /// A message is acknowledged after the commit.
    Ack,
    /// Readers see whole finished runs, the newest first, and never an older value behind a newer one.
    Readers,
    /// A run that lies too far from the run before is held, and shown only once a person has released it; no other is.
    Guard,
    /// Nobody takes another installation's message for one of ours.
    Identity,
    /// A worker says that a request is done only once the store has told it so.
    Reply,
    /// A question has one answer: what was committed, for all its customers, to the bit that of an undisturbed valuation
    /// for the moment that was pinned, and the same whenever it is read; what is known of a customer never gets older.
    Answer,
    /// The night comes to its end: everything is settled, nothing waits on a queue, every process ends when it is asked
    /// to and not before.
    End,
    /// Nobody panics.
    NoPanic,
}

/// Something that must not have happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The promise that it broke.
    pub rule: Rule,
    /// What it was.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.what)
    }
}
