//! What can go wrong between here and the cache.

use resilience::{Elapsed, Open};

/// Says why the cache did not answer. Whatever it is, the store knows the answer.
///
/// No variant ever contains a URL or a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The backend cannot be reached, refuses to serve, or is left alone because its breaker is open.
    #[error("{0}")]
    Unavailable(String),
    /// The backend did not answer in time. A write may have happened, and may be repeated.
    #[error(transparent)]
    TimedOut(#[from] Elapsed),
    /// What the backend holds is not what was put into it.
    #[error("{0}")]
    Malformed(String),
}

impl Error {
    /// Whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable(_) | Self::TimedOut(_) => true,
            Self::Malformed(_) => false,
        }
    }
}

impl From<Open> for Error {
    fn from(open: Open) -> Self {
        Self::Unavailable(open.to_string())
    }
}
