//! The one error of the seam.

use resilience::InvalidConfig;

/// Reports why a message was not carried. Names the thing, and never shows a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The broker cannot be reached, or its breaker is open. Nothing was published.
    #[error("{what}: {reason}")]
    Unavailable {
        /// The call, as in "publish chunk 3 of run 7".
        what: String,
        /// Why.
        reason: String,
    },
    /// The broker takes no messages at present, because its memory or disk is short. Nothing was published.
    #[error("{what}: RabbitMQ takes no messages at present: {reason}")]
    Blocked {
        /// The call.
        what: String,
        /// The broker's reason.
        reason: String,
    },
    /// No queue was there to take the message; it is lost, and the queues are being set up again.
    #[error("{what}: no queue to route it to")]
    Unroutable {
        /// The call.
        what: String,
    },
    /// As many messages wait as may; nothing was published.
    #[error("{what}: as many wait already as may")]
    Full {
        /// The call.
        what: String,
    },
    /// The confirmation did not come: the message may or may not have been published.
    #[error("{what}: not confirmed, and may have been published all the same: {reason}")]
    Unconfirmed {
        /// The call.
        what: String,
        /// What came instead.
        reason: String,
    },
    /// The broker refuses: a login, a right, or queues that exist with other settings. A person must act.
    #[error("{what}: {reason}")]
    Refused {
        /// The call.
        what: String,
        /// What is wrong, and how it is mended.
        reason: String,
    },
    /// The configuration cannot work.
    #[error(transparent)]
    Configuration(#[from] InvalidConfig),
}

impl Error {
    /// Says whether the same call may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Unavailable { .. }
            | Self::Blocked { .. }
            | Self::Unroutable { .. }
            | Self::Full { .. }
            | Self::Unconfirmed { .. } => true,
            Self::Refused { .. } | Self::Configuration(_) => false,
        }
    }

    /// Why, without the call.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Unavailable { reason, .. }
            | Self::Blocked { reason, .. }
            | Self::Unconfirmed { reason, .. }
            | Self::Refused { reason, .. } => reason.clone(),
            Self::Unroutable { .. } => "no queue to route it to".to_owned(),
            Self::Full { .. } => "as many wait already as may".to_owned(),
            Self::Configuration(problem) => problem.to_string(),
        }
    }

    /// The same error, reported by another call.
    pub(crate) fn of(self, call: &str) -> Self {
        let what = call.to_owned();
        match self {
            Self::Unavailable { reason, .. } => Self::Unavailable { what, reason },
            Self::Blocked { reason, .. } => Self::Blocked { what, reason },
            Self::Unroutable { .. } => Self::Unroutable { what },
            Self::Full { .. } => Self::Full { what },
            Self::Unconfirmed { reason, .. } => Self::Unconfirmed { what, reason },
            Self::Refused { reason, .. } => Self::Refused { what, reason },
            Self::Configuration(problem) => Self::Configuration(problem),
        }
    }

    /// The label of this outcome in metrics.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Blocked { .. } => "blocked",
            Self::Unroutable { .. } => "unroutable",
            Self::Full { .. } => "full",
            Self::Unconfirmed { .. } => "unconfirmed",
            Self::Refused { .. } | Self::Configuration(_) => "refused",
        }
    }
}
