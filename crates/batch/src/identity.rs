//! The names of things. Each is its own type, so that a chunk's number is never taken for a run's.

use std::fmt;
use std::num::ParseIntError;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! identity {
    ($(#[$doc:meta])* $name:ident($number:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $number);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIntError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                text.parse().map(Self)
            }
        }
    };
}

identity! {
    /// A run's number, issued by the store; a higher one was planned later.
    RunId(i64)
}

identity! {
    /// A chunk's number within its run, from 1.
    ChunkId(i32)
}

identity! {
    /// An attempt's number within its chunk, from 1; 0 means that nobody has tried yet.
    Attempt(i32)
}

identity! {
    /// A customer's number in `source.customers`.
    CustomerId(i64)
}

/// A chunk of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChunkRef {
    /// The run.
    pub run: RunId,
    /// The chunk within it.
    pub chunk: ChunkId,
}

impl fmt::Display for ChunkRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chunk {} of run {}", self.chunk, self.run)
    }
}

/// A chunk with the attempt at it that is known: to a worker what it holds, and the fencing token that it must show to
/// commit; to whoever publishes, or takes a chunk away, the latest of which they have heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId {
    /// The chunk.
    pub chunk: ChunkRef,
    /// The attempt at it.
    pub attempt: Attempt,
}

impl fmt::Display for AttemptId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "attempt {} of {}", self.attempt, self.chunk)
    }
}
