//! What can go wrong with the store, for those who must act on it.

use crate::blocker::{Blocker, held_by};

/// Why a call to the store failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store cannot be reached or is not well: its breaker is open, a connection failed or was lost, an
    /// answer did not come in time, the server is starting, stopping or read-only. The call may have taken
    /// effect. It passes, and it is nobody's fault but the store's.
    #[error("{what}: {reason}")]
    Unavailable {
        /// What was tried.
        what: String,
        /// What stood in the way.
        reason: String,
    },
    /// Somebody holds a lock that the call needs. It waited for a moment only, so that nobody waits behind it, and
    /// left nothing behind. The store is well; the same call succeeds when the lock is given up.
    #[error("{what}: {}", held_by(by))]
    Blocked {
        /// What was tried.
        what: String,
        /// Who holds it, as far as was seen.
        by: Vec<Blocker>,
    },
    /// Somebody else has the claim that the call was made under ([`crate::Keys`]). It left nothing behind, and what came of
    /// the other is told to whoever asks.
    #[error("{what}: {reason}")]
    Superseded {
        /// What was tried.
        what: String,
        /// What was claimed.
        reason: String,
    },
    /// The store works and will not do this: a relation or a right is missing, or another thing that somebody
    /// has to mend. It does not pass by itself, and it is not the fault of the data that was being worked on.
    #[error("{what}: {reason}")]
    Broken {
        /// What was tried.
        what: String,
        /// What is wrong.
        reason: String,
    },
    /// The data at hand makes no sense, to the store or to us. It will not pass.
    #[error("{what}: {reason}")]
    Invalid {
        /// What was tried.
        what: String,
        /// What is wrong.
        reason: String,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Blocked { .. } | Self::Superseded { .. })
    }

    /// The word for it in metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Blocked { .. } => "blocked",
            Self::Superseded { .. } => "superseded",
            Self::Broken { .. } => "broken",
            Self::Invalid { .. } => "invalid",
        }
    }
}
