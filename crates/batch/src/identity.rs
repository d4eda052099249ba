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
    /// A request's number, issued by the store; a higher one was asked later.
    RequestId(i64)
}

identity! {
    /// A customer's number in `source.customers`.
    CustomerId(i64)
}

/// Which installation something belongs to: a database and all that works for it. Written as 16 hexadecimal digits.
///
/// Drawn at random by the store, anew after a restore. Zero stands for the only one there is, where nothing is shared:
/// a night in one process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstallationId(pub u64);

impl fmt::Display for InstallationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A text that is no installation's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an installation is named by 16 hexadecimal digits")]
pub struct NotAnInstallation;

impl FromStr for InstallationId {
    type Err = NotAnInstallation;

    fn from_str(text: &str) -> Result<Self, NotAnInstallation> {
        let is_name = text.len() == 16 && text.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if !is_name {
            return Err(NotAnInstallation);
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| NotAnInstallation)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_is_named_by_sixteen_digits_and_nothing_else() {
        for number in [0, 0x3f9a, u64::MAX] {
            let name = InstallationId(number).to_string();

            assert_eq!((name.len(), name.parse()), (16, Ok(InstallationId(number))));
        }
        for text in
            ["", "3f9a", "00000000000003F9A", "+000000000003f9a", "000000000000000g", "ä00000000000000"]
        {
            assert_eq!(text.parse::<InstallationId>(), Err(NotAnInstallation), "{text}");
        }
    }
}
