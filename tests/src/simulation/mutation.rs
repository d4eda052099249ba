//! The protocol, broken on purpose: each of these must be caught by some seed.

use cache::memory::Mutation as Forgetful;
use clap::ValueEnum;
use store::memory::Mutation as Broken;

use super::rule::Rule;

/// One rule of the protocol left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mutation {
    /// Every attempt may commit, not only the latest.
    NoFence,
    /// The message is acknowledged before the commit.
    AckBeforeCommit,
    /// Progress is a counter that is incremented, not a sum over committed rows.
    CountedProgress,
    /// A lease ends by the worker's clock, which is wrong, and not by the store's.
    LeaseByWorkersClock,
    /// An attempt's number is taken from the message, not counted by the store.
    AttemptFromMessage,
    /// What the cache lacks under a run is looked for under an older one.
    AbsentMeansOlder,
    /// A directory in the cache is taken for whole when the last of it arrives, whatever was lost before.
    LateWriteCompletes,
    /// A message is believed whoever sent it.
    AnybodysMessages,
    /// A list of visible runs that says it is newer than the store's is believed.
    AnybodysList,
    /// Every settled run is shown, however far it lies from the run before.
    NoGuard,
    /// Whoever asked is told that a request is done before it is.
    ReplyBeforeCommit,
    /// Of what is known of a customer the oldest is shown, and not the newest.
    OlderValueWins,
}

impl Mutation {
    /// Every mutation.
    pub const ALL: [Self; 12] = [
        Self::NoFence,
        Self::AckBeforeCommit,
        Self::CountedProgress,
        Self::LeaseByWorkersClock,
        Self::AttemptFromMessage,
        Self::AbsentMeansOlder,
        Self::LateWriteCompletes,
        Self::AnybodysMessages,
        Self::AnybodysList,
        Self::NoGuard,
        Self::ReplyBeforeCommit,
        Self::OlderValueWins,
    ];

    /// The promise that a night without it breaks first; one of these.
    pub fn breaks(self) -> &'static [Rule] {
        match self {
            Self::NoFence => &[Rule::Fence],
            Self::AckBeforeCommit => &[Rule::Ack],
            Self::CountedProgress => &[Rule::Progress],
            // A clock that is slow gives leases that are over at once, one that is fast such as outlast the night.
            Self::LeaseByWorkersClock => &[Rule::Lease, Rule::End],
            Self::AttemptFromMessage => &[Rule::Numbering],
            Self::AbsentMeansOlder | Self::LateWriteCompletes | Self::AnybodysList => &[Rule::Readers],
            Self::AnybodysMessages => &[Rule::Identity],
            Self::NoGuard => &[Rule::Guard],
            Self::ReplyBeforeCommit => &[Rule::Reply],
            Self::OlderValueWins => &[Rule::Answer],
        }
    }

    /// What of it the store does, if it is the store that does it.
    pub(super) fn of_store(self) -> Option<Broken> {
        match self {
            Self::NoFence => Some(Broken::WithoutFence),
            Self::CountedProgress => Some(Broken::CountedProgress),
            Self::LeaseByWorkersClock => Some(Broken::WorkersClocks(Box::new(hours_off))),
            Self::AttemptFromMessage => Some(Broken::ClaimedAttempts),
            Self::NoGuard => Some(Broken::WithoutGuard),
            Self::OlderValueWins => Some(Broken::OlderValueWins),
            Self::AckBeforeCommit
            | Self::AnybodysMessages
            | Self::AnybodysList
            | Self::AbsentMeansOlder
            | Self::LateWriteCompletes
            | Self::ReplyBeforeCommit => None,
        }
    }

    /// What of it the cache does, if it is the cache that does it.
    pub(super) fn of_cache(self) -> Option<Forgetful> {
        match self {
            Self::AbsentMeansOlder => Some(Forgetful::AbsentMeansOlder),
            Self::LateWriteCompletes => Some(Forgetful::LateWriteCompletes),
            _ => None,
        }
    }
}

/// By how many microseconds a worker's clock is ahead of the store's: an hour fast, an hour slow, or right.
fn hours_off(worker: &str) -> i64 {
    let digit = worker.bytes().filter(u8::is_ascii_digit).map(i64::from).next().unwrap_or(0);
    (digit % 3 - 1) * 3_600_000_000
}
